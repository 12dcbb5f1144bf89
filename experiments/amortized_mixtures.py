"""Mixtures of Gaussians without a search: a network that has seen many says where EM should start.

The generator of the Set Transformer (Lee et al. 2019): four spherical components in the plane, 100 to 500
points. Reported, on the same test sets for all rows, is the log-likelihood per point of the set itself, in
nats, and the adjusted Rand index of the partition.

- labelled: the likeliest mixture of those whose components hold what they drew
- em_1, em_10: scikit-learn's EM, full covariances, from one k-means start and from the best of ten
- ours_1, ours_10: `gaussian_mixture`, 100 steps, k-means++ seeds
- amortized_0, _1, _5: a Set Transformer trained for the likelihood that it foretells; as it says, after one
  step of EM, and after five
- learned_1, learned_5: trained through a step of EM, with several proposals, of which the likeliest is kept;
  asked about each set and some mirror images of it
- once_5: the same network, asked once; the start that is likeliest after one step goes on alone, to five

`gain/...` is the difference in pairs; `rate/...` data sets per second: ours many at once, scikit-learn in
a loop.

Then sets of 2 to 6 components and 30 to 300 points, whose number is not told (`unknown_...`): a network
trained on these is run for every number, and the least BIC tells which; beside EM by the same rule.
`found/...` is how often the number is right.

    python -m experiments.amortized_mixtures
        69 minutes on two cores beside other work; likelihood/learned_5 -1.422, ari/learned_5 0.936

No data is needed. The gpu preset trains a wider network for 50,000 steps.
"""

from __future__ import annotations

import dataclasses
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Key, PyTree
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import jmeta as jm
from experiments.benchmarks.timing import median
from jmeta import Evaluation, harness
from jmeta.clustering.amortized_mixture import outputs_per_component
from jmeta.clustering.gaussian_mixture import Mixture
from jmeta.metrics import Interval
from jmeta.records import Clusterer, Metrics, Model, Sampler, Task

DIMENSION = 2
TOLD, UNKNOWN = (4, 4), (2, 6)
"""How many components a set has, where it is told and where it is not."""
STARTS = (1, 10)
TIMED = ("learned_5", "once_5", "ours_10")


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    points: tuple[int, int] = (100, 500)
    """The least and the most points of a set."""
    ragged_points: tuple[int, int] = (30, 300)
    """The same, where the number of components is not told."""
    width: int = 64
    """Of the network's layers."""
    proposals: int = 8
    """Starts that a network foretells, where it is trained through EM."""
    views: int = 4
    """How it is asked at test: about a set as it is, and about so many mirror images less one."""
    steps: int = 10_000
    """Meta-steps of each of the two networks of the first table, and half as many of the other."""
    tasks: int = 10
    """Sets per meta-step."""
    rate: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    test_sets: int = 3000
    """Sets of the first table."""
    unknown_sets: int = 500
    """Sets of the second."""
    timed_sets: int = 1000
    """Sets that are timed at once."""
    every: int = 2000
    """Meta-steps between two rows of the log."""


PRESETS = {
    "quick": Config(
        preset="quick",
        points=(20, 40),
        ragged_points=(20, 40),
        width=8,
        proposals=2,
        views=2,
        steps=4,
        tasks=2,
        test_sets=4,
        unknown_sets=2,
        timed_sets=4,
        every=2,
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", width=128, steps=50_000, every=5000),
}


def experiment(config: Config) -> harness.Metrics:
    """Train the networks, then fit every test set in every way."""
    told_key, unknown_key = jax.random.split(config.key)
    return _told(config, told_key) | _unknown(config, unknown_key)


def _told(config: Config, key: Key[Array, ""]) -> dict[str, Interval]:
    """Sets of four components, the number told."""
    sampler, clusters = jm.mixtures(points=config.points, clusters=TOLD), TOLD[1]
    test_key, *keys = jax.random.split(key, 3)
    ways: dict[str, tuple[Clusterer, PyTree]] = {
        f"ours_{starts}": (jm.gaussian_mixture(clusters, steps=100, restarts=starts), {}) for starts in STARTS
    }
    often = {f"learned_{steps}": {"steps": steps, "views": config.views} for steps in (1, 5)}
    plans: dict[str, tuple[int, int, dict[str, dict[str, Any]]]] = {
        "amortized": (1, 0, {f"amortized_{steps}": {"steps": steps} for steps in (0, 1, 5)}),
        "learned": (config.proposals, 1, {**often, "once_5": {"steps": 5, "trial_steps": 1}}),
    }
    for train_key, (name, (proposals, trained, tested)) in zip(keys, plans.items(), strict=True):
        made = partial(
            jm.amortized_mixture, _network(config, clusters, proposals), clusters, proposals=proposals
        )
        trainee = made(covariance="diagonal", steps=trained)
        params = _train(config, name, trainee, sampler, train_key, config.steps)
        ways |= {row: (made(**how), params) for row, how in tested.items()}

    test = partial(jm.evaluate, sampler=sampler, key=test_key, tasks=config.test_sets)
    found = {row: test(way, meta=params, score=mixture_score) for row, (way, params) in ways.items()}
    found["labelled"] = test(ways["ours_1"][0], meta={}, score=labelled_score)
    sets = _drawn(sampler, test_key, config.test_sets)
    found |= {f"em_{starts}": _by_scikit((clusters,), starts, sets) for starts in STARTS}
    pairs = [(row, "em_1") for row in ("amortized_1", "learned_1", "once_5")]
    pairs += [(row, "em_10") for row in ("learned_5", "once_5", "ours_10")]
    return {**harness.paired(found, pairs), **_rates(config, ways, sampler, test_key)}


def _unknown(config: Config, key: Key[Array, ""]) -> dict[str, Interval]:
    """Sets of any number of components and points, the number not told."""
    sampler, clusters = jm.mixtures(points=config.ragged_points, clusters=UNKNOWN), UNKNOWN[1]
    test_key, train_key = jax.random.split(key)
    network = _network(config, clusters, config.proposals)
    made = partial(jm.amortized_mixture, network, clusters, proposals=config.proposals)
    trainee = made(covariance="diagonal", steps=1)
    params = _train(config, "unknown", trainee, sampler, train_key, config.steps // 2)
    test = partial(jm.evaluate, sampler=sampler, key=test_key, tasks=config.unknown_sets, score=unknown_score)
    found = {
        "unknown_learned_5": test(made(steps=5, views=config.views), meta=params),
        "unknown_ours_10": test(jm.gaussian_mixture(clusters, steps=100, restarts=10), meta={}),
    }
    sets = _drawn(sampler, test_key, config.unknown_sets)
    found["unknown_em_1"] = _by_scikit(tuple(range(UNKNOWN[0], clusters + 1)), 1, sets)
    pairs = [("unknown_learned_5", other) for other in ("unknown_em_1", "unknown_ours_10")]
    return dict(harness.paired(found, pairs))


def _network(config: Config, clusters: int, proposals: int) -> Model:
    outputs = outputs_per_component(DIMENSION)
    return jm.networks.set_transformer(DIMENSION + 1, outputs, seeds=proposals * clusters, width=config.width)


def _train(
    config: Config, name: str, clusterer: Clusterer, sampler: Sampler, key: Key[Array, ""], steps: int
) -> PyTree:
    """A network that has learned, without a label, where the likelihood will be greatest."""
    start_key, train_key = jax.random.split(key)
    optimizer = harness.clipped_adam(optax.cosine_decay_schedule(config.rate, steps))
    step = jm.meta_step(jm.fitting_loss(clusterer, lambda state: -state.log_likelihood), optimizer)
    state, _ = harness.train(
        config,
        name,
        step,
        sampler,
        step.init(clusterer.init(start_key)),
        train_key,
        steps=steps,
        tasks=config.tasks,
        every=config.every,
    )
    return state.meta


def mixture_score(clusterer: Clusterer, params: PyTree, task: Task) -> Metrics:
    """Log-likelihood per point in nats, and the adjusted Rand index."""
    state = clusterer.fit(params, task.support, task.key)
    return _scores(clusterer, params, state, task)


def labelled_score(clusterer: Clusterer, params: PyTree, task: Task) -> Metrics:
    """The same, the labels told."""
    return mixture_score(clusterer, params, task._replace(support=task.support._replace(targets=task.truth)))


def unknown_score(clusterer: Clusterer, params: PyTree, task: Task) -> Metrics:
    """The same of the number of components that has the least BIC, and whether it is the right one."""

    def fit(number: Int[Array, ""]) -> PyTree:
        return clusterer.fit(params, task.support._replace(clusters=number), task.key)

    numbers = jnp.arange(UNKNOWN[0], UNKNOWN[1] + 1)
    states = jax.vmap(fit)(numbers)
    best = jnp.argmin(states.bic)
    found = {"found": jnp.asarray(numbers[best] == task.support.clusters, float)}
    return found | _scores(clusterer, params, jax.tree.map(lambda leaf: leaf[best], states), task)


def _scores(clusterer: Clusterer, params: PyTree, state: Mixture, task: Task) -> Metrics:
    weights, truth = jnp.asarray(task.support.weights), jnp.asarray(task.truth)
    labels = jnp.argmax(clusterer.assign(params, state, task.support.inputs).log_probs, -1)
    ari = jm.adjusted_rand_index(labels, truth, weights, slots=UNKNOWN[1] + 1)
    return {"likelihood": state.log_likelihood / jnp.sum(weights), "ari": ari}


def _drawn(sampler: Sampler, key: Key[Array, ""], count: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Points, labels and number of components of the sets that `evaluate` takes, on the host."""
    draw = jax.jit(lambda place: sampler(jax.random.fold_in(key, place)))
    found = []
    for place in range(count):
        task = jax.device_get(draw(place))
        real = task.support.weights > 0
        found.append((task.support.inputs[real], task.truth[real], int(task.support.clusters)))
    return found


def _by_scikit(numbers: tuple[int, ...], starts: int, sets: list) -> Evaluation:
    rows = Parallel(n_jobs=-1)(delayed(scikit_scores)(numbers, starts, *one) for one in sets)
    return Evaluation({name: np.array([row[name] for row in rows]) for name in rows[0]})


def scikit_scores(
    numbers: tuple[int, ...], starts: int, points: np.ndarray, labels: np.ndarray, components: int
) -> dict[str, float]:
    """scikit-learn's mixture, of the number of components that has the least BIC where there are several."""
    fits = [_scikit(number, starts, points) for number in numbers]
    best = min(fits, key=lambda fit: fit.bic(points))
    found = {"found": float(best.n_components == components)} if len(numbers) > 1 else {}
    return found | {
        "likelihood": float(best.score(points)),
        "ari": float(adjusted_rand_score(labels, best.predict(points))),
    }


def _scikit(number: int, starts: int, points: np.ndarray) -> GaussianMixture:
    with warnings.catch_warnings(), threadpool_limits(1):  # which is faster, for so few points
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(number, n_init=starts, random_state=0).fit(points)


def _rates(
    config: Config, ways: dict[str, tuple[Clusterer, PyTree]], sampler: Sampler, key: Key[Array, ""]
) -> dict[str, Interval]:
    """Sets per second, the median of five, and how many times that of the loop over scikit-learn."""
    places = jnp.arange(config.timed_sets)
    tasks = jax.jit(jax.vmap(lambda place: sampler(jax.random.fold_in(key, place))))(places)
    few = _drawn(sampler, key, min(config.timed_sets, 40))
    rates = {}
    for row in TIMED:
        clusterer, params = ways[row]
        fit = jm.over_tasks(partial(_fit, clusterer), shared=1)
        on_host = jax.device_get(params)  # on two devices, small matrices would wait for each other forever
        rates[row] = config.timed_sets / median(partial(fit, on_host, tasks))
    for starts in STARTS:
        rates[f"em_{starts}"] = len(few) / median(partial(_loop, starts, few), 3)
    beside = [(row, f"em_{starts}") for row in ("learned_5", "once_5") for starts in STARTS]
    ratios = {f"{row}/{other}": rates[row] / rates[other] for row, other in beside}
    return {f"rate/{name}": Interval(value, 0.0, 1) for name, value in (rates | ratios).items()}


def _fit(clusterer: Clusterer, params: PyTree, task: Task) -> Mixture:
    return clusterer.fit(params, task.support, task.key)


def _loop(starts: int, sets: list) -> None:
    for points, *_ in sets:
        _scikit(TOLD[1], starts, points)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

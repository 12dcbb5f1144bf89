"""Fits mixtures of Gaussians by a network, trained on many data sets, that predicts where EM starts.

Data sets come from the generator of the Set Transformer (Lee et al. 2019): four spherical components in the
plane, 100 to 500 points. The metrics are the log-likelihood per point in nats and the adjusted Rand index of
the partition, on the same test sets for all rows.

- labelled: the maximum-likelihood mixture given the true component of every point
- em_1, em_10: scikit-learn's EM, full covariances, from one k-means start and from the best of ten
- ours_1, ours_10: `gaussian_mixture`, 100 steps, with one k-means++ start and with ten
- amortized_0, _1, _5: a Set Transformer trained on the likelihood of the mixture that it predicts; tested
  after 0, 1 and 5 steps of EM
- learned_1, learned_5: trained through one step of EM, with several proposals, of which the most likely is
  kept; applied at test time to each set and to mirror images of it
- once_5: the same network, applied once; the start that is most likely after one step continues to five

`gain/...` is the paired difference; `rate/...` is data sets per second, batched for our methods and in a loop
for scikit-learn.

A second table has sets of 2 to 6 components and 30 to 300 points, and the number of components is unknown
(`unknown_...`): a network trained on such sets is run for every number, and the number with the lowest BIC
is taken; it is compared with EM under the same rule. `found/...` is how often that number is correct.

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
from jmeta.clustering.mixtures.amortized import outputs_per_component
from jmeta.clustering.mixtures.gaussian import Mixture
from jmeta.metrics import Interval
from jmeta.records import Clusterer, Metrics, Model, Sampler, Task

DIMENSION = 2
"""Dimension of the points."""
GIVEN = (4, 4)
"""Smallest and largest number of components of a set where it is given."""
UNKNOWN = (2, 6)
"""The same where it is unknown."""
STARTS = (1, 10)
"""Numbers of starts of EM."""
TIMED = ("learned_5", "once_5", "ours_10")
"""Rows whose speed is measured."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    points: tuple[int, int] = (100, 500)
    """Smallest and largest number of points of a set."""
    ragged_points: tuple[int, int] = (30, 300)
    """The same where the number of components is unknown."""
    width: int = 64
    """Width of the network's layers."""
    proposals: int = 8
    """Starts that a network trained through EM predicts."""
    views: int = 4
    """Number of views of a set at test time: the set itself and its mirror images."""
    steps: int = 10_000
    """Meta-steps of each of the two networks of the first table; the third network takes half as many."""
    tasks: int = 10
    """Sets per meta-step."""
    rate: float = 1e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    test_sets: int = 3000
    """Test sets of the first table."""
    unknown_sets: int = 500
    """Test sets of the second table."""
    timed_sets: int = 1000
    """Sets in the batch that is timed."""
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
    """Trains the networks, then fits every test set by every method."""
    given_key, unknown_key = jax.random.split(config.key)
    return _given(config, given_key) | _unknown(config, unknown_key)


def _given(config: Config, key: Key[Array, ""]) -> dict[str, Interval]:
    """The metrics on sets of four components, with the number given."""
    clusters = GIVEN[1]
    sampler = jm.mixtures(points=config.points, clusters=GIVEN)
    test_key, *keys = jax.random.split(key, 3)
    methods: dict[str, tuple[Clusterer, PyTree]] = {
        f"ours_{starts}": (jm.gaussian_mixture(clusters, steps=100, restarts=starts), {}) for starts in STARTS
    }
    with_views = {f"learned_{steps}": {"steps": steps, "views": config.views} for steps in (1, 5)}
    plans: dict[str, tuple[int, int, dict[str, dict[str, Any]]]] = {
        "amortized": (1, 0, {f"amortized_{steps}": {"steps": steps} for steps in (0, 1, 5)}),
        "learned": (config.proposals, 1, {**with_views, "once_5": {"steps": 5, "trial_steps": 1}}),
    }
    for train_key, (name, (proposals, train_steps, variants)) in zip(keys, plans.items(), strict=True):
        make = partial(
            jm.amortized_mixture, _network(config, clusters, proposals), clusters, proposals=proposals
        )
        trainee = make(covariance="diagonal", steps=train_steps)
        params = _train(config, name, trainee, sampler, train_key, config.steps)
        methods |= {row: (make(**options), params) for row, options in variants.items()}

    test = partial(jm.evaluate, sampler=sampler, key=test_key, tasks=config.test_sets)
    results = {
        row: test(clusterer, meta=params, score=mixture_score) for row, (clusterer, params) in methods.items()
    }
    results["labelled"] = test(methods["ours_1"][0], meta={}, score=labelled_score)
    sets = _draw_sets(sampler, test_key, config.test_sets)
    results |= {f"em_{starts}": _evaluate_scikit((clusters,), starts, sets) for starts in STARTS}
    pairs = [(row, "em_1") for row in ("amortized_1", "learned_1", "once_5")]
    pairs += [(row, "em_10") for row in ("learned_5", "once_5", "ours_10")]
    return {**harness.paired(results, pairs), **_rates(config, methods, sampler, test_key)}


def _unknown(config: Config, key: Key[Array, ""]) -> dict[str, Interval]:
    """The metrics on sets whose number of components is unknown."""
    clusters = UNKNOWN[1]
    sampler = jm.mixtures(points=config.ragged_points, clusters=UNKNOWN)
    test_key, train_key = jax.random.split(key)
    network = _network(config, clusters, config.proposals)
    make = partial(jm.amortized_mixture, network, clusters, proposals=config.proposals)
    trainee = make(covariance="diagonal", steps=1)
    params = _train(config, "unknown", trainee, sampler, train_key, config.steps // 2)
    test = partial(jm.evaluate, sampler=sampler, key=test_key, tasks=config.unknown_sets, score=unknown_score)
    results = {
        "unknown_learned_5": test(make(steps=5, views=config.views), meta=params),
        "unknown_ours_10": test(jm.gaussian_mixture(clusters, steps=100, restarts=10), meta={}),
    }
    sets = _draw_sets(sampler, test_key, config.unknown_sets)
    results["unknown_em_1"] = _evaluate_scikit(tuple(range(UNKNOWN[0], clusters + 1)), 1, sets)
    pairs = [("unknown_learned_5", other) for other in ("unknown_em_1", "unknown_ours_10")]
    return dict(harness.paired(results, pairs))


def _network(config: Config, clusters: int, proposals: int) -> Model:
    outputs = outputs_per_component(DIMENSION)
    return jm.networks.set_transformer(DIMENSION + 1, outputs, seeds=proposals * clusters, width=config.width)


def _train(
    config: Config, name: str, clusterer: Clusterer, sampler: Sampler, key: Key[Array, ""], steps: int
) -> PyTree:
    """The parameters of a network trained, without labels, to maximise the likelihood of the fit."""
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
    """The log-likelihood per point in nats, and the adjusted Rand index."""
    state = clusterer.fit(params, task.support, task.key)
    return _scores(clusterer, params, state, task)


def labelled_score(clusterer: Clusterer, params: PyTree, task: Task) -> Metrics:
    """`mixture_score` with the true labels given."""
    return mixture_score(clusterer, params, task._replace(support=task.support._replace(targets=task.truth)))


def unknown_score(clusterer: Clusterer, params: PyTree, task: Task) -> Metrics:
    """`mixture_score` with the number of components of lowest BIC, and whether it is the true one."""

    def fit(number: Int[Array, ""]) -> PyTree:
        return clusterer.fit(params, task.support._replace(clusters=number), task.key)

    numbers = jnp.arange(UNKNOWN[0], UNKNOWN[1] + 1)
    states = jax.vmap(fit)(numbers)
    best = jnp.argmin(states.bic)
    correct = {"found": jnp.asarray(numbers[best] == task.support.clusters, float)}
    return correct | _scores(clusterer, params, jax.tree.map(lambda leaf: leaf[best], states), task)


def _scores(clusterer: Clusterer, params: PyTree, state: Mixture, task: Task) -> Metrics:
    weights = jnp.asarray(task.support.weights)
    truth = jnp.asarray(task.truth)
    labels = jnp.argmax(clusterer.assign(params, state, task.support.inputs).log_probs, -1)
    ari = jm.adjusted_rand_index(labels, truth, weights, slots=UNKNOWN[1] + 1)
    return {"likelihood": state.log_likelihood / jnp.sum(weights), "ari": ari}


def _draw_sets(sampler: Sampler, key: Key[Array, ""], count: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Points, labels and number of components of the sets that `evaluate` draws, as NumPy arrays."""
    draw = jax.jit(lambda number: sampler(jax.random.fold_in(key, number)))
    sets = []
    for number in range(count):
        task = jax.device_get(draw(number))
        real = task.support.weights > 0
        sets.append((task.support.inputs[real], task.truth[real], int(task.support.clusters)))
    return sets


def _evaluate_scikit(numbers: tuple[int, ...], starts: int, sets: list) -> Evaluation:
    rows = Parallel(n_jobs=-1)(delayed(scikit_scores)(numbers, starts, *one) for one in sets)
    return Evaluation({name: np.array([row[name] for row in rows]) for name in rows[0]})


def scikit_scores(
    numbers: tuple[int, ...], starts: int, points: np.ndarray, labels: np.ndarray, components: int
) -> dict[str, float]:
    """The scores of scikit-learn's mixture; of several numbers of components, the one of lowest BIC."""
    fits = [_fit_scikit(number, starts, points) for number in numbers]
    best = min(fits, key=lambda fit: fit.bic(points))
    correct = {"found": float(best.n_components == components)} if len(numbers) > 1 else {}
    return correct | {
        "likelihood": float(best.score(points)),
        "ari": float(adjusted_rand_score(labels, best.predict(points))),
    }


def _fit_scikit(number: int, starts: int, points: np.ndarray) -> GaussianMixture:
    with warnings.catch_warnings(), threadpool_limits(1):  # one thread is faster for so few points
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(number, n_init=starts, random_state=0).fit(points)


def _rates(
    config: Config, methods: dict[str, tuple[Clusterer, PyTree]], sampler: Sampler, key: Key[Array, ""]
) -> dict[str, Interval]:
    """Sets per second, the median of five runs, and their ratio to the loop over scikit-learn."""
    numbers = jnp.arange(config.timed_sets)
    tasks = jax.jit(jax.vmap(lambda number: sampler(jax.random.fold_in(key, number))))(numbers)
    loop_sets = _draw_sets(sampler, key, min(config.timed_sets, 40))
    rates = {}
    for row in TIMED:
        clusterer, params = methods[row]
        fit = jm.over_tasks(partial(_fit, clusterer), shared=1)
        on_host = jax.device_get(params)  # on two devices, small matrices would wait for each other forever
        rates[row] = config.timed_sets / median(partial(fit, on_host, tasks))
    for starts in STARTS:
        rates[f"em_{starts}"] = len(loop_sets) / median(partial(_loop, starts, loop_sets), 3)
    pairs = [(row, f"em_{starts}") for row in ("learned_5", "once_5") for starts in STARTS]
    ratios = {f"{row}/{other}": rates[row] / rates[other] for row, other in pairs}
    return {f"rate/{name}": Interval(value, 0.0, 1) for name, value in (rates | ratios).items()}


def _fit(clusterer: Clusterer, params: PyTree, task: Task) -> Mixture:
    return clusterer.fit(params, task.support, task.key)


def _loop(starts: int, sets: list) -> None:
    for points, *_ in sets:
        _fit_scikit(GIVEN[1], starts, points)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

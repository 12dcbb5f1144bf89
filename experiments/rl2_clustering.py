"""An agent that learns how to search for a clustering, beside other ways to spend as many evaluations.

It is trained on the problems that AutoCluster's model is learned from (`experiments.pretrain`): a trial is
one of them with a budget of 1 to 10 evaluations. It is tested on the 71 sets of Gagolewski's six batteries,
at most 2,000 rows of each, none of which it saw. Adjusted Rand index of what is committed to, averaged over
labellings, then over sets, at budgets 1, 3, 5 and 10. The number of clusters is not known, but part of the
action. No label is in anything that is seen at test.

- rl2: a gated recurrent unit, by PPO, the mean of several seeds; forgetful: the same without memory; random:
  random candidates. All three commit to the partition that a judge of single partitions prefers. In training,
  judges are those who learned from other groups; at test, one who learned from all.
- rl2_criterion, random_criterion: the same candidates, of which AutoCluster's criterion takes one, seeing
  all of them together
- silhouette: random candidates, and the partition of which the silhouette is best
- selector: candidates in the order of AutoCluster's selector, the partition that its criterion prefers
- optuna: candidates of tree-structured Parzen estimators on the judge, each paid for once; left out where it
  is not installed
- single_best: what is best on the training problems, at once; oracle: the best of all

Where what was tried found nothing, all but the oracle take k-means of the fewest clusters. Intervals are over
sets; what differs from seed to seed is not in them. The judge's and the agents' numbers were chosen on groups
of the training problems that were left out. The agent of the first seed is written as search.npz, a model
that `AutoCluster` reads; the one that comes along is in jmeta/models.

    python -m experiments.rl2_clustering --data-dir DIR

The quick preset makes a few small sets of its own, for both.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta as jm
from experiments import autocluster, choosing, pretrain
from jmeta import harness
from jmeta.artifacts.advisors import load_model, save_model
from jmeta.metafeatures.partitions import NAMES
from jmeta.metafeatures.quantiles import known_quantiles
from jmeta.metrics import Interval
from jmeta.portfolio import portfolio
from jmeta.portfolio.candidates import Candidate
from jmeta.portfolio.table import Table
from jmeta.rl.environment import Environment, Trial
from jmeta.rl.policy import Agent
from jmeta.search.game import Attempts, Search, candidate_places, tabulated
from jmeta.search.learned import SearchPolicy, search_game, table_attempts
from jmeta.search.live import View
from jmeta.selection.advisor import (
    Advisor,
    chosen_scores,
    interval_spread,
    learn_advisor,
    preferred_scores,
    replayed_scores,
)
from jmeta.selection.descriptions import Description, describe_table
from jmeta.selection.examples import Settings
from jmeta.selection.selector import table_features
from jmeta.selection.single_quality import learn_single_quality, left_out_scores, table_single_inputs
from jmeta.tasks.problems import BATTERIES, batteries

DRAWS = 20
"""Random searches of every case."""
STUDIES = 3
"""Of Optuna on every case."""


@dataclasses.dataclass(frozen=True)
class Config(pretrain.Config):
    """Options of this experiment; those of the training problems are the model's."""

    budgets: tuple[int, ...] = (1, 3, 5, 10)
    """Evaluations."""
    meta_steps: int = 1_000
    """Of PPO."""
    tasks: int = 256
    """Trials per step."""
    memory: int = 64
    """Width of the agents' networks."""
    seeds: int = 3
    """Agents of each kind."""
    rate: float = 1e-3
    """Of Adam; it falls to a tenth."""
    entropy: float = harness.option(0.01, least=0)
    """Weight of the entropy."""
    unseen: float = harness.option(0.5, least=0)
    """The share of what is seen that is hidden from a trial of training."""


PRESETS = {
    "quick": Config(
        preset="quick", count=2, steps=5, networks=2, meta_steps=4, tasks=8, memory=8, seeds=1, budgets=(1, 2)
    ),
    "cpu": Config(batch=1024, hidden=0.1),
    "gpu": Config(
        preset="gpu", batch=1024, hidden=0.1, count=500, networks=16, meta_steps=20_000, tasks=4_096
    ),
}
NETWORKS = {"rl2": jm.networks.gru, "forgetful": jm.networks.forgetful}


def experiment(config: Config) -> harness.Metrics:
    """Train the agents, and spend every budget in every way."""
    quick, candidates = config.preset == "quick", _candidates(config)
    chosen = choosing.small_problems()[:3] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    lessons, test = (
        choosing.made_table(config, some, candidates, seconds=config.seconds)
        for some in (pretrain.problems(config), [autocluster.as_seen(one, config.seed) for one in chosen])
    )
    looks = describe_table(test, folder=config.table)
    view, known, asked = seen(config, lessons, test, looks)
    advisor = _advisor(config, lessons)
    takes = partial(chosen_scores, advisor, test, looks)
    ways = _others(config, asked, test, looks, takes)
    ways["selector"] = replayed_scores(advisor, test, looks, config.budgets, seed=config.seed).T
    make = partial(SearchPolicy, view, width=config.memory, max_candidates=max(config.budgets))
    ways |= _agents(config, candidates, known, asked, test, takes, make)
    best = test.scores[:, lessons.scores.mean(0).argmax()]
    for name, worths in (("single_best", best), ("oracle", test.scores.max(1))):
        ways[name] = np.tile(worths, (len(config.budgets), 1))
    return _compared(config, ways, test.problem_numbers)


def _candidates(config: Config) -> tuple[Candidate, ...]:
    return portfolio("auto", clusters=pretrain.COUNTS[:2] if config.preset == "quick" else pretrain.COUNTS)


def seen(
    config: Config, lessons: Table, test: Table, looks: list[Description]
) -> tuple[View, Attempts, Attempts]:
    """How an agent sees, and what it sees of the training problems and of the others."""
    settings = Settings(config.width, config.steps, config.batch, config.networks, dropout=config.hidden)
    key = jax.random.fold_in(config.key, 7)
    features = table_features(lessons)
    partitions = table_single_inputs(lessons, describe_table(lessons, folder=config.table))
    left = left_out_scores(lessons, partitions, key, settings)
    spread = interval_spread(lessons.scores, left, lessons.partitioned)
    quality = learn_single_quality(lessons, partitions, key, settings)._replace(spread=spread)
    view = View(quality, known_quantiles(features), np.ptp(features, 0) > 0)
    inputs = table_single_inputs(test, looks)
    predicted = quality.network_scores(inputs).mean(0)
    known = table_attempts(view, lessons, features, partitions, left.mean(0))
    return view, known, table_attempts(view, test, table_features(test), inputs, predicted)


def _agents(
    config: Config,
    candidates: tuple[Candidate, ...],
    known: Attempts,
    asked: Attempts,
    table: Table,
    takes: Callable[[np.ndarray], np.ndarray],
    make: Callable[..., SearchPolicy],
) -> dict[str, np.ndarray]:
    """[B, C] what each agent commits to, at every budget, and what the criterion takes of what it tried."""
    most, quality = max(config.budgets), np.asarray(asked.attempts.quality)
    sets = tabulated(known, dropout=config.unseen)
    found: dict[str, list[np.ndarray]] = {}
    for name, network in NETWORKS.items():
        game, agent = search_game(candidates, sets, most, config.memory, network)
        for seed in range(config.seeds):
            params = trained(config, agent, game, seed, name)
            tried = played(config, agent, game, params, asked)
            found.setdefault(name, []).append(
                np.stack([preferred_scores(table, quality, runs) for runs in tried])
            )
            if name == "rl2":
                found.setdefault("rl2_criterion", []).append(np.stack([takes(runs) for runs in tried]))
                if not seed:
                    _write(config, make(params=jax.device_get(params)))
    return {name: np.mean(worths, 0) for name, worths in found.items()}


def trained(config: Config, agent: Agent, game: Environment, seed: int, name: str) -> Any:
    """The weights of an agent after PPO."""
    schedule = optax.exponential_decay(config.rate, config.meta_steps * 8, 0.1)
    learn = jm.rl.ppo(
        agent,
        game,
        harness.clipped_adam(schedule),
        steps=max(config.budgets) + 1,
        episodes=1,
        entropy_weight=config.entropy,
        discount=1.0,
    )
    start, train = jax.random.split(jax.random.fold_in(config.key, seed))
    state, _ = harness.train(
        config,
        f"{name}_{seed}",
        learn,
        jm.rl.trials(game),
        learn.init(agent.network.init(start)),
        train,
        steps=config.meta_steps,
        tasks=config.tasks,
        every=max(config.meta_steps // 30, 1),
    )
    return state.meta


def played(config: Config, agent: Agent, game: Environment, params: Any, asked: Attempts) -> np.ndarray:
    """[B, C, A] which candidates an agent tries at every budget."""
    count, candidates = asked.attempts.usable.shape
    keys = jax.random.split(jax.random.fold_in(config.key, 1), count)
    places = candidate_places(_candidates(config))

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0))
    def play(params: Any, trial: Trial) -> Any:
        steps = max(config.budgets) + 1
        return jm.rl.rollout(agent, game, params, trial, steps=steps, episodes=1, greedy=True)

    tried = []
    for budget in config.budgets:
        history = jax.device_get(play(params, Trial(Search(asked, jnp.full(count, budget)), keys)))
        at = np.where(history.counts > 0, places[tuple(np.moveaxis(history.actions, -1, 0))], candidates)
        tried.append((at[:, :, None] == np.arange(candidates)).any(1))
    return np.stack(tried)


def _others(
    config: Config,
    asked: Attempts,
    table: Table,
    looks: list[Description],
    takes: Callable[[np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """[B, C] random search by three judges, and Optuna's."""
    quality = np.asarray(asked.attempts.quality)
    found: dict[str, list] = {"random": [], "random_criterion": [], "silhouette": []}
    silhouette = np.stack([look.descriptors[:, NAMES.index("silhouette")] for look in looks])
    for runs in _random_runs(config, table):
        found["random"].append([preferred_scores(table, quality, run) for run in runs])
        found["silhouette"].append([preferred_scores(table, silhouette, run) for run in runs])
        found["random_criterion"].append([takes(run) for run in runs])
    ways = {name: np.mean(worths, 0) for name, worths in found.items()}
    if importlib.util.find_spec("optuna"):
        tried = [_optuna(config, table, quality, seed) for seed in range(STUDIES)]
        ways["optuna"] = np.mean(
            [[preferred_scores(table, quality, run) for run in runs] for runs in tried], 0
        )
    return ways


def _random_runs(config: Config, table: Table) -> Iterator[np.ndarray]:
    """[B, C, A] which candidates a random search runs at every budget, again and again."""
    random = np.random.default_rng(config.seed)
    for _ in range(DRAWS):
        places = np.argsort(random.random(table.scores.shape), 1)
        yield np.stack([places < budget for budget in config.budgets])


def _optuna(config: Config, table: Table, quality: np.ndarray, seed: int) -> np.ndarray:
    """[B, C, A] which candidates TPE runs for the best judged; one that it names again costs nothing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = list(dict.fromkeys(one._replace(clusters=None) for one in table.candidates))
    counts = sorted({one.clusters for one in table.candidates if one.clusters})
    places = {one: at for at, one in enumerate(table.candidates)}
    told, most = np.where(table.partitioned, quality, -1.0), min(max(config.budgets), len(places))
    runs = np.full((len(config.budgets), *told.shape), False)
    for case, row in enumerate(told):
        sampler = optuna.samplers.TPESampler(seed=1_000 * seed + case, n_startup_trials=max(most // 3, 1))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        tried: list[int] = []
        for _ in range(20 * most):
            trial = study.ask()
            kind = kinds[trial.suggest_categorical("kind", range(len(kinds)))]
            count = counts[trial.suggest_int("clusters", 0, len(counts) - 1)] if kind.needs_clusters else None
            at = places[kind._replace(clusters=count)]
            tried += [at] * (at not in tried)
            study.tell(trial, row[at])
            if len(tried) == most:
                break
        for which, budget in enumerate(config.budgets):
            runs[which, case, tried[:budget]] = True
    return runs


def _advisor(config: Config, table: Table) -> Advisor:
    """The model that comes with jmeta; in the quick preset, whose candidates are fewer, one of the moment."""
    if config.preset != "quick":
        return load_model()[0]["unknown"]
    settings = Settings(config.width, config.steps, networks=config.networks)
    return learn_advisor(table, config.key, settings=settings)[0]


def _write(config: Config, searcher: SearchPolicy) -> None:
    card = {"command": "python -m experiments.rl2_clustering", "jmeta": jm.__version__}
    save_model(config.folder / "search.npz", {"search": searcher}, card)


def _compared(config: Config, ways: dict[str, np.ndarray], owners: np.ndarray) -> dict[str, Interval]:
    """Means over sets at every budget, and what RL2 gains over every other way."""
    metrics: dict[str, Interval] = {}
    for row, budget in enumerate(config.budgets):
        found = {
            name: np.bincount(owners, values[row]) / np.bincount(owners) for name, values in ways.items()
        }
        metrics |= {f"ari/{budget}/{name}": jm.interval(values) for name, values in found.items()}
        pairs = [("rl2", name) for name in found if name not in ("rl2", "oracle")]
        for first, second in (*pairs, ("rl2_criterion", "selector"), ("rl2_criterion", "random_criterion")):
            gain = found[first] - found[second]
            metrics[f"gain/{budget}/{first}-{second}"] = choosing.bootstrap(gain, config.seed)
    return dict(sorted(metrics.items()))


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

"""Compares an agent that learned to search for a clustering with other search methods of equal budget.

The agent is trained on the problems of AutoCluster's model (`experiments.pretrain`): a trial is one problem
with a budget of 1 to 10 evaluations. It is tested on the 71 sets of Gagolewski's six batteries, at most 2,000
rows of each, none of which were used in training. The metric is the adjusted Rand index of the returned
partition, averaged over labellings, then over sets, at budgets 1, 3, 5 and 10. The number of clusters is
unknown and part of the action. No method sees labels at test time.

- rl2: a gated recurrent unit trained by PPO, the mean of several seeds; forgetful: the same without memory;
  random: random candidates. All three return the partition that a quality model of single partitions prefers,
  which in training has been trained on other groups, and at test time on all of them.
- rl2_criterion, random_criterion: the same candidates, with the partition chosen by AutoCluster's quality
  model, which sees all of them together
- silhouette: random candidates, with the partition of best silhouette
- selector: candidates in the order of AutoCluster's selector, with the partition that its quality model
  prefers
- optuna: candidates proposed by tree-structured Parzen estimators that maximise the quality model of single
  partitions; repeated candidates are free; skipped where optuna is not installed
- single_best: the best candidate on the training problems; oracle: the best of all candidates

If all candidates that were tried failed, all methods but the oracle return k-means with the fewest clusters.
Intervals are over sets and do not cover the variation between seeds. The hyperparameters of the quality model
and of the agents were chosen on held-out groups of the training problems. The agent of the first seed is
written to search.npz, a model that `AutoCluster` reads; the bundled one is in jmeta/models.

    python -m experiments.rl2_clustering --data-dir DIR

The quick preset generates a few small sets for training and test.
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
"""Random searches on every instance."""
STUDIES = 3
"""Studies of Optuna on every instance."""


@dataclasses.dataclass(frozen=True)
class Config(pretrain.Config):
    """Options of this experiment, and of the training problems."""

    budgets: tuple[int, ...] = (1, 3, 5, 10)
    """Budgets, in evaluations."""
    meta_steps: int = 1_000
    """Steps of PPO."""
    tasks: int = 256
    """Trials per step."""
    memory: int = 64
    """Width of the agents' networks."""
    seeds: int = 3
    """Agents trained for each network."""
    rate: float = 1e-3
    """Initial learning rate of Adam, which decays to a tenth."""
    entropy: float = harness.option(0.01, least=0)
    """Weight of the entropy bonus."""
    unseen: float = harness.option(0.5, least=0)
    """Share of the observed features that is dropped in each training trial."""


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
"""The agents' networks by row."""


def experiment(config: Config) -> harness.Metrics:
    """Trains the agents, and compares all methods at every budget."""
    quick = config.preset == "quick"
    candidates = _candidates(config)
    problems = choosing.small_problems()[:3] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    problems = [autocluster.prepared(problem, config.seed) for problem in problems]
    train, test = (
        choosing.make_table(config, some, candidates, seconds=config.seconds)
        for some in (pretrain.problems(config), problems)
    )
    descriptions = describe_table(test, folder=config.table)
    view, train_attempts, test_attempts = all_attempts(config, train, test, descriptions)
    advisor = _advisor(config, train)
    set_choice = partial(chosen_scores, advisor, test, descriptions)
    methods = _other_methods(config, test_attempts, test, descriptions, set_choice)
    methods["selector"] = replayed_scores(advisor, test, descriptions, config.budgets, seed=config.seed).T
    policy = partial(SearchPolicy, view, width=config.memory, max_candidates=max(config.budgets))
    methods |= _agents(config, candidates, train_attempts, test_attempts, test, set_choice, policy)
    single_best = test.scores[:, train.scores.mean(0).argmax()]
    for name, scores in (("single_best", single_best), ("oracle", test.scores.max(1))):
        methods[name] = np.tile(scores, (len(config.budgets), 1))
    return _compare(config, methods, test.problem_numbers)


def _candidates(config: Config) -> tuple[Candidate, ...]:
    return portfolio("auto", clusters=pretrain.COUNTS[:2] if config.preset == "quick" else pretrain.COUNTS)


def all_attempts(
    config: Config, train: Table, test: Table, descriptions: list[Description]
) -> tuple[View, Attempts, Attempts]:
    """The view of an agent, and the attempts of all candidates on the training and the test problems."""
    settings = Settings(
        width=config.width,
        steps=config.steps,
        batch=config.batch,
        networks=config.networks,
        dropout=config.hidden,
    )
    key = jax.random.fold_in(config.key, 7)
    features = table_features(train)
    partitions = table_single_inputs(train, describe_table(train, folder=config.table))
    left_out = left_out_scores(train, partitions, key, settings)
    spread = interval_spread(train.scores, left_out, train.partitioned)
    quality = learn_single_quality(train, partitions, key, settings)._replace(spread=spread)
    view = View(quality, known_quantiles(features), np.ptp(features, 0) > 0)
    inputs = table_single_inputs(test, descriptions)
    predicted = quality.network_scores(inputs).mean(0)
    train_attempts = table_attempts(view, train, features, partitions, left_out.mean(0))
    return view, train_attempts, table_attempts(view, test, table_features(test), inputs, predicted)


def _agents(
    config: Config,
    candidates: tuple[Candidate, ...],
    train_attempts: Attempts,
    test_attempts: Attempts,
    table: Table,
    set_choice: Callable[[np.ndarray], np.ndarray],
    policy: Callable[..., SearchPolicy],
) -> dict[str, np.ndarray]:
    """[B, C] the scores of the agents' partitions at every budget, and of `set_choice` among their runs."""
    max_budget = max(config.budgets)
    quality = np.asarray(test_attempts.attempts.quality)
    sets = tabulated(train_attempts, dropout=config.unseen)
    results: dict[str, list[np.ndarray]] = {}
    for name, network in NETWORKS.items():
        game, agent = search_game(candidates, sets, max_budget, config.memory, network)
        for seed in range(config.seeds):
            params = train_agent(config, agent, game, seed, name)
            runs = play_agent(config, agent, game, params, test_attempts)
            results.setdefault(name, []).append(
                np.stack([preferred_scores(table, quality, run) for run in runs])
            )
            if name == "rl2":
                results.setdefault("rl2_criterion", []).append(np.stack([set_choice(run) for run in runs]))
                if not seed:
                    _write(config, policy(params=jax.device_get(params)))
    return {name: np.mean(scores, 0) for name, scores in results.items()}


def train_agent(config: Config, agent: Agent, game: Environment, seed: int, name: str) -> Any:
    """The weights of an agent trained by PPO."""
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


def play_agent(
    config: Config, agent: Agent, game: Environment, params: Any, attempts: Attempts
) -> np.ndarray:
    """[B, C, A] which candidates an agent runs at every budget."""
    count, candidates = attempts.attempts.usable.shape
    keys = jax.random.split(jax.random.fold_in(config.key, 1), count)
    places = candidate_places(_candidates(config))

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0))
    def play(params: Any, trial: Trial) -> Any:
        steps = max(config.budgets) + 1
        return jm.rl.rollout(agent, game, params, trial, steps=steps, episodes=1, greedy=True)

    runs = []
    for budget in config.budgets:
        history = jax.device_get(play(params, Trial(Search(attempts, jnp.full(count, budget)), keys)))
        tried = places[tuple(np.moveaxis(history.actions, -1, 0))]
        tried = np.where(history.counts > 0, tried, candidates)
        runs.append((tried[:, :, None] == np.arange(candidates)).any(1))
    return np.stack(runs)


def _other_methods(
    config: Config,
    attempts: Attempts,
    table: Table,
    descriptions: list[Description],
    set_choice: Callable[[np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """[B, C] the scores of random search, with three rules to choose a partition, and of Optuna."""
    quality = np.asarray(attempts.attempts.quality)
    results: dict[str, list] = {"random": [], "random_criterion": [], "silhouette": []}
    column = NAMES.index("silhouette")
    silhouette = np.stack([description.descriptors[:, column] for description in descriptions])
    for runs in _random_runs(config, table):
        results["random"].append([preferred_scores(table, quality, run) for run in runs])
        results["silhouette"].append([preferred_scores(table, silhouette, run) for run in runs])
        results["random_criterion"].append([set_choice(run) for run in runs])
    methods = {name: np.mean(scores, 0) for name, scores in results.items()}
    if importlib.util.find_spec("optuna"):
        studies = [_optuna(config, table, quality, seed) for seed in range(STUDIES)]
        methods["optuna"] = np.mean(
            [[preferred_scores(table, quality, run) for run in runs] for runs in studies], 0
        )
    return methods


def _random_runs(config: Config, table: Table) -> Iterator[np.ndarray]:
    """[B, C, A] which candidates a random search runs at every budget, for each of `DRAWS` searches."""
    random = np.random.default_rng(config.seed)
    for _ in range(DRAWS):
        ranks = np.argsort(random.random(table.scores.shape), 1)
        yield np.stack([ranks < budget for budget in config.budgets])


def _optuna(config: Config, table: Table, quality: np.ndarray, seed: int) -> np.ndarray:
    """[B, C, A] which candidates TPE runs to maximise the quality; repeated candidates are free."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    algorithms = list(dict.fromkeys(one._replace(clusters=None) for one in table.candidates))
    counts = sorted({one.clusters for one in table.candidates if one.clusters})
    places = {one: place for place, one in enumerate(table.candidates)}
    values = np.where(table.partitioned, quality, -1.0)
    max_budget = min(max(config.budgets), len(places))
    runs = np.full((len(config.budgets), *values.shape), False)
    for instance, row in enumerate(values):
        sampler = optuna.samplers.TPESampler(
            seed=1_000 * seed + instance, n_startup_trials=max(max_budget // 3, 1)
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        tried: list[int] = []
        for _ in range(20 * max_budget):
            trial = study.ask()
            chosen = algorithms[trial.suggest_categorical("kind", range(len(algorithms)))]
            if chosen.needs_clusters:
                count = counts[trial.suggest_int("clusters", 0, len(counts) - 1)]
                chosen = chosen._replace(clusters=count)
            place = places[chosen]
            tried += [place] * (place not in tried)
            study.tell(trial, row[place])
            if len(tried) == max_budget:
                break
        for number, budget in enumerate(config.budgets):
            runs[number, instance, tried[:budget]] = True
    return runs


def _advisor(config: Config, table: Table) -> Advisor:
    """The model that comes with jmeta; in the quick preset, which has fewer candidates, one trained here."""
    if config.preset != "quick":
        return load_model()[0]["unknown"]
    settings = Settings(width=config.width, steps=config.steps, networks=config.networks)
    return learn_advisor(table, config.key, settings=settings)[0]


def _write(config: Config, policy: SearchPolicy) -> None:
    card = {"command": "python -m experiments.rl2_clustering", "jmeta": jm.__version__}
    save_model(config.folder / "search.npz", {"search": policy}, card)


def _compare(config: Config, methods: dict[str, np.ndarray], owners: np.ndarray) -> dict[str, Interval]:
    """The mean scores over sets at every budget, and the gains of RL2 over every other method."""
    metrics: dict[str, Interval] = {}
    for row, budget in enumerate(config.budgets):
        results = {
            name: np.bincount(owners, values[row]) / np.bincount(owners) for name, values in methods.items()
        }
        metrics |= {f"ari/{budget}/{name}": jm.interval(values) for name, values in results.items()}
        pairs = [("rl2", name) for name in results if name not in ("rl2", "oracle")]
        for first, second in (*pairs, ("rl2_criterion", "selector"), ("rl2_criterion", "random_criterion")):
            gain = results[first] - results[second]
            metrics[f"gain/{budget}/{first}-{second}"] = choosing.bootstrap(gain, config.seed)
    return dict(sorted(metrics.items()))


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

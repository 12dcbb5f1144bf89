"""An agent that learns how to search for a clustering, beside other ways to spend as many evaluations.

It is trained on the problems that AutoCluster's model is learned from (`experiments.pretrain`): a trial is
one of them with a budget of 1 to 10 evaluations. It is tested on the 71 sets of Gagolewski's six batteries,
at most 2,000 rows of each, none of which it saw. Adjusted Rand index of what is committed to, averaged over
labellings, then over sets, at budgets 1, 3, 5 and 10. The number of clusters is not known, but part of the
action.

- rl2: a gated recurrent unit, by PPO; forgetful: the same without memory; random: random candidates. All
  three commit to the partition that a judge of single partitions prefers. In training, judges are those who
  learned from other groups; at test, one who learned from all.
- silhouette: random candidates, and the partition of which the silhouette is best
- selector: candidates in the order of AutoCluster's selector, the partition that its criterion prefers
- optuna: candidates of tree-structured Parzen estimators on the judge; left out where it is not installed
- single_best: what is best on the training problems, at once; oracle: the best of all

    python -m experiments.rl2_clustering --data-dir DIR

The quick preset makes a few small sets of its own, for both.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta as jm
from experiments import autocluster, choosing, harness, pretrain
from jmeta.metrics import Interval
from jmeta.rl.clustering import Searched, clustering_search
from jmeta.rl.environment import Trial
from jmeta.rl.policy import SEES
from jmeta.selection import performance_table, portfolio
from jmeta.selection.advisor import replayed
from jmeta.selection.choice import Settings
from jmeta.selection.judge import judged, judged_left_out, learn_judge, table_partitions
from jmeta.selection.saved import load_model
from jmeta.selection.selector import table_inputs
from jmeta.selection.table import Table
from jmeta.tasks.problems import BATTERIES, batteries

UNPAID = tuple(part for part in SEES if part != "reward")
"""What agents see: not the reward, which is made of answers."""
DRAWS = 20
"""Random searches of every case."""


@dataclasses.dataclass(frozen=True)
class Config(pretrain.Config):
    """Options of this experiment; those of the training problems are the model's."""

    budgets: tuple[int, ...] = (1, 3, 5, 10)
    """Evaluations."""
    meta_steps: int = 1_500
    """Of PPO."""
    tasks: int = 256
    """Trials per step."""
    memory: int = 64
    """Width of the agents' networks."""
    rate: float = 1e-3
    """Of Adam; it falls to a tenth."""
    entropy: float = 0.01
    """Weight of the entropy."""


PRESETS = {
    "quick": Config(
        preset="quick", count=2, steps=5, networks=2, meta_steps=4, tasks=8, memory=8, budgets=(1, 2)
    ),
    "cpu": Config(batch=1024),
    "gpu": Config(preset="gpu", batch=1024, count=500, networks=16, meta_steps=20_000, tasks=4_096),
}


def experiment(config: Config) -> harness.Metrics:
    """Train both agents, and spend every budget in every way."""
    quick = config.preset == "quick"
    candidates = portfolio("auto", clusters=pretrain.COUNTS[:2] if quick else pretrain.COUNTS)
    chosen = choosing.small_problems()[:3] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    tables = [
        performance_table(some, candidates, folder=config.table, seconds=config.seconds, seed=config.seed)
        for some in (pretrain.problems(config), [autocluster.as_seen(one, config.seed) for one in chosen])
    ]
    known, asked = _searched(config, *tables)
    ways = _agents(config, candidates, known, asked) | _others(config, asked, tables[1])
    ways["single_best"] = np.tile(
        tables[1].scores[:, tables[0].scores.mean(0).argmax()], (len(config.budgets), 1)
    )
    ways["oracle"] = np.tile(tables[1].scores.max(1), (len(config.budgets), 1))
    return _compared(config, ways, tables[1].owners)


def _searched(config: Config, lessons: Table, test: Table) -> tuple[Searched, Searched]:
    """What may be seen of the training problems and of those asked about, at the scale of the first."""
    settings = Settings(config.width, config.steps, config.batch, config.networks, hidden=config.hidden)
    key = jax.random.fold_in(config.key, 7)
    parts = [(table_inputs(table), table_partitions(table)) for table in (lessons, test)]
    quality = judged_left_out(lessons, parts[0][1], key, settings)
    judge = learn_judge(lessons, parts[0][1], key, settings)
    qualities = (quality, judged(judge, parts[1][1]))
    scales = [
        (part.reshape(-1, part.shape[-1]).mean(0), part.reshape(-1, part.shape[-1]).std(0))
        for part in parts[0]
    ]
    found = []
    for table, part, own in zip((lessons, test), parts, qualities, strict=True):
        features, partitions = [
            np.clip((x - mean) / np.where(deviation > 0, deviation, 1), -3, 3).astype(np.float32)
            for x, (mean, deviation) in zip(part, scales, strict=True)
        ]
        worths = table.scores.astype(np.float32)
        budget = np.ones(len(worths), int)
        every = (features, partitions, own.astype(np.float32), table.usable, worths, budget)
        found.append(Searched(*map(jnp.asarray, every)))
    return found[0], found[1]


def _agents(config: Config, candidates: Any, known: Searched, asked: Searched) -> dict[str, np.ndarray]:
    """[B, C] what each agent commits to, at every budget."""
    most = max(config.budgets)
    game = clustering_search(candidates, known, budgets=range(1, most + 1))
    networks = {"rl2": jm.networks.gru, "forgetful": jm.networks.forgetful}
    found = {}
    for name, network in networks.items():
        agent = jm.rl.rl2(game, partial(network, width=config.memory), sees=UNPAID)
        schedule = optax.exponential_decay(config.rate, config.meta_steps * 8, 0.1)
        learn = jm.rl.ppo(
            agent,
            game,
            optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)),
            steps=most + 1,
            episodes=1,
            entropy_weight=config.entropy,
            discount=1.0,
        )
        start, train = jax.random.split(config.key)
        state, _ = jm.loop(
            learn,
            jm.rl.trials(game),
            learn.init(agent.network.init(start)),
            train,
            steps=config.meta_steps,
            tasks=config.tasks,
            every=max(config.meta_steps // 30, 1),
            log=config.folder / f"training_{name}.jsonl",
            title=name,
        )
        count = len(asked.budget)
        keys = jax.random.split(jax.random.fold_in(config.key, 1), count)
        rows = []
        for budget in config.budgets:
            tasks = asked._replace(budget=jnp.full(count, budget))
            played = jm.rl.play(
                agent, game, state.meta, Trial(tasks, keys), steps=most + 1, episodes=1, greedy=True
            )
            rows.append(np.asarray(played["reward"]))
        found[name] = np.stack(rows)
    return found


def _others(config: Config, asked: Searched, table: Table) -> dict[str, np.ndarray]:
    """[B, C] random search by two judges, the selector's order, and Optuna's."""
    quality, silhouette = np.asarray(asked.quality), np.asarray(asked.partitions[..., 0])
    found = {
        "random": _random(config, table, quality),
        "silhouette": _random(config, table, silhouette),
    }
    advisor = load_model()[0]["unknown"]
    if advisor.candidates == table.candidates:
        found["selector"] = replayed(advisor, table, config.budgets, seed=config.seed).T
    if importlib.util.find_spec("optuna"):
        found["optuna"] = np.stack([_optuna(config, table, quality, most) for most in config.budgets])
    return found


def _random(config: Config, table: Table, quality: np.ndarray) -> np.ndarray:
    """The mean over draws of the worth of the best judged of so many random candidates."""
    random = np.random.default_rng(config.seed)
    told = np.where(table.usable, quality, -np.inf)
    total = np.zeros((len(config.budgets), len(told)))
    for _ in range(DRAWS):
        order = np.argsort(random.random(told.shape), 1)
        for row, budget in enumerate(config.budgets):
            tried = np.take_along_axis(told, order[:, :budget], 1)
            best = np.take_along_axis(order, tried.argmax(1)[:, None], 1)[:, 0]
            total[row] += np.where(np.isfinite(tried.max(1)), table.scores[np.arange(len(best)), best], 0)
    return total / DRAWS


def _optuna(config: Config, table: Table, quality: np.ndarray, most: int) -> np.ndarray:
    """The worth of the best judged candidate that TPE finds in so many evaluations, for every case."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = list(dict.fromkeys(one._replace(clusters=None) for one in table.candidates))
    counts = sorted({one.clusters for one in table.candidates if one.clusters})
    places = {one: at for at, one in enumerate(table.candidates)}
    found = []
    for row, (worths, foretold, usable) in enumerate(zip(table.scores, quality, table.usable, strict=True)):
        tried: list[int] = []

        def value(trial: Any, foretold: Any = foretold, usable: Any = usable, tried: Any = tried) -> float:
            kind = kinds[trial.suggest_categorical("kind", range(len(kinds)))]
            count = trial.suggest_categorical("clusters", counts)
            at = places[kind._replace(clusters=count if kind.told else None)]
            tried.append(at)
            return float(foretold[at]) if usable[at] else -1.0

        sampler = optuna.samplers.TPESampler(seed=config.seed + row, n_startup_trials=max(most // 3, 1))
        optuna.create_study(direction="maximize", sampler=sampler).optimize(value, n_trials=most)
        best = max(tried, key=lambda at: foretold[at] if usable[at] else -np.inf)
        found.append(worths[best])
    return np.array(found)


def _compared(config: Config, ways: dict[str, np.ndarray], owners: np.ndarray) -> dict[str, Interval]:
    """Means over sets at every budget, and what RL2 gains over every other way."""
    metrics: dict[str, Interval] = {}
    for row, budget in enumerate(config.budgets):
        found = {
            name: np.bincount(owners, values[row]) / np.bincount(owners) for name, values in ways.items()
        }
        metrics |= {f"ari/{budget}/{name}": jm.interval(values) for name, values in found.items()}
        for name in set(found) - {"rl2", "oracle"}:
            gain = found["rl2"] - found[name]
            metrics[f"gain/{budget}/rl2-{name}"] = choosing.bootstrap(gain, config.seed)
    return dict(sorted(metrics.items()))


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

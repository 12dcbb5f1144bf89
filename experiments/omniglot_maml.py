"""Few-shot classification on Omniglot: MAML, FOMAML, Reptile, iMAML, ANIL, Meta-SGD, ProtoNet.

Vinyals' split with quarter turns, 28 x 28; four blocks of 64 filters. Protocol of MAML (Finn et al. 2017):
strided blocks, batch statistics, 60,000 meta-steps; 5 ways: one inner step of rate 0.4, 32 tasks; 20 ways:
five of rate 0.1, 16 tasks; Adam 1e-3; as many queries as shots; 10 inner steps on 600 test tasks. The others
as in their papers: Reptile (Nichol et al. 2018), iMAML (Rajeswaran et al. 2019), ANIL (Raghu et al. 2020),
Meta-SGD (Li et al. 2017), ProtoNet (Snell et al. 2017: pooled blocks, 60 training ways, the rate halved every
2,000 episodes). Every result comes twice: with the query's batch statistics (transductive, as published), and
with the support's alone (inductive).

    python -m experiments.omniglot_maml --method maml --data-dir DIR
        9 minutes on two cores
    python -m experiments.omniglot_maml --method maml --preset gpu --data-dir DIR
        the full protocol; started again it goes on where it stopped
    python -m experiments.omniglot_maml --method maml --ways 20 --shots 5 --data-dir DIR
        other tasks, with the inner rate, steps and batch of their protocol

The cpu presets take fewer meta-steps, along a cosine. The quick ones use the bundled digits.
"""

from __future__ import annotations

from typing import Any

from experiments import few_shot
from experiments.few_shot import Config, Method
from jmeta import harness

FULL = Config(preset="gpu")
METHODS: dict[Method, dict[str, Any]] = {
    "maml": {},
    "fomaml": {},
    "reptile": {
        "train_shots": 10,
        "tasks": 5,
        "rate": 1.0,
        "schedule": "linear",
        "inner_rate": 1e-3,
        "inner_steps": 5,
        "test_steps": 50,
        "steps": 100_000,
    },
    "imaml": {"inner_rate": 0.1, "inner_steps": 16, "test_steps": 16},
    "anil": {},
    "metasgd": {"inner_rate": 0.1, "test_steps": 1},
    "protonet": {
        "strided": False,
        "train_ways": 60,
        "queries": 5,
        "test_queries": 5,
        "tasks": 1,
        "steps": 20_000,
        "schedule": "halving",
    },
}
SHORT: dict[Method, dict[str, Any]] = {
    "maml": {"steps": 10_000},
    "fomaml": {"steps": 10_000},
    "reptile": {"steps": 10_000, "schedule": "linear"},
    "imaml": {"steps": 2_000},
    "anil": {"steps": 16_000},
    "metasgd": {"steps": 8_000},
    "protonet": {"train_ways": 20, "tasks": 2, "steps": 4_000},
}
SLOWER = {"inner_rate": 0.1, "inner_steps": 5, "tasks": 16}
TWENTY: dict[Method, dict[str, Any]] = {
    "maml": SLOWER,
    "fomaml": SLOWER,
    "anil": SLOWER,
    "reptile": {"inner_rate": 5e-4, "inner_steps": 10, "minibatch": 20},
    "imaml": {"inner_steps": 25, "test_steps": 25, "tasks": 16},
    "metasgd": {"tasks": 16},
}
"""What changes with --ways 20; more meta-steps of reptile, 200,000, by --steps."""
PRESETS = few_shot.presets(FULL, METHODS, SHORT, TWENTY)


def experiment(config: Config) -> harness.Metrics:
    """Train one method, and look at the test classes once."""
    return few_shot.run(config)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

"""Few-shot classification on Omniglot: MAML, FOMAML, Reptile, iMAML, ANIL, Meta-SGD, ProtoNet.

The split is Vinyals' with quarter turns, images are 28 x 28, and the network has four blocks of 64 filters.
Protocol of MAML (Finn et al. 2017): strided blocks, batch statistics, 60,000 meta-steps; 5 ways: one inner
step of rate 0.4, 32 tasks; 20 ways: five inner steps of rate 0.1, 16 tasks; Adam 1e-3; equal numbers of
queries and shots; 10 inner steps on 600 test tasks. The other methods follow their papers: Reptile (Nichol et
al. 2018), iMAML (Rajeswaran et al. 2019), ANIL (Raghu et al. 2020), Meta-SGD (Li et al. 2017), ProtoNet
(Snell et al. 2017: pooled blocks, 60 training ways, the rate halved every 2,000 episodes). Accuracy is
reported with the query's batch statistics (transductive, as published) and with the support's alone
(inductive).

    python -m experiments.omniglot_maml --method maml --data-dir DIR
        9 minutes on two cores
    python -m experiments.omniglot_maml --method maml --preset gpu --data-dir DIR
        the full protocol; --resume continues an interrupted run
    python -m experiments.omniglot_maml --method maml --ways 20 --shots 5 --data-dir DIR
        20-way tasks, with the inner rate, steps and batch of their protocol

The cpu presets take fewer meta-steps with cosine decay. The quick presets use the bundled digits.
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
"""Changes of MAML for 20 ways."""
TWENTY: dict[Method, dict[str, Any]] = {
    "maml": SLOWER,
    "fomaml": SLOWER,
    "anil": SLOWER,
    "reptile": {"inner_rate": 5e-4, "inner_steps": 10, "minibatch": 20},
    "imaml": {"inner_steps": 25, "test_steps": 25, "tasks": 16},
    "metasgd": {"tasks": 16},
}
"""Changes of every method with --ways 20; the 200,000 meta-steps of Reptile are set by --steps."""
PRESETS = few_shot.presets(FULL, METHODS, SHORT, TWENTY)


def experiment(config: Config) -> harness.Metrics:
    """Trains one method and evaluates it on the test classes."""
    return few_shot.run(config)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

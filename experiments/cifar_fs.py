"""Few-shot classification of colour images on CIFAR-FS by MAML, ANIL, ProtoNet and related methods.

The split is that of Bertinetto et al. 2019 (64 training, 16 validation and 20 test classes), images are
32 x 32, and the network has four pooled blocks of 64 filters. Tasks are 5-way with 15 queries per class. MAML
takes five inner steps of rate 0.01 in training and ten at test time, 4 tasks per meta-step, Adam 1e-3 and
60,000 meta-steps; ProtoNet trains on 20 ways. Accuracy on 600 test tasks is reported with the query's batch
statistics (transductive) and with the support's alone (inductive). If the original data set is not available,
a file of JPEG copies (quality 90) is used, with close but not equal results.

    python -m experiments.cifar_fs --method protonet --data-dir DIR
        12 minutes on two cores

The quick presets use the bundled digits.
"""

from __future__ import annotations

from typing import Any

from experiments import few_shot
from experiments.few_shot import Config, Method
from jmeta import harness

FULL = Config(
    preset="gpu",
    dataset="cifar100",
    strided=False,
    queries=15,
    test_queries=15,
    tasks=4,
    inner_rate=0.01,
    inner_steps=5,
)
METHODS: dict[Method, dict[str, Any]] = {
    "maml": {},
    "fomaml": {},
    "reptile": {
        "train_shots": 10,
        "tasks": 5,
        "rate": 1.0,
        "schedule": "linear",
        "inner_rate": 1e-3,
        "inner_steps": 8,
        "test_steps": 50,
        "steps": 100_000,
    },
    "imaml": {"inner_steps": 16, "test_steps": 16},
    "anil": {},
    "metasgd": {"inner_steps": 1, "test_steps": 1},
    "protonet": {"train_ways": 20, "tasks": 1, "steps": 20_000, "schedule": "halving"},
}
BRIEF = {"every": 500, "queries": 5, "steps": 1_500}
SHORT: dict[Method, dict[str, Any]] = {
    **dict.fromkeys(METHODS, BRIEF),
    "reptile": BRIEF | {"schedule": "linear"},
    "anil": BRIEF | {"steps": 3_000},
    "protonet": BRIEF | {"train_ways": 10, "tasks": 2, "steps": 3_000},
}
PRESETS = few_shot.presets(FULL, METHODS, SHORT, queries=2)


def experiment(config: Config) -> harness.Metrics:
    """Trains one method and evaluates it on the test classes."""
    return few_shot.run(config)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

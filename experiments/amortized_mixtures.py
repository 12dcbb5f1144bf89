"""Mixtures of Gaussians without a search: a network that has seen many says where EM should start.

The generator of the Set Transformer (Lee et al. 2019): four spherical components in the plane, 100 to 500
points. Reported, on the same test sets for all rows, is the log-likelihood per point of the set itself, in
nats, and the adjusted Rand index of the partition.

- oracle: the mixture that the set was drawn from
- em_1, em_10: scikit-learn's EM, full covariances, from one k-means start and from the best of ten
- ours_1, ours_10: `gaussian_mixture`, 100 steps, k-means++ seeds
- amortized_0, _1, _5: a Set Transformer trained for the likelihood that it foretells; as it says, after one
  step of EM, and after five
- learned_1, learned_5: trained through a step of EM, four proposals of which the likeliest is kept

`gain/...` is the difference in pairs; `rate/...` data sets per second, of all sets at once for ours, in a loop
for scikit-learn.

Then sets of 2 to 6 components and 30 to 300 points, whose number is not told: a network trained on these is
run for every number, and the least BIC tells which; beside scikit-learn's EM, from one start and from three, by
the same rule. `found/...` is how often the number is right.

    python -m experiments.amortized_mixtures
        {TIME} on two cores

No data is needed. The gpu preset trains as long as was published, 50,000 steps.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree
from joblib import Parallel, delayed
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import jmeta as jm
from experiments import harness
from jmeta import Evaluation
from jmeta.clustering.amortized_mixture import outputs_per_component
from jmeta.metrics import Interval
from jmeta.records import Clusterer, Metrics, Model, Sampler, Task

DIMENSION, SPREAD, DEVIATION = 2, 4.0, 0.3
"""Of the published generator."""
FIXED, RAGGED = (4, 4), (2, 6)
"""How many components a set has, where it is told and where it is not."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    points: tuple[int, int] = (100, 500)
    """The least and the most points of a set."""
    ragged_points: tuple[int, int] = (30, 300)
    """The same, where the number of components is not told."""
    width: int = 64
    """Of the network's layers."""
    proposals: int = 4
    """Starts that a network foretells, where it is trained through EM."""
    steps: int = 20_000
    """Meta-steps of each of the two networks, and half as many of the ragged one."""
    tasks: int = 10
    """Sets per meta-step."""
    rate: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    test_sets: int = 3000
    """Sets of the first table."""
    ragged_sets: int = 500
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
        steps=4,
        tasks=2,
        test_sets=4,
        ragged_sets=2,
        timed_sets=4,
        every=2,
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", width=128, steps=50_000, every=5000),
}


def experiment(config: Config) -> harness.Metrics:
    """Train the networks, then fit every test set in every way."""
    keys = dict(zip(("amortized", "learned", "ragged", "test"), jax.random.split(config.key, 4), strict=True))
    told = jm.mixtures(points=config.points, clusters=FIXED)
    ways: dict[str, tuple[Clusterer, PyTree]] = {
        f"ours_{starts}": (jm.gaussian_mixture(FIXED[1], steps=100, restarts=starts), {}) for starts in (1, 10)
    }
    for name, proposals, trained, tested in (
        ("amortized", 1, 0, (0, 1, 5)),
        ("learned", config.proposals, 1, (1, 5)),
    ):
        network = _network(config, proposals, FIXED[1])
        made = partial(jm.amortized_mixture, network, FIXED[1], proposals=proposals)
        params = _train(config, name, made(covariance="diagonal", steps=trained), told, keys[name], config.steps)
        ways |= {f"{name}_{steps}": (made(steps=steps), params) for steps in tested}
    found = {
        row: jm.evaluate(
            clusterer, told, params, keys["test"], tasks=config.test_sets, score=mixture_score
        )
        for row, (clusterer, params) in ways.items()
    }
    found["oracle"] = jm.evaluate(
        ways["ours_1"][0], told, {}, keys["test"], tasks=config.test_sets, score=oracle_score
    )
    sets = drawn(told, keys["test"], config.test_sets)
    for starts in (1, 10):
        found[f"em_{starts}"] = by_scikit(partial(scikit_fit, FIXED[1], starts), sets)
    pairs = [("amortized_1", "em_1"), ("learned_1", "em_1"), ("learned_5", "em_10"), ("learned_5", "ours_10")]
    metrics = dict(harness.paired(found, pairs))
    metrics |= _rates(config, ways, told, keys["test"], sets)
    return metrics | _ragged(config, keys)

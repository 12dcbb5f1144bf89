"""The table of algorithms: every line of it is put through every contract test."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

import jmeta as jm
from jmeta.clustering.zero_shot import zero_shot
from jmeta.distances import exact_squared_distances


class Row(NamedTuple):
    """One clusterer, and which properties it has.

    Attributes:
        algorithm: K, **options -> a clusterer.
        options: of it.
        fixed: K -> options that leave nothing to chance, nor to the order of the points.
        powers: by which power of a length each of its numbers goes.
        lacks: properties that it does not have, of `PROPERTIES`.
        objective: state -> a number that no step raises; None where there is none.
    """

    algorithm: Callable[..., jm.Clusterer]
    options: Mapping[str, Any] = types.MappingProxyType({})
    fixed: Callable[[int], dict[str, Any]] = lambda clusters: {"seeding": jm.farthest_first}
    powers: Mapping[str, int] = types.MappingProxyType({})
    lacks: tuple[str, ...] = ()
    objective: Callable[[Any], Any] | None = None

    def __call__(self, clusters, scale=1.0, **changes):
        scaled = {name: self.options[name] * scale**power for name, power in self.powers.items()}
        return self.algorithm(clusters, **dict(self.options) | scaled | changes)


def _energy(state):
    return state.energy


def _unlikelihood(state):
    return -state.log_likelihood


def _stretch():
    return jm.Model(lambda key: jnp.zeros(()), lambda params, inputs, weights=None: inputs * jnp.exp(params))


def _nothing(clusters):
    return {}


def _foretold(clusters, **options):
    """A mixture whose network says: from the farthest points, as wide as the parameter is."""

    def answer(params, inputs, weights=None):
        seeds = jm.farthest_first(inputs[:, :-1], weights, clusters, jax.random.key(0))
        return jnp.concatenate([jnp.zeros((clusters, 1)), seeds, jnp.full_like(seeds, params)], 1)

    return jm.amortized_mixture(jm.Model(lambda key: jnp.asarray(-2.0), answer), clusters, **options)


def _near(inputs, weights):
    """Logits of pairs that fall with their distance, relative to that of all pairs."""
    squared = exact_squared_distances(inputs, inputs)
    pairs = weights[:, None] * weights
    unit = jnp.sum(pairs * squared) / jnp.maximum(jnp.sum(pairs), 1)
    return 2 - 4 * squared / jnp.where(unit > 0, unit, 1)


def _zero_shot(clusters, **options):
    """An untrained network, to which the distances are added, so that there are clusters to find."""
    network = jm.networks.pair_transformer(width=8, pair_width=4, layers=1, heads=2)

    def apply(params, inputs, weights, known):
        return _near(inputs, weights) + network.apply(params, inputs, weights, known)

    return zero_shot(clusters, model=jm.Model(network.init, apply), **options)


def _zero_shot_find(clusters, **options):
    def apply(params, inputs, weights, known):
        return params + _near(inputs, weights)

    return zero_shot(clusters, model=jm.Model(lambda key: jnp.zeros(()), apply), find=True, **options)


def taking(count):
    """A rule for a number of steps that may be traced, so that one program serves all numbers."""

    def rule(step, start, theta, steps, tol):
        return lax.fori_loop(0, count, lambda i, x: step(x, theta, i), start)

    return rule


PROPERTIES = ("permutation", "translation", "rotation", "scale", "padding", "eager", "loop")

CLUSTERERS = {
    "soft_kmeans": Row(jm.soft_kmeans, objective=_energy),
    "soft_kmeans_learned": Row(
        jm.soft_kmeans,
        dict(inverse_temperature=2.0, learn=("temperature",)),
        powers={"inverse_temperature": -2},
        objective=_energy,
    ),
    "soft_kmeans_implicit": Row(
        jm.soft_kmeans, dict(diff=jm.implicit(jm.gmres(6)), tol=1e-7, seeding=jm.farthest_first)
    ),
    "soft_kmeans_annealed": Row(jm.soft_kmeans, dict(annealing=20.0)),
    "soft_kmeans_weighed": Row(jm.soft_kmeans, dict(mixture_weights=True), objective=_energy),
    "soft_kmeans_cosine": Row(
        jm.soft_kmeans, dict(metric="cosine"), lacks=("translation",), objective=_energy
    ),
    "soft_kmeans_restarts": Row(jm.soft_kmeans, dict(restarts=3)),
    "sinkhorn_kmeans": Row(jm.sinkhorn_kmeans),
    "sinkhorn_kmeans_implicit": Row(jm.sinkhorn_kmeans, dict(diff=jm.implicit(jm.gmres(8)), tol=1e-6)),
    "kmeans": Row(jm.kmeans, objective=_energy),
    "kmeans_random": Row(jm.kmeans, dict(seeding=jm.random_points, restarts=8)),
    "gaussian_mixture": Row(jm.gaussian_mixture, dict(steps=10), objective=_unlikelihood),
    "amortized_mixture": Row(_foretold, dict(steps=10), _nothing, objective=_unlikelihood),
    "gaussian_mixture_tied": Row(
        jm.gaussian_mixture, dict(covariance="tied", steps=10), objective=_unlikelihood
    ),
    "gaussian_mixture_diagonal": Row(
        jm.gaussian_mixture,
        dict(covariance="diagonal", steps=10, pseudo_points=0.5),
        lacks=("rotation",),
    ),
    "mean_shift": Row(jm.mean_shift, dict(steps=10), _nothing),
    "spectral": Row(
        jm.spectral, fixed=lambda clusters: {"rows": jm.soft_kmeans(clusters, seeding=jm.farthest_first)}
    ),
    "dbscan": Row(jm.dbscan, dict(min_points=3), _nothing),
    "dbscan_given": Row(jm.dbscan, dict(min_points=3, radius=2.0), _nothing, {"radius": 1}),
    "dbscan_soft": Row(jm.dbscan, dict(min_points=3, softness=0.03), _nothing),
    "embedded": Row(lambda clusters, **options: jm.embedded(_stretch(), jm.soft_kmeans(clusters, **options))),
    "ward": Row(jm.agglomerative, dict(linkage="ward"), _nothing),
    "average": Row(jm.agglomerative, dict(linkage="average"), _nothing),
    "complete": Row(jm.agglomerative, dict(linkage="complete"), _nothing),
    "single": Row(jm.agglomerative, dict(linkage="single"), _nothing),
    "zero_shot": Row(_zero_shot, {}, _nothing),
    "zero_shot_find": Row(_zero_shot_find, {}, _nothing),
}
"""name -> a row that makes a clusterer of K."""


def _net():
    return jm.networks.mlp([2, 8, 3])


LEARNERS = {
    "maml": lambda: jm.maml(_net(), jm.cross_entropy, steps=2),
    "fomaml": lambda: jm.maml(_net(), jm.cross_entropy, steps=2, diff=jm.straight_through()),
    "maml_learned_rate": lambda: jm.maml(_net(), jm.cross_entropy, learn=("learning_rate",)),
    "boil": lambda: jm.maml(
        _net(), jm.cross_entropy, steps=2, adapts=lambda path: not path.startswith("layers/1")
    ),
    "imaml": lambda: jm.maml(
        _net(), jm.cross_entropy, steps=10, proximal=1.0, diff=jm.implicit(jm.conjugate_gradient(5))
    ),
    "anil": lambda: jm.on_features(
        jm.networks.mlp([2, 8]), jm.maml(jm.networks.mlp([8, 3]), jm.cross_entropy, steps=2)
    ),
    "meta_sgd": lambda: jm.maml(
        _net(),
        jm.cross_entropy,
        numbers={"learning_rate": jm.per_weight(jm.signed(0.1))},
        learn=("learning_rate",),
    ),
    "maml_plus_plus": lambda: jm.maml(
        _net(),
        jm.cross_entropy,
        steps=2,
        numbers={"learning_rate": jm.per_step(jm.per_leaf(0.1), 2)},
        learn=("learning_rate",),
        diff=jm.unroll(remat=True),
    ),
    "meta_curvature": lambda: jm.maml(
        _net(),
        jm.cross_entropy,
        optimizer=jm.curvature,
        numbers={"learning_rate": 0.1, "factors": jm.factors()},
        learn=("factors",),
    ),
    "truncated": lambda: jm.maml(  # the start is reached through the proximal term alone
        _net(), jm.cross_entropy, steps=3, proximal=1.0, diff=jm.truncate(1)
    ),
    "cavia": lambda: jm.cavia(jm.networks.mlp([2 + 2, 8, 3]), jm.cross_entropy, size=2, steps=2),
    "matching": lambda: jm.matching(_net(), ways=3, inverse_temperature=5.0),
    "ridge": lambda: jm.on_features(jm.networks.mlp([2, 8]), jm.ridge(ways=3)),
    "prototypes": lambda: jm.prototypes(_net(), ways=3),
    "centroids": lambda: jm.centroids(_net(), jm.soft_kmeans(3, steps=5)),
    "centroids_hard": lambda: jm.centroids(_net(), jm.kmeans(3, steps=5)),
}
"""name -> a learner of tasks with 2 features and 3 classes."""

PIECEWISE_CONSTANT = {"centroids_hard"}
"""Learners whose outputs jump: their derivative is zero wherever there is one."""

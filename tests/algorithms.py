"""The table of algorithms: every line of it is put through every contract test."""

import jmeta as jm

CLUSTERERS = {
    "soft_kmeans": lambda clusters: jm.soft_kmeans(clusters),
    "soft_kmeans_learned": lambda clusters: jm.soft_kmeans(
        clusters, inverse_temperature=2.0, learn=("temperature",)
    ),
    "soft_kmeans_implicit": lambda clusters: jm.soft_kmeans(
        clusters, diff=jm.implicit(jm.gmres(6)), seeding=jm.farthest_first, tol=1e-7
    ),
    "soft_kmeans_annealed": lambda clusters: jm.soft_kmeans(clusters, annealing=20.0),
    "soft_kmeans_weighed": lambda clusters: jm.soft_kmeans(clusters, mixture_weights=True),
    "sinkhorn_kmeans": lambda clusters: jm.sinkhorn_kmeans(clusters),
    "sinkhorn_kmeans_implicit": lambda clusters: jm.sinkhorn_kmeans(
        clusters, diff=jm.implicit(jm.gmres(8)), tol=1e-6, rounds=(5, 2)
    ),
    "soft_kmeans_restarts": lambda clusters: jm.soft_kmeans(clusters, restarts=3),
    "gaussian_mixture": lambda clusters: jm.gaussian_mixture(clusters, steps=10),
    "gaussian_mixture_tied": lambda clusters: jm.gaussian_mixture(clusters, covariance="tied", steps=10),
    "gaussian_mixture_diagonal": lambda clusters: jm.gaussian_mixture(
        clusters, covariance="diagonal", steps=10, pseudo_points=0.5
    ),
    "kmeans": lambda clusters: jm.kmeans(clusters),
    "kmeans_random": lambda clusters: jm.kmeans(clusters, seeding=jm.random_points, restarts=8),
}
"""name -> K -> a clusterer."""


def _net():
    return jm.networks.mlp([2, 8, 3])


LEARNERS = {
    "maml": lambda: jm.maml(_net(), jm.cross_entropy, steps=2),
    "fomaml": lambda: jm.maml(_net(), jm.cross_entropy, steps=2, diff=jm.straight_through()),
    "maml_learned_rate": lambda: jm.maml(_net(), jm.cross_entropy, learn=("learning_rate",)),
    "prototypes": lambda: jm.prototypes(_net(), ways=3),
    "centroids": lambda: jm.centroids(_net(), jm.soft_kmeans(3, steps=5)),
    "centroids_hard": lambda: jm.centroids(_net(), jm.kmeans(3, steps=5)),
}
"""name -> a learner of tasks with 2 features and 3 classes."""

PIECEWISE_CONSTANT = {"centroids_hard"}
"""Learners whose outputs jump: their derivative is zero wherever there is one."""

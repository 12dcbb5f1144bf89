"""Losses: `(outputs, targets, weights=None) -> (loss, metrics)`; labels of -1 do not count."""

from .clustering import matched_cross_entropy, pairwise_cross_entropy, pairwise_divergence, soft_ari, soft_nmi
from .embedding import supervised_contrastive, within_class_variance
from .regret import expected_regret, listwise, regret_and_error
from .supervised import cross_entropy, squared_error
from .unlabelled import clustering_energy, information_maximization

__all__ = [
    "clustering_energy",
    "cross_entropy",
    "expected_regret",
    "information_maximization",
    "listwise",
    "matched_cross_entropy",
    "pairwise_cross_entropy",
    "pairwise_divergence",
    "regret_and_error",
    "soft_ari",
    "soft_nmi",
    "squared_error",
    "supervised_contrastive",
    "within_class_variance",
]

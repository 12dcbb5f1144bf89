"""Losses: `(outputs, targets, weights=None) -> (scalar, metrics)`. Targets of -1 do not count."""

from .clustering import matched_cross_entropy, pairwise_cross_entropy, soft_ari
from .supervised import cross_entropy, squared_error

__all__ = [
    "cross_entropy",
    "matched_cross_entropy",
    "pairwise_cross_entropy",
    "soft_ari",
    "squared_error",
]

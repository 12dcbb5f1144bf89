"""Metrics: how good a result is, on the device, with weights; and intervals over tasks."""

from .agreement import adjusted_rand_index, matched_accuracy, normalized_mutual_information
from .interval import Interval, interval

__all__ = [
    "Interval",
    "adjusted_rand_index",
    "interval",
    "matched_accuracy",
    "normalized_mutual_information",
]

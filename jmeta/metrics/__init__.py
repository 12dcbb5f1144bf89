"""Metrics of clusterings, on-device and with weights, and confidence intervals over tasks."""

from .agreement import adjusted_rand_index, fowlkes_mallows, matched_accuracy, purity
from .density import density_validity
from .information import adjusted_mutual_information, completeness, homogeneity, normalized_mutual_information
from .internal import calinski_harabasz, davies_bouldin, dunn, silhouette, simplified_silhouette
from .interval import Interval, interval
from .neighbourhood import near_dunn, near_neighbours
from .stability import stability

__all__ = [
    "Interval",
    "adjusted_mutual_information",
    "adjusted_rand_index",
    "calinski_harabasz",
    "completeness",
    "davies_bouldin",
    "density_validity",
    "dunn",
    "fowlkes_mallows",
    "homogeneity",
    "interval",
    "matched_accuracy",
    "near_dunn",
    "near_neighbours",
    "normalized_mutual_information",
    "purity",
    "silhouette",
    "simplified_silhouette",
    "stability",
]

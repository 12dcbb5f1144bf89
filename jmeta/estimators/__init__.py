"""Estimators that are compatible with scikit-learn."""

from .auto_cluster import AutoCluster
from .meta_clusterer import MetaClusterer
from .on_device import MixtureClusterer, SinkhornKMeans, SoftKMeans
from .zero_shot import ZeroShotClusterer

__all__ = [
    "AutoCluster",
    "MetaClusterer",
    "MixtureClusterer",
    "SinkhornKMeans",
    "SoftKMeans",
    "ZeroShotClusterer",
]

"""Meta-features: numbers that describe a table, a set of images or a partition without labels."""

from .images import image_features
from .problems import problem_features
from .tables import feature_names, meta_features

__all__ = [
    "feature_names",
    "image_features",
    "meta_features",
    "problem_features",
]

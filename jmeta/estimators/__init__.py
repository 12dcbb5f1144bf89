"""Estimators: clustering in the dress of scikit-learn."""

from .auto_cluster import AutoCluster

__all__ = ["AutoCluster"]

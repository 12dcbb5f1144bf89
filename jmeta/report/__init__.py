"""Plots and HTML reports; the only package that imports matplotlib."""

from .clustering import Summary, clustering_report
from .pictures import learning_curves, task_clusters
from .run import run_report

__all__ = ["Summary", "clustering_report", "learning_curves", "run_report", "task_clusters"]

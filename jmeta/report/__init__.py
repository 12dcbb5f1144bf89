"""Plots and HTML reports; the only package that imports matplotlib and plotly.

The page of a clustering, `report.clustering`, needs the extra `tables`.
"""

from .pictures import learning_curves, task_clusters
from .run import run_report

__all__ = ["learning_curves", "run_report", "task_clusters"]

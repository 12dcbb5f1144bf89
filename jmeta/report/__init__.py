"""What people look at: pictures. The one place that imports matplotlib."""

from .pictures import learning_curves, task_clusters

__all__ = ["learning_curves", "task_clusters"]

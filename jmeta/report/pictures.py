"""Plots of a run: learning curves, and the clusters of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Int, Num
from matplotlib.figure import Figure

from ..errors import InputError
from ..metafeatures.separation import principal_axes

_COLORS = matplotlib.color_sequences["tab10"]


def learning_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], metric: str) -> Figure:
    """Plots a metric against meta-steps, one line per run.

    Args:
        runs: name of each run -> the rows of its log.
        metric: name of the metric; rows without it are left out.

    >>> figure = learning_curves({"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}, "loss")
    >>> figure.axes[0].get_ylabel()
    'loss'
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="meta-step", ylabel=metric)
    for name, rows in runs.items():
        points = [(row["step"], row[metric]) for row in rows if row.get(metric) is not None]
        axes.plot(*np.transpose(points) if points else ([], []), label=name)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def task_clusters(
    images: Num[np.ndarray, "N H W C"],
    truth: Int[np.ndarray, " N"],
    views: Mapping[str, tuple[Float[np.ndarray, "N D"], Int[np.ndarray, " N"]]],
) -> Figure:
    """Plots one task in several embeddings: each point is its image, in a frame of its cluster's colour.

    Points lie on the first two principal axes of the embedding. Clusters are coloured by the most common
    class of their points, so that a frame of the wrong colour is a mistake.

    Args:
        images: [N, H, W, C] in [0, 1].
        truth: [N] classes.
        views: title -> ([N, D] embedded points, [N] cluster of each).

    Raises:
        InputError: `views` is empty.
    """
    if not views:
        raise InputError("views is empty; give at least one embedding.")
    figure = Figure(figsize=(4.2 * len(views), 4.4), layout="constrained")
    for place, (title, (embedded, labels)) in enumerate(views.items(), 1):
        axes = figure.add_subplot(1, len(views), place, title=title, xticks=[], yticks=[])
        flat = _principal(embedded)
        axes.scatter(flat[:, 0], flat[:, 1], s=0)
        for image, (x, y), label in zip(images, flat, _named(labels, truth), strict=True):
            _thumbnail(axes, image, (x, y), _COLORS[label % len(_COLORS)])
        axes.margins(0.12)
    return figure


def _thumbnail(
    axes: matplotlib.axes.Axes, image: np.ndarray, position: tuple[float, float], color: tuple
) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    shown = image[..., 0] if image.shape[-1] == 1 else image
    picture = OffsetImage(shown, zoom=20 / len(image), cmap="gray_r", interpolation="nearest")
    frame = {"edgecolor": color, "linewidth": 2, "boxstyle": "square,pad=0.05"}
    axes.add_artist(AnnotationBbox(picture, position, bboxprops=frame))


def _principal(points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N 2"]:
    """Projects points on their first two principal axes."""
    flat, _ = principal_axes(points, 2)
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def _named(labels: Int[np.ndarray, " N"], truth: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The most common class in the cluster of each point."""

    def most_common(classes: np.ndarray) -> int:
        values, counts = np.unique(classes, return_counts=True)
        return int(values[counts.argmax()])

    common = {label: most_common(truth[labels == label]) for label in np.unique(labels)}
    return np.array([common[label] for label in labels])

"""Pictures of a run: how learning went, and what one task looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Int, Num
from matplotlib.figure import Figure

from ..errors import InputError

_COLORS = matplotlib.color_sequences["tab10"]


def learning_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], metric: str) -> Figure:
    """One line per run: a metric against meta-steps.

    Args:
        runs: name of each run -> the rows of its log.
        metric: which of their numbers; rows without it are left out.

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
    """One task, seen through several embeddings: each point is its image, framed by its cluster.

    Points lie along the two principal directions of the embedding. Clusters are coloured by the
    class that most of their points have, so that a frame of the wrong colour is a mistake.

    Args:
        images: [N, H, W, C] in [0, 1].
        truth: [N] classes.
        views: title -> ([N, D] embedded points, [N] cluster of each).

    Raises:
        InputError: there is nothing to show.
    """
    if not views:
        raise InputError("there is no view of the task to draw; pass at least one embedding.")
    figure = Figure(figsize=(4.2 * len(views), 4.4), layout="constrained")
    for place, (title, (embedded, found)) in enumerate(views.items(), 1):
        axes = figure.add_subplot(1, len(views), place, title=title, xticks=[], yticks=[])
        flat = _principal(embedded)
        axes.scatter(flat[:, 0], flat[:, 1], s=0)
        for image, (x, y), label in zip(images, flat, _named(found, truth), strict=True):
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
    """The two directions of greatest variance."""
    centered = points - points.mean(0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    flat = centered @ directions[:2].T
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def _named(found: Int[np.ndarray, " N"], truth: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Each point's cluster, named by the class that is most common in it."""

    def most(labels: np.ndarray) -> int:
        values, counts = np.unique(labels, return_counts=True)
        return int(values[counts.argmax()])

    common = {label: most(truth[found == label]) for label in np.unique(found)}
    return np.array([common[label] for label in found])

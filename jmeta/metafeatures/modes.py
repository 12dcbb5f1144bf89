"""Modes of the density of the points: how prominent each is, and what a partition has to do with them.

The density of a point is estimated from the distance r to its k-th neighbour, as -d log r with the intrinsic
dimension d of the points (Levina & Bickel 2005). Its standard deviation is about 1 / sqrt(k), so that the
logarithm times sqrt(k) is in units of noise. From the densest points on, every point joins the modes that its
neighbours belong to; where two modes meet, the lower one ends, and its prominence is the density of its peak
less that of the point where they meet (Chazal, Guibas, Oudot & Skraba 2013). A mode that is noise has a
prominence of one or two and few points; one that is a cluster has a great prominence, or many points, or
both: modes are ordered by their weight, prominence times the square root of their share of the points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from ..clustering.host.cuts import cuts, root_of
from .expected import adjusted_rand

SCALES = (10, 20, 40)
"""Numbers of neighbours k."""
LARGEST = 60.0
"""The largest prominence; that of a mode that no path of neighbours joins to others."""
CLOSEST = 0.1
"""Least distance of neighbours, relative to the median: equal points have no infinite density."""
MOST_DIMENSIONS = 64.0
"""The largest intrinsic dimension."""
SMALL, LARGE = 0.01, 0.04
"""Least shares of the points of modes that descriptors look at."""
CLEAR = 1.0
"""Least weight of a mode that can be told from noise."""
MOST = 51
"""How many modes are looked at, the heaviest."""


class Modes(NamedTuple):
    """The modes of N points, but for the densest one of all, from the lightest on.

    The N - 1 merges also hold those of single points, of prominence 0, that never were modes.

    Attributes:
        first: [N - 1] a point of the mode that ends with the merge.
        second: [N - 1] a point of the other.
        prominence: [N - 1] in units of noise.
        share: [N - 1] of the points, when the mode ends.
        dimension: intrinsic dimension of the points.
    """

    first: Int[np.ndarray, " E"]
    second: Int[np.ndarray, " E"]
    prominence: Float[np.ndarray, " E"]
    share: Float[np.ndarray, " E"]
    dimension: float

    @property
    def weights(self) -> Float[np.ndarray, " E"]:
        """[N - 1] prominence times the square root of the share, in ascending order."""
        return self.prominence * np.sqrt(self.share)

    def heaviest(self, least: float = 0.0) -> Float[np.ndarray, " 52"]:
        """[52] the largest weights; with a least share, the largest prominences of modes of that share."""
        values = self.prominence[self.share >= least] if least else self.weights
        found = np.zeros(MOST + 1)
        largest = np.sort(values)[::-1][: MOST + 1]
        found[: len(largest)] = largest
        return found


def modes(distances: Float[np.ndarray, "N k"], neighbours: Int[np.ndarray, "N k"]) -> Modes:
    """The modes of the density of points.

    Args:
        distances: [N, k] of each point to its nearest ones, in ascending order, without the point itself.
        neighbours: [N, k] the rows of these.

    >>> x = np.array([0.0, 1, 2, 3, 20, 21, 22, 23])
    >>> distances = np.sort(np.abs(x[:, None] - x), 1)[:, 1:3]
    >>> found = modes(distances, np.argsort(np.abs(x[:, None] - x), 1)[:, 1:3])
    >>> found.heaviest()[:2].round(2).tolist()
    [42.43, 0.0]
    """
    count, scale = distances.shape
    dimension = _dimension(distances)
    density = -dimension * np.sqrt(scale) * np.log(distances[:, -1])
    first, second, meeting = _spanning_tree(density, neighbours)
    roots, peaks, sizes = list(range(count)), density.tolist(), [1] * count
    prominence, share = np.empty(count - 1), np.empty(count - 1)
    for place, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        kept, ended = root_of(roots, one), root_of(roots, other)
        if peaks[kept] < peaks[ended]:
            kept, ended = ended, kept
        prominence[place] = min(peaks[ended] - meeting[place], LARGEST)
        share[place] = min(sizes[ended], sizes[kept]) / count
        roots[ended] = kept
        sizes[kept] += sizes[ended]
    order = np.argsort(prominence * np.sqrt(share), kind="stable")
    return Modes(first[order], second[order], prominence[order], share[order], dimension)


def _dimension(distances: Float[np.ndarray, "N k"]) -> float:
    """The median of the estimates of the intrinsic dimension around each point, at least 1/2."""
    logarithms = np.log(distances)
    inverse = (logarithms[:, -1:] - logarithms).sum(1) / max(distances.shape[1] - 1, 1)
    return float(np.clip(1 / max(np.median(inverse), 1e-3), 0.5, MOST_DIMENSIONS))


def _spanning_tree(
    density: Float[np.ndarray, " N"], neighbours: Int[np.ndarray, "N k"]
) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"], Float[np.ndarray, " E"]]:
    """The edges between neighbours along which modes meet, in order, and the density there.

    Parts that no path of neighbours joins meet at a density of -inf, after all others.
    """
    count, scale = neighbours.shape
    first, second = np.repeat(np.arange(count), scale), neighbours.ravel()
    cost = density.max() + 1 - np.minimum(density[first], density[second])
    tree = minimum_spanning_tree(coo_array((cost, (first, second)), (count, count)).tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    part = connected_components(tree, directed=False)[1]
    densest = np.lexsort((-density, part))[np.unique(np.sort(part), return_index=True)[1]]
    top = densest[density[densest].argmax()]
    others = densest[densest != top]
    first = np.concatenate([tree.row[order], others])
    second = np.concatenate([tree.col[order], np.full(len(others), top)])
    meeting = np.minimum(density[first], density[second])
    meeting[len(order) :] = -np.inf
    return first, second, meeting


def mode_columns(
    distances: Float[np.ndarray, "N 40"], neighbours: Int[np.ndarray, "N 40"], labels: Int[np.ndarray, "A N"]
) -> tuple[dict[str, Float[np.ndarray, " A"]], dict[str, float]]:
    """Descriptors of every partition, and of the table, by name; for each of `SCALES`.

    Of a partition into K clusters:

    - mode weight, mode prominence: of the mode that there is one of for every cluster, the K-th heaviest
      (most prominent, of those with a share of `SMALL`), where the densest is the first;
    - next mode weight, next mode prominence: of the one after it;
    - clusters less modes: K less the number of clear modes;
    - like modes: the adjusted Rand index with the partition by the K heaviest modes.

    Of the table: the weights and prominences of the second, third and fifth mode, the number of clear modes,
    and the intrinsic dimension.

    Args:
        distances: [N, 40] of each row to its nearest ones, or to all others if there are fewer.
        neighbours: [N, 40] these rows.
        labels: [A, N] partitions with clusters from 0 and -1 for noise.
    """
    middle = np.median(distances[:, -1])
    distances = np.maximum(distances, CLOSEST * middle if middle > 0 else 1.0)
    counts = np.array([len(np.unique(one[one >= 0])) for one in labels])
    columns: dict[str, Float[np.ndarray, " A"]] = {}
    table: dict[str, float] = {}
    for scale in SCALES:
        found = modes(distances[:, :scale], neighbours[:, :scale])
        rows = {"weight": found.heaviest(), "prominence": found.heaviest(SMALL)}
        at = np.clip(counts, 1, MOST) - 1
        for name, values in rows.items():
            before = np.concatenate([[LARGEST], values])  # the densest mode is always there
            columns[f"mode {name} {scale}"] = before[at]
            columns[f"next mode {name} {scale}"] = before[at + 1]
        clear = 1 + float((rows["weight"] > CLEAR).sum())
        columns[f"clusters less modes {scale}"] = counts - clear
        columns[f"like modes {scale}"] = _like_modes(found, labels, counts)
        rows["large prominence"] = found.heaviest(LARGE)
        table |= {
            f"{name} of mode {place + 2}, {scale}": float(values[place])
            for name, values in rows.items()
            for place in (0, 1, 3)
        }
        table |= {
            f"log modes {scale}": float(np.log(clear)),
            f"log dimension {scale}": np.log(found.dimension),
        }
    return columns, table


def _like_modes(
    found: Modes, labels: Int[np.ndarray, "A N"], counts: Int[np.ndarray, " A"]
) -> Float[np.ndarray, " A"]:
    """The adjusted Rand index of every partition with that by the heaviest modes, as many as clusters."""
    counts = np.clip(counts, 1, MOST)
    needed = np.unique(counts).tolist()
    partitions = dict(zip(needed, cuts(found.first, found.second, needed), strict=True))
    return np.array(
        [adjusted_rand(one, partitions[count]) for one, count in zip(labels, counts, strict=True)]
    )

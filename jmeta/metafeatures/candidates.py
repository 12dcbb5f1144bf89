"""Descriptors of many partitions of one table, from which the quality of each can be predicted.

Five views of a partition, none of which needs labels:

- what `pair_transformer` predicts: the expected adjusted Rand index under P, the probability of each pair of
  points to belong together, and how P looks within and between the clusters;
- the other partitions: the same index under the share of partitions that put a pair together;
- the geometry of the points: silhouette, neighbours in other clusters, edges of a spanning tree, and the fit
  and separation of Gaussian clusters;
- the modes of the density: whether there is one for each cluster, and not one more;
- its own numbers: clusters, sizes, noise, and how it relates to the best cut of P.

Descriptors of the table itself are the same for all its partitions. Everything is computed on the host, on a
sample where a view compares all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from ..clustering.host.genie import spanning_tree
from .expected import adjusted, adjusted_rand
from .modes import SCALES, mode_columns
from .separation import separation

NEIGHBOURS = 10
"""Neighbours whose cluster is compared with that of a point."""
CORE = 5
"""The neighbour whose distance is the least length of an edge of the spanning tree."""
LOGIT_LIMIT = 8.0
"""Largest absolute logit in the log-likelihood."""
CHUNK = 32
"""Partitions whose pairs are compared at once."""
Columns = dict[str, Float[np.ndarray, " A"]]


class Inputs(NamedTuple):
    """What descriptors of partitions are computed from.

    Attributes:
        points: [N, D].
        sample: [M] rows that P was predicted for.
        together: [M, M] probability that two of these belong together.
        labels: [A, N] partitions; -1 is noise.
        neighbours: [N, 40] nearest rows of each row, without itself.
        distances: [N, 40] to these.
        edges: [N - 1, 2] ends of a spanning tree, from the shortest edge on.
        lengths: [N - 1] logarithms of the lengths of its edges, relative to their median.
    """

    points: Float[np.ndarray, "N D"]
    sample: Int[np.ndarray, " M"]
    together: Float[np.ndarray, "M M"]
    labels: Int[np.ndarray, "A N"]
    neighbours: Int[np.ndarray, "N B"]
    distances: Float[np.ndarray, "N B"]
    edges: Int[np.ndarray, "E 2"]
    lengths: Float[np.ndarray, " E"]


def describe_candidates(
    points: Float[np.ndarray, "N D"],
    sample: Int[np.ndarray, " M"],
    together: Float[np.ndarray, "M M"],
    cuts: tuple[Int[np.ndarray, "K M"], Float[np.ndarray, " K"]],
    partitions: Sequence[Int[np.ndarray, " N"]],
) -> Columns:
    """The descriptors of every partition, by name.

    Args:
        points: [N, D], ten rows or more.
        sample: [M] rows that P was predicted for.
        together: [M, M] P, with ones on the diagonal.
        cuts: of the tree on P, and their scores, by `cuts_of_p`.
        partitions: A of them, with clusters from 0 and -1 for noise.
    """
    labels = np.stack([np.asarray(one) for one in partitions])
    inputs = Inputs(points, sample, together, labels, *_graphs(np.asarray(points, float)))
    own, own_scores = cuts
    of_modes, modes_of_table = mode_columns(inputs.distances, inputs.neighbours, labels)
    columns = {
        **_shape(labels),
        **_pairs(inputs),
        **_clusters_under_p(inputs),
        **_geometry(inputs),
        **_edges(inputs),
        **separation(inputs.points, labels),
        **of_modes,
        **_beside_own_cut(labels[:, sample], own, int(own_scores.argmax())),
    }
    table = _own_cut(own_scores, together) | _table(inputs) | modes_of_table
    columns["clusters less own"] = np.exp(columns["log clusters"]) - np.exp(table["log own clusters"])
    columns |= _relative(columns)
    count = len(labels)
    return columns | {name: np.full(count, value) for name, value in table.items()}


def _graphs(
    points: Float[np.ndarray, "N D"],
) -> tuple[Int[np.ndarray, "N B"], Float[np.ndarray, "N B"], Int[np.ndarray, "E 2"], Float[np.ndarray, " E"]]:
    """Nearest rows with distances, and a spanning tree with its edges from the shortest reachability on."""
    points = points - points.mean(0)  # brute force loses digits far from the origin
    count = min(max(SCALES), len(points) - 1)
    distances, places = NearestNeighbors(n_neighbors=count).fit(points).kneighbors()  # without the row itself
    core = distances[:, min(CORE, count) - 1]
    edges = np.stack(spanning_tree(points), 1)
    plain = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    lengths = np.maximum(plain, np.maximum(core[edges[:, 0]], core[edges[:, 1]]))
    order = np.argsort(lengths, kind="stable")
    middle = np.median(lengths)
    scale = middle if middle > 0 else max(lengths.max(), 1e-12)
    return places, distances, edges[order], np.log(np.maximum(lengths[order] / scale, 1e-6))


def _shape(labels: Int[np.ndarray, "A N"]) -> Columns:
    """Numbers and sizes of clusters."""
    rows = []
    for one in labels:
        sizes = np.bincount(one[one >= 0])
        shares = sizes[sizes > 0] / len(one)
        entropy = -(shares / shares.sum() * np.log(shares / shares.sum())).sum()
        evenness = entropy / np.log(len(shares)) if len(shares) > 1 else 1.0
        rows.append(
            [np.log(len(shares)), np.log(shares.min()), np.log(shares.max()), evenness, (one < 0).mean()]
        )
    names = ("log clusters", "log smallest share", "log largest share", "evenness", "noise")
    return dict(zip(names, np.array(rows).T, strict=True))


def _pairs(inputs: Inputs) -> Columns:
    """Pairs that a partition puts together, under P and under the other partitions."""
    size = len(inputs.sample)
    first, second = np.triu_indices(size, 1)
    labels = inputs.labels[:, inputs.sample]
    joined = np.empty((len(labels), len(first)), bool)
    for row, one in zip(joined, labels, strict=True):
        np.equal(one[first], one[second], out=row)
        row &= one[first] >= 0
    p = inputs.together[first, second]
    agreed = joined.mean(0, dtype=np.float32)
    logits = np.clip(
        np.log(np.maximum(p, 1e-12)) - np.log(np.maximum(1 - p, 1e-12)), -LOGIT_LIMIT, LOGIT_LIMIT
    )
    weights = np.stack([np.ones_like(p), p, logits, agreed, np.sqrt(agreed * p)], 1).astype(np.float32)
    sums = np.concatenate(
        [joined[start : start + CHUNK].astype(np.float32) @ weights for start in range(0, len(joined), CHUNK)]
    ).astype(float)
    totals = weights.sum(0, dtype=float)
    inside = sums[:, 0]
    own = {
        name: adjusted(sums[:, place], inside, totals[place], size)
        for place, name in ((1, "expected ARI"), (3, "agreement"), (4, "joint agreement"))
    }
    return own | {
        "precision": sums[:, 1] / np.maximum(inside, 1),
        "recall": sums[:, 1] / max(totals[1], 1e-9),
        "log-likelihood": sums[:, 2] / max(len(p), 1),
    }


def _stacked(labels: Int[np.ndarray, "A M"]) -> tuple[Float[np.ndarray, "M C"], list[slice]]:
    """One-hot columns of all partitions, and which columns belong to each."""
    counts = np.maximum(labels.max(1) + 1, 1)  # where all are noise, a column that is empty
    ends = np.cumsum(counts)
    stacked = np.zeros((labels.shape[1], ends[-1]), np.float32)
    rows = np.arange(labels.shape[1])
    for one, start in zip(labels, ends - counts, strict=True):
        owned = one >= 0
        stacked[rows[owned], start + one[owned]] = 1
    return stacked, [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]


def _clusters_under_p(inputs: Inputs) -> Columns:
    """The mean of P within each cluster, and between each and the one nearest to it."""
    stacked, places = _stacked(inputs.labels[:, inputs.sample])
    products = inputs.together.astype(np.float32) @ stacked
    sizes = stacked.sum(0)
    rows = []
    for place in places:
        present = sizes[place] > 0
        size = sizes[place][present]
        if not len(size):
            rows.append([0.0] * 5)
            continue
        blocks = (stacked[:, place].T @ products[:, place])[np.ix_(present, present)]
        within = np.where(size > 1, (np.diag(blocks) - size) / np.maximum(size * (size - 1), 1), 1)
        between = blocks / (size[:, None] * size)
        np.fill_diagonal(between, 0)
        nearest = between.max(1)
        share = size / size.sum()
        rows.append([within.min(), share @ within, np.quantile(within, 0.25), nearest.max(), share @ nearest])
    names = ("least cohesion", "cohesion", "low cohesion", "greatest confusion", "confusion")
    return dict(zip(names, np.array(rows).T, strict=True))


def _geometry(inputs: Inputs) -> Columns:
    """Silhouette, variance ratio, and neighbours in other clusters."""
    x = inputs.points[inputs.sample]
    x = (x - x.mean(0)).astype(np.float32)
    labels = inputs.labels[:, inputs.sample]
    stacked, places = _stacked(labels)
    distances = cdist(x, x).astype(np.float32)
    sums = distances @ stacked
    centers = stacked.T @ x
    sizes = stacked.sum(0)
    squares = float(np.square(x).sum())
    rows = np.arange(len(x))
    found = []
    for one, place in zip(labels, places, strict=True):
        size = sizes[place]
        owned = one >= 0
        at = np.maximum(one, 0)
        means = sums[:, place] / np.maximum(size, 1)
        own = sums[:, place][rows, at] / np.maximum(size[at] - 1, 1)
        means[:, size == 0] = np.inf
        means[rows, at] = np.inf
        other = means.min(1) if len(size) > 1 else np.zeros(len(x), np.float32)
        other = np.where(np.isfinite(other), other, 0)
        width = (other - own) / np.maximum(np.maximum(other, own), 1e-9)
        width = np.where(size[at] > 1, width, 0)[owned]
        explained = float((np.square(centers[place]).sum(1) / np.maximum(size, 1)).sum())
        clusters = int((size > 0).sum())
        within = max(squares - explained, 1e-6 * squares, 1e-300)  # less is rounding error
        ratio = explained / max(clusters - 1, 1) * max(len(x) - clusters, 1) / within
        mean, low = (width.mean(), np.quantile(width, 0.1)) if len(width) else (0.0, 0.0)
        found.append([mean, low, np.log(max(ratio, 1e-3)) - np.log(len(x))])
    names = ("silhouette", "low silhouette", "log variance ratio")
    columns = dict(zip(names, np.array(found).T, strict=True))
    nearest = inputs.neighbours[:, :NEIGHBOURS]
    cut = [
        (one[nearest] != one[:, None])[one >= 0].mean() if (one >= 0).any() else 1.0 for one in inputs.labels
    ]
    return columns | {"neighbours cut": np.array(cut)}


def _edges(inputs: Inputs) -> Columns:
    """Edges of the spanning tree between clusters, against those within."""
    ends = inputs.labels[:, inputs.edges]
    lengths = inputs.lengths
    rows = []
    for one, (first, second) in zip(inputs.labels, ends.transpose(0, 2, 1), strict=True):
        within = (first == second) & (first >= 0)
        inner, outer = lengths[within], lengths[~within]
        if not len(inner):
            rows.append([0.0] * 6)
            continue
        gap, mean_gap = 0.0, 0.0
        if len(outer):
            gap = _quantile(outer, 0.1) - _quantile(inner, 0.98)
            mean_gap = outer.mean() - inner.mean()
        margin, share = _margins(one, first, second, within, lengths)
        extra = np.log1p(max(len(outer) - margin.size + 1, 0)) - np.log(len(one))
        rows.append([gap, mean_gap, margin.min(), share @ margin, np.median(margin), extra])
    names = ("edge gap", "mean edge gap", "least margin", "margin", "median margin", "extra edges cut")
    return dict(zip(names, np.array(rows).T, strict=True))


def _quantile(ordered: Float[np.ndarray, " E"], share: float) -> float:
    return float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])


def _margins(
    labels: Int[np.ndarray, " N"],
    first: Int[np.ndarray, " E"],
    second: Int[np.ndarray, " E"],
    within: Bool[np.ndarray, " E"],
    lengths: Float[np.ndarray, " E"],
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Of each cluster, its shortest edge to others less a long edge within it, and its share of the rows."""
    clusters = labels.max() + 1
    nearest = np.full(clusters + 1, np.inf)  # the last one is noise
    for ends in (first, second):
        crossing = ends[~within][::-1]
        shortest = np.full(clusters + 1, np.inf)
        shortest[crossing] = lengths[~within][::-1]  # edges are in order, so the last one written is shortest
        nearest = np.minimum(nearest, shortest)
    order = np.argsort(first[within], kind="stable")
    owners, inner = first[within][order], lengths[within][order]
    starts = np.searchsorted(owners, np.arange(clusters))
    counts = np.searchsorted(owners, np.arange(clusters), "right") - starts
    long = np.where(counts > 0, inner[np.minimum(starts + (0.95 * counts).astype(int), len(inner) - 1)], -4)
    sizes = np.bincount(labels[labels >= 0], minlength=clusters)
    margins = np.where(np.isfinite(nearest[:-1]), nearest[:-1] - long, 3).clip(-4, 4)
    present = sizes > 0
    return margins[present], sizes[present] / sizes.sum()


def _beside_own_cut(labels: Int[np.ndarray, "A M"], own: Int[np.ndarray, "K M"], best: int) -> Columns:
    """The adjusted Rand index with the best cut of P, and with its cut into as many clusters."""
    counts = [len(np.unique(one[one >= 0])) for one in labels]
    same = [
        adjusted_rand(one, own[min(max(count, 1), len(own)) - 1])
        for one, count in zip(labels, counts, strict=True)
    ]
    return {
        "like own": np.array([adjusted_rand(one, own[best]) for one in labels]),
        "like own of equal clusters": np.array(same),
    }


def _own_cut(scores: Float[np.ndarray, " K"], together: Float[np.ndarray, "M M"]) -> dict[str, float]:
    """Descriptors of P and of its cuts."""
    size = len(together)
    return {
        "own score": float(scores.max()),
        "log own clusters": float(np.log(scores.argmax() + 1)),
        "mean probability": float((together.sum() - size) / max(size * (size - 1), 1)),
        "probability of one cluster": float(scores[0]),
        "own margin": float(scores.max() - np.sort(scores)[-2]) if len(scores) > 1 else 0.0,
    }


def _table(inputs: Inputs) -> dict[str, float]:
    """Descriptors of the table itself."""
    count, width = inputs.points.shape
    lengths = inputs.lengths
    x = inputs.points - inputs.points.mean(0)
    values = np.linalg.eigvalsh(x.T @ x)[::-1] if width <= 200 else np.ones(1)
    shares = np.maximum(values, 0) / max(values.sum(), 1e-300)
    dimension = 1 / max(np.square(shares).sum(), 1e-12)
    return {
        "log rows": float(np.log(count)),
        "log columns": float(np.log(width)),
        "log sample": float(np.log(len(inputs.sample))),
        "log effective columns": float(np.log(max(dimension, 1e-3))),
        "first axis": float(shares[0]),
        **{f"edge quantile {share}": _quantile(lengths, share) for share in (0.1, 0.9, 0.98)},
        "longest edge": float(lengths[-1]),
        "second longest edge": float(lengths[-2]) if len(lengths) > 1 else 0.0,
    }


LEADING = (
    "expected ARI",
    "precision",
    "recall",
    "log-likelihood",
    "agreement",
    "joint agreement",
    "gaussian gain",
    "mode weight 20",
    "like modes 20",
)
COMPARED = (
    "expected ARI",
    "agreement",
    "silhouette",
    "neighbours cut",
    "edge gap",
    "margin",
    "gaussian gain",
    "border density",
)


def _relative(columns: Columns) -> Columns:
    """Descriptors relative to those of the other partitions."""
    found: Columns = {}
    for name in LEADING:
        values = columns[name]
        found[f"{name} less best"] = values - values.max()
        found[f"{name} rank"] = np.argsort(np.argsort(-values, kind="stable")) / len(values)
    for name in COMPARED:
        values = columns[name]
        found[f"{name} less median"] = values - np.median(values)
        found[f"greatest {name}"] = np.full(len(values), values.max())
    return found

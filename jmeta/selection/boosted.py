"""Boosted regression trees as arrays: trained by LightGBM, stored and evaluated without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int


class BoostedTrees(NamedTuple):
    """A sum of T regression trees of at most M nodes each; node 0 is the root.

    Attributes:
        feature: [T, M] which feature a node compares; -1 for a leaf.
        threshold: [T, M] a row goes left where its feature is at most this.
        left: [T, M] the child on the left.
        right: [T, M] the child on the right.
        value: [T, M] what a leaf adds.
        depth: of the deepest tree.
    """

    feature: Int[np.ndarray, "T M"]
    threshold: Float[np.ndarray, "T M"]
    left: Int[np.ndarray, "T M"]
    right: Int[np.ndarray, "T M"]
    value: Float[np.ndarray, "T M"]
    depth: int

    def predict(self, inputs: Float[np.ndarray, "A F"]) -> Float[np.ndarray, " A"]:
        """The sum of the trees, for every row.

        >>> stump = {"split_feature": 0, "threshold": 0.5, "left_child": {"leaf_value": 1.0},
        ...          "right_child": {"leaf_value": 3.0}}
        >>> boosted_trees([stump]).predict(np.array([[0.0], [1.0]])).tolist()
        [1.0, 3.0]
        """
        trees = np.arange(len(self.feature))[:, None]
        nodes = np.zeros((len(self.feature), len(inputs)), int)
        rows = np.arange(len(inputs))
        for _ in range(self.depth):
            feature = self.feature[trees, nodes]
            goes_left = inputs[rows, feature] <= self.threshold[trees, nodes]
            following = np.where(goes_left, self.left[trees, nodes], self.right[trees, nodes])
            nodes = np.where(feature < 0, nodes, following)
        return self.value[trees, nodes].sum(0, dtype=float)


def boosted_trees(roots: Sequence[Mapping[str, Any]]) -> BoostedTrees:
    """The arrays of trees from their nested nodes, as LightGBM's `dump_model` gives them.

    Args:
        roots: of the trees. An inner node holds "split_feature", "threshold", "left_child" and
            "right_child", and a leaf "leaf_value".
    """
    trees: list[list[tuple[int, float, int, int, float]]] = []
    depths = [0]
    for root in roots:
        nodes: list[tuple[int, float, int, int, float]] = []
        _flatten(root, nodes, depths, 0)
        trees.append(nodes)
    size = max(map(len, trees))
    padded = np.array([nodes + [(-1, 0.0, 0, 0, 0.0)] * (size - len(nodes)) for nodes in trees])
    feature, threshold, left, right, value = np.moveaxis(padded, -1, 0)
    return BoostedTrees(
        feature=feature.astype(np.int16),
        threshold=threshold,
        left=left.astype(np.int16),
        right=right.astype(np.int16),
        value=value.astype(np.float32),
        depth=max(depths),
    )


def _flatten(node: Mapping[str, Any], nodes: list, depths: list[int], depth: int) -> int:
    """Appends a node and all below it; returns its place."""
    place = len(nodes)
    nodes.append((-1, 0.0, 0, 0, float(node.get("leaf_value", 0.0))))
    depths.append(depth)
    if "split_feature" in node:
        left = _flatten(node["left_child"], nodes, depths, depth + 1)
        right = _flatten(node["right_child"], nodes, depths, depth + 1)
        nodes[place] = (int(node["split_feature"]), float(node["threshold"]), left, right, 0.0)
    return place

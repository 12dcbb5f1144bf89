"""Quality models: predict the adjusted Rand index of partitions, with an interval, without any label.

`QualityModel` is the contract. `SetQuality` sees the partitions of all candidates together; `SingleQuality`
sees each partition by itself, for a search that runs one candidate at a time. The half-width of an interval
is spread * (s + `DEVIATION_FLOOR`), for s the standard deviation of the networks. On groups that were left
out, with y the true index and p the mean prediction, spread is the quantile `COVERAGE` of abs(y - p) / (s +
`DEVIATION_FLOOR`): a normalised conformal interval.

Reference: Papadopoulos et al. 2008, Normalized nonconformity measures for regression conformal prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from ..portfolio.candidates import Candidate
from .descriptions import Description, describe_partitions

COVERAGE = 0.8
"""Share of problems whose true index lies in the interval."""
DEVIATION_FLOOR = 0.05
"""Added to the standard deviation of the networks, which may agree by chance."""


class Prediction(NamedTuple):
    """The predicted quality of the partitions of one problem.

    Attributes:
        quality: [A] adjusted Rand index as the networks predict it, which may exceed 1; -inf where a
            candidate failed.
        width: [A] half-width of the interval.
        description: of the partitions.
    """

    quality: Float[np.ndarray, " A"]
    width: Float[np.ndarray, " A"]
    description: Description


class QualityModel(Protocol):
    """Anything that predicts the quality of partitions from their description."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """A candidates whose partitions the model scores."""

    @property
    def spread(self) -> float:
        """Half-width of the interval, in units of the standard deviation of the networks."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the first columns of `inputs`, which describe a partition."""

    def inputs(
        self, description: Description, clusters: int | None, usable: Bool[np.ndarray, " A"]
    ) -> Float[np.ndarray, "A F"]:
        """The inputs of the networks for every candidate of one problem."""

    def replaced(
        self, inputs: Float[np.ndarray, "A F"], candidate: int, feature: int, value: float
    ) -> Float[np.ndarray, "A F"]:
        """A copy of the inputs in which one feature of one candidate has the mean value of all."""

    def network_scores(self, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "E C A"]:
        """The scores of every network, on C problems."""


def predict_quality(
    model: QualityModel,
    points: Float[np.ndarray, "N D"],
    partitions: Sequence[Int[np.ndarray, " N"] | None],
    clusters: int | None = None,
    *,
    seed: int = 0,
) -> Prediction:
    """The predicted quality of partitions of one problem.

    Args:
        model: any quality model.
        points: [N, D].
        partitions: one of every candidate; None where it failed.
        clusters: the number of clusters, where it is known.
        seed: which landmarks are described.

    Raises:
        InputError: the model was trained with another version.
    """
    usable = np.array([labels is not None for labels in partitions])
    description = describe_partitions(points, partitions, seed=seed)
    scores = model.network_scores(model.inputs(description, clusters, usable)[None])[:, 0]
    quality = np.where(usable, scores.mean(0), -np.inf)
    return Prediction(quality, model.spread * (scores.std(0) + DEVIATION_FLOOR), description)


def interval_spread(
    scores: Float[np.ndarray, "C A"], predicted: Float[np.ndarray, "E C A"], usable: Bool[np.ndarray, "C A"]
) -> float:
    """The `spread` of a quality model, from its predictions on groups that were left out of its training.

    Args:
        scores: [C, A] true adjusted Rand indices.
        predicted: [E, C, A] by every network.
        usable: [C, A] where a candidate did not fail.

    >>> scores, predicted = np.array([[0.5, 0.6]]), np.array([[[0.5, 0.5]], [[0.5, 0.5]]])
    >>> print(f"{interval_spread(scores, predicted, np.ones((1, 2), bool)):.2f}")
    1.60
    """
    errors = np.abs(scores - predicted.mean(0)) / (predicted.std(0) + DEVIATION_FLOOR)
    return float(np.quantile(errors[usable], COVERAGE))

"""A quality model that sees each partition by itself.

Where candidates run one after the other there is no set to compare a partition with, as `SetQuality` does.
The network and its training are the same, on sets of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from ..metafeatures.partitions import NAMES
from ..portfolio.candidates import Candidate, method_indicators
from ..portfolio.table import Table
from .descriptions import Description
from .examples import Examples, Settings
from .scoring import ScoringModel, fit_scoring_model, network_scores


class SingleQuality(NamedTuple):
    """The `QualityModel` of partitions that are seen one at a time.

    Attributes:
        model: the networks.
        candidates: whose partitions they score.
        spread: half-width of the interval, in units of the standard deviation of the networks.
    """

    model: ScoringModel
    candidates: tuple[Candidate, ...]
    spread: float = float("nan")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the inputs that describe a partition."""
        return NAMES

    def inputs(
        self, description: Description, clusters: int | None, usable: Bool[np.ndarray, " A"]
    ) -> Float[np.ndarray, "A F"]:
        """As `single_inputs`; the inputs of a candidate that failed mean nothing."""
        return single_inputs(description, self.candidates, clusters)

    def replaced(
        self, inputs: Float[np.ndarray, "A F"], candidate: int, feature: int, value: float
    ) -> Float[np.ndarray, "A F"]:
        """A copy of the inputs in which one feature of one candidate has the mean value of all."""
        changed = inputs.copy()
        changed[candidate, feature] = value
        return changed

    def network_scores(self, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "E C A"]:
        """The scores of every network."""
        scores = network_scores(self.model, inputs.reshape(-1, 1, inputs.shape[-1]))
        return scores.reshape(len(scores), *inputs.shape[:2])


def partition_inputs(
    descriptors: Float[Array, " F"], size: Float[Array, " S"], method: Float[Array, " K"]
) -> Float[Array, " G"]:
    """The inputs of one partition: descriptors, logarithms of the size of the problem, and the method.

    Args:
        descriptors: [F] of the partition.
        size: [2] numbers of points and columns, or [3] with the number of clusters, where it is known.
        method: [K] a row of `method_indicators`.
    """
    return jnp.concatenate([descriptors, jnp.log(size), method])


_all_inputs = jax.jit(jax.vmap(partition_inputs, (0, None, 0)))


def single_inputs(
    description: Description, candidates: Sequence[Candidate], clusters: int | None
) -> Float[np.ndarray, "A F"]:
    """The `partition_inputs` of every candidate of one problem."""
    size = description.shape if clusters is None else (*description.shape, clusters)
    methods = jnp.asarray(method_indicators(candidates), jnp.float32)
    return np.asarray(_all_inputs(description.descriptors, jnp.asarray(size, jnp.float32), methods))


def table_single_inputs(table: Table, descriptions: Sequence[Description]) -> Float[np.ndarray, "C A F"]:
    """The inputs of every candidate on every instance, zero where it failed; no reference labelling is read.

    Args:
        table: of candidates that were run.
        descriptions: from `describe_table`.
    """
    known = [clusters for _, clusters in table.visible]
    inputs = [
        single_inputs(description, table.candidates, clusters)
        for description, clusters in zip(descriptions, known, strict=True)
    ]
    return np.where(table.partitioned[..., None], np.stack(inputs), 0)


def learn_single_quality(
    table: Table, inputs: Float[np.ndarray, "C A F"], key: Key[Array, ""], settings: Settings
) -> SingleQuality:
    """A quality model trained on the scores of a table; its `spread` is not measured.

    Args:
        table: of problems with known answers.
        inputs: from `table_single_inputs`.
        key: a typed key.
        settings: of the networks; the scores are made absolute.

    Raises:
        InputError: as `fit_scoring_model`.
    """
    settings = settings._replace(absolute=True)
    return SingleQuality(
        fit_scoring_model(_examples(table, inputs), key, settings=settings), table.candidates
    )


def left_out_scores(
    table: Table, inputs: Float[np.ndarray, "C A F"], key: Key[Array, ""], settings: Settings
) -> Float[np.ndarray, "E C A"]:
    """The scores of each group by networks trained on the other groups alone.

    An agent that is trained on predictions for problems that the model was trained on would trust it too
    much.

    Args:
        table: of two groups of problems or more.
        inputs: from `table_single_inputs`.
        key: a typed key.
        settings: of the networks; the scores are made absolute.
    """
    settings = settings._replace(absolute=True)
    found = np.zeros((settings.networks, *table.scores.shape))
    examples = _examples(table, inputs)
    for group in np.unique(table.group_numbers):
        out = table.group_numbers == group
        others = examples._replace(weights=np.where(examples.groups == group, 0, examples.weights))
        model = fit_scoring_model(others, key, settings=settings)
        found[:, out] = SingleQuality(model, table.candidates).network_scores(inputs[out])
    return found


def _examples(table: Table, inputs: Float[np.ndarray, "C A F"]) -> Examples:
    count = inputs.shape[1]
    return Examples(
        inputs=inputs.reshape(-1, 1, inputs.shape[-1]),
        scores=table.scores.reshape(-1, 1),
        weights=np.repeat(table.weights, count) * table.partitioned.reshape(-1),
        groups=np.repeat(table.group_numbers, count),
        problems=np.repeat(table.problem_numbers, count),
    )

"""A fitted `AutoCluster` as a file, without pickle: what `predict` needs, and what was chosen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..artifacts.archive import read_archive, write_archive
from ..errors import InputError
from ..portfolio.candidates import Candidate
from .auto_cluster import AutoCluster
from .choice import Advice, CandidateRow
from .preparation import Preparation
from .words import WordClasses

KIND, FORMAT = "clustering", 1


def save_clustering(path: str | os.PathLike, model: AutoCluster) -> None:
    """Writes a fitted `AutoCluster` to a file that `load_clustering` and `jmeta assign` read.

    The file holds the clustered rows as numbers, since new rows are assigned to the cluster of the nearest.

    Raises:
        InputError: the file name does not end with ".npz".

    >>> import tempfile
    >>> model = AutoCluster(2, n_candidates=1).fit(np.array([[0.0], [0.1], [9.0], [9.1]] * 5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_clustering(f"{folder}/groups.npz", model)
    ...     again = load_clustering(f"{folder}/groups.npz")
    >>> again.predict([[0.2], [8.0]]).tolist() == model.predict([[0.2], [8.0]]).tolist()
    True
    """
    check_is_fitted(model)
    file = Path(path)
    if file.suffix != ".npz":
        raise InputError(f"{file} is no name of a model; give one that ends with .npz.")
    encoder, columns = ({}, {}) if model.encoder_ is None else model.encoder_.state()
    header = {
        "encoder": encoder,
        "scaling": model._prepared.description,
        "names": getattr(model, "feature_names_in_", np.array([])).tolist(),
        "features": model.n_features_in_,
        "strategy": model.strategy_._asdict(),
        "candidates": [row._asdict() for row in model.candidates_],
        "cluster_probabilities": list(model.cluster_probabilities_.items()),
    }
    axes = {} if model._prepared.axes is None else {"axes": model._prepared.axes}
    words = {} if model._prepared.words is None else model._prepared.words.state()
    arrays = {
        "labels": model.labels_,
        "points": model._neighbours.points,
        "center": model._prepared.center,
        "scale": model._prepared.scale,
    }
    write_archive(file, KIND, FORMAT, header, {**columns, **arrays, **axes, **words})


def load_clustering(path: str | os.PathLike) -> AutoCluster:
    """The fitted `AutoCluster` of a file, which can predict but not explain its choice.

    Raises:
        InputError: there is no such file, or it is damaged or holds something else.
    """
    file = Path(path)
    header, arrays = read_archive(file, KIND, FORMAT)
    try:
        return _restored(header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({type(error).__name__}: {error}); save it again.") from None


def _restored(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> AutoCluster:
    model = AutoCluster()
    model.encoder_ = model.table_ = None
    if header["encoder"]:
        from ..tables.encoder import TableEncoder

        model.encoder_ = TableEncoder.from_state(header["encoder"], arrays)
    if header["names"]:
        model.feature_names_in_ = np.array(header["names"], object)
    model.n_features_in_ = header["features"]
    model._prepared = Preparation(
        arrays["center"],
        arrays["scale"],
        arrays.get("axes"),
        header["scaling"],
        WordClasses.from_state(arrays),
    )
    model._result, model._features = None, {}
    advice = Advice(**header["strategy"])
    model.strategy_ = advice._replace(candidate=_candidate(advice.candidate))
    model.candidates_ = [CandidateRow(**row) for row in header["candidates"]]
    model.cluster_probabilities_ = dict(header["cluster_probabilities"])
    return model._labelled(arrays["points"], arrays["labels"])


def _candidate(fields: Any) -> Candidate | None:
    """The candidate of a list of its fields, as JSON holds it."""
    if fields is None:
        return None
    made = Candidate(*fields)
    return made._replace(options=tuple((name, value) for name, value in made.options))

"""Trained advisors in a file: see `training.archive`.

The header is the nest of records with the names of arrays in the place of arrays, so that what is read is
built from the records named here and from nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..records import InputError
from ..training.archive import read_archive, write_archive
from .advisor import Advisor
from .choice import Choice, Settings
from .criterion import Criterion
from .portfolio import Candidate
from .selector import Selector

KIND, FORMAT = "model", 3
"""Of the file; the number goes up when the header or what models are given changes."""
RECORDS = {kind.__name__: kind for kind in (Advisor, Candidate, Choice, Criterion, Selector, Settings)}


def save_model(path: str | os.PathLike, parts: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Write the parts of a model, and what is to be known of it; whole or not at all.

    Args:
        path: of the file, ".npz".
        parts: by name: nests of `RECORDS`, dicts, tuples, arrays, and what JSON holds. `AutoCluster` asks
            for the advisors "given" and "unknown".
        card: where it comes from and what was measured: anything that JSON holds.
    """
    arrays: dict[str, np.ndarray] = {}
    header = {"card": dict(card), "parts": _packed(dict(parts), "parts", arrays)}
    write_archive(Path(path), KIND, FORMAT, header, arrays)


def load_model(
    path: str | os.PathLike | None = None, *, shipped: str = "auto"
) -> tuple[dict[str, Any], dict]:
    """The parts of a model by name, and its card.

    Args:
        path: of the file; one that comes with jmeta unless given.
        shipped: which that is: "auto", the advisors of `AutoCluster`, or "search", its learned search.

    Raises:
        InputError: there is no such file, or it is damaged, of another kind or of another version.
    """
    file = resources.files("jmeta") / "models" / f"{shipped}.npz" if path is None else Path(path)
    with resources.as_file(file) as local:
        header, arrays = read_archive(local, KIND, FORMAT)
    try:
        return _unpacked(header["parts"], arrays), header["card"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} holds no model ({error}); name a file that save_model wrote.") from None


def _packed(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON has it, its arrays put aside under the name of their place."""
    if type(value).__name__ in RECORDS:
        fields = {key: _packed(part, f"{name}/{key}", arrays) for key, part in value._asdict().items()}
        return {"record": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        return {"dict": {str(key): _packed(part, f"{name}/{key}", arrays) for key, part in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_packed(part, f"{name}/{place}", arrays) for place, part in enumerate(value)]}
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        arrays[name] = np.asarray(value)
        return {"array": name}
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "record" in value:
        fields = {key: _unpacked(part, arrays) for key, part in value["fields"].items()}
        return RECORDS[value["record"]](**fields)
    if "dict" in value:
        return {key: _unpacked(part, arrays) for key, part in value["dict"].items()}
    if "tuple" in value:
        return tuple(_unpacked(part, arrays) for part in value["tuple"])
    return arrays[value["array"]]

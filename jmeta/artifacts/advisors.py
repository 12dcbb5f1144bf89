"""Advisors and search policies as files, in the format of `archive`.

The header is a tree of records in which arrays stand as names, so that what is read is built from the records
named here and from nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InputError
from ..portfolio.candidates import Candidate
from ..search.learned import SearchPolicy
from ..search.live import View
from ..selection.advisor import Advisor
from ..selection.boosted import BoostedTrees
from ..selection.examples import Settings
from ..selection.pool_quality import PoolQuality
from ..selection.scoring import ScoringModel
from ..selection.selector import Selector
from ..selection.set_quality import SetQuality
from ..selection.single_quality import SingleQuality
from .archive import read_archive, write_archive

KIND, FORMAT, FIRST_EDITION = "model", 4, 3
"""Of the file; the number goes up when the header or the inputs of the networks change."""
RECORDS: dict[str, Callable[..., Any]] = {
    record.__name__: record
    for record in (
        *(Advisor, BoostedTrees, Candidate, PoolQuality, ScoringModel, SearchPolicy, Selector),
        *(SetQuality, Settings, SingleQuality, View),
    )
}


def save_model(path: str | os.PathLike, parts: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Writes the parts of a model and its card; a file is written whole or not at all.

    Args:
        path: of the file, ".npz".
        parts: by name: trees of `RECORDS`, dicts, tuples, arrays, and what JSON holds. `AutoCluster` uses the
            advisors "given" and "unknown", for a known and an unknown number of clusters, and the search
            policy "search".
        card: how it was trained and what was measured; anything that JSON holds.
    """
    arrays: dict[str, np.ndarray] = {}
    header = {"card": dict(card), "parts": _packed(dict(parts), "parts", arrays)}
    write_archive(Path(path), KIND, FORMAT, header, arrays)


def load_model(
    path: str | os.PathLike | None = None,
    *,
    shipped: str = "auto",
    own: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> tuple[dict[str, Any], dict]:
    """The parts of a model by name, and its card. Files of the first edition are read too.

    Args:
        path: of the file; one that comes with jmeta unless given.
        shipped: which that is: "quality", for the choice of `AutoCluster` among all candidates, "auto", its
            advisors, or "search", its search policy.
        own: name -> `make`, of candidates of one's own, of which a file holds the name.

    Raises:
        InputError: there is no such file, it is damaged, of another kind or of another version, or `own`
            lacks a name in it.
    """
    file = resources.files("jmeta") / "models" / f"{shipped}.npz" if path is None else Path(path)
    with resources.as_file(file) as local:
        header, arrays = read_archive(local, KIND, FIRST_EDITION, FORMAT)
    records = RECORDS if header["format"] == FORMAT else {**RECORDS, **_FIRST_EDITION}
    records = {**records, "Candidate": partial(_candidate, own)}
    try:
        parts = _unpacked(header["parts"], arrays, records)
        if isinstance(parts.get("search"), dict):
            parts["search"] = _first_search(**parts["search"])
        return parts, header["card"]
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} holds no model ({error}); name a file that save_model wrote.") from None


def _packed(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON holds it; its arrays are added to `arrays` under the name of their place."""
    if type(value).__name__ in RECORDS:
        parts = value._asdict()
        if parts.get("make") is not None:
            parts["own"] = True
        parts.pop("make", None)
        fields = {key: _packed(part, f"{name}/{key}", arrays) for key, part in parts.items()}
        return {"record": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        return {"dict": {str(key): _packed(part, f"{name}/{key}", arrays) for key, part in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_packed(part, f"{name}/{place}", arrays) for place, part in enumerate(value)]}
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        arrays[name] = np.asarray(value)
        return {"array": name}
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray], records: Mapping[str, Callable[..., Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    if "record" in value:
        fields = {key: _unpacked(part, arrays, records) for key, part in value["fields"].items()}
        return records[value["record"]](**fields)
    if "dict" in value:
        return {key: _unpacked(part, arrays, records) for key, part in value["dict"].items()}
    if "tuple" in value:
        return tuple(_unpacked(part, arrays, records) for part in value["tuple"])
    return arrays[value["array"]]


def _candidate(own_makes: Mapping[str, Callable[..., Any]], own: bool = False, **fields: Any) -> Candidate:
    """A candidate of a file, with what makes it where it is one's own."""
    if own and fields["algorithm"] not in own_makes:
        name = fields["algorithm"]
        raise InputError(f"the model has a candidate of your own, {name!r}; give own={{{name!r}: its make}}.")
    return Candidate(**fields, make=own_makes[fields["algorithm"]] if own else None)


def _renamed(record: Callable[..., Any], **names: str) -> Callable[..., Any]:
    """Makes a record from fields of the first edition, `names` being new name = old name."""
    new = {old: name for name, old in names.items()}
    return lambda **fields: record(**{new.get(key, key): value for key, value in fields.items()})


def _first_advisor(selector: Selector, criterion: SetQuality, spread: float) -> Advisor:
    return Advisor(selector, criterion._replace(spread=spread))


def _first_search(
    candidates: tuple[Candidate, ...],
    sight: dict[str, Any],
    params: Any,
    memory: int,
    most: int,
    spread: float,
) -> SearchPolicy:
    quality = SingleQuality(sight["judge"], candidates, spread)
    return SearchPolicy(View(quality, sight["quantiles"], sight["varies"]), params, memory, most)


_FIRST_EDITION: dict[str, Callable[..., Any]] = {
    "Advisor": _first_advisor,
    "Choice": _renamed(ScoringModel, quantiles="scale", sizes="parts", set_aware="sets"),
    "Criterion": _renamed(SetQuality, model="choice"),
    "Selector": _renamed(Selector, model="choice", features="known", scores="worths", known_k="told"),
    "Settings": _renamed(Settings, dropout="hidden", method="way"),
}
"""Records of the first edition by their name then."""

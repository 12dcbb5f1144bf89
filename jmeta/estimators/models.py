"""The models that the estimators use: those of a file, or those that come with jmeta."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from ..artifacts.advisors import load_model
from ..artifacts.recipes import SHIPPED, Trained, load_trained
from ..errors import InputError
from ..search.learned import LearnedSearch
from ..selection.advisor import Advisor
from ..selection.pool_quality import PoolQuality


def advisor_of(path: str | os.PathLike | None, clusters: int | None) -> Advisor:
    """The advisor for a known or an unknown number of clusters."""
    return _part(*_version(path), "unknown" if clusters is None else "given")


def learned_search_of(path: str | os.PathLike | None) -> LearnedSearch:
    """The trained agent, ready to search."""
    return _ready_search(*_version(path))


@cache
def pool_quality(known: bool) -> PoolQuality:
    """What comes with jmeta for the choice among all candidates, for a known number of clusters or not."""
    return load_model(shipped="quality")[0]["known" if known else "unknown"]


def pair_network(model: str | os.PathLike = "zero_shot") -> Trained:
    """The network of zero-shot clustering: the one that comes with jmeta, or that of a file.

    Raises:
        InputError: the file cannot be read, or holds something other than a `pair_transformer`.
    """
    if not isinstance(model, str | os.PathLike):
        raise InputError(f"model is {model!r}; give a trained pair_transformer.")
    path = os.fspath(model)
    trained = _trained(path, 0.0) if path in SHIPPED else _trained(*_version(path))
    if trained.recipe.name != "pair_transformer":
        held = type(trained.made).__name__
        raise InputError(f"model is {path!r}, which holds a {held}; give a trained pair_transformer.")
    return trained


def _version(path: str | os.PathLike | None) -> tuple[Any, float]:
    """The path of a model and its modification time, so that a changed file is read again."""
    try:
        return (None, 0.0) if path is None else (os.fspath(path), os.path.getmtime(path))
    except OSError as error:
        raise InputError(f"the model {os.fspath(path or '')} cannot be read ({error.strerror}).") from None


@cache
def _trained(path: str, changed: float) -> Trained:
    return load_trained(path)


@cache
def _parts(path: str | None, changed: float, shipped: str) -> dict[str, Any]:
    return load_model(path, shipped=shipped)[0]


def _part(path: str | None, changed: float, name: str) -> Any:
    """A part of a model; the one that comes with jmeta if the file lacks it."""
    own = _parts(path, changed, "auto") if path else {}
    if own and not own.keys() & {"given", "unknown", "search"}:
        raise InputError(f"{path} holds {', '.join(own)}; AutoCluster needs given, unknown or search.")
    return own[name] if name in own else _parts(None, 0.0, "search" if name == "search" else "auto")[name]


@cache
def _ready_search(path: str | None, changed: float) -> LearnedSearch:
    return LearnedSearch(_part(path, changed, "search"))

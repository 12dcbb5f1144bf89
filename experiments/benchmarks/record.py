"""Shared parts of the benchmarks: common options, the setup, and the records that they write."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import jmeta as jm

from .timing import matmul_rate

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a benchmark."""

    out: Path | None = None
    """File for the rows, as a JSON list; they are not written unless given."""
    quick: bool = False
    """Use small shapes, which take seconds."""
    repeats: int = 5
    """Timed calls of each function, after one warm-up call."""


def begin(quick: bool, repeats: int) -> float:
    """Makes all cores available, and returns the rate of large matrix products.

    Exits with a message and exit code 2 if `repeats` is less than 1.
    """
    if repeats < 1:
        print(f"error: --repeats is {repeats}; give 1 or more.", file=sys.stderr)
        raise SystemExit(2)
    jm.use_all_cores()
    return matmul_rate(256 if quick else 1024)


def version(package: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(packages: Mapping[str, str], rate: float) -> Row:
    """The machine that a row was measured on, and the versions of the peers."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "versions": {peer: version(package) for peer, package in packages.items()},
        "matmul_per_s": rate,
    }


def write(rows: list[Row], out: Path | None) -> None:
    """Writes the rows as a JSON list, if a file is given."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def verdict(row: Row) -> tuple[str, str | None]:
    """The ratio of a row, or why it has none, and the style of its line, which is red if jmeta is slower."""
    text = row["note"] or (f"{row['ratio']:.2f}" if row["ratio"] else "")
    return text, "bold red" if row["ratio"] and row["ratio"] < 1 else None

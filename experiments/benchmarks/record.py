"""What the benchmarks share beside their clock: how they begin, and what they write down."""

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
    """Where the rows are written, as a JSON list; nowhere unless given."""
    quick: bool = False
    """Small shapes, in seconds."""
    repeats: int = 5
    """How often each is timed, after one call that is not counted."""


def begin(quick: bool, repeats: int) -> float:
    """Take all cores, and measure the rate of large matrix products.

    Too few repeats end with one sentence and exit code 2.
    """
    if repeats < 1:
        print(f"error: --repeats is {repeats}; give 1 or more.", file=sys.stderr)
        raise SystemExit(2)
    jm.use_all_cores()
    return matmul_rate(256 if quick else 1024)


def version(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(packages: Mapping[str, str], rate: float) -> Row:
    """What a row was measured on, and beside which peers."""
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
    """Write what there is so far as a JSON list; nothing without a file."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def verdict(row: Row) -> tuple[str, str | None]:
    """The ratio of a row, or why it has none; and the style of its line: where we lose, red."""
    text = row["note"] or (f"{row['ratio']:.2f}" if row["ratio"] else "")
    return text, "bold red" if row["ratio"] and row["ratio"] < 1 else None

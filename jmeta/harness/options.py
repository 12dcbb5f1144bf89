"""Options of an experiment: a frozen dataclass whose fields are flags of the command line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import jax

from ..errors import InputError

LARGEST = 2**31 - 1
"""The largest whole number of an option."""


def option(default: Any, *, least: float) -> Any:
    """A field whose numbers may be as small as `least`.

    Without it a whole number is at least 1, one of a tuple at least 0, and a real number positive.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config(Options):
    ...     decay: float = option(1e-2, least=0)
    >>> Config(decay=0.0).check()
    """
    return dataclasses.field(default=default, metadata={"least": least})


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of every experiment. A subclass adds its own, and may add to `check`."""

    variants: ClassVar[tuple[str, ...]] = ()
    """Options whose values select a variant of a preset, as `--dataset omniglot` selects "cpu-omniglot"."""

    preset: Literal["quick", "cpu", "gpu"] = "cpu"
    """Set of defaults: seconds on a laptop, a real run on one, or the full protocol."""
    seed: int = option(0, least=0)
    """All randomness follows from it."""
    out: Path | None = None
    """Folder of the results; runs/NAME unless given."""
    data_dir: Path | None = None
    """Folder of the data; $JMETA_DATA_DIR unless given."""
    resume: bool = False
    """Continue the run in --out."""
    frozen: bool = False
    """Evaluate the newest states of the run in --out, without training."""
    cache: bool = True
    """Keep compiled programs in $JMETA_CACHE_DIR, by default ~/.cache/jmeta, for the next time."""
    precision: Literal["high", "highest"] | None = None
    """Of the products of networks, which accelerators round by default; highest is float32."""
    profile: bool = False
    """Write a trace of the work between the first two rows of the log."""
    tensorboard: bool = False
    """Write the rows of the log for TensorBoard too."""
    wandb: str | None = None
    """Send the rows of the log to this project of Weights & Biases too."""
    coordinator: str | None = None
    """HOST:PORT of the first of several hosts; auto asks the cluster."""
    hosts: int | None = None
    """Number of hosts."""
    host: int | None = option(None, least=0)
    """Number of this host, from 0."""

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        if self.out is None:
            raise InputError("there is no output folder; start the experiment by its command.")
        return self.out

    @property
    def key(self) -> jax.Array:
        """The typed key from which all randomness is drawn."""
        return jax.random.key(self.seed)

    def check(self) -> None:
        """Raises an InputError if an option is out of its range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            several = isinstance(value, tuple)
            for number in value if several else (value,):
                _check_number(field.name, number, field.metadata.get("least"), several)


Config = TypeVar("Config", bound=Options)


def _check_number(name: str, number: Any, least: float | None, several: bool) -> None:
    flag = "--" + name.replace("_", "-")
    if isinstance(number, int) and not isinstance(number, bool):
        smallest = int(not several) if least is None else math.ceil(least)
        if not smallest <= number <= LARGEST:
            raise InputError(f"{flag} is {number}; give a whole number from {smallest} to {LARGEST}.")
    elif isinstance(number, float):
        if least is None and not 0 < number < math.inf:
            raise InputError(f"{flag} is {number}; give a positive number.")
        if least is not None and not least <= number < math.inf:
            raise InputError(f"{flag} is {number}; give a number >= {least:g}.")


def chosen_preset(presets: Mapping[str, Config], arguments: Sequence[str]) -> Config:
    """The preset that a command line selects, in its most specific variant.

    A variant is a preset whose name continues with values of the options in `variants`, joined by hyphens.
    Among those whose values are all given, the one with most values is taken, then the one whose values
    belong to the first options. A name that is no preset is left to the parser, which refuses it.
    """
    preset = word_after("--preset", arguments) or "cpu"
    flags = ("--" + name.replace("_", "-") for name in next(iter(presets.values())).variants)
    given = [word for word in (word_after(flag, arguments) for flag in flags) if word]
    for count in range(len(given), -1, -1):
        for values in combinations(given, count):
            if (name := "-".join([preset, *values])) in presets:
                return presets[name]
    return presets["cpu"]


def word_after(flag: str, arguments: Sequence[str]) -> str:
    """The last value of a flag on a command line, as the next word or after "="; empty where there is none.

    >>> word_after("--out", ["--out", "a", "--out=b"]), word_after("--out", [])
    ('b', '')
    """
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    found = [
        after if word == flag else word.removeprefix(f"{flag}=") for word, after in pairs if flag in word
    ]
    return found[-1] if found else ""

"""The options of the command `jmeta`; each checks itself when it is parsed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from ..errors import InputError


def _parsed(option: str, metavar: str, read: Any, what: str) -> PrimitiveConstructorSpec:
    """An option whose word is read by a function, or an error in the words that were typed."""

    def value(words: list[str]) -> Any:
        try:
            return read(words[0])
        except ValueError:
            raise BadOption(f"{option} is {words[0]}; give {what}.") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=value,
        is_instance=lambda instance: True,
        str_from_instance=lambda instance: ["none" if instance is None else str(instance)],
    )


class BadOption(Exception):  # noqa: N818 - not a ValueError, which tyro would show in its own words
    """An option that cannot be read."""


def _positive(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise ValueError
    return number


def _one_of(*words: str) -> Any:
    def read(word: str) -> str:
        if word not in words:
            raise ValueError
        return word

    return read


def _choice(option: str, *words: str) -> PrimitiveConstructorSpec:
    return _parsed(option, "|".join(words), _one_of(*words), f"one of {', '.join(words)}")


Count = Annotated[int | None, _parsed("--clusters", "INT", _count, "a whole number >= 1")]
Seed = Annotated[int, _parsed("--seed", "INT", int, "a whole number")]
Seconds = Annotated[float, _parsed("--time-limit", "SECONDS", _positive, "a positive number of seconds")]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Names = Annotated[str, tyro.conf.arg(metavar="NAMES")]


@dataclass(frozen=True, kw_only=True)
class Output:
    """What is written of the clusters.

    Attributes are options of `Cluster` and of `Assign`.
    """

    out: File = None
    """Where to write the cluster of every row as CSV, -1 for noise; - is standard output."""
    out_columns: Annotated[str, _choice("--out-columns", "id", "all", "none")] = "id"
    """The columns beside the cluster: id: those that identify rows; all: all of the table; none."""
    label: Annotated[str, tyro.conf.arg(metavar="NAME")] = "cluster"
    """The name of the column of clusters."""
    confidence: bool = False
    """Write a column of probabilities of the clusters too, from the nearest rows."""
    json: bool = False
    """Print only the result, as JSON, to standard output."""


@dataclass(frozen=True, kw_only=True)
class Cluster(Output):
    """Cluster the rows of a table, without choosing an algorithm or a number of clusters.

    Reads text with any delimiter (.csv, .tsv, .txt, also .gz), Excel, parquet, feather, JSON lines, .npy and
    .npz. What was done to each column is printed. Names of columns are separated by commas. For example:

    jmeta cluster people.csv --ignore phone,notes --out labels.csv --report people.html
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The table; - is standard input."""
    clusters: Count = None
    """The number of clusters; estimated unless given."""
    columns: Names = ""
    """The columns to cluster by; all that are not left out by a rule unless given."""
    ignore: Names = ""
    """Columns to leave out."""
    id: Names = ""
    """Columns that identify rows: they are left out, and written beside the clusters."""
    categorical: Names = ""
    """Columns of words, even if they hold numbers."""
    decimal: Annotated[str | None, _choice("--decimal", ".", ",")] = None
    """The decimal separator, . or a comma; found in the table unless given."""
    missing: Annotated[str, tyro.conf.arg(metavar="VALUES")] = ""
    """Values that mean a gap, separated by commas, such as -9,99; codes are then not searched for."""
    report: File = None
    """Where to write the page that explains the choice."""
    save: File = None
    """Where to keep the clusters, .npz, so that jmeta assign can assign new rows."""
    time_limit: Seconds = 60.0
    """Seconds for running and scoring candidates; the output says if some were left out for lack of time.
    Compilation, and the predictions of ranked and rl2, come on top."""
    search: Annotated[str, _choice("--search", "auto", "all", "ranked", "rl2")] = "auto"
    """all: all candidates in one pass; ranked: one by one in the predicted order; rl2: each chosen from the
    outcomes of the earlier ones; auto: ranked with --model, else all."""
    scaling: Annotated[str, _choice("--scaling", "auto", "standard", "none")] = "auto"
    """auto: divide columns by their standard deviations if these differ tenfold; standard: always; none.
    In a table of numbers and words, auto and standard divide all numeric columns, and only these."""
    model: File = None
    """A trained model; the one that comes with jmeta unless given."""
    seed: Seed = 0
    """All randomness follows from it."""
    cache: bool = True
    """Keep compiled programs in $JMETA_CACHE_DIR, by default ~/.cache/jmeta, for later runs."""

    def check(self) -> None:
        """Raises an InputError if options contradict each other."""
        if self.search == "rl2" and self.clusters is not None:
            raise InputError("--search rl2 finds the number of clusters; leave --clusters out.")
        if self.search == "all" and self.model is not None:
            raise InputError("--search all has its own model; leave --model out, or use --search ranked.")
        if self.save is not None and self.save.suffix != ".npz":
            raise InputError(f"--save is {self.save}; give a name that ends with .npz.")


@dataclass(frozen=True, kw_only=True)
class Assign(Output):
    """Assign new rows to the clusters that jmeta cluster --save has kept.

    The table must have the columns that were clustered by; they are encoded as before. Without --out the
    clusters are written to standard output. For example:

    jmeta assign groups.npz new.csv --out-columns all --out new_groups.csv
    """

    kept: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """The file that jmeta cluster --save has written."""
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The table of new rows; - is standard input."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Run an experiment file, which calls `jmeta.harness` with its options and a function.

    Options of the experiment follow the file; jmeta train FILE --help lists them. --json prints only the
    summary, as JSON, to standard output. For example:

    jmeta train experiments/few_shot_clustering.py --preset quick --out runs/first
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The experiment: a Python file."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate again what a run has trained, without training, and write RUN/evaluation.json.

    Options that follow the folder, such as --test-tasks, replace those of the run, except for --seed, which
    may determine the held-out data. An interrupted run is evaluated at its newest state. --json prints the
    result as JSON.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write a page about a run, with its curves, figures, tables and options."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run."""
    out: File = None
    """Where to write the page; RUN/report.html unless given."""
    json: bool = False
    """Print only the path of the page, as JSON, to standard output."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Compile the first training of an experiment for accelerators that need not be there.

    Prints the memory of each device, how many tasks fit, collectives, operations, and a range for the time of
    a step. Options of the experiment follow the file. The compilers are the extra jmeta[plan]. For example:

    jmeta plan experiments/omniglot_maml.py --preset gpu --device v5e --devices 256
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The experiment: a Python file."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """The accelerator: a100, h100, h200, v5e, v5p or v6e."""
    devices: Annotated[int, _parsed("--devices", "INT", _count, "a whole number >= 1")] = 1
    """How many."""
    json: bool = False
    """Print only the result, as JSON, to standard output."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check that this machine has what jmeta needs, and that it works."""

    json: bool = False
    """Print only the results, as JSON, to standard output."""


Commands = (
    Annotated[Cluster, tyro.conf.subcommand("cluster")]
    | Annotated[Assign, tyro.conf.subcommand("assign")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Plan, tyro.conf.subcommand("plan")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)
"""All commands."""

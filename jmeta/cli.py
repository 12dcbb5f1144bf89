"""The command `jmeta`.

    jmeta cluster people.csv --report people.html     cluster a table, and write a page that explains it
    jmeta train experiment.py --preset quick          run an experiment file
    jmeta evaluate runs/experiment --test-tasks 5000  evaluate again what a run has trained
    jmeta report runs/experiment                      write a page with its curves, figures and tables
    jmeta doctor                                      check this machine

Exit codes: 0 success, 1 a check of `doctor` failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .errors import InputError
from .files import is_special_file, write_text


@dataclass(frozen=True)
class Cluster:
    """Cluster the rows of a table, without choosing an algorithm or a number of clusters.

    Reads CSV (any delimiter; words and missing values are handled by rules that are printed), npy, npz and
    parquet. Without --out and --report only a summary is printed. For example:

    jmeta cluster people.csv --clusters 4 --out labels.csv --report people.html
    """

    data: Annotated[Path, tyro.conf.Positional]
    """The table: .csv, .tsv, .txt, .npy, .npz or .parquet."""
    clusters: int | None = None
    """The number of clusters; estimated unless given."""
    time_limit: float = 60.0
    """Seconds for running candidates one by one, with --search ranked or rl2."""
    out: Path | None = None
    """Where to write the cluster of every row, as one column; -1 is noise."""
    report: Path | None = None
    """Where to write the page that explains the choice."""
    json: bool = False
    """Print only the result, as JSON, to standard output."""
    search: str = "auto"
    """all: all candidates in one pass; ranked: one by one in the predicted order; rl2: each chosen from the
    outcomes of the earlier ones; auto: ranked with --model, else all."""
    scaling: str = "auto"
    """auto: divide columns by their standard deviations if these differ tenfold; standard: always; none.
    In a table of numbers and words, auto and standard divide all numeric columns, and only these."""
    model: Path | None = None
    """A trained model; the one that comes with jmeta unless given."""
    seed: int = 0
    """All randomness follows from it."""
    cache: bool = True
    """Keep compiled programs in $JMETA_CACHE_DIR, by default ~/.cache/jmeta, for later runs."""


@dataclass(frozen=True)
class Train:
    """Run an experiment file, which calls `jmeta.harness` with its options and a function.

    Options of the experiment follow the file; jmeta train FILE --help lists them. --json prints only the
    summary, as JSON, to standard output. For example:

    jmeta train experiments/few_shot_clustering.py --preset quick --out runs/first
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The experiment: a Python file."""


@dataclass(frozen=True)
class Evaluate:
    """Evaluate again what a run has trained, without training, and write RUN/evaluation.json.

    Options that follow the folder, such as --test-tasks, replace those of the run, except for --seed, which
    may determine the held-out data. An interrupted run is evaluated at its newest state. --json prints the
    result as JSON.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run."""


@dataclass(frozen=True)
class Report:
    """Write a page about a run, with its curves, figures, tables and options."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run."""
    out: Path | None = None
    """Where to write the page; RUN/report.html unless given."""
    json: bool = False
    """Print only the path of the page, as JSON, to standard output."""


@dataclass(frozen=True)
class Doctor:
    """Check that this machine has what jmeta needs, and that it works."""

    json: bool = False
    """Print only the results, as JSON, to standard output."""


Commands = (
    Annotated[Cluster, tyro.conf.subcommand("cluster")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)
WITH_OPTIONS = ("train", "evaluate")
"""Commands that pass further options to the experiment."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; bad input ends with one sentence and exit code 2, an interrupt with 130."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    further: list[str] = []
    if len(words) > 1 and words[0] in WITH_OPTIONS and not words[1].startswith("-"):
        words, further = words[:2], words[2:]
    chosen = tyro.cli(Commands, prog="jmeta", description=__doc__, args=words)
    own_file = isinstance(chosen, Train | Evaluate)  # whose errors keep their traceback
    caught = (InputError,) if own_file else (InputError, ValueError, OSError)
    try:
        match chosen:
            case Cluster():
                cluster(chosen)
            case Train():
                train(chosen.file, further)
            case Evaluate():
                evaluate(chosen.run, further)
            case Report():
                report(chosen)
            case Doctor():
                raise SystemExit(doctor(chosen))
    except caught as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def cluster(chosen: Cluster) -> None:
    """Reads and clusters a table, writes the files asked for, and prints the result."""
    console = Console(stderr=True)
    began = time.perf_counter()
    console.print(f"reading {chosen.data}", markup=False)
    for path in (chosen.out, chosen.report):
        _check_writable(path)
    from .cli_output import describe_first, print_result, report_of, result_of
    from .compilation_cache import use_compilation_cache
    from .estimators import AutoCluster
    from .estimators.reading import BESIDE_WORDS, beside_words, read_sheet

    use_compilation_cache(None if chosen.cache else "")
    sheet, scaling = read_sheet(chosen.data), chosen.scaling
    mixed = scaling in ("auto", "standard") and sheet.numbers.any() and not sheet.numbers.all()
    if mixed:
        sheet, scaling = beside_words(sheet), "none"
    for note in sheet.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    if not len(sheet.points) > 1:
        raise InputError(f"{chosen.data} holds one row; give a table of two rows or more.")
    model = AutoCluster(
        chosen.clusters,
        time_limit=chosen.time_limit,
        search=chosen.search,  # type: ignore[arg-type]
        scaling=scaling,  # type: ignore[arg-type]
        model=chosen.model,
        random_state=chosen.seed,
    )
    console.print("running the candidates")
    with console.status("") as status:
        model.fit(
            sheet.points,
            progress=lambda done, count, one: status.update(f"{done} of {count} candidates, last {one.name}"),
            first_answer=lambda labels, expected: console.print(
                f"first answer, by the zero-shot network alone: {describe_first(labels, expected)}"
            ),
        )
        if mixed:
            _, mark, axes = model.strategy_.scaling.partition("; the first ")  # principal axes, if any
            model.strategy_ = model.strategy_._replace(scaling=BESIDE_WORDS + mark + axes)
        if chosen.out is not None:
            lines = "cluster\n" + "".join(f"{label}\n" for label in model.labels_.tolist())
            write_text(chosen.out, lines)
        if chosen.report is not None:
            status.update("writing the report")
            write_text(chosen.report, report_of(chosen.data.name, sheet, model))
    result = result_of(chosen.data, sheet, model, time.perf_counter() - began)
    if chosen.json:
        print(json.dumps(result, indent=2))
    else:
        print_result(result, model, Console())


def _check_writable(path: Path | None) -> None:
    """Raises an InputError if an output cannot be written."""
    if path is None:
        return
    changed = path if path.exists() and is_special_file(path) else path.parent
    if path.is_dir() or not path.parent.is_dir() or not os.access(changed, os.W_OK):
        raise InputError(f"{path} cannot be written; name a file in an existing, writable folder.")


def train(file: Path, options: list[str]) -> None:
    """Runs an experiment file as a command."""
    from . import harness

    if not file.is_file():
        raise InputError(f"there is no file {file}; name an experiment file.")
    as_json = "--json" in options
    words = [word for word in options if word != "--json"]
    folder = Path(harness.word_after("--out", words) or Path("runs") / file.stem)
    began = time.time()
    with redirect_stdout(sys.stderr) if as_json else nullcontext(), _as_command(file, words):
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SyntaxError as error:
            raise InputError(f"{error.filename} is not Python: line {error.lineno}, {error.msg}.") from None
    result = folder / (harness.EVALUATION if "--frozen" in words else harness.SUMMARY)
    if not result.is_file() or result.stat().st_mtime < began - 1:
        raise InputError(f"{file} wrote no {result}; end it with harness.run(experiment, PRESETS).")
    if as_json:
        print(result.read_text(encoding="utf-8"), end="")


def evaluate(run: Path, options: list[str]) -> None:
    """Runs the experiment of a run again, without training."""
    from . import harness

    description = _read(run / harness.RUN)
    if harness.word_after("--seed", options):
        raise InputError(
            "--seed was given, but the seed of a run may determine its held-out data; leave --seed out."
        )
    file = Path(description["file"])
    if not file.is_file():
        raise InputError(f"{run} was made by {file}, which does not exist; change to its folder.")
    train(file, [*description["arguments"], *options, "--out", str(run), "--frozen"])


def report(chosen: Report) -> None:
    """Writes the page about a run."""
    from . import harness
    from .report import run_report

    out = chosen.out or chosen.run / "report.html"
    description = _read(chosen.run / harness.RUN)
    _check_writable(out)
    summary, evaluation = (
        _read(path) if (path := chosen.run / name).is_file() else {}
        for name in (harness.SUMMARY, harness.EVALUATION)
    )
    logs = {
        path.stem.removeprefix("training_"): harness.rows(path)
        for path in sorted(chosen.run.glob("training_*.jsonl"))
    }
    pictures = sorted(chosen.run.glob("*.png"))
    write_text(
        out,
        run_report(
            description | summary, summary.get("metrics", {}), logs, pictures, evaluation.get("metrics")
        ),
    )
    print(json.dumps({"report": str(out)}) if chosen.json else f"written to {out}")


def doctor(chosen: Doctor) -> int:
    """Prints the results of all checks; returns 1 if one failed."""
    from .doctor import examine

    findings = examine()
    if chosen.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        table = Table("check", "result", "", box=None)
        for name, words, well in findings:
            table.add_row(name, escape(words), "[green]ok[/green]" if well else "[red]failed[/red]")
        Console().print(table)
    return int(not all(finding.well for finding in findings))


@contextmanager
def _as_command(file: Path, words: list[str]) -> Iterator[None]:
    """Sets the command line and the import path for a file, and restores them afterwards."""
    argv, path = sys.argv, list(sys.path)
    folder = file.resolve().parent
    sys.argv = [str(file), *words]
    sys.path[:0] = [str(folder), str(folder.parent)]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def _read(path: Path) -> dict:
    """The content of a file that `harness` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        why = "cannot read" if path.exists() else "there is no"
        raise InputError(f"{why} {path}; name the folder of a run.") from None
    except ValueError:
        raise InputError(f"{path} is damaged; run the experiment again.") from None


if __name__ == "__main__":
    main()

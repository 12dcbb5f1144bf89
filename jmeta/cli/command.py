"""The command `jmeta`.

    jmeta cluster people.csv --report people.html     cluster a table, and write a page that explains it
    jmeta assign people.npz new.csv                   assign new rows to clusters that --save has kept
    jmeta train experiment.py --preset quick          run an experiment file
    jmeta evaluate runs/experiment --test-tasks 5000  evaluate again what a run has trained
    jmeta report runs/experiment                      write a page with its curves, figures and tables
    jmeta plan experiment.py --device h100            memory and time on accelerators that are not there
    jmeta doctor                                      check this machine

Exit codes: 0 success, 1 a check of `doctor` failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import importlib.metadata
import json
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import InputError
from ..files import write_text
from .options import Assign, BadOption, Cluster, Commands, Doctor, Evaluate, Plan, Report, Train
from .tables import assign, check_writable, cluster

WITH_OPTIONS = {"train": (), "evaluate": (), "plan": ("--device", "--devices", "--json")}
"""Commands that pass further options to the experiment, and those that they keep."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; bad input ends with one sentence and exit code 2, an interrupt with 130."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"jmeta {importlib.metadata.version('jmeta')}")
        return
    further: list[str] = []
    if len(words) > 1 and words[0] in WITH_OPTIONS and not words[1].startswith("-"):
        kept, further = _divided(words[2:], WITH_OPTIONS[words[0]])
        words = [*words[:2], *kept]
    try:
        chosen = tyro.cli(Commands, prog="jmeta", description=__doc__, args=words)
    except BadOption as error:
        raise _bad_input(error) from None
    own_file = isinstance(chosen, Train | Evaluate | Plan)  # whose errors keep their traceback
    caught = (InputError,) if own_file else (InputError, ValueError, OSError)
    try:
        match chosen:
            case Cluster():
                cluster(chosen)
            case Assign():
                assign(chosen)
            case Train():
                train(chosen.file, further)
            case Evaluate():
                evaluate(chosen.run, further)
            case Report():
                report(chosen)
            case Plan():
                plan(chosen, further)
            case Doctor():
                raise SystemExit(doctor(chosen))
    except caught as error:
        raise _bad_input(error) from None
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def _divided(words: list[str], options: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The words of some options with their values, and all others.

    >>> _divided(["--steps", "3", "--device", "v5e", "--json"], ("--device", "--json"))
    (['--device', 'v5e', '--json'], ['--steps', '3'])
    """
    kept: list[str] = []
    others: list[str] = []
    following = others
    for word in words:
        if word.startswith("--"):
            following = kept if word.partition("=")[0] in options else others
        following.append(word)
    return kept, others


def _bad_input(error: Exception) -> SystemExit:
    """Prints an error as one sentence; the exit code is 2."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return SystemExit(2)


def train(file: Path, options: list[str]) -> None:
    """Runs an experiment file as a command."""
    from .. import harness

    as_json = "--json" in options
    words = [word for word in options if word != "--json"]
    folder = Path(harness.word_after("--out", words) or Path("runs") / file.stem)
    began = time.time()
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        _run(file, words)
    result = folder / (harness.EVALUATION if "--frozen" in words else harness.SUMMARY)
    if not result.is_file() or result.stat().st_mtime < began - 1:
        raise InputError(f"{file} wrote no {result}; end it with harness.run(experiment, PRESETS).")
    if as_json:
        print(result.read_text(encoding="utf-8"), end="")


def _run(file: Path, words: list[str]) -> None:
    """Runs an experiment file with its options."""
    if not file.is_file():
        raise InputError(f"there is no file {file}; name an experiment file.")
    with _as_command(file, words):
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SyntaxError as error:
            raise InputError(f"{error.filename} is not Python: line {error.lineno}, {error.msg}.") from None


def plan(chosen: Plan, options: list[str]) -> None:
    """Prints what the first training of an experiment needs on accelerators."""
    from ..planning import compile_only, of_file, rows_of

    compile_only()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        found = of_file(lambda: _run(chosen.file, [*options, "--out", folder]), chosen.device, chosen.devices)
    if found is None:
        raise InputError(f"{chosen.file} {' '.join(options)} trains nothing by jm.loop; name an experiment.")
    if chosen.json:
        print(json.dumps(found._asdict(), indent=2))
        return
    table = Table(f"{chosen.file.stem}, {found.tasks:,} tasks", f"{found.devices} x {found.device}", box=None)
    for what, much in rows_of(found):
        table.add_row(what, much)
    Console().print(table)


def evaluate(run: Path, options: list[str]) -> None:
    """Runs the experiment of a run again, without training."""
    from .. import harness

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
    from .. import harness
    from ..report import run_report

    out = chosen.out or chosen.run / "report.html"
    description = _read(chosen.run / harness.RUN)
    check_writable(out)
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
    from ..doctor import examine

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

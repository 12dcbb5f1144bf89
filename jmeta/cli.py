"""The command `jmeta`.

    jmeta cluster people.csv --report people.html     clusters, and a page that explains them
    jmeta train experiment.py --preset quick          run an experiment file
    jmeta evaluate runs/experiment --test-tasks 5000  measure again what a run has trained
    jmeta report runs/experiment                      a page with its curves, pictures and tables
    jmeta doctor                                      what this machine has, and whether it works

Exit codes: 0 done, 1 `doctor` found something broken, 2 bad input, 130 interrupted.
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
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .files import is_special_file, write_text

if TYPE_CHECKING:
    from .estimators import AutoCluster
    from .estimators.reading import Sheet

SHOWN = 5
"""Candidates that are printed."""


@dataclass(frozen=True)
class Cluster:
    """Cluster the rows of a table: no algorithm and no number of clusters to choose.

    Reads CSV (any delimiter; words and gaps are handled by stated rules), npy, npz and parquet. Without --out
    and --report only a summary is printed. For example:

    jmeta cluster people.csv --clusters 4 --out labels.csv --report people.html
    """

    data: Annotated[Path, tyro.conf.Positional]
    """The table: .csv, .tsv, .txt, .npy, .npz or .parquet."""
    clusters: int | None = None
    """How many; found unless given."""
    time_limit: float = 60.0
    """Seconds that candidates may take together."""
    out: Path | None = None
    """Where the cluster of every row is written, one column; -1 is a row that belongs to none."""
    report: Path | None = None
    """Where the page that explains the choice is written."""
    json: bool = False
    """Print the result as JSON, and nothing else, to standard output."""
    search: str = "ranked"
    """ranked: candidates in the order that is foretold; rl2: each chosen after what those before found."""
    scaling: str = "auto"
    """auto: columns are divided by their deviations where these differ tenfold; standard: always; none.
    Beside columns of words those of numbers always are, unless with none, and those of words never."""
    model: Path | None = None
    """A model of one's own; the one that comes with jmeta unless given."""
    seed: int = 0
    """Everything random follows from it."""
    cache: bool = True
    """Keep compiled programs in $JMETA_CACHE_DIR, by default ~/.cache/jmeta, for the next time."""


@dataclass(frozen=True)
class Train:
    """Run an experiment file: one that hands its options and a function to `jmeta.harness`.

    Options of the experiment follow the file; jmeta train FILE --help lists them. --json prints the summary
    as JSON, and nothing else, to standard output. For example:

    jmeta train experiments/few_shot_clustering.py --preset quick --out runs/first
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The experiment: a Python file."""


@dataclass(frozen=True)
class Evaluate:
    """Measure again what a run has trained, without training, and write RUN/evaluation.json.

    Options that follow the folder change the run's own, such as --test-tasks; but for --seed, as what was
    held out of training may follow from it. A run that was cut off is measured as far as it came. --json
    prints the result as JSON.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run."""


@dataclass(frozen=True)
class Report:
    """Write a page about a run: its curves, its pictures, its table and its options."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a run."""
    out: Path | None = None
    """Where the page is written; RUN/report.html unless given."""
    json: bool = False
    """Print where it is as JSON, and nothing else, to standard output."""


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, and whether what jmeta needs works."""

    json: bool = False
    """Print what was found as JSON, and nothing else, to standard output."""


Commands = (
    Annotated[Cluster, tyro.conf.subcommand("cluster")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)
WITH_OPTIONS = ("train", "evaluate")
"""Commands whose file or folder is followed by options of the experiment."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends with one sentence and exit code 2, an interrupt with 130."""
    words, further = list(sys.argv[1:] if arguments is None else arguments), []
    if len(words) > 1 and words[0] in WITH_OPTIONS and not words[1].startswith("-"):
        words, further = words[:2], words[2:]
    chosen = tyro.cli(Commands, prog="jmeta", description=__doc__, args=words)
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
    except (ValueError, OSError) as error:  # an InputError is a ValueError, and so is scikit-learn's own
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def cluster(chosen: Cluster) -> None:
    """Read, cluster, write what was asked for, and print what was found."""
    console = Console(stderr=True)
    began = time.perf_counter()
    console.print(f"reading {chosen.data}", markup=False)
    for path in (chosen.out, chosen.report):
        _check_writable(path)
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
        raise ValueError(f"{chosen.data} holds one row; a table of two rows or more can be clustered.")
    model = AutoCluster(
        chosen.clusters,
        time_limit=chosen.time_limit,
        search=chosen.search,  # type: ignore[arg-type]
        scaling=scaling,  # type: ignore[arg-type]
        model=chosen.model,
        random_state=chosen.seed,
    )
    console.print(f"looking at the table, then trying candidates for {chosen.time_limit:g} s at most")
    with console.status("") as status:
        model.fit(
            sheet.points,
            progress=lambda done, count, one: status.update(f"{done} of {count} candidates, last {one.name}"),
        )
        if mixed:
            _, mark, axes = model.strategy_.scaling.partition(
                "; of "
            )  # what was done to many columns stays said
            model.strategy_ = model.strategy_._replace(scaling=BESIDE_WORDS + mark + axes)
        if chosen.out is not None:
            lines = "cluster\n" + "".join(f"{label}\n" for label in model.labels_.tolist())
            write_text(chosen.out, lines)
        if chosen.report is not None:
            status.update("writing the report")
            write_text(chosen.report, _report(chosen, sheet, model))
    found = _found(chosen, sheet, model, time.perf_counter() - began)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found, model, Console())


def _found(chosen: Cluster, sheet: Sheet, model: AutoCluster, seconds: float) -> dict:
    """The result as JSON has it."""
    labels, advice = model.labels_, model.strategy_
    return {
        "file": str(chosen.data),
        "rows": len(labels),
        "columns": list(sheet.names),
        "clusters": model.n_clusters_,
        "sizes": [int((labels == place).sum()) for place in range(model.n_clusters_)],
        "noise": int((labels < 0).sum()),
        "strategy": {
            "algorithm": None if advice.candidate is None else advice.candidate.name,
            "criterion": advice.criterion,
            "quality": round(advice.quality, 4),
            "width": round(advice.width, 4),
            "scaling": advice.scaling,
            "rows": advice.rows,
            "why": advice.why,
        },
        "ranking": [row._asdict() for row in model.candidates_],
        "notes": list(sheet.notes),
        "labels": labels.tolist(),
        "seconds": round(seconds, 2),
    }


def _print(found: dict, model: AutoCluster, console: Console) -> None:
    sizes = ", ".join(f"{size:,}" for size in found["sizes"])
    noise = f", and {found['noise']:,} rows in none" if found["noise"] else ""
    console.print(f"\n[bold]{found['clusters']} clusters[/bold] of {sizes} rows{noise}")
    console.print(found["strategy"]["why"], markup=False, highlight=False)
    console.print(
        f"{found['strategy']['scaling']}; {found['strategy']['rows']}", markup=False, highlight=False
    )
    table = Table("candidate", "clusters", "foretold", "+-", "seconds", box=None)
    table.caption, table.caption_justify = "*: columns scaled first; / 3: asked for three clusters", "left"
    for row in model.candidates_[:SHOWN]:
        numbers = (f"{row.quality:.2f}", f"{row.width:.2f}", f"{row.seconds:.2f}")
        table.add_row(row.name, str(row.clusters), *numbers)
    console.print(table)
    console.print(f"{found['seconds']:.1f} s", highlight=False)


def _report(chosen: Cluster, sheet: Sheet, model: AutoCluster) -> str:
    from .report import Summary, clustering_report

    advice, explanation = model.strategy_, model.explain() if model.candidates_ else None
    sizes = ", ".join(f"{int((model.labels_ == at).sum()):,}" for at in range(model.n_clusters_))
    facts = {
        "rows": f"{len(model.labels_):,}",
        "columns": f"{len(sheet.names):,}",
        "algorithm": "none" if advice.candidate is None else advice.candidate.name,
        "sizes of clusters": sizes,
        "rows in no cluster": f"{int((model.labels_ < 0).sum()):,}",
        "criterion to trust most": advice.criterion.replace("_", " "),
        "scaling": advice.scaling,
        "labels": advice.rows,
    }
    if explanation is not None and explanation.stability is not None:
        facts["stability"] = (
            f"{explanation.stability:.2f} (agreement of the clusterings of parts; 1 is the same)"
        )
    headline = f"{model.n_clusters_} clusters in {chosen.data.name}"
    summary = Summary(f"Clusters of {chosen.data.name}", headline, advice.why, facts, sheet.notes)
    return clustering_report(summary, model.candidates_, explanation, sheet.columns, model.labels_)


def _check_writable(path: Path | None) -> None:
    """Refuse an output that cannot be written before any work is done."""
    if path is None:
        return
    changed = path if path.exists() and is_special_file(path) else path.parent
    if path.is_dir() or not path.parent.is_dir() or not os.access(changed, os.W_OK):
        raise ValueError(f"{path} cannot be written; name a file in a folder that exists and is yours.")


def train(file: Path, options: list[str]) -> None:
    """Run an experiment file as if it were the command."""
    from . import harness

    if not file.is_file():
        raise ValueError(f"there is no file {file}; name an experiment file.")
    as_json = "--json" in options
    words = [word for word in options if word != "--json"]
    folder = Path(harness.word_after("--out", words) or Path("runs") / file.stem)
    began = time.time()
    with redirect_stdout(sys.stderr) if as_json else nullcontext(), _as_command(file, words):
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SyntaxError as error:
            raise ValueError(f"{error.filename} is not Python: line {error.lineno}, {error.msg}.") from None
    result = folder / (harness.EVALUATION if "--frozen" in words else harness.SUMMARY)
    if not result.is_file() or result.stat().st_mtime < began - 1:
        raise ValueError(f"{file} wrote no {result}; end it with harness.run(experiment, PRESETS).")
    if as_json:
        print(result.read_text(encoding="utf-8"), end="")


def evaluate(run: Path, options: list[str]) -> None:
    """Run the experiment of a run again, its states frozen."""
    from . import harness

    told = _read(run / harness.RUN)
    if harness.word_after("--seed", options):
        raise ValueError(
            "a run is measured with its own seed, which says what was held out; leave --seed out."
        )
    file = Path(told["file"])
    if not file.is_file():
        raise ValueError(
            f"{run} is of {file}, which is not there; go to the folder that it was started from."
        )
    train(file, [*told["arguments"], *options, "--out", str(run), "--frozen"])


def report(chosen: Report) -> None:
    """Write the page about a run."""
    from . import harness
    from .report import run_report

    out = chosen.out or chosen.run / "report.html"
    told = _read(chosen.run / harness.RUN)
    _check_writable(out)
    summary, again = (
        _read(path) if (path := chosen.run / name).is_file() else {}
        for name in (harness.SUMMARY, harness.EVALUATION)
    )
    logs = {
        path.stem.removeprefix("training_"): harness.rows(path)
        for path in sorted(chosen.run.glob("training_*.jsonl"))
    }
    pictures = sorted(chosen.run.glob("*.png"))
    write_text(
        out, run_report(told | summary, summary.get("metrics", {}), logs, pictures, again.get("metrics"))
    )
    print(json.dumps({"report": str(out)}) if chosen.json else f"written to {out}")


def doctor(chosen: Doctor) -> int:
    """Print what was found; 1 where something is broken."""
    from .doctor import examine

    found = examine()
    if chosen.json:
        print(json.dumps([one._asdict() for one in found], indent=2))
    else:
        table = Table("what", "found", "", box=None)
        for name, words, well in found:
            table.add_row(name, escape(words), "[green]ok[/green]" if well else "[red]broken[/red]")
        Console().print(table)
    return int(not all(one.well for one in found))


@contextmanager
def _as_command(file: Path, words: list[str]) -> Iterator[None]:
    """The command line and the import path of a file that is run; those of before afterwards."""
    argv, path = sys.argv, list(sys.path)
    here = file.resolve().parent
    sys.argv = [str(file), *words]
    sys.path[:0] = [str(here), str(here.parent)]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def _read(path: Path) -> dict:
    """What `harness` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {path}; name the folder of a run.") from None
    except ValueError:
        raise ValueError(f"{path} is damaged; run the experiment again.") from None


if __name__ == "__main__":
    main()

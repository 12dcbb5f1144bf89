"""The commands that take a table: `jmeta cluster` and `jmeta assign`.

Options and files are checked before jax is imported, which takes seconds.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from ..errors import InputError, InputWarning
from ..files import STANDARD_INPUT, check_table_file, is_special_file, write_text
from .options import Assign, Cluster, Output

if TYPE_CHECKING:
    import pandas as pd

    from ..estimators import AutoCluster
    from ..portfolio.candidates import Candidate
    from ..report.findings import Findings
    from ..tables.encoder import TableEncoder
    from ..tables.reading import Sheet


def cluster(chosen: Cluster) -> None:
    """Reads and clusters a table, writes the files asked for, and prints the result."""
    began = time.perf_counter()
    chosen.check()
    _check_files(chosen, chosen.report, chosen.save)
    if chosen.model is not None and not chosen.model.is_file():
        raise InputError(f"--model {chosen.model} cannot be read; name a file that holds a model.")
    console = Console(stderr=True)
    console.print(f"reading {chosen.data}", markup=False)
    from ..tables.encoder import TableEncoder
    from ..tables.reading import read_sheet

    sheet = read_sheet(chosen.data, decimal=chosen.decimal)
    if len(sheet.frame) < 2:
        rows = "one row" if len(sheet.frame) else "no rows"
        raise InputError(f"{chosen.data} holds {rows}; give a table of two rows or more.")
    frame, roles = chosen_columns(sheet.frame, chosen)
    encoder = TableEncoder(**roles, decimal=chosen.decimal, units=sheet.units)  # type: ignore[arg-type]
    if chosen.clusters is not None and chosen.clusters > len(frame):
        raise InputError(
            f"--clusters is {chosen.clusters}, but {chosen.data} holds {len(frame)} rows; give a smaller "
            "number."
        )
    from .output import findings_of_used, print_result, result_of

    with _warnings_as_notes(console), _typed_words():
        _check_label(chosen, sheet.frame, lambda: encoder.fit(frame))
        model = _fitted(chosen, frame, encoder, console)
        _print_columns(sheet, model, console)
        found = None if chosen.json and chosen.report is None else findings_of_used(model)
        _write_files(chosen, sheet, frame, model, found, console)
    result = result_of(chosen.data, sheet, model, time.perf_counter() - began)
    if chosen.json:
        print(json.dumps(result, indent=2))
    elif found is not None:
        print_result(result, found, Console(stderr=chosen.out == STANDARD_INPUT))


def assign(chosen: Assign) -> None:
    """Assigns the rows of a table to the clusters of a file, and writes them."""
    if not chosen.kept.is_file():
        raise InputError(f"there is no file {chosen.kept}; name one that jmeta cluster --save has written.")
    _check_files(chosen)
    console = Console(stderr=True)
    from ..tables.reading import read_sheet

    sheet = read_sheet(chosen.data)
    from ..estimators.saved import load_clustering

    model = load_clustering(chosen.kept)
    if model.encoder_ is None:
        raise InputError(f"{chosen.kept} was made from an array; assign rows by load_clustering in Python.")
    _check_label(chosen, sheet.frame, lambda: model.encoder_)
    with _warnings_as_notes(console):
        frame = model.encoder_.aligned(sheet.frame)
        labels = model.predict(frame)
        table = _output(chosen, sheet.frame, frame, model, labels)
    counts = {int(name): int((labels == name).sum()) for name in sorted(set(labels.tolist()))}
    if chosen.json:
        print(json.dumps({"file": str(chosen.data), "rows": len(labels), "labels": labels.tolist()}))
    else:
        shown = ", ".join(f"{count:,} to {_cluster_name(name)}" for name, count in counts.items())
        console.print(f"{len(labels):,} rows assigned: {shown}", markup=False, highlight=False)
    if chosen.out is not None or not chosen.json:
        _write(chosen.out or STANDARD_INPUT, table)


def _fitted(chosen: Cluster, frame: pd.DataFrame, encoder: TableEncoder, console: Console) -> AutoCluster:
    console.print("loading the models")
    from ..compilation_cache import use_compilation_cache
    from ..estimators import AutoCluster
    from ..estimators.progress import at_intervals, describe_first

    use_compilation_cache(None if chosen.cache else "")
    model = AutoCluster(
        chosen.clusters,
        time_limit=chosen.time_limit,
        search=chosen.search,  # type: ignore[arg-type]
        scaling=chosen.scaling,  # type: ignore[arg-type]
        model=chosen.model,
        encoder=encoder,
        random_state=chosen.seed,
    )
    console.print("running the candidates")
    with console.status("") as status:

        def show(done: int, total: int, last: Candidate) -> None:
            line = f"{done} of {total} candidates, last {last.name}"
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line, markup=False, highlight=False)

        return model.fit(
            frame,
            progress=show if console.is_terminal else at_intervals(show),
            first_answer=lambda labels, expected: console.print(
                f"first answer, by the zero-shot network alone: {describe_first(labels, expected)}"
            ),
        )


def chosen_columns(frame: pd.DataFrame, chosen: Cluster) -> tuple[pd.DataFrame, dict[str, Sequence[str]]]:
    """The columns to cluster by and those that identify rows, and what is known of them."""
    names = {
        option: _names(option, getattr(chosen, option), frame)
        for option in ("columns", "ignore", "id", "categorical")
    }
    wanted = set(names["columns"] or frame.columns) - set(names["ignore"]) | set(names["id"])
    kept = [name for name in frame.columns if name in wanted]
    roles: dict[str, Sequence[str]] = {
        "identifiers": names["id"],
        "kept": [name for name in names["columns"] if name in kept],
        "categorical": [name for name in names["categorical"] if name in kept],
        "missing": [value.strip() for value in chosen.missing.split(",") if value.strip()],
    }
    return frame[kept], roles


def _names(option: str, words: str, frame: pd.DataFrame) -> list[str]:
    """The names of columns in the words of an option."""
    if not words or words in frame.columns:
        return [words] * bool(words)
    names = [name.strip() for name in words.split(",")]
    for name in names:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, frame.columns, 1) or list(frame.columns[:5])
            raise InputError(f"--{option}: there is no column {name!r}; did you mean {', '.join(near)}?")
    return names


def _check_files(chosen: Cluster | Assign, *further: Path | None) -> None:
    """Raises an InputError if the table cannot be read or an output cannot be written."""
    check_table_file(chosen.data)
    for path in (chosen.out, *further):
        check_writable(path)
    if chosen.json and chosen.out == STANDARD_INPUT:
        raise InputError("--json and --out - both write to standard output; leave one of them out.")


def _check_label(chosen: Output, table: pd.DataFrame, encoder: Callable[[], TableEncoder]) -> None:
    """Raises an InputError if a column that is added has the name of one that is written beside it."""
    added = [chosen.label, *[_probability(chosen)] * chosen.confidence]
    for name in added:
        if name in table.columns and name in _beside(chosen, table, encoder()):
            raise InputError(f"the table has a column {name!r}; give another name with --label.")


def check_writable(path: Path | None) -> None:
    """Raises an InputError if an output cannot be written."""
    if path is None or path == STANDARD_INPUT:
        return
    changed = path if path.exists() and is_special_file(path) else path.parent
    if path.is_dir() or not path.parent.is_dir() or not os.access(changed, os.W_OK):
        raise InputError(f"{path} cannot be written; name a file in an existing, writable folder.")


def _print_columns(sheet: Sheet, model: AutoCluster, console: Console) -> None:
    from .output import column_lines

    for line in (*sheet.notes, *column_lines(model)):
        console.print(f"  {line}", markup=False, highlight=False)


def _write_files(
    chosen: Cluster,
    sheet: Sheet,
    frame: pd.DataFrame,
    model: AutoCluster,
    found: Findings | None,
    console: Console,
) -> None:
    if chosen.out is not None:
        _write(chosen.out, _output(chosen, sheet.frame, frame, model, model.labels_))
    if chosen.save is not None:
        from ..estimators.saved import save_clustering

        save_clustering(chosen.save, model)
    if chosen.report is not None and found is not None:
        console.print(f"writing {chosen.report}", markup=False, highlight=False)
        from .output import report_of

        name = "standard input" if chosen.data == STANDARD_INPUT else chosen.data.name
        write_text(chosen.report, report_of(name, sheet, model, found))


def _output(
    chosen: Output, table: pd.DataFrame, frame: pd.DataFrame, model: AutoCluster, labels: np.ndarray
) -> pd.DataFrame:
    """The rows that are written: the columns asked for, the cluster, and its probability."""
    written = table[_beside(chosen, table, model.encoder_)].assign(**{chosen.label: labels})
    if chosen.confidence:
        written[_probability(chosen)] = confidence(model.predict_proba(frame), labels).round(3)
    return written


def _beside(chosen: Output, table: pd.DataFrame, encoder: TableEncoder) -> list[str]:
    """The columns of the table that are written beside the cluster."""
    identifiers = [column.name for column in encoder.columns_ if getattr(column, "identifier", False)]
    beside = {
        "id": [name for name in identifiers if name in table.columns],
        "all": list(table.columns),
        "none": [],
    }
    return beside[chosen.out_columns]


def _probability(chosen: Output) -> str:
    """The name of the column of probabilities."""
    return f"{chosen.label} probability"


def confidence(
    probabilities: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """The probability of the cluster of every row; for noise, that of no cluster.

    >>> confidence(np.array([[0.75, 0.25], [0.5, 0.25]]), np.array([0, -1])).tolist()
    [0.75, 0.25]
    """
    own = np.take_along_axis(probabilities, np.maximum(labels, 0)[:, None], 1)[:, 0]
    return np.where(labels < 0, 1 - probabilities.sum(1), own)


def _write(path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False)
    if path == STANDARD_INPUT:
        sys.stdout.write(text)
    else:
        write_text(path, text)


def _cluster_name(label: int) -> str:
    return "unassigned" if label < 0 else f"cluster {label}"


@contextmanager
def _typed_words() -> Iterator[None]:
    """Errors about arguments of `AutoCluster` in the words of the options."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("n_clusters", "--clusters")) from None


@contextmanager
def _warnings_as_notes(console: Console) -> Iterator[None]:
    """Prints warnings for users as sentences; those of libraries are dropped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        console.print(f"note: {message}", markup=False, highlight=False)

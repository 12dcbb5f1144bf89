"""The command `jmeta`.

    jmeta cluster people.csv --report people.html     clusters, and a page that explains them
    jmeta doctor                                      what this machine has, and whether it works

Exit codes: 0 done, 1 `doctor` found something broken, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

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
    """auto: columns are divided by their deviations where these differ tenfold; standard: always; none."""
    model: Path | None = None
    """A model of one's own; the one that comes with jmeta unless given."""
    seed: int = 0
    """Everything random follows from it."""


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, and whether what jmeta needs works."""


Commands = (
    Annotated[Cluster, tyro.conf.subcommand("cluster")] | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends with one sentence and exit code 2, an interrupt with 130."""
    chosen = tyro.cli(Commands, prog="jmeta", description=__doc__, args=arguments)  # type: ignore[call-overload]
    try:
        if isinstance(chosen, Doctor):
            raise SystemExit(doctor(Console()))
        cluster(chosen)
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
    from .estimators import AutoCluster
    from .estimators.reading import read_sheet

    sheet = read_sheet(chosen.data)
    for note in sheet.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    if not len(sheet.points) > 1:
        raise ValueError(f"{chosen.data} holds one row; a table of two rows or more can be clustered.")
    model = AutoCluster(
        chosen.clusters,
        time_limit=chosen.time_limit,
        search=chosen.search,  # type: ignore[arg-type]
        scaling=chosen.scaling,  # type: ignore[arg-type]
        model=chosen.model,
        random_state=chosen.seed,
    )
    console.print("looking at the table (the first time takes some seconds)")
    with console.status("") as status:
        model.fit(
            sheet.points,
            progress=lambda done, count, one: status.update(f"{done} of {count} candidates, last {one.name}"),
        )
        if chosen.out is not None:
            lines = "cluster\n" + "".join(f"{label}\n" for label in model.labels_.tolist())
            _write(chosen.out, lines)
        if chosen.report is not None:
            status.update("writing the report")
            _write(chosen.report, _report(chosen, sheet, model))
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
    console.print(f"by {found['strategy']['why']}", markup=False, highlight=False)
    console.print(
        f"{found['strategy']['scaling']}; {found['strategy']['rows']}", markup=False, highlight=False
    )
    table = Table("candidate", "clusters", "quality", "+-", "seconds", box=None)
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
    if path is not None and (
        path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK)
    ):
        raise ValueError(f"{path} cannot be written; name a file in a folder that exists and is yours.")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def doctor(console: Console) -> int:
    """Print versions, devices and checks; 1 where one fails."""
    table = Table("what", "found", "", box=None)
    broken = 0
    for name, check in CHECKS.items():
        try:
            found, mark = check(), "[green]ok[/green]"
        except Exception as error:  # whatever is broken here is what the command is for
            found, mark, broken = f"{type(error).__name__}: {error}", "[red]broken[/red]", 1
        table.add_row(name, found, mark)
    console.print(table)
    return broken


def _packages() -> str:
    names = ("jmeta", "jax", "flax", "optax", "numpy", "scikit-learn")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _devices() -> str:
    import jax

    return ", ".join(f"{device.device_kind} {device.id}" for device in jax.devices())


def _gradient() -> str:
    """A derivative through a clustering, compiled: what everything rests on."""
    import jax
    import jax.numpy as jnp

    import jmeta as jm

    points = jnp.array([[0.0], [1.0], [5.0], [6.0]])

    @jax.jit
    @jax.grad
    def slope(scale: jax.Array) -> jax.Array:
        clusterer = jm.soft_kmeans(2, steps=5)
        state = clusterer.fit(
            clusterer.init(jax.random.key(0)), jm.Batch(scale * points, None, None, None), jax.random.key(1)
        )
        return state.energy

    value = float(slope(jnp.ones(())))
    if not value == value:
        raise ArithmeticError("the gradient through soft k-means is not a number")
    return f"gradient through soft k-means {value:.4f}"


def _collective() -> str:
    """A sum over all devices of every host, by the one operation that training on many of them needs."""
    import jax
    import jax.numpy as jnp

    import jmeta as jm

    count = jax.device_count()
    total = float(jax.jit(jnp.sum)(jm.shard_tasks(jnp.arange(float(count)), jm.task_mesh())))
    if total != count * (count - 1) / 2:
        raise ArithmeticError(f"{count} devices together sum up to {total}")
    return f"{count} device{'s' * (count > 1)} of {jax.process_count()} host{'s' * (jax.process_count() > 1)}"


def _saving() -> str:
    """A state that is written and read back, its files checked."""
    import tempfile

    import jax.numpy as jnp

    from .records import MetaState
    from .training.checkpoint import Checkpoints

    state = MetaState(jnp.asarray(1), jnp.arange(3.0), ())
    with tempfile.TemporaryDirectory() as folder:
        with Checkpoints(Path(folder), {}) as states:
            states.save(state, {})
        with Checkpoints(Path(folder), {}) as states:
            found = states.restore(state)
    if found is None or not bool((found.state.meta == state.meta).all()):
        raise ArithmeticError("a state came back other than it was saved")
    return "a state was saved, verified and read back"


def _model() -> str:
    from .selection.saved import load_model

    advisors, card = load_model()
    return f"{', '.join(sorted(advisors))}; learned from {card['problems']:,} problems, checksum holds"


def _optional() -> str:
    names = ("tensorflow-datasets", "pyarrow", "gymnasium", "tensorboardX", "wandb")
    known = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    return ", ".join(f"{name} {'there' if name in known else 'not installed'}" for name in names)


CHECKS: dict[str, Callable[[], str]] = {
    "python": lambda: f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores",
    "packages": _packages,
    "optional": _optional,
    "devices": _devices,
    "compiler": _gradient,
    "collectives": _collective,
    "checkpoints": _saving,
    "model": _model,
    "data": lambda: os.environ.get("JMETA_DATA_DIR", "JMETA_DATA_DIR is not set; examples need none"),
}


if __name__ == "__main__":
    main()

"""Run an experiment from the command line, and write its summary."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import tyro
from rich.console import Console
from rich.table import Table

from ..batching import use_all_cores
from ..compilation_cache import use_compilation_cache
from ..errors import InputError
from ..files import write_text
from ..metrics.interval import Interval, interval
from ..records import MetaState, MetaStep, Sampler
from ..training.checkpoint import read_state
from ..training.evaluate import Evaluation
from ..training.hooks import (
    Hook,
    JSONLog,
    PrintRows,
    Profile,
    ProgressBar,
    TensorBoard,
    Validate,
    WeightsAndBiases,
)
from ..training.hosts import connect
from ..training.loop import loop
from ..training.save_states import SaveStates
from .options import Config, Options, chosen_preset

RUN = "run.json"
"""File with the options of a run."""
SUMMARY = "summary.json"
"""File with the metrics of a run."""
EVALUATION = "evaluation.json"
"""File with the metrics of a run that was evaluated again."""
ELSEWHERE = (
    *("out", "data_dir", "table", "resume", "frozen", "cache", "profile", "tensorboard", "wandb"),
    *("coordinator", "hosts", "host"),
)
"""Options that say where and how a run is done, and not which run it is."""
Metrics = Mapping[str, Interval]


def run(experiment: Callable[[Config], Metrics], presets: Mapping[str, Config]) -> None:
    """Runs an experiment from the command line and writes its summary.

    The summary is OUT/summary.json, or OUT/evaluation.json if the run is frozen.
    `--preset NAME` starts from `presets[NAME]`, or from a variant of it that `chosen_preset` selects; further
    options change it. Bad input ends with one sentence and exit code 2, an interrupt with exit code 130.
    """
    module = sys.modules[experiment.__module__]
    name = Path(str(module.__file__)).stem
    preset = chosen_preset(presets, sys.argv)
    config = tyro.cli(type(preset), default=preset, description=module.__doc__)
    config = dataclasses.replace(config, out=config.out or Path("runs") / name)
    try:
        config.check()
        use_compilation_cache(None if config.cache else "")
        connect(config.coordinator, config.hosts, config.host)
        use_all_cores()
        gc.set_threshold(100_000, 20, 20)  # looking through what tracing makes took 8 % of short runs
        with _one_sentence():
            config.folder.mkdir(parents=True, exist_ok=True)
        begun = any(config.folder.glob("states_*")) and (config.folder / RUN).exists()
        if not (begun or config.frozen or jax.process_index()):  # else the file says how the run began
            _write(config.folder / RUN, run_record(module, name, config))
        began = time.perf_counter()
        with jax.default_matmul_precision(config.precision):
            metrics = experiment(config)
        if jax.process_index():
            return
        summary = run_record(module, name, config) | summarised(metrics, time.perf_counter() - began)
        _write(config.folder / (EVALUATION if config.frozen else SUMMARY), summary)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if jax.process_count() > 1:  # the other hosts would wait for this one to disconnect
            os._exit(2)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; what was written so far is kept", file=sys.stderr)
        raise SystemExit(130) from None
    _print(name, config, metrics)


def train(
    config: Options,
    name: str,
    step: MetaStep,
    sampler: Sampler,
    state: MetaState,
    key: jax.Array,
    *,
    steps: int,
    tasks: int,
    every: int,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
) -> tuple[MetaState, list[dict[str, float]]]:
    """`loop`, with its log and its states in the output folder under a name.

    Returns:
        The last state, and all rows of the log, also those from before a run was resumed.

    Raises:
        InputError: the folder holds states of an earlier run and `resume` is not set; or it holds none and
            `frozen` is set.
    """
    states, log = config.folder / f"states_{name}", config.folder / f"training_{name}.jsonl"
    if config.frozen:
        return read_state(states, state).state, rows(log)
    if states.exists() and not config.resume and not jax.process_index():
        raise InputError(f"{states} holds a run; add --resume to continue it, or name another --out.")
    if not config.resume and not jax.process_index():
        log.unlink(missing_ok=True)
    hooks = _hooks(config, name, evaluate)
    state, _ = loop(step, sampler, state, key, steps=steps, tasks=tasks, every=every, hooks=hooks)
    return state, rows(log)


def _hooks(config: Options, name: str, evaluate: Callable[[Any], dict[str, float]] | None) -> list[Hook]:
    """The hooks that the command line asks for."""
    folder = config.folder
    hooks: list[Hook] = [] if evaluate is None else [Validate(evaluate)]
    hooks.append(JSONLog(folder / f"training_{name}.jsonl"))
    if config.preset != "quick" or config.resume:
        options = {
            key: _plain(value) for key, value in dataclasses.asdict(config).items() if key not in ELSEWHERE
        }
        hooks.append(SaveStates(folder / f"states_{name}", json.loads(json.dumps(options))))
    hooks.append(ProgressBar(name) if sys.stderr.isatty() else PrintRows(name))
    if config.profile:
        hooks.append(Profile(folder / f"profile_{name}"))
    if config.tensorboard:
        hooks.append(TensorBoard(folder / f"tensorboard_{name}"))
    if config.wandb is not None:
        hooks.append(WeightsAndBiases(config.wandb, name=name, dir=str(folder), reinit="create_new"))
    return hooks


def rows(log: Path) -> list[dict[str, float]]:
    """The rows of a log that `train` wrote; a null becomes NaN."""
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [{key: math.nan if value is None else value for key, value in line.items()} for line in lines]


def paired(evaluations: Mapping[str, Evaluation], pairs: Iterable[tuple[str, str]]) -> Metrics:
    """Intervals of the metrics of every row, and of the differences between rows on equal tasks.

    Returns:
        METRIC/ROW, and for every pair gain/METRIC/ROW-OTHER.
    """
    metrics = {
        f"{name}/{row}": interval
        for row, values in evaluations.items()
        for name, interval in values.intervals().items()
    }
    for row, other in pairs:
        for name, values in evaluations[row].values.items():
            metrics[f"gain/{name}/{row}-{other}"] = interval(values - evaluations[other].values[name])
    return metrics


def run_record(module: ModuleType, name: str, config: Options) -> dict[str, Any]:
    """The options of a run, its command, and the versions and the device that it ran on."""
    packages = ("jmeta", "jax", "flax", "optax", "numpy", "scikit-learn")
    device = jax.devices()[0]
    spec = module.__spec__
    start = ["jmeta", "train", str(module.__file__)] if spec is None else ["python", "-m", spec.name]
    return {
        "experiment": name,
        "preset": config.preset,
        "seed": config.seed,
        "command": shlex.join([*start, *sys.argv[1:]]),
        "file": os.path.relpath(str(module.__file__)),
        "arguments": sys.argv[1:],
        "config": {key: _plain(value) for key, value in dataclasses.asdict(config).items()},
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
        "device": {"kind": device.device_kind, "count": jax.device_count(), "cores": os.cpu_count()},
    }


def summarised(metrics: Metrics, wall_s: float) -> dict[str, Any]:
    """The metrics as JSON holds them, and the wall time in seconds."""
    plain = {key: {k: _plain(v) for k, v in value._asdict().items()} for key, value in metrics.items()}
    return {"wall_s": round(wall_s, 1), "metrics": plain}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with _one_sentence():
        write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turns an error of the file system into an InputError; one in the experiment keeps its traceback."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error}") from error


def _plain(value: object) -> object:
    """A value as JSON holds it: paths as text, and null for numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | list | tuple | None) else str(value)


def _print(name: str, config: Options, metrics: Metrics) -> None:
    table = Table(title=f"{name} ({config.preset}, seed {config.seed})")
    for column in ("metric", "mean", "95 %", "tasks"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for key, value in metrics.items():
        table.add_row(key, f"{value.mean:.4f}", f"+- {value.ci95:.4f}", str(value.n))
    console = Console()
    console.print(table)
    console.print(f"written to {config.folder}")

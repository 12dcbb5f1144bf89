"""What every experiment shares: its command line, its presets, and its summary.

An experiment is a frozen dataclass of options, a preset of it for each scale, and a function from
options to metrics. `run` does the rest.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta import Evaluation
from jmeta.metrics import Interval
from jmeta.records import InputError, MetaState, MetaStep, Sampler
from jmeta.training.hosts import connect
from jmeta.training.sinks import profiler, tensorboard, weights_and_biases


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of every experiment."""

    preset: Literal["quick", "cpu", "gpu"] = "cpu"
    """Which set of defaults: seconds on a laptop, an honest run on one, the full protocol."""
    seed: int = 0
    """Everything random follows from it."""
    out: Path | None = None
    """Where results are written; runs/NAME unless given."""
    data_dir: Path | None = None
    """Where data files are; $JMETA_DATA_DIR unless given."""
    resume: bool = False
    """Go on with the run that is in --out."""
    profile: bool = False
    """Write a trace of what is done between the first two rows of the log."""
    tensorboard: bool = False
    """Write the rows of the log for TensorBoard too."""
    wandb: str | None = None
    """Send the rows of the log to this project of Weights & Biases too."""
    coordinator: str | None = None
    """HOST:PORT of the first of several hosts; auto asks the cluster."""
    hosts: int | None = None
    """How many hosts there are."""
    host: int | None = None
    """Which of them this is, from 0."""

    @property
    def folder(self) -> Path:
        """Where results are written."""
        if self.out is None:
            raise InputError("there is no output folder; start the experiment by its command.")
        return self.out

    @property
    def key(self) -> jax.Array:
        """The typed key that everything random is drawn from."""
        return jax.random.key(self.seed)


Config = TypeVar("Config", bound=Options)
Metrics = Mapping[str, Interval]


def run(experiment: Callable[[Config], Metrics], presets: Mapping[str, Config]) -> None:
    """Run an experiment from the command line, and write OUT/summary.json.

    `--preset NAME` starts from `presets[NAME]`, or from `presets["NAME-VARIANT"]` where there is one for the
    `--dataset`, the `--method` or the `--ways` given, or for "METHOD-WAYS"; further options change it.

    Bad input ends with one sentence and exit code 2; an interrupt with exit code 130.
    """
    module = sys.modules[experiment.__module__]
    name = Path(str(module.__file__)).stem
    chosen = _chosen(presets, sys.argv)
    config = tyro.cli(type(chosen), default=chosen, description=module.__doc__)
    config = dataclasses.replace(config, out=config.out or Path("runs") / name)
    try:
        _check_counts(config)
        connect(config.coordinator, config.hosts, config.host)
        jm.use_all_cores()
        config.folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        metrics = experiment(config)
        if jax.process_index():
            return
        write_summary(name, config, metrics, time.perf_counter() - began)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if jax.process_count() > 1:  # others would wait for this one to say goodbye
            os._exit(2)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; what was written so far is kept", file=sys.stderr)
        raise SystemExit(130) from None
    _print(name, config, metrics)


ELSEWHERE = (
    *("out", "data_dir", "table", "resume", "profile", "tensorboard", "wandb"),
    *("coordinator", "hosts", "host"),
)
"""Options that say where and how a run is done, and not which it is."""


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
    """`jm.loop`, its log and its states in the output folder under the name of what is trained.

    Returns:
        The last state, and all rows of the log, those from before a run was resumed too.

    Raises:
        InputError: states of an earlier run are there, which --resume would go on with.
    """
    states = config.folder / f"states_{name}"
    if states.exists() and not config.resume and not jax.process_index():
        raise InputError(f"{states} holds a run; add --resume to go on with it, or name another --out.")
    options = {
        key: _plain(value) for key, value in dataclasses.asdict(config).items() if key not in ELSEWHERE
    }
    log = config.folder / f"training_{name}.jsonl"
    if not config.resume and not jax.process_index():
        log.unlink(missing_ok=True)
    with ExitStack() as stack:
        state, _ = jm.loop(
            step,
            sampler,
            state,
            key,
            steps=steps,
            tasks=tasks,
            every=every,
            evaluate=evaluate,
            log=log,
            sinks=_sinks(config, name, stack),
            checkpoints=states if config.preset != "quick" or config.resume else None,
            run=json.loads(json.dumps(options)),
            title=name,
        )
    return state, [_row(line) for line in log.read_text(encoding="utf-8").splitlines()]


def paired(found: Mapping[str, Evaluation], pairs: Iterable[tuple[str, str]]) -> Metrics:
    """Intervals of every row's numbers, and of the differences between rows of the same tasks.

    Returns:
        METRIC/ROW, and for every pair gain/METRIC/ROW-OTHER.
    """
    metrics = {
        f"{name}/{row}": interval
        for row, values in found.items()
        for name, interval in values.intervals().items()
    }
    for row, other in pairs:
        for name, values in found[row].values.items():
            metrics[f"gain/{name}/{row}-{other}"] = jm.interval(values - found[other].values[name])
    return metrics


def _sinks(config: Options, name: str, stack: ExitStack) -> list[Callable[[dict[str, float]], None]]:
    """Where rows go besides the log, as the command line says; the first of several hosts tells them."""
    found: list[Callable[[dict[str, float]], None]] = []
    if jax.process_index():
        return found
    if config.profile:
        found.append(stack.enter_context(profiler(config.folder / f"profile_{name}")))
    if config.tensorboard:
        found.append(tensorboard(config.folder / f"tensorboard_{name}"))
    if config.wandb is not None:
        found.append(weights_and_biases(config.wandb, name=name, dir=str(config.folder), reinit="create_new"))
    return found


def _row(line: str) -> dict[str, float]:
    """A row of the log; what was not finite is null there."""
    return {key: math.nan if value is None else value for key, value in json.loads(line).items()}


def write_summary(name: str, config: Options, metrics: Metrics, wall_s: float) -> None:
    """Write what was measured, and everything needed to measure it again."""
    packages = ("jmeta", "jax", "flax", "optax", "numpy", "scikit-learn")
    device = jax.devices()[0]
    summary = {
        "experiment": name,
        "preset": config.preset,
        "seed": config.seed,
        "command": " ".join(["python", "-m", f"experiments.{name}", *map(shlex.quote, sys.argv[1:])]),
        "config": {key: _plain(value) for key, value in dataclasses.asdict(config).items()},
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
        "device": {"kind": device.device_kind, "count": jax.device_count(), "cores": os.cpu_count()},
        "wall_s": round(wall_s, 1),
        "metrics": {
            key: {k: _plain(v) for k, v in found._asdict().items()} for key, found in metrics.items()
        },
    }
    text = json.dumps(summary, indent=2, allow_nan=False)
    (config.folder / "summary.json").write_text(text + "\n", encoding="utf-8")


def _check_counts(config: Options) -> None:
    """Refuse, before any work is done, numbers that no run can use."""
    for name, value in dataclasses.asdict(config).items():
        least = 0 if name in ("seed", "host") or isinstance(value, tuple) else 1
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, int) and not isinstance(number, bool) and not least <= number < 2**31:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} is {number}; give a whole number from {least} to 2147483647.")
            if isinstance(number, float) and not 0 < number < math.inf:
                raise InputError(f"--{name.replace('_', '-')} is {number}; give a positive number.")


def _chosen(presets: Mapping[str, Config], arguments: list[str]) -> Config:
    """The preset that the command line names, in the variant of its data set or method where there is one.

    Words that name no preset are left to the parser, which refuses them.
    """

    def value(flag: str) -> str:
        pairs = zip(arguments, [*arguments[1:], ""], strict=True)
        found = [
            after if word == flag else word.removeprefix(f"{flag}=") for word, after in pairs if flag in word
        ]
        return found[-1] if found else ""

    preset = value("--preset") or "cpu"
    dataset, method, ways = (value(flag) for flag in ("--dataset", "--method", "--ways"))
    variants = (f"{dataset}-{ways}", dataset, f"{method}-{ways}", method, ways)
    names = (*(f"{preset}-{variant}" for variant in variants), preset, "cpu")
    return next(presets[name] for name in names if name in presets)


def _plain(value: object) -> object:
    """A value that JSON has: paths as text, and null for what is not a number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | list | tuple | None) else str(value)


def _print(name: str, config: Options, metrics: Metrics) -> None:
    table = Table(title=f"{name} ({config.preset}, seed {config.seed})")
    for column in ("metric", "mean", "95 %", "tasks"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for key, found in metrics.items():
        table.add_row(key, f"{found.mean:.4f}", f"+- {found.ci95:.4f}", str(found.n))
    console = Console()
    console.print(table)
    console.print(f"written to {config.folder}")

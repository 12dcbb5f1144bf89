"""What every experiment shares: its command line, its presets, and its summary.

An experiment is a frozen dataclass of options, a preset of it for each scale, and a function from
options to metrics. `run` does the rest: a file that ends with

    if __name__ == "__main__":
        harness.run(experiment, PRESETS)

is run by `jmeta train FILE`, measured again by `jmeta evaluate RUN`, and shown by `jmeta report RUN`.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import jax
import tyro
from rich.console import Console
from rich.table import Table

from .batching import use_all_cores
from .compilation_cache import use_compilation_cache
from .errors import InputError
from .files import write_text
from .metrics.interval import Interval, interval
from .records import MetaState, MetaStep, Sampler
from .training.checkpoint import read_state
from .training.evaluate import Evaluation
from .training.hosts import connect
from .training.loop import loop
from .training.sinks import profiler, tensorboard, weights_and_biases

RUN, SUMMARY, AGAIN = "run.json", "summary.json", "evaluation.json"
"""What was asked for, what came out, and what came out when it was measured again."""


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
    frozen: bool = False
    """Take the newest states of the run in --out as they are, and train no further."""
    cache: bool = True
    """Keep compiled programs in $JMETA_CACHE_DIR, by default ~/.cache/jmeta, for the next time."""
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
    """Run an experiment from the command line, and write OUT/summary.json, or OUT/evaluation.json if frozen.

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
        use_compilation_cache(None if config.cache else "")
        connect(config.coordinator, config.hosts, config.host)
        use_all_cores()
        config.folder.mkdir(parents=True, exist_ok=True)
        begun = any(config.folder.glob("states_*")) and (config.folder / RUN).exists()
        if not (
            begun or jax.process_index() or config.frozen
        ):  # of a run that is there, it says how it began
            _write(config.folder / RUN, told(module, name, config))
        began = time.perf_counter()
        metrics = experiment(config)
        if jax.process_index():
            return
        summary = told(module, name, config) | measured(metrics, time.perf_counter() - began)
        _write(config.folder / (AGAIN if config.frozen else SUMMARY), summary)
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
    *("out", "data_dir", "table", "resume", "frozen", "cache", "profile", "tensorboard", "wandb"),
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
    """`loop`, its log and its states in the output folder under the name of what is trained.

    Returns:
        The last state, and all rows of the log, those from before a run was resumed too.

    Raises:
        InputError: states of an earlier run are there, which --resume would go on with; or there are none,
            where they are to be taken as they are.
    """
    states, log = config.folder / f"states_{name}", config.folder / f"training_{name}.jsonl"
    if config.frozen:
        return read_state(states, state).state, rows(log)
    if states.exists() and not config.resume and not jax.process_index():
        raise InputError(f"{states} holds a run; add --resume to go on with it, or name another --out.")
    options = {
        key: _plain(value) for key, value in dataclasses.asdict(config).items() if key not in ELSEWHERE
    }
    if not config.resume and not jax.process_index():
        log.unlink(missing_ok=True)
    with ExitStack() as stack:
        state, _ = loop(
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
    return state, rows(log)


def rows(log: Path) -> list[dict[str, float]]:
    """The rows of a log that `train` wrote; what was not finite is null there."""
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [{key: math.nan if value is None else value for key, value in line.items()} for line in lines]


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
            metrics[f"gain/{name}/{row}-{other}"] = interval(values - found[other].values[name])
    return metrics


def _sinks(config: Options, name: str, stack: ExitStack) -> list[Callable[[dict[str, float]], None]]:
    """Where rows go besides the log, as the command line says; the first of several hosts tells them."""
    found: list[Callable[[dict[str, float]], None]] = []
    if jax.process_index():
        return found
    if not sys.stderr.isatty():  # where there is no progress bar
        found.append(partial(_print_row, name))
    if config.profile:
        found.append(stack.enter_context(profiler(config.folder / f"profile_{name}")))
    if config.tensorboard:
        found.append(tensorboard(config.folder / f"tensorboard_{name}"))
    if config.wandb is not None:
        found.append(weights_and_biases(config.wandb, name=name, dir=str(config.folder), reinit="create_new"))
    return found


def told(module: ModuleType, name: str, config: Options) -> dict[str, Any]:
    """What was asked for, and everything needed to ask for it again."""
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


def measured(metrics: Metrics, wall_s: float) -> dict[str, Any]:
    """What came out."""
    found = {key: {k: _plain(v) for k, v in value._asdict().items()} for key, value in metrics.items()}
    return {"wall_s": round(wall_s, 1), "metrics": found}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


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
    preset = word_after("--preset", arguments) or "cpu"
    dataset, method, ways = (word_after(flag, arguments) for flag in ("--dataset", "--method", "--ways"))
    variants = (f"{dataset}-{ways}", dataset, f"{method}-{ways}", method, ways)
    names = (*(f"{preset}-{variant}" for variant in variants), preset, "cpu")
    return next(presets[name] for name in names if name in presets)


def word_after(flag: str, arguments: Sequence[str]) -> str:
    """The last word that a flag of a command line is given, as two words or one; empty where there is none.

    >>> word_after("--out", ["--out", "a", "--out=b"]), word_after("--out", [])
    ('b', '')
    """
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    found = [
        after if word == flag else word.removeprefix(f"{flag}=") for word, after in pairs if flag in word
    ]
    return found[-1] if found else ""


def _plain(value: object) -> object:
    """A value that JSON has: paths as text, and null for what is not a number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | list | tuple | None) else str(value)


def _print_row(name: str, row: Mapping[str, float]) -> None:
    """Prints one line of progress, for logs."""
    line = f"{name}: step {row['step']:.0f}, loss {row['loss']:.3f}, {row['seconds']:.0f} s"
    print(line, file=sys.stderr, flush=True)


def _print(name: str, config: Options, metrics: Metrics) -> None:
    table = Table(title=f"{name} ({config.preset}, seed {config.seed})")
    for column in ("metric", "mean", "95 %", "tasks"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for key, found in metrics.items():
        table.add_row(key, f"{found.mean:.4f}", f"+- {found.ci95:.4f}", str(found.n))
    console = Console()
    console.print(table)
    console.print(f"written to {config.folder}")

"""Measures and trains on one accelerator for 25 minutes, the most useful parts first.

Parts run one after another, each as a process of its own, in this order:

- maml: the meta-gradient of MAML beside torch.func and others; tasks per second
- clustering: batched k-means and its gradients beside PyTorch and others
- plans: the step times that `jm.plan` predicts, and those measured, for six programs
- omniglot_maml: MAML on Omniglot, 5-way 1-shot, the published protocol in full
- few_shot_clustering: an embedding of Omniglot in which k-means finds unseen classes, in full
- omniglot_alphabets: clustering whole unseen alphabets, in full
- zero_shot: the network of the zero-shot clusterer, on drawn tasks, as the gpu preset

A part that has ended has written OUT/PART.json, or OUT/PART/summary.json, each with the device and the
versions; it is skipped next time. Of the minutes that remain, each part may take its share. One that reaches
it is stopped: a training keeps its state and is resumed by the same command, a benchmark keeps its rows in
OUT/PART.partial.json. A part whose data are not in --data-dir says so and takes no time. Peers are those that
are installed: `pip install '.[bench]'`, flash-kmeans.

    python -m experiments.accelerator --data-dir DIR
        25 minutes on one GPU, at most
    python -m experiments.accelerator --preset quick
        half a minute on two cores: one benchmark and one training, at their smallest
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jmeta import InputError, harness, interval
from jmeta.metrics import Interval

GRACE = 60
"""Seconds in which a part that is stopped may save its state."""
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
"""The variable that keeps a process from taking most of an accelerator's memory at its start."""


class Part(NamedTuple):
    """A command, and how much of the time it may take.

    Attributes:
        module: below `experiments`.
        share: of the time, relative to those of the others.
        options: besides those of every part.
    """

    module: str
    share: float
    options: tuple[str, ...] = ()

    @property
    def benchmark(self) -> bool:
        """Whether it writes one file, and has no presets."""
        return self.module.startswith("benchmarks.")

    def result(self, folder: Path) -> Path:
        """The file that is written once it has ended."""
        name = self.module.rpartition(".")[2]
        return folder / f"{name}.json" if self.benchmark else folder / name / "summary.json"


PARTS = {
    part.module.rpartition(".")[2]: part
    for part in (
        Part("benchmarks.maml", 5),
        Part("benchmarks.clustering", 3),
        Part("benchmarks.plans", 2),
        Part("omniglot_maml", 5, ("--method", "maml")),
        Part("few_shot_clustering", 4, ("--dataset", "omniglot", "--train", "both")),
        Part("omniglot_alphabets", 3),
        Part("zero_shot", 3),
    )
}
"""In the order in which they run."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this command."""

    parts: tuple[str, ...] = tuple(PARTS)
    """Which parts to run."""
    minutes: float = 25.0
    """Time of all parts together."""

    def check(self) -> None:
        """Raises an `InputError` if a part is unknown."""
        super().check()
        if unknown := sorted(set(self.parts) - set(PARTS)):
            raise InputError(f"there is no part {unknown[0]!r}; choose among {', '.join(PARTS)}.")


PRESETS = {
    "quick": Config(preset="quick", parts=("plans", "omniglot_maml"), minutes=2.0),
    "cpu": Config(preset="gpu"),
    "gpu": Config(preset="gpu"),
}


def experiment(config: Config) -> harness.Metrics:
    """Runs the parts that have not ended yet; the metrics are the seconds of those that have now."""
    ends = time.perf_counter() + 60 * config.minutes
    left = [name for name in config.parts if not PARTS[name].result(config.folder).exists()]
    taken: dict[str, Interval] = {}
    for place, name in enumerate(left):
        share = PARTS[name].share / sum(PARTS[other].share for other in left[place:])
        began = time.perf_counter()
        outcome = run(name, config, share * (ends - began))
        seconds = time.perf_counter() - began
        print(f"{name}: {outcome}, {seconds:.0f} s", flush=True)
        if PARTS[name].result(config.folder).exists():
            taken[f"seconds/{name}"] = interval(np.asarray([seconds]))
    return taken


def run(name: str, config: Config, limit: float) -> str:
    """Runs a part for at most `limit` seconds, and returns how it ended."""
    part = PARTS[name]
    partial = config.folder / f"{name}.partial.json"
    log = config.folder / f"{name}.log"
    command = [sys.executable, "-m", f"experiments.{part.module}", *options(part, config, partial)]
    environment = {key: value for key, value in os.environ.items() if key != PREALLOCATE}
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            return "stopped, its time was over"
    if code:
        lines = log.read_text(encoding="utf-8").splitlines()
        return lines[-1] if lines else f"failed with exit code {code}"
    if part.benchmark:
        partial.rename(part.result(config.folder))
    return "done"


def options(part: Part, config: Config, partial: Path) -> list[str]:
    """The options of a part; a benchmark writes its rows to `partial`."""
    quick = config.preset == "quick"
    if part.benchmark:
        return ["--out", str(partial), *["--quick"] * quick]
    place = [] if config.data_dir is None else ["--data-dir", str(config.data_dir)]
    out = str(part.result(config.folder).parent)
    return [*part.options, "--preset", config.preset, "--out", out, *place, *["--resume"] * (not quick)]


if __name__ == "__main__":
    os.environ.setdefault(PREALLOCATE, "false")  # all memory is left to the parts
    harness.run(experiment, PRESETS)

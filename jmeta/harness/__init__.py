"""What every experiment shares: its command line, its presets, its training run and its summary.

An experiment is a frozen dataclass of options, a preset of it for each scale, and a function from options to
metrics. `run` does the rest: a file that ends with

    if __name__ == "__main__":
        harness.run(experiment, PRESETS)

is run by `jmeta train FILE`, evaluated again by `jmeta evaluate RUN`, and shown by `jmeta report RUN`.
"""

from .options import Options, option, word_after
from .run import EVALUATION, RUN, SUMMARY, Metrics, paired, rows, run, run_record, summarised, train
from .shared import class_splits, clipped_adam, validation_accuracy

__all__ = [
    "EVALUATION",
    "RUN",
    "SUMMARY",
    "Metrics",
    "Options",
    "class_splits",
    "clipped_adam",
    "option",
    "paired",
    "rows",
    "run",
    "run_record",
    "summarised",
    "train",
    "validation_accuracy",
    "word_after",
]

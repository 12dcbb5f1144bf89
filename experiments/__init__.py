"""One runnable file per headline result: `python -m experiments.NAME`."""

"""The experiments: one runnable file for each main result, run by `python -m experiments.NAME`."""

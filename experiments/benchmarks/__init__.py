"""Benchmarks: each peer is timed in the same process, on the same input, after its output is checked."""

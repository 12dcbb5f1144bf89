"""Side-by-side timings: each peer in the same process, on the same input, its output checked first."""

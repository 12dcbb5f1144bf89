"""Optimal transport between points and clusters: the dual problem, and plans rounded to labels."""

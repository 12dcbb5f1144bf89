"""Clustering on the device: seeding, one file per algorithm, and the public door `cluster`."""

"""The points that every clusterer is tried on."""

import numpy as np

K, N, D = 3, 12, 2
TRUTH = np.repeat(np.arange(K), N // K)


def blobs(seed=0, spread=0.1):
    """Three blobs far apart, of four points each."""
    noise = np.random.default_rng(seed).normal(size=(N, D)) * spread
    return (np.array([[-6, -6], [10, 0], [0, 10]])[TRUTH] + noise).astype(np.float32)

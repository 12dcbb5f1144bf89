"""Batched k-means in other libraries; each takes the same steps from the same start."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Call = Callable[[], Any]
"""Runs the computation once; its result is compared before it is timed."""

PACKAGES = {
    "torch_batched": "torch",
    "torch_compiled": "torch",
    "torch_kmeans": "torch-kmeans",
    "ott": "ott-jax",
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "flash_kmeans": "flash-kmeans",
}
"""The package of every peer."""


def torch_soft(
    x: np.ndarray, start: np.ndarray, beta: float, steps: int, mode: str, compile_it: bool = False
) -> Call:
    """Soft k-means in PyTorch: the same iteration as jmeta's, batched over tasks.

    Args:
        x: [T, N, D] points.
        start: [T, K, D] initial centres.
        beta: inverse temperature.
        steps: number of iterations.
        mode: "forward" for centres, "grad" for a gradient, "grad2" for the gradient of a gradient.
        compile_it: whether to use `torch.compile`.
    """
    import torch

    def centers(points: Any, c: Any) -> Any:
        for _ in range(steps):
            logits = beta * (2 * points @ c.transpose(1, 2) - (c * c).sum(-1)[:, None])
            probs = torch.softmax(logits, -1)
            c = probs.transpose(1, 2) @ points / probs.sum(1)[..., None]
        return c

    run = torch.compile(centers) if compile_it else centers
    points, c0, probe = map(tensor, (x, start, probe_of(x)))

    def call() -> np.ndarray:
        if mode == "forward":
            with torch.no_grad():
                return ready(run(points, c0))
        leaf = points.clone().requires_grad_()
        loss = (run(leaf, c0) ** 2).sum()
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=mode == "grad2")
        if mode == "grad":
            return ready(gradient)
        return ready(torch.autograd.grad((gradient * probe).sum(), leaf)[0])

    return call


def torch_kmeans_soft(x: np.ndarray, start: np.ndarray, beta: float, steps: int, mode: str) -> Call:
    """torch_kmeans.SoftKMeans without early stopping; its gradient passes only through the last step."""
    import torch
    from torch_kmeans import SoftKMeans
    from torch_kmeans.utils.distances import BaseDistance

    class Similarity(BaseDistance):
        """Minus the squared distance."""

        def __init__(self, **options: Any) -> None:
            super().__init__(is_inverted=True, normalize_embeddings=False)

        def compute_mat(self, query_emb: Any, ref_emb: Any) -> Any:
            norms = (query_emb**2).sum(-1)[..., None] + (ref_emb**2).sum(-1)[:, None]
            return 2 * query_emb @ ref_emb.transpose(1, 2) - norms

        def pairwise_distance(self, query_emb: Any, ref_emb: Any) -> Any:
            return -((query_emb - ref_emb) ** 2).sum(-1)

    model = SoftKMeans(
        n_clusters=start.shape[1],
        max_iter=steps - 1,
        distance=Similarity,
        normalize=None,
        temp=beta,
        tol=0.0,
        verbose=False,
    )
    points, c0 = map(tensor, (x, start))

    def call() -> np.ndarray:
        leaf = points.clone().requires_grad_(mode == "grad")
        centers = model(leaf, k=start.shape[1], centers=c0.clone()).centers
        if mode == "forward":
            return ready(centers.detach())
        return ready(torch.autograd.grad((centers**2).sum(), leaf)[0])

    return call


def sklearn_hard(x: np.ndarray, start: np.ndarray, steps: int) -> Call:
    """scikit-learn's k-means by Lloyd's algorithm, in a loop over tasks."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    def call() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.stack([fit(points, c).cluster_centers_ for points, c in zip(x, start, strict=True)])

    def fit(points: np.ndarray, c: np.ndarray) -> Any:
        return KMeans(len(c), init=c, n_init=1, max_iter=steps, tol=0, algorithm="lloyd").fit(points)

    return call


def faiss_hard(x: np.ndarray, start: np.ndarray, steps: int) -> Call:
    """The k-means of faiss, in a loop over tasks."""
    import faiss

    clusters, features = start.shape[1:]
    options = {"niter": steps, "min_points_per_centroid": 1, "max_points_per_centroid": 10**9}

    def centers(points: np.ndarray, c: np.ndarray) -> np.ndarray:
        model = faiss.Kmeans(features, clusters, **options)
        model.train(points, init_centroids=c)
        return np.asarray(model.centroids)

    return lambda: np.stack([centers(points, c) for points, c in zip(x, start, strict=True)])


def flash_hard(x: np.ndarray, start: np.ndarray, steps: int) -> Call:
    """The batched k-means of flash-kmeans, in kernels of Triton; for GPUs."""
    from flash_kmeans import batch_kmeans_Euclid

    points, c0 = map(tensor, (x, start))

    def call() -> np.ndarray:
        return ready(batch_kmeans_Euclid(points, start.shape[1], steps, 0.0, c0.clone())[1])

    return call


def tensor(x: np.ndarray) -> Any:
    """An array as one of PyTorch, on the GPU if jax uses one."""
    import torch

    gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return torch.tensor(x, device="cuda" if gpu else "cpu")


def ready(result: Any) -> Any:
    """A result of PyTorch once it has been computed: as an array of NumPy, or on the GPU."""
    import torch

    if not result.is_cuda:
        return result.numpy()
    torch.cuda.synchronize()
    return result


def on_host(result: Any) -> np.ndarray:
    """The result of a call as an array of NumPy."""
    return np.asarray(result.cpu() if hasattr(result, "cpu") else result)


def ott_hard(x: np.ndarray, start: np.ndarray, steps: int) -> Call:
    """The k-means of OTT, jit-compiled and vmapped over tasks."""
    from ott.tools.k_means import k_means

    def centers(points: jax.Array, c: jax.Array) -> jax.Array:
        result = k_means(
            points,
            len(c),
            init=lambda geometry, clusters, key: c,
            n_init=1,
            tol=0.0,
            min_iterations=steps,
            max_iterations=steps,
        )
        return result.centroids

    points = jnp.asarray(x)
    c0 = jnp.asarray(start)
    program = jax.jit(jax.vmap(centers)).lower(points, c0).compile()
    return lambda: program(points, c0)


def probe_of(x: np.ndarray) -> np.ndarray:
    """The array that a gradient is multiplied by before it is differentiated again."""
    return np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

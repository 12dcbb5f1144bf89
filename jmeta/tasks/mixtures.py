"""Unlabelled mixtures of Gaussians, with varying numbers of points and clusters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task
from ..trees import partial_of


def mixtures(
    *,
    points: tuple[int, int] = (100, 500),
    clusters: tuple[int, int] = (4, 4),
    dimension: int = 2,
    spread: float = 4.0,
    deviation: float = 0.3,
) -> Sampler:
    """Mixtures with means uniform in a cube, spherical components, and weights from a flat Dirichlet.

    With the defaults, this is the published generator of the Set Transformer. Support and query are drawn
    from the same mixture; padding has weight zero and lies at the origin.

    Args:
        points: smallest and largest number of points per task; arrays are padded to the largest.
        clusters: smallest and largest number of components per task.
        dimension: D.
        spread: means lie in [-spread, spread]^D.
        deviation: standard deviation of every component, in units of the points.

    Returns:
        A sampler of unlabelled tasks; `truth` is -1 at padding.

    Raises:
        InputError: a range is empty or starts below one.

    >>> task = mixtures(points=(3, 8))(jax.random.key(0))
    >>> task.support.inputs.shape, 3 <= task.support.weights.sum() <= 8
    ((8, 2), Array(True, dtype=bool))
    """
    for name, (low, high) in (("points", points), ("clusters", clusters)):
        if not 1 <= low <= high:
            raise InputError(f"{name} range from {low} to {high}; give 1 <= least <= most.")
    draw = partial_of(_draw, points=tuple(points), clusters=tuple(clusters), dimension=dimension)
    return jax.tree_util.Partial(compiled(draw), jnp.asarray(spread), jnp.asarray(deviation))


def _draw(
    spread: Array,
    deviation: Array,
    key: Key[Array, ""],
    *,
    points: tuple[int, int],
    clusters: tuple[int, int],
    dimension: int,
) -> Task:
    keys = jax.random.split(key, 7)
    used = jax.random.randint(keys[0], (), clusters[0], clusters[1] + 1)
    real = jax.random.randint(keys[1], (), points[0], points[1] + 1)
    means = jax.random.uniform(keys[2], (clusters[1], dimension), minval=-spread, maxval=spread)
    share = jax.random.exponential(keys[3], clusters[1:])
    logits = jnp.where(jnp.arange(clusters[1]) < used, jnp.log(share), -jnp.inf)

    def draw_batch(key: Key[Array, ""]) -> tuple[Batch, Array]:
        label_key, point_key = jax.random.split(key)
        labels = jax.random.categorical(label_key, logits, shape=points[1:])
        noise = jax.random.normal(point_key, (points[1], dimension))
        kept = jnp.arange(points[1]) < real
        x = jnp.where(kept[:, None], means[labels] + deviation * noise, 0)
        return Batch(x, None, kept.astype(x.dtype), used), jnp.where(kept, labels, -1)

    support, truth = draw_batch(keys[4])
    query, query_labels = draw_batch(keys[5])
    return Task(support, query._replace(targets=query_labels), truth, keys[6])

"""Compares methods of clustering selection, leaving out images, text, biology, shapes or tables in turn.

The methods are those of `experiments.selection`; here everything is learned from four fields and tested on
the fifth. Images are Omniglot alphabets and classes of CIFAR-10 and CIFAR-100, by pixels and by the embedding
of a prototypical network that was trained on other classes, of Omniglot and of CIFAR-100; texts are
represented by latent semantic analysis, cells by principal axes; see `jmeta.tasks.fields`.

    python -m experiments.selection_fields --data-dir DIR
        11 minutes on two cores

The quick preset generates a few small sets.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np
import optax

import jmeta as jm
from experiments import choosing, selection
from jmeta import harness
from jmeta.tasks.fields import FIELDS, Embed, field
from jmeta.tasks.problems import Problem

BATCH = 100
"""Images that are embedded by one call."""


@dataclasses.dataclass(frozen=True)
class Config(selection.Config):
    """Options of this experiment."""

    count: int = 10
    """Problems drawn from each image data set, from all texts and from all cells."""
    embed_steps: int = 200
    """Meta-steps of each embedding."""


PRESETS = {
    "quick": Config(preset="quick", steps=5, networks=1, seeds=1, embed_steps=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", seeds=10, count=40, embed_steps=20_000),
}


def experiment(config: Config) -> harness.Metrics:
    """Makes the problems of every field and evaluates every selection method."""
    problems = choosing.small_problems() if config.preset == "quick" else all_fields(config)
    return selection.report(config, problems)


def all_fields(config: Config) -> list[Problem]:
    """The problems of five fields; images also by embeddings that are trained here."""
    embeds = {
        "omniglot": embedding(config, "omniglot", pools=3),
        "cifar": embedding(config, "cifar100", pools=3),
    }
    make = partial(field, data_dir=config.data_dir, count=config.count, embeds=embeds, seed=config.seed)
    return [problem for name in FIELDS for problem in make(name)]


def embedding(config: Config, name: str, *, pools: int) -> Embed:
    """A prototypical network of three blocks, trained on the training classes of a set."""
    images = jm.load(name, "train", data_dir=config.data_dir)
    net = jm.networks.convnet([32] * 3, shape=images.examples.shape[2:], pools=pools, norm="layer")
    learner = jm.prototypes(net, ways=5)
    sampler = jm.episodes(images, ways=5, shots=5, queries=5)
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-3), chunk=1)
    start, tasks = jax.random.split(config.key)
    state = step.init(learner.init(start))
    meta = jax.jit(partial(jm.train, step, sampler, steps=config.embed_steps, tasks=4))(state, tasks).meta
    apply = jax.jit(net.apply)

    def embed(images: np.ndarray) -> np.ndarray:
        padding = np.zeros((-len(images) % BATCH, *images.shape[1:]), images.dtype)
        padded = np.concatenate([images, padding])
        batches = padded.reshape(-1, BATCH, *images.shape[1:]).astype(np.float32) / 255
        return np.concatenate([apply(meta, batch) for batch in batches])[: len(images)]

    return embed


if __name__ == "__main__":
    harness.run(experiment, PRESETS)

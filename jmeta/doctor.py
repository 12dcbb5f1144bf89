"""Checks that this machine has what jmeta needs, and that it works."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        name: name of the check.
        found: the result in words.
        well: whether the check passed.
    """

    name: str
    found: str
    well: bool


def examine() -> list[Finding]:
    """Runs all checks; the result of one that fails is its error."""
    return [_finding(name, check) for name, check in CHECKS.items()]


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check(), True)
    except Exception as error:  # any failure is a result
        return Finding(name, f"{type(error).__name__}: {error}", False)


def _packages() -> str:
    names = ("jmeta", "jax", "flax", "optax", "numpy", "scikit-learn")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _devices() -> str:
    import jax

    return ", ".join(f"{device.device_kind} {device.id}" for device in jax.devices())


def _gradient() -> str:
    """Compiles and evaluates a derivative through a clustering."""
    import jax
    import jax.numpy as jnp

    import jmeta as jm

    points = jnp.array([[0.0], [1.0], [5.0], [6.0]])

    @jax.jit
    @jax.grad
    def slope(scale: jax.Array) -> jax.Array:
        clusterer = jm.soft_kmeans(2, steps=5)
        state = clusterer.fit(
            clusterer.init(jax.random.key(0)), jm.Batch(scale * points, None, None, None), jax.random.key(1)
        )
        return state.energy

    value = float(slope(jnp.ones(())))
    if not value == value:
        raise ArithmeticError("the gradient through soft k-means is NaN")
    return f"gradient through soft k-means {value:.4f}"


def _collective() -> str:
    """Sums over all devices of all hosts, which is the only collective operation that training needs."""
    import jax
    import jax.numpy as jnp

    import jmeta as jm

    count = jax.device_count()
    total = float(jax.jit(jnp.sum)(jm.shard_tasks(jnp.arange(float(count)), jm.task_mesh())))
    if total != count * (count - 1) / 2:
        raise ArithmeticError(f"the sum over {count} devices is {total}")
    return f"{count} device{'s' * (count > 1)} of {jax.process_count()} host{'s' * (jax.process_count() > 1)}"


def _saving() -> str:
    """Writes a state, verifies its files and reads it back."""
    import tempfile

    import jax.numpy as jnp

    from .records import MetaState
    from .training.checkpoint import Checkpoints

    state = MetaState(jnp.asarray(1), jnp.arange(3.0), ())
    with tempfile.TemporaryDirectory() as folder:
        with Checkpoints(Path(folder), {}) as states:
            states.save(state, {})
        with Checkpoints(Path(folder), {}) as states:
            restored = states.restore(state)
    if restored is None or not bool((restored.state.meta == state.meta).all()):
        raise ArithmeticError("a restored state differs from the saved one")
    return "a state was saved, verified and read back"


def _model() -> str:
    from .artifacts.advisors import load_model

    advisors, card = load_model()
    modes = " or ".join(sorted(advisors))
    return f"number of clusters {modes}; trained on {card['problems']:,} problems, checksum holds"


def _optional() -> str:
    names = ("tensorflow-datasets", "pandas", "pyarrow", "gymnasium", "tensorboardX", "wandb")
    installed = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    return ", ".join(f"{name} {'' if name in installed else 'not '}installed" for name in names)


def _cache() -> str:
    """The folder of compiled programs, which make the next command start sooner."""
    from .compilation_cache import VARIABLE, use_compilation_cache

    folder = use_compilation_cache()
    if folder is None:
        return f"off; set ${VARIABLE} to a writable folder, or unset it"
    sizes = [entry.stat().st_size for entry in folder.glob("*-cache")]
    return f"{len(sizes)} compiled programs, {sum(sizes) / 1e6:.0f} MB, in {folder}"


CHECKS: dict[str, Callable[[], str]] = {
    "python": lambda: f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores",
    "packages": _packages,
    "optional": _optional,
    "devices": _devices,
    "cache": _cache,
    "compiler": _gradient,
    "collectives": _collective,
    "checkpoints": _saving,
    "model": _model,
    "data": lambda: os.environ.get("JMETA_DATA_DIR", "JMETA_DATA_DIR is not set; the examples need no data"),
}

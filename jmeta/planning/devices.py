"""The accelerators that programs can be compiled for without having one."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from ..errors import InputError

COMPILERS = {"tpu": ("libtpu",), "cuda": ("jax_cuda12_plugin", "jax_plugins.xla_cuda12")}
"""The packages that hold the compiler of a platform, as they are imported."""

TPU_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}
"""Tells the compiler of TPUs not to ask a cloud where it is."""


class Accelerator(NamedTuple):
    """A kind of device, as its maker states it.

    Attributes:
        platform: "tpu" or "cuda".
        memory: bytes.
        bandwidth: bytes per second from and to memory.
        reduced: floating-point operations per second of matrix products at the default precision of float32
            arrays: bfloat16 on a TPU, TF32 on a GPU.
        full: the same of everything else, in float32.
        link: bytes per second that a device sends to others.
        target: facts that the compiler asks for: the accelerator's name, or for a GPU its compute capability,
            multiprocessors, clock in GHz, bytes of its second-level cache, and shared memory of one of them.
    """

    platform: str
    memory: float
    bandwidth: float
    reduced: float
    full: float
    link: float
    target: tuple


ACCELERATORS = {
    "a100": Accelerator("cuda", 80e9, 2.039e12, 156e12, 19.5e12, 300e9, (8, 108, 1.41, 40 << 20, 167936)),
    "h100": Accelerator("cuda", 80e9, 3.35e12, 495e12, 67e12, 450e9, (9, 132, 1.98, 50 << 20, 233472)),
    "h200": Accelerator("cuda", 141e9, 4.8e12, 495e12, 67e12, 450e9, (9, 132, 1.98, 50 << 20, 233472)),
    "v5e": Accelerator("tpu", 16e9, 0.819e12, 197e12, 6e12, 100e9, ("v5litepod-8", 2)),
    "v5p": Accelerator("tpu", 95e9, 2.765e12, 459e12, 14e12, 300e9, ("v5p-8", 3)),
    "v6e": Accelerator("tpu", 32e9, 1.64e12, 918e12, 28e12, 224e9, ("v6e-8", 2)),
}
"""By name. Figures are those of the data sheets; products of dense matrices, without sparsity.

The rate of a TPU for other operations is not stated by its maker; a thirtieth of that of products is assumed.
"""
PER_HOST = 8
"""GPUs of one host."""
MOST = {2: 256, 3: 8192}
"""The largest number of TPUs of one slice, by the number of its axes."""


def accelerator(name: str) -> Accelerator:
    """The accelerator of a name.

    Raises:
        InputError: there is none of this name.

    >>> accelerator("v5e").platform
    'tpu'
    """
    if name not in ACCELERATORS:
        raise InputError(f"there is no device {name!r}; choose one of {', '.join(ACCELERATORS)}.")
    return ACCELERATORS[name]


def name_of(kind: str) -> str:
    """The name of the accelerator that jax calls by a `device_kind`.

    Raises:
        InputError: there is no plan for such devices.

    >>> name_of("NVIDIA H100 80GB HBM3"), name_of("TPU v5 lite")
    ('h100', 'v5e')
    """
    words = kind.lower().replace("v5 lite", "v5e").replace("v6 lite", "v6e")
    names = [name for name in ACCELERATORS if name in words]
    if not names:
        raise InputError(f"there is no plan for {kind!r}; choose one of {', '.join(ACCELERATORS)}.")
    return names[0]


def compile_only() -> None:
    """Keeps jax on the CPU, so that the compilers of accelerators do not look for one; to be called first."""
    jax.config.update("jax_platforms", "cpu")
    os.environ |= TPU_ALONE


def devices_of(name: str, count: int, *, slices: int = 1) -> list[jax.Device]:
    """Devices that are not there, for which programs can be compiled.

    Args:
        name: of the accelerator.
        count: how many, in all slices together.
        slices: parts that are joined by a network of the data centre; a TPU sends over its links within one.

    Raises:
        InputError: there is no accelerator of this name, no topology of so many, or the package that holds
            the compiler is not installed.
    """
    kind = accelerator(name)
    missing = [package for package in COMPILERS[kind.platform] if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"compiling for {name} needs {', '.join(missing)}; install them by pip install 'jmeta[plan]'."
        )
    from jax.experimental import topologies

    options: dict[str, Any] = {"platform": kind.platform}
    if kind.platform == "tpu":
        os.environ |= TPU_ALONE | {"TPU_ACCELERATOR_TYPE": kind.target[0]}
        shape = "x".join(map(str, slice_shape(count // slices, kind.target[1])))
        options |= {"topology_name": f"{name}:{shape}", "num_slices": slices}
    else:
        options |= {
            "topology_name": name,
            "topology": f"{slices}x{_hosts(count // slices)}",
            "target_config": _target_config(name, kind),
        }
    with no_flags():
        return list(topologies.get_topology_desc(**options).devices)


@contextmanager
def no_flags() -> Iterator[None]:
    """Hides $XLA_FLAGS from the compiler of TPUs, which ends the process at a flag that it does not know."""
    jax.devices()  # reads the flags for this machine
    flags = os.environ.pop("XLA_FLAGS", None)
    try:
        yield
    finally:
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags


def slice_shape(count: int, axes: int) -> tuple[int, ...]:
    """The shape of a slice of so many TPUs: a power of two, as even as possible, the longest axis last.

    Raises:
        InputError: there is no such slice.

    >>> slice_shape(8, 2), slice_shape(256, 2), slice_shape(16, 3)
    ((2, 4), (16, 16), (2, 2, 4))
    """
    power = count.bit_length() - 1
    if count < 1 or count != 2**power or count > MOST[axes]:
        raise InputError(f"there is no slice of {count} TPUs; give a power of two up to {MOST[axes]}.")
    return tuple(sorted(2 ** ((power + axis) // axes) for axis in range(axes)))


def _hosts(count: int) -> str:
    """The hosts of so many GPUs, and the GPUs of each, eight if there are several."""
    if count < 1 or (count > PER_HOST and count % PER_HOST):
        raise InputError(f"{count} GPUs fill no hosts; give at most {PER_HOST}, or a multiple of {PER_HOST}.")
    return f"{math.ceil(count / PER_HOST)}x{min(count, PER_HOST)}"


def _target_config(name: str, kind: Accelerator) -> str:
    """The facts of a GPU, as the text of XLA's message GpuTargetConfigProto."""
    capability, processors, clock, cache, shared = kind.target
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared} shared_memory_per_block_optin: {shared - 1024}
  threads_per_core_limit: 2048 core_count: {processors} fpus_per_core: {128 if capability >= 9 else 64}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {kind.bandwidth:.0f} l2_cache_size: {cache} clock_rate_ghz: {clock}
  device_memory_size: {kind.memory:.0f} cuda_compute_capability {{ major: {capability} minor: 0 }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "NVIDIA {name.upper()}"
"""

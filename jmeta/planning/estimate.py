"""What a meta-step needs on accelerators that are not there: memory, traffic and a range of times.

The step is compiled for the accelerator. Its memory and its collectives are those of the compiled program;
times are estimates from data sheets, and say which resource limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PyTree

from ..batching import ELSEWHERE, MEMORY_SHARE, Elsewhere, bytes_needed
from ..errors import InputError
from ..records import HostSampler, MetaState, MetaStep, Sampler
from ..sharding.meshes import mesh_of
from ..training.loop import INSTEAD, draw_tasks, traceable
from .devices import Accelerator, accelerator, devices_of, no_flags
from .operations import Operations, count_operations, precisions
from .program import Traffic, traffic_of

LAUNCH = {"tpu": 1e-6, "cuda": 3e-6}
"""Seconds to start an instruction, about."""
LATENCY = 10e-6
"""Seconds of a collective of no size, about."""
OPTIONS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "tpu": ({},),
    "cuda": (
        {"xla_gpu_autotune_level": 0},
        {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False},
    ),
}
"""Options of the compilers, until one compiles: autotuning needs the device, without it few products fail."""


class Plan(NamedTuple):
    """What one meta-step needs on each device.

    Attributes:
        device: name of the accelerator.
        devices: how many.
        tasks: of one step, on all devices together.
        memory: bytes of the compiled program on each device.
        memory_per_task: bytes that every further task of a device adds, from two compiled programs.
        available: bytes of memory of each device.
        traffic: bytes from and to memory, launches, and collectives.
        operations: floating-point operations.
        precisions: what products are computed in -> their share of all products.
        seconds: shortest and longest estimate of one step: only the resource that limits, or all one after
            the other.
        limited_by: "compute", "memory", "launches" or "links", whichever takes the longest.
        efficiency: estimated time without collectives, as a share of that with them.
    """

    device: str
    devices: int
    tasks: int
    memory: int
    memory_per_task: float
    available: int
    traffic: Traffic
    operations: Operations
    precisions: dict[str, float]
    seconds: tuple[float, float]
    limited_by: str
    efficiency: float

    def memory_at(self, tasks: int) -> float:
        """Bytes on each device with another number of tasks."""
        each, planned = -(-tasks // self.devices), -(-self.tasks // self.devices)
        return self.memory + self.memory_per_task * (each - planned)

    @property
    def most_tasks(self) -> int:
        """The largest number of tasks of one step that `MEMORY_SHARE` of the memory of all devices holds.

        Beyond it tasks are differentiated in rounds.
        """
        more = int((MEMORY_SHARE * self.available - self.memory) // self.memory_per_task)
        return self.devices * (-(-self.tasks // self.devices) + more)


def plan(
    step: MetaStep,
    sampler: Sampler,
    state: MetaState,
    *,
    tasks: int,
    device: str,
    devices: int = 1,
) -> Plan:
    """What a meta-step, with the drawing of its tasks, needs on accelerators, which need not be there.

    It is compiled twice, for two numbers of tasks. The compilers of accelerators are the extra `plan`.

    Args:
        step: from `meta_step`, without a mesh.
        sampler: of one task, on the device.
        state: from `step.init`, or its shapes.
        tasks: T, per step, on all devices together.
        device: "a100", "h100", "h200", "v5e", "v5p" or "v6e".
        devices: how many.

    Raises:
        InputError: the device is unknown, there is no topology of so many, the compiler is not installed,
            tasks are made on the host, or not even one task fits.
    """
    kind = accelerator(device)
    if isinstance(sampler, HostSampler):
        raise InputError("tasks that are made on the host cannot be planned; give a sampler on the device.")
    where = Elsewhere(mesh_of(devices_of(device, devices)), kind.memory)
    args = jax.eval_shape(lambda sampler: (state, jax.random.key(0), sampler), traceable(sampler))
    each = -(-tasks // devices)
    other = 2 * each  # of smaller programs, more lies in caches
    with elsewhere(where):
        program = _compiled(_update(step, tasks), args, where.mesh)
        needed = [
            bytes_needed(program),
            bytes_needed(_compiled(_update(step, other * devices), args, where.mesh)),
        ]
        jaxpr = jax.make_jaxpr(_update(step, tasks))(*args).jaxpr
    traffic, operations = traffic_of(str(program.as_text())), count_operations(jaxpr)
    slope = (needed[0] - needed[1]) / (each - other)
    seconds = _seconds(kind, traffic, operations, devices)
    limiting = max(seconds, key=lambda name: seconds[name])
    total = sum(seconds.values())
    return Plan(
        device=device,
        devices=devices,
        tasks=tasks,
        memory=needed[0],
        memory_per_task=slope if slope > 0 else needed[0] / each,
        available=int(kind.memory),
        traffic=traffic,
        operations=operations,
        precisions=precisions(jaxpr, kind.platform),
        seconds=(seconds[limiting], total),
        limited_by=limiting,
        efficiency=1 - seconds["links"] / total,
    )


class _Found(Exception):  # noqa: N818 - ends an experiment once its plan is made
    """Holds the plan of the first training."""


def of_file(run: Callable[[], None], device: str, devices: int) -> Plan | None:
    """The plan of the first training by `jm.loop` in a run, which ends there; None if there is none.

    Raises:
        InputError: as from `plan`.
    """
    accelerator(device)

    def instead(step: MetaStep, sampler: Sampler, state: MetaState, key: Key[Array, ""], tasks: int) -> None:
        raise _Found(plan(step, sampler, state, tasks=tasks, device=device, devices=devices))

    token = INSTEAD.set(instead)
    try:
        run()
    except _Found as found:
        return found.args[0]
    finally:
        INSTEAD.reset(token)
    return None


@contextmanager
def elsewhere(where: Elsewhere) -> Iterator[None]:
    """Programs are compiled for other devices than the local ones."""
    token = ELSEWHERE.set(where)
    jax.clear_caches()  # what was traced for other devices
    try:
        with no_flags():
            yield
    finally:
        ELSEWHERE.reset(token)
        jax.clear_caches()


def _update(step: MetaStep, tasks: int) -> Callable[..., tuple[MetaState, PyTree]]:
    """A meta-step and the drawing of its tasks, with all arrays as arguments."""

    def update(state: MetaState, key: Key[Array, ""], sampler: Sampler) -> tuple[MetaState, PyTree]:
        return step.update(state, draw_tasks(sampler, key, state.step, tasks, mesh=step.mesh))

    return update


def _compiled(function: Callable[..., PyTree], args: PyTree, mesh: Mesh) -> jax.stages.Compiled:
    """A program whose arguments lie on all devices; the first one, the state, is updated in place."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), args
    )
    lowered = jax.jit(function, donate_argnums=0).lower(*placed)
    return _compiled_with(OPTIONS["tpu" if mesh.devices.flat[0].platform == "tpu" else "cuda"], lowered)


def _compiled_with(options: Sequence[Mapping[str, Any]], lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """The program, compiled with the first of the options with which that succeeds."""
    try:
        return lowered.compile(compiler_options=dict(options[0]))
    except jax.errors.JaxRuntimeError:
        if len(options) == 1:
            raise
        return _compiled_with(options[1:], lowered)


def _seconds(kind: Accelerator, traffic: Traffic, operations: Operations, devices: int) -> dict[str, float]:
    """Estimated seconds of a step, by what they are spent on."""
    sent = 2 * (devices - 1) / devices * sum(size for _, size in traffic.collectives.values())
    collectives = sum(count for count, _ in traffic.collectives.values())
    return {
        "compute": operations.products / kind.reduced + operations.others / kind.full,
        "memory": traffic.bytes / kind.bandwidth,
        "launches": LAUNCH[kind.platform] * traffic.launches,
        "links": sent / kind.link + LATENCY * collectives if devices > 1 else 0.0,
    }


def rows_of(found: Plan) -> list[tuple[str, str]]:
    """A plan as rows of a table: what, and how much."""
    low, high = found.seconds
    collectives = ", ".join(
        f"{count:g} {kind} of {size / 1e6:.3g} MB"
        for kind, (count, size) in found.traffic.collectives.items()
    )
    shares = ", ".join(f"{share:.0%} in {name}" for name, share in found.precisions.items())
    idle = found.devices - found.tasks
    memory = f"{found.memory / 2**20:,.1f} MiB of {found.available / 1e9:.3g} GB"
    return [
        *[("devices that repeat a task", f"{idle:,} of {found.devices:,}: give more tasks")] * (idle > 0),
        ("memory of a device, compiled", memory),
        ("memory of another task, from two programs", f"{found.memory_per_task / 2**20:,.3g} MiB"),
        ("most tasks in one round", f"{found.most_tasks:,} on all devices"),
        ("collectives of a step, compiled", collectives or "none"),
        ("operations of a device and step", f"{sum(found.operations) / 1e9:,.3g} GFLOP"),
        ("products of matrices", shares or "none"),
        ("bytes from and to memory, at most", f"{found.traffic.bytes / 1e6:,.3g} MB"),
        ("instructions started", f"{found.traffic.launches:,.0f}"),
        (
            "time of a step, estimated",
            f"{low * 1e3:.3g} to {high * 1e3:.3g} ms, limited by {found.limited_by}",
        ),
        ("scaling efficiency, estimated", f"{found.efficiency:.1%}"),
    ]

"""Training on several hosts, with JAX's distributed runtime."""

from __future__ import annotations

import jax
from jaxtyping import PyTree

from ..errors import InputError

HEARTBEAT_SECONDS = 20
"""Time without a heartbeat after which a host counts as lost, and all end."""


def connect(address: str | None = None, hosts: int | None = None, number: int | None = None) -> None:
    """Connects this host to the others; every host calls it before it uses JAX.

    Args:
        address: "HOST:PORT" of the first host, the same for all; "auto" takes all three from the cluster,
            such as SLURM, Kubernetes or a TPU slice. Without any argument nothing is done.
        hosts: number of hosts.
        number: of this host, from 0.

    Raises:
        InputError: only some of the three are given, or the connection fails.

    >>> connect()  # alone
    """
    if address is None and hosts is None and number is None:
        return
    asked = (
        {}
        if address == "auto"
        else {"coordinator_address": address, "num_processes": hosts, "process_id": number}
    )
    if None in asked.values():
        raise InputError(
            f"address is {address}, hosts {hosts} and number {number}; give all three, or the address auto."
        )
    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM
    try:
        jax.distributed.initialize(**asked, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)  # type: ignore[arg-type]
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the other hosts cannot be reached ({error}); check the address and the number."
        ) from error


def local(tree: PyTree) -> PyTree:
    """Replicated arrays as arrays of this host only.

    >>> float(local(jax.numpy.ones(())))
    1.0
    """
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

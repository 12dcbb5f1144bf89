"""Several hosts that train as one, by JAX's own runtime."""

from __future__ import annotations

import jax
from jaxtyping import PyTree

from ..errors import InputError

SECONDS = 20
"""After which a host that says nothing is given up, and all end."""


def connect(address: str | None = None, hosts: int | None = None, number: int | None = None) -> None:
    """Join the other hosts; called by each of them, before anything else is asked of JAX.

    Args:
        address: "HOST:PORT" of the first one, the same for all; "auto" asks the cluster, such as SLURM,
            Kubernetes or a TPU slice, for all three; nothing is done without it.
        hosts: how many there are.
        number: which this one is, from 0.

    Raises:
        InputError: two of the three are given, or they cannot be joined.

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
            f"address {address}, hosts {hosts} and number {number} do not say who joins whom; give all "
            "three, or the address auto."
        )
    jax.config.update("jax_enable_preemption_service", False)  # it would keep signals for itself
    try:
        jax.distributed.initialize(**asked, heartbeat_timeout_seconds=SECONDS)  # type: ignore[arg-type]
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the other hosts cannot be joined ({error}); see the address and the number."
        ) from error


def local(tree: PyTree) -> PyTree:
    """What every host holds alike, as arrays of this host alone.

    >>> float(local(jax.numpy.ones(())))
    1.0
    """
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

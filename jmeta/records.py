"""The records and protocols of the library; no behaviour.

Shape letters, in all modules: T tasks, N points, D features, K clusters, W ways, S shots, Q queries. A batch
of tasks is a `Task` in which every array has a leading axis T.

Records of data (`Batch`, `Task`, `Assignment`, `MetaState`, `Report`) are pytrees. Records of functions
(`Model`, `Recurrent`, `Learner`, `Clusterer`, `MetaStep`) connect the parts of the library; anything with the
same functions can take their place. The order of arguments is: what is differentiated, data, key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

AnyArray = Array | np.ndarray
"""A JAX or a NumPy array: what public functions accept."""
Metrics = dict[str, Array]
"""Named scalars that are returned with a loss."""


class Batch(NamedTuple):
    """Points, with their targets and weights.

    Attributes:
        inputs: [N, ...] points.
        targets: [N] labels or [N, ...] values; -1 where a label is hidden, None where all are.
        weights: [N] in [0, 1]; serve as padding, masks and sample weights. None means all ones.
        clusters: number of the K cluster slots that this task uses; None means all of them.
    """

    inputs: Shaped[Array, "N ..."]
    targets: Shaped[Array, "N ..."] | None = None
    weights: Float[Array, " N"] | None = None
    clusters: Int[Array, ""] | None = None


class Task(NamedTuple):
    """One task: a support, a query and a key.

    Attributes:
        support: the batch that a learner adapts to.
        query: the batch that it is then evaluated on.
        truth: [N] hidden labels of an unlabelled support; only losses and metrics may read them.
        key: a typed key for the randomness of adaptation.
    """

    support: Batch
    query: Batch
    truth: Int[Array, " N"] | None
    key: Key[Array, ""]


class Assignment(NamedTuple):
    """The assignment of points to clusters.

    Attributes:
        log_probs: [N, K] log-probability of each cluster, given that the point is not noise.
        noise: [N] probability that a point belongs to no cluster.
    """

    log_probs: Float[Array, "N K"]
    noise: Float[Array, " N"]


class Model(NamedTuple):
    """A network.

    Attributes:
        init: `key -> params`.
        apply: `(params, inputs, weights=None) -> outputs`.
        stochastic: `(params, inputs, weights, key) -> outputs`, as applied in the steps of an inner loop,
            with dropout, noise or augmented inputs; None where that is `apply`.
    """

    init: Callable[..., PyTree]
    apply: Callable[..., Array]
    stochastic: Callable[..., Array] | None = None


class Recurrent(NamedTuple):
    """A network with a memory.

    Attributes:
        init: `key -> params`.
        start: `params -> hidden`, the initial memory.
        step: `(params, hidden, inputs [F]) -> (hidden, outputs [O])`.
        unroll: `(params, inputs [L, F], resets [L]) -> outputs [L, O]`, the outputs of L calls of `step` from
            `start`, computed together; where `resets` is true, the memory is set to `start` before that step.
        limit: the largest number of steps; None if unlimited.
    """

    init: Callable[..., PyTree]
    start: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, Array]]
    unroll: Callable[..., Array]
    limit: int | None = None


class Learner(NamedTuple):
    """A learner whose parameters `meta` are meta-learned.

    Attributes:
        init: `key -> meta`.
        adapt: `(meta, support, key) -> fast`, where `fast` is all that `predict` needs.
        predict: `(fast, inputs, weights=None) -> outputs`.
    """

    init: Callable[..., PyTree]
    adapt: Callable[..., PyTree]
    predict: Callable[..., Array]


class Clusterer(NamedTuple):
    """A clustering algorithm.

    Attributes:
        init: `key -> params`, the learned parameters; empty unless some were named.
        fit: `(params, batch, key) -> state`, where `state` is all that `assign` needs.
        assign: `(params, state, inputs) -> Assignment`, for points of the fit or new ones.
        traceable: whether it runs on-device, inside `jit`, `vmap` and `grad`.
    """

    init: Callable[..., PyTree]
    fit: Callable[..., PyTree]
    assign: Callable[..., Assignment]
    traceable: bool = True


class MetaState(NamedTuple):
    """The state of meta-training.

    Attributes:
        step: number of meta-steps taken; it also determines which tasks are drawn.
        meta: the meta-parameters.
        opt: the outer optimiser's state.
        carry: what a gradient estimator keeps between steps, else empty.
    """

    step: Int[Array, ""]
    meta: PyTree
    opt: PyTree
    carry: PyTree = ()


class Report(NamedTuple):
    """What one meta-update reports; all scalars.

    Attributes:
        loss: mean over the tasks that were kept; NaN if none was.
        skipped: number of tasks left out, as their loss or gradient was not finite.
        metrics: further means over the tasks that were kept, by name.
    """

    loss: Float[Array, ""]
    skipped: Int[Array, ""]
    metrics: Metrics


class MetaStep(NamedTuple):
    """One meta-update.

    Attributes:
        init: `meta -> state`.
        update: `(state, tasks) -> (state, report)`.
        mesh: the devices that tasks are divided among, on which a loop draws them; None for one device.
    """

    init: Callable[[PyTree], MetaState]
    update: Callable[[MetaState, Any], tuple[MetaState, Report]]
    mesh: Mesh | None = None


class HostSampler(NamedTuple):
    """A distribution of tasks that are drawn on the host, for images that do not fit into memory.

    Attributes:
        draw: `keys [T] -> tasks`, a batch of NumPy arrays, each task drawn with its own key alone; the keys
            inside the tasks are raw (`jax.random.key_data`), and uint8 inputs stand for values in [0, 1].
    """

    draw: Callable[[Key[Array, " T"]], Task]


class Step(Protocol):
    """The map that is iterated; every differentiable input is passed in `theta`."""

    def __call__(self, x: Any, theta: Any, i: Int[Array, ""]) -> Any:
        """The next iterate, with the structure, shapes and dtypes of `x`."""


class Diff(Protocol):
    """A differentiation rule: runs the iteration and decides how its result is differentiated."""

    def __call__(self, step: Step, x0: Any, theta: Any, steps: int, tol: float | None) -> Any:
        """The last iterate."""


class LinearSolve(Protocol):
    """Solves `matvec(v) = b`, where `matvec` is linear and v and b are pytrees of the same structure."""

    def __call__(self, matvec: Callable[[Any], Any], b: Any) -> Any:
        """The solution, or an approximation to it."""


class Loss(Protocol):
    """A loss between outputs and targets."""

    def __call__(
        self, outputs: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss, and metrics of the same outputs."""


class TaskLoss(Protocol):
    """The loss of one task, which meta-training minimises."""

    def __call__(self, meta: Any, task: Task) -> tuple[Float[Array, ""], Metrics]:
        """The loss of the task, and metrics."""


class GradientEstimator(Protocol):
    """Estimates a meta-gradient, by back-propagation or by evolution strategies."""

    def __call__(
        self, loss: TaskLoss, meta: Any, tasks: Task, weights: Float[Array, " T"], step: Int[Array, ""]
    ) -> tuple[Any, tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]]:
        """The gradient of the weighted sum of task losses, and the loss and metrics of each task.

        `step` counts meta-steps, so that the randomness of each step is its own, also for the same tasks.
        """


class Sampler(Protocol):
    """A distribution of tasks; `vmap` over keys draws a batch."""

    def __call__(self, key: Key[Array, ""]) -> Task:
        """The task drawn with the key."""

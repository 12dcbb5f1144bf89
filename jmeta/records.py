"""Data and contracts: every record and protocol of the library, and no behaviour.

Shape letters, here and everywhere: T tasks, N points, D features, K clusters, W ways, S shots,
Q queries. A batch of tasks is a `Task` whose every array has a leading axis T.

Records of data (`Batch`, `Task`, `Assignment`, `MetaState`) are pytrees. Records of functions
(`Model`, `Recurrent`, `Learner`, `Clusterer`, `MetaStep`) are how parts are handed to each other; anything
with the same functions is one. Arguments always come as: what is differentiated, then data, then key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

AnyArray = Array | np.ndarray
"""Of the device or of numpy: what the doors take."""
Metrics = dict[str, Array]
"""Named scalars that travel beside a loss."""


class Batch(NamedTuple):
    """Points, and what is known of them.

    Attributes:
        inputs: [N, ...] points.
        targets: [N] labels or [N, ...] values; -1 where one label is hidden, None where all are.
        weights: [N] in [0, 1]: padding, masks and sample weights in one; None means all ones.
        clusters: how many of the K cluster slots this task uses; None means all of them.
    """

    inputs: Shaped[Array, "N ..."]
    targets: Shaped[Array, "N ..."] | None = None
    weights: Float[Array, " N"] | None = None
    clusters: Int[Array, ""] | None = None


class Task(NamedTuple):
    """One task: what may be adapted to, what is asked, and its own randomness.

    Attributes:
        support: the batch that a learner adapts to.
        query: the batch that it is then asked about.
        truth: [N] hidden labels of an unlabelled support; only losses and metrics may read them.
        key: a typed key for all that is random while adapting.
    """

    support: Batch
    query: Batch
    truth: Int[Array, " N"] | None
    key: Key[Array, ""]


class Assignment(NamedTuple):
    """Which cluster each point belongs to.

    Attributes:
        log_probs: [N, K] log of the probability of each cluster, given that a point is not noise.
        noise: [N] probability that a point belongs to no cluster.
    """

    log_probs: Float[Array, "N K"]
    noise: Float[Array, " N"]


class Model(NamedTuple):
    """A network. `init(key) -> params`; `apply(params, inputs, weights=None) -> outputs`."""

    init: Callable[..., PyTree]
    apply: Callable[..., Array]


class Recurrent(NamedTuple):
    """A network with a memory.

    Attributes:
        init: `key -> params`.
        start: `params -> hidden`, the memory of nothing.
        step: `(params, hidden, inputs [F]) -> (hidden, outputs [O])`.
        unroll: `(params, inputs [L, F], resets [L]) -> outputs [L, O]`, what `step` gives from `start`, all
            at once; where `resets` holds, the memory is `start` before that step.
        limit: the most steps that it can take; None where there is no end to them.
    """

    init: Callable[..., PyTree]
    start: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, Array]]
    unroll: Callable[..., Array]
    limit: int | None = None


class Learner(NamedTuple):
    """What is meta-learned.

    Attributes:
        init: `key -> meta`.
        adapt: `(meta, support, key) -> fast`, where `fast` describes the result whole.
        predict: `(fast, inputs, weights=None) -> outputs`.
    """

    init: Callable[..., PyTree]
    adapt: Callable[..., PyTree]
    predict: Callable[..., Array]


class Clusterer(NamedTuple):
    """A clustering algorithm.

    Attributes:
        init: `key -> params`, its learnable numbers; empty unless some were named.
        fit: `(params, batch, key) -> state`, where `state` describes the result whole.
        assign: `(params, state, inputs) -> Assignment`, for points seen or never seen.
        traceable: whether it runs on the device, inside `jit`, `vmap` and `grad`.
    """

    init: Callable[..., PyTree]
    fit: Callable[..., PyTree]
    assign: Callable[..., Assignment]
    traceable: bool = True


class MetaState(NamedTuple):
    """Everything that meta-training carries from step to step.

    Attributes:
        step: how many meta-steps were taken; it also numbers the tasks.
        meta: the meta-parameters.
        opt: the outer optimiser's state.
        carry: what an estimator keeps between steps, else empty.
    """

    step: Int[Array, ""]
    meta: PyTree
    opt: PyTree
    carry: PyTree = ()


class MetaStep(NamedTuple):
    """One meta-update. `init(meta) -> state`; `update(state, tasks) -> (state, metrics)`.

    `mesh`, where one was chosen, is the devices that it shares tasks out to; a loop draws them there.
    """

    init: Callable[[PyTree], MetaState]
    update: Callable[[MetaState, Any], tuple[MetaState, Metrics]]
    mesh: Mesh | None = None


class HostSampler(NamedTuple):
    """A distribution of tasks that are made on the host, as where images do not fit into memory.

    Attributes:
        draw: `keys [T] -> tasks`, a batch of NumPy arrays, each task made from its own key alone; the
            tasks' own keys are plain numbers (`jax.random.key_data`), and uint8 inputs stand for values in
            [0, 1].
    """

    draw: Callable[[Key[Array, " T"]], Task]


class Step(Protocol):
    """The map that is iterated; it takes every differentiable input through `theta`."""

    def __call__(self, x: Any, theta: Any, i: Int[Array, ""]) -> Any:
        """The next iterate, of the same structure, shapes and types as `x`."""


class Diff(Protocol):
    """A differentiation rule: runs the iteration and decides how its result is differentiated."""

    def __call__(self, step: Step, x0: Any, theta: Any, steps: int, tol: float | None) -> Any:
        """The last iterate."""


class LinearSolve(Protocol):
    """Solves `matvec(v) = b`, where `matvec` is linear and v, b are pytrees of one structure."""

    def __call__(self, matvec: Callable[[Any], Any], b: Any) -> Any:
        """The solution, or an approximation to it."""


class Loss(Protocol):
    """A loss of outputs against targets."""

    def __call__(
        self, outputs: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss, and metrics of the same outputs."""


class TaskLoss(Protocol):
    """What meta-training minimises, for one task."""

    def __call__(self, meta: Any, task: Task) -> tuple[Float[Array, ""], Metrics]:
        """The loss of the task, and metrics."""


class Estimator(Protocol):
    """How a meta-gradient is obtained: by back-propagation, or by evolution strategies."""

    def __call__(
        self, loss: TaskLoss, meta: Any, tasks: Task, weights: Float[Array, " T"], step: Int[Array, ""]
    ) -> tuple[Any, tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]]:
        """The gradient of the weighted sum of task losses, then each task's loss and metrics.

        `step` counts meta-steps: what is random differs from one to the next, also for the same tasks.
        """


class Sampler(Protocol):
    """A distribution of tasks; a batch is its vmap over keys."""

    def __call__(self, key: Key[Array, ""]) -> Task:
        """One task, drawn with one key."""

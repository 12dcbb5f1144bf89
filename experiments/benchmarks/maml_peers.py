"""MAML in PyTorch, as users write it; each peer takes the same steps from the same weights.

- torch_func: `torch.func`, with `vmap` over tasks and `grad` for both gradients
- loop: one task after another with `create_graph=True`, as in learn2learn
- higher: `innerloop_ctx` with a differentiable SGD
- torchopt: `MetaSGD`, whose state is restored after every task
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .peers import tensor

Call = Callable[[], list[np.ndarray]]
"""Computes a meta-gradient once and returns it in the order of JAX's leaves."""

PACKAGES = {"torch_func": "torch", "loop": "torch", "higher": "higher", "torchopt": "torchopt"}
"""The package of every peer."""


class Problem(NamedTuple):
    """The problem that every peer is given.

    Attributes:
        network: "mlp" or "conv4".
        weights: path -> array, in jmeta's layout.
        support: inputs and targets, [T, N, ...] each.
        query: inputs and targets, [T, N, ...] each.
        rate: the inner learning rate.
        steps: the number of inner steps.
    """

    network: str
    weights: dict[str, np.ndarray]
    support: tuple[np.ndarray, np.ndarray]
    query: tuple[np.ndarray, np.ndarray]
    rate: float
    steps: int


def torch_func(problem: Problem) -> Call:
    """MAML by `torch.func`, with all tasks at once."""
    from torch.func import grad, vmap

    weights, data = _tensors(problem)

    def task_loss(w: dict, xs: Any, ys: Any, xq: Any, yq: Any) -> Any:
        fast = w
        for _ in range(problem.steps):
            gradient = grad(lambda v: _loss(problem, v, xs, ys, by_hand=True))(fast)
            fast = {name: fast[name] - problem.rate * gradient[name] for name in fast}
        return _loss(problem, fast, xq, yq, by_hand=True)

    def total(w: dict) -> Any:
        return vmap(task_loss, in_dims=(None, 0, 0, 0, 0))(w, *data).mean()

    meta_gradient = grad(total)
    return lambda: _arrays(problem, meta_gradient(weights))


def loop(problem: Problem) -> Call:
    """MAML by `torch.autograd.grad`, one task after another."""
    import torch

    weights, data = _tensors(problem)

    def call() -> list[np.ndarray]:
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        for xs, ys, xq, yq in zip(*data, strict=True):
            fast = leaves
            for _ in range(problem.steps):
                inner = _loss(problem, fast, xs, ys)
                gradient = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
                fast = {n: w - problem.rate * g for (n, w), g in zip(fast.items(), gradient, strict=True)}
            (_loss(problem, fast, xq, yq) / len(data[0])).backward()
        return _arrays(problem, {name: leaf.grad for name, leaf in leaves.items()})

    return call


def higher(problem: Problem) -> Call:
    """MAML by the `higher` library, one task after another."""
    import higher
    import torch

    module = _module(problem)
    data = _tensors(problem)[1]
    sgd = torch.optim.SGD(module.parameters(), lr=problem.rate)

    def call() -> list[np.ndarray]:
        module.zero_grad()
        for xs, ys, xq, yq in zip(*data, strict=True):
            with higher.innerloop_ctx(module, sgd, copy_initial_weights=False) as (fast, optimizer):
                for _ in range(problem.steps):
                    optimizer.step(_criterion(problem, fast(xs), ys))
                (_criterion(problem, fast(xq), yq) / len(data[0])).backward()
        return _arrays(
            problem, {n: p.grad for n, p in zip(problem.weights, module.parameters(), strict=True)}
        )

    return call


def torchopt(problem: Problem) -> Call:
    """MAML by the `torchopt` library, one task after another."""
    import torchopt

    module = _module(problem)
    data = _tensors(problem)[1]

    def call() -> list[np.ndarray]:
        module.zero_grad()
        leaves = list(module.parameters())
        start = torchopt.extract_state_dict(module, by="reference")
        for xs, ys, xq, yq in zip(*data, strict=True):
            optimizer = torchopt.MetaSGD(module, lr=problem.rate)
            for _ in range(problem.steps):
                optimizer.step(_criterion(problem, module(xs), ys))
            (_criterion(problem, module(xq), yq) / len(data[0])).backward()
            torchopt.recover_state_dict(module, start)
        return _arrays(problem, {n: p.grad for n, p in zip(problem.weights, leaves, strict=True)})

    return call


PEERS: dict[str, Callable[[Problem], Call]] = {
    "torch_func": torch_func,
    "loop": loop,
    "higher": higher,
    "torchopt": torchopt,
}
"""The peers by name."""


def _outputs(network: str, w: dict[str, Any], x: Any, by_hand: bool = False) -> Any:
    """The outputs of the network with the given weights."""
    import torch.nn.functional as nn

    if network == "mlp":
        layers = len(w) // 2
        for i in range(layers):
            x = nn.linear(x, w[f"layers/{i}/kernel"], w[f"layers/{i}/bias"])
            x = nn.relu(x) if i + 1 < layers else x
        return x
    for i in range(4):
        block = [w[f"blocks/{i}/{part}"] for part in ("kernel", "scale", "shift")]
        x = nn.conv2d(x, block[0], padding=1)
        x = _normalized(x, block[1], block[2], by_hand)
        x = nn.relu(nn.max_pool2d(x, 2))
    return nn.linear(x.flatten(1), w["head/kernel"], w["head/bias"])


def _normalized(x: Any, scale: Any, shift: Any, by_hand: bool) -> Any:
    """Batch norm; PyTorch's own is faster, but its second derivative is wrong under `torch.func`."""
    import torch.nn.functional as nn

    if not by_hand:
        return nn.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)
    centered = x - x.mean((0, 2, 3), keepdim=True)
    variance = (centered * centered).mean((0, 2, 3), keepdim=True)
    return centered * (variance + 1e-5).rsqrt() * scale[:, None, None] + shift[:, None, None]


def _criterion(problem: Problem, outputs: Any, targets: Any) -> Any:
    import torch.nn.functional as nn

    return (nn.mse_loss if problem.network == "mlp" else nn.cross_entropy)(outputs, targets)


def _loss(problem: Problem, w: dict[str, Any], x: Any, y: Any, by_hand: bool = False) -> Any:
    return _criterion(problem, _outputs(problem.network, w, x, by_hand), y)


def _module(problem: Problem) -> Any:
    import torch

    names = list(problem.weights)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, values in _tensors(problem)[0].items():
                self.register_parameter(name.replace("/", "_"), torch.nn.Parameter(values))

        def forward(self, x: Any) -> Any:
            return _outputs(problem.network, {n: getattr(self, n.replace("/", "_")) for n in names}, x)

    return Network()


def _tensors(problem: Problem) -> tuple[dict[str, Any], list[Any]]:
    """The weights, and the support inputs and targets and query inputs and targets, in PyTorch's layout."""
    import torch

    torch.set_float32_matmul_precision("high")  # rounds products to TF32 on a GPU, as jax does

    def channels_first(x: np.ndarray) -> np.ndarray:
        return x.transpose(0, 1, 4, 2, 3) if x.ndim == 5 else x

    weights = {n: tensor(_transposed(w, (3, 2, 0, 1))) for n, w in problem.weights.items()}
    arrays = (*problem.support, *problem.query)
    return weights, [tensor(np.ascontiguousarray(channels_first(x))) for x in arrays]


def _arrays(problem: Problem, gradient: dict[str, Any]) -> list[np.ndarray]:
    return [_transposed(gradient[name].detach().cpu().numpy(), (2, 3, 1, 0)) for name in problem.weights]


def _transposed(w: np.ndarray, order: tuple[int, int, int, int]) -> np.ndarray:
    """A kernel with its axes in the other library's order."""
    return np.ascontiguousarray(w.transpose(order) if w.ndim == 4 else w.T)

"""Networks behind the `Model` record; the one place that imports flax."""

from .convnet import conv4, convnet
from .metric import diagonal, low_rank
from .mlp import mlp

__all__ = ["conv4", "convnet", "diagonal", "low_rank", "mlp"]

"""Networks behind the `Model` record; the one place that imports flax."""

from .conv4 import conv4
from .mlp import mlp

__all__ = ["conv4", "mlp"]

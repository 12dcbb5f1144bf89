"""Networks behind the `Model` record; the one place that imports flax."""

from .convnet import conv4, convnet
from .metric import diagonal, low_rank
from .mlp import mlp
from .precision import in_precision
from .recurrent import forgetful, gru, transformer
from .scorer import scorer
from .set_transformer import set_transformer

__all__ = [
    "conv4",
    "convnet",
    "diagonal",
    "forgetful",
    "gru",
    "in_precision",
    "low_rank",
    "mlp",
    "scorer",
    "set_transformer",
    "transformer",
]

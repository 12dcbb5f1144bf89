"""Networks as `Model` and `Recurrent` records; only this package imports flax."""

from .convnet import conv4, convnet
from .flatten import flatten
from .foreign import from_equinox, from_linen, from_nnx
from .metric import diagonal, low_rank
from .mlp import mlp
from .pair_transformer import pair_transformer
from .precision import in_precision
from .recurrent import forgetful, gru, transformer
from .scorer import scorer
from .set_transformer import set_transformer

__all__ = [
    "conv4",
    "convnet",
    "diagonal",
    "flatten",
    "forgetful",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "gru",
    "in_precision",
    "low_rank",
    "mlp",
    "pair_transformer",
    "scorer",
    "set_transformer",
    "transformer",
]

"""Task sets: each is a `Sampler`, `key -> one task`, that runs on the device."""

from .datasets import load
from .episodes import ClassImages, episodes
from .mixtures import mixtures
from .shapes import shapes
from .sinusoid import sinusoid

__all__ = ["ClassImages", "episodes", "load", "mixtures", "shapes", "sinusoid"]

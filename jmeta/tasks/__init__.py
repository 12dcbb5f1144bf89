"""Task distributions: each is a `Sampler`, `key -> one task`, that runs on-device, or a `HostSampler`."""

from .arrays import from_arrays
from .datasets import load, load_stored
from .episodes import ClassImages, episodes
from .fixed import fixed
from .mixtures import mixtures
from .partly_labelled import partly_labelled_episodes
from .shapes import shapes
from .sinusoid import sinusoid
from .stored import StoredImages, by_class, stored_episodes

__all__ = [
    "ClassImages",
    "StoredImages",
    "by_class",
    "episodes",
    "fixed",
    "from_arrays",
    "load",
    "load_stored",
    "mixtures",
    "partly_labelled_episodes",
    "shapes",
    "sinusoid",
    "stored_episodes",
]

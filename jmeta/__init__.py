"""jmeta: learning to cluster, and learning to learn, in JAX.

Every public name is listed in `__init__.pyi` and imported when it is first asked for, so that
`import jmeta` is quick and starts no device.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.2.0"

"""Portfolios: the candidates that are chosen from, how one is run, and the table of what each of them scores.

Names are imported when they are first used, so that a process that only runs candidates starts without jax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The command `jmeta`."""

from .command import main

__all__ = ["main"]

"""Runs the command, for `python -m jmeta.cli`."""

from .command import main

main()

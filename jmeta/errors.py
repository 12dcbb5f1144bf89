"""The error that bad input raises."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from a user: one sentence that says what is wrong and what to do."""

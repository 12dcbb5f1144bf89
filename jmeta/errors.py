"""The error that bad input raises."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from a user: one sentence that says what is wrong and what to do."""


class InputWarning(UserWarning):
    """What a user should know of the input, in one sentence; the result holds all the same."""

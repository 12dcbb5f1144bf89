"""The format of jmeta's files: one npz with arrays, a header in JSON, and a checksum; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import read_npz, write_npz

OWN = ("header", "checksum")
"""Names in the npz that are no arrays of the caller."""


def write_archive(path: Path, kind: str, number: int, header: Mapping[str, Any], arrays: Mapping) -> None:
    """Writes arrays and a header; a file is written whole or not at all.

    Args:
        path: of the file, ".npz".
        kind: of the content, in a word.
        number: of the format of the header and the arrays.
        header: anything that JSON holds.
        arrays: name -> array.
    """
    words = np.array(json.dumps({"kind": kind, "format": number, **header}))
    kept = {"header": words, **{name: np.asarray(array) for name, array in arrays.items()}}
    write_npz(path, **kept, checksum=np.array(checksum(kept)))


def read_archive(path: Path, kind: str, *numbers: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header, with its "kind" and "format", and the arrays.

    Args:
        path: of the file.
        kind: that it must be of.
        numbers: formats that can be read, the newest last.

    Raises:
        InputError: there is no such file, or it is damaged, of another kind or of another format.
    """
    if not path.is_file():
        raise InputError(f"there is no {kind} {path}; name a file that holds one.")
    arrays = read_npz(path)
    if not set(OWN) <= set(arrays):
        raise InputError(f"{path} holds no {kind}.")
    if str(arrays.pop("checksum")) != checksum(arrays):
        raise InputError(f"{path} is damaged: its checksum does not hold; fetch it again.")
    try:
        header = json.loads(str(arrays.pop("header")))
        found = header["kind"], header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no {kind} ({error}).") from None
    if found[0] != kind:
        raise InputError(f"{path} holds a {found[0]}, not a {kind}.")
    if found[1] not in numbers:
        raise InputError(
            f"{path} is of format {found[1]}, but this version of jmeta reads {numbers[-1]}; install the "
            "version that wrote it."
        )
    return header, arrays


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all arrays with their names, types and shapes.

    >>> checksum({"a": np.zeros(1)}) == checksum({"b": np.zeros(1)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()

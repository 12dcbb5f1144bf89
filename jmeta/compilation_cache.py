"""A cache of compiled programs on disk.

XLA takes seconds to compile programs that run for milliseconds. jax can keep compiled programs in a folder;
this module chooses the folder and keeps it private and bounded. Importing jmeta does not enable the cache:
the command, the experiments and the tests call `use_compilation_cache`.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import warnings
from contextlib import suppress
from pathlib import Path

import jax
import jaxlib
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from .errors import InputError

VARIABLE = "JMETA_CACHE_DIR"
"""The environment variable that names the folder; an empty value turns the cache off."""
FOLDER = "jax_compilation_cache_dir"
"""The jax option that names the folder."""
MAX_BYTES = 2**30
"""The largest total size of all entries."""


def use_compilation_cache(
    folder: str | os.PathLike[str] | None = None, *, max_bytes: int = MAX_BYTES
) -> Path | None:
    """Enables the cache of compiled programs and returns its folder; None if the cache is off.

    Each combination of jax version and processor has its own subfolder. Now and when the process ends, the
    least recently used entries are removed until at most `max_bytes` remain. Programs whose entries cannot be
    read or written are compiled without a message. Entries are machine code that will be executed, so choose
    a folder that only you can write to.

    Args:
        folder: the cache folder. By default $JMETA_CACHE_DIR; else the folder that jax already uses, such as
            $JAX_COMPILATION_CACHE_DIR, which is left unchanged; else jmeta in $XDG_CACHE_HOME or in ~/.cache.
            An empty name turns the cache off.
        max_bytes: the largest total size of all entries, 0 or more.

    Raises:
        InputError: `max_bytes` is negative.

    >>> import tempfile
    >>> before = getattr(jax.config, FOLDER)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     use_compilation_cache(folder).is_relative_to(folder)
    True
    >>> use_compilation_cache("")
    >>> jax.config.update(FOLDER, before)
    """
    if max_bytes < 0:
        raise InputError(f"max_bytes is {max_bytes}; give a size in bytes >= 0.")
    chosen = os.environ.get(VARIABLE) if folder is None else os.fspath(folder)
    current = getattr(jax.config, FOLDER)
    if chosen is None and current:
        return Path(current)
    entries = None if chosen == "" else _made(_default() if chosen is None else Path(chosen))
    if current or entries:
        reset_cache()
        jax.config.update(FOLDER, entries and str(entries))
    if entries is None:
        return None
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    _bound(entries.parent, max_bytes)
    atexit.register(_bound, entries.parent, max_bytes)
    return entries


def _default() -> Path:
    """The jmeta folder in the user's cache directory."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path("~/.cache")) / "jmeta"


def _made(folder: Path) -> Path | None:
    """Creates the folder for this version of jax and this processor; None if it cannot be created."""
    try:
        compiled = folder.expanduser().absolute() / "compiled"
        compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = compiled / f"jax-{jax.__version__}-jaxlib-{jaxlib.__version__}-{_processor()}"
        entries.mkdir(exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError if there is no home directory
        return None
    return entries


def _processor() -> str:
    """A short hash of the processor's model and instruction sets."""
    names = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        description = sorted({line for line in lines if line.partition(":")[0].strip() in names})
    except OSError:
        description = [platform.system(), platform.release(), platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *description]).encode()).hexdigest()[:12]


def _bound(compiled: Path, max_bytes: int) -> None:
    """Removes empty entries, and the least recently used until at most `max_bytes` remain."""
    found = []
    for path in compiled.glob("*/*-cache"):
        with suppress(OSError):  # another process has removed it
            entry = path.stat()
            found.append((max(entry.st_atime, entry.st_mtime), entry.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if size == 0 or total > max_bytes:
            with suppress(OSError):
                path.unlink()
            total -= size

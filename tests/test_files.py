"""Files are whole or not there."""

import os
import threading

import pytest

from jmeta.files import atomic_write, write_text


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(TypeError, match="bytes"), atomic_write(path) as file:
        file.writelines([b"half", "of it"])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_text()), daemon=True)
    reader.start()
    write_text(path, "through")
    reader.join(10)
    assert got == ["through"]
    assert path.is_fifo()

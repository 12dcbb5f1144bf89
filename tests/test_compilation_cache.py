"""The compilation cache: what is in it is used, and nothing that is wrong with it is noticed."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import jmeta as jm
from jmeta import compilation_cache
from jmeta.compilation_cache import FOLDER

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys, jax, jmeta as jm
read = []
jax.monitoring.register_event_listener(lambda event, **_: read.append(event.endswith("cache_hits")))
folder = jm.use_compilation_cache()
total = float(jax.jit(lambda x: (x @ x.T).sum())(jax.numpy.arange(6.0).reshape(2, 3)))
print(folder, total, sum(read), len(read))
"""


def command(**changes):
    """A new process that compiles a program, with the environment changed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    environment = {name: value for name, value in (kept | changes).items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process):
    """The folder, whether the right sum came out, and how many programs were read from disk."""
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "Error" not in errors
    folder, total, read, _ = out.split()
    assert float(total) == 83
    return folder, int(read)


@pytest.fixture(autouse=True)
def as_before():
    """The cache of this process is what it was."""
    before = getattr(jax.config, FOLDER)
    yield
    jm.use_compilation_cache("" if before is None else Path(before).parents[1])


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled."""
    folder = tmp_path_factory.mktemp("filled")
    assert said(command(JMETA_CACHE_DIR=str(folder))) == (str(entries(folder)), 0)
    return folder


def entries(folder):
    """The only folder of a version and a processor."""
    return next((folder / "compiled").iterdir())


def copied(filled, folder):
    """A cache of one's own to spoil."""
    for path in entries(filled).iterdir():
        new = folder / path.relative_to(filled)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes())
    return folder


def test_a_second_process_reads_what_the_first_compiled(filled):
    assert said(command(JMETA_CACHE_DIR=str(filled)))[1] >= 1


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def replace(path):
    path.write_bytes(b"something else")


@pytest.mark.faults
@pytest.mark.parametrize("damage", [truncate, empty, replace])
def test_damaged_entries_are_compiled_again(filled, tmp_path, damage):
    for path in entries(copied(filled, tmp_path)).glob("*-cache"):
        damage(path)
    assert said(command(JMETA_CACHE_DIR=str(tmp_path)))[1] == 0


@pytest.mark.faults
def test_entries_of_another_version_or_processor_are_not_read(filled, tmp_path):
    ours = entries(copied(filled, tmp_path))
    ours.rename(ours.with_name("jax-0.0.1-jaxlib-0.0.1-another"))
    assert said(command(JMETA_CACHE_DIR=str(tmp_path)))[1] == 0
    assert len(list((tmp_path / "compiled").iterdir())) == 2


@pytest.mark.faults
def test_two_processes_at_once_fill_one_cache(tmp_path):
    both = [command(JMETA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert [said(one)[0] for one in both] == [str(entries(tmp_path))] * 2
    assert said(command(JMETA_CACHE_DIR=str(tmp_path)))[1] >= 1


@pytest.mark.faults
def test_where_no_folder_can_be_made_the_cache_is_off(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "within", Path("/proc/jmeta")):
        assert said(command(JMETA_CACHE_DIR=str(place)))[0] == "None"


@pytest.mark.faults
@pytest.mark.skipif(not os.access("/proc/1/root", os.R_OK), reason="only root can mount")
@pytest.mark.parametrize("options", ["ro,size=1m", "size=4k"], ids=["read-only", "full"])
def test_a_read_only_or_full_disk_is_read_from_and_nothing_is_said(filled, tmp_path, options):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True
    ).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        folder = entries(filled).name
        (tmp_path / "compiled" / folder).mkdir(parents=True)
        subprocess.run(["mount", "-o", f"remount,{options}", tmp_path], check=True)
        assert said(command(JMETA_CACHE_DIR=str(tmp_path))) == (str(tmp_path / "compiled" / folder), 0)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_folder_is_private_and_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("JMETA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jm.use_compilation_cache("")
    found = jm.use_compilation_cache()
    assert found.parents[1] == tmp_path / "jmeta"
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert jm.use_compilation_cache() == found
    monkeypatch.setenv("JMETA_CACHE_DIR", str(tmp_path / "own"))
    assert jm.use_compilation_cache().parents[1] == tmp_path / "own"
    monkeypatch.setenv("JMETA_CACHE_DIR", "")
    assert jm.use_compilation_cache() is None
    assert getattr(jax.config, FOLDER) is None


def test_a_folder_that_jax_was_given_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("JMETA_CACHE_DIR", raising=False)
    jax.config.update(FOLDER, str(tmp_path))
    assert jm.use_compilation_cache() == tmp_path
    assert not list(tmp_path.iterdir())
    jm.use_compilation_cache("")


def test_old_entries_go_first_and_other_files_stay(tmp_path):
    for age, name in enumerate(["a/new-cache", "b/old-cache", "b/oldest-cache", "b/notes.txt"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / "a" / "empty-cache").touch()
    compilation_cache._bound(tmp_path, 150)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["new-cache", "notes.txt"]
    with pytest.raises(jm.InputError, match="max_bytes is -1"):
        jm.use_compilation_cache(tmp_path, max_bytes=-1)


def test_importing_changes_no_configuration():
    code = (
        "import jax, warnings\n"
        "before, filters = dict(jax.config.values), list(warnings.filters)\n"
        "import jmeta as jm\n"
        "jm.soft_kmeans, jm.AutoCluster, jm.losses, jm.metrics.silhouette\n"
        "import jmeta.harness, jmeta.cli\n"
        "assert dict(jax.config.values) == before\n"
        "assert jax.config.jax_compilation_cache_dir is None\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    done = subprocess.run([sys.executable, "-c", code], env=kept, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

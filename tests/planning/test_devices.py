"""Devices that are not there, and what is refused."""

import pytest

import jmeta as jm
from jmeta.planning import devices
from jmeta.planning.devices import ACCELERATORS, COMPILERS, accelerator, devices_of, slice_shape


def test_slices_hold_the_number_of_tpus_asked_for():
    assert [slice_shape(2**power, 2) for power in range(5)] == [(1, 1), (1, 2), (2, 2), (2, 4), (4, 4)]
    assert slice_shape(64, 3) == (4, 4, 4)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("v4", 1, "there is no device 'v4'; choose one of a100, h100"),
        ("v5e", 12, "there is no slice of 12 TPUs; give a power of two up to 256"),
        ("v5e", 512, "up to 256"),
        ("h100", 12, "12 GPUs fill no hosts; give at most 8, or a multiple of 8"),
        ("h100", 0, "0 GPUs fill no hosts"),
    ],
)
def test_what_is_not_there_is_named(name, count, message, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(jm.InputError, match=message):
        devices_of(name, count)


@pytest.mark.parametrize("name", ["v5e", "h100"])
def test_a_compiler_that_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    packages = ", ".join(COMPILERS[accelerator(name).platform])
    with pytest.raises(jm.InputError, match=f"needs {packages}; install them by pip install 'jmeta.plan.'"):
        devices_of(name, 1)


def test_figures_are_consistent():
    for one in ACCELERATORS.values():
        assert one.memory < one.bandwidth < one.full < one.reduced
        assert one.link < one.bandwidth

"""Processes that run candidates: one thread each, none in a daemonic process, and none left at the end."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jmeta.portfolio import running
from jmeta.portfolio.candidates import candidate

POINTS = np.repeat(np.array([[0.0], [1.0]]), 6, 0) + np.linspace(0, 0.1, 12)[:, None]
KMEANS = candidate("kmeans")._replace(clusters=2)


@pytest.fixture
def daemonic(monkeypatch):
    monkeypatch.setitem(running.multiprocessing.current_process()._config, "daemon", True)


def test_a_daemonic_process_runs_candidates_itself(daemonic, monkeypatch):
    worker = running.Worker()
    found = worker.run(10.0, KMEANS, POINTS, None, 0)
    expected = running.run_candidate(KMEANS, POINTS, None, 0)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert running.worker_count() == 1
    assert isinstance(running.new_executor(8), running.InProcess)
    worker.kill()
    error = running.new_executor(1).submit(int, "one").exception()
    assert isinstance(error, ValueError)


def test_a_process_for_candidates_has_one_thread_and_ends_with_its_parent():
    code = """
import time
from threadpoolctl import threadpool_info
from jmeta.portfolio import running
if __name__ == "__main__":
    executor = running.new_executor(1)
    threads = {one["num_threads"] for one in executor.submit(threadpool_info).result()}
    executor.submit(time.sleep, 600)
    time.sleep(1)  # until it runs
    print(threads)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("{1}\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_starts_its_own_processes():
    code = """
import os, warnings
from jmeta.portfolio.running import SHARED_POOL
if __name__ == "__main__":
    with SHARED_POOL as pool:
        pool.submit(int).result()
    warnings.simplefilter("ignore")  # that threads are running
    child = os.fork()
    with SHARED_POOL as pool:
        print(pool.submit(int).result(), flush=True)
    if child:
        os.waitpid(child, 0)
    else:
        pool.shutdown(wait=True, kill_workers=True)
        os._exit(0)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.returncode) == ("0\n0\n", 0)

"""One limit for BLAS, and work shared between threads."""

import os
import threading

import pytest
from threadpoolctl import ThreadpoolController

from whydeep.threads import on_threads, one_blas_thread, processors


def blas_threads():
    info = ThreadpoolController().select(user_api="blas").info()
    return {library["num_threads"] for library in info}


def test_blas_is_limited_and_its_threads_given_back():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        with one_blas_thread() as allowed:
            assert blas_threads() == {1}
            assert allowed == 2
        assert blas_threads() == {2}


def test_a_limit_inside_another_tells_the_same_number_and_takes_nothing_back():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        with one_blas_thread() as outer:
            with one_blas_thread() as inner:
                assert inner == outer == 2
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_a_limit_is_given_back_after_an_error():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        with pytest.raises(RuntimeError, match="wrong"), one_blas_thread():
            raise RuntimeError("wrong")
        with one_blas_thread() as allowed:
            assert allowed == 2
        assert blas_threads() == {2}


@pytest.mark.parametrize("count", [1, 3])
def test_the_work_is_done_once_a_thread(count):
    barrier, names = threading.Barrier(count), []

    def work():
        barrier.wait(timeout=30)  # all of them at once
        names.append(threading.current_thread().name)

    on_threads(count, work, lambda _: None)
    assert len(set(names)) == count


@pytest.mark.parametrize("here", [True, False])
def test_the_first_error_stops_the_others(here):
    stopped, started = threading.Event(), threading.Barrier(2)
    main = threading.current_thread()

    def work():
        started.wait(timeout=30)
        if (threading.current_thread() is main) == here:
            stopped.set()
            raise RuntimeError("wrong")
        assert stopped.wait(timeout=30)

    told = []
    with pytest.raises(RuntimeError, match="wrong"):
        on_threads(2, work, told.append)
    assert [str(error) for error in told] == ["wrong"]


def first_version(quota):
    """Files of a control group of the first version."""
    return {
        "proc/self/cgroup": "4:cpu,cpuacct:/job\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
    }


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, 7),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "5000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/of/the/host\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        (first_version("-1\n"), 7),
        (first_version("250000\n"), 3),
        ({}, 7),
    ],
)
def test_processors_are_those_that_a_control_group_leaves(tmp_path, monkeypatch, files, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert processors(tmp_path) == count


def test_processors_are_those_that_the_process_is_bound_to():
    if not hasattr(os, "sched_setaffinity"):
        assert processors() == (os.cpu_count() or 1)
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)

"""One limit for BLAS, and work shared between threads."""

import threading

import pytest
from threadpoolctl import ThreadpoolController

from whydeep.threads import on_threads, one_blas_thread


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

"""Jobs of the demo: who runs them, and what becomes of them at the end."""

import asyncio
import threading

import pytest

from residuum.demo.errors import RequestError
from residuum.demo.jobs import Jobs, in_thread


def called(jobs: Jobs, function, results: list) -> threading.Thread:
    """A thread that calls a function, and keeps its result or its exception."""

    def call() -> None:
        try:
            results.append(jobs.call(function))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_jobs_run_one_after_another_in_the_working_thread():
    jobs, results = Jobs(), []
    callers = [called(jobs, threading.current_thread, results) for _ in range(5)]
    jobs.work(lambda: len(results) < 5)
    for caller in callers:
        caller.join()
    assert results == [threading.current_thread()] * 5


def fails() -> None:
    raise ValueError("no")


def too_slow() -> None:
    raise TimeoutError("slow")


@pytest.mark.parametrize(("function", "error"), [(fails, ValueError), (too_slow, TimeoutError)])
def test_an_exception_reaches_its_caller_and_the_work_goes_on(function, error):
    jobs, results = Jobs(), []
    first = called(jobs, function, results)
    jobs.work(lambda: not results)
    first.join(10)
    assert [type(result) for result in results] == [error]


def test_jobs_after_a_failed_one():
    jobs, results = Jobs(), []
    callers = [called(jobs, function, results) for function in (fails, lambda: 1)]
    jobs.work(lambda: len(results) < 2)
    for caller in callers:
        caller.join(10)
    assert 1 in results


def interrupted() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_ends_the_work_and_all_callers():
    jobs, results = Jobs(), []
    callers = [called(jobs, interrupted, results) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        jobs.work(lambda: True)
    for caller in callers:
        caller.join(10)
    assert [type(result) for result in results] == [RequestError] * 2
    assert str(results[0]) == "the server of this page ends; start `residuum demo` again"


def test_a_thread_gives_its_result_or_its_exception():
    assert asyncio.run(in_thread(max, 1, 2)) == 2
    with pytest.raises(ValueError, match="no"):
        asyncio.run(in_thread(fails))

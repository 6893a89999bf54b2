"""Work in threads that a server can leave: runs in the main thread, the rest in daemon threads.

Ctrl-C reaches the main thread alone. A run there is interrupted like that of any command, and takes
with it the programs that it has started, such as those that build a simulated engine.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from residuum.demo.errors import ENDING, RequestError

Result = TypeVar("Result")

# Seconds between two looks at whether there is still something to wait for.
_SLICE = 0.2


class Jobs:
    """Functions that other threads call, and the thread in `work` runs, one after another."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = (
            queue.SimpleQueue()
        )
        self._ended = threading.Event()

    def call(self, function: Callable[[], Result]) -> Result:
        """The result of a function, from the thread in `work`; raises what it raises.

        Raises ``RequestError`` if that thread has ended.
        """
        future: Future[Result] = Future()
        self._waiting.put((function, future))
        while not self._ended.is_set():
            try:
                return future.result(_SLICE)
            except TimeoutError:
                if future.done():
                    raise
        if future.done():
            return future.result()
        raise _end()

    def work(self, goes_on: Callable[[], bool]) -> None:
        """Run what is called, until ``goes_on`` says no, or something interrupts this thread."""
        try:
            while goes_on():
                try:
                    function, future = self._waiting.get(timeout=_SLICE)
                except queue.Empty:
                    continue
                _settle(future, function)
        finally:
            self._ended.set()


async def in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """The result of a function in a daemon thread, which does not keep the program from ending."""
    future: Future[Result] = Future()
    threading.Thread(
        target=_settle, args=(future, lambda: function(*arguments)), daemon=True
    ).start()
    return await asyncio.wrap_future(future)


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    """Give a future the result of a function, or its exception."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except Exception as error:
        future.set_exception(error)
    except BaseException:
        future.set_exception(_end())
        raise
    else:
        future.set_result(result)


def _end() -> RequestError:
    return RequestError("the server of this page ends; start `residuum demo` again", ENDING)

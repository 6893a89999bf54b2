"""A simulated device on a pseudo terminal: ``serial:`` addresses reach it like a board."""

from __future__ import annotations

import os
import select
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from residuum.sw.host.links import Link, LinkError

_SLICE = 0.05


class PseudoPort:
    """A serial port connected to a link. While it is open, bytes pass in both directions.

    Attributes
    ----------
    path : str
        The device file of the port. A program may open, close and reopen it.
    """

    def __init__(self, link: Link):
        self._link = link
        # Keep the far end open: otherwise the first program that closes the port would end it.
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        os.set_blocking(self._near, False)
        self.path = os.ttyname(self._far)
        self._open = True
        self._threads = [Thread(target=self._inwards), Thread(target=self._outwards)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Close the port; the link stays open."""
        self._open = False
        for thread in self._threads:
            thread.join()
        os.close(self._near)
        os.close(self._far)

    @property
    def broken(self) -> bool:
        """Whether the link has ended."""
        return not all(thread.is_alive() for thread in self._threads)

    def _inwards(self) -> None:
        try:
            while self._open:
                if select.select([self._near], [], [], _SLICE)[0]:
                    self._link.send(os.read(self._near, 1 << 16))
        except LinkError:
            return

    def _outwards(self) -> None:
        try:
            while self._open:
                data = self._link.receive(_SLICE)
                while data and self._open:
                    if select.select([], [self._near], [], _SLICE)[1]:
                        data = data[os.write(self._near, data) :]
        except LinkError:
            return


@contextmanager
def pseudo_port(link: Link) -> Iterator[PseudoPort]:
    """Serve a link as a serial port; both are closed at the end."""
    port = PseudoPort(link)
    try:
        yield port
    finally:
        port.close()
        link.close()

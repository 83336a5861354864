"""The thread that reads while the main thread computes."""
from __future__ import annotations

import os
import select
import time
from _thread import allocate_lock, start_new_thread

from ._wire import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._engine import Engine

TICK_S = 0.02  # a call that lasts longer gets a reader beside it
RESTLESS_TICKS = 50  # without a request, before the watch sleeps until it is called


class Watch:
    """Reads in the place of the main thread while that is busy for longer than a tick.

    Who holds `reading` reads. It ticks only while there are requests: an idle worker sleeps.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reading = allocate_lock()
        self.asleep = False
        self.has_read = False  # so that the main thread looks what there is
        self._call = allocate_lock()
        self._call.acquire()
        self._begun = allocate_lock()
        self._begun.acquire()
        self._recall_out, self._recall_in = os.pipe()
        os.set_blocking(self._recall_out, False)

    def start(self) -> None:
        """The main thread begins as the one that reads."""
        self.reading.acquire()
        start_new_thread(self._run, ())

    def wake(self) -> None:
        """By the main thread, when it begins something and finds the watch asleep."""
        self.asleep = False
        self._call.release()

    def take_back(self) -> None:
        """By the main thread, when it wants to read again and finds the watch at it."""
        os.write(self._recall_in, b"x")
        self.reading.acquire()

    def wait_begun(self) -> None:
        """Before the interpreter ends: a thread that begins after that crashes it."""
        self._begun.acquire()

    def _drain_recalls(self) -> None:
        try:
            os.read(self._recall_out, 4096)
        except BlockingIOError:
            pass

    def _run(self) -> None:
        self._begun.release()
        last: object = None
        idle = 0
        while not self.engine.ended:
            if idle > RESTLESS_TICKS:
                self.asleep = True
                self._call.acquire()
                idle = 0
            time.sleep(TICK_S)
            busy = self.engine.busy
            idle = idle + 1 if busy is None else 0
            if busy is not None and busy is last and self.reading.acquire(False):
                try:
                    self._drain_recalls()
                    self._read()
                finally:
                    self.reading.release()
            last = busy
        self.engine.wait_end()

    def _read(self) -> None:
        self.has_read = True
        engine = self.engine
        source = engine.connection.source
        sink = engine.connection.sink
        poll = select.poll()
        poll.register(source.fd, select.POLLIN)
        poll.register(self._recall_out, select.POLLIN)
        try:
            while engine.busy is not None and not engine.ended:
                if not source.has_bytes():
                    wait_to_write(poll, source.fd, sink.fd, bool(sink.later))
                    ready = dict(poll.poll())
                    if sink.later:
                        sink.flush()
                    if self._recall_out in ready:
                        return
                    if not ready.get(source.fd, 0) & ~select.POLLOUT:
                        continue
                frame = source.read()
                if frame is None:
                    engine.leave_soon()
                    return
                request = engine.handle(frame)
                if request is not None:
                    engine.queue.append(request)
        except Violation as error:
            engine.broken(error)


def wait_to_write(poll: select.poll, fd_in: int, fd_out: int, wanted: bool) -> None:
    """Has a poll watch for room to write, or no longer."""
    if fd_in == fd_out:
        poll.register(fd_in, select.POLLIN | (select.POLLOUT if wanted else 0))
    elif wanted:
        poll.register(fd_out, select.POLLOUT)
    else:
        try:
            poll.unregister(fd_out)
        except KeyError:
            pass

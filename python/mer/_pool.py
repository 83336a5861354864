"""A plain function on several requests side by side: a thread each, and one that reads."""
from __future__ import annotations

import queue
import select
import threading

from ._engine import Engine
from ._request import Request
from ._watch import wait_to_write
from ._wire import Gone, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class Side(Engine):
    """An engine whose reader does nothing else."""

    def submit(self, request: Request) -> None:
        """Takes a request from the reader."""
        raise NotImplementedError

    def close_queue(self) -> None:
        """After drain, or at the connection's end: no request will come any more."""
        raise NotImplementedError

    def start_reader(self) -> None:
        threading.Thread(target=self._read_all, name="mer-reader", daemon=True).start()

    def _wait(self, poll: select.poll) -> None:
        """Until there is something to read, sending meanwhile what was put off."""
        source, sink = self.connection.source, self.connection.sink
        while sink.later and not source.has_bytes():
            wait_to_write(poll, source.fd, sink.fd, True)
            ready = dict(poll.poll())
            sink.flush()
            if ready.get(source.fd, 0) & ~select.POLLOUT:
                break

    def _read_all(self) -> None:
        source, sink = self.connection.source, self.connection.sink
        poll = select.poll()
        poll.register(source.fd, select.POLLIN)
        try:
            while not self.ended:
                if sink.later:
                    self._wait(poll)
                frame = source.read()
                if frame is None:
                    self.leave_soon()
                    break
                was_draining = self.draining
                request = self.handle(frame)
                del frame
                if request is not None:
                    self.submit(request)
                    del request
                elif self.draining and not was_draining:
                    self.close_queue()
        except Violation as error:
            self.broken(error)
        finally:
            self.close_queue()
        if self.ended:
            self.wait_end()

    def lost(self, error: BaseException) -> None:
        """A thread beside the reader found the connection gone or broken, or was told to exit."""
        if isinstance(error, Violation):
            self.broken(error)
            return
        if not isinstance(error, Gone):
            self.failure = f"the model left: {type(error).__name__}: {error}"
            self.connection.hang_up()
        if not self.ended:
            self.leave_soon()


class Pool(Side):
    """As many threads as requests at a time."""

    def run(self) -> None:
        self.tasks: queue.SimpleQueue[Optional[Request]] = queue.SimpleQueue()
        self.load()
        self.announce()
        threads = [threading.Thread(target=self._work, name=f"mer-{i}", daemon=True)
                   for i in range(self.model.concurrency)]
        for thread in threads:
            thread.start()
        self.start_reader()
        for thread in threads:
            thread.join()

    def submit(self, request: Request) -> None:
        self.tasks.put(request)

    def close_queue(self) -> None:
        for _ in range(self.model.concurrency):
            self.tasks.put(None)

    def _work(self) -> None:
        try:
            while not self.ended:
                request: Any = self.tasks.get()
                if request is None:
                    return
                self.answer(request)
                del request
        except BaseException as error:
            self.lost(error)

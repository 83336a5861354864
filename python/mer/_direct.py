"""A plain function, on the main thread, which also reads: handing each request to another thread
would cost more than most calls. While a call lasts longer than a tick, the watch reads instead."""
from __future__ import annotations

import os
import select
import time
from _thread import get_ident

from ._engine import SMALL_INFER, SMALL_RESULT, WORDS, Engine, Generator
from ._request import Request, Worker, current
from ._wire import HEADER_BYTES, SMALL, TRAIN, WINDOW, Gone, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from ._request import Work


class Direct(Engine):
    """One request at a time, on the main thread."""

    def run(self) -> None:
        Worker.main_thread = get_ident()
        Worker.main_work = self.main_work  # type: ignore[method-assign]
        self.load()
        self.announce()
        sink = self.connection.sink
        while not self.ended:
            if self.queue:
                self.work(self.queue.pop(0))
            elif self.draining:
                return
            else:
                if sink.later:
                    self.send_later()
                if not self.serve_small():
                    return

    def main_work(self) -> Work:
        """What the model is at, for those whom nobody has told."""
        return self.busy if isinstance(self.busy, Request) else ()

    def serve_next(self) -> bool:
        """One frame; False at the end of the connection."""
        frame = self.connection.source.read()
        if frame is None:
            return False
        request = self.handle(frame)
        del frame
        if request is not None:
            self.work(request)
        return True

    def serve_small(self) -> bool:
        """The loop of small requests whose like was seen before: what serve_next does, in one
        piece, since each call and each look-up is felt in the time of such a request. Anything else
        goes the long way."""
        source, sink, plans, unanswered = (self.connection.source, self.connection.sink, self.plans,
                                           self.open)
        watch, function, encode = self.watch, self.model.function, self.model.signature.encode
        release, acquire = watch.reading.release, watch.reading.acquire
        fd_in, fd_out, lock, read, write = source.fd, sink.fd, sink.lock, os.read, os.write
        unpack, pack = WORDS.unpack_from, WORDS.pack
        if source.has_bytes() or source.body_max < WINDOW:
            return self.serve_next()
        value: Any = None
        piece: Any = None
        pieces: Any = None
        metas, bytes_meta = self.model.signature.metas, None
        limit = min(SMALL, sink.body_max)
        raw, known = b"", 0  # of the last request: the next one is mostly like it
        plan = only = wanted = deadline_ms = None
        while not watch.has_read:
            try:
                data = read(fd_in, WINDOW)
            except OSError:
                return False
            if len(data) < HEADER_BYTES:
                source.give_back(data)
                return self.serve_next()
            what, ident, middle, size = unpack(data)
            middle += HEADER_BYTES
            if middle != known or not data.startswith(raw, HEADER_BYTES):
                raw, known = data[HEADER_BYTES:middle], middle
                plan = plans.get(raw)
                if plan is not None:
                    only, wanted, deadline_ms = plan.only, plan.body_bytes, plan.deadline_ms
            if (plan is None or what != SMALL_INFER or middle + size != len(data) or not ident
                    or wanted is not None and wanted != size):
                source.give_back(data)
                return self.serve_next()
            request = unanswered[ident] = Request(ident, plan)
            if deadline_ms is not None:
                request.deadline = time.monotonic() + deadline_ms / 1000
            self.busy = request
            release()
            try:
                if watch.asleep:
                    watch.wake()
                data = data[middle:]
                if only is not None:
                    value = function(only(data))
                else:
                    value = function(*plan.arguments(data))
                if type(value) is bytes and bytes_meta is not None:
                    meta, piece = bytes_meta, value
                elif type(value) is Generator:
                    self.stream(request, value)
                    continue
                else:
                    meta, pieces = encode(value)
                    piece = pieces[0] if len(pieces) == 1 else None
                    bytes_meta = metas.get(bytes)
                if piece is None or len(piece) > limit:
                    self.finish(request, meta, (piece,) if pieces is None else pieces)
                    continue
                frame = pack(SMALL_RESULT, ident, len(meta), len(piece)) + meta + piece
                del unanswered[ident]
                with lock:
                    request.open = False
                    done = write(fd_out, frame)
                    if done != len(frame):
                        sink.write_all((memoryview(frame)[done:],))
            except BaseException as error:
                self.end_badly(request, error)
            finally:
                value = piece = pieces = None  # so that the buffer of a large body may serve again
                self.busy = None
                if not acquire(False):
                    watch.take_back()
        watch.has_read = False
        return True

    def end_badly(self, request: Request, error: BaseException) -> None:
        """What the model raised is its request's error; what the connection did ends all."""
        if isinstance(error, (Gone, Violation)):
            raise error
        if not request.open:  # it was being sent
            raise Gone(str(error))
        self.fail(request, error)
        if not isinstance(error, Exception):
            raise error

    def work(self, request: Request) -> None:
        """Answers one request while the watch looks after the connection."""
        self.occupy(request)
        try:
            self.answer(request)
        finally:
            self.unoccupy()

    def send_later(self) -> None:
        """What the reader put off; nothing computes, so there is no reason not to wait."""
        sink = self.connection.sink
        with sink.lock:
            while sink.later:
                sink.write(sink.later.pop(0))


class Batch(Direct):
    """Several requests in one call, on the main thread."""

    def serve_small(self) -> bool:
        return self.serve_next()  # a small one as well waits for others

    def work(self, request: Request) -> None:
        if request.kind == TRAIN:
            super().work(request)
            return
        batch = self.gather(request)
        self.occupy(batch)
        try:
            self.answer_batch(batch)
        finally:
            self.unoccupy()

    def gather(self, first: Request) -> List[Request]:
        """Waits for more until the batch is full, `max_wait` is over, or no more can come."""
        batch = [first]
        until = time.monotonic() + self.model.max_wait
        while len(batch) < self.model.max_batch and not self.ended:
            if not self.queue:
                if self.draining or len(self.open) >= self.model.concurrency:
                    break
                if not self.read_within(until - time.monotonic()):
                    break
                continue
            if self.queue[0].kind == TRAIN or parameters_of(self.queue[0]) != parameters_of(first):
                break
            batch.append(self.queue.pop(0))
        return batch

    def read_within(self, seconds: float) -> bool:
        """Takes one frame, if one comes in time."""
        source = self.connection.source
        if not source.has_bytes():
            poll = select.poll()
            poll.register(source.fd, select.POLLIN)
            if not poll.poll(max(0.0, seconds) * 1000):
                return False
        frame = source.read()
        if frame is None:
            self.ended = True
            return False
        request = self.handle(frame)
        if request is not None:
            self.queue.append(request)
        return True

    def answer_batch(self, batch: List[Request]) -> None:
        """Each request has its own answer; what the call raises is the error of all."""
        rows = []
        for request in batch:
            try:
                request.check()
                assert request.plan is not None and request.body is not None
                rows.append((request, request.plan.arguments(request.body)))
            except Exception as error:
                self.fail_one(request, error)
        if not rows:
            return
        work = [request for request, _ in rows]
        current.set(tuple(work))
        try:
            values = self.model.function(*map(list, zip(*(row for _, row in rows))))
            if not isinstance(values, (list, tuple)) and not hasattr(values, "__len__"):
                raise TypeError(f"the model gave {type(values).__name__} for a batch, not a list")
            if len(values) != len(work):
                raise TypeError(f"the model gave {len(values)} answers for a batch of {len(work)}")
        except BaseException as error:
            for request in work:
                self.fail_one(request, error)
            if not isinstance(error, Exception):
                raise
            return
        finally:
            current.set(())
        for request, value in zip(work, values):
            try:
                if isinstance(value, BaseException):
                    raise value
                meta, pieces = self.model.signature.encode(value)
                self.finish(request, meta, pieces)
            except Exception as error:
                self.fail_one(request, error)

    def fail_one(self, request: Request, error: BaseException) -> None:
        """As fail, but what ends the connection goes on up."""
        if isinstance(error, (Gone, Violation)):
            raise error
        self.fail(request, error)


def parameters_of(request: Request) -> Dict[str, Any]:
    """Of an infer."""
    assert request.plan is not None
    return request.plan.parameters

"""What all ways to serve a model share: the connection's life, and that of its requests."""
from __future__ import annotations

import os
import struct
import time
from _thread import allocate_lock

from ._model import Train, metrics_meta
from ._request import Cancelled, Late, Request, TooLong, Worker, current, error_frame, explain
from ._signature import InputError
from ._watch import Watch
from ._wire import (ANSWER, CANCEL, DRAIN, ERROR, HELLO, INFER, MAGIC, MORE, PING, PING_MAX, READY,
                    RESULT, SMALL, TRAIN, VERSION, Connection, Gone, Violation, dump_meta, head,
                    parse_meta)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, NoReturn, Optional, Sequence

    from ._model import Model
    from ._signature import Plan
    from ._wire import Buffer, Frame

GRACE_S = 1.0  # for a model to notice that MER has left
PLANS_MAX = 256
PLAN_META_MAX = 4096  # longer metas are not remembered

# A header in four words: magic, version, kind and flags; the id; the length of its meta, and above
# it the reserved bytes, which are 0; the length of its body.
WORDS = struct.Struct("<8sQQQ")
SMALL_INFER = MAGIC + bytes((VERSION, INFER, 0, 0))
SMALL_RESULT = MAGIC + bytes((VERSION, RESULT, 0, 0))

Generator = type(_ for _ in ())


class Engine:
    """A subclass says where the model runs."""

    watch_type = Watch

    def __init__(self, model: Model, connection: Connection, sdk: str) -> None:
        self.model = model
        self.connection = connection
        self.sdk = sdk
        self.open: Dict[int, Request] = {}
        self.queue: List[Request] = []  # read by the watch, for the main thread
        self.plans: Dict[bytes, Plan] = {}
        self.busy: Optional[object] = None  # what the main thread is at, while it does not read
        self.is_ready = False
        self.draining = False
        self.ended = False  # the connection is over
        self.failure: Optional[str] = None  # why it is, if not as it should be
        self.over = allocate_lock()  # free once the main thread leaves
        self.over.acquire()
        self.watch = self.watch_type(self)

    # The connection

    def begin(self) -> None:
        """From hello to ready."""
        self.watch.start()
        source, sink = self.connection.source, self.connection.sink
        frame = source.read()
        if frame is None:
            raise Gone("no hello")
        kind, _, ident, raw, body = frame
        if kind != HELLO or ident != 0 or body:
            raise Violation("the first frame is no hello")
        meta = parse_meta(raw)
        versions = meta.get("versions")
        if not isinstance(versions, list):
            raise Violation("hello without versions")
        if VERSION not in versions:
            self.give_up("version", f"this worker speaks version {VERSION}, MER {versions}"[:200])
        limit = meta.get("max_body")
        if type(limit) is int and limit >= 0:
            sink.body_max = limit
        source.body_max = self.model.max_body
        Worker.sink = Request.sink = sink
        Worker.weights, Worker.weights_version = (
            value if isinstance(value, str) else None
            for value in (meta.get("weights"), meta.get("weights_version")))

    def give_up(self, code: str, message: str, trace: str = "") -> NoReturn:
        """An error about the connection, and the end."""
        self.connection.sink.send(error_frame(0, code, message, trace))
        raise SystemExit(1)

    def load(self) -> None:
        """The hook, with the watch looking whether MER is still there."""
        self.occupy(self)
        try:
            result = self.model.call_load()
            if hasattr(result, "__await__"):
                self.run_async(result)
        except Exception as error:
            self.load_failed(error)
        finally:
            self.unoccupy()

    def load_failed(self, error: Exception) -> NoReturn:
        """Tells MER, with the traceback."""
        self.give_up("load", *explain(error))

    @staticmethod
    def run_async(awaitable: Any) -> Any:
        """An async hook of a model that is none."""
        import asyncio

        async def whole() -> Any:
            return await awaitable
        return asyncio.run(whole())

    def announce(self) -> None:
        """Ready: from here on there are requests."""
        meta = dump_meta(self.model.ready_meta(self.sdk))
        self.is_ready = Worker.is_ready = True
        self.connection.sink.send(head(READY, 0, 0, meta))

    def occupy(self, work: object) -> None:
        """The main thread does not read from here on."""
        self.busy = work
        watch = self.watch
        watch.reading.release()
        if watch.asleep:
            watch.wake()

    def unoccupy(self) -> None:
        """It reads again."""
        self.busy = None
        if not self.watch.reading.acquire(False):
            self.watch.take_back()

    def leave_soon(self) -> None:
        """MER has left: whatever the model is at has a second to notice."""
        self.ended = True
        for request in list(self.open.values()):
            request.cancelled = True
            self.stop(request)

    def wait_end(self) -> None:
        """By the thread that has read the end: sees to it that the process does end."""
        if self.over.acquire(True, GRACE_S):
            self.over.release()
        else:
            os._exit(0 if self.failure is None else 1)

    def broken(self, error: Violation) -> None:
        """The protocol is: says so if it can, closes, and does not read on."""
        if self.ended:
            return
        self.failure = str(error)
        sink = self.connection.sink
        if sink.is_writable() and sink.lock.acquire(True, GRACE_S):
            try:
                sink.write(error_frame(0, "protocol", self.failure))
            except Gone:
                pass
            finally:
                sink.lock.release()
        self.connection.hang_up()
        self.leave_soon()

    # Frames

    def handle(self, frame: Frame) -> Optional[Request]:
        """What a frame asks for; the request that it begins, if it does."""
        kind, flags, ident, raw, body = frame
        if kind == INFER:
            return self.accept(ident, raw, body)
        meta = parse_meta(raw)
        if kind == TRAIN:
            return self.accept_train(ident, meta)
        if kind == CANCEL:
            self.cancel(ident)
        elif kind == PING:
            if len(raw) > PING_MAX or len(body) > PING_MAX:
                raise Violation("a ping over its limit")
            if not flags & ANSWER:
                self.connection.sink.send_soon(head(PING, ANSWER, 0, raw, len(body)) + bytes(body))
        elif kind == DRAIN:
            self.draining = True
        elif kind == ERROR and ident == 0:
            self.failure = f"MER says: {meta.get('code')}: {meta.get('message')}"[:1000]
            self.leave_soon()
        else:
            raise Violation(f"kind {kind} is not MER's to send now")
        return None

    def _admit(self, ident: int) -> None:
        if not self.is_ready or self.draining:
            raise Violation("a request before ready or after drain")
        if ident == 0 or ident in self.open:
            raise Violation(f"a request with the id {ident}, which is 0 or open")
        if len(self.open) >= self.model.concurrency:
            raise Violation(f"more than {self.model.concurrency} requests at a time")

    def accept(self, ident: int, raw: bytes, body: Buffer) -> Optional[Request]:
        """An infer; None where it was refused at once."""
        if (not ident or ident in self.open or len(self.open) >= self.model.concurrency
                or not self.is_ready or self.draining):
            self._admit(ident)
        request = Request(ident)
        request.body = body
        plan = self.plans.get(raw)
        if plan is None:
            meta = parse_meta(raw)
            try:
                plan = self.model.signature.plan(meta, len(body))
            except InputError as error:
                self.refuse(request, "input", str(error))
                return None
            if len(self.plans) >= PLANS_MAX:
                self.plans.clear()
            plan.traceparent = meta.get("traceparent")
            if plan.traceparent is None and len(raw) <= PLAN_META_MAX and (plan.deadline_ms is None or plan.deadline_ms > 0):
                self.plans[raw] = plan
        if plan.body_bytes is not None and plan.body_bytes != len(body):
            raise Violation(f"a body of {len(body)} bytes for tensors of {plan.body_bytes}")
        if plan.deadline_ms is not None:
            request.deadline = time.monotonic() + plan.deadline_ms / 1000
        request.plan = plan
        self.open[ident] = request
        return request

    def accept_train(self, ident: int, meta: Dict[str, Any]) -> Optional[Request]:
        """A train; None where there is no hook for it."""
        self._admit(ident)
        request = Request(ident)
        request.kind = TRAIN
        request.meta = meta
        if self.model.train is None:
            self.refuse(request, "unsupported", "the model has no train hook")
            return None
        self.open[ident] = request
        return request

    def refuse(self, request: Request, code: str, message: str) -> None:
        """The error of a request that nothing works on, from the thread that reads."""
        request.open = False
        self.connection.sink.send_soon(error_frame(request.id, code, message))

    def cancel(self, ident: int) -> None:
        """Asked for by MER; a request that was answered is no longer open."""
        request = self.open.get(ident)
        if request is not None:
            request.cancelled = True
            self.stop(request)

    def stop(self, request: Request) -> None:
        """Beyond the mark that the model can look at: one that waits in the queue is over."""
        if request in self.queue and not self.ended:
            self.queue.remove(request)
            self.open.pop(request.id, None)
            self.refuse(request, "cancelled", "as asked")

    # Answers

    def finish(self, request: Request, meta: bytes, pieces: Sequence[Buffer]) -> None:
        """The last result."""
        sink = self.connection.sink
        ident = request.id
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        if size > sink.body_max:
            self.too_long(size)
        first = WORDS.pack(SMALL_RESULT, ident, len(meta), size) + meta
        if size <= SMALL:
            for piece in pieces:
                first += piece
            pieces = ()
        del self.open[ident]  # first: MER may send the next one as soon as it has read this
        with sink.lock:
            request.open = False
            if pieces:
                sink.write_all([first, *pieces])
            else:
                sink.write(first)
        if sink.later:
            sink.flush()

    def part(self, request: Request, value: Any) -> None:
        """One part of a stream."""
        meta, pieces = self.model.signature.encode(value)
        size = sum(map(len, pieces))
        if size > self.connection.sink.body_max:
            self.too_long(size)
        request.send(head(RESULT, MORE, request.id, meta, size), pieces)

    def too_long(self, size: int) -> NoReturn:
        raise TooLong(f"an answer of {size} bytes, over the limit of "
                      f"{self.connection.sink.body_max}")

    def fail(self, request: Request, error: BaseException) -> None:
        """The error of a request, as its last frame."""
        code, trace = "model", ""
        message = str(error) if isinstance(error, InputError) else ""
        if isinstance(error, InputError):
            code = "input"
        elif isinstance(error, Cancelled) or self.is_stopped(request, error):
            code, message = "cancelled", "as asked"
            if not request.cancelled and request.is_late():
                code, message = "deadline", "the deadline has passed"
        elif isinstance(error, Late):
            code, message = "deadline", "the deadline has passed"
        elif isinstance(error, TooLong):
            code, message = "limit", str(error)
        else:
            message, trace = explain(error)
        self.open.pop(request.id, None)
        request.send(error_frame(request.id, code, message, trace), (), True)

    def is_stopped(self, request: Request, error: BaseException) -> bool:
        """Whether this is how a cancel looks here."""
        return False

    def stream(self, request: Request, parts: Iterator[Any]) -> None:
        """Sends what a generator gives; stops between two parts."""
        try:
            for value in parts:
                request.check()
                self.part(request, value)
                request.check()
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        self.finish(request, b"", ())

    def train(self, request: Request) -> None:
        """Runs the hook."""
        assert self.model.train is not None
        metrics = self.model.train(Train(request.meta))
        if hasattr(metrics, "__await__"):
            metrics = self.run_async(metrics)
        self.finish(request, metrics_meta(metrics), ())

    def answer(self, request: Request) -> None:
        """One request from its input to its last frame, on this thread."""
        current.set(request)
        try:
            if request.cancelled or request.deadline is not None:
                request.check()
            plan = request.plan
            if plan is None:
                self.train(request)
                return
            body, request.body = request.body, None
            arguments = plan.arguments(body)  # type: ignore[arg-type] # None for a train only
            del body
            value = self.model.function(*arguments)
            del arguments  # so that the buffer of its body may serve again
            if type(value) is Generator:
                self.stream(request, value)
                return
            meta, pieces = self.model.signature.encode(value)
            self.finish(request, meta, pieces)
        except (Gone, Violation):
            raise
        except BaseException as error:
            self.fail(request, error)
            if not isinstance(error, Exception):
                raise
        finally:
            current.set(())

    def run(self) -> None:
        """Serves until drain or the connection's end."""
        raise NotImplementedError

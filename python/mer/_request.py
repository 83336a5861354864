"""A request while it is worked on, and what a model may ask and say meanwhile."""
from __future__ import annotations

import contextvars
import os
import sys
import time
from _thread import get_ident

from ._wire import ERROR, INFER, LOG, PROGRESS, Gone, dump_meta, head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence, Tuple, Union

    from ._signature import Plan
    from ._wire import Buffer, Sink

    Work = Union["Request", Tuple["Request", ...]]  # one request, or those of a batch

MESSAGE_MAX = 1000  # characters of an error's line
TEXT_MAX = 64 * 1024  # characters of a log message or traceback; as JSON still under a meta's limit
LEVELS = ("debug", "info", "warn", "error")


class Cancelled(Exception):
    """Raise it where `mer.cancelled()` is true, to give the request up."""


class Late(Exception):
    """The request's deadline has passed."""


class TooLong(Exception):
    """The answer is larger than MER takes."""


class Request:
    """One infer or train, until its last frame."""

    kind = INFER
    sink: Sink
    meta: Dict[str, Any] = {}  # of a train
    body: Optional[Buffer] = None
    deadline: Optional[float] = None  # on the monotonic clock
    cancelled = False
    open = True
    task: Any = None  # asyncio's

    def __init__(self, ident: int, plan: Optional[Plan] = None) -> None:
        self.id = ident
        self.plan = plan  # none of a train

    def send(self, first: bytes, pieces: Sequence[Buffer] = (), last: bool = False) -> None:
        """A frame of this request; none after the last one, whichever thread comes late."""
        sink = self.sink
        with sink.lock:
            if not self.open:
                return
            if last:
                self.open = False
            if pieces:
                sink.write_all([first, *pieces])
            else:
                sink.write(first)
        if sink.later:
            sink.flush()

    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raises where nobody waits for the answer any more."""
        if self.cancelled:
            raise Cancelled
        if self.deadline is not None and self.is_late():
            raise Late


current: contextvars.ContextVar[Work] = contextvars.ContextVar("mer.current", default=())


def at_work() -> Tuple[Request, ...]:
    """The requests that the model is at, as this thread or task knows. The main thread need not be
    told: it is at what the engine is at."""
    work = current.get()
    if not work and get_ident() == Worker.main_thread:
        work = Worker.main_work()
    return (work,) if isinstance(work, Request) else work


class Worker:
    """What hello said, for the model to ask."""

    sink: Optional[Sink] = None
    is_ready = False
    main_thread = 0

    @staticmethod
    def main_work() -> Work:
        """What the main thread is at, set by an engine that computes on it."""
        return ()

    weights: Optional[str] = None
    weights_version: Optional[str] = None


def error_frame(ident: int, code: str, message: str, trace: str = "") -> bytes:
    """An error; its traceback is cut from the front, since what was raised stands at its end."""
    meta = {"code": code, "message": " ".join(message.split())[:MESSAGE_MAX] or code}
    if trace:
        meta["traceback"] = trace[-TEXT_MAX:]
    return head(ERROR, 0, ident, dump_meta(meta))


def explain(error: BaseException) -> Tuple[str, str]:
    """The line and the traceback of what a model raised, from the model's own frames on."""
    import traceback
    own, here = os.path.dirname(__file__), error.__traceback__
    while here is not None and os.path.dirname(here.tb_frame.f_code.co_filename) == own:
        here = here.tb_next
    try:
        text = str(error)
    except Exception:  # it is the model's own __str__
        text = ""
    name = type(error).__name__
    try:
        lines = traceback.format_exception(type(error), error, here, limit=-100)
    except Exception:  # likewise
        lines = [name]
    return f"{name}: {text}" if text else name, "".join(lines)


def say(kind: int, meta: Dict[str, Any], requests: Sequence[Optional[Request]]) -> None:
    """A frame about these requests; about the connection for None."""
    payload = dump_meta(meta)
    sink = Worker.sink
    if sink is None:
        return
    try:
        for request in requests:
            if request is None:
                sink.send(head(kind, 0, 0, payload))
            else:
                request.send(head(kind, 0, request.id, payload))
    except Gone:
        pass  # the model need not know: it is about to end


def log(message: object, level: str = "info") -> None:
    """Writes a line to the run's log. Levels: debug, info, warn, error."""
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {', '.join(LEVELS)}")
    text = str(message)[:TEXT_MAX]
    if Worker.sink is None:
        print(f"{level}: {text}", file=sys.stderr)
        return
    work = [request for request in at_work() if request.open]
    say(LOG, {"level": level, "message": text}, work if len(work) == 1 else [None])


def progress(done: float, total: Optional[float] = None, message: Optional[str] = None) -> None:
    """Tells how far the request is: `done` of `total`, where that is known."""
    meta: Dict[str, Any] = {"done": done}
    if total is not None:
        meta["total"] = total
    if message is not None:
        meta["message"] = str(message)[:TEXT_MAX]
    say(PROGRESS, meta, at_work() if Worker.is_ready else [None])


def cancelled() -> bool:
    """Whether nobody waits for the answer any more: it was cancelled, or its deadline has passed.
    For functions that work long; generators and async functions are stopped without asking."""
    work = at_work()
    return bool(work) and all(request.cancelled or request.is_late() for request in work)


def remaining() -> Optional[float]:
    """Seconds until the deadline, the nearest one of a batch; None where there is none."""
    deadlines = [r.deadline for r in at_work() if r.deadline is not None]
    return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None


def parameters() -> Dict[str, Any]:
    """The request's parameters. The requests of a batch all have the same."""
    work = at_work()
    if not work:
        return {}
    plan = work[0].plan
    found = plan.parameters if plan is not None else work[0].meta.get("parameters", {})
    return dict(found)


def traceparent() -> Optional[str]:
    """The trace that the request belongs to (W3C Trace Context), the first one's of a batch; None: it is
    of none."""
    work = at_work()
    if not work:
        return None
    plan = work[0].plan
    found = plan.traceparent if plan is not None else work[0].meta.get("traceparent")
    return found if isinstance(found, str) else None


def weights() -> Optional[str]:
    """The path of the deployment's weights, where it has some."""
    return Worker.weights


def weights_version() -> Optional[str]:
    """The version of these weights."""
    return Worker.weights_version

"""A process a request: the model is imported and loaded once, and each request is answered by a fork of
that, so that nothing is shared between requests.

The process that loaded it has one thread and computes nothing. It reads requests, forks, passes on
the frames of the children, each whole, and never waits for anybody: who is killed in the middle of
a frame has broken no connection but its own.
"""
from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import stat
import sys
import time

from ._engine import GRACE_S, Engine
from ._request import Cancelled, Request, Worker, error_frame
from ._watch import Watch
from ._wire import (ERROR, HEADER, HEADER_BYTES, LOG, MAGIC, META_MAX, MORE, PROGRESS, RESULT, VERSION,
                    WINDOW, Gone, Sink, Violation)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, NoReturn, Optional, Sequence

    from ._model import Model
    from ._wire import Buffer, Connection

PR_SET_PDEATHSIG = 1
PIPE_ROOM = 4096  # what a pipe that is writable takes without waiting (pipe(7))
SOCKET_ROOM = 32 * 1024  # the same of a stream socket, which has three quarters of its buffer free


class Unwatched(Watch):
    """No thread that reads beside the main one: a fork would find it in any state."""

    def start(self) -> None:
        self.reading.acquire()

    def wait_begun(self) -> None:
        pass


class Outbox(Sink):
    """Frames that wait here until MER reads on."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.waiting: List[memoryview] = []
        self.is_over = False  # nobody reads any more, and nothing is kept
        self.room = SOCKET_ROOM if stat.S_ISSOCK(os.fstat(fd).st_mode) else PIPE_ROOM

    def write(self, frame: bytes) -> None:
        self.write_all((frame,))

    def write_all(self, pieces: Sequence[Buffer]) -> None:
        if not self.is_over:
            self.waiting += [memoryview(piece) for piece in pieces if len(piece)]
            self.flush()

    def end(self) -> None:
        """What waits is given up."""
        self.is_over = True
        self.waiting.clear()

    def send_soon(self, frame: bytes) -> None:
        self.write(frame)

    def flush(self) -> None:
        """As far as it goes without waiting."""
        while self.waiting and self.is_writable():
            first = self.waiting[0]
            try:
                done = os.write(self.fd, first[:self.room])
            except OSError as error:
                self.end()
                raise Gone(str(error)) from None
            if done == len(first):
                del self.waiting[0]
            else:
                self.waiting[0] = first[done:]


class Child:
    """A fork, and what it has said of its request."""

    __slots__ = ("request", "pid", "pidfd", "pipe", "said", "kill_at")

    def __init__(self, request: Request, pid: int, pidfd: int, pipe: int) -> None:
        self.request = request
        self.pid = pid
        self.pidfd = pidfd
        self.pipe = pipe
        self.said = bytearray()  # not a whole frame yet
        self.kill_at: Optional[float] = None

    def signal(self, number: int) -> None:
        """To all of its group: it is not reaped yet, so the number is still its own."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def when(self) -> Optional[float]:
        """When it is to be looked at, if nothing comes of it."""
        if self.kill_at is not None:
            return self.kill_at
        return self.request.deadline if self.request.open else None


class Prefork(Engine):
    """As many children as requests at a time."""

    watch_type = Unwatched

    def __init__(self, model: Model, connection: Connection, sdk: str) -> None:
        super().__init__(model, connection, sdk)
        self.children: Dict[int, Child] = {}
        self.outbox = Outbox(connection.sink.fd)
        self.prctl = ctypes.CDLL(None).prctl
        self.pid = os.getpid()

    def run(self) -> None:
        self.load()
        self.outbox.body_max = self.connection.sink.body_max
        self.connection.sink = Worker.sink = Request.sink = self.outbox
        self.announce()
        gc.collect()
        gc.freeze()  # a collection in a child would write to every page
        while self.children or not self.ended and (self.outbox.waiting or not self.draining):
            try:
                self.turn()
            except Violation as error:
                self.broken(error)
            except Gone:
                self.leave_soon()

    def leave_soon(self) -> None:
        super().leave_soon()
        self.outbox.end()

    # One turn

    def turn(self) -> None:
        """Waits for something to come, and does what there is to do then."""
        source, children = self.connection.source, list(self.children.values())
        poll = select.poll()
        if not self.ended:
            poll.register(source.fd, select.POLLIN)
        if self.outbox.waiting:  # then the children wait as well
            poll.register(self.outbox.fd, select.POLLOUT | (
                select.POLLIN if self.outbox.fd == source.fd else 0))
        else:
            for child in children:
                poll.register(child.pidfd, select.POLLIN)
                if child.pipe >= 0:
                    poll.register(child.pipe, select.POLLIN)
        reads = not self.ended and source.has_bytes()
        ready = dict(poll.poll(0 if reads else self.until_next()))
        self.outbox.flush()
        for child in children:
            if child.pipe in ready:
                self.hear(child)
            if child.pidfd in ready:
                self.reap(child)
        self.look_at_clock()
        if reads or ready.get(source.fd, 0) & ~select.POLLOUT:
            self.read()

    def until_next(self) -> Optional[int]:
        """Milliseconds to the next moment that somebody has to be ended at."""
        times = [when for when in (child.when() for child in self.children.values())
                 if when is not None]
        return max(0, int((min(times) - time.monotonic()) * 1000) + 1) if times else None

    def look_at_clock(self) -> None:
        """Ends those whose time is over."""
        now = time.monotonic()
        for child in self.children.values():
            when = child.when()
            if when is None or when > now:
                continue
            if child.kill_at is None:
                self.stop(child.request)
            else:
                child.signal(signal.SIGKILL)
                child.kill_at = now + GRACE_S

    def read(self) -> None:
        """One frame of MER's."""
        frame = self.connection.source.read()
        if frame is None:
            self.leave_soon()
            return
        request = self.handle(frame)
        del frame
        if request is not None:
            self.fork(request)

    def stop(self, request: Request) -> None:
        """Politely first."""
        child = self.children.get(request.id)
        if child is not None and child.kill_at is None:
            child.kill_at = time.monotonic() + GRACE_S
            child.signal(signal.SIGTERM)
            child.signal(signal.SIGCONT)

    # Children

    def fork(self, request: Request) -> None:
        """Begins the answer."""
        for file in (sys.stdout, sys.stderr):
            if file is not None:
                file.flush()  # or each child says it again
        pid = 0
        fds: list[int] = []
        try:
            fds += os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(fds[0])
                self.be_child(request, fds[1])
            fds.append(os.pidfd_open(pid))
            os.close(fds.pop(1))
        except OSError as error:
            for fd in fds:
                os.close(fd)
            if pid > 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            del self.open[request.id]
            request.send(error_frame(request.id, "internal", f"cannot fork: {error.strerror}"), (),
                         True)
            return
        pipe, pidfd = fds
        os.set_blocking(pipe, False)
        request.body = None
        try:
            os.setpgid(pid, pid)  # here too, so that it is done before it is asked for
        except (PermissionError, ProcessLookupError):
            pass
        self.children[request.id] = Child(request, pid, pidfd, pipe)

    def be_child(self, request: Request, pipe: int) -> NoReturn:
        """In the child: answers, and ends without what an end of the interpreter does, which is its
        parent's to do."""
        code = 1
        try:
            os.setpgid(0, 0)
            self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.pid:
                os._exit(1)
            for child in self.children.values():
                os.close(child.pidfd)
                if child.pipe >= 0:
                    os.close(child.pipe)
            sink = Sink(pipe)
            sink.body_max = self.outbox.body_max
            self.connection.sink = Worker.sink = Request.sink = sink
            self.children, self.open = {}, {request.id: request}
            self.answer(request)
            code = 0
        except BaseException:
            if request.open:
                sys.excepthook(*sys.exc_info())
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def hear(self, child: Child) -> None:
        """Passes on the frames that are whole."""
        while not self.outbox.waiting:
            try:
                piece = os.read(child.pipe, WINDOW)
            except BlockingIOError:
                return
            if not piece:
                os.close(child.pipe)
                child.pipe = -1
                return
            child.said += piece
            while self.pass_on(child):
                pass

    def pass_on(self, child: Child) -> bool:
        """A frame, if it is there."""
        said, request = child.said, child.request
        if len(said) < HEADER_BYTES:
            return False
        magic, version, kind, flags, ident, meta_bytes, reserved, body_bytes = HEADER.unpack_from(said)
        if (magic != MAGIC or version != VERSION or reserved or meta_bytes > META_MAX
                or body_bytes > self.outbox.body_max or kind not in (RESULT, ERROR, LOG, PROGRESS)
                or ident != request.id and (ident or kind != LOG)):
            said.clear()  # the model has written there; what it did is answered at its end
            child.signal(signal.SIGKILL)
            return False
        size = HEADER_BYTES + meta_bytes + body_bytes
        if len(said) < size:
            return False
        frame: Buffer = said
        if len(said) == size:
            child.said = bytearray()
        else:
            frame = bytes(said[:size])
            del said[:size]
        if request.open:
            if kind == ERROR or kind == RESULT and not flags & MORE:
                request.open = False
                del self.open[ident]
                child.kill_at = time.monotonic() + GRACE_S  # it has nothing more to do
            self.outbox.write_all((frame,))
        return True

    def reap(self, child: Child) -> None:
        """It has ended, and what it leaves behind does now."""
        child.signal(signal.SIGKILL)
        if child.pipe >= 0:
            self.hear(child)
            if self.outbox.waiting:
                return  # there may be more, for another turn
            if child.pipe >= 0:
                os.close(child.pipe)
        _, status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        request = child.request
        del self.children[request.id]
        if not request.open:
            return
        if request.cancelled or request.is_late():
            self.fail(request, Cancelled())
            return
        del self.open[request.id]
        request.send(error_frame(request.id, "model", how_it_ended(status)), (), True)


def how_it_ended(status: int) -> str:
    """Of a child that has not answered."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"the process of this run ended with exit code {code} before it had answered"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the process of this run was killed by {name}"

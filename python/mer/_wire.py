"""Frames (docs/wire.md): their bytes, and how they go over the two descriptors of a connection."""
from __future__ import annotations

import os
import select
import struct
from _thread import allocate_lock  # threading, json and typing would double the time of a start

from . import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

    Buffer = Union[bytes, bytearray, memoryview]
    Frame = Tuple[int, int, int, bytes, Buffer]  # kind, flags, id, meta, body

MAGIC = b"MERF"
VERSION = 1
HEADER = struct.Struct("<4sBBHQIIQ")
HEADER_BYTES = HEADER.size
META_MAX = 1 << 20
BODY_MAX = 1 << 30  # what a side takes that has not said how much
PING_MAX = 64

HELLO, READY, INFER, RESULT, ERROR, CANCEL, PING, LOG, PROGRESS, TRAIN, DRAIN = range(1, 12)
MORE, SKIP, ANSWER = 1, 2, 4

WINDOW = 64 * 1024  # read at once
SPARE_MAX = 16 * 1024 * 1024  # a larger buffer is given back rather than kept for the next body
SMALL = 8 * 1024  # joining so few bytes costs less than naming them apart to the kernel
PIECES_MAX = 512  # of one writev; the system's limit is 1024 at least


class Violation(Exception):
    """The other side broke the protocol; the message says how."""


class Gone(Exception):
    """The other side has left: nothing can be sent any more."""


def parse_meta(raw: Buffer) -> Dict[str, Any]:
    """The JSON object of a frame; none is an empty one."""
    if not raw:
        return {}
    try:
        meta = _json.decode(str(raw, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise Violation(f"a meta is no JSON: {str(error)[:200]}") from None
    if not isinstance(meta, dict):
        raise Violation("a meta is no JSON object")
    return meta


def dump_meta(meta: Dict[str, Any]) -> bytes:
    """ASCII, so that a lone surrogate in a model's message cannot break the frame."""
    raw = _json.encode(meta).encode("ascii") if meta else b""
    if len(raw) > META_MAX:
        raise ValueError(f"a meta of {len(raw)} bytes, over the limit of {META_MAX}")
    return raw


def head(kind: int, flags: int, ident: int, meta: bytes, body_bytes: int = 0) -> bytes:
    """All of a frame but its body."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, ident, len(meta), 0, body_bytes) + meta


class Source:
    """Frames from a descriptor. One thread at a time reads.

    What is read at once is cut into frames. A body that does not fit is read into a buffer of its
    own, without a copy; it serves again once nobody holds a view of it, so that no body is ever
    written over.
    """

    def __init__(self, fd: int, body_max: int = BODY_MAX) -> None:
        self.fd = fd
        self.body_max = body_max
        self._data = b""
        self._at = 0  # what is before it has been taken
        self._spare = bytearray()

    def has_bytes(self) -> bool:
        """Whether part of a frame has been read: its rest can be waited for."""
        return len(self._data) > self._at

    def give_back(self, data: bytes) -> None:
        """What was read past this object, while it had no bytes of its own."""
        self._data = data
        self._at = 0

    def _more(self) -> bool:
        """Reads on, at least a byte; False at the end."""
        try:
            piece = os.read(self.fd, WINDOW)
        except OSError:  # reset: as good as an end
            return False
        self._data = self._data[self._at:] + piece if self.has_bytes() else piece
        self._at = 0
        return bool(piece)

    def read(self) -> Optional[Frame]:
        """The next frame that version 1 knows, or None at the end of the connection."""
        while True:
            while len(self._data) - self._at < HEADER_BYTES:
                if not self._more():
                    return None
            data = self._data
            begin = self._at + HEADER_BYTES
            magic, version, kind, flags, ident, meta_bytes, reserved, body_bytes = \
                HEADER.unpack_from(data, self._at)
            if (magic != MAGIC or version != VERSION or reserved or meta_bytes > META_MAX
                    or body_bytes > self.body_max or not 0 < kind <= DRAIN):
                self._check(magic, version, kind, flags, reserved, meta_bytes, body_bytes)
                self._at = begin
                if not self._skip(meta_bytes + body_bytes):
                    return None
                continue
            middle = begin + meta_bytes
            end = middle + body_bytes
            if end <= len(data):
                self._at = end
                return kind, flags, ident, data[begin:middle], data[middle:end]
            self._at = begin
            meta = self._take(meta_bytes, bytearray(meta_bytes))
            if meta is None:
                return None
            body = self._take(body_bytes, self._room(body_bytes))
            return None if body is None else (kind, flags, ident, bytes(meta), body)

    def _check(self, magic: bytes, version: int, kind: int, flags: int, reserved: int,
               meta_bytes: int, body_bytes: int) -> None:
        """Returns only for a frame that may be read over."""
        if magic != MAGIC:
            raise Violation(f"wrong magic {magic!r}")
        if version != VERSION:
            raise Violation(f"version {version} was not agreed on")
        if reserved:
            raise Violation("reserved bytes that are not 0")
        if meta_bytes > META_MAX:
            raise Violation(f"a meta of {meta_bytes} bytes, over the limit of {META_MAX}")
        if body_bytes > self.body_max:
            raise Violation(f"a body of {body_bytes} bytes, over the limit of {self.body_max}")
        if not flags & SKIP:
            raise Violation(f"unknown kind {kind}")

    def _room(self, size: int) -> bytearray:
        """A buffer for a body: the last one if it has this size and nobody looks at it any more."""
        room = self._spare
        if len(room) == size and size > 0:
            try:
                room.append(0)  # not while there are views
                room.pop()
                return room
            except BufferError:
                pass
        room = bytearray(size)
        self._spare = room if size <= SPARE_MAX else bytearray()
        return room

    def _take(self, size: int, room: bytearray) -> Optional[memoryview]:
        """So many bytes, the first of which may have been read."""
        view = memoryview(room)
        have = min(size, len(self._data) - self._at)
        view[:have] = memoryview(self._data)[self._at:self._at + have]
        self._at += have
        while have < size:
            try:
                n = os.readv(self.fd, [view[have:]])
            except OSError:
                n = 0
            if n == 0:
                return None
            have += n
        return view

    def _skip(self, size: int) -> bool:
        while size > 0:
            if not self.has_bytes() and not self._more():
                return False
            n = min(size, len(self._data) - self._at)
            self._at += n
            size -= n
        return True


class Sink:
    """Frames to a descriptor, each in one piece, from any thread."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lock = allocate_lock()
        self.body_max = BODY_MAX
        self.later: List[bytes] = []

    def send(self, frame: bytes) -> None:
        """One small frame; waits while the other side is slow."""
        with self.lock:
            self.write(frame)
        if self.later:
            self.flush()

    def write(self, frame: bytes) -> None:
        """As send, by who holds the lock."""
        try:
            done = os.write(self.fd, frame)
        except OSError as error:
            raise Gone(str(error)) from None
        if done < len(frame):
            self.write_all((memoryview(frame)[done:],))

    def write_all(self, pieces: Sequence[Buffer]) -> None:
        """As write, of a frame whose body is in several pieces."""
        rest = [memoryview(piece) for piece in pieces if len(piece)]
        at = 0
        while at < len(rest):
            try:
                done = os.writev(self.fd, rest[at:at + PIECES_MAX])
            except OSError as error:
                raise Gone(str(error)) from None
            while at < len(rest) and done >= len(rest[at]):
                done -= len(rest[at])
                at += 1
            if done:
                rest[at] = rest[at][done:]

    def is_writable(self) -> bool:
        """Whether a small frame would not have to wait."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))

    def send_soon(self, frame: bytes) -> None:
        """For the thread that reads, which must never wait for the other side to read."""
        self.later.append(frame)
        self.flush()

    def flush(self) -> None:
        """Sends what was put off, as far as that goes without waiting."""
        while self.later and self.lock.acquire(False):
            try:
                if not self.is_writable():
                    return
                try:
                    self.write(self.later.pop(0))
                except (IndexError, Gone):
                    return
            finally:
                self.lock.release()


class Connection:
    """Where MER is: a source, a sink, and how to leave."""

    def __init__(self, fd_in: int, fd_out: int) -> None:
        os.set_blocking(fd_in, True)
        os.set_blocking(fd_out, True)
        self.source = Source(fd_in)
        self.sink = Sink(fd_out)
        self._nothing = os.open(os.devnull, os.O_RDWR)  # now: later there may be no room for it
        os.register_at_fork(after_in_child=self.close)  # a child of the model has no part in it

    def close(self) -> None:
        """Both directions end for MER. The numbers stay taken: a thread may still wait on them."""
        for fd in {self.source.fd, self.sink.fd}:
            os.dup2(self._nothing, fd, inheritable=False)

    def hang_up(self) -> None:
        """As close, and a thread that waits to read or to write wakes up."""
        import socket
        try:
            with socket.socket(fileno=os.dup(self.source.fd)) as copy:
                copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # a pipe, or gone already
        self.close()

    @classmethod
    def find(cls) -> Connection:
        """Before any code of a model runs: afterwards what is printed is log."""
        word = os.environ.pop("MER_FRAME_FD", None)
        if word is not None:
            if not word.isascii() or not word.isdigit():
                raise Violation(f"MER_FRAME_FD is {word[:40]!r}, which is no number")
            fd = int(word)
            os.set_inheritable(fd, False)
            return cls(fd, fd)
        return cls.from_stdio()

    @classmethod
    def from_stdio(cls) -> Connection:
        """Moves standard input and output away."""
        fd_in, fd_out = os.dup(0), os.dup(1)  # close-on-exec, as all that Python makes
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return cls(fd_in, fd_out)

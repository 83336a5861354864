"""A worker under test: its process, its frames, and what each frame is held to."""
from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional

HEADER = struct.Struct("<4sBBHQIIQ")
META_MAX = 1_048_576
BODY_MAX = 1 << 30
HELLO, READY, INFER, RESULT, ERROR, CANCEL, PING, LOG, PROGRESS, TRAIN, DRAIN = range(1, 12)
MORE, SKIP, ANSWER = 1, 2, 4
SIZES = {"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2,
         "INT32": 4, "INT64": 8, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}
FROM_WORKER = (READY, RESULT, ERROR, PING, LOG, PROGRESS)


class Violated(Exception):
    """A rule, and what happened."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule
        self.what = what


class Closed(Exception):
    """The worker has closed the connection."""


class Silent(Exception):
    """The worker has sent nothing in the time that it was given."""


class NotReady(Exception):
    """The worker said, as it may, that it cannot serve."""


class Frame(NamedTuple):
    """A frame of the worker's."""

    kind: int
    flags: int
    ident: int
    meta: Dict[str, Any]
    body: bytes

    def is_last(self) -> bool:
        """Whether it ends its request."""
        return self.kind == ERROR or self.kind == RESULT and not self.flags & MORE


def pack(kind: int, ident: int, meta: Any = None, body: bytes = b"", flags: int = 0) -> bytes:
    """A frame of MER's; meta may be bytes that are no JSON."""
    raw = meta if isinstance(meta, bytes) else b"" if meta is None else json.dumps(meta).encode()
    return HEADER.pack(b"MERF", 1, kind, flags, ident, len(raw), 0, len(body)) + raw + body


def is_number(value: object) -> bool:
    """A number of JSON's."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_size(value: object, least: int = 0) -> bool:
    """A whole number of JSON's, of at least this."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


class Options(NamedTuple):
    """How to check."""

    argv: List[str]
    timeout: float = 10.0
    start_timeout: float = 120.0
    content: bytes = b"1"  # for a worker that announces no inputs


class Session:
    """One start of the worker, which is killed at the end, with all that it has started."""

    def __init__(self, options: Options, over_stdio: bool) -> None:
        self.options = options
        self.over_stdio = over_stdio
        self.body_max = BODY_MAX
        self.ready: Dict[str, Any] = {}
        self.is_ready = False
        self.answers_pings = True
        self.next_id = 1
        self.open: Dict[int, List[Frame]] = {}
        self.answered: Dict[int, List[Frame]] = {}
        self.pings: List[Frame] = []
        self.log = tempfile.TemporaryFile()
        self._buffer = bytearray()
        self._start()

    # The process

    def _start(self) -> None:
        env = {name: value for name, value in os.environ.items() if name != "MER_FRAME_FD"}
        env["PYTHONUNBUFFERED"] = "1"
        files: Dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self.log}
        if self.over_stdio:
            to_worker, self.send_fd = os.pipe()
            self.receive_fd, from_worker = os.pipe()
            files = {"stdin": to_worker, "stdout": from_worker}
            self.frame_fd, theirs = -1, [to_worker, from_worker]
        else:
            ours, other = socket.socketpair()
            self.frame_inode = os.fstat(other.fileno()).st_ino
            self.send_fd = self.receive_fd = ours.detach()
            self.frame_fd = other.detach()
            theirs = [self.frame_fd]
            env["MER_FRAME_FD"] = str(self.frame_fd)
        try:
            self.process = subprocess.Popen(self.options.argv, env=env, stderr=self.log,
                                            pass_fds=[] if self.over_stdio else theirs,
                                            start_new_session=True, **files)
        finally:
            for fd in theirs:
                os.close(fd)
        os.set_blocking(self.send_fd, False)

    def close(self) -> None:
        """MER leaves."""
        for fd in {self.send_fd, self.receive_fd} - {-1}:
            os.close(fd)
        self.send_fd = self.receive_fd = -1

    def close_half(self) -> None:
        """MER sends no more, and still reads."""
        if self.over_stdio:
            os.close(self.send_fd)
            self.send_fd = -1
        else:
            with socket.socket(fileno=os.dup(self.send_fd)) as copy:
                copy.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Nothing of it is left."""
        self.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()

    def exit_code(self, rule: str) -> int:
        """How the process ends, by itself."""
        try:
            return self.process.wait(self.options.timeout)
        except subprocess.TimeoutExpired:
            raise Violated(rule, "the process is still there") from None

    def log_tail(self) -> str:
        """The last of what the worker wrote on standard error."""
        self.log.seek(0)
        return self.log.read()[-2000:].decode("utf-8", "replace")

    # Frames

    def send(self, data: bytes) -> None:
        """Takes a worker that has closed for one that will be found closed when read."""
        view = memoryview(data)
        until = time.monotonic() + self.options.timeout
        while view:
            left = until - time.monotonic()
            if left <= 0 or not select.select([], [self.send_fd], [], left)[1]:
                raise Silent("it does not read")
            try:
                view = view[os.write(self.send_fd, view):]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                return

    def is_taken(self, seconds: float) -> bool:
        """Waits until the worker has read what was sent."""
        import fcntl
        import termios
        unread = termios.FIONREAD if self.over_stdio else termios.TIOCOUTQ
        until = time.monotonic() + seconds
        while any(fcntl.ioctl(self.send_fd, unread, bytes(4))):
            if time.monotonic() > until:
                return False
            time.sleep(0.0001)
        return True

    def _fill(self, size: int, until: float) -> None:
        while len(self._buffer) < size:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.receive_fd], [], [], left)[0]:
                raise Silent("it sends nothing")
            try:
                piece = os.read(self.receive_fd, 1 << 20)
            except ConnectionResetError:
                piece = b""
            if not piece:
                if self._buffer and self._buffer[:4] != b"MERF"[:len(self._buffer)]:
                    self._no_magic()
                raise Closed("it has closed the connection")
            self._buffer += piece

    def _no_magic(self) -> NoReturn:
        what = f"{bytes(self._buffer[:60])!r} where a frame begins"
        raise Violated("stray-print-is-log" if self.over_stdio else "header-magic", what)

    def receive(self, seconds: Optional[float] = None) -> Frame:
        """The next frame, held to all that the page says of each."""
        until = time.monotonic() + (self.options.timeout if seconds is None else seconds)
        self._fill(4, until)
        if self._buffer[:4] != b"MERF":
            self._no_magic()
        self._fill(HEADER.size, until)
        _, version, kind, flags, ident, meta_size, reserved, body_size = HEADER.unpack_from(
            self._buffer)
        if version != 1:
            raise Violated("header-version", f"a frame of version {version}")
        if reserved:
            raise Violated("header-reserved", f"reserved bytes {reserved:#x}")
        if meta_size > META_MAX:
            raise Violated("meta-limit", f"a meta of {meta_size} bytes")
        if body_size > self.body_max:
            raise Violated("body-limit", f"a body of {body_size} bytes to a MER that takes "
                                         f"{self.body_max}")
        self._fill(HEADER.size + meta_size + body_size, until)
        at = HEADER.size + meta_size
        raw, body = bytes(self._buffer[HEADER.size:at]), bytes(self._buffer[at:at + body_size])
        del self._buffer[:at + body_size]
        if kind not in FROM_WORKER:
            if kind > DRAIN and flags & SKIP:
                return self.receive(seconds)
            raise Violated("known-kind", f"a frame of kind {kind}")
        if flags & ~(MORE | SKIP | ANSWER):
            raise Violated("header-flags", f"flags {flags:#x}")
        return self._take(Frame(kind, flags, ident, self._meta(raw), body))

    @staticmethod
    def _meta(raw: bytes) -> Dict[str, Any]:
        def no_constant(word: str) -> NoReturn:
            raise ValueError(f"{word} is no JSON")
        try:
            meta = json.loads(raw.decode(), parse_constant=no_constant) if raw else {}
        except (ValueError, RecursionError) as error:
            raise Violated("meta-json-object", str(error)[:200]) from None
        if not isinstance(meta, dict):
            raise Violated("meta-json-object", f"{raw[:60]!r}")
        return meta

    def _take(self, frame: Frame) -> Frame:
        kind, ident = frame.kind, frame.ident
        if (kind in (READY, PING)) != (ident == 0) and kind not in (ERROR, LOG, PROGRESS):
            raise Violated("frame-ids", f"kind {kind} with the id {ident}")
        if kind == PROGRESS and ident == 0 and self.is_ready:
            raise Violated("frame-ids", f"kind {kind} with the id {ident}")
        if not self.is_ready and kind not in (READY, ERROR, LOG, PROGRESS):
            raise Violated("only-log-before-ready", f"kind {kind}")
        check_fields(frame)
        if kind == READY and self.is_ready:
            raise Violated("ready-after-hello", "ready a second time")
        if kind == PING:
            self.pings.append(frame)
        if ident:
            self._of_request(frame)
        return frame

    def _of_request(self, frame: Frame) -> None:
        if frame.ident in self.answered:
            if frame.is_last():
                raise Violated("one-last-frame", f"a second last frame of {frame.ident}")
            raise Violated("ids-not-reused", f"kind {frame.kind} of {frame.ident}, "
                                             "which was answered")
        if frame.ident not in self.open:
            raise Violated("ids-open", f"kind {frame.kind} of {frame.ident}, which was not asked")
        self.open[frame.ident].append(frame)
        if frame.kind == RESULT:
            check_output(frame, self.ready)
        if frame.is_last():
            self.answered[frame.ident] = self.open.pop(frame.ident)

    # Conversations

    def begin(self, **more: Any) -> None:
        """Hello and ready."""
        self.body_max = more.get("max_body", BODY_MAX)
        self.send(pack(HELLO, 0, {"versions": [1], "max_body": self.body_max, **more}))
        frame = self.first()
        if frame.kind == ERROR:
            raise NotReady(f"{frame.meta.get('code')}: {frame.meta.get('message')}")
        check_ready(frame.meta)
        self.ready, self.is_ready = frame.meta, True

    def first(self) -> Frame:
        """Ready or an error, after what may come before."""
        try:
            while True:
                frame = self.receive(self.options.start_timeout)
                if frame.kind in (READY, ERROR):
                    return frame
        except (Closed, Silent) as error:
            raise Violated("ready-or-error", str(error)) from None

    def takes_content(self) -> bool:
        """Whether it takes one piece of bytes."""
        inputs = self.ready.get("inputs")
        return inputs is None or len(inputs) == 1 and inputs[0]["datatype"] == "BYTES"

    def request(self, content: Optional[bytes] = None, flags: int = 0, **more: Any) -> bytes:
        """An infer with a new id; the bytes are its input, where it takes such."""
        ident = self.next_id
        self.next_id += 1
        self.open[ident] = []
        if self.takes_content():
            body = self.options.content if content is None else content
            return pack(INFER, ident, {"content": "bytes", **more}, body, flags)
        inputs, body = [], b""
        for spec in self.ready["inputs"]:
            shape = [1 if length < 0 else length for length in spec["shape"]]
            data = bytes(math.prod(shape) * SIZES.get(spec["datatype"], 4))
            inputs.append(tensor(spec["name"], spec["datatype"], shape, len(data)))
            body += data
        return pack(INFER, ident, {"inputs": inputs, **more}, body, flags)

    def settle(self) -> None:
        """Waits until all is answered."""
        while self.open:
            self.receive()

    def ping(self) -> None:
        """There and back: what came before it was read."""
        if not self.answers_pings:
            return
        before, meta = len(self.pings), {"at": self.next_id}
        self.send(pack(PING, 0, meta, b"\0\1\xff"))
        while len(self.pings) == before:
            self.receive()
        answer = self.pings[-1]
        if not answer.flags & ANSWER or answer.meta != meta or answer.body != b"\0\1\xff":
            raise Violated("ping-answered", f"{answer.meta} {answer.body!r} with flags "
                                            f"{answer.flags} for {meta}")


def tensor(name: str, datatype: str, shape: List[int], size: int) -> Dict[str, Any]:
    """Its description in a meta."""
    return {"name": name, "datatype": datatype, "shape": shape,
            "parameters": {"binary_data_size": size}}


def check_fields(frame: Frame) -> None:
    """The metas of error, log and progress."""
    meta = frame.meta
    if frame.kind == ERROR:
        texts = [meta.get("code"), meta.get("message"), meta.get("traceback", "")]
        if not all(isinstance(text, str) for text in texts) or "\n" in meta["message"]:
            raise Violated("error-fields", f"{str(meta)[:200]}")
    if frame.kind == LOG and (meta.get("level") not in ("debug", "info", "warn", "error")
                              or not isinstance(meta.get("message"), str)):
        raise Violated("log-fields", f"{str(meta)[:200]}")
    if frame.kind == PROGRESS and not (is_number(meta.get("done"))
                                       and is_number(meta.get("total", 0))
                                       and isinstance(meta.get("message", ""), str)):
        raise Violated("progress-fields", f"{str(meta)[:200]}")


def check_ready(meta: Dict[str, Any]) -> None:
    """What ready says."""
    if meta.get("version") != 1:
        raise Violated("ready-version", f"version {meta.get('version')!r}, where 1 was offered")
    for name in ("inputs", "outputs"):
        for spec in meta.get(name, []) if isinstance(meta.get(name, []), list) else [None]:
            if not (isinstance(spec, dict) and isinstance(spec.get("name"), str)
                    and (spec.get("datatype") in SIZES or spec.get("datatype") == "BYTES")
                    and isinstance(spec.get("shape"), list)
                    and all(is_size(length, -1) for length in spec["shape"])):
                raise Violated("ready-fields", f"{name} with {str(spec)[:200]}")
    if not is_size(meta.get("concurrency", 1), 1):
        raise Violated("concurrency", f"concurrency {meta['concurrency']!r}")
    fields = (("sdk", str, ""), ("name", str, ""), ("runtime", str, ""), ("train", bool, False))
    for name, kind, default in fields:
        if not isinstance(meta.get(name, default), kind):
            raise Violated("ready-fields", f"{name} {meta[name]!r}")
    for name in ("max_batch", "max_body"):
        if not is_size(meta.get(name, 1)):
            raise Violated("ready-fields", f"{name} {meta[name]!r}")


def check_output(frame: Frame, ready: Dict[str, Any]) -> None:
    """What a result holds."""
    meta, body = frame.meta, frame.body
    if "content" in meta:
        if meta["content"] not in ("bytes", "text") or "outputs" in meta:
            raise Violated("output-described", f"{str(meta)[:200]}")
        if meta["content"] == "text":
            try:
                body.decode()
            except UnicodeDecodeError as error:
                raise Violated("output-text", str(error)) from None
        return
    outputs = meta.get("outputs", [])
    if not isinstance(outputs, list) or "outputs" not in meta and body:
        raise Violated("output-described", f"{str(meta)[:200]} with {len(body)} bytes")
    at = 0
    for output in outputs:
        at = check_tensor(output, body, at)
        check_contract(output, ready)
    if at != len(body):
        raise Violated("output-sizes", f"tensors of {at} bytes in a body of {len(body)}")


def check_tensor(output: Any, body: bytes, at: int) -> int:
    """One of a result's outputs; where the next one begins."""
    try:
        datatype, shape = output["datatype"], output["shape"]
        size = output["parameters"]["binary_data_size"]
        if not (isinstance(output["name"], str) and all(map(is_size, shape)) and is_size(size)
                and (datatype in SIZES or datatype == "BYTES")):
            raise TypeError
    except (KeyError, TypeError):
        raise Violated("output-described", f"{str(output)[:200]}") from None
    if datatype != "BYTES":
        if math.prod(shape) * SIZES[datatype] != size:
            raise Violated("output-sizes", f"{size} bytes of {datatype} {shape}")
        return int(at + size)
    end = at + size
    for _ in range(math.prod(shape)):
        if at + 4 > end:
            break
        at += 4 + struct.unpack_from("<I", body.ljust(at + 4, b"\0"), at)[0]
    else:
        if at == end:
            return int(end)
    raise Violated("output-elements", f"{size} bytes of BYTES {shape}")


def check_contract(output: Dict[str, Any], ready: Dict[str, Any]) -> None:
    """Holds a worker to what it has announced."""
    specs = ready.get("outputs")
    if specs is None:
        return
    for spec in specs:
        if spec["name"] == output["name"]:
            have, want = output["shape"], spec["shape"]
            if (output["datatype"] == spec["datatype"] and len(have) == len(want)
                    and all(w in (-1, h) for w, h in zip(want, have))):
                return
    raise Violated("output-contract", f"{output['name']} {output['datatype']} {output['shape']}, "
                                      f"announced was {str(specs)[:200]}")

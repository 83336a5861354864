#!/usr/bin/python3
"""A worker of the frame protocol that breaks one rule of `python -m mer check`, and only that one.

    broken.py [RULE]

Without a rule it keeps them all: an echo that takes a request at a time. It is written by hand, so
that a fault of the SDK is not in it.
"""
import json
import os
import select
import signal
import struct
import sys

BROKEN = sys.argv[1] if len(sys.argv) > 1 else ""
HEADER = struct.Struct("<4sBBHQIIQ")
HELLO, READY, INFER, RESULT, ERROR, CANCEL, PING, LOG, PROGRESS, TRAIN, DRAIN = range(1, 12)
MORE, SKIP, ANSWER = 1, 2, 4
META_MAX, BODY_MAX = 1 << 20, 1 << 30
SIZES = {"FP32": 4, "FP64": 8, "INT8": 1, "BYTES": 0}
OUTPUTS = {  # rule: what is wrong with the result
    "output-described": ({"content": "pickle"}, b"x"),
    "output-sizes": ({"outputs": [{"name": "y", "datatype": "FP32", "shape": [1],
                                   "parameters": {"binary_data_size": 5}}]}, b"12345"),
    "output-elements": ({"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1],
                                      "parameters": {"binary_data_size": 5}}]}, b"\2\0\0\0x"),
    "output-text": ({"content": "text"}, b"\xff"),
    "output-contract": ({"outputs": [{"name": "y", "datatype": "FP64", "shape": [1],
                                      "parameters": {"binary_data_size": 8}}]}, bytes(8)),
    "meta-json-object": (b"[]", b""),
    "meta-limit": (b'{"content":"bytes","x":"%s"}' % (b"x" * META_MAX), b""),
}


class Broken(Exception):
    """The other side has broken the protocol."""


def breaks(rule):
    return rule == BROKEN


def connect():
    word = os.environ.pop("MER_FRAME_FD", None)
    if word is not None:
        fd = int(word)
        os.set_inheritable(fd, breaks("fd-close-on-exec"))
        return fd, fd
    fds = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    if breaks("stray-print-is-log"):
        os.write(1, b"loading the model\n")
    os.dup2(2, 1)
    return fds


def leave_at_eof():
    while breaks("eof-exits"):
        signal.pause()
    os._exit(0)


class Worker:
    def __init__(self):
        self.fd_in, self.fd_out = connect()
        self.max_body = BODY_MAX
        self.pending = []  # read before its time

    # Bytes

    def take(self, size):
        data = bytearray()
        while len(data) < size:
            piece = os.read(self.fd_in, min(size - len(data), 1 << 20))
            if not piece:
                leave_at_eof()
            data += piece
        return bytes(data)

    def send(self, kind, ident=0, meta=b"", body=b"", flags=0, version=1, reserved=0, magic=b"MERF"):
        raw = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
        data = HEADER.pack(magic, version, kind, flags, ident, len(raw), reserved, len(body))
        view = memoryview(data + raw + body)
        while view:
            view = view[os.write(self.fd_out, view):]

    def header(self):
        if not breaks("cut-anywhere"):
            return HEADER.unpack(self.take(HEADER.size))
        data = os.read(self.fd_in, HEADER.size)
        if not data:
            leave_at_eof()
        if len(data) < HEADER.size:
            sys.exit("half a header")
        return HEADER.unpack(data)

    def next(self):
        if self.pending:
            return self.pending.pop(0)
        while True:
            magic, version, kind, flags, ident, meta_size, reserved, body_size = self.header()
            for rule, wrong in (("bad-magic-closes", magic != b"MERF"),
                                ("bad-version-closes", version != 1),
                                ("bad-reserved-closes", reserved != 0),
                                ("long-meta-closes", meta_size > META_MAX),
                                ("long-body-closes", body_size > BODY_MAX)):
                if wrong and not breaks(rule):
                    raise Broken(rule)
            raw, body = self.take(meta_size), self.take(body_size)
            if kind <= DRAIN:
                break
            if breaks("unknown-kind-skip") or not flags & SKIP and not breaks("unknown-kind-closes"):
                raise Broken("unknown kind")
        if breaks("unknown-flags-ignored") and flags & 0x8000:
            raise Broken("flags")
        try:
            meta = json.loads(raw.decode()) if raw else {}
        except ValueError:
            meta = None
        if not isinstance(meta, dict):
            if not breaks("bad-meta-closes"):
                raise Broken("meta")
            meta = {"content": "bytes"}
        if (breaks("unknown-fields-ignored") and kind == INFER
                and any(key[:2] in ("x_", "x-") for key in meta)):
            raise Broken("field")
        return kind, flags, ident, meta, raw, body

    def peek(self):
        """The kind of what has come already."""
        if not self.pending and select.select([self.fd_in], [], [], 0)[0]:
            self.pending.append(self.next())
        return self.pending[0][0] if self.pending else None

    # A connection's life

    def run(self):
        kind, _, _, meta, _, _ = self.next()
        if kind != HELLO:
            raise Broken("no hello")
        if 1 not in meta["versions"] and not breaks("version-refused"):
            self.send(ERROR, 0, {"code": "version", "message": "1 is spoken here"})
            return 1
        self.max_body = meta.get("max_body", BODY_MAX)
        self.get_ready()
        while True:
            kind, flags, ident, meta, raw, body = self.next()
            if kind == INFER:
                self.infer(ident, meta, body)
            elif kind == PING and not breaks("ping-answered"):
                self.send(PING, 0, raw, body, ANSWER)
            elif kind == CANCEL and breaks("late-cancel-ignored"):
                raise Broken("nothing to cancel")
            elif kind == TRAIN:
                self.train(ident)
            elif kind == DRAIN:
                return 3 if breaks("drain-exits-0") else 0

    def get_ready(self):
        if breaks("ready-or-error"):
            sys.exit(1)
        if breaks("only-log-before-ready"):
            self.send(PING)
        self.send(LOG, 0, {"level": "loud" if breaks("log-fields") else "info", "message": "a"})
        self.send(PROGRESS, 0, {"done": "half" if breaks("progress-fields") else 1, "total": 2})
        ready = {"version": 2 if breaks("ready-version") else 1, "sdk": "broken.py 1.0"}
        if breaks("ready-fields"):
            ready["inputs"] = {"x": "FP32"}
        if breaks("input-refused"):
            ready["inputs"] = [{"name": "x", "datatype": "FP32", "shape": [-1]}]
        if breaks("output-contract"):
            ready["outputs"] = [{"name": "y", "datatype": "FP32", "shape": [1]}]
        if breaks("concurrency") or breaks("reads-while-writing"):
            ready["concurrency"] = 0 if breaks("concurrency") else 4
        for _ in range(2 if breaks("ready-after-hello") else 1):
            self.send(READY, 0, ready)

    def train(self, ident):
        if breaks("train-unsupported"):
            self.send(RESULT, ident, {"metrics": {}})
        elif breaks("error-fields"):
            self.send(ERROR, ident, {"code": "unsupported"})
        else:
            self.send(ERROR, ident, {"code": "unsupported", "message": "an echo learns nothing"})

    def fits(self, meta, body):
        if "content" in meta:
            return True
        return len(body) == sum(item["parameters"]["binary_data_size"] for item in meta["inputs"])

    def infer(self, ident, meta, body):
        if not self.fits(meta, body) and not breaks("bad-sizes-close"):
            raise Broken("sizes")
        if breaks("large-body") and len(body) > 65536:
            sys.exit("so large")
        if breaks("cancel-answered") and self.peek() == CANCEL:
            return
        if breaks("drain-answers-open") and self.peek() == DRAIN:
            return
        if len(body) > self.max_body and not breaks("body-limit"):
            self.send(ERROR, ident, {"code": "limit", "message": "the answer would be too large"})
            return
        if breaks("known-kind"):
            self.send(99)
        if breaks("ids-open"):
            self.send(RESULT, ident + 1000, {"content": "bytes"})
        answer, body = OUTPUTS.get(BROKEN, ({"content": "bytes"}, body))
        self.send(RESULT, 0 if breaks("frame-ids") else ident, answer, body,
                  flags=0x10 if breaks("header-flags") else 0,
                  version=2 if breaks("header-version") else 1,
                  reserved=1 if breaks("header-reserved") else 0,
                  magic=b"NERF" if breaks("header-magic") else b"MERF")
        if breaks("one-last-frame"):
            self.send(RESULT, ident, answer, body)
        if breaks("ids-not-reused"):
            self.send(LOG, ident, {"level": "info", "message": "answered"})


def main():
    worker = Worker()
    try:
        return worker.run()
    except Broken as error:
        code = "internal" if breaks("protocol-error") else "protocol"
        worker.send(ERROR, 0, {"code": code, "message": str(error)})
        return 1


if __name__ == "__main__":
    sys.exit(main())

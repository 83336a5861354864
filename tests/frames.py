"""Frames by hand, for workers of tests that keep docs/wire.md or break it: no part of the SDK, so that a
fault in that one is not in its tests. A worker is this file's text with some lines behind it."""
import json
import os
import signal
import socket
import struct
import sys

HEAD = struct.Struct("<4sBBHQIIQ")
HELLO, READY, INFER, RESULT, ERROR, CANCEL, PING, LOG, PROGRESS, TRAIN, DRAIN = range(1, 12)
MORE, SKIP, ANSWER = 1, 2, 4
BYTES = {"content": "bytes"}


def pack(kind, number=0, meta=None, body=b"", flags=0, **wrong):
    """A frame; wrong: magic, version, reserved, meta_length, body_length that are not as they should be."""
    text = meta if isinstance(meta, bytes) else b"" if meta is None else json.dumps(meta).encode()
    return HEAD.pack(wrong.get("magic", b"MERF"), wrong.get("version", 1), kind, flags, number,
                     wrong.get("meta_length", len(text)), wrong.get("reserved", 0),
                     wrong.get("body_length", len(body))) + text + body


class Wire:
    """A worker's end of its connection."""

    def __init__(self):
        number = os.environ.pop("MER_FRAME_FD", None)
        if number is None:
            self.to, self.source = os.dup(1), os.dup(0)
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(2, 1)
        else:
            self.to = self.source = int(number)
            os.set_inheritable(self.to, False)

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.to, view):]

    def send(self, *args, **more):
        self.write(pack(*args, **more))

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = os.read(self.source, min(size - len(data), 1 << 20))
            if not piece:
                sys.exit(0)
            data += piece
        return bytes(data)

    def next(self):
        """Kind, id, flags, meta and body of the next frame."""
        magic, version, kind, flags, number, meta, zero, body = HEAD.unpack(self.read(HEAD.size))
        assert (magic, version, zero) == (b"MERF", 1, 0), (magic, version, zero)
        text = self.read(meta)
        return kind, number, flags, json.loads(text) if text else {}, self.read(body)

    def hello(self):
        kind, number, _, meta, body = self.next()
        assert (kind, number, body) == (HELLO, 0, b""), (kind, number, body)
        assert 1 in meta["versions"] and meta["max_body"] > 0, meta
        return meta

    def ready(self, **more):
        meta = self.hello()
        self.send(READY, 0, {"version": 1, **more})
        return meta

    def request(self):
        """Number and input of the next run; pings are answered, and drain ends it."""
        while True:
            kind, number, flags, meta, body = self.next()
            if kind == INFER:
                assert meta["content"] == "bytes", meta
                return number, body
            if kind == PING and not flags & ANSWER:
                self.send(PING, 0, meta, body, ANSWER)
            if kind == DRAIN:
                sys.exit(0)

    def answer(self, number, body, flags=0):
        self.send(RESULT, number, BYTES, body, flags)

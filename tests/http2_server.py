"""A server of HTTP/2 that does as it is told and no more: what a right one would not let a test do to its client.

    with Http2(authority.context("h2", alpn=["h2"]), refuse(REFUSED_STREAM), whole(b"answer")) as server:
        ...
        server.requests   # (connection, stream, bytes of its body) of each that came whole

An answer is a function of (Connection, stream); the first request gets the first one, and the last is given for ever.
Headers of requests are not read: a test knows what it has sent.
"""
import socket
import struct

import http_server

DEADLINE_S = 60
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, HTTP_1_1_REQUIRED = 0, 1, 2, 7, 8, 13
OK, BAD_REQUEST = b"\x88", b"\x8c"  # :status of HPACK's static table


class Connection:
    """One of a client that has sent its preface."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.stream = sock.makefile("rb")
        self.bytes = {}  # of each stream's body so far

    def send(self, kind, flags, stream, payload=b""):
        self.sock.sendall(struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload)

    def reset(self, stream, code):
        self.send(RST_STREAM, 0, stream, struct.pack(">I", code))

    def go_away(self, last, code=NO_ERROR):
        self.send(GOAWAY, 0, 0, struct.pack(">II", last, code))

    def serve(self):
        if not self.stream.read(24).startswith(b"PRI * HTTP/2.0"):
            return
        self.send(SETTINGS, 0, 0)
        while len(head := self.stream.read(9)) == 9:
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream, payload = struct.unpack(">I", head[5:])[0], self.stream.read(size)
            self.hear(kind, flags, stream, payload)

    def hear(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.send(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.send(PING, ACK, 0, payload)
        elif kind == RST_STREAM:
            self.server.note(self.server.resets, (self.number, stream))
        elif kind == HEADERS and self.server.early:
            self.server.note(self.server.requests, (self.number, stream, 0))
            self.server.next()(self, stream)
        elif kind in (HEADERS, DATA) and not self.server.early:
            self.bytes[stream] = self.bytes.get(stream, 0) + (size := len(payload) if kind == DATA else 0)
            if size:
                for window in (0, stream):
                    self.send(WINDOW_UPDATE, 0, window, struct.pack(">I", size))
            if flags & END_STREAM:
                self.server.note(self.server.requests, (self.number, stream, self.bytes[stream]))
                self.server.next()(self, stream)


# --- answers ------------------------------------------------------------------------------------------------------


def whole(body, status=OK):
    def answer(connection, stream):
        connection.send(HEADERS, END_HEADERS, stream, status)
        connection.send(DATA, END_STREAM, stream, body)
    return answer


def part(body):
    def answer(connection, stream):
        connection.send(HEADERS, END_HEADERS, stream, OK)
        connection.send(DATA, 0, stream, body)
    return answer


def refuse(code):
    return lambda connection, stream: connection.reset(stream, code)


def go_away(last=None, code=NO_ERROR):
    """last: the last stream that was processed; None: this one."""
    return lambda connection, stream: connection.go_away(stream if last is None else last, code)


def frame(kind, flags, payload, on_stream=True):
    return lambda connection, stream: connection.send(kind, flags, stream if on_stream else 0, payload)


def hang_up(connection, _stream):
    connection.sock.shutdown(socket.SHUT_RDWR)


def silent(_connection, _stream):
    """Takes the request and never says a word."""


def in_turn(*answers):
    def answer(connection, stream):
        for one in answers:
            one(connection, stream)
    return answer


def endless_head(connection, stream):
    """A head that never ends, in frames that each would be good."""
    line = b"\x00\x01x" + b"\x7f\x81\x7f" + b"y" * 16384  # a literal that is not indexed: its name, its length of 16384 bytes
    connection.send(HEADERS, 0, stream, OK)
    while True:
        for at in range(0, len(line), 8192):
            connection.send(CONTINUATION, 0, stream, line[at:at + 8192])


class Http2(http_server.Listening):
    """early: it answers as soon as a request's head is there, and takes nothing of its body."""

    def __init__(self, context, *answers, early=False):
        self.context, self.answers, self.early = context, list(answers), early
        self.requests, self.resets = [], []
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        super().__init__(listener)

    def note(self, where, what):
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait_for(self, true):
        with self.changed:
            if not self.changed.wait_for(true, DEADLINE_S):
                raise AssertionError(f"it does not come true: {self.requests} {self.resets}")

    def next(self):
        with self.changed:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def serve(self, plain, number):
        sock, connection = plain, None
        try:
            plain.settimeout(DEADLINE_S)
            sock = self.context.wrap_socket(plain, server_side=True)
            with self.changed:
                self.socks.add(sock)
            connection = Connection(self, sock, number)
            connection.serve()
        except OSError:
            pass
        finally:
            with self.changed:
                self.socks -= {plain, sock}
            for closing in filter(None, (connection and connection.stream, sock, plain)):
                closing.close()

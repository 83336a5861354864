"""HTTP servers of a test alone, on a free port of 127.0.0.1 or a unix socket: right ones (an echo, a model of the
Open Inference Protocol v2, chat completions as OpenAI has them) and wrong ones, chosen path by path.

    with Server() as server:
        server.on("/broken", reset_in_body, reply(b"whole"))   # first the one, from then on the other
        server.on("/v1/chat/completions", Chat(["Hel", "lo"]))
        ...
        server.requests   # what came, as JSON can hold it

An answer is a function of an Exchange: a request that has been read whole, and the connection for what is said to
it. Each connection has a thread. Nothing here sleeps: an answer that is to come late waits for a Gate, which the
test opens, or for its client to leave, and a test waits for what the server sees with Server.wait_for().
"""
import gzip
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import threading
import zlib
from pathlib import Path
from urllib.parse import urlsplit

DEADLINE_S = 60
REASONS = {200: "OK", 204: "No Content", 301: "Moved Permanently", 302: "Found", 307: "Temporary Redirect", 400: "Bad Request",
           401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 413: "Payload Too Large",
           422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
           503: "Service Unavailable", 504: "Gateway Timeout"}


class Gone(Exception):
    """The connection is at its end, by whomever."""


class Gate:
    """What an answer waits for: open() lets all through, step() one more."""

    def __init__(self):
        self.changed = threading.Condition()
        self.steps, self.is_open = 0, False

    def open(self):
        with self.changed:
            self.is_open = True
            self.changed.notify_all()

    def step(self, n=1):
        with self.changed:
            self.steps += n
            self.changed.notify_all()

    def wait(self):
        with self.changed:
            if not self.changed.wait_for(lambda: self.is_open or self.steps > 0, DEADLINE_S):
                raise Gone("the gate stays shut")
            self.steps -= not self.is_open


class Exchange:
    """A request and what is said to it. `request` is its entry in the server's list."""

    def __init__(self, server, sock, request, body):
        self.server, self.sock, self.request, self.body = server, sock, request, body
        self.keeps = request["headers"].get("connection", "").lower() != "close"

    def json(self):
        return json.loads(self.body)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.saw_gone()
            raise Gone(str(error)) from None

    def head(self, status=200, headers=(), length=None):
        """Headers of a body of that length; None: it comes in chunks."""
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in dict(headers).items()]
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def chunk(self, data):
        if data:
            self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.send(b"0\r\n\r\n")

    def reply(self, body=b"", status=200, headers=()):
        body = body.encode() if isinstance(body, str) else body
        self.head(status, headers, len(body))
        if self.request["method"] != "HEAD":
            self.send(body)

    def reset(self):
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone("reset")

    def wait_gone(self):
        """Until the client has left, which the request's `gone` tells too."""
        try:
            self.sock.settimeout(DEADLINE_S)
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.saw_gone()
        raise Gone("the client left")

    def saw_gone(self):
        self.server.note(self.request, gone=True)


# --- answers ------------------------------------------------------------------------------------------------------


def reply(body=b"", status=200, headers=()):
    return lambda exchange: exchange.reply(body, status, headers)


def reply_json(value, status=200, headers=()):
    return reply(json.dumps(value), status, {"Content-Type": "application/json", **dict(headers)})


def redirect(to, status=302):
    return reply(b"", status, {"Location": to})


def busy(after=None, status=503):
    """With Retry-After where it is told: seconds or a date."""
    return reply_json({"error": "no capacity"}, status, {} if after is None else {"Retry-After": after})


def echo(exchange):
    exchange.reply(exchange.body, headers={"Content-Type": exchange.request["headers"].get("content-type", "text/plain")})


def raw(data, then_reset=False):
    """Those bytes as they are, then the end of the connection."""
    def answer(exchange):
        exchange.send(data)
        exchange.reset() if then_reset else exchange.server.hang_up(exchange)
    return answer


reset_before_header = raw(b"", then_reset=True)
close_before_header = raw(b"")
reset_in_header = raw(b"HTTP/1.1 200 OK\r\nContent-Le", then_reset=True)
close_in_header = raw(b"HTTP/1.1 200 OK\r\nContent-Le")
reset_in_body = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", then_reset=True)
close_in_body = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
close_in_chunks = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
short_length = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf and more")
bad_length = raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nbody")
negative_length = raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nbody")
two_lengths = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nhalf and more")
switched = raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbody")
packed_chunks = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + b"".join(
    b"%x\r\n%s\r\n" % (len(data), data) for data in (gzip.compress(bytes(4096)), b"")))
bad_chunk = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\nmore\r\n")
huge_chunk = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\nx")
no_http = raw(b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(256)))
old_http = raw(b"HTTP/0.9 what\r\n\r\n")
garbage_json = reply(b'{"outputs": [{"name": "x", \xff', headers={"Content-Type": "application/json"})


def endless_body(exchange):
    exchange.head()
    while True:
        exchange.chunk(b"x" * 65536)


def endless_header(exchange):
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.send(b"X-More: " + b"x" * 1000 + b"\r\n")


def huge_header(size=1 << 20):
    return raw(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * size + b"\r\nContent-Length: 2\r\n\r\nok")


def gzip_bomb(size=1 << 30):
    """A few bytes that become many: zeros, of which each MiB is the same deflated block. No sum ends it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head, block = packer.flush(zlib.Z_FULL_FLUSH), b""
    for _ in range(2): # the second one comes behind another, as all that follow
        block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
        head = head or block
    return reply(head + block * (size >> 20), headers={"Content-Encoding": "gzip"})


def held(gate, answer):
    """Only once the gate lets it."""
    def late(exchange):
        gate.wait()
        answer(exchange)
    return late


def held_body(gate, pieces, headers=()):
    """Headers at once, and each piece as the gate lets it."""
    def answer(exchange):
        exchange.head(200, headers)
        for piece in pieces:
            gate.wait()
            exchange.chunk(piece)
        exchange.end()
    return answer


def silent(exchange):
    """Takes the request and never says a word."""
    exchange.wait_gone()


def silent_body(data=b"", headers=()):
    """Headers, those bytes, and then never a word."""
    def answer(exchange):
        exchange.head(200, headers)
        exchange.chunk(data)
        exchange.wait_gone()
    return answer


# --- the Open Inference Protocol v2 -------------------------------------------------------------------------------


class Model:
    """A model of that protocol that answers with its inputs; binary ones in binary where the request wants that.
    Every path below /v2 is its own: server.under("/v2", Model())."""

    def __init__(self, name="echo", inputs=({"name": "x", "datatype": "FP32", "shape": [-1]},), ready=True):
        self.name, self.inputs, self.ready = name, list(inputs), ready

    def __call__(self, exchange):
        path = exchange.request["path"].rstrip("/")
        here = f"/v2/models/{self.name}"
        if path == "/v2":
            return reply_json({"name": "mock", "version": "1", "extensions": ["binary_tensor_data"]})(exchange)
        if path in ("/v2/health/live", "/v2/health/ready", here + "/ready"):
            return reply_json({"name": self.name, "ready": self.ready}, 200 if self.ready else 503)(exchange)
        if path == here:
            return reply_json({"name": self.name, "versions": ["1"], "platform": "mock", "inputs": self.inputs,
                               "outputs": self.inputs})(exchange)
        if path == here + "/infer" and exchange.request["method"] == "POST":
            return self.infer(exchange)
        return reply_json({"error": f"unknown model or path: {path}"}, 404)(exchange)

    def infer(self, exchange):
        try:
            request, left = self.read(exchange)
            outputs, binary = self.answer(request, left)
        except (ValueError, KeyError, TypeError) as error:
            return reply_json({"error": f"cannot read the request: {error}"}, 400)(exchange)
        answer = {"model_name": self.name, "model_version": "1", "outputs": outputs}
        if "id" in request:
            answer["id"] = request["id"]
        if not binary:
            return reply_json(answer)(exchange)
        text = json.dumps(answer).encode()
        return exchange.reply(text + binary, headers={"Content-Type": "application/octet-stream",
                                                      "Inference-Header-Content-Length": len(text)})

    @staticmethod
    def read(exchange):
        """The request's JSON and the binary data behind it."""
        length = exchange.request["headers"].get("inference-header-content-length")
        split = len(exchange.body) if length is None else int(length)
        return json.loads(exchange.body[:split]), exchange.body[split:]

    @staticmethod
    def answer(request, left):
        outputs, binary = [], b""
        wants = request.get("parameters", {}).get("binary_data_output", False)
        for tensor in request["inputs"]:
            output = {key: tensor[key] for key in ("name", "datatype", "shape")}
            size = tensor.get("parameters", {}).get("binary_data_size")
            if size is None:
                output["data"] = tensor["data"]
            else:
                data, left = left[:size], left[size:]
                if len(data) < size or not wants:
                    raise ValueError("binary data is missing" if len(data) < size else "its answer is in binary")
                output["parameters"] = {"binary_data_size": size}
                binary += data
            outputs.append(output)
        if left:
            raise ValueError(f"{len(left)} bytes belong to no input")
        return outputs, binary


# --- chat completions ---------------------------------------------------------------------------------------------


class Chat:
    """POST /v1/chat/completions as OpenAI documents it, streamed or not, as the request asks.

    pieces   what it says: strings, or a function of the request's JSON; None: the last message's words
    gate     each piece waits for it
    eol      what ends the lines of a stream: b"\\n", b"\\r\\n", b"\\r"
    split    bytes of a chunk of the stream; 0: an event a chunk
    noise    comments, events of other kinds, ids and retries between the pieces
    error    is said behind the pieces: an error object instead of the end
    finish   the reason; None: none is said
    done     whether [DONE] ends it
    key      a token that the request has to bring
    """

    def __init__(self, pieces=None, *, gate=None, eol=b"\n", split=0, noise=False, bom=False, error=None, finish="stop",
                 done=True, key=None):
        self.pieces, self.gate, self.eol, self.split, self.noise = pieces, gate, eol, split, noise
        self.bom, self.error, self.finish, self.done, self.key = bom, error, finish, done, key

    def __call__(self, exchange):
        said = exchange.request["headers"].get("authorization")
        if self.key is not None and said != f"Bearer {self.key}":
            return reply_json({"error": {"message": "Incorrect API key provided", "type": "invalid_request_error",
                                         "code": "invalid_api_key"}}, 401)(exchange)
        asked = exchange.json()
        pieces = self.pieces(asked) if callable(self.pieces) else self.pieces
        if pieces is None:
            pieces = asked["messages"][-1]["content"].split(" ")
            pieces = [word if last else word + " " for word, last in zip(pieces, [False] * (len(pieces) - 1) + [True])]
        usage = {"prompt_tokens": len(asked["messages"]), "completion_tokens": len(pieces),
                 "total_tokens": len(asked["messages"]) + len(pieces)}
        return (self.stream if asked.get("stream") else self.whole)(exchange, asked, pieces, usage)

    def whole(self, exchange, asked, pieces, usage):
        if self.error is not None:
            return reply_json({"error": self.error}, 500)(exchange)
        return reply_json({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
                           "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(pieces)},
                                        "finish_reason": self.finish}], "usage": usage})(exchange)

    def stream(self, exchange, asked, pieces, usage):
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
        exchange.head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        if self.bom:
            self.put(exchange, b"\xef\xbb\xbf")
        self.event(exchange, base | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""},
                                                  "finish_reason": None}]})
        for piece in pieces:
            if self.gate is not None:
                self.gate.wait()
            if self.noise:
                self.lines(exchange, b": keep-alive", b"", b"id: 7", b"retry: 3000", b"unknown: x", b"", b"event: ping",
                           b"data: {}", b"")
            self.event(exchange, base | {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        if self.error is not None:
            self.event(exchange, {"error": self.error})
        else:
            if self.finish is not None:
                self.event(exchange, base | {"choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]})
            if asked.get("stream_options", {}).get("include_usage"):
                self.event(exchange, base | {"choices": [], "usage": usage})
            if self.done:
                self.lines(exchange, b"data: [DONE]", b"")
        exchange.end()

    def event(self, exchange, value):
        self.lines(exchange, b"data: " + json.dumps(value, ensure_ascii=False).encode(), b"")

    def lines(self, exchange, *lines):
        self.put(exchange, b"".join(line + self.eol for line in lines))

    def put(self, exchange, data):
        size = self.split or len(data)
        for at in range(0, len(data), size):
            exchange.chunk(data[at:at + size])


# --- servers ------------------------------------------------------------------------------------------------------


class Listening:
    """Serves each connection by serve(), which a server has, in a thread of its own, until it is stopped."""

    def __init__(self, listener):
        self.connections = 0  # accepted
        self.changed = threading.Condition()
        self.socks, self.threads, self.stopping = set(), [], False
        self.listener = listener
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        with self.changed:
            self.stopping = True
            socks = list(self.socks)
        self.hush(self.listener)
        for sock in socks:
            self.hush(sock)
        self.accepting.join(DEADLINE_S)
        for thread in self.threads:
            thread.join(DEADLINE_S)
        self.listener.close()

    @staticmethod
    def hush(sock):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.changed:
                if self.stopping:
                    sock.close()
                    return
                self.connections += 1
                self.socks.add(sock)
                self.changed.notify_all()
                thread = threading.Thread(target=self.serve, args=(sock, self.connections), daemon=True)
                self.threads.append(thread)
            thread.start()


class Server(Listening):
    """tls: what Authority.context() gives. unix: a path to listen at instead of a port. host: an address, of IPv6 too."""

    def __init__(self, tls=None, unix=None, host="127.0.0.1"):
        self.tls, self.unix, self.host = tls, unix, host
        self.paths = {"/echo": [echo]}
        self.folders = {}
        self.requests = []    # of all connections, in the order in which they came
        self.refused = []     # why handshakes of TLS failed
        listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.bind(str(unix) if unix else (host, 0))
        listener.listen(128)
        self.port = 0 if unix else listener.getsockname()[1]
        super().__init__(listener)

    def stop(self):
        super().stop()
        if self.unix:
            os.unlink(self.unix)

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def on(self, path, *answers):
        """Each is given once, the last one for ever."""
        with self.changed:
            self.paths[path] = list(answers)

    def under(self, folder, answer):
        with self.changed:
            self.folders[folder] = answer

    def wait_for(self, true):
        """Until true(self) is; it is asked whenever something has come or gone."""
        with self.changed:
            if not self.changed.wait_for(lambda: true(self), DEADLINE_S):
                raise AssertionError(f"it does not come true: {json.dumps(self.requests)}")

    def wait_requests(self, n):
        self.wait_for(lambda server: len(server.requests) >= n)

    def wait_gone(self, n=1):
        """Until that many clients have left in the middle of an answer."""
        self.wait_for(lambda server: sum(request["gone"] for request in server.requests) >= n)

    def note(self, request, **more):
        with self.changed:
            request.update(more)
            self.changed.notify_all()

    # -- a connection

    def serve(self, plain, number):
        sock, stream = plain, None
        try:
            plain.settimeout(DEADLINE_S)
            if not self.unix:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.shake_hands(plain)
            stream = sock.makefile("rb")
            while (exchange := self.next(sock, stream, number)) is not None:
                self.answer_of(exchange.request["path"])(exchange)
                if not exchange.keeps:
                    break
            self.hush(sock)
        except (Gone, OSError, ValueError): # the last: what came is no HTTP
            pass
        finally:
            with self.changed:
                self.socks.discard(plain)
                self.socks.discard(sock)
                self.changed.notify_all()
            for closing in filter(None, (stream, sock, plain)):
                closing.close()

    def shake_hands(self, plain):
        try:
            sock = self.tls.wrap_socket(plain, server_side=True)
        except OSError as error:
            with self.changed:
                self.refused.append(str(error))
                self.changed.notify_all()
            raise Gone(str(error)) from None
        with self.changed:
            self.socks.add(sock)
        return sock

    @staticmethod
    def hang_up(exchange):
        """FIN, once the client has all: what it still sends is read, since a close over it would be a reset."""
        exchange.sock.shutdown(socket.SHUT_WR)
        while select.select([exchange.sock], [], [], DEADLINE_S)[0] and exchange.sock.recv(65536):
            pass
        raise Gone("closed")

    def answer_of(self, path):
        with self.changed:
            answers = self.paths.get(path)
            if answers:
                return answers.pop(0) if len(answers) > 1 else answers[0]
            for folder, answer in self.folders.items():
                if path == folder or path.startswith(folder + "/"):
                    return answer
        return reply_json({"error": f"no such path: {path}"}, 404)

    def next(self, sock, stream, number):
        """The next request, or None at the end of the connection."""
        line = stream.readline(65536)
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split()
        headers = {}
        while (line := stream.readline(65536)) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        parts = urlsplit(target)
        request = {"method": method, "path": parts.path, "query": parts.query, "headers": headers,
                   "connection": number, "gone": False}
        if "100-continue" in headers.get("expect", "").lower():
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.body(stream, headers)
        request["body"] = body.decode("utf-8", "backslashreplace")
        request["bytes"] = len(body)
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        return Exchange(self, sock, request, body)

    @staticmethod
    def body(stream, headers):
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return stream.read(int(headers.get("content-length", 0)))
        body = b""
        while (size := int(stream.readline().split(b";")[0], 16)) > 0:
            body += stream.read(size)
            stream.readline()
        while stream.readline().strip():
            pass
        return body


class Refusing:
    """A port at which nobody listens, and nobody else will: url."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


# --- certificates -------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of a test alone, by openssl, and servers' contexts with its certificates."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "ca.pem"
        self.make_root("ca", "/CN=a test's authority")

    def openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=DEADLINE_S, cwd=self.folder)

    def make_root(self, name, subject, *more):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2,
                     "-keyout", name + ".key", "-out", name + ".pem", "-subj", subject, *more)

    def context(self, name="good", names="IP:127.0.0.1,DNS:localhost", days=2, self_signed=False,
                alpn=("http/1.1",)):
        """For Server(tls=...). names: as subjectAltName has them; days -1: it has expired."""
        if self_signed:
            self.make_root(name, "/CN=nobody", "-addext", "subjectAltName=" + names)
        else:
            (self.folder / (name + ".ext")).write_text(f"subjectAltName={names}\n")
            self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                         name + ".key", "-out", name + ".csr", "-subj", "/CN=a test's server")
            self.openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                         "-days", days, "-extfile", name + ".ext", "-out", name + ".pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / (name + ".pem"), self.folder / (name + ".key"))
        context.set_alpn_protocols(list(alpn))
        return context

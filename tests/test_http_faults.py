#!/usr/bin/python3
"""Models behind URLs where HTTP/2 goes wrong, behind proxies, at addresses of other kinds, and runs that are ended in
each of their phases. MER_PREFIX names the installation. Prints TAP when run as a program."""
import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import http2_server as h2
import http_server
import record_case
import ssh_case
import test_http


class Http2(test_http.Http):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="mer-http-")
        cls.addClassCleanup(folder.cleanup)
        cls.authority = http_server.Authority(folder.name)
        cls.context = cls.authority.context(alpn=["h2"])

    def serve(self, name, *answers, options=()):
        server = h2.Http2(self.context, *answers)
        self.addCleanup(server.__exit__)
        self.add(name, "/x", "--max-workers", 1, *options, url=server.url, params=(f"ca_file={self.authority.file}",))
        return server

    def test_ends(self):
        """Each is one request whose run has failed, and what comes behind it works."""
        half = h2.part(b"half")
        rows = {
            "broken": (h2.refuse(h2.INTERNAL_ERROR), b""),
            "without a word": (h2.refuse(h2.NO_ERROR), b""),
            "go back to 1.1": (h2.refuse(h2.HTTP_1_1_REQUIRED), b""),
            "broken amid its answer": (h2.in_turn(half, h2.refuse(h2.INTERNAL_ERROR)), b"half"),
            "cancelled amid its answer": (h2.in_turn(half, h2.refuse(h2.CANCEL)), b"half"),
            "refused amid its answer": (h2.in_turn(half, h2.refuse(h2.REFUSED_STREAM)), b"half"),
            "gone": (h2.hang_up, b""),
            "gone amid its answer": (h2.in_turn(half, h2.hang_up), b"half"),
            "went away amid its answer": (h2.in_turn(half, h2.go_away(code=h2.INTERNAL_ERROR), h2.hang_up), b"half"),
            "went away before it": (h2.in_turn(h2.go_away(0), h2.hang_up), b""),
            "went away before it, and stays": (h2.go_away(0), b""),
            "went away over it": (h2.in_turn(h2.go_away(0, h2.PROTOCOL_ERROR), h2.hang_up), b""),
            "data of no stream": (h2.frame(h2.DATA, 0, b"x", False), b""),
            "data before its head": (h2.frame(h2.DATA, h2.END_STREAM, b"x"), b""),
            "no head": (h2.frame(h2.HEADERS, h2.END_HEADERS, b"\xff\xff\xff\xff\xff\xff"), b""),
            "a head without a status": (h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, b""), b""),
            "a promise": (h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, b"\0\0\0\2\x88"), b""),
            "too long a frame": (h2.frame(h2.DATA, 0, b"x" * 20000), b""),
            "an odd setting": (h2.frame(h2.SETTINGS, 0, b"odd", False), b""),
            "an endless head": (h2.endless_head, b""),
        }
        for n, (name, (answer, begun)) in enumerate(rows.items()):
            with self.subTest(name):
                server = self.serve(f"m{n}", answer, h2.whole(b"whole"))
                out, err = self.call(1, "--keep-going", "-c", f"run m{n} x", "-c", f"run m{n} y")
                self.assertRegex(err, f"the connection to server 'm{n}' was lost: .* .*")
                self.assertNotIn("callback", err)
                self.assertEqual(begun + b"whole", out)
                self.assertEqual(["ok", "failed"], [row["status"] for row in self.log("--limit", 2)])
                self.assertEqual(2, len(server.requests), server.requests)

    def test_not_begun(self):
        """Where the server says so a run has not reached its model: it is for --retries, and for other deployments."""
        refuses = h2.refuse(h2.REFUSED_STREAM)
        server = self.serve("m", refuses, h2.whole(b"whole"))
        self.refused(6, "cannot reach server 'm': it has refused the request", "run", "m", "x")
        self.assertEqual(1, len(server.requests))
        server = self.serve("again", refuses, h2.whole(b"whole"), options=("--retries", 1))
        self.assertEqual(b"whole", self.out("run", "again", "x"))
        self.assertEqual((2, 2), (self.last()["attempts"], len(server.requests)))
        self.call(0, "server", "add", "here", "--kind", "http", "--url", self.server.url + "/echo", "--param", "api=plain")
        self.serve("away", refuses)
        self.call(0, "deployment", "add", "away", "--server", "here", "--priority", 1)
        self.assertEqual(b"x", self.call(0, "run", "away", "x")[0])

    def test_not_begun_on_a_kept_connection(self):
        """Which libcurl does not tell from one that has broken: the run may have reached its model."""
        server = self.serve("m", h2.whole(b"a"), h2.refuse(h2.REFUSED_STREAM), h2.whole(b"c"))
        out, err = self.call(1, "--keep-going", "-c", "run m x", "-c", "run m y", "-c", "run m z")
        self.assertEqual((b"ac", [True, True, False]), (out, [connection == 1 for connection, _, _ in server.requests]))
        self.assertIn("the connection to server 'm' was lost: it ended before an answer", err)

    def test_server_that_goes_away(self):
        """It ends what it has begun; who comes next has another connection."""
        server = self.serve("m", h2.in_turn(h2.go_away(), h2.whole(b"a")), h2.whole(b"b"))
        self.assertEqual(b"a\nb\n", self.out("run", "--lines", "m", f"@{self.file('lines', 'x' + chr(10) + 'y' + chr(10))}"))
        self.assertEqual([(1, 1, 1), (2, 1, 1)], server.requests)

    def test_answer_before_the_input_was_read(self):
        server = h2.Http2(self.context, h2.in_turn(h2.whole(b"too much", h2.BAD_REQUEST), h2.refuse(h2.NO_ERROR)), early=True)
        self.addCleanup(server.__exit__)
        self.add("m", "/x", url=server.url, params=(f"ca_file={self.authority.file}",))
        self.refused(2, "answers 400: too much", "run", "m", f"@{self.file('input', b'x' * (4 << 20))}")

    def test_deadline_ends_the_stream_alone(self):
        server = self.serve("m", h2.silent, h2.whole(b"b"))
        out, _ = self.call(7, "--keep-going", "-c", "run m a --timeout 300ms", "-c", "run m b")
        self.assertEqual(b"b", out)
        server.wait_for(lambda: (1, 1) in server.resets)
        self.assertEqual([(1, 1, 1), (1, 3, 1)], server.requests)

    def test_server_that_refuses_for_ever(self):
        """What has no body may be asked again, since it says that it has not begun; not for ever."""
        server = self.serve("m", h2.refuse(h2.REFUSED_STREAM))
        self.refused(6, "server 'm'", "server", "ping", "m")
        self.assertLessEqual(len(server.requests), 10)


class Proxies(test_http.Http):
    """As curl has them; what a proxy is told is told to nobody else."""
    SECRET = "pr0xy-s3cret"

    def kept(self, *said):
        """What anybody could read later."""
        files = b"".join(path.read_bytes() for path in self.folder.glob("mer.db*"))
        return "".join(said) + str(self.log()) + self.out("export").decode() + files.decode("latin-1")

    def tell_nobody(self, *said):
        all_said = self.kept(*said)
        self.assertNotIn(self.SECRET, all_said)
        self.assertNotIn(base64.b64encode(f"user:{self.SECRET}".encode()).decode(), all_said)

    def test_credentials(self):
        self.add("m", "/echo", url="http://nowhere.invalid", params=("api_key=env:KEY",))
        url = self.server.url.replace("//", f"//user:{self.SECRET}@")
        out, err = self.call(0, "--log", "debug", "run", "m", "x", env={"http_proxy": url, "KEY": "k3y"})
        self.assertEqual(b"x", out)
        headers = self.posts()[0]["headers"]
        want = "Basic " + base64.b64encode(f"user:{self.SECRET}".encode()).decode()
        self.assertEqual((want, "Bearer k3y"), (headers["proxy-authorization"], headers["authorization"]))
        self.tell_nobody(err)

    def test_key_is_not_for_the_proxy(self):
        """Of https:// it knows the host alone."""
        self.add("m", "/echo", url="https://nowhere.invalid", params=("api_key=env:KEY",))
        url = self.server.url.replace("//", f"//user:{self.SECRET}@")
        _, err = self.call(6, "--log", "debug", "run", "m", "x", env={"https_proxy": url, "KEY": "k3y-s3cret"})
        self.assertIn("cannot reach server 'm'", err)
        (request,) = self.server.requests
        self.assertEqual(("CONNECT", ""), (request["method"], request["body"]))
        self.assertIn("proxy-authorization", request["headers"])
        self.assertNotIn("authorization", request["headers"])
        self.tell_nobody(err)

    def test_that_are_none(self):
        self.add("m", "/echo", url="http://nowhere.invalid")
        with http_server.Refusing() as nobody:
            rows = [nobody.url.replace("//", f"//user:{self.SECRET}@"), f"http://user:{self.SECRET}@h:port", f"user:{self.SECRET}@h:99999",
                    f"odd://user:{self.SECRET}@h", f"http://user:{self.SECRET}@", f"http://user:{self.SECRET}/x@h", f"http://u'{self.SECRET}'@h:p"]
            for url in rows:
                for words in (("run", "m", "x"), ("server", "ping", "m")):
                    with self.subTest(url, words=words):
                        _, err = self.call(6, "--log", "debug", *words, env={"http_proxy": url})
                        self.assertRegex(err, "cannot reach server 'm': .* .*")
                        self.tell_nobody(err)

    def test_no_proxy(self):
        self.add("m", "/echo")
        with http_server.Refusing() as nobody:
            for value, code in (("127.0.0.1", 0), ("*", 0), ("elsewhere.example,127.0.0.1", 0), ("", 6), ("elsewhere.example", 6)):
                for name in ("no_proxy", "NO_PROXY"):
                    with self.subTest(value, name=name):
                        self.call(code, "run", "m", "x", env={"http_proxy": nobody.url, name: value})


class Addresses(test_http.Http):
    def test_ipv6(self):
        try:
            server = http_server.Server(host="::1")
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        self.addCleanup(server.stop)
        self.add("m", "/echo", url=server.url, params=("api_key=env:KEY",))
        self.assertEqual(b"x", self.out("run", "m", "x", env={"KEY": "k3y"}))
        self.assertEqual(f"[::1]:{server.port}", server.requests[0]["headers"]["host"])

    def test_that_are_none(self):
        for url in ("http://[::1", "http://[::g]", "http://[]:1", "http://[::1]x", "http://[::1]:", "http://::1/x", "http://h:",
                    "http://h:port/x", "http://h:0", "http://h:65536", "http://h:1:2", "http://:80", "http://h:-1"):
            with self.subTest(url):
                self.refused(2, f"--url: '{url}' has no good host and port", "server", "add", "s", "--kind", "http", "--url", url)
        for n, url in enumerate(("http://[::1]", "http://[fe80::1%25lo]:1/x", "https://h:65535/", "http://a.b", "http://{model}:80")):
            self.call(0, "server", "add", f"s{n}", "--kind", "http", "--url", url)

    def test_name_is_told(self):
        """SNI has the name that the URL has, and an address is none."""
        with tempfile.TemporaryDirectory(prefix="mer-http-") as folder:
            authority, names = http_server.Authority(folder), []
            context = authority.context()
            context.sni_callback = lambda _sock, name, _context: names.append(name)
            with http_server.Server(tls=context) as server:
                for name, url in (("m", server.url), ("n", server.url.replace("127.0.0.1", "localhost"))):
                    self.add(name, "/echo", url=url, params=(f"ca_file={authority.file}",))
                    self.assertEqual(b"x", self.out("run", name, "x"))
            self.assertEqual([None, "localhost"], names)

    def test_redirect_to_another_host(self):
        """Neither the key nor the input is for whoever a server names."""
        with http_server.Server() as other:
            self.add("m", "/moved", params=("api_key=env:KEY",))
            for status in (301, 302, 303, 307, 308):
                with self.subTest(status):
                    self.server.on("/moved", http_server.redirect(f"{other.url}/echo", status))
                    _, err = self.call(6, "run", "m", "x", env={"KEY": "k3y-s3cret"})
                    self.assertIn(f"answers {status}: it is at '{other.url}/echo', and redirects are not followed", err)
                    self.call(6, "server", "ping", "m", env={"KEY": "k3y-s3cret"})
            self.assertEqual((0, []), (other.connections, other.requests))


# Runs mer where the only name server says nothing, and ends it so once it has asked; prints mer's exit code.
MUTE = """
import signal, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mute.bind(("127.0.0.53", 53))
mute.settimeout(60)
for name, text in (("resolv.conf", "nameserver 127.0.0.53\\n"), ("nsswitch.conf", "hosts: dns\\n")):
    with open(name, "w") as file:
        file.write(text)
    subprocess.run(["mount", "--bind", name, f"/etc/{name}"], check=True)
mer = subprocess.Popen(sys.argv[2:])
mute.recv(512)
mer.send_signal(int(sys.argv[1]))
print(mer.wait(60))
"""


class Phases(test_http.Http):
    """A run that is interrupted, told to end, or out of time, in whatever it is waiting for."""
    WAYS = {"SIGINT": (signal.SIGINT, 130, "cancelled"), "SIGTERM": (signal.SIGTERM, 143, "cancelled"),
            "deadline": (None, 7, "timeout")}

    def each(self, there, *words):
        """there(): returns once the run has come so far."""
        for way, (number, code, status) in self.WAYS.items():
            with self.subTest(way):
                child = self.start("run", "m", *words, *(() if number else ("--timeout", "500ms")))
                there()
                if number:
                    child.send_signal(number)
                _, err = child.communicate(timeout=record_case.DEADLINE_S)
                self.assertEqual(code, child.returncode, err)
                self.assertEqual(status, self.last()["status"])

    def listen(self, backlog=16):
        listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.addCleanup(listener.close)
        listener.settimeout(record_case.DEADLINE_S)
        return listener, "127.0.0.1:%d" % listener.getsockname()[1]

    def test_name(self):
        self.add("m", "/x", url="http://models.example.org")
        alone = ["--user", "--map-root-user", "--mount", "--net"]
        if not shutil.which("ip") or subprocess.run(["unshare", *alone, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no namespaces of a user, or no ip")
        for way, (number, code, status) in self.WAYS.items():
            if number:
                with self.subTest(way):
                    out, _ = self.call(0, *alone, record_case.PYTHON, "-c", MUTE, int(number), record_case.MER, "run", "m", "x",
                                       program="unshare", env={"RES_OPTIONS": "timeout:10 attempts:2"})
                    self.assertEqual((code, status), (int(out), self.last()["status"]))

    def test_connect(self):
        """Nobody answers, since whoever listens has enough of those that wait."""
        listener, address = self.listen(backlog=0)
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:
            self.addCleanup(sock.close)
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        mine = {sock.getsockname()[1] for sock in waiting}
        want = ":%04X" % listener.getsockname()[1]

        def syn_sent():
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return any(row[2].endswith(want) and row[3] == "02" and int(row[1].rpartition(":")[2], 16) not in mine for row in rows)
        if not any(row.split()[2].endswith(want) and row.split()[3] == "02" for row in Path("/proc/net/tcp").read_text().splitlines()[1:]):
            self.skipTest("connections that nobody takes are answered here")
        self.add("m", "/x", url=f"http://{address}")
        self.each(lambda: self.assertTrue(ssh_case.wait_for(syn_sent)), "x")

    def test_tls(self):
        listener, address = self.listen()
        self.add("m", "/x", url=f"https://{address}")

        def hello():
            sock = listener.accept()[0]
            self.addCleanup(sock.close)
            self.assertEqual(b"\x16", sock.recv(1), "a handshake")
        self.each(hello, "x")

    def test_send(self):
        listener, address = self.listen()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.add("m", "/x", url=f"http://{address}")
        socks = []

        def begun():
            socks.append(listener.accept()[0])
            self.addCleanup(socks[-1].close)
            self.assertTrue(socks[-1].recv(1000))
        self.each(begun, f"@{self.file('much', bytes(64 << 20))}")
        for sock in socks:
            got = 0
            sock.settimeout(record_case.DEADLINE_S)
            try:
                while data := sock.recv(1 << 20):
                    got += len(data)
            except ConnectionResetError:
                pass
            self.assertLess(got, 64 << 20, "its connection was closed before all was sent")

    def test_answer(self):
        rows = {"wait": ("plain", "/m", http_server.silent, None),
                "body": ("plain", "/m", http_server.silent_body(b"some"), b"some"),
                "stream": ("openai", "/chat/completions", http_server.silent_body(
                    b'data: {"choices":[{"delta":{"content":"some"}}]}\n\n', {"Content-Type": "text/event-stream"}), b"some")}
        gone = 0
        for name, (api, path, answer, some) in rows.items():
            self.server.on(path, answer)
            self.add(name, "" if api == "openai" else path, api=api)
            for way, (number, code, status) in self.WAYS.items():
                with self.subTest(name, way=way):
                    gone += 1
                    child = self.start("run", name, "x", *(() if number else ("--timeout", "500ms")))
                    self.server.wait_requests(gone)
                    if some:
                        self.assertEqual(some, os.read(child.stdout.fileno(), 100))
                    if number:
                        child.send_signal(number)
                    child.communicate(timeout=record_case.DEADLINE_S)
                    self.assertEqual((code, status), (child.returncode, self.last()["status"]))
                    self.server.wait_gone(gone)


if __name__ == "__main__":
    record_case.main(__name__)

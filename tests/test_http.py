#!/usr/bin/python3
"""Models behind URLs as users see them, over servers that go right and wrong (http_server.py) and nginx.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import email.utils
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import http_server
import record_case
from http_server import reply, reply_json

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
MODULE = record_case.PREFIX / "lib" / "mer" / "http.so"


class Http(record_case.Record, unittest.TestCase):
    def setUp(self):
        if not MODULE.exists():
            self.skipTest("this build has no HTTP module")
        self.set_up(None)
        self.env = {name: value for name, value in self.env.items() if name.lower() not in PROXIES}
        self.env["MER_ALLOW_CHANGES"] = "1"
        self.server = http_server.Server()
        self.addCleanup(self.server.stop)

    def add(self, name="m", path="/echo", *options, url=None, api="plain", params=()):
        """A server and a model on it, of the same name."""
        words = [word for param in (f"api={api}", *params) for word in ("--param", param)]
        self.call(0, "server", "add", name, "--kind", "http", "--url", (url or self.server.url) + path, *words)
        self.call(0, "model", "add", name, "--server", name, *options)

    def add_oip(self, model, *options, name="m"):
        self.server.under("/v2", model)
        self.add(name, "", "--remote-model", "echo", *options, api="oip")

    def posts(self):
        return [request for request in self.server.requests if request["method"] == "POST"]

    def refused(self, code, message, *words, **options):
        out, err = self.call(code, *words, **options)
        self.assertIn(message, err)
        return out

    def last(self):
        return self.log("--limit", 1)[0]

    def most_memory(self, *words):
        """Runs mer; KiB that it had at most."""
        code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        return int(self.out("-c", code, record_case.MER, *words, program=record_case.PYTHON))


# Runs mer where the only name server says nothing; prints mer's exit code and how many queries it had.
MUTE = """
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mute.bind(("127.0.0.53", 53))
for name, text in (("resolv.conf", "nameserver 127.0.0.53\\n"), ("nsswitch.conf", "hosts: dns\\n")):
    with open(name, "w") as file:
        file.write(text)
    subprocess.run(["mount", "--bind", name, f"/etc/{name}"], check=True)
code = subprocess.run(sys.argv[1:]).returncode
mute.setblocking(False)
asked = 0
try:
    while mute.recv(512):
        asked += 1
except BlockingIOError:
    print(code, asked)
"""


class Plain(Http):
    def test_bytes_both_ways(self):
        self.add()
        for data in (b"hello\n", b"", bytes(range(256)), b"x" * (8 << 20)):
            with self.subTest(len(data)):
                path = self.file("input", data)
                self.assertEqual(data, self.out("run", "m", f"@{path}"))
                row = self.last()
                self.assertEqual(("ok", len(data), len(data), "m"),
                                 (row["status"], row["bytes_in"], row["bytes_out"], row["server"]))
                self.assertEqual(row["sha256_in"], row["sha256_out"])

    def test_what_is_sent(self):
        self.add("m", "/echo", params=("content_type=text/csv", "header.X-Team=blue", "header.X-Ref=env:TEAM_ID",
                                       "header.X-Text=text:env:NO", "api_key=env:THE_KEY"))
        self.out("run", "m", "1,2", env={"THE_KEY": "k3y-s3cret", "TEAM_ID": "t42",
                                         "TRACEPARENT": f"00-{'a1' * 16}-{'b2' * 8}-01"})
        (request,) = self.posts()
        headers = request["headers"]
        self.assertEqual(("text/csv", "blue", "t42", "env:NO", "Bearer k3y-s3cret", "1,2"),
                         (headers["content-type"], headers["x-team"], headers["x-ref"], headers["x-text"],
                          headers["authorization"], request["body"]))
        self.assertRegex(headers["traceparent"], r"\A00-(a1){16}-[0-9a-f]{16}-01\Z")
        self.assertNotIn("expect", headers)
        self.assertNotIn("accept-encoding", headers)

    def test_each_header_once(self):
        long = "text/" + "x" * 4000
        self.add("m", "/echo", params=(f"content_type={long}", "header.accept=text/x", "header.user-agent=mine",
                                       "header.Traceparent=own", "header.Authorization=env:WHO"))
        self.out("run", "m", "1", env={"WHO": "Basic eDp5", "TRACEPARENT": f"00-{'a1' * 16}-{'b2' * 8}-01"})
        headers = self.posts()[0]["headers"]
        self.assertEqual((long, "text/x", "mine", "own", "Basic eDp5"), tuple(
            headers[name] for name in ("content-type", "accept", "user-agent", "traceparent", "authorization")))
        rows = [(("header.Authorization=env:A", "api_key=env:B"), "--param header.Authorization: api_key sets that header"),
                (("header.X-A=1", "header.x-a=2"), "--param header.x-a: there is 'header.X-A' too"),
                (("header.Proxy-Authorization=env:A",), "--param header.Proxy-Authorization: mer sets that header itself"),
                (("header.CONTENT-TYPE=a/b",), "--param header.CONTENT-TYPE: mer sets that header itself")]
        for params, message in rows:
            with self.subTest(params):
                words = [word for param in params for word in ("--param", param)]
                self.refused(2, message, "server", "add", "s", "--kind", "http", "--url", self.server.url, *words)
        self.refused(2, "api_key sets that header", "server", "set", "m", "param=api_key=env:B")
        self.refused(6, "its value is empty", "run", "m", "1", env={"WHO": "  "})

    def test_model_in_url(self):
        self.server.under("/models", http_server.echo)
        self.add("m", "/models/{model}/predict", "--remote-model", "a b/c")
        self.assertEqual(b"x", self.out("run", "m", "x"))
        self.assertEqual("/models/a%20b%2Fc/predict", self.posts()[0]["path"])

    def test_key_is_nowhere(self):
        self.add(params=("api_key=env:THE_KEY",))
        self.server.on("/echo", reply(b"no", 401))
        env = {"THE_KEY": "k3y-s3cret"}
        _, err = self.call(6, "--log", "debug", "run", "m", "x", env=env)
        self.assertIn("server 'm' answers 401: no", err)
        said = err + json.dumps(self.shown()) + self.out("server", "show", "m", "--json").decode()
        said += self.out("export").decode()
        self.assertNotIn("k3y", said)
        self.assertNotIn(b"k3y", (self.folder / "mer.db").read_bytes())
        self.server.on("/echo", lambda exchange: exchange.reply(f"{'x' * 270} {exchange.request['headers']['authorization']}", 401))
        _, err = self.call(6, "run", "m", "x", env=env)
        self.assertIn("Bearer ****", err)
        self.assertNotIn("k3y", err + json.dumps(self.shown()), "where the server says it again")
        self.refused(6, "THE_KEY", "run", "m", "x")
        self.refused(6, "control characters", "run", "m", "x", env={"THE_KEY": "a\nX-Evil: b"})

    def test_nothing_is_inherited(self):
        """A command that leaves something behind would keep connections, and what libcurl has open for itself."""
        script = self.file("key.py", "import os\nfor fd in map(int, os.listdir('/proc/self/fd')):\n    try:\n"
                           "        print(fd, os.readlink(f'/proc/self/fd/{fd}')) if fd > 2 else None\n    except OSError:\n        pass\n")
        self.add()
        self.add("n", params=(f"api_key=cmd:{record_case.PYTHON} {script} >{self.folder}/seen; echo key",))
        self.assertEqual(b"abc", self.out("-c", "run m a", "-c", "run n b", "-c", "run m c"))
        self.assertEqual("", (self.folder / "seen").read_text())

    def test_one_connection(self):
        self.add("m", "/echo", "--max-workers", 1)
        lines = b"".join(b"%d\n" % i for i in range(50))
        self.assertEqual(lines, self.out("run", "--lines", "m", f"@{self.file('lines', lines)}"))
        self.assertEqual((50, 1), (len(self.posts()), self.server.connections))

    def test_parallel(self):
        gate = http_server.Gate()
        self.server.on("/late", http_server.held(gate, http_server.echo))
        self.add("m", "/late", "--max-workers", 4)
        lines = b"".join(b"%d\n" % i for i in range(8))
        child = self.start("run", "--lines", "--jobs", 8, "m", f"@{self.file('lines', lines)}")
        self.server.wait_requests(4)
        self.assertEqual(4, len(self.server.requests), "no more than max-workers")
        gate.open()
        self.assertEqual(lines, child.communicate(timeout=record_case.DEADLINE_S)[0])

    def test_streams(self):
        gate = http_server.Gate()
        self.server.on("/slow", http_server.held_body(gate, [b"one ", b"two"]))
        self.add("m", "/slow")
        child = self.start("run", "m", "x")
        gate.step()
        self.assertEqual(b"one ", os.read(child.stdout.fileno(), 100), "before the server says more")
        gate.open()
        self.assertEqual((b"two", b""), child.communicate(timeout=record_case.DEADLINE_S))

    def test_reader_that_waits(self):
        """What nobody reads is not kept in memory."""
        self.server.on("/much", http_server.endless_body)
        self.add("m", "/much", "--max-output", "64MiB")
        child = self.start("run", "m", "x")
        read = 0
        while read < 32 << 20:
            self.assertTrue(data := os.read(child.stdout.fileno(), 1 << 20), "it has not ended")
            read += len(data)
        high = int(next(line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
                        if line.startswith("VmHWM")).split()[1])
        if not record_case.SANITIZED:
            self.assertLess(high, 48 << 10, "KiB")
        out, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual((1, 64 << 20), (child.returncode, read + len(out)))
        self.assertIn(b"the output is over 67108864 bytes", err)
        self.server.wait_gone()

    def test_limit_while_nobody_reads(self):
        """What was held back until somebody reads may be what is too much."""
        self.server.on("/much", http_server.endless_body)
        self.add("m", "/much")
        for most in range(10000000, 16000000, 500000): # behind what mer keeps for its reader
            with self.subTest(most):
                self.call(0, "model", "set", "m", f"max-output={most}")
                child = self.start("run", "m", "x", "--timeout", "9s")
                read = 0
                while data := os.read(child.stdout.fileno(), 64): # slower than what comes
                    read += len(data)
                self.assertIn(b"the output is over", child.communicate(timeout=record_case.DEADLINE_S)[1])
                self.assertEqual((1, most), (child.returncode, read))

    def test_statuses(self):
        rows = [(400, 2), (401, 6), (403, 6), (404, 6), (405, 6), (408, 7), (410, 6), (413, 2), (415, 2), (422, 2), (418, 1),
                (429, 8), (500, 1), (501, 6), (502, 1), (503, 8), (504, 7), (304, 6)]
        self.add("m", "/status")
        bodies = {"text": (b"the words\nand more", "text/plain"), "oip": (b'{"error": "the words"}', "application/json"),
                  "openai": (b'{"error": {"message": "the words"}}', "application/json"),
                  "fastapi": (b'{"detail": [{"msg": "the words"}]}', "application/json")}
        for status, code in rows:
            for form, (body, content_type) in bodies.items():
                if form != "text" and status not in (400, 500):
                    continue
                with self.subTest(status=status, form=form):
                    self.server.on("/status", reply(body, status, {"Content-Type": content_type}))
                    words = ": the words\n" if status != 304 else "\n"
                    self.refused(code, f"server 'm' answers {status}{words}", "run", "m", "x")
        self.server.on("/status", reply(b"\x1b[31mred", 500))
        self.assertNotIn("\x1b", self.call(1, "run", "m", "x")[1])

    def test_redirects(self):
        """Who is named there learns of nothing, the key least of all."""
        other = http_server.Server()
        self.addCleanup(other.stop)
        self.add("m", "/moved", params=("api_key=env:KEY",))
        self.server.on("/moved", http_server.redirect(f"{other.url}/echo", 307))
        key = {"KEY": "k3y"}
        self.refused(6, f"answers 307: it is at '{other.url}/echo', and redirects are not followed", "run", "m", "x", env=key)
        self.assertEqual(1, len(self.server.requests))
        self.refused(6, "it answers 307", "server", "ping", "m", env=key)
        self.assertEqual([], other.requests)

    def test_set_and_document(self):
        self.add("m", "/echo", "--timeout", "7s", params=("header.X-A=b",))
        self.call(0, "server", "set", "m", f"url={self.server.url}/other", "param=header.X-A", "param=header.X-B=c")
        self.server.on("/other", reply(b"other"))
        self.assertEqual(b"other", self.out("run", "m", "x"))
        headers = self.posts()[0]["headers"]
        self.assertEqual((None, "c"), (headers.get("x-a"), headers.get("x-b")))
        self.refused(2, "a server of kind 'http' has no 'host' to set", "server", "set", "m", "host=h")
        self.refused(2, "--url: 'ftp://h' is no URL of a server", "server", "set", "m", "url=ftp://h")
        shown = json.loads(self.out("server", "show", "m", "--json"))
        self.assertEqual((f"{self.server.url}/other", {"api": "plain", "header.X-B": "c"}, None),
                         (shown["url"], shown["params"], shown["host"]))
        document = self.out("export")
        self.call(0, "model", "remove", "m")
        self.call(0, "server", "remove", "m")
        self.call(0, "apply", self.file("doc.yaml", document))
        self.assertEqual(document, self.out("export"))
        self.assertEqual(b"other", self.out("run", "m", "x"))

    def test_what_it_has_not(self):
        self.call(0, "server", "add", "s", "--kind", "http", "--url", self.server.url, "--param", "api=plain")
        for option in (["--env", "A=b"], ["--limit", "memory=1GiB"], ["--train", "true"], ["--protocol", "token"],
                       ["--shell"], ["--clean-env"], ["--", "cat"]):
            with self.subTest(option):
                what = "ARGV" if option[0] == "--" else option[0]
                self.refused(2, f"a model on a server of kind 'http' has no {what}", "model", "add", "x", "--server", "s", *option)
        self.refused(2, "is for --protocol token", "model", "add", "x", "--server", "s", "--ready-token", "R")

    def test_key_in_plain_text(self):
        rows = [("http://h.example.org/v1", True), ("HTTP://10.0.0.1:80", True), ("http://127.example.org", True),
                ("http://notlocalhost", True), ("http://[::2]:80/", True), ("http://localhost.example.org", True),
                ("https://h.example.org", False), ("http://127.8.9.1:80/x", False), ("http://LocalHost:80", False),
                ("http://a.localhost/", False), ("http://[::1]/", False)]
        for n, (url, warns) in enumerate(rows):
            for param in ("api_key=env:K", "header.X-Api-Key=file:/k", "header.X-Team=text:env:blue"):
                with self.subTest(url=url, param=param):
                    name, secret = f"s{n}{param[0]}{param[9]}", param.partition("=")[0]
                    _, err = self.call(0, "server", "add", name, "--kind", "http", "--url", url, "--param", param)
                    self.assertEqual(f"warn server: server '{name}': {secret} goes over the network in plain text: "
                                     "https:// keeps it secret\n" if warns and "text:" not in param else "", err)
        self.out("server", "set", "s0an", "url=https://h.example.org")
        self.assertIn("in plain text", self.call(0, "server", "set", "s0an", "url=http://h.example.org")[1])
        found = json.loads(self.call(0, "doctor", "--json")[0])
        self.assertEqual({f"s{n}{c}" for n in range(6) for c in ("an", "hA")}, {row["subject"] for row in found if row["check"] == "secrets"})

    def test_is_not_trained(self):
        self.add()
        data = self.file("data", "x")
        self.refused(2, "model 'm' is behind a URL, where mer trains nothing", "train", "m", "--dataset", data)
        self.call(0, "deployment", "add", "m", "--server", "local", "--priority", 1, "--", "cat")
        self.refused(2, "model 'm' has no train command", "train", "m", "--dataset", data)
        self.assertEqual([], self.server.requests)

    def test_proxy(self):
        self.add("m", "/echo", url="http://nowhere.invalid")
        self.assertEqual(b"x", self.out("run", "m", "x", env={"http_proxy": self.server.url}))
        self.assertEqual("nowhere.invalid", self.posts()[0]["headers"]["host"])

    def test_reference_of_a_key_that_fails(self):
        self.add(params=("api_key=file:/nonexistent/key",))
        self.refused(6, "/nonexistent/key", "run", "m", "x")
        self.refused(6, "/nonexistent/key", "server", "ping", "m")


class Faults(Http):
    def test_answer_before_the_input_was_read(self):
        """Its server resets the connection behind it, since there is input that it has not read."""
        def refuse(listener):
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=refuse, args=(listener,))
            thread.start()
            self.add("m", "/x", url=f"http://127.0.0.1:{listener.getsockname()[1]}")
            self.refused(2, "answers 413: too big", "run", "m", f"@{self.file('input', b'x' * (8 << 20))}")
            thread.join()

    def test_lost(self):
        """Each is one request, whose run has failed."""
        faults = ["reset_before_header", "close_before_header", "reset_in_header", "reset_in_body", "close_in_body",
                  "close_in_chunks", "bad_chunk", "huge_chunk", "no_http", "old_http", "bad_length", "two_lengths",
                  "negative_length", "switched", "packed_chunks"]
        self.add("m", "/fault")
        for fault in faults:
            with self.subTest(fault):
                self.server.on("/fault", getattr(http_server, fault))
                before = len(self.server.requests)
                _, err = self.call(1, "run", "m", "x")
                self.assertRegex(err, r"server 'm'.*: [^ ].*")
                self.assertEqual(1, len(self.server.requests) - before)
                self.assertEqual("failed", self.last()["status"])

    def test_a_kept_connection_that_breaks(self):
        """libcurl would send it a second time by itself."""
        self.server.on("/then", http_server.echo, http_server.close_before_header, http_server.echo)
        self.add("m", "/then", "--max-workers", 1)
        lines = self.file("lines", "a\nb\n")
        self.refused(1, "the connection to server 'm' was lost", "run", "--lines", "m", f"@{lines}")
        self.assertEqual(["a", "b"], [request["body"] for request in self.posts()])
        self.server.on("/then", http_server.echo, http_server.close_before_header, http_server.echo)
        self.call(0, "model", "set", "m", "retries=1")
        self.assertEqual(b"a\nb\n", self.out("run", "--lines", "m", f"@{lines}"))
        self.assertEqual(["a", "b", "a", "b", "b"], [request["body"] for request in self.posts()])
        self.assertEqual(2, self.last()["attempts"])

    def test_an_empty_body_is_not_sent_twice_either(self):
        self.server.on("/then", http_server.echo, http_server.close_before_header, reply(b"late"))
        self.add("m", "/then", "--max-workers", 1)
        self.call(1, "run", "--lines", "m", f"@{self.file('lines', 'a' + chr(10) + chr(10))}")
        self.assertEqual(["a", ""], [request["body"] for request in self.posts()])

    def test_nothing_of_an_answer_is_sent_again(self):
        self.server.on("/half", http_server.close_in_body, http_server.echo)
        self.add("m", "/half", "--retries", 3)
        out, err = self.call(1, "run", "m", "x")
        self.assertEqual(b"half", out)
        self.assertIn("was lost", err)
        self.assertEqual(1, len(self.posts()))

    def test_limits(self):
        rows = [("endless_body", "the output is over 1048576 bytes"), ("endless_header", "headers of its answer are over 65536 bytes"),
                ("huge_header", "server 'm'")]
        self.add("m", "/fault", "--max-output", "1MiB")
        for fault, message in rows:
            with self.subTest(fault):
                answer = getattr(http_server, fault)
                self.server.on("/fault", answer() if fault == "huge_header" else answer)
                self.refused(1, message, "run", "m", "x")
        framings = {"its length": reply(b"x" * (1 << 20)), "chunks": lambda exchange: (
                        exchange.head(), [exchange.chunk(b"x" * (1 << 18)) for _ in range(4)], exchange.end()),
                    "its end": http_server.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (1 << 20))}
        for framing, answer in framings.items():
            for most, code in ((1 << 20, 0), ((1 << 20) - 1, 1)):
                with self.subTest(framing, most=most):
                    self.call(0, "model", "set", "m", f"max-output={most}")
                    self.server.on("/fault", answer)
                    out, err = self.call(code, "run", "m", "x")
                    self.assertEqual((most, code == 1), (len(out), f"the output is over {most} bytes" in err))
        self.server.on("/fault", http_server.gzip_bomb(64 << 20))
        self.refused(1, "its answer is in 'gzip', which was not asked for", "run", "m", "x")
        self.server.on("/fault", lambda exchange: exchange.reply(b"e" * (4 << 20), 500))
        self.refused(1, "answers 500: eeee", "run", "m", "x")

    def test_timeout_and_cancel(self):
        self.server.on("/silent", http_server.silent)
        self.add("m", "/silent")
        self.refused(7, "gave no answer within 300ms", "run", "m", "x", "--timeout", "300ms")
        self.server.wait_gone(1)
        self.assertEqual("timeout", self.last()["status"])
        self.server.on("/silent", http_server.silent_body(b"some"))
        child = self.start("run", "m", "x")
        self.assertEqual(b"some", os.read(child.stdout.fileno(), 100))
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(130, child.returncode)
        self.server.wait_gone(2)
        self.assertEqual("cancelled", self.last()["status"])

    def test_name_that_nobody_answers_for(self):
        """A run's deadline does not wait for the resolver, which asks for A and AAAA, and later once more."""
        self.add("m", "/x", url="http://models.example.org")
        alone = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
        if not shutil.which("ip") or subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no namespaces of a user, or no ip")
        out, err = self.call(0, *alone[1:], record_case.PYTHON, "-c", MUTE, record_case.MER, "run", "m", "x", "--timeout", "1s",
                             program="unshare", env={"RES_OPTIONS": "timeout:10 attempts:2"})
        code, asked = map(int, out.split())
        self.assertEqual(7, code, err)
        self.assertIn(asked, (1, 2))

    def test_refused(self):
        with http_server.Refusing() as nobody:
            self.add("m", "/x", url=nobody.url)
            self.refused(6, "cannot reach server 'm'", "run", "m", "x")
            self.assertEqual(("failed", 1), (self.last()["status"], self.last()["attempts"]))
            self.refused(6, "cannot reach server 'm'", "model", "ping", "m")
            self.refused(6, "cannot reach server 'm'", "server", "ping", "m")
            self.call(0, "model", "set", "m", "retries=2")
            self.call(6, "run", "m", "x")
            self.assertEqual(3, self.last()["attempts"], "nothing was sent: it may be tried again")

    def test_elsewhere(self):
        """What surely was not taken goes to another deployment; what may have been does not."""
        self.call(0, "server", "add", "other", "--kind", "http", "--url", self.server.url + "/echo", "--param", "api=plain")
        with http_server.Refusing() as nobody:
            self.add("gone", "/x", url=nobody.url)
            self.add("busy", "/busy")
            self.add("lost", "/lost")
            self.add("here", "/busy")
            self.server.on("/busy", http_server.busy())
            self.server.on("/lost", http_server.close_before_header)
            for name in ("gone", "busy", "lost"):
                self.call(0, "deployment", "add", name, "--server", "other", "--priority", 1)
            self.call(0, "deployment", "add", "here", "--server", "local", "--priority", 1, "--", "tr", "a-z", "A-Z")
            for name in ("gone", "busy"):
                self.assertEqual(b"x", self.call(0, "run", name, "x")[0])
                self.assertEqual("other", self.last()["server"])
            self.call(1, "run", "lost", "x")
            self.assertEqual("lost", self.last()["server"])
            self.assertEqual(b"X", self.call(0, "run", "here", "x")[0])
            self.assertEqual("local", self.last()["server"])

    def gap(self, busy, code=0):
        """Seconds between a refusal and the next request."""
        came = []

        def timed(answer):
            return lambda exchange: (came.append(time.monotonic()), answer(exchange))
        self.server.on("/busy", timed(busy), timed(http_server.echo))
        lines = self.file("lines", "a\nb\n")
        self.call(code, "run", "--lines", "--keep-going", "--jobs", 1, "m", f"@{lines}")
        return came[1] - came[0]

    def test_busy(self):
        self.add("m", "/busy")
        self.server.on("/busy", http_server.busy(1), http_server.echo)
        self.refused(8, "answers 503: no capacity", "run", "m", "x")
        self.call(0, "model", "set", "m", "retries=1")
        self.server.on("/busy", http_server.busy(1), http_server.echo)
        self.assertEqual(b"x", self.out("run", "m", "x"))
        self.assertEqual(2, self.last()["attempts"])
        self.assertGreaterEqual(self.gap(http_server.busy(1)), 0.9)
        self.assertGreaterEqual(self.gap(http_server.busy(email.utils.formatdate(time.time() + 3, usegmt=True))), 1)
        self.call(0, "model", "set", "m", "retries=0")
        self.assertGreaterEqual(self.gap(http_server.busy(1), 8), 0.9, "who comes next waits too")
        self.call(0, "model", "set", "m", "retries=1")
        for after, words in ((5, ("--timeout", "2s")), (3600, ())):
            with self.subTest(after):
                before = len(self.posts())
                self.server.on("/busy", http_server.busy(after, 429), http_server.echo)
                self.refused(8, "answers 429", "run", "m", "x", *words)
                self.assertEqual(1, len(self.posts()) - before, "it would be too late, or too long")

    def test_odd_retry_after(self):
        """What is no time at all is a second; what is more than anybody waits is not waited for, however it is said."""
        self.add("m", "/busy", "--retries", 1)
        past, late = (email.utils.formatdate(time.time() + seconds, usegmt=True) for seconds in (-3600, 3600))
        for after, code in (("-5", 0), ("soon", 0), ("", 0), (past, 0), ("0x10", 0), ("100000", 8), ("9" * 18, 8), ("9" * 24, 8),
                            ("9" * 100, 8), (late, 8), ("Fri, 31 Dec 9999 23:59:59 GMT", 8)):
            with self.subTest(after):
                before = len(self.posts())
                self.server.on("/busy", http_server.busy(after), http_server.echo)
                self.call(code, "run", "m", "x")
                self.assertEqual(2 if code == 0 else 1, len(self.posts()) - before)

    def test_busy_for_longer_than_a_run_has(self):
        """It is refused at once, and its server left alone."""
        self.add("m", "/busy")
        self.server.on("/busy", http_server.busy(30))
        _, err = self.call(8, "--keep-going", "-c", "run m a --timeout 20s", "-c", "run m b --timeout 20s")
        self.assertEqual(["a"], [request["body"] for request in self.posts()])
        self.assertIn("model 'm' is busy: server 'm' has asked that nobody comes for ", err)
        row, before = self.log("--limit", 2)
        self.assertEqual(("rejected", 0, "failed", 1), (row["status"], row["attempts"], before["status"], before["attempts"]))
        self.call(0, "server", "add", "other", "--kind", "http", "--url", self.server.url + "/echo", "--param", "api=plain")
        self.call(0, "deployment", "add", "m", "--server", "other", "--priority", 1)
        out, _ = self.call(0, "-c", "run m a --timeout 20s", "-c", "run m b --timeout 20s")
        self.assertEqual(b"ab", out, "where there is another it goes there")


class Tls(Http):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="mer-http-")
        cls.addClassCleanup(folder.cleanup)
        cls.authority = http_server.Authority(folder.name)
        cls.foreign = http_server.Authority(Path(folder.name) / "foreign")

    def serve(self, context):
        server = http_server.Server(tls=context)
        self.addCleanup(server.stop)
        return server

    def test_verified(self):
        server = self.serve(self.authority.context())
        self.add("m", "/echo", url=server.url, params=(f"ca_file={self.authority.file}",))
        self.assertEqual(b"x", self.out("run", "m", "x"))
        lines = b"1\n2\n3\n"
        self.assertEqual(lines, self.out("run", "--lines", "m", f"@{self.file('lines', lines)}"))
        self.assertEqual(2, server.connections, "of two commands")

    def test_refused(self):
        rows = {"unknown": (self.authority.context("unknown"), self.foreign.file),
                "system": (self.authority.context("system"), None),
                "self-signed": (self.authority.context("self", self_signed=True), self.authority.file),
                "name": (self.authority.context("name", names="DNS:elsewhere.example"), self.authority.file),
                "expired": (self.authority.context("expired", days=-1), self.authority.file)}
        for name, (context, ca_file) in rows.items():
            with self.subTest(name):
                server = self.serve(context)
                self.add(name, "/echo", url=server.url, params=() if ca_file is None else (f"ca_file={ca_file}",))
                self.refused(6, f"cannot reach server '{name}': SSL", "run", name, "secret")
                self.refused(6, f"cannot reach server '{name}': SSL", "server", "ping", name)
                self.assertEqual([], server.requests, "nothing was sent")

    def test_no_tls_there(self):
        self.add("m", "/echo", url=self.server.url.replace("http:", "https:"))
        self.refused(6, "cannot reach server 'm'", "run", "m", "x")
        self.add("n", "/echo", url=self.serve(self.authority.context()).url.replace("https:", "http:"))
        self.refused(1, "server 'n'", "run", "n", "x")

    def test_ca_file_that_is_none(self):
        server = self.serve(self.authority.context())
        rows = {"missing": "/nonexistent/ca.pem", "empty": self.file("empty", b""), "garbage": self.file("garbage", bytes(range(256))),
                "half": self.file("half", self.authority.file.read_bytes()[:200]), "folder": self.folder}
        for name, file in rows.items():
            with self.subTest(name):
                self.add(name, "/echo", url=server.url, params=(f"ca_file={file}",))
                for words in (("run", name, "x"), ("server", "ping", name)):
                    self.refused(6, f"cannot reach server '{name}': error setting certificate file: {file}\n", *words)
        self.assertEqual([], server.requests)

    def test_ca_file_alone_is_trusted(self):
        """Not beside those of the system, which are another one in this namespace."""
        alone = ["unshare", "--user", "--map-root-user", "--mount"]
        if not Path("/etc/ssl/certs").is_dir() or subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no namespaces of a user, or no /etc/ssl/certs")
        certs = self.folder / "certs"
        certs.mkdir()
        system = http_server.Authority(self.folder / "system")
        system.make_root("ca", "/CN=the system's authority") # OpenSSL looks no further for the same name
        for name in ("ca.pem", "ca-certificates.crt"):
            shutil.copy(system.file, certs / name)
        subprocess.run(["openssl", "rehash", certs], check=True, capture_output=True)
        server = self.serve(system.context())
        self.add("system", "/echo", url=server.url)
        self.add("own", "/echo", url=server.url, params=(f"ca_file={self.authority.file}",))
        run = [*alone[1:], "sh", "-c", f"mount --bind {certs} /etc/ssl/certs && exec \"$0\" \"$@\"", record_case.MER, "run"]
        self.assertEqual(b"x", self.out(*run, "system", "x", program="unshare"))
        self.assertIn("cannot reach server 'own': SSL", self.call(6, *run, "own", "x", program="unshare")[1])


class JsonModel(http_server.Model):
    """One whose server has no extensions."""

    def __call__(self, exchange):
        if exchange.request["path"] == "/v2":
            return reply_json({"name": "mock", "version": "1", "extensions": []})(exchange)
        return super().__call__(exchange)


class Oip(Http):
    BYTES = [{"name": "x", "datatype": "BYTES", "shape": [-1]}]

    def infers(self):
        return [request for request in self.posts() if request["path"].endswith("/infer")]

    def test_tensors(self):
        for name, model in (("binary", http_server.Model()), ("json", JsonModel())):
            with self.subTest(name):
                self.add_oip(model, name=name)
                answer = json.loads(self.out("run", name, "--tensor", "x=[1,2.5,-3e30]"))
                self.assertEqual([{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2.5, -3e30]}],
                                 [output | {"data": [struct.unpack("f", struct.pack("f", value))[0] for value in output["data"]]}
                                  | {"data": [1, 2.5, -3e30]} for output in answer["outputs"]])
                sent = self.infers()[-1]
                self.assertEqual(name == "binary", "inference-header-content-length" in sent["headers"])
                self.assertEqual("application/octet-stream" if name == "binary" else "application/json",
                                 sent["headers"]["content-type"])
                request = {"id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [4, 5]}]}
                answer = json.loads(self.out("run", name, json.dumps(request)))
                self.assertEqual([4, 5], answer["outputs"][0]["data"])
                row = self.last()
                self.assertEqual((8, "ok"), (row["bytes_out"], row["status"]))

    def test_files(self):
        import numpy
        self.add_oip(http_server.Model(inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]))
        values = numpy.arange(1 << 20, dtype="float32").reshape(-1, 4)
        numpy.save(self.folder / "in.npy", values)
        self.assertEqual(b"", self.out("run", "m", "--tensor", "x=@in.npy", "-o", "x=@out.npy"))
        self.assertTrue((numpy.load(self.folder / "out.npy") == values).all())

    def test_many_values_in_json(self):
        """There is no tree of them, in answers nor in inputs."""
        import numpy
        self.add_oip(JsonModel(inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]))
        values = numpy.arange(3 << 19, dtype="float32").reshape(-1, 4)
        text = json.dumps({"outputs": [{"name": "x", "datatype": "FP32", "shape": [3 << 17, 4], "data": values.tolist()}]})
        self.server.on("/v2/models/echo/infer", reply(text, headers={"Content-Type": "application/json"}))
        for words in (("--tensor", "x=[[1,2,3,4]]"), ("@" + str(self.file("in", text.replace("outputs", "inputs"))),)):
            with self.subTest(words):
                kib = self.most_memory("run", "m", *words, "-o", "x=@out.npy")
                self.assertTrue((numpy.load(self.folder / "out.npy") == values).all())
                if not record_case.SANITIZED: # trees would take 60 MiB and more
                    self.assertLess(kib, (len(text) >> 10) * 4 + (24 << 10))

    def test_text(self):
        for name, model in (("binary", http_server.Model(inputs=self.BYTES)), ("json", JsonModel(inputs=self.BYTES))):
            self.add_oip(model, name=name)
            for text in (b"hello", "grüße\n".encode(), b"") + ((b"\xff\x00",) if name == "binary" else ()):
                with self.subTest(name=name, text=text):
                    self.assertEqual(text, self.out("run", name, f"@{self.file('in', text)}"))

    def test_contract(self):
        self.add_oip(http_server.Model())
        rows = [("y=[1]", "no such input: 'y'; the model takes x FP32 [-1]"), ("x:INT32=[1]", "input 'x' is INT32 [1], the model takes FP32 [-1]"),
                ("x=[[1],[2]]", "input 'x' is FP32 [2,1]"), ("x=[1,\"a\"]", "input 'x': data[1]")]
        for tensor, message in rows:
            with self.subTest(tensor):
                self.refused(2, message, "run", "m", "--tensor", tensor)
                self.assertEqual("rejected", self.last()["status"])
        self.assertEqual([], self.infers(), "none of them was sent")
        self.refused(2, "the model takes tensors: x FP32 [-1]", "run", "m", "hello")
        self.out("run", "m", "--tensor", "x=[1]")
        shown = json.loads(self.out("model", "show", "m", "--json"))
        self.assertEqual([{"name": "x", "datatype": "FP32", "shape": [-1]}], shown["inputs"])

    def test_a_proxy_that_knows_only_models(self):
        self.add_oip(JsonModel())
        self.server.on("/v2", reply(b"nothing here", 404))
        self.assertEqual([1], json.loads(self.out("run", "m", "--tensor", "x=[1]"))["outputs"][0]["data"])

    def test_pings(self):
        self.add_oip(http_server.Model())
        self.assertRegex(self.out("server", "ping", "m"), rb"\Am: ready in \d+ ms\n\Z")
        self.assertRegex(self.out("model", "ping", "m"), rb"\Am on m: ready in \d+ ms\n\Z")
        self.assertEqual(["/v2/health/ready", "/v2/models/echo/ready", "/v2/models/echo"],
                         [request["path"] for request in self.server.requests])
        self.server.under("/v2", http_server.Model(ready=False))
        self.refused(6, "server 'm' answers 503", "server", "ping", "m")
        self.refused(6, "server 'm' answers 503", "model", "ping", "m")
        self.call(0, "model", "add", "other", "--server", "m", "--remote-model", "nosuch")
        self.refused(6, "server 'm' answers 404: unknown model or path: /v2/models/nosuch", "run", "other", "x")

    def test_pings_of_a_busy_server(self):
        """One that says that it wants nobody now is there; a bare 503 is what a proxy says that finds none."""
        self.add_oip(http_server.Model())
        self.add("p", "/p")
        for status, after, code in ((503, None, 6), (503, 20, 8), (429, None, 8), (429, 20, 8)):
            for path, words in (("/v2/health/ready", ("server", "ping", "m")), ("/v2/models/echo/ready", ("model", "ping", "m")),
                                ("/p", ("server", "ping", "p"))):
                with self.subTest(status=status, after=after, words=words):
                    self.server.on(path, http_server.busy(after, status))
                    self.refused(code, f"answers {status}", *words)

    def test_busy_when_it_is_asked_for_its_model(self):
        self.add_oip(http_server.Model())
        run = ("run", "m", "--tensor", "x=[1]")
        for path in ("/v2", "/v2/models/echo"):
            self.server.on(path, http_server.busy(20, 429))
            self.refused(8, "server 'm' answers 429: no capacity", *run)
            self.server.on(path, http_server.busy(1), http_server.Model())
            self.call(0, "model", "set", "m", "retries=1")
            self.assertEqual([1], json.loads(self.out(*run))["outputs"][0]["data"])
            self.assertEqual(2, self.last()["attempts"])
            self.call(0, "model", "set", "m", "retries=0")
            self.server.on(path, http_server.Model())
        self.call(0, "deployment", "add", "m", "--server", "local", "--priority", 1, "--", "cat")
        self.server.on("/v2", http_server.busy(20, 429))
        self.call(0, "run", "m", "x")
        self.assertEqual("local", self.last()["server"])

    def test_ping_ends_on_interrupt(self):
        self.add_oip(http_server.Model())
        self.server.on("/v2/health/ready", http_server.silent)
        self.server.on("/v2/models/echo/ready", http_server.silent)
        for n, words in enumerate((("server", "ping", "m"), ("model", "ping", "m")), 1):
            with self.subTest(words):
                child = self.start(*words)
                self.server.wait_requests(n)
                child.send_signal(signal.SIGINT)
                child.communicate(timeout=record_case.DEADLINE_S)
                self.assertEqual(130, child.returncode)
                self.server.wait_gone(n)

    def test_answers_that_are_none(self):
        good = {"name": "x", "datatype": "FP32", "shape": [1]}
        binary = lambda header, body=b"", **more: (lambda exchange: exchange.reply(
            json.dumps(header).encode() + body, headers={"Inference-Header-Content-Length": len(json.dumps(header)), **more}))
        sized = lambda size: {"outputs": [good | {"parameters": {"binary_data_size": size}}]}
        rows = {
            "garbage": (http_server.garbage_json, "its answer"),
            "empty": (reply(b""), "its answer"),
            "no outputs": (reply_json({"error": "odd"}), "its answer has no outputs: odd"),
            "no data": (reply_json({"outputs": [good]}), "neither data nor"),
            "other shape": (reply_json({"outputs": [good | {"data": [1, 2]}]}), "its answer"),
            "datatype": (reply_json({"outputs": [good | {"datatype": "FP31", "data": [1]}]}), "FP31"),
            "deep": (reply(b"[" * 100000, headers={"Content-Type": "application/json"}), "its answer"),
            "size": (binary(sized(3), b"abc"), "does not fit"),
            "cut": (binary(sized(4), b"ab"), "its answer ends amid its tensors"),
            "more": (binary(sized(4), b"abcdef"), "goes on behind its tensors"),
            "negative": (binary(sized(-4)), "its answer"),
            "header": (lambda exchange: exchange.reply(b"{}", headers={"Inference-Header-Content-Length": 9}), "amid its JSON"),
            "huge header": (lambda exchange: exchange.reply(b"{}", headers={"Inference-Header-Content-Length": 1 << 40}), "before its binary data"),
            "both": (binary({"outputs": [good | {"data": [1]}, good | {"parameters": {"binary_data_size": 4}}]}, b"abcd"), "JSON and binary data"),
            "many": (reply(b'{"outputs":[' + b"0," * (2 << 20) + b"0]}", headers={"Content-Type": "application/json"}), "more than"),
        }
        self.add_oip(http_server.Model())
        for name, (answer, message) in rows.items():
            with self.subTest(name):
                self.server.on("/v2/models/echo/infer", answer)
                self.refused(1, message, "run", "m", "--tensor", "x=[1]")
        self.server.on("/v2/models/echo/infer", binary(sized(4), struct.pack("<f", 1.5)))
        self.assertEqual([1.5], json.loads(self.out("run", "m", "--tensor", "x=[1]"))["outputs"][0]["data"])

    def test_models_that_say_nothing_sensible(self):
        for name, body in (("list", b"[]"), ("garbage", b"{"), ("long", b'"' + b"x" * (5 << 20) + b'"')):
            with self.subTest(name):
                self.add_oip(http_server.Model(), name=name)
                self.server.on("/v2/models/echo", reply(body, headers={"Content-Type": "application/json"}))
                self.refused(6, f"server '{name}'", "run", name, "x")
        self.server.on("/v2/models/echo", reply_json({"inputs": [{"name": "x", "datatype": "TYPE_FP32", "shape": None}]}))
        request = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]})
        self.assertEqual([1], json.loads(self.out("run", "list", request))["outputs"][0]["data"])

    def test_an_example_before_it_is_ready(self):
        self.add_oip(http_server.Model(inputs=self.BYTES), "--test-input", "hello", "--test-output", "hello", "--test-on-start")
        self.assertEqual(b"x", self.out("run", "m", "x"))
        self.call(0, "model", "set", "m", "test-output=else")
        self.refused(6, "did not pass its test", "run", "m", "x")

    def test_lines(self):
        self.add_oip(http_server.Model(), "--max-workers", 2)
        request = json.dumps({"inputs": [{"name": "x", "data": [1]}]})
        path = self.file("lines", (request + "\n") * 20)
        out = self.out("run", "--lines", "m", f"@{path}", "--jobs", 4)
        self.assertEqual(20, len(out.splitlines()))
        self.assertEqual(20, len(self.infers()))
        self.assertLessEqual(self.server.connections, 2)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Peers(Http):
    """Servers that others have made."""

    def up(self, *ping):
        """Waits until a server answers."""
        for _ in range(600):
            child = self.start(*ping)
            if child.wait(record_case.DEADLINE_S) == 0:
                return
        self.fail("it does not come up")

    def test_http2(self):
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        if not os.access(nginx, os.X_OK):
            self.skipTest("there is no nginx")
        authority = http_server.Authority(self.folder / "ca")
        authority.context()
        port = free_port()
        self.file("nginx.conf", f"""
daemon off; master_process off; pid {self.folder}/nginx.pid; error_log {self.folder}/error.log;
events {{}}
http {{
    access_log off; client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
    uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s; client_max_body_size 100m;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {authority.folder}/good.pem; ssl_certificate_key {authority.folder}/good.key;
        location = /which {{ return 200 $server_protocol; }}
        location /v2 {{ proxy_pass {self.server.url}; proxy_http_version 1.1; }}
        location /echo {{ proxy_pass {self.server.url}; proxy_http_version 1.1; }}
    }}
}}
""")
        self.start("-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "error.log"), program=nginx)
        url, params = f"https://127.0.0.1:{port}", (f"ca_file={authority.file}",)
        self.add("which", "/which", url=url, params=params)
        self.up("server", "ping", "which")
        self.assertEqual(b"HTTP/2.0", self.out("run", "which", "x"))
        self.add("e", "/echo", "--max-workers", 4, url=url, params=params)
        big = os.urandom(4 << 20)
        self.assertEqual(big, self.out("run", "e", f"@{self.file('big', big)}"))
        lines = b"".join(b"%d\n" % i for i in range(100))
        self.assertEqual(lines, self.out("run", "--lines", "e", f"@{self.file('lines', lines)}", "--jobs", 4))
        self.server.under("/v2", http_server.Model())
        self.add("m", "", "--remote-model", "echo", url=url, api="oip", params=params)
        self.assertEqual([1], json.loads(self.out("run", "m", "--tensor", "x=[1]"))["outputs"][0]["data"])


if __name__ == "__main__":
    record_case.main(__name__)

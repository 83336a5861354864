#!/usr/bin/python3
"""What a call of a model behind a URL costs through mer, against a loop of curl_easy_perform(), in one run.

    bench/http.py [--runs N] [--bytes N] [--mer PATH]

An echo on the loopback that keeps connections; mer (run --lines) and the loop (http_loop.c, compiled here) have
one connection each, and a call in turn (A B A B ...), so that a drifting machine drifts for both. Prints medians
with [min max], and what mer is over the loop call by call: as a ratio, and in ms.
"""
import argparse
import os
import shlex
import socket
import statistics
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))


def answer(connection):
    """As little of HTTP as both of them need."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while more := connection.recv(1 << 16):
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        if end and len(body) >= length:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body[:length])
            data = body[length:]


class Echo:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.connections = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


class Lines:
    """A program at the end of two pipes: a line, and its answer."""

    def __init__(self, argv, line, env=None):
        self.line = line
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self):
        begin = time.perf_counter()
        self.process.stdin.write(self.line)
        self.process.stdin.flush()
        answered = self.process.stdout.readline()
        took = (time.perf_counter() - begin) * 1000
        if answered != self.line:
            raise SystemExit(f"{self.process.args[0]}: no echo")
        return took

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


def spread(values, digits=3):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"


def compile_loop(work):
    loop = os.path.join(work, "http_loop")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libcurl"], check=True, capture_output=True, text=True).stdout
    subprocess.run([os.environ.get("CC", "cc"), "-O2", os.path.join(HERE, "http_loop.c"), "-o", loop, *shlex.split(flags)], check=True)
    return loop


def start_mer(args, work, url, line):
    env = {"PATH": os.environ["PATH"], "HOME": work, "LANG": "C.UTF-8", "USER": "bench", "MER_ALLOW_CHANGES": "1"}
    for words in ([args.mer + "-migrate", "up", "--quiet"],
                  [args.mer, "server", "add", "echo", "--kind", "http", "--url", url, "--param", "api=plain"],
                  [args.mer, "model", "add", "echo", "--server", "echo"]):
        subprocess.run(words, env=env, check=True)
    return Lines([args.mer, "run", "--lines", "echo", "-"], line, env)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=2000, help="calls of each")
    parser.add_argument("--bytes", type=int, default=32, help="of an input")
    parser.add_argument("--mer", default="mer")
    args = parser.parse_args()
    line = b"x" * args.bytes + b"\n"
    with tempfile.TemporaryDirectory(prefix="mer-bench-http-") as work:
        server = Echo()
        who = {"mer": start_mer(args, work, server.url, line), "curl loop": Lines([compile_loop(work), server.url], line)}
        took = {name: [] for name in who}
        for turn in range(args.runs + 50):  # the first ones warm it up
            for name, one in who.items():
                ms = one.call()
                if turn >= 50:
                    took[name].append(ms)
        for one in who.values():
            one.close()
    mer, loop = took["mer"], took["curl loop"]
    for name, values in took.items():
        print(f"call  {name:10} {spread(values)} ms  n={len(values)}")
    print(f"call  mer to the loop {spread([a / b for a, b in zip(mer, loop)], 2)}, "
          f"over it {spread([a - b for a, b in zip(mer, loop)])} ms (wanted: at most 0.2)")
    print(f"connections {server.connections}, load {os.getloadavg()[0]:.1f}")


main()

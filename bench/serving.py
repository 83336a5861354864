#!/usr/bin/python3
"""What a call of a Python model costs through mer and through servers made for that, in one run.

    bench/serving.py [--calls N] [--turns N] [--mlserver VENV] [--litserve VENV] [--bentoml VENV]

A model that gives its tensor back, one client, one call after another. mer is `mer run --lines` at the
end of two pipes, recorded and with --no-record; a server is asked over one kept connection with a request
that was made once. Each is started in turn (A B C, A B C ...). A peer without its VENV, made with
`python3 -m venv` and `pip install mlserver 'uvloop<0.22'` (or litserve, or bentoml), is left out.

Prints of each: the median and the 99th percentile of a call, the time from its start to the first right
answer, and the memory of all its processes (PSS), and last the ratios to mer.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
MER = os.path.join(ROOT, "build", "mer", "bin", "mer")
PYTHON = "/usr/bin/python3"
START_S = 60

SDK_MODEL = """import mer
from typing import Annotated

@mer.model
def predict(x: Annotated[mer.Tensor, mer.Spec("FP32", [-1])]) -> mer.Tensor:
    return x

mer.serve()
"""
MLSERVER_MODEL = """from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

class Noop(MLModel):
    async def load(self):
        return True

    async def predict(self, request):
        x = request.inputs[0]
        y = ResponseOutput(name="y", shape=x.shape, datatype=x.datatype, data=x.data)
        return InferenceResponse(model_name=self.name, outputs=[y])
"""
LITSERVE_MODEL = """import sys
import litserve

class Noop(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["data"]

    def predict(self, x):
        return x

    def encode_response(self, x):
        return {"data": x}

if __name__ == "__main__":
    litserve.LitServer(Noop(), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
"""
BENTOML_MODEL = """import bentoml
import numpy

@bentoml.service
class Noop:
    @bentoml.api
    def predict(self, data: numpy.ndarray) -> numpy.ndarray:
        return data
"""


def floats(count):
    return [i / 8 for i in range(count)]  # exact in FP32


def oip(values):
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(values)],
                                   "data": values}]}, separators=(",", ":"))


def take_data(answer):
    """The numbers of an answer, whichever of the three ways it is written."""
    answer = json.loads(answer)
    if isinstance(answer, dict) and "outputs" in answer:
        answer = answer["outputs"][0]
    return answer["data"] if isinstance(answer, dict) else answer


def descendants(pid):
    found = [pid]
    for parent in found:
        for thread in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    return found


def memory_mib(pid):
    total = 0
    for process in descendants(pid):
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total / 1024


class Mer:
    """A mer at the end of two pipes."""

    def __init__(self, work, *options):
        home = os.path.join(work, "home")
        env = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "USER": "bench"}
        if not os.path.exists(home):
            os.mkdir(home)
            with open(os.path.join(work, "noop.py"), "w", encoding="ascii") as file:
                file.write(SDK_MODEL)
            subprocess.run([MER + "-migrate", "up", "--quiet"], env=env, check=True)
            subprocess.run([MER, "--allow-changes", "model", "add", "noop", "--protocol", "frame", "--",
                            PYTHON, os.path.join(work, "noop.py")], env=env, check=True)
        self.process = subprocess.Popen([MER, "run", "--lines", *options, "noop", "-"], env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def prepare(self, values):
        line = oip(values).encode() + b"\n"

        def call():
            self.process.stdin.write(line)
            self.process.stdin.flush()
            return self.process.stdout.readline()
        return call

    def close(self):
        self.process.stdin.close()
        if self.process.wait(10) != 0:
            sys.exit(f"serving: mer ended with {self.process.returncode}")
        self.process.stdout.close()


class Server:
    """A peer that listens on the loopback."""

    def __init__(self, argv, work, port, path, request):
        self.port, self.path, self.request = port, path, request
        self.work = work
        env = dict(os.environ, PYTHONPATH=work, BENTOML_DO_NOT_TRACK="True", BENTOML_HOME=work,
                   NO_PROXY="127.0.0.1", DO_NOT_TRACK="1")
        self.log = open(os.path.join(work, "log"), "ab")
        self.process = subprocess.Popen(argv, cwd=work, env=env, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        self.connection = None

    def prepare(self, values):
        body = self.request(values)

        head = (f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")
        request = (head + body).encode()

        def call():
            if self.connection is None:
                self.connection = socket.create_connection(("127.0.0.1", self.port), START_S)
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.sendall(request)
            return self.receive()
        return call

    def receive(self):
        """The body of an answer, which has a length; a client of no cost of its own."""
        got = b""
        while True:
            more = self.connection.recv(65536)
            if not more:
                raise OSError("the server closed the connection")
            got += more
            head, end, body = got.partition(b"\r\n\r\n")
            if not end:
                continue
            if head.split(b" ", 2)[1] != b"200":
                raise OSError(head.splitlines()[0].decode())
            length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
            if len(body) >= int(length[1]):
                return body

    def close(self):
        if self.connection is not None:
            self.connection.close()
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def data_request(values):
    return json.dumps({"data": values}, separators=(",", ":"))


def write(work, name, text):
    os.makedirs(work, exist_ok=True)
    with open(os.path.join(work, name), "w", encoding="ascii") as file:
        file.write(text)


def start_mlserver(venv, work):
    port = free_port()
    write(work, "noop.py", MLSERVER_MODEL)
    write(work, "model-settings.json", json.dumps({"name": "noop", "implementation": "noop.Noop"}))
    write(work, "settings.json", json.dumps({
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
        "debug": False, "parallel_workers": 0}))
    return Server([os.path.join(venv, "bin", "mlserver"), "start", work], work, port,
                  "/v2/models/noop/infer", oip)


def start_litserve(venv, work):
    port = free_port()
    write(work, "noop.py", LITSERVE_MODEL)
    return Server([os.path.join(venv, "bin", "python3"), os.path.join(work, "noop.py"), str(port)],
                  work, port, "/predict", data_request)


def start_bentoml(venv, work):
    port = free_port()
    write(work, "bento_noop.py", BENTOML_MODEL)
    return Server([os.path.join(venv, "bin", "bentoml"), "serve", "bento_noop:Noop", "--working-dir", work,
                   "--host", "127.0.0.1", "--port", str(port)], work, port, "/predict", data_request)


def first_answer(one, call, values):
    """Asks until the first right answer."""
    end = time.monotonic() + START_S
    while True:
        try:
            if take_data(call()) == values:
                return
            sys.exit("serving: a wrong answer")
        except OSError as error:
            one.connection = None
            if time.monotonic() > end or one.process.poll() is not None:
                sys.exit(f"serving: a peer that does not start ({error}); see {one.work}/log")
            time.sleep(0.005)  # nothing tells when a peer listens


def measure(start, calls):
    values = floats(4)
    begin = time.perf_counter()
    one = start()
    try:
        call = one.prepare(values)
        first_answer(one, call, values)
        ready = time.perf_counter() - begin
        for _ in range(calls // 10):
            call()
        times = []
        for _ in range(calls):
            before = time.perf_counter()
            call()
            times.append(time.perf_counter() - before)
        memory = memory_mib(one.process.pid)
    finally:
        one.close()
    times.sort()
    return {"p50": times[len(times) // 2] * 1e6, "p99": times[len(times) * 99 // 100] * 1e6,
            "ready": ready * 1e3, "memory": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    peers = {"mlserver": start_mlserver, "litserve": start_litserve, "bentoml": start_bentoml}
    for name in peers:
        parser.add_argument("--" + name, metavar="VENV")
    args = parser.parse_args()
    subprocess.run([os.path.join(ROOT, "scripts", "startMER.sh"), "version"], check=True,
                   stdout=subprocess.DEVNULL)
    work = tempfile.mkdtemp(prefix="mer-serving-")
    starts = {"mer": lambda: Mer(work), "mer --no-record": lambda: Mer(work, "--no-record")}
    for name, start in peers.items():
        if getattr(args, name):
            starts[name] = lambda name=name, start=start: start(getattr(args, name),
                                                                os.path.join(work, name))
    try:
        Mer(work).close()
        rows = [{name: measure(start, args.calls) for name, start in starts.items()}
                for _ in range(args.turns)]
    finally:
        shutil.rmtree(work)
    for name in starts:
        of = {key: statistics.median(row[name][key] for row in rows) for key in rows[0][name]}
        ratio = {key: statistics.median(row[name][key] / row["mer"][key] for row in rows) for key in of}
        print(f"{name:16} call {of['p50']:8.1f} us, p99 {of['p99']:8.1f}; ready {of['ready']:7.1f} ms; "
              f"{of['memory']:6.1f} MiB   ratio to mer {ratio['p50']:.1f}, ready {ratio['ready']:.1f}, "
              f"memory {ratio['memory']:.1f}  n={args.turns}x{args.calls}")


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Models on servers that others have made, from PyPI: MLServer (Open Inference Protocol v2) and LiteLLM (chat completions,
with a model that is a text in its configuration). MER_TEST_PEERS names the folder that scripts/make_peers.sh fills;
MER_PREFIX names the installation. Prints TAP when run as a program."""
import fcntl
import json
import os
import signal
import time
import unittest
from pathlib import Path

import record_case
import test_http
import test_http_openai

PEERS = os.environ.get("MER_TEST_PEERS")
KEY = "sk-5a8f2c9e71d64b03a1e7f9c2d8b6405e" # litellm refuses what is short


def program(name):
    """Waits for it where it is being made, which has an end."""
    if not PEERS:
        raise unittest.SkipTest(f"no {name}: 'scripts/make_peers.sh DIR' makes it, and MER_TEST_PEERS=DIR says where")
    folder = Path(PEERS) / name
    with open(Path(PEERS) / "lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    if not (folder / "made").exists():
        why = folder.with_suffix(".why")
        raise unittest.SkipTest(f"no {name} from PyPI: " + (why.read_text().strip() if why.exists() else "nobody has made it"))
    return folder / "bin" / name


class Peer:
    """Mixed into the cases of each."""

    def up(self, server, *ping):
        """Waits until it answers. It tells nobody when it listens."""
        end = time.monotonic() + 2 * record_case.DEADLINE_S
        while self.start("--quiet", *ping).wait(record_case.DEADLINE_S) != 0:
            self.assertIsNone(server.poll(), self.logged())
            self.assertLess(time.monotonic(), end, self.logged())

    def logged(self):
        return (self.folder / "server.log").read_text(errors="replace")[-3000:]

    def serve(self, path, *words, env):
        """In a group of its own, which ends with the test."""
        self.env.pop("PYTHONDONTWRITEBYTECODE", None) # it starts sooner the next time
        with open(self.folder / "server.log", "wb") as log:
            child = self.start(*words, program=path, stdout=log, stderr=log, start_new_session=True, env=env)
        self.addCleanup(os.killpg, child.pid, signal.SIGKILL)
        return child


class MLServer(Peer, test_http.Http):
    def test_all(self):
        path = program("mlserver")
        ports = [test_http.free_port() for _ in range(3)]
        self.file("model.py", """
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

class Double(MLModel):
    async def predict(self, payload):
        first = payload.inputs[0]
        values = list(first.data.root if hasattr(first.data, "root") else first.data.__root__)
        if values and values[0] < 0:
            raise ValueError("nothing below 0")
        return InferenceResponse(model_name=self.name, outputs=[
            ResponseOutput(name="y", shape=first.shape, datatype=first.datatype, data=[2 * value for value in values])])
""")
        self.file("model-settings.json", json.dumps({
            "name": "double", "implementation": "model.Double",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}))
        self.file("settings.json", json.dumps({
            "host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2],
            "parallel_workers": 0, "debug": False}))
        child = self.serve(path, "start", str(self.folder), env={"PATH": f"{path.parent}:{os.environ['PATH']}"})
        self.add("m", "", "--remote-model", "double", url=f"http://127.0.0.1:{ports[0]}", api="oip")
        self.up(child, "server", "ping", "m")
        self.up(child, "model", "ping", "m")
        answer = json.loads(self.out("run", "m", "--tensor", "x=[1,2.5]"))
        self.assertEqual(("y", [2, 5]), (answer["outputs"][0]["name"], answer["outputs"][0]["data"]))
        self.refused(2, "no such input: 'z'; the model takes x FP32 [-1]", "run", "m", "--tensor", "z=[1]")
        self.refused(1, "server 'm' answers 500", "run", "m", "--tensor", "x=[-1]")
        self.call(0, "model", "add", "none", "--server", "m")
        self.refused(6, "server 'm' answers 404", "model", "ping", "none")


class LiteLLM(Peer, test_http_openai.Case):
    def setUp(self):
        super().setUp()
        path, port = program("litellm"), test_http.free_port()
        config = self.file("litellm.yaml", "model_list:\n- model_name: big\n  litellm_params: {model: openai/x, api_key: none, "
                                           "mock_response: 'Hello from the other side, with some more words'}\n"
                                           "general_settings: {master_key: " + KEY + "}\n")
        self.env["KEY"] = KEY
        child = self.serve(path, "--config", config, "--port", port, "--host", "127.0.0.1",
                           env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"})
        self.add("m", "api_key=env:KEY", url=f"http://127.0.0.1:{port}/v1")
        self.up(child, "model", "ping", "m")

    def test_all(self):
        text = b"Hello from the other side, with some more words"
        self.assertEqual(text, self.out("run", "m", "x"))
        self.assertIn("usage: prompt_tokens=", self.shown()["stderr_tail"])
        self.assertEqual(text, self.out("run", "m", '{"messages":[{"role":"user","content":"x"}],"stream":false}'))
        self.call(0, "model", "add", "n", "--server", "m-server", "--remote-model", "absent")
        self.fails(6, "it has no model 'absent'", "model", "ping", "n")
        self.fails(2, "absent", "run", "n", "x")


if __name__ == "__main__":
    record_case.main(__name__)

"""The places that pages name, for tests/test_readme.py: hosts of example.org are servers of a test alone, started when a
page names one first."""
import os
import re
import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path

import postgres
import sshd
from http_server import Chat, Model, Server, reply_json

FLOWERS = ({"name": "flowers", "datatype": "FP32", "shape": [-1, 4]},)
PREFIX = Path(os.environ["MER_PREFIX"])


class Ssh:
    NAME = "gpu.example.org"

    def __init__(self, stack):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mer-ssh-"))
        self.server = sshd.Server(folder + "/server", {"infer": "/bin/sh"})
        stack.callback(self.server.stop)

    @staticmethod
    def missing():
        return sshd.missing()

    def put(self, text):
        return text.replace("--host " + self.NAME, shlex.join(self.server.params()))


class Http:
    NAME = "models.example.org"

    def __init__(self, stack):
        self.server = stack.enter_context(Server())
        self.server.under("/v2", Model("iris", FLOWERS))
        self.server.on("/v1/chat/completions", Chat())
        self.server.on("/v1/models", reply_json({"data": [{"id": "meta-llama/Llama-3.1-8B-Instruct"}]}))
        self.server.on("/generate", reply_json([{"generated_text": "and so on"}]))

    @staticmethod
    def missing():
        return None if (PREFIX / "lib" / "mer" / "http.so").exists() else "this build has no HTTP module"

    def put(self, text):
        return re.sub(rf"https://{re.escape(self.NAME)}(:\d+)?", self.server.url, text)


class Postgres:
    NAME = "db.example.org"

    def __init__(self, stack):
        self.server = stack.enter_context(postgres.Postgres())

    @staticmethod
    def missing():
        if not (PREFIX / "lib" / "mer" / "postgres.so").exists():
            return "this build has no Postgres module"
        return None if postgres.programs() else postgres.LACKING

    def put(self, text):
        """On its socket, where it asks for no password."""
        return re.sub(rf"postgres://(\w+)@{re.escape(self.NAME)}/(\w+)(?:\?sslmode=verify-full)?",
                      lambda found: self.server.url(found[2], user=found[1]), text)


class Places(ExitStack):
    """A context in which they are there."""

    def __init__(self):
        super().__init__()
        self.kinds = {kind.NAME: kind for kind in (Ssh, Http, Postgres)}
        self.started = {}

    def missing(self, text):
        """Why what a text names cannot be there, or None."""
        return next((why for name, kind in self.kinds.items() if name in text and (why := kind.missing())), None)

    def start(self, name):
        if name not in self.started:
            self.started[name] = self.kinds[name](self)
        return self.started[name]

    def put(self, text):
        """The text with where they are in the place of their names."""
        for name in self.kinds:
            if name in text:
                text = self.start(name).put(text)
        return text

#!/usr/bin/python3
"""Documents: `mer apply` makes the database what they say, `mer export` gives it back, and the JSON Schema that is
shipped knows each that is accepted. The first argument is the library that kills. MER_PREFIX names the installation.
Prints TAP when run as a program."""
import base64
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import jsonschema
import yaml

import postgres
from migrate_case import preloadable
from record_case import DEADLINE_S, MER, MIGRATE, PREFIX, SANITIZED, OnPostgres, OnSqlite, main

LIBRARY = preloadable(os.environ.get("MER_KILL_AT") or sys.argv.pop(1))
SOURCE = Path(os.environ["MER_SOURCE"])
SEED = int(os.environ.get("MER_TEST_SEED", "20261122"))
SCHEMA = json.loads((PREFIX / "share" / "mer" / "schema" / "apply.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
HEAD = "version: 1\nmodels:\n  m:\n    deployments:\n      d:\n        argv: [cat]\n"
ZEROS = "0" * 64


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Loader(yaml.SafeLoader):
    """What programs make of YAML, but for dates, which JSON has not, and for keys, which are texts there."""

    def construct_mapping(self, node, deep=False):
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: node.value)
Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, True))


def is_valid(text):
    """JSON is for a reader of JSON, since not all of it is YAML."""
    return VALIDATOR.is_valid(json.loads(text) if re.match(r'\{\s*"', text) else yaml.load(text, Loader))


# What is refused: code, place, message, document. Weights 'w' is a file.
REFUSED = [
    # the form
    (2, "1:1", "the document is empty", ""),
    (2, "2:1", "the document is empty", "# nothing\n"),
    (2, "1:1", "document is to be a map of its keys", "[]"),
    (2, "1:1", "document is to be a map of its keys", "hello"),
    (2, "1:1", "the document does not say its version", "models: {}"),
    (2, "1:10", "version is to be 1, as a number", "version: 2"),
    (2, "1:10", "version is to be 1, as a number", "version: '1'"),
    (2, "1:10", "version is to be 1, as a number", "version: [1]"),
    (2, "2:1", "'modles' is no key of a document", "version: 1\nmodles: {}\n"),
    (2, "2:9", "models is to be a map of names", "version: 1\nmodels: [a]\n"),
    (2, "2:8", "models is to be a map of names", "version: 1\nmodels:\n"),
    (2, "3:1", "not YAML: did not find expected node content while parsing a flow node", "version: 1\na: [b,"),
    (2, "2:1", "not YAML: found a tab character that violates indentation while scanning a plain scalar",
     "version: 1\n\t@"),
    (2, "2:8", "not YAML: control characters are not allowed", "version: 1\nmodels:\x01 {}\n"),
    (2, "1:11", "not YAML: invalid leading UTF-8 octet", b"version: 1\xff\n"),
    (2, "1:1", "not YAML: control characters are not allowed", b"\x00"),
    (2, "3:1", "a second document: one a file", "version: 1\n...\n---\nversion: 1\n"),
    (2, "2:9", "an anchor (&): write it out", "version: 1\nmodels: &a {}\n"),
    (2, "2:1", "an anchor (&): write it out", "version: 1\n&a models: {}\n"),
    (2, "2:9", "an alias (*): write it out", "version: 1\nmodels: *a\n"),
    (2, "2:9", "a tag (!): each key has its own type", "version: 1\nmodels: !!map {}\n"),
    (2, "1:10", "a tag (!): each key has its own type", "version: !!int 1\n"),
    (2, "3:3", "a merge key (<<): write it out", "version: 1\nmodels:\n  <<: {}\n"),
    (2, "3:1", "'version' is twice: first in FILE:1:1", "version: 1\nmodels: {}\nversion: 1\n"),
    (2, "2:17", "'a' is twice: first in FILE:2:10", "version: 1\nmodels: {a: {}, 'a': {}}\n"),
    (2, "2:1", "a key is one text", "version: 1\n[a]: b\n"),
    (2, "2:3", "a key is one text", "version: 1\n? {a: b}\n: c\n"),
    (2, "2:10", "a NUL character in a text", 'version: 1\nmodels: {"a\\0": {}}\n'),
    (2, "2:72", "the document is too deep", "version: 1\nmodels: " + "[" * 100 + "]" * 100),
    (2, "3:11", "not YAML: found undefined tag handle while parsing a node",
     "version: 1\nmodels:\n  iris:   !x!y {}\n"),
    # names and keys
    (2, "3:3", "bad model name 'a b': only letters, digits and . _ - may be in it",
     "version: 1\nmodels:\n  a b: {}\n"),
    (2, "3:3", "bad model name '': it is empty", "version: 1\nmodels:\n  '': {}\n"),
    (2, "3:5", "bad server name '-x': it must begin with a letter or a digit", "version: 1\nservers:\n    -x: {kind: local}\n"),
    (2, "3:3", "new model 'm' has no deployments", "version: 1\nmodels:\n  m: {summary: x}\n"),
    (2, "7:9", "'max_workers' is no key of a deployment", HEAD + "        max_workers: 2\n"),
    (2, "7:9", "'tiemout' is no key of a deployment", HEAD + "        tiemout: 2s\n"),
    (2, "7:9", "'name' is no key of a deployment", HEAD + "        name: x\n"),
    (2, "7:5", "'protocol' is no key of a model", HEAD + "    protocol: once\n"),
    (2, "8:11", "'sha' is no key of a version of weights", HEAD + "    weights:\n      1: {sha: x, path: w}\n"),
    (2, "3:12", "'hots' is no key of a server", "version: 1\nservers:\n  gpu: {   hots: x, kind: local}\n"),
    (2, "6:7", "deployment 'e' needs 'argv'", "version: 1\nmodels:\n  m:\n    deployments:\n"
     "      d: {argv: [cat]}\n      e: {timeout: 1s}\n"),
    (2, "3:3", "server 'x' needs 'kind'", "version: 1\nservers:\n  x: {}\n"),
    (2, "8:7", "version of weights '1' needs 'path'", HEAD + "    weights:\n      1: {state: active}\n"),
    # values
    (2, "7:18", "timeout: not a duration: 'soon'", HEAD + "        timeout: soon\n"),
    (2, "7:18", "timeout: '0s' is too small", HEAD + "        timeout: 0s\n"),
    (2, "7:18", "timeout is to be one text", HEAD + "        timeout: [1s]\n"),
    (2, "7:17", "timeout has no value", HEAD + "        timeout:\n"),
    (2, "7:18", "timeout has no value", HEAD + "        timeout: null\n"),
    (2, "7:18", "timeout has no value", HEAD + "        timeout: ~\n"),
    (2, "7:21", "max-output: not a size: '1MB'", HEAD + "        max-output: 1MB\n"),
    (2, "7:20", "max-queue: not a whole number: 'many'", HEAD + "        max-queue: many\n"),
    (2, "7:20", "max-queue: not a whole number: '1.5'", HEAD + "        max-queue: 1.5\n"),
    (2, "7:20", "max-queue is a number, which stands without quotes", HEAD + "        max-queue: '5'\n"),
    (2, "7:22", "max-workers: '0' is too small", HEAD + "        max-workers: 0\n"),
    (2, "7:18", "enabled is to be true or false, not 'no'", HEAD + "        enabled: no\n"),
    (2, "7:18", "enabled is to be true or false, not 'true'", HEAD + "        enabled: 'true'\n"),
    (2, "7:18", "enabled is to be true or false, not '1'", HEAD + "        enabled: 1\n"),
    (2, "7:19", "protocol: 'twice' is none of once, token, frame", HEAD + "        protocol: twice\n"),
    (2, "7:14", "env is to be a map of names and texts: {a: b}", HEAD + "        env: [A=b]\n"),
    (2, "7:15", "a name is to be not empty and without '='", HEAD + "        env: {A=b: c}\n"),
    (2, "7:18", "A is to be one text", HEAD + "        env: {A: [b]}\n"),
    (2, "7:18", "A has no value", HEAD + "        env: {A: }\n"),
    (2, "7:9", "--env: no name of a variable: 'A-B'", HEAD + "        env: {A-B: c}\n"),
    (2, "7:17", "no such limit: 'memroy'", HEAD + "        limit: {memroy: 1MiB}\n"),
    (2, "6:15", "argv is to be a list of texts: [a, b]", HEAD.replace("[cat]", "cat -u")),
    (2, "6:16", "argv is to be one text", HEAD.replace("cat]", "[cat]]")),
    (2, "6:21", "argv has no value", HEAD.replace("cat]", "cat, null]")),
    (2, "7:17", "limit 'memory': not a size: 'much'", HEAD + "        limit: {memory: much}\n"),
    (2, "6:15", "argv is to be a program and its arguments", HEAD.replace("[cat]", "[]")),
    (2, "6:15", "argv is to be a program and its arguments", HEAD.replace("[cat]", "['', a]")),
    (2, "7:16", "train is to be a list of texts: [a, b]", HEAD + "        train: make all\n"),
    (2, "7:9", "--ready-token is for --protocol token", HEAD + "        ready-token: R\n"),
    (2, "8:9", "--stateful is for a worker that stays", HEAD + "        keep-io: on\n        stateful: true\n"),
    (3, "7:9", "--server: there is no server 'nosuch'", HEAD + "        server: nosuch\n"),
    (2, "3:3", "a server of kind 'ssh' needs --host", "version: 1\nservers:\n  x: {kind: ssh}\n"),
    (2, "3:21", "a server of kind 'local' has no --host", "version: 1\nservers:\n  x:  {kind: local, host: h}\n"),
    (2, "3:3", "password holds a plain secret",
     "version: 1\nservers:\n  x: {kind: ssh, param: {password: hunter2}}\n"),
    (2, "3:3", "api_key holds a plain secret",
     "version: 1\nservers:\n  x: {kind: http, param: {api_key: hunter2}}\n"),
    # examples and feedback
    (2, "7:5", "an example has a --test-input and a --test-output", HEAD + "    test-input: x\n"),
    (2, "7:5", "--test-input: cannot open '", HEAD + "    test-input: '@nosuch'\n    test-output: x\n"),
    (2, "7:26", "base64 is to be base64 (RFC 4648, section 4)",
     HEAD + "    test-input: {base64: '!'}\n    test-output: x\n"),
    (2, "7:17", "test-input is to be a text, or {base64: ...}",
     HEAD + "    test-input: {base46: ''}\n    test-output: x\n"),
    (2, "7:5", "--test-on-start is for workers that stay: those of token and frame",
     HEAD + "    test-on-start: true\n    test-input: x\n    test-output: x\n"),
    (2, "7:25", "feedback-threshold: '6' is too large", HEAD + "    feedback-threshold: 6\n"),
    (2, "7:15", "feedback is to be true or false, not 'maybe'", HEAD + "    feedback: maybe\n"),
    # weights
    (2, "8:17", "path is to be not empty", HEAD + "    weights:\n      1: {path: ''}\n"),
    (2, "8:11", "--path: PATH", HEAD + "    weights:\n      1: {path: nosuch}\n"),
    (2, "8:28", "sha256 is to be 64 digits of 0-9 a-f", HEAD + "    weights:\n      1: {path: w, sha256: abc}\n"),
    (4, "8:20", "--sha256 is not that of the bytes, which is " + sha256(b"weights"),
     HEAD + f"    weights:\n      1: {{path: w, sha256: '{ZEROS}'}}\n"),
    (4, "8:20", "--bytes is not how many there are: 7", HEAD + "    weights:\n      1: {path: w, bytes: 8}\n"),
    (2, "8:27", "state: 'used' is none of candidate, active, retired",
     HEAD + "    weights:\n      1: {path: w, state: used}\n"),
    (2, "9:27", "a second active version of model 'm': the first is in FILE:8:27",
     HEAD + "    weights:\n      1: {path: w, state: active}\n      2: {path: w, state: active}\n"),
    (3, "8:20", "--parent: model 'm' has no weights '0' before",
     HEAD + "    weights:\n      1: {path: w, parent: '0'}\n"),
    (3, "8:20", "--parent: model 'm' has no weights '1' before",
     HEAD + "    weights:\n      1: {path: w, parent: '1'}\n"),
    (2, "8:29", "metrics is to be a map", HEAD + "    weights:\n      1: {path: w, metrics: [1]}\n"),
    (2, "7:14", "weights is to be a map of names", HEAD + "    weights: [w]\n"),
]
# What stands in for a wrong key: the hint.
HINTS = [
    (HEAD + "        max_workers: 2\n", "did you mean 'max-workers'?"),
    (HEAD + "        tiemout: 2s\n", "did you mean 'timeout'?"),
    (HEAD + "    deployment: {}\n", "did you mean 'deployments'?"),
    ("version: 1\nmodles: {}\n", "did you mean 'models'?"),
    (HEAD + "        zzzzzz: 1\n", "docs/apply.md and 'mer --print schema' tell the keys"),
    (HEAD + "        protocol: tokne\n", "did you mean 'token'?"),
    ("models: {}\n", "version: 1"),
    ("version: 1\nservers:\n  x: {kind: ssh, param: {password: hunter2}}\n",
     "say where it is: env:NAME, file:PATH or cmd:COMMAND"),
]


class Documents:
    """Mixed into the class of each kind."""

    def setUp(self):
        super().setUp()
        self.file("w", b"weights")

    def apply(self, *files, code=0, options=("--allow-changes",), data=None, **more):
        child = self.start(*options, "apply", *files, stdin=subprocess.PIPE, **more)
        out, err = child.communicate(data, timeout=DEADLINE_S)
        self.assertEqual(code, child.returncode, (files, out[-1000:], err))
        if code == 0:
            self.assertEqual(b"", err)
        return out.decode() if code == 0 else err.decode()

    def document(self, text, name="doc.yaml", **options):
        self.file(name, text)
        return self.apply(name, **options)

    def export(self, **options):
        return self.out("export", **options)

    def deployment(self, *words):
        return json.loads(self.out("deployment", "show", "--json", *words))

    def forget(self, *models):
        for name in models:
            self.change("model", "remove", name)


class Apply(Documents):
    def test_refused(self):
        before = self.export()
        for code, place, message, text in REFUSED:
            with self.subTest(text=text, message=message):
                self.file("bad.yaml", text)
                for options in (("--allow-changes",), ()):
                    more = ["--dry-run"] if not options else []
                    err = self.apply("bad.yaml", *more, code=code, options=options).splitlines()[0]
                    want = f"mer: bad.yaml:{place}: {message}".replace("FILE", "bad.yaml")
                    self.assertEqual(want, err[:len(want)])
        self.assertEqual(before, self.export(), "what is refused changes nothing")

    def test_hints(self):
        for text, hint in HINTS:
            with self.subTest(text=text):
                err = self.document(text, code=2)
                self.assertEqual(f"hint: {hint}", err.splitlines()[1], err)

    def test_nothing_is_half_done(self):
        """What comes before the mistake is not there, whichever file it is in."""
        before = self.export()
        self.file("a.yaml", HEAD)
        self.file("b.yaml", HEAD.replace(" m:", " n:") + "        server: nosuch\n")
        err = self.apply("a.yaml", "b.yaml", code=3)
        self.assertIn("mer: b.yaml:7:9: --server: there is no server 'nosuch'", err)
        self.assertEqual(before, self.export())

    def test_permission(self):
        before = self.export()
        self.file("a.yaml", HEAD)
        self.assertEqual("mer: not allowed; start with --allow-changes\n", self.apply("a.yaml", code=4, options=()))
        self.assertEqual("+ model m\n+ deployment m/d\n", self.apply("a.yaml", "--dry-run", options=()))
        self.assertEqual("+ model m\n+ deployment m/d\n", self.apply("--dry-run", "a.yaml"))
        self.assertEqual(before, self.export(), "a dry run changes nothing")
        self.assertEqual("+ model m\n+ deployment m/d\n", self.apply("a.yaml"))

    def test_again(self):
        text = HEAD + """        protocol: token
        answer: line
        error-line: ["bad*", "x"]
        env: {A: no, B: "text:x y", C: "env:HOME"}
        limit: {memory: 64MiB, isolate: true}
        timeout: 90s
        train: [make, "it's", ""]
        clean-env: on
        priority: -3
        enabled: off
    summary: 1
    test-input: "in\\n"
    test-output: "out"
    test-tolerance: 1e-3
    test-on-start: true
    feedback: on
    weights:
      one: {path: w, state: active, metrics: {loss: 0.1, list: [1, x, null, true]}}
"""
        added = "+ model m\n+ deployment m/d\n+ weights m/one\n"
        self.assertEqual(added, self.document(text))
        after = self.export()
        self.assertEqual("nothing changed\n", self.apply("doc.yaml"))
        self.assertEqual("nothing would change\n", self.apply("doc.yaml", "--dry-run", options=()))
        self.assertEqual(b"[]\n", self.out("--allow-changes", "apply", "--json", "doc.yaml"))
        self.assertEqual(after, self.export())
        self.assertTrue(is_valid(text))
        shown = self.deployment("m")
        self.assertEqual(("token", "line", ["bad*", "x"], "90s", ["make", "it's", ""], True, -3, False, 1),
                         tuple(shown[key] for key in ("protocol", "answer", "error_line", "timeout", "train", "clean_env",
                                                      "priority", "enabled", "max_workers")))
        self.assertEqual({"A": "no", "B": "text:x y", "C": "env:HOME"}, shown["env"])
        self.assertEqual({"memory": "64MiB", "isolate": "true"}, {key: str(value).lower() if key == "isolate" else value
                                                                  for key, value in shown["limit"].items()})
        told = json.loads(after)["models"]["m"]
        self.assertEqual("1", told["summary"])
        self.assertEqual({"loss": 0.1, "list": [1, "x", None, True]}, told["weights"]["one"]["metrics"])
        self.assertEqual(True, told["feedback"])
        self.assertNotIn("feedback-threshold", told)

    def test_changes(self):
        """What is named becomes what the document says, with defaults for the rest; what is not stays."""
        self.document(HEAD + "        timeout: 5m\n        max-queue: 3\n      e: {argv: [true]}\n    summary: old\n")
        other = self.deployment("m", "e")
        text = HEAD + "        timeout: 1h\n        max-workers: 4\n        env: {A: b}\n"
        self.file("new.yaml", text)
        lines = ("~ model m: summary old -> \"\"\n~ deployment m/d: env {} -> {\"A\": \"b\"}\n"
                 "~ deployment m/d: timeout 5m -> 1h\n~ deployment m/d: max-workers default -> 4\n"
                 "~ deployment m/d: max-queue 3 -> 64\n")
        self.assertEqual(lines, self.apply("new.yaml", "--dry-run", options=()))
        rows = json.loads(self.out("apply", "--json", "--dry-run", "new.yaml"))
        self.assertEqual(["change", "kind", "name", "key", "old", "new"], list(rows[0]))
        self.assertIn({"change": "change", "kind": "deployment", "name": "m/d", "key": "max-workers", "old": None,
                       "new": 4}, rows)
        uid = self.deployment("m", "d")["uid"]
        self.assertEqual(lines, self.apply("new.yaml"))
        shown = self.deployment("m", "d")
        self.assertEqual((uid, "1h", 64, 4, {"A": "b"}),
                         tuple(shown[key] for key in ("uid", "timeout", "max_queue", "max_workers", "env")))
        self.assertEqual(other, self.deployment("m", "e"))
        self.assertEqual("nothing changed\n", self.apply("new.yaml"))
        rows = self.out("--allow-changes", "apply", "--jsonl", "doc.yaml").splitlines()
        self.assertEqual(5, len(rows))
        self.assertEqual(b"echoed", self.out("run", "--deployment", "d", "m", "echoed"))

    def test_example_is_taken_away(self):
        self.document(HEAD + "    test-input: x\n    test-output: x\n    feedback: on\n    train-after: 2\n")
        self.assertEqual("~ model m: test-input x -> default\n~ model m: test-output x -> default\n"
                         "~ model m: feedback true -> false\n~ model m: feedback-threshold 3 -> 0\n"
                         "~ model m: train-after 2 -> 0\n", self.document(HEAD))
        self.assertIsNone(json.loads(self.out("model", "show", "--json", "m"))["test_input"])

    def test_several_files(self):
        a, b = HEAD, HEAD.replace(" m:", " n:")
        self.file("a.yaml", a)
        self.file("b.json", json.dumps(yaml.load(b, Loader)))
        out = self.apply("a.yaml", "-", "b.json", data=b"version: 1\nservers: {gpu: {kind: local}}\n")
        self.assertEqual("+ server gpu\n+ model m\n+ deployment m/d\n+ model n\n+ deployment n/d\n", out)
        self.assertEqual("nothing changed\n", self.apply("b.json", "a.yaml"))
        err = self.apply("a.yaml", "a.yaml", code=2)
        self.assertEqual("mer: a.yaml:3:3: model 'm' is twice: first in a.yaml:3:3\n", err)
        err = self.apply("a.yaml", "-", code=2, data=a.encode())
        self.assertEqual("mer: stdin:3:3: model 'm' is twice: first in a.yaml:3:3\n", err)
        err = self.apply("-", "-", code=2, data=b"version: 1\nservers: {gpu: {kind: local}}\n")
        self.assertEqual("mer: stdin:1:1: the document is empty\n", err)
        self.file("s.yaml", "version: 1\nservers: {gpu: {kind: local}}\n")
        err = self.apply("s.yaml", "s.yaml", code=2)
        self.assertEqual("mer: s.yaml:2:11: server 'gpu' is twice: first in s.yaml:2:11\n", err)
        self.assertIn("FILE: cannot open 'nosuch'", self.apply("nosuch", code=2))
        self.assertIn("needs FILE", self.apply(code=2))
        child = self.start("--allow-changes", stdin=subprocess.PIPE)
        _, err = child.communicate(b"apply -\n", timeout=DEADLINE_S)
        self.assertEqual((2, b"mer: stdin:1: FILE -: stdin is where the commands come from\n"), (child.returncode, err))

    def test_servers(self):
        text = "version: 1\nservers: {here: {kind: local}}\n" + HEAD[11:] + "        server: here\n"
        self.file("a.yaml", text)
        lines = "+ server here\n+ model m\n+ deployment m/d\n"
        self.assertEqual(lines, self.apply("a.yaml", "--dry-run", options=()), "a new server is known at once")
        self.assertEqual(lines, self.apply("a.yaml"))
        self.assertEqual("here", self.deployment("m")["server"])
        self.assertEqual("~ deployment m/d: server here -> local\n", self.document(HEAD))
        self.sql("UPDATE servers SET kind = 'ssh' WHERE name = 'here'")
        err = self.apply("a.yaml", code=4)
        self.assertIn("mer: a.yaml:2:18: --kind of server 'here' is ssh, which it stays", err)

    def test_servers_that_change(self):
        self.document("version: 1\nservers: {far: {kind: ssh, host: a, user: me, param: {ConnectTimeout: 5}}}\n")
        text = "version: 1\nservers: {far: {kind: ssh, host: b, port: 2222, param: {ConnectTimeout: 7}}}\n"
        said = self.document(text)
        self.assertRegex(said, "~ server far: .*host a -> b")
        for key in ("port", "user", "param"):
            self.assertIn(key, said)
        far = json.loads(self.out("--json", "server", "show", "far"))
        self.assertEqual(("b", 2222, {"ConnectTimeout": "7"}), (far["host"], far["port"], far["params"]))
        self.assertIn(far["user"], (None, ""))
        self.assertEqual("nothing changed\n", self.document(text))

    def test_paths(self):
        """Are relative to the document, wherever mer is started."""
        (self.folder / "sub").mkdir()
        (self.folder / "sub" / "data").write_bytes(b"other")
        (self.folder / "sub" / "in").write_bytes(b"input")
        text = HEAD + ("        workdir: .\n        weights-dir: ./w/d\n      e: {argv: [cat], workdir: ../x}\n"
                       "      f: {argv: [cat], workdir: '{models}/iris', weights-dir: ''}\n      g: {argv: [cat], workdir: /}\n"
                       "    test-input: '@in'\n    test-output: '@@in'\n    weights: {1: {path: .//data}}\n")
        (self.folder / "sub" / "doc.yaml").write_text(text)
        self.apply("sub/doc.yaml")
        top = os.path.realpath(self.folder)
        shown = {name: self.deployment("m", name) for name in "defg"}
        self.assertEqual([f"{top}/sub", f"{top}/sub/../x", "{models}/iris", "/"], [shown[n]["workdir"] for n in "defg"])
        self.assertEqual([f"{top}/sub/w/d", None, None], [shown[n]["weights_dir"] for n in "deg"])
        weights, = json.loads(self.out("weights", "list", "--json", "m"))
        self.assertEqual((f"{top}/sub/data", sha256(b"other"), 5), (weights["path"], weights["sha256"], weights["bytes"]))
        model = json.loads(self.out("model", "show", "--json", "m"))
        self.assertEqual(("input", "@in"), (model["test_input"], model["test_output"]))
        self.assertEqual("nothing changed\n", self.apply("sub/doc.yaml"))
        with open(self.folder / "sub" / "doc.yaml", "rb") as stdin:
            err = self.start("--allow-changes", "apply", "--dry-run", "-", stdin=stdin).communicate(timeout=DEADLINE_S)[1]
        self.assertIn(b"mer: stdin:12:5: --test-input: cannot open", err, "stdin is where mer was started")

    def test_weights(self):
        def weights(text, code=0):
            return self.document(HEAD + "    weights:\n" + "".join(f"      {line}\n" for line in text), code=code)

        def states():
            return {row["version"]: row["state"] for row in json.loads(self.out("weights", "list", "--json", "m"))}

        good = sha256(b"weights")
        weights([f"3: {{path: w, parent: '2', sha256: {good}}}", "2: {path: w, parent: '10', state: active}",
                 "10: {path: w, state: retired, bytes: 7}"])
        self.assertEqual({"3": "candidate", "2": "active", "10": "retired"}, states())
        rows = {row["version"]: row for row in json.loads(self.out("weights", "list", "--json", "m"))}
        self.assertEqual(["2", "10", None], [rows[v]["parent"] for v in ("3", "2", "10")])
        self.assertEqual({good}, {row["sha256"] for row in rows.values()})
        self.assertEqual("nothing changed\n", self.apply("doc.yaml"))
        # what is not said of a version stays; another active one retires the first
        self.assertEqual("~ weights m/2: state active -> retired\n~ weights m/3: state candidate -> active\n",
                         weights(["3: {path: w, state: active}"]))
        self.assertEqual("nothing changed\n", weights(["3: {path: w}", "2: {path: w}"]))
        self.assertEqual("~ weights m/3: state active -> candidate\n", weights(["3: {path: w, state: candidate}"]))
        self.assertEqual({"3": "candidate", "2": "retired", "10": "retired"}, states())
        self.assertEqual("~ weights m/3: state candidate -> retired\n~ weights m/10: state retired -> active\n",
                         weights(["10: {path: w, state: active}", "3: {path: w, state: retired}"]))
        # a version is what it was
        self.file("other", b"others!")
        for line, key in ((f"3: {{path: w, sha256: {ZEROS}}}", "sha256"), ("3: {path: other}", "path"),
                          ("3: {path: w, bytes: 9}", "bytes"), ("3: {path: w, parent: '10'}", "parent"),
                          ("3: {path: w, metrics: {a: 1}}", "metrics")):
            column = 11 + line[4:].find(key)
            err = weights([line], code=4)
            self.assertIn(f"doc.yaml:8:{column}: --{key} of weights '3' of model 'm' is another one\nhint: ", err)
        self.file("w", b"Weights")
        self.assertIn("doc.yaml:8:7: weights '3' of model 'm' are not what was added", weights(["3: {path: w}"], code=4))
        (self.folder / "w").unlink()
        self.assertEqual("nothing changed\n", weights(["3: {path: w}"]), "what is there already may be elsewhere by now")
        self.assertEqual({"3": "retired", "2": "retired", "10": "active"}, states())

    def test_odd_texts(self):
        """JSON has some that YAML has not, and escapes of its own."""
        odd = "\x7f \x80 \x85 \xa0 \u2028 \u2029 \ufeff \ufffe \uffff \U0001f600 ünï \t \n \r \" \\ / ' # : - é"
        document = {"version": 1, "models": {"m": {"summary": odd, "deployments": {"d": {
            "argv": ["cat", odd, "", " ", "null", "~", "true", "1", "a: b", "- x", "&a", "*a", "!t", "#c", "%", "@", "`"],
            "env": {"A": odd}}}}}}
        for number, ascii_only in enumerate((True, False)):
            for indent in (None, 2):
                self.document(json.dumps(document, ensure_ascii=ascii_only, indent=indent), "odd.json")
                self.assertEqual(document["models"]["m"]["deployments"]["d"]["argv"], self.deployment("m")["argv"])
                self.assertEqual(odd, self.deployment("m")["env"]["A"])
                self.assertEqual(odd, json.loads(self.out("model", "show", "--json", "m"))["summary"])
                exported = self.export()
                self.assertEqual(odd, json.loads(exported)["models"]["m"]["summary"])
                self.file("export.json", exported)
                self.assertEqual("nothing changed\n", self.apply("export.json"))
                self.forget("m")
            self.assertIn("+ model m\n", self.apply("export.json"))
            self.assertEqual(exported, self.export(), number)
            self.forget("m")

    def test_bytes(self):
        for content in (bytes(range(256)), b"", b"\0", b"@x", b"@@x", b"x\r\n", "ä".encode(), b"\xff"):
            with self.subTest(content=content):
                text = base64.b64encode(content).decode()
                self.document(HEAD + f"    test-input: {{base64: '{text}'}}\n    test-output: {{base64: {text}}}\n"
                              if text else HEAD + "    test-input: {base64: ''}\n    test-output: {base64: \"\"}\n")
                exported = self.export()
                self.file("export.json", exported)
                self.assertEqual("nothing changed\n", self.apply("export.json"))
                self.forget("m")
                self.apply("export.json")
                self.assertEqual(exported, self.export())
                hidden = "hex(test_input)" if self.kind == "sqlite" else "upper(encode(test_input, 'hex'))"
                self.assertEqual([(content.hex().upper(),)], self.sql(f"SELECT {hidden} AS h FROM models WHERE name = 'm'"))
                self.forget("m")

    def test_export_formats(self):
        whole = self.export()
        self.assertEqual(whole, self.out("export", "--json"))
        line = self.out("export", "--jsonl")
        self.assertEqual((1, json.loads(whole)), (line.count(b"\n"), json.loads(line)))
        self.assertTrue(whole.endswith(b"\n}\n"))
        self.assertEqual(["version", "servers", "models"], list(json.loads(whole)))
        self.assertEqual(sorted(json.loads(whole)["models"]), list(json.loads(whole)["models"]))
        self.assertTrue(VALIDATOR.is_valid(json.loads(whole)))

    def test_at_once(self):
        """Several at once do what one does: one adds, the others find it done."""
        text = "".join(HEAD[19:].replace(" m:", f" m{i}:") + "    weights: {1: {path: w, state: active}}\n" for i in range(20))
        self.file("doc.yaml", "version: 1\nmodels:\n" + text)
        running = [self.start("--allow-changes", "apply", "doc.yaml") for _ in range(8)]
        outs = [(child.communicate(timeout=DEADLINE_S), child.returncode) for child in running]
        self.assertEqual({((b"", 0))}, {(err, code) for (_, err), code in outs})
        added = [out for (out, _), _ in outs if out != b"nothing changed\n"]
        self.assertEqual(1, len(added))
        self.assertEqual(60, added[0].count(b"\n"))
        self.assertEqual("nothing changed\n", self.apply("doc.yaml"))

    def test_at_once_with_other_commands(self):
        self.file("doc.yaml", HEAD + "        timeout: 5m\n    weights: {1: {path: w, state: active}}\n")
        self.apply("doc.yaml")
        commands = [["apply", "doc.yaml"], ["deployment", "set", "m", "d", "timeout=7m"], ["weights", "use", "m", "1"],
                    ["model", "set", "m", "summary=x"], ["server", "add", "s", "--kind", "local"], ["run", "m", "x"]] * 3
        running = [self.start("--allow-changes", *words) for words in commands]
        for words, child in zip(commands, running):
            _, err = child.communicate(timeout=DEADLINE_S)
            self.assertIn(child.returncode, (0, 4) if words[0] == "server" else (0,), (words, err))
        self.apply("doc.yaml")
        self.assertEqual("5m", self.deployment("m")["timeout"])

    def test_killed(self):
        """At each of its writes, before it and in the middle: all is there or nothing, and the next goes on."""
        text = HEAD + "        timeout: 5m\n    summary: new\n    weights: {1: {path: w, state: active}}\n"
        self.file("before.yaml", HEAD + "    summary: old\n")
        self.file("after.yaml", text)
        self.apply("before.yaml")
        before = self.export()
        self.apply("after.yaml")
        after = self.export()

        def back():
            self.forget("m")
            self.apply("before.yaml")
            self.assertEqual(before, self.export())

        def killed(at, half):
            env = {"LD_PRELOAD": LIBRARY, "ASAN_OPTIONS": "verify_asan_link_order=0", "KILL_COUNT": str(self.folder / "count")}
            env |= {"KILL_AT": str(at)} if at else {}
            env |= {"KILL_HALF": "1"} if half else {}
            child = self.start("--allow-changes", "apply", "after.yaml", env=env)
            child.communicate(timeout=DEADLINE_S)
            return child.returncode

        back()
        self.assertEqual(0, killed(0, False))
        calls = int((self.folder / "count").read_text().split()[0])
        seen = set()
        for half in (False, True):
            for at in range(1, calls + 1):
                back()
                code = killed(at, half)
                if code == 0:
                    continue  # what is remembered of sums took writes the first time
                self.assertEqual(-signal.SIGKILL, code)
                now = self.export()
                self.assertIn(now, (before, after), (at, half))
                seen.add(now == after)
                self.apply("after.yaml")
                self.assertEqual(after, self.export())
        self.assertEqual({False, True}, seen)

    def test_interrupted(self):
        self.file("doc.yaml", HEAD)
        child = self.start("--allow-changes", "apply", "-", stdin=subprocess.PIPE)
        child.stdin.write(b"version: 1\n")
        child.stdin.flush()
        child.send_signal(signal.SIGTERM)
        child.wait(DEADLINE_S)
        self.assertIn(child.returncode, (143, -signal.SIGTERM))

    def test_read_only(self):
        """A dry run and an export write nothing."""
        self.file("doc.yaml", HEAD)
        if self.kind == "sqlite":
            (self.folder / "mer.db").chmod(0o400)
            if os.access(self.folder / "mer.db", os.W_OK):
                self.skipTest("root writes to files that are read-only")
            self.assertEqual("+ model m\n+ deployment m/d\n", self.apply("doc.yaml", "--dry-run", options=()))
            self.apply("doc.yaml", code=5)
        else:
            url = self.url + ("&" if "?" in self.url else "?") + "options=-c%20default_transaction_read_only%3Don"
            env = {"MER_DATABASE_URL": url}
            self.assertEqual("+ model m\n+ deployment m/d\n", self.apply("doc.yaml", "--dry-run", options=(), env=env))
            self.export(env=env)
            self.apply("doc.yaml", code=5, env=env)


# --- many documents -------------------------------------------------------------------------------------

TEXTS = ["", "x", "1", "no", "on", "null", "~", "a b", "it's", '"q"', "a: b", "# c", "ünï ☃ 𝄞", "\t", "l1\nl2\n", "{models}",
         "@", "@@x", "- x", "\x7f\u2028", "'", "\\", "0x10", "1e3", "2020-01-01", "=", "<<", "%", "&a", "*a", "!a"]
NAMES = ["a", "b-c", "0", "1", "10", "2.5", "on", "null", "true", "x_y", "A.B", "z" * 128]


class Generator:
    """Documents that are good, out of the schema's own keys."""

    def __init__(self, seed, folder):
        self.random = random.Random(seed)
        self.folder = folder

    def pick(self, *values):
        return self.random.choice(values)

    def some(self, values, least=0, most=3):
        return self.random.sample(values, self.random.randint(least, most))

    def duration(self):
        return self.pick("1ms", "250ms", "30s", "5m", "2h", "61m", 1, 1500, "90000")

    def size(self):
        return self.pick("1B", "64KiB", "1MiB", "3GiB", 1, 4096, "1048577")

    def argv(self):
        return [self.pick("cat", "{models}/x", "./run")] + [self.pick(*TEXTS) for _ in range(self.random.randint(0, 4))]

    def value(self, key, shape, is_default):
        ref = shape.get("$ref", "").rpartition("/")[2]
        if "enum" in shape:
            return self.pick(*shape["enum"])
        if ref == "switch":
            return self.pick(True, False)
        if ref in ("duration", "size"):
            return getattr(self, ref)()
        if shape.get("type") == "integer":
            return self.random.randint(max(shape.get("minimum", -5), -5), min(shape.get("maximum", 99), 99))
        if key in ("argv", "train"):
            return self.argv()
        if key == "error-line":
            return [self.pick("bad*", "E: ?", *[t for t in TEXTS if t]) for _ in range(self.random.randint(1, 3))]
        if key == "env":
            return {name: self.pick(*TEXTS) for name in self.some(["A", "B_1", "_c", "PATH"])}
        if key == "limit":
            limits = {"memory": self.pick("1GiB", 1048576), "cpu-time": "5s", "processes": 20, "open-files": "64", "nice": 3,
                      "cpus": self.pick(1, 0.5, "1.25"), "isolate": self.pick(True, False), "file-size": "1MiB"}
            return {name: limits[name] for name in self.some(list(limits))}
        if key in ("workdir", "weights-dir"):
            return self.pick(".", "sub", "./a/b", "/abs", "{models}/iris", "../up")
        return self.pick(*TEXTS)

    def deployment(self, server_names):
        properties = SCHEMA["$defs"]["deployment"]["properties"]
        protocol = self.pick("once", "token", "frame")
        out = {}
        for key in self.some(list(properties), 0, len(properties)):
            tokens = key.endswith("-token") or key in ("answer", "error-line")
            if (tokens and protocol != "token") or (key == "stateful" and protocol == "once") or key in ("remote-model", "param"):
                continue
            out[key] = self.value(key, properties[key], False)
            if key.endswith("-token"):
                out[key] = f"<{key} {self.pick('1', 'ü', chr(9))}>"
        out |= {"argv": self.argv(), "protocol": protocol, "server": self.pick("local", *server_names)}
        if self.pick(True, False) and protocol == "once":
            del out["protocol"]
        return out

    def weights(self):
        names = self.some(NAMES, 0, 5)
        out, active = {}, self.pick(None, *names)
        for i, name in enumerate(names):
            one = {"path": self.pick("w", "./w", "{models}/iris/weights/1.json")}
            if self.pick(True, False):
                one["sha256"] = self.folder["models" if "models" in one["path"] else "w"]
            if name == active:
                one["state"] = "active"
            elif self.pick(True, False):
                one["state"] = self.pick("candidate", "retired")
            if i > 0 and self.pick(True, False):
                one["parent"] = self.pick(*names[:i])
            if self.pick(True, False):
                one["metrics"] = {text: self.pick(0.1, 1e300, -0.0, 5, 2**62, None, True, [], {}, "x", [1, {"a": 1.5}])
                                  for text in self.some(TEXTS)}
            out[name] = one
        items = list(out.items())
        self.random.shuffle(items)
        return dict(items)

    def model(self, server_names):
        out = {"deployments": {name: self.deployment(server_names) for name in self.some(NAMES, 0, 3)}}
        if self.pick(True, False):
            out["summary"] = self.pick(*TEXTS)
        if self.pick(True, False):
            blob = base64.b64encode(self.random.randbytes(self.random.randint(0, 40))).decode()
            texts = [text for text in TEXTS if text not in ("", "@")]
            out |= {"test-input": self.pick({"base64": blob}, *texts), "test-output": self.pick(*texts)}
            for key in ("test-input", "test-output"):
                if isinstance(out[key], str) and out[key].startswith("@") and not out[key].startswith("@@"):
                    out[key] = "@" + out[key]
            if any(one.get("protocol", "once") != "once" for one in out["deployments"].values()):
                out["test-on-start"] = self.pick(True, False)
        for key, value in (("feedback", self.pick(True, False)), ("feedback-threshold", self.pick(0, 3, 5)),
                           ("train-after", self.pick(0, 10, 77))):
            if self.pick(True, False, False):
                out[key] = value
        if self.pick(True, False):
            out["weights"] = self.weights()
        return out

    def document(self):
        servers = self.some(NAMES, 0, 2)
        out = {"version": 1}
        if servers or self.pick(True, False):
            out["servers"] = {name: {"kind": "local"} for name in servers}
        out["models"] = {name: self.model(servers) for name in self.some(NAMES, 0, 4)}
        return out

    def write(self, document):
        """As JSON of some form or as YAML of some form."""
        form = self.pick("json", "ascii", "indent", "block", "flow")
        if form in ("block", "flow"):
            return yaml.safe_dump(document, default_flow_style=form == "flow", allow_unicode=self.pick(True, False),
                                  sort_keys=False, width=self.pick(20, 1000))
        return json.dumps(document, ensure_ascii=form == "ascii", indent=3 if form == "indent" else None)

    def spoil(self, document):
        """The same with one thing in it another."""
        spoilt = json.loads(json.dumps(document))
        places = []

        def walk(node):
            keys = node if isinstance(node, dict) else range(len(node))
            for key in keys:
                places.append((node, key))
                if isinstance(node[key], (dict, list)):
                    walk(node[key])

        walk(spoilt)
        node, key = self.random.choice(places)
        how = self.pick("value", "value", "key", "gone")
        if how == "value" or isinstance(node, list):
            node[key] = self.pick(None, True, 5, -7, 1.5, "zzz", [], ["x"], {}, {"x": "y"}, [[1]], "5s", "on")
        elif how == "key":
            node[self.pick(key + "x", key.replace("-", "_") + "_", "zzz", "a b")] = node.pop(key)
        else:
            del node[key]
        return spoilt


class Property(Documents):
    COUNT, SPOILT = 25, 40

    def setUp(self):
        super().setUp()
        self.known = {"w": sha256(b"weights"), "models": sha256((PREFIX / "lib/mer/models/iris/weights/1.json").read_bytes())}

    def clean(self):
        """No models, and of servers only local."""
        self.sql("DELETE FROM models")
        self.sql("DELETE FROM servers WHERE name <> 'local'")

    def test_there_and_back(self):
        """What is applied is valid, changes nothing when it is applied again, and its export makes the same of an empty
        database."""
        empty = Twin(self)
        for number in range(self.COUNT):
            generator = Generator(SEED + number, self.known)
            document = generator.document()
            text = generator.write(document)
            with self.subTest(seed=SEED + number):
                self.assertTrue(VALIDATOR.is_valid(document), "the generator keeps to the schema")
                self.clean()
                self.document(text)
                self.assertTrue(is_valid(text))
                self.assertEqual("nothing changed\n", self.apply("doc.yaml"))
                exported = self.export()
                self.assertTrue(VALIDATOR.is_valid(json.loads(exported)))
                self.file("export.json", exported)
                self.assertEqual("nothing changed\n", self.apply("export.json"))
                self.assertEqual(exported, empty.again("export.json"))
        print(f"# seed {SEED}: {self.COUNT} documents", flush=True)

    def test_spoilt(self):
        """What the schema refuses apply refuses, with a place."""
        codes = {}
        for number in range(self.SPOILT):
            generator = Generator(SEED + number, self.known)
            spoilt = generator.spoil(generator.document())
            text = generator.write(spoilt)
            self.file("doc.yaml", text)
            with self.subTest(seed=SEED + number):
                child = self.start("apply", "--dry-run", "doc.yaml")
                _, err = child.communicate(timeout=DEADLINE_S)
                codes[child.returncode] = codes.get(child.returncode, 0) + 1
                self.assertIn(child.returncode, (0, 2, 3, 4), err)
                if child.returncode != 0:
                    self.assertRegex(err.decode(), r"\Amer: doc\.yaml:\d+:\d+: ")
                else:
                    self.assertTrue(VALIDATOR.is_valid(spoilt), f"apply accepts what the schema refuses: {text}")
        self.assertLess(1, len(codes), codes)


class Twin:
    """A database of the other kind, or of the same where there is no other, that is empty each time."""
    kind = None

    def __init__(self, case):
        self.case = case
        folder = tempfile.TemporaryDirectory(prefix="mer-twin-")
        case.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "twin.db")
        self.url = f"sqlite:{self.path}"
        if case.kind == "sqlite" and postgres.programs() and (PREFIX / "lib/mer/postgres.so").exists():
            server = postgres.Postgres()
            case.addCleanup(server.close)
            self.url, self.server = server.new_database(), server
        case.call(0, "--quiet", "up", program=MIGRATE, env={"MER_DATABASE_URL": self.url})

    def again(self, name):
        import sqlite3
        for text in ("DELETE FROM models", "DELETE FROM servers WHERE name <> 'local'"):
            if self.url.startswith("sqlite"):
                db = sqlite3.connect(self.path, isolation_level=None)
                db.execute("PRAGMA foreign_keys = ON")
                db.execute(text)
                db.close()
            else:
                self.server.psql(text, self.url)
        env = {"MER_DATABASE_URL": self.url}
        self.case.apply(name, env=env)
        return self.case.export(env=env)


class ApplyOnSqlite(Apply, OnSqlite, unittest.TestCase):
    pass


class ApplyOnPostgres(Apply, OnPostgres, unittest.TestCase):
    pass


class PropertyOnSqlite(Property, OnSqlite, unittest.TestCase):
    pass


class PropertyOnPostgres(Property, OnPostgres, unittest.TestCase):
    COUNT, SPOILT = 10, 10


class Shipped(Documents, OnSqlite, unittest.TestCase):
    def test_schema_is_fresh(self):
        self.assertEqual((SOURCE / "schema" / "apply.json").read_bytes(), self.out("--print", "schema"))
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_each_option_is_a_key(self):
        commands = {row["name"]: row for row in json.loads(self.out("--print", "contract"))["commands"]}

        def options(name):
            return {arg["name"] for arg in commands[name]["args"] if arg["option"]}

        keys = {noun: set(SCHEMA["$defs"][noun]["properties"]) for noun in ("server", "model", "deployment")}
        self.assertEqual(options("server add"), keys["server"])
        self.assertEqual(options("deployment add") - {"name"} | {"argv", "enabled"}, keys["deployment"])
        self.assertEqual(options("model add") - options("deployment add")
                         | {"deployments", "weights", "feedback", "feedback-threshold", "train-after"}, keys["model"])

    def test_each_refused_form(self):
        """What the table of errors has, the schema refuses too where it is about the form alone."""
        for _, _, message, text in REFUSED:
            if isinstance(text, str) and re.search(r"is no key|needs '|is none of|is to be a (map|list)|true or false", message):
                with self.subTest(text=text):
                    value = yaml.load(text, Loader)
                    if "not 'no'" in message or "'true'" in message:
                        continue  # other words for the same in YAML 1.1, or quoted
                    self.assertFalse(VALIDATOR.is_valid(value))

    def test_page(self):
        """The blocks of docs/apply.md: documents are applied, and what they print is what it says."""
        page = (SOURCE / "docs" / "apply.md").read_text()
        blocks = re.findall(r"^(?:<!-- (?:file: (\S+)|before: .*) -->\n)?```(\w*)\n((?:(?!```).*\n)*)```$", page, re.M)
        (self.folder / "weights").mkdir()
        (self.folder / "weights" / "2.json").write_text("{}")
        done = 0
        for name, language, text in blocks:
            if language == "yaml" and name:
                self.file(name, text)
                self.assertTrue(is_valid(text), name)
            elif language == "console":
                for command, want in re.findall(r"^\$ mer (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
                    child = self.start(*command.split())
                    out, err = child.communicate(timeout=DEADLINE_S)
                    self.assertEqual(want, (out + err).decode().replace("{}", ""), command)
                    done += 1
        self.assertLess(3, done)

    def test_examples(self):
        """The example models as a document are what the scripts make of a new database."""
        self.assertEqual("nothing changed\n", self.apply(SOURCE / "docs" / "examples.yaml"))
        names = list(json.loads(self.export())["models"])
        self.assertEqual(sorted(names), sorted(yaml.load((SOURCE / "docs" / "examples.yaml").read_text(), Loader)["models"]))
        before = self.export()
        self.forget(*names)
        self.apply(SOURCE / "docs" / "examples.yaml")
        self.assertEqual(before, self.export())

    def test_without_the_module(self):
        prefix = self.folder / "prefix"
        shutil.copytree(PREFIX, prefix, symlinks=True)
        (prefix / "lib" / "mer" / "yaml.so").unlink()
        self.file("doc.yaml", HEAD)
        out, err = self.call(2, "--allow-changes", "apply", "doc.yaml", program=prefix / "bin" / "mer")
        self.assertRegex(err, r"\Amer: this mer reads no documents: there is no module '.*/yaml\.so'\n\Z")
        self.assertEqual(self.export(), self.out("export", program=prefix / "bin" / "mer"))

    def test_is_not_loaded_otherwise(self):
        out = subprocess.run(["ldd", MER], capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout
        self.assertNotIn("libyaml", out)

    def test_large(self):
        """A thousand models there and back; and a document that is too large is refused."""
        models = {f"m{i}": {"deployments": {"d": {"argv": ["cat", str(i)]}}} for i in range(1000)}
        self.document(json.dumps({"version": 1, "models": models}))
        self.assertEqual("nothing changed\n", self.apply("doc.yaml"))
        self.assertEqual(1000, sum(name in models for name in json.loads(self.export())["models"]))
        self.assertRegex(self.document("version: 1\nmodels: [" + "a," * (1 << 20) + "]", code=2),
                         r"doc.yaml:2:\d+: the document has too many values")
        with open(self.folder / "huge.yaml", "wb") as file:
            file.truncate((64 << 20) + 1)
        self.assertIn("FILE: 'huge.yaml' is longer than", self.apply("huge.yaml", code=2))


if __name__ == "__main__":
    main("__main__")

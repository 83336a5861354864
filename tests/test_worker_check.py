#!/usr/bin/python3
"""worker-check: a worker that keeps docs/wire.md passes, over its descriptor and over stdin and stdout;
of one that breaks a rule it names that rule. Prints TAP when run as a program."""
import json
import os
import signal
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import test_faults
from test_faults import DEADLINE_S, MER, PREFIX, each

FRAMES = Path(__file__).with_name("frames.py").read_text(encoding="utf-8")
BROKEN = [sys.executable, "-S", Path(__file__).with_name("workers") / "broken.py"]  # a rule as its argument

AT_ONCE = 8

# Keeps all rules, as a class whose methods the rows replace. It answers with what it was given, in
# threads of their own for those that are open together.
WORKER = """#!/usr/bin/python3 -uIS
{frames}
import threading

class Wrong(Exception):
    pass

class Worker:
    concurrency = 4
    contract = {}
    last_words = 0

    def __init__(self):
        self.wire = Wire()
        self.lock = threading.Lock()
        self.idle = threading.Condition()
        self.open = 0

    def send(self, *args, **more):
        with self.lock:
            self.wire.send(*args, **more)

    def read_frame(self):
        head = self.wire.read(HEAD.size)
        magic, version, kind, flags, number, meta_size, reserved, body_size = HEAD.unpack(head)
        if magic != b"MERF" or version != 1 or reserved or meta_size > 1 << 20 or body_size > 1 << 30:
            raise Wrong("header")
        text, body = self.wire.read(meta_size), self.wire.read(body_size)
        known = HELLO <= kind <= DRAIN
        if not known and flags & SKIP:
            return self.read_frame()
        if not known or kind in (READY, RESULT, LOG, PROGRESS):
            raise Wrong("kind")
        try:
            meta = json.loads(text.decode()) if text else {}
        except ValueError:
            raise Wrong("meta")
        if not isinstance(meta, dict):
            raise Wrong("meta")
        sizes = sum(one["parameters"]["binary_data_size"] for one in meta.get("inputs", ()))
        if "inputs" in meta and sizes != len(body):
            raise Wrong("sizes")
        return kind, number, flags, meta, body

    def hello(self, meta):
        self.max_body = meta["max_body"]
        if 1 not in meta["versions"]:
            self.send(ERROR, 0, {"code": "version", "message": "only 1"})
            os._exit(1)
        self.send(READY, 0, self.ready())

    def ready(self):
        return {"version": 1, "concurrency": self.concurrency, **self.contract}

    def infer(self, number, meta, body):
        if "inputs" in meta:
            self.error(number, "input", "only bytes")
        elif len(body) > self.max_body:
            self.error(number, "model", "the answer is too long")
        else:
            self.result(number, body)

    def result(self, number, body):
        self.send(RESULT, number, BYTES, body)

    def error(self, number, code, message):
        self.send(ERROR, number, {"code": code, "message": message})

    def work(self, *request):
        try:
            self.infer(*request)
        finally:
            with self.idle:
                self.open -= 1
                self.idle.notify_all()

    def on_infer(self, number, flags, meta, body):
        with self.idle:
            self.open += 1
        threading.Thread(target=self.work, args=(number, meta, body), daemon=True).start()

    def on_train(self, number, flags, meta, body):
        self.error(number, "unsupported", "no training")

    def on_ping(self, number, flags, meta, body):
        if not flags & ANSWER:
            self.send(PING, 0, meta, body, ANSWER)

    def on_cancel(self, number, flags, meta, body):
        pass

    def on_drain(self, number, flags, meta, body):
        with self.idle:
            self.idle.wait_for(lambda: not self.open)
        os._exit(self.last_words)

    def wrong(self):
        self.send(ERROR, 0, {"code": "protocol", "message": "broken"})
        os._exit(1)

    def serve(self):
        kind, _, _, meta, _ = self.read_frame()
        self.hello(meta)
        handlers = {INFER: self.on_infer, TRAIN: self.on_train, PING: self.on_ping,
                    CANCEL: self.on_cancel, DRAIN: self.on_drain}
        while True:
            try:
                kind, *rest = self.read_frame()
                handlers[kind](*rest)
            except (Wrong, KeyError):
                self.wrong()

class Bad(Worker):
    {change}

Bad().serve()
"""
TENSOR = "[{'name': 'y', 'datatype': '%s', 'shape': %s, 'parameters': {'binary_data_size': %d}}]"


def result_with(*args):
    return f"def result(self, number, body): self.send(RESULT, number, {', '.join(args)})"


def outputs(datatype, shape, size, body):
    return result_with("{'outputs': " + TENSOR % (datatype, shape, size) + "}", repr(body))


def send_before(what):
    """Says more than it should, in front of each answer."""
    return f"def result(self, number, body): {what}; Worker.result(self, number, body)"


def send_behind(what):
    return f"def result(self, number, body): Worker.result(self, number, body); {what}"


# Worker that breaks a rule: its change, and the rule.
BREAKS = {
    "inherited": ("def ready(self): os.set_inheritable(self.wire.to, True); return Worker.ready(self)",
                  "fd-close-on-exec"),
    "magic": (result_with("BYTES, magic=b'MERG'"), "header-magic"),
    "version": (result_with("BYTES, version=2"), "header-version"),
    "flags": (result_with("BYTES, b'', 0x40"), "header-flags"),
    "reserved": (result_with("BYTES, reserved=1"), "header-reserved"),
    "long_meta": (result_with("BYTES, meta_length=1 << 21"), "meta-limit"),
    "no_object": (result_with("b'[]'"), "meta-json-object"),
    "no_utf8": (result_with(r"b'{\"a\":\"\xff\"}'"), "meta-json-object"),
    "long_body": ("def infer(self, number, *_): self.result(number, b'x' * 2000)", "body-limit"),
    "kind_of_mer": (send_before("self.send(INFER, number, BYTES)"), "known-kind"),
    "new_kind": (send_before("self.send(99)"), "known-kind"),
    "no_id": ("def result(self, number, body): self.send(RESULT, 0, BYTES)", "frame-ids"),
    "ping_with_id": ("def on_ping(self, number, flags, meta, body): self.send(PING, 1, meta, body, ANSWER)",
                     "frame-ids"),
    "error_of_nothing": ("def on_train(self, number, *_): self.send(ERROR, number, {})", "error-fields"),
    "error_of_lines": ("def on_train(self, number, *_): self.error(number, 'unsupported', 'a\\nb')",
                       "error-fields"),
    "odd_log": (send_before("self.send(LOG, number, {'level': 'loud', 'message': 'x'})"), "log-fields"),
    "odd_progress": (send_before("self.send(PROGRESS, number, {'done': 'half'})"), "progress-fields"),
    "ready_twice": (send_before("self.send(READY, 0, self.ready())"), "ready-after-hello"),
    "no_hello": ("def __init__(self): Worker.__init__(self); self.send(READY, 0, self.ready())",
                 "ready-after-hello"),
    "silent": ("def hello(self, meta): threading.Event().wait()", "ready-or-error"),
    "early": ("def ready(self): self.send(PING, 0); return Worker.ready(self)", "only-log-before-ready"),
    "other_version": ("def ready(self): return {'version': 3}", "ready-version"),
    "odd_name": ("contract = {'name': 7}", "ready-fields"),
    "odd_contract": ("contract = {'inputs': [{'name': 'x', 'datatype': 'FLOAT', 'shape': [1]}]}",
                     "ready-fields"),
    "any_version": ("def hello(self, meta): self.max_body = meta['max_body']; "
                    "self.send(READY, 0, self.ready())", "version-refused"),
    "strict_fields": ("def infer(self, number, meta, body):\n"
                      "        if meta.keys() - {'content'}: os._exit(1)\n"
                      "        Worker.infer(self, number, meta, body)", "unknown-fields-ignored"),
    "strict_flags": ("def on_infer(self, number, flags, *rest):\n"
                     "        if flags: os._exit(1)\n"
                     "        Worker.on_infer(self, number, flags, *rest)", "unknown-flags-ignored"),
    "two_answers": (send_behind("Worker.result(self, number, body)"), "one-last-frame"),
    "no_answer": ("def result(self, number, body): pass", "one-last-frame"),
    "half_an_answer": ("def result(self, number, body): self.wire.write(b'MERF'); os._exit(0)",
                       "one-last-frame"),
    "other_id": ("def result(self, number, body): self.send(RESULT, number + 50, BYTES)", "ids-open"),
    "late_log": (send_behind("self.send(LOG, number, {'level': 'info', 'message': 'x'})"),
                 "ids-not-reused"),
    "no_concurrency": ("concurrency = 0", "concurrency"),
    "one_of_many": ("def on_infer(self, *request):\n"
                    "        with self.idle: busy = self.open\n"
                    "        if not busy: Worker.on_infer(self, *request)\n"
                    "    def result(self, *rest): threading.Event().wait(0.2); Worker.result(self, *rest)",
                    "concurrency"),
    "writes_as_it_reads": ("def on_infer(self, number, flags, meta, body): self.infer(number, meta, body)",
                           "reads-while-writing"),
    "small_bodies": ("def infer(self, number, meta, body):\n"
                     "        if len(body) > 1000: os._exit(1)\n"
                     "        Worker.infer(self, number, meta, body)", "large-body"),
    "cancels_silently": ("cancelled = set()\n"
                         "    def on_cancel(self, number, *_): self.cancelled.add(number)\n"
                         "    def result(self, number, body):\n"
                         "        threading.Event().wait(0.2)\n"
                         "        if number not in self.cancelled: Worker.result(self, number, body)",
                         "cancel-answered"),
    "minds_late_cancel": ("def on_cancel(self, number, *_):\n"
                          "        with self.idle: busy = self.open\n"
                          "        if not busy: self.wrong()\n"
                          "    def result(self, *rest): threading.Event().wait(0.1); Worker.result(self, *rest)",
                          "late-cancel-ignored"),
    "no_pong": ("def on_ping(self, *_): pass", "ping-answered"),
    "other_pong": ("def on_ping(self, number, flags, meta, body): self.send(PING, 0, {}, body, ANSWER)",
                   "ping-answered"),
    "takes_anything": ("contract = {'inputs': [{'name': 'x', 'datatype': 'BYTES', 'shape': [1]}]}\n"
                       "    def infer(self, number, meta, body): self.result(number, b'')",
                       "input-refused"),
    "trains_silently": ("def on_train(self, number, *_): Worker.result(self, number, b'')",
                        "train-unsupported"),
    "undescribed": (result_with("{}, b'x'"), "output-described"),
    "odd_datatype": (outputs("FLOAT", [1], 4, b"1234"), "output-described"),
    "sizes": (outputs("FP32", [2], 4, b"1234"), "output-sizes"),
    "short_body": (outputs("FP32", [1], 4, b"123"), "output-sizes"),
    "elements": (outputs("BYTES", [1], 6, b"\1\0\0\0ab"), "output-elements"),
    "text": (result_with("{'content': 'text'}, b'\\xff'"), "output-text"),
    "contract": ("contract = {'outputs': [{'name': 'y', 'datatype': 'FP64', 'shape': [1]}]}\n    "
                 + outputs("FP32", [1], 4, b"1234"), "output-contract"),
    "drops_at_drain": ("def result(self, *rest): threading.Event().wait(0.2); Worker.result(self, *rest)\n"
                       "    def on_drain(self, *_): os._exit(0)", "drain-answers-open"),
    "ignores_drain": ("def on_drain(self, *_): pass", "drain-exits-0"),
    "exits_with_1": ("last_words = 1", "drain-exits-0"),
    "no_end": ("def serve(self):\n"
               "        try: Worker.serve(self)\n"
               "        except SystemExit: threading.Event().wait()", "eof-exits"),
    "prints": ("def result(self, number, body):\n"
               "        if self.wire.to != self.wire.source: os.write(self.wire.to, b'hello\\n')\n"
               "        Worker.result(self, number, body)", "stray-print-is-log"),
    "other_error": ("def wrong(self):\n"
                    "        self.send(ERROR, 0, {'code': 'internal', 'message': 'x'}); os._exit(1)",
                    "protocol-error"),
    "goes_on": ("def wrong(self): pass", "unknown-kind-closes"),
}


class WorkerCheck(test_faults.Case):
    def check(self, *argv, code=0, says=None):
        limits = ("--timeout", "1s" if code else "30s", "--start-timeout", "10s" if code else "60s")
        said = json.loads(self.mer("--json", "worker-check", *limits, "--", *argv, code=code, out=None,
                                   says=says))
        return {one["rule"]: one["seen"] for one in said}

    def worker(self, change, name="model"):
        return self.script(WORKER.replace("{frames}", FRAMES).replace("{change}", change), name)

    def test_good(self):
        self.assertEqual(self.check(self.worker("pass")), {})

    def test_good_with_contracts(self):
        self.assertEqual(self.check(self.worker(
            "contract = {'inputs': [{'name': 'x', 'datatype': 'FP32', 'shape': [-1, 3]}],\n"
            "                'outputs': [{'name': 'y', 'datatype': 'FP32', 'shape': [-1, 3]}]}\n"
            "    def infer(self, number, meta, body):\n"
            "        one = meta.get('inputs', [{}])[0]\n"
            "        if one.get('datatype') != 'FP32': self.error(number, 'input', 'no FP32'); return\n"
            "        self.send(RESULT, number, {'outputs': [{**one, 'name': 'y'}]}, body)")), {})

    def test_good_in_c(self):
        self.assertEqual(self.check(PREFIX / "lib/mer/models/moments/moments_frame"), {})

    def test_breaks(self):
        """Several at a time: most of it is waiting for what does not come."""
        def seen(row):
            worker, rule = row
            return rule, self.check(worker, code=1, says="breaks .* rule")

        rows = [(self.worker(change, name), rule) for name, (change, rule) in BREAKS.items()]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for name, (rule, said) in zip(BREAKS, threads.map(seen, rows)):
                with self.subTest(name):
                    self.assertIn(rule, said, said)

    def test_plain(self):
        """A rule a line, with what was seen of it."""
        got = self.mer("worker-check", "--", self.worker("last_words = 3"), code=1,
                       out=None, says="breaks 1 rule of")
        self.assertEqual(got, b"drain-exits-0\tit ended with exit code 3\n")

    @each({
        "missing": (("/nonexistent/worker",), "No such file"),
        "leaves": (("/bin/true",), "left before it was ready: it ended with exit code 0"),
        "says_why": (("/bin/sh", "-c", "echo no weights >&2; exit 3"), "exit code 3.*no weights"),
    })
    def not_started(self, argv, says):
        self.mer("worker-check", "--", *argv, code=6, says=says)

    def test_gives_up(self):
        self.mer("worker-check", "--", self.worker(
            "def hello(self, meta): self.error(0, 'load', 'no such weights'); os._exit(1)"), code=6,
            says="no such weights")

    @each({"INT": (signal.SIGINT, 130), "TERM": (signal.SIGTERM, 143)})
    def interrupted(self, number, code):
        process = self.start("worker-check", "--", self.worker(
            "def hello(self, meta): open(os.environ['HOME'] + '/here', 'w'); threading.Event().wait()"))
        self.wait_here()
        process.send_signal(number)
        self.finish(process, code, says="cancel")

    def test_other_suite(self):
        """What `python -m mer check` is tested with: the same rules are caught in the same workers."""
        limits = ("--timeout", "3s", "--start-timeout", "10s")

        def catches(rule):
            done = subprocess.run([MER, "--json", "worker-check", *limits, "--", *BROKEN, rule], env=self.env,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False)
            said = json.loads(done.stdout)
            return rule, done.returncode, [one["rule"] for one in said] if isinstance(said, list) else said
        rules = self.rules("--list")
        rules.remove("ready-or-error")  # this one is another exit code; see test_gives_up
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for rule, code, said in threads.map(catches, rules):
                with self.subTest(rule=rule):
                    self.assertIn(rule, said)
                    self.assertEqual(code, 1)
        self.assertEqual(self.check(*BROKEN), {})

    def rules(self, *words):
        got = self.mer("worker-check", *words, out=None).decode().splitlines()
        return [line.split("\t")[0] for line in got]

    def test_list(self):
        """The rules have the names that `python -m mer check` gives them."""
        names = self.rules("--list")
        self.assertEqual(len(set(names)), len(names))
        self.assertLessEqual({rule for _, rule in BREAKS.values()}, set(names))
        done = subprocess.run([sys.executable, "-B", "-m", "mer", "check", "--list"], check=True,
                              cwd=Path(os.environ["MER_SOURCE"], "python"), stdout=subprocess.PIPE)
        theirs = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
        self.assertEqual(sorted(names), sorted(theirs))

    def test_usage(self):
        self.mer("worker-check", code=2, says="ARGV")


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(WorkerCheck)
    sys.exit(not runner.run(suite).wasSuccessful())

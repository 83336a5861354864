#!/usr/bin/python3
"""Models whose requests have a process each. Prints TAP when run as a program."""
import os
import signal
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from peer import (BYTES, CANCEL, DRAIN, ERROR, HELLO, INFER, LOG, MIB, MORE, PROGRESS, RESULT, TRAIN,
                  Worker, main, pack, tensors, wait_for)

FLAT_KIB = 16 * 1024  # what a process may grow by where its memory is flat


def model(body, options="", before=""):
    """{body} answers x; folder is one that the test sees, and here(name) makes a file in it."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return ("import os, signal, subprocess, sys, time\nfolder = os.path.dirname(__file__)\n"
            "def here(name):\n    open(f'{folder}/{name}', 'w').close()\n"
            f"{before}\n@mer.model(prefork=True{options})\ndef predict(x: bytes):\n{lines}")


def children(pid):
    """Of a process: pids and states."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text(encoding="latin-1")
            except OSError:
                continue
            state, parent = text.rpartition(") ")[2].split()[:2]
            if int(parent) == pid:
                found[int(entry)] = state
    return found


def is_gone(pid):
    try:
        return Path("/proc", str(pid), "stat").read_text(encoding="latin-1").rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


class Case(unittest.TestCase):
    def worker(self, *args, **more):
        worker = Worker(model(*args, **more))
        self.addCleanup(worker.__exit__)
        return worker

    def wait_here(self, worker, *names):
        paths = [Path(worker.folder, name) for name in names]
        wait_for(lambda: all(path.exists() for path in paths), names)

    def wait_childless(self, worker):
        wait_for(lambda: not children(worker.process.pid), "children that end")


class Answers(Case):
    def test_nothing_is_shared(self):
        worker = self.worker("global n\nn += 1\nos.environ['A'] = os.environ.get('A', '') + 'a'\n"
                             "return f\"{n} {os.environ['A']} {loaded} {os.getpid() != parent}\"",
                             before="n = 0\nparent = os.getpid()\n@mer.load\ndef load(weights):\n"
                                    "    global loaded\n    loaded = weights")
        for _ in range(3):
            self.assertEqual(worker.result(b"x").body, b"1 a None True")
        self.wait_childless(worker)
        self.assertEqual(worker.drain(), 0)

    def test_values(self):
        worker = Worker("@mer.model(prefork=True)\ndef predict(x: mer.Tensor, n: int) -> mer.Tensor:\n"
                        "    mer.log('at it', level='warn')\n    mer.progress(1, 2)\n"
                        "    return {'y': mer.Tensor.of([v * n for v in x.tolist()]), 'p': "
                        "mer.Tensor.of(mer.parameters()['k'])}")
        self.addCleanup(worker.__exit__)
        meta, data = tensors(x=("FP32", [2], struct.pack("<2f", 1, 2)), n=("INT8", [1], b"\3"))
        log, progress, result = worker.answer(data, {**meta, "parameters": {"k": 7}})
        self.assertEqual((log.kind, log.meta), (LOG, {"level": "warn", "message": "at it"}))
        self.assertEqual((progress.kind, progress.meta), (PROGRESS, {"done": 1, "total": 2}))
        self.assertEqual(result.body, struct.pack("<2fq", 3, 6, 7))
        self.assertEqual(worker.error(b"x")["code"], "input")

    def test_stream(self):
        worker = self.worker("for i in range(3): yield x * i")
        frames = worker.answer(b"ab")
        self.assertEqual([(f.kind, f.flags, f.body) for f in frames],
                         [(RESULT, MORE, b""), (RESULT, MORE, b"ab"), (RESULT, MORE, b"abab"),
                          (RESULT, 0, b"")])

    def test_train(self):
        worker = self.worker("return x", before="@mer.train\ndef train(job):\n    mer.progress(1, 1)\n"
                             "    open(job.new_weights, 'w').write('w')\n    return {'a': 0.5}")
        path = os.path.join(worker.folder, "w")
        job = {"dataset": "d", "new_weights": path, "new_version": "1"}
        frames = worker.answer(b"", job, kind=TRAIN)
        self.assertEqual(frames[-1].meta, {"metrics": {"a": 0.5}})
        self.assertEqual(Path(path).read_text(encoding="ascii"), "w")

    def test_errors(self):
        worker = self.worker("if x == b'no': raise mer.InputError('not that')\n1 / len(x)\nreturn x")
        error = worker.error(b"")
        self.assertEqual((error["code"], error["message"]), ("model", "ZeroDivisionError: division by zero"))
        self.assertIn("1 / len(x)", error["traceback"])
        self.assertEqual(worker.error(b"no"), {"code": "input", "message": "not that"})
        self.assertEqual(worker.result(b"x").body, b"x")

    def test_prints_are_log(self):
        """Each once, also what stood in a buffer before the fork."""
        worker = self.worker("print('out', x.decode(), end='')\nprint('err', file=sys.stderr)\n"
                             "os.write(1, b'fd')\nreturn x", before="print('loaded', end='')")
        self.assertEqual(worker.result(b"a").body, b"a")
        self.wait_childless(worker)
        self.assertEqual(worker.drain(), 0)
        self.assertEqual(sorted(worker.log()), sorted("loadedout aerr\nfd"))

    def test_large(self):
        worker = self.worker("return x[::-1]", ", concurrency=2")
        data = os.urandom(20 * MIB)
        self.assertEqual(worker.result(data).body, data[::-1])
        self.assertEqual(worker.result(b"ab").body, b"ba")

    def test_model_has_no_part_in_the_connection(self):
        """Neither it nor what it starts holds the connection or another child's pipe."""
        worker = self.worker("here('a') if x == b'hold' else None\nif x == b'hold': time.sleep(1000)\n"
                             "return str(sorted(os.readlink(f'/proc/self/fd/{n}').split(':')[0] "
                             "for n in os.listdir('/proc/self/fd') if int(n) > 2 and "
                             "os.path.exists(f'/proc/self/fd/{n}')))", ", concurrency=3")
        worker.ask(b"hold")
        self.wait_here(worker, "a")
        ident = worker.ask(b"x")
        names = worker.receive()
        self.assertEqual(names.ident, ident)
        self.assertNotIn(b"socket", names.body)
        # the watch's pipe twice, its own, and those of folders that were being listed
        self.assertEqual(names.body.count(b"pipe"), 3, names.body)

    def test_what_cannot_be(self):
        for text in ("from typing import List\n@mer.model(prefork=True, max_batch=2)\n"
                     "def predict(x: List[bytes]): ...",
                     "@mer.model(prefork=True)\nasync def predict(x: bytes): ..."):
            with Worker(text, ready=False) as worker:
                self.assertNotEqual(worker.process.wait(60), 0)
                self.assertIn("prefork is for plain functions", worker.log())


class Ends(Case):
    def test_deaths_are_errors_of_their_run(self):
        rows = {
            b"os._exit(3)": "ended with exit code 3 before it had answered",
            b"os._exit(0)": "ended with exit code 0 before it had answered",
            b"os.kill(os.getpid(), 11)": "was killed by SIGSEGV",
            b"os.kill(os.getpid(), 9)": "was killed by SIGKILL",
            b"sys.exit(4)": "SystemExit: 4",
            b"scribble()": "was killed by SIGKILL",
            b"__import__('resource').setrlimit(0, (1, 1))\nwhile 1: pass": "was killed by SIG(XCPU|KILL)",
        }
        worker = self.worker("exec(x) if x else None\nreturn b'lives'", ", concurrency=2", before="""
def scribble():  # over the pipe on which it answers
    for number in map(int, os.listdir('/proc/self/fd')):
        try:
            if number > 2 and 'pipe' in os.readlink(f'/proc/self/fd/{number}'):
                os.write(number, b'garbage' * 9)
        except OSError:
            pass
    time.sleep(1000)""")
        for does, says in rows.items():
            with self.subTest(does=does):
                error = worker.error(does)
                self.assertEqual(error["code"], "model")
                self.assertRegex(error["message"], says)
                self.assertEqual(worker.result().body, b"lives")
        self.wait_childless(worker)
        self.assertEqual(worker.drain(), 0)

    def test_side_by_side(self):
        """As many as it says, and one that dies takes no other."""
        worker = self.worker("here(x.decode())\nwhile not os.path.exists(f'{folder}/go'): "
                             "time.sleep(0.01)\nif x == b'1': os._exit(1)\nreturn x", ", concurrency=3")
        self.assertEqual(worker.ready["concurrency"], 3)
        idents = {worker.ask(b"%d" % i): i for i in range(3)}
        self.wait_here(worker, "0", "1", "2")
        worker.ping()
        Path(worker.folder, "go").touch()
        frames = {idents[frame.ident]: frame for frame in (worker.receive() for _ in range(3))}
        self.assertEqual([frames[i].kind for i in range(3)], [RESULT, ERROR, RESULT])
        self.assertEqual((frames[0].body, frames[2].body), (b"0", b"2"))

    def test_more_than_it_says(self):
        worker = self.worker("time.sleep(1000)")
        worker.ask(), worker.ask()
        frame = worker.receive()
        self.assertEqual((frame.kind, frame.ident, frame.meta["code"]), (ERROR, 0, "protocol"))
        self.assertEqual(worker.process.wait(60), 1)

    def test_cancel(self):
        rows = {"plain": "", "polite": "signal.signal(15, lambda *_: (here('bye'), os._exit(0)))",
                "stubborn": "signal.signal(15, signal.SIG_IGN)", "stopped": "os.kill(os.getpid(), 19)"}
        for name, does in rows.items():
            with self.subTest(name=name):
                worker = self.worker(f"if x == b'on': return x\nhere('pid.' + str(os.getpid()))\n{does}\n"
                                     "here('here')\ntime.sleep(1000)", ", concurrency=2")
                ident = worker.ask()
                wait_for(lambda: list(Path(worker.folder).glob("pid.*")), "a pid")  # pylint: disable=W0640
                if name != "stopped":
                    self.wait_here(worker, "here")
                pid = int(next(Path(worker.folder).glob("pid.*")).suffix[1:])
                worker.send(CANCEL, ident)
                frame = worker.receive()
                self.assertEqual((frame.kind, frame.ident, frame.meta),
                                 (ERROR, ident, {"code": "cancelled", "message": "as asked"}))
                self.assertTrue(is_gone(pid))
                self.assertEqual(Path(worker.folder, "bye").exists(), name == "polite")
                worker.send(CANCEL, ident)  # late
                self.assertEqual(worker.result(b"on").body, b"on")

    def test_deadline(self):
        worker = self.worker("if x: time.sleep(1000)\nreturn b'ok'")
        error = worker.error(b"x", {**BYTES, "deadline_ms": 50})
        self.assertEqual(error["code"], "deadline")
        error = worker.error(b"", {**BYTES, "deadline_ms": 0})
        self.assertEqual(error["code"], "deadline")
        self.assertEqual(worker.result(b"", {**BYTES, "deadline_ms": 60000}).body, b"ok")

    def test_what_a_run_leaves_behind_ends_with_it(self):
        worker = self.worker("child = subprocess.Popen(['sleep', '1000'])\n"
                             "if x == b'hang': here('here'); time.sleep(1000)\n"
                             "if x == b'die': print(child.pid, flush=True); os._exit(1)\n"
                             "return str(child.pid)")
        pid = int(worker.result(b"x").body)
        wait_for(lambda: is_gone(pid), "its end")
        worker.error(b"die")
        wait_for(lambda: is_gone(int(worker.log())), "its end")
        ident = worker.ask(b"hang")
        self.wait_here(worker, "here")
        worker.send(CANCEL, ident)
        self.assertEqual(worker.receive().meta["code"], "cancelled")
        self.wait_childless(worker)

    def test_no_zombies_and_no_descriptors(self):
        worker = self.worker("return x")
        worker.result(b"x")
        self.wait_childless(worker)
        before = worker.descriptors()
        for _ in range(50):
            worker.result(b"x")
        self.wait_childless(worker)
        self.assertEqual(worker.descriptors(), before)

    def test_no_orphans(self):
        """Whatever ends the one that forked."""
        def kill(worker):
            os.kill(worker.process.pid, signal.SIGKILL)

        def close(worker):
            worker.socket.close()

        def breach(worker):
            worker.socket.sendall(b"x" * 32)
        for end in (kill, close, breach):
            with self.subTest(end=end.__name__):
                worker = self.worker("signal.signal(15, signal.SIG_IGN)\nhere(x.decode())\n"
                                     "time.sleep(1000)", ", concurrency=2")
                worker.ask(b"a"), worker.ask(b"b")
                self.wait_here(worker, "a", "b")
                pids = children(worker.process.pid)
                self.assertEqual(len(pids), 2)
                end(worker)
                wait_for(lambda: all(map(is_gone, pids)), "their end")  # pylint: disable=W0640
                worker.process.wait(60)

    def test_drain_answers_what_is_open(self):
        worker = self.worker("here(x.decode())\nwhile not os.path.exists(f'{folder}/go'): "
                             "time.sleep(0.01)\nreturn x", ", concurrency=2")
        worker.ask(b"a"), worker.ask(b"b")
        worker.send(DRAIN)
        self.wait_here(worker, "a", "b")
        Path(worker.folder, "go").touch()
        self.assertEqual({worker.receive().body for _ in range(2)}, {b"a", b"b"})
        self.assertEqual(worker.socket.recv(1), b"")
        self.assertEqual(worker.process.wait(60), 0)

    def test_cannot_fork(self):
        """An error of the request, and the worker goes on."""
        worker = self.worker("return x", ", concurrency=2", before="""
import resource
@mer.load
def load():
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    try:
        while True:
            os.dup(0)
    except OSError:
        pass""")
        error = worker.error(b"x")
        self.assertEqual((error["code"], error["message"]), ("internal", "cannot fork: Too many open files"))
        worker.ping()
        self.assertEqual(worker.drain(), 0)


class SlowReader(Case):
    def test_memory_is_flat(self):
        """Nobody reads the answers: the children wait, and a cancel still comes through."""
        worker = self.worker("here('here')\nwhile True: yield x * 1000", ", concurrency=2")
        worker.ask(b"warm")
        worker.send(CANCEL, 1)
        self.read_to_error(worker, 1)
        before = worker.status("VmRSS")
        ident = worker.ask(b"x" * 1000)
        self.wait_here(worker, "here")
        wait_for(lambda: all(self.sleeps(pid) for pid in children(worker.process.pid)), "full pipes")
        worker.send(CANCEL, ident)
        self.wait_killed(worker)
        self.assertLess(worker.status("VmHWM") - before, FLAT_KIB)
        self.read_to_error(worker, ident)
        worker.send(DRAIN)
        self.assertEqual(worker.process.wait(60), 0)

    def test_killed_in_the_middle_of_a_frame(self):
        """The rest of it does not come, and nobody is the wiser."""
        worker = self.worker("here(x.decode())\nif x == b'big': return bytes(64 << 20)\nreturn x",
                             ", concurrency=2")
        ident = worker.ask(b"big")
        self.wait_here(worker, "big")
        pid, = children(worker.process.pid)
        os.kill(pid, signal.SIGKILL)
        frame = worker.receive()
        if frame.kind != RESULT:  # it may have been quicker
            self.assertEqual((frame.ident, frame.kind), (ident, ERROR))
            self.assertIn("SIGKILL", frame.meta["message"])
        self.assertEqual(worker.result(b"small").body, b"small")

    @staticmethod
    def sleeps(pid):
        text = Path("/proc", str(pid), "stat").read_text(encoding="latin-1")
        return text.rpartition(") ")[2][0] == "S"

    @staticmethod
    def wait_killed(worker):
        wait_for(lambda: all(state == "Z" for state in children(worker.process.pid).values()), "an end")

    @staticmethod
    def read_to_error(worker, ident):
        while True:
            frame = worker.receive()
            if frame.kind == ERROR:
                assert (frame.ident, frame.meta["code"]) == (ident, "cancelled"), frame
                return


class Connections(Case):
    def test_over_stdio(self):
        with Worker(model("print('stray')\nreturn x[::-1]"), stdio=True) as worker:
            data = os.urandom(3 * MIB)
            self.assertEqual(worker.result(data).body, data[::-1])
            self.assertIn("stray", worker.log())
            self.assertEqual(worker.drain(), 0)

    def test_answers_nothing_while_it_loads_and_then_all(self):
        with Worker(model("return x", before="@mer.load\ndef load():\n    here('loading')\n"
                          "    while not os.path.exists(f'{folder}/go'): time.sleep(0.01)"),
                    ready=False) as worker:
            worker.send(HELLO, 0, {"versions": [1], "max_body": 1 << 30})
            self.wait_here(worker, "loading")
            Path(worker.folder, "go").touch()
            worker.until(2)
            worker.socket.sendall(b"".join(pack(INFER, i, BYTES, b"%d" % i) for i in (1,)))
            self.assertEqual(worker.receive().body, b"1")

    def test_no_hello(self):
        with Worker(model("return x"), ready=False) as worker:
            worker.send(INFER, 1, BYTES, b"x")
            frame = worker.receive()
            self.assertEqual((frame.kind, frame.ident, frame.meta["code"]), (ERROR, 0, "protocol"))
            self.assertEqual(worker.process.wait(60), 1)
            self.assertEqual(worker.log(), "mer: the first frame is no hello\n")

    def test_load_fails(self):
        with Worker(model("return x", before="@mer.load\ndef load(): 1 / 0"), ready=False) as worker:
            worker.send(HELLO, 0, {"versions": [1], "max_body": 1 << 30})
            frame = worker.receive()
            self.assertEqual((frame.kind, frame.ident, frame.meta["code"]), (ERROR, 0, "load"))
            self.assertEqual(worker.process.wait(60), 1)


if __name__ == "__main__":
    main("__main__")

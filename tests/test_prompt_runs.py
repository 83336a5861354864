#!/usr/bin/python3
"""Runs at the prompt of mer: what is shown of one that is under way, those in the background, conversations,
and the settings that they go by. MER_PREFIX names the installation, MER_SOURCE the source tree. Prints TAP when
run as a program."""
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import pexpect

from prompt_case import DEADLINE_S, MER, PROMPT, PromptCase, plain

PYTHON = Path(os.environ["MER_SOURCE"]) / "python"
UID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
ERASE = "\r\033[K"

# It says how far it is, and goes on when somebody writes a line into the fifo.
STEPS = """
import sys
sys.path.insert(0, PYTHON)
import mer

@mer.model
def answer(text: str):
    fifo = open(text)
    for line in fifo:
        word, *rest = line.split(maxsplit=1)
        if word == "say":
            yield rest[0].rstrip("\\n").replace("/", "\\n")
        else:
            mer.progress(float(word), 10, rest[0].rstrip("\\n") if rest else None)
    yield "end\\n"

mer.serve()
"""

# It counts the lines of its session.
COUNT = """
import sys
print("@!#READY#!@", flush=True)
n, lines = 0, []
for line in sys.stdin:
    line = line.rstrip("\\n")
    if line == "@!#EXIT#!@":
        break
    if line == "@!#START#!@":
        lines = []
    elif line == "@!#STOP#!@":
        n += 1
        print("@!#START#!@", f"{n}: {' '.join(lines)}", sep="\\n", flush=True)
        if lines == ["hang"]:
            sys.stdin.readline()
        print("@!#STOP#!@", flush=True)
    else:
        lines.append(line)
"""

MODELS = {
    "echo": ["--", "cat"],
    "gate": ["--", "sh", "-c", "read fifo; echo begin; cat \"$fifo\""],
    "slow": ["--", "sh", "-c", "echo begin; exec sleep 60"],
    "fail": ["--", "sh", "-c", "echo some; exit 3"],
    "red": ["--", "printf", "\\033[31mred"],
    "stubborn": ["--", "sh", "-c", "trap 'echo >termed' TERM; echo begin; >begun; while :; do read x <never; done"],
    "much": ["--max-output", "1GiB", "--", "sh", "-c", "head -c 300M /dev/zero; exec sleep 60"],
    "count": ["--protocol", "token", "--stateful", "--max-workers", "1", "--", sys.executable, "count.py"],
    "steps": ["--protocol", "frame", "--", sys.executable, "steps.py"],
}


class Gate:
    """The writing end of a fifo that a model reads."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self.file = None

    def say(self, text):
        deadline = time.monotonic() + DEADLINE_S
        while self.file is None:  # until the model has opened its end
            try:
                self.file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK), "w")
            except OSError as error:
                if error.errno != errno.ENXIO or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        self.file.write(text)
        self.file.flush()

    def close(self):
        if self.file is not None:
            self.file.close()
            self.file = None


class Case(PromptCase):
    MODELS = MODELS

    def setUp(self):
        super().setUp()
        (self.folder / "count.py").write_text(COUNT)
        (self.folder / "steps.py").write_text(STEPS.replace("PYTHON", repr(str(PYTHON))))
        os.mkfifo(self.folder / "never")

    def gate(self, name="fifo"):
        gate = Gate(self.folder / name)
        self.addCleanup(gate.close)
        return gate

    def spawn(self, *args, size=(24, 160), **how):
        return super().spawn(*args, size=size, **how)

    def statuses(self):
        return [run["status"] for run in self.log()]

    def wait_for(self, path):
        deadline = time.monotonic() + DEADLINE_S
        while not path.exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def background(self, child, line):
        """Runs it in the background; its uid."""
        said = self.say(child, line + " &")
        uid = said.partition("\n")[0]  # behind it is what has ended meanwhile
        self.assertRegex(uid, rf"\A{UID}\Z")
        return uid

    def runs(self, child):
        said = self.say(child, "runs --json")
        return json.JSONDecoder().raw_decode(said)[0]  # behind it is what has ended meanwhile

    def until(self, child, condition):
        """Asks for the runs in the background until they are so."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(runs := self.runs(child)):
            self.assertLess(time.monotonic(), deadline, runs)
        return runs

    def ended(self, child, uid):
        self.until(child, lambda runs: all(run["status"] not in ("queued", "running")
                                           for run in runs if run["request_uid"] == uid))


class Progress(Case):
    def gone(self, text):
        """Nothing is left of a line that may have come back."""
        self.assertNotIn("(", text.rpartition(ERASE)[2])

    def test_shown_and_gone(self):
        gate = self.gate()
        child = self.spawn()
        child.sendline(f"run steps {gate.path}")
        child.expect_exact("- steps (")
        gate.say("2 reading\n")
        child.expect_exact(" 20% steps: reading (")
        gate.say("5 \033[31mred\x9b\n")
        child.expect_exact(" 50% steps: ^[[31mred^[[ (")
        gate.say("say one/two/\n")
        child.expect_exact(ERASE)
        child.expect_exact("one\r\ntwo\r\n")
        gate.say("7\n")
        child.expect_exact(" 70% steps (")
        gate.say("say half a line\n")
        child.expect_exact(ERASE)
        child.expect_exact("half a line")
        gate.say("9\nsay  and its end/\n")
        child.expect_exact("and its end\r\n")
        self.assertNotIn("90%", child.before)
        self.assertNotIn(ERASE, child.before)
        gate.close()
        child.expect_exact("end\r\n")
        child.expect_exact(PROMPT)
        self.gone(child.before)
        self.leave(child)

    def test_spinner(self):
        """Of a model that says nothing; at most ten times a second."""
        gate = self.gate()
        child = self.spawn()
        begin = time.monotonic()
        child.sendline(f"run gate {gate.path}")
        child.expect_exact("begin")
        turns = "-\\|/-\\|/"
        for turn in turns:
            child.expect_exact(f"{turn} gate (")
        self.assertLess(len(turns), (time.monotonic() - begin) / 0.1 + 1)
        gate.say("done\n")
        gate.close()
        child.expect_exact(ERASE)
        child.expect_exact("done\r\n")
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_width(self):
        gate = self.gate()
        child = self.spawn(size=(24, 20))
        child.sendline(f"run steps @in")
        child.expect_exact("mer: ")
        child.expect_exact(PROMPT)
        (self.folder / "in").write_text(str(gate.path))
        child.sendline("run steps @in")
        gate.say("2 " + "äöü" * 20 + "\n")
        child.expect_exact("\r 20% steps: äöüäöüä\033[K")
        gate.close()
        child.expect_exact("end\r\n")
        child.expect_exact(PROMPT)
        self.leave(child)

    def silent(self, *args, stderr=None):
        gate = self.gate(f"fifo{len(list(self.folder.iterdir()))}")
        words = [MER, *args, "run", "steps", str(gate.path)]
        if stderr is not None:
            words = ["/bin/sh", "-c", '"$@" 2>err', "sh", *words]
        child = self.spawn(*words[1:], program=words[0], prompt=None)
        gate.say("2 reading\n")
        gate.say("say begun/\n")
        child.expect_exact("begun\r\n")
        self.assertEqual("", plain(child.before))
        # Longer than the moment after which it would be shown.
        with self.assertRaises(pexpect.TIMEOUT):
            child.expect(".", timeout=0.7)
        gate.close()
        child.expect(pexpect.EOF)
        self.assertEqual("end\r\n", child.before)

    def test_where_it_is_not_shown(self):
        self.silent("--quiet")
        self.silent(stderr="err")
        self.assertEqual("", (self.folder / "err").read_text())
        self.env["TERM"] = "dumb"
        self.silent()

    def test_batch_on_a_terminal(self):
        gate = self.gate()
        child = self.spawn("run", "steps", str(gate.path), prompt=None)
        gate.say("3 x\n")
        child.expect_exact(" 30% steps: x (")
        gate.close()
        child.expect_exact(ERASE)
        child.expect_exact("end\r\n")
        child.expect(pexpect.EOF)
        self.gone(child.before)

    def test_training(self):
        gate = self.gate()
        (self.folder / "trained.py").write_text(f"""
import sys
sys.path.insert(0, {str(PYTHON)!r})
import mer

@mer.model
def answer(text: str):
    return text

@mer.train
def train(job):
    fifo = open(job.dataset)
    for line in fifo:
        mer.progress(float(line), 4, "epoch")
    with open(job.new_weights, "w") as file:
        file.write("w")
    return {{}}

mer.serve()
""")
        child = self.spawn("--allow-changes")
        self.say(child, f"model add learner --protocol frame -- {sys.executable} trained.py")
        child.sendline(f"train learner --dataset {gate.path}")
        gate.say("1\n")
        child.expect_exact(" 25% learner: epoch (")
        gate.say("3\n")
        child.expect_exact(" 75% learner: epoch (")
        gate.close()
        child.expect_exact(ERASE)
        child.expect_exact("weights '1' of model 'learner' are there")
        child.expect_exact(PROMPT)
        self.leave(child)


class Foreground(Case):
    def test_streams(self):
        """What a model says appears while it goes on, of once and of frames."""
        for model, words in (("gate", ("one\n", "two", "\n")), ("steps", ("say one/\n", "say two\n", "say /\n"))):
            gate = self.gate(model)
            child = self.spawn()
            child.sendline(f"run {model} {gate.path}")
            gate.say(words[0])
            child.expect_exact("one\r\n")
            gate.say(words[1])
            child.expect_exact("two")
            gate.say(words[2])
            gate.close()
            child.expect_exact("\r\n")
            child.expect_exact(PROMPT)
            self.leave(child)

    def test_interrupts(self):
        """The first asks a model that does not listen, the second kills it; the prompt stays."""
        child = self.spawn()
        child.sendline("run stubborn x")
        child.expect_exact("begin")
        child.sendintr()
        self.wait_for(self.folder / "termed")
        child.sendintr()
        child.expect_exact("mer: the run of model 'stubborn' was cancelled")
        child.expect_exact(PROMPT)
        self.assertEqual("next\n", self.say(child, "run echo next"))
        self.leave(child)
        self.assertEqual(["ok", "cancelled"], self.statuses())
        self.assertEqual("SIGKILL", self.log()[1]["signal"])


class Background(Case):
    def test_wait(self):
        gate = self.gate()
        child = self.spawn()
        uid = self.background(child, f"run gate {gate.path}")
        gate.say("one\n")
        self.assertEqual("next\n", self.say(child, "run echo next"))
        run, = self.until(child, lambda runs: runs[0]["status"] == "running")
        self.assertEqual((uid, "gate", None, None),
                         (run["request_uid"], run["model"], run["progress"], run["message"]))
        self.assertGreater(run["elapsed_ms"], 0)
        child.sendline(f"wait {uid}")
        child.expect_exact("begin\r\none\r\n")
        gate.say("two\n")
        child.expect_exact("two\r\n")
        gate.close()
        child.expect_exact(PROMPT)
        self.assertEqual([], self.runs(child))
        self.assertIn(f"mer: there is no run '{uid}' in the background", self.say(child, f"wait {uid}"))
        self.leave(child)
        self.assertEqual({"ok"}, set(self.statuses()))

    def test_wait_for_one_that_has_ended(self):
        child = self.spawn()
        echo, fail, red = (self.background(child, f"run {model} hello") for model in ("echo", "fail", "red"))
        for uid in (echo, fail, red):
            self.ended(child, uid)
        self.assertEqual("hello\n", self.say(child, f"wait {echo}"))
        self.assertEqual("some\nmer: model 'fail' failed: the model ended with exit code 3\n",
                         self.say(child, f"wait {fail}"))
        self.assertEqual("^[[31mred\n", self.say(child, f"wait {red}"))
        self.leave(child)

    def test_says_so_at_the_next_prompt(self):
        child = self.spawn()
        gate = self.gate()
        uid = self.background(child, f"run gate {gate.path}")
        other = self.background(child, "run fail x")
        gate.say("")
        gate.close()
        told = ""
        deadline = time.monotonic() + DEADLINE_S
        while len(re.findall("has ended", told)) < 2:
            self.assertLess(time.monotonic(), deadline)
            told += self.say(child, "")
        self.assertRegex(told, rf"(?m)^run {uid} of model 'gate' has ended after [0-9.]+m?s: ok$")
        self.assertRegex(told, rf"(?m)^run {other} of model 'fail' has ended after [0-9.]+m?s: failed, model 'fail' ")
        self.assertEqual("", self.say(child, ""))
        self.leave(child)

    def test_runs_shows_progress(self):
        gate = self.gate()
        child = self.spawn()
        uid = self.background(child, f"run steps {gate.path}")
        gate.say("4 \033]0;x\x07half way\n")
        run, = self.until(child, lambda runs: runs[0]["progress"])
        self.assertEqual(("40%", "^[]0;x^Ghalf way"), (run["progress"], run["message"]))
        for said, far, message in (("1e308 over", "100%", "over"), ("-5 under", "0%", "under"),
                                   ("9.99999 " + "ä" * 1000, "99%", "ä" * 100)):
            gate.say(said + "\n")
            self.until(child, lambda runs: (runs[0]["progress"], runs[0]["message"]) == (far, message))
        gate.say("4 x\n")
        self.until(child, lambda runs: runs[0]["progress"] == "40%")
        table = self.say(child, "runs")
        self.assertRegex(table, rf"(?m)^{uid} +steps +running +\d+ +40% +")
        gate.close()
        self.ended(child, uid)
        self.assertEqual("end\n", self.say(child, f"wait {uid}"))
        self.leave(child)

    def test_cancel(self):
        child = self.spawn()
        uid = self.background(child, "run slow x")
        self.until(child, lambda runs: runs[0]["status"] == "running")
        self.assertEqual("", self.say(child, f"cancel {uid}"))
        self.ended(child, uid)
        self.assertIn(f"mer: run '{uid}' has ended: cancelled", self.say(child, f"cancel {uid}"))
        self.assertIn("mer: the run of model 'slow' was cancelled\n", self.say(child, f"wait {uid}"))
        self.leave(child)
        self.assertEqual(["cancelled"], self.statuses())

    def test_cancel_kills(self):
        for kill in (lambda uid: f"cancel {uid}", lambda uid: f"cancel --kill {uid}"):
            child = self.spawn()
            uid = self.background(child, "run stubborn x")
            self.wait_for(self.folder / "begun")
            (self.folder / "begun").unlink()
            self.say(child, f"cancel {uid}")
            self.say(child, kill(uid))
            self.ended(child, uid)
            self.leave(child)
        self.assertEqual([("cancelled", "SIGKILL")] * 2, [(run["status"], run["signal"]) for run in self.log()])

    def test_interrupt_while_waiting(self):
        child = self.spawn()
        uid = self.background(child, "run slow x")
        child.sendline(f"wait {uid}")
        child.expect_exact("begin")
        child.sendintr()
        child.expect_exact("mer: the run of model 'slow' was cancelled")
        child.expect_exact(PROMPT)
        self.assertEqual([], self.runs(child))
        self.leave(child)
        self.assertEqual(["cancelled"], self.statuses())

    def test_interrupt_at_the_prompt(self):
        """It clears the line, and leaves the background alone."""
        gate = self.gate()
        child = self.spawn()
        uid = self.background(child, f"run gate {gate.path}")
        gate.say("x")
        child.send("bogus")
        child.expect_exact("bogus")
        child.sendintr()
        child.expect_exact(PROMPT)
        child.sendline("run slow x")
        child.expect_exact("begin")
        child.sendintr()
        child.expect_exact("cancelled")
        child.expect_exact(PROMPT)
        gate.close()
        self.ended(child, uid)
        self.assertEqual("begin\nx\n", self.say(child, f"wait {uid}"))
        self.leave(child)

    def test_prefixes(self):
        child = self.spawn()
        first, second = self.background(child, "run echo 1"), self.background(child, "run echo 2")
        self.ended(child, first)
        self.ended(child, second)
        same = os.path.commonprefix([first, second])
        self.assertIn(f"mer: the uids of 2 runs begin with '{same}'", self.say(child, f"wait {same}"))
        self.assertEqual("2\n", self.say(child, "wait " + second[:len(same) + 1]))
        self.assertIn("mer: UID: it is empty", self.say(child, "wait ''"))
        self.assertIn("mer: there is no run 'zz' in the background", self.say(child, "cancel zz"))
        self.assertEqual("1\n", self.say(child, "wait " + first[:8]))
        self.leave(child)

    def test_objects_and_tensors(self):
        child = self.spawn()
        uid = self.background(child, "run --json echo hello")
        self.ended(child, uid)
        got = json.loads(self.say(child, f"wait {uid}"))
        self.assertEqual((uid, "ok", "hello"), (got["request_uid"], got["status"], got["output"]))
        self.assertIn("--tensor-out: such a run cannot go", self.say(child, "run echo x -o y=@z &"))
        self.assertIn("--lines: such a run cannot go", self.say(child, "run echo --lines @in &"))
        self.leave(child)

    def test_what_is_no_background(self):
        child = self.spawn()
        for line, out in (("run echo '&'", "&\n"), ("run echo x \\&", "x &\n"), ("run echo x& ", "x&\n"),
                          ("run echo x # y &", "x\n"), ("run echo '&' # &", "&\n")):
            self.assertEqual(out, self.say(child, line), line)
        self.assertIn("mer: 'model list' cannot go to the background", self.say(child, "model list &"))
        self.assertIn("mer: there is no model 'nosuch'", self.say(child, "run nosuch x &"))
        self.assertIn("mer: no command: '&'", self.say(child, "&").replace("such command", "command"))
        self.assertEqual([], self.runs(child))
        self.leave(child)

    def test_too_much(self):
        child = self.spawn()
        uid = self.background(child, "run much x")
        self.ended(child, uid)
        run, = self.runs(child)
        self.assertEqual("cancelled", run["status"])
        child.sendline(f"wait {uid}")
        child.expect_exact("^@^@")
        child.sendintr()
        child.expect_exact("mer: ")
        child.expect_exact(PROMPT)
        self.leave(child)

    # --- leaving ---

    def test_leaving_twice(self):
        for leave in ("exit", "\004"):
            child = self.spawn()
            self.background(child, "run slow x")
            self.until(child, lambda runs: runs[0]["status"] == "running")
            for _ in range(2):  # a command in between, and it is said again
                (child.sendline if leave == "exit" else child.send)(leave)
                child.expect_exact("mer: 1 run is in the background\r\n")
                child.expect_exact(PROMPT)
                self.assertEqual("mer 0.1.0\n", self.say(child, "version"))
            (child.sendline if leave == "exit" else child.send)(leave)
            child.expect_exact(PROMPT)  # what comes while the terminal changes hands may be lost
            (child.sendline if leave == "exit" else child.send)(leave)
            child.expect_exact("1 run in the background is cancelled")
            self.end(child, 0)
        self.assertEqual(["cancelled"] * 2, self.statuses())

    def test_leaving_with_ended_ones(self):
        child = self.spawn()
        self.ended(child, self.background(child, "run echo x"))
        self.leave(child)

    def test_signals(self):
        for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            child = self.spawn()
            self.background(child, "run slow x")
            self.until(child, lambda runs: runs[0]["status"] == "running")
            child.kill(number)
            self.end(child, code)
        self.assertEqual(["cancelled"] * 2, self.statuses())

    def test_batch(self):
        for line in ("runs", "wait x", "cancel x", "chat echo", "set", "run echo x &"):
            for words, given in ((["-c", line], None), ([], line + "\n")):
                done = subprocess.run([MER, *words], env=self.env, input=given, capture_output=True, text=True,
                                      timeout=DEADLINE_S)
                self.assertEqual((2, ""), (done.returncode, done.stdout), line)
                self.assertRegex(done.stderr, r"\Amer: (-c|stdin):1: '[a-z&]+' is for the prompt.*\nhint: .*\n\Z")
        done = subprocess.run([MER, "run", "echo", "x", "&"], env=self.env, capture_output=True, text=True,
                              timeout=DEADLINE_S)
        self.assertEqual((0, "x &", ""), (done.returncode, done.stdout, done.stderr))


class Chat(Case):
    def chat(self, child, line):
        return self.say(child, line, self.prompt)

    def test_session(self):
        self.prompt = "count> "
        child = self.spawn()
        for _ in range(2):  # the first one's worker, the only one, is gone
            self.assertEqual("", self.say(child, "chat count", self.prompt))
            self.assertEqual("1: hello\n", self.chat(child, "hello"))
            self.assertEqual("", self.chat(child, ""))
            self.assertEqual("2: 'it isn't\n", self.chat(child, "'it isn't"))
            self.assertEqual("3: /help\n", self.chat(child, "//help"))
            child.sendeof()
            child.expect_exact(PROMPT)
        self.assertEqual("next\n", self.say(child, "run echo next"))
        self.leave(child)
        history = (self.folder / "state" / "mer" / "history").read_text()
        self.assertEqual("chat count\nrun echo next\n", history)
        self.assertEqual(["ok"] * 7, self.statuses())

    def test_words(self):
        self.prompt = "count> "
        child = self.spawn()
        self.say(child, "chat count", self.prompt)
        self.assertIn("mer: nothing has been answered", self.chat(child, "/feedback 5"))
        self.chat(child, "hello")
        self.assertIn("mer: RATING: '6' is not 1 to 5", self.chat(child, "/feedback 6"))
        self.assertIn("mer: RATING: '' is not 1 to 5", self.chat(child, "/feedback"))
        self.assertEqual("rated 2\n", self.chat(child, "/feedback 2 not  so good"))
        self.assertIn("mer: no such word to mer: '/bogus'", self.chat(child, "/bogus x"))
        self.assertIn("/feedback 1-5", self.chat(child, "/help"))
        child.sendline("/quit")
        child.expect_exact(PROMPT)
        rated = json.loads(self.say(child, "feedback export count"))
        self.assertEqual((2, "not  so good"), (rated["rating"], rated["note"]))
        self.leave(child)

    def test_interrupt(self):
        """It cancels the answer, or clears the line; the conversation goes on."""
        self.prompt = "count> "
        child = self.spawn()
        self.say(child, "chat count", self.prompt)
        child.sendline("hang")
        child.expect_exact("1: hang")
        child.sendintr()
        child.expect_exact("was cancelled")
        child.expect_exact(self.prompt)
        child.send("bogus")
        child.expect_exact("bogus")
        child.sendintr()
        child.expect_exact(self.prompt)
        self.assertIn("1: again\n", self.chat(child, "again"))
        child.sendeof()
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_interrupt_of_frames(self):
        """A worker that knows cancel goes on with what it remembers."""
        (self.folder / "talk.py").write_text(f"""
import sys, time
sys.path.insert(0, {str(PYTHON)!r})
import mer
lines = 0

@mer.model
def answer(text: str):
    global lines
    lines += 1
    yield f"{{lines}}: {{text}}\\n"
    while text == "hang":
        yield ""
        time.sleep(0.01)

mer.serve()
""")
        self.prompt = "talk> "
        child = self.spawn("--allow-changes")
        self.say(child, f"model add talk --protocol frame --stateful -- {sys.executable} talk.py")
        self.say(child, "chat talk", self.prompt)
        self.assertEqual("1: hello\n", self.chat(child, "hello"))
        child.sendline("hang")
        child.expect_exact("2: hang")
        child.sendintr()
        child.expect_exact("was cancelled")
        child.expect_exact(self.prompt)
        self.assertEqual("3: again\n", self.chat(child, "again"))
        child.sendeof()
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_streams(self):
        self.prompt = "steps> "
        gate = self.gate()
        child = self.spawn()
        self.say(child, "chat steps", self.prompt)
        child.sendline(gate.path.name)
        gate.say("say one/\n")
        child.expect_exact("one\r\n")
        gate.say("say two/\n")
        child.expect_exact("two\r\n")
        gate.close()
        child.expect_exact(self.prompt)
        child.sendeof()
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_not_stateful(self):
        self.prompt = "echo> "
        child = self.spawn()
        self.assertEqual("model 'echo' is not stateful: it answers each line by itself\n",
                         self.say(child, "chat echo", self.prompt))
        self.assertEqual("hello\n", self.chat(child, "hello"))
        child.sendeof()
        child.expect_exact(PROMPT)
        self.assertIn("mer: there is no model 'nosuch'", self.say(child, "chat nosuch"))
        self.leave(child)

    def test_failure_goes_on(self):
        self.prompt = "fail> "
        child = self.spawn()
        self.say(child, "chat fail", self.prompt)
        for _ in range(2):
            self.assertRegex(self.chat(child, "x"), r"\Asome\nmer: model 'fail' failed: .*3\n\Z")
        child.kill(signal.SIGTERM)
        self.end(child, 143)


class Set(Case):
    def test_list(self):
        self.env["MER_TIMEOUT"] = "5m"
        (self.folder / "env").write_text("MER_TIMING=off\n")
        child = self.spawn("--env-file", "env", "--log", "error")
        got = {row["name"]: (row["value"], row["from"]) for row in json.loads(self.say(child, "set --json"))}
        self.assertEqual({"format": ("table", "default"), "keep-going": ("off", "default"),
                          "quiet": ("off", "default"), "timeout": ("5m", "environment"), "timing": ("off", "file"),
                          "no-color": ("off", "default"), "log": ("error", "command line")}, got)
        self.leave(child)

    def test_change(self):
        child = self.spawn()
        self.assertEqual("", self.say(child, "set format jsonl"))
        self.assertEqual({"name": "format", "value": "jsonl", "from": "set"},
                         {key: value for key, value in json.loads(self.say(child, "set format")).items()
                          if key != "meaning"})
        self.assertEqual('{"version":"0.1.0"}\n', self.say(child, "version"))
        self.say(child, "set format table")
        self.say(child, "set timeout 50ms")
        self.assertIn("mer: model 'slow' gave no answer within 50ms", self.say(child, "run slow x"))
        child.sendline("run slow x --timeout 1h")
        child.expect_exact("begin")
        child.sendintr()
        child.expect_exact(PROMPT)
        self.say(child, "set timeout 1h")
        self.say(child, "set log debug")
        self.assertIn("debug ", self.say(child, "run echo x"))
        self.say(child, "set log off")
        self.assertEqual("x\n", self.say(child, "run echo x"))
        self.say(child, "set timing on")
        self.assertRegex(self.say(child, "version"), r"\Amer 0.1.0\ntime: [0-9.]+ms\n\Z")
        self.say(child, "set timing off")
        self.assertEqual("mer 0.1.0\n", self.say(child, "version"))
        self.say(child, "set quiet on")
        self.assertNotIn("hint", self.say(child, "bogus"))
        self.leave(child)

    def test_refused(self):
        child = self.spawn()
        for line, says in (("set bogus", "mer: no such setting: 'bogus'"),
                           ("set formt json", "hint: did you mean 'format'?"),
                           ("set format bogus", "mer: format: 'bogus' is none of table, json, jsonl, csv, plain"),
                           ("set timeout x", "mer: timeout: "), ("set timeout 0", "mer: timeout: '0' is too small"),
                           ("set timing maybe", "mer: timing: not on or off: 'maybe'"),
                           ("set log bogus", "mer: not a log setting: 'bogus'"),
                           ("set database sqlite:x", "mer: no such setting: 'database'"),
                           ("set format json more", "mer: ")):
            self.assertIn(says, self.say(child, line), line)
        self.assertIn("default", self.say(child, "set format"))
        self.leave(child)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

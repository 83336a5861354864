#!/usr/bin/python3
"""Workers of the frame protocol, on the programs as users get them: what works, and everything that can
go wrong between mer and a worker. As in test_faults: whatever happens, mer says one line and ends with
the code of its contract, the run has one row with a status that is true, and nothing is left behind.

MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import random
import signal
import sys
import time
import unittest
from pathlib import Path

import test_faults
from test_faults import DEADLINE_S, FLAT_KIB, MEASURE, MER, MIB, each, sha256

FRAMES = Path(__file__).with_name("frames.py").read_text(encoding="utf-8")
GIB = 1 << 30

# A worker that answers what each run's input says; {before} comes before it is ready. Names for rows:
# wire, number and data of the run; home, where a file tells the test how far it is.
WORKER = """#!/usr/bin/python3 -uIS
{frames}
import threading, time
from pathlib import Path
home = Path(os.environ["HOME"])
(home / "ran").touch()

def here():
    (home / "here").touch()

def hang():
    here()
    time.sleep(1000)

wire = Wire()
{before}
while True:
    number, data = wire.request()
{answer}
"""
ECHO = "wire.answer(number, data)"
READY = "wire.ready()"
STUBBORN = "for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)\n"
HEAD_OF_ANSWER = "pack(RESULT, number, BYTES, b'x' * 1000)[:{}]"

BEFORE_READY = {
    "exits": ("sys.exit(3)", 3, "", "exit code 3"),
    "exits_well": ("sys.exit(0)", 0, "", "exit code 0"),
    "reason": ("print('no weights here', file=sys.stderr); sys.exit(1)", 1, "", "no weights here"),
    "segv": ("os.kill(os.getpid(), signal.SIGSEGV)", None, "SIGSEGV", "SIGSEGV"),
    "half_a_frame": ("wire.write(b'MERF'); sys.exit(1)", 1, "", "exit code 1 in the middle of a frame"),
}
BAD_START = {
    "prints_to_it": ("wire.write(b'Loading...\\n'); time.sleep(1000)", "wrong magic: byte 0 is 0x4c"),
    "wrong_version": ("wire.send(READY, 0, {'version': 1}, version=2); time.sleep(1000)", "version 2"),
    "says_no": ("wire.hello(); wire.send(ERROR, 0, {'code': 'load', 'message': 'no such file: w'}); "
                "sys.exit(1)", "no such file: w"),
    "speaks_another": ("wire.ready(version=7); time.sleep(1000)", "'version' is not 1"),
    "odd_contract": ("wire.ready(inputs=[{'name': 'x', 'datatype': 'float', 'shape': [1]}])", "float"),
    "answers_first": ("wire.answer(1, b'x'); time.sleep(1000)", "id 1, which is not open"),
}
NEVER_READY = {
    "silent": "time.sleep(1000)",
    "stubborn": STUBBORN + "while True: time.sleep(1)",
    "half_a_frame": "wire.write(b'MERF'); time.sleep(1000)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "only_logs": "wire.send(LOG, 0, {'level': 'info', 'message': 'soon'}); time.sleep(1000)",
}
DEATHS = {
    "exit": ("os._exit(3)", 3, "", "exit code 3"),
    "exit_well": ("os._exit(0)", 0, "", "exit code 0"),
    "reason": ("os.write(2, b'out of luck\\n'); os._exit(1)", 1, "", "out of luck"),
    "segv": ("os.kill(os.getpid(), signal.SIGSEGV)", None, "SIGSEGV", "SIGSEGV"),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", None, "SIGKILL", "SIGKILL"),
}
WHEN = {
    "before": ("", b"", "before it had answered"),
    "in_the_header": (f"wire.write({HEAD_OF_ANSWER.format(20)})", b"", "in the middle of a frame"),
    "in_the_meta": (f"wire.write({HEAD_OF_ANSWER.format(40)})", b"", "in the middle of a frame"),
    "in_the_body": (f"wire.write({HEAD_OF_ANSWER.format(55)})", b"xxx", "in the middle of a frame"),
    "between_parts": ("wire.answer(number, b'part', MORE)", b"part", "in the middle of its answer"),
}
VIOLATIONS = {
    "wrong_magic": ("wire.write(b'{\"answer\": 42}\\n')", "wrong magic"),
    "a_print_behind_a_part": ("wire.answer(number, b'', MORE); wire.write(b'done\\n')", "wrong magic"),
    "other_version": ("wire.send(RESULT, number, BYTES, version=9)", "version 9"),
    "reserved_bytes": ("wire.send(RESULT, number, BYTES, reserved=1)", "reserved"),
    "huge_body": ("wire.send(RESULT, number, BYTES, body_length=1 << 63)", "9223372036854775808 bytes"),
    "huge_meta": ("wire.send(RESULT, number, BYTES, meta_length=(1 << 32) - 1)", "4294967295 bytes"),
    "meta_is_no_object": ("wire.send(RESULT, number, b'[1]')", "no JSON object"),
    "meta_is_no_json": ("wire.send(RESULT, number, b'{')", "not JSON"),
    "other_id": ("wire.answer(number + 1, b'x')", "id 2, which is not open"),
    "greatest_id": ("wire.answer((1 << 64) - 1, b'x')", "id 18446744073709551615, which is not open"),
    "no_id": ("wire.answer(0, b'x')", "result with id 0"),
    "unknown_kind": ("wire.send(77)", "unknown kind 77"),
    "kind_of_mer": ("wire.send(DRAIN)", "drain is for mer to send"),
    "ready_again": ("wire.send(READY, 0, {'version': 1})", "ready a second time"),
    "tensor_does_not_fit": ("wire.send(RESULT, number, {'outputs': [{'name': 'y', 'datatype': 'FP32', "
                            "'shape': [2], 'parameters': {'binary_data_size': 8}}]}, b'1234567')",
                            "ends behind the body of 7 bytes"),
    "over_the_limit": ("wire.send(RESULT, number, BYTES, body_length=(1 << 28) + 5)", "over the limit"),
}
TENSOR = ("{{'outputs': [{{'name': 'y', 'datatype': '{}', 'shape': {}, 'parameters': "
          "{{'binary_data_size': {}}}}}]}}")
ANSWERS = {
    "tensor": (f"wire.send(RESULT, number, {TENSOR.format('UINT8', [4], 4)}, b'1234')", b"1234"),
    "element": (f"wire.send(RESULT, number, {TENSOR.format('BYTES', [1], 8)}, b'\\4\\0\\0\\0abcd')", b"abcd"),
    "text": ("wire.send(RESULT, number, {'content': 'text'}, 'ä'.encode())", "ä".encode()),
    "stream": ("for i in range(100): wire.answer(number, b'%d,' % i, MORE)\n    wire.answer(number, b'end')",
               b"".join(b"%d," % i for i in range(100)) + b"end"),
    "nothing": ("wire.send(RESULT, number)", b""),
    "byte_by_byte": ("for byte in pack(RESULT, number, BYTES, b'slow'): wire.write(bytes([byte]))", b"slow"),
    "new_kinds": ("wire.send(99, number, b'?', b'body', SKIP); wire.answer(number, b'x')", b"x"),
    "progress": ("wire.send(PROGRESS, number, {'done': 1, 'total': 2}); wire.answer(number, b'x')", b"x"),
    "ping": ("wire.send(PING, 0, {'n': 1}, b'body')\n"
             "    assert wire.next() == (PING, 0, ANSWER, {'n': 1}, b'body')\n"
             "    wire.answer(number, b'x')", b"x"),
    "stray_print": ("print('stray'); sys.stdout.flush(); wire.answer(number, b'x')", b"x"),
    "closes_stdout": ("os.close(1); os.close(2); wire.answer(number, b'x')", b"x"),
    "child_that_keeps_it": ("os.set_inheritable(wire.to, True)\n    if os.fork() == 0: time.sleep(1000)\n"
                            "    wire.answer(number, b'x')", b"x"),
    "session_that_keeps_it": ("if os.fork() == 0: os.setsid(); time.sleep(1000)\n"
                              "    wire.answer(number, b'x')", b"x"),
}
HANGS = {
    "hangs": "hang()",
    "stubborn": STUBBORN.replace("\n", "\n    ") + "hang()",
    "stopped": "here(); os.kill(os.getpid(), signal.SIGSTOP)",
    "half_a_frame": "wire.write(b'MERF'); hang()",
    "half_a_body": f"wire.write({HEAD_OF_ANSWER.format(55)}); hang()",
    "streams": "here()\n    while True: wire.answer(number, b'x' * 100, MORE)",
    "logs": "here()\n    while True: wire.send(LOG, number, {'level': 'info', 'message': 'x' * 100})",
}


class Frame(test_faults.Case):
    def worker(self, answer, *options, before=READY, name="m"):
        indented = "    " + answer
        text = (WORKER.replace("{frames}", FRAMES).replace("{before}", before)
                .replace("{answer}", indented))
        self.add(name, self.script(text, name), options=("--protocol", "frame", *options))

    # --- what works ---

    @each({
        "plain": (b"hello",), "empty": (b"",), "nul": (b"a\0b",), "all": (bytes(range(256)),),
        "frame_like": (b"MERF\1\4" + bytes(26),), "large": (random.Random(1).randbytes(10 * MIB),),
    })
    def arrives(self, data):
        self.worker(ECHO)
        self.mer("run", "m", "-", data=data, out=data)
        self.one_row("ok", bytes_in=len(data), bytes_out=len(data), sha256_in=sha256(data),
                     sha256_out=sha256(data))

    @each(ANSWERS)
    def answers(self, how, out):
        self.worker(how)
        self.mer("run", "m", "x", out=out)
        self.one_row("ok", bytes_out=len(out))

    def test_lines_share_a_worker(self):
        self.worker("wire.answer(number, b'%s %d' % (data, os.getpid()))")
        got = self.mer("run", "--lines", "m", self.lines_file(*"abcdef"), out=None).split()
        self.assertEqual(got[::2], [b"a", b"b", b"c", b"d", b"e", b"f"])
        self.assertEqual(len(set(got[1::2])), 1, "several workers")
        self.assertEqual(self.statuses(), ["ok"] * 6)

    def test_ping(self):
        self.worker(ECHO)
        self.assertRegex(self.mer("model", "ping", "m", out=None), rb"ready")

    def test_finds_its_connection(self):
        """Under the number in MER_FRAME_FD; no other descriptor is inherited, and stdin is empty."""
        self.worker("wire.answer(number, json.dumps(seen).encode())", before=(
            "seen = [sorted(map(int, os.listdir('/proc/self/fd'))), wire.to, sys.stdin.read()]\n" + READY))
        fds, number, stdin = json.loads(self.mer("run", "m", "x", out=None))
        self.assertEqual((number in fds, stdin), (True, ""))
        self.assertLessEqual(len(fds), 5)  # of which one looks into the folder

    def test_hello(self):
        self.worker("wire.answer(number, json.dumps(hello).encode())", "--max-output", "1000",
                    before="hello = wire.ready()")
        hello = json.loads(self.mer("run", "m", "x", out=None))
        self.assertEqual(hello["versions"], [1])
        self.assertGreaterEqual(hello["max_body"], 1000)

    def test_drained(self):
        """It is asked to leave by a drain frame, and not hurried."""
        self.worker(ECHO, before=READY + """
request = wire.request
def until_drain():
    kind, number, _, meta, body = wire.next()
    if kind == DRAIN:
        time.sleep(0.2)
        (home / 'drained').touch()
        sys.exit(0)
    return number, body
wire.request = until_drain""")
        self.mer("run", "m", "x", out=b"x")
        self.assertTrue((self.home / "drained").exists())

    def test_weights_in_log(self):
        self.worker("wire.send(LOG, number, {'level': 'warn', 'message': 'odd input'})\n    " + ECHO)
        said = json.loads(self.mer("--json", "run", "m", "x", out=None))
        self.assertEqual((said["output"], said["stderr_tail"]), ("x", "warn: odd input\n"))

    def test_prints_are_the_run_s_log(self):
        self.worker("print('one'); print('two', file=sys.stderr)\n    " + ECHO)
        said = json.loads(self.mer("--json", "run", "m", "x", out=None))
        self.assertEqual(said["stderr_tail"], "one\ntwo\n")

    # --- errors ---

    @each({
        "model": ("model", 1), "input": ("input", 2), "unknown": ("weather", 1), "internal": ("internal", 1),
        "cancelled": ("cancelled", 1),
    })
    def error(self, code, exit_code):
        self.worker("if data != b'bad': wire.answer(number, data); continue\n    wire.send(ERROR, number, "
                    f"{{'code': '{code}', 'message': 'not this one', 'traceback': 'line 1\\nline 2'}})")
        said = json.loads(self.mer("--json", "run", "m", "bad", code=exit_code, out=None,
                                   says="model 'm' failed: not this one$"))
        self.assertEqual((said["status"], said["stderr_tail"]), ("failed", "line 1\nline 2\n"))
        self.assertIsNone(said["exit_code"])
        words = ("run", "--lines", "--keep-going", "m", self.lines_file("a", "bad", "c"))
        self.mer(*words, code=exit_code, out=b"a\n\nc\n", says="line 2.*not this one")

    def test_input_over_its_limit(self):
        self.worker(ECHO, before="wire.ready(max_body=3)")
        self.mer("run", "m", "abcd", code=2, says="4 bytes.*at most 3")
        self.one_row("rejected")
        self.mer("run", "m", "abc", out=b"abc")

    def test_output_over_its_limit(self):
        self.worker("for i in range(9): wire.answer(number, b'x' * 1000, MORE)\n    hang()",
                    "--max-output", "5000")
        self.mer("run", "m", "x", code=1, out=b"x" * 5000, says="over 5000 bytes")
        self.one_row("failed", bytes_out=5000)

    def test_two_outputs(self):
        self.worker("wire.send(RESULT, number, {'outputs': [{'name': n, 'datatype': 'UINT8', 'shape': [1], "
                    "'parameters': {'binary_data_size': 1}} for n in 'ab']}, b'xy')")
        self.mer("run", "m", "x", code=1, says="2 tensors")
        self.one_row("failed")

    # --- it does not get ready ---

    @each(BEFORE_READY)
    def dies_before_ready(self, how, exit_code, signal_name, says):
        self.worker(ECHO, before=how)
        self.mer("run", "m", "x", code=6, says=says)
        self.one_row("failed", exit_code=exit_code, signal=signal_name, bytes_in=1)
        self.mer("model", "ping", "m", code=6, says=says)

    @each(BAD_START)
    def bad_start(self, how, says):
        self.worker(ECHO, before=how)
        self.mer("run", "m", "x", code=6, says=says)
        self.one_row("failed")
        self.mer("model", "ping", "m", code=6, says=says)

    @each({name: (how,) for name, how in NEVER_READY.items()})
    def never_ready(self, how):
        self.worker(ECHO, "--start-timeout", "300ms", before=how)
        self.mer("run", "m", "x", code=7, says="ready")
        self.one_row("timeout")

    # --- it dies ---

    @each({f"{death}_{when}": (*DEATHS[death], *WHEN[when]) for death in DEATHS for when in WHEN})
    def dies(self, how, exit_code, signal_name, says, before, out, when):
        self.worker((before or "pass") + "\n    " + how)
        self.mer("run", "m", "x", code=1, out=out, says=f"{when}.*{says}|{says}.*{when}")
        self.one_row("failed", exit_code=exit_code, signal=signal_name, bytes_out=len(out))

    def test_dies_after_an_answer(self):
        self.worker("wire.answer(number, data); os._exit(3)")
        self.mer("run", "m", "x", out=b"x")
        self.mer("run", "--lines", "m", self.lines_file("a"), out=b"a\n")
        self.assertEqual(self.statuses(), ["ok", "ok"])

    def test_dies_at_a_line(self):
        self.worker("if data == b'bad': os._exit(3)\n    " + ECHO)
        words = ("run", "--lines", "--keep-going", "m", self.lines_file("a", "bad", "c"))
        self.mer(*words, code=1, out=b"a\n\nc\n", says="line 2.*exit code 3")
        self.assertEqual(self.statuses(), ["ok", "failed", "ok"])

    def test_closes_its_connection_but_lives(self):
        self.worker("wire.answer(number, b'part', MORE); os.close(wire.to); hang()")
        self.mer("run", "m", "x", code=1, out=b"part", says="in the middle of its answer")
        self.one_row("failed")

    # --- it breaks the protocol ---

    @each(VIOLATIONS)
    def violates(self, how, says):
        """The run fails with what was wrong, and the next one gets another worker."""
        self.worker(f"if data != b'bad': wire.answer(number, data); continue\n    {how}; hang()")
        self.mer("run", "m", "bad", code=1, out=None, says=f"broke the frame protocol: .*{says}")
        self.one_row("failed")
        words = ("run", "--lines", "--keep-going", "m", self.lines_file("bad", "a"))
        self.mer(*words, code=1, out=b"\na\n", says="line 1.*broke")

    def test_is_told_what_it_broke(self):
        self.worker("wire.answer(7, b'x')\n    kind, _, _, meta, _ = wire.next()\n"
                    "    (home / 'told').write_text(f\"{kind} {meta['code']} {meta['message']}\")\n"
                    "    wire.read(1)")
        self.mer("run", "m", "x", code=1, says="broke")
        self.assertEqual((self.home / "told").read_text(),
                         "5 protocol result with id 7, which is not open")

    def test_answers_twice(self):
        """The first answer counts; who speaks behind it is not trusted with another run."""
        self.worker("wire.write(2 * pack(RESULT, number, BYTES, b'%d' % os.getpid()))")
        got = self.mer("run", "--lines", "m", self.lines_file("a", "b"), out=None).split()
        self.assertEqual(len(set(got)), 2)
        self.assertEqual(self.statuses(), ["ok", "ok"])

    def test_pings_without_reading(self):
        self.worker("here()\n    while True: wire.send(PING, 0, {'n': 1}, b'x' * 64)")
        self.mer("run", "m", "x", code=1, says="does not read")
        self.one_row("failed")

    # --- deadline and cancel ---

    @each({name: (how,) for name, how in HANGS.items()})
    def times_out(self, how):
        self.worker(how)
        self.mer("run", "--timeout", "500ms", "m", "x", code=7, out=None, says="500 ?ms")
        self.one_row("timeout")

    @each({"INT": (signal.SIGINT, 130), "TERM": (signal.SIGTERM, 143)})
    def cancelled(self, number, code):
        self.worker("hang()")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.send_signal(number)
        self.finish(process, code, says="cancel|interrupt")
        self.one_row("cancelled")

    CANCELLABLE = ("if data != b'slow': wire.answer(number, b'%s %d' % (data, os.getpid())); continue\n"
                   "    got = wire.next()\n"
                   "    assert got[:2] == (CANCEL, number), got\n    ")

    @each({
        "gives_up": ("wire.send(ERROR, number, {'code': 'cancelled', 'message': 'as asked'})",),
        "answers": ("wire.answer(number, b'too late')",),
        "streams_on": ("for i in range(100): wire.answer(number, b'x' * 1000, MORE)\n"
                       "    wire.answer(number, b'')",),
        "fails": ("wire.send(ERROR, number, {'code': 'model', 'message': 'x'})",),
    })
    def is_cancelled_and_stays(self, how):
        """A run that is over its time is given up by a frame, and its worker takes the next one."""
        self.worker(self.CANCELLABLE + how)
        words = ("run", "--lines", "--keep-going", "--timeout", "500ms", "m",
                 self.lines_file("a", "slow", "c"))
        got = self.mer(*words, code=7, out=None, says="line 2.*500 ?ms").split(b"\n")
        self.assertEqual([line.split(b" ")[0] for line in got], [b"a", b"", b"c", b""])
        self.assertEqual(got[0].split(b" ")[1], got[2].split(b" ")[1], "another worker")
        self.assertEqual(self.statuses(), ["ok", "timeout", "ok"])

    def test_answers_again_after_cancel(self):
        self.worker(self.CANCELLABLE + "wire.send(ERROR, number, {'code': 'cancelled', 'message': ''})\n"
                    "    wire.answer(number, b'after all')")
        words = ("run", "--lines", "--keep-going", "--timeout", "500ms", "m",
                 self.lines_file("a", "slow"))
        got = self.mer(*words, code=7, out=None, says="line 2")
        self.assertRegex(got, rb"\Aa \d+\n\n\Z")
        self.assertEqual(self.statuses(), ["ok", "timeout"])

    def test_does_not_give_up(self):
        """Asked by a frame, then by SIGTERM; the next run gets another worker."""
        self.worker("if data == b'slow': hang()\n    wire.answer(number, b'%s %d' % (data, os.getpid()))")
        words = ("run", "--lines", "--keep-going", "--timeout", "500ms", "m",
                 self.lines_file("a", "slow", "c"))
        got = self.mer(*words, code=7, out=None, says="line 2").split(b"\n")
        self.assertEqual([line.split(b" ")[0] for line in got], [b"a", b"", b"c", b""])
        self.assertEqual(self.statuses(), ["ok", "timeout", "ok"])

    # --- much of everything ---

    def measured(self, *words):
        """Runs mer; returns its exit code, the bytes of its stdout, and its peak memory in KiB."""
        usage = self.top / "usage"
        process = self.start("-c", MEASURE, usage, MER, *words, program="/usr/bin/python3")
        size = 0
        while piece := process.stdout.read(MIB):
            size += len(piece)
        err = process.stderr.read()
        return process.wait(DEADLINE_S), size, int(usage.read_text()), err

    @each({
        "stdout": ("import os\n    for i in range(1024): os.write(1, b'x' * (1 << 20))\n    " + ECHO, 1),
        "stderr": ("for i in range(1024): os.write(2, b'y\\n' * (1 << 19))\n    " + ECHO, 1),
        "log": ("for i in range(2000): wire.send(LOG, number, {'message': 'z' * 500000})\n    " + ECHO, 1),
        "answer": ("for i in range(1024): wire.answer(number, b'x' * (1 << 20), MORE)\n    " + ECHO,
                   GIB + 1),
    })
    def floods(self, how, out):
        """1 GiB, and the memory of mer does not grow."""
        self.worker(how, "--max-output", "2GiB")
        code, size, peak, err = self.measured("run", "m", "x")
        self.assertEqual((code, size, err), (0, out, b""))
        self.assertLess(peak, FLAT_KIB)
        self.one_row("ok", bytes_out=out)

    def test_answers_before_it_has_read(self):
        """The rest of the input is sent all the same, and the next run is in step."""
        self.worker("if data == b'big': continue\n    " + ECHO, before=READY + """
def request():
    head = HEAD.unpack(wire.read(32))
    kind, number, meta, size = head[2], head[4], head[5], head[7]
    if kind == DRAIN:
        sys.exit(0)
    wire.read(meta)
    if size > 1000:
        wire.send(ERROR, number, {'code': 'input', 'message': 'too long'})
        time.sleep(0.1)
        wire.read(size)
        return number, b'big'
    return number, wire.read(size)
wire.request = request""")
        lines = self.lines_file("a", "x" * (8 * MIB), "c")
        self.mer("run", "--lines", "--keep-going", "m", lines, code=2, out=b"a\n\nc\n",
                 says="line 2.*too long")

    def test_example(self):
        """moments_frame answers as moments does, which speaks tokens."""
        path = test_faults.PREFIX / "lib/mer/models/moments/moments_frame"
        self.add("m", path, options=("--protocol", "frame"))
        for given in ("1 2 3 4 5", "1,2\n3", "-0.5e3"):
            want = self.mer("run", "moments", "--", given, out=None)
            self.mer("run", "m", "--", given, out=want)
        self.mer("run", "m", "1 two", code=2, says="failed: line 1: 'two' is not a number")
        self.mer("run", "m", "-", data=b"1\0\n2", code=2, says="not a number")

    def test_slow_worker(self):
        """One that does not read is sent no more than its connection holds."""
        self.worker("wire.answer(number, b'%d' % len(data))", before=READY + """
def slowly():
    kind, flags, number, meta, zero, size = HEAD.unpack(wire.read(32))[2:]
    wire.read(meta)
    here()
    time.sleep(0.3)
    for _ in range(size >> 20):
        wire.read(1 << 20)
    return number, b'x' * 5
first = True
def request():
    global first
    if first:
        first = False
        return slowly()
    return Wire.request(wire)
wire.request = request""")
        (self.top / "big").write_bytes(b"x" * (64 * MIB))
        self.mer("run", "m", f"@{self.top}/big", out=b"5")
        self.one_row("ok", bytes_in=64 * MIB)

    def test_slow_reader(self):
        """Where nobody reads the answer, the worker is held by its full connection."""
        self.worker("sent = 0\n    while sent < 64 << 20: wire.answer(number, b'x' * 65536, MORE); "
                    "sent += 65536; (home / 'sent').write_text(str(sent))\n    " + ECHO)
        process = self.start("run", "m", "y")
        sent = self.home / "sent"
        self.wait("it begins", lambda: sent.exists() and sent.read_text())
        last, still = None, 0
        while still < 20:
            now = sent.read_text()
            last, still = now, still + 1 if now == last else 0
            time.sleep(0.01)
        self.assertLess(int(last or 0), 32 * MIB, "it is not held")
        self.finish(process, out=b"x" * (64 * MIB) + b"y")
        self.one_row("ok")

    def test_lines_for_a_slow_reader(self):
        """A run that ends while nobody reads does not hold up the next one."""
        self.worker("wire.answer(number, data * 60000 + b'\\n')\n    if data == b'b': here()")
        process = self.start("run", "--lines", "m", self.lines_file(*"abcdefghij" * 4))
        self.wait_here()
        self.finish(process, out=b"".join(bytes([c]) * 60000 + b"\n" for c in b"abcdefghij" * 4))
        self.assertEqual(self.statuses(), ["ok"] * 40)

    def test_cancelled_for_a_slow_reader(self):
        """A run that is over its time while nobody reads gives its worker back all the same."""
        self.worker("if data != b'slow': wire.answer(number, data); continue\n"
                    "    for i in range(64): wire.answer(number, b'x' * 65536, MORE)\n"
                    "    got = wire.next(); assert got[:2] == (CANCEL, number), got\n    here()\n"
                    "    wire.send(ERROR, number, {'code': 'cancelled', 'message': ''})")
        process = self.start("run", "--lines", "--keep-going", "--timeout", "500ms", "m",
                             self.lines_file("slow", "b"))
        self.wait_here()
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 7, err)
        self.assertRegex(got, rb"\Ax*\n?b\n\Z")
        self.assertEqual(self.statuses(), ["timeout", "ok"])

    # --- the end of mer ---

    def test_mer_is_killed(self):
        self.worker("os.fork()\n    hang()")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.kill()
        process.wait()
        self.check_gone()
        self.mer("log", out=None)
        self.one_row("lost")

    def test_supervisor_is_killed(self):
        self.worker("hang()")
        process = self.start("run", "m", "x")
        self.wait_here()
        os.kill(self.child(process, "mer-guard"), signal.SIGKILL)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (1, 6), err)
        self.check_said(err, "supervisor|SIGKILL")
        self.one_row("failed")


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Frame)
    sys.exit(not runner.run(suite).wasSuccessful())

"""Whether a worker keeps to the frame protocol: `python -m mer check -- ARGV...`

Each rule has a name that stays and the words of docs/wire.md that it holds a worker to. The worker
is started a number of times, with MER_FRAME_FD and over standard input and output, and is given
what the page allows and what it forbids.
"""
from __future__ import annotations

import contextlib
import math
import os
import sys
from typing import Callable, Dict, Iterator, List, Tuple

from ._session import (HEADER, META_MAX, BODY_MAX, HELLO, READY, INFER, ERROR, CANCEL, LOG, TRAIN,
                       DRAIN, SKIP, SIZES, Violated, Closed, Silent, NotReady, pack, Options,
                       Session, tensor)

RULES = {
    # The connection
    "fd-close-on-exec": "set close-on-exec on the descriptor",
    "stray-print-is-log": "what a model prints is a log line and not a broken frame",
    "cut-anywhere": "A frame never depends on how the bytes were cut on their way",
    "eof-exits": "then the worker stops working and exits",
    # Each frame that a worker sends
    "header-magic": "the bytes `M` `E` `R` `F`",
    "header-version": "the one of hello's `versions` that is spoken from here on",
    "header-flags": "Other bits are 0 in version 1",
    "header-reserved": "reserved bytes that are not 0",
    "meta-limit": "at most 1,048,576",
    "meta-json-object": "a JSON object in UTF-8 of that many bytes",
    "body-limit": "largest body MER takes",
    "known-kind": "a kind that is unknown and not `SKIP`",
    "frame-ids": "of the request that it belongs to; 0: the connection's own",
    "error-fields": "`code`, `message` (one line); `traceback`: text for the log",
    "log-fields": "`level`: `debug` `info` `warn` `error`; `message`",
    "progress-fields": "`done`, `total`: numbers, `total` where it is known",
    # Until ready
    "ready-after-hello": "MER sends hello, with version 1 in its header whatever it speaks besides",
    "ready-or-error": "sends ready, or an error with id 0",
    "only-log-before-ready": "Frames of the kinds log and progress may come before",
    "ready-version": "`version` | the one of hello's `versions`",
    "ready-fields": "arrays of objects with `name`, `datatype`, `shape`",
    "version-refused": "none of `versions` is spoken",
    # What is not known
    "unknown-fields-ignored": "Fields of a meta object that are not known are ignored",
    "unknown-flags-ignored": "ignored by who receives them",
    "unknown-kind-skip": "who does not know this kind reads over it",
    # Requests
    "one-last-frame": "exactly one last frame: a `result` without `MORE`, or an error",
    "ids-open": "an id that is not open",
    "ids-not-reused": "After that its id is never heard of again",
    "concurrency": "how many requests it takes at a time, 1 or more",
    "reads-while-writing": "Neither side may need to write in order to read on",
    "large-body": "the largest body it takes",
    "cancel-answered": "The worker still sends its last frame",
    "late-cancel-ignored": "for an id that was answered has crossed the answer and is ignored",
    "ping-answered": "an answer has the ping's meta and body",
    "input-refused": "the input is not what the model takes",
    "train-unsupported": "a kind that the worker does not do: train",
    # Results
    "output-described": "A result says `outputs` instead of `inputs`",
    "output-sizes": "The product of shape and the size of an element is `binary_data_size`",
    "output-elements": "whose elements must end exactly there",
    "output-text": "says that it is UTF-8",
    "output-contract": "`inputs`, `outputs` | contracts",
    # The end
    "drain-answers-open": "At drain the worker answers what is open",
    "drain-exits-0": "closes the connection and exits with 0",
    # What MER must not do, and what a worker does about it
    "bad-magic-closes": "wrong magic",
    "bad-version-closes": "a version that was not agreed on",
    "bad-reserved-closes": "reserved bytes that are not 0",
    "bad-meta-closes": "a meta that is no JSON object",
    "long-meta-closes": "lengths over their limits",
    "long-body-closes": "lengths over their limits",
    "bad-sizes-close": "that do not fit the tensors",
    "unknown-kind-closes": "a kind that is unknown and not `SKIP`",
    "protocol-error": "sends `protocol` if it can and closes",
}

UNKNOWN_KIND = 200
MANY = 8  # requests at a time, of a worker that takes more
LARGE = 1024 * 1024
TAKEN_S = 0.5  # to wait for a byte to be read before the next one; a busy worker may not


class Check:
    """All conversations with one worker; `violated` has the first case of each rule."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.violated: Dict[str, str] = {}
        self.note = ""  # why it could not be checked

    @contextlib.contextmanager
    def session(self, over_stdio: bool = False) -> Iterator[Session]:
        """A start of the worker. What it violates is kept, and ends the session."""
        session = Session(self.options, over_stdio)
        session.answers_pings = "ping-answered" not in self.violated
        try:
            yield session
        except Violated as error:
            if error.rule != "stray-print-is-log" or "header-magic" not in self.violated:
                self.violated.setdefault(error.rule, error.what)
            if error.rule == "ready-or-error":
                self.note = session.log_tail()
        finally:
            session.end()

    def step(self, rule: str, *does: Callable[[], object]) -> None:
        """A worker that goes silent or away in these violates the rule."""
        try:
            for do in does:
                do()
        except (Closed, Silent) as error:
            raise Violated(rule, str(error)) from None

    def run(self) -> None:
        """All of it, unless the worker does not even get ready."""
        try:
            for over_stdio in (False, True):
                self.conversation(over_stdio)
                if "ready-or-error" in self.violated:
                    return
            self.hello_refused()
            self.left()
            self.bodies()
            self.side_by_side()
            self.forbidden()
        except NotReady as error:
            self.note = f"the worker says that it cannot serve: {error}"

    # What is allowed

    def conversation(self, over_stdio: bool) -> None:
        """One of each, then drain."""
        with self.session(over_stdio) as s:
            s.begin()
            self.close_on_exec(s)
            self.step("one-last-frame", lambda: s.send(s.request()), s.settle)
            self.step("ping-answered", s.ping)
            self.step("unknown-fields-ignored", lambda: s.send(s.request(x_new={"a": [1]})),
                      s.settle, s.ping)
            self.step("unknown-flags-ignored", lambda: s.send(s.request(flags=0x8000)), s.settle,
                      s.ping)
            self.step("unknown-kind-skip",
                      lambda: s.send(pack(UNKNOWN_KIND, 0, {"a": 1}, b"x" * 100, SKIP)), s.ping)
            self.cut(s)
            self.cancels(s)
            self.refused(s)
            self.train(s)
            self.drained(s)

    def close_on_exec(self, s: Session) -> None:
        """Where /proc tells. Of the processes that have the descriptor one must have set it: a
        shell in front of the worker has not."""
        if s.frame_fd < 0 or not os.path.isdir("/proc/self/fdinfo"):
            return
        name = f"socket:[{s.frame_inode}]"
        flags = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getpgid(int(pid)) != s.process.pid:
                    continue
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == name:
                        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                            flags += [int(line.split()[1], 8) for line in file
                                      if line.startswith("flags:")]
            except OSError:
                continue  # it ended meanwhile
        if flags and not any(flag & os.O_CLOEXEC for flag in flags):
            raise Violated("fd-close-on-exec", "the programs that the worker starts inherit it")

    def cut(self, s: Session) -> None:
        """Byte by byte, then many frames in one piece."""
        def one_by_one() -> None:
            data = pack(UNKNOWN_KIND, 0, {"a": 1}, b"x", SKIP) + s.request()
            waits = True
            for i in range(len(data)):
                s.send(data[i:i + 1])
                waits = waits and s.is_taken(TAKEN_S)
        self.step("cut-anywhere", one_by_one, s.settle, s.ping)
        count = min(MANY, s.ready.get("concurrency", 1))
        self.step("cut-anywhere" if count == 1 else "concurrency",
                  lambda: s.send(b"".join(s.request() for _ in range(count))), s.settle, s.ping)

    def cancels(self, s: Session) -> None:
        """Of a request under way, and of one that was answered."""
        def cancel_now() -> None:
            data = s.request()
            s.send(data + pack(CANCEL, s.next_id - 1))
        self.step("cancel-answered", cancel_now, s.settle)
        self.step("late-cancel-ignored", s.ping,
                  lambda: s.send(pack(CANCEL, s.next_id - 1)), s.ping)

    def refused(self, s: Session) -> None:
        """An input that is not as announced: an error of the request, and it goes on."""
        inputs = s.ready.get("inputs")
        if not inputs:
            return
        wrong = []
        for spec in inputs:
            datatype = "FP64" if spec["datatype"] != "FP64" else "INT8"
            shape = [1 if length < 0 else length for length in spec["shape"]]
            wrong.append(tensor(spec["name"], datatype, shape, math.prod(shape) * SIZES[datatype]))
        size = sum(item["parameters"]["binary_data_size"] for item in wrong)
        ident = s.next_id
        s.next_id += 1
        s.open[ident] = []
        data = pack(INFER, ident, {"inputs": wrong}, bytes(size))
        self.step("input-refused", lambda: s.send(data), s.settle, s.ping)
        last = s.answered[ident][-1]
        if last.kind != ERROR or last.meta["code"] != "input":
            raise Violated("input-refused", f"kind {last.kind} {last.meta} for {wrong[0]}"[:300])

    def train(self, s: Session) -> None:
        """Of a worker that does not: that would make weights."""
        if s.ready.get("train"):
            return
        ident = s.next_id
        s.next_id += 1
        s.open[ident] = []
        meta = {"dataset": "/dev/null", "new_weights": "/dev/null/none", "new_version": "1",
                "old_weights": "", "old_version": "", "parameters": {}}
        self.step("train-unsupported", lambda: s.send(pack(TRAIN, ident, meta)), s.settle, s.ping)
        last = s.answered[ident][-1]
        if last.kind != ERROR or last.meta["code"] != "unsupported":
            raise Violated("train-unsupported", f"kind {last.kind} {last.meta}"[:300])

    def drained(self, s: Session) -> None:
        """With a request open."""
        self.step("drain-answers-open", lambda: s.send(s.request() + pack(DRAIN, 0)), s.settle)
        try:
            while True:
                s.receive()
        except Closed:
            pass
        except Silent:
            raise Violated("drain-exits-0", "the connection is still open") from None
        code = s.exit_code("drain-exits-0")
        if code != 0:
            raise Violated("drain-exits-0", f"it exits with {code}")

    def hello_refused(self) -> None:
        """By a worker that speaks none of the versions."""
        with self.session() as s:
            s.send(pack(HELLO, 0, {"versions": [201, 202], "max_body": BODY_MAX}))
            frame = s.first()
            if frame.kind != ERROR or frame.ident != 0 or frame.meta["code"] != "version":
                raise Violated("version-refused", f"kind {frame.kind} {frame.meta}"[:300])
            s.exit_code("version-refused")

    def left(self) -> None:
        """MER leaves before hello, while idle, and in the middle of a frame."""
        with self.session() as s:
            s.close_half()
            try:
                while True:
                    if s.receive().kind == READY:
                        raise Violated("ready-after-hello", "ready without a hello")
            except Closed:
                s.exit_code("eof-exits")
            except Silent as error:
                raise Violated("eof-exits", str(error)) from None
        for half in (False, True):
            if "eof-exits" in self.violated:
                return
            with self.session() as s:
                s.begin()
                if half:
                    s.send(s.request()[:-1])
                s.close()
                s.exit_code("eof-exits")

    def bodies(self) -> None:
        """A large one, which must not be answered by a larger one than MER takes."""
        with self.session() as s:
            s.begin()
            if not s.takes_content():
                return
            size = min(LARGE, s.ready.get("max_body", BODY_MAX))
            self.step("large-body", lambda: s.send(s.request(b"1" * size)), s.settle, s.ping)
        with self.session() as s:
            s.begin(max_body=1000)
            self.step("body-limit", lambda: s.send(s.request(b"1" * min(size, 2000))), s.settle,
                      s.ping)

    def side_by_side(self) -> None:
        """More than the connection holds, while nobody reads the answers."""
        with self.session() as s:
            s.begin()
            count = min(MANY, s.ready.get("concurrency", 1))
            size = min(LARGE, s.ready.get("max_body", BODY_MAX))
            if count == 1 or not s.takes_content():
                return
            data = b"".join(s.request(b"1" * size) for _ in range(count))
            self.step("reads-while-writing", lambda: s.send(data), s.settle)

    # What is forbidden

    def forbidden(self) -> None:
        """Each closes the connection, after an error if at all."""
        wrong = tensor("x", "FP32", [2], 8)
        good = {"a": 1}
        cases: List[Tuple[str, Callable[[Session], bytes]]] = [
            ("bad-magic-closes", lambda s: b"NERF" + s.request()[4:]),
            ("bad-version-closes", lambda s: b"MERF\x09" + s.request()[5:]),
            ("bad-reserved-closes", lambda s: s.request()[:20] + b"\1" + s.request()[21:]),
            ("bad-meta-closes", lambda s: pack(INFER, 1, b"[]")),
            ("bad-meta-closes", lambda s: pack(INFER, 1, b'{"a":')),
            ("bad-meta-closes", lambda s: pack(INFER, 1, b'{"a":"\xff"}')),
            ("long-meta-closes",
             lambda s: HEADER.pack(b"MERF", 1, INFER, 0, 1, META_MAX + 1, 0, 0)),
            ("long-body-closes", lambda s: HEADER.pack(b"MERF", 1, INFER, 0, 1, 0, 0, 1 << 63)),
            ("bad-sizes-close", lambda s: pack(INFER, 1, {"inputs": [wrong]}, b"1234")),
            ("unknown-kind-closes", lambda s: pack(UNKNOWN_KIND, 0, good)),
        ]
        for rule, make in cases:
            with self.session() as s:
                s.begin()
                data = make(s)
                s.open[1] = []
                self.closes(s, rule, data)

    def closes(self, s: Session, rule: str, data: bytes) -> None:
        """Says protocol if it says anything, and closes."""
        try:
            s.send(data)
            while True:
                frame = s.receive()
                if frame.kind == ERROR and frame.ident == 0:
                    if frame.meta["code"] != "protocol":
                        raise Violated("protocol-error", f"code {frame.meta['code']!r}")
                elif frame.kind != LOG:
                    raise Violated(rule, f"it answers with kind {frame.kind} {frame.meta}"[:300])
        except Closed:
            pass
        except Silent:
            raise Violated(rule, "it keeps the connection open") from None


def main(argv: List[str]) -> int:
    """The command; its exit code."""
    import argparse
    parser = argparse.ArgumentParser(prog="python -m mer check", description="Tests a worker "
                                     "against the frame protocol. Exits 1 if it violates a rule.")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS",
                        help="what a worker may take to answer (default: 10)")
    parser.add_argument("--start-timeout", type=float, default=120.0, metavar="SECONDS",
                        help="what it may take to get ready (default: 120)")
    parser.add_argument("--input", metavar="FILE", help="the input of a worker that announces none")
    parser.add_argument("--list", action="store_true", help="print the rules, a tab before each "
                        "one's words")
    parser.add_argument("argv", nargs="*", metavar="ARGV", help="the worker, after --")
    args = parser.parse_args(argv)
    if args.list:
        print("".join(f"{name}\t{words}\n" for name, words in RULES.items()), end="")
        return 0
    if not args.argv:
        parser.error("no worker")
    options = Options(args.argv, args.timeout, args.start_timeout)
    try:
        if args.input is not None:
            with open(args.input, "rb") as file:
                options = options._replace(content=file.read())
        check = Check(options)
        check.run()
    except OSError as error:
        print(f"mer check: {error.filename or args.argv[0]}: {error.strerror}", file=sys.stderr)
        return 1
    for rule, what in check.violated.items():
        print(f"{rule}: {RULES[rule]}\n    {what}")
    if check.note:
        print(check.note, file=sys.stderr)
    print(f"{len(RULES)} rules, {len(check.violated) or 'none'} violated")
    return 1 if check.violated or check.note else 0

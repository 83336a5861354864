#!/usr/bin/python3
"""Deployments as users see them: making, showing, changing and removing them, and which of a model's
deployments a run goes to. MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import shlex
import subprocess
import sys
import unittest

import postgres
from test_cli import (DEADLINE_S, MIGRATE, PREFIX, SOURCE, UID, Case, setUpModule,  # noqa: F401
                      tearDownModule)

# Of a deployment, as JSON: in this order, and with these values where nothing else is said.
DEFAULTS = {
    "uid": None, "model": None, "server": "local", "protocol": "once", "argv": ["cat"],
    "name": "local", "answer": None, "ready_token": None, "start_token": None, "stop_token": None,
    "exit_token": None, "error_line": [], "workdir": None, "env": {}, "timeout": "1h",
    "start_timeout": "2m", "idle": "5m", "max_workers": len(os.sched_getaffinity(0)),
    "max_queue": 64, "max_output": "256MiB", "limit": {}, "retries": 0,
    "clean_env": False, "shell": False, "keep_io": False, "stateful": False,
    "train": None, "weights": None, "priority": 0, "enabled": True,
    "weights_dir": None,
    "remote_model": None, "param": {},
}
# What fails: code, message, words. Model 'two' has deployments 'local' and 'other', 'echo' one.
NOT_ALLOWED = "not allowed; start with --allow-changes"
REFUSED = [
    (3, "there is no model 'nosuch'", "deployment list nosuch"),
    (3, "there is no model 'nosuch'", "deployment show nosuch"),
    (3, "there is no model 'nosuch'", "deployment show nosuch other"),
    (3, "model 'two' has no deployment 'nosuch'", "deployment show two nosuch"),
    (3, "model 'echo' has no deployment 'other'", "deployment show echo other"),
    (4, "model 'two' has 2 deployments, not one", "deployment show two"),
    (2, "'deployment show' needs MODEL", "deployment show"),
    (2, "one argument too many for 'deployment show': 'x'", "deployment show two other x"),
    (2, "'deployment' is not a whole command", "deployment"),
    (4, NOT_ALLOWED, "deployment add two -- cat"),
    (4, NOT_ALLOWED, "deployment set two other priority=1"),
    (4, NOT_ALLOWED, "deployment remove two other"),
]
REFUSED_CHANGES = [
    (2, "'deployment add' needs MODEL", "deployment add -- cat"),
    (2, "'deployment add' needs ARGV", "deployment add two"),
    (2, "ARGV names no program", "deployment add two -- ''"),
    (3, "there is no model 'nosuch'", "deployment add nosuch -- cat"),
    (3, "there is no server 'nosuch'", "deployment add two --server nosuch -- cat"),
    (4, "model 'two' has a deployment 'other' already", "deployment add two --name other -- cat"),
    (2, "--name: bad deployment name 'a b': only letters, digits and . _ - may be in it",
     "deployment add two --name 'a b' -- cat"),
    (2, "--priority: not a whole number: 'high'", "deployment add two --priority high -- cat"),
    (2, "no such option of 'deployment add': '--summary'", "deployment add two --summary x -- cat"),
    (2, "no such option of 'deployment add': '--enabled'", "deployment add two --enabled -- cat"),
    (2, "--ready-token is for --protocol token", "deployment add two --ready-token R -- cat"),
    (2, "'deployment set' needs KEY=VALUE", "deployment set two other"),
    (2, "'deployment set' needs KEY=VALUE", "deployment set two"),
    (2, "KEY=VALUE: not NAME=VALUE: 'priority'", "deployment set two other priority"),
    (2, "no such key: 'summary'", "deployment set two other summary=x"),
    (2, "no such key: 'priorty'", "deployment set two other priorty=1"),
    (2, "priority: not a whole number: 'high'", "deployment set two other priority=high"),
    (2, "enabled: not on or off: 'maybe'", "deployment set two other enabled=maybe"),
    (2, "name: bad deployment name '': it is empty",
     "deployment set two other name="),
    (4, "model 'two' has a deployment 'local' already", "deployment set two other name=local"),
    (3, "there is no server 'nosuch'", "deployment set two other server=nosuch"),
    (3, "there is no model 'nosuch'", "deployment set nosuch other priority=1"),
    (3, "model 'two' has no deployment 'nosuch'", "deployment set two nosuch priority=1"),
    (4, "model 'two' has 2 deployments, not one", "deployment set two priority=1"),
    (4, "model 'two' has 2 deployments, not one", "model set two timeout=1s"),
    (2, "no such key: 'priority'", "model set echo priority=1"),
    (4, "model 'two' has 2 deployments, not one", "deployment remove two"),
    (3, "model 'two' has no deployment 'nosuch'", "deployment remove two nosuch"),
    (4, "deployment 'local' is the only one of model 'echo'", "deployment remove echo"),
    (4, "deployment 'local' is the only one of model 'echo'", "deployment remove echo local"),
]


class Deployments(Case):
    def setUp(self):
        super().setUp()
        self.change("model", "add", "two", "--", "sed", "s/^/first /")
        self.change("deployment", "add", "two", "--name", "other", "--priority", "5", "--",
                    "sed", "s/^/other /")

    def change(self, *args, **options):
        self.assertEqual(self.out("--allow-changes", *args, **options), b"")

    def of(self, *args):
        return self.json("deployment", "show", *args)

    def names(self, model="two"):
        return [d["name"] for d in self.json("deployment", "list", model)]

    # --- making and showing ---

    def test_fields_and_defaults(self):
        self.change("deployment", "add", "echo", "--name", "d", "--", "cat")
        shown = self.of("echo", "d")
        self.assertEqual(list(shown), list(DEFAULTS))
        self.assertRegex(shown["uid"], rf"\A{UID}\Z")
        self.assertEqual(shown, DEFAULTS | {"uid": shown["uid"], "model": "echo", "name": "d",
                                            "workdir": str(self.folder)})
        self.change("deployment", "add", "echo", "--protocol", "token", "--", "cat")
        self.assertEqual(self.of("echo", "local-2")["max_workers"], 1)

    def test_each_option(self):
        self.change("server", "add", "second", "--kind", "local")
        self.change("deployment", "add", "echo", "--name", "full", "--server", "second", "--protocol",
                    "token", "--answer", "line", "--ready-token", "R", "--start-token", "A",
                    "--stop-token", "O", "--exit-token", "X", "--error-line", "bad*", "--error-line",
                    "worse*", "--workdir", "/", "--env", "A=1", "--timeout", "3s", "--start-timeout",
                    "4s", "--idle", "250ms", "--max-workers", "3", "--max-queue", "0",
                    "--max-output", "1KiB", "--retries", "2", "--clean-env", "--shell",
                    "--keep-io", "--stateful", "--limit", "nice=3", "--limit", "memory=1GiB", "--train",
                    "fit it", "--priority", "-7", "--", "sh", "-c", "x")
        self.assertEqual(self.of("echo", "full"), {
            "uid": self.of("echo", "full")["uid"], "model": "echo", "server": "second",
            "protocol": "token", "argv": ["sh", "-c", "x"], "name": "full", "answer": "line",
            "ready_token": "R", "start_token": "A", "stop_token": "O", "exit_token": "X",
            "error_line": ["bad*", "worse*"], "workdir": "/", "env": {"A": "1"}, "timeout": "3s",
            "start_timeout": "4s", "idle": "250ms", "max_workers": 3, "max_queue": 0,
            "max_output": "1KiB", "limit": {"memory": "1GiB", "nice": "3"}, "retries": 2, "clean_env": True, "shell": True,
            "keep_io": True, "stateful": True,
            "train": ["fit", "it"], "weights": None, "priority": -7, "enabled": True,
            "weights_dir": None, "remote_model": None, "param": {}})
        self.assertEqual(self.names("echo"), ["full", "local"])

    def test_names(self):
        for _ in range(2):
            self.change("deployment", "add", "echo", "--", "cat")
        self.change("server", "add", "second", "--kind", "local")
        self.change("deployment", "add", "echo", "--server", "second", "--", "cat")
        self.assertEqual(self.names("echo"), ["local", "local-2", "local-3", "second"])
        self.change("deployment", "remove", "echo", "local-2")
        self.change("deployment", "add", "echo", "--", "cat")
        self.assertEqual(self.names("echo"), ["local", "local-2", "local-3", "second"])
        self.assertEqual(self.names("two"), ["local", "other"])
        long = "s" * 128
        self.change("server", "add", long, "--kind", "local")
        for _ in range(2):
            self.change("deployment", "add", "two", "--server", long, "--", "cat")
        self.assertEqual(self.names("two"), ["local", "s" * 116 + "-2", long, "other"])

    def test_lists(self):
        listed = self.json("deployment", "list", "two")
        self.assertEqual([(d["model"], d["name"], d["priority"]) for d in listed],
                         [("two", "local", 0), ("two", "other", 5)])
        self.assertEqual(self.json("model", "show", "two")["deployments"], listed)
        self.assertEqual([m["deployments"] for m in self.json("model", "list") if m["name"] == "two"],
                         [2])
        everything = self.json("deployment", "list")
        self.assertEqual([d for d in everything if d["model"] == "two"], listed)
        self.assertEqual(len({d["model"] for d in everything}), len(everything) - 1)
        self.assertEqual([json.loads(line) for line in
                          self.out("deployment", "list", "two", "--jsonl").splitlines()], listed)
        plain = self.out("deployment", "list", "two").decode().splitlines()
        self.assertEqual([line.split("\t")[0] for line in plain], [d["uid"] for d in listed])
        shown = dict(line.split("\t") for line in
                     self.out("deployment", "show", "two", "other").decode().splitlines())
        self.assertEqual((shown["argv"], shown["priority"], shown["enabled"]),
                         ('["sed","s/^/other /"]', "5", "true"))

    def test_table(self):
        table = self.out("deployment", "list", "two", env={"MER_FORMAT": "table", "COLUMNS": "100"})
        self.assertEqual(table.decode().splitlines(), [
            "model server protocol argv                  name  weights priority enabled",
            'two   local  once     ["sed","s/^/first /"] local                0 yes',
            'two   local  once     ["sed","s/^/other /"] other                5 yes'])

    # --- changing and removing ---

    def test_set(self):
        self.change("deployment", "set", "two", "other", "name=renamed", "priority=-1", "timeout=2s",
                    "max-workers=2", "max-queue=3", "retries=4", "env=A=1", "enabled=off")
        changed = self.of("two", "renamed")
        self.assertEqual({key: changed[key] for key in
                          ("priority", "timeout", "max_workers", "max_queue", "retries", "env",
                           "enabled", "argv", "max_output")},
                         {"priority": -1, "timeout": "2s", "max_workers": 2, "max_queue": 3,
                          "retries": 4, "env": {"A": "1"}, "enabled": False,
                          "argv": ["sed", "s/^/other /"], "max_output": "256MiB"})
        self.assertEqual(self.names(), ["renamed", "local"])
        for on in ("on", "true", "1"):
            self.change("deployment", "set", "two", "renamed", f"enabled={on}")
            self.assertIs(self.of("two", "renamed")["enabled"], True)
            self.change("deployment", "set", "two", "renamed", "enabled=false")
        self.assertIs(self.of("two", "renamed")["enabled"], False)
        self.assertEqual(self.of("two", "local")["timeout"], "1h")
        self.change("deployment", "set", "echo", "idle=1s")  # it has one
        self.assertEqual(self.of("echo")["idle"], "1s")

    def test_workers_follow_the_protocol(self):
        """The number that somebody chose stays, the default is that of the protocol."""
        many = DEFAULTS["max_workers"]
        for words, want in (("protocol=token", 1), ("protocol=once", many),
                            ("protocol=token max-workers=3", 3), ("protocol=frame", 3),
                            ("protocol=once", many)):
            self.change("deployment", "set", "echo", *words.split())
            self.assertEqual(self.of("echo")["max_workers"], want, words)

    def test_by_uid(self):
        uid = self.of("two", "other")["uid"]
        self.assertEqual(self.of(uid), self.of("two", "other"))
        self.assertEqual(self.of("two", uid), self.of("two", "other"))
        self.change("deployment", "set", uid, "priority=2", "idle=1s")
        self.assertEqual((self.of(uid)["priority"], self.of(uid)["idle"]), (2, "1s"))
        self.change("deployment", "set", "two", uid, "priority=3")
        self.assertEqual(self.out("run", "two", "--deployment", uid, "x"), b"other x")
        self.change("deployment", "remove", uid)
        self.assertEqual(self.names(), ["local"])

    def test_remove(self):
        self.out("run", "two", "--deployment", "other", "x")
        uid = self.of("two", "other")["uid"]
        self.change("deployment", "remove", "two", "other")
        self.assertEqual(self.names(), ["local"])
        self.assertEqual([(r["status"], r["deployment"]) for r in self.log()], [("ok", uid)])
        self.change("model", "remove", "two")
        self.assertNotIn("two", {d["model"] for d in self.json("deployment", "list")})

    def check_refused(self, rows, *options):
        before = self.out("--json", "deployment", "list")
        for code, message, line in rows:
            with self.subTest(line=line):
                self.fails(code, message, *options, *shlex.split(line))
        self.assertEqual(self.out("--json", "deployment", "list"), before)

    def test_refused(self):
        self.check_refused(REFUSED)

    def test_refused_changes(self):
        self.check_refused(REFUSED_CHANGES, "--allow-changes")

    def test_hints(self):
        for args, hint in ((("deployment", "show", "two"), "say which: local, other"),
                           (("deployment", "show", "two", "nosuch"), "say which: local, other"),
                           (("deployment", "set", "two", "local", "priorty=1"),
                            "did you mean 'priority'?"),
                           (("deployment", "remove", "echo"), "'model remove' forgets the model "
                            "with it, enabled=off lets no run use it")):
            self.assertIn(f"\nhint: {hint}\n", self.call("--allow-changes", *args)[2], args)

    # --- where a run goes ---

    def test_by_priority(self):
        self.assertEqual(self.out("run", "two", "x"), b"first x")
        self.change("deployment", "set", "two", "other", "priority=-1")
        self.assertEqual(self.out("run", "two", "x"), b"other x")
        self.assertEqual(self.out("run", "two", "--deployment", "local", "x"), b"first x")

    def test_by_choice(self):
        self.change("server", "add", "second", "--kind", "local")
        self.change("deployment", "set", "two", "other", "server=second")
        self.assertEqual(self.out("run", "two", "--server", "second", "x"), b"other x")
        self.assertEqual(self.out("run", "two", "--server", "local", "x"), b"first x")
        self.assertEqual(self.out("run", "--lines", "two", "--deployment", "other", "-", data="x\ny"),
                         b"other x\nother y\n")
        self.assertEqual([r["server"] for r in self.log("--limit", "3")],
                         ["second", "second", "local"])
        for words, message in (
                ("--deployment nosuch", "model 'two' has no deployment 'nosuch'"),
                ("--server nosuch", "model 'two' has no deployment on server 'nosuch'"),
                ("--server second --deployment local",
                 "model 'two' has no deployment 'local' on server second")):
            self.fails(3, message, "run", "two", *words.split(), "x")
        got = self.json("run", "two", "--server", "second", "x")
        self.assertEqual((got["deployment"], got["server"]), (self.of("two", "other")["uid"], "second"))

    def test_disabled(self):
        self.change("deployment", "set", "two", "local", "enabled=off")
        self.assertEqual(self.out("run", "two", "x"), b"other x")
        self.fails(3, "deployment 'local' of model 'two' is not enabled", "run", "two", "--deployment",
                   "local", "x")
        self.change("deployment", "set", "two", "other", "enabled=off")
        self.fails(3, "deployment 'local' of model 'two' is not enabled", "run", "two", "x")
        self.fails(3, "model 'two' has no deployment on server 'nosuch'", "run", "two", "--server",
                   "nosuch", "x")
        self.fails(3, "deployment 'local' of model 'two' is not enabled", "run", "--lines",
                   "two", "-", data="x\ny\n")
        self.change("deployment", "set", "two", "local", "enabled=on")
        self.assertEqual(self.out("run", "two", "x"), b"first x")

    def test_changed_under_way(self):
        """A warm worker of a deployment that is turned off answers no further run."""
        self.change("deployment", "add", "lines", "--name", "other", "--priority", "5", "--", "cat")
        process = self.start()
        process.stdin.write(b"run lines x\n")
        process.stdin.flush()
        self.read_until(process.stdout, b"<x>\n")
        self.change("deployment", "set", "lines", "local", "enabled=off")
        out, err = process.communicate(b"run lines y\n", timeout=60)
        self.assertEqual((process.returncode, out, err), (0, b"y", b""))


# Deployments that no model ever sees a run at: options, then ARGV.
BROKEN = {
    "missing": ([], ["/no/such/program"]),
    "not_executable": ([], ["/etc/passwd"]),
    "missing_token": (["--protocol", "token"], ["/no/such/program"]),
    "missing_frame": (["--protocol", "frame"], ["/no/such/program"]),
    "dies": (["--protocol", "token"], ["sh", "-c", "echo broken >&2; exit 1"]),
    "dies_frame": (["--protocol", "frame"], ["sh", "-c", "exit 1"]),
    "killed": (["--protocol", "token"], ["sh", "-c", "kill -9 $$"]),
    "never_ready": (["--protocol", "token", "--start-timeout", "100ms"], ["sleep", "60"]),
    "no_folder": (["--workdir", "/no/such/folder"], ["cat"]),
    "no_secret": (["--env", "A=file:/no/such/file"], ["cat"]),
}


class Several(Case):
    """Model 'm' with deployments 'first', 'second', 'third'."""

    ECHO = ([], ["sh", "-c", "read x; echo \"second $x\""])

    def setUp(self):
        super().setUp()
        self.names = {}  # of deployments, by uid

    def change(self, *args, **options):
        self.assertEqual(self.out("--allow-changes", *args, **options), b"")

    def model(self, *deployments):
        """Each (options, ARGV), in the order of their priority; in the place of what there was."""
        if b"\tm\t" in self.out("model", "list"):
            self.change("model", "remove", "m")
        for i, (options, argv) in enumerate(deployments):
            name = ("first", "second", "third")[i]
            where = ["--name", name, "--priority", str(i), *options, "--", *argv]
            if i == 0:
                self.change("model", "add", "m", *options, "--", *argv)
                self.change("deployment", "set", "m", "local", "name=first", "priority=0")
            else:
                self.change("deployment", "add", "m", *where)
        self.names |= {d["uid"]: d["name"] for d in self.json("deployment", "list", "m")}

    def rows(self):
        """Of each run, oldest first: status, deployment's name, attempts."""
        return [(r["status"], self.names[r["deployment"]], r["attempts"])
                for r in reversed(self.log("--limit", "1000"))]

    def script(self, text, name="script"):
        path = self.file(name, text)
        path.chmod(0o755)
        return str(path)


class FailOver(Several):
    def test_each_failing_start(self):
        for name, broken in BROKEN.items():
            with self.subTest(name):
                self.model(broken, self.ECHO)
                code, out, err = self.call("run", "m", "x")
                self.assertEqual((code, out), (0, b"second x\n"), err)
                if name == "no_secret":  # it is not tried at all
                    self.assertRegex(err, r"\Awarn sched: a deployment is passed over: model 'm': "
                                          r"[^\n]*/no/such/file[^\n]*\n\Z")
                    self.assertEqual(self.rows()[-1], ("ok", "second", 1))
                else:
                    self.assertRegex(err, r"\Awarn sched: model 'm': others come before deployment "
                                          r"'first' for a while: [^\n]+\n\Z")
                    self.assertEqual(self.rows()[-1][:2], ("ok", "second"))
                    self.assertIn(self.rows()[-1][2], (1, 2))

    def test_answer_as_json(self):
        self.model(BROKEN["dies"], self.ECHO)
        code, out, err = self.call("run", "--json", "m", "x")
        got = json.loads(out)
        self.assertEqual(code, 0, err)
        self.assertEqual((self.names[got["deployment"]], got["status"], got["attempts"],
                          got["output"], got["error"]), ("second", "ok", 2, "second x\n", None))

    def test_chosen_one_fails(self):
        self.model(BROKEN["missing"], self.ECHO)
        code, out, err = self.call("run", "m", "--deployment", "first", "x")
        self.assertEqual((code, out), (6, b""), err)
        self.assertIn("mer: model 'm': ", err)
        self.assertEqual(self.rows(), [("failed", "first", 1)])

    def test_all_fail(self):
        self.model(BROKEN["missing"], BROKEN["dies"], BROKEN["killed"])
        code, out, err = self.call("run", "m", "x")
        self.assertEqual((code, out), (6, b""), err)
        self.assertEqual(self.rows(), [("failed", "third", 3)])
        self.assertEqual(len(err.splitlines()), 4, err)

    def test_all_too_slow(self):
        self.model(BROKEN["never_ready"], BROKEN["never_ready"])
        self.assertEqual(self.call("run", "m", "x")[0], 7)
        self.assertEqual(self.rows(), [("timeout", "second", 2)])

    def test_deadline_covers_all(self):
        self.model((["--protocol", "token"], ["sleep", "60"]), self.ECHO)
        self.assertEqual(self.call("run", "m", "--timeout", "200ms", "x")[0], 7)
        self.assertEqual(self.rows(), [("timeout", "first", 1)])

    def test_seen_by_a_model(self):
        """What a model has seen goes nowhere else, whatever became of it."""
        for protocol in ("once", "token"):
            for last in ("exit 3", "kill -9 $$", "echo '@!#START#!@'; echo part; exit 3"):
                with self.subTest(protocol=protocol, last=last):
                    self.model((["--protocol", protocol],
                                ["sh", "-c", f"echo '@!#READY#!@'; read x; {last}"]), self.ECHO)
                    self.assertEqual(self.call("run", "m", "x")[0], 1)
                    self.assertEqual(self.rows()[-1], ("failed", "first", 1))

    def test_lines(self):
        """The first line finds out; the others go where it works, and it is said once."""
        for broken in (BROKEN["missing"], BROKEN["dies"]):
            self.model(broken, self.ECHO)
            code, out, err = self.call("run", "--lines", "m", "-", data="a\nb\nc\n")
            self.assertEqual((code, out), (0, b"second a\nsecond b\nsecond c\n"), err)
            self.assertEqual(len(err.splitlines()), 1, err)
            self.assertEqual(self.rows()[-3:], [("ok", "second", 2), ("ok", "second", 1),
                                                ("ok", "second", 1)])

    def test_priority_is_not_overflown(self):
        """Only those of one priority share."""
        self.model((["--max-workers", "1"], ["sh", "-c", "read x; echo first"]), self.ECHO)
        out = self.out("run", "--lines", "--jobs", "8", "m", "-", data="x\n" * 20)
        self.assertEqual(out, b"first\n" * 20)

    def test_equals_share(self):
        """Two deployments of one priority work at a time: each waits for the other."""
        for name in ("a", "b"):
            os.mkfifo(self.folder / name)
        meet = "read x; echo >{} & read y <{}; wait; echo {}"
        self.model((["--max-workers", "1"], ["sh", "-c", meet.format("a", "b", "A")]),
                   (["--max-workers", "1"], ["sh", "-c", meet.format("b", "a", "B")]))
        self.change("deployment", "set", "m", "second", "priority=0")
        out = self.out("run", "--lines", "--jobs", "2", "m", "-", data="x\nx\n")
        self.assertEqual(sorted(out.split()), [b"A", b"B"])
        self.assertEqual(sorted(self.rows()), [("ok", "first", 1), ("ok", "second", 1)])


class Retries(Several):
    """A worker that dies without a word of an answer, up to so many times."""

    # counts its starts in a file, and {die} is what it does in the first {n} of them
    ONCE = """#!/bin/sh
echo >>starts
read -r x
if [ "$(wc -l <starts)" -le {n} ]; then {die}; fi
echo "answer $x"
"""
    STAYS = """#!/bin/sh
echo >>starts
echo READY
while read -r t; do
	[ "$t" = S ] || exit 0
	read -r x
	read -r t
	if [ "$(wc -l <starts)" -le {n} ]; then {die}; fi
	echo "answer $x"
done
"""
    STAYS_OPTIONS = ["--protocol", "token", "--answer", "line", "--ready-token", "READY",
                     "--start-token", "S", "--stop-token", "E"]
    DEATHS = ["exit 3", "kill -SEGV $$", "kill -9 $$", "echo sorry >&2; exit 1"]

    def worker(self, stays, die, *options, n=2):
        (self.folder / "starts").unlink(missing_ok=True)
        text = (self.STAYS if stays else self.ONCE).format(die=die, n=n)
        self.model(([*(self.STAYS_OPTIONS if stays else []), *options], [self.script(text)]))

    def starts(self):
        return len((self.folder / "starts").read_bytes())

    def each(self, deaths):
        for stays in (False, True):
            for die in deaths:
                yield stays, die

    def test_enough(self):
        for stays, die in self.each(self.DEATHS):
            self.worker(stays, die, "--retries", "2")
            self.assertEqual(self.out("run", "m", "x"), b"answer x\n")
            self.assertEqual((self.rows()[-1], self.starts()), (("ok", "first", 3), 3))

    def test_slowed_down(self):
        """A worker that stays is started more and more slowly where it always dies."""
        self.worker(True, "exit 3", "--retries", "5", n=5)
        code, out, err = self.call("run", "m", "x")
        self.assertEqual((code, out), (0, b"answer x\n"), err)
        self.assertEqual(err, "warn sched: model 'm': its worker died 3 times without an answer; "
                              "starts are slowed down\n")
        self.assertEqual((self.rows()[-1], self.starts()), (("ok", "first", 6), 6))
        self.worker(False, "exit 3", "--retries", "5", n=5)
        self.assertEqual(self.out("run", "m", "x"), b"answer x\n")

    def test_not_enough(self):
        for stays, die in self.each(self.DEATHS):
            self.worker(stays, die, "--retries", "1")
            self.assertEqual(self.call("run", "m", "x")[:2], (1, b""))
            self.assertEqual((self.rows()[-1], self.starts()), (("failed", "first", 2), 2))

    def test_none_unless_asked_for(self):
        for stays, die in self.each(self.DEATHS[:1]):
            self.worker(stays, die)
            self.assertEqual(self.call("run", "m", "x")[:2], (1, b""))
            self.assertEqual((self.rows()[-1], self.starts()), (("failed", "first", 1), 1))

    def test_not_after_a_part_of_an_answer(self):
        for stays, die in self.each(["printf part; exit 3", "printf part; kill -9 $$"]):
            self.worker(stays, die, "--retries", "5")
            code, out, err = self.call("run", "m", "x")
            self.assertEqual((code, self.starts()), (1, 1), (out, err))
            self.assertEqual(self.rows()[-1], ("failed", "first", 1))

    def frame(self, body, *options):
        """A worker that counts its starts; body is what it does with x, as their number is {starts}."""
        script = self.script("#!/usr/bin/python3\nimport os, mer\nopen('starts', 'a').write('.')\n"
                             "starts = os.path.getsize('starts')\n@mer.model\n"
                             f"def predict(x: str) -> str:\n    {body}\nmer.serve()\n")
        self.model((["--protocol", "frame", "--env", f"PYTHONPATH={SOURCE}/python", *options],
                    [script]))

    def test_frame(self):
        self.frame("return os._exit(3) if starts <= 2 else 'answer ' + x", "--retries", "2")
        self.assertEqual(self.out("run", "m", "x"), b"answer x")
        self.assertEqual((self.rows()[-1], self.starts()), (("ok", "first", 3), 3))
        self.frame("yield 'part'; os._exit(3)", "--retries", "2")
        self.assertEqual(self.call("run", "m", "x")[:2], (1, b"part"))
        self.assertEqual((self.rows()[-1], self.starts()), (("failed", "first", 1), 4))
        self.frame("raise ValueError('no')", "--retries", "2")
        self.assertEqual(self.call("run", "m", "x")[0], 1)
        self.assertEqual((self.rows()[-1], self.starts()), (("failed", "first", 1), 5))

    def test_not_after_an_error_answer(self):
        self.worker(True, "echo 'bad input' >&2; continue", "--retries", "5", "--error-line", "bad*")
        self.assertEqual(self.call("run", "m", "x")[0], 1)
        self.assertEqual((self.rows()[-1], self.starts()), (("failed", "first", 1), 1))

    def test_not_after_the_deadline(self):
        for stays, die in self.each(["exec sleep 60"]):
            self.worker(stays, die, "--retries", "5")
            self.assertEqual(self.call("run", "m", "--timeout", "300ms", "x")[0], 7)
            self.assertEqual((self.rows()[-1], self.starts()), (("timeout", "first", 1), 1))

    def test_not_over_the_limit(self):
        self.model((["--retries", "5", "--max-output", "10"], ["seq", "100"]))
        self.assertEqual(self.call("run", "m", "x")[0], 1)
        self.assertEqual(self.rows(), [("failed", "first", 1)])

    def test_failed_starts_are_retried(self):
        self.model((["--retries", "2"], ["/no/such/program"]))
        self.assertEqual(self.call("run", "m", "x")[0], 6)
        self.assertEqual(self.rows(), [("failed", "first", 3)])

    def test_elsewhere_first(self):
        """With retries what a dead worker has seen goes to another deployment, if there is one."""
        self.model((["--retries", "1"], ["sh", "-c", "exit 3"]), self.ECHO)
        self.assertEqual(self.out("run", "m", "x"), b"second x\n")
        self.assertEqual(self.rows(), [("ok", "second", 2)])

    def test_lines(self):
        """Each line is one row, answered in its place."""
        for stays, die in self.each(self.DEATHS[:2]):
            self.worker(stays, die, "--retries", "2")
            self.assertEqual(self.out("run", "--lines", "m", "-", data="a\nb\nc\n"),
                             b"answer a\nanswer b\nanswer c\n")
            self.assertEqual(self.rows()[-3:], [("ok", "first", 3), ("ok", "first", 1),
                                                ("ok", "first", 1)])
            self.assertEqual(self.starts(), 3 if stays else 5)

    def test_what_it_said_is_kept(self):
        self.worker(False, "echo sorry >&2; exit 1", "--retries", "2")
        self.out("run", "m", "x")
        run, = self.log()
        self.assertEqual((run["stderr_tail"], run["exit_code"], run["error"]),
                         ("sorry\nsorry\n", 0, None))


class OnPostgres(Several):
    """What differs there: writes are sent together, so that a conflict may come late."""

    @classmethod
    def setUpClass(cls):
        if not (PREFIX / "lib" / "mer" / "postgres.so").exists():
            raise unittest.SkipTest("this build has no Postgres module")
        cls.server = postgres.Postgres()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        super().setUp()
        self.env["MER_DATABASE_URL"] = self.server.new_database()
        subprocess.run([MIGRATE, "--quiet", "up"], env=self.env, check=True, timeout=DEADLINE_S)

    def test_conflicts(self):
        self.model(self.ECHO, self.ECHO)
        for line, message in (
                ("model add m -- cat", "there is a model 'm' already"),
                ("deployment add m --name second -- cat",
                 "model 'm' has a deployment 'second' already"),
                ("deployment set m second name=first", "model 'm' has a deployment 'first' already"),
                ("server add local --kind local", "there is a server 'local' already")):
            self.fails(4, message, "--allow-changes", *shlex.split(line))

    def test_changes(self):
        self.model(self.ECHO, self.ECHO)
        self.change("deployment", "set", "m", "second", "name=other", "enabled=off", "retries=3")
        shown = self.json("deployment", "show", "m", "other")
        self.assertEqual((shown["enabled"], shown["retries"], shown["priority"]), (False, 3, 1))
        self.fails(3, "deployment 'other' of model 'm' is not enabled", "run", "m", "--deployment",
                   "other", "x")
        self.change("deployment", "remove", "m", "other")
        self.fails(4, "deployment 'first' is the only one of model 'm'", "--allow-changes",
                   "deployment", "remove", "m", "first")

    def test_row_of_a_run_that_moved(self):
        self.model(BROKEN["dies"], self.ECHO)
        code, out, err = self.call("run", "--lines", "m", "-", data="a\nb\nc\n")
        self.assertEqual((code, out), (0, b"second a\nsecond b\nsecond c\n"), err)
        self.assertEqual(self.rows(), [("ok", "second", 2), ("ok", "second", 1), ("ok", "second", 1)])


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

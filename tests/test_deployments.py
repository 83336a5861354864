#!/usr/bin/python3
"""Deployments as users see them: making, showing, changing and removing them, and which of a model's
deployments a run goes to. MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import shlex
import sys
import unittest

from test_cli import UID, Case, setUpModule, tearDownModule  # noqa: F401

# Of a deployment, as JSON: in this order, and with these values where nothing else is said.
DEFAULTS = {
    "uid": None, "model": None, "server": "local", "protocol": "once", "argv": ["cat"],
    "name": "local", "answer": None, "ready_token": None, "start_token": None, "stop_token": None,
    "exit_token": None, "error_line": [], "workdir": None, "env": {}, "timeout": "1h",
    "start_timeout": "2m", "idle": "5m", "max_workers": len(os.sched_getaffinity(0)),
    "max_queue": 64, "max_output": "256MiB", "retries": 0, "clean_env": False, "shell": False,
    "train": None, "weights": None, "priority": 0, "enabled": True,
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
                    "--max-output", "1KiB", "--retries", "2", "--clean-env", "--shell", "--train",
                    "fit it", "--priority", "-7", "--", "sh", "-c", "x")
        self.assertEqual(self.of("echo", "full"), {
            "uid": self.of("echo", "full")["uid"], "model": "echo", "server": "second",
            "protocol": "token", "argv": ["sh", "-c", "x"], "name": "full", "answer": "line",
            "ready_token": "R", "start_token": "A", "stop_token": "O", "exit_token": "X",
            "error_line": ["bad*", "worse*"], "workdir": "/", "env": {"A": "1"}, "timeout": "3s",
            "start_timeout": "4s", "idle": "250ms", "max_workers": 3, "max_queue": 0,
            "max_output": "1KiB", "retries": 2, "clean_env": True, "shell": True,
            "train": ["fit", "it"], "weights": None, "priority": -7, "enabled": True})
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


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

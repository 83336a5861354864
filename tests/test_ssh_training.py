#!/usr/bin/python3
"""What becomes of trainings on other hosts when mer is killed while it brings weights here, and of those that take
months. Its argument is the library kill_on. MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import record_case
import ssh_case
import sshd
from migrate_case import preloadable
from ssh_case import wait_for

KILL_ON = preloadable(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].endswith(".so") else None
FILE = "sh -c 'echo new >\"$1\"' sh {new_weights}"
FOLDER = "sh -c 'mkdir -p \"$1/in\"; echo new >\"$1/in/a\"; chmod a-w \"$1/in\"' sh {new_weights}"
MONTHS_S = 100 * 86400


class Training(ssh_case.Ssh):
    def setUp(self):
        super().setUp()
        self.server = sshd.Server(self.place() / "server", {"user": "/bin/sh"})
        self.addCleanup(self.server.stop)
        self.add_server("box", self.server)
        self.data = self.file("data", "x")

    def model(self, name, train):
        self.add(name, "cat", "{weights}", options=("--train", train))

    def words(self, name, *more):
        return ["train", "--json", name, "--dataset", self.data, *more]

    def train(self, name, *more):
        return json.loads(self.out(*self.words(name, *more)))

    def here(self, name):
        return self.folder / ".local" / "share" / "mer" / "weights" / name

    def left(self, name):
        """What is beside weights and locks, which die with their holders."""
        return sorted(path.name for path in self.here(name).iterdir()
                      if path.name.startswith(".") and not path.name.endswith(".lock"))

    @staticmethod
    def text(path):
        """Of the one file that is there."""
        files = [file for file in [Path(path), *Path(path).rglob("*")] if file.is_file()]
        return [file.read_text() for file in files]

    # --- mer is killed

    def killed(self, name, number):
        """Whether it came to an end before its nth change of what is in the folder of weights."""
        env = {"LD_PRELOAD": KILL_ON, "KILL_ON": "/weights/" + name, "KILL_AT": str(number)}
        child = self.start(*self.words(name), env=env)
        _, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertIn(child.returncode, (0, -signal.SIGKILL), err)
        return child.returncode == 0

    def test_killed_at_each_step(self):
        if self.transport == "openssh":
            self.skipTest("what brings them is the same")
        if KILL_ON is None or record_case.SANITIZED:
            self.skipTest("the library kill_on is not for this build")
        for name, train in (("file", FILE), ("folder", FOLDER)):
            self.model(name, train)
            self.train(name)
            number, met, ended = 0, set(), False
            while not ended:
                number += 1
                with self.subTest(name, number=number):
                    ended = self.killed(name, number)
                    met |= {path.rpartition(".")[2] for path in self.left(name)}
                    made = self.train(name)
                    self.assertEqual(["new\n"], self.text(made["path"]))
                    self.assertEqual([], self.left(name), "nothing of who was killed is left")
            self.assertEqual({"part"} | ({"tree"} if name == "folder" else set()), met)
            self.assertGreater(number, 4)

    def held(self):
        """An environment whose tar waits behind what it unpacks, and the two ends of that."""
        folder = self.folder / "slow"
        folder.mkdir()
        for name in ("up", "gate"):
            os.mkfifo(folder / name)
        (folder / "tar").write_text(f"#!/bin/sh\n{shutil.which('tar')} \"$@\" || exit\n"
                                    f"[ \"$1\" != -xf ] || {{ echo >{folder}/up; read -r x <{folder}/gate; }}\n")
        (folder / "tar").chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}, folder / "up", folder / "gate"

    def test_killed_amid_unpacking(self):
        self.model("m", FOLDER)
        env, up, _ = self.held()
        child = self.start(*self.words("m", "--new", "v"), env=env)
        up.read_text()
        child.kill()
        child.wait()
        self.assertEqual([".v.part", ".v.tree"], self.left("m"))
        self.assertEqual("v", self.train("m", "--new", "v")["version"])
        self.assertEqual([], self.left("m"))

    def test_another_one_that_lives(self):
        """Its work is its own, whoever wants the same version."""
        self.model("m", FOLDER)
        env, up, gate = self.held()
        child = self.start(*self.words("m", "--new", "1"), env=env)
        up.read_text()
        self.refused(4, "version '1' is being trained", *self.words("m", "--new", "1"))
        self.assertEqual([".1.part", ".1.tree"], self.left("m"))
        self.assertEqual("2", self.train("m")["version"])
        gate.write_text("go\n")
        out, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(0, child.returncode, err)
        self.assertEqual(["new\n"], self.text(json.loads(out)["path"]))

    # --- months

    def cache(self):
        return self.server.home("user") / ".cache" / "mer"

    def look(self):
        """What each run does there first that is lent something."""
        if not hasattr(self, "looked"):
            self.looked = self.file("weights", "w")
            self.add("look", "cat", "{weights}")
            self.call(0, "weights", "add", "look", self.looked)
            self.call(0, "weights", "use", "look", "1")
        self.assertEqual(b"w", self.out("run", "look", "x"))

    def long_training(self, env=None):
        seen, gate = self.folder / "seen", self.folder / "gate"
        os.mkfifo(gate)
        self.model("m", f"sh -c 'echo new >\"$1\"; dirname \"$1\" >{seen}.new; mv {seen}.new {seen}; read -r x <{gate}; "
                        "touch -d @1000000000 \"$1\" \"${1%/*}\"' sh {new_weights}")
        child = self.start(*self.words("m"), env=env)
        self.assertTrue(wait_for(seen.exists))
        place = Path(seen.read_text().strip())
        long_ago = time.time() - MONTHS_S
        os.utime(place, (long_ago, long_ago))
        self.assertTrue(wait_for(lambda: place.stat().st_mtime > time.time() - 86400), "its supervisor keeps it")
        return child, place, gate

    def test_for_months(self):
        dead = self.cache() / "new" / "dead"
        self.look()
        dead.mkdir(parents=True)
        os.utime(dead, (1000000000, 1000000000))
        child, place, gate = self.long_training()
        self.look()
        self.assertFalse(dead.exists(), "of whom nobody asks any more")
        self.assertTrue(place.exists())
        gate.write_text("go\n")
        out, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(0, child.returncode, err)
        self.assertEqual(["new\n"], self.text(json.loads(out)["path"]))

    def test_for_months_without_perl(self):
        if self.transport != "openssh":
            self.skipTest("ssh is a program that starts a shell")
        tools = self.tools()
        for name in ("find", "touch", "ln", "mkdir", "readlink", "rm", "mv", "tar", "sha256sum", "sort", "tail", "wc", "chmod", "uname",
                     "dirname", "dd"):
            if not (tools / name).exists():
                (tools / name).symlink_to(shutil.which(name))
        child, _, gate = self.long_training(self.fake("/bin/sh", tools))
        gate.write_text("go\n")
        out, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(0, child.returncode, err)
        self.assertEqual(["new\n"], self.text(json.loads(out)["path"]))

    def lend(self, *words, data=b"", path=os.environ["PATH"]):
        done = subprocess.run(["sh", record_case.PREFIX / "libexec" / "mer" / "mer-lend.sh", *words],
                              env=self.env | {"HOME": str(self.server.home("user")), "PATH": path}, input=data, capture_output=True, timeout=60,
                              check=False)
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        return done.stdout

    def test_old_when_it_ended(self):
        """What it has made counts from its end, whatever its times say."""
        cache = self.cache()
        (cache / "made" / "id").mkdir(parents=True)
        (cache / "made" / "id" / "v").write_text("new")
        for path in (cache / "made" / "id" / "v", cache / "made" / "id"):
            os.utime(path, (1000000000, 1000000000))
        self.assertTrue(self.lend("made", "id").startswith(b"file 3 "))
        self.lend("look")
        self.assertEqual(b"new", self.lend("give", "id", "0"))
        self.lend("drop", "id")
        self.assertFalse(list((cache / "made").iterdir()))

    def test_sealed_by_another(self):
        """Parts are taken away by who has the last one, while others still look at them."""
        key, tools = "0" * 64, self.folder / "gone"
        tools.mkdir()
        (tools / "wc").write_text(f'#!/bin/sh\n[ $# -eq 1 ] || rm -f -- "$@"\nexec {shutil.which("wc")} "$@"\n')
        (tools / "wc").chmod(0o755)
        for words, said in ((("look", key), b"parts"), (("put", key, "file", "8", "0", "0"), b"more")):
            with self.subTest(words[0]):
                self.assertEqual(b"more", self.lend("put", key, "file", "8", "4", "0", data=b"part").strip())
                self.assertEqual(said, self.lend(*words, data=b"text", path=f"{tools}:{os.environ['PATH']}").strip())


ssh_case.each_transport(Training, globals())
del Training

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

#!/usr/bin/python3
"""The far supervisor is killed with -9, each of its processes in turn: its worker ends all the same, and its run has
one end. MER_PREFIX names the installation. Prints TAP when run as a program."""
import os
import re
import select
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import record_case
import ssh_case

# What else ends a worker takes longer than the test waits: nothing is heard of mer for ten minutes.
PATIENCE = ("--param", "ServerAliveInterval=120", "--param", "ServerAliveCountMax=4")
SOON_S = 20


def kill(pid, child):
    """What is killed is ours: a number that was misread may be anybody's."""
    if not ssh_case.descends(pid, child.pid):
        raise AssertionError(f"{pid} does not come from {child.pid}")
    os.kill(pid, signal.SIGKILL)


class Supervisor(ssh_case.Ssh, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.call(0, "server", "add", "box", "--kind", "ssh", "--host", "h", "--param", "transport=openssh", *PATIENCE)

    def begin(self, name, env):
        """A run of a model that never ends: its process, its mark, and the marks of its supervisor."""
        mark = self.sleeper(name)
        child = self.start("--log", "meal=debug", "run", name, "x", env=env, stderr=open(self.folder / name, "wb"))
        found = {}

        def is_up():
            text = (self.folder / name).read_text()
            for key, words in re.findall(r"says=(started|watch) ([^\n]*)\n", text):
                found[key] = words.split()
            return len(found) == 2 and len(ssh_case.alive(mark)) >= 4
        self.assertTrue(ssh_case.wait_for(is_up))
        return child, mark, int(found["started"][0]), [int(pid) for pid in found["watch"][:2]]

    def end(self, name, child, mark):
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark), SOON_S), f"{name}: nothing of the worker is left")
        self.assertEqual(1, child.wait(timeout=60), (self.folder / name).read_text())
        rows = self.log("--model", name)
        self.assertEqual(["failed"], [row["status"] for row in rows])

    def other(self, supervisor, worker, timer):
        """The timer's timer: a child that stays, unlike a shell's printf or sleep."""
        found = []

        def is_one():
            found[:] = [int(path.name) for path in Path("/proc").glob("[0-9]*") if ssh_case.parent(path.name) == supervisor and
                        int(path.name) not in (worker, timer)]
            return len(found) == 1
        self.assertTrue(ssh_case.wait_for(is_one))
        return found[0]

    def test_whom_it_kills(self):
        """Of pids only those of one process each, and of processes only those that descend from it."""
        script = record_case.PREFIX / "libexec" / "mer" / "mer-far.sh"
        order = "kill() { echo \"killed $*\"; }; . \"$0\"; far_marked() { :; }; " \
                "printf 'n id 5\\nbeat\\nterm\\nkill\\nleave\\n' | far_watch \"$1\" \"$2\" \"$3\""
        for mode in ("perl", "plain"):
            for pid, timer in (("", "7"), ("0", "7"), ("1", "7"), ("-1", "7"), ("007", "7"), ("a", "7"), ("7", ""), ("7", "-1")):
                with self.subTest(mode=mode, pid=pid, timer=timer):
                    done = subprocess.run(["sh", "-c", order, script, pid, timer, mode], capture_output=True, timeout=60, check=False)
                    self.assertEqual((b"", b""), (done.stdout, done.stderr))
            done = subprocess.run(["sh", "-c", order, script, "98", "97", mode], capture_output=True, timeout=60, check=True)
            self.assertIn(b"killed -USR1 97\n", done.stdout)
        perl = re.search(r"\nsub descended \{\n.*?\n\}\n", script.read_text(), re.DOTALL).group(0)
        ring = "my $self = 5; my %at = (7 => 8, 8 => 7, 9 => 5, 10 => 7, 11 => 9, 5 => 1); sub pids { return keys %at } " \
               "sub about { return \"$_[0] (a) S $at{$_[0]} x\" }" + perl + "print join \",\", sort { $a <=> $b } descended();"
        if ssh_case.shell_words("perl"):
            self.assertEqual(b"9,11", subprocess.run(["perl", "-e", ring], capture_output=True, timeout=60, check=True).stdout)

    def test_waits_for_its_word(self):
        """It starts nothing, and tells nothing, of what a header says until it is told to; and leaves where it is not."""
        script = record_case.PREFIX / "libexec" / "mer" / "mer-far.sh"
        order = "far_lc= far_n='\n'; LC_ALL=C; . \"$0\"; far_serve"
        for shell in ssh_case.SHELLS:
            for path in (os.environ["PATH"], str(self.tools())):
                for word, program, want in (("go", "cat", b"started"), ("go", "no-such", b"fail missing"), ("on", "cat", None),
                                            (None, "no-such", None)):
                    with self.subTest(shell=shell, path=path, word=word, program=program):
                        words = ssh_case.shell_words(shell)
                        if not words:
                            self.skipTest(f"{shell} is not installed")
                        task = f"far_dir=''\nfar_clean=''\nfar_probe=''\nfar_room=''\nfar_env() {{\n:\n}}\nset -- '{program}'\nn\n"
                        child = subprocess.Popen([*words.split(), "-c", order, script], env={"PATH": path}, stdin=subprocess.PIPE,
                                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                        self.addCleanup(self.finish, child)
                        child.stdin.write(f"n i 5\n{len(task)}\n{task}".encode())
                        child.stdin.flush()
                        self.assertEqual(b"\x1eMER-n up\n", child.stderr.readline())
                        self.assertEqual(([], [], []), select.select([child.stderr], [], [], 0))
                        out, err = child.communicate(f"{word}\ninput".encode() if word else b"", timeout=60)
                        self.assertEqual(b"\x1eMER-n up\n" + (b"input" if want == b"started" else b""), out)
                        self.assertEqual(want is not None, b"MER-n " + (want or b"") in err, err)
                        self.assertTrue(want or not err, err)

    def test_perl(self):
        for shell in ("dash", "bash"):
            for at, who in enumerate(("parent", "ticker")):
                with self.subTest(shell=shell, who=who):
                    words = ssh_case.shell_words(shell)
                    if not words or not ssh_case.shell_words("perl"):
                        self.skipTest(f"{shell} or perl is not installed")
                    name = f"{shell}-{who}"
                    child, mark, _, pids = self.begin(name, self.fake(words))
                    kill(pids[at], child)
                    self.end(name, child, mark)

    def test_shell(self):
        for shell in ssh_case.SHELLS:
            for who in ("supervisor", "timer", "other"):
                with self.subTest(shell=shell, who=who):
                    words = ssh_case.shell_words(shell)
                    if not words:
                        self.skipTest(f"{shell} is not installed")
                    name = f"{shell.split()[0]}-{who}"
                    child, mark, worker, (_, timer) = self.begin(name, self.fake(words, self.tools()))
                    supervisor = ssh_case.parent(timer)
                    kill({"supervisor": supervisor, "timer": timer, "other": self.other(supervisor, worker, timer)}[who], child)
                    self.end(name, child, mark)

    def stop(self, name, env):
        """A worker that stops its supervisor, once it has its timers."""
        stop = "until read -r pids </proc/$PPID/task/$PPID/children; set -- $pids; " \
               f"[ $# -ge {2 if name == 'perl' else 3} ]; do :; done; kill -STOP $PPID; "
        self.add(name, "sh", "-c", stop + "cat")
        self.assertEqual(b"x", self.out("run", name, "x", env=env))
        mark = f"MARK={name}-{os.getpid()}-{id(self)}"
        done = self.folder / f"{name}.done"
        self.add(name + "-cut", "sh", "-c", f"{stop}: >'{done}'; exec sleep 3600", options=("--env", mark))
        child = self.start("run", name + "-cut", "x", env=env)
        self.assertTrue(ssh_case.wait_for(done.exists))
        supervisors = [ssh_case.parent(pid) for pid in ssh_case.alive(mark)]
        self.assertTrue(supervisors)
        child.kill()
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark), SOON_S), "nothing of the worker is left")
        self.assertTrue(ssh_case.wait_for(lambda: not any(map(ssh_case.parent, supervisors)), SOON_S), "nor its supervisor")

    def test_stopped(self):
        for name, shell, path in [("perl", "dash", None)] + [(shell.split()[0], shell, self.tools()) for shell in ssh_case.SHELLS]:
            with self.subTest(name):
                words = ssh_case.shell_words(shell)
                if not words or not ssh_case.shell_words(name):
                    self.skipTest(f"{name} or {shell} is not installed")
                self.stop(name, self.fake(words, path))

    def serves(self, words, path, line, more, program):
        """A supervisor to whom something happens behind one of its lines, and that has been sent all already: what it says."""
        script = (record_case.PREFIX / "libexec" / "mer" / "mer-far.sh").read_text()
        self.assertEqual(1, script.count(line))
        changed = self.file("far.sh", script.replace(line, line + more))
        task = f"far_dir=''\nfar_clean=''\nfar_probe=''\nfar_room=''\nfar_env() {{\n:\n}}\nset -- 'sh' '-c' '{program}'\nn\n"
        child = subprocess.Popen([*words.split(), "-c", "far_lc= far_n='\n'; LC_ALL=C; . \"$0\"; far_serve", changed],
                                 env={"PATH": path, "DONE": str(self.folder / "done")}, start_new_session=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.finish, child)
        self.addCleanup(lambda: child.poll() is not None or os.kill(child.pid, signal.SIGCONT))
        return child.communicate(f"n i 5\n{len(task)}\n{task}go\ninput".encode(), timeout=SOON_S)

    def test_stopped_before_its_timers(self):
        """By a worker that begins before the supervisor has any."""
        for shell in ssh_case.SHELLS:
            with self.subTest(shell):
                words = ssh_case.shell_words(shell)
                if not words:
                    self.skipTest(f"{shell} is not installed")
                out, err = self.serves(words, str(self.tools()), '\tfar_mark started "$far_pid"\n', "\tkill -STOP $$\n", "cat")
                self.assertEqual(b"\x1eMER-n up\ninput", out)
                self.assertRegex(err, rb"(?s)\A\x1eMER-n up\n\x1eMER-n started \d+\n\x1eMER-n watch \d+ \d+ plain\n"
                                 rb"(\x1eMER-n beat\n)*\x1eMER-n exit 0\n(\x1eMER-n beat\n)*\x1eMER-n gone\n\Z")

    def test_no_worker_before_its_timer(self):
        """Perl's is not begun before; its parent waits here until its child waits, or has done it."""
        if not ssh_case.shell_words("perl"):
            self.skipTest("perl is not installed")
        slow = 'select undef, undef, undef, 0.01 until -e $ENV{DONE} || about($child, "stat") =~ /\\) S /;\n'
        out, _ = self.serves("sh", os.environ["PATH"], "setpgrp $child, $child;\n", slow,
                             "read -r pids </proc/$PPID/task/$PPID/children; echo $pids >$DONE; wc -w <$DONE")
        self.assertEqual(b"\x1eMER-n up\n2\n", out)


if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

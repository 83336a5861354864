#!/usr/bin/python3
"""Sessions that workers on other hosts share: what servers refuse, what networks do, and what libssh2 does not see.
Each over every transport. MER_PREFIX names the installation. Prints TAP when run as a program."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import processes
import record_case
import ssh_case
import sshd
from migrate_case import preloadable
from ssh_wire import Wire

SEND_BITS = preloadable(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].endswith(".so") else None
MIB = 1 << 20


class Sessions(ssh_case.Ssh):
    def serve(self, options="", name="box", wire=None, params=(), **how):
        server = sshd.Server(self.place() / "server", {"user": "/bin/sh"}, options, **how)
        self.addCleanup(server.stop)
        self.add_server(name, server, params=params)
        if wire is None:
            return server
        wire = Wire(server.port, **wire)
        self.addCleanup(wire.stop)
        known = self.folder / f"known-{name}"
        known.write_text(f"[127.0.0.1]:{wire.port} {server.host_key}\n")
        self.call(0, "server", "set", name, f"port={wire.port}", f"param=UserKnownHostsFile={known}")
        return server, wire

    def lines(self, n):
        return self.file("lines", "".join(f"line {i}\n" for i in range(n)))

    # --- what a server refuses

    def test_few_channels(self):
        for most in (1, 2, 3):
            with self.subTest(MaxSessions=most):
                name = f"box{most}"
                server = self.serve(f"MaxSessions {most}", name)
                self.add(f"up{most}", "tr", "a-z", "A-Z", server=name, options=("--max-workers", "6"))
                out = self.out("run", "--lines", "--jobs", "6", f"up{most}", f"@{self.lines(24)}")
                self.assertEqual("".join(f"LINE {i}\n" for i in range(24)), out.decode())
                self.assertTrue(ssh_case.wait_for(lambda: not server.sessions()), "nothing is left there")

    def test_no_channel_at_all(self):
        self.serve("MaxSessions 0")
        self.add("m", "cat")
        self.call(6, "run", "m", "x")

    def test_channel_behind_another_one(self):
        """sshd counts a channel until it has read all that came with its end."""
        if self.transport == "openssh":
            self.skipTest("each worker has an ssh of its own")
        server, _ = self.serve("MaxSessions 1", wire={"delay": 0.02, "gather": True})
        self.add("up", "tr", "a-z", "A-Z", options=("--max-workers", "6"))
        out = self.out("run", "--lines", "--jobs", "6", "up", f"@{self.lines(24)}")
        self.assertEqual("".join(f"LINE {i}\n" for i in range(24)), out.decode())

    def test_few_logins(self):
        """A server that has too many who have not logged in hangs up; it is asked again."""
        server = self.serve("MaxStartups 2:100:2")
        self.add("up", "tr", "a-z", "A-Z")
        others = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for other in others:
            other.recv(100) # its banner: it counts
        child = self.start("run", "up", "hello")
        self.assertTrue(ssh_case.wait_for(lambda: b"drop connection" in (server.folder / "log").read_bytes()))
        for other in others:
            other.close()
        self.assertEqual((b"HELLO", b""), child.communicate(timeout=60))

    def test_sessions_are_shared(self):
        if self.transport == "openssh":
            self.skipTest("each worker has an ssh of its own")
        server = self.serve()
        self.add("up", "tr", "a-z", "A-Z")
        self.out("run", "--lines", "up", f"@{self.lines(20)}")
        self.assertEqual(1, (server.folder / "log").read_text().count("Accepted publickey"))

    # --- what a server says, and what is true

    def test_idle_channels_are_closed(self):
        """libssh2 tells exit code 0 of a program that is still running."""
        server = self.serve("ChannelTimeout session:*=1s")
        if b"ChannelTimeout" in (server.folder / "log").read_bytes():
            self.skipTest("this sshd knows no ChannelTimeout")
        mark = f"MARK=idle-{os.getpid()}-{id(self)}"
        stopped = self.folder / "stopped"
        self.add("m", "sh", "-c", f"ps -o pid= --ppid $PPID | grep -vx \" *$$\" >'{stopped}.new'; echo $PPID >>'{stopped}.new'; "
                 f"mv '{stopped}.new' '{stopped}'; kill -STOP $(cat '{stopped}'); sleep 3; exit 7", options=("--env", mark))
        child = self.start("run", "m", "x")
        child.communicate(timeout=60)
        self.assertIn(child.returncode, (1, 6)) # 6: a busy machine had not even started it
        for pid in ssh_case.alive(mark) + [int(pid) for pid in (stopped.read_text() if stopped.exists() else "").split()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def test_closed_by_the_server(self):
        self.serve()
        self.add("m", "sh", "-c", "kill -9 $(ps -o ppid= -p $PPID); sleep 60")
        self.call(1, "run", "m", "x")

    # --- streams

    def test_stderr_does_not_stop_stdout(self):
        self.serve()
        self.add("m", "sh", "-c", "head -c 8388608 /dev/zero >&2; echo done; head -c 8388608 /dev/zero >&2")
        self.assertEqual(b"done\n", self.call(0, "run", "m", "x")[0])

    def test_limit_of_outputs(self):
        """To the byte; who says more is ended there."""
        self.serve()
        mark = f"MARK=limit-{os.getpid()}-{id(self)}"
        most = 3 * MIB
        for protocol, size in (("once", most), ("token", most), ("once", most + 1), ("token", most + 1), ("once", None)):
            with self.subTest(protocol, size=size):
                says = f"head -c {size} /dev/zero" if size else "exec cat /dev/zero"
                if protocol == "token": # the newline in front of the stop token is the output's
                    says = f"echo '@!#READY#!@'; while read -r x; do case $x in '@!#STOP#!@') echo '@!#START#!@'; " \
                           f"head -c {size - 1} /dev/zero; echo; echo '@!#STOP#!@';; esac; done"
                self.add("m", "sh", "-c", says, options=("--protocol", protocol, "--max-output", str(most), "--env", mark))
                out, err = self.call(0 if size == most else 1, "run", "m", "x")
                self.assertEqual((most, size != most), (len(out), f"the output is over {most} bytes" in err))
                self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))
                self.call(0, "model", "remove", "m")

    def test_full_sockets_and_new_keys(self):
        """Packets are sent in part, keys are changed meanwhile, and both sides send all the time."""
        for limit, size in (("default", 12 * MIB), ("256K", 2 * MIB)):
            with self.subTest(RekeyLimit=limit):
                data = os.urandom(MIB) * (size // MIB)
                path = self.file("data", data)
                name = "box" + limit
                self.serve(f"RekeyLimit {limit}", name, wire={"room": 65536})
                self.add("cat" + limit, "cat", server=name)
                self.assertEqual(data, self.out("run", "cat" + limit, f"@{path}"))

    def test_sockets_that_take_bits(self):
        """Who asks libssh2 for anything else while it has sent a packet in part loses the session, or waits for ever."""
        if self.transport == "openssh":
            self.skipTest("ssh sees to it")
        if SEND_BITS is None or record_case.SANITIZED:
            self.skipTest("the library send_bits is not for this build")
        data = os.urandom(MIB) * 2
        path = self.file("data", data)
        for limit in ("default", "256K"):
            with self.subTest(RekeyLimit=limit):
                self.serve(f"RekeyLimit {limit}", "box" + limit)
                self.add("cat" + limit, "cat", server="box" + limit)
                out = self.out("run", "cat" + limit, f"@{path}", env={"LD_PRELOAD": SEND_BITS, "SEND_BITS": "1000"})
                self.assertEqual(data, out)

    def test_far_away(self):
        _, wire = self.serve(wire={"delay": 0.025})
        data = os.urandom(MIB) * 8
        path = self.file("data", data)
        self.add("cat", "cat")
        self.assertEqual(data, self.out("run", "cat", f"@{path}"))
        self.add("up", "tr", "a-z", "A-Z")
        self.assertEqual(b"".join(b"LINE %d\n" % i for i in range(8)), self.out("run", "--lines", "up", f"@{self.lines(8)}"))

    def test_window(self):
        """On a line with a delay much more than libssh2's 2 MiB may be under way: what comes when nothing is said any more."""
        if self.transport == "openssh":
            self.skipTest("ssh has 2 MiB")
        _, wire = self.serve(wire={"delay": 0.05})
        self.add("m", "cat", "/dev/zero")
        child = self.start("run", "--timeout", "1m", "m", "x", stdout=subprocess.DEVNULL)
        self.assertTrue(wire.wait_for(1, 24 * MIB))
        wire.close_way(0)
        self.assertTrue(wire.wait_for(1, wire.bytes[1] + 6 * MIB))
        child.kill()
        child.communicate()

    def test_nobody_spins(self):
        """Who waits for a run sleeps; who spins is ready to run whenever one looks, whatever else the machine has to do."""
        self.serve()
        gate = self.folder / "gate"
        os.mkfifo(gate)
        self.add("m", "sh", "-c", f"echo up; read -r x <{gate}")
        child = self.start("run", "m", "x")
        os.read(child.stdout.fileno(), 3)
        states = []
        while len(states) < 100:
            states.append(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0])
            threading.Event().wait(0.005)
        gate.write_text("go\n")
        self.assertEqual(0, child.wait(60))
        self.assertLess(states.count("R"), 50, states)

    def test_long_path_of_temporary_files(self):
        """A socket's has room for 107 bytes."""
        if self.transport == "libssh2":
            self.skipTest("it has no socket")
        folder = self.folder / ("x" * 100)
        folder.mkdir()
        self.serve()
        told, log = self.folder / "told", self.folder / "log"
        self.add("m", "sh", "-c", f"trap 'echo term >{told}; exit 0' TERM; echo up >{told}; sleep 3600 & wait")
        with open(log, "wb") as err:
            child = self.start("--log", "meal=debug", "run", "m", "x", env={"TMPDIR": str(folder)}, stderr=err)
        self.assertTrue(ssh_case.wait_for(lambda: told.exists() and "says=watch" in log.read_text()))
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        self.assertEqual((130, "term\n"), (child.returncode, told.read_text()))

    def test_reader_that_waits(self):
        """Output that nobody takes stops the model, not the marks behind it, and all of it comes in the end."""
        self.serve()
        self.add("m", record_case.PYTHON, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 65536)")
        child = self.start("run", "m", "x")
        first = os.read(child.stdout.fileno(), 100)
        out = first + child.stdout.read()
        self.assertEqual(0, child.wait(60))
        self.assertEqual(bytes(range(256)) * 65536, out)

    # --- networks

    def cut_amid(self, way, command, *words):
        _, wire = self.serve(wire={}, params=("--param", "ServerAliveInterval=1", "--param", "ServerAliveCountMax=2"))
        mark = f"MARK=cut-{os.getpid()}-{id(self)}"
        self.add("m", "sh", "-c", command, options=("--env", mark))
        child = self.start("run", "m", *words, stdout=subprocess.DEVNULL)
        self.assertTrue(ssh_case.wait_for(lambda: ssh_case.alive(mark)))
        if way == "at once":
            pass
        elif way is None: # until beats go over a channel of their own
            for n in (3000, 30):
                self.assertTrue(wire.wait_for(0, wire.bytes[0] + n))
        else:
            self.assertTrue(wire.wait_for(way, wire.bytes[way] + 4 * MIB))
        wire.cut()
        _, err = child.communicate(timeout=60)
        self.assertEqual(1, child.returncode, err)
        self.assertIn(b"the connection to server 'box' was lost", err)
        if way in (None, "at once"):
            self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark), 120), "its supervisor has heard nothing for long")

    def test_cut_amid_input(self):
        self.cut_amid(0, "while :; do head -c 1000000 >/dev/null; done", f"@{self.file('data', bytes(200 * MIB))}")

    def test_cut_amid_output(self):
        self.cut_amid(1, "cat /dev/zero", "x")

    def test_cut_while_idle(self):
        self.cut_amid(None, "while :; do sleep 60; done", "x")

    def test_beats_each_second(self):
        """Mer's words come as often as those of the supervisor, which are not to be put off by them for ever."""
        children = []
        for name, options in (("box", ""), ("no-perl", f"SetEnv PATH={self.tools()}")):
            self.serve(options, name, params=("--param", "ServerAliveInterval=1"))
            self.add(name, "sleep", "10", server=name)
            children.append(self.start("run", name, "x"))
        for child in children:
            _, err = child.communicate(timeout=record_case.DEADLINE_S)
            self.assertEqual((0, b""), (child.returncode, err))

    def test_cut_before_a_beat(self):
        """Nobody there has heard anything but the header, and nobody here anything but its start."""
        self.cut_amid("at once", "while :; do sleep 60; done", "x")

    def test_orders_by_another_login(self):
        """A server that takes one channel a connection: what is to end is told all the same."""
        server = self.serve("MaxSessions 1", params=("--param", "ServerAliveInterval=1"))
        mark = f"MARK=orders-{os.getpid()}-{id(self)}"
        file = self.folder / "told"
        self.add("m", "sh", "-c", f"trap 'echo term >{file}; exit 0' TERM; sleep 3600 & wait", options=("--env", mark))
        log = self.folder / "log"
        with open(log, "wb") as err:
            child = self.start("--log", "meal=debug", "run", "m", "x", stderr=err)
        self.assertTrue(ssh_case.wait_for(lambda: re.search("orders ended.*orders worker=.* up=1", log.read_text(), re.DOTALL)))
        self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 2))
        child.send_signal(signal.SIGINT)
        self.assertEqual(130, child.wait(60), log.read_text())
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))
        self.assertEqual("term\n", file.read_text())
        self.assertTrue(ssh_case.wait_for(lambda: not server.sessions()), "nothing is left there")

    def test_garbage_after_login(self):
        _, wire = self.serve(wire={})
        mark = f"MARK=garbage-{os.getpid()}-{id(self)}"
        self.add("m", "sh", "-c", "while :; do echo line; sleep 0.05; done", options=("--env", mark))
        log = self.folder / "log"
        with open(log, "wb") as err:
            child = self.start("--log", "meal=debug", "run", "m", "x", stderr=err)
        self.assertTrue(ssh_case.wait_for(lambda: ssh_case.alive(mark) and "says=started" in log.read_text()))
        wire.spoil = True
        child.communicate(timeout=60)
        self.assertEqual(1, child.returncode, log.read_text())
        self.assertIn("the connection to server 'box' was lost", log.read_text())
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))

    def test_lost_behind_its_end(self):
        """A model's end is heard before all of its output, where that is held: what lacks some is no success."""
        size = 3 * MIB // 2
        server = self.serve()
        self.add("m", "sh", "-c", f"head -c {size} /dev/zero")
        log = self.folder / "log"
        with open(log, "wb") as err:
            child = self.start("--log", "meal=debug", "run", "m", "x", stderr=err)
        self.assertTrue(ssh_case.wait_for(lambda: "says=gone" in log.read_text()))
        processes.kill(server.sessions())
        self.assertTrue(ssh_case.wait_for(lambda: not server.sessions()))
        if self.transport == "libssh2": # ssh tells when it has lost what it did not give
            self.assertTrue(ssh_case.wait_for(lambda: "session lost" in log.read_text()))
        out = child.stdout.read()
        self.assertEqual(1, child.wait(60), len(out))
        self.assertIn("the connection to server 'box' was lost", log.read_text())
        self.assertEqual("failed", self.log("--limit", "1")[0]["status"])

    def test_no_spare_of_ssh(self):
        """What another server has is opened ahead of need for each; ssh, which carries this one, cannot wait so."""
        if self.transport == "openssh":
            self.skipTest("no spares")
        self.serve()
        server = sshd.Server(self.place() / "other", {"user": "/bin/sh"})
        self.addCleanup(server.stop)
        config = self.file("config", "Host *\n  SetEnv A=b\n")
        self.call(0, "server", "add", "odd", "--kind", "ssh", "--user", "user", *server.params(), "--param", f"config={config}")
        self.add("up", "tr", "a-z", "A-Z")
        self.add("odd", "tr", "a-z", "A-Z", server="odd")
        with open(self.folder / "log", "wb") as err:
            child = self.start("--log", "meal=debug", stdin=-1, stderr=err)

        def run(name):
            child.stdin.write(f"run --json {name} text\n".encode())
            child.stdin.flush()
            self.assertEqual("TEXT", json.loads(child.stdout.readline() or "{}").get("output"))

        for name in ("odd", "up"):
            run(name)
        self.assertTrue(ssh_case.wait_for(lambda: "spare server=box" in (self.folder / "log").read_text()))
        for name in ("odd", "up", "odd"):
            run(name)
        child.communicate(timeout=60)
        self.assertEqual(0, child.returncode)
        self.assertNotIn("spare server=odd", (self.folder / "log").read_text())

    def test_answer_before_its_channel_closes(self):
        """All has been said once both streams have ended: what is taken apart there behind that keeps nobody waiting."""
        if self.transport == "openssh":
            self.skipTest("ssh ends with its channel")
        perl = shutil.which("perl")
        if not perl:
            self.skipTest("perl is not installed")
        folder, fifo = self.folder / "tools", self.folder / "fifo"
        folder.mkdir()
        os.mkfifo(fifo)

        def let_go():
            with open(fifo, "r+b", buffering=0) as all_of_them:
                all_of_them.write(b"\n" * 100)
                name = bytes(folder / "perl")
                self.assertTrue(ssh_case.wait_for(lambda: not any(name in words for _, words in processes.told("cmdline"))))

        self.addCleanup(let_go)
        (folder / "perl").write_text(f"#!/bin/sh\ncase $2 in 'exit 0' | for*) exec {perl} \"$@\" ;; esac\n{perl} \"$@\"\n"
                                     f"exec <&- >&- 2>&-\nread -r word <{fifo}\n")
        (folder / "perl").chmod(0o755)
        self.serve(f"SetEnv PATH={folder}:{os.environ['PATH']}")
        self.add("up", "tr", "a-z", "A-Z")
        out = self.out("run", "--lines", "up", f"@{self.lines(3)}")
        self.assertEqual("".join(f"LINE {i}\n" for i in range(3)), out.decode())
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)) # fails unless one of them is there still

    def test_row_before_its_program(self):
        """A program's supervisor is told what it is to be while the run's row is written, and to start it behind that."""
        self.serve()
        marks, log = self.folder / "marks", self.folder / "log"
        self.add("m", "sh", "-c", f"echo ran >>{marks}")
        with open(log, "wb") as err:
            child = self.start("--log", "meal=debug", stdin=-1, stderr=err)

        def ask():
            child.stdin.write(b"run --json m x\n")
            child.stdin.flush()

        def count(text):
            return log.read_text().count(text)
        ask()
        self.assertEqual(0, json.loads(child.stdout.readline())["exit_code"])
        if self.transport == "libssh2":
            self.assertTrue(ssh_case.wait_for(lambda: count("spare server=box") == 1))
            self.assertTrue(ssh_case.wait_for(lambda: count("says=up") == 2))
        database = sqlite3.connect(self.folder / "mer.db", isolation_level=None)
        self.addCleanup(database.close)
        database.execute("BEGIN IMMEDIATE")
        starts = count("start worker=")
        ask()
        self.assertTrue(ssh_case.wait_for(lambda: count("start worker=") == starts + 1))
        self.assertEqual("ran\n", marks.read_text())
        database.execute("ROLLBACK")
        self.assertEqual(0, json.loads(child.stdout.readline())["exit_code"])
        self.assertEqual("ran\nran\n", marks.read_text())
        child.communicate(timeout=60)
        self.assertEqual(0, child.returncode, log.read_text())

    def test_session_is_lost_between_runs(self):
        """The next run has another one, and nobody is told."""
        server = self.serve()
        self.add("up", "tr", "a-z", "A-Z")

        def hang_up():  # on the one that is made behind a run, too
            sessions = server.sessions()
            processes.kill(sessions)
            return not sessions

        child = self.start(stdin=-1)
        for text in ("one", "two"):
            child.stdin.write(f"run --json up {text}\n".encode())
            child.stdin.flush()
            self.assertEqual(text.upper(), json.loads(child.stdout.readline())["output"])
            self.assertTrue(ssh_case.wait_for(hang_up))
        out, err = child.communicate(timeout=60)
        self.assertEqual((0, b""), (child.returncode, err))

    # --- through others

    def test_jump_hosts(self):
        inner = self.serve(name="inner")
        hops = [self.serve(name=f"hop{i}") for i in range(2)]
        known = self.file("known", "".join(f"[127.0.0.1]:{s.port} {s.host_key}\n" for s in [inner, *hops]))
        config = self.file("config", "".join(
            f"Host hop{i}\n HostName 127.0.0.1\n Port {hop.port}\n User user\n IdentityFile {hop.folder}/id\n"
            for i, hop in enumerate(hops)) + f"Host *\n UserKnownHostsFile {known}\n IdentitiesOnly yes\n")
        self.add("up", "tr", "a-z", "A-Z", server="inner")
        for jumps, last in (("hop0", hops[0]), ("hop0,hop1", hops[1])):
            with self.subTest(ProxyJump=jumps):
                self.call(0, "server", "set", "inner", f"param=ProxyJump={jumps}", f"param=config={config}",
                          f"param=UserKnownHostsFile={known}")
                before = (last.folder / "log").read_text().count("Accepted publickey")
                self.assertEqual(b"HELLO", self.out("run", "up", "hello"))
                self.assertEqual(before + 1, (last.folder / "log").read_text().count("Accepted publickey"))
        self.call(0, "server", "set", "inner", "param=ProxyJump=hop0", f"param=config={config}")
        hops[0].stop()
        err = self.call(6, "run", "up", "x")[1]
        self.assertIn("server 'inner'", err)

    # --- reaching

    def test_words_of_ssh(self):
        """It takes the first that it is told of each; what nobody says is ours and not that of its files."""
        if self.transport == "libssh2":
            self.skipTest("it is told none")
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "ssh").write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >'{self.folder}/words'\nexit 255\n")
        (folder / "ssh").chmod(0o755)
        ours = {"ServerAliveInterval": "5", "ServerAliveCountMax": "3", "ConnectTimeout": "10", "StrictHostKeyChecking": "yes"}
        for n, own in enumerate(({}, {"ServerAliveInterval": "7", "ConnectTimeout": "8"}, {"ServerAliveCountMax": "9"})):
            with self.subTest(own):
                params = [word for name, value in own.items() for word in ("--param", f"{name}={value}")]
                self.call(0, "server", "add", f"box{n}", "--kind", "ssh", "--host", "h", "--param", "transport=openssh", *params)
                self.call(6, "server", "ping", f"box{n}", env={"PATH": f"{folder}:{os.environ['PATH']}"})
                options = [word.split("=", 1) for word in (self.folder / "words").read_text().split("\n") if "=" in word]
                self.assertEqual(ours | own, {name: next(value for key, value in options if key == name) for name in ours})

    def test_what_carries_it(self):
        self.serve()
        row = json.loads(self.out("server", "ping", "--json", "box"))
        self.assertEqual(self.transport, row["transport"])
        if self.transport == "libssh2":
            self.assertTrue(all(row[key] >= 0 for key in ("connect_ms", "auth_ms")), row)


ssh_case.each_transport(Sessions, globals())
del Sessions

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

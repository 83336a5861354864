#!/usr/bin/python3
"""Models on servers as they are found: with few sessions and logins at a time, odd keys and timeouts, slow or missing
shells, behind other hosts, behind networks that fail, and hosts that send garbage. MER_PREFIX names the installation.
Prints TAP when run as a program."""
import os
import signal
import socket
import sys
import threading
import time
import unittest

import processes
import ssh_case
import sshd

BEATS = ("--param", "ServerAliveInterval=1", "--param", "ServerAliveCountMax=2")


class Servers(ssh_case.Ssh):
    def make(self, options="", shell="/bin/sh", params=(), name="box"):
        """A server with these options of sshd's, known to mer."""
        try:
            server = sshd.Server(self.place() / name, {"user": shell}, options)
        except RuntimeError as error:
            if "Bad configuration option" in str(error):
                self.skipTest(str(error).strip())
            raise
        self.addCleanup(server.stop)
        self.add_server(name, server, params=params)
        return server

    def works(self):
        self.add("up", "tr", "a-z", "A-Z")
        self.assertEqual(b"HELLO", self.out("run", "up", "hello"))

    def lines(self, model, lines, *options):
        return self.out("run", "--lines", *options, model, f"@{self.file('lines', lines)}")

    # --- how many

    def test_max_sessions(self):
        for most in (1, 2):
            with self.subTest(most=most):
                name = f"most{most}"
                self.make(f"MaxSessions {most}", name=name)
                self.add(f"up{most}", "tr", "a-z", "A-Z", server=name, options=("--max-workers", "4"))
                want = b"".join(b"LINE%c\n" % (65 + i) for i in range(12))
                self.assertEqual(want, self.lines(f"up{most}", want.lower(), "--jobs", "4"))
                mark = self.sleeper(f"s{most}", server=name)
                child = self.start("run", f"s{most}", "x")
                self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
                child.send_signal(signal.SIGINT)
                child.communicate(timeout=60)
                self.assertEqual(130, child.returncode)
                self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)), "whatever can be told it there")

    # A server that drops who comes while others log in: nobody is told anything but the truth.
    def test_max_startups(self):
        self.make("MaxStartups 2:100:2")
        self.add("up", "tr", "a-z", "A-Z", options=("--max-workers", "8"))
        children = [self.start("run", "up", "hello") for _ in range(8)]
        ends = []
        for child in children:
            out, err = child.communicate(timeout=120)
            ends.append(child.returncode)
            self.assertIn(child.returncode, (0, 6), err)
            self.assertEqual(b"HELLO" if child.returncode == 0 else b"", out)
            if child.returncode == 6:
                self.assertIn(b"cannot reach server 'box'", err)
        self.assertIn(0, ends)

    def test_paced_logins(self):
        """Few at a time, so that a server drops none."""
        if self.transport == "openssh":
            self.skipTest("each worker has an ssh of its own")
        server = self.make("MaxStartups 10:100:10\nMaxSessions 1")
        self.add("up", "tr", "a-z", "A-Z", options=("--max-workers", "24"))
        want = b"".join(b"LINE%c\n" % (65 + i) for i in range(24))
        self.assertEqual(want, self.lines("up", want.lower(), "--jobs", "24"))
        self.assertNotIn("drop connection", (server.folder / "log").read_text())

    def test_patience(self):
        """Who is not let in does not come back at once."""
        if self.transport == "openssh":
            self.skipTest("each worker has an ssh of its own")
        met = []
        with socket.create_server(("127.0.0.1", 0)) as server:
            def refuse():
                try:
                    while True:
                        peer, _ = server.accept()
                        met.append(time.monotonic())
                        peer.sendall(b"no SSH here\r\n")
                        peer.close()
                except OSError:
                    pass

            threading.Thread(target=refuse, daemon=True).start()
            self.call(0, "server", "add", "box", "--kind", "ssh", "--host", "127.0.0.1", "--port", server.getsockname()[1], "--param",
                      "ConnectTimeout=5", "--param", "transport=libssh2")
            self.add("m", "cat")
            self.call(6, "--keep-going", "-f", self.file("commands", "run m x\n" * 4))
        gaps = [after - before for before, after in zip(met, met[1:])]
        self.assertEqual(3, len(gaps))
        self.assertGreater(gaps[2], 0.4, gaps) # 250 ms, and twice as long each time

    # --- what passes

    def test_rekey(self):
        self.make("RekeyLimit 256K")
        self.add("cat", "cat")
        data = os.urandom(1 << 20) * 2
        self.assertEqual(data, self.out("run", "cat", f"@{self.file('data', data)}"))

    # The server closes the channel and says nothing of its end, which is then not known to be good.
    def test_channel_timeout(self):
        self.make("ChannelTimeout session:*=1s")
        self.add("m", "sh", "-c", "exec >/dev/null; sleep 4; exit 7")
        child = self.start("run", "m", "x")
        _, err = child.communicate(timeout=60)
        self.assertIn(child.returncode, (1, 6), err) # 6: a busy machine had not even started it
        self.assertEqual(["failed"], [row["status"] for row in self.log()])

    # --- what there is

    @unittest.skipIf(os.getuid() != 0, "a chroot takes root")
    def test_no_shell(self):
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        if os.listdir("/run/sshd"):
            self.skipTest("/run/sshd is not empty")
        self.make("ChrootDirectory /run/sshd")
        self.add("m", "cat")
        self.refused(6, "server 'box'", "run", "m", "x")
        self.call(0, "server", "ping", "box")
        self.refused(6, "server 'box'", "server", "ping", "--start", "box")

    def test_files_only(self):
        self.make("Subsystem sftp internal-sftp\nForceCommand internal-sftp")
        self.add("m", "cat")
        self.refused(6, "server 'box' did not run what it was told", "run", "m", "x")

    # A shell is all that there is. Whose channel dies has nothing left, as with perl.
    def test_without_perl(self):
        server = self.make(f"ForceCommand PATH={self.tools()}; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"", params=BEATS)
        self.add("cat", "cat")
        self.assertEqual(b"hello", self.out("run", "cat", "hello"))
        mark = self.sleeper("m")
        for who in ("mer", "session"):
            with self.subTest(who=who):
                child = self.start("run", "m", "x")
                self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
                processes.kill([child.pid] if who == "mer" else server.sessions())
                child.communicate(timeout=60)
                self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)), who)

    # However long its scripts take, what was sent ahead is not lost on them.
    def test_slow_login(self):
        server = self.make(shell="/bin/bash")
        gate = server.home("user") / "gate"
        os.mkfifo(gate)
        (server.home("user") / ".bashrc").write_text("echo one moment; cat <~/gate\n")
        self.add("cat", "cat")
        data = os.urandom(1 << 20) * 4
        child = self.start("run", "cat", f"@{self.file('data', data)}")
        out = []
        reader = threading.Thread(target=lambda: out.extend(child.communicate(timeout=120)))
        reader.start()
        with open(gate, "w") as key: # waits until the login script is there
            self.assertIsNone(child.poll())
            key.write("go on\n")
        reader.join()
        self.assertEqual((0, data), (child.returncode, out[0]))

    # --- what lies between

    def test_jump(self):
        inner = self.make(name="inner")
        outer = sshd.Server(self.place() / "outer", {"user": "/bin/sh"})
        self.addCleanup(outer.stop)
        config = self.file("config", "".join(
            f"Host {name}\n\tHostName 127.0.0.1\n\tPort {server.port}\n\tUser user\n\tIdentityFile {server.folder}/id\n"
            f"\tIdentitiesOnly yes\n\tUserKnownHostsFile {server.folder}/known_hosts\n{more}"
            for name, server, more in (("outer", outer, ""), ("hidden", inner, "\tProxyJump outer\n"))))
        own = ("--param", f"transport={self.transport}")
        self.call(0, "server", "add", "box", "--kind", "ssh", "--host", "hidden", "--param", f"config={config}", *own)
        self.works()
        self.assertIn("Accepted publickey", (outer.folder / "log").read_text())
        mark = self.sleeper("m")
        child = self.start("run", "m", "x")
        self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
        processes.kill(outer.sessions())
        _, err = child.communicate(timeout=60)
        self.assertEqual(1, child.returncode, err)
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))

    def cut(self, model, when, file=None):
        """A run whose network is cut without a word when that is so: it fails, and nothing is left there."""
        server = self.make(params=BEATS)
        between = ssh_case.Cut(server.port)
        self.addCleanup(between.stop)
        known = self.file("known", f"[127.0.0.1]:{between.port} {server.host_key}\n")
        self.call(0, "server", "set", "box", f"port={between.port}", f"param=UserKnownHostsFile={known}")
        mark = f"MARK=cut-{os.getpid()}-{id(self)}"
        self.add("m", "sh", "-c", model, options=("--env", mark))
        child = self.start("run", "m", f"@{file}" if file else "x")
        reader = threading.Thread(target=lambda: child.stdout.read(), daemon=True)
        reader.start()
        self.assertTrue(ssh_case.wait_for(lambda: ssh_case.alive(mark) and when(between)))
        between.is_cut.set()
        self.assertEqual(1, child.wait(timeout=120))
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)), "a supervisor that hears nothing ends its worker")

    def beats(self, between):
        """There is a channel of orders, and a beat has gone over it since it was first looked at."""
        for pid in ssh_case.alive(f"127.0.0.1 {between.to}"):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as words:
                    if b"IFS= read -r s" in words.read():
                        self.first = getattr(self, "first", between.up)
                        return between.up > self.first
            except OSError:
                pass
        return False

    def test_cut_idle(self):
        self.cut("while :; do sleep 3600; done", self.beats)

    def test_cut_output(self):
        self.cut("while :; do head -c 65536 /dev/zero; sleep 0.01; done",
                 lambda between: between.down > 1 << 20 and self.beats(between))

    def test_cut_input(self):
        self.cut("while [ -n \"$(head -c 4096 | tr -d '\\0')\" ]; do sleep 0.01; done", self.beats, self.file("in", b"x" * (64 << 20)))

    # --- garbage

    def test_garbage(self):
        banner = b"SSH-2.0-OpenSSH_9.2p1\r\n"
        for stage, data in (("before", os.urandom(4096)), ("banner", b"SSH-2.0-" + b"x" * 100000), ("old", b"SSH-1.5-x\r\n"),
                            ("lines", b"\033]0;title\007\033[31m\r\n" * 5000), ("after", banner + os.urandom(65536)),
                            ("long", banner + b"\x7f\xff\xff\xff" * 4096), ("nothing", banner)):
            with self.subTest(stage=stage):
                with socket.create_server(("127.0.0.1", 0)) as server:
                    name = "garbage-" + stage
                    port = server.getsockname()[1]
                    threading.Thread(target=self.spew, args=(server, data), daemon=True).start()
                    self.call(0, "server", "add", name, "--kind", "ssh", "--host", "127.0.0.1", "--port", port, "--param",
                              "ConnectTimeout=5", "--param", f"transport={self.transport}")
                    self.add(name, "cat", server=name)
                    out, err = self.call(6, "run", name, "x")
                    self.assertEqual(b"", out)
                    self.assertRegex(err, rf"\Amer: [^\n]*'{name}'[ -~]*\n(hint: [ -~]*\n)?\Z", "one line, nothing that drives a terminal")

    @staticmethod
    def spew(server, data):
        try:
            while True:
                peer, _ = server.accept()
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    # What is no shell and answers with whatever it likes, in the middle of marks too.
    def test_garbage_after_login(self):
        for name, command in (("marks", "printf '\\036MER-00000000000000000000000000000000 up\\n' >&2; cat"),
                              ("endless", "head -c 3000000 /dev/urandom; head -c 3000000 /dev/urandom >&2; cat >/dev/null"),
                              ("escape", "printf '\\033]0;t\\007\\033[31mred\\n' >&2; exit 3")):
            with self.subTest(command=name):
                self.make(f"ForceCommand {command}", name=name)
                self.add(name, "cat", server=name)
                out, err = self.call(6, "run", name, "x")
                self.assertEqual(b"", out)
                self.assertRegex(err, rf"\Amer: [^\n]*'{name}'[ -~]*\n(hint: [ -~]*\n)?\Z")


ssh_case.each_transport(Servers, globals())

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

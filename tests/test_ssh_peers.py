#!/usr/bin/python3
"""Models on servers that are not OpenSSH's: asyncssh, paramiko and dropbear, and such as do it wrong. MER_PREFIX names the
installation. Prints TAP when run as a program."""
import os
import signal
import sys

import record_case
import ssh_case
import ssh_peers
import sshd

ABC = b"a\nb\nc\n"
TOKEN = "echo '@!#READY#!@'; while read -r line; do case $line in '@!#START#!@') ;; '@!#STOP#!@') " \
        "printf '@!#START#!@\\n%s\\n@!#STOP#!@\\n' \"$text\" ;; *) text=\"got $line\" ;; esac; done"


class Peers(ssh_case.Ssh):
    def serve(self, kind, params=(), name="box", **rules):
        if kind == "dropbear":
            if not sshd.DROPBEAR:
                self.skipTest("dropbear-bin is not installed")
            server = sshd.Server(self.place() / "server", {"user": "/bin/sh"}, dropbear=True)
        else:
            if not getattr(ssh_peers, kind):
                self.skipTest(f"python3-{kind} is not installed")
            server = getattr(ssh_peers, kind.capitalize())(self.place() / "server", **rules)
        self.addCleanup(server.stop)
        self.add_server(name, server, params=params)
        return server

    def works(self):
        """All that a model does, whatever carries it."""
        self.add("up", "sh", "-c", "echo log >&2; tr a-z A-Z")
        self.assertEqual(b"HELLO", self.out("run", "up", "hello"))
        self.assertEqual(b"A\nB\nC\n", self.out("run", "--lines", "up", f"@{self.file('lines', ABC)}"))
        self.add("ends", "sh", "-c", "exit 7")
        self.refused(1, "exit code 7", "run", "ends", "x")
        self.add("dies", "sh", "-c", "kill -SEGV $$")
        self.refused(1, "SIGSEGV", "run", "dies", "x")
        self.add("token", "sh", "-c", TOKEN, options=("--protocol", "token"))
        self.assertEqual(b"got hello\n", self.out("run", "token", "hello"))
        self.call(0, "server", "ping", "box")
        self.call(0, "model", "ping", "token")
        mark = self.sleeper("m")
        for end in (signal.SIGINT, signal.SIGKILL):
            child = self.start("run", "m", "x")
            self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
            child.send_signal(end)
            child.communicate(timeout=record_case.DEADLINE_S)
            self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)), "nothing of it is left")

    def echoes(self, size):
        data = os.urandom(1 << 16) * (size >> 16)
        self.add("cat", "cat")
        self.assertEqual(data, self.out("run", "cat", f"@{self.file('data', data)}"))

    def test_asyncssh(self):
        self.serve("asyncssh")
        self.works()
        self.echoes(4 << 20)

    def test_asyncssh_changes_keys(self):
        self.serve("asyncssh", rekey=256 << 10)
        self.echoes(2 << 20)

    def test_paramiko(self):
        self.serve("paramiko")
        self.works()
        self.echoes(4 << 20)

    def test_dropbear(self):
        self.serve("dropbear")
        self.works()
        self.echoes(4 << 20)

    # --- who does it wrong

    def wrong(self, what, *params, name="box"):
        if self.transport == "openssh":
            self.skipTest("ssh sees to it")
        return self.serve("paramiko", wrong=what, params=params, name=name)

    def test_exec_is_refused(self):
        self.wrong("exec is refused")
        self.add("m", "cat")
        self.refused(6, "server 'box' did not run what it was told", "run", "m", "x")

    def test_exec_is_closed(self):
        """Libssh2 looks for an answer alone, for a minute."""
        for n, (what, said) in enumerate({"exec is closed": "", "exec is closed with a word": ": no commands today"}.items()):
            with self.subTest(what):
                self.wrong(what, "--param", "ConnectTimeout=120", name=f"box{n}")
                self.add(f"m{n}", "cat", server=f"box{n}")
                self.refused(6, f"server 'box{n}' did not run what it was told (a forced command, or a login without a shell?){said}\n",
                             "run", "--timeout", "50s", f"m{n}", "x")

    def test_first_exec_is_closed(self):
        """As dropbear does where another program ends just then: nothing was begun."""
        server = self.wrong("the first exec is closed")
        self.add("up", "tr", "a-z", "A-Z")
        self.assertEqual(b"HELLO", self.out("run", "up", "hello"))
        self.assertEqual(1, len(server.transports))

    def test_exec_is_hung_up_on(self):
        """Once more, as one that was idle for too long may do so; not for ever."""
        server = self.wrong("exec is hung up on", "--param", "ConnectTimeout=120")
        self.add("m", "cat")
        self.refused(6, "the connection to server 'box' was lost", "run", "--timeout", "50s", "m", "x")
        self.assertEqual(2, len(server.transports))

    def test_execs_are_answered_the_other_way_round(self):
        """Libssh2 takes the answer for another channel as an error of its own."""
        server = self.wrong("execs are answered the other way round")
        self.add("up", "tr", "a-z", "A-Z", options=("--max-workers", "2"))
        self.assertEqual(b"A\nB\nC\n", self.out("run", "--lines", "--jobs", "2", "up", f"@{self.file('lines', ABC)}"))
        self.assertEqual([b""], [transport.held for transport in server.transports])

    def test_one_channel_is_all(self):
        """It takes one of each login, and no second one behind it."""
        self.wrong("one channel is all")
        self.add("up", "tr", "a-z", "A-Z")
        self.assertEqual(b"A\nB\nC\n", self.out("run", "--lines", "up", f"@{self.file('lines', ABC)}"))

    def test_open_is_not_answered(self):
        self.wrong("open is not answered", "--param", "ConnectTimeout=2")
        self.add("m", "cat")
        self.refused(6, "the connection to server 'box' was lost", "run", "m", "x")

    def test_close_is_not_answered(self):
        """Nobody waits for it."""
        self.wrong("close is not answered")
        self.add("up", "tr", "a-z", "A-Z")
        lines = b"".join(b"line %d\n" % i for i in range(12))
        self.assertEqual(lines.upper(), self.out("run", "--lines", "up", f"@{self.file('lines', lines)}"))
        self.sleeper("m")
        self.refused(7, "", "run", "--timeout", "3s", "m", "x")

    def test_what_is_of_no_stream(self):
        """It counts as unread, so that libssh2 sees no end behind it."""
        self.wrong("it sends what is of no stream")
        self.add("up", "tr", "a-z", "A-Z")
        self.assertEqual(b"HELLO", self.out("run", "up", "hello"))

    def test_no_exit_status(self):
        """Which libssh2 tells as 0."""
        self.wrong("it tells no exit status")
        self.add("m", "sh", "-c", "exit 7")
        self.refused(1, "exit code 7", "run", "m", "x")


ssh_case.each_transport(Peers, globals())
del Peers

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

#!/usr/bin/python3
"""server ping and model ping of other hosts: one, all, and hosts that do not answer. MER_PREFIX names the
installation. Prints TAP when run as a program."""
import json
import signal
import socket
import sys

import ssh_case
import sshd

SERVERS = 8


class Mute:
    """Takes connections and says nothing."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]

    def met(self):
        """Waits until somebody has come."""
        self.server.settimeout(60)
        return self.server.accept()[0]


class Ping(ssh_case.Ssh):
    def setUp(self):
        super().setUp()
        self.server = sshd.Server(self.place() / "server", {"user": "/bin/sh", "nologin": "/usr/sbin/nologin"})
        self.addCleanup(self.server.stop)
        self.mute = Mute()
        self.addCleanup(self.mute.server.close)

    def rows(self, code, *words):
        out, err = self.call(code, "server", "ping", "--json", *words)
        return json.loads(out), err

    def test_one(self):
        self.add_server("box", self.server)
        self.assertRegex(self.out("server", "ping", "box"), rb"\Abox: ready in [0-9]+ ms over " + self.transport.encode() + rb"\n\Z")
        row, _ = self.rows(0, "--start", "box")
        self.assertEqual(("box", "ssh", "ok", None), tuple(row[key] for key in ("server", "kind", "status", "error")))
        self.assertTrue(ssh_case.wait_for(lambda: not self.server.sessions()), "nothing of it is left there")

    def test_login_is_enough(self):
        self.add_server("box", self.server, "nologin")
        self.rows(0, "box")
        self.refused(6, "server 'box' did not run what it was told", "server", "ping", "--start", "box")

    def test_all(self):
        for i in range(SERVERS):
            self.add_server(f"box{i}", self.server)
        for words in ((), ("--start",)):
            rows, err = self.rows(0, "--all", *words)
            self.assertEqual("", err)
            self.assertEqual([f"box{i}" for i in range(SERVERS)] + ["local"], [row["server"] for row in rows])
            self.assertEqual({("ok", None)}, {(row["status"], row["error"]) for row in rows})
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0)) # and does not listen
            port = nobody.getsockname()[1]
            self.call(0, "server", "set", "box1", f"port={port}")
            self.call(0, "server", "set", "box5", "param=UserKnownHostsFile=/dev/null")
            rows, err = self.rows(6, "--all")
        self.assertEqual({"box1", "box5"}, {row["server"] for row in rows if row["status"] == "failed"})
        self.assertEqual({None}, {row["ready_ms"] for row in rows if row["status"] == "failed"})
        self.assertEqual(f"mer: 2 of {SERVERS + 1} servers failed, the first: cannot reach server 'box1': connect to host "
                         f"127.0.0.1 port {port}: Connection refused\n", err)
        self.assertIn("the host key of '127.0.0.1' is not known", rows[5]["error"])
        lines = self.call(6, "--plain", "server", "ping", "--all")[0].decode().splitlines()
        self.assertEqual(["box0", "ssh", "ok"], lines[0].split("\t")[:3])
        self.assertEqual(SERVERS + 1, len(lines))

    def test_no_ssh(self):
        """All transports ask the program what ssh's files say; whoever lacks it is told what to install."""
        tools = self.tools()
        self.assertFalse((tools / "ssh").exists())
        self.call(0, "server", "add", "box", "--kind", "ssh", "--host", "127.0.0.1", "--param", f"transport={self.transport}")
        self.add("m", "cat")
        for words in (("run", "m", "x"), ("model", "ping", "m"), ("server", "ping", "box")):
            self.refused(6, "cannot start 'ssh': No such file or directory (is openssh-client installed?)\n", *words,
                         env={"PATH": str(tools)})

    def test_words(self):
        self.refused(2, "wants a server or --all", "server", "ping")
        self.refused(2, "wants a server or --all", "server", "ping", "--all", "local")
        self.refused(3, "there is no server 'nosuch'", "server", "ping", "nosuch")

    def test_one_that_hangs(self):
        self.add_server("box", self.server)
        self.add_server("mute", self.server)
        self.call(0, "server", "set", "mute", f"port={self.mute.port}", "param=ConnectTimeout=1")
        rows, err = self.rows(6, "--all")
        self.assertEqual({"box": "ok", "local": "ok", "mute": "failed"}, {row["server"]: row["status"] for row in rows})

    # --- Ctrl-C while a host says nothing: its own timeouts would take longer than the test waits

    def interrupt(self, *words):
        self.add_server("mute", self.server)
        self.call(0, "server", "set", "mute", f"port={self.mute.port}", "param=ConnectTimeout=600")
        if words[0] == "model":
            self.add("m", "cat", server="mute", options=words[3:])
        child = self.start(*words[:3])
        with self.mute.met():
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=60)
        self.assertEqual(130, child.returncode)

    def test_interrupt_ping(self):
        self.interrupt("server", "ping", "mute")

    def test_interrupt_all(self):
        self.interrupt("server", "ping", "--all")

    def test_interrupt_once(self):
        self.interrupt("model", "ping", "m")

    def test_interrupt_token(self):
        self.interrupt("model", "ping", "m", "--protocol", "token")


ssh_case.each_transport(Ping, globals())

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

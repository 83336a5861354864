#!/usr/bin/python3
"""Servers that let mer in and then misbehave, over libssh2: what they send, and what they never answer, is bounded.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import asyncio
import json
import os
import socket
import sys
import threading
import time
import unittest

import ssh_case
import sshd
from ssh_peers import asyncssh, paramiko

MIB = 1 << 20


if paramiko:
    class Host(paramiko.ServerInterface):
        """Lets everybody in and says yes to all; what it does with a command is up to a test."""

        def __init__(self, on_command):
            self.on_command = on_command

        def get_allowed_auths(self, username):
            return "publickey"

        def check_auth_publickey(self, username, key):
            return paramiko.AUTH_SUCCESSFUL

        def check_channel_request(self, kind, number):
            return paramiko.OPEN_SUCCEEDED

        def check_channel_exec_request(self, channel, command):
            threading.Thread(target=self.on_command, args=(channel,), daemon=True).start()
            return True


if asyncssh:
    class Hop(asyncssh.SSHServer):
        """Connects further, but to silent ports."""

        def __init__(self, silent, asked):
            self.silent, self.asked = silent, asked

        def connection_made(self, conn):
            self.conn = conn

        def begin_auth(self, username):
            return False

        async def connect(self, host, port):
            self.asked[port].set()
            if port in self.silent:
                await asyncio.Event().wait()
            return await self.conn.forward_connection(host, port)

        def connection_requested(self, host, port, from_host, from_port):
            return self.connect(host, port)


@unittest.skipUnless(paramiko, "python3-paramiko is not installed")
class Hostile(ssh_case.Ssh, unittest.TestCase):
    transport = "libssh2"

    def serve(self, on_command):
        """A server 'box' whose commands are given to that function, in a thread each."""
        for name in ("host", "id"):
            sshd.Server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        server = socket.create_server(("127.0.0.1", 0))
        port = server.getsockname()[1]
        self.addCleanup(server.close)
        transports = []

        def accept():
            try:
                while True:
                    transport = paramiko.Transport(server.accept()[0])
                    transports.append(transport)
                    transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self.folder / "host")))
                    transport.start_server(threading.Event(), Host(on_command))
            except OSError:
                pass

        self.addCleanup(lambda: [transport.close() for transport in transports])
        threading.Thread(target=accept, daemon=True).start()
        key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        known = self.file("known", f"[127.0.0.1]:{port} {key}\n")
        self.call(0, "server", "add", "box", "--kind", "ssh", "--user", "user", "--host", "127.0.0.1", "--port", str(port),
                  "--param", f"IdentityFile={self.folder}/id", "--param", "IdentitiesOnly=yes", "--param",
                  f"UserKnownHostsFile={known}", "--param", "ConnectTimeout=30", "--param", "transport=libssh2")

    def flooded(self, head):
        """A server sends that without an end."""
        sent = []

        def flood(channel):
            message = paramiko.Message(head + bytes(30000))
            channel.recv(1) # it was heard that the command runs
            try:
                while channel.transport.is_active() and len(sent) < 256 * MIB // 30000:
                    channel.transport._send_user_message(message)
                    sent.append(1)
                channel.close()
            except (EOFError, OSError):
                pass

        self.serve(flood)
        self.add("m", "cat")
        self.refused(1, "the connection to server 'box' was lost: it sends what nobody has asked for", "run", "m", "x")
        self.assertLess(len(sent) * 30000, 128 * MIB, "it was left soon")

    def test_packets_that_nobody_knows(self):
        """libssh2 keeps them."""
        self.flooded(b"\xc0")

    def test_packets_for_no_channel(self):
        self.flooded(b"\x63\0\0\xff\xff")

@unittest.skipIf(sshd.missing(), sshd.missing())
class Jumps(ssh_case.Ssh, unittest.TestCase):
    """Hosts between mer and a server, which never answer or lead nowhere."""
    transport = "libssh2"

    def listen(self, serve=lambda peer: peer.recv(1)):
        """A port where that is done with each connection; nothing, unless told."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        peers = []
        self.addCleanup(lambda: [peer.close() for peer in peers])

        def accept():
            try:
                while True:
                    peers.append(server.accept()[0])
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        return server.getsockname()[1]

    def real(self, name, options=""):
        server = sshd.Server(self.place() / name, {"user": "/bin/sh"}, options)
        self.addCleanup(server.stop)
        return server

    def config(self, servers, **hops):
        """Of ssh: each hop by its port and what else is said of it."""
        known = self.file("known", "".join(f"[127.0.0.1]:{port} {key}\n" for port, key in servers))
        lines = "".join(f"Host {name}\n HostName 127.0.0.1\n Port {port}\n User user\n {more}\n" for name, (port, more) in hops.items())
        return self.file("config", lines + f"Host *\n UserKnownHostsFile {known}\n IdentitiesOnly yes\n")

    def box(self, port, config, jump, key="/nonexistent", name="box", seconds=3, transport="libssh2"):
        self.call(0, "server", "add", name, "--kind", "ssh", "--user", "user", "--host", "127.0.0.1", "--port", str(port),
                  "--param", f"config={config}", "--param", f"ProxyJump={jump}", "--param", f"IdentityFile={key}", "--param",
                  f"ConnectTimeout={seconds}", "--param", f"transport={transport}")

    def in_time(self, message, name="box"):
        """It fails, and soon: the default of what is not told is more than that."""
        begun = time.monotonic()
        self.refused(6, message, "server", "ping", name)
        self.assertLess(time.monotonic() - begun, 9)

    def test_hop_that_is_silent(self):
        self.box(1, self.config([], hop=(self.listen(), "")), "hop")
        self.in_time("server 'box', on the way there: server 'hop' has not let us in within 3 s")

    def test_host_behind_it_that_is_silent(self):
        hop = self.real("hop")
        self.box(self.listen(), self.config([(hop.port, hop.host_key)], hop=(hop.port, f"IdentityFile {hop.folder}/id")), "hop")
        self.in_time("took the connection, but no SSH server answers")

    def test_host_behind_it_that_is_not_there(self):
        hop = self.real("hop")
        refuses = self.real("refuses", "AllowTcpForwarding no")
        port = sshd.free_port()
        config = self.config([(hop.port, hop.host_key), (refuses.port, refuses.host_key)],
                             hop=(hop.port, f"IdentityFile {hop.folder}/id"), refuses=(refuses.port, f"IdentityFile {refuses.folder}/id"))
        self.box(port, config, "hop")
        self.in_time(f"server 'hop' cannot connect to 127.0.0.1 port {port}: connect failed")
        self.box(port, config, "refuses", name="other")
        self.in_time(f"server 'refuses' cannot connect to 127.0.0.1 port {port}: administratively prohibited", "other")

    def test_circles(self):
        hop = self.real("hop")
        config = self.config([(hop.port, hop.host_key)], a=(hop.port, "ProxyJump b"), b=(hop.port, "ProxyJump c"), c=(hop.port, "ProxyJump a"))
        self.box(hop.port, config, "a")
        self.in_time("its ProxyJump leads back to itself, by way of '")

    def test_circles_of_ssh(self):
        """Each ssh on the way starts the next one, as often as it may."""
        mark = f"MARK=circle-{os.getpid()}-{id(self)}"
        self.env |= dict([mark.split("=")])
        config = self.config([], a=(1, "ProxyJump b"), b=(1, "ProxyJump a"), c=(1, f"ProxyCommand ssh -F {self.folder}/config -W %h:%p c"))
        for jump in ("a", "c"):
            self.box(1, config, jump, name=jump, transport="openssh", seconds=60)
            self.add(f"m-{jump}", "cat", server=jump)
            for words in (("server", "ping", jump), ("run", f"m-{jump}", "x"), ("server", "trust", jump)):
                with self.subTest(words):
                    self.refused(6, f"server '{jump}': its ProxyJump or ProxyCommand leads back to itself", *words)
                    self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))

    @unittest.skipUnless(asyncssh, "python3-asyncssh is not installed")
    def test_hop_that_others_use(self):
        """A connection further that is never answered leaves alone what is on the same session, and what comes after it."""
        far, late = self.real("far"), self.real("late")
        silent = self.listen()
        asked = {port: threading.Event() for port in (far.port, late.port, silent)}
        hop = asyncio.new_event_loop()
        server = hop.run_until_complete(asyncssh.listen("127.0.0.1", 0, server_factory=lambda: Hop([silent], asked),
                                                        server_host_keys=[str(far.folder / "host")]))
        port = server.sockets[0].getsockname()[1]
        hop.set_exception_handler(lambda *_: None)
        thread = threading.Thread(target=hop.run_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 60)
        self.addCleanup(hop.call_soon_threadsafe, hop.stop)
        config = self.config([(port, far.host_key), (far.port, far.host_key), (late.port, late.host_key)],
                             hop=(port, f"IdentityFile {far.folder}/id"))
        self.box(silent, config, "hop", name="a-silent", seconds=6)
        self.box(far.port, config, "hop", far.folder / "id", "far", 30)
        self.box(late.port, config, "hop", late.folder / "id", "late", 30)
        go = self.folder / "go"
        self.add("m", "sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done; cat", server="far", options=("--max-workers", "1"))
        self.call(0, "deployment", "add", "m", "--server", "a-silent", "--max-workers", "1", "--", "cat")
        with open(self.folder / "log", "wb") as log:
            child = self.start("--log", "meal=debug", "run", "--lines", "--jobs", "2", "m", f"@{self.file('lines', 'one' + chr(10) + 'two' + chr(10))}", stderr=log)
        self.assertTrue(asked[silent].wait(60), "while the first runs")
        self.assertTrue(ssh_case.wait_for(lambda: "gets no connection" in (self.folder / "log").read_text()))
        go.write_text("")
        self.assertEqual(b"one\ntwo\n", child.communicate(timeout=60)[0])
        self.assertEqual(1, (far.folder / "log").read_text().count("Accepted publickey"))
        asked[silent].clear()
        rows = map(json.loads, self.call(6, "server", "ping", "--all", "--jsonl")[0].splitlines())
        self.assertTrue(asked[silent].is_set())
        self.assertEqual({"a-silent": "failed", "far": "ok", "late": "ok", "local": "ok"}, {row["server"]: row["status"] for row in rows})


if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

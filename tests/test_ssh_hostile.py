#!/usr/bin/python3
"""Servers that let mer in and then misbehave, over libssh2: what they send, and what they never answer, is bounded.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import socket
import sys
import threading
import unittest
import warnings

import ssh_case
import sshd

with warnings.catch_warnings(): # of ciphers that nobody uses here
    warnings.simplefilter("ignore")
    try:
        import paramiko
    except ImportError:
        paramiko = None

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
        self.refused(6, "the connection to server 'box' was lost: it sends what nobody has asked for", "run", "m", "x")
        self.assertLess(len(sent) * 30000, 128 * MIB, "it was left soon")

    def test_packets_that_nobody_knows(self):
        """libssh2 keeps them."""
        self.flooded(b"\xc0")

    def test_packets_for_no_channel(self):
        self.flooded(b"\x63\0\0\xff\xff")


if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

#!/usr/bin/python3
"""Logins over libssh2, by a program of their own (ssh_login_probe.c), to real servers and to such as misbehave.
Prints TAP when run as a program: test_ssh_login.py PROBE [TEST...]."""
import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import processes
import sshd
from ssh_peers import asyncssh, paramiko

PROBE = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MER_LOGIN_PROBE")
SECRET = "correct-horse-battery-staple-4711"
# libssh2 1.10 forgets the numbers of an ECDSA key in OpenSSH's format, which it has from libcrypto and not from us.
KNOWN_LEAKS = "leak:libssh2_userauth_publickey_frommemory\n"
LONG = "x" * 2000 + SECRET # so long that memory for it is not soon used again


def keygen(path, kind="ed25519", passphrase="", *words):
    sshd.Server.run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "a comment", "-f", path, *words)
    return path


@unittest.skipIf(sshd.missing(), sshd.missing())
class Login(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="mer-login-")
        cls.addClassCleanup(folder.cleanup)
        cls.place = Path(folder.name)
        cls.server = sshd.Server(cls.place / "server", {"user": "/bin/sh"})
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-login-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "config").write_text("")

    def start(self, name, options="", **rest):
        server = sshd.Server(self.folder / name, {"user": "/bin/sh"}, options, **rest)
        self.addCleanup(server.stop)
        return server

    def words(self, server=None, port=None, user="user", host="127.0.0.1", **params):
        server = server or self.server
        known = {"config": f"{self.folder}/config", "IdentityFile": f"{server.folder}/id", "IdentitiesOnly": "yes",
                 "UserKnownHostsFile": f"{server.folder}/known_hosts", "ConnectTimeout": "30"}
        params = {name: str(value) for name, value in (known | params).items() if value is not None}
        return [PROBE, host, str(port or server.port), user, json.dumps(params)]

    def login(self, server=None, env=None, more=(), **params):
        env = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"} | (env or {})
        done = subprocess.run(self.words(server, **params) + list(more), env=env, capture_output=True, timeout=120,
                              stdin=subprocess.DEVNULL)
        self.assertEqual((0, b""), (done.returncode, done.stderr), done.stdout)
        for secret in (SECRET, "wrong-" + SECRET):
            self.assertNotIn(secret.encode(), done.stdout)
        return json.loads(done.stdout)

    def good(self, *words, how="", **params):
        told = self.login(*words, **params)
        self.assertEqual(("libssh2", "ok", ""), (told["choice"], told["status"], told["message"]), told)
        self.assertEqual("hello", told["hello"])
        self.assertIn(how, told["how"])
        return told

    def refused(self, message, *words, status="unreachable", **params):
        told = self.login(*words, **params)
        self.assertEqual(status, told["status"], told)
        self.assertIn(message, told["message"])
        self.assertEqual("", told.get("how", ""))
        return told

    def by_openssh(self, reason, server=None, **params):
        """Left to ssh, before anything of authentication was sent."""
        told = self.login(server, **params)
        self.assertEqual(("openssh", "ok"), (told["choice"], told["status"]), told)
        self.assertIn(reason, told["reason"])
        log = ((server or self.server).folder / "log").read_text()
        if server:
            self.assertNotIn("user user", log)
            self.assertNotIn("Accepted", log)
            self.assertNotIn("Failed", log)
        return told

    # --- keys

    def test_key_file(self):
        told = self.good(how=f"publickey {self.server.folder}"[:20])
        self.assertRegex(told["how"], r"^libssh2 [0-9.]+, ssh-ed25519 SHA256:[A-Za-z0-9+/]{43}, publickey /")
        self.assertEqual(3, len([time for time in told["times"] if time > 0]))

    def add_key(self, path, name="user", server=None):
        keys = (server or self.server).home(name) / ".ssh" / "authorized_keys"
        with keys.open("a") as file:
            file.write(Path(f"{path}.pub").read_text())

    def test_kinds_of_keys(self):
        (self.folder / "leaks").write_text(KNOWN_LEAKS)
        env = {"HUSH": SECRET, "LSAN_OPTIONS": f"suppressions={self.folder}/leaks:print_suppressions=0",
               "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":fast_unwind_on_malloc=0"}
        for kind, words in (("ecdsa", ()), ("ecdsa", ("-b", "521")), ("ecdsa", ("-m", "PEM")), ("ecdsa", ("-m", "PKCS8")),
                            ("ed25519", ())):
            for passphrase in ("", SECRET):
                with self.subTest(kind=kind, words=words, guarded=bool(passphrase)):
                    path = keygen(self.folder / f"{kind}{len(words)}{''.join(words)}{bool(passphrase)}", kind, passphrase,
                                  *words)
                    self.add_key(path)
                    ref = {"passphrase": "env:HUSH"} if passphrase else {}
                    self.good(IdentityFile=path, env=env, how="publickey", **ref)

    def test_passphrase(self):
        path = keygen(self.folder / "guarded", passphrase=SECRET)
        self.add_key(path)
        file = self.folder / "secret"
        file.write_text(SECRET + "\n")
        self.good(IdentityFile=path, passphrase=f"file:{file}")
        self.good(IdentityFile=path, passphrase=f"cmd:cat {file}")
        before = (self.server.folder / "log").read_text()
        told = self.refused("server 'box': cannot log in: user@127.0.0.1: Permission denied (publickey)", IdentityFile=path,
                            passphrase="env:HUSH", env={"HUSH": "wrong-" + SECRET})
        self.assertIn(f"the passphrase of the key '{path}' is wrong", told["hint"])
        self.assertNotIn("Failed publickey", (self.server.folder / "log").read_text()[len(before):])
        told = self.refused("Permission denied (publickey)", IdentityFile=path)
        self.assertIn("has a passphrase", told["hint"])
        told = self.refused("server 'box': passphrase: the variable of 'env:NONE' is not set", status="input", IdentityFile=path,
                            passphrase="env:NONE")

    def test_no_such_key(self):
        self.refused("server 'box': cannot log in: user@127.0.0.1: Permission denied (publickey).",
                     IdentityFile=f"{self.server.folder}/host")
        self.refused("Permission denied", IdentityFile=self.folder / "none")
        path = keygen(self.folder / "open")
        self.add_key(path)
        path.chmod(0o644)
        told = self.refused("Permission denied", IdentityFile=path)
        self.assertIn(f"others may read the key '{path}'", told["hint"])
        (self.folder / "garbage").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
        (self.folder / "garbage").chmod(0o600)
        self.refused("Permission denied", IdentityFile=self.folder / "garbage")

    def test_keys_that_libssh2_has_not(self):
        server = self.start("odd")
        rsa = keygen(self.folder / "rsa", "rsa", "", "-b", "2048")
        if self.new_libssh2():
            self.skipTest("this libssh2 signs with RSA keys")
        self.add_key(rsa, server=server)
        self.by_openssh(f"cannot sign with the RSA key '{rsa}'", server, IdentityFile=rsa)
        self.refused("Permission denied", server, IdentityFile=rsa, transport="libssh2")
        (self.folder / "config").write_text(f"IdentityFile {rsa}\n")
        self.good(server, transport="libssh2")
        certified = keygen(self.folder / "certified")
        sshd.Server.run("ssh-keygen", "-q", "-s", server.folder / "id", "-I", "me", certified)
        self.add_key(certified, server=server)
        (self.folder / "config").write_text("")
        self.assertIn("has a certificate", self.login(server, IdentityFile=certified)["reason"])

    def test_keys_in_hardware(self):
        """Their files look like others and hold no private half."""
        def piece(data):
            return len(data).to_bytes(4, "big") + data

        kind = b"sk-ssh-ed25519@openssh.com"
        blob = piece(kind) + piece(bytes(32)) + piece(b"ssh:")
        data = b"openssh-key-v1\0" + piece(b"none") * 2 + piece(b"") + (1).to_bytes(4, "big") + piece(blob) + piece(bytes(64))
        key = self.folder / "hardware"
        key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.b64encode(data).decode() +
                       "\n-----END OPENSSH PRIVATE KEY-----\n")
        key.chmod(0o600)
        server = self.start("with-hardware")
        self.by_openssh(f"cannot sign with the key '{key}' of type sk-ssh-ed25519@openssh.com", server, IdentityFile=key)

    def new_libssh2(self):
        """Whether it has what 1.10 has not."""
        version = self.good()["how"].split()[1].rstrip(",")
        return tuple(int(part) for part in version.split(".")[:2]) > (1, 10)

    # --- the agent

    def agent(self, *keys):
        path = self.folder / "agent"
        child = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.addCleanup(child.stdout.close)
        child.stdout.readline() # it listens
        env = os.environ | {"SSH_AUTH_SOCK": str(path)}
        for key in keys:
            sshd.Server.run("ssh-add", key, env=env)
        return str(path)

    def test_agent(self):
        others = [keygen(self.folder / f"other{i}") for i in range(3)]
        key = keygen(self.folder / "key", "ecdsa")
        self.add_key(key)
        path = self.agent(*others, key, self.server.folder / "id")
        self.good(IdentitiesOnly="no", IdentityFile=self.folder / "none", env={"SSH_AUTH_SOCK": path},
                  how="publickey of the agent, a comment")
        self.good(IdentityFile=None, IdentityAgent=path, IdentitiesOnly="no")
        # The files choose of the agent's keys; the private half need not be there.
        key.unlink()
        self.good(IdentityFile=key, IdentityAgent=path, how=f"publickey {key}"[:40])
        self.good(IdentityFile=f"{key}.pub", IdentityAgent=path)
        self.refused("Permission denied", IdentityFile=key, IdentityAgent="none", env={"SSH_AUTH_SOCK": path})
        self.refused("Permission denied", IdentityFile=key, IdentityAgent=self.folder / "nobody")
        self.refused("Permission denied", IdentityFile=others[0], IdentityAgent=path)

    def test_too_many_keys(self):
        path = self.agent(*(keygen(self.folder / f"other{i}") for i in range(9)))
        told = self.refused("cannot log in: ", IdentityFile=self.folder / "none", IdentitiesOnly="no", IdentityAgent=path)
        self.assertTrue("IdentitiesOnly=yes" in told["hint"] or "Too many authentication failures" in told["message"], told)

    def fake_agent(self, name, *answers):
        """A socket that gives one answer a message, to whoever comes, and then none."""
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(str(self.folder / name))
        server.listen()

        def talk(peer):
            with peer:
                for answer in answers:
                    peer.recv(4096)
                    peer.sendall(answer)
                    if not answer:
                        return
                while peer.recv(4096): # until it is tired of us
                    pass

        def accept():
            try:
                while True:
                    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        return self.folder / name

    def test_no_more_than_six_keys(self):
        """Though the server would take more: others ban who tries so many."""
        server = self.start("patient", "MaxAuthTries 40")
        path = self.agent(*(keygen(self.folder / f"other{i}") for i in range(9)))
        self.refused("Permission denied", server, IdentityFile=self.folder / "none", IdentitiesOnly="no", IdentityAgent=path)
        self.assertEqual(6, (server.folder / "log").read_text().count("Failed publickey"))

    def test_agents_that_misbehave(self):
        """One that is of no use is passed over, within a share of the time: files are tried."""
        answers = {"silent": [], "hangs up": [b""], "endless": [b"\xff\xff\xff\xff"], "refuses": [b"\0\0\0\1\5"],
                   "many": [b"\0\0\0\5\x0c\xff\xff\xff\xff"], "cut": [b"\0\0\0\x09\x0c\0\0\0\1\0\0\xff\xff"]}
        for name, answer in answers.items():
            with self.subTest(agent=name):
                path = self.fake_agent(name, *answer)
                self.good(IdentityAgent=path, ConnectTimeout=9, how=f"publickey {self.server.folder}"[:20])
                told = self.refused("Permission denied", IdentityAgent=path, IdentityFile=self.folder / "none", ConnectTimeout=9)
                self.assertIn("the agent of keys ", told["hint"])
        stale = self.folder / "stale"
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(stale))
        self.good(IdentityAgent=stale)

    def test_agent_that_does_not_sign(self):
        """It has the key of a file, which signs in its place."""
        blob = base64.b64decode((self.server.folder / "id.pub").read_text().split()[1])
        body = b"\x0c\0\0\0\1" + len(blob).to_bytes(4, "big") + blob + b"\0\0\0\1x"
        keys = len(body).to_bytes(4, "big") + body
        for name, answer in {"silent": [keys], "refuses": [keys, b"\0\0\0\1\5"], "hangs up": [keys, b""]}.items():
            with self.subTest(agent=name):
                path = self.fake_agent(name, *answer)
                self.good(IdentityAgent=path, ConnectTimeout=9, how=f"publickey {self.server.folder}"[:20])
                told = self.refused("Permission denied", IdentityAgent=path, IdentityFile=f"{self.server.folder}/id.pub", ConnectTimeout=9)
                self.assertIn("the agent does not sign with the key 'x'", told["hint"])

    # --- the host's key

    def known(self, *lines):
        path = self.folder / "known"
        path.write_text("".join(line + "\n" for line in lines))
        return path

    def test_host_keys(self):
        name, key = f"[127.0.0.1]:{self.server.port}", self.server.host_key
        other = " ".join(Path(f"{keygen(self.folder / 'other')}.pub").read_text().split()[:2])
        ecdsa = " ".join(Path(f"{keygen(self.folder / 'ecdsa', 'ecdsa')}.pub").read_text().split()[:2])
        unknown = "server 'box': the host key of '127.0.0.1' is not known ('server trust box' adds it)"
        for lines in ([f"{name} {key}"], [f"other,{name} {key} comment"], [f"127.0.0.1 {key}"], [f"*.0.0.? {key}"],
                      [f"[127.0.0.*]:{self.server.port} {key}"], ["# none", "", "garbage", f"{name} ssh-ed25519 AAAA", f"\t{name}\t{key}"],
                      [f"{name} {other}", f"{name} {key}"], [f"{name} {ecdsa}", f"{name} {key}"],
                      [f"@revoked {name} {other}", f"{name} {key}"], [f"127.0.0.1 {other}", f"{name} {key}"]):
            with self.subTest(good=lines):
                self.good(UserKnownHostsFile=self.known(*lines))
        for lines in ([], [f"elsewhere {key}"], [f"127.0.0.?,!127.* {key}"], [f"[127.0.0.1]:1 {key}"], [f"{name} {ecdsa}"],
                      [f"127.0.0.1 {other}"], [f"@unheard-of {name} {key}"]):
            with self.subTest(unknown=lines):
                self.refused(unknown, UserKnownHostsFile=self.known(*lines))
        path = self.known("# first", f"{name} {other}")
        fingerprint = sshd.Server.run("ssh-keygen", "-l", "-f", self.server.folder / "host.pub").decode().split()[1]
        for mode in ("yes", "accept-new"):
            self.refused(f"server 'box': the host key of '127.0.0.1' has changed to {fingerprint}, or somebody is in between; "
                         f"another one is in {path}:2", UserKnownHostsFile=path, StrictHostKeyChecking=mode)
        path = self.known(f"@revoked * {key}", f"{name} {key}")
        self.refused("server 'box': the host key of '127.0.0.1' is revoked", UserKnownHostsFile=path,
                     StrictHostKeyChecking="accept-new")
        log = (self.server.folder / "log").read_text()
        self.refused("has changed", UserKnownHostsFile=self.known(f"{name} {ecdsa}"), StrictHostKeyChecking="accept-new")
        for word in ("user user", "Accepted"):
            self.assertNotIn(word, (self.server.folder / "log").read_text()[len(log):], "nothing of authentication was sent")

    def test_hashed_names(self):
        path = self.known(f"[127.0.0.1]:{self.server.port} {self.server.host_key}")
        sshd.Server.run("ssh-keygen", "-H", "-f", path)
        self.assertTrue(path.read_text().startswith("|1|"))
        self.good(UserKnownHostsFile=path)
        path.write_text(path.read_text().replace("|1|", "|1|A", 1))
        self.refused("is not known", UserKnownHostsFile=path)

    def test_alias(self):
        (self.folder / "config").write_text("HostKeyAlias gpu\n")
        self.good(UserKnownHostsFile=self.known(f"gpu {self.server.host_key}"))
        self.refused("is not known", UserKnownHostsFile=self.known(f"127.0.0.1 {self.server.host_key}"))

    def test_known_to_all(self):
        path = self.folder / "global"
        path.write_text(f"[127.0.0.1]:{self.server.port} {self.server.host_key}\n")
        (self.folder / "config").write_text(f"GlobalKnownHostsFile /nonexistent {path}\n")
        self.good(UserKnownHostsFile=self.known())
        path.write_text(f"@revoked * {self.server.host_key}\n")
        self.refused("is revoked", UserKnownHostsFile=self.known(f"[127.0.0.1]:{self.server.port} {self.server.host_key}"))

    def test_accept_new(self):
        path = self.folder / "new" / "known"
        self.good(UserKnownHostsFile=path, StrictHostKeyChecking="accept-new")
        line = f"[127.0.0.1]:{self.server.port} {self.server.host_key}\n"
        self.assertEqual(line, path.read_text())
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        self.good(UserKnownHostsFile=path)
        path.write_text("elsewhere ssh-ed25519 AAAA") # without a newline at its end
        self.good(UserKnownHostsFile=path, StrictHostKeyChecking="accept-new")
        self.assertEqual("elsewhere ssh-ed25519 AAAA\n" + line, path.read_text())
        (self.folder / "config").write_text("HashKnownHosts yes\n")
        path.write_text("")
        self.good(UserKnownHostsFile=path, StrictHostKeyChecking="accept-new")
        self.assertTrue(path.read_text().startswith("|1|"))
        found = sshd.Server.run("ssh-keygen", "-F", f"[127.0.0.1]:{self.server.port}", "-f", path).decode()
        self.assertIn(self.server.host_key, found, "ssh finds it")
        self.good(UserKnownHostsFile=path)

    def test_several_types(self):
        """Of several keys the server shows the one that is known."""
        key = keygen(self.folder / "ecdsa", "ecdsa")
        server = self.start("several", f"HostKey {key}")
        ecdsa = " ".join(Path(f"{key}.pub").read_text().split()[:2])
        for line, kind in ((ecdsa, "ecdsa-sha2-nistp256"), (server.host_key, "ssh-ed25519")):
            path = self.known(f"[127.0.0.1]:{server.port} {line}")
            self.good(server, UserKnownHostsFile=path, how=kind)

    # --- what is ssh's alone

    def test_left_to_ssh(self):
        server = self.start("left")
        name = f"[127.0.0.1]:{server.port}"
        rsa = keygen(self.folder / "host-rsa", "rsa", "", "-b", "2048")
        line = " ".join(Path(f"{rsa}.pub").read_text().split()[:2])
        self.by_openssh("known of the host", server, UserKnownHostsFile=self.known(f"@cert-authority {name} {server.host_key}"))
        for config in ("ProxyCommand false", "CertificateFile /x", "PKCS11Provider /x.so", "KnownHostsCommand /bin/false",
                       "RevokedHostKeys /x", "BindAddress 127.0.0.1", "SetEnv A=b", "Compression yes", "VerifyHostKeyDNS yes"):
            with self.subTest(config=config):
                (self.folder / "config").write_text(config + "\n")
                self.by_openssh("the configuration has " + config.split()[0], server)
        (self.folder / "config").write_text("GSSAPIAuthentication yes\n")
        self.by_openssh("GSSAPI is ssh's alone", server, IdentityFile=self.folder / "none")
        if self.new_libssh2():
            self.skipTest("this libssh2 has more")
        (self.folder / "config").write_text("")
        self.by_openssh("known of the host", server, UserKnownHostsFile=self.known(f"{name} {line}"))
        for config in ("Ciphers aes128-gcm@openssh.com", "MACs hmac-sha2-256-etm@openssh.com", "HostKeyAlgorithms rsa-sha2-512"):
            with self.subTest(config=config):
                (self.folder / "config").write_text(config + "\n")
                self.by_openssh("has none of the configuration's " + config.split()[0], server)

    def test_servers_that_libssh2_cannot_meet(self):
        if self.new_libssh2():
            self.skipTest("this libssh2 has more")
        rsa = keygen(self.folder / "host-rsa", "rsa", "", "-b", "2048")
        for name, options, reason in (
                ("rsa", f"HostKey {rsa}\nHostKeyAlgorithms rsa-sha2-512,rsa-sha2-256", "no host key that libssh2 has, only rsa-sha2-512"),
                ("gcm", "Ciphers aes128-gcm@openssh.com", "no cipher that libssh2 has, only aes128-gcm@openssh.com"),
                ("etm", "MACs hmac-sha2-256-etm@openssh.com", "no MAC that libssh2 has, only hmac-sha2-256-etm@openssh.com"),
                ("kex", "KexAlgorithms sntrup761x25519-sha512@openssh.com", "no key exchange that libssh2 has")):
            with self.subTest(server=name):
                server = self.start(name, options)
                self.by_openssh(reason, server)
                self.by_openssh(reason, server, transport="libssh2")

    def test_configuration(self):
        (self.folder / "config").write_text(f"Host gpu\n HostName 127.0.0.1\n Port {self.server.port}\n User user\n"
                                            f" IdentityFile {self.server.folder}/i%%\n IdentityFile ${{KEYS}}/id\n"
                                            "Match exec \"exit 1\"\n ProxyCommand false\n")
        words = [PROBE, "gpu", "0", "", json.dumps({"config": f"{self.folder}/config", "UserKnownHostsFile":
                                                    f"{self.server.folder}/known_hosts", "IdentitiesOnly": "yes"})]
        done = subprocess.run(words, env=os.environ | {"KEYS": str(self.server.folder)}, capture_output=True, timeout=120)
        self.assertEqual("hello", json.loads(done.stdout)["hello"], done.stdout)
        (self.folder / "config").write_text("NoSuchOption yes\n")
        self.refused("server 'box': ssh does not take its configuration: ", status="input")
        (self.folder / "config").write_text("Match exec \"sleep 3600\"\n")
        self.refused("server 'box': 'ssh -G' does not end", status="timeout", more=["1000"], env={"MARK": str(self.folder)})
        deadline = time.monotonic() + 60
        while self.alive(f"MARK={self.folder}".encode()): # what it had started is killed, too
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    @staticmethod
    def alive(mark):
        return any(mark in environ for _, environ in processes.told("environ"))

    def test_included_configuration(self):
        (self.folder / "more").write_text(f"HostName 127.0.0.1\nMatch host 127.0.0.1 user user\n Port {self.server.port}\n")
        (self.folder / "config").write_text(f"Host gpu\n Include {self.folder}/more\n")
        words = [PROBE, "gpu", "0", "user", self.words()[-1]]
        done = subprocess.run(words, capture_output=True, timeout=120, check=True)
        self.assertEqual("hello", json.loads(done.stdout).get("hello"), done.stdout)

    def test_peers_that_are_gone(self):
        """TCP is told how long an unanswered packet may be: libssh2's own keepalive counts no answers."""
        self.assertEqual([True, 15000], self.good()["watched"], "as ssh is told where nobody says otherwise")
        self.assertEqual([True, 14000], self.good(ServerAliveInterval="7", ServerAliveCountMax="2")["watched"])
        (self.folder / "config").write_text("TCPKeepAlive no\nServerAliveInterval 7\n")
        self.assertEqual([False, 15000], self.good()["watched"])

    def test_methods_that_are_off(self):
        """What ssh would not try is not tried."""
        server = self.asyncssh_server(password=True, keyboard=True, keys=f"{self.server.folder}/id.pub")
        both = {"password": "env:HUSH", "env": {"HUSH": SECRET}, "IdentityFile": self.folder / "none"}
        key = {"IdentityFile": f"{self.server.folder}/id"}
        for config, words, how in (
                ("PasswordAuthentication no", both, "keyboard-interactive"), ("KbdInteractiveAuthentication no", both, "password"),
                ("PreferredAuthentications keyboard-interactive", both, "keyboard-interactive"),
                ("PreferredAuthentications publickey,password", both, "password"), ("PubkeyAuthentication yes", key, "publickey"),
                ("PubkeyAuthentication no", both | key, "password"), ("PreferredAuthentications password", both | key, "password"),
                ("PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256", both | key, "password"),
                ("PasswordAuthentication no\nKbdInteractiveAuthentication no", both, None)):
            with self.subTest(config=config):
                (self.folder / "config").write_text(config + "\n")
                server.seen.clear()
                if how:
                    self.assertEqual(how, self.good(server, **words)["how"].split(", ")[2].split()[0])
                else:
                    self.refused("Permission denied", server, **words)
                    self.assertEqual([], server.seen)

    def test_family(self):
        for family, good in (("any", True), ("inet", True), ("inet6", False)):
            with self.subTest(AddressFamily=family):
                (self.folder / "config").write_text(f"AddressFamily {family}\n")
                self.good() if good else self.refused("cannot reach server 'box': ")

    def test_unreachable(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0)) # and does not listen
            port = nobody.getsockname()[1]
            self.refused(f"cannot reach server 'box': connect to host 127.0.0.1 port {port}: Connection refused", port=port)
        self.refused("cannot reach server 'box': Could not resolve hostname no-such-host.invalid: ", host="no-such-host.invalid")

    def test_name_service_that_fails(self):
        self.refused("cannot reach server 'box': Could not resolve hostname no-descriptor.invalid: Too many open files",
                     host="no-descriptor.invalid") # the probe sees to it

    # --- servers that misbehave

    def fake(self, serve):
        """A port whose connections that function is given."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def accept():
            try:
                while True:
                    peer, _ = server.accept()
                    threading.Thread(target=talk, args=(peer,), daemon=True).start()
            except OSError:
                pass

        def talk(peer):
            try:
                serve(peer)
            except OSError:
                pass
            finally:
                peer.close()

        threading.Thread(target=accept, daemon=True).start()
        return server.getsockname()[1]

    @staticmethod
    def until_gone(peer):
        while peer.recv(65536):
            pass

    def test_silence(self):
        def nothing(peer):
            self.until_gone(peer)

        def a_line(peer):
            peer.sendall(b"welcome\r\n")
            self.until_gone(peer)

        def half_a_banner(peer):
            peer.sendall(b"SSH-2.0-")
            self.until_gone(peer)

        def a_banner(peer):
            peer.sendall(b"SSH-2.0-silent\r\n")
            self.until_gone(peer)

        def half_a_packet(peer):
            peer.sendall(b"SSH-2.0-silent\r\n\0\0\1\0\4\x14")
            self.until_gone(peer)

        for serve, message in ((nothing, "took the connection, but no SSH server answers"), (a_line, "is no SSH server: welcome"),
                               (half_a_banner, "is no SSH server"), (a_banner, "it stopped answering"),
                               (half_a_packet, "it stopped answering")):
            with self.subTest(serve=serve.__name__):
                begun = time.monotonic()
                told = self.refused("cannot reach server 'box': ", port=self.fake(serve), ConnectTimeout=1)
                self.assertIn(message, told["message"])
                self.assertLess(told["cpu"], (time.monotonic() - begun) / 2, "who waits does not spin")

    def test_garbage(self):
        lists = b"".join(len(text).to_bytes(4, "big") + text for text in (
            b"curve25519-sha256", b"ssh-ed25519", b"aes128-ctr", b"aes128-ctr", b"hmac-sha2-256", b"hmac-sha2-256", b"none",
            b"none", b"", b""))
        payload = b"\x14" + bytes(16) + lists + bytes(5)
        pad = 8 - (len(payload) + 5) % 8 + 8
        kexinit = (len(payload) + pad + 1).to_bytes(4, "big") + bytes([pad]) + payload + bytes(pad)
        rubbish = bytes(range(256)) * 16
        for name, data in {"noise": rubbish, "http": b"HTTP/1.1 400 Bad Request\r\n\r\n", "old": b"SSH-1.5-old\r\n",
                           "lengthy banner": b"SSH-2.0-" + b"x" * 100000 + b"\r\n", "noise behind": b"SSH-2.0-x\r\n" + rubbish,
                           "huge packet": b"SSH-2.0-x\r\n\xff\xff\xff\xff\4" + rubbish,
                           "large packet": b"SSH-2.0-x\r\n\0\1\0\0\4" + rubbish, "no packet": b"SSH-2.0-x\r\n\0\0\0\0\4" + rubbish,
                           "noise in kex": b"SSH-2.0-x\r\n" + kexinit + rubbish,
                           "huge in kex": b"SSH-2.0-x\r\n" + kexinit + b"\xff\xff\xff\xff\4\x1f" + rubbish,
                           "escapes": b"\x1b]0;owned\x07\r\n", "nul": b"\0" * 1000}.items():
            for stays in (False, True):
                with self.subTest(data=name, stays=stays):
                    def serve(peer):
                        peer.sendall(data)
                        if stays:
                            self.until_gone(peer)
                    told = self.login(port=self.fake(serve), ConnectTimeout=1)
                    self.assertTrue(told["status"] in ("unreachable", "busy") or told["choice"] == "openssh", told)
                    self.assertNotRegex(told["message"], "[\x00-\x1f]")

    def test_endless(self):
        def lines(peer):
            while True:
                peer.sendall(b"x" * 50 + b"\r\n")

        def one_line(peer):
            while True:
                peer.sendall(b"x" * 50)

        def ignored(peer):
            peer.sendall(b"SSH-2.0-x\r\n")
            while True: # SSH_MSG_IGNORE
                peer.sendall(b"\0\0\0\x1c\x0a\2\0\0\0\x0c" + b"x" * 12 + bytes(10))

        for serve in (lines, one_line, ignored):
            with self.subTest(serve=serve.__name__):
                told = self.refused("cannot reach server 'box': ", port=self.fake(serve), ConnectTimeout=5)

    def test_busy(self):
        """MaxStartups: the server hangs up at once."""
        def drop(peer):
            peer.sendall(b"Exceeded MaxStartups\r\n")

        told = self.refused("hung up before it said who it is: Exceeded MaxStartups", status="busy", port=self.fake(drop))
        self.refused("hung up before", status="busy", port=self.fake(lambda peer: None))

    def test_cancelled(self):
        met = threading.Event()

        def silent(peer):
            met.set()
            self.until_gone(peer)

        ours, theirs = os.pipe()
        child = subprocess.Popen(self.words(port=self.fake(silent)) + ["60000", str(ours)], pass_fds=[ours],
                                 stdout=subprocess.PIPE)
        self.assertTrue(met.wait(60))
        os.write(theirs, b"x")
        told = json.loads(child.communicate(timeout=60)[0])
        os.close(ours)
        os.close(theirs)
        self.assertEqual("canceled", told["message"])

    # --- passwords

    def asyncssh_server(self, **rules):
        if not asyncssh:
            self.skipTest("python3-asyncssh is not installed")
        server = Peer(self.folder / "asyncssh", rules)
        self.addCleanup(server.stop)
        return server

    def test_password(self):
        file = self.folder / "secret"
        file.write_text(SECRET)
        for offered, how in ((("password",), "password"), (("keyboard",), "keyboard-interactive"),
                             (("password", "keyboard"), "password")):
            with self.subTest(offered=offered):
                server = self.asyncssh_server(**{name: True for name in offered})
                for ref in ("env:HUSH", f"file:{file}", f"cmd:cat {file}"):
                    self.good(server, IdentityFile=self.folder / "none", password=ref, env={"HUSH": SECRET}, how=how)
                server.seen.clear()
                self.refused("server 'box': cannot log in: user@127.0.0.1: Permission denied (", server, password="env:HUSH",
                             IdentityFile=self.folder / "none", env={"HUSH": "wrong-" + SECRET})
                self.assertEqual([[how, "wrong-" + SECRET]], server.seen, "one attempt, so that nobody is locked out")
                server.stop()
                shutil.rmtree(server.folder)

    def test_password_of_dropbear(self):
        if not sshd.DROPBEAR:
            self.skipTest("dropbear-bin is not installed")
        hashed = sshd.Server.run("openssl", "passwd", "-6", SECRET).decode().strip()
        server = self.start("dropbear", dropbear=True, password=hashed)
        self.good(server, IdentityFile=self.folder / "none", password="env:HUSH", env={"HUSH": SECRET}, how="password")
        self.refused("Permission denied (publickey,password)", server, IdentityFile=self.folder / "none", password="env:HUSH",
                     env={"HUSH": "wrong-" + SECRET})
        self.assertEqual(1, (server.folder / "log").read_text().count("Bad password attempt"))

    def test_key_before_password(self):
        server = self.asyncssh_server(password=True, keys=f"{self.server.folder}/id.pub")
        self.good(server, IdentityFile=f"{self.server.folder}/id", password="env:HUSH", env={"HUSH": SECRET}, how="publickey")
        self.assertEqual([], server.seen)

    def test_questions_that_are_no_passwords(self):
        for questions in ([("Password: ", False), ("Code: ", False)], [("Name: ", True)]):
            with self.subTest(questions=questions):
                server = self.asyncssh_server(keyboard=questions)
                told = self.refused("Permission denied", server, IdentityFile=self.folder / "none", password="env:HUSH",
                                    env={"HUSH": SECRET})
                self.assertIn("asks for something else than a password", told["hint"])
                self.assertNotIn(SECRET, str(server.seen))
                server.stop()
                shutil.rmtree(server.folder)

    def test_refusals_amid_a_login(self):
        server = self.asyncssh_server(password="expired")
        self.refused("cannot log in: the password has expired", server, IdentityFile=self.folder / "none",
                     password="env:HUSH", env={"HUSH": SECRET})
        server.rules["password"] = "bye"
        self.refused("cannot log in: the server hung up: go ?[31maway", server, IdentityFile=self.folder / "none",
                     password="env:HUSH", env={"HUSH": SECRET})
        server.rules["password"] = "silent"
        self.refused("cannot log in: the server stopped answering", server, IdentityFile=self.folder / "none",
                     password="env:HUSH", env={"HUSH": SECRET}, more=["3000"])

    def test_nothing_is_left_of_secrets(self):
        """In memory, that is: libssh2 and libcrypto have had copies. Bound late, the linker would put registers away on
        the stack, with what memcpy() had in them."""
        file = self.folder / "secret"
        file.write_text(LONG)
        for rules in ({"password": True}, {"keyboard": True}):
            with self.subTest(rules=rules):
                server = self.asyncssh_server(**rules)
                told = self.good(server, IdentityFile=self.folder / "none", password=f"file:{file}",
                                 env={"LD_BIND_NOW": "1"}, more=["60000", "-1", SECRET[:16:-1]])
                self.assertEqual(0, told["found"])
                server.stop()
                shutil.rmtree(server.folder)
        path = keygen(self.folder / "guarded", passphrase=LONG[-1000:])
        self.add_key(path)
        file.write_text(LONG[-1000:])
        told = self.good(IdentityFile=path, passphrase=f"file:{file}", env={"LD_BIND_NOW": "1"}, more=["60000", "-1", SECRET[:16:-1]])
        self.assertEqual(0, told["found"])
        told = self.good(IdentityFile=path, passphrase="env:HUSH", env={"HUSH": LONG[-1000:]}, more=["60000", "-1", SECRET[:16:-1]])
        self.assertNotEqual(0, told["found"], "one that is there is found")

    def test_secrets_are_not_dumped(self):
        env = os.environ | {"HUSH": SECRET}
        flags = subprocess.run([PROBE, "env:HUSH"], env=env, check=True, capture_output=True, timeout=60).stdout.decode().split()
        if not flags:
            self.skipTest("this kernel tells no flags of pages")
        self.assertIn("dd", flags, "no core file has them")

    def test_children_see_no_secrets(self):
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "ssh").write_text(f"#!/bin/sh\n{{ tr '\\0' '\\n' </proc/$$/environ; echo \"$@\"; }} >>{self.folder}/seen\n"
                                   f"exec {shutil.which('ssh')} \"$@\"\n")
        (tools / "ssh").chmod(0o755)
        key = keygen(self.folder / "guarded", passphrase=SECRET)
        self.add_key(key)
        self.good(IdentityFile=key, passphrase="env:HUSH", password="env:HUSH2",
                  env={"HUSH": SECRET, "HUSH2": "wrong-" + SECRET, "PATH": f"{tools}:{os.environ['PATH']}"})
        seen = (self.folder / "seen").read_text()
        self.assertIn("-G", seen)
        self.assertNotIn(SECRET, seen)

    def test_two_steps(self):
        """What is asked for is more than one key."""
        second = keygen(self.folder / "second")
        server = self.start("two", "AuthenticationMethods publickey,publickey")
        self.add_key(second, server=server)
        (self.folder / "config").write_text(f"IdentityFile {second}\n")
        self.good(server)
        if not paramiko:
            self.skipTest("python3-paramiko is not installed")
        port = self.fake(TwoSteps(self.server.folder / "host").serve)
        known = self.known(f"[127.0.0.1]:{port} {self.server.host_key}")
        self.good(port=port, UserKnownHostsFile=known, password="env:HUSH", env={"HUSH": SECRET}, how="password")

    # --- other servers

    def test_no_authentication(self):
        self.good(self.asyncssh_server(none=True), IdentityFile=self.folder / "none", how=", none")

    @unittest.skipUnless(sshd.DROPBEAR, "dropbear-bin is not installed")
    def test_dropbear(self):
        server = self.start("dropbear", dropbear=True)
        self.good(server)


if asyncssh:
    class Rules(asyncssh.SSHServer):
        """What a server of asyncssh lets in, by a table of rules; it remembers what it was told."""

        def __init__(self, rules, seen):
            self.rules, self.seen = rules, seen

        def begin_auth(self, username):
            return not self.rules.get("none")

        def password_auth_supported(self):
            return bool(self.rules.get("password"))

        async def validate_password(self, username, password):
            self.seen.append(["password", password])
            rule = self.rules["password"]
            if rule == "expired":
                raise asyncssh.PasswordChangeRequired("another one, please")
            if rule == "bye":
                raise asyncssh.DisconnectError(asyncssh.DISC_BY_APPLICATION, "go \x1b[31maway")
            if rule == "silent":
                await asyncio.Event().wait()
            return password in (SECRET, LONG)

        def kbdint_auth_supported(self):
            return bool(self.rules.get("keyboard"))

        def get_kbdint_challenge(self, username, lang, submethods):
            rule = self.rules["keyboard"]
            return "", "", "", [("Password: ", False)] if rule is True else rule

        def validate_kbdint_response(self, username, responses):
            self.seen.append(["keyboard-interactive", *responses])
            return responses[0] in (SECRET, LONG)

        def public_key_auth_supported(self):
            return bool(self.rules.get("keys"))

    async def say_hello(process):
        process.stdout.write("hello\n")
        process.exit(0)


class Peer:
    """A server of asyncssh, in a thread of its own."""

    def __init__(self, folder, rules):
        self.folder, self.rules, self.seen = Path(folder), rules, []
        self.folder.mkdir()
        keygen(self.folder / "host")
        self.loop, up = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.run, args=(up,), daemon=True)
        self.thread.start()
        assert up.wait(60)
        key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n")

    def run(self, up):
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda *_: None)
        keys = self.rules.get("keys")
        self.server = self.loop.run_until_complete(asyncssh.listen(
            "127.0.0.1", 0, server_factory=lambda: Rules(self.rules, self.seen), server_host_keys=[str(self.folder / "host")],
            process_factory=say_hello, authorized_client_keys=keys))
        self.port = self.server.sockets[0].getsockname()[1]
        up.set()
        self.loop.run_forever()
        self.server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def stop(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(60)


if paramiko:
    class TwoSteps(paramiko.ServerInterface):
        """A server of paramiko that wants a key and a password."""

        def __init__(self, host_key):
            self.host_key, self.steps = str(host_key), "publickey"

        def serve(self, peer):
            transport = paramiko.Transport(peer)
            transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(self.host_key))
            transport.start_server(server=self)
            transport.join(60)

        def get_allowed_auths(self, username):
            return self.steps

        def check_auth_publickey(self, username, key):
            self.steps = "password"
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL

        def check_auth_password(self, username, password):
            return paramiko.AUTH_SUCCESSFUL if password == SECRET and self.steps == "password" else paramiko.AUTH_FAILED

        def check_channel_request(self, kind, number):
            return paramiko.OPEN_SUCCEEDED

        def check_channel_exec_request(self, channel, command):
            channel.sendall(b"hello\n")
            channel.shutdown_write()
            return True


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    if sys.argv[2:]:
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:], sys.modules[__name__])
    else:
        suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

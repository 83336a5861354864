#!/usr/bin/python3
"""Models on other hosts as users see them, over real SSH servers. MER_PREFIX names the installation. Prints TAP
when run as a program."""
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import unittest
from pathlib import Path

import processes
import record_case
import ssh_case
import sshd

NASTY = [bytes(range(1, 256)), b"", b"a'b\\", b"\n\nx\n", b"-n", b"$HOME `id` $(id) !! \\c", b"\x81\x82'\x88\\"]
TOKEN = """import os, signal, sys
print("log before ready")
print("@!#READY#!@", flush=True)
lines = []
for line in sys.stdin:
    line = line.rstrip("\\n")
    if line == "@!#EXIT#!@":
        break
    if line == "@!#START#!@":
        lines = []
    elif line == "@!#STOP#!@":
        text = " ".join(lines)
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        print("@!#START#!@\\n" + text.upper() + "\\n@!#STOP#!@", flush=True)
    else:
        lines.append(line)
"""
SHELLS = {"dash": ("dash",), "bash": ("bash",), "zsh": ("zsh",), "fish": ("fish",), "tcsh": ("tcsh",), "mksh": ("mksh",),
          "busybox": ("busybox",)}


def shell_of(name, folder):
    """A program that is that login shell, or None."""
    path = shutil.which(SHELLS[name][0])
    if path and name == "busybox":
        link = Path(folder) / "ash"
        if not link.exists():
            link.symlink_to(path)
        return str(link)
    return path


class Ssh(ssh_case.Ssh, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix="mer-ssh-")
        cls.addClassCleanup(folder.cleanup)
        top = Path(folder.name)
        cls.shells = {name: shell_of(name, top) for name in SHELLS}
        accounts = {name: path for name, path in cls.shells.items() if path} | {"user": "/bin/sh", "noisy": "/bin/bash"}
        cls.server = sshd.Server(top / "server", accounts)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        super().setUp()
        self.add_server("box", "user")

    def add_server(self, name, user, server=None, params=()):
        super().add_server(name, server or self.server, user, params)

    # --- what a run is

    def test_once(self):
        self.add("up", "tr", "a-z", "A-Z")
        self.assertEqual((b"HELLO", ""), self.call(0, "run", "up", "hello"))
        self.add("where", "sh", "-c", "pwd; echo $HOME; echo $PYTHONUNBUFFERED; echo ${MER_DATABASE_URL-none}")
        home = str(self.server.home("user"))
        self.assertEqual([home, home, "1", "none"], self.out("run", "where", "x").decode().split())

    def test_ends(self):
        script = self.folder / "not-a-program"
        script.write_text("no first line\n")
        script.chmod(0o755)
        gone = self.folder / "gone"
        gone.write_text("#!/nonexistent/interpreter\n")
        gone.chmod(0o755)
        for words, code, message, row in (
                (["sh", "-c", "echo said >&2; exit 7"], 1, "the model ended with exit code 7: said", (7, None)),
                (["sh", "-c", "exit 137"], 1, "the model ended with exit code 137", (137, None)),
                (["sh", "-c", "kill -SEGV $$"], 1, "the model was killed by SIGSEGV", (None, "SIGSEGV")),
                (["sh", "-c", "kill -KILL $$"], 1, "the model was killed by SIGKILL", (None, "SIGKILL")),
                (["nosuchprogram"], 6, "cannot start 'nosuchprogram' on server 'box': No such file or directory", None),
                (["/tmp"], 6, "cannot start '/tmp' on server 'box': it is a folder", None),
                (["/etc/passwd"], 6, "cannot start '/etc/passwd' on server 'box': Permission denied", None),
                ([script], 6, "is not a program (no '#!' line?)", None),
                ([gone], 6, "its interpreter or loader: No such file or directory", None)):
            with self.subTest(words=words):
                self.add("m", *words)
                self.refused(code, message, "run", "m", "x")
                if row:
                    shown = json.loads(self.out("log", "--json", "--limit", "1"))[0]
                    self.assertEqual(row, (shown["exit_code"], shown["signal"] or None))
                self.call(0, "model", "remove", "m")
        self.add("m", "true", options=("--workdir", "/nonexistent"))
        self.refused(6, "cannot enter the folder '/nonexistent' on server 'box'", "run", "m", "x")
        self.refused(6, "cannot enter the folder", "model", "ping", "m")

    def test_bytes(self):
        data = os.urandom(1 << 20) * 64
        path = self.folder / "data"
        path.write_bytes(data)
        self.add("cat", "cat")
        self.assertEqual(data, self.out("run", "cat", f"@{path}"))
        self.add("apart", "sh", "-c", "head -c 3000000 /dev/zero >&2; cat")
        out, err = self.call(0, "run", "apart", "hello")
        self.assertEqual(b"hello", out)

    def test_words_and_variables(self):
        show = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
        words = [word for word in NASTY if word.decode("utf-8", "ignore").encode() == word] + ["ä€😀".encode()]
        self.add("words", record_case.PYTHON, "-c", show, *(os.fsdecode(word) for word in words))
        self.assertEqual(b"\0".join(words), self.out("run", "words", "x"))
        value = "a'b\\ $HOME\n\"!`"
        self.add("value", record_case.PYTHON, "-c", "import os; print(end=os.environ['V'])", options=("--env", f"V={value}"))
        self.assertEqual(value.encode(), self.out("run", "value", "x"))
        self.add("secret", "sh", "-c", "printf %s \"$K\"", options=("--env", "K=env:SECRET"))
        self.assertEqual(b"hush", self.out("run", "secret", "x", env={"SECRET": "hush"}))
        self.add("clean", "env", options=("--clean-env", "--env", "A=b"))
        names = {line.partition("=")[0] for line in self.out("run", "clean", "x").decode().splitlines()}
        self.assertIn("A", names)
        self.assertFalse(names & {"SSH_CONNECTION", "SSH_CLIENT"}, names)

    def test_token(self):
        (self.folder / "token.py").write_text(TOKEN)
        self.add("token", record_case.PYTHON, self.folder / "token.py", options=("--protocol", "token"))
        self.assertEqual(b"HELLO", self.out("run", "token", "hello").rstrip())
        lines = self.out("run", "--lines", "token", stdin=self.input(b"a\nb\nc\n"))
        self.assertEqual(b"A\nB\nC\n", lines)
        self.refused(1, "the model was killed by SIGKILL", "run", "token", "die")
        self.call(0, "model", "ping", "token")
        self.add("line", "sh", "-c", "echo @!#READY#!@; while read -r a && read -r b && read -r c; do echo got $b; done",
                 options=("--protocol", "token", "--answer", "line"))
        self.assertEqual(b"got x\n", self.out("run", "line", "x"))

    def test_frame(self):
        worker = self.folder / "frame.py"
        worker.write_text("import mer\n\n@mer.model\ndef upper(text: str) -> str:\n    print('stray')\n"
                          "    return text.upper()\n\nmer.serve()\n")
        sdk = record_case.PREFIX / "lib" / "mer" / "python"
        self.add("frame", record_case.PYTHON, worker, options=("--protocol", "frame", "--env", f"PYTHONPATH={sdk}"))
        out, _ = self.call(0, "run", "frame", "hello")
        self.assertEqual(b"HELLO", out.strip())
        lines = self.out("run", "--lines", "frame", stdin=self.input(b"a\nb\n"))
        self.assertEqual(b"A\nB\n", lines)

    def input(self, data):
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(data)
        file.seek(0)
        return file

    # --- login shells

    def test_login_shells(self):
        for name, path in self.shells.items():
            with self.subTest(shell=name):
                if not path:
                    self.skipTest(f"{name} is not installed")
                self.add_server(name, name)
                self.add("on-" + name, "sh", "-c", "printf '%s|' \"$@\"; cat", "sh", "a'b", "$x!", server=name)
                self.assertEqual(b"a'b|$x!|hello", self.out("run", "on-" + name, "hello"))

    def test_noise(self):
        home = self.server.home("noisy")
        (home / ".bashrc").write_text("echo Welcome to this host; echo and on stderr >&2; printf 'no newline'; "
                                      "head -c 100000 /dev/zero\n")
        self.add_server("noisy", "noisy")
        self.add("m", "cat", server="noisy")
        self.assertEqual((b"hello", ""), self.call(0, "run", "m", "hello"))

    # --- far shells, without a server: ssh is a program that starts one

    def test_far_shells(self):
        words = [word for word in NASTY if word.decode("utf-8", "ignore").encode() == word] + ["ä€😀".encode()]
        show = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])) + sys.stdin.buffer.read())"
        self.add("m", record_case.PYTHON, "-c", show, *(os.fsdecode(word) for word in words))
        self.add("seven", "sh", "-c", "exit 7")
        for shell in ("dash", "bash", "bash --posix", "busybox sh", "mksh", "zsh --emulate sh"):
            with self.subTest(shell=shell):
                words_of = ssh_case.shell_words(shell)
                if not words_of:
                    self.skipTest(f"{shell} is not installed")
                env = self.fake(words_of)
                for locale in ("C", "C.UTF-8"):
                    out = self.out("run", "m", "hello", env=env | {"LC_ALL": locale})
                    self.assertEqual(b"\0".join(words) + b"hello", out)
                self.refused(1, "exit code 7", "run", "seven", "x", env=env)

    def test_without_perl(self):
        tools = self.tools()
        self.add("seven", "sh", "-c", "exit 7")
        self.add("segv", "sh", "-c", "kill -SEGV $$")
        self.add("cat", "cat")
        for shell in ("dash", "bash", "busybox sh"):
            with self.subTest(shell=shell):
                words_of = ssh_case.shell_words(shell)
                if not words_of:
                    self.skipTest(f"{shell} is not installed")
                env = self.fake(words_of, tools)
                self.assertEqual(b"hello", self.out("run", "cat", "hello", env=env))
                self.refused(1, "exit code 7", "run", "seven", "x", env=env)
                self.refused(1, "was killed by SIGSEGV", "run", "segv", "x", env=env)

    def test_variables_of_shells(self):
        """What a shell itself goes by reaches the worker all the same."""
        values = {"IFS": "/ae:-=n\n", "PATH": "/nonexistent:/bin", "ENV": "/nonexistent", "PS4": "$(exit 1)", "OPTIND": "5", "HOME": "/nowhere",
                  "CDPATH": "/usr", "PWD": "/else", "OLDPWD": "x", "LC_ALL": "xx_XX", "BASH_ENV": "/nonexistent", "POSIXLY_CORRECT": "1",
                  "LINENO": "7", "_far": "y", "MAILCHECK": "z", "SHELL": "/bin/nosh", "TERM": "a b"}
        names = [name for name in values if name != "LINENO"]
        show = f"import json, os; print(json.dumps([[os.environ.get(name) for name in {names}], os.getcwd()]))"
        variables = [word for name in names for word in ("--env", f"{name}={values[name]}")]
        self.add("m", record_case.PYTHON, "-c", show, options=(*variables, "--workdir", "/usr/bin"))
        self.add("by-name", "python3", "-c", show, options=("--env", "PATH=/nonexistent:/usr/bin", "--env", "IFS=/:"))
        self.add("nowhere", "python3", "-c", show, options=("--env", "PATH=/nonexistent", "--env", "IFS=/:"))
        self.add("odd", record_case.PYTHON, "-c", "import os; print(end=os.environ['OPTIND'])", options=("--env", "OPTIND=odd"))
        for shell in ("dash", "bash", "bash --posix", "busybox sh", "mksh", "zsh --emulate sh"):
            for path in (None, self.tools()):
                with self.subTest(shell=shell, perl=path is None):
                    words = ssh_case.shell_words(shell)
                    if not words:
                        self.skipTest(f"{shell} is not installed")
                    env = self.fake(words, path)
                    self.assertEqual([[values[name] for name in names], "/usr/bin"], json.loads(self.out("run", "m", "x", env=env)))
                    self.call(0, "run", "by-name", "x", env=env)
                    self.refused(6, "cannot start 'python3' on server 'box': No such file or directory", "run", "nowhere", "x", env=env)
                    child = self.start("run", "odd", "x", env=env)
                    out, err = child.communicate(timeout=60)
                    if child.returncode: # dash has it for a number
                        self.assertEqual((6, False), (child.returncode, path is None), err)
                        self.assertIn(b"the variable 'OPTIND' cannot be set on server 'box'", err)
                    else:
                        self.assertEqual(b"odd", out)

    def test_program_with_a_sign(self):
        """A name with = in it is that of a program, not an assignment."""
        program = self.folder / "a=b"
        program.write_text("#!/bin/sh\necho ran \"$@\"\n")
        program.chmod(0o755)
        self.add("path", program, "c=d")
        self.add("name", "a=b", "c=d", options=("--env", f"PATH={self.folder}:/bin:/usr/bin"))
        tools = self.tools()
        for shell in ("dash", "bash", "busybox sh", "mksh"):
            for path in (None, tools, without := self.folder / "without"):
                with self.subTest(shell=shell, tools=path and path.name):
                    words = ssh_case.shell_words(shell)
                    if not words:
                        self.skipTest(f"{shell} is not installed")
                    if not without.exists(): # setsid, too
                        shutil.copytree(tools, without, symlinks=True)
                        (without / "setsid").unlink()
                    for name in ("path", "name"):
                        self.assertEqual(b"ran c=d\n", self.out("run", name, "x", env=self.fake(words, path)))

    # --- what goes wrong

    def test_unreachable(self):
        self.add("m", "cat")
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0)) # and does not listen
            self.call(0, "server", "set", "box", f"port={nobody.getsockname()[1]}")
            self.refused(6, "cannot reach server 'box': connect to host 127.0.0.1", "run", "m", "x")
            self.refused(6, "cannot reach server 'box'", "server", "ping", "box")

    def test_host_keys(self):
        known = self.folder / "known"
        known.write_text("")
        self.add("m", "cat")
        self.call(0, "server", "set", "box", f"param=UserKnownHostsFile={known}")
        self.refused(6, "the host key of '127.0.0.1' is not known", "run", "m", "x")
        self.call(0, "server", "set", "box", "param=StrictHostKeyChecking=accept-new")
        self.assertEqual(b"x", self.out("run", "m", "x"))
        key = (self.server.folder / "id.pub").read_text().split()[1]
        known.write_text(f"[127.0.0.1]:{self.server.port} ssh-ed25519 {key}\n")
        err = self.call(6, "run", "m", "x")[1]
        self.assertIn("has changed to SHA256:", err)
        self.assertIn(f"{known}:1", err)

    def test_trust(self):
        known = self.folder / "new" / "known"
        self.add("m", "cat")
        self.call(0, "server", "set", "box", f"param=UserKnownHostsFile={known}")
        public = self.server.folder / "host.pub"
        fingerprint = sshd.Server.run("ssh-keygen", "-l", "-f", public).decode().split()[1]
        self.refused(2, f"is not trusted yet: ED25519 {fingerprint}", "server", "trust", "box")
        self.refused(4, f"is {fingerprint}, not SHA256:x", "server", "trust", "box", "--fingerprint", "SHA256:x")
        self.assertFalse(known.exists())
        self.assertEqual((b"", ""), self.call(0, "server", "trust", "box", "--fingerprint", fingerprint))
        self.assertEqual(f"[127.0.0.1]:{self.server.port} {self.server.host_key}\n", known.read_text())
        self.assertEqual(b"x", self.out("run", "m", "x"))
        self.call(0, "server", "trust", "box")
        self.assertEqual(1, len(known.read_text().splitlines()))
        key = (self.server.folder / "id.pub").read_text().split()[1]
        known.write_text(f"[127.0.0.1]:{self.server.port} ssh-ed25519 {key}")
        self.refused(4, "has changed to " + fingerprint, "server", "trust", "box", "--fingerprint", fingerprint)
        self.refused(2, "a server of kind 'local' has no host key", "server", "trust", "local")
        self.call(0, "server", "set", "box", "port=1")
        self.refused(6, "cannot reach server 'box': connect to host 127.0.0.1 port 1", "server", "trust", "box")

    def test_no_login(self):
        self.add("m", "cat")
        self.call(0, "server", "set", "box", f"param=IdentityFile={self.server.folder}/host")
        self.refused(6, "server 'box': cannot log in: ", "run", "m", "x")

    def test_forced_command(self):
        for command in ("echo no shell for you", "false", "cat"): # the last gives back all that we send
            with self.subTest(command=command):
                server = sshd.Server(self.folder / f"forced-{command.split()[0]}", {"user": "/bin/sh"},
                                     f"ForceCommand {command}")
                self.addCleanup(server.stop)
                name = "forced-" + command.split()[0]
                self.add_server(name, "user", server)
                self.add(name, "cat", server=name)
                self.refused(6, "did not run what it was told", "run", name, "x")

    def test_refused_words(self):
        for words in (["--param", "password=hush"], ["--param", "passphrase=hush"], ["--param", "NoSuch=1"], ["--param", "ConnectTimeout=soon"],
                      ["--param", "StrictHostKeyChecking=no"], ["--param", "transport=telnet"],
                      ["--param", "transport=openssh", "--param", "password=env:X"],
                      ["--param", "transport=openssh", "--param", "passphrase=env:X"], ["--url", "http://x"],
                      ["--port", "70000"]):
            with self.subTest(words=words):
                self.call(2, "server", "add", "x", "--kind", "ssh", "--host", "h", *words)
        self.call(2, "server", "add", "x", "--kind", "ssh", "--host", "-oProxyCommand=id")
        self.call(2, "server", "add", "x", "--kind", "ssh", "--host", "h", "--user", "$(id)")
        self.call(2, "server", "add", "x", "--kind", "ssh")
        for words in (["--limit", "isolate=true", "--", "cat"], ["--limit", "cpus=0.5", "--", "cat"],
                      ["--workdir", "here", "--", "cat"]):
            with self.subTest(words=words):
                self.call(2, "model", "add", "x", "--server", "box", *words)

    def test_references(self):
        """Secrets are never what a server's row holds, wherever it comes from."""
        self.call(0, "server", "set", "box", "param=password=env:HUSH", "param=passphrase=file:/nonexistent")
        params = json.loads(self.out("server", "show", "--json", "box"))["params"]
        self.assertEqual(["env:HUSH", "file:/nonexistent"], [params["password"], params["passphrase"]])
        for pair in ("param=password=hush", "param=passphrase=hush", "param=transport=openssh"):
            out, err = self.call(2, "server", "set", "box", pair)
            self.assertNotIn("hush", err)
        document = self.out("export")
        self.assertIn(b"env:HUSH", document)
        path = self.folder / "document.yaml"
        path.write_bytes(document)
        self.call(0, "apply", path)
        path.write_bytes(document.replace(b"env:HUSH", b"hush"))
        out, err = self.call(2, "apply", path)
        self.assertIn("holds a plain secret", err)
        self.call(0, "server", "set", "box", "param=password", "param=passphrase")
        self.assertNotIn("password", json.loads(self.out("server", "show", "--json", "box"))["params"])

    # --- nothing is left

    def test_mer_is_killed(self):
        mark = self.sleeper("m")
        child = self.start("run", "m", "x")
        self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
        child.kill()
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))

    def test_session_is_killed(self):
        mark = self.sleeper("m")
        child = self.start("run", "m", "x")
        self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
        processes.kill(self.server.sessions())
        _, err = child.communicate(timeout=60)
        self.assertEqual(1, child.returncode, err)
        self.assertIn(b"the connection to server 'box' was lost", err)
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))

    def test_cancelled(self):
        mark = f"MARK=cancelled-{os.getpid()}-{id(self)}"
        file = self.folder / "told"
        self.add("m", "sh", "-c", f"trap 'echo term >{file}; exit 0' TERM; sleep 3600 & wait", options=("--env", mark))
        child = self.start("run", "m", "x")
        self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 2))
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        self.assertEqual(130, child.returncode)
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))
        self.assertEqual("term\n", file.read_text(), "the order goes over a channel of its own")

    def test_deadline(self):
        mark = self.sleeper("m")
        self.refused(7, "", "run", "--timeout", "3s", "m", "x")
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)))

    def far_shells(self):
        """How many shells of ours the server runs: who takes orders, since perl has taken a supervisor's place."""
        found = 0
        for pid in ssh_case.alive(f"127.0.0.1 {self.server.port}"):
            try:
                found += b"IFS= read -r s" in Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                pass
        return found

    def test_network_is_cut(self):
        cut = ssh_case.Cut(self.server.port)
        self.addCleanup(cut.stop)
        mark = self.sleeper("m")
        known = self.folder / "known"
        known.write_text(f"[127.0.0.1]:{cut.port} {self.server.host_key}\n")
        self.call(0, "server", "set", "box", f"port={cut.port}", f"param=UserKnownHostsFile={known}",
                  "param=ServerAliveInterval=1", "param=ServerAliveCountMax=2")
        child = self.start("run", "m", "x")
        self.assertTrue(ssh_case.wait_for(lambda: len(ssh_case.alive(mark)) >= 4))
        self.assertTrue(ssh_case.wait_for(lambda: self.far_shells() >= 1), "there is a channel of orders")
        before = cut.up
        self.assertTrue(ssh_case.wait_for(lambda: cut.up >= before + 3 * 32), "and beats go over it")
        cut.is_cut.set()
        _, err = child.communicate(timeout=60)
        self.assertEqual(1, child.returncode, err)
        self.assertTrue(ssh_case.wait_for(lambda: not ssh_case.alive(mark)), "a supervisor that hears nothing ends its worker")

    # --- with other places

    def test_fail_over(self):
        self.add("m", "tr", "a-z", "A-Z")
        self.call(0, "deployment", "add", "m", "--server", "local", "--priority", "1", "--", "cat")
        self.assertEqual(b"HELLO", self.out("run", "m", "hello"))
        self.call(0, "server", "set", "box", "port=1")
        out, err = self.call(0, "run", "m", "hello")
        self.assertEqual(b"hello", out)
        self.assertIn("cannot reach server 'box'", err)

    @unittest.skipUnless(sshd.DROPBEAR, "dropbear-bin is not installed")
    def test_dropbear(self):
        server = sshd.Server(self.folder / "dropbear", {"user": "/bin/sh"}, dropbear=True)
        self.addCleanup(server.stop)
        self.add_server("bear", "user", server)
        self.add("m", "sh", "-c", "cat; exit 3", server="bear")
        out, err = self.call(1, "run", "m", "hello")
        self.assertEqual(b"hello", out)
        self.assertIn("exit code 3", err)


if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

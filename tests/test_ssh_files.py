#!/usr/bin/python3
"""Files of models on other hosts as users see them, over real SSH servers: example models, the SDK, weights, training,
{input} and {output}, limits. MER_PREFIX names the installation. Prints TAP when run as a program."""
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import processes
import record_case
import ssh_case
import sshd
from ssh_case import wait_for

SHELLS = ("dash", "bash", "zsh", "fish", "tcsh")
IRIS = "5.1,3.5,1.4,0.2"


def folder_sum(folder):
    lines = sorted(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n".encode()
                   for path in Path(folder).rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return hashlib.sha256(b"".join(lines)).hexdigest()


@unittest.skipIf(sshd.missing(), sshd.missing())
class Files(ssh_case.Ssh):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.settle)
        shells = {name: shutil.which(name) for name in SHELLS}
        self.shells = {name: path for name, path in shells.items() if path}
        self.server = sshd.Server(self.folder / "server", self.shells | {"user": "/bin/sh"})
        self.addCleanup(self.server.stop)
        self.add_server("box", "user")

    def add_server(self, name, user):
        super().add_server(name, self.server, user)

    def settle(self):
        """Nobody writes into a home any more, once its server has been stopped."""
        wait_for(lambda: not ssh_case.alive(f"HOME={self.folder}/server/home-"))

    def cache(self, user="user"):
        return self.server.home(user) / ".cache" / "mer"

    def kept(self, user="user"):
        """What is in the cache under its final name."""
        return {path.name for path in (self.cache(user) / "files").glob("*") if "." not in path.name}

    def rooms(self):
        """Folders of workers with what they are lent of ours, of which there are to be none when all have ended."""
        found = set()
        for path in glob.glob("/tmp/mer-*/[0-9]/*") + glob.glob("/tmp/mer-*/new"):
            try:
                if os.readlink(path).startswith(str(self.folder)):
                    found.add(path)
            except OSError:
                pass
        return found

    # --- what is lent

    def test_the_server_alone_is_changed(self):
        """The examples, which are local, and their training."""
        local = self.out("run", "iris", IRIS)
        self.call(0, "model", "set", "iris", "server=box")
        self.assertEqual(local, self.out("run", "iris", IRIS))
        self.assertEqual(local, self.out("run", "iris", IRIS))
        shown = self.log("--limit", 1)[0]
        self.assertEqual(("box", 1), (shown["server"], shown["attempts"]))
        self.call(0, "model", "set", "digest", "server=box")
        out = self.out("run", "digest", "hello")
        self.assertIn(hashlib.sha256(b"hello").hexdigest().encode(), out)
        self.call(0, "model", "ping", "digest")
        models = Path(os.environ["MER_MODELS"])
        self.assertIn(folder_sum(models), self.kept())
        made = json.loads(self.out("train", "--json", "iris", "--dataset", models / "iris" / "iris.csv"))
        path = Path(made["path"])
        self.assertTrue(str(path).startswith(str(self.folder)), path)
        self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), made["sha256"])
        self.assertEqual("candidate", made["state"])
        self.assertEqual(local, self.out("run", "iris", "--weights", made["version"], IRIS))
        self.assertFalse(list(self.cache().glob("new/*")) + list(self.cache().glob("made/*")))
        self.assertFalse(self.rooms())
        self.assertFalse(list(path.parent.glob(".*")))

    def test_frames_bring_their_sdk(self):
        self.call(0, "model", "set", "language", "server=box")
        self.assertEqual(b"English", self.out("run", "language", "the cat is on the table and it is not mine")[:7])
        self.call(0, "model", "ping", "language")

    def test_ping_copies_first(self):
        self.call(0, "model", "set", "iris", "server=box")
        self.call(0, "model", "ping", "iris")
        self.assertTrue(self.kept())
        self.call(0, "model", "set", "digest", "server=box")
        subprocess.run(["chmod", "-R", "u+w", self.cache()], check=True)
        shutil.rmtree(self.cache())
        self.call(0, "model", "ping", "digest")

    def test_login_shells(self):
        for name in self.shells:
            with self.subTest(shell=name):
                self.add_server(name, name)
                self.call(0, "model", "set", "digest", f"server={name}")
                self.assertIn(hashlib.sha256(b"x").hexdigest().encode(), self.out("run", "digest", "x"))

    def test_hosts_without_perl(self):
        """A POSIX sh does all that perl does elsewhere."""
        if self.transport != "openssh":
            self.skipTest("such hosts are played in the place of ssh")
        tools = self.tools()
        for name in ("chmod", "cut", "dd", "find", "ln", "mkdir", "mv", "nice", "python3", "readlink", "rm", "sha256sum",
                     "sort", "tail", "tar", "touch", "tr", "uname", "wc"):
            (tools / name).symlink_to(shutil.which(name))
        local = self.out("run", "iris", IRIS)
        self.call(0, "model", "set", "iris", "server=box")
        self.call(0, "model", "set", "language", "server=box")
        self.add("files", "sh", "-c", 'tr a-z A-Z <"$1" >"$2"; echo log', "sh", "{input}", "{output}", options=("--limit", "nice=1"))
        self.add("missing", "nosuchprogram", "{input}", "{output}")
        self.add("many", "true", options=("--limit", "open-files=2000000000"))
        data = Path(os.environ["MER_MODELS"]) / "iris" / "iris.csv"
        for shell in ssh_case.SHELLS:
            with self.subTest(shell=shell):
                words = ssh_case.shell_words(shell)
                if not words:
                    self.skipTest(f"{shell} is not installed")
                env = self.fake(words, tools)
                shutil.rmtree(self.folder / ".cache", onerror=self.unlock)
                self.assertEqual(local, self.out("run", "iris", IRIS, env=env))
                self.assertEqual(b"English", self.out("run", "language", "the cat is on the table", env=env)[:7])
                self.assertEqual(b"HELLO", self.out("run", "files", "hello", env=env))
                self.refused(6, "cannot start 'nosuchprogram'", "run", "missing", "x", env=env)
                self.refused(6, "the limit 'open-files' cannot be held", "run", "many", "x", env=env)
                made = json.loads(self.out("train", "--json", "iris", "--dataset", data, env=env))
                self.assertEqual(local, self.out("run", "iris", "--weights", made["version"], IRIS, env=env))
                self.assertFalse(self.rooms())

    @staticmethod
    def unlock(function, path, error):
        """What cannot be removed is within a folder that can only be read."""
        if isinstance(error[1], FileNotFoundError):
            return
        os.chmod(os.path.dirname(path), 0o700)
        function(path)

    # --- weights

    def weights(self, name, path, version):
        self.call(0, "weights", "add", name, path, "--version", version)
        self.call(0, "weights", "use", name, version)

    def test_names_of_weights(self):
        self.add("cat", "sh", "-c", 'cat "$1"; basename "$1"', "sh", "{weights}")
        for i, name in enumerate(("plain.json", "with space", "quo'te\"s", "new\nline", "$HOME `id` \\", "-n", "*")):
            with self.subTest(name=name):
                path = self.file(name, f"weights {i}\n")
                self.weights("cat", path, str(i))
                self.assertEqual(f"weights {i}\n{name}\n".encode(), self.out("run", "cat", "x"))
        self.file("empty", b"")
        self.weights("cat", self.folder / "empty", "e")
        self.assertEqual(b"empty\n", self.out("run", "cat", "x"))

    def test_folder_of_weights(self):
        folder = self.folder / "tree"
        (folder / "a b" / "deep").mkdir(parents=True)
        (folder / "a b" / "deep" / "file'\"\\ x").write_text("one")
        (folder / ("long" * 50)).write_text("two")
        (folder / "empty").write_text("")
        (folder / "no files").mkdir()
        (folder / "run.sh").write_text("#!/bin/sh\necho runs\n")
        (folder / "run.sh").chmod(0o755)
        (self.folder / "elsewhere").write_text("linked")
        (folder / "link").symlink_to(self.folder / "elsewhere")
        self.add("list", "sh", "-c", 'cd "$1" && find . -type f | sort && find . -type l && cat "a b/deep/"* link && ./run.sh',
                 "sh", "{weights}")
        self.weights("list", folder, "1")
        out = self.out("run", "list", "x").decode()
        self.assertEqual(["./a b/deep/file'\"\\ x", "./empty", "./link", "./" + "long" * 50, "./run.sh", "onelinkedruns", ""],
                         out.split("\n"))
        self.assertIn(folder_sum(folder), self.kept())

    def test_odd_names_in_folders(self):
        self.add("list", "ls", "{weights}")
        for i, odd in enumerate((" two  blanks ", "a\rreturn", "back\\slash", "\\", "*")):
            with self.subTest(name=odd):
                folder = self.folder / f"odd{i}"
                folder.mkdir()
                for name in (odd, "plain", "-n"):
                    (folder / name).write_text(name)
                self.weights("list", folder, str(i))
                self.out("run", "list", "x")
                self.assertIn(folder_sum(folder), self.kept())

    def test_only_if_changed(self):
        path = self.file("w", os.urandom(1 << 20))
        self.add("sum", "sha256sum", "{weights}")
        self.weights("sum", path, "1")
        want = hashlib.sha256(path.read_bytes()).hexdigest()
        self.assertIn(want.encode(), self.out("run", "sum", "x"))
        stored = self.cache() / "files" / want
        before = stored.stat().st_ino
        self.out("run", "sum", "x")
        self.assertEqual(before, stored.stat().st_ino)
        self.assertEqual(0, stored.stat().st_mode & 0o222)
        self.assertEqual(0o700, (self.cache() / "files").stat().st_mode & 0o777)
        for forge in (False, True):
            with self.subTest("a changed byte there is found", forged_time=forge):
                stored.chmod(0o600)
                info = stored.stat()
                with open(stored, "r+b") as file:
                    file.write(b"XX")
                if forge:
                    os.utime(stored, ns=(info.st_atime_ns, info.st_mtime_ns))
                out, err = self.call(0, "run", "sum", "x")
                self.assertIn(want.encode(), out)
                self.assertIn("was not what it should be, and is made anew", err)
        stored.chmod(0o600)
        os.utime(stored) # touched, but the same
        self.assertIn(want.encode(), self.out("run", "sum", "x"))
        stored.unlink()
        self.assertIn(want.encode(), self.out("run", "sum", "x"))
        path.write_bytes(b"changed here")
        self.refused(4, "are not what was added", "run", "sum", "x")

    def test_only_what_is_asked_for(self):
        """A worker says what is there of what it is lent, so that nobody else asks unless something of it is."""
        self.add("list", "sh", "-c", "ls {models} >&2; cat {weights}")
        self.weights("list", self.file("w", "weights"), "1")
        key = hashlib.sha256(b"weights").hexdigest()
        out, err = self.call(0, "--log", "meal=debug", "run", "list", "x")
        self.assertEqual((b"weights", 2), (out, err.count("errand ended")))
        (self.cache() / "files" / key).unlink()
        out, err = self.call(0, "--log", "meal=debug", "run", "list", "x")
        self.assertEqual((b"weights", 1), (out, err.count("errand ended")))
        (self.cache() / "files" / key).unlink()
        (self.cache() / "files" / (key + ".part")).mkdir()
        out, err = self.call(0, "--log", "meal=debug", "run", "list", "x")
        self.assertEqual((b"weights", 2), (out, err.count("errand ended")))

    def test_weights_there(self):
        there = self.server.home("user") / "there's w"
        there.write_bytes(b"over there")
        self.add("cat", "sh", "-c", 'cat "$1"; echo " $1"', "sh", "{weights}")
        self.call(0, "weights", "add", "cat", f"box:{there}", "--version", "1")
        shown = json.loads(self.out("weights", "list", "--json", "cat"))[0]
        self.assertEqual((f"box:{there}", hashlib.sha256(b"over there").hexdigest(), 10),
                         (shown["path"], shown["sha256"], shown["bytes"]))
        self.call(0, "weights", "use", "cat", "1")
        self.assertEqual(f"over there {there}\n".encode(), self.out("run", "cat", "x"))
        self.assertEqual(f"over there {there}\n".encode(), self.out("run", "cat", "x"))
        self.assertFalse(self.kept(), "it is not copied")
        self.call(0, "deployment", "add", "cat", "--server", "local", "--priority", "1", "--", "cat", "{weights}")
        self.refused(6, "weights '1' are on server 'box'", "run", "cat", "--server", "local", "x")
        self.call(0, "weights", "list", "--check", "cat")
        there.write_bytes(b"other there")
        self.refused(4, "is not what was added", "run", "cat", "--server", "box", "x")
        self.refused(4, "'1' changed", "weights", "list", "--check", "cat")
        there.unlink()
        self.refused(3, "there is no", "run", "cat", "--server", "box", "x")
        self.refused(2, "there is no", "weights", "add", "cat", "box:/nonexistent")
        self.refused(3, "no server 'nobody'", "weights", "add", "cat", "nobody:/x")
        folder = self.server.home("user") / "folder"
        folder.mkdir()
        (folder / "a b").write_bytes(b"one")
        self.call(0, "weights", "add", "cat", f"box:{folder}", "--version", "f")
        shown = json.loads(self.out("weights", "list", "--json", "cat"))[0]
        self.assertEqual(folder_sum(folder), shown["sha256"])

    # --- copying

    def start_copy(self, size, name="sum", server="box"):
        path = self.file("large", os.urandom(1 << 16) * (size >> 16))
        self.add(name, "sha256sum", "{weights}", server=server)
        self.weights(name, path, "1")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def parts(self, key):
        found = 0
        for path in (self.cache() / "files" / (key + ".part")).glob("[0-9]*[0-9]"):
            try:
                found += path.stat().st_size
            except OSError:
                pass
        return found

    def test_large_file_over_one_session(self):
        """Its stripes, and the runs behind it, log in once."""
        if self.transport != "libssh2":
            self.skipTest("ssh has a connection for each")
        key, log = self.start_copy(64 << 20), self.server.folder / "log"
        before = log.read_text().count("Accepted publickey")
        out, err = self.call(0, "--log", "meal=debug", "run", "sum", "x")
        self.assertIn(key.encode(), out)
        self.assertIn("channels=5", err)
        self.assertEqual(before + 1, log.read_text().count("Accepted publickey"))

    def test_large_file_over_few_channels(self):
        """A session for each channel is what it comes to, and no run is refused."""
        for most, logins in ((1, 16), (2, 10), (3, 10)):
            with self.subTest(MaxSessions=most):
                server, name = sshd.Server(self.folder / f"few{most}", {"user": "/bin/sh"}, f"MaxSessions {most}"), f"few{most}"
                self.addCleanup(server.stop)
                super().add_server(name, server, "user")
                key = self.start_copy(64 << 20, name, name)
                lines = self.file("lines", "x\ny\n")
                out, err = self.call(0, "--log", "meal=debug", "run", "--lines", "--jobs", "2", name, f"@{lines}")
                self.assertEqual(2, out.decode().count(key))
                if self.transport == "libssh2": # ssh has a connection for each
                    self.assertIn("channels=5", err)
                    self.assertLessEqual((server.folder / "log").read_text().count("Accepted publickey"), logins)

    def test_mer_is_killed_amid_a_copy(self):
        key = self.start_copy(256 << 20)
        child = self.start("run", "sum", "x")
        self.assertTrue(wait_for(lambda: self.parts(key) > 16 << 20))
        child.kill()
        child.wait()
        self.assertNotIn(key, self.kept())
        out, err = self.call(0, "--log", "meal=debug", "run", "sum", "x")
        self.assertIn(key.encode(), out)
        sizes = [int(line.partition(" there=")[2].split()[0]) for line in err.splitlines() if "lend path=" in line]
        self.assertGreater(sizes[0], 16 << 20, "it goes on where it was")
        self.assertFalse(list((self.cache() / "files").glob("*.part")))

    def test_sessions_are_killed_amid_a_copy(self):
        key = self.start_copy(256 << 20)
        child = self.start("run", "sum", "x")
        self.assertTrue(wait_for(lambda: self.parts(key) > 16 << 20))
        processes.kill(self.server.sessions())
        out, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(0, child.returncode, err)
        self.assertIn(key.encode(), out)

    def test_interrupted_amid_a_copy(self):
        key = self.start_copy(256 << 20)
        child = self.start("run", "sum", "x")
        self.assertTrue(wait_for(lambda: self.parts(key) > 1 << 20))
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(130, child.returncode, err)
        self.assertNotIn(key, self.kept())
        self.assertEqual("cancelled", self.log("--limit", 1)[0]["status"])

    def test_two_copy_at_once(self):
        key = self.start_copy(64 << 20)
        children = [self.start("run", "sum", "x") for _ in range(3)]
        for child in children:
            out, err = child.communicate(timeout=record_case.DEADLINE_S)
            self.assertEqual(0, child.returncode, err)
            self.assertIn(key.encode(), out)

    def lend(self, *words, data=b""):
        """What mer runs there, run here."""
        script = Path(os.environ["MER_PREFIX"]) / "libexec" / "mer" / "mer-lend.sh"
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return subprocess.run(["sh", script, *map(str, words)], input=data, env=env, stdout=subprocess.PIPE, check=True,
                              timeout=record_case.DEADLINE_S).stdout.decode().strip()

    def test_one_seals(self):
        """Of those who see at the same time that all is there; the others do not wait for it."""
        data = os.urandom(300000)
        key = hashlib.sha256(data).hexdigest()
        parts = self.folder / ".cache" / "mer" / "files" / (key + ".part")
        self.assertEqual("more", self.lend("put", key, "file", len(data), 200000, 0, data=data[200000:]))
        (parts / "seal.lock").symlink_to(f"{os.uname().nodename}:{os.getpid()}")
        self.assertEqual("more", self.lend("put", key, "file", len(data), 0, 0, data=data[:200000]))
        (parts / "seal.lock").unlink()
        self.assertEqual("parts 0:200000 200000:100000", self.lend("look", key))
        self.assertEqual("ok", self.lend("put", key, "file", len(data), 200000, 100000))
        self.assertEqual(data, (parts.parent / key).read_bytes())
        self.assertEqual("ok", self.lend("look", key))

    def test_full_disk_there(self):
        home = self.server.home("bash") if "bash" in self.shells else self.skipTest("bash is not installed")
        (home / ".bashrc").write_text("ulimit -f 1000\n") # what bash reads where sshd starts it
        self.add_server("small", "bash")
        path = self.file("large", os.urandom(8 << 20))
        self.add("sum", "sha256sum", "{weights}", server="small")
        self.weights("sum", path, "1")
        self.refused(6, "server 'small': ", "run", "sum", "x")
        self.assertFalse(self.kept("bash"))
        (home / ".bashrc").unlink()
        self.out("run", "sum", "x")

    # --- training

    def test_training(self):
        self.add("m", "cat", "{weights}", options=(
            "--train", "sh -c 'cat \"$1\" \"$2\"/x >\"$3\"; echo \"{{\\\"rows\\\": 3}}\"' sh {dataset} {old_weights} {new_weights}"
            .replace("{{", "{").replace("}}", "}"),))
        data = self.file("data set", "data ")
        old = self.folder / "old"
        old.mkdir()
        (old / "x").write_text("old")
        self.weights("m", old, "1")
        made = json.loads(self.out("train", "--json", "m", "--dataset", data, "--activate"))
        self.assertEqual(("2", "1", {"rows": 3}), (made["version"], made["parent"], made["metrics"]))
        self.assertEqual("data old", Path(made["path"]).read_text())
        self.assertEqual(b"data old", self.out("run", "m", "x"))
        self.call(0, "model", "set", "m", "train=sh -c 'mkdir \"$1\"; echo a >\"$1/a\"; chmod 6755 \"$1/a\"; ln -s a \"$1/l\"' sh {new_weights}")
        made = json.loads(self.out("train", "--json", "m", "--dataset", data))
        self.assertEqual({"a": "a\n", "l": "a\n"}, {p.name: p.read_text() for p in Path(made["path"]).iterdir()})
        self.assertFalse((Path(made["path"]) / "l").is_symlink())
        self.assertEqual(0, (Path(made["path"]) / "a").stat().st_mode & 0o7000) # whatever it is there
        self.assertEqual(folder_sum(made["path"]), made["sha256"])
        for train, code, message in (("false", 1, "exit code 1"), ("true", 1, "left nothing"),
                                     ("sh -c 'kill -9 $$' {new_weights}", 1, "SIGKILL"),
                                     ("sh -c 'echo x >\"$1\"; exit 3' sh {new_weights}", 1, "exit code 3")):
            with self.subTest(train=train):
                self.call(0, "model", "set", "m", f"train={train}")
                self.refused(code, message, "train", "m", "--dataset", data)
        self.call(0, "model", "set", "m", "train=cp {dataset} {new_weights}")
        there = self.server.home("user") / "data"
        there.write_text("is there")
        made = json.loads(self.out("train", "--json", "m", "--dataset", f"box:{there}"))
        self.assertEqual("is there", Path(made["path"]).read_text())
        self.refused(6, "the dataset is on server 'other'", "train", "m", "--dataset", f"other:{there}")
        self.assertFalse(list(self.cache().glob("new/*")) + list(self.cache().glob("made/*")))
        self.assertEqual(4, len(json.loads(self.out("weights", "list", "--json", "m"))))

    def test_training_is_interrupted(self):
        """By a signal, by kill -9 of mer, and of sshd's session: nothing is left there or here."""
        data = self.file("data", "x")
        for how in ("signal", "mer", "session"):
            with self.subTest(how=how):
                self.add(how, "true", options=("--train", "sh -c 'echo x >\"$1\"; sleep 3600' sh {new_weights}"))
                child = self.start("train", how, "--dataset", data)
                self.assertTrue(wait_for(lambda: [p for p in self.cache().glob("new/*/*") if p.stat().st_size > 0]))
                if how == "signal":
                    child.send_signal(signal.SIGINT)
                processes.kill([child.pid] if how == "mer" else self.server.sessions() if how == "session" else [])
                _, err = child.communicate(timeout=record_case.DEADLINE_S)
                self.assertEqual({"signal": 130, "mer": -9, "session": 1}[how], child.returncode, err)
                self.assertTrue(wait_for(lambda: not list(self.cache().glob("new/*"))))
                self.assertEqual([], json.loads(self.out("weights", "list", "--json", how)))
                self.assertTrue(wait_for(lambda: not self.rooms()))

    def test_frame_training(self):
        worker = self.folder / "frame.py"
        worker.write_text("import mer\nfrom pathlib import Path\n\n@mer.model\ndef say(text: str) -> str:\n"
                          "    return Path(mer.weights()).read_text()\n\n@mer.train\ndef train(told):\n"
                          "    Path(told.new_weights).write_text(Path(told.dataset).read_text() + 'learnt')\n"
                          "    return {'n': 1}\n\nmer.serve()\n")
        self.add("m", record_case.PYTHON, worker, options=("--protocol", "frame"))
        data = self.file("data", "x ")
        made = json.loads(self.out("train", "--json", "m", "--dataset", data, "--activate"))
        self.assertEqual("x learnt", Path(made["path"]).read_text())
        self.assertEqual({"n": 1}, made["metrics"])
        self.assertEqual(b"x learnt", self.out("run", "m", "x").strip())

    # --- {input}, {output}, limits

    def test_input_and_output(self):
        self.add("m", "sh", "-c", 'stat -c %a "$1" >&2; cat >&2; tr a-z A-Z <"$1" >"$2"; echo log', "sh", "{input}", "{output}")
        self.assertEqual(b"HELLO", self.out("run", "m", "hello"))
        self.assertEqual(b"", self.out("run", "m", ""))
        data = os.urandom(5 << 20)
        self.add("copy", "cp", "{input}", "{output}")
        self.assertEqual(data, self.out("run", "copy", f"@{self.file('in', data)}"))
        self.add("in", "cat", "{input}")
        self.assertEqual(data, self.out("run", "in", f"@{self.folder / 'in'}"))
        self.call(0, "model", "ping", "in")
        self.add("none", "true", "{output}")
        self.refused(1, "left no output", "run", "none", "x")
        self.add("fails", "sh", "-c", "exit 7", "sh", "{output}")
        self.refused(1, "exit code 7", "run", "fails", "x")
        self.add("dies", "sh", "-c", "kill -SEGV $$", "sh", "{output}")
        self.refused(1, "SIGSEGV", "run", "dies", "x")
        self.add("missing", "nosuchprogram", "{output}")
        self.refused(6, "cannot start 'nosuchprogram' on server 'box': No such file", "run", "missing", "x")

    def test_nothing_is_left_of_a_folder(self):
        """Also when mer, or sshd's session, is killed with -9."""
        for who in ("mer", "session"):
            with self.subTest(who=who):
                seen = self.folder / f"seen-{who}"
                self.add(who, "sh", "-c", 'echo "$1" >"$2.new"; mv "$2.new" "$2"; sleep 3600', "sh", "{input}", str(seen))
                child = self.start("run", who, "x")
                self.assertTrue(wait_for(seen.exists))
                path = Path(seen.read_text().strip())
                self.assertTrue(path.exists())
                processes.kill([child.pid] if who == "mer" else self.server.sessions())
                child.wait()
                self.assertTrue(wait_for(lambda: not path.parent.exists()))

    def test_limits(self):
        show = "import resource as r; print(r.getrlimit(r.RLIMIT_{}))"
        for limit, name, want in (("open-files=99", "NOFILE", (99, 99)), ("file-size=1MiB", "FSIZE", (1 << 20, 1 << 20)),
                                  ("memory=1GiB", "DATA", (1 << 30, 1 << 30)), ("cpu-time=30s", "CPU", (30, 31)),
                                  ("processes=500", "NPROC", (500, 500)), ("core-size=1MiB", "CORE", (1 << 20, 1 << 20))):
            with self.subTest(limit=limit):
                self.add("m", record_case.PYTHON, "-c", show.format(name), options=("--limit", limit))
                self.assertEqual(str(want), self.out("run", "m", "x").decode().strip())
                self.call(0, "model", "remove", "m")
        self.add("nice", record_case.PYTHON, "-c", "import os; print(os.nice(0))", options=("--limit", "nice=7"))
        self.assertEqual(min(os.nice(0) + 7, 19), int(self.out("run", "nice", "x")))
        self.add("cpus", record_case.PYTHON, "-c", "import os; print(len(os.sched_getaffinity(0)))", options=("--limit", "cpus=1"))
        self.assertEqual(b"1\n", self.out("run", "cpus", "x"))
        self.add("ends", "sh", "-c", "exit 9", options=("--limit", "cpus=1", "--limit", "nice=1"))
        self.refused(1, "exit code 9", "run", "ends", "x")
        self.add("missing", "nosuchprogram", options=("--limit", "nice=1"))
        self.refused(6, "cannot start 'nosuchprogram'", "run", "missing", "x")
        self.add("where", "pwd", options=("--limit", "nice=1", "--workdir", "/nonexistent"))
        self.refused(6, "cannot enter the folder", "run", "where", "x")
        for limit in ("isolate=true", "cpus=1.5"):
            self.refused(2, "servers of kind 'ssh'", "model", "add", "x", "--server", "box", "--limit", limit, "--", "cat")
        hard = self.server.home("user") / ".profile"
        self.add("more", "true", options=("--limit", "open-files=2000000000"))
        self.refused(6, "the limit 'open-files' cannot be held on server 'box'", "run", "more", "x")
        self.assertFalse(hard.exists())


ssh_case.each_transport(Files, globals())

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

#!/usr/bin/python3
"""What SECURITY.md promises, on the programs as users get them, and that each test that it names is there.
MER_PREFIX names the installation, MER_SOURCE the source tree. Prints TAP when run as a program."""
import json
import os
import re
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from on_terminal import on_terminal

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
SOURCE = Path(os.environ["MER_SOURCE"])
MER, MIGRATE = (str(PREFIX / "bin" / name) for name in ("mer", "mer-migrate"))
DEADLINE_S = 60
NOBODY = 65534
MARK = "pl4nted-s3cret-m4rk"
SANITIZED = any(b"__asan_init" in Path(MER).read_bytes()[i:i + (1 << 20)]
                for i in range(0, Path(MER).stat().st_size, 1 << 20))

# It looks at what its user's other processes have, and says where it found the mark.
SPY = """
import os, sys
mark = sys.argv[1].encode()[::-1]
own = os.getpid()
for name in os.listdir("/proc"):
    if not name.isdigit() or int(name) == own:
        continue
    for what in ("environ", "cmdline"):
        try:
            if mark in open(f"/proc/{name}/{what}", "rb").read():
                print(what, name, open(f"/proc/{name}/comm").read().strip())
        except OSError:
            pass
    try:
        maps = open(f"/proc/{name}/maps").read().splitlines()
        memory = open(f"/proc/{name}/mem", "rb", buffering=0)
    except OSError:
        continue
    for line in maps:
        area, rights, *rest = line.split()
        if not rights.startswith("rw") or "[v" in line:
            continue
        start, end = (int(x, 16) for x in area.split("-"))
        try:
            memory.seek(start)
            if mark in memory.read(end - start):
                print("memory", name, open(f"/proc/{name}/comm").read().strip())
                break
        except OSError:
            pass
"""


def as_nobody():
    """What subprocess takes to drop root, so that the kernel's checks count."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-security-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.home = self.folder / "home"
        self.temp = self.folder / "temp"
        for path in (self.home, self.temp):
            path.mkdir()
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("MER_", "XDG_", "PG"))}
        self.env |= {"HOME": str(self.home), "TMPDIR": str(self.temp), "LC_ALL": "C.UTF-8"}
        self.database = self.home / ".local/state/mer/mer.db"

    def run_it(self, *argv, env=None, code=0, stdin=b"", **how):
        done = subprocess.run([str(word) for word in argv], env=self.env | (env or {}), input=stdin, timeout=DEADLINE_S,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              **({"cwd": self.folder} | how))
        if code is not None:
            self.assertEqual(done.returncode, code, (argv, done.stdout, done.stderr))
        return done

    def migrate(self, **how):
        self.run_it(MIGRATE, "--quiet", "up", **how)

    def mer(self, *argv, **how):
        return self.run_it(MER, "--allow-changes", *argv, **how)


class Rights(Case):
    @unittest.skipUnless(os.geteuid() == 0, "takes root")
    def test_set_user_id_is_refused(self):
        for bit in (stat.S_ISUID, stat.S_ISGID):
            for program in ("mer", "mer-migrate"):
                with self.subTest(program=program, bit=oct(bit)):
                    if SANITIZED and bit == stat.S_ISUID:
                        self.skipTest("no sanitizer may trace such a program to look for leaks")
                    copy = self.folder / f"{program}-{bit}"
                    shutil.copy(PREFIX / "bin" / program, copy)
                    os.chown(copy, NOBODY, NOBODY)
                    copy.chmod(0o755 | bit)
                    done = self.run_it(copy, "--version", code=2)
                    self.assertEqual(done.stdout, b"")
                    self.assertIn(b"rights that its user does not have", done.stderr)

    def test_files_are_the_users_alone(self):
        """Whatever the umask: 0 gives to all what is not asked for, 0777 nothing to anybody."""
        for mask in (0, 0o077, 0o777):
            with self.subTest(umask=oct(mask)):
                shutil.rmtree(self.home)
                self.home.mkdir()
                self.migrate(umask=mask)
                self.mer("model", "add", "look", "--keep-io", "--", "sh", "-c",
                         'cat {input}; stat -c " %a" {input}; stat -c "%a" "$(dirname {input})"', umask=mask)
                done = self.run_it(MER, "run", "look", "x", umask=mask)
                self.assertEqual(done.stdout, b"x 600\n700\n")
                self.run_it(MER, "--once-key", "k", "version", umask=mask)
                seen = {path.relative_to(self.home): stat.S_IMODE(path.lstat().st_mode)
                        for path in self.home.rglob("*")}
                self.assertIn(Path(".local/state/mer/mer.db"), seen)
                for path, mode in seen.items():
                    want = 0o700 if (self.home / path).is_dir() else 0o600
                    self.assertEqual(oct(mode), oct(want), path)
                self.assertEqual(list(self.temp.iterdir()), [])

    def test_temp_is_a_folder_of_its_own(self):
        """What {input} is in is nobody else's, and its name cannot be known before."""
        self.migrate()
        self.mer("model", "add", "where", "--", "sh", "-c", "cat {input} >&2; echo {input}; stat -c %a $(dirname {input})")
        names = set()
        for _ in range(3):
            path, mode = self.run_it(MER, "run", "where", "x").stdout.decode().split()
            self.assertEqual(mode, "700")
            self.assertEqual(Path(path).parent.parent, self.temp)
            names.add(Path(path).parent.name)
        self.assertEqual(len(names), 3)
        self.assertTrue(all(re.search(r"[0-9A-Za-z]{6,}", name) for name in names), names)

    def test_links_are_not_followed(self):
        """A link where a file of mer's own is to be made gives nobody a way to another file. (The history's is in
        test_history.)"""
        self.migrate()
        self.mer("model", "add", "m", "--train", "cp {dataset} {new_weights}", "--", "cat")
        state, weights = self.database.parent, self.home / ".local/share/mer/weights/m"
        for name in ("data", "lines"):
            (self.folder / name).write_text("x\n")
        weights.mkdir(parents=True)
        self.run_it(MER, "--once-key", "k", "version")
        rows = {
            "once key": (list((state / "once").iterdir()), 70, ("--once-key", "k", "version")),
            "lock of the database": ([state / "mer.db-lock"], 5, ("run", "m", "x")),
            "lock of a training": ([weights / ".n.lock"], 70, ("train", "m", "--dataset", "data", "--new", "n")),
            "journal": ([self.folder / "journal"], 2, ("run", "--lines", "--resume", "journal", "m", "@lines")),
            "backup": ([self.folder / "backup"], 0, ("db", "backup", "--force", "backup")),
            "metrics": ([self.folder / "metrics"], 0, ("stats", "--prometheus", "--output", "metrics")),
        }
        for name, (paths, code, argv) in rows.items():
            for text in ("", "precious\n"):  # what is there already may be looked at before it is written
                with self.subTest(name, text=text):
                    victim = self.folder / "victim"
                    victim.write_text(text)
                    victim.chmod(0o640)
                    self.assertTrue(paths)
                    kept = [path.read_bytes() if path.is_file() else None for path in paths]
                    for path in paths:
                        path.unlink(missing_ok=True)
                        path.symlink_to(victim)
                    self.mer(*argv, code=code)
                    self.assertEqual((text, 0o640), (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)))
                    for path, data in zip(paths, kept):
                        path.unlink()
                        if data is not None:
                            path.write_bytes(data)

    @unittest.skipUnless(os.geteuid() == 0, "takes root")
    def test_journal_of_another_user(self):
        """Who can write it would say how much of the output is cut off."""
        self.migrate()
        self.mer("model", "add", "m", "--", "cat")
        (self.folder / "lines").write_text("x\n")
        journal = self.folder / "journal"
        journal.touch()
        os.chown(journal, NOBODY, NOBODY)
        done = self.run_it(MER, "run", "--lines", "--resume", journal, "m", "@lines", code=2)
        self.assertIn(b"is another user's", done.stderr)
        self.assertEqual((b"", ""), (done.stdout, journal.read_text()))


class Secrets(Case):
    def planted(self):
        """A folder of nobody's where all three kinds of reference lead to the mark."""
        secret = self.folder / "secret"
        secret.write_text(MARK)
        return {"PLANTED": MARK}, {"env": "env:PLANTED", "file": f"file:{secret}", "cmd": f"cmd:cat {secret}"}

    def test_found_nowhere(self):
        """In no output, log, list of processes, file or environment but that of the model that it is for."""
        env, references = self.planted()
        env |= {"MER_LOG": "debug"}
        self.migrate(env=env)
        said = []
        for kind, reference in references.items():
            mask = "sh", "-c", 'test "$TOKEN" = "$(cat)" && echo same; ps -eo args >&2; true'
            said.append(self.mer("model", "add", kind, "--keep-io", "--env", f"TOKEN={reference}", "--", *mask, env=env))
            done = self.run_it(MER, "run", kind, env=env, stdin=b"wrong")
            said += [done]
            self.assertEqual(done.stdout, b"")
        self.mer("model", "add", "other", "--clean-env", "--", "env", env=env)
        for argv in (("run", "other"), ("log", "--json"), ("export",), ("model", "show", "env", "--json"), ("doctor",),
                     ("stats",), ("log", "export")):
            said.append(self.run_it(MER, *argv, env=env, code=None))
        for done in said:
            self.assertNotIn(MARK.encode(), done.stdout + done.stderr, done.args)
        for path in [*self.home.rglob("*"), *self.temp.rglob("*")]:
            if path.is_file():
                self.assertNotIn(MARK.encode(), path.read_bytes(), path)
        rows = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        self.assertEqual(rows.execute("select count(*) from model_access").fetchone(), (4,))
        rows.close()

    def test_children_do_not_inherit_them(self):
        """What a server or a model names by env: is in the environment of no other model, nor in that of a training
        or of the system's ssh; of that model under the name that it asks for."""
        env = {name: f"{MARK}-{name}" for name in ("SSH_SECRET", "HTTP_SECRET", "HEADER_SECRET", "MODEL_SECRET", "LATER")}
        env |= {"PLAIN": "plain", "PATH": os.environ["PATH"]}
        self.migrate(env=env)
        self.mer("model", "add", "look", "--train", "sh -c 'env >{new_weights}'", "--", "env", env=env)
        self.mer("server", "add", "gpu", "--kind=ssh", "--host=h", "--param=password=env:SSH_SECRET", env=env)
        self.mer("server", "add", "api", "--kind=http", "--url=http://127.0.0.1:1", "--param=api_key=env:HTTP_SECRET",
                 "--param=header.X-Key=env:HEADER_SECRET", env=env)
        self.mer("model", "add", "uses", "--env=TOKEN=env:MODEL_SECRET", "--env=MODEL_SECRET=env:MODEL_SECRET",
                 "--env=WHERE=env:PATH", "--", "env", env=env)
        seen = self.run_it(MER, "run", "look", "x", env=env).stdout.decode()
        self.assertIn("PLAIN=plain\n", seen)
        self.assertIn("PATH=", seen)  # which is no secret, though one refers to it
        self.assertEqual(seen.count(MARK), 1)
        self.assertIn(f"LATER={MARK}-LATER\n", seen)  # which nobody refers to yet
        own = self.run_it(MER, "run", "uses", "x", env=env).stdout.decode()
        self.assertEqual([f"MODEL_SECRET={MARK}-MODEL_SECRET", f"TOKEN={MARK}-MODEL_SECRET"],
                         sorted(line for line in own.splitlines() if "MODEL_SECRET" in line))
        for name in ("SSH_SECRET", "HTTP_SECRET", "HEADER_SECRET"):
            self.assertNotIn(name, own)
        data = self.folder / "data"
        data.write_text("1")
        self.mer("train", "look", "--dataset", data, env=env)
        trained = [path for path in self.home.rglob("weights/look/*") if path.is_file()]
        self.assertEqual(1, trained[0].read_text().count(MARK))
        # One process, in which a secret gets a name between two runs: the model's next new worker has it no more.
        both = self.mer("-c", "run look x", "-c", "server set gpu param=passphrase=env:LATER",
                        "-c", "model set look timeout=2h", "-c", "run look x", env=env).stdout.decode()
        self.assertEqual(1, both.count(MARK), both)
        # The system's ssh is a child as well.
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "ssh").write_text(f"#!/bin/sh\nenv >>'{self.folder}/ssh-env'\nexit 255\n")
        (tools / "ssh").chmod(0o755)
        self.mer("server", "add", "far", "--kind=ssh", "--host=h", "--param=transport=openssh", env=env)
        self.run_it(MER, "server", "ping", "far", env=env | {"PATH": f"{tools}:{env['PATH']}"}, code=None)
        self.assertIn("PLAIN=plain\n", (self.folder / "ssh-env").read_text())
        self.assertNotIn(MARK, (self.folder / "ssh-env").read_text())

    @unittest.skipIf(SANITIZED, "the search for leaks takes a process that can be traced")
    def test_memory_is_nobodys(self):
        """A model cannot read what the mer that runs it holds: its environment, its memory."""
        if os.geteuid() == 0:
            for path in (self.folder, self.home, self.temp):
                os.chown(path, NOBODY, NOBODY)
        how = as_nobody() | {"env": {"PLANTED": MARK}}
        spy = self.folder / "spy.py"
        spy.write_text(SPY)
        self.migrate(**how)
        self.mer("model", "add", "spy", "--", "/usr/bin/python3", spy, MARK[::-1], **how)
        self.mer("model", "add", "user", "--env", "TOKEN=env:PLANTED", "--", "sh", "-c", 'echo ${#TOKEN}', **how)
        self.assertEqual(self.run_it(MER, "run", "user", **how).stdout.decode(), f"{len(MARK)}\n")
        # mer has read the secret for one model before it runs the other.
        done = self.run_it(MER, "-c", "run user x", "-c", "run spy x", **how)
        length, *found = done.stdout.decode().splitlines()
        self.assertEqual(length, str(len(MARK)), done.stderr)
        self.assertEqual([line for line in found if line.split()[2] in ("mer", Path(MER).name)], [])
        # That it would have found it: a shell of the same user has it in its environment.
        control = self.run_it("/bin/sh", "-c", f'/usr/bin/python3 {spy} {MARK[::-1]}; true', **how)
        self.assertIn("environ", control.stdout.decode())

    @unittest.skipIf(SANITIZED, "the search for leaks takes a process that can be traced")
    def test_no_core_holds_them(self):
        """Neither a crash of mer nor one of a model leaves a core file."""
        self.migrate()
        script = f"ulimit -c unlimited; cd '{self.folder}'; exec \"$0\" \"$@\""
        def cores():
            return [path for path in self.folder.iterdir() if path.name.startswith("core")]
        self.mer("model", "add", "crash", "--", "sh", "-c", "kill -SEGV $$")
        self.run_it("/bin/sh", "-c", script, MER, "run", "crash", "x", code=1)
        self.assertEqual(cores(), [])
        self.mer("model", "add", "parricide", "--", "sh", "-c",
                 "kill -SEGV $(ps -o ppid= -p $PPID); exec sleep 60")
        resource.getrlimit(resource.RLIMIT_CORE)
        done = self.run_it("/bin/sh", "-c", script, MER, "run", "parricide", "x", code=None)
        self.assertLess(done.returncode, 0)
        self.assertEqual(cores(), [])


class Terminal(Case):
    """What a model says does not drive a terminal, whichever way it gets there."""
    HOSTILE = "a\x1b[31mb\x1b]0;t\x07c\x1b]52;c;QQ==\x07d\x9b2Je\x08f\x85g\x0e"

    def setUp(self):
        super().setUp()
        said = self.folder / "said"
        said.write_text(self.HOSTILE + "\n")
        self.migrate()
        for name, code in (("good", 0), ("bad", 3)):
            self.mer("model", "add", name, "--keep-io", "--", "sh", "-c", f"cat {said}; cat {said} >&2; exit {code}")
        self.mer("model", "add", "dies", "--protocol", "token", "--", "sh", "-c", f"cat {said}; cat {said} >&2; exit 4")
        self.mer("model", "add", "logs", "--protocol", "token", "--error-line", "a*", "--", "sh", "-c",
                 f"cat {said}; echo '@!#READY#!@'; read a; cat {said} >&2; sleep 60")
        for name, code in (("good", 0), ("bad", 1)):
            self.run_it(MER, "run", name, self.HOSTILE, code=code)
        runs = json.loads(self.run_it(MER, "log", "--json").stdout)
        self.uids = {run["model"]: run["request_uid"] for run in runs}

    def check(self, *words, **env):
        _, text = on_terminal([MER, *words], self.env | {"TERM": "xterm", "NO_COLOR": "1"} | env, self.folder)
        text = re.sub(r"\r(\d+ done, [^\r\x1b]*)?\x1b\[K", "", text)  # mer's own, where it takes long
        bad = re.search(r"[^\x20-\x7e\n\t\xa0-\uffff]", text.replace("\r\n", "\n"))
        self.assertIsNone(bad, (words, bad and text[max(0, bad.start() - 20):bad.end() + 20]))
        return text

    def test_output_paths(self):
        uid = self.uids["good"]
        self.assertIn("a^[[31mb^[]0;t^Gc", self.check("run", "good", "x"))
        for words in (("run", "bad", "x"), ("run", "dies", "x"), ("run", "logs", "x"),
                      ("run", "--json", "good", "x"), ("run", "--json", "bad", "x"), ("run", "--jsonl", "--lines", "good", "@said"),
                      ("run", "--lines", "bad", "@said"), ("--log", "debug", "run", "bad", "x"), ("--log", "debug", "run", "dies", "x"),
                      ("replay", uid), ("replay", uid, "--diff"), ("model", "ping", "dies"), ("log", "export"),
                      ("log", "export", "--format", "csv"), ("worker-check", "--", "cat", "said"), ("run", self.HOSTILE, "x"),
                      ("-c", f"run {self.HOSTILE} x"), ("--allow-changes", "feedback", "add", uid, "3", "--note", self.HOSTILE),
                      ("feedback", "export", "good"), ("--allow-changes", "model", "set", "good", f"summary={self.HOSTILE}")):
            with self.subTest(words=words):
                self.check(*words)
        for layout in ("json", "journal"):
            with self.subTest(layout=layout):
                self.check("--log", "info", "run", "bad", "x", MER_LOG_FORMAT=layout)
        for how in ("table", "json", "jsonl", "csv", "plain"):
            for words in (("log",), ("log", "--columns", "model,error,stderr_tail"), ("log", "show", uid),
                          ("log", "show", self.uids["bad"]), ("model", "list"), ("model", "show", "good"), ("export",)):
                with self.subTest(words=words, how=how):
                    self.check(*words, MER_FORMAT=how)


class Input(Case):
    HOSTILE = ["'; drop table model_access; --", "\"; select 1; \"", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED",
               "| touch PWNED", "&& touch PWNED", "-rf", "--help", "--allow-changes", "--", "%s%n%x", "\\x27", "{models}",
               "{input}", "../../etc/passwd", "a\nb", "a\tb", "\x1b[2J", "\u202e", "é" * 200, "A" * 200, "'", '"', "\\", "*", "~",
               "env:HOME", "file:/etc/passwd", "cmd:touch PWNED", ""]
    TABLES = "select name from sqlite_master order by name"

    def tables(self):
        rows = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        found = rows.execute(self.TABLES).fetchall(), rows.execute("select count(*) from models").fetchone()
        rows.close()
        return found

    def harmless(self, before):
        self.assertEqual(self.tables(), before)
        self.assertEqual([path.name for path in self.folder.rglob("PWNED")], [])

    def test_names_are_names(self):
        """As a name nothing of it is taken, refused with 2 (or 3, where nothing has it)."""
        self.migrate()
        before = self.tables()
        for text in self.HOSTILE:
            for argv, codes in ((("run", "--", text, "x"), (2, 3)), (("model", "show", "--", text), (2, 3)),
                                (("log", f"--model={text}"), (2, 3)), (("model", "remove", "--", text), (2, 3)),
                                (("run", f"--server={text}", "digest", "x"), (2, 3)),
                                (("run", f"--weights={text}", "iris", "x"), (2, 3)),
                                (("run", f"--deployment={text}", "digest", "x"), (2, 3)),
                                (("log", "show", "--", text), (2, 3)), (("replay", "--", text), (2, 3)),
                                (("log", f"--since={text}"), (2,)), (("log", f"--status={text}"), (2,))):
                if text or argv[0] != "log":
                    self.assertIn(self.mer(*argv, code=None).returncode, codes, argv)
            for argv in (("server", "add", "--kind=ssh", "--host=h", "--", text),
                         ("deployment", "add", "digest", f"--name={text}", "--", "true"),
                         ("weights", "add", "iris", __file__, f"--version={text}"),
                         ("train", "digest", "--dataset", __file__, f"--new={text}"),
                         *([("model", "add", text, "--", "true")] if not text.startswith("-") else ())):
                done = self.mer(*argv, code=2)
                self.assertIn(b" name '", done.stderr, argv)
        for text in ("-oProxyCommand=touch PWNED", "-", "h -oX", "a;b", "$(touch PWNED)", "`touch PWNED`", "a\nb", "h'", 'h"', "h/../x",
                     "a|b", "{h}", "\x1b[2J"):
            self.assertIn(b"is no host", self.mer("server", "add", "s", "--kind=ssh", f"--host={text}", code=2).stderr)
            self.assertIn(b"is no user", self.mer("server", "add", "s", "--kind=ssh", "--host=h", f"--user={text}", code=2).stderr)
        self.harmless(before)

    def test_values_are_values(self):
        """As a value it is kept and given out as it is."""
        self.migrate()
        for text in self.HOSTILE:
            self.mer("model", "add", "m", f"--summary={text}", "--env", f"V=text:{text}", "--", "sh", "-c",
                     'printf "%s|" "$V"; cat')
            shown = json.loads(self.run_it(MER, "--json", "model", "show", "m").stdout)
            self.assertEqual(shown["summary"], text)
            done = self.run_it(MER, "run", "m", stdin=text.encode())
            self.assertEqual(done.stdout.decode(), f"{text}|{text}")
            argument = "@" + text if text.startswith("@") else text
            done = self.run_it(MER, "run", "--", "m", argument, stdin=b"", code=None)
            self.assertEqual((done.returncode, done.stdout.decode()), (0, f"{text}|{text}"), done.stderr)
            self.mer("model", "remove", "m")
        self.assertEqual([path.name for path in self.folder.rglob("PWNED")], [])

    def test_argv_is_words(self):
        """A word of a command line is one argument, whatever is in it."""
        self.migrate()
        for text in self.HOSTILE:
            if "{" in text:
                continue
            self.mer("model", "add", "m", "--", "printf", "%s|%s", "x", text)
            self.assertEqual(self.run_it(MER, "run", "m", "-").stdout.decode(), f"x|{text}")
            self.mer("model", "remove", "m")
        self.assertEqual([path.name for path in self.folder.rglob("PWNED")], [])

    def test_values_in_lines_for_a_shell(self):
        """With --shell, too, what a placeholder stands for is a word, however it is quoted."""
        self.migrate()
        for i, name in enumerate(("a b", "x;touch PWNED", "$(touch PWNED)", "`touch PWNED`", "it's", 'a"b', "new\nline", "*", "a\\b",
                                  "'; touch PWNED; '", '"; touch PWNED; "')):
            path = self.folder / name
            path.write_text(f"weights {i}")
            for line in ("cat {weights}", 'cat "{weights}"', "cat '{weights}'", 'printf %s "$(cat {weights})"',
                         'printf %s "$(cat "{weights}")"'):
                with self.subTest(name=name, line=line):
                    self.mer("model", "add", "m", "--shell", "--", line)
                    self.mer("weights", "add", "m", str(path), "--version", "1")
                    self.mer("weights", "use", "m", "1")
                    self.assertEqual(f"weights {i}", self.run_it(MER, "run", "m", "-").stdout.decode())
                    self.mer("model", "remove", "m")
        self.assertEqual([path.name for path in self.folder.rglob("PWNED")], [])


class Document(unittest.TestCase):
    def test_each_test_is_there(self):
        """SECURITY.md names a test for each promise; each is defined in the file that it names."""
        page = (SOURCE / "SECURITY.md").read_text()
        named = re.findall(r"`(test_\w+)(?:\.(\w+))?`", page)
        self.assertGreater(len(named), 15)
        for program, name in named:
            with self.subTest(program=program, name=name):
                files = [SOURCE / "tests" / f"{program}{ending}" for ending in (".py", ".c")]
                files += [SOURCE / "python" / "tests" / f"{program}.py"]
                files = [path for path in files if path.exists()]
                self.assertTrue(files, program)
                if name:
                    self.assertRegex(files[0].read_text(), rf"\b{name}\b")


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

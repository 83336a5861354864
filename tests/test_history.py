#!/usr/bin/python3
"""The history of the prompt: what it keeps, what it never keeps, and that nothing about it fails.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import fcntl
import os
import stat
import sys
import unittest

import pexpect

from prompt_case import DEADLINE_S, MER, PROMPT, PromptCase

UP = "\033[A"
TOKEN = "0123456789abcdef"


class History(PromptCase):
    def spawn(self, *args, limits=""):
        return super().spawn("-c", limits + 'exec "$0" "$@"', MER, "--quiet", *args, program="/bin/sh",
                             size=(24, 200))

    def say(self, child, *lines):
        for line in lines:
            child.send(line + "\r")
            child.expect_exact("\r\n")
            child.expect_exact(PROMPT)

    def typed(self, *lines, args=()):
        child = self.spawn(*args)
        self.say(child, *lines)
        self.leave(child)
        return self.saved() if self.history.exists() else []

    # --- what is kept ---

    def test_of_the_same_the_last(self):
        self.assertEqual(self.typed("version", "run echo 1", "version", "version", "run echo 1"),
                         ["version", "run echo 1"])
        self.assertEqual(self.typed("help version", "version"), ["run echo 1", "help version", "version"])
        self.assertEqual(stat.S_IMODE(self.history.stat().st_mode), 0o600)
        child = self.spawn()
        child.send(UP + UP + UP)
        child.expect_exact("run echo 1")
        child.send("\rexit\r")
        child.expect(pexpect.EOF)

    def test_a_command_of_several_lines_is_one(self):
        child = self.spawn()
        child.send("run echo 'one\r")
        child.expect_exact("...> ")
        child.send("\r")
        child.expect_exact("...> ")
        child.send(" two' \\\r")
        child.expect_exact("...> ")
        child.send("three\r")
        child.expect_exact("one\r\n\r\n two three\r\n")
        child.expect_exact(PROMPT)
        self.say(child, "version")
        child.send(UP + UP + "\r")
        child.expect_exact("one\r\n\r\n two three\r\n")
        child.expect_exact(PROMPT)
        self.leave(child)
        command = "run echo 'one\n\n two' \\\nthree"
        self.assertEqual(self.saved(), ["version", command])
        child = self.spawn()
        child.send(UP + "\r")
        child.expect_exact("one\r\n\r\n two three\r\n")
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_it_is_capped(self):
        self.history.write_text("".join(f"run echo {i}\n" for i in range(3000)))
        saved = self.typed("version")
        self.assertEqual(saved, [*(f"run echo {i}" for i in range(2001, 3000)), "version"])

    def test_of_a_large_file_the_end(self):
        with open(self.history, "wb") as f:
            f.truncate(3 << 30)
            f.seek(0, os.SEEK_END)
            f.write(b"\nversion\n")
        self.assertEqual(self.typed("run echo 1"), ["version", "run echo 1"])

    # --- what is not ---

    def test_lines_that_are_not_kept(self):
        self.assertEqual(self.typed(" run echo 1", "", "   ", "# only a comment"), [])

    def test_secrets_are_not_kept(self):
        secret = [
            f"db copy --from postgres://u:{TOKEN}@127.0.0.1:1/x --to sqlite:y",
            f"db copy --to=postgres://127.0.0.1:1/x?password={TOKEN} --from sqlite:y",
            f"server add s --kind http --url https://u:{TOKEN}@h/",
            f"server add s --kind ssh --param password={TOKEN}",
            f"server add s --kind ssh --param=passphrase={TOKEN}",
            f"server add s --kind http --param header.Authorization={TOKEN}",
            f"server set local param=password={TOKEN}",
            f"server set local url=http://u:{TOKEN}@h/",
            f"model add m --env API_KEY={TOKEN} -- cat",
            f"model add m --env 'API_KEY=text:{TOKEN}' -- cat",
            f"model set echo env=GH_TOKEN={TOKEN}",
            f"deployment set echo env=GH_TOKEN={TOKEN}",
            f"servr add s --param password={TOKEN}",  # no such command
            f"server add s --kind ssh --parm password={TOKEN}",
            f"db copy postgres://u:{TOKEN}@h/x",
            f"--database=postgres://u:{TOKEN}@h/x model list",
        ]
        kept = [
            "server add a --kind ssh --param password=env:PW",
            "server add b --kind ssh --param IdentityFile=x",
            "model set echo env=GH_TOKEN=file:x",
            "model set echo env=LEVEL=3",
            "model set echo timeout=5s",
            "db copy --from postgres://u@127.0.0.1:1/x --to sqlite:y",
            "run echo password=hello",
            "run echo https://example.org/a?b=c",
        ]
        child = self.spawn("--allow-changes")
        for line in secret:
            child.send(line + "\r")
            child.expect_exact(PROMPT)
        child.send(UP + "version\r")  # there is nothing to come back
        child.expect_exact("mer 0.1.0")
        child.expect_exact(PROMPT)
        self.say(child, *kept)
        self.leave(child)
        self.assertEqual(self.saved(), ["version", *kept])
        self.assertNotIn(TOKEN, self.history.read_text())

    def test_a_note_says_so(self):
        child = pexpect.spawn(MER, ["--no-color"], env=self.env, encoding="utf-8", timeout=DEADLINE_S,
                              dimensions=(24, 200), cwd=str(self.folder))
        self.addCleanup(child.close, force=True)
        child.expect_exact(PROMPT)
        child.send("server add s --param password=x\r")
        child.expect_exact("not kept in the history, since it holds a secret\r\n")
        child.expect_exact(PROMPT)

    # --- several at once ---

    def test_many_prompts_append(self):
        prompts = [self.spawn() for _ in range(6)]
        for i in range(10):
            for j, child in enumerate(prompts):
                child.send(f"run nosuch {j} {i} {'x' * 500}\r")
        for child in prompts:
            for _ in range(10):
                child.expect_exact("there is no model")
        for child in prompts:
            self.leave(child)
        self.assertEqual(sorted(self.saved()), sorted(f"run nosuch {j} {i} {'x' * 500}"
                                                      for i in range(10) for j in range(6)))

    def test_somebody_else_holds_it(self):
        self.history.write_text("run echo before\n")
        with open(self.history, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            child = self.spawn()
            self.say(child, "run echo 1")
            child.send(UP + UP)
            child.expect_exact("before")  # in the place of 1
            child.sendintr()
            child.expect_exact(PROMPT)
            self.leave(child)
            self.assertEqual(self.saved(), ["run echo before", "run echo 1"])

    # --- what may be wrong with it ---

    def works(self, *args, **how):
        child = self.spawn(*args, **how)
        self.assertNotIn("history", child.before)
        self.say(child, "run echo 1")
        child.send(UP)
        child.expect_exact("run echo 1")
        child.sendintr()
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_a_full_disk(self):
        self.history.write_text("run echo " + "x" * 1000 + "\n")
        before = self.history.read_bytes()
        # Stands in for it: no file grows beyond 1 KiB.
        child = self.spawn(limits="ulimit -f 2; ")
        for line in ("help version", "version", "run echo " + "y" * 30):
            child.send(line + "\r")
            child.expect_exact(PROMPT)
        self.leave(child)
        self.assertTrue(self.history.read_bytes().startswith(before))
        self.assertTrue(self.history.read_bytes().endswith(b"\n"))
        self.assertIn("version", self.typed("version"))

    def test_what_is_no_text(self):
        for text in (b"\0\0\0", b"\xff\xfe\n\n\n", b"version\nrun echo \0\nhelp", b" goes on\n with nothing\n",
                     b"\n" * 5000, b"x" * 3_000_000, b"'" * 100_000, b"a\n" + b" b\n" * 300_000):
            with self.subTest(text=text[:20]):
                self.history.write_bytes(text)
                self.works()
                self.assertEqual(self.saved()[-1], "run echo 1")

    def test_its_end_is_no_line(self):
        self.history.write_bytes(b"run echo 0\nversion")
        self.assertEqual(self.typed("run echo 1"), ["run echo 0", "version", "run echo 1"])

    def test_what_is_no_file(self):
        os.mkfifo(self.history)
        self.works()
        self.history.unlink()
        self.history.symlink_to("/dev/full")
        self.works()
        self.history.unlink()
        self.history.symlink_to("history")
        self.works()
        self.history.unlink()
        self.history.mkdir()
        self.works()

    def test_a_link(self):
        """Leads to nobody's file, neither to be read nor to be written."""
        victim = self.folder / "victim"
        victim.write_text("run echo precious\n")
        victim.chmod(0o640)
        self.history.symlink_to(victim)
        self.works()
        self.assertEqual(("run echo precious\n", 0o640), (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)))

    @unittest.skipIf(os.geteuid() == 0, "root may read and write everything")
    def test_what_may_not_be_read(self):
        self.history.write_text("version\n")
        self.history.chmod(0)
        self.works()

    def test_no_place_for_it(self):
        # The state folder is a file; the database is elsewhere.
        self.env["MER_DATABASE_URL"] = f"sqlite:{self.state}/mer.db"
        (self.folder / "file").touch()
        self.env["XDG_STATE_HOME"] = str(self.folder / "file")
        self.works()


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

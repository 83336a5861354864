#!/usr/bin/python3
"""A host key at the prompt: it is shown, and taken after a yes and nothing else. MER_PREFIX names the installation.
Prints TAP when run as a program."""
import re
import sys
import unittest
from pathlib import Path

import sshd
from prompt_case import PromptCase

QUESTION = "trust it (yes/no)? "


@unittest.skipIf(sshd.missing(), sshd.missing())
class Trust(PromptCase):
    def setUp(self):
        super().setUp()
        self.server = sshd.Server(Path(self.folder, "s"), {"user": "/bin/sh"})
        self.addCleanup(self.server.stop)
        self.env.pop("SSH_AUTH_SOCK", None)
        self.known = self.folder / "hosts" / "known"
        config = self.folder / "config"
        config.write_text(f"UserKnownHostsFile {self.known}\nGlobalKnownHostsFile /dev/null\n")
        self.batch(f"server add box --kind ssh --user user --host 127.0.0.1 --port {self.server.port} "
                   f"--param config={config} --param IdentityFile={self.server.folder}/id", "model add up --server box -- cat")
        public = self.server.folder / "host.pub"
        self.fingerprint = self.server.run("ssh-keygen", "-l", "-f", public).decode().split()[1]

    def answer(self, child, word):
        child.sendline("server trust box")
        child.expect_exact(QUESTION)
        asked = re.sub(r"\s+", " ", child.before)
        self.assertIn(f"[127.0.0.1]:{self.server.port} has the key ED25519 {self.fingerprint};", asked)
        return self.say(child, word)

    def test_answers(self):
        child = self.spawn("--allow-changes", size=(24, 300))
        for word in ("no", "y", "", "YES", "yes yes"):
            with self.subTest(word=word):
                self.assertIn("the host key of server 'box' is not trusted", self.answer(child, word))
                self.assertFalse(self.known.exists())
        self.assertIn(f"server 'box' is trusted by {self.fingerprint}", self.answer(child, "yes"))
        self.assertEqual(f"[127.0.0.1]:{self.server.port} {self.server.host_key}\n", self.known.read_text())
        self.assertEqual(0o600, self.known.stat().st_mode & 0o777)
        self.assertIn("hello", self.say(child, "run up hello"))
        self.assertIn("is trusted", self.say(child, "server trust box"))  # known, so there is no question
        self.leave(child)
        self.assertNotIn("yes", self.saved())

    def test_leaves_the_question(self):
        child = self.spawn("--allow-changes", size=(24, 300))
        child.sendline("server trust box")
        child.expect_exact(QUESTION)
        child.sendintr()
        child.expect_exact("mer> ")
        self.assertFalse(self.known.exists())
        self.leave(child)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

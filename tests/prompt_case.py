"""What the tests of the prompt share: a folder of its own for each, with a database and a few models, and a
terminal to type at."""
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import pexpect

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MER = str(PREFIX / "bin" / "mer")
MIGRATE = str(PREFIX / "bin" / "mer-migrate")
DEADLINE_S = 60
PROMPT = "mer> "
LIBEDIT = os.environ.get("MER_PROMPT") == "libedit"
HAS_PROMPT = (PREFIX / "lib" / "mer" / "prompt.so").exists()


def quoted(word):
    return "'" + word.replace("'", "'\\''") + "'"


def plain(text):
    """Without what is only for the terminal: colours, bracketed paste, cursor."""
    return re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


@unittest.skipUnless(HAS_PROMPT, "built without the prompt")
class PromptCase(unittest.TestCase):
    MODELS = {"echo": ["--", "cat"]}

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-prompt-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.state = self.folder / "state" / "mer"
        self.history = self.state / "history"
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("MER_", "XDG_", "PG", "INPUTRC", "VISUAL", "EDITOR", "TMUX"))}
        self.env |= {"XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder),
                     "XDG_DATA_HOME": str(self.folder / "data"), "TERM": "xterm", "LC_ALL": "C.UTF-8",
                     "TMPDIR": str(self.folder)}
        subprocess.run([MIGRATE, "--quiet", "up"], env=self.env, check=True, timeout=DEADLINE_S)
        self.batch(*(f"model add {name} " + " ".join(map(quoted, options))
                     for name, options in self.MODELS.items()))

    def batch(self, *lines):
        subprocess.run([MER, "--allow-changes"], env=self.env, input="\n".join(lines).encode(), check=True,
                       stdout=subprocess.DEVNULL,
                       cwd=str(self.folder), timeout=DEADLINE_S)

    def saved(self):
        """The commands in the history; lines that begin with a space go on with the one above."""
        commands = []
        for line in self.history.read_text(errors="replace").split("\n")[:-1]:
            if line.startswith(" "):
                commands[-1] += "\n" + line[1:]
            else:
                commands.append(line)
        return commands

    def spawn(self, *args, program=MER, prompt=PROMPT, size=(24, 100), timeout=DEADLINE_S):
        # Through env, since pexpect splits a program without arguments at its spaces.
        child = pexpect.spawn("/usr/bin/env", [str(program), *args], env=self.env, encoding="utf-8", timeout=timeout,
                              dimensions=size, cwd=str(self.folder), echo=True)
        self.addCleanup(child.close, force=True)
        child.delaybeforesend = 0
        if prompt:
            child.expect_exact(prompt)
        return child

    def say(self, child, line, prompt=PROMPT):
        """Types a line; what is printed until the next prompt, without the line itself, and without that of a run which a
        busy machine shows where another has had its answer."""
        child.sendline(line)
        child.expect_exact(prompt)
        return plain(re.sub(r"\r[^\r\n\033]*\(\d+s\)\033\[K", "", child.before)).partition("\n")[2]

    def leave(self, child, code=0):
        child.sendeof()
        self.end(child, code)

    def end(self, child, code):
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual((child.exitstatus, child.signalstatus), (code, None))

    def log(self):
        done = subprocess.run([MER, "--json", "log"], env=self.env, check=True, timeout=DEADLINE_S,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)

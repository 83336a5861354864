"""What the tests of the prompt share: a folder of its own for each, with a database and a few models."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MER = str(PREFIX / "bin" / "mer")
MIGRATE = str(PREFIX / "bin" / "mer-migrate")
DEADLINE_S = 60
PROMPT = "mer> "
HAS_PROMPT = (PREFIX / "lib" / "mer" / "prompt.so").exists()


def quoted(word):
    return "'" + word.replace("'", "'\\''") + "'"


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

"""A terminal emulator for tests: tmux with a server of its own. What is on its screen is waited for,
never slept for."""
import os
import select
import shutil
import subprocess
import time
import uuid

DEADLINE_S = 30
TMUX = shutil.which("tmux")


class Terminal:
    """One window that runs a program; close() ends both."""

    def __init__(self, argv, env, folder, term="xterm-256color", width=80, height=24):
        self.name = "mer-" + uuid.uuid4().hex
        self.env = {"PATH": os.environ["PATH"], "TMUX_TMPDIR": str(folder), "LC_ALL": "C.UTF-8",
                    "HOME": str(folder), "SHELL": "/bin/sh"}
        config = os.path.join(folder, self.name + ".conf")
        with open(config, "w", encoding="ascii") as f:
            f.write(f'set -g default-terminal "{term}"\nset -g remain-on-exit on\nset -g status off\n'
                    "set -g history-limit 20000\nset -s escape-time 0\n")
        self.tmux("-f", config, "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(folder), "--",
                  "env", "-i", *(f"{name}={value}" for name, value in env.items() if name != "TERM"),
                  f"TERM={term}", *argv)
        self.program = os.pidfd_open(int(self.tmux("list-panes", "-F", "#{pane_pid}")))

    def tmux(self, *words):
        return subprocess.run([TMUX, "-u", "-L", self.name, *words], env=self.env, check=True,
                              timeout=DEADLINE_S, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout.decode()

    def processes(self):
        """All that runs in it, as descriptors that can be read when they end."""
        found, pids = [], [int(self.tmux("list-panes", "-F", "#{pane_pid}"))]
        while pids:
            pid = pids.pop()
            try:
                found.append(os.pidfd_open(pid))
                with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                    pids += map(int, f.read().split())
            except OSError:
                continue
        return found

    def ended(self):
        """Waits until the program has ended. (tmux does not always say so.)"""
        if not select.select([self.program], [], [], DEADLINE_S)[0]:
            raise AssertionError("it has not ended\n" + "\n".join(self.screen()))

    def close(self):
        """Ends it and waits until all in it has ended."""
        if self.program is not None:
            os.close(self.program)
        self.program = None
        try:
            pids = self.processes()
        except (OSError, ValueError, subprocess.CalledProcessError):
            pids = []  # it has ended
        subprocess.run([TMUX, "-L", self.name, "kill-server"], env=self.env, check=False,
                       timeout=DEADLINE_S, stderr=subprocess.DEVNULL)
        for pid in pids:
            select.select([pid], [], [], DEADLINE_S)
            os.close(pid)

    def text(self, text):
        """Types it as it stands."""
        self.tmux("send-keys", "-l", "--", text)

    def keys(self, *keys):
        """Presses keys by their names: Enter, Tab, C-c, Up."""
        self.tmux("send-keys", "--", *keys)

    def line(self, text):
        self.tmux("send-keys", "-l", "--", text, ";", "send-keys", "Enter")

    def paste(self, text):
        """As from a clipboard: bracketed where the program has asked for it."""
        self.tmux("set-buffer", "--", text)
        self.tmux("paste-buffer", "-p", "-r")

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, history=False):
        """The lines that are seen, wrapped ones as one; blank ones at the end are not there."""
        text = self.tmux("capture-pane", "-p", "-J", *(["-S", "-"] if history else []))
        return [line.rstrip() for line in text.rstrip("\n").split("\n")]

    def wait(self, what, history=False):
        """Waits until what(lines) is true, or until the last line that is not blank is it."""
        def is_last(lines):
            shown = [line for line in lines if line]
            return shown and shown[-1] == what

        until = time.monotonic() + DEADLINE_S
        while True:
            lines = self.screen(history)
            if (what if callable(what) else is_last)(lines):
                return lines
            if time.monotonic() > until:
                raise AssertionError(f"not on the screen: {what!r}\n" + "\n".join(lines))
            time.sleep(0.01)

    def has(self, line):
        """Waits for a line."""
        return self.wait(lambda lines: line in lines)

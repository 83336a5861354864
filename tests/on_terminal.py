"""A program on a pseudo terminal of its own, for tests of what it draws there."""
import fcntl
import os
import pty
import struct
import subprocess
import termios


def on_terminal(argv, env, cwd, columns=80, stdout=None, deadline_s=120, stdin=subprocess.DEVNULL):
    """Its exit code and all that came to the terminal, which is stderr and, unless it is given, stdout."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen(argv, env=env, cwd=cwd, stdin=stdin, stdout=stdout or theirs, stderr=theirs,
                                 start_new_session=True,
                                 preexec_fn=lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0))
    finally:
        os.close(theirs)
    text = b""
    try:
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # nobody has it open any more
                break
            if not piece:
                break
            text += piece
        return child.wait(deadline_s), text.decode()
    finally:
        child.kill()
        child.wait()
        os.close(ours)

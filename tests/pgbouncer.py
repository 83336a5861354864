"""A pooler (PgBouncer) before a test's Postgres server, gone with the test."""
import os
import select
import shutil
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import postgres
import processes

PORT = 6432  # of the socket's name
PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


class Pooler:
    """mode: session, transaction or statement, as a pool's mode is called there."""

    def __init__(self, server, mode):
        if PROGRAM is None:
            raise unittest.SkipTest("no pgbouncer is installed (Debian: pgbouncer)")
        self.top = Path(tempfile.mkdtemp(prefix="mer-pool-", dir="/tmp"))
        self.process = None
        try:
            self.start(server, mode)
        except BaseException:
            self.close()
            raise

    def start(self, server, mode):
        (self.top / "users").write_text(f'"{postgres.USER}" ""\n')
        (self.top / "conf").write_text(
            f"[databases]\n* = host={server.top} port={server.port}\n[pgbouncer]\npool_mode = {mode}\n"
            f"listen_addr =\nlisten_port = {PORT}\nunix_socket_dir = {self.top}\nauth_type = trust\n"
            f"auth_file = {self.top}/users\nignore_startup_parameters = options\n")
        user = {}
        if os.geteuid() == 0:  # for which it does not run
            entry = server.top.stat()
            user = {"user": entry.st_uid, "group": entry.st_gid, "extra_groups": []}
            for path in (self.top, *self.top.iterdir()):
                os.chown(path, entry.st_uid, entry.st_gid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.top / "notify"))
            (self.top / "notify").chmod(0o777)
            with open(self.top / "log", "wb") as log:
                self.process = subprocess.Popen(
                    [PROGRAM, self.top / "conf"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                    env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(self.top / "notify")},
                    preexec_fn=processes.die_with_parent, **user)
            gone = os.pidfd_open(self.process.pid)
            try:
                ready, _, _ = select.select([notify, gone], [], [], postgres.START_S)
            finally:
                os.close(gone)
        if ready != [notify]:
            raise RuntimeError("pgbouncer: " + (self.top / "log").read_text(errors="replace"))

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.top, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def url(self, database):
        return f"postgres://{postgres.USER}@/{database}?host={self.top}&port={PORT}"

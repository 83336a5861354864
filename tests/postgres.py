#!/usr/bin/python3
"""A private Postgres server for tests, gone with whoever started it.

    with postgres.Postgres() as pg:
        url = pg.new_database()

or around a program, which finds the URL of an empty database in MER_TEST_POSTGRES:

    postgres.py run [--tcp] [--tls] [--fsync] [--optional] -- PROGRAM ARGS...

Where no server programs are installed, Postgres() skips the test that asks and `run` exits 77 with one
line; with --optional it runs the program without MER_TEST_POSTGRES. MER_TEST_CACHE names a folder in
which a fresh data folder is kept, so that the next server need not make one (0.1 instead of 0.8 s).

A server is a child of its keeper, which is this file again in a session of its own. The keeper holds the
other end of a socket: when that closes, however its user ended, it stops the server, removes its folder
and leaves. The folder is below /tmp, not TMPDIR, since a socket's path is short and another user's
server has to get there: Postgres refuses root.
"""
import os
import pwd
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import processes

START_S, STOP_S = 60, 30
DISK_MIB = 24
SKIP = 77
SUPERUSER, USER, PASSWORD = "postgres", "mer", "mer's secret"
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x10000000, 0x4000, 0x40000, 2


def programs():
    """The folder of the newest server programs, or None. Not the wrappers in /usr/bin, which cost 0.1 s."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


# --- the keeper ---------------------------------------------------------------------------------------


class Keeper:
    """Does what it is told, a word a line: disk, start, stop, kill; answers "ok" or a reason."""

    def __init__(self, top, control):
        self.top = Path(top)
        self.control = control
        self.server = None
        self.user = {}
        if os.geteuid() == 0:
            entry = pwd.getpwuid(self.top.stat().st_uid)
            self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def as_user(self, argv, **options):
        """The server's own user, no settings of ours, and its end is ours: a child dies with the keeper."""
        env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.top)}
        env.update(options.pop("env", {}))
        with open(self.top / "log", "ab") as log:
            return subprocess.Popen(argv, cwd=self.top, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, preexec_fn=lambda: processes.die_with_parent(signal.SIGQUIT),
                                    **self.user, **options)

    def make_disk(self):
        """A small file system of the server's own, for which the keeper leaves ours."""
        entry = self.top.stat()
        if os.geteuid() == 0:
            processes.system("unshare", CLONE_NEWNS)
        else:
            processes.system("unshare", CLONE_NEWNS | CLONE_NEWUSER)
            for name, text in (("setgroups", "deny"), ("uid_map", f"{entry.st_uid} {entry.st_uid} 1"),
                               ("gid_map", f"{entry.st_gid} {entry.st_gid} 1")):
                Path("/proc/self", name).write_text(text, encoding="ascii")
        processes.system("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        disk = self.top / "disk"
        disk.mkdir()
        processes.system("mount", b"tmpfs", bytes(disk), b"tmpfs", 0,
                         f"size={DISK_MIB}m,mode=0700,uid={entry.st_uid},gid={entry.st_gid}".encode())

    def make_data(self):
        data, bin_dir = self.top / "data", programs()
        cache = os.environ.get("MER_TEST_CACHE")
        kept = Path(cache, f"postgres-{bin_dir.parent.name}-{self.top.stat().st_uid}") if cache else None
        if kept and kept.exists():
            subprocess.run(["cp", "-a", kept, data], check=True)
            return
        # English, not C: who forgets to say COLLATE "C" shall notice it here.
        made = self.as_user([bin_dir / "initdb", "-D", data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
                             "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US",
                             "--no-sync", "--wal-segsize=1"]).wait()
        if made != 0:
            raise RuntimeError(f"initdb failed: {made}")
        if kept:
            self.keep(data, kept)

    @staticmethod
    def keep(data, kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        mine = Path(tempfile.mkdtemp(dir=kept.parent, prefix="postgres-new-"))
        try:
            subprocess.run(["cp", "-a", data, mine / "data"], check=True)
            (mine / "data").rename(kept)
        except OSError:
            pass  # another keeper was first
        finally:
            shutil.rmtree(mine, ignore_errors=True)

    def start(self):
        """Waits for the server's own word that it is ready; it speaks as a service of systemd does."""
        if not (self.top / "data").exists():
            self.make_data()
            for name in ("postgresql.conf", "pg_hba.conf"):
                with open(self.top / "data" / name, "a" if name == "postgresql.conf" else "w",
                          encoding="utf-8") as conf:
                    conf.write((self.top / name).read_text())
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        (self.top / "notify").unlink(missing_ok=True)
        notify.bind(str(self.top / "notify"))
        (self.top / "notify").chmod(0o777)
        with notify:
            self.server = self.as_user([programs() / "postgres", "-D", self.top / "data"],
                                       env={"NOTIFY_SOCKET": str(self.top / "notify")})
            gone = os.pidfd_open(self.server.pid)
            try:
                while True:
                    ready, _, _ = select.select([notify, gone], [], [], START_S)
                    if notify in ready and b"READY=1" in notify.recv(4096):
                        return
                    if notify not in ready:
                        raise RuntimeError("the server ended" if ready else "the server does not get ready")
            finally:
                os.close(gone)

    def end(self, number):
        """Signals the server, waits for it and for what it leaves behind; harder when it does not go."""
        if self.server is None:
            return
        for how, seconds in ((number, STOP_S), (signal.SIGQUIT, STOP_S), (signal.SIGKILL, None)):
            self.server.send_signal(how)
            try:
                self.server.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                pass
        self.server = None
        self.end_orphans()

    @staticmethod
    def end_orphans():
        """The processes of a server that was killed are the keeper's, which is their subreaper."""
        while True:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            if not children:
                return
            for child in children:
                os.kill(int(child), signal.SIGKILL)
            os.waitpid(int(children[0]), 0)

    def kill(self):
        self.end(signal.SIGKILL)

    def stop(self):
        self.end(signal.SIGINT)

    def leave(self):
        """A server that was killed left its System V segment; the number is in its pid file."""
        self.end(signal.SIGQUIT)
        try:
            segment = (self.top / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], stderr=subprocess.DEVNULL, check=False)
        except (OSError, IndexError):
            pass
        if (self.top / "disk").exists():
            processes.system("umount2", bytes(self.top / "disk"), MNT_DETACH)
        shutil.rmtree(self.top, ignore_errors=True)

    def work(self):
        try:
            with self.control.makefile("rw", encoding="utf-8") as control:
                for line in control:
                    try:
                        {"disk": self.make_disk, "start": self.start, "stop": self.stop, "kill": self.kill}[line.strip()]()
                        answer = "ok"
                    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                        answer = " ".join(str(error).split())
                    control.write(answer + "\n")
                    control.flush()
        except OSError:
            pass  # nobody is there to hear it
        finally:
            self.leave()


def keep(top, fd):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    Keeper(top, socket.socket(fileno=int(fd))).work()


# --- its user -----------------------------------------------------------------------------------------


class Postgres:
    """A server of its own. tcp: on 127.0.0.1 too, with passwords; tls: there with a certificate of
    pg.ca_file; fsync: what is committed survives not only kill9(), but the machine; disk: with a tablespace
    `small` on a file system of DISK_MIB; conf: further settings."""

    def __init__(self, tcp=False, tls=False, fsync=False, disk=False, conf=None):
        if programs() is None:
            import unittest  # pylint: disable=import-outside-toplevel # the keeper needs none of it

            raise unittest.SkipTest(LACKING)
        self.tcp = tcp or tls
        self.fsync = fsync
        self.top = Path(tempfile.mkdtemp(prefix="mer-pg-", dir="/tmp"))
        self.databases = 0
        self.port = 5432  # of the socket's name too; with TCP a free one
        self.ca_file = None
        try:
            settings = {**(self.make_certificate() if tls else {}), **(conf or {})}
            (self.top / "pg_hba.conf").write_text("local all all trust\n"
                                                  "host all all 127.0.0.1/32 scram-sha-256\n")
            if os.geteuid() == 0:
                self.give_away()
            self.control, theirs = socket.socketpair()
            with theirs, open(self.top / "keeper", "wb") as said:
                self.keeper = subprocess.Popen(
                    ["/usr/bin/python3", "-E", "-s", "-S", __file__, "keep", self.top, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()], start_new_session=True, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=said, cwd="/")
        except BaseException:
            shutil.rmtree(self.top, ignore_errors=True)
            raise
        try:
            if disk:
                self.make_disk()
            self.first_start(settings)
            if disk:
                self.psql(f"CREATE TABLESPACE small LOCATION '{self.top}/disk'")
            self.psql(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
        except BaseException:
            self.close()
            raise

    def make_disk(self):
        try:
            self.tell("disk")
        except RuntimeError as error:
            import unittest  # pylint: disable=import-outside-toplevel

            raise unittest.SkipTest(f"no file system of its own: {str(error).splitlines()[0]}") from error

    def give_away(self):
        """To a user that Postgres agrees to run as."""
        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            entry = pwd.getpwnam("nobody")
        for path in (*self.top.iterdir(), self.top):
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def make_certificate(self):
        key, self.ca_file = self.top / "server.key", self.top / "server.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", self.ca_file],
                       check=True, capture_output=True)
        key.chmod(0o600)
        return {"ssl": "on", "ssl_key_file": key, "ssl_cert_file": self.ca_file}

    def write_conf(self, settings):
        """With the habits of a server far away: who relies on the time zone or the style of dates shall
        notice it here. Its shared memory is files, which go with the folder."""
        fast = {} if self.fsync else {"fsync": "off", "full_page_writes": "off"}
        lines = {"listen_addresses": "127.0.0.1" if self.tcp else "", "port": self.port,
                 "unix_socket_directories": self.top, "shared_buffers": "16MB",
                 "dynamic_shared_memory_type": "mmap", "timezone": "Asia/Kathmandu",
                 "datestyle": "SQL, DMY", **fast, **settings}
        (self.top / "postgresql.conf").write_text("".join(f"{key} = '{value}'\n"
                                                          for key, value in lines.items()))

    def first_start(self, settings):
        for attempt in range(20):
            if self.tcp:
                self.port = free_port()
            self.write_conf(settings)
            try:
                return self.start()
            except RuntimeError as error:
                taken = self.tcp and attempt < 19 and "Address already in use" in str(error)
                if not taken:
                    raise
                # Only the port was wrong; the keeper makes the data folder anew.
                shutil.rmtree(self.top / "data")

    def tell(self, word):
        try:
            self.control.sendall(word.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = self.control.recv(4096)
                if not piece:
                    raise ConnectionResetError
                answer += piece
        except OSError:
            answer = b"the keeper is gone\n"
        if answer != b"ok\n":
            said = "".join((self.top / name).read_text(errors="replace")
                           for name in ("keeper", "log") if (self.top / name).exists())
            raise RuntimeError(f"cannot {word} Postgres: {answer.decode().strip()}\n{said[-4000:]}")

    def start(self):
        self.tell("start")

    def stop(self):
        """As an administrator stops it: who is connected is thrown out."""
        self.tell("stop")

    def restart(self):
        self.stop()
        self.start()

    def kill9(self):
        """All of its processes, at once."""
        self.tell("kill")

    def close(self):
        self.control.close()
        self.keeper.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def url(self, database="postgres", user=USER, password=None, tcp=False, **parameters):
        """password: True is the right one; on the socket nobody asks."""
        secret = {None: "", True: f":{quoted(PASSWORD)}"}.get(password, f":{quoted(str(password))}")
        if tcp:
            place = f"127.0.0.1:{self.port}"
        else:
            place, parameters = "", {"host": self.top, "port": self.port, **parameters}
        words = "&".join(f"{key}={value}" for key, value in parameters.items())
        return f"postgres://{user}{secret}@{place}/{database}{'?' if words else ''}{words}"

    def psql(self, sql, url=None):
        """What the statements print, unaligned; by the superuser unless a URL says otherwise."""
        argv = [programs() / "psql", "-X", "-w", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-",
                url or self.url(user=SUPERUSER)]
        env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        done = subprocess.run(argv, input=sql, text=True, capture_output=True, env=env, cwd="/",
                              check=False, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout

    def new_database(self, template="template1", tablespace="pg_default", **options):
        """The URL of a database that no other test has, owned by USER; options: those of url()."""
        self.databases += 1
        name = f"t{os.getpid()}_{self.databases}"
        self.psql(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE {template} TABLESPACE {tablespace}")
        return self.url(name, **options)


LACKING = "no Postgres server programs in /usr/lib/postgresql/*/bin (Debian: postgresql)"


def quoted(text):
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}"
                   for byte in text.encode())


def free_port():
    """Below the ports that the kernel hands out, so that it stays free while its server is down."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# --- the command --------------------------------------------------------------------------------------


def run_program(argv, env):
    """Its exit code; it dies with us, and hears of what we are told."""
    program = subprocess.Popen(argv, env=env, preexec_fn=processes.die_with_parent)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: program.send_signal(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the program as well
    code = program.wait()
    return code if code >= 0 else 128 - code


def stop_at_once(number, _):
    raise SystemExit(128 + number)


def run(words):
    split = words.index("--") if "--" in words else len(words)
    options, argv = words[:split], words[split + 1:]
    if not argv or not set(options) <= {"--tcp", "--tls", "--fsync", "--optional"}:
        print(__doc__, file=sys.stderr)
        return 2
    env = {key: value for key, value in os.environ.items() if key != "MER_TEST_POSTGRES"}
    if programs() is None:
        if "--optional" in options:
            os.execvpe(argv[0], argv, env)
        print(LACKING)
        return SKIP
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop_at_once)
    tcp = bool({"--tcp", "--tls"} & set(options))
    with Postgres(tcp=tcp, tls="--tls" in options, fsync="--fsync" in options) as pg:
        more = {"sslmode": "verify-full", "sslrootcert": pg.ca_file} if pg.ca_file else {}
        env["MER_TEST_POSTGRES"] = pg.new_database(tcp=tcp, password=True if tcp else None, **more)
        return run_program(argv, env)


def main(argv):
    if argv[:1] == ["keep"]:
        return keep(*argv[1:])
    if argv[:1] == ["run"]:
        return run(argv[1:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

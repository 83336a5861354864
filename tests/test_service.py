#!/usr/bin/python3
"""The units of systemd, without a systemd: what it says of them, and their commands run as it would run
them, by their user, with a clean environment, on a file system that is read-only but for what they name.
That, and /etc and /var of its own, takes namespaces and root.

What is not held to here, since it takes systemd: filters of system calls, address families, namespaces."""
import configparser
import contextlib
import ctypes
import os
import pwd
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
SOURCE = Path(os.environ["MER_SOURCE"]).resolve()
UNITS = PREFIX / "lib/systemd/system"
SERVICES = ("mer-migrate.service", "mer-doctor.service", "mer@.service")
DEADLINE_S = 120
EXPOSURE_MAX = {"mer-migrate.service": 15, "mer-doctor.service": 25, "mer@.service": 30}  # tenths
TOOLS = ("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles", "unshare", "mount")
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAP = 38, 24, 40


def must(*argv, **options):
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode}\n{done.stdout}")
    return done.stdout


# --- as systemd does ----------------------------------------------------------------------------------------


class Settings(configparser.RawConfigParser):
    """One section of a unit; what stands there several times is not asked for here."""
    optionxform = staticmethod(str)


class Unit:
    """A service, its instance's name filled in."""

    def __init__(self, name):
        template, at, instance = name.removesuffix(".service").partition("@")
        parser = Settings(strict=False, interpolation=None)
        parser.read(UNITS / f"{template}{at}.service")
        self.service = {key: value.replace("%i", instance) for key, value in parser["Service"].items()}
        self.user = pwd.getpwnam(self.service["User"])

    def environment(self):
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8",
               "USER": self.user.pw_name, "LOGNAME": self.user.pw_name, "HOME": self.user.pw_dir,
               "SHELL": self.user.pw_shell, "INVOCATION_ID": "0" * 32}
        env.update({name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")})
        path = Path(self.service["EnvironmentFile"].removeprefix("-"))
        if path.exists():
            env.update(line.split("=", 1) for line in path.read_text().splitlines() if line[:1] not in ("", "#"))
        return env

    def folders(self):
        for kind, top in (("State", "/var/lib"), ("Logs", "/var/log")):
            if kind + "Directory" in self.service:
                yield Path(top, self.service[kind + "Directory"]), int(self.service[kind + "DirectoryMode"], 8)

    def popen(self, argv=None, **options):
        """Runs ExecStart, or another command in its place."""
        for path, mode in self.folders():
            path.mkdir(exist_ok=True)
            path.chmod(mode)
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        out = subprocess.PIPE
        kind, colon, path = self.service.get("StandardOutput", "").partition(":")
        if colon and argv is None:
            if kind != "append":
                raise RuntimeError(f"StandardOutput={kind}")
            out = open(path, "ab")  # pylint: disable=consider-using-with # Popen's
        with contextlib.ExitStack() as after:
            if out is not subprocess.PIPE:
                after.enter_context(out)
            return subprocess.Popen(argv or shlex.split(self.service["ExecStart"]), env=self.environment(),
                                    stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True,
                                    preexec_fn=self.confine, **options)

    def run(self, argv=None):
        """(exit code, stdout, stderr)"""
        with self.popen(argv) as process:
            out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out or "", err

    def confine(self):
        """Of the child, before it becomes the program."""
        os.setsid()
        if LIBC.unshare(0x20000) != 0:  # CLONE_NEWNS
            raise OSError(ctypes.get_errno(), "unshare")
        if self.service.get("PrivateTmp") == "yes":
            for path in (b"/tmp", b"/var/tmp"):
                mount(b"tmpfs", path, b"tmpfs", 0, b"mode=1777")
        if self.service.get("ProtectHome") == "yes":
            for path in (b"/home", b"/root"):
                mount(b"tmpfs", path, b"tmpfs", 0, b"mode=0755")
        if self.service.get("ProtectSystem") == "strict":
            mine = [str(path) for path, _ in self.folders()]
            for path in mine:
                mount(path.encode(), path.encode(), None, 0x1000, None)  # MS_BIND
            set_read_only("/", True)
            for path in (*mine, "/dev", "/proc", "/sys", "/tmp", "/var/tmp"):
                set_read_only(path, False)
        for capability in range(LAST_CAP + 1):
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.initgroups(self.user.pw_name, self.user.pw_gid)
        os.setgid(self.user.pw_gid)
        os.setuid(self.user.pw_uid)
        os.umask(int(self.service["UMask"], 8))
        os.chdir(self.service["WorkingDirectory"])


def mount(source, target, kind, flags, data):
    if LIBC.mount(source, target, kind, flags, data) != 0:
        raise OSError(ctypes.get_errno(), "mount", target.decode())


def set_read_only(path, on):
    bits = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY if on else 0, 0 if on else MOUNT_ATTR_RDONLY, 0, 0)
    if LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, bits, ctypes.sizeof(bits)) != 0:
        raise OSError(ctypes.get_errno(), "mount_setattr", path)


# --- a machine of its own -----------------------------------------------------------------------------------


def cover(folder, top):
    """What is written there goes with this test."""
    name = folder.strip("/").replace("/", "-")
    for part in ("upper", "work"):
        (top / name / part).mkdir(parents=True)
    must("mount", "-t", "overlay", "-o",
         f"lowerdir={folder},upperdir={top / name / 'upper'},workdir={top / name / 'work'}", "none", folder)


def make_machine(top):
    """Of this one, where /etc and /var are for us, and the installation is where it was meant to be."""
    must("mount", "-t", "tmpfs", "-o", "mode=0755", "none", top)
    must("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/run")
    for folder in ("/etc", "/var"):
        cover(folder, top)
    program = re.search(r'^ExecStart="(.+?)"', (UNITS / "mer-migrate.service").read_text(), re.M).group(1)
    target = Path(program).parent.parent
    if not target.exists():
        cover(str(next(path for path in target.parents if path.exists())), top)
        target.mkdir(parents=True)
    must("mount", "--bind", PREFIX, target)
    must("systemd-sysusers", PREFIX / "lib/sysusers.d/mer.conf")
    must("systemd-tmpfiles", "--create", PREFIX / "lib/tmpfiles.d/mer.conf")
    return target


class Verified(unittest.TestCase):
    def test_verify(self):
        for path in sorted(UNITS.iterdir()):
            with self.subTest(unit=path.name):
                done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True,
                                      text=True, timeout=DEADLINE_S, check=False,
                                      env={**os.environ, "SYSTEMD_UNIT_PATH": f"{UNITS}:"})
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_exposure(self):
        """From 0, where nothing can be reached, to 10. A model has to reach what models need."""
        for name in SERVICES:
            with self.subTest(unit=name):
                said = must("systemd-analyze", "security", "--offline=yes", "--no-pager",
                            f"--threshold={EXPOSURE_MAX[name]}", UNITS / name)
                print("#", said.strip().splitlines()[-1].lstrip("→ "), flush=True)

    def test_when(self):
        for name in ("mer@.timer", "mer-doctor.timer"):
            when = re.search(r"^OnCalendar=(.+)", (UNITS / name).read_text(), re.M).group(1)
            self.assertIn("Next elapse:", must("systemd-analyze", "calendar", when))

    def test_user_and_folders(self):
        user = pwd.getpwnam("mer")
        self.assertEqual((user.pw_dir, user.pw_shell), ("/var/lib/mer", "/usr/sbin/nologin"))
        for path, mode in (("/var/lib/mer", 0o700), ("/var/log/mer", 0o750)):
            found = os.stat(path)
            self.assertEqual((found.st_mode & 0o7777, found.st_uid), (mode, user.pw_uid))

    def test_logrotate(self):
        if shutil.which("logrotate") is None:
            self.skipTest("logrotate: not installed; test_package has it")
        must("logrotate", "--debug", PREFIX / "share/doc/mer/examples/logrotate.conf")


class Services(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.migrate = Unit("mer-migrate.service")
        code, out, err = cls.migrate.run()
        if (code, out, err) != (0, "", ""):
            raise RuntimeError(f"mer-migrate.service: {code}\n{out}{err}")

    def setUp(self):
        for path in (Path("/etc/mer/mer.env"), *Path("/etc/mer/jobs").iterdir(), *Path("/var/log/mer").iterdir()):
            path.unlink(missing_ok=True)

    def job(self, name, text):
        Path("/etc/mer/jobs", name + ".mer").write_text(text)
        return Unit(f"mer@{name}.service")

    def answers(self, name):
        return Path("/var/log/mer", name + ".out").read_text()

    def add(self, name, *argv):
        """A model, by a job that may change what there is."""
        unit = self.job("add", f"model add {name} -- {' '.join(argv)}\n")
        unit.service["ExecStart"] += " --allow-changes"
        self.assertEqual(unit.run(), (0, "", ""))

    def test_database(self):
        """The one that `sudo -H -u mer mer` has too, and nobody else's."""
        found = os.stat("/var/lib/mer/.local/state/mer/mer.db")
        self.assertEqual((found.st_uid, found.st_mode & 0o777), (self.migrate.user.pw_uid, 0o600))

    def test_migrated_again(self):
        self.assertEqual(self.migrate.run(), (0, "", ""))

    def test_doctor(self):
        code, out, err = Unit("mer-doctor.service").run()
        self.assertEqual((code, err), (0, ""), out)

    def test_job(self):
        unit = self.job("flowers", "run iris 5.1,3.5,1.4,0.2\nrun language 'Der Hund ist nicht in der Küche'\n")
        for times in (1, 2):
            self.assertEqual(unit.run(), (0, "", ""))
            self.assertEqual(self.answers("flowers"), "setosa\nGerman\n" * times)

    def test_example(self):
        Path("/var/lib/mer/numbers.txt").write_text("1 2 3\n4\n")
        unit = self.job("nightly", (PREFIX / "share/doc/mer/examples/nightly.mer").read_text())
        self.assertEqual(unit.run(), (0, "", ""))
        self.assertEqual(len(self.answers("nightly").splitlines()), 2)

    def test_job_that_fails(self):
        code, _, err = self.job("bad", "# a comment\nrun iris 5.1\n").run()
        self.assertEqual(code, 1)
        self.assertRegex(err, r"\Amer: /etc/mer/jobs/bad\.mer:2: .*want 4 numbers")

    def test_job_that_is_not_there(self):
        code, _, err = Unit("mer@nothing.service").run()
        self.assertEqual(code, 2, err)
        self.assertIn("/etc/mer/jobs/nothing.mer", err)

    def test_what_a_model_may_write(self):
        unit = self.job("any", "")
        script = ("for place in /etc /usr /opt /home /root; do touch $place/mer-test 2>/dev/null && echo $place; done; "
                  "touch /tmp/mer-test /var/lib/mer/mine && ls -A /tmp; id -u; grep NoNewPrivs /proc/self/status")
        self.assertEqual(unit.run(["/bin/sh", "-c", script])[:2],
                         (0, f"mer-test\n{unit.user.pw_uid}\nNoNewPrivs:\t1\n"))
        self.assertFalse(Path("/tmp/mer-test").exists())

    def test_settings(self):
        """Are the service's, and no model's."""
        self.add("settings", "sh", "-c", "'env | grep -c ^MER_ || :'")
        Path("/etc/mer/mer.env").write_text("# settings\nMER_FORMAT=csv\nMER_TIMEOUT=50s\n")
        self.assertEqual(self.job("with", "run settings x\nlog --limit 1\n").run(), (0, "", ""))
        self.assertRegex(self.answers("with"), r"\A0\nrequest_uid,")

    def begin(self, name):
        """A job whose model is at work: it has said so."""
        os.mkfifo("/var/lib/mer/" + name)
        os.chown("/var/lib/mer/" + name, self.migrate.user.pw_uid, -1)
        self.addCleanup(os.unlink, "/var/lib/mer/" + name)
        self.add(name, "sh", "-c", f"'echo x >/var/lib/mer/{name}; sleep 600'")
        process = self.job(name, f"run {name} x\n").popen()
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        fd = os.open("/var/lib/mer/" + name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self.assertEqual(select.select([fd], [], [], DEADLINE_S)[0], [fd])
        finally:
            os.close(fd)
        return process

    def test_stop(self):
        process = self.begin("long")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 143)
        self.assertEqual(self.job("log", "log --model long --plain --limit 1\n").run(), (0, "", ""))
        self.assertIn("\tcancelled\t", self.answers("log"))

    def test_one_at_a_time(self):
        self.begin("alone")
        unit = Unit("mer@alone.service")
        code, _, err = unit.run()
        self.assertEqual((str(code), err), (unit.service["SuccessExitStatus"], ""))


class Scripts(unittest.TestCase):
    """startMER.sh --service and stopMER.sh. With systemd: a systemctl that writes down what it is told."""

    def setUp(self):
        top = Path(tempfile.mkdtemp(prefix="mer-service-", dir="/opt"))
        self.addCleanup(shutil.rmtree, top)
        top.chmod(0o755)
        self.root = top / "my project"
        shutil.copytree(SOURCE / "scripts", self.root / "scripts")
        (self.root / "build").mkdir()
        (self.root / "build/mer").symlink_to(PREFIX)
        (self.root / "build/release.stamp").write_text(f"{self.root}\n")
        (self.root / "build/packages.stamp").touch()
        self.calls = top / "calls"
        self.calls.touch()
        (top / "bin").mkdir()
        self.write(top / "bin/systemctl", f'printf "%s\\n" "$*" >>"{self.calls}"; ! grep -qxF -- "$*" "{top}/fail"')
        self.write(top / "bin/runuser", "exit 0")  # who builds here need not be read by others
        self.fail_at = top / "fail"
        self.fail_at.touch()
        self.env = {"PATH": f"{top}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(top), "LANG": "C.UTF-8",
                    **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}}

    @staticmethod
    def write(path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def call(self, script, *words):
        done = subprocess.run([self.root / "scripts" / script, *words], env=self.env, cwd="/", text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)
        return done.returncode, done.stdout, done.stderr

    def with_systemd(self):
        Path("/run/systemd/system").mkdir(parents=True)
        self.addCleanup(shutil.rmtree, "/run/systemd/system")

    def link(self):
        """As 'systemctl link' does."""
        place = Path("/etc/systemd/system/mer-migrate.service")
        place.symlink_to(self.root / "build/mer/lib/systemd/system/mer-migrate.service")
        self.addCleanup(place.unlink)

    def test_without_systemd(self):
        code, out, err = self.call("startMER.sh", "--service")
        self.assertEqual(code, 0, err)
        self.assertRegex(err, r"\AstartMER: systemd does not run here, .*docs/cron\.md.*\n\Z")
        self.assertNotIn("fault", out)
        self.assertEqual(self.calls.read_text(), "")
        self.assertTrue(Path(self.env["HOME"], ".local/state/mer/mer.db").exists())
        self.assertEqual(self.call("stopMER.sh", "--service"), (0, "", ""))

    def test_start(self):
        self.with_systemd()
        code, out, err = self.call("startMER.sh", "--service")
        self.assertEqual((code, out), (0, ""), err)
        self.assertIn("the service is ready", err)
        units = self.root / "build/mer/lib/systemd/system"
        called = self.calls.read_text().splitlines()
        self.assertEqual(called[0], f"--quiet link {units}/mer-doctor.service {units}/mer-doctor.timer "
                         f"{units}/mer-migrate.service {units}/mer@.service {units}/mer@.timer")
        self.assertEqual(called[1:], ["--quiet enable mer-migrate.service mer-doctor.timer",
                                      "restart mer-migrate.service", "start mer-doctor.timer",
                                      "start mer-doctor.service"])

    def test_what_fails(self):
        self.with_systemd()
        for command, want, said in (("restart mer-migrate.service", 5, "cannot migrate"),
                                    ("start mer-doctor.service", 9, "something is wrong")):
            with self.subTest(command=command):
                self.fail_at.write_text(command + "\n")
                code, out, err = self.call("startMER.sh", "--service")
                self.assertEqual((code, out), (want, ""), err)
                self.assertIn(said, err)

    def test_user_that_may_not_read(self):
        self.with_systemd()
        self.write(Path(self.env["HOME"], "bin/runuser"), "exit 1")
        code, _, err = self.call("startMER.sh", "--service")
        self.assertEqual(code, 69)
        self.assertIn("the user 'mer' cannot run", err)
        self.assertEqual(self.calls.read_text(), "")

    def test_stop(self):
        self.with_systemd()
        self.assertEqual(self.call("stopMER.sh"), (0, "", ""))
        self.assertEqual(self.calls.read_text(), "")
        self.link()
        for words in ((), ("--service",)):
            self.calls.write_text("")
            self.assertEqual(self.call("stopMER.sh", *words),
                             (0, "", "stopMER: stopping the service; the data stays\n"))
            self.assertEqual([line.split()[0] for line in self.calls.read_text().splitlines()], ["stop", "--quiet"])

    def test_stands_alone(self):
        code, out, err = self.call("startMER.sh", "--service", "run")
        self.assertEqual((code, out), (2, ""), err)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--inside"]:
        lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
        why_not = "a machine of its own takes root" if os.geteuid() != 0 else ", ".join(
            lacking) + ": not installed" if lacking else None
        if why_not is not None:
            print(f"1..0 # SKIP {why_not}")
            sys.exit(0)
        with tempfile.TemporaryDirectory(prefix="mer-service-", dir="/tmp") as place:
            sys.exit(subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL",
                                     "--propagation", "private", "/usr/bin/python3", sys.argv[0], "--inside", place,
                                     *sys.argv[1:]], check=False).returncode)
    make_machine(Path(sys.argv[2]))
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromNames(sys.argv[3:] or ["__main__"]))
    sys.exit(not result.wasSuccessful())

#!/usr/bin/python3
"""MER by Compose, from a clean copy of the sources to its stop, on a Docker engine of its own. No
image is pulled: debian:bookworm-slim is made by debootstrap, and Debian's Postgres stands in for the
official image. MER_SOURCE names the sources, MER_TEST_CACHE a folder for what is fetched once.

Each Compose that is installed is tested: the plugin of docker, and the program docker-compose.
"""
import functools
import hashlib
import http.server
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import debian
import engine

SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve()
CACHE = os.environ.get("MER_TEST_CACHE", str(SOURCE / "build" / "test-cache"))
DEADLINE_S = 900  # of one command; an image is built in some
FLOWER = ("run", "iris", "5.1,3.5,1.4,0.2")
TOP = None  # the folder of this run
ENGINE = None
# Ends only after a second, when it is told to.
SLOW = 'trap "echo told >&2; sleep 1; exit 0" TERM; echo begin; sleep 600 & wait'


def package_list(*names):
    words = subprocess.run(["sh", "-euc", 'root=$1 me=test; . "$1/scripts/lib.sh"; shift; for list; do '
                            'eval "echo \\$$list"; done', "sh", SOURCE, *names],
                           stdout=subprocess.PIPE, text=True, check=True).stdout
    return words.split()


def copy_sources(to):
    """What a clone of the tree as it is now would hold."""
    files = subprocess.run(["git", "-c", "safe.directory=*", "-C", SOURCE, "ls-files", "-z", "--cached",
                            "--others", "--exclude-standard"], stdout=subprocess.PIPE, check=True).stdout
    for name in files.decode().split("\0"):
        if name and (SOURCE / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, to / name)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def setUpModule():
    """The engine with its two base images, and the repository that builds take packages from."""
    global ENGINE
    made = Path(os.environ["MER_TEST_DEBIAN"])
    try:
        ENGINE = engine.Engine(TOP).__enter__()
    except engine.Unavailable as error:
        raise unittest.SkipTest(str(error)) from None
    unittest.addModuleCleanup(ENGINE.__exit__)
    server = http.server.ThreadingHTTPServer((engine.ADDRESS, 0),
                                             functools.partial(Quiet, directory=made / "pool"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ENGINE.env["APT_SOURCES"] = f"deb [trusted=yes] http://{engine.ADDRESS}:{server.server_port} ./"
    for name in [name for name in ENGINE.env if name.startswith(("MER_", "PG", "COMPOSE_"))]:
        del ENGINE.env[name]
    docker("import", made / "base.tar", "debian:bookworm-slim")
    docker("build", "--build-arg", "APT_SOURCES", "-t", "postgres:15-bookworm", "-f",
           SOURCE / "tests/compose/postgres.Dockerfile", SOURCE / "tests/compose")


def call(*argv, env=None, **options):
    """(exit code, stdout, stderr)"""
    options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
    if "input" in options:
        del options["stdin"]
    done = subprocess.run([str(word) for word in argv], env=env or ENGINE.env, capture_output=True,
                          timeout=DEADLINE_S, check=False, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def docker(*words, **options):
    code, out, err = call("docker", *words, **options)
    if code != 0:
        raise RuntimeError(f"docker {words}: {code}\n{out[-4000:]}\n{err[-4000:]}")
    return out


class ByCompose:
    """The tests; one class below for each Compose. A test starts from whatever state there is."""

    @classmethod
    def setUpClass(cls):
        cls.root = TOP / cls.folder
        copy_sources(cls.root)
        cls.env = dict(ENGINE.env)
        cls.choose()
        cls.first = cls.start(*FLOWER)

    @classmethod
    def tearDownClass(cls):
        cls.stop()

    @classmethod
    def start(cls, *words, **options):
        return call(cls.root / "scripts/startMER.sh", "--compose", *words, env=cls.env, cwd="/", **options)

    @classmethod
    def stop(cls, *words):
        return call(cls.root / "scripts/stopMER.sh", *words, env=cls.env, cwd="/")

    @classmethod
    def compose(cls, *words, **options):
        return call(*cls.command, *words, env=cls.env, cwd=cls.root, **options)

    @classmethod
    def containers(cls, *filters):
        """Inspected, of this project."""
        filters = (f"label=com.docker.compose.project.working_dir={cls.root}", *filters)
        ids = docker("ps", "--all", "--quiet", *(f"--filter={one}" for one in filters)).split()
        return json.loads(docker("inspect", *ids)) if ids else []

    @classmethod
    def container(cls, service):
        found = cls.containers(f"label=com.docker.compose.service={service}")
        return found[0] if len(found) == 1 else None

    @classmethod
    def database(cls):
        return cls.container("db")["Id"]

    @classmethod
    def sql(cls, query, database="mer"):
        return docker("exec", cls.database(), "psql", "--no-psqlrc", "-At", "-U", "mer", "-d", database, "-c",
                      query).strip()

    def answers(self, *words):
        code, out, err = self.start(*(words or FLOWER))
        self.assertEqual((code, out), (0, "setosa\n"), err)
        return err

    def begin(self, *words):
        """A run that is under way: its model has said so."""
        process = subprocess.Popen([self.root / "scripts/startMER.sh", "--compose", *words], env=self.env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   start_new_session=True)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), b"begin\n")
        return process

    def end(self, process):
        """With its container, which holds the pipes."""
        runs = [one["Id"] for one in self.containers("label=com.docker.compose.service=mer")]
        if runs:
            docker("rm", "--force", *runs)
        process.kill()
        process.communicate()

    def add_slow(self):
        self.answers()
        code, out, err = self.start("--allow-changes", "model", "add", "slow", "--", "sh", "-c", SLOW)
        self.assertIn(code, (0, 4), err)  # 4: it is there already
        return self.begin("run", "slow", "x")

    def password(self):
        return (self.root / "secrets/database_password").read_text()

    # --- start and stop ---

    def test_first_start(self):
        code, out, err = self.first
        self.assertEqual((code, out), (0, "setosa\n"), err)
        self.assertEqual([line for line in err.splitlines() if line.startswith("startMER: ")],
                         ["startMER: building the image", "startMER: starting the database"])

    def test_nothing_to_do(self):
        self.answers()
        before = self.container("db")
        err = self.answers()
        self.assertEqual([line for line in err.splitlines() if line.startswith("startMER:")], [])
        self.assertEqual(self.container("db")["State"]["StartedAt"], before["State"]["StartedAt"])

    def test_run_is_recorded(self):
        self.answers()
        before = int(self.sql("SELECT count(*) FROM model_access WHERE model = 'iris' AND status = 'ok'"))
        self.answers()
        after = int(self.sql("SELECT count(*) FROM model_access WHERE model = 'iris' AND status = 'ok'"))
        self.assertEqual(after, before + 1)

    def test_exit_code_passes(self):
        code, out, err = self.start("run", "no-such-model", "x")
        self.assertEqual((code, out), (3, ""), err)
        code, out, err = self.start("run", "iris", "5.1")
        self.assertEqual((code, out), (1, ""), err)
        self.assertIn("want 4 numbers", err)

    def test_stdin_and_stdout_are_bytes(self):
        data = bytes(range(256)) * 1000
        code, out, err = self.start("run", "digest", input=data)
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["sha256"], hashlib.sha256(data).hexdigest())
        code, out, err = self.start(input=b"run iris 5.1,3.5,1.4,0.2\nrun iris 6.7,3.0,5.2,2.3\n")
        self.assertEqual((code, out), (0, "setosa\nvirginica\n"), err)

    def test_prompt(self):
        self.answers()
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir("/")
            script = str(self.root / "scripts/startMER.sh")
            os.execve(script, [script, "--compose"], {**self.env, "TERM": "xterm"})
        os.write(fd, b"run iris 5.1,3.5,1.4,0.2\nexit\n")
        said = b""
        while True:
            try:
                piece = os.read(fd, 4096)
            except OSError:
                piece = b""
            if not piece:
                break
            said += piece
        os.close(fd)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, said)
        self.assertIn(b"setosa", said)

    def test_stop_keeps_the_data(self):
        self.answers()
        runs = self.sql("SELECT count(*), min(request_uid) FROM model_access")
        code, out, err = self.stop()
        self.assertEqual((code, out), (0, ""), err)
        self.assertIn("stopMER: stopping the database; the data stays", err)
        self.assertEqual(self.containers(), [])
        self.assertEqual(self.stop(), (0, "", ""))
        self.assertEqual(self.stop("--compose"), (0, "", ""))
        code, out, err = self.start("log", "show", runs.split("|")[1])
        self.assertEqual(code, 0, err)
        self.assertEqual(self.sql("SELECT count(*), min(request_uid) FROM model_access"), runs)

    def test_stop_ends_what_was_started_by_hand(self):
        self.stop("--compose")
        code, _, err = self.compose("up", "-d")
        self.assertEqual(code, 0, err)
        self.assertEqual(self.stop(), (0, "", ""))
        self.assertNotEqual(self.containers(), [])
        code, _, err = self.stop("--compose")
        self.assertEqual((code, self.containers()), (0, []), err)

    def test_stop_with_a_run_under_way(self):
        process = self.add_slow()
        self.assertEqual(self.sql("SELECT status FROM model_access WHERE model = 'slow' "
                                  "ORDER BY request_uid DESC LIMIT 1"), "running")
        began = docker("info", "--format", "{{.SystemTime}}").strip()
        code, _, err = self.stop()
        self.assertEqual(code, 0, err)
        process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 143)
        now = docker("info", "--format", "{{.SystemTime}}").strip()
        ends = docker("events", "--since", began, "--until", now, "--filter", "event=die", "--format",
                      '{{index .Actor.Attributes "com.docker.compose.service"}} {{.Actor.Attributes.exitCode}}')
        self.assertEqual(sorted(ends.split("\n")[:-1]), ["db 0", "mer 143"])
        self.answers()
        self.assertEqual(self.sql("SELECT status FROM model_access WHERE model = 'slow' "
                                  "ORDER BY request_uid DESC LIMIT 1"), "cancelled")

    def test_signals(self):
        for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
            for send in (os.kill, os.killpg):
                with self.subTest(number=number, send=send.__name__):
                    process = self.add_slow()
                    send(process.pid, number)
                    self.assertEqual(process.communicate(timeout=DEADLINE_S)[0], b"")
                    self.assertEqual(process.returncode, code)
                    self.assertEqual(self.sql("SELECT status FROM model_access WHERE model = 'slow' "
                                              "ORDER BY request_uid DESC LIMIT 1"), "cancelled")
                    self.assertEqual(self.containers("label=com.docker.compose.service=mer"), [])

    def test_two_at_once(self):
        self.stop("--compose")
        both = [subprocess.Popen([self.root / "scripts/startMER.sh", "--compose", *FLOWER], env=self.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for _ in range(2)]
        said = [process.communicate(timeout=DEADLINE_S) for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], said)
        self.assertEqual([out for out, _ in said], [b"setosa\n"] * 2)
        self.assertEqual(sum(err.count(b"starting the database") for _, err in said), 1)

    # --- Compose alone ---

    def test_up_brings_what_stays(self):
        self.stop("--compose")
        code, _, err = self.compose("up", "-d")
        self.assertEqual(code, 0, err)
        migrate = self.container("migrate")["Id"]
        self.assertEqual(docker("wait", migrate).strip(), "0", docker("logs", migrate))
        self.assertEqual(self.container("db")["State"]["Health"]["Status"], "healthy")
        self.assertEqual(self.containers("label=com.docker.compose.service=mer"), [])

    def test_run_alone(self):
        self.stop("--compose")
        for _ in range(2):  # from nothing, and on what is there
            code, out, err = self.compose("run", "--rm", *self.no_terminal, "mer", *FLOWER)
            self.assertEqual((code, out), (0, "setosa\n"), err)

    # --- half started ---

    def half_started(self):
        """States to start from, each with what is said of it."""
        secret = self.root / "secrets/database_password"

        def network_gone():
            self.compose("stop")
            docker("network", "rm", *docker("network", "ls", "-q", "--filter", "name=_default").split())

        def password_is_a_folder():
            self.stop("--compose")
            secret.unlink()
            secret.mkdir()

        def password_lost():
            self.stop("--compose")
            secret.unlink()

        def killed():
            self.stop("--compose")
            process = subprocess.Popen([self.root / "scripts/startMER.sh", "--compose", *FLOWER],
                                       env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, start_new_session=True)
            process.stderr.readline()
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

        yield "containers made, not started", lambda: (
            self.stop("--compose"), self.compose("up", "--no-start")), ""
        yield "database stopped", lambda: docker("stop", self.database()), ""
        yield "database killed", lambda: docker("kill", self.database()), ""
        yield "network gone", network_gone, ""
        yield "volume without a password", password_lost, "does not take the password"
        yield "password lost while it runs", secret.unlink, "does not take the password"
        yield "a folder for a password", password_is_a_folder, "does not take the password"
        yield "no database in it", lambda: self.sql("DROP DATABASE mer WITH (FORCE)", "postgres"), \
            "does not take the password"
        yield "image gone", lambda: (self.stop("--compose"), docker("rmi", "-f", "localhost/mer")), \
            "building the image"
        yield "start killed", killed, ""

    def test_half_started(self):
        for state, make, said in self.half_started():
            with self.subTest(state):
                self.answers()
                make()
                self.assertIn(said, self.answers())

    # Says why, and soon.
    def test_a_database_that_cannot_start(self):
        self.answers()
        volume = next(mount["Name"] for mount in self.container("db")["Mounts"] if mount["Type"] == "volume")
        self.stop()
        shell = ["run", "--rm", "--user", "root", "--entrypoint", "sh", "--volume", f"{volume}:/data",
                 "postgres:15-bookworm", "-c"]
        docker(*shell, "echo 9.6 >/data/PG_VERSION")
        try:
            code, out, err = self.start(*FLOWER)
        finally:
            docker(*shell, "echo 15 >/data/PG_VERSION")
        self.assertEqual((code, out), (5, ""), err)
        self.assertIn("version 9.6", err)
        self.answers()

    def test_no_engine(self):
        env = {**self.env, "DOCKER_HOST": f"unix://{TOP}/nothing.sock"}
        code, out, err = call(self.root / "scripts/startMER.sh", "--compose", *FLOWER, env=env)
        self.assertEqual((code, out), (5, ""), err)
        self.assertIn("the Docker engine does not answer", err)

    # --- what a container may ---

    def test_mer_is_confined(self):
        self.add_slow()
        mer = self.container("mer")
        self.assertEqual(mer["Config"]["User"], "10001:10001")
        self.check_confined(mer)
        inside = docker("exec", mer["Id"], "sh", "-c",
                        "id -u; touch /here /usr/here; touch /tmp/here /var/lib/mer/here && echo written; "
                        "cat /proc/[0-9]*/status")
        self.assertEqual(inside.split("\n")[:2], ["10001", "written"])
        for field, value in {"CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1",
                             "Uid": "10001\t10001\t10001\t10001"}.items():
            found = set(re.findall(rf"^{field}:\t(.*)$", inside, re.M))
            self.assertEqual(found, {value}, field)

    def test_database_is_confined(self):
        self.answers()
        db = self.container("db")
        self.check_confined(db)
        inside = docker("exec", db["Id"], "sh", "-c", "id -un; grep -h ^CapEff /proc/[0-9]*/status | sort -u")
        self.assertEqual(inside, "postgres\nCapEff:\t" + "0" * 16 + "\n")
        self.assertEqual(db["HostConfig"]["PortBindings"] or {}, {})
        self.assertEqual(db["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped")

    def check_confined(self, container):
        host = container["HostConfig"]
        self.assertTrue(host["ReadonlyRootfs"])
        self.assertEqual(host["CapDrop"], ["ALL"])
        self.assertFalse(host["CapAdd"])
        self.assertFalse(host["Privileged"])
        self.assertEqual(host["SecurityOpt"], ["no-new-privileges:true"])
        self.assertIn("/tmp", host["Tmpfs"])
        self.assertGreaterEqual(container["Config"]["StopTimeout"], 60)

    # --- the password ---

    def test_password_is_nowhere(self):
        self.add_slow()
        password = self.password()
        self.assertRegex(password, r"\A[A-Za-z0-9]{43}\Z")
        ids = [one["Id"] for one in self.containers()]
        self.assertEqual(len(ids), 3)
        seen = {"compose config": self.compose("config")[1], "inspect": docker("inspect", *ids),
                "first start": "".join(self.first[1:])}
        for image in ("localhost/mer", "postgres:15-bookworm"):
            seen[image] = docker("image", "inspect", image) + docker("history", "--no-trunc", image)
        for number in ids:
            seen["logs " + number] = docker("logs", number)
        for log in (self.root / "build").rglob("*.log"):
            seen[str(log)] = log.read_text(errors="replace")
        for process in Path("/proc").glob("[0-9]*"):  # all that are in containers are below us
            for name in ("cmdline", "environ"):
                try:
                    seen[str(process / name)] = (process / name).read_bytes().decode(errors="replace")
                except OSError:
                    pass  # it has gone
        self.assertTrue([text for text in seen.values() if text.startswith("mer\0run\0slow\0")])
        self.assertTrue([text for text in seen.values() if text.startswith("postgres\0")])
        self.assertEqual([name for name, text in seen.items() if password in text], [])

    def test_password_is_kept_close(self):
        folder = self.root / "secrets"
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual((folder / "database_password").stat().st_mode & 0o777, 0o444)
        ignored = call("git", "-c", "safe.directory=*", "-C", SOURCE, "check-ignore", "--no-index", "-q",
                       "secrets/database_password")
        self.assertEqual(ignored[0], 0, ignored)

    # Neither the password nor what was built outside is sent to the engine.
    def test_what_an_image_is_made_of(self):
        dockerfile = TOP / "Dockerfile"
        dockerfile.write_text("FROM debian:bookworm-slim\nCOPY . /context\n")
        docker("build", "-q", "-t", "context", "-f", dockerfile, self.root)
        names = docker("run", "--rm", "context", "ls", "-A", "/context").split()
        self.assertIn("src", names)
        self.assertEqual({"build", "secrets", "tests", ".env"} & set(names), set())

    # From another container, without it or with a wrong one.
    def test_password_is_needed(self):
        self.answers()
        network = next(iter(self.container("db")["NetworkSettings"]["Networks"]))
        for password in ("", "wrong"):
            code, _, err = call("docker", "run", "--rm", "--network", network, "--env", f"PGPASSWORD={password}",
                                "--entrypoint", "psql", "postgres:15-bookworm", "-h", "db", "-U", "mer", "-w",
                                "-c", "select 1")
            self.assertEqual(code, 2, err)

    # --- the image ---

    # Nothing of the build or of apt is left in it, and nothing is lacking that a program links.
    def test_image_is_small_and_whole(self):
        inside = docker("run", "--rm", "--network=none", "--entrypoint", "sh", "localhost/mer", "-c",
                        "which gcc meson; find /src /build /image /usr/local/include /var/lib/apt/lists "
                        "/var/cache/apt -type f -size +0; for file in $(find /usr/local -type f); do ldd $file; done | "
                        "grep 'not found'; mer --version; mer-migrate --version")
        version = re.search(r"version: '([^']*)'", (SOURCE / "meson.build").read_text()).group(1)
        self.assertEqual(inside, f"mer {version}\nmer-migrate {version}\n")
        base = int(docker("image", "inspect", "--format", "{{.Size}}", "debian:bookworm-slim"))
        size = int(docker("image", "inspect", "--format", "{{.Size}}", "localhost/mer"))
        self.assertLess(size - base, 64 << 20)

    def test_settings_pass(self):
        self.answers()
        self.env["MER_FORMAT"] = "json"
        self.addCleanup(self.env.pop, "MER_FORMAT")
        code, out, err = self.start("model", "list")
        self.assertEqual(code, 0, err)
        self.assertIn("iris", [model["name"] for model in json.loads(out)])


class ByPlugin(ByCompose, unittest.TestCase):
    folder = "the plugin"
    command = ("docker", "compose")
    no_terminal = ("-T",)

    @classmethod
    def choose(cls):
        code, out, _ = call("docker", "compose", "version")
        if code != 0:
            raise unittest.SkipTest("the plugin of docker, 'docker compose', is not installed")


class ByProgram(ByCompose, unittest.TestCase):
    folder = "the program"
    command = ("docker-compose",)
    no_terminal = ()

    @classmethod
    def choose(cls):
        """Hides the plugin, which is taken where there is one."""
        if shutil.which("docker-compose") is None:
            raise unittest.SkipTest("the program docker-compose is not installed")
        wrapper = TOP / "bin" / "docker"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/sh\n[ "$1" != compose ] || exit 1\nexec {shutil.which("docker")} "$@"\n')
        wrapper.chmod(0o755)
        cls.env["PATH"] = f"{wrapper.parent}:{cls.env['PATH']}"


def prepare():
    """Why this cannot be tested here, or None."""
    reason = engine.lacking()
    if reason is None and shutil.which("docker-compose") is None and call(
            "docker", "compose", "version", env=os.environ)[0] != 0:
        reason = "no Compose: not installed"
    if reason is None:
        try:
            made = debian.make(CACHE, package_list("build_packages", "runtime_packages") + ["postgresql-15"])
            os.environ["MER_TEST_DEBIAN"] = str(made)
        except debian.Unavailable as error:
            reason = f"no Debian to build images of: {error}"
    return reason


def run_tests(top):
    global TOP
    TOP = top
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.TestLoader().loadTestsFromNames(sys.argv[3:] or ["__main__"])
    return int(not runner.run(suite).wasSuccessful())


if __name__ == "__main__":
    if sys.argv[1:2] != ["--inside"]:
        why_not = prepare()
        if why_not is not None:
            print(f"1..0 # SKIP {why_not}")
            sys.exit(0)
    sys.exit(engine.inside(run_tests))

#!/usr/bin/python3
"""The Debian packages, from a clean copy of the sources to their purge, in a Debian made by debootstrap:
installed, used, upgraded with data, removed, put back, purged. MER_SOURCE names the sources,
MER_TEST_CACHE a folder for what is fetched once; a second run needs no network.

What Debian there is and what is built is made before the tests, which run in namespaces of their own.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import debian
import engine
import http_server
import postgres

SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve()
CACHE = os.environ.get("MER_TEST_CACHE", str(SOURCE / "build" / "test-cache"))
DEADLINE_S = 600  # of one command; some build
TOOLS = ("debootstrap", "dpkg-buildpackage", "dpkg-deb", "dh", "lintian", "unshare", "git")
FLOWER = "mer run iris 5.1,3.5,1.4,0.2"
USE_SSH, USE_HTTP = "mer run far hello", "mer run web hello"
NEXT = "0.2.0~test"
MOUNTED = ("debs", "dev", "pool", "proc", "srv")
SCRIPT = "Of-the-next-version.sql"
EXTRA = ("logrotate", "openssh-server")  # what the tests take beside what the packages need
SSH_PORT = 2222
TOP = None  # the folder of this run


def run(*argv, **options):
    """(exit code, what it prints)"""
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, check=False, **options)
    return done.returncode, done.stdout


def must(*argv, **options):
    code, out = run(*argv, **options)
    if code != 0:
        raise RuntimeError(f"{argv}: {code}\n{out[-4000:]}")
    return out


# --- what is made before ----------------------------------------------------------------------------------


def copy_sources(to):
    """What a clone of the tree as it is now would hold."""
    names = must("git", "-c", "safe.directory=*", "-C", SOURCE, "ls-files", "-z", "--cached", "--others",
                 "--exclude-standard")
    for name in names.split("\0"):
        if name and (SOURCE / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, to / name)


def edit(path, pattern, text):
    before = path.read_text()
    after = re.sub(pattern, text, before, count=1, flags=re.M)
    if after == before:
        raise RuntimeError(f"'{path}' has no {pattern}")
    path.write_text(after)


def make_next(tree):
    """Of the same sources a later version, with one more script of the schema."""
    edit(tree / "meson.build", r"version: '[^']+'", f"version: '{NEXT}'")
    edit(tree / "python/mer/__init__.py", r'^__version__ = .*', f'__version__ = "{NEXT}"')
    header = next(path for path in (tree / "include/mer").glob("*.h") if "define MER_SCHEMA_NUM" in
                  path.read_text())
    number = int(re.search(r"MER_SCHEMA_NUM (\d+)", header.read_text()).group(1)) + 1
    edit(header, r"MER_SCHEMA_NUM \d+", f"MER_SCHEMA_NUM {number}")
    for dialect in ("sqlite", "postgres"):
        (tree / "sql" / dialect / f"{number:02}-{SCRIPT}").write_text(
            "-- What only the next version knows.\nALTER TABLE models ADD COLUMN of_the_next TEXT;\n")


def build(tree, folder, **more):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MER_", "DEB_", "CC", "CFLAGS"))}
    must(tree / "scripts/package", folder, env={**env, **more})


def needs(folder):
    """Of others, by these packages; the first of alternatives."""
    found = set(EXTRA)
    names = {path.name.partition("_")[0] for path in folder.glob("*.deb")}
    for path in folder.glob("*.deb"):
        for part in must("dpkg-deb", "--field", path, "Depends").strip().split(","):
            found.add(re.split(r"[ :(|]", part.strip())[0])
    return sorted(found - names - {""})


def prepare(made):
    """Why this cannot be tested here, or None."""
    if os.geteuid() != 0:
        return "a Debian of its own takes root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)}: not installed"
    for name in ("this", "next"):
        copy_sources(made / name / "source tree")
    make_next(made / "next" / "source tree")
    print("# building", flush=True)
    with ThreadPoolExecutor() as threads:  # the next one is only there to follow this one, and may be slow
        for done in [threads.submit(build, made / "this/source tree", made / "this/debs"),
                     threads.submit(build, made / "next/source tree", made / "next/debs",
                                    DEB_BUILD_OPTIONS="noopt noautodbgsym")]:
            done.result()
    try:
        kept = debian.make(Path(CACHE) / "package", needs(made / "this/debs"))
    except debian.Unavailable as error:
        return f"no Debian to install them in: {error}"
    os.environ["MER_TEST_DEBIAN"], os.environ["MER_TEST_DEBS"] = str(kept), str(made)
    return None


def version_of(made, which):
    return must("dpkg-deb", "--field", next((made / which / "debs").glob("mer_*.deb")), "Version").strip()


# --- the tests --------------------------------------------------------------------------------------------


class Root:
    """A Debian that has what the packages need of others, and a user ada. As it is then it is kept for the next run."""

    def __init__(self, top, made, debs):
        self.path = top / "root"
        self.path.mkdir()
        kept = made / "with-needs.tar"
        self.unpack(kept if kept.exists() else made / "base.tar", made, debs)
        if kept.exists():
            return
        # No disk has to have it before the next step, and no service starts.
        (self.path / "etc/dpkg/dpkg.cfg.d/test").write_text("force-unsafe-io\n")
        policy = self.path / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        self.must("useradd --create-home --password '*' ada")  # no password, and not locked
        (self.path / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/pool ./\n")
        self.apt("update")
        self.apt("install", *needs(debs / "this/debs"))
        must("tar", "-C", self.path, "--numeric-owner", "--one-file-system", "-cf", f"{kept}.new", ".")
        os.rename(f"{kept}.new", kept)

    def unpack(self, archive, made, debs):
        must("tar", "-C", self.path, "--numeric-owner", "-xf", archive)
        for inside, outside in (("dev", "/dev"), ("pool", made / "pool"), ("debs", debs)):
            (self.path / inside).mkdir(exist_ok=True)
            must("mount", "--bind", outside, self.path / inside)
        must("mount", "-t", "proc", "proc", self.path / "proc")

    def call(self, command, user="root", **env):
        """As a login of that user would run it."""
        home = must("chroot", self.path, "sh", "-c", f"echo ~{user}").strip()
        return run("chroot", f"--userspec={user}", "--groups=", self.path, "env", "-i", f"HOME={home}", f"USER={user}",
                   f"LOGNAME={user}", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                   "DEBIAN_FRONTEND=noninteractive", *(f"{name}={value}" for name, value in env.items()),
                   "sh", "-c", f"cd ~ 2>/dev/null || cd /; {command}")

    def must(self, command, user="root", **env):
        code, out = self.call(command, user, **env)
        if code != 0:
            raise RuntimeError(f"{command}: {code}\n{out[-4000:]}")
        return out

    def apt(self, *words):
        return self.must("apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "
                         "--no-install-recommends " + " ".join(words))

    def debs(self, which):
        return " ".join(sorted(f"/debs/{which}/debs/{path.name}" for path in
                               (self.path / "debs" / which / "debs").glob("*.deb") if "-dbgsym_" not in path.name))

    def files(self):
        """All there is but what packages are managed with, and kept in caches and logs of theirs."""
        managed = re.compile(r"/(var/(cache|lib/(apt|dpkg))|tmp|home|run)/|/var/log/(apt/|dpkg\.log|alternatives\.log)|"
                             r"/etc/((passwd|group|g?shadow)-|ld\.so\.cache)$")
        found = set()
        for folder, folders, names in os.walk(self.path):
            inside = "/" + str(Path(folder).relative_to(self.path)) if Path(folder) != self.path else ""
            if not inside:
                folders[:] = [name for name in folders if name not in MOUNTED]
            found |= {f"{inside}/{name}" for name in (*folders, *names)}
        found = {path for path in found if not managed.search(path)}
        users = {name: (self.path / "etc" / name).read_text() for name in ("passwd", "group")}
        return found, users


class Packages(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.made = Path(os.environ["MER_TEST_DEBS"])
        cls.version = version_of(cls.made, "this")

    def names(self):
        return {path.name.partition("_")[0] for path in (self.made / "this/debs").glob("*.deb")}

    def test_names(self):
        """A package for each module that meson knows of, and nothing of another one."""
        built = (SOURCE / "meson.build").read_text()
        modules = {f"mer-{name}" for name in ("postgres", "ssh", "http") if f"shared_module('{name}'" in built}
        names = {name for name in self.names() if not name.endswith("-dbgsym")}
        self.assertEqual(names, {"mer", "python3-mer"} | modules)
        for name in modules:
            held = must("dpkg-deb", "--contents", next((self.made / "this/debs").glob(f"{name}_*.deb")))
            found = re.findall(r" \./(usr/lib/mer/\S+)", held)
            self.assertEqual(found, [f"usr/lib/mer/{name.partition('-')[2]}.so"])

    def test_lintian(self):
        """Nothing but what is overridden by name; each override has its reason above it."""
        changes = next((self.made / "this/debs").glob("*.changes"))
        code, out = run("lintian", "--allow-root", "--fail-on=error,warning", "--tag-display-limit=0", changes)
        self.assertEqual((code, out), (0, ""))
        for path in (SOURCE / "deploy/debian").glob("*.lintian-overrides"):
            lines = path.read_text().splitlines()
            for before, line in zip([""] + lines, lines):
                self.assertTrue(line.startswith("#") or before.startswith("#"), f"{path.name}: {line}")

    def test_hardening(self):
        """As built by debhelper, with Debian's own flags."""
        with tempfile.TemporaryDirectory(dir=TOP) as folder:
            for path in (self.made / "this/debs").glob("mer*.deb"):
                if "-dbgsym_" not in path.name:
                    must("dpkg-deb", "-x", path, folder)
            seen = 0
            for path in Path(folder).rglob("*"):
                if path.is_symlink() or not path.is_file() or path.open("rb").read(4) != b"\x7fELF":
                    continue
                said = must("readelf", "-hldsW", path)
                with self.subTest(program=path.name):
                    self.assertIn("GNU_RELRO", said)
                    if path.name != "mer-guard":
                        self.assertRegex(said, r"Type: +DYN ")
                        self.assertRegex(said, r"\(FLAGS\) .*BIND_NOW|\(FLAGS_1\) .*\bNOW\b")
                    if path.name == "mer":
                        self.assertIn("_chk@GLIBC", said)
                seen += 1
            self.assertGreater(seen, 5)


class Life(unittest.TestCase):
    """One machine, step by step; each needs those before it."""
    maxDiff = None

    def setUp(self):
        self.debs = Path(os.environ["MER_TEST_DEBS"])
        self.version = version_of(self.debs, "this")
        self.root = Root(TOP, Path(os.environ["MER_TEST_DEBIAN"]), self.debs)
        self.postgres = None
        self.http = self.enterContext(http_server.Server())

    def answers(self, command, want, user="mer", **env):
        self.assertEqual(self.root.call(command, user, **env), (0, want))

    def start_postgres(self):
        """On this machine, with its socket in that one."""
        if postgres.programs() is None:
            return
        server = postgres.Postgres()
        self.addCleanup(server.close)
        server.top.chmod(0o711)
        (self.root.path / "srv/pg").mkdir()
        must("mount", "--bind", server.top, self.root.path / "srv/pg")
        self.addCleanup(run, "umount", self.root.path / "srv/pg")
        self.postgres = {"MER_DATABASE_URL": server.new_database().replace(str(server.top), "/srv/pg")}

    def test_life(self):
        self.start_postgres()
        before = self.root.files()
        for step in (self.install, self.use, self.use_by_another, self.use_postgres, self.use_ssh, self.use_http,
                     self.edit_conffile, self.upgrade, self.upgrade_postgres, self.remove_and_return):
            print("#", step.__name__.replace("_", " "), flush=True)
            step()
        print("# purge", flush=True)
        self.root.must("apt-get -q -y purge mer mer-* python3-mer")
        after = self.root.files()
        self.assertEqual(sorted(after[0] - before[0]), [])
        self.assertEqual(sorted(before[0] - after[0]), [])
        self.assertEqual(after[1], before[1])
        self.assertTrue((self.root.path / "home/ada/.local/state/mer/mer.db").exists())

    def install(self):
        self.root.apt("install", self.root.debs("this"))
        self.answers("mer --version", f"mer {self.version}\n")
        home = (self.root.path / "var/lib/mer").stat()
        self.assertEqual(home.st_mode & 0o7777, 0o700)
        self.assertEqual(str(home.st_uid), self.root.must("id -u mer").strip())
        self.assertEqual(self.root.must("getent passwd mer").strip().split(":")[5:],
                         ["/var/lib/mer", "/usr/sbin/nologin"])
        self.assertTrue((self.root.path / "etc/systemd/system/multi-user.target.wants/mer-migrate.service").is_symlink())
        for name in ("usr/share/man/man1/mer.1.gz", "usr/share/bash-completion/completions/mer.bash",
                     "usr/share/zsh/vendor-completions/_mer", "usr/share/doc/mer/docs/commands.md"):
            self.assertTrue((self.root.path / name).exists(), name)
        self.assertIn("mer", self.root.must("logrotate --debug /etc/logrotate.d/mer"))

    def use(self):
        code, out = self.root.call(FLOWER, "mer")
        self.assertEqual(code, 5, out)  # there is no database
        self.answers("mer-migrate --quiet up", "")
        self.answers(FLOWER, "setosa\n")
        self.answers("mer run language 'Der Hund ist nicht in der Küche'", "German\n")
        self.answers("python3 -c 'import mer; print(mer.__version__)'", f"{self.version}\n")
        self.answers("mer --allow-changes model add shout -- tr a-z A-Z && mer run shout hello", "HELLO")

    def use_by_another(self):
        self.answers("mer-migrate --quiet up && " + FLOWER, "setosa\n", "ada")
        self.assertNotEqual(self.root.call("ls /var/lib/mer", "ada")[0], 0)

    def use_postgres(self):
        if self.postgres is None:
            return
        self.answers("mer-migrate --quiet up && " + FLOWER, "setosa\n", **self.postgres)
        self.without("mer-postgres", (FLOWER, 5, "package mer-postgres"), **self.postgres)
        self.answers(FLOWER, "setosa\n", **self.postgres)

    def without(self, package, *commands, **env):
        """Each (command, exit code, what it says) while a package is not there."""
        self.root.must(f"dpkg --remove {package}")
        for command, code, says in commands:
            got, out = self.root.call(command, "mer", **env)
            self.assertEqual(got, code, out)
            self.assertIn(says, out)
        self.root.apt("install", *(word for word in self.root.debs("this").split() if f"/{package}_" in word))

    def start_sshd(self):
        """Of that machine, for its user ada, who knows the key of mer."""
        self.root.must("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519", "mer")
        self.root.must("install -d -o ada -g ada -m 0700 ~ada/.ssh && "
                       "install -o ada -g ada -m 0600 /var/lib/mer/.ssh/id_ed25519.pub ~ada/.ssh/authorized_keys")
        (self.root.path / "run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.root.must(f"/usr/sbin/sshd -p {SSH_PORT} -o ListenAddress=127.0.0.1")  # listens when it returns
        host_key = self.root.must("ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        self.root.must(f"mer --allow-changes server add there --kind ssh --host 127.0.0.1 --port {SSH_PORT} --user ada && "
                       f"mer --allow-changes server trust there --fingerprint {host_key} && "
                       "mer --allow-changes model add far --server there -- sh -c 'tr a-z A-Z; id -un'", "mer")

    def transport(self):
        return json.loads(self.root.must("mer --json server ping there", "mer"))["transport"]

    def use_ssh(self):
        """By a session of mer's own, and without that package by ssh."""
        self.start_sshd()
        self.answers(USE_SSH, "HELLOada\n")
        self.assertEqual(self.transport(), "libssh2")
        insist = "mer --allow-changes server set there param=transport="
        self.without("mer-ssh", (USE_SSH, 0, "HELLOada"), (insist + "libssh2", 0, ""), (USE_SSH, 6, "package mer-ssh"),
                     (insist + "auto", 0, ""), ("mer server ping there", 0, "openssh"))
        self.answers(USE_SSH, "HELLOada\n")

    def use_http(self):
        self.root.must(f"mer --allow-changes server add web --kind http --url {self.http.url}/echo --param api=plain && "
                       "mer --allow-changes model add web --server web", "mer")
        self.answers(USE_HTTP, "hello")
        self.without("mer-http", (USE_HTTP, 6, "package mer-http"), (FLOWER, 0, "setosa"))
        self.answers(USE_HTTP, "hello")

    def edit_conffile(self):
        with open(self.root.path / "etc/logrotate.d/mer", "a", encoding="utf-8") as file:
            file.write("# of the administrator\n")
        (self.root.path / "etc/mer/jobs/nightly.mer").write_text("run moments 1\n")
        wants = self.root.path / "etc/systemd/system/timers.target.wants"  # as 'systemctl enable mer@nightly.timer' does
        wants.mkdir(exist_ok=True)
        (wants / "mer@nightly.timer").symlink_to("/lib/systemd/system/mer@.timer")

    def after_upgrade(self, **env):
        """What was is there, once the database is brought up to date."""
        code, out = self.root.call(FLOWER, "mer", **env)
        self.assertEqual(code, 5, out)
        self.assertIn("mer-migrate up", out)
        self.answers("mer-migrate --quiet up", "", **env)
        self.answers(FLOWER, "setosa\n", **env)
        status = self.root.must("mer-migrate status", "mer", **env)
        self.assertIn(SCRIPT.removesuffix(".sql"), status)

    def upgrade(self):
        self.runs = self.root.must("mer --plain log", "mer")
        self.root.apt("install", self.root.debs("next"))
        self.answers("mer --version", f"mer {NEXT}\n")
        self.after_upgrade()
        self.assertTrue(self.root.must("mer --plain log", "mer").endswith(self.runs))
        for command, want in (("mer run shout hello", "HELLO"), (USE_SSH, "HELLOada\n"), (USE_HTTP, "hello")):
            self.answers(command, want)
        self.assertIn("# of the administrator", (self.root.path / "etc/logrotate.d/mer").read_text())
        self.assertEqual((self.root.path / "etc/mer/jobs/nightly.mer").read_text(), "run moments 1\n")

    def upgrade_postgres(self):
        if self.postgres is not None:
            self.after_upgrade(**self.postgres)

    def remove_and_return(self):
        """Removed is not purged."""
        self.root.must("apt-get -q -y remove mer mer-* python3-mer")
        self.assertFalse((self.root.path / "usr/lib/mer").exists())
        self.root.apt("install", self.root.debs("next"))
        self.assertTrue(self.root.must("mer --plain log", "mer").endswith(self.runs))
        self.answers("mer run shout again", "AGAIN")


def run_tests(top):
    global TOP
    TOP = top
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.TestLoader().loadTestsFromNames(sys.argv[3:] or ["__main__"])
    return int(not runner.run(suite).wasSuccessful())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(engine.inside(run_tests))
    with tempfile.TemporaryDirectory(prefix="mer-package-") as place:
        os.chmod(place, 0o755)
        why_not = prepare(Path(place))
        if why_not is not None:
            print(f"1..0 # SKIP {why_not}")
            sys.exit(0)
        sys.exit(engine.inside(run_tests))

#!/usr/bin/python3
"""What an installation holds, how its programs were linked, and that it can be moved."""
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MODELS = Path(os.environ["MER_MODELS"]).resolve()
SOURCE = Path(os.environ["MER_SOURCE"]).resolve()
DEADLINE_S = 60
SANITIZERS = ("libasan", "libubsan", "libclang_rt.asan")
FLOWER = ("run", "iris", "5.1,3.5,1.4,0.2")


def files():
    return sorted(path for path in PREFIX.rglob("*") if path.is_file() and not path.is_symlink())


def programs():
    """Programs and modules, by their first bytes."""
    for path in files():
        with open(path, "rb") as file:
            if file.read(4) == b"\x7fELF":
                yield path


def readelf(path):
    return subprocess.run(["readelf", "-hldsW", path], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=DEADLINE_S, env={**os.environ, "LC_ALL": "C"}).stdout


class Hardened(unittest.TestCase):
    def setUp(self):
        if shutil.which("readelf") is None:
            self.skipTest("readelf: not installed")
        self.elfs = {path: readelf(path) for path in programs()}
        # It has no loader, which would bind, and has one place in memory: meson.build says why.
        self.dynamic = {path: said for path, said in self.elfs.items() if path.name != "mer-guard"}

    def each(self, elfs):
        for path, said in elfs.items():
            with self.subTest(program=str(path.relative_to(PREFIX))):
                yield said

    def test_all_are_here(self):
        names = {path.name for path in self.elfs}
        self.assertLessEqual({"mer", "mer-migrate", "mer-guard", "table.so", "moments"}, names)

    def test_position(self):
        for said in self.each(self.dynamic):
            self.assertRegex(said, r"Type: +DYN ")

    def test_relocations_are_read_only(self):
        for said in self.each(self.elfs):
            self.assertIn("GNU_RELRO", said)
        for said in self.each(self.dynamic):
            self.assertRegex(said, r"\(FLAGS\) .*BIND_NOW|\(FLAGS_1\) .*\bNOW\b")

    def test_no_executable_stack(self):
        for said in self.each(self.elfs):
            self.assertRegex(said, r"GNU_STACK .* RW +0x")

    def test_nothing_is_writable_and_executable(self):
        for said in self.each(self.elfs):
            self.assertNotRegex(said, r"LOAD .* RWE ")

    def test_no_path_of_the_build(self):
        for said in self.each(self.elfs):
            self.assertNotRegex(said, r"\((RPATH|RUNPATH)\)")

    def test_dependencies_are_documented(self):
        said = (SOURCE / "docs/dependencies.md").read_text(encoding="utf-8")
        for path, elf in self.elfs.items():
            for name in re.findall(r"\(NEEDED\).*\[(.+?)\.so", elf):
                loader = re.sub(r"^ld-linux-.*", "ld-linux", name)
                with self.subTest(program=str(path.relative_to(PREFIX)), library=name):
                    self.assertTrue(name in SANITIZERS or f"`{name}.so" in said or f"`{loader}`" in said)

    def test_stack_protector(self):
        for name in ("mer", "mer-migrate"):
            with self.subTest(program=name):
                self.assertIn("__stack_chk_fail", self.elfs[PREFIX / "bin" / name])

    def test_fortified(self):
        said = self.elfs[PREFIX / "bin/mer"]
        if "__asan_init" in said:
            self.skipTest("a sanitizer checks instead")
        self.assertRegex(said, r"\b__(vsn|sn)printf_chk\b")


class Installed(unittest.TestCase):
    def test_parts(self):
        want = [
            "bin/mer", "bin/mer-migrate", "libexec/mer/mer-guard", "share/man/man1/mer.1",
            "share/man/man1/mer-migrate.1", "share/bash-completion/completions/mer.bash",
            "share/zsh/site-functions/_mer", "share/fish/vendor_completions.d/mer.fish",
            "share/mer/schema/apply.json", "share/mer/sql/sqlite/01-Servers.sql",
            "share/mer/sql/postgres/01-Servers.sql", "share/pkgconfig/mer.pc", "share/doc/mer/LICENSE",
            "share/doc/mer/README.md", "share/doc/mer/docs/commands.md", "share/doc/mer/examples/mer.env",
            "lib/systemd/system/mer-migrate.service", "lib/sysusers.d/mer.conf", "lib/tmpfiles.d/mer.conf",
            "lib/mer/python/mer/__init__.py", "lib/mer/models/iris/iris.py",
        ]
        for name in want:
            with self.subTest(name=name):
                self.assertTrue((PREFIX / name).is_file())

    def test_modes(self):
        """Whatever the umask of who installs: all may read, and nobody else than the owner writes."""
        for path in [PREFIX, *PREFIX.rglob("*")]:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                continue
            with self.subTest(path=str(path.relative_to(PREFIX))):
                self.assertEqual(mode & 0o7022, 0)
                self.assertEqual(mode & 0o444, 0o444)
                if stat.S_ISDIR(mode):
                    self.assertEqual(mode & 0o111, 0o111)

    def test_pages_name_each_other(self):
        """Links between the pages hold where they are installed."""
        root = PREFIX / "share/doc/mer"
        for page in root.rglob("*.md"):
            for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
                with self.subTest(page=str(page.relative_to(root)), link=link):
                    self.assertTrue((page.parent / link).exists())


class Moved(unittest.TestCase):
    def setUp(self):
        home = Path(tempfile.mkdtemp(prefix="mer-install-"))
        self.addCleanup(shutil.rmtree, home)
        self.prefix = home / "else where"
        shutil.copytree(PREFIX, self.prefix, symlinks=True)
        self.env = {"PATH": f"{self.prefix}/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8",
                    **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}}

    def call(self, *words, **env):
        done = subprocess.run([str(word) for word in words], env={**self.env, **env}, cwd="/", text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_runs(self):
        self.assertEqual(self.call("mer-migrate", "--quiet", "up"), (0, "", ""))
        self.assertEqual(self.call("mer", *FLOWER), (0, "setosa\n", ""))
        code, out, err = self.call("mer", "run", "language", "Der Hund ist nicht in der Küche")
        self.assertEqual((code, out, err), (0, "German\n", ""))  # with the SDK of that place
        code, out, err = self.call("mer", "--json", "doctor")
        self.assertNotIn(str(PREFIX), out + err)

    def test_modules_of_that_place(self):
        shutil.rmtree(self.prefix / "lib/mer")
        code, _, err = self.call("mer", "log", MER_DATABASE_URL="postgres://nowhere.invalid/x")
        self.assertEqual(code, 5, err)
        self.assertIn("no Postgres module", err)

    def test_pkg_config(self):
        if shutil.which("pkg-config") is None:
            self.skipTest("pkg-config: not installed")
        path = {"PKG_CONFIG_PATH": str(self.prefix / "share/pkgconfig")}
        version = re.search(r"version: '([^']+)'", (SOURCE / "meson.build").read_text()).group(1)
        self.assertEqual(self.call("pkg-config", "--modversion", "mer", **path), (0, version + "\n", ""))
        for name, inside in (("sqldir", "sqlite/01-Servers.sql"), ("bindir", "mer"), ("moduledir", "table.so"),
                             ("modelsdir", "iris/iris.py"), ("pythondir", "mer/__init__.py"),
                             ("schemadir", "apply.json")):
            with self.subTest(variable=name):
                code, out, err = self.call("pkg-config", f"--variable={name}", "mer", **path)
                self.assertEqual((code, err), (0, ""))
                place = Path(out.strip().replace("\\ ", " "))  # as a shell would have it
                self.assertTrue((place / inside).is_file(), place)
                self.assertIn(self.prefix, Path(os.path.normpath(place)).parents)


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())

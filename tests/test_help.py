#!/usr/bin/python3
"""The examples of each command's help: they are run as they stand, one by one, with the example
models; and as JSON, which has to be what `mer --print contract` says. MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MODELS = Path(os.environ["MER_MODELS"]).resolve()
MER = str(PREFIX / "bin" / "mer")
MIGRATE = str(PREFIX / "bin" / "mer-migrate")
DEADLINE_S = 120
RUN = "01a1fef6-849a-7865-90cb-e3129d94fc6e"  # of the examples
BASE_ENV = {name: value for name, value in os.environ.items()
            if not name.startswith(("MER_", "XDG_", "PG"))} | {
                "LC_ALL": "C.UTF-8", "PATH": f"{PREFIX}/bin:/usr/bin:/bin"}
HELLO = """import mer

@mer.model
def hello(name: str) -> str:
    return f"Hello {name}"

mer.serve()
"""

# What has to be there before the examples of a command make sense, beside what setUpModule() makes.
BEFORE = {
    "db restore": ["db backup mer-2026-01-31.db"],
    "deployment set": ["deployment add digest --name spare -- sha256sum"],
    "deployment remove": ["deployment add digest --name spare -- sha256sum"],
    "server remove": ["server add second --kind local"],
    "server set": ["server add gpu --kind ssh --host gpu.example.org"],
    "weights use": ["weights add iris weights/spring.json --version spring"],
    "weights remove": ["weights add iris weights/spring.json --version spring"],
}
# Commands that have fewer than two: there is not much to say, or it takes a host to show.
FEWER = {"server set": 1, "server trust": 0, "log prune": 1}
TEMPLATE = None


def environment(folder):
    return BASE_ENV | {"HOME": str(folder), "TMPDIR": str(folder),
                       "XDG_STATE_HOME": str(folder / "state"),
                       "XDG_DATA_HOME": str(folder / "data")}


def shell(folder, line):
    return subprocess.run(["sh", "-c", line], env=environment(folder), cwd=folder, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)


def setUpModule():
    """A state with the example models and a run with the uid of the examples, and the files that
    they name."""
    global TEMPLATE
    TEMPLATE = tempfile.TemporaryDirectory(prefix="mer-help-")
    folder = Path(TEMPLATE.name)
    (folder / "hello.py").write_text(HELLO)
    (folder / "shop.yaml").write_text("version: 1\nmodels: {shop: {deployments: {local: {argv: [cat]}}}}\n")
    (folder / "flowers.csv").write_text("5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")
    (folder / "weights").mkdir()
    shutil.copy(MODELS / "iris" / "weights" / "1.json", folder / "weights" / "spring.json")
    shutil.copy(MODELS / "iris" / "iris.csv", folder / "iris.csv")
    for line in ("mer-migrate up", "mer-migrate up --database sqlite:mer.db",
                 "mer-migrate up --database sqlite:copy.db",
                 "mer --allow-changes -c 'model set iris keep-io=on' -c 'run iris 5.1,3.5,1.4,0.2' "
                 "-c 'model set iris keep-io=off'"):
        done = shell(folder, line)
        if done.returncode != 0:
            raise RuntimeError(f"cannot make the template: {done}")
    # A run's uid is chosen by mer.
    database = sqlite3.connect(folder / "state" / "mer" / "mer.db")
    for table in ("model_access", "model_access_io"):
        database.execute(f"UPDATE {table} SET request_uid = ?", [RUN])
    database.commit()
    database.close()


def tearDownModule():
    TEMPLATE.cleanup()


def contract():
    done = subprocess.run([MER, "--print", "contract"], env=BASE_ENV, capture_output=True, check=True,
                          stdin=subprocess.DEVNULL, timeout=DEADLINE_S)
    return json.loads(done.stdout)


class Case(unittest.TestCase):
    maxDiff = None

    def place(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-help-")
        self.addCleanup(folder.cleanup)
        place = Path(folder.name) / "place"
        shutil.copytree(TEMPLATE.name, place)
        return place


class Help(Case):
    def test_each_command_has_examples(self):
        for command in contract()["commands"]:
            with self.subTest(command=command["name"]):
                has_options = any(arg["option"] for arg in command["args"])
                if command["prompt"] and not has_options:
                    continue
                wanted = FEWER.get(command["name"], 2 if has_options else 1)
                self.assertGreaterEqual(len(command["examples"]), wanted)
                for line in command["examples"]:
                    self.assertTrue(f"{line} ".startswith(command["name"] + " "), line)

    def test_help_shows_them(self):
        for command in contract()["commands"]:
            option = "--allow-changes " if command["changes"] else ""
            program = "" if command["prompt"] else f"mer {option}"
            lines = [f"  {program}{line}\n" for line in command["examples"]]
            want = "\nexamples:\n" + "".join(lines) if lines else ""
            with self.subTest(command=command["name"]):
                done = shell(Path(TEMPLATE.name), f"mer --allow-changes help {command['name']}")
                self.assertIn(want, done.stdout)

    def test_examples_are_true(self):
        for command in contract()["commands"]:
            if command["prompt"]:  # not in batch
                continue
            option = "--allow-changes " if command["changes"] else ""
            for line in command["examples"]:
                with self.subTest(line=line):
                    place = self.place()
                    for before in BEFORE.get(command["name"], []):
                        self.assertEqual(shell(place, f"mer --allow-changes {before}").returncode, 0)
                    done = shell(place, f"mer {option}{line}")
                    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)


class Contract(Case):
    # Further lines of commands that print JSON: what examples do not show of them.
    MORE = {
        "run": ["run --lines iris @flowers.csv", "run iris nonsense", "run --no-record iris 5.1,3.5,1.4,0.2",
                "run --weights 1 iris 5.1,3.5,1.4,0.2"],
        "replay": [f"replay {RUN}"],
        "model ping": ["model ping language"],
        "log": ["log --limit 100"],
    }

    def setUp(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("no python3-jsonschema")
        self.validator = lambda schema: jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.draft202012_format_checker)
        self.contract = contract()

    def test_schemas_are_schemas(self):
        import jsonschema
        for schema in [self.contract["error_schema"], *(command["schema"] for command in self.contract["commands"]
                                                        if command["schema"] is not None)]:
            jsonschema.Draft202012Validator.check_schema(schema)

    def declared(self, command, value):
        """No member is printed that is not in the contract."""
        rows = value if isinstance(value, list) else [value]
        names = {field["name"] for field in command["fields"]}
        for row in rows:
            self.assertEqual(set(row) - names, set())

    def prepared(self, command):
        place = self.place()
        for before in BEFORE.get(command["name"], []):
            self.assertEqual(shell(place, f"mer --allow-changes {before}").returncode, 0)
        return place

    def check(self, command, line):
        option = "--allow-changes" if command["changes"] else ""
        done = shell(self.prepared(command), f"MER_FORMAT=jsonl mer {option} {line} --jsonl")
        schema = command["schema"]["items"] if command["prints"] == "rows" else command["schema"]
        for text in done.stdout.splitlines():
            self.validator(schema).validate(json.loads(text))
        if "--lines" in line:
            return 1
        done = shell(self.prepared(command), f"mer {option} {line} --json")
        if done.stdout == "":
            return 0
        value = json.loads(done.stdout)
        if isinstance(value, dict) and set(value) == {"error", "code", "hint"}:
            self.validator(self.contract["error_schema"]).validate(value)
            return 0
        self.validator(command["schema"]).validate(value)
        self.declared(command, value)
        return 1

    def test_what_is_printed(self):
        for command in self.contract["commands"]:
            if command["schema"] is None or "json" not in command["common"] or command["prompt"]:
                continue
            seen = 0
            for line in [*command["examples"], *self.MORE.get(command["name"], [])]:
                with self.subTest(line=line):
                    seen += self.check(command, line)
            with self.subTest(command=command["name"]):
                self.assertGreater(seen, 0)

    def test_commands_that_print_json_say_what(self):
        for command in self.contract["commands"]:
            if command["prompt"]:
                continue
            with self.subTest(command=command["name"]):
                prints = "json" in command["common"] or command["name"] == "log export"  # by --format
                self.assertEqual(prints, command["schema"] is not None)
                self.assertEqual(command["name"], " ".join(command["words"]))

    def test_failures(self):
        for line, code in (("model show nosuch", 3), ("model lis", 2), ("model remove iris", 4), ("log --limit 0", 2),
                           ("--database sqlite:nothing.db log", 5)):
            with self.subTest(line=line):
                done = shell(self.place(), f"mer --json {line}")
                value = json.loads(done.stdout)
                self.validator(self.contract["error_schema"]).validate(value)
                self.assertEqual((done.returncode, value["code"]), (code, code))

    def test_exit_codes_and_types(self):
        names = [row["name"] for row in self.contract["exit_codes"]]
        self.assertNotIn(None, names)
        self.assertEqual(len(set(names)), len(names))
        for command in self.contract["commands"]:
            for arg in command["args"]:
                with self.subTest(command=command["name"], arg=arg["name"]):
                    self.assertEqual("choices" in arg, arg["type"] == "choice")
        run = {command["name"]: command for command in self.contract["commands"]}["run"]
        self.assertEqual([(arg["type"], arg["is"]) for arg in run["args"][:2]], [("text", "model"), ("text", "@file")])
        secrets = [row["name"] for row in self.contract["settings"] if row["secret"]]
        self.assertIn("database", secrets)


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())

#!/usr/bin/python3
"""`mer doctor`: each thing that can be wrong, made wrong; and that one check does not end the others. MER_PREFIX names
the installation. Prints TAP when run as a program."""
import json
import os
import shutil
import unittest

from record_case import MER, PREFIX, SANITIZED, OnPostgres, OnSqlite, main

OWNER = "01980000-0000-7000-8000-00000000beef"
RUN = "01980000-0000-7000-8000-00000000cafe"
CHECKS = {"database", "schema", "integrity", "owners", "clock", "server", "deployment", "weights", "installation",
          "files", "disk"}


class Doctor:
    def doctor(self, code, *before, **options):
        out, err = self.call(code, *before, "doctor", "--json", **options)
        findings = json.loads(out)
        for finding in findings:
            self.assertEqual(["severity", "check", "subject", "finding", "advice"], list(finding))
        faults, warnings = (sum(row["severity"] == severity for row in findings) for severity in ("fault", "warning"))
        self.assertEqual(9 if faults else 0, code)
        if faults:
            self.assertIn(f"mer: doctor found {faults} fault{'s'[:faults != 1]} and "
                          f"{warnings} warning{'s'[:warnings != 1]}\n", err)
        else:
            self.assertEqual("", err)
        return [row for row in findings if row["severity"] not in ("ok", "note")], findings

    def only(self, findings, **expected):
        """The one finding, which has these texts in it; and what to do is said."""
        self.assertEqual(1, len(findings), findings)
        for key, text in expected.items():
            self.assertIn(text, findings[0][key])
        self.assertTrue(findings[0]["advice"], findings)

    def add(self, *options):
        self.change("model", "add", "m", *options)

    def test_all_is_well(self):
        found, all_of_it = self.doctor(0)
        self.assertEqual([], found)
        self.assertEqual(CHECKS - {"files"} if self.kind == "postgres" else CHECKS, {row["check"] for row in all_of_it})
        self.assertEqual(b"", self.out("--quiet", "doctor"))
        rows = [line.split("\t") for line in self.out("doctor").decode().splitlines()]
        self.assertEqual([row["check"] for row in all_of_it], [row[1] for row in rows])

    def test_program(self):
        self.add("--", "no-such-program")
        self.only(self.doctor(9)[0], severity="fault", check="deployment", subject="m/local", finding="'no-such-program'")
        self.change("deployment", "set", "m", "enabled=off")
        self.assertEqual([], self.doctor(0)[0])

    def test_program_not_executable(self):
        self.file("script", "#!/bin/sh\n")
        self.add("--workdir", self.folder, "--", "./script")
        self.only(self.doctor(9)[0], severity="fault", subject="m/local", finding="'./script'")
        os.chmod(self.folder / "script", 0o755)
        self.assertEqual([], self.doctor(0)[0])

    def test_folder(self):
        (self.folder / "work").mkdir()
        self.add("--workdir", self.folder / "work", "--", "cat")
        (self.folder / "work").rmdir()
        self.only(self.doctor(9)[0], severity="fault", check="deployment", finding=f"no folder '{self.folder}/work'")

    def test_weights(self):
        path = self.file("weights", "one")
        self.add("--", "cat")
        self.change("weights", "add", "m", path)
        self.change("weights", "use", "m", "1")
        self.assertEqual([], self.doctor(0)[0])
        path.unlink()
        self.only(self.doctor(9)[0], severity="fault", check="weights", subject="m/local", finding=str(path))
        path.write_text("two")
        self.only(self.doctor(9)[0], severity="fault", check="weights", finding="is not what version 1 was")

    def test_plain_secrets(self):
        self.add("--env", "API_TOKEN=hush", "--env", "DB_PASSWORD=env:X", "--env", "COLOR=red", "--", "cat")
        found = self.doctor(0)[0]
        self.only(found, severity="warning", check="secrets", subject="m/local", finding="API_TOKEN", advice="env:NAME")
        self.assertNotIn("hush", json.dumps(found))

    def test_edited_and_newer_scripts(self):
        self.sql("UPDATE migrations SET sha256 = replace(sha256, substr(sha256, 1, 4), 'ffff') WHERE num = 3")
        self.only(self.doctor(0)[0], severity="warning", check="schema", subject="03-Runs")
        self.sql("INSERT INTO migrations (num, name, sha256, canonical_sha256, duration_ms, applied_by, tool_version) "
                 "VALUES (999, 'Future', 'x', 'x', 1, 'x', 'x')")
        found = self.doctor(9)[0]
        self.assertIn(("schema", "fault"), [(row["check"], row["severity"]) for row in found])
        self.assertIn("newer than this mer", json.dumps(found))

    def test_half_done_script(self):
        self.sql("UPDATE migrations SET state = 'started' WHERE num = 9")
        self.assertIn("began and did not end", json.dumps(self.doctor(9)[0]))

    def test_dead_owner(self):
        """It is told, not mended."""
        self.sql("INSERT INTO owners (uid, host, pid, program, started_at) VALUES "
                 f"('{OWNER}', 'h', 7, 'mer', '2999-01-01T00:00:00.000Z')")
        self.sql("INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, owner) VALUES "
                 f"('{RUN}', 'iris', 'batch', 'w', 'h', 7, 'running', '2026-01-01T00:00:00.000Z', '{OWNER}')")
        for _ in range(2):
            self.only(self.doctor(0)[0], severity="warning", check="owners", subject="7 on h", finding="1 runs open")
        self.log()
        self.assertEqual([], self.doctor(0)[0])

    def test_clock(self):
        self.sql("INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, stopped_at) "
                 f"VALUES ('{RUN}', 'iris', 'batch', 'w', 'h', 7, 'ok', '2999-01-01T00:00:00.000Z', "
                 "'2999-01-01T00:00:00.000Z')")
        self.only(self.doctor(0)[0], severity="warning", check="clock", finding="newest run")

    def test_installation(self):
        """A mer without its parts."""
        shutil.copytree(PREFIX, self.folder / "mer", symlinks=True)
        mer = self.folder / "mer" / "bin" / "mer"
        self.assertEqual([], self.doctor(0, program=mer)[0])
        (self.folder / "mer" / "libexec" / "mer" / "mer-guard").unlink()
        shutil.rmtree(self.folder / "mer" / "lib" / "mer" / "python")
        found = self.doctor(9, program=mer)[0]
        self.assertEqual([("fault", "installation"), ("warning", "installation")],
                         [(row["severity"], row["check"]) for row in found])

    def test_installation_that_anybody_may_change(self):
        """Code and SQL that another user puts there would be this one's."""
        shutil.copytree(PREFIX, self.folder / "mer", symlinks=True)
        for below in ("libexec/mer/mer-guard", "share/mer/sql", "lib/mer/models"):
            path = self.folder / "mer" / below
            mode = path.stat().st_mode
            path.chmod(mode | 0o002)
            self.only(self.doctor(9, program=self.folder / "mer" / "bin" / "mer")[0], severity="fault", check="installation",
                      subject=str(path), finding="anybody may change")
            path.chmod(mode)

    def test_modules(self):
        """Those that are not there are told of, each with its package; none of them is a fault."""
        shutil.copytree(PREFIX, self.folder / "mer", symlinks=True)
        packages = {"postgres": "mer-postgres", "ssh": "mer-ssh", "http": "mer-http", "yaml": "", "prompt": ""}
        used = "postgres" if self.kind == "postgres" else None
        for name in packages.keys() - {used}:
            (self.folder / "mer" / "lib" / "mer" / f"{name}.so").unlink(missing_ok=True)
        said = {os.path.basename(row["subject"]): row for row in
                self.doctor(0, program=self.folder / "mer" / "bin" / "mer")[1] if row["check"] == "installation"}
        for name, package in packages.items():
            row = said[f"{name}.so"]
            with self.subTest(name):
                self.assertEqual("ok" if name == used else "note", row["severity"])
                self.assertIn(package if name != used else "", row["advice"] or "")


class OfSqlite(Doctor, OnSqlite, unittest.TestCase):
    def test_not_there(self):
        """The rest is looked at all the same, and nothing is made."""
        missing = self.folder / "no" / "mer.db"
        found, all_of_it = self.doctor(9, "--database", f"sqlite:{missing}")
        self.only(found, severity="fault", check="database", finding=f"no database at '{missing}'", advice="mer-migrate up")
        self.assertLess({"installation", "disk"}, {row["check"] for row in all_of_it})
        self.assertFalse(missing.parent.exists())

    def test_not_migrated(self):
        os.chmod(self.file("empty.db", ""), 0o600)
        self.only(self.doctor(9, "--database", f"sqlite:{self.folder}/empty.db")[0], severity="fault", check="schema",
                  finding="not migrated", advice="mer-migrate up")

    def test_no_database_at_all(self):
        self.file("text", "no database, " * 1000)
        os.chmod(self.folder / "text", 0o600)
        self.assertIn(("fault", "database"), [(row["severity"], row["check"]) for row in self.doctor(
            9, "--database", f"sqlite:{self.folder}/text")[0]])

    def test_corrupt(self):
        rows = "), (".join(f"'{RUN[:-6]}{number:06x}', 'iris', 'batch', 'w', 'h', 7, 'ok', 'x', 'x', '{'e' * 900}'"
                           for number in range(500))
        self.sql("INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, stopped_at, "
                 f"error) VALUES ({rows})")
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.sql("PRAGMA journal_mode = DELETE")
        with open(self.folder / "mer.db", "r+b") as file:
            file.seek(-8 * 4096, os.SEEK_END)
            file.write(b"\xff" * 3 * 4096)
        found = self.doctor(9)[0]
        self.assertIn("integrity", {row["check"] for row in found if row["severity"] == "fault"})

    def test_modes(self):
        os.chmod(self.folder / "mer.db", 0o644)
        self.only(self.doctor(0)[0], severity="warning", check="files", finding="others may read it", advice="chmod 600")
        os.chmod(self.folder / "mer.db", 0o666)
        self.only(self.doctor(9)[0], severity="fault", check="files", finding="others may write it")
        os.chmod(self.folder / "mer.db", 0o600)
        (self.folder / "state" / "mer").mkdir(parents=True, mode=0o700, exist_ok=True)
        self.file("state/mer/history", "list\n")
        os.chmod(self.folder / "state" / "mer" / "history", 0o640)
        self.only(self.doctor(0)[0], subject="history", finding="mode 0640")

    def test_full_disk(self):
        if SANITIZED or os.geteuid() != 0:
            self.skipTest("a disk of its own takes root")
        small = self.folder / "small"
        small.mkdir()
        script = 'mount -t tmpfs -o size=8m none "$1" && XDG_DATA_HOME=$1 exec "$0" doctor --json'
        out, _ = self.call(9, "--mount", "sh", "-c", script, MER, str(small), program="/usr/bin/unshare")
        faults = [row for row in json.loads(out) if row["severity"] == "fault"]
        self.only(faults, check="disk", subject="small", finding="MiB are free")


class OfPostgres(Doctor, OnPostgres, unittest.TestCase):
    def test_not_there(self):
        url = "postgres://nobody:hush@/none?host=/no/such/folder"
        found, all_of_it = self.doctor(9, "--database", url)
        self.assertEqual([("warning", "secrets"), ("fault", "database")],
                         [(row["severity"], row["check"]) for row in found])
        self.assertNotIn("hush", json.dumps(all_of_it))
        self.assertIn("installation", {row["check"] for row in all_of_it})

    def test_not_migrated(self):
        url = self.server.new_database()
        self.only(self.doctor(9, "--database", url)[0], severity="fault", check="schema", finding="not migrated")

    def test_index(self):
        self.server.psql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'feedback_by_run'::regclass",
                         self.server.url(self.url.partition("?")[0].rpartition("/")[2], user="postgres"))
        self.only(self.doctor(9)[0], severity="fault", check="integrity", finding="feedback_by_run")


if __name__ == "__main__":
    main("__main__")

#!/usr/bin/python3
"""mer-migrate on Postgres, where it differs: connections and passwords, what a script may leave behind or
find, CREATE INDEX CONCURRENTLY, servers that go away. Prints TAP when run as a program."""
import json
import os
import re
import signal
import socket
import subprocess
import time
import unittest
from pathlib import Path

import pgbouncer
import postgres
from migrate_case import DEADLINE_S, LOCK, PROGRAM, T1, T2, T3, Case, Postgres, run_module

ROUNDS = int(os.environ.get("MER_TEST_ROUNDS", "3"))
ALONE = "-- mer: no-transaction\n"
SECRET = "s3cr3t%zz word"


class PostgresCase(Case):
    Ground = Postgres

    def up_with(self, code, url, *words, **options):
        """At another URL."""
        return self.run_plain(code, "up", "--dir", self.dir, "--database", url, *words, **options)


class Connections(PostgresCase):
    def setUp(self):
        super().setUp()
        self.put("01-A.sql", T1)
        self.server = self.ground.server
        self.tcp = self.server.url(self.ground.database, tcp=True)

    def test_schemes_and_variables(self):
        variables = {"PGHOST": str(self.server.top), "PGPORT": str(self.server.port), "PGUSER": postgres.USER,
                     "PGDATABASE": self.ground.database}
        self.up_with(0, "postgres:", settings=variables)
        self.assertEqual(self.ledger(), [1])
        settings = {**variables, "MER_DATABASE_URL": "postgres:"}
        self.run_plain(0, "status", "--check", "--dir", self.dir, settings=settings)
        self.run_plain(0, "verify", "--dir", self.dir, "--database", "postgresql" + self.ground.url[8:])

    def test_passwords(self):
        self.up_with(0, self.server.url(self.ground.database, tcp=True, password=True))
        file = self.put("password", postgres.PASSWORD + "\n", self.top)
        file.chmod(0o600)
        for settings in ({"MER_DATABASE_PASSWORD": f"file:{file}"},
                         {"MER_DATABASE_PASSWORD": "env:OTHER", "OTHER": postgres.PASSWORD},
                         {"MER_DATABASE_PASSWORD": f"cmd:cat '{file}'"}, {"PGPASSWORD": postgres.PASSWORD}):
            with self.subTest(settings=settings):
                self.up_with(0, self.tcp, settings=settings)
        lines = f"MER_DATABASE_URL={self.tcp}\nMER_DATABASE_PASSWORD=file:{file}\n"
        env_file = self.put("settings.env", lines, self.top)
        self.run_plain(0, "up", "--dir", self.dir, "--env-file", env_file)

    def test_wrong_passwords_are_not_shown(self):
        def check(code, url, **settings):
            for words in ([], ["--json"]):
                done = self.up_with(code, url, *words, settings=settings)
                for word in ("s3cr3t", postgres.PASSWORD):
                    self.assertNotIn(word, done.stdout + done.stderr)
        wrong = self.server.url(self.ground.database, tcp=True, password=SECRET)
        check(4, wrong)
        check(4, self.tcp)
        check(4, f"{self.tcp}?password=s3cr3t")
        check(4, f"postgres://{postgres.USER}:s3cr3t@127.0.0.1:1/x")
        check(4, self.tcp, MER_DATABASE_PASSWORD="env:SECRET", SECRET=SECRET)
        check(2, self.tcp, MER_DATABASE_PASSWORD="s3cr3t")
        check(4, self.tcp, PGPASSWORD=SECRET)
        check(2, f"postgres://{postgres.USER}:s3cr3t%zz@127.0.0.1/x")
        self.assertNotIn("s3cr3t", (self.server.top / "log").read_text(errors="replace"))
        self.assertEqual(self.ledger(), [])

    def test_password_is_not_in_the_arguments(self):
        self.put("01-A.sql", "SELECT pg_sleep(100);")
        for url in (self.server.url(self.ground.database, tcp=True, password=True),
                    f"{self.tcp}?password={postgres.quoted(postgres.PASSWORD)}&application_name=x",
                    f"{self.tcp}?pass%77ord={postgres.quoted(postgres.PASSWORD)}",
                    f"{self.url_of_question()}"):
            process = subprocess.Popen([PROGRAM, "up", "--dir", self.dir, "--database", url], cwd=self.top,
                                       env=self.environment({}), stderr=subprocess.DEVNULL)
            self.wait_for("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(100)%'")
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.terminate()
            self.assertEqual(process.wait(DEADLINE_S), 143)
            self.assertIn(self.ground.database.encode(), command)
            for word in (*map(postgres.quoted, postgres.PASSWORD.split()), "?quest"):
                self.assertNotIn(word.encode(), command)

    def url_of_question(self):
        """A superuser whose password has a '?' as it is."""
        self.server.psql("CREATE ROLE question SUPERUSER LOGIN PASSWORD 'a?quest'; "
                         f"GRANT question TO {postgres.USER}")  # which is to see what it does
        self.addCleanup(self.server.psql, "DROP ROLE question")
        return f"postgres://question:a?quest@127.0.0.1:{self.server.port}/{self.ground.database}"

    def test_the_server_looks_after_us(self):
        """Whether we are there: otherwise the locks of a host that is gone stay for hours."""
        self.put("01-A.sql", "CREATE TABLE ka AS SELECT name, setting FROM pg_settings WHERE name ~ '^tcp_';")
        self.up_with(0, self.server.url(self.ground.database, tcp=True, password=True))
        self.assertEqual(self.ground.psql("SELECT string_agg(setting, ' ' ORDER BY name) FROM ka").strip(),
                         "3 30 10 60000")

    def test_another_encoding(self):
        name = self.ground.database + "_l1"
        self.server.psql(f"CREATE DATABASE {name} OWNER {postgres.USER} ENCODING 'LATIN1' LOCALE 'C' "
                         "TEMPLATE template0")
        done = self.up_with(4, self.server.url(name))
        self.assertIn("is of encoding LATIN1 instead of UTF8\nhint: make another: CREATE DATABASE mer ENCODING 'UTF8'",
                      done.stderr)

    def wait_for(self, query):
        limit = time.monotonic() + DEADLINE_S
        while not self.server.psql(query + " AND pid <> pg_backend_pid()") and time.monotonic() < limit:
            pass

    def test_not_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]  # nobody listens
            for command in ("up", "status", "plan", "verify", "baseline", "repair"):
                words = [command, "1"] if command == "baseline" else [command]
                done = self.run_plain(4, *words, "--dir", self.dir, "--database", f"postgres://me@127.0.0.1:{port}/x")
                self.assertIn("hint: ", done.stderr)
        for url in (self.server.url("nosuch"), self.server.url(user="nosuch"), f"postgres:///x?host={self.top}"):
            self.up_with(4, url)

    def test_scripts_are_of_no_interest_without_a_server(self):
        self.put("bad.sql", T1)
        self.up_with(4, f"postgres:///x?host={self.top}")

    def test_read_only(self):
        self.run_it(0, "up")
        self.put("02-B.sql", T2)
        self.server.psql(f"ALTER DATABASE {self.ground.database} SET default_transaction_read_only = on")
        done = self.run_it(4, "up")
        self.assertIn("read-only", done.stderr)
        self.run_it(6, "status", "--check")
        self.assertEqual(self.tables(), ["t1"])

    def test_no_rights(self):
        self.server.psql("DO $$ BEGIN CREATE ROLE looker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        url = self.server.url(self.ground.database, user="looker")
        done = self.up_with(4, url)
        self.assertIn("the role 'looker'", done.stderr)
        self.assertIn("GRANT", done.stderr)
        self.run_plain(6, "status", "--check", "--dir", self.dir, "--database", url)
        self.assertEqual(self.tables(), [])

    def test_names_itself(self):
        self.put("01-A.sql", "CREATE TABLE t1 AS SELECT current_setting('application_name') AS a;")
        self.run_it(0, "up")
        self.assertEqual(self.rows("SELECT a FROM t1"), [("mer-migrate",)])


class Installed(PostgresCase):
    def test_default_scripts(self):
        url = self.ground.url
        self.run_plain(0, "up", "--database", url)
        scripts = sorted(Path(os.environ["MER_PREFIX"]).glob("**/sql/postgres/*.sql"))
        self.assertEqual(self.ledger(), list(range(1, len(scripts) + 1)))
        self.run_plain(0, "verify", "--strict", "--database", url)
        self.put("1000-Own.sql", T1)
        self.run_it(3, "up")  # without the installed ones those are missing
        self.run_it(0, "up", "--dir", scripts[0].parent)
        self.run_plain(0, "status", "--check", "--database", url)


class Gone(PostgresCase):
    """The connection is lost while a script runs."""

    def setUp(self):
        super().setUp()
        self.put_three()

    def test_session_is_ended(self):
        self.put("02-B.sql", T2 + "SELECT pg_terminate_backend(pg_backend_pid());\n" + "CREATE TABLE t4(a int);")
        done = self.run_it(4, "up")
        self.assertIn("applied 01-A.sql", done.stdout)
        self.assertIn("02-B.sql", done.stderr)
        self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))
        self.put("02-B.sql", T2)
        self.run_it(0, "up")

    def test_server_is_killed(self):
        self.put("02-B.sql", T2 + "SELECT pg_sleep(100);")
        with postgres.Postgres() as server:
            url = server.new_database()
            self.ground.url = url
            process = self.start("up")
            limit = time.monotonic() + DEADLINE_S
            while "pg_sleep" not in server.psql("SELECT query FROM pg_stat_activity WHERE state = 'active' AND "
                                                "pid <> pg_backend_pid()") and time.monotonic() < limit:
                pass
            server.kill9()
            _, err = process.communicate(timeout=DEADLINE_S)
            self.assertEqual(process.returncode, 4, err)
            self.check_stderr(err)
            server.start()
            self.assertEqual(server.psql("SELECT num FROM migrations", url), "1\n")
            self.put("02-B.sql", T2)
            self.run_it(0, "up")
            self.assertEqual(server.psql("SELECT count(*) FROM migrations", url), "3\n")


class Scripts(PostgresCase):
    def applied(self, *texts):
        for number, text in enumerate(texts, 1):
            self.put(f"{number:02d}-X.sql", text)
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), list(range(1, len(texts) + 1)))
        self.run_it(0, "verify", "--strict")

    def test_bodies(self):
        self.applied("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$\nBEGIN\n  PERFORM ';'; -- a ; here\n"
                     "  RETURN 1;\nEND;\n$body$;\nCREATE TABLE t1(a int);\n"
                     "DO $$ BEGIN INSERT INTO t1 VALUES (f()); /* COMMIT; */ END $$;\n"
                     "CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC\n  SELECT 1;\n"
                     "  SELECT CASE WHEN true THEN 2 END;\nEND;\n"
                     "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t1 VALUES (g()); END;\n"
                     "CREATE TABLE t2(a int);\nCREATE RULE r AS ON INSERT TO t2 DO ALSO (INSERT INTO t1 VALUES (3); "
                     "INSERT INTO t1 VALUES (4););\nINSERT INTO t2 VALUES (1);\nCALL p();\n"
                     "SELECT E'it\\'s; COMMIT', 'a\\', $$;$$ /* /* ; */ COMMIT; */;\n"
                     "CREATE FUNCTION h() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\n"
                     "CREATE TRIGGER tr BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION h()")
        self.assertEqual(self.rows("SELECT a FROM t1 ORDER BY 1"), [(1,), (2,), (3,), (4,)])

    def test_dump(self):
        """pg_dump's header empties the search path; its last releases add two commands of psql."""
        header = ("SET statement_timeout = 0;\nSET standard_conforming_strings = on;\n"
                  "SELECT pg_catalog.set_config('search_path', '', false);\nSET check_function_bodies = false;\n"
                  "SET default_table_access_method = heap;\n")
        body = "CREATE TABLE public.t1 (\n    a integer\n);\nALTER TABLE public.t1 OWNER TO mer;\n"
        title = "--\n-- PostgreSQL database dump\n--\n\n"
        self.put("01-A.sql", title + "\\restrict hVxG8\n" + header + body + "\\unrestrict hVxG8\n")
        done = self.run_it(2, "up")
        self.assertIn("01-A.sql:5:1: ", done.stderr)
        self.assertIn("unrestrict", done.stderr)
        (self.dir / "01-A.sql").unlink()
        self.applied(title + header + body, "CREATE TABLE t2(a int);")
        self.assertEqual(self.tables(), ["t1", "t2"])

    def test_nothing_leaks_into_the_next_script(self):
        self.ground.psql("CREATE SCHEMA other; CREATE TABLE seen(n int, name text, value text)")
        note = "".join(f"INSERT INTO public.seen VALUES ({{n}}, '{name}', {value});\n" for name, value in (
            ("path", "current_setting('search_path')"), ("memory", "current_setting('work_mem')"),
            ("user", "current_user"), ("session", "session_user"), ("zone", "current_setting('TimeZone')"),
            ("own", "current_setting('my.setting', true)")))
        self.server_role()
        self.applied(note.format(n=1) + "SET search_path = other; SET work_mem = '7MB'; SET TimeZone = 'Asia/Tokyo';\n"
                     "SET my.setting = 'x'; SET LOCAL statement_timeout = '1h'; CREATE TABLE x(a int);\n"
                     "SET ROLE helper;",
                     note.format(n=2) + "CREATE TABLE y(a int);\nCREATE TEMP TABLE t(a int); PREPARE p AS SELECT 1;",
                     note.format(n=3) + "CREATE TEMP TABLE t(a int); PREPARE p AS SELECT 1;\n"
                     "DECLARE c CURSOR WITH HOLD FOR SELECT 1; LISTEN z;",
                     note.format(n=4) + "DECLARE c CURSOR WITH HOLD FOR SELECT 1; DEALLOCATE ALL;")
        seen = self.rows("SELECT n, name, coalesce(nullif(value, ''), '-') AS v FROM seen ORDER BY 2, 1")
        for name in ("path", "memory", "user", "session", "zone", "own"):
            self.assertEqual(len({value for _, of, value in seen if of == name}), 1, seen)
        self.assertEqual(self.tables(), ["seen", "y"])
        self.assertEqual(self.rows("SELECT count(*) AS n FROM other.x"), [(0,)])

    def server_role(self):
        """A role that may use what it makes, and not the ledger."""
        server = self.ground.server
        server.psql("DO $$ BEGIN CREATE ROLE helper; EXCEPTION WHEN duplicate_object THEN NULL; END $$;\n"
                    f"GRANT helper TO {postgres.USER}")

    def test_locks_of_a_script_are_not_ours(self):
        self.put("01-A.sql", "SELECT pg_advisory_unlock_all();")
        self.put("02-B.sql", "SELECT pg_sleep(100);")
        process = self.start("up")
        limit = time.monotonic() + DEADLINE_S
        while self.ledger() != [1] and time.monotonic() < limit:
            pass
        self.run_it(5, "up", "--wait", "0")
        process.terminate()
        process.communicate()
        self.assertEqual(process.returncode, 143)

    def test_locks_of_a_function_are_not_ours(self):
        self.put("01-A.sql", "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_unlock_all()';")
        self.put("02-B.sql", "SELECT f();")
        self.put("03-C.sql", "SELECT pg_sleep(100);")
        process = self.start("up")
        limit = time.monotonic() + DEADLINE_S
        while self.ledger() != [1, 2] and time.monotonic() < limit:
            pass
        self.run_it(5, "up", "--wait", "0")
        process.terminate()
        process.communicate()
        self.assertEqual(process.returncode, 143)

    def test_lock_that_a_function_gives_up(self):
        """Nothing in the scripts tells that the function, which was there before, does so."""
        self.ground.psql("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_unlock_all()'")
        self.put("01-A.sql", "SELECT f();")
        self.put("02-B.sql", T2)
        done = self.run_it(4, "up")
        self.assertIn("'02-B.sql' was not applied: a script gave up the lock", done.stderr)
        self.assertEqual((self.tables(), self.ledger()), ([], [1]))
        self.run_it(0, "up")

    def test_lock_that_is_lost_between_scripts(self):
        self.put("01-A.sql", T1 + "CREATE TEMP TABLE x(a int);")  # so there is a second connection
        self.put("02-B.sql", T2 + "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' "
                                  "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = "
                                  "current_database()) AND pid <> pg_backend_pid();")
        self.put("03-C.sql", T3)
        done = self.run_it(4, "up")
        self.assertIn("'03-C.sql' was not applied", done.stderr)
        self.assertIn("its lock with it", done.stderr)
        self.assertEqual((self.tables(), self.ledger()), (["t1", "t2"], [1, 2]))
        self.run_it(0, "up")

    def test_whose_statement_failed(self):
        self.put("01-A.sql", T1)
        self.run_it(0, "up")
        self.put("02-B.sql", T2 + "SET TRANSACTION READ ONLY;\nSELECT 1;")
        self.assertIn("02-B.sql: cannot execute", self.run_it(1, "up").stderr)
        self.put("02-B.sql", "SET TRANSACTION READ ONLY;\nINSERT INTO t1 VALUES (1);")
        self.assertIn("02-B.sql:2:1: cannot execute", self.run_it(1, "up").stderr)
        self.put("02-B.sql", "CREATE SCHEMA s; CREATE TABLE s.migrations(num int PRIMARY KEY);\n"
                             "INSERT INTO s.migrations VALUES (1), (1);")
        self.assertIn("02-B.sql:2:1: duplicate key", self.run_it(1, "up").stderr)
        self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))

    def test_ledger_that_may_not_be_written(self):
        """It is not the script's fault."""
        self.put("01-A.sql", T1)
        self.run_it(0, "up")
        self.put("02-B.sql", "SET work_mem = '7MB'; SELECT 1;")
        server = self.ground.server
        server.psql("DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        self.ground.psql("GRANT SELECT ON migrations TO reader")
        url = server.url(self.ground.database, user="reader")
        self.assertIn("the role 'reader'", self.up_with(4, url).stderr)
        self.put("02-B.sql", "CLOSE ALL; RESET ALL; SELECT * FROM t1;")
        self.assertIn("02-B.sql", self.up_with(1, url).stderr)

    def test_transactions_that_end(self):
        self.put("01-A.sql", T1)
        self.ground.psql("CREATE PROCEDURE ends() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")
        for text in ("DO $$ BEGIN COMMIT; END $$;", "CALL ends();"):
            with self.subTest(text=text):
                self.put("02-B.sql", T2 + text + "\n" + T3)
                self.run_it(1, "up")
                self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))

    def test_constraints_at_the_end(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", "CREATE TABLE p(id int PRIMARY KEY);\n"
                             "CREATE TABLE c(p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);\n"
                             "INSERT INTO c VALUES (7);")
        done = self.run_it(1, "up")
        self.assertIn("02-B.sql", done.stderr)
        self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))

    def test_old_strings(self):
        """Where the database says that a backslash in '' is special, a script is still read as it is everywhere."""
        self.ground.server.psql(f"ALTER DATABASE {self.ground.database} SET standard_conforming_strings = off")
        self.put("01-A.sql", T1 + "CREATE TABLE s AS SELECT '\\'';COMMIT;--' AS a;\n")
        self.run_it(0, "up")
        self.assertEqual(self.rows("SELECT a FROM s"), [("\\';COMMIT;--",)])

    def test_values_in_the_text(self):
        self.applied("CREATE TABLE t1 AS SELECT '$1 %s {ledger} $mer0$ $mer$' AS a;")
        self.assertEqual(self.rows("SELECT a FROM t1"), [("$1 %s {ledger} $mer0$ $mer$",)])

    def test_error_without_a_position_names_the_statement(self):
        self.put("01-A.sql", T1)
        for text, place in (("SELECT 1;\n\n  CREATE TABLE t1(a int);\nSELECT 2;", "3:3"),
                            ("SELECT ';' /* ; */;;\nCREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; "
                             "SELECT 2; END; CREATE TABLE t1(a int)", "2:71"), ("CREATE TABLE t1(a int);", "1:1")):
            with self.subTest(text=text):
                self.put("02-B.sql", text)
                done = self.run_it(1, "up")
                self.assertIn(f'02-B.sql:{place}: relation "t1" already exists', done.stderr)
                self.assertIn("^", done.stderr)

    def test_schema_of_the_ledger(self):
        """It is the first of the search path when connecting, whatever a script makes of that."""
        self.ground.psql("CREATE SCHEMA own")
        self.put("01-A.sql", "SET search_path = public; CREATE TABLE t1(a int); CREATE TABLE migrations(x int);")
        self.put("02-B.sql", "CREATE TABLE t2(a int); CREATE TEMP TABLE migrations(x int);")
        self.ground.url += "&options=-csearch_path%3Down"
        self.run_it(0, "up")
        self.run_it(0, "status", "--check")
        counts = "SELECT count(*) FROM own.migrations; SELECT count(*) FROM public.migrations"
        self.assertEqual(self.ground.psql(counts), "2\n0\n")


class Concurrently(PostgresCase):
    def setUp(self):
        super().setUp()
        self.put("01-A.sql", T1 + "INSERT INTO t1 SELECT generate_series(1, 1000);")
        for number in (2, 3, 4):
            self.put(f"{number:02d}-I.sql", f"{ALONE}CREATE INDEX CONCURRENTLY i{number} ON t1(a);\n")
        self.put("05-B.sql", T2)

    def test_many_at_once(self):
        """Those who wait for the lock hold no snapshot that CONCURRENTLY would wait for."""
        for _ in range(ROUNDS):
            self.ground.reset()
            processes = [self.start("up", "--wait", "60s") for _ in range(4)]
            results = [process.communicate(timeout=DEADLINE_S) for process in processes]
            self.assertEqual([process.returncode for process in processes], [0] * 4, results)
            applied = re.findall(r"^applied (\d+)", "".join(out for out, _ in results), re.MULTILINE)
            self.assertEqual(sorted(applied), ["01", "02", "03", "04", "05"])
            valid = "SELECT count(*) AS n FROM pg_index WHERE indrelid = 't1'::regclass AND indisvalid"
            self.assertEqual(self.rows(valid), [(3,)])

    def test_invalid_index_is_named(self):
        self.put("02-I.sql", f"{ALONE}CREATE UNIQUE INDEX CONCURRENTLY i2 ON t1((a % 10));\n")
        done = self.run_it(1, "up")
        self.assertIn("repair --forget 2", done.stderr)
        self.assertEqual(self.rows("SELECT indisvalid FROM pg_index WHERE indrelid = 't1'::regclass"), [(False,)])
        self.assertIn("'02-I.sql' began at", self.run_it(3, "up").stderr)
        self.ground.psql("DROP INDEX i2")
        self.run_it(0, "repair", "--forget", "2")
        self.put("02-I.sql", f"{ALONE}CREATE INDEX CONCURRENTLY i2 ON t1((a % 10));\n")
        self.run_it(0, "up")

    def test_invalid_index_that_a_function_has_left(self):
        """Its failure looks like that of a statement which did not begin."""
        failures = ("PERFORM 1 FROM nosuch;", "RAISE EXCEPTION 'no (SQLSTATE 42P01)';",
                    "RAISE EXCEPTION 'no' USING ERRCODE = '0A000';")
        for number, failure in enumerate(failures):
            with self.subTest(failure=failure):
                self.ground.reset()
                self.ground.psql("CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
                                 f"$$ BEGIN {failure} RETURN 1; END $$")
                self.put("02-I.sql", f"{ALONE}CREATE INDEX CONCURRENTLY i{number} ON t1(f(a));\n")
                done = self.run_it(1, "up")
                self.assertIn("repair --forget 2", done.stderr)
                self.assertNotIn("nothing of it was kept", done.stderr)
                self.assertEqual(self.rows("SELECT num, state FROM migrations ORDER BY num"),
                                 [(1, "applied"), (2, "started")])
                self.assertIn("'02-I.sql' began at", self.run_it(3, "up").stderr)

    def test_refused_at_once_leaves_nothing(self):
        for statement in ("CREATE INDEX CONCURRENTLY i ON nosuch(a);", "CREATE INDEX CONCURRENTLY i ON t1(nosuch);",
                          "CREATE INDEX CONCURRENTLY t1 ON t1(a);", "DROP INDEX CONCURRENTLY nosuch;", "VACUUM nosuch;",
                          "CREAT INDEX"):
            with self.subTest(statement=statement):
                self.put("02-I.sql", f"{ALONE}{statement}\n")
                self.assertIn("nothing of it was kept", self.run_it(1, "up").stderr)
                self.assertEqual(self.ledger(), [1])
        self.put("02-I.sql", f"{ALONE}CREATE INDEX CONCURRENTLY i2 ON t1(a);\n")
        self.run_it(0, "up")

    def test_procedure_that_commits_is_not_forgotten(self):
        self.put("02-I.sql", f"{ALONE}DO $$ BEGIN CREATE TABLE half(a int); COMMIT; PERFORM nosuch(); END $$;")
        self.run_it(1, "up")
        self.assertEqual(self.tables(), ["half", "t1"])
        self.run_it(3, "up")


class Locks(PostgresCase):
    def test_an_open_transaction_is_waited_for(self):
        self.put("01-A.sql", T1)
        self.run_it(0, "up")
        self.put("02-B.sql", "ALTER TABLE t1 ADD b int;")
        argv = [postgres.programs() / "psql", "-X", "-q", "-A", "-t", self.ground.url]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            other.stdin.write("BEGIN; SELECT count(*) FROM t1;\n")
            other.stdin.flush()
            self.assertEqual(other.stdout.readline(), "0\n")
            process = self.start("up")
            limit = time.monotonic() + DEADLINE_S
            while time.monotonic() < limit and self.ground.psql(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted") == "0\n":
                pass
            self.assertIsNone(process.poll())
            other.stdin.write("COMMIT;\n")
            other.stdin.close()
            self.assertEqual(process.communicate(timeout=DEADLINE_S)[1], "")
        self.assertEqual(process.returncode, 0)

    def test_the_key_is_documented(self):
        self.put("01-A.sql", "SELECT pg_sleep(100);")
        process = self.start("up")
        limit = time.monotonic() + DEADLINE_S
        query = ("SELECT (classid::bigint << 32 | objid::bigint) FROM pg_locks WHERE locktype = 'advisory' "
                 "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
        while (found := self.ground.psql(query)) == "" and time.monotonic() < limit:
            pass
        self.assertEqual(int(found), LOCK)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 130)


class SmallPostgres(Postgres):
    """On a disk that is full soon."""

    server = None

    @classmethod
    def get_server(cls):
        if cls.server is None:
            cls.server = postgres.Postgres(disk=True)
            unittest.addModuleCleanup(cls.stop_server)
        return cls.server

    def new_url(self):
        return self.get_server().new_database(tablespace="small")


class FullDisk(Case):
    Ground = SmallPostgres
    fill = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100000);\n"

    def check_full(self, name, applied):
        done = self.run_it(4, "up")
        self.assertRegex(done.stderr, rf"'{name}' was not applied: the database .* is full: no space on its disk")
        self.assertEqual((self.tables(), self.ledger()), (["filler", *[f"t{n}" for n in applied[1:]]], applied))
        self.assertEqual(self.rows("SELECT count(*) AS n FROM filler"), [(0,)])

    def test_nothing_is_left_of_the_script(self):
        self.put("01-A.sql", "CREATE TABLE filler (a text);\n")
        self.put("02-B.sql", T2)
        self.put("03-C.sql", T3 + self.fill)
        self.check_full("03-C.sql", [1, 2])
        self.check_full("03-C.sql", [1, 2])
        self.put("03-C.sql", T3)
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1, 2, 3])

    def test_outside_a_transaction(self):
        self.put("01-A.sql", "CREATE TABLE filler (a text);\n")
        self.put("02-B.sql", ALONE + self.fill)
        done = self.run_it(4, "up")
        self.assertIn("is full", done.stderr)
        self.assertEqual(self.rows("SELECT count(*) AS n FROM filler"), [(0,)])
        self.assertIn("02-B.sql", self.run_it(3, "up").stderr)
        self.run_it(0, "repair", "--forget", 2)
        self.put("02-B.sql", ALONE + "VACUUM filler;\n")
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1, 2])


class Poolers(PostgresCase):
    """The lock is the session's: of a pooler's sessions only one that is ours alone will do."""

    def setUp(self):
        super().setUp()
        self.put_three()

    def check_refused(self, mode, message):
        with pgbouncer.Pooler(self.ground.server, mode) as pooler:
            url = pooler.url(self.ground.database)
            done = self.up_with(4, url)
            self.assertIn(message, done.stderr)
            self.assertEqual(json.loads(self.up_with(4, url, "--json").stdout)["code"], 4)
            self.assertEqual((self.tables(), self.ledger()), ([], []))
            self.run_it(0, "up", "--wait", "0")  # no lock is left behind in the pooler's session
        return done

    def test_of_transactions_is_refused(self):
        done = self.check_refused("transaction", "a pooler before the database")
        self.assertIn("gives each transaction another session\nhint: connect to the server itself", done.stderr)

    def test_of_statements_is_refused(self):
        self.check_refused("statement", "not allowed in statement pooling mode")

    def test_of_sessions_is_fine(self):
        with pgbouncer.Pooler(self.ground.server, "session") as pooler:
            url = pooler.url(self.ground.database)
            self.up_with(0, url)
            self.up_with(0, url)
            self.run_plain(0, "status", "--check", "--dir", self.dir, "--database", url)
        self.assertEqual(self.ledger(), [1, 2, 3])


if __name__ == "__main__":
    run_module(__name__)

#!/usr/bin/python3
"""W3C trace contexts, from mer's environment to models and the record; and how log lines look. MER_PREFIX names the
installation. Prints TAP when run as a program."""
import json
import re
import unittest

from record_case import PYTHON, OnPostgres, OnSqlite, main

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"
UID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
FRAME = """
import mer
@mer.model
def told(text: str) -> str:
    return str(mer.traceparent())
@mer.train
def train(job):
    open(job.new_weights, "w").write(str(mer.traceparent()))
mer.serve()
"""


def passed(uid, flags="01"):
    """What a run hands on."""
    return f"00-{TRACE}-{uid[19:23]}{uid[24:]}-{flags}"


class Trace:
    def setUp(self):
        super().setUp()
        self.change("model", "add", "env", "--", "sh", "-c", 'printf %s "$TRACEPARENT"')
        self.file("told.py", FRAME)
        self.change("model", "add", "frame", "--protocol", "frame", "--", PYTHON, "told.py")

    def run_in(self, model, *words, given=GIVEN, **options):
        """What a run with that TRACEPARENT answers, and its row."""
        out, err = self.call(0, "run", *words, model, "x", env={"TRACEPARENT": given} if given else None, **options)
        self.assertEqual("", err)
        return out.decode(), self.shown()

    def test_a_process_a_run(self):
        out, row = self.run_in("env")
        self.assertEqual((passed(row["request_uid"]), GIVEN), (out, row["traceparent"]))

    def test_each_run_of_many(self):
        self.file("lines", "a\nb\nc\n")
        for model in ("env", "frame"):
            out, _ = self.call(0, "run", "--lines", "--jobs", "2", model, "@lines", env={"TRACEPARENT": GIVEN})
            rows = self.log("--limit", "3")[::-1]
            self.assertEqual([passed(row["request_uid"]) for row in rows], out.decode().split())

    def test_a_worker_that_is_told(self):
        out, row = self.run_in("frame")
        self.assertEqual((passed(row["request_uid"]), GIVEN), (out, row["traceparent"]))
        out, row = self.run_in("frame", "--timeout", "100s")  # beside another field
        self.assertEqual(passed(row["request_uid"]), out)

    def test_none(self):
        for model, want in (("env", ""), ("frame", "None")):
            out, row = self.run_in(model, given=None)
            self.assertEqual((want, None), (out, row["traceparent"]))

    def test_clean_environment(self):
        self.change("model", "set", "env", "clean-env=on")
        out, row = self.run_in("env")
        self.assertEqual(passed(row["request_uid"]), out)

    def test_what_is_none_is_left_alone(self):
        """It is not ours to mend: no trace is recorded, and the variable is inherited like any other."""
        for given in ("x", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01",
                      GIVEN.upper(), GIVEN + "-x", GIVEN[:-1], f"00-{TRACE}-{PARENT}-0g"):
            with self.subTest(given):
                out, row = self.run_in("env", given=given)
                self.assertEqual((given, None), (out, row["traceparent"]))
        self.assertEqual("None", self.run_in("frame", given="x")[0])

    def test_later_version(self):
        out, row = self.run_in("env", given=f"01-{TRACE}-{PARENT}-03-more")
        self.assertEqual((passed(row["request_uid"], "03"), f"00-{TRACE}-{PARENT}-03"), (out, row["traceparent"]))

    def test_training(self):
        self.file("data", "1")
        self.call(0, "--allow-changes", "train", "frame", "--dataset", "data", env={"TRACEPARENT": GIVEN})
        row = self.shown()
        self.assertEqual(("train", GIVEN), (row["kind"], row["traceparent"]))
        path = json.loads(self.out("weights", "list", "frame", "--json"))[0]["path"]
        with open(path, encoding="utf-8") as file:
            self.assertEqual(passed(row["request_uid"]), file.read())

    def test_log_of_a_trace(self):
        ours = [self.run_in(model)[1]["request_uid"] for model in ("env", "frame", "env")][::-1]
        self.run_in("env", given=None)
        self.run_in("env", given=GIVEN.replace("0af7", "1af7"))
        uids = lambda *words: [row["request_uid"] for row in self.log(*words)]
        self.assertEqual(ours, uids("--trace", TRACE))
        self.assertEqual(ours, uids("--trace", passed(ours[0])))
        self.assertEqual(ours[:1], uids("--trace", TRACE, "--limit", "1"))
        self.assertEqual(ours[1:2], uids("--trace", TRACE, "--model", "frame"))
        self.assertEqual(ours[::-1], uids("--trace", TRACE, "--sort", "request_uid"))
        self.assertEqual([], uids("--trace", TRACE, "--status", "failed"))
        self.assertEqual([], uids("--trace", TRACE, "--since", "2999-01-01"))
        self.assertEqual([], uids("--trace", "1" * 32))
        for words in (("--trace", "xyz"), ("--trace", TRACE + "0"), ("--trace", TRACE.upper()), ("--trace", ""),
                      ("--trace", TRACE, "--follow")):
            self.call(2, "log", *words)


class OfSqlite(Trace, OnSqlite, unittest.TestCase):
    def test_by_an_index(self):
        plan = self.sql("EXPLAIN QUERY PLAN SELECT 1 FROM model_access WHERE traceparent <> '' AND traceparent >= 'a' "
                        "AND traceparent < 'b'")
        self.assertIn("model_access_trace", str(plan))


class OfPostgres(Trace, OnPostgres, unittest.TestCase):
    pass


class Lines(OnSqlite, unittest.TestCase):
    """MER_LOG_FORMAT."""

    def err(self, code, *words, how="json", log="info", **env):
        _, err = self.call(code, *words, env={"MER_LOG_FORMAT": how, "MER_LOG": log} | env)
        return err.splitlines()

    def test_json(self):
        self.change("model", "add", "talks", "--", "sh", "-c", 'printf "a\\"b\\001\\377\\nlast" >&2; echo x')
        for words in (("run", "talks", "x"), ("run", "--lines", "talks", "@lines")):
            self.file("lines", "one\n")
            lines = [json.loads(line) for line in self.err(0, *words)]
            uid = self.log("--limit", "1")[0]["request_uid"]
            for line in lines:
                self.assertEqual(["time", "level", "area", "message", "request_uid"], list(line))
                self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
                self.assertEqual(("info", uid), (line["level"], line["request_uid"]))
            self.assertEqual(["model", "model", "run"], [line["area"] for line in lines])
            self.assertIn("last", lines[1]["message"])
            self.assertIn("status=ok", lines[2]["message"])

    def test_each_line_of_a_run(self):
        lines = [json.loads(line) for line in self.err(0, "run", "digest", "x", log="debug")]
        self.assertLessEqual({"dal", "meal", "run"}, {line["area"] for line in lines})
        of_runs = [line for line in lines if line["area"] == "meal" and re.match("(run|done|cancel) ", line["message"])]
        self.assertEqual(2, len(of_runs))
        self.assertEqual({self.log()[0]["request_uid"]}, {line.get("request_uid") for line in of_runs})

    def test_traced(self):
        line = json.loads(self.err(0, "run", "digest", "x", TRACEPARENT=GIVEN)[-1])
        self.assertIn(f"traceparent={GIVEN}", line["message"])

    def test_errors(self):
        error, = map(json.loads, self.err(3, "run", "nosuch", "x", log="warn"))
        self.assertEqual(("error", "mer", "there is no model 'nosuch'"),
                         (error["level"], error["area"], error["message"]))
        self.file("batch", "\nrun nosuch x\n")
        error, = map(json.loads, self.err(3, "-f", "batch", log="warn"))
        self.assertEqual(("batch:2", "there is no model 'nosuch'"), (error["at"], error["message"]))
        error, = map(json.loads, self.err(2, "modle", log="warn"))
        self.assertTrue(error["hint"])
        error, = map(json.loads, self.err(2, "--quiet", "modle", log="warn"))
        self.assertNotIn("hint", error)

    def test_journal(self):
        self.assertEqual(["<3>mer: there is no model 'nosuch'"], [line for line in self.err(
            3, "run", "nosuch", "x", how="journal", log="warn") if line[:3] != "<6>"])
        lines = self.err(0, "run", "digest", "x", how="journal", log="debug")
        self.assertEqual({"<6>", "<7>"}, {line[:3] for line in lines})
        self.assertRegex(lines[-1] if lines[-1].startswith("<6>") else "\n".join(lines),
                         rf"<6>run: ended request_uid={UID} model=digest")

    def test_text_is_as_ever(self):
        self.assertEqual(self.err(3, "run", "nosuch", "x", how=""), self.err(3, "run", "nosuch", "x", how="text"))
        self.assertEqual("mer: there is no model 'nosuch'", self.err(3, "run", "nosuch", "x", how="")[0])

    def test_no_such_format(self):
        self.assertIn("MER_LOG_FORMAT: 'xml' is none of", self.err(2, "model", "list", how="xml")[0])


if __name__ == "__main__":
    main("__main__")

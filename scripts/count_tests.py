#!/usr/bin/python3
"""Prints 'N passed, N failed, N skipped' for one run of 'meson test', after what meson keeps to
itself of the failures. Exits 1 unless some passed and none failed.

    count_tests.py LOG STATUS

LOG is the common part of LOG.json (a line for each test program) and LOG.junit.xml (each subtest of
those that speak TAP); STATUS is what meson test returned. Both files are needed: the XML takes a
program that died or ran out of time for a passed one.
"""
import collections
import json
import re
import sys
import xml.etree.ElementTree

GOOD = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}
LINES_OF_FAILURES = 300  # of one program
LINES_AT_DEATH = 20


def subtests(path):
    """Test program to the outcomes of its subtests."""
    found = collections.defaultdict(list)
    for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite"):
        _, dot, program = suite.get("name").partition(".")
        if not dot:
            continue  # the programs without subtests are all in the suite of the project
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                found[program].append("failed")
            elif case.find("skipped") is not None:
                found[program].append("skipped")
            else:
                found[program].append("passed")
    return found


def has_died(program):
    return program["result"] in {"TIMEOUT", "INTERRUPT"} or (program["returncode"] or 0) < 0


def outcomes(program, parts):
    """The outcomes one test program counts for."""
    result = program["result"]
    bad = result not in GOOD | SKIPPED
    if parts:
        # It may also have died, or stopped, after subtests that passed.
        return parts + ["failed"] * (bad and (has_died(program) or "failed" not in parts))
    if result in SKIPPED:
        # meson takes silence for a skipped program; but one that speaks TAP says '1..0', and
        # others exit with 77.
        says_so = re.search(r"^1\.\.0\b", program["stdout"] or "", re.M)
        meant = says_so or program["returncode"] == 77
        return ["skipped" if meant else "failed"]
    if program["name"].rpartition(" / ")[2] == "stage" and not bad:
        return []  # installs for the others, tests nothing
    return ["failed" if bad else "passed"]


def show_failures(program):
    """Of a program that speaks TAP: each failed subtest with the lines that explain it."""
    lines = (program["stdout"] or "").splitlines()
    shown = []
    failing = False
    for line in lines:
        if re.match(r"(not )?ok\b|1\.\.\d", line):
            failing = line.startswith("not ok") and not re.search(r"#\s*(todo|skip)", line, re.I)
        if failing:
            shown.append(line)
    if has_died(program) or not shown:
        shown += ["the end of its output:"] + lines[-LINES_AT_DEATH:]
    print(f"testMER: {program['name']}:")
    for line in shown[:LINES_OF_FAILURES]:
        print("  " + line)
    if len(shown) > LINES_OF_FAILURES:
        print(f"  and {len(shown) - LINES_OF_FAILURES} lines more")


def main(log, status):
    count = collections.Counter()
    try:
        parts = subtests(log + ".junit.xml")
        with open(log + ".json", encoding="utf-8") as lines:
            for line in lines:
                program = json.loads(line)
                one = outcomes(program, parts.get(program["name"], []))
                if "failed" in one and program["result"] in GOOD | SKIPPED:
                    print(f"testMER: {program['name']}: ran no test and did not say why")
                elif "failed" in one and program["name"] in parts:
                    show_failures(program)
                count.update(one)
    except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
        print(f"testMER: no results: {error}")
        count["failed"] += 1
    if status != 0 and count["failed"] == 0:
        print(f"testMER: meson test ended with {status}")
        count["failed"] += 1
    if not count:
        print("testMER: no test ran")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 0 if count["passed"] and not count["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))

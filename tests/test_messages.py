#!/usr/bin/python3
"""docs/troubleshooting.md has each error message that the programs can give, and none that they cannot.
Messages are found in the source, as the first text of mer_fail(); what is put in is … on the page. MER_SOURCE
names the source tree. Prints TAP when run as a program; with --missing, what the page lacks."""
import os
import re
import sys
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parents[1]))
PAGE = SOURCE / "docs" / "troubleshooting.md"
TEXT = r'"(?:[^"\\]|\\.)*"'
CALL = re.compile(rf"mer_fail\(\s*[^,]+,\s*(?P<status>[A-Za-z_][\w\->.? :]*?),\s*(?P<text>(?:{TEXT}|\s|PRI\w+)+)")
FORMAT = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]")
# For tests alone, and results that are no failures.
LEFT_OUT = {"call … of the database, '…', is made to fail", "step … is made to fail"}


def shown(literal):
    """A format as the page has it."""
    text = "".join(part[1:-1] for part in re.findall(TEXT, re.sub(r"PRI\w+", '"d"', literal)))
    text = text.replace('\\"', '"').replace("\\\\", "\\").replace("%%", "%")
    return re.sub("…+", "…", FORMAT.sub("…", text)).strip()


def messages():
    """Each with a file that gives it."""
    found = {}
    for path in sorted(path for folder in ("src", "driver", "migrations") for path in (SOURCE / folder).rglob("*.c")):
        for call in CALL.finditer(path.read_text(encoding="utf-8")):
            text = shown(call["text"])
            if re.search(r"\w", text) and call["status"] != "MER_OK":
                found.setdefault(text, f"{call['status']} {path.relative_to(SOURCE)}")
    return {text: where for text, where in found.items() if text not in LEFT_OUT}


def on_page():
    """What the page has: the first cell of each row, or an item of a list, in backticks."""
    return set(re.findall(r"^(?:\| |- )`` ?(.+?) ?``", PAGE.read_text(encoding="utf-8"), re.M))


class Page(unittest.TestCase):
    def test_source_is_read(self):
        found = messages()
        self.assertGreater(len(found), 400)
        for text in ("there is no model '…'", "the database '…' is not migrated", "out of memory"):
            self.assertIn(text, found)

    def test_each_message_is_there(self):
        have = on_page()
        self.assertEqual([text for text in messages() if text not in have], [])

    def test_each_row_is_a_message(self):
        found = messages()
        self.assertEqual([text for text in on_page() if text not in found], [])


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        have = on_page() if PAGE.exists() else set()
        print("".join(f"{where}: {text}\n" for text, where in messages().items() if text not in have), end="")
        sys.exit(0)
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())

#!/usr/bin/python3
"""What a host that lies sends for weights that were trained there: archives that reach outside of their folder, links,
devices, archives in archives, other bytes than it said. None of it gets a name here, nor leaves anything behind.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import unittest
from pathlib import Path

import ssh_case

FOLDER = "sh -c 'mkdir \"$1\"; echo EVIL >\"$1/a\"' sh {new_weights}"
FILE = "sh -c 'echo EVIL >\"$1\"' sh {new_weights}"
# Of a host: what its programs do, where they come to the bytes that are sent.
TAR = "#!/bin/sh\nwhile [ \"$1\" != -chf ]; do shift; done\ncat '{archive}' >\"$2\"\n"
LIES = """#!/bin/sh
bytes=$(cat; echo .)
case $bytes in
EVIL*) {lie} ;;
*) printf %s "${{bytes%.}}" | {real} "$@" ;;
esac
"""


def member(name, kind=tarfile.REGTYPE, data=b"", **more):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def archive(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sparse(name, size):
    """A file of GNU tar that is one hole."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = number(size) + number(0) # one piece, at the end and of no byte
    block[483:495] = number(size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(10240 - len(block))


def number(value):
    """Base 256, since octal digits end at 8 GiB."""
    return b"\x80" + value.to_bytes(11, "big")


class Bundles(ssh_case.Ssh, unittest.TestCase):
    transport = "openssh"

    def setUp(self):
        super().setUp()
        self.far = self.folder / "far"
        self.far.mkdir()
        self.call(0, "server", "add", "box", "--kind", "ssh", "--host", "h", "--param", "transport=openssh")
        self.data = self.file("data", "x")
        self.outside = self.folder / "outside"
        self.outside.mkdir()
        (self.outside / "victim").write_text("precious")

    def send(self, data):
        (self.folder / "archive").write_bytes(data)
        self.program("tar", TAR.format(archive=self.folder / "archive"))

    def program(self, name, text):
        (self.far / name).write_text(text)
        (self.far / name).chmod(0o755)

    def train(self, name, train):
        self.add(name, "cat", "{weights}", options=("--train", train))
        env = self.fake("/bin/sh", f"{self.far}:{os.environ['PATH']}")
        child = self.start("train", name, "--dataset", self.data, "--json", env=env)
        out, err = child.communicate(timeout=60)
        return child.returncode, out, err.decode()

    def here(self, name):
        return self.folder / ".local" / "share" / "mer" / "weights" / name

    def refused(self, name, train, message, code=6):
        got, _, err = self.train(name, train)
        self.assertEqual(code, got, err)
        self.assertIn(message, err)
        self.nothing_came(name)

    def nothing_came(self, name):
        self.assertEqual([], [path for path in self.here(name).rglob("*")])
        self.assertEqual([], json.loads(self.out("weights", "list", name, "--json")))

    def nothing_outside(self):
        self.assertEqual(["victim"], [path.name for path in self.outside.iterdir()])
        self.assertEqual(("precious", 1), ((self.outside / "victim").read_text(), (self.outside / "victim").stat().st_nlink))
        self.assertEqual([], [path for path in self.folder.rglob("evil") if self.here("absolute") not in path.parents])

    def test_archives(self):
        out, up = str(self.outside), "../" * 12 + str(self.outside)[1:]
        link, kind, more = tarfile.SYMTYPE, "is not only of files and folders", "becomes more bytes than came"
        rows = {
            "up": ("tar", archive(member(up + "/evil"))),
            "link-out": ("tar", archive(member("l", link, linkname=out), member("l/evil"))),
            "link-up": ("tar", archive(member("l", link, linkname=up), member("l/evil"))),
            "link": (kind, archive(member("a"), member("l", link, linkname=out))),
            "link-within": (kind, archive(member("a"), member("l", link, linkname="a"))),
            "hard-link": ("tar", archive(member("l", tarfile.LNKTYPE, linkname=out + "/victim"))),
            "hard-link-up": ("tar", archive(member("l", tarfile.LNKTYPE, linkname=up + "/victim"), member("l"))),
            "fifo": (kind, archive(member("p", tarfile.FIFOTYPE))),
            "gzip": ("is no tar", gzip.compress(archive(member("a", data=bytes(1 << 20))))),
            "holes": (more, sparse("a", 1 << 32)),
            "garbage": ("is no tar", b"EVIL" * 1000),
            "empty": ("is no tar", b""),
            "cut": ("tar", archive(member("a", data=b"x" * 5000))[:2000]),
        }
        if os.geteuid() == 0: # others make none
            rows["device"] = (kind, archive(member("d", tarfile.CHRTYPE, devmajor=1, devminor=3)))
        for name, (message, data) in rows.items():
            with self.subTest(name):
                self.send(data)
                self.refused(name, FOLDER, message)
                self.nothing_outside()

    def test_names_that_are_taken_in(self):
        """An absolute name is one below the folder; a newline cannot be summed up."""
        self.send(archive(member(f"{self.outside}/evil")))
        code, out, err = self.train("absolute", FOLDER)
        self.assertEqual((0, ""), (code, err))
        self.assertEqual(self.here("absolute"), Path(json.loads(out)["path"]).parent)
        self.nothing_outside()
        self.send(archive(member("a\nb")))
        self.refused("newline", FOLDER, "there is a newline in its name", code=1)

    def test_archives_that_are_as_they_should_be(self):
        """Names that share a file, and modes of an owner that is another one there."""
        self.send(archive(member("d", tarfile.DIRTYPE, mode=0o755), member("d/a", data=b"x" * 3000, mode=0o6755, uid=0),
                          member("b", tarfile.LNKTYPE, linkname="d/a")))
        code, out, err = self.train("good", FOLDER)
        self.assertEqual((0, ""), (code, err))
        path = Path(json.loads(out)["path"])
        self.assertEqual(b"x" * 3000, (path / "b").read_bytes())
        self.assertEqual((0, os.geteuid()), ((path / "d/a").stat().st_mode & 0o7000, (path / "d/a").stat().st_uid))

    def test_lies(self):
        rows = {"sum": ("sha256sum", f"echo {'0' * 64}", "is not what it has: sha256 is "),
                "odd-sum": ("sha256sum", "echo sum", "cannot tell the SHA-256 there"),
                "more": ("wc", "echo 99", "server 'box'"), "less": ("wc", "echo 2", "server 'box'"),
                "huge": ("wc", "echo 999999999999999999", "server 'box'"), "negative": ("wc", "echo -1", "does not say what there is")}
        for name, (program, lie, message) in rows.items():
            with self.subTest(name):
                for path in self.far.iterdir():
                    path.unlink()
                self.program(program, LIES.format(real=shutil.which(program), lie=lie))
                self.refused(name, FILE, message)


if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])

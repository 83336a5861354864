#!/usr/bin/python3
"""Frames as bytes: the reader at every cut, the writer at every partial write, the JSON between.
Prints TAP when run as a program."""
import itertools
import json
import os
import random
import re
import socket
import struct
import sys
import threading
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import peer
from mer import _json, _session, _tensor, _wire


class Pieces:
    """In the place of the os module: what a descriptor would give, in these pieces."""

    def __init__(self, *pieces):
        self.pieces = [piece for piece in pieces if piece]
        self.writes = []

    def read(self, _, size):
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def readv(self, fd, views):
        piece = self.read(fd, len(views[0]))
        views[0][:len(piece)] = piece
        return len(piece)


def frames_of(*pieces, body_max=1 << 30):
    source = _wire.Source(0, body_max)
    found = []
    with mock.patch.object(_wire, "os", Pieces(*pieces)):
        while (frame := source.read()) is not None:
            found.append((*frame[:3], bytes(frame[3]), bytes(frame[4])))
    return found


def draw_frame(draw, largest):
    kind = draw.randint(1, 11)
    raw = draw.choice([b"", b"{}", json.dumps({"a": "x" * draw.randrange(200)}).encode()])
    body = draw.randbytes(draw.choice([0, 1, 31, 32, 33, draw.randrange(largest)]))
    return kind, draw.randrange(1 << 16), draw.randrange(1 << 64), raw, body


def packed(frame):
    kind, flags, ident, raw, body = frame
    return _wire.head(kind, flags, ident, raw, len(body)) + body


class Reader(unittest.TestCase):
    frames = [(1, 0, 0, b'{"versions":[1]}', b""), (3, 0, 1, b"{}", b"hello"), (7, 0, 0, b"", b"\0"),
              (3, 0x8000, 2**64 - 1, b'{"content":"bytes"}', bytes(range(64))), (11, 0, 0, b"", b"")]

    def test_cut_at_every_byte(self):
        data = b"".join(map(packed, self.frames))
        for i in range(len(data)):
            self.assertEqual(frames_of(data[:i], data[i:]), self.frames, f"cut at {i}")
        self.assertEqual(frames_of(*(data[i:i + 1] for i in range(len(data)))), self.frames)

    def test_cut_at_two_places(self):
        data = b"".join(map(packed, self.frames[1:4]))
        for i in range(0, len(data), 3):
            for j in range(i, len(data), 7):
                self.assertEqual(frames_of(data[:i], data[i:j], data[j:]), self.frames[1:4])

    def test_end_at_every_byte(self):
        data = b"".join(map(packed, self.frames))
        ends, at = [], 0
        for frame in self.frames:
            at += len(packed(frame))
            ends.append(at)
        for i in range(len(data)):
            whole = sum(end <= i for end in ends)
            self.assertEqual(frames_of(data[:i]), self.frames[:whole], f"end at {i}")

    def test_random_frames_in_random_pieces(self):
        draw = random.Random(4)
        for turn in range(200):
            frames = [draw_frame(draw, 200_000 if turn % 10 == 0 else 300) for _ in range(8)]
            data = b"".join(map(packed, frames))
            cuts = sorted(draw.randrange(len(data)) for _ in range(draw.randrange(30)))
            pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)])]
            self.assertEqual(frames_of(*pieces), frames)

    def test_reads_over_what_may_be_skipped(self):
        for kind in (0, 12, 200, 255):
            unknown = packed((kind, _wire.SKIP, 5, b'{"a":1}', b"x" * 100_000))
            data = unknown + packed(self.frames[1]) + unknown
            for step in (1000, 65536, len(data)):
                pieces = [data[i:i + step] for i in range(0, len(data), step)]
                self.assertEqual(frames_of(*pieces), self.frames[1:2])

    def test_violations(self):
        good = _wire.HEADER
        rows = [
            (b"NERF" + packed(self.frames[1])[4:], "magic"),
            (b"\n" * 40, "magic"),
            (good.pack(b"MERF", 0, 3, 0, 1, 0, 0, 0), "version 0"),
            (good.pack(b"MERF", 2, 3, 0, 1, 0, 0, 0), "version 2"),
            (good.pack(b"MERF", 1, 3, 0, 1, 0, 1, 0), "reserved"),
            (good.pack(b"MERF", 1, 3, 0, 1, 0, 1 << 31, 0), "reserved"),
            (good.pack(b"MERF", 1, 3, 0, 1, (1 << 20) + 1, 0, 0), "meta of 1048577"),
            (good.pack(b"MERF", 1, 3, 0, 1, 2**32 - 1, 0, 0), "meta of"),
            (good.pack(b"MERF", 1, 3, 0, 1, 0, 0, 101), "body of 101"),
            (good.pack(b"MERF", 1, 3, 0, 1, 0, 0, 1 << 63), "body of"),
            (good.pack(b"MERF", 1, 3, 0, 1, 0, 0, 2**64 - 1), "body of"),
            (good.pack(b"MERF", 1, 0, 0, 1, 0, 0, 0), "kind 0"),
            (good.pack(b"MERF", 1, 12, 0, 1, 0, 0, 0), "kind 12"),
            (good.pack(b"MERF", 1, 255, _wire.SKIP, 1, 0, 0, 1 << 63), "body of"),
        ]
        for data, why in rows:
            for before in (b"", packed(self.frames[4])):
                with self.subTest(why=why, data=data[:32]):
                    with self.assertRaisesRegex(_wire.Violation, why):
                        frames_of(before + data, body_max=100)

    def test_random_bytes_never_hang_or_break(self):
        draw = random.Random(5)
        for _ in range(2000):
            data = bytearray(b"".join(packed(draw_frame(draw, 100)) for _ in range(3)))
            for _ in range(draw.randrange(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            try:
                frames_of(bytes(data), body_max=1000)
            except _wire.Violation:
                pass

    def test_a_large_body_is_never_written_over(self):
        bodies = [bytes([i]) * 200_000 for i in range(6)]
        source = _wire.Source(0)
        data = b"".join(packed((3, 0, i + 1, b"", body)) for i, body in enumerate(bodies))
        with mock.patch.object(_wire, "os", Pieces(data)):
            kept = [source.read()[4] for _ in bodies]
        self.assertEqual([bytes(body) for body in kept], bodies)

    def test_the_buffer_of_a_large_body_serves_again(self):
        source = _wire.Source(0)
        data = packed((3, 0, 1, b"", b"x" * 200_000))
        with mock.patch.object(_wire, "os", Pieces(data * 3)):
            first = source.read()[4]
            room = first.obj
            first.release()
            self.assertIs(source.read()[4].obj, room)

    def test_a_huge_buffer_is_given_back(self):
        source = _wire.Source(0)
        data = packed((3, 0, 1, b"", bytes(_wire.SPARE_MAX + 1)))
        with mock.patch.object(_wire, "os", Pieces(data)):
            source.read()
        self.assertEqual(len(source._spare), 0)


class Writer(unittest.TestCase):
    def test_partial_writes(self):
        draw = random.Random(6)
        for _ in range(300):
            pieces = [draw.randbytes(draw.choice([0, 1, 7, 300])) for _ in range(draw.randrange(1, 9))]
            written = bytearray()

            def writev(_, views):
                data = b"".join(views)
                n = draw.randint(1, len(data))
                written.extend(data[:n])
                return n
            fake = mock.Mock(writev=writev, write=lambda fd, data: writev(fd, [data]))
            with mock.patch.object(_wire, "os", fake):
                _wire.Sink(1).write_all(pieces)
                self.assertEqual(bytes(written), b"".join(pieces))
                written.clear()
                _wire.Sink(1).write(b"head" + b"".join(pieces))
                self.assertEqual(bytes(written), b"head" + b"".join(pieces))

    def test_more_pieces_than_one_call_takes(self):
        pieces = [b"%d," % i for i in range(3000)]
        out, into = os.pipe()
        _wire.Sink(into).write_all(pieces)
        os.close(into)
        with open(out, "rb") as file:
            self.assertEqual(file.read(), b"".join(pieces))

    def test_frames_of_threads_stay_whole(self):
        ours, theirs = socket.socketpair()
        sink = _wire.Sink(theirs.fileno())

        def send(letter):
            for i in range(200):
                with sink.lock:
                    sink.write_all([_wire.head(8, 0, i, b"", 5000), letter * 2500, letter * 2500])
        threads = [threading.Thread(target=send, args=(bytes([65 + i]),)) for i in range(4)]
        for thread in threads:
            thread.start()
        source = _wire.Source(ours.fileno())
        for _ in range(800):
            self.assertEqual(len(set(source.read()[4])), 1)
        for thread in threads:
            thread.join()
        ours.close()
        theirs.close()

    def test_who_reads_never_waits(self):
        ours, theirs = socket.socketpair()
        theirs.setblocking(True)
        sink = _wire.Sink(theirs.fileno())
        frame = _wire.head(7, 4, 0, b"", 0)
        theirs.setblocking(False)
        filled = 0
        try:
            while True:
                filled += theirs.send(b"x" * 4096)
        except BlockingIOError:
            theirs.setblocking(True)
        sink.send_soon(frame)
        sink.send_soon(frame)
        self.assertEqual(len(sink.later), 2)
        while filled:
            filled -= len(ours.recv(filled))
        sink.flush()
        self.assertEqual(sink.later, [])
        self.assertEqual(ours.recv(100), frame * 2)
        ours.close()
        theirs.close()

    def test_a_connection_that_is_gone(self):
        ours, theirs = socket.socketpair()
        ours.close()
        with self.assertRaises(_wire.Gone):
            _wire.Sink(theirs.fileno()).send(b"x")
        theirs.close()


class Json(unittest.TestCase):
    texts = ['{}', ' {"a" : 1 } \n', '[]', '0', '-1.5e3', '"\\u00e9\\ud83d\\ude00"', 'true', 'null',
             '{"a":[1,2,{"b":null}]}', '"' + 'x' * 70000 + '"', '', ' ', '{', '{"a"}', '[1,]', '01',
             'nul', '"\n"', "'a'", '{} {}', '1 2', 'NaN', 'Infinity', '-Infinity', '[NaN]', '{1:2}',
             '"\\x"', '\ufeff{}', '1' * 5000]

    def outcome(self, decode, text):
        try:
            return decode(text)
        except ValueError:
            return ValueError

    def test_decodes_as_json_does(self):
        strict = json.JSONDecoder(parse_constant=_json.no_constant).decode
        for text in self.texts:
            with self.subTest(text=text[:40]):
                self.assertEqual(self.outcome(_json.decode, text), self.outcome(strict, text))

    def test_deep_nesting_is_refused(self):
        with self.assertRaises(_wire.Violation):
            _wire.parse_meta(b'{"a":' + b"[" * 300_000 + b"]" * 300_000 + b"}")

    def value(self, draw, depth=0):
        kind = draw.randrange(8 if depth < 3 else 6)
        return [lambda: None, lambda: draw.random() < 0.5, lambda: draw.randrange(-2**70, 2**70),
                lambda: draw.uniform(-1e9, 1e9), lambda: float(draw.randrange(9)) * 1e300,
                lambda: "".join(chr(draw.choice([65, 10, 34, 92, 233, 0x1F600, 0xD800, 0]))
                                for _ in range(draw.randrange(9))),
                lambda: [self.value(draw, depth + 1) for _ in range(draw.randrange(4))],
                lambda: {str(i): self.value(draw, depth + 1) for i in range(draw.randrange(4))}
                ][kind]()

    def test_encodes_as_json_does(self):
        draw = random.Random(7)
        for _ in range(2000):
            value = self.value(draw)
            self.assertEqual(_json.encode(value),
                             json.dumps(value, separators=(",", ":")))
            self.assertEqual(_json.decode(_json.encode(value)), value)

    def test_what_json_does_not_have(self):
        for value in (float("nan"), float("inf"), -float("inf"), b"x", {1: 2}, {"a": object()}, {1}):
            with self.subTest(value=value), self.assertRaises((TypeError, ValueError)):
                _json.encode(value)

    def test_metas(self):
        self.assertEqual(_wire.parse_meta(b""), {})
        for raw in (b"[]", b"1", b"null", b'"a"', b"{", b'{"a":"\xff"}', b"\xff\xfe{}", b"{}x",
                    b'{"a":NaN}', b"\xef\xbb\xbf{}", b"\0"):
            with self.subTest(raw=raw), self.assertRaises(_wire.Violation):
                _wire.parse_meta(raw)

    def test_header(self):
        self.assertEqual(_wire.head(3, 2, 7, b"{}", 9),
                         struct.pack("<4sBBHQIIQ", b"MERF", 1, 3, 2, 7, 2, 0, 9) + b"{}")


class Page(unittest.TestCase):
    """What docs/wire.md has in tables, the SDK, the checker and include/mer/wire.h have as well."""
    PAGE = (peer.SOURCE / "docs" / "wire.md").read_text(encoding="utf-8")
    HEADER = (peer.SOURCE / "include" / "mer" / "wire.h").read_text(encoding="utf-8")

    def names_of(self, enum):
        """Of an enum of C, from 1 on; behind the last one is how many there are."""
        body = re.search(rf"enum {enum} {{(.*?)}}", self.HEADER, re.S)[1]
        return re.findall(r"MER_(\w+),", body)[1:]

    def table(self, head):
        """The cells of the table that begins so, row by row."""
        rows = self.PAGE.split(head, 1)[1].split("\n\n", 1)[0].split("\n")[2:]
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]

    def test_kinds(self):
        page = {row[1].upper(): int(row[0]) for row in self.table("| kind | name |")}
        self.assertEqual(len(page), 11)
        names = [name.removeprefix("WIRE_") for name in self.names_of("mer_wire_kind")]
        self.assertEqual(page, {name: number for number, name in enumerate(names, 1)})
        for module in (_wire, _session):
            self.assertEqual(page, {name: getattr(module, name) for name in page}, module.__name__)

    def test_flags(self):
        page = {row[1].strip("`"): int(row[0]) for row in self.table("| flag | name |")}
        self.assertEqual(page, {"MORE": 1, "SKIP": 2, "ANSWER": 4})
        for name, value in page.items():
            self.assertIn(f"MER_WIRE_{name} = {value}", self.HEADER)
            self.assertEqual(value, getattr(_wire, name))
            self.assertEqual(value, getattr(_session, name))

    def test_header(self):
        """Its fields lie where the page says."""
        rows = self.table("| offset | bytes | field |")
        sizes = [int(row[1]) for row in rows if row[1]]
        self.assertEqual([int(row[0]) for row in rows if row[0]], list(itertools.accumulate([0, *sizes])))
        self.assertEqual(sizes, [struct.calcsize("<" + code) for code in re.findall(r"\d*[a-zA-Z]", _wire.HEADER.format)])
        self.assertEqual(_wire.HEADER.format, _session.HEADER.format)
        self.assertIn(f"#define MER_WIRE_HEADER {sum(sizes)} ", self.HEADER)

    def test_limits(self):
        self.assertIn(f"\nVersion {_wire.VERSION}. ", self.PAGE)
        self.assertIn(f"| meta length | at most {_wire.META_MAX:,} |", self.PAGE)
        self.assertEqual(_wire.BODY_MAX, 1 << 30)
        self.assertIn("`max_body` | the largest body it takes; 1 GiB where left out", self.PAGE)
        self.assertIn(f"(at most {_wire.PING_MAX} bytes each)", self.PAGE)
        for name, value in (("VERSION", _wire.VERSION), ("META_MAX", "((uint32_t)1 << 20)"),
                            ("BODY_MAX", "(INT64_C(1) << 30)"), ("PING_MAX", _wire.PING_MAX)):
            self.assertRegex(self.HEADER, rf"#define MER_WIRE_{name} +{re.escape(str(value))}\s")
        self.assertEqual((_wire.META_MAX, _wire.BODY_MAX), (_session.META_MAX, _session.BODY_MAX))

    def test_datatypes(self):
        page = {name.strip("`"): int(size) for names, sizes, _ in self.table("| datatype | bytes an element |")
                if sizes[0] in "1248" and "+" not in sizes
                for name, size in zip(names.split(), itertools.cycle(sizes.split()))}
        self.assertEqual(page, {name: row.size for name, row in _tensor.DATATYPES.items()})
        self.assertEqual(page, _session.SIZES)
        self.assertEqual(self.names_of("mer_datatype"), [*page, "BYTES"])


if __name__ == "__main__":
    peer.main("__main__")

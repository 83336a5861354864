"""python -m mer check -- ARGV...   tests any worker against the frame protocol
python -m mer serve FILE [ARG...]   runs a model; all that its file prints is log
"""
from __future__ import annotations

import os
import sys
from typing import List


def serve(argv: List[str]) -> int:
    """Over standard input and output these are moved away before any code of the model runs."""
    import runpy

    from ._serve import Early, find_connection
    Early.connection = find_connection()
    sys.argv = argv
    sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
    runpy.run_path(argv[0], run_name="__main__")
    return 0


def main() -> int:
    """The exit code."""
    command, argv = sys.argv[1:2], sys.argv[2:]
    if command == ["check"]:
        from .conformance import main as check
        return check(argv)
    if command == ["serve"] and argv:
        return serve(argv)
    print(__doc__, end="", file=sys.stdout if command == ["--help"] else sys.stderr)
    return 0 if command == ["--help"] else 2


if __name__ == "__main__":
    sys.exit(main())

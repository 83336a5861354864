"""python -m mer check -- ARGV...   tests any worker against the frame protocol
python -m mer serve FILE [ARG...]   serves the model of a file, also of one without mer.serve();
                                    all that the file prints is log
"""
from __future__ import annotations

import os
import sys
from typing import List


def serve(argv: List[str]) -> int:
    """Over standard input and output these are moved away before any code of the model runs."""
    from . import _Registered
    from . import serve as serve_model
    from ._serve import Early, find_connection
    Early.connection = find_connection()
    path = argv[0]
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
    except OSError as error:
        print(f"mer: {path}: {error.strerror}", file=sys.stderr)
        return 2
    module = type(sys)("__main__")  # as if Python had been given the file
    module.__file__ = path
    sys.modules["__main__"] = module
    sys.argv = argv
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    exec(code, module.__dict__)
    if _Registered.model is None:
        print(f"mer: {path}: there is no function with @mer.model", file=sys.stderr)
        return 2
    if not _Registered.is_served:
        serve_model()
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

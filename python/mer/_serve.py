"""The worker: finds MER, has the model answer, and leaves when told to."""
from __future__ import annotations

import os
import sys

from ._request import Worker
from ._wire import Connection, Gone, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ._engine import Engine
    from ._model import Model


def find_connection() -> Connection:
    """Also the one that was moved away before the model's file was run."""
    if Early.connection is not None:
        return Early.connection
    if "MER_FRAME_FD" not in os.environ and os.isatty(0):
        print("mer: this is a worker, which MER starts:\n"
              "mer model add NAME --protocol frame -- python3 FILE", file=sys.stderr)
        raise SystemExit(2)
    return Connection.find()


class Early:
    """What `python -m mer serve` has done before."""

    connection: Optional[Connection] = None


def engine_for(model: Model, connection: Connection, sdk: str) -> Engine:
    """The way to serve it."""
    if model.is_async:
        from ._async import Async
        return Async(model, connection, sdk)
    if model.prefork:
        from ._prefork import Prefork
        return Prefork(model, connection, sdk)
    from ._direct import Batch, Direct
    if model.max_batch:
        return Batch(model, connection, sdk)
    if model.concurrency > 1:
        from ._pool import Pool
        return Pool(model, connection, sdk)
    return Direct(model, connection, sdk)


def serve(model: Model, sdk: str) -> None:
    """Returns when MER is done with this worker."""
    try:
        connection = find_connection()
    except (Violation, OSError) as error:
        print(f"mer: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # a print is in the log when it is made
    engine = engine_for(model, connection, sdk)
    try:
        engine.begin()
        engine.run()
    except Violation as error:
        engine.broken(error)
    except Gone:
        pass
    finally:
        Worker.sink = None
        engine.watch.wait_begun()
        engine.over.release()
        connection.close()
    if engine.failure is not None:
        print(f"mer: {engine.failure}", file=sys.stderr)
        raise SystemExit(1)

"""What a program has said of its model: the function, how it is to be served, its hooks."""
from __future__ import annotations

import sys

from ._request import Worker
from ._signature import InputError, Signature
from ._wire import VERSION, dump_meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional


class Train:
    """What a training is given. It leaves the new weights, a file or a folder, at `new_weights`."""

    __slots__ = ("dataset", "new_weights", "new_version", "old_weights", "old_version",
                 "parameters")

    def __init__(self, meta: Dict[str, Any]) -> None:
        for name in ("dataset", "new_weights"):
            if not isinstance(meta.get(name), str):
                raise InputError(f"train has no {name}")
        self.dataset: str = meta["dataset"]
        self.new_weights: str = meta["new_weights"]
        self.new_version: str = str(meta.get("new_version", ""))
        self.old_weights: str = str(meta.get("old_weights", ""))  # empty: there are none yet
        self.old_version: str = str(meta.get("old_version", ""))
        parameters = meta.get("parameters", {})
        self.parameters: Dict[str, Any] = parameters if isinstance(parameters, dict) else {}


class Model:
    """A function with how it is to be served, and its hooks."""

    def __init__(self, function: Callable[..., Any], name: Optional[str], concurrency: int,
                 max_batch: int, max_wait: float, max_body: int, prefork: bool) -> None:
        if concurrency < 0 or max_batch < 0 or max_wait < 0 or max_body < 0:
            raise ValueError("a limit below 0")
        self.function = function
        self.name = name
        self.max_batch = max_batch if max_batch > 1 else 0
        self.max_wait = max_wait
        self.max_body = max_body
        self.prefork = prefork
        self.signature = Signature(function, max_batch > 1)
        self.stream = self.signature.shape.stream
        self.is_async = self.signature.shape.is_async
        if self.max_batch and (self.stream or self.is_async):
            raise TypeError(f"{self.signature.name}: a batch is for plain functions")
        if prefork and (self.max_batch or self.is_async):
            raise TypeError(f"{self.signature.name}: prefork is for plain functions, a request each")
        if self.max_batch and 0 < concurrency < max_batch:
            raise ValueError("a concurrency below max_batch never fills a batch")
        self.concurrency = concurrency or (16 if self.is_async else 2 * self.max_batch or 1)
        self.load: Optional[Callable[..., Any]] = None
        self.train: Optional[Callable[[Train], Any]] = None

    def ready_meta(self, sdk: str) -> Dict[str, Any]:
        """What ready says."""
        info = sys.implementation
        runtime = {"cpython": "CPython"}.get(info.name, info.name)
        meta: Dict[str, Any] = {
            "version": VERSION, "sdk": f"mer-python {sdk}", "concurrency": self.concurrency,
            "max_body": self.max_body, "train": self.train is not None,
            "runtime": f"{runtime} {sys.version.split()[0]}", **self.signature.contracts()}
        if self.name is not None:
            meta["name"] = self.name
        if self.max_batch:
            meta["max_batch"] = self.max_batch
        return meta

    def call_load(self) -> Any:
        """Gives the path of the weights to a hook that has a parameter for it."""
        if self.load is None:
            return None
        code = getattr(self.load, "__code__", None)
        if code is not None and code.co_argcount - hasattr(self.load, "__self__") == 0:
            return self.load()
        return self.load(Worker.weights)


def metrics_meta(metrics: Any) -> bytes:
    """What a training gave, as the meta of its result."""
    if metrics is None:
        metrics = {}
    if not isinstance(metrics, dict):
        raise TypeError(f"train gave {type(metrics).__name__}, not a dict of numbers")
    return dump_meta({"metrics": {str(name): value if isinstance(value, int) else float(value)
                                  for name, value in metrics.items()}})

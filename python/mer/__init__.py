"""The worker side of MER, the model executor runtime.

    import mer

    @mer.model
    def predict(x: mer.Tensor) -> mer.Tensor:
        ...

    mer.serve()

The parameters' names and annotations are the model's inputs: mer.Tensor, numpy.ndarray, str, bytes,
memoryview, int, float or bool. What it returns is the output: a tensor, an array, str, bytes, a
number, or a dict of named tensors; what a generator yields is streamed. An exception is the
request's error, and what is printed is its log.
"""
from __future__ import annotations

from ._request import (Cancelled, cancelled, log, parameters, progress, remaining, traceparent,
                       weights, weights_version)
from ._model import Model as _Model
from ._model import Train
from ._serve import serve as _serve_model
from ._signature import InputError
from ._tensor import Spec, Tensor
from ._wire import BODY_MAX as _BODY_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Cancelled", "InputError", "Spec", "Tensor", "Train", "cancelled", "load", "log",
           "model", "parameters", "progress", "remaining", "serve", "traceparent", "train",
           "weights", "weights_version"]
__version__ = "0.1.0"


class _Registered:
    """What the decorators of this program have found."""

    model: Optional[_Model] = None
    load: Optional[Callable[..., Any]] = None
    train: Optional[Callable[[Train], Any]] = None
    is_served = False


if TYPE_CHECKING:
    @overload
    def model(function: F) -> F: ...

    @overload
    def model(*, name: Optional[str] = None, concurrency: int = 0, max_batch: int = 1,
              max_wait: float = 0.0, max_body: int = _BODY_MAX,
              prefork: bool = False) -> Callable[[F], F]: ...


def model(function: Optional[F] = None, *, name: Optional[str] = None, concurrency: int = 0,
          max_batch: int = 1, max_wait: float = 0.0, max_body: int = _BODY_MAX,
          prefork: bool = False) -> Any:
    """Makes a function the model; the function itself stays as it is.

    name: the model's own name, for people.
    concurrency: requests at a time. A plain function takes one, on the main thread, unless told;
        with more it runs on as many threads. An async function takes 16 unless told.
    max_batch: with more than 1, each parameter is a List[...] with an item a request, and so is
        the result, where an item may be an exception. The requests have equal parameters.
    max_wait: seconds that the first request of a batch waits for others.
    max_body: the largest input that is taken, in bytes.
    prefork: each request is answered in a process of its own, a fork of this one after load(), so
        that requests share nothing; `concurrency` of them at a time.
    """
    def register(function: F) -> F:
        if _Registered.model is not None:
            raise TypeError("a worker has one model")
        _Registered.model = _Model(function, name, concurrency, max_batch, max_wait, max_body,
                                   prefork)
        return function
    return register if function is None else register(function)


def load(function: F) -> F:
    """Makes a function the one that runs before the worker says ready. One with a parameter is
    given the path of the weights, or None; the function may be async."""
    _Registered.load = function
    return function


def train(function: F) -> F:
    """Makes a function the one that trains. It is given a mer.Train, leaves the new weights at
    `new_weights`, and returns a dict of numbers, the metrics, or None; it may be async."""
    _Registered.train = function
    return function


def serve() -> None:
    """Serves the model until MER has no more work for this worker."""
    found = _Registered.model
    if found is None:
        raise TypeError("there is no function with @mer.model")
    found.load, found.train = _Registered.load, _Registered.train
    _Registered.is_served = True
    _serve_model(found, __version__)

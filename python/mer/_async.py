"""An async function: a task a request on the main thread's event loop, and a thread that reads."""
from __future__ import annotations

import asyncio
import contextvars

from ._model import Train, metrics_meta
from ._pool import Side
from ._request import Request, current
from ._wire import Gone, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Set


class Async(Side):
    """Cancelling a request cancels its task."""

    def run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks: Set[asyncio.Task[None]] = set()
        self.no_more = asyncio.Event()
        await self._load()
        self.announce()
        self.start_reader()
        await self.no_more.wait()
        while self.tasks:
            await asyncio.wait(set(self.tasks))

    async def _load(self) -> None:
        self.occupy(self)
        try:
            result = self.model.call_load()
            if hasattr(result, "__await__"):
                await result
        except Exception as error:
            self.load_failed(error)
        finally:
            self.unoccupy()

    # From the reader's thread

    def submit(self, request: Request) -> None:
        self._call(self._start, request)

    def close_queue(self) -> None:
        self._call(self.no_more.set)

    def stop(self, request: Request) -> None:
        self._call(self._cancel, request)

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # the loop is closed: all was answered

    # On the loop

    def _start(self, request: Request) -> None:
        task = self.loop.create_task(self._answer(request))
        request.task = task
        self.tasks.add(task)
        task.add_done_callback(lambda _: self._done(request))
        if request.deadline is not None:
            timer = self.loop.call_at(request.deadline, self._expire, request)
            task.add_done_callback(lambda _: timer.cancel())

    def _expire(self, request: Request) -> None:
        request.deadline = 0.0  # late, whatever the clock's grain
        self._cancel(request)

    @staticmethod
    def _cancel(request: Request) -> None:
        if request.task is not None:
            request.task.cancel()

    def _done(self, request: Request) -> None:
        self.tasks.discard(request.task)
        if request.open and not self.ended:  # cancelled before its first step
            try:
                self.fail(request, asyncio.CancelledError())
            except Gone as error:
                self.lost(error)

    def is_stopped(self, request: Request, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError) and (request.cancelled
                                                              or request.is_late())

    async def _answer(self, request: Request) -> None:
        current.set(request)
        try:
            await self._try(request)
        except (Gone, Violation, SystemExit, KeyboardInterrupt) as error:
            self.lost(error)

    async def _try(self, request: Request) -> None:
        try:
            request.check()
            plan = request.plan
            if plan is None:
                await self._train(request)
                return
            body, request.body = request.body, None
            arguments = plan.arguments(body)  # type: ignore[arg-type] # None for a train only
            del body
            value = self.model.function(*arguments)
            del arguments
            if hasattr(value, "__aiter__"):
                await self._stream(request, value)
                return
            meta, pieces = self.model.signature.encode(await value)
            self.finish(request, meta, pieces)
        except (Gone, Violation):
            raise
        except BaseException as error:
            self.fail(request, error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise

    async def _stream(self, request: Request, parts: Any) -> None:
        try:
            async for value in parts:
                request.check()
                self.part(request, value)
                await asyncio.sleep(0)  # lets a cancel come in
                request.check()
        finally:
            await parts.aclose()
        self.finish(request, b"", ())

    async def _train(self, request: Request) -> None:
        assert self.model.train is not None
        job = Train(request.meta)
        function = self.model.train
        if asyncio.iscoroutinefunction(function):
            metrics = await function(job)
        else:  # on a thread, so that the loop goes on
            context = contextvars.copy_context()
            metrics = await self.loop.run_in_executor(None, context.run, function, job)
        self.finish(request, metrics_meta(metrics), ())

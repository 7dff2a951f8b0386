"""What the routes share: the queue, the models, the limits; and how a job runs for as long as its client is there."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from retouch.server.bodies import Bodies
from retouch.server.job_queue import JobQueue, Progress
from retouch.server.metrics import Metrics
from retouch.server.model_store import ModelStore
from retouch.server.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """What the routes share."""

    settings: Settings
    queue: JobQueue
    models: ModelStore
    bodies: Bodies
    metrics: Metrics

    async def run(self, request: Request, job: Callable[[Progress], T]) -> T:
        """Runs a job in a worker for as long as its client is there."""
        task = asyncio.create_task(self.queue.run(job))
        gone = asyncio.create_task(disconnected(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnect
            return await task
        finally:
            task.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

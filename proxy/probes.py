"""The admin listener: is the process up, can it serve, and what has it counted. None of it on the public port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from providers.catalogue import Catalogue
from storage.connection import StorageUnavailable
from storage.database import Database

ROUTES = (("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"))
READY_SECONDS = 1.5
"""A database that does not answer a question within this time is not there."""


def healthz() -> Handler:
    """The process runs and its event loop turns."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    return handle


def readyz(database: Database, catalogue: Callable[[], Catalogue], stopping: Callable[[], bool]) -> Handler:
    """200 when the database answers and a provider is usable; else 503 with what is missing."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        missing = []
        if stopping():
            missing.append("stopping")
        try:
            async with asyncio.timeout(READY_SECONDS):
                await database.ping()
        except (StorageUnavailable, TimeoutError):
            missing.append("database")
        if not any(provider.usable for provider in catalogue().providers.values()):
            missing.append("providers")
        if missing:
            return web.json_response({"status": "not ready", "missing": missing}, status=503)
        return web.json_response({"status": "ready"})

    return handle


def metrics(registry: CollectorRegistry, refresh: Callable[[], Awaitable[None]]) -> Handler:
    """What Prometheus reads, rendered in a thread: a large page takes longer than a call may wait."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await refresh()
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        page = await asyncio.to_thread(encoder, registry)
        return web.Response(body=page, headers={"Content-Type": content_type})

    return handle

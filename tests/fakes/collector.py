"""A collector of spans: an HTTP server that takes OTLP as JSON and reads it by the published protobuf messages, strictly.

Ids are hex in OTLP's JSON and base64 in protobuf's, so they are told apart first; everything else is read by protobuf's own
reader, to which an unknown field or a wrong type is an error. What cannot be read is answered 400 and kept in `faults`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.gateway import serving

_IDS = ("traceId", "spanId", "parentSpanId")


def read_request(body: bytes) -> ExportTraceServiceRequest:
    """The message that a body says in OTLP's JSON. Raises an error for whatever is not right."""
    told = json.loads(body)
    for resource in told["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("startTimeUnixNano", "endTimeUnixNano"):
                    assert isinstance(span[name], str), "64-bit integers are strings"
                for name in _IDS:
                    if name in span:
                        assert span[name] == span[name].lower()
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    request: ExportTraceServiceRequest = ParseDict(told, ExportTraceServiceRequest(), ignore_unknown_fields=False)
    return request


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary; each name once."""
    found = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
    assert len(found) == len(attributes)
    return found


@dataclass(frozen=True)
class Told:
    """One span as it arrived."""

    span: Span
    resource: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """Its attributes."""
        return values(self.span.attributes)

    @property
    def failed(self) -> bool:
        """Whether its status is an error."""
        return bool(self.span.status.code == Status.STATUS_CODE_ERROR)


class Collector:
    """What arrived, and how requests are answered."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.heads: list[tuple[str, str]] = []
        """Path and content type of each request."""
        self.told: list[Told] = []
        """The spans of requests that were taken."""
        self.faults: list[str] = []
        self.answers: deque[web.Response] = deque()
        """The answers to the next requests; 200 to all others."""
        self.free = asyncio.Event()
        """Requests are answered while this is set."""
        self.free.set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one request."""
        body = await request.read()
        self.bodies.append(body)
        self.heads.append((request.path, request.content_type))
        await self.free.wait()
        if self.answers:
            return self.answers.popleft()
        try:
            message = read_request(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            self.faults.append(repr(error))
            return web.Response(status=400)
        for one in message.resource_spans:
            resource = values(one.resource.attributes)
            self.told += [Told(span, resource) for scope in one.scope_spans for span in scope.spans]
        return web.json_response({})

    async def arrived(self, count: int) -> list[Told]:
        """Wait until so many spans were taken."""
        async with asyncio.timeout(10):
            while len(self.told) < count:
                await asyncio.sleep(0.01)
        return self.told

    async def asked(self, count: int) -> None:
        """Wait until so many requests came."""
        async with asyncio.timeout(10):
            while len(self.bodies) < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """A collector on a port of the system's choice; at the end everything that it was sent could be read."""
    collector = Collector()
    application = web.Application(client_max_size=2**26)
    application.router.add_post("/{path:.*}", collector.handle)
    async with serving(application) as collector.url:
        yield collector
    assert [] == collector.faults

"""Callers on a wire in memory: real HTTP bytes into aiohttp's own server protocol, and what came back, to the byte."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.simulation.clock import Process, VirtualLoop


class Wire(asyncio.Transport):
    """One connection: what the server writes is remembered, and told."""

    def __init__(self, loop: VirtualLoop, process: Process, told: Callable[[], None]) -> None:
        super().__init__()
        self._loop = loop
        self._process = process
        self._told = told
        self._closed = False
        self.protocol: Any = None
        self.received = b""
        self.ended = False

    def write(self, data: Any) -> None:
        if not self._closed:
            self.received += bytes(data)
            self._told()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(bytes(part) for part in parts))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = self.ended = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def hang_up(self) -> None:
        """The caller leaves; runs in the process."""
        if not self._closed:
            self._closed = True
            self.protocol.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing comes but one request."""

    def resume_reading(self) -> None:
        """Nothing comes but one request."""


class Caller:
    """One call and what its caller was told."""

    def __init__(self, number: int, account: str, body: dict[str, Any], key: str, key_id: str) -> None:
        self.number, self.account, self.body, self.key, self.key_id = number, account, body, key, key_id
        self.process: Process | None = None
        self.wire: Wire | None = None
        self.left_at: float | None = None

    @property
    def status(self) -> int | None:
        """The status line's number."""
        received = self.wire.received if self.wire is not None else b""
        return int(received[9:12]) if received else None

    @property
    def cost(self) -> int | None:
        """What header or comment said, in 10⁻⁸ USD."""
        received = self.wire.received if self.wire is not None else b""
        found = re.search(rb"X-FindToken-Cost: ([\d.]+)", received) or re.search(
            rb": findtoken cost=([\d.]+)", received
        )
        return int(Decimal(found[1].decode()).scaleb(8)) if found else None

    @property
    def complete(self) -> bool:
        """Whether the answer came to its proper end."""
        received = self.wire.received if self.wire is not None else b""
        if b"text/event-stream" in received:
            return b"data: [DONE]" in received
        head, blank, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return bool(blank and length and len(rest) == int(length[1]))

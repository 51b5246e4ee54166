"""A wire to a server whose packets are lost, or answered with resets, for as long as a test wants: what a firewall does.

What is lost is lost in truth. A filter on both ends throws packets away before TCP sees them (SO_ATTACH_FILTER, socket(7)), so
nothing is acknowledged: who waits for an answer goes on waiting, and who connects is not even refused.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from tests.fakes.raw_upstream import reset

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
"""Of asm-generic/socket.h; Python has no names for them."""
KEEP_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)
"""One instruction for the filter of the kernel: return, and of the packet zero bytes are kept (BPF_RET)."""


class LossyWire:
    """The wire: `url` leads through it, and is for the rest what was given."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._carries = asyncio.Event()
        self._resets = False
        self._last = b""
        self.lost = asyncio.Event()
        """Whether packets are lost now."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._carries.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        user, at, _ = self._parts.netloc.rpartition("@")
        port = self._server.sockets[0].getsockname()[1]
        self.url = urlunsplit(self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lose_after(self, text: bytes) -> None:
        """Lose everything behind the next message with this text, which the server still gets."""
        self._last = text

    def lose(self) -> None:
        """From now on every packet is lost, either way."""
        self._carries.clear()
        self.lost.set()
        for end in self._sockets():
            program = ctypes.create_string_buffer(KEEP_NOTHING)
            end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))

    def reset(self) -> None:
        """From now on every connection is reset, old ones at once and new ones as they come."""
        self._resets = True
        for end in self._ends:
            reset(end)

    def restore(self) -> None:
        """All is well again; TCP sends once more what was lost, when it thinks fit."""
        if not self._carries.is_set():
            for end in self._sockets():
                end.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._resets = False
        self.lost.clear()
        self._carries.set()

    def _sockets(self) -> list[Any]:
        assert self._server is not None
        ends = [end.get_extra_info("socket") for end in self._ends]
        return [*self._server.sockets, *(end for end in ends if end.fileno() >= 0)]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._resets:
            reset(writer)
            return
        to_reader, to_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._ends |= {writer, to_writer}
        halves = [asyncio.create_task(self._carry(*half)) for half in ((reader, to_writer), (to_reader, writer))]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ends -= {writer, to_writer}
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
            writer.transport.abort()
            to_writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            await self._carries.wait()
            if self._last and self._last in data:
                self._last = b""
                self.lose()  # A filter keeps nothing from being sent: the server gets this, and its answer is lost.
            writer.write(data)
            await writer.drain()

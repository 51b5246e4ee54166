"""A wire to a gateway that is cut in the middle of answers, after so many bytes of each, politely or by a reset."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.raw_upstream import reset


class CuttingWire:
    """The wire: `url` leads through it. Each of `cuts` is for one connection, in order; later ones are left alone."""

    def __init__(self, url: str, cuts: Iterable[int], *, by_reset: bool = False) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._cuts = deque(cuts)
        self._by_reset = by_reset
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = 0
        """How many connections were cut."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self._cuts.popleft() if self._cuts else None
        to_reader, to_writer = await asyncio.open_connection(self._host, self._port)
        questions = asyncio.create_task(_carry(reader, to_writer))
        try:
            while data := await to_reader.read(1 << 16 if left is None else left):
                writer.write(data)
                await writer.drain()
                if left is not None:
                    left -= len(data)
                    if not left:
                        self.cut += 1
                        break
        except ConnectionError:
            return  # One of the two has gone, as it may.
        finally:
            questions.cancel()
            await asyncio.gather(questions, return_exceptions=True)
            to_writer.transport.abort()
            if self._by_reset:
                # A reset makes the peer throw away what it has not read yet.
                await asyncio.sleep(0.01)
                reset(writer)
            else:
                writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()

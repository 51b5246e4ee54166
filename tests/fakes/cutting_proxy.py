"""A wire to PostgreSQL that is cut at a statement: before the server has it, or when it has done it and before it can say so.

Bytes pass through unchanged. A cut ends both halves of the one connection that brought the statement. Afterwards the
database can be reached again at once, or not before `restore`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Cut:
    """Where to cut: at the first message with this text on a connection that brought `after` before."""

    text: bytes
    after: bytes = b""
    delivered: bool = False
    """Whether the server gets the message, and only its answer is lost."""


class CuttingProxy:
    """The wire: `url` leads through it. Give it a cut with `cut_at`."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut: Cut | None = None
        self._stays_down = False
        self.down = False
        """Whether nobody can connect."""
        self.cuts = 0
        """How often a connection was cut at its statement."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user, _, _ = self._parts.netloc.rpartition("@")
        self.url = urlunsplit(self._parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_at(self, cut: Cut, *, stays_down: bool = False) -> None:
        """Cut once, at the next such statement; with `stays_down` every other connection is cut with it, and none is taken."""
        self._cut, self._stays_down = cut, stays_down

    def restore(self) -> None:
        """The database can be reached again."""
        self.down = False

    async def was_cut(self, times: int = 1) -> None:
        """Wait for so many cuts."""
        async with asyncio.timeout(20):
            while self.cuts < times:
                await asyncio.sleep(0.01)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        to_reader, to_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        answers = asyncio.create_task(_carry(to_reader, writer))
        try:
            await self._carry_statements(reader, to_writer, answers)
        except ConnectionError:
            return  # One of the two has gone, as it may.
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            writer.transport.abort()
            to_writer.transport.abort()

    async def _carry_statements(
        self, reader: asyncio.StreamReader, to_writer: asyncio.StreamWriter, answers: asyncio.Task[None]
    ) -> None:
        seen = b""
        while data := await reader.read(1 << 20):
            cut = self._cut
            if cut is not None and cut.text in data and (not cut.after or cut.after in seen):
                self._cut = None
                if cut.delivered:
                    answers.cancel()
                    to_writer.write(data)
                    await to_writer.drain()
                    # The server answers only what it has done; a connection that ends earlier might undo it.
                    await asyncio.sleep(0.3)
                self._fall()
                return
            seen = cut.after if cut is not None and cut.after and cut.after in data else seen
            to_writer.write(data)
            await to_writer.drain()

    def _fall(self) -> None:
        self.cuts += 1
        self.down = self._stays_down
        if self._stays_down:
            for task in self._tasks - {asyncio.current_task()}:  # type: ignore[arg-type]
                task.cancel()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 20):
        writer.write(data)
        await writer.drain()
    writer.close()

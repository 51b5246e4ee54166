"""A mail server as far as the gateway needs it: takes mails on a real socket, remembers them, and fails when it is told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Literal

Fault = Literal[
    "refuse_recipient", "later_recipient", "refuse_data", "later_data", "hang_up", "lost_answer", "no_greeting"
]


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail as it was handed over: its envelope, and the message."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        message = message_from_bytes(self.data, policy=default)
        assert isinstance(message, EmailMessage)
        return message

    @property
    def text(self) -> str:
        """Its plain text."""
        body = self.message.get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    @property
    def link(self) -> str:
        """The address at the end of its text."""
        return self.text.split()[-1]

    @property
    def token(self) -> str:
        """What signs its reader in."""
        return self.link.partition("?token=")[2]


class FakeSmtp:
    """A server without encryption. `start` it; `taken` are the mails, in order."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: list[Taken] = []
        self.silent = asyncio.Event()
        """Set once a client waits for an answer that does not come."""
        self._faults: list[Fault] = []
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> FakeSmtp:
        """Listen on a port of the system's choice."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def fail_next(self, fault: Fault, times: int = 1) -> None:
        """The next connections meet a fault."""
        self._faults += [fault] * times

    async def wait_for(self, count: int) -> list[Taken]:
        """The mails, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.taken) < count:
                self._news.clear()
                await self._news.wait()
        return self.taken

    def settings(self) -> dict[str, object]:
        """The table [mail] that leads here."""
        return {"host": "127.0.0.1", "port": self.port, "security": "none", "sender": "no-reply@gateway.test"}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._faults.pop(0) if self._faults else None
        try:
            if fault != "no_greeting":
                await self._talk(reader, writer, fault)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # It has hung up, as it may.
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        sender, recipients = "", []
        writer.write(b"220 fake\r\n")
        while line := (await reader.readline()).decode().strip():
            verb, answer = line[:4].upper(), b"250 ok"
            if verb == "MAIL":
                sender = line.partition("<")[2].partition(">")[0]
            elif verb == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
                answer = {"refuse_recipient": b"550 no such", "later_recipient": b"450 later"}.get(fault or "", answer)
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                data = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                if fault == "silence":
                    self.silent.set()
                    await reader.read()
                if fault in ("hang_up", "silence"):
                    return
                answer = {"refuse_data": b"554 spam", "later_data": b"451 later"}.get(fault or "", answer)
                if answer[:1] == b"2":
                    self.taken.append(Taken(sender, tuple(recipients), data.replace(b"\r\n..", b"\r\n.")))
                    self._news.set()
                if fault == "lost_answer":
                    return
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            writer.write(answer + b"\r\n")
            await writer.drain()

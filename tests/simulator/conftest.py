"""A running simulator, and a caller that asks it the way a gateway would."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS, MODELS, base_url
from simulator.request import ChatRequest, read_request
from simulator.server import Running, start


@dataclass(frozen=True)
class Reply:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of each event of a stream, `[DONE]` included."""
        blocks = self.body.decode().split("\n\n")
        assert blocks[-1] == "", "a stream ends with a blank line"
        return [block.removeprefix("data: ") for block in blocks[:-1] if not block.startswith(":")]

    @property
    def chunks(self) -> list[Any]:
        """The JSON of each event but `[DONE]`."""
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    def said(self, field: str = "content") -> str:
        """The text of one field of all deltas, joined."""
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(delta.get(field) or "" for delta in deltas)


@pytest.fixture
async def simulator() -> AsyncIterator[Running]:
    """A simulator on a free port, as fast as it can be."""
    running = await start()
    yield running
    await running.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def ask(simulator: Running, http: aiohttp.ClientSession) -> Callable[..., Awaitable[Reply]]:
    """Send a chat request to one provider; fields of the request are given by name, the key's default is a good one."""

    async def ask(
        provider: str, text: str = "Hello pieces=5", *, key: str = "", path: str = "chat/completions", **fields: Any
    ) -> Reply:
        body = {"model": next(iter(MODELS[provider])), "messages": [{"role": "user", "content": text}], **fields}
        headers = {"Authorization": f"Bearer {key or KEYS[provider]}", "Content-Type": "application/json"}
        address = f"{base_url(simulator.url, provider)}/{path}"
        data = io.BytesIO(json.dumps(body).encode())
        async with http.post(address, data=data, headers=headers, allow_redirects=False) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())

    return ask


@pytest.fixture
def order(simulator: Running, http: aiohttp.ClientSession) -> Callable[..., Awaitable[None]]:
    """Order one fault of one provider."""

    async def order(provider: str, kind: str, **fields: Any) -> None:
        address = f"{simulator.url}/_simulator/{provider}/faults"
        async with http.post(address, json=[{"kind": kind, **fields}]) as answer:
            assert answer.status == 200, await answer.text()

    return order


@pytest.fixture
def chat_request() -> Callable[..., ChatRequest]:
    """A request as the shapes see it, without any wire."""

    def chat_request(text: str = "Hello", **fields: Any) -> ChatRequest:
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        return read_request(json.dumps(body).encode())

    return chat_request

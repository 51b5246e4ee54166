"""simulator/control.py: steering a simulator over HTTP, and reading back what happened."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import PROVIDERS
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def control(simulator: Running, http: aiohttp.ClientSession) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """Send a control request and give its status and JSON."""

    async def control(method: str, path: str, json: Any = None, data: bytes | None = None) -> tuple[int, Any]:
        address = f"{simulator.url}/_simulator/{path}"
        async with http.request(method, address, json=json, data=data) as answer:
            return answer.status, await answer.json()

    return control


Control = Callable[..., Awaitable[tuple[int, Any]]]


async def test_the_journal_is_read_from_a_number_on(ask: Ask, control: Control) -> None:
    """By provider or for all, and it can be cleared."""
    await ask("kimi")
    await ask("qwen")
    await ask("kimi")
    _, everything = await control("GET", "journal")
    assert [call["provider"] for call in everything] == ["kimi", "qwen", "kimi"]
    _, of_kimi = await control("GET", "journal?provider=kimi&since=1")
    assert [call["number"] for call in of_kimi] == [3]
    call = of_kimi[0]
    assert call["status"] == 200
    assert call["completed"] is True
    assert "Authorization" in call["header_names"]
    assert await control("DELETE", "journal") == (200, {})
    assert (await control("GET", "journal"))[1] == []


async def test_control_calls_are_not_in_the_journal(control: Control) -> None:
    """Only what providers were asked."""
    await control("GET", "kimi/faults")
    assert (await control("GET", "journal"))[1] == []


async def test_settings_of_one_and_of_all(ask: Ask, control: Control) -> None:
    """One provider's change leaves the others alone; a wrong one changes nothing."""
    status, shown = await control("PUT", "kimi/settings", {"pieces": 3, "reasoning_pieces": 0})
    assert (status, shown["pieces"]) == (200, 3)
    assert (await ask("kimi", "Hi")).json["usage"]["completion_tokens"] == 3
    assert (await control("GET", "qwen/settings"))[1]["pieces"] == 0
    assert (await control("PUT", "settings", {"pieces": 9}))[0] == 200
    assert {9} == {(await control("GET", f"{name}/settings"))[1]["pieces"] for name in PROVIDERS}
    assert (await control("PUT", "settings", {"pieces": 1, "speed": 2}))[0] == 400
    assert (await control("GET", "kimi/settings"))[1]["pieces"] == 9


async def test_faults_are_added_counted_and_cleared(ask: Ask, control: Control) -> None:
    """A list or a single one; a wrong one in a list leaves none behind."""
    assert await control("POST", "kimi/faults", [{"kind": "hang"}, {"kind": "reset"}]) == (200, {"waiting": 2})
    assert await control("POST", "kimi/faults", {"kind": "hang"}) == (200, {"waiting": 3})
    status, answer = await control("POST", "kimi/faults", [{"kind": "hang"}, {"kind": "explode"}])
    assert status == 400
    assert "explode" in answer["error"]
    assert await control("GET", "kimi/faults") == (200, {"waiting": 3})
    assert await control("DELETE", "kimi/faults") == (200, {"waiting": 0})
    assert (await ask("kimi")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "named"),
    [
        ("POST", "kimi/faults", b"{", 400, "JSON"),
        ("PUT", "kimi/settings", b"[]", 400, "object"),
        ("PUT", "kimi/settings", b'{"latency_seconds":-1}', 400, "latency_seconds"),
        ("PUT", "kimi/down", b'{"down":"yes"}', 400, "down"),
        ("PUT", "kimi/down", b"{}", 400, "down"),
        ("GET", "journal?since=x", None, 400, "since"),
        ("GET", "journal?provider=kimmi", None, 404, "kimmi"),
        ("GET", "kimmi/faults", None, 404, "kimmi"),
    ],
)
async def test_what_cannot_be_carried_out_is_said(
    control: Control, method: str, path: str, body: bytes | None, status: int, named: str
) -> None:
    """With a sentence that names the word."""
    answered, told = await control(method, path, data=body)
    assert answered == status
    assert named in told["error"]

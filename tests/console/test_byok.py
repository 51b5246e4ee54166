"""Provider keys over the API: registered, used, shown as four characters, erased; never an address of the caller's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import ALPHA_KEY, Gateway

OWN = "caller-own-key-0123456789"
REGISTER = "/v1/user/byok/register"


def body(**fields: Any) -> dict[str, Any]:
    """The guide's example, for a provider of the tests."""
    return {"provider": "alpha", "api_key": OWN, "name": "My account", **fields}


def authorizations(upstream: RawUpstream) -> list[str]:
    """The keys an upstream saw."""
    return [request.headers["authorization"].removeprefix("Bearer ") for request in upstream.requests]


async def test_a_registered_key_is_used_until_it_is_removed(plane: Gateway, ask: Any, alpha: RawUpstream) -> None:
    """From the answer on, for its provider's models; afterwards the call is paid from the balance again."""
    before = await plane.chat()
    made = await ask("POST", REGISTER, body())
    with_it = await plane.chat()
    removed = await ask("DELETE", f"/v1/user/byok/keys/{made.json['id']}")
    after = await plane.chat()

    assert (201, 200) == (made.status, removed.status)
    assert ["standard", "byok", "standard"] == [reply.header("Mode") for reply in (before, with_it, after)]
    assert [ALPHA_KEY, OWN, ALPHA_KEY] == authorizations(alpha)
    assert [] == (await ask("GET", "/v1/user/byok/keys")).json["data"]
    assert 404 == (await ask("DELETE", f"/v1/user/byok/keys/{made.json['id']}")).status


async def test_a_provider_key_is_never_shown(
    start_gateway: Callable[..., Awaitable[Gateway]], ask_of: Callable[[Gateway], Any], sqlite_database_url: str
) -> None:
    """S-094: not when it is registered, not in the list, and not in a file of the database."""
    gateway = await start_gateway(database_url=sqlite_database_url)
    ask = ask_of(gateway)

    made = await ask("POST", REGISTER, body())
    listed = await ask("GET", "/v1/user/byok/keys")

    assert [made.json] == listed.json["data"]
    assert ("alpha", "My account", "6789") == tuple(made.json[name] for name in ("provider", "name", "last_four"))
    assert OWN.encode() not in made.body + listed.body
    for file in Path(sqlite_database_url.removeprefix("sqlite:///")).parent.glob("find-token.db*"):
        assert OWN.encode() not in file.read_bytes()


async def test_no_route_shows_a_secret_again(
    start_gateway: Callable[..., Awaitable[Gateway]], ask_of: Callable[[Gateway], Any], sqlite_database_url: str
) -> None:
    """S-094: whatever /openapi.json lists is asked for, with the ids of things that are there: no key stands in any answer, of
    the new key's own, the one that asks, the provider key, and the gateway's."""
    gateway = await start_gateway(database_url=sqlite_database_url)
    ask = ask_of(gateway)
    made = (await ask("POST", "/v1/user/keys", {"name": "new"})).json
    await ask("POST", REGISTER, body())
    call = await gateway.chat(headers={"Authorization": f"Bearer {made['key']}"})
    ticket = await ask("POST", "/v1/user/tickets", {"subject": "Help", "message": "Please."})
    ids = {"models": "standard", "tickets": str(ticket.json.get("id")), "keys": made["id"]}

    described = (await ask("GET", "/openapi.json")).json["paths"]
    answered = {}
    for route in [path for path, methods in described.items() if "get" in methods]:
        above = route.partition("/{id}")[0].rpartition("/")[2]
        path = route.replace("{id}", ids.get(above, call.header("Request-Id") or ""))
        reply = await ask("GET", f"{path}?id={call.header('Request-Id')}" if path == "/v1/generation" else path)
        answered[route] = reply.status
        for secret in (made["key"], gateway.key, OWN, ALPHA_KEY):
            assert secret.encode() not in reply.body, route

    assert {
        "/v1/user/keys",
        "/v1/user/byok/keys",
        "/v1/key",
        "/v1/user/billing-logs/{id}",
        "/v1/user/tickets/{id}",
    } <= {route for route, status in answered.items() if status == 200}, answered
    assert 20 <= len(answered)


async def test_nobody_sees_or_removes_another_s(plane: Gateway, ask: Any) -> None:
    """The same answer as for one that does not exist, and it stays."""
    _, stranger = plane.new_account("stranger")
    made = (await ask("POST", REGISTER, body())).json

    other = await ask("DELETE", f"/v1/user/byok/keys/{made['id']}", key=stranger)
    missing = await ask("DELETE", f"/v1/user/byok/keys/{made['id']}0", key=stranger)

    assert 404 == other.status
    assert {**missing.error, "request_id": ""} == {**other.error, "request_id": ""}
    assert [] == (await ask("GET", "/v1/user/byok/keys", key=stranger)).json["data"]
    assert [made] == (await ask("GET", "/v1/user/byok/keys")).json["data"]


HOSTS = ("127.0.0.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost.", "alpha@127.0.0.1")


async def test_no_address_of_the_caller_s_is_fetched(gateway: Gateway, ask_of: Callable[[Gateway], Any]) -> None:
    """S-085: an address in any field of a registration is a 400 that names the field, and nobody is called there."""
    ask = ask_of(gateway)
    called: list[bytes] = []

    async def hit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.read(100))
        writer.close()

    canary = await asyncio.start_server(hit, "127.0.0.1", 0)
    port = canary.sockets[0].getsockname()[1]
    addresses = [f"http://{host}:{port}/" for host in HOSTS] + ["file:///etc/passwd", "http://169.254.169.254/"]
    for address in addresses:
        for field in ("base_url", "api_base", "url", "organization", "extra_body"):
            refused = await ask("POST", REGISTER, body(**{field: address}))
            assert (400, "invalid_value", field) == (*refused.code, refused.error["param"])
        unknown = await ask("POST", REGISTER, body(provider=address))
        assert (400, "provider") == (unknown.status, unknown.error["param"])
        assert "alpha, beta" in unknown.error["message"]
    # A text that looks like an address is a name or a key like any other.
    assert 201 == (await ask("POST", REGISTER, body(api_key=addresses[0], name=addresses[0]))).status
    await gateway.chat()
    canary.close()

    assert [] == called


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"api_key": ""}, "api_key"),
        ({"api_key": "short"}, "api_key"),
        ({"api_key": "with\r\nInjected: header"}, "api_key"),
        ({"api_key": ["a", "b"]}, "api_key"),
        ({"provider": ["alpha"]}, "provider"),
        ({"name": None}, "name"),
    ],
)
async def test_what_cannot_be_a_key_is_refused(
    gateway: Gateway, ask_of: Callable[[Gateway], Any], fields: dict[str, Any], param: str
) -> None:
    """By name, before anything is stored, and without repeating it."""
    refused = await ask_of(gateway)("POST", REGISTER, body(**fields))

    assert (400, param) == (refused.status, refused.error["param"])
    assert b"Injected" not in refused.body


async def test_without_a_secret_key_nothing_is_stored(
    start_gateway: Callable[..., Awaitable[Gateway]], ask_of: Callable[[Gateway], Any]
) -> None:
    """A 503 that says who must do what."""
    gateway = await start_gateway(security={"secret_key": ""})

    refused = await ask_of(gateway)("POST", REGISTER, body())

    assert (503, "sealing_unavailable") == refused.code
    assert "operator" in refused.error["message"]
    assert [] == (await ask_of(gateway)("GET", "/v1/user/byok/keys")).json["data"]


async def test_a_key_sealed_by_another_secret_is_no_reason_to_charge(
    start_gateway: Callable[..., Awaitable[Gateway]], ask_of: Callable[[Gateway], Any], alpha: RawUpstream
) -> None:
    """The call is refused instead of paid from the balance, unless the caller says so."""
    gateway = await start_gateway()
    await ask_of(gateway)("POST", REGISTER, body())
    with gateway.database.session() as connection:
        connection.execute("UPDATE provider_key SET sealed = ?", (b"\x01" + bytes(60),))
    gateway.process._provider_keys.forget()

    refused = await gateway.chat()
    served = await gateway.chat(payer="credits_only")

    assert (503, "sealing_unavailable") == refused.code
    assert (200, "standard") == (served.status, served.header("Mode"))
    assert 1 == len(gateway.rows())

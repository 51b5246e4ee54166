"""Every answer of the account plane is what its description says: these members, no others, of these types."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from console.openapi import JSON, OPERATIONS
from console.plane import ROUTES
from console.shapes import ErrorShape, Usd
from tests.gateway import Gateway

OWN = {"provider_key": {"provider": "alpha", "api_key": "caller-own-key-0123456789"}}
BODIES: dict[str, Any] = {
    "/v1/user/keys": {"name": "x", "spend_limit": "1.5", "spend_limit_reset": "weekly", "allowed_models": ["lonely"]},
    "/v1/user/keys/{id}": {"requests_per_minute": 5, "expires_at": "2100-01-01"},
    "/v1/user/byok/register": {"provider": "beta", "api_key": "0123456789", "name": "x"},
    "/v1/user/tickets": {"subject": "x", "message": "y"},
}


async def test_answers_are_as_described(plane: Gateway, ask: Any) -> None:
    """All routes, with calls of each mode in the books, plain, streamed, failed, and after a debt."""
    ids = {
        "/v1/user/keys/{id}": (await ask("POST", "/v1/user/keys", BODIES["/v1/user/keys"])).json["id"],
        "/v1/user/byok/keys/{id}": (await ask("POST", "/v1/user/byok/register", BODIES["/v1/user/byok/register"])).json[
            "id"
        ],
    }
    for fields in ({}, {"stream": True}, OWN):
        assert 200 == (await plane.chat(**fields)).status
    request_id = ids["/v1/user/billing-logs/{id}"] = plane.rows()[0].request_id
    ticket = {**BODIES["/v1/user/tickets"], "request_id": request_id}
    ids["/v1/user/tickets/{id}"] = (await ask("POST", "/v1/user/tickets", ticket)).json["id"]

    for debt in (False, True):
        if debt:
            with plane.database.session() as connection:
                connection.execute("UPDATE account SET balance = -1 WHERE id = ?", (plane.account_id,))
        for method, path in ROUTES:
            operation = OPERATIONS[method, path]
            asked = path.replace("{id}", ids.get(path, "")) + (f"?id={request_id}" if path == "/v1/generation" else "")
            reply = await ask(method, asked, BODIES.get(path) if method != "DELETE" else None)
            if debt and path.endswith("byok/keys/{id}"):
                assert 404 == reply.status  # It was removed in the first round.
                continue
            assert operation.status == reply.status, (method, path, reply.body)
            assert operation.media == reply.headers["Content-Type"].partition(";")[0]
            if operation.media == JSON:
                pydantic.TypeAdapter(operation.answer).validate_json(reply.body, strict=True)


async def test_errors_are_as_described(plane: Gateway, ask: Any) -> None:
    """One shape, whatever is wrong."""
    for method, path, body, status in (
        ("GET", "/v1/user/nothing", None, 404),
        ("POST", "/v1/user/balance", None, 405),
        ("POST", "/v1/user/keys", {}, 400),
        ("GET", "/v1/user/billing-logs/req_none", None, 404),
    ):
        reply = await ask(method, path, body)
        told = ErrorShape.model_validate_json(reply.body, strict=True)
        assert (status, reply.headers["X-FindToken-Request-Id"]) == (reply.status, told.error.request_id)


@pytest.mark.parametrize("text", ["", "1.", ".5", "1e5", "0.123456789", "1,5"])
def test_what_is_no_amount_does_not_fit(text: str) -> None:
    """The pattern of amounts is strict enough to notice one that is written otherwise."""
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(Usd).validate_python(text)

"""A form's fields are read once each, within limits, into the bodies of the API."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from console.keys import NewKey
from console.pages.forms import KIND, MOST_FIELDS, fill, read_form
from middlewares.errors import Refusal
from tests.gateway import serving


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("a=1&b=+x+y+&c=", KIND, {"a": "1", "b": "x y", "c": ""}),
        ("a=%C3%A4", f"{KIND}; charset=utf-8", {"a": "ä"}),
        ("a=1&a=2", KIND, "invalid_value"),
        ("a=%FF", KIND, "invalid_value"),
        ("&".join(f"f{number}=1" for number in range(MOST_FIELDS + 1)), KIND, "invalid_value"),
        ("a=" + "x" * 70_000, KIND, "request_too_large"),
        ('{"a": 1}', "application/json", "unsupported_media_type"),
    ],
)
async def test_reading(body: str, kind: str, expected: object) -> None:
    """Trimmed; what is sent twice, too much or otherwise is refused."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await read_form(request))
        except Refusal as refusal:
            return web.json_response(refusal.problem.code)

    application = web.Application()
    application.router.add_post("/", handle)
    async with (
        serving(application) as url,
        aiohttp.ClientSession() as client,
        client.post(url, data=body.encode(), headers={"Content-Type": kind}) as reply,
    ):
        assert expected == await reply.json()


def test_what_is_empty_is_not_said() -> None:
    """And a text of digits is a whole number where one is wanted."""
    filled = fill(
        NewKey, {"name": "x", "spend_limit": "", "requests_per_minute": "60"}, numbers=["requests_per_minute"]
    )

    assert {"name": "x", "requests_per_minute": 60} == filled.model_dump(exclude_unset=True)


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "١", "9" * 19])
def test_no_whole_number(text: str) -> None:
    """With the name of the field."""
    with pytest.raises(Refusal) as caught:
        fill(NewKey, {"name": "x", "requests_per_minute": text}, numbers=["requests_per_minute"])

    assert "requests_per_minute" == caught.value.problem.param

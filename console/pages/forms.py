"""What a browser's form sends: fields with a limit, each once, read into the same models as the bodies of the API.

An empty field is one that was not filled in, so it is left out. Where a model wants a whole number, its text is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from console.answers import BODY_SECONDS, LARGEST_BODY_BYTES, Checked, check
from middlewares.body import read_bytes
from middlewares.errors import Refusal, invalid

MOST_FIELDS: Final = 100
KIND: Final = "application/x-www-form-urlencoded"


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form, trimmed. Raises a Refusal."""
    if request.content_type != KIND:
        raise Refusal("unsupported_media_type", f"a form is sent as {KIND}")
    body = await read_bytes(request, LARGEST_BODY_BYTES, BODY_SECONDS)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise invalid(None, "this form cannot be read") from None
    fields: dict[str, str] = {}
    for name, text in pairs:
        if name in fields:
            raise invalid(name[:60], f"the field {name[:60]!r} is sent twice")
        fields[name] = text.strip()
    return fields


def fill(model: type[Checked], fields: Mapping[str, str], *, numbers: Iterable[str] = ()) -> Checked:
    """The fields as a body of the API; those in ``numbers`` are whole numbers. Raises a Refusal that names the one at fault."""
    values: dict[str, Any] = {name: text for name, text in fields.items() if text}
    for name in numbers:
        if name in values:
            values[name] = _whole_number(name, values[name])
    return check(model, values, "field")


def said(query: Mapping[str, str]) -> dict[str, str]:
    """What an address asks; a form sends what is empty, too, and pages have as many rows as they have."""
    return {name: text.strip() for name, text in query.items() if text.strip() and name not in ("limit", "done")}


def _whole_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise invalid(name, f"{name}: expected a whole number, such as 60")
    return int(text)

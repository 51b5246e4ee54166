"""What the account plane reads and writes: JSON bodies and queries checked against a model, answers that nobody keeps.

A field or a parameter that a route does not know is refused by name, so that a filter that is misspelled does not silently
return everything. Money goes out as decimal strings; where OpenRouter has a number, `number` writes one exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import orjson
import pydantic
from aiohttp import web
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from billing.money import InvalidAmount, Money, format_usd, parse_usd
from middlewares.body import check_kind, parse, read_bytes
from middlewares.call import CALL
from middlewares.errors import Refusal, invalid
from storage.identifiers import microseconds

LARGEST_BODY_BYTES: Final = 65_536
BODY_SECONDS: Final = 30.0
LARGEST_PAGE: Final = 200
USUAL_PAGE: Final = 50

Checked = TypeVar("Checked", bound=pydantic.BaseModel)


class Body(pydantic.BaseModel):
    """A request body: exactly these fields, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(pydantic.BaseModel):
    """The parameters behind a path's question mark."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Query):
    """Which page of a list."""

    limit: int = Field(default=USUAL_PAGE, ge=1, le=LARGEST_PAGE, description="How many rows at most.")
    cursor: str | None = Field(
        default=None, max_length=300, description="`next_cursor` of the page before; nothing else is a cursor."
    )


def _read_instant(value: object) -> object:
    """Microseconds of an ISO 8601 instant, or of a day's beginning; UTC unless it says otherwise."""
    if not isinstance(value, str):
        # A number could be seconds, milliseconds or microseconds: nobody should have to guess, we least of all.
        raise ValueError("expected a date or an instant such as 2026-11-27T09:30:00Z")
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a date or an instant such as 2026-11-27T09:30:00Z") from None
    try:
        instant = (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("expected an instant between the years 1 and 9999") from None
    return microseconds(instant)


def _read_end(value: object) -> object:
    """As `_read_instant`, but a date stands for its whole day, and is included."""
    if isinstance(value, str) and len(value) == len("2026-11-27"):
        try:
            value = (date.fromisoformat(value) + timedelta(days=1)).isoformat()
        except (ValueError, OverflowError):
            pass  # Told below, in the same words.
    return _read_instant(value)


def _read_dollars(value: object) -> object:
    """Units of 10⁻⁸ USD of a decimal number or a text of one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("expected an amount of dollars such as 12.50")
    try:
        return parse_usd(repr(value) if isinstance(value, float) else value)
    except InvalidAmount as error:
        raise ValueError(str(error)) from None


_AN_INSTANT: Final = WithJsonSchema({"type": "string", "examples": ["2026-11-27T09:30:00Z", "2026-11-27"]})
Instant = Annotated[int, BeforeValidator(_read_instant), _AN_INSTANT]
"""An instant or a date in a request, as microseconds."""
End = Annotated[int, BeforeValidator(_read_end), _AN_INSTANT]
"""The end of a range: what lies before it is in it; a date is included whole."""
Dollars = Annotated[
    int,
    BeforeValidator(_read_dollars),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "examples": ["12.50", 20]}),
]
"""Dollars in a request, with at most eight decimals, as money."""


async def read_body(request: web.Request, form: type[Checked]) -> Checked:
    """The request's JSON body. Raises a Refusal that names the field at fault."""
    check_kind(request.headers)
    document = parse(await read_bytes(request, LARGEST_BODY_BYTES, BODY_SECONDS))
    return check(form, document, "field")


def read_query(request: web.Request, form: type[Checked]) -> Checked:
    """The request's query. Raises a Refusal that names the parameter at fault."""
    names = [name for name, _ in request.query.items()]
    for name in names:
        if names.count(name) > 1:
            raise invalid(name[:60], f"the parameter {name[:60]!r} is given twice")
    return check(form, dict(request.query), "parameter")


def check(form: type[Checked], values: Mapping[str, Any], kind: str) -> Checked:
    """The values as a body or a query, whose members are of a ``kind``. Raises a Refusal that names the one at fault."""
    try:
        return form.model_validate(values)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part)[:60] for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in form.model_fields.items())
        raise invalid(place, f"there is no {kind} {place!r} here; known are: {known or 'none'}")
    if fault["type"] == "missing":
        raise invalid(place, f"{place} is missing")
    message = fault["msg"].removeprefix("Value error, ")
    raise invalid(place or None, f"{place}: {message[:1].lower()}{message[1:]}" if place else message)


def answer(document: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def owner_of(request: web.Request) -> str:
    """The account that asks."""
    account_id = request[CALL].account_id
    assert account_id is not None, "auth comes first"
    return account_id


def number(amount: Money) -> orjson.Fragment:
    """Dollars as a JSON number with exactly the digits they have."""
    return orjson.Fragment(format_usd(amount))


def nothing_here() -> Refusal:
    """What is said of an object that does not exist, and of one that is another account's."""
    return Refusal("not_found", "there is nothing at this address")

"""The billing log over the API: pages of it, one call's receipt, and all of it as CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import Field

from billing.receipt import make_receipt
from console.answers import USUAL_PAGE, End, Instant, Page, Query, answer, nothing_here, owner_of, read_query
from middlewares.errors import invalid
from providers.catalogue import Catalogue
from storage.calls import CallRow, list_calls
from storage.cursors import InvalidCursor
from storage.database import Database
from storage.receipts import find_billed_call

COLUMNS: Final = (
    *("request_id", "created", "requested_model", "model", "provider", "mode", "payer", "streamed", "status"),
    *("billing_outcome", "usage_source", "estimated", "anomalous", "prompt_tokens", "cached_tokens"),
    *("completion_tokens", "reasoning_tokens", "provider_cost", "fee", "cost", "price_version", "attempts", "key_id"),
    *("latency_ms", "first_content_ms"),
)
"""The columns of the CSV."""
ROWS_AT_ONCE: Final = 200
STALL_SECONDS: Final = 60.0
"""A caller that takes no more of the CSV for so long is dropped."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class CallFilter(Query):
    """Which calls; `model` is the one that served."""

    from_: Instant | None = Field(default=None, alias="from", description="Calls that came in then or later.")
    to: End | None = Field(default=None, description="Calls that came in before; a date is included whole.")
    model: str | None = Field(default=None, max_length=200)
    provider: str | None = Field(default=None, max_length=200)
    mode: Literal["standard", "byok"] | None = None
    key: str | None = Field(default=None, max_length=200, description="The id of a key.")
    status: int | None = Field(default=None, ge=100, le=599, description="The HTTP status the caller saw.")

    @property
    def clauses(self) -> dict[str, Any]:
        """The filter as storage takes it."""
        return {
            "since": self.from_,
            "until": self.to,
            "model": self.model,
            "provider": self.provider,
            "mode": self.mode,
            "key_id": self.key,
            "status": self.status,
        }


class CallPage(CallFilter, Page):
    """A page of them."""

    limit: int = Field(default=USUAL_PAGE, ge=1, le=ROWS_AT_ONCE, description="How many rows at most.")


class BillingLog:
    """The handlers, and what they share."""

    def __init__(self, database: Database, catalogue: Callable[[], Catalogue]) -> None:
        self._database = database
        self._catalogue = catalogue

    def page(self) -> Handler:
        """Calls, newest first."""

        async def handle(request: web.Request) -> web.StreamResponse:
            page = read_query(request, CallPage)
            rows, cursor = await self.find_page(owner_of(request), page, page.limit, page.cursor)
            return answer({"data": [row.to_json() for row in rows], "next_cursor": cursor})

        return handle

    def receipt(self) -> Handler:
        """One call with its entries, its rates and a digest."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return answer(await self.find_receipt(owner_of(request), request.match_info["id"]))

        return handle

    def csv(self) -> Handler:
        """All calls of a filter, newest first, page by page, so that no number of them fills the memory."""

        async def handle(request: web.Request) -> web.StreamResponse:
            chosen = read_query(request, CallFilter)
            # The first page before the headers leave: what is wrong by then is told as an error.
            rows, cursor = await self.find_page(owner_of(request), chosen, ROWS_AT_ONCE, None)
            response = web.StreamResponse(
                headers={"Content-Disposition": 'attachment; filename="billing-log.csv"', "X-Accel-Buffering": "no"}
            )
            response.content_type, response.charset = "text/csv", "utf-8"
            await response.prepare(request)
            try:
                await _write(response, [COLUMNS])
                while True:
                    await _write(response, map(_cells, rows))
                    if cursor is None:
                        break
                    rows, cursor = await self.find_page(owner_of(request), chosen, ROWS_AT_ONCE, cursor)
                await response.write_eof()
            except Exception:  # noqa: BLE001 - whatever it was, half a file must not look like a whole one
                if request.transport is not None:
                    request.transport.abort()
            return response

        return handle

    async def find_receipt(self, account_id: str, request_id: str) -> dict[str, Any]:
        """The receipt of one of the account's calls. Raises a Refusal."""
        found = await self._database.read(find_billed_call, request_id)
        if found is None or found[0].account_id != account_id:
            raise nothing_here()
        row, entries = found
        return make_receipt(row.to_json(), [entry.to_json() for entry in entries], self._catalogue().price_book())

    async def find_page(
        self, account_id: str, chosen: CallFilter, limit: int, cursor: str | None
    ) -> tuple[list[CallRow], str | None]:
        """A page of the account's calls, newest first. Raises a Refusal for what no call can have."""

        def read(connection: Any) -> tuple[list[CallRow], str | None]:
            return list_calls(connection, account_id, limit=limit, cursor=cursor, **chosen.clauses)

        try:
            return await self._database.read(read)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None
        except ValueError as error:
            raise invalid(None, str(error)) from None


def _cells(row: CallRow) -> list[str]:
    shown = row.to_json()
    return [_cell(shown[name]) for name in COLUMNS]


def _cell(value: object) -> str:
    """A value as a spreadsheet may read it: a text that would be taken for a formula is marked as a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


async def _write(response: web.StreamResponse, rows: Iterable[Iterable[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    async with asyncio.timeout(STALL_SECONDS):
        await response.write(buffer.getvalue().encode())

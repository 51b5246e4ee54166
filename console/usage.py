"""GET /v1/user/usage: calls, tokens and costs of a range of days, summed by day, by model and by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import Field

from billing.money import format_usd
from console.answers import Query, answer, owner_of, read_query
from middlewares.errors import invalid
from storage.identifiers import now_microseconds
from storage.usage import DAY_MICROSECONDS, UsageSums, Used

USUAL_DAYS: Final = 30
LARGEST_RANGE_DAYS: Final = 366
_EPOCH: Final = date(1970, 1, 1)
_COUNTS: Final = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_AMOUNTS: Final = ("provider_cost", "fee", "cost")


class Range(Query):
    """UTC days, both included; without them the last thirty."""

    from_: date | None = Field(default=None, alias="from", description="The first day.")
    to: date | None = Field(default=None, description="The last day; today where it is not given.")


def show_usage(sums: UsageSums) -> Handler:
    """The account's usage."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(await find_usage(sums, owner_of(request), read_query(request, Range)))

    return handle


async def find_usage(sums: UsageSums, account_id: str, chosen: Range) -> dict[str, Any]:
    """The account's usage of a range of days. Raises a Refusal for a range that is none, or too long."""
    now = now_microseconds()
    last = chosen.to or _EPOCH + timedelta(days=now // DAY_MICROSECONDS)
    first = chosen.from_ or max(last, _EPOCH + timedelta(days=USUAL_DAYS)) - timedelta(days=USUAL_DAYS - 1)
    if not 0 <= (last - first).days < LARGEST_RANGE_DAYS:
        raise invalid("from", f"a range is one to {LARGEST_RANGE_DAYS} days, from before to")
    used = await sums.find(account_id, (first - _EPOCH).days, (last - _EPOCH).days + 1, now)
    return {
        "from": first.isoformat(),
        "to": last.isoformat(),
        "totals": _sum(used),
        "by_day": _grouped(used, "day", lambda one: (_EPOCH + timedelta(days=one.day)).isoformat()),
        "by_model": _grouped(used, "model", lambda one: one.model),
        "by_key": _grouped(used, "key_id", lambda one: one.key_id),
    }


def _grouped(used: Iterable[Used], name: str, group: Callable[[Used], str | None]) -> list[dict[str, Any]]:
    """The sums of each group, in the order of their names; what no model served comes first."""
    members: dict[str | None, list[Used]] = {}
    for one in used:
        members.setdefault(group(one), []).append(one)
    return [{name: key, **_sum(members[key])} for key in sorted(members, key=lambda key: key or "")]


def _sum(used: Iterable[Used]) -> dict[str, Any]:
    listed = list(used)
    counts = {name: sum(getattr(one, name) for one in listed) for name in ("calls", *_COUNTS)}
    return counts | {name: format_usd(sum(getattr(one, name) for one in listed)) for name in _AMOUNTS}

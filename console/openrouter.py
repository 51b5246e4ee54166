"""What OpenRouter's clients ask about a key: /v1/key, /v1/credits and /v1/generation, in its shapes, with its numbers."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import Field

from billing.matrix import Ending
from console.answers import Query, answer, nothing_here, number, read_query
from middlewares.call import CALL
from storage.calls import CallRow, find_call, shown_instant
from storage.connection import Connection
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.key_spending import KeyAllowance, find_allowance, window_start
from storage.keys import KeyRecord, find_key
from storage.lots import read_moves
from storage.postings import find_balance
from storage.usage import DAY_MICROSECONDS, UsageSums, Used

_LEFT = (Ending.CLIENT_LEFT.value, Ending.CLIENT_LEFT_EARLY.value)


class GenerationQuery(Query):
    """Which call."""

    id: str = Field(max_length=200, description="The request id, as in the header X-Generation-Id.")


def show_key(database: Database, sums: UsageSums, prefix: str) -> Handler:
    """The key that asks: its limit and what it has cost."""

    async def handle(request: web.Request) -> web.StreamResponse:
        now = now_microseconds()
        record, allowance = await database.read(_key, request[CALL].key_id, now)
        first_day, end_day = record.created // DAY_MICROSECONDS, now // DAY_MICROSECONDS + 1
        used = await sums.find(record.account_id, first_day, end_day, now)
        mine = [one for one in used if one.key_id == record.key_id]
        return answer({"data": _key_as_json(record, allowance, mine, prefix, now)})

    return handle


def show_credits(database: Database) -> Handler:
    """What came in, and what of it is used."""

    async def handle(request: web.Request) -> web.StreamResponse:
        credited, used = await database.read(_credits, request[CALL].account_id)
        return answer({"data": {"total_credits": number(credited), "total_usage": number(used)}})

    return handle


def show_generation(database: Database) -> Handler:
    """One call; it is there the moment its stream says `[DONE]`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        chosen = read_query(request, GenerationQuery)
        row = await database.read(find_call, request[CALL].account_id, chosen.id)
        if row is None:
            raise nothing_here()
        return answer({"data": _generation_as_json(row)})

    return handle


def _key(connection: Connection, key_id: str, now: int) -> tuple[KeyRecord, KeyAllowance | None]:
    record = find_key(connection, key_id)
    assert record is not None, "keys are never deleted"
    return record, find_allowance(connection, key_id, now)


def _key_as_json(
    record: KeyRecord, allowance: KeyAllowance | None, used: list[Used], prefix: str, now: int
) -> dict[str, Any]:
    terms = record.terms
    window = terms.spend_window
    costs = {
        "usage": [one for one in used if one.mode != "byok"],
        "byok_usage": [one for one in used if one.mode == "byok"],
    }
    spans = {"": "none", "_daily": "daily", "_weekly": "weekly", "_monthly": "monthly"}
    return {
        "label": f"{prefix}…{record.last_four}",
        "name": record.name,
        "creator_user_id": record.account_id,
        "limit": None if terms.spend_limit is None else number(terms.spend_limit),
        "limit_remaining": None if allowance is None else number(max(allowance.remaining, 0)),
        "limit_reset": None if window == "none" else window,
        "include_byok_in_limit": True,
        **{
            f"{name}{suffix}": number(
                sum(one.cost for one in calls if one.day * DAY_MICROSECONDS >= window_start(span, now))
            )
            for name, calls in costs.items()
            for suffix, span in spans.items()
        },
        "is_free_tier": False,
        "is_management_key": False,
        "is_provisioning_key": False,
        "expires_at": None if record.expires is None else shown_instant(record.expires),
        "rate_limit": {
            "requests": -1 if terms.requests_per_minute is None else terms.requests_per_minute,
            "interval": "1m",
            "note": "-1: this key has no limit of its own, its account's counts.",
        },
    }


def _credits(connection: Connection, account_id: str) -> tuple[int, int]:
    """What was credited, less what was taken back, and how much of it calls have used; their difference is the balance."""
    balance = find_balance(connection, account_id).balance
    # What calls took stands there in sums, which have no id.
    credited = sum(move.amount for move in read_moves(connection, account_id, balance) if move.id)
    return credited, credited - balance


def _generation_as_json(row: CallRow) -> dict[str, Any]:
    first = row.first_content_ms
    return {
        "id": row.request_id,
        "upstream_id": None,
        "created_at": shown_instant(row.created),
        "model": row.model or row.requested_model,
        "provider_name": row.provider,
        "api_type": "embeddings" if row.path.endswith("/embeddings") else "completions",
        "streamed": row.streamed,
        "cancelled": row.billing_outcome in _LEFT,
        "total_cost": number(row.cost),
        "usage": number(row.cost),
        "cache_discount": None,
        "upstream_inference_cost": None,
        "is_byok": row.mode == "byok",
        "latency": row.latency_ms if first is None else first,
        "generation_time": None if first is None else row.latency_ms - first,
        "moderation_latency": None,
        "finish_reason": None,
        "native_finish_reason": None,
        "tokens_prompt": row.prompt_tokens,
        "tokens_completion": row.completion_tokens,
        "native_tokens_prompt": row.prompt_tokens,
        "native_tokens_completion": row.completion_tokens,
        "native_tokens_reasoning": row.reasoning_tokens,
        "native_tokens_cached": row.cached_tokens,
        "native_tokens_completion_images": None,
        "num_media_prompt": None,
        "num_media_completion": None,
        "num_input_audio_prompt": None,
        "num_search_results": None,
        "app_id": None,
        "external_user": None,
        "http_referer": None,
        "origin": "",
        "router": None,
        "provider_responses": [
            {"provider_name": one.provider, "status": one.status, "latency": one.latency_ms} for one in row.attempts
        ],
    }

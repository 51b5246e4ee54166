"""Two middlewares of one's own: prompts that nobody may send, and calls that carry a tag of their caller's."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.money import format_usd
from middlewares.call import CALL
from middlewares.errors import Refusal
from middlewares.extending import add_header, extension

logger = logging.getLogger("house-rules")

TAG = "X-Caller-Tag"


@extension(needs=("request",))
def forbid(*, patterns: Sequence[str]) -> Middleware:
    """Refuse a prompt in which one of the regular expressions is found."""
    found_in = [re.compile(pattern, re.IGNORECASE).search for pattern in patterns]

    @web.middleware
    async def refuse_forbidden(request: web.Request, handler: Handler) -> web.StreamResponse:
        if any(search(text) for text in texts(request[CALL].request) for search in found_in):
            raise Refusal("content_filter", "this prompt is against the rules of this house")
        return await handler(request)

    return refuse_forbidden


@extension(needs=("account_id",), afterwards=("cost",))
def caller_tag() -> Middleware:
    """Give the caller's tag back in the answer, and log what its call cost."""

    @web.middleware
    async def tag(request: web.Request, handler: Handler) -> web.StreamResponse:
        call, told = request[CALL], request.headers.get(TAG, "")
        if not re.fullmatch(r"[\w-]{1,40}", told, re.ASCII):
            return await handler(request)
        add_header(call, TAG, told)
        response = await handler(request)
        logger.info("%s of %s cost %s", told, call.account_id, "nothing" if not call.cost else format_usd(call.cost))
        return response

    return tag


def texts(body: Mapping[str, Any]) -> Iterator[str]:
    """Everything that is said in the messages of a request, or that embeddings are to be made of."""
    said = body["input"] if "input" in body else [message.get("content") for message in body["messages"]]
    for content in said if isinstance(said, list) else [said]:
        for part in content if isinstance(content, list) else [{"text": content}]:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]

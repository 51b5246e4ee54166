"""A plain answer in the words of a caller's dialect, for the routes that are translated to chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from middlewares.call import CALL, Call
from middlewares.caller_dialect import Facts
from middlewares.explaining import explanation_text
from middlewares.headers import HeadersOf
from providers.json_bytes import as_json
from proxy.delivery import CLIENT_STALL_SECONDS, PlainAnswer
from proxy.explained import with_explanation


class TranslatedAnswer(PlainAnswer):
    """Translated when the whole chain has returned: only then its bill, and so its usage, is known."""

    def __init__(
        self,
        answer: Mapping[str, Any],
        headers_of: HeadersOf,
        client_stall_seconds: float = CLIENT_STALL_SECONDS,
    ) -> None:
        """``answer`` is the chat completion, as it would have been passed on."""
        super().__init__(b"", headers_of, client_stall_seconds)
        self._answer = answer

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Called by aiohttp, once or more, before anything is written."""
        if not self.prepared:
            call = request[CALL]
            assert call.caller_dialect is not None, "the chat route's answers are passed on as they are"
            assert call.bill is not None, "metering has made the bill"
            self._document = as_json(call.caller_dialect.tell_answer(self._answer, call.bill.usage, facts_of(call)))
            if call.explained:
                self._document = with_explanation(self._document, explanation_text(call).encode())
        return await super().prepare(request)


def facts_of(call: Call) -> Facts:
    """What an answer of this call tells of it."""
    return Facts(
        request_id=call.request_id,
        created=int(call.started_at.timestamp()),
        model=lambda: (call.offer.model if call.offer is not None else call.model).id,
    )

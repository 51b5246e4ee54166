"""A plain answer with the choice behind it: the provider's JSON, and our `findtoken` object as its last member.

Only for callers who ask; everybody else's answer passes byte for byte.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from middlewares.call import CALL
from middlewares.explaining import explanation_text
from proxy.delivery import PlainAnswer

_SPACE: Final = b" \t\r\n"


class ExplainedAnswer(PlainAnswer):
    """The explanation is written when the whole chain has returned: only then every attempt is known."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Called by aiohttp, once or more, before anything is written."""
        if not self.prepared:
            self._document = with_explanation(self._document, explanation_text(request[CALL]).encode())
        return await super().prepare(request)


def with_explanation(document: bytes, explanation: bytes) -> bytes:
    """``document``, a JSON object, with one more member at its end; every other byte as it was."""
    end = len(document.rstrip(_SPACE)) - 1
    assert document[end : end + 1] == b"}", "a plain answer is a JSON object"
    comma = b"" if document[:end].rstrip(_SPACE).endswith(b"{") else b","
    return document[:end] + comma + b'"findtoken":' + explanation + document[end:]

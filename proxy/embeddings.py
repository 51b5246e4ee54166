"""POST /v1/embeddings: the end of its chain. Attempts go as those of a chat; what is sent and what is read differ.

An answer must have a vector for each input, or it is none. It passes byte for byte, but for the model's name and an echoed
key, unless its caller wants base64 and the provider gives numbers: then it is written anew, with vectors as OpenAI writes them,
four bytes a number, the lowest first.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.bound import inputs_of
from billing.matrix import Ending
from billing.usage import UsageTally
from middlewares.body import body
from middlewares.call import Answer, Call
from middlewares.embedding import check_embedding
from providers.catalogue import Catalogue
from providers.embedding import shape_embedding, with_model
from providers.errors import AnswerUnreadable
from providers.selection import Offer
from providers.transport import Outgoing, Transport, UpstreamAnswer
from providers.without_usage import WithoutUsage
from proxy.chat import chat, encode_body, read_object, redacted
from proxy.delivery import PlainAnswer
from proxy.explained import ExplainedAnswer
from proxy.relay import RelaySettings
from proxy.settings import ServerSettings
from proxy.shortcut import fold

_NO_COMPLETION: Final = {"completion_tokens": 0}
"""Whatever a provider reports of it: a vector is no completion, and has no price."""


def embeddings(
    links: Mapping[str, Middleware],
    server: ServerSettings,
    catalogue: Callable[[], Catalogue],
    transport: Transport,
    settings: RelaySettings,
) -> Handler:
    """The handler of POST /v1/embeddings behind its chain: the ``links`` of a call, with a body of its own."""
    read = body(server.max_body_bytes, server.body_timeout_seconds, catalogue, check_embedding)
    attempt = chat(transport, settings, WithoutUsage(), shape=_shape, read_plain=_read)
    return fold([*{**links, "body": read}.values()], attempt)


def _shape(call: Call, offer: Offer, key: str, *, with_usage: bool) -> Outgoing:  # noqa: ARG001 - it is told unasked
    upstream = offer.upstream
    provider, dialect = upstream.provider, upstream.provider.dialect
    assert dialect.embeddings is not None, "the catalogue has no such model"
    sent = shape_embedding(call.request, upstream.upstream_model, upstream.force, dialect.embeddings)
    return Outgoing(f"{provider.base_url}/embeddings", dialect.headers(key), encode_body(sent))


async def _read(incoming: UpstreamAnswer, call: Call, key: str, settings: RelaySettings) -> web.StreamResponse:
    """The vectors. Raises what the body hides, or AnswerUnreadable."""
    offer, answer = call.offer, call.answer
    assert offer is not None, "routing comes first"
    assert answer is not None, "metering comes first"
    document, parsed = await read_object(incoming, answer)
    # Before anything is raised: what an answer of no use cost is known only from here.
    _take_usage(parsed.get("usage"), answer)
    hidden = offer.upstream.provider.dialect.read_hidden_error(parsed)
    if hidden is not None:
        raise hidden
    vectors = _vectors_in(parsed, len(inputs_of(call.request["input"])))
    answer.first_content_at = asyncio.get_running_loop().time()
    answer.finished = True
    answer.ending = Ending.COMPLETE
    if call.request.get("encoding_format") == "base64" and any(isinstance(one["embedding"], list) for one in vectors):
        document = in_base64(parsed, vectors)
    document = redacted(with_model(document, orjson.dumps(offer.model.id)), key)
    plain = ExplainedAnswer if call.explained else PlainAnswer
    return plain(document, settings.headers_of, settings.client_stall_seconds)


def _take_usage(reported: object, answer: Answer) -> None:
    """No input has no tokens: a report that says so, as some servers' do, is none."""
    answer.tally.take(reported)
    if reported is not None:
        answer.tally.take(_NO_COMPLETION)
    usage = answer.tally.usage()
    if usage is not None and not usage.prompt_tokens:
        answer.tally = UsageTally()
        answer.tally.ignored = 1


def _vectors_in(parsed: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The ``count`` vectors that were asked for. Raises AnswerUnreadable where there are others."""
    vectors = parsed.get("data")
    if not isinstance(vectors, list) or len(vectors) != count:
        found = len(vectors) if isinstance(vectors, list) else "no"
        raise AnswerUnreadable(f"the provider's answer has {found} vectors for {count} inputs")
    for one in vectors:
        vector = one.get("embedding") if isinstance(one, dict) else None
        if not isinstance(vector, (list, str)) or not vector:
            raise AnswerUnreadable("the provider's answer has an embedding that is no vector")
    return vectors


def in_base64(parsed: Mapping[str, Any], vectors: list[dict[str, Any]]) -> bytes:
    """The answer with its vectors in base64. Raises AnswerUnreadable for a vector that is not of numbers."""
    return encode_body({**parsed, "data": [{**one, "embedding": _text_of(one["embedding"])} for one in vectors]})


def _text_of(vector: list[Any] | str) -> str:
    if isinstance(vector, str):
        return vector
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError):
        raise AnswerUnreadable("the provider's answer has a vector that is not of numbers") from None

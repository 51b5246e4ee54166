"""The end of the chain: one attempt at one upstream, from the shaped request to the answer.

A plain answer is read whole, judged by its body and not by its status, and passed on with only the model's name (and an
echoed key) changed. A streamed one is handed to the relay.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from billing.matrix import Ending
from billing.usage import UsageTally
from middlewares.call import CALL, Answer, Call
from providers.chunks import REDACTED, SHORTEST_SECRET, chunks_of_answer, has_content, produced_bytes_of
from providers.errors import (
    AnswerUnreadable,
    ProviderKeyRefused,
    StreamOptionsRefused,
    UpstreamError,
    UpstreamTimedOut,
)
from providers.json_bytes import parse_json, replace_text
from providers.provider import Ask
from providers.selection import Offer
from providers.sse import DONE, encode
from providers.transport import ERROR_LIMIT_BYTES, Outgoing, Transport, UpstreamAnswer, was_late
from providers.without_usage import WithoutUsage, as_refusal_of_stream_options
from proxy.delivery import PlainAnswer
from proxy.explained import ExplainedAnswer
from proxy.keep_alive import KeepAlive
from proxy.relay import Relay, RelaySettings, WholeAnswer, begin_stream
from proxy.translated import TranslatedAnswer

Shape = Callable[..., Outgoing]
"""Makes the request of an attempt: of the call, its offer and the key, ``with_usage`` where it may ask for usage."""
ReadPlain = Callable[[UpstreamAnswer, Call, str, RelaySettings], Awaitable[web.StreamResponse]]
"""Makes the caller's answer of the provider's plain one: of that, the call and the key."""


def chat(
    transport: Transport,
    settings: RelaySettings,
    without_usage: WithoutUsage,
    *,
    shape: Shape | None = None,
    read_plain: ReadPlain | None = None,
) -> Handler:
    """The handler of POST /v1/chat/completions, behind its chain. Another route has another ``shape`` and ``read_plain``."""
    shape, read_plain = shape or _shape, read_plain or _plain

    async def attempt(request: web.Request) -> web.StreamResponse:
        call = request[CALL]
        offer, answer = call.offer, call.answer
        assert offer is not None, "routing comes first"
        assert answer is not None, "metering comes first"
        key = _key(call, offer)
        refused_before = _refused_stream_options(call, offer)
        with_usage = not refused_before and offer.health_key not in without_usage
        outgoing = shape(call, offer, key, with_usage=with_usage)
        answer.asked_at = asyncio.get_running_loop().time()
        keep_alive = _keep_alive(request, settings) if call.streamed else None
        try:
            async with asyncio.timeout_at(call.attempt_until) as limit, await transport.open(outgoing) as incoming:
                try:
                    if incoming.status != 200:
                        error = await _refusal(incoming, offer)
                        raise as_refusal_of_stream_options(error) if call.streamed and with_usage else error
                    if refused_before:
                        without_usage.remember(offer.health_key)
                    if keep_alive is not None:
                        response = await _streamed(request, incoming, key, settings, keep_alive, limit)
                    else:
                        response = await read_plain(incoming, call, key, settings)
                finally:
                    if incoming.interrupted and not limit.expired():
                        # The caller left while the answer came: what it cost is known now, and whatever it says, nobody
                        # waits for it or for another one.
                        raise asyncio.CancelledError
        except TimeoutError:
            # Only the wait for the first content is limited here: the relay has put the limit off by then.
            late = was_late(call.attempt_until)
            raise UpstreamTimedOut(f"no answer from {offer.provider_name} in time", heard_late=late) from None
        except UpstreamError as error:
            _redact(error, key)
            raise
        finally:
            if answer.heard_at is None:
                answer.heard_at = asyncio.get_running_loop().time()
            if keep_alive is not None:
                keep_alive.stop()
        if answer.failure is not None:
            _redact(answer.failure, key)
        return response

    return attempt


async def _plain(incoming: UpstreamAnswer, call: Call, key: str, settings: RelaySettings) -> web.StreamResponse:
    """A plain answer for whoever wants one."""
    offer, answer = call.offer, call.answer
    assert offer is not None, "routing comes first"
    assert answer is not None, "metering comes first"
    document, _, ending = await _read_plain(incoming, offer, answer)
    answer.first_content_at = asyncio.get_running_loop().time()
    answer.ending = ending
    passed_on = _passed_on(document, offer, key)
    if call.caller_dialect is not None:
        return TranslatedAnswer(parse_json(passed_on), settings.headers_of, settings.client_stall_seconds)
    plain = ExplainedAnswer if call.explained else PlainAnswer
    return plain(passed_on, settings.headers_of, settings.client_stall_seconds)


async def _streamed(
    request: web.Request,
    incoming: UpstreamAnswer,
    key: str,
    settings: RelaySettings,
    keep_alive: KeepAlive,
    limit: asyncio.Timeout,
) -> web.StreamResponse:
    """A stream, made of the plain answer where the provider gives one."""
    call = request[CALL]
    offer, answer = call.offer, call.answer
    assert offer is not None, "routing comes first"
    assert answer is not None, "metering comes first"
    keep_alive.heard()
    tally = answer.tally
    if _is_event_stream(incoming):
        if incoming.interrupted:
            raise asyncio.CancelledError  # Nobody is there to relay to.
    else:
        _, parsed, ending = await _read_plain(incoming, offer, answer)
        if limit.expired():
            raise asyncio.CancelledError  # It is whole, and too late for a stream: the time to begin one is over.
        # Its usage is known already, and what is wrong with it is counted once.
        incoming, tally = _stream_of(parsed, ending, call), UsageTally()
    return await Relay(request, incoming, key, settings, tally=tally, keep_alive=keep_alive).run(limit)


def _keep_alive(request: web.Request, settings: RelaySettings) -> KeepAlive:
    return KeepAlive(request, settings.keep_alive_seconds, lambda: begin_stream(request[CALL], settings))


def _key(call: Call, offer: Offer) -> str:
    """The provider key that pays this attempt."""
    if call.provider_key is not None:
        return call.provider_key.key
    provider = offer.upstream.provider
    if provider.keys:
        return provider.keys[call.key_number]
    if provider.keyless:
        return ""
    raise ProviderKeyRefused(f"provider {provider.name} has no key")


def _refused_stream_options(call: Call, offer: Offer) -> bool:
    """Whether the attempt before this one was refused by the same upstream because it asked for usage."""
    if not call.attempts:
        return False
    last = call.attempts[-1]
    return (last.outcome, last.provider, last.upstream_model) == (StreamOptionsRefused.outcome, *offer.health_key)


def _shape(call: Call, offer: Offer, key: str, *, with_usage: bool) -> Outgoing:
    upstream = offer.upstream
    provider = upstream.provider
    streamed = call.streamed and provider.stream_mode == "native"
    model, force, reasoning = upstream.upstream_model, upstream.force, upstream.reasoning
    body = provider.dialect.shape(Ask(call.request, model, streamed, offer.max_tokens, force, reasoning, with_usage))
    return Outgoing(f"{provider.base_url}/chat/completions", provider.dialect.headers(key), encode_body(body))


def encode_body(body: Mapping[str, Any]) -> bytes:
    """A request as JSON."""
    try:
        return orjson.dumps(body)
    except TypeError:
        # Half a surrogate pair, a whole number of more than 64 bits, deep nesting: rare, valid, and not orjson's to write.
        return json.dumps(body, separators=(",", ":")).encode()


async def _refusal(incoming: UpstreamAnswer, offer: Offer) -> UpstreamError:
    """What an answer with another status than 200 says. Only the beginning of its body is read: what matters stands there,
    and a page of any size keeps its status."""
    if incoming.interrupted:
        raise asyncio.CancelledError
    body = b""
    while len(body) < ERROR_LIMIT_BYTES and (part := await incoming.read_some()):
        body += part
    dialect = offer.upstream.provider.dialect
    return dialect.read_error(incoming.status, incoming.headers, body[:ERROR_LIMIT_BYTES])


def _is_event_stream(incoming: UpstreamAnswer) -> bool:
    """Whether the answer may be a stream: anything but JSON and HTML, since some vendors mislabel theirs."""
    kind = incoming.headers.get("Content-Type", "").lower()
    return "json" not in kind and "html" not in kind


def _redact(error: UpstreamError, key: str) -> None:
    """A provider may quote the key it was given, and callers read its words."""
    if len(key) >= SHORTEST_SECRET:
        error.message = error.message.replace(key, REDACTED.decode())
        error.param = error.param.replace(key, REDACTED.decode())


async def _read_plain(incoming: UpstreamAnswer, offer: Offer, answer: Answer) -> tuple[bytes, dict[str, Any], Ending]:
    """A plain answer, what it says and how it ended, with its usage in ``answer``.

    Raises what the body hides, or AnswerUnreadable.
    """
    document, parsed = await read_object(incoming, answer)
    choices = parsed.get("choices")
    # Before anything is raised: what an answer of no use cost is known only from here.
    _take_usage(parsed, choices, answer)
    hidden = offer.upstream.provider.dialect.read_hidden_error(parsed)
    if hidden is not None:
        raise hidden
    if not isinstance(choices, list) or not choices:
        raise AnswerUnreadable("the provider's answer has no choices")
    produced = False
    for choice in choices:
        if not isinstance(choice, dict):
            raise AnswerUnreadable("the provider's answer has a choice that is no object")
        message = choice.get("message")
        if isinstance(message, dict) and has_content(message):
            produced = True
            answer.produced_bytes += produced_bytes_of(message)
        answer.finished = answer.finished or choice.get("finish_reason") is not None
    return document, parsed, Ending.COMPLETE if produced or answer.finished else Ending.NOTHING_PRODUCED


async def read_object(incoming: UpstreamAnswer, answer: Answer) -> tuple[bytes, dict[str, Any]]:
    """A plain answer to its end, and the JSON object that it is. Raises AnswerUnreadable for anything else."""
    document = await incoming.read()
    answer.heard_at = asyncio.get_running_loop().time()
    try:
        parsed = parse_json(document)
    except (ValueError, RecursionError):
        raise AnswerUnreadable("the provider's answer is not JSON") from None
    if not isinstance(parsed, dict):
        raise AnswerUnreadable("the provider's answer is not a JSON object")
    return document, parsed


def _take_usage(parsed: Mapping[str, Any], choices: object, answer: Answer) -> None:
    """Usage as the answer tells it, once: what a choice says first, because the answer's own word counts more."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            answer.tally.take(choice.get("usage"))
    answer.tally.take(parsed.get("usage"))


def _passed_on(document: bytes, offer: Offer, key: str) -> bytes:
    """The answer's bytes with the public model name and without our key; everything else as it came."""
    return redacted(replace_text(document, b"model", orjson.dumps(offer.model.id)), key)


def redacted(document: bytes, key: str) -> bytes:
    """``document`` without our key, should the provider quote it."""
    if len(key) >= SHORTEST_SECRET and key.encode() in document:
        document = document.replace(key.encode(), REDACTED)
    return document


def _stream_of(parsed: Mapping[str, Any], ending: Ending, call: Call) -> WholeAnswer:
    """A plain answer as the stream its caller wanted: one content chunk, a finish chunk, usage, `[DONE]`.

    Raises AnswerUnreadable for one without content, as the relay does for such a stream.
    """
    if ending is Ending.NOTHING_PRODUCED:
        raise AnswerUnreadable("the provider's answer has no content")
    chunks = chunks_of_answer(parsed, int(call.started_at.timestamp()))
    return WholeAnswer(b"".join(map(encode, chunks)) + DONE)

"""Upstream bytes to client bytes, usage tapped as they pass.

Rules: every event leaves as soon as it has come; after the first content there is no second provider, so whatever breaks
from then on ends this stream with an error chunk and no `[DONE]`; the last bytes leave only when the books are settled,
after the handler has returned, which is why they are written by the response itself (`write_eof`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from prometheus_client import Gauge

from billing.matrix import BYOK, Ending
from billing.money import format_usd
from billing.usage import UsageTally
from middlewares.call import CALL, Call
from middlewares.caller_dialect import CallerDialect
from middlewares.errors import ClientGone, Problem, Refusal, error_body, problem_of
from middlewares.explaining import explanation_text
from middlewares.headers import HeadersOf
from providers.chunks import ChunkStream
from providers.errors import AnswerUnreadable, StreamCut, UpstreamError, UpstreamTimedOut
from providers.sse import DONE, comment, encode
from providers.transport import ANSWER_LIMIT_BYTES, UpstreamAnswer
from proxy.delivery import StreamedAnswer
from proxy.keep_alive import KeepAlive
from proxy.stopping import OpenStreams, stopped
from proxy.translated import facts_of

HELD_BACK_BYTES: Final = 64 * 1024
"""What a provider sends before its first content (comments, role chunks) is kept up to this size, the rest is dropped."""
USAGE_WAIT_SECONDS: Final = 2.0
"""How long a stream whose client left is read on for its usage, once a finish reason was seen."""
DRAINS_AT_ONCE: Final = 64
"""Streams that may be read to their end for nobody at the same time; the others are cut and billed by estimate."""


@dataclass(slots=True)
class Drains:
    """How many abandoned streams are being read to their end."""

    limit: int = DRAINS_AT_ONCE
    open: int = 0


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The times of a stream."""

    silence_timeout_seconds: float
    """The longest an upstream may send nothing with data in it."""
    client_stall_seconds: float
    """The longest a client may read nothing while bytes wait for it."""
    disconnect_drain_seconds: float
    """How long a provider that bills cancelled calls is read on after its client left."""
    keep_alive_seconds: float
    """How long a provider may be silent before its first content until the client gets a comment; 0 is for ever."""
    streams_open: Gauge
    """Counts the streams under way."""
    headers_of: HeadersOf
    """What an answer says of its call."""
    drains: Drains = field(default_factory=Drains)
    open_streams: OpenStreams = field(default_factory=OpenStreams)
    """Ends streams that last longer than the process."""


class RelayedStream(StreamedAnswer):
    """A streamed answer whose last bytes are decided when everything else is over."""

    def __init__(self, call: Call, headers_of: HeadersOf, client_stall_seconds: float) -> None:
        super().__init__(headers_of, client_stall_seconds)
        self._call = call
        self._failure: Exception | None = None

    def broke(self, failure: Exception) -> None:
        """The stream ends with an error chunk, and its connection with it."""
        self._failure = failure
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Called by aiohttp once the whole chain has returned: the call is settled, its cost is known."""
        if not data:
            data = self._last_bytes()
        await super().write_eof(data)

    def _last_bytes(self) -> bytes:
        """What ends a stream: the bill and `[DONE]`, or what went wrong."""
        call, failure = self._call, self._failure
        if failure is not None:
            error = json.dumps(_error_chunk(call, failure), ensure_ascii=False).encode()
            return _explained(call) + (_bill(call) if call.cost else b"") + encode(error)
        return b"" if call.cost is None else _explained(call) + _bill(call) + DONE


class TranslatedStream(RelayedStream):
    """The same for a caller's dialect: what is written is read as chat's events, and leaves as the dialect's."""

    def __init__(self, call: Call, headers_of: HeadersOf, client_stall_seconds: float, dialect: CallerDialect) -> None:
        super().__init__(call, headers_of, client_stall_seconds)
        self._translation = dialect.translation(facts_of(call))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Pass bytes on, at once."""
        translated = self._translation.feed(bytes(data))
        if translated:
            await super().write(translated)

    def _last_bytes(self) -> bytes:
        """The bill and the dialect's own end, or what went wrong."""
        call, failure = self._call, self._failure
        if failure is not None:
            problem = _stream_problem(failure)
            told = _explained(call) + (_bill(call) if call.cost else b"")
            return told + self._translation.fail(problem.status, error_body(problem, call))
        if call.cost is None or call.bill is None:
            return b""
        return self._translation.end(call.bill.usage, _explained(call) + _bill(call))


def begin_stream(call: Call, settings: RelaySettings) -> RelayedStream:
    """The call's stream, made when its first byte is about to leave. From then on `call.end_stream` lets it tell of a
    failure that any other call would have told by its status."""
    stream = call.stream
    if stream is None:
        told, dialect = (call, settings.headers_of, settings.client_stall_seconds), call.caller_dialect
        call.stream = stream = RelayedStream(*told) if dialect is None else TranslatedStream(*told, dialect)
        call.end_stream = stream.broke
    assert isinstance(stream, RelayedStream), "nobody else begins a stream"
    return stream


class Relay:
    """One stream on its way through."""

    def __init__(
        self,
        request: web.Request,
        incoming: UpstreamAnswer,
        key: str,
        settings: RelaySettings,
        *,
        tally: UsageTally,
        keep_alive: KeepAlive,
    ) -> None:
        """``tally`` takes the usage that the stream reports."""
        self._request = request
        self._keep_alive = keep_alive
        self._call = call = request[CALL]
        self._incoming = incoming
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        self._is_writing = False
        offer, answer = call.offer, call.answer
        assert offer is not None, "routing comes first"
        assert answer is not None, "metering comes first"
        self._offer = offer
        self._answer = answer
        self._chunks = ChunkStream(
            offer.upstream.provider.dialect,
            offer.model.id,
            tally=tally,
            wants_usage=call.wants_usage,
            secret=key,
            usage_extra=lambda: _usage_extra(call),
        )

    async def run(self, limit: asyncio.Timeout) -> web.StreamResponse:
        """Relay until the end. ``limit`` covers the time to the first content and is put off after it.

        Raises UpstreamError while no content has reached the client, ClientGone when it hung up.
        """
        head = await self._until_begun()
        limit.reschedule(None)
        answer, chunks = self._answer, self._chunks
        answer.first_content_at = self._clock()
        self._keep_alive.stop()
        stream = begin_stream(self._call, self._settings)
        self._settings.streams_open.inc()
        try:
            await stream.prepare(self._request)
            await stream.write(head)
            failure = await self._forward(stream)
        except ConnectionError as error:
            try:
                await self._client_left()
            except asyncio.CancelledError:
                # The end of the client's connection cancels this task a moment after a write has noticed it: that is the
                # same news once more, and no reason to read no further.
                await self._client_left()
            raise ClientGone from error
        except asyncio.CancelledError:
            await self._client_left()
            raise
        finally:
            self._settings.streams_open.dec()
        answer.finished = chunks.finished
        answer.produced_bytes = chunks.produced_bytes
        answer.unreported_bytes = chunks.unreported_bytes
        if failure is None:
            answer.ending = Ending.COMPLETE
            await self._incoming.end()
        else:
            if isinstance(failure, UpstreamError):
                answer.ending, answer.failure = Ending.CUT_BY_PROVIDER, failure
            else:
                answer.ending = self._left_ending()
            stream.broke(failure)
        return stream

    async def _until_begun(self) -> bytes:
        """Everything up to the first content or finish. Raises what the provider says instead, or AnswerUnreadable."""
        chunks = self._chunks
        held_back = b""
        while not chunks.begun:
            data = await self._incoming.read_some()
            if not data:
                raise AnswerUnreadable("the stream ended before it had any content")
            self._keep_alive.heard()
            passed = chunks.feed(data)
            if chunks.error is not None and not chunks.begun:
                raise chunks.error
            if chunks.done and not chunks.begun:
                raise AnswerUnreadable("the stream was declared done before it had any content")
            if chunks.begun or len(held_back) < HELD_BACK_BYTES:
                held_back += passed
        return held_back

    async def _forward(self, stream: RelayedStream) -> UpstreamError | Refusal | None:
        """Pass bytes on until the stream is done; what broke it, or None."""
        chunks, silence = self._chunks, self._settings.silence_timeout_seconds
        open_streams = self._settings.open_streams
        # Renewing the timer for every event would cost more than passing it on, so it is late by up to this much.
        slack = min(1.0, silence / 8)
        renewed = self._clock()
        try:
            if chunks.is_over:
                return chunks.error  # All of it came at once, as short answers do.
            async with asyncio.timeout(silence + slack) as quiet:
                with open_streams.with_one(quiet):
                    while not chunks.done and chunks.error is None:
                        data = await self._incoming.read_some()
                        if not data:
                            break
                        passed = chunks.feed(data)
                        if passed:
                            self._is_writing = True
                            await stream.write(passed)
                            self._is_writing = False
                        # Comments are not progress.
                        if (
                            chunks.progressed
                            and (now := self._clock()) > renewed + slack
                            and not open_streams.are_ended
                        ):
                            renewed = now
                            quiet.reschedule(now + silence + slack)
        except TimeoutError:
            if open_streams.are_ended:
                return stopped()
            if self._is_writing:
                # It was the client who took so long; the stream bounds that by itself.
                return await self._forward(stream)
            return UpstreamTimedOut(f"the provider was silent for {silence:g} seconds")
        except AnswerUnreadable as error:
            return StreamCut(error.message)
        if chunks.error is not None:
            return chunks.error
        if not chunks.done and not chunks.finished:
            return StreamCut("the provider ended the stream before its answer was complete")
        return None

    async def _client_left(self) -> None:
        """Nobody listens any more: learn what can be learnt about usage, within bounds, and say how it ended."""
        answer, chunks = self._answer, self._chunks
        answer.ending = self._left_ending()
        try:
            if chunks.finished:
                await self._read_on(USAGE_WAIT_SECONDS)
            elif self._offer.upstream.provider.bills_cancelled:
                await self._drain()
        finally:
            answer.finished = chunks.finished
            answer.produced_bytes = chunks.produced_bytes

    def _left_ending(self) -> Ending:
        """How a call ended that was broken off now, and not by its provider."""
        chunks = self._chunks
        return Ending.CLIENT_LEFT if chunks.produced or chunks.finished else Ending.CLIENT_LEFT_EARLY

    async def _drain(self) -> None:
        drains = self._settings.drains
        if drains.open >= drains.limit:
            return
        drains.open += 1
        try:
            await self._read_on(self._settings.disconnect_drain_seconds)
        finally:
            drains.open -= 1

    async def _read_on(self, seconds: float) -> None:
        """Read the rest for its usage alone."""
        chunks = self._chunks
        read_bytes = 0
        try:
            async with asyncio.timeout(seconds):
                while not chunks.done and chunks.error is None and read_bytes < ANSWER_LIMIT_BYTES:
                    data = await self._incoming.read_some()
                    if not data:
                        return
                    read_bytes += len(data)
                    chunks.feed(data)
        except (TimeoutError, UpstreamError):
            return


class WholeAnswer:
    """Bytes that are all there already, in the shape of an upstream's answer: a plain answer on its way to a stream."""

    status: int = 200
    headers: Mapping[str, str] = {}
    interrupted: bool = False

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        """All of it; it was within a limit when it was read first."""
        assert len(self._data) <= limit_bytes
        return await self.read_some()

    async def read_some(self) -> bytes:
        """All of it, then nothing."""
        data, self._data = self._data, b""
        return data

    async def end(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


def _usage_extra(call: Call) -> bytes:
    """`cost`, `cost_details` and `is_byok` for the usage chunk, as OpenRouter names them; the amounts that will be taken."""
    assert call.answer is not None, "metering comes first"
    usage = call.answer.tally.usage()
    byok = b"true" if call.mode == BYOK else b"false"
    if usage is None:
        return b'"is_byok":' + byok
    charge, _absorbed = call.pricing.charge_for(usage)
    return (
        f'"cost":{format_usd(charge.cost)},"cost_details":{{"provider_cost":{format_usd(charge.provider_cost)},'
        f'"fee":{format_usd(charge.fee)}}},"is_byok":'
    ).encode() + byok


def _explained(call: Call) -> bytes:
    """Why this candidate, for whoever asked."""
    return comment(f"findtoken-explain {explanation_text(call)}") if call.explained else b""


def _bill(call: Call) -> bytes:
    """What a stream that is whole and settled has cost."""
    assert call.cost is not None, "it is settled"
    said = [f"cost={format_usd(call.cost)}"]
    if call.balance is not None and call.mode != BYOK:
        said.append(f"balance={format_usd(call.balance)}")
    said.append(f"request_id={call.request_id}")
    return comment("findtoken " + " ".join(said))


def _stream_problem(failure: Exception) -> Problem:
    """What broke a stream; whatever a provider did to one that had begun is an upstream error."""
    problem = problem_of(failure)
    return replace(problem, type="upstream_error") if isinstance(failure, UpstreamError) else problem


def _error_chunk(call: Call, failure: Exception) -> dict[str, Any]:
    problem = _stream_problem(failure)
    return {
        "id": call.request_id,
        "object": "chat.completion.chunk",
        "model": call.offer.model.id if call.offer is not None else call.model.id,
        "error": {"message": problem.message, "type": problem.type, "code": problem.code},
        "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}],
    }

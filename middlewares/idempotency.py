"""One call per Idempotency-Key: whoever comes with the same key again gets the answer of the first, charged once.

The key belongs to the account and is kept for 24 hours. With it the rest of the chain runs apart from its caller
(middlewares/runs.py). The same key and request again: while the call runs here, its stream is followed from its start; while
it runs in another process, that is waited for; afterwards the kept answer is given again. The same key with another request
is refused. What counts as the same request is its path, its body as JSON means it, and the headers that change the answer.

Kept are the answers of calls that were charged or delivered. A call that cost nothing, because it was refused or failed,
leaves the key free, so that trying again is worth something. A call that was charged and whose answer could not be kept (it
was too long, given up by everybody, or the process died) is refused by naming it: its receipt stands, and nobody pays twice.

A resumable stream runs apart from its caller for the same reason, with or without a key (proxy/streams.py).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL, Call
from middlewares.errors import Refusal, invalid
from middlewares.following import follow
from middlewares.recording import BeginningGone, Broken, Head, Reader, Recording, Room
from middlewares.runs import Name, Run, Runs
from storage.connection import StorageUnavailable
from storage.idempotency import DONE, LOST, NEW, Answers, Claim, hash_of

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255
WAIT_SECONDS: Final = 20.0
"""How long a call of another process is waited for."""
PAUSES_SECONDS: Final = (0.02, 0.1, 0.25, 0.5, 1.0)
"""Waits between looks at it; the last one repeats."""
RETRY_SECONDS: Final = 2
KEEP_PAUSE_SECONDS: Final = 1.0
"""The wait before an answer is kept again, while the database is away."""


def idempotency(runs: Runs, answers: Answers, *, header_prefix: str, stall_seconds: float) -> Middleware:
    """Answer what was asked before; let everything else with a key, and resumable streams, run apart from the caller."""
    once = _Once(runs, answers, header_prefix, stall_seconds)
    resumable_header = f"{header_prefix}Resumable"

    @web.middleware
    async def answer_once(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = request.headers
        if IDEMPOTENCY_KEY in headers:
            resumable = request[CALL].streamed and wants_resumable(headers, resumable_header)
            return await once.answer(request, handler, resumable=resumable)
        if resumable_header in headers and request[CALL].streamed and wants_resumable(headers, resumable_header):
            run = runs.start(request, handler, resumable=True)
            return await follow(runs.follow(run), request, stall_seconds=stall_seconds)
        return await handler(request)

    return answer_once


def wants_resumable(headers: Mapping[str, str], name: str) -> bool:
    """Whether the header of that name asks for it. Raises a Refusal for what is neither yes nor no."""
    said = (headers.get(name) or "false").strip().lower()
    if said not in ("true", "false", "1", "0"):
        raise invalid(name, f"the header {name} must be true or false")
    return said in ("true", "1")


def read_key(request: web.Request) -> str:
    """The key of a request. Raises a Refusal for one that is empty, too long, unprintable, or sent twice."""
    keys = request.headers.getall(IDEMPOTENCY_KEY)
    key = keys[0].strip()
    if len(keys) > 1 or not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise invalid(IDEMPOTENCY_KEY, f"{IDEMPOTENCY_KEY} must be one text of 1 to {LONGEST_KEY} printable characters")
    return key


class _Once:
    """What the middleware does with a request that has a key."""

    def __init__(self, runs: Runs, answers: Answers, header_prefix: str, stall_seconds: float) -> None:
        self._runs = runs
        self._answers = answers
        self._replayed = (f"{header_prefix}Replayed", "true")
        self._deciding = ("X-Provider-Key", "X-Session-Id", f"{header_prefix}Resumable")
        """The headers that change an answer."""
        self._stall_seconds = stall_seconds

    async def answer(self, request: web.Request, handler: Handler, *, resumable: bool) -> web.StreamResponse:
        """Make the call, attach to it, or repeat its answer."""
        call = request[CALL]
        assert call.account_id is not None, "auth comes first"
        name = (call.account_id, hash_of(read_key(request)))
        fingerprint = self._fingerprint(request, call)
        give_up = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            run = self._runs.find(name)
            if run is not None and not run.is_lost:
                _check(run.fingerprint, fingerprint, run.request_id)
                try:
                    return await self._attach(run, request)
                except Broken:
                    call.replay_of = None
                    continue  # It was given up while we waited for its first byte.
            claim = await self._answers.claim(*name, fingerprint, call.request_id)
            if claim.state == NEW:
                # Nothing is awaited between the claim and the start: from here on the run looks after the claim.
                started = self._runs.start(
                    request, handler, name=name, fingerprint=fingerprint, resumable=resumable, on_end=self._keep
                )
                return await follow(self._runs.follow(started), request, stall_seconds=self._stall_seconds)
            _check(claim.fingerprint, fingerprint, claim.request_id)
            if claim.state in (DONE, LOST):
                return await self._repeat(name, claim, request)
            await self._wait(name, claim, give_up)

    async def _wait(self, name: Name, claim: Claim, give_up: float) -> None:
        """Wait until something may have changed for a key whose call runs. Raises a Refusal at the time to give up."""
        clock = asyncio.get_running_loop().time
        pauses = iter(PAUSES_SECONDS)
        while True:
            pause = next(pauses, PAUSES_SECONDS[-1])
            if clock() + pause > give_up:
                raise _in_progress(claim.request_id)
            await asyncio.sleep(pause)
            run = self._runs.find(name)
            if (run is not None and not run.is_lost) or not await self._answers.is_running(*name):
                return

    async def _attach(self, run: Run, request: web.Request) -> web.StreamResponse:
        """Follow the call of another request, which runs here or has just ended."""
        try:
            reader = self._runs.follow(run)
        except BeginningGone:
            raise _lost(run.request_id) from None
        return await self._replay(reader, run.request_id, request)

    async def _repeat(self, name: Name, claim: Claim, request: web.Request) -> web.StreamResponse:
        """Give the kept answer again."""
        document = await self._answers.read(*name, claim.request_id) if claim.state == DONE else None
        if document is None:
            raise _lost(claim.request_id)
        return await self._replay((await unpack(document)).read_from(), claim.request_id, request)

    async def _replay(self, reader: Reader, request_id: str, request: web.Request) -> web.StreamResponse:
        """Answer with the answer of another request."""
        request[CALL].replay_of = request_id
        return await follow(reader, request, stall_seconds=self._stall_seconds, extra=[self._replayed])

    async def _keep(self, run: Run) -> bool:
        """A run with a key has ended: keep its answer, or free its key. Whether it must go on to be found here."""
        assert run.name is not None, "only runs with a key are kept"
        document = pack(run.recording) if run.stands and not run.is_lost and run.recording.is_whole else None
        while True:
            try:
                if run.stands:
                    await self._answers.keep(*run.name, run.request_id, document)
                else:
                    await self._answers.free(*run.name, run.request_id)
                return document is not None and not self._answers.can_keep
            except StorageUnavailable:
                await asyncio.sleep(KEEP_PAUSE_SECONDS)

    def _fingerprint(self, request: web.Request, call: Call) -> str:
        """What must be the same for a request to be the same."""
        told = [request.path, call.body_digest, *(request.headers.get(name, "") for name in self._deciding)]
        return hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()


def pack(recording: Recording) -> bytes:
    """A whole answer as bytes: its head on the first line, then what was sent."""
    head = recording.head
    assert head is not None, "an answer that stands has a head"
    body, _ = recording.tape.take(0, recording.tape.size_bytes)
    return orjson.dumps([head.status, head.headers, head.streamed]) + b"\n" + body


async def unpack(document: bytes) -> Recording:
    """What `pack` made, as a recording that is over."""
    first, _, body = document.partition(b"\n")
    status, headers, streamed = orjson.loads(first)
    recording = Recording(Room())
    recording.begin(Head(status, tuple((name, text) for name, text in headers), streamed))
    await recording.write(body)
    recording.end()
    return recording


def _check(stored: str, fingerprint: str, request_id: str) -> None:
    if stored != fingerprint:
        raise Refusal(
            "idempotency_conflict",
            f"this {IDEMPOTENCY_KEY} was used for another request within 24 hours; use a new key for a new request",
            param=IDEMPOTENCY_KEY,
            original_request_id=request_id,
        )


def _in_progress(request_id: str) -> Refusal:
    return Refusal(
        "idempotency_in_progress",
        f"the call of this {IDEMPOTENCY_KEY} is still running; ask again as Retry-After says",
        param=IDEMPOTENCY_KEY,
        retry_after_seconds=RETRY_SECONDS,
        original_request_id=request_id,
    )


def _lost(request_id: str) -> Refusal:
    return Refusal(
        "idempotency_answer_lost",
        f"the call of this {IDEMPOTENCY_KEY} was made and its receipt stands, but its answer could not be kept: "
        "use a new key for a new call",
        param=IDEMPOTENCY_KEY,
        original_request_id=request_id,
    )

"""Coming back to a stream: what follows an event of a resumable stream, while it runs and for some minutes after.

Its caller asked for it with a header; each event then carries an `id:` line, a number. A stream is its account's alone: to
others there is none. It is found in the process that serves it.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from middlewares.call import CALL
from middlewares.errors import Refusal, invalid
from middlewares.following import follow
from middlewares.recording import BeginningGone, Broken, EventUnknown
from middlewares.runs import Runs

LAST_EVENT_ID = "Last-Event-ID"
NOT_HERE = (
    "this process has no such stream: it is over for more than five minutes, or another process of this gateway serves it "
    "and a new connection may reach that one; what the call cost stands in the billing log under its id"
)
LONGEST_NUMBER = 18
"""Digits; no stream has more events."""


def resume(runs: Runs, stall_seconds: float) -> Handler:
    """The handler of GET /v1/streams/{id}, behind `auth`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        call = request[CALL]
        assert call.account_id is not None, "auth comes first"
        run = runs.find_stream(call.account_id, request.match_info["id"])
        if run is None:
            raise Refusal("not_found", NOT_HERE)
        event = _last_event(request)
        if run.is_lost:
            raise _gone()
        try:
            reader = runs.follow(run, event)
        except BeginningGone:
            raise _gone() from None
        except EventUnknown:
            raise invalid(LAST_EVENT_ID, f"the stream has no event {event} yet") from None
        call.replay_of = run.request_id
        if run.recording.is_over and reader.position == run.recording.tape.end:
            # Clients of event streams come back after every end, until they are told that there is nothing more.
            reader.leave()
            return web.Response(status=204)
        try:
            return await follow(reader, request, stall_seconds=stall_seconds)
        except Broken:
            raise _gone() from None

    return answer


def _last_event(request: web.Request) -> int:
    """The number of the event after which to go on; 0 is the start."""
    text = request.headers.get(LAST_EVENT_ID, "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise invalid(LAST_EVENT_ID, f"{LAST_EVENT_ID} must be the id of an event of this stream")
    return int(text)


def _gone() -> Refusal:
    return Refusal(
        "stream_no_longer_available",
        "this stream cannot be continued: it was given up, or its beginning is not kept any more",
    )

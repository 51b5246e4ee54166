"""Hundreds of calls of every kind, made at once by callers with sockets of their own, and what the callers are told.

A mix is drawn from a seed. Every call has a key of its own, so that its line of the billing log can be told from all others
even if its caller left without an answer, and a number in its prompt, so that it is known in the simulator's journal.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from billing.money import Money, parse_usd
from simulator.facts import KEYS
from simulator.server import Running as Simulator
from simulator.server import start as start_simulator
from tests.gateway import Caller, http_request

CONCURRENCY = 20
MODELS = ("deepseek-chat", "deepseek-coder", "qwen-max", "qwen-turbo", "glm-4-plus", "kimi-k2", "minimax-m2.5")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call. An `order` is carried out by the simulator; `refused` are fields for which nobody is to be called."""

    weight: int
    order: Mapping[str, Any] = field(default_factory=dict)
    pieces: int = 8
    streamed: bool | None = None
    """None: either."""
    leaves: str = ""
    """When the caller leaves: `asking` (in the middle of its request), `at once`, `waiting` (the provider has been asked),
    `listening` (in the middle of the answer), or not at all."""
    refused: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the body."""

    @property
    def faulty(self) -> bool:
        """Whether a provider, or the caller by leaving, makes trouble."""
        return self.leaves != "" or self.order.get("kind", "none") not in HARMLESS


HARMLESS = ("none", "split_bytes", "no_usage")
LATE = {"kind": "none", "latency_seconds": 0.2}
SLOWLY = {"kind": "none", "pieces_per_second": 200}
OWN_KEY = {"model": "deepseek-chat", "provider_key": {"provider": "deepseek", "api_key": KEYS["deepseek"]}}
IN_A_BURST = {"model": "qwen-max", "max_tokens": 20, "provider": {"allow_fallbacks": False}}
ALONE = {"model": "glm-4-plus", "provider": {"allow_fallbacks": False}}

KINDS: Mapping[str, Kind] = {
    "well": Kind(40),
    "in small pieces": Kind(5, {"kind": "split_bytes", "seed": 3}, streamed=True),
    "without usage": Kind(5, {"kind": "no_usage"}),
    "late": Kind(6, LATE),
    # Refused before anybody is asked.
    "unknown model": Kind(3, refused={"model": "no-such-model"}),
    "negative max_tokens": Kind(3, refused={"max_tokens": -1}),
    "endless max_tokens": Kind(3, refused={"max_tokens": 10**7}),
    "no messages": Kind(3, refused={"messages": []}),
    "left while asking": Kind(3, refused={}, leaves="asking"),
    # Refused or spoiled by the provider.
    "content filter": Kind(4, {"kind": "status", "name": "content_filter"}),
    "bad request": Kind(4, {"kind": "status", "name": "bad_request"}),
    "server error": Kind(1, {"kind": "status", "name": "server_error"}),
    "server error once": Kind(5, {"kind": "status", "name": "server_error", "times": 1}),
    "rate limited": Kind(1, {"kind": "status", "name": "rate_limited"}),
    "rate limited once": Kind(4, {"kind": "status", "name": "rate_limited", "times": 1}),
    "overloaded at deepseek": Kind(3, {"kind": "status", "name": "overloaded", "provider": "deepseek"}),
    "error in 200 once": Kind(2, {"kind": "error_in_200", "times": 1}),
    "reset once": Kind(2, {"kind": "reset", "times": 1}),
    "empty once": Kind(2, {"kind": "empty_200", "times": 1}),
    "hang at deepseek": Kind(2, {"kind": "hang", "provider": "deepseek"}),
    "hang at qwen": Kind(2, {"kind": "headers_then_hang", "provider": "qwen"}),
    # Broken after the first byte.
    "cut": Kind(3, {"kind": "cut_after"}),
    "dropped": Kind(3, {"kind": "drop_after"}),
    "reset midway": Kind(3, {"kind": "reset_after"}),
    "error frame": Kind(3, {"kind": "error_after"}, streamed=True),
    "torn frame": Kind(3, {"kind": "cut_mid_frame"}, streamed=True),
    "silent midway": Kind(2, {"kind": "hang_after"}, streamed=True),
    # Left by the caller.
    "left at once": Kind(5, LATE, leaves="at once"),
    "left while waiting": Kind(9, LATE, leaves="waiting"),
    "left while listening": Kind(12, SLOWLY, pieces=80, streamed=True, leaves="listening"),
    # Never drawn: for those who want calls of a certain kind.
    # It is not silent, and speaks for half a minute, so that it is surely under way.
    "endless": Kind(0, {"kind": "none", "pieces_per_second": 8}, pieces=240, streamed=True),
    "plain": Kind(0, streamed=False),
    "streamed": Kind(0, SLOWLY, streamed=True),
    "byok plain": Kind(0, streamed=False, fields=OWN_KEY),
    "byok streamed": Kind(0, SLOWLY, streamed=True, fields=OWN_KEY),
    "byok refused": Kind(0, {"kind": "status", "name": "bad_request"}, fields=OWN_KEY),
    # Each holds the same, more than it costs, and lasts long enough for many to be under way at once.
    "in a burst": Kind(0, {"kind": "none", "latency_seconds": 0.3}, pieces=24, fields=IN_A_BURST),
    # Its provider fails so often that it is asked no more, and there is no other.
    "hopeless": Kind(0, {"kind": "status", "name": "server_error"}, fields=ALONE),
}

SECTIONS: dict[str, Any] = {
    "limits": {"requests_per_minute": 0},
    "routing": {
        "backoff_seconds": [0.02, 0.04, 0.08],
        "timeout_seconds": 4,
        "first_content_timeout_seconds": 4,
        "silence_timeout_seconds": 0.5,
        "candidate_first_content_seconds": 0.5,
        "candidate_plain_seconds": 0.5,
        "disconnect_drain_seconds": 1,
        "wallet_seconds": 0,
    },
}
"""Settings under which a hang is short, and still much longer than a good answer takes."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A call that will be made."""

    number: int
    name: str
    body: bytes
    key_id: str
    key: str
    by_reset: bool
    """How its caller leaves, if it does."""
    events_heard: int
    """After how many events, where it leaves while listening."""

    @property
    def kind(self) -> Kind:
        """What is special about it."""
        return KINDS[self.name]


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller of a call was told; nothing of it where it left before, or the gateway died."""

    planned: Planned
    received: bytes

    @property
    def status(self) -> int | None:
        """The status line's."""
        found = re.match(rb"HTTP/1.1 (\d+) ", self.received)
        return int(found[1]) if found else None

    @property
    def request_id(self) -> str | None:
        """The header's."""
        found = re.search(rb"\r\nX-FindToken-Request-Id: (req_[0-9a-f]+)\r\n", self.received)
        return found[1].decode() if found else None

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a refusal."""
        error: dict[str, Any] = json.loads(self.received.partition(b"\r\n\r\n")[2])["error"]
        return error

    @property
    def cost(self) -> Money | None:
        """Of the header or, for a stream, of the comment that ends it."""
        found = re.search(rb"\r\nX-FindToken-Cost: ([0-9.]+)\r\n|: findtoken cost=([0-9.]+) ", self.received)
        return parse_usd((found[1] or found[2]).decode()) if found else None


def plan(seed: int, keys: Sequence[tuple[str, str]], first: int = 0, *, only: str = "") -> list[Planned]:
    """One call for each key (its id and the key itself), numbered from ``first``; of all kinds, or ``only`` of one."""
    source = random.Random(seed)
    weights = [kind.weight if not only else name == only for name, kind in KINDS.items()]
    return _plan(source.choices(list(KINDS), weights, k=len(keys)), source, keys, first)


def plan_with_faults(seed: int, keys: Sequence[tuple[str, str]], percent: int) -> list[Planned]:
    """One call for each key, of all kinds; so many of a hundred meet a fault, or a caller who leaves."""
    source = random.Random(seed)
    names: list[str] = []
    for _ in keys:
        faulty = source.random() * 100 < percent
        weights = [kind.weight if kind.faulty == faulty else 0 for kind in KINDS.values()]
        names += source.choices(list(KINDS), weights)
    return _plan(names, source, keys, 0)


def plan_in_turn(seed: int, keys: Sequence[tuple[str, str]], names: Sequence[str], first: int = 0) -> list[Planned]:
    """One call for each key, numbered from ``first``, of these kinds in turn."""
    in_turn = list(itertools.islice(itertools.cycle(names), len(keys)))
    return _plan(in_turn, random.Random(seed), keys, first)


def _plan(names: Sequence[str], source: random.Random, keys: Sequence[tuple[str, str]], first: int) -> list[Planned]:
    return [
        Planned(
            number, name, _body(number, KINDS[name], source), key_id, key, source.random() < 0.5, source.randint(1, 30)
        )
        for number, (name, (key_id, key)) in enumerate(zip(names, keys, strict=True), first)
    ]


def _body(number: int, kind: Kind, source: random.Random) -> bytes:
    text = f"Call {number} of the mix, pieces={kind.pieces}"
    if kind.order:
        text += f" SIM:{json.dumps(kind.order)}"
    streamed = kind.streamed if kind.streamed is not None else source.random() < 0.5
    body: dict[str, Any] = {"model": source.choice(MODELS), "messages": [{"role": "user", "content": text}]}
    if streamed:
        body["stream"] = True
        if source.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
    if source.random() < 0.5:
        body["max_tokens"] = 200
    return json.dumps({**body, **kind.fields, **(kind.refused or {})}).encode()


async def make(
    url: str,
    planned: Sequence[Planned],
    arrivals: Arrivals,
    *,
    concurrency: int = CONCURRENCY,
    on_told: Callable[[Told], None] = lambda _told: None,
) -> list[Told]:
    """Make the calls, so many at a time, and return what their callers were told, in the order in which they ended.

    When nobody listens at ``url`` any more, no further call is made.
    """
    waiting = iter(planned)
    told: list[Told] = []

    async def calls_one_after_another() -> None:
        for call in waiting:
            try:
                received = await _make_one(url, call, arrivals)
            except ConnectionError:
                return  # Nobody listens.
            told.append(Told(call, received))
            on_told(told[-1])

    await asyncio.gather(*(calls_one_after_another() for _ in range(concurrency)))
    return told


async def _make_one(url: str, call: Planned, arrivals: Arrivals) -> bytes:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**26)
    received = bytearray()
    try:
        async with asyncio.timeout(30):
            request = http_request(call.body, call.key, head="Connection: close\r\n")
            leaves = call.kind.leaves
            writer.write(request[:-5] if leaves == "asking" else request)
            await writer.drain()
            if leaves == "waiting":
                await _until_asked(call, arrivals)
            while leaves in ("", "listening") and (data := await reader.read(65_536)):
                received += data
                if leaves == "listening" and received.count(b"data: ") >= call.events_heard:
                    break
    except ConnectionError:
        pass  # The gateway was killed; what was received is all there is.
    finally:
        Caller(reader, writer).hang_up(by_reset=call.by_reset)
        with suppress(ConnectionError):
            await writer.wait_closed()
    return bytes(received)


async def _until_asked(call: Planned, arrivals: Arrivals) -> None:
    """Until a provider has been asked; for a second at most, since a call can be refused while every provider is down."""
    for _ in range(200):
        if arrivals[call.number]:
            return
        await asyncio.sleep(0.005)


@asynccontextmanager
async def simulated_providers() -> AsyncIterator[Simulator]:
    """All providers, as quick as they can."""
    running = await start_simulator()
    try:
        yield running
    finally:
        await running.close()


class Arrivals:
    """How often each call of the mix has come to a provider, by the simulator's journal."""

    def __init__(self, simulator: Simulator) -> None:
        self._journal = simulator.state.journal
        calls = self._journal.calls()
        self._last = calls[0].number - 1 if calls else 0
        self._counted: Counter[int] = Counter()

    def __getitem__(self, number: int) -> int:
        for call in self._journal.calls(since=self._last):
            assert call.number == self._last + 1, "the journal is bounded, and forgot a call before it was counted"
            self._last = call.number
            if found := re.search(rb"Call (\d+) of the mix", call.body):
                self._counted[int(found[1])] += 1
        self._journal.clear()
        return self._counted[number]


def draw_seed() -> int:
    """What a mix is drawn from: another in every run unless FIND_TOKEN_MIX_SEED says which; printed."""
    seed = int(os.environ.get("FIND_TOKEN_MIX_SEED", random.SystemRandom().randrange(10**6)))
    print(f"FIND_TOKEN_MIX_SEED={seed}")
    return seed


def settings_text(database_url: str, **sections: Mapping[str, Any]) -> str:
    """`find-token.toml` with this database and these sections."""
    tables = {"storage": {"database": database_url}, **sections}
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()) + "\n"
        for name, table in tables.items()
    )

"""Free probes: a provider that no call tells anything about is asked for its list of models, which costs nothing.

So one that heals without traffic is known to be well, and one that dies while it is idle is known to be away before a caller
pays for finding out. Rules: one owner, this; at most one probe of a provider under way; none while calls tell; never a request
that could be billed. What a probe means for calls is decided in providers/health.py, and explained in docs/failover.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from providers.asking import Heard, ask
from providers.catalogue import Catalogue, ProviderEntry
from providers.errors import (
    AnswerUnreadable,
    ProviderKeyRefused,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from providers.health import Health, HealthKey
from providers.json_bytes import parse_json
from providers.key_choice import KeyChoice
from providers.transport import Outgoing, Transport, was_late

ANSWERED: Final = "answered"
UNREACHABLE: Final = "unreachable"
FAILED: Final = "failed"
UNCLEAR: Final = "unclear"
"""The host answers, but not to this question, or with something that says nothing of its health."""
OUTCOMES: Final = (ANSWERED, UNREACHABLE, FAILED, UNCLEAR)

FAILURES_TO_BELIEVE: Final = 2
"""Probes in a row that must fail before anything is held against a provider."""
LIST_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""Of a list no more than this is read."""
LOOK_SECONDS: Final = 0.5
"""How often it is asked who is due."""
_NO_SUCH_LIST: Final = 501


class Told(Protocol):
    """Hears that a probe of ``provider`` is over; ``up`` is None where its answer says nothing of the provider."""

    def __call__(self, provider: str, outcome: str, *, up: bool | None) -> None: ...


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How often, and how long."""

    idle_seconds: float
    """A provider that no call has told of for so long is asked, and again after as long; 0 asks nobody."""
    away_seconds: float
    """The same for one that is away."""
    timeout_seconds: float
    """How long a probe may take."""


@dataclass(slots=True)
class _Known:
    """What probes have found out about one provider."""

    asked_at: float
    """When it was asked last; at first, when we began to look."""
    asked: int = 0
    failures: int = 0
    """In a row."""
    lists: bool = False
    """Whether it has ever given its list: only then a failure to give it says something."""


class Probing:
    """Looks who is due, and asks. ``told`` hears the outcome of every probe; ``clock`` is the one of ``health``."""

    def __init__(
        self,
        transport: Transport,
        health: Health,
        keys: KeyChoice,
        catalogue: Callable[[], Catalogue],
        settings: Callable[[], ProbeSettings],
        told: Told,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._health = health
        self._keys = keys
        self._catalogue = catalogue
        self._settings = settings
        self._told = told
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}
        """By name and address: another address is another host."""
        self._circuits: tuple[Catalogue | None, dict[str, set[HealthKey]]] = (None, {})
        """The circuits of all that a provider serves, and the catalogue that says so."""
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def watch(self) -> None:
        """Look again and again until cancelled; what is under way then is given up."""
        try:
            while True:
                self.look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            under_way = [*self._under_way.values()]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def look(self) -> None:
        """Begin a probe of every provider that is due."""
        settings, providers = self._settings(), self._catalogue().providers.values()
        for gone in self._known.keys() - {(provider.name, provider.base_url) for provider in providers}:
            del self._known[gone]
        for provider in providers:
            known = self._known.setdefault((provider.name, provider.base_url), _Known(self._clock()))
            if settings.idle_seconds and provider.usable and self._is_due(provider, known, settings):
                known.asked_at = self._clock()
                work = self._probe(provider, known, settings.timeout_seconds)
                task = asyncio.get_running_loop().create_task(work, name=provider.name)
                self._under_way[provider.name] = task
                task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task.get_name()]

    def _is_due(self, provider: ProviderEntry, known: _Known, settings: ProbeSettings) -> bool:
        if provider.name in self._under_way:
            return False
        keys = self._circuits_of(provider)
        told = max((moment for key in keys if (moment := self._health.told_at(key)) is not None), default=0.0)
        if told > known.asked_at:
            known.failures = 0  # Calls have the better word.
        is_away = known.failures > 0 or any(self._health.is_away(key) for key in keys)
        pause = min(settings.away_seconds, settings.idle_seconds) if is_away else settings.idle_seconds
        return self._clock() - max(known.asked_at, told) >= pause

    def _circuits_of(self, provider: ProviderEntry) -> set[HealthKey]:
        """The circuits of everything that this provider serves."""
        catalogue = self._catalogue()
        if self._circuits[0] is not catalogue:
            found: dict[str, set[HealthKey]] = {name: set() for name in catalogue.providers}
            for model in catalogue.models.values():
                for upstream in model.upstreams:
                    name = upstream.provider.name
                    found[name].add((name, upstream.upstream_model))
            self._circuits = catalogue, found
        return self._circuits[1].get(provider.name, set())

    async def _probe(self, provider: ProviderEntry, known: _Known, timeout_seconds: float) -> None:
        began = self._clock()
        number = self._keys.choose(provider.name, provider.keys, known.asked)
        known.asked += 1
        error = await self._ask(provider, number, timeout_seconds)
        outcome = self._outcome(provider, known, number, error)
        known.lists = known.lists or outcome == ANSWERED
        known.failures = known.failures + 1 if outcome in (UNREACHABLE, FAILED) else 0
        self._told(provider.name, outcome, up=None if outcome == UNCLEAR else outcome == ANSWERED)
        for key in self._circuits_of(provider):
            if outcome == ANSWERED:
                self._health.found_well(key)
            elif known.failures >= FAILURES_TO_BELIEVE and (self._health.told_at(key) or 0.0) < began:
                self._health.found_away(key, unreachable=outcome == UNREACHABLE)

    async def _ask(self, provider: ProviderEntry, number: int, timeout_seconds: float) -> UpstreamError | None:
        """What is wrong with the answer to `GET /models`; None for a proper one."""
        key = provider.keys[number] if provider.keys else ""
        outgoing = Outgoing(f"{provider.base_url}/models", provider.dialect.headers(key), b"", method="GET")
        until = asyncio.get_running_loop().time() + timeout_seconds
        try:
            return _error_in(provider, await ask(self._transport, outgoing, until=until, limit_bytes=LIST_LIMIT_BYTES))
        except TimeoutError:
            return UpstreamTimedOut("no answer to a probe in time", heard_late=was_late(until))
        except UpstreamError as error:
            return error
        except ValueError:
            return AnswerUnreadable("the provider key cannot be sent")

    def _outcome(self, provider: ProviderEntry, known: _Known, number: int, error: UpstreamError | None) -> str:
        if error is None:
            return ANSWERED
        if error.heard_late:
            return UNCLEAR
        if isinstance(error, UpstreamUnreachable):
            return UNREACHABLE
        if (
            not known.lists
            or not error.unhealthy
            or isinstance(error, AnswerUnreadable)
            or error.status in _SAYS_NOTHING
        ):
            return UNCLEAR
        if isinstance(error, ProviderKeyRefused) and provider.keys:
            self._keys.rest(provider.name, provider.keys[number], error)
            if self._keys.another(provider.name, provider.keys, {number}):
                return UNCLEAR  # One key of several says nothing of the provider.
        return FAILED


_SAYS_NOTHING: Final = (403, 404, 405, _NO_SUCH_LIST)
"""Answers about the list and not about the provider: it is not given to this key, or not at all."""


def _error_in(provider: ProviderEntry, heard: Heard) -> UpstreamError | None:
    if heard.status != 200:
        return provider.dialect.read_error(heard.status, heard.headers, heard.body)
    try:
        listed = parse_json(heard.body)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, dict):
        return AnswerUnreadable("the list of models is not a JSON object")
    return provider.dialect.read_hidden_error(listed)

"""The limits that several processes share, kept in Redis; where Redis is slow or dead, each process keeps its own.

The process's own limits are asked first. What they refuse Redis would refuse too, since others use the same buckets, so a
caller who hammers costs no round trip; and when Redis is lost, or loses what it knew, they already know what this process
let through. Redis never knows anything about money.

One task talks to Redis, over one connection: what is asked while an exchange is under way goes out together with the next.
No call waits longer than `PATIENCE_SECONDS`, and after a failure none asks at all until Redis has answered the task again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from storage.limit_scripts import CORRECT, DIGESTS, MICRO, RENEW, TAKE
from storage.limits import CROWDED_SECONDS, PASSED, WINDOW_SECONDS, Limiter, LocalLimits, Scope, Verdict

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger("find-token.limits")

PATIENCE_SECONDS: Final = 0.1
"""How long a call waits for Redis."""
EXCHANGE_SECONDS: Final = 0.25
"""How long an exchange may take: longer, so that one slow answer is no reason to stop asking."""
START_SECONDS: Final = 2.0
"""How long a start waits for Redis to be there."""
GRACE_SECONDS: Final = 0.02
"""What is added once where this process was so busy that it looked at its clock too late: Redis may have answered."""
RETRY_SECONDS: Final = 0.5
"""How often a Redis that failed is asked whether it is back."""
LEASE_SECONDS: Final = 30.0
"""How long a place is kept for a call whose process says nothing any more."""
RENEW_SECONDS: Final = 10.0
QUEUE_LIMIT: Final = 10_000
"""What may wait for Redis. Beyond it questions are answered here, and notes lost: a place is free when its lease ends."""
EXCHANGE_LIMIT: Final = 200
PREFIX: Final = "find-token:"

_KINDS: Final = ("", "requests", "concurrency")


@dataclass(frozen=True, slots=True, eq=False)
class Saying:
    """Something that Redis is told: a script or a command's name, its keys and arguments."""

    what: str
    keys: tuple[str, ...]
    arguments: tuple[Any, ...]
    answer: asyncio.Future[Any] | None = None
    """Where the answer goes; None where nobody waits for one."""


class SharedLimits:
    """The same questions as `LocalLimits`, answered for all processes that name the same Redis."""

    def __init__(self, url: str, *, on_local: Callable[[], None]) -> None:
        """``on_local`` is called for every decision that this process had to make alone. Nothing is connected yet."""
        self._redis, self._failures = _client(url)
        self._on_local = on_local
        self._local = LocalLimits()
        self._answering = True
        self._leases: dict[str, set[str]] = {}
        self._queue: deque[Saying] = deque()
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to talk to Redis; one that is away is no reason not to start."""
        self._answering = await self._listens(START_SECONDS)
        if not self._answering:
            logger.warning("Redis does not answer: until it does, every process keeps limits of its own")
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._talk()), loop.create_task(self._keep_leases())]

    async def close(self) -> None:
        """Stop; what Redis was not told yet is told if it listens."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._answering and self._queue:
            await self._exchange([*self._queue])
        with suppress(*self._failures):
            await self._redis.aclose()

    async def enter(self, scopes: Sequence[Scope], call_id: str) -> Verdict:
        """Count a call and take a place for it: here, and in Redis if it answers."""
        verdict = await self._local.enter(scopes, call_id)
        if verdict.refused_by is not None:
            return verdict
        self._lease(scopes, call_id)
        numbers = [(scope.limits.requests_per_minute, 1, scope.limits.concurrent_requests) for scope in scopes]
        try:
            answer = await self._take("requests", scopes, numbers, call_id)
        except BaseException:
            self.leave(scopes, call_id)
            raise
        if answer is None:
            return verdict
        refused, kind, wait, tight, missing = answer
        state = _state(scopes[tight - 1], missing / MICRO) if tight else None
        if not refused:
            return Verdict(state=state)
        self._local.take_back(scopes, call_id)
        self._end_lease(scopes, call_id)
        return Verdict(scopes[refused - 1], _KINDS[kind], wait / MICRO if kind == 1 else CROWDED_SECONDS, state)

    def leave(self, scopes: Sequence[Scope], call_id: str) -> None:
        """The call is over: its places are free, here at once and in Redis soon."""
        self._local.leave(scopes, call_id)
        for key in self._end_lease(scopes, call_id):
            self._note("ZREM", key, (call_id,))

    async def take_tokens(self, scopes: Sequence[Scope], tokens: int) -> Verdict:
        """Take what a call will need: here, and in Redis if it answers."""
        limited = [scope for scope in scopes if scope.limits.tokens_per_minute]
        verdict = await self._local.take_tokens(limited, tokens)
        if verdict.refused_by is not None:
            return verdict
        limits = [scope.limits.tokens_per_minute for scope in limited]
        try:
            answer = await self._take("tokens", limited, [(limit, min(tokens, limit), 0) for limit in limits], "")
        except BaseException:
            self._local.correct_tokens(limited, tokens, 0)
            raise
        if answer is None or not answer[0]:
            return PASSED
        self._local.correct_tokens(limited, tokens, 0)
        return Verdict(limited[answer[0] - 1], "tokens", answer[2] / MICRO)

    def correct_tokens(self, scopes: Sequence[Scope], taken: int, used: int) -> None:
        """The call used ``used`` where ``taken`` had been asked for; Redis is told soon."""
        self._local.correct_tokens(scopes, taken, used)
        for scope in scopes:
            limit = scope.limits.tokens_per_minute
            more = used - min(taken, limit)
            # A Redis that is away was not told of what was taken, so nothing is given back to it.
            if limit and more and (more > 0 or self._answering):
                self._note(CORRECT, _key("tokens", scope), (limit, more))

    async def _take(
        self, kind: str, scopes: Sequence[Scope], numbers: Sequence[tuple[int, int, int]], call_id: str
    ) -> list[int] | None:
        """What Redis says; None if it did not in time, or is not asked because it failed before."""
        if self._answering and len(self._queue) < QUEUE_LIMIT:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[list[int] | None] = loop.create_future()
            keys = tuple(key for scope in scopes for key in (_key(kind, scope), _key("running", scope)))
            flat = (number for three in numbers for number in three)
            self._say(Saying(TAKE, keys, (call_id, int(LEASE_SECONDS * MICRO), *flat), future))
            waiting = _Patience(loop, future)
            try:
                answer = await future
            finally:
                waiting.end()
            if answer is not None:
                return answer
        self._on_local()
        return None

    def _lease(self, scopes: Sequence[Scope], call_id: str) -> None:
        for scope in scopes:
            if scope.limits.concurrent_requests:
                self._leases.setdefault(_key("running", scope), set()).add(call_id)

    def _end_lease(self, scopes: Sequence[Scope], call_id: str) -> list[str]:
        """The keys under which the call had a place."""
        keys = [_key("running", scope) for scope in scopes if scope.limits.concurrent_requests]
        ended = [key for key in keys if call_id in self._leases.get(key, ())]
        for key in ended:
            self._leases[key].remove(call_id)
            if not self._leases[key]:
                del self._leases[key]
        return ended

    def _note(self, what: str, key: str, arguments: tuple[Any, ...]) -> None:
        if len(self._queue) < QUEUE_LIMIT:
            self._say(Saying(what, (key,), arguments))

    def _say(self, saying: Saying) -> None:
        self._queue.append(saying)
        self._work.set()

    async def _talk(self) -> None:
        """One exchange after another; while Redis is away, ask it every now and then."""
        while True:
            if not self._answering:
                await asyncio.sleep(RETRY_SECONDS)
                self._answering = await self._listens(EXCHANGE_SECONDS)
                if self._answering:
                    logger.warning("Redis answers again: limits are shared")
            elif not self._queue:
                self._work.clear()
                await self._work.wait()
            else:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), EXCHANGE_LIMIT))]
                if not await self._exchange(batch):
                    self._queue.extendleft(saying for saying in reversed(batch) if saying.answer is None)

    async def _exchange(self, batch: Sequence[Saying]) -> bool:
        """Tell Redis all of it and pass the answers on; whether it listened."""
        sending = asyncio.get_running_loop().create_task(self._send(batch))
        try:
            for seconds in (EXCHANGE_SECONDS, GRACE_SECONDS):
                await asyncio.wait({sending}, timeout=seconds)
            answers = sending.result() if sending.done() else None
        except self._failures as error:
            answers = None
            self._failed(batch, type(error).__name__)
        else:
            if answers is None:
                self._failed(batch, "too slow")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if answers is None:
            return False
        for saying, answer in zip(batch, answers, strict=True):
            _resolve(saying, answer)
        return True

    async def _send(self, batch: Sequence[Saying]) -> list[Any]:
        """The answers in order. Raises for whatever Redis refuses, but teaches it scripts that it does not know."""
        from redis.exceptions import NoScriptError

        answers = await self._pipeline(batch)
        unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            await _teach(self._redis)
            again = await self._pipeline([batch[number] for number in unknown])
            for number, answer in zip(unknown, again, strict=True):
                answers[number] = answer
        if (error := next((answer for answer in answers if isinstance(answer, Exception)), None)) is not None:
            raise error
        return answers

    async def _pipeline(self, batch: Sequence[Saying]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for saying in batch:
            if (digest := DIGESTS.get(saying.what)) is not None:
                pipeline.execute_command("EVALSHA", digest, len(saying.keys), *saying.keys, *saying.arguments)
            else:
                pipeline.execute_command(saying.what, *saying.keys, *saying.arguments)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _failed(self, batch: Sequence[Saying], reason: str) -> None:
        """Whoever waits decides alone, at once; notes are kept."""
        if self._answering:
            logger.warning("Redis does not answer (%s): until it does, every process keeps limits of its own", reason)
        self._answering = False
        for saying in (*batch, *self._queue):
            _resolve(saying, None)
        self._queue = deque(saying for saying in self._queue if saying.answer is None)

    async def _listens(self, seconds: float) -> bool:
        with suppress(*self._failures):
            async with asyncio.timeout(seconds):
                await _teach(self._redis)
            return True
        return False

    async def _keep_leases(self) -> None:
        """Say of every call that still runs that it does."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self._answering:
                for key, calls in self._leases.items():
                    self._note(RENEW, key, (int(LEASE_SECONDS * MICRO), *calls))


class _Patience:
    """Ends the wait for an answer in time, with None."""

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._future = future
        self._due = loop.time() + PATIENCE_SECONDS
        self._handle = loop.call_at(self._due, self._over)

    def _over(self) -> None:
        if self._loop.time() - self._due > GRACE_SECONDS:
            self._due = self._loop.time() + GRACE_SECONDS
            self._handle = self._loop.call_at(self._due, self._give_up)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def end(self) -> None:
        """The answer is there, or nobody waits for it any more."""
        self._handle.cancel()


async def _teach(redis: Redis) -> None:
    for script in DIGESTS:
        await redis.execute_command("SCRIPT LOAD", script)  # type: ignore[no-untyped-call]


def _resolve(saying: Saying, answer: Any) -> None:
    if saying.answer is not None and not saying.answer.done():
        saying.answer.set_result(answer)


def _key(kind: str, scope: Scope) -> str:
    return f"{PREFIX}{kind}:{scope.name}"


def _state(scope: Scope, missing_seconds: float) -> tuple[int, int, float]:
    limit = scope.limits.requests_per_minute
    left = int((WINDOW_SECONDS - missing_seconds) * limit / WINDOW_SECONDS + 1e-3)
    return limit, max(left, 0), missing_seconds


def _client(url: str) -> tuple[Redis, tuple[type[BaseException], ...]]:
    """A client that never tries again by itself, and whatever it, Redis and the network between may raise.

    Raises ModuleNotFoundError where the extra `redis` is not installed, ValueError for an address that is none.
    """
    from redis.asyncio import ConnectionPool, Redis
    from redis.exceptions import RedisError

    pool = ConnectionPool.from_url(url, max_connections=4, socket_connect_timeout=EXCHANGE_SECONDS, retry=None)
    return Redis.from_pool(pool), (RedisError, OSError, TimeoutError)


def open_limits(url: str, *, on_local: Callable[[], None]) -> Limiter:
    """The limits of this process, or with an address of a Redis those of all that name it."""
    return SharedLimits(url, on_local=on_local) if url else LocalLimits()


def check_address(url: str) -> None:
    """Nothing is connected. Raises ValueError for an address that cannot be used, or where the client is missing."""
    try:
        _client(url)
    except ModuleNotFoundError:
        raise ValueError("the client for Redis is not installed: run `make drivers` in find-token's folder") from None
    except (ValueError, TypeError):
        raise ValueError('expected an address such as "redis://host:6379/0"') from None

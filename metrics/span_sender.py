"""Takes spans to a collector, in a thread of its own: whoever hands them over never waits, and never hears of its troubles.

Spans wait in a queue of bounded size. The thread takes many at a time from it and posts them; a collector that is away or busy
is asked again a few times. What does not fit, or is not taken, is dropped, counted, and told in the log at most once a minute.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import SplitResult

from metrics.otlp import Attributes, Span, rejected_spans, request_body

logger = logging.getLogger("find-token.tracing")

QUEUE_LIMIT: Final = 8_192
"""Spans that wait; what comes beyond is dropped."""
BATCH_LIMIT: Final = 128
"""Spans in one request: writing more of them at once would keep the event loop waiting for longer than it should."""
GATHER_SECONDS: Final = 1.0
"""How long the thread lets spans gather, unless there are enough for a request."""
TIMEOUT_SECONDS: Final = 5.0
"""The longest silence of a collector."""
AGAIN_SECONDS: Final = (1.0, 2.0, 4.0)
"""The waits before a request is made again."""
PASSING: Final = frozenset({429, 502, 503, 504})
"""What a collector answers that may take the same spans later."""
ANSWER_LIMIT_BYTES: Final = 65_536
TELL_SECONDS: Final = 60.0


class NotTaken(Exception):
    """The collector did not take a request; ``passing``: the same request may do later."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class SpanSender:
    """The queue and the thread that empties it. `put` may be called from any thread."""

    def __init__(
        self,
        url: SplitResult,
        resource: Attributes,
        version: str,
        on_dropped: Callable[[int], None],
        *,
        queue_limit: int = QUEUE_LIMIT,
        gather_seconds: float = GATHER_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
        again_seconds: Sequence[float] = AGAIN_SECONDS,
    ) -> None:
        """``on_dropped`` is called with a number of spans that are lost, from the thread that lost them."""
        self._url = url
        self._resource = resource
        self._version = version
        self._on_dropped = on_dropped
        self._queue_limit = queue_limit
        self._gather_seconds = gather_seconds
        self._timeout_seconds = timeout_seconds
        self._again_seconds = again_seconds
        self._lock = threading.Lock()
        self._queue: deque[Span] = deque()
        self._wanted, self._enough, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._until = float("inf")
        """When the thread must have ended, on time.monotonic's clock."""
        self._unsettled = 0
        """Spans of which nobody knows yet whether they are taken."""
        self._untold, self._told_at = 0, float("-inf")
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._thread = threading.Thread(target=self._serve, name="span-sender", daemon=True)
        self._thread.start()

    def put(self, spans: Sequence[Span]) -> None:
        """Hand spans over, all of them or none: what does not fit is dropped. Never waits."""
        with self._lock:
            fits = len(self._queue) + len(spans) <= self._queue_limit and not self._closing.is_set()
            if fits:
                self._queue.extend(spans)
                self._unsettled += len(spans)
                if not self._wanted.is_set():
                    self._wanted.set()
                if len(self._queue) >= BATCH_LIMIT and not self._enough.is_set():
                    self._enough.set()
        if not fits:
            self._drop(len(spans), "the collector does not keep up")

    def close(self, seconds: float) -> None:
        """Send what waits, for at most so long; the rest is dropped. What comes afterwards is, too."""
        with self._lock:
            if self._closing.is_set():
                return
            self._until = time.monotonic() + seconds
            self._closing.set()
        self._enough.set()
        self._wanted.set()
        self._thread.join(seconds)
        with self._lock:
            lost, self._unsettled = self._unsettled, 0
            self._queue.clear()
        if lost:
            self._drop(lost, "the collector did not take them before the gateway had to stop")

    def _serve(self) -> None:
        while not (self._closing.is_set() and not self._queue):
            self._wanted.wait()
            self._enough.wait(self._gather_seconds)
            batch = self._take()
            if batch and time.monotonic() < self._until:
                self._deliver(batch)

    def _take(self) -> list[Span]:
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(BATCH_LIMIT, len(self._queue)))]
            if not self._closing.is_set():
                if len(self._queue) < BATCH_LIMIT:
                    self._enough.clear()
                if not self._queue:
                    self._wanted.clear()
            return batch

    def _deliver(self, batch: Sequence[Span]) -> None:
        """Send a batch, again where that may help. Never raises: the thread serves as long as the process does."""
        try:
            lost, reason = self._send_again(request_body(batch, self._resource, self._version))
        except NotTaken as error:
            lost, reason = len(batch), str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with these, others may be well
            lost, reason = len(batch), type(error).__name__
        with self._lock:
            if not self._unsettled:
                return  # Closed meanwhile, and counted there.
            self._unsettled -= len(batch)
        if lost:
            self._drop(min(lost, len(batch)), reason)

    def _send_again(self, body: bytes) -> tuple[int, str]:
        for seconds in self._again_seconds:
            try:
                return self._send(body)
            except NotTaken as error:
                if not error.passing or time.monotonic() >= self._until:
                    raise
                self._closing.wait(seconds)
        return self._send(body)

    def _send(self, body: bytes) -> tuple[int, str]:
        """Make one request; how many of its spans the collector refused, and why. Raises NotTaken."""
        connection = self._connect(max(0.01, min(self._timeout_seconds, self._until - time.monotonic())))
        headers = {"Content-Type": "application/json", "User-Agent": f"find-token/{self._version}"}
        try:
            connection.request("POST", self._url.path, body, headers)
            with connection.getresponse() as response:
                answer = response.read(ANSWER_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise NotTaken(f"the collector cannot be reached: {type(error).__name__}", passing=True) from None
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise NotTaken(f"the collector answered {response.status}", passing=response.status in PASSING)
        return rejected_spans(answer), "the collector refused them"

    def _connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=self._tls)

    def _drop(self, count: int, reason: str) -> None:
        self._on_dropped(count)
        now = time.monotonic()
        with self._lock:
            self._untold += count
            if now - self._told_at < TELL_SECONDS:
                return
            self._told_at, count, self._untold = now, self._untold, 0
        logger.warning("%d spans for %s were dropped: %s", count, self._url.netloc, reason)

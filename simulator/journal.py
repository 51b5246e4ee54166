"""What the simulator was asked, and how far each answer came: for checks like "was it called once?".

No whole key is kept, only its last four characters. The journal is bounded in calls and in bytes; the oldest go first.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_CALLS = 10_000
MOST_BODY_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class RecordedCall:
    """One request a simulated provider received. Times are seconds since 1970.

    `pieces_sent` counts the pieces that were handed to the network. `completed` says that everything meant to be sent was;
    `peer_left` that the caller closed the connection first.
    """

    number: int
    arrived_at: float
    provider: str
    method: str
    path: str
    header_names: tuple[str, ...]
    key_last_four: str
    peer_port: int
    body: bytes
    model: str = ""
    streamed: bool = False
    fault: str = ""
    status: int = 0
    pieces_sent: int = 0
    completed: bool = False
    peer_left: bool = False
    ended_at: float | None = None

    def close(self, *, completed: bool, peer_left: bool = False) -> None:
        """The call is over."""
        self.completed = completed
        self.peer_left = peer_left
        self.ended_at = time.time()

    def shown(self) -> dict[str, Any]:
        """The call as the journal's route tells it; a body that is not UTF-8 is shown with replacement characters."""
        shown = dataclasses.asdict(self)
        shown["body"] = self.body.decode("utf-8", "replace")
        return shown


class Journal:
    """The calls received, oldest first."""

    def __init__(self, most_calls: int = MOST_CALLS, most_body_bytes: int = MOST_BODY_BYTES) -> None:
        self._calls: deque[RecordedCall] = deque()
        self._most_calls = most_calls
        self._most_body_bytes = most_body_bytes
        self._body_bytes = 0
        self._last_number = 0

    def record(
        self, provider: str, method: str, path: str, headers: Mapping[str, str], peer_port: int, body: bytes = b""
    ) -> RecordedCall:
        """Write down that a call arrived. Its number is one more than the last one's."""
        self._last_number += 1
        call = RecordedCall(
            self._last_number,
            time.time(),
            provider,
            method,
            path,
            tuple(headers),
            headers.get("Authorization", "")[-4:],
            peer_port,
            body,
        )
        self._calls.append(call)
        self._body_bytes += len(body)
        while len(self._calls) > self._most_calls or (
            self._body_bytes > self._most_body_bytes and len(self._calls) > 1
        ):
            self._body_bytes -= len(self._calls.popleft().body)
        return call

    def clear(self) -> None:
        """Forget every call. Numbers go on from where they were."""
        self._calls.clear()
        self._body_bytes = 0

    def calls(self, provider: str = "", since: int = 0) -> list[RecordedCall]:
        """The calls with numbers above `since`, of one provider or of all."""
        return [call for call in self._calls if call.number > since and provider in ("", call.provider)]

"""`find-token` as it is, in a process that dies at a point, or that writes down which points it reaches.

    python -m tests.faults.dying die POINT OPERATION NTH serve --config …
    python -m tests.faults.dying record FILE serve --config …

Dying is SIGKILL, sent by the process to itself at the moment at which the point is reached for the NTH time on behalf of
the operation: nothing is flushed, closed or told.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from tests.faults.crash_points import install

_lock = threading.Lock()


def die_at(point: str, operation: str, nth: int) -> Callable[[str, str], None]:
    """Whoever reaches that point so often dies there."""
    times = 0

    def reached(name: str, on_behalf_of: str) -> None:
        nonlocal times
        if (name, on_behalf_of) != (point, operation):
            return
        with _lock:
            times += 1
            if times == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached


def record_in(path: str) -> Callable[[str, str], None]:
    """Each point and operation is written down when it is reached first."""
    seen: set[tuple[str, str]] = set()

    def reached(name: str, on_behalf_of: str) -> None:
        with _lock:
            if (name, on_behalf_of) not in seen:
                seen.add((name, on_behalf_of))
                with open(path, "a") as file:  # noqa: PTH123 - as plain as can be, in the middle of another's work
                    file.write(f"{name} {on_behalf_of}\n")

    return reached


def main(words: list[str]) -> None:
    """Read what to do at the points, hang them in, and become `find-token`."""
    if words[0] == "die":
        point, operation, nth = words[1:4]
        reached, words = die_at(point, operation, int(nth)), words[4:]
    else:
        reached, words = record_in(words[1]), words[2:]
    command = {"account": "credit"}.get(words[0], words[0])
    install(reached, command)
    sys.argv = ["find-token", *words]
    from proxy.cli import main as find_token

    find_token()


if __name__ == "__main__":
    main(sys.argv[1:])

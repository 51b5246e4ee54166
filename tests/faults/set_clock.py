"""`find-token` as it is, on a machine whose clock somebody sets while it runs.

    python -m tests.faults.set_clock FILE serve --config …

FILE says by how many seconds the clock is ahead, and may be written anew at any time. The clock that nobody can set
(`time.monotonic`, the event loop's) stays as it is. Preloading libfaketime would leave Python itself untouched, but the one
Debian has (0.9.10) breaks `time.sleep` when it is told to leave the monotonic clock alone.
"""

from __future__ import annotations

import importlib
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

FLOORS = ("billing", "storage", "providers", "middlewares", "metrics", "console", "proxy")


def install(file: Path) -> None:
    """Set every clock that our own code reads; commands load their modules late, so the gateway's are loaded first."""
    importlib.import_module("proxy.app")
    seconds, nanoseconds = time.time, time.time_ns

    def ahead() -> int:
        return int(file.read_text())

    class SetDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=ahead())

    time.time = lambda: seconds() + ahead()
    time.time_ns = lambda: nanoseconds() + ahead() * 10**9
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in FLOORS and getattr(module, "datetime", None) is datetime:
            module.datetime = SetDatetime  # type: ignore[attr-defined]


def main(words: list[str]) -> None:
    """Take the clock into our hands, and become `find-token`."""
    from proxy.cli import main as find_token

    install(Path(words[0]))
    sys.argv = ["find-token", *words[1:]]
    find_token()


if __name__ == "__main__":
    main(sys.argv[1:])

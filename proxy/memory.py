"""What a gateway does about the memory of its process: looks for garbage rarely, and gives back what it does not use.

Both are about a process that serves for weeks. A call's objects end with the call, so Python's collector mostly finds nothing;
but a broken connection leaves an error whose traceback holds it in a ring, and that has to be found before it grows old. And the
C library keeps what was freed: buffers of many sizes leave holes, and the heap grows by a hundred bytes a call although what is
used stays the same (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from typing import Final

GARBAGE_THRESHOLDS: Final = (20_000, 5, 5)
"""Objects that are made and still there before the collector looks (Python's 700 is a few calls at once), and after how many
looks it looks at what is older."""
GIVEN_BACK_SECONDS: Final = 30


def collect_garbage_rarely() -> None:
    """Look for garbage less often, and never at what was there from the start."""
    gc.collect()
    gc.freeze()
    gc.collect()  # Python looks at the oldest when a quarter has been added to what this left, which must not be the frozen.
    gc.set_threshold(*GARBAGE_THRESHOLDS)


async def give_memory_back() -> None:
    """Give back what is free, again and again; until cancelled."""
    while True:
        await asyncio.sleep(GIVEN_BACK_SECONDS)
        trim()


def trim() -> None:
    """Give the pages that nothing uses back to the system, in a few milliseconds; nothing where the C library is not glibc."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)

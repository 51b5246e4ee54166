"""What is free goes back to the system, and garbage in rings is found before it is old."""

from __future__ import annotations

import subprocess
import sys

HOLES = """
import re
from proxy import memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])

held = [bytes(20_000) for _ in range(5_000)]
kept = held[::50]
del held
with_holes = resident()
memory.trim()
print(with_holes - resident())
"""

RINGS = """
import gc, weakref
from proxy import memory

class Ring:
    def __init__(self):
        self.itself = self

memory.collect_garbage_rarely()
old = Ring()
told = weakref.ref(old)
collected = []
gc.callbacks.append(lambda phase, info: collected.append(info["generation"]) if phase == "stop" else None)
while 1 not in collected:
    rings = [Ring() for _ in range(1_000)]
del old, rings
while told() is not None and len(collected) < 100:
    [Ring() for _ in range(1_000)]
print(told() is None, 2 in collected, len(collected) < 100)
"""


def said_by(program: str) -> str:
    """What a process of its own prints."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_holes_are_given_back() -> None:
    """A hundred megabytes, of which every fiftieth piece stays in use: almost all of it goes back."""
    assert 80_000 < int(said_by(HOLES))


def test_what_grew_old_before_it_was_left_is_found() -> None:
    """A ring that two looks have passed over is found by one of the next, although the collector looks rarely."""
    assert "True True True" == said_by(RINGS)

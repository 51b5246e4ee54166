"""Whatever the seed: nobody overspends, everybody pays once what the matrix says, and nothing stays held.

The gateway's own code runs, on a real database; the clock, the network and the death of processes are simulated.
`FIND_TOKEN_SIMULATION_SEED=n` plays one seed, `n:m` m of them from n on, `FIND_TOKEN_EXAM=1` many new ones.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.clock import CLOCKED, DICED
from tests.simulation.world import run_seed

SEEDS = 200
EXAM_SEEDS = 20_000
TOLD_EVERY = 1_000
PART = 100
"""Seeds that a process of an exam plays before it hears whether another one has gone wrong."""
ROOT = Path(__file__).parents[2]


def seeds() -> range:
    """Those of this run; an exam begins somewhere else each time, and says where."""
    asked = os.environ.get("FIND_TOKEN_SIMULATION_SEED")
    if asked is not None:
        first, _, count = asked.partition(":")
        return range(int(first), int(first) + int(count or 1))
    if os.environ.get("FIND_TOKEN_EXAM") == "1":
        base = random.SystemRandom().randrange(10**9)
        print(f"simulation: {EXAM_SEEDS} seeds from {base}")
        return range(base, base + EXAM_SEEDS)
    return range(SEEDS)


def play(part: Sequence[int]) -> None:
    """Some seeds, one after another."""
    for seed in part:
        run_seed(seed)


def play_on_every_core(parts: Sequence[Sequence[int]]) -> Iterator[Sequence[int]]:
    """The parts that went right, in order. In processes of their own, where pytest does not keep all that is logged."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(play, part) for part in parts]
        try:
            for part, played in zip(parts, waiting, strict=True):
                played.result()
                yield part
        finally:
            pool.shutdown(cancel_futures=True)


def test_the_books_are_right_whatever_happens() -> None:
    """Each seed is a story of callers, providers, faults and deaths; the first that goes wrong is told with its trace."""
    asked = seeds()
    if len(asked) <= SEEDS:
        play(asked)
        return
    parts = [asked[start : start + PART] for start in range(0, len(asked), PART)]
    for number, part in enumerate(play_on_every_core(parts), 1):
        if number * PART % TOLD_EVERY == 0:
            print(f"simulation: {number * PART} seeds are right, the last is {part[-1]}", flush=True)


@pytest.mark.parametrize("seed", [3, 45, 114, 211])
def test_a_seed_is_played_the_same_way_twice(seed: int) -> None:
    """Every commit, every byte count and every instant: so a seed that fails can be looked at."""
    assert run_seed(seed) == run_seed(seed)


def test_every_clock_of_the_money_path_is_virtual() -> None:
    """A file that begins to read the time, or to roll dice, is named here before it makes seeds unrepeatable."""
    floors = [ROOT / "middlewares", ROOT / "storage"]
    sources = {path: path.read_text() for floor in floors for path in floor.glob("*.py")}

    timed = sorted(
        f"{path.parent.name}.{path.stem}" for path, text in sources.items() if re.search(r"\btime\.\w", text)
    )
    diced = sorted(f"{path.parent.name}.{path.stem}" for path, text in sources.items() if "import secrets" in text)

    assert sorted(module.__name__ for module in CLOCKED) == timed
    assert sorted(module.__name__ for module in DICED) == diced

"""Callers and upstreams who make up names: whatever they say, the metrics page stays as large as it is.

FIND_TOKEN_EXAM=1 makes a hundred thousand requests.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.raw_upstream import Answer, RawUpstream, Received, completion, failure, http
from tests.faults.alone import Alone, alone
from tests.faults.pace import EXAM
from tests.gateway import PATH

REQUESTS = 100_000 if EXAM else 1_500
AT_ONCE = 32
SERIES_LIMIT = 2_000
MARK = "zq9junk"
"""Stands in everything that is made up."""
ROUTING = {"retries": 0, "probe_seconds": 0}

pytestmark = pytest.mark.timeout(0 if EXAM else 120)


class Junk:
    """Made-up words, and requests that carry them in every place that a caller chooses."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def word(self) -> str:
        """One that was never there before."""
        return f"{MARK}{self._dice.randrange(10**12)}"

    def answer(self, request: Received) -> Answer:
        """An upstream that makes up models, ways to end, errors and statuses."""
        del request
        if self._dice.random() < 0.1:
            return failure(self._dice.randint(400, 599), self.word(), self.word())
        usage = {"prompt_tokens": 5, "completion_tokens": 2, self.word(): 7}
        return [http(completion(model=self.word(), finish=self.word(), usage=usage))]

    def request(self, key: str) -> tuple[str, str, dict[str, str], bytes]:
        """Method, path, headers and body of a request."""
        headers = {"Authorization": f"Bearer {key}", "User-Agent": self.word(), f"X-{self.word()}": self.word()}
        body: dict[str, Any] = {
            "model": "standard",
            "messages": [{"role": "user", "content": self.word()}],
            "user": self.word(),
            "session_id": self.word(),
        }
        method, path = "POST", PATH
        match self._dice.randrange(8):
            case 0:
                body["model"] = self.word()
            case 1:
                body["provider"] = {"only": [self.word()], "order": [self.word()]}
            case 2:
                body["provider_key"] = {"provider": self.word(), "api_key": self.word()}
            case 3:
                path = f"/v1/{self.word()}"
            case 4:
                method = self.word().upper()
            case 5:
                headers["Authorization"] = f"Bearer sk-ft_{self.word()}"
            case 6:
                body["models"] = [self.word()]
                body["routing"] = self.word()
        return method, path, headers, json.dumps(body).encode()


async def series(session: aiohttp.ClientSession, gateway: Alone) -> set[tuple[str, ...]]:
    """Every sample of the metrics page: its name and its labels."""
    async with session.get(f"{gateway.running.told['admin_url']}/metrics") as reply:
        families = text_string_to_metric_families(await reply.text())
    return {
        (sample.name, *map("=".join, sorted(sample.labels.items()))) for family in families for sample in family.samples
    }


async def test_nobody_fills_the_metrics_from_outside(tmp_path: Path, alpha: RawUpstream) -> None:
    """There are at most two thousand series, and none of them has a word in it that was made up."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    junk = Junk(random.Random(seed))
    alpha.otherwise = junk.answer
    statuses: Counter[int] = Counter()
    left = iter(range(REQUESTS))
    async with alone(tmp_path, alpha.url, routing=ROUTING) as gateway, aiohttp.ClientSession() as session:

        async def one_after_another() -> None:
            for _ in left:
                method, path, headers, body = junk.request(gateway.key)
                async with session.request(method, gateway.running.url + path, headers=headers, data=body) as reply:
                    await reply.read()
                    statuses[reply.status] += 1
                alpha.requests.clear()

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
        found = await series(session, gateway)
        print(f"{REQUESTS} requests ended with {dict(statuses)} and left {len(found)} series")

        assert {200, 400, 401, 404} <= statuses.keys()
        assert 100 < len(found) <= SERIES_LIMIT
        assert not [one for one in found if MARK in " ".join(one).lower()]
        gateway.prove()

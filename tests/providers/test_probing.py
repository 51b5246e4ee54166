"""Who is asked for free, when, and what is believed of it: on a clock of the test's, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.catalogue import Catalogue, build
from providers.health import OPEN_SECONDS, Health
from providers.key_choice import KeyChoice
from providers.probing import ANSWERED, FAILED, UNCLEAR, UNREACHABLE, ProbeSettings, Probing
from providers.transport import PooledTransport
from tests.fakes.raw_upstream import FIN, HANG, Answer, RawUpstream, failure, http
from tests.gateway import ALPHA_KEY, book

IDLE, AWAY = 60.0, 5.0
KEY = ("alpha", "standard-upstream")
LISTED: Answer = [http({"object": "list", "data": []})]


class World:
    """One provider, what is known of it, and a clock that goes when told to."""

    def __init__(self, alpha: RawUpstream, beta: RawUpstream, transport: PooledTransport) -> None:
        self.now = 1000.0
        self.alpha = alpha
        self.settings = ProbeSettings(IDLE, AWAY, 0.3)
        self.catalogue: Catalogue = book(alpha.url, beta.url, beta={"keys": []})
        self.health = Health(clock=lambda: self.now)
        self.keys = KeyChoice(clock=lambda: self.now)
        self.told: list[tuple[str, str, bool | None]] = []
        self.probing = Probing(
            transport,
            self.health,
            self.keys,
            lambda: self.catalogue,
            lambda: self.settings,
            lambda provider, outcome, *, up: self.told.append((provider, outcome, up)),
            clock=lambda: self.now,
        )
        self.probing.look()

    async def after(self, seconds: float) -> str | None:
        """Look so much later, and let the probe end: its outcome, or None where nobody was asked."""
        self.now += seconds
        self.probing.look()
        under_way = [*self.probing._under_way.values()]
        assert len(under_way) <= 1, "beta has no key"
        await asyncio.gather(*under_way)
        return self.told[-1][1] if under_way else None


@pytest.fixture
async def world(alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[World]:
    transport = PooledTransport()
    await transport.start()
    yield World(alpha, beta, transport)
    await transport.close()


async def test_whoever_is_idle_is_asked_after_as_long_and_again(world: World) -> None:
    """Not a moment before; a provider without a key never."""
    assert [None, ANSWERED, None, ANSWERED] == [await world.after(seconds) for seconds in (IDLE - 1, 1, IDLE - 1, 1)]
    assert [("alpha", ANSWERED, True)] * 2 == world.told


async def test_nobody_is_asked_whom_calls_tell_of(world: World) -> None:
    """Neither after a good answer nor after a bad one, of any of its models; nor at all where that is switched off."""
    for told in (world.health.succeeded, world.health.failed):
        told(("alpha", "lonely-upstream"))
        assert None is await world.after(IDLE - 1)
    world.settings = ProbeSettings(0, AWAY, 0.3)
    assert None is await world.after(10 * IDLE)


async def test_one_at_a_time(world: World) -> None:
    """As long as one is under way nobody is asked again, however late it is."""
    world.alpha.listing = [HANG]
    world.now += IDLE
    world.probing.look()
    (under_way,) = world.probing._under_way.values()
    await asyncio.sleep(0)
    world.now += 10 * IDLE
    world.probing.look()

    assert [under_way] == [*world.probing._under_way.values()]
    await under_way
    assert 1 == len(world.alpha.listings)
    assert world.alpha.requests == []


async def test_what_cannot_be_reached_twice_is_away_until_it_answers(world: World) -> None:
    """Asked again soon; every failure keeps its circuits open for the whole time; an answer makes them half open at once."""
    await world.alpha.close()
    assert UNREACHABLE == await world.after(IDLE)
    assert world.health.standing(KEY).healthy, "once is an accident"
    for _ in range(5):
        assert UNREACHABLE == await world.after(AWAY)
        assert not world.health.standing(KEY).healthy
        assert OPEN_SECONDS == world.health.seconds_until_probe(KEY)
    assert (None, False) == (await world.after(AWAY - 1), world.health.standing(KEY).healthy)

    await _heal(world)
    assert ANSWERED == await world.after(1)
    report = world.health.report(KEY)
    assert report is not None
    assert ("half_open", 0, None) == (report.state, report.samples, report.uptime)
    assert (True, False) == (world.health.may_try(KEY, "one"), world.health.may_try(KEY, "another"))
    world.health.succeeded(KEY)
    assert world.health.may_try(KEY, "another")


async def _heal(world: World) -> None:
    """It listens again, where it did."""
    port = int(world.alpha.url.rpartition(":")[2])
    world.alpha._server = await asyncio.start_server(world.alpha._accept, "127.0.0.1", port, limit=2**26)


@pytest.mark.parametrize("how", ["503", "hangs", "hangs up", "key refused", "key refused within a 200"])
async def test_a_list_that_is_given_no_more_opens_circuits_but_keeps_none_open(world: World, how: str) -> None:
    """It is another door of the same house: what it says is believed once, and then calls decide."""
    assert ANSWERED == await world.after(IDLE)
    refusal = {"error": {"message": "no", "code": "invalid_api_key"}}
    answers: dict[str, Answer] = {
        "503": failure(503),
        "hangs": [HANG],
        "hangs up": [FIN],
        "key refused": failure(401),
        "key refused within a 200": [http(refusal)],
    }
    world.alpha.listing = answers[how]
    assert [FAILED, FAILED] == [await world.after(IDLE), await world.after(AWAY)]
    assert (False, OPEN_SECONDS) == (world.health.standing(KEY).healthy, world.health.seconds_until_probe(KEY))

    assert FAILED == await world.after(AWAY)
    assert OPEN_SECONDS - AWAY == world.health.seconds_until_probe(KEY)
    assert FAILED == await world.after(AWAY)
    assert world.health.standing(KEY).healthy, "a call may try"


@pytest.mark.parametrize(
    "answer",
    [
        failure(404),
        failure(405),
        failure(403),
        failure(429),
        failure(501),
        [http(b"<html>", kind="text/html")],
        [http(b"[]")],
        [http(b"", status=302, Location="/elsewhere")],
    ],
    ids=lambda answer: str(answer[0][:13], "ascii"),
)
async def test_what_says_nothing_of_health_changes_nothing(world: World, answer: Answer) -> None:
    """A list that is not offered, not for this key, not now, or not readable; even if it once was given."""
    assert ANSWERED == await world.after(IDLE)
    world.alpha.listing = answer

    assert [UNCLEAR, None, UNCLEAR] == [await world.after(seconds) for seconds in (IDLE, AWAY, IDLE - AWAY)]
    assert ("alpha", UNCLEAR, None) == world.told[-1]
    assert world.health.standing(KEY).healthy


async def test_a_list_that_was_never_given_blames_nobody(world: World) -> None:
    """Not every server has one: a 500 or silence there is no sign."""
    for answer in (failure(500), [HANG], failure(500)):
        world.alpha.listing = answer
        assert UNCLEAR == await world.after(IDLE)
    assert world.health.standing(KEY).healthy


async def test_a_call_has_the_better_word(world: World) -> None:
    """What was answered while a probe failed is not away, and failures before it do not count."""
    await world.alpha.close()
    assert UNREACHABLE == await world.after(IDLE)
    world.now += 1
    world.health.succeeded(KEY)
    assert None is await world.after(AWAY)
    assert UNREACHABLE == await world.after(IDLE - AWAY)
    assert world.health.standing(KEY).healthy


async def test_a_call_that_probes_is_left_to_it(world: World) -> None:
    """A free probe neither takes the one place of an open circuit nor gives it away."""
    for number in range(5):
        world.health.failed(KEY, number)
    world.now += OPEN_SECONDS
    assert world.health.may_try(KEY, "a call")
    world.health.found_well(KEY)
    world.health.found_away(KEY, unreachable=True)

    assert not world.health.may_try(KEY, "another")
    world.health.failed(KEY, "a call")
    assert OPEN_SECONDS == world.health.seconds_until_probe(KEY)


async def test_a_model_that_fails_stays_away_although_its_provider_lists_it(world: World) -> None:
    """An answered probe does not shorten what calls have found out; it only shows that the provider is there."""
    for number in range(5):
        world.health.failed(KEY, number)
    assert (None, ANSWERED) == (await world.after(AWAY - 1), await world.after(1))

    assert OPEN_SECONDS - AWAY == world.health.seconds_until_probe(KEY)
    assert not world.health.standing(KEY).healthy
    assert [(KEY, True)] == [(key, standing.healthy) for key, standing in world.health]
    assert None is await world.after(AWAY), "it has answered: it is idle now, not away"


async def test_keys_take_turns_and_a_refused_one_rests(world: World, beta: RawUpstream) -> None:
    """One refused key of several is no outage; when all are refused it is one."""
    two = {"keys": [ALPHA_KEY, "canary/other/0123456789"]}
    world.catalogue = book(world.alpha.url, beta.url, alpha=two, beta={"keys": []})
    assert [ANSWERED] * 2 == [await world.after(IDLE) for _ in range(2)]
    assert [f"Bearer {key}" for key in two["keys"]] == [seen.headers["authorization"] for seen in world.alpha.listings]

    world.alpha.listing = failure(401)
    assert UNCLEAR == await world.after(IDLE)
    assert 1 == world.keys.choose("alpha", tuple(two["keys"]), 0)
    assert [FAILED, FAILED] == [await world.after(IDLE), await world.after(AWAY)]
    assert not world.health.standing(KEY).healthy


async def test_another_address_begins_anew_and_a_provider_that_is_gone_is_forgotten(
    world: World, beta: RawUpstream
) -> None:
    """What was found out about one host says nothing of another."""
    assert ANSWERED == await world.after(IDLE)
    await world.alpha.close()
    assert UNREACHABLE == await world.after(IDLE)
    world.catalogue = book(beta.url, beta.url, beta={"keys": []})
    assert (None, ANSWERED) == (await world.after(AWAY), await world.after(IDLE))
    world.catalogue = build({"providers": {}, "models": {}})
    world.probing.look()
    assert {} == world.probing._known


async def test_a_key_that_cannot_be_sent_is_no_sign(world: World, beta: RawUpstream) -> None:
    """And ends nothing."""
    odd: dict[str, Any] = {"keys": ["one\ntwo"]}
    world.catalogue = book(world.alpha.url, beta.url, alpha=odd, beta={"keys": []})
    assert UNCLEAR == await world.after(IDLE)
    assert [] == world.alpha.listings

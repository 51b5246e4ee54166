"""What is left at the providers: asked for free, measured in hours, and whoever runs dry comes last."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from decimal import Decimal
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.health import Health
from providers.transport import PooledTransport
from providers.wallets import SHORTEST_SECONDS, WINDOW_SECONDS, Spending, Wallets, WalletSettings
from proxy.demo import simulated_catalogue
from simulator.server import Running as Simulator
from tests.fakes.raw_upstream import RawUpstream, http
from tests.gateway import Gateway
from tests.journeys.mix import simulated_providers

EVERY = 300.0
DEEPSEEK = ("deepseek", "deepseek-flash")


class World:
    """All providers of the simulator, who asks them, and a clock that goes when told to."""

    def __init__(self, simulator: Simulator, transport: PooledTransport) -> None:
        self.now = 1000.0
        self.settings = WalletSettings(EVERY, 1.0)
        self.health = Health(clock=lambda: self.now)
        self.told: list[tuple[str, str, Decimal, float]] = []
        self._simulator = simulator
        catalogue = simulated_catalogue(simulator.url)
        self.wallets = Wallets(
            transport,
            self.health,
            lambda: catalogue,
            lambda: self.settings,
            lambda *facts: self.told.append(facts),
            clock=lambda: self.now,
        )

    def left_at_deepseek(self, balance: str) -> None:
        """What its route tells from now on."""
        state = self._simulator.state.providers["deepseek"]
        state.settings = dataclasses.replace(state.settings, balance=balance)

    async def after(self, seconds: float) -> list[tuple[str, str, Decimal, float]]:
        """Look so much later; what was told then."""
        self.now += seconds
        before = len(self.told)
        await self.wallets.look()
        return self.told[before:]

    def is_spared(self) -> bool:
        """Whether DeepSeek comes after all others."""
        return not self.health.standing(DEEPSEEK).healthy


@pytest.fixture
async def world() -> AsyncIterator[World]:
    transport = PooledTransport()
    await transport.start()
    async with simulated_providers() as simulator:
        yield World(simulator, transport)
    await transport.close()


async def test_those_who_tell_are_asked_every_so_often(world: World) -> None:
    """Three vendors tell it to a key; each is asked at once, and then when its time has come."""
    expected = [
        ("deepseek", "CNY", Decimal("110.00"), inf),
        ("kimi", "USD", Decimal("110"), inf),
        ("stepfun", "USD", Decimal("110"), inf),
    ]

    assert expected == sorted(await world.after(0))
    assert [] == await world.after(EVERY - 1)
    assert expected == sorted(await world.after(1))
    world.settings = WalletSettings(0, 1.0)
    assert [] == await world.after(10 * EVERY)


async def test_who_runs_dry_is_spared_until_somebody_has_paid_in(world: World) -> None:
    """At sixty a quarter of an hour, forty last ten minutes; seven hundred last three hours."""
    await world.after(0)
    assert not world.is_spared()
    world.left_at_deepseek("40")
    for _ in range(2):
        await world.after(EVERY)
    hours = {facts[0]: facts[3] for facts in await world.after(EVERY)}
    assert hours["deepseek"] == pytest.approx(40 / 70 * 0.25)
    assert world.is_spared()
    world.left_at_deepseek("700")
    await world.after(EVERY)
    assert not world.is_spared()


@pytest.mark.parametrize("balance", ["0", "-4.2"])
async def test_nothing_left_is_nothing_left(world: World, balance: str) -> None:
    """At once, however fast it went; unless nobody is to be spared."""
    world.left_at_deepseek(balance)
    await world.after(0)
    assert world.is_spared()
    world.settings = WalletSettings(EVERY, 0.0)
    await world.after(EVERY)
    assert not world.is_spared()


async def test_who_does_not_say_is_judged_by_what_was_said_last(world: World) -> None:
    """A balance route that fails says nothing about the account."""
    world.left_at_deepseek("0")
    await world.after(0)
    world._simulator.state.providers["deepseek"].down = True
    assert "deepseek" not in {facts[0] for facts in await world.after(EVERY)}
    assert world.is_spared()


@given(
    left=st.decimals("0.01", "100000", places=2),
    spent=st.lists(st.decimals("0", "1000", places=2), min_size=3, max_size=40),
    paid_in=st.lists(st.decimals("0", "1000", places=2), min_size=40, max_size=40),
)
def test_paying_in_is_no_spending_backwards(left: Decimal, spent: list[Decimal], paid_in: list[Decimal]) -> None:
    """However often somebody pays in between, the pace is what was spent by the time it took."""
    spending, now, amount = Spending(), 0.0, Decimal(10**6)
    hours = spending.add(now, amount)
    for number, part in enumerate(spent):
        now += SHORTEST_SECONDS
        spending.add(now - 1, amount + paid_in[number])
        amount += paid_in[number] - part
        hours = spending.add(now, amount)
    window = [one for one in spending.seen if now - one[0] <= WINDOW_SECONDS]
    total = sum(max(before[1] - after[1], Decimal(0)) for before, after in itertools.pairwise(window))

    assert len(window) == len(spending.seen)
    assert hours == (inf if not total else pytest.approx(float(amount / total) * (now - window[0][0]) / 3600))
    assert 0.0 == spending.add(now + 1, left - left)


async def test_calls_go_to_the_one_that_runs_dry_only_where_nobody_else_serves(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The stand-in serves; the model that has none is still tried at its provider; the metrics tell what is left."""
    alpha.listing = [http({"balance_infos": [{"currency": "CNY", "total_balance": "-0.25"}]})]
    gateway: Gateway = await start_gateway(
        providers={"alpha": {"dialect": "deepseek"}}, routing={"wallet_seconds": EVERY}
    )
    async with asyncio.timeout(10):
        while gateway.process._health.standing(("alpha", "standard-upstream")).healthy:
            await asyncio.sleep(0.01)
    stood_in, alone = await gateway.chat(), await gateway.chat(model="lonely")

    assert [(200, "beta"), (200, "alpha")] == [(one.status, one.header("Provider")) for one in (stood_in, alone)]
    assert -0.25 == await gateway.metric("provider_wallet", provider="alpha", currency="CNY")
    assert [(0.0, "CNY")] == [
        (value, labels["currency"])
        for name, labels, value in await gateway.metrics()
        if name == "findtoken_provider_runway_hours"
    ]

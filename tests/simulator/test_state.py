"""simulator/state.py: what a provider remembers, and forgets."""

from simulator.faults import Order
from simulator.render import Rendered
from simulator.settings import Settings
from simulator.state import MOST_RENDERED, ProviderState, SimulatorState
from simulator.vendors import SHAPES

ANSWER = Rendered("m", False, 1, (), b"{}")


def test_rendered_answers_are_kept_until_settings_change() -> None:
    """By the whole request body."""
    provider = ProviderState(SHAPES["kimi"])
    provider.remember(b"body", ANSWER)
    assert provider.remembered(b"body") is ANSWER
    assert provider.remembered(b"other") is None
    provider.change(Settings(pieces=3))
    assert provider.remembered(b"body") is None


def test_not_more_answers_are_kept_than_the_bound() -> None:
    """The oldest goes."""
    provider = ProviderState(SHAPES["kimi"])
    for number in range(MOST_RENDERED + 1):
        provider.remember(str(number).encode(), ANSWER)
    assert provider.remembered(b"0") is None
    assert provider.remembered(b"1") is ANSWER


def test_names_are_counted() -> None:
    """Each for itself; the least used is forgotten beyond the bound."""
    provider = ProviderState(SHAPES["kimi"])
    assert [provider.count(name) for name in ("a", "a", "b", "a")] == [1, 2, 1, 3]
    for number in range(10_000):
        provider.count(f"many {number}")
    assert provider.count("a") == 1


def test_an_order_in_the_prompt_comes_before_those_that_wait() -> None:
    """As often as it says; when it is used up or for someone else, the waiting ones come."""
    provider = ProviderState(SHAPES["kimi"])
    provider.orders.add([Order("hang", times=0)])

    def kinds(order: Order | None, count: int) -> list[str]:
        found = [provider.take_order(order, "the prompt", "m", "sk-1") for _ in range(count)]
        return [taken.kind for taken in found if taken is not None]

    assert kinds(None, 1) == ["hang"]
    assert kinds(Order("reset", times=0), 3) == ["reset", "reset", "reset"]
    assert kinds(Order("reset", times=2), 3) == ["reset", "reset", "hang"]
    assert kinds(Order("reset", times=0, provider="qwen"), 1) == ["hang"]


def test_every_provider_begins_with_the_same_settings() -> None:
    """And all are up."""
    state = SimulatorState(Settings(pieces=3))
    assert set(SHAPES) == set(state.providers)
    assert {3} == {provider.settings.pieces for provider in state.providers.values()}
    assert not any(provider.down for provider in state.providers.values())

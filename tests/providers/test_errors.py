"""Promises of the error tree: it is the one its page draws, and every class says of itself what may follow."""

from __future__ import annotations

import inspect

import pytest

from providers import errors
from providers.errors import UpstreamError

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, UpstreamError)]

FLAGS = ("retry", "failover", "unhealthy", "reached", "retry_at_once", "may_be_billed")

# What every class says, as a set of the flags that are true: pinned, because routing and the books depend on it.
SAID = {
    "UpstreamError": "failover unhealthy reached",
    "RequestRefused": "reached",
    "ContextTooLong": "failover reached",
    "ContentFiltered": "reached",
    "StreamOptionsRefused": "retry failover reached retry_at_once",
    "UpstreamModelMissing": "failover unhealthy reached",
    "ProviderKeyRefused": "failover unhealthy reached",
    "ProviderPermissionDenied": "failover unhealthy reached",
    "ProviderBalanceExhausted": "failover unhealthy reached",
    "ProviderBusy": "retry failover unhealthy reached",
    "ProviderRateLimited": "retry failover reached",
    "ProviderQuotaExhausted": "failover reached",
    "ProviderOverloaded": "retry failover unhealthy reached",
    "ProviderFailed": "retry failover unhealthy reached",
    "UpstreamUnreachable": "retry failover unhealthy retry_at_once",
    "ConnectionLost": "retry failover unhealthy reached retry_at_once may_be_billed",
    "UpstreamTimedOut": "retry failover unhealthy reached may_be_billed",
    "AnswerUnreadable": "failover unhealthy reached may_be_billed",
    "StreamCut": "unhealthy reached may_be_billed",
}


def drawn_tree(page: str) -> dict[str, str]:
    """Parent by class, as the docstring's drawing has them: four columns deeper is one generation further."""
    parents: dict[str, str] = {}
    line_of_descent: list[str] = []
    for line in page.splitlines():
        drawing = line.removeprefix("    ")
        name = drawing.lstrip("│├└─ ").split(" ")[0]
        if not line.startswith("    ") or not name:
            continue
        depth = (len(drawing) - len(drawing.lstrip("│├└─ "))) // 4
        line_of_descent[depth:] = [name]
        if depth:
            parents[name] = line_of_descent[depth - 1]
    return parents


def test_the_tree_is_the_one_that_is_drawn() -> None:
    """Every class stands in the drawing, under its parent, and nothing else does."""
    page = errors.__doc__
    assert page is not None

    assert {found.__name__: found.__base__.__name__ for found in CLASSES if found is not UpstreamError} == drawn_tree(
        page
    )


def test_the_drawing_is_read_right() -> None:
    """The reader of the drawing tells generations apart."""
    assert {"B": "A", "C": "B", "D": "A"} == drawn_tree(
        "It is.\n\n    A\n    ├── B  x\n    │   └── C  … y\n    └── D\n\nEnd."
    )


def test_every_class_has_a_word_of_its_own() -> None:
    """Attempt rows and metrics tell every kind of failure apart: one outcome per class, short and plain."""
    outcomes = [found.__dict__.get("outcome") for found in CLASSES]

    assert len(CLASSES) == len(set(outcomes))
    assert None not in outcomes
    assert [] == [
        outcome for outcome in outcomes if not str(outcome).replace("_", "").isalpha() or not str(outcome).islower()
    ]


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_what_may_follow(found: type[UpstreamError]) -> None:
    """What each class allows next is pinned here."""
    assert SAID[found.__name__] == " ".join(flag for flag in FLAGS if getattr(found, flag))


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_the_flags_agree_with_one_another(found: type[UpstreamError]) -> None:
    """Nothing is billed that did not arrive; who asks again at once may ask again; who may ask again may ask elsewhere."""
    assert found.reached or not found.may_be_billed
    assert found.retry or not found.retry_at_once
    assert found.failover or not found.retry
    assert found.__doc__


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_an_error_carries_what_the_provider_said(found: type[UpstreamError]) -> None:
    """Every class is made alike: a message, and the provider's own status, code and wait where there are any."""
    plain = found("no")
    full = found("no", provider="kimi", status=429, code="slow", retry_after_seconds=3.0)

    assert ("no", "no", "", None, "", None) == (
        str(plain), plain.message, plain.provider, plain.status, plain.code, plain.retry_after_seconds
    )  # fmt: skip
    assert ("no", "kimi", 429, "slow", 3.0) == (
        full.message, full.provider, full.status, full.code, full.retry_after_seconds
    )  # fmt: skip

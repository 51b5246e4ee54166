"""Who served a session, and how much of its prompts came from a cache."""

from __future__ import annotations

from billing.usage import Usage
from providers.prompt_caches import IDLE_SECONDS, PromptCaches
from tests.providers.test_recent import Clock

WAY = ("model", "provider", "upstream-model")
OTHER = ("other", "elsewhere", "upstream-other")


def used(prompt: int, cached: int) -> Usage:
    return Usage(prompt, 1, cached_tokens=cached)


def test_a_session_is_known_by_account_name_and_model() -> None:
    """The last to serve counts; nobody else's session is meant, and none is kept where a call has none."""
    caches = PromptCaches()
    caches.served("ada", "s", "asked", OTHER, None)
    caches.served("ada", "s", "asked", WAY, None)
    caches.served("ada", "", "asked", OTHER, None)

    assert WAY == caches.server_of("ada", "s", "asked")
    others = [("bob", "s", "asked"), ("ada", "t", "asked"), ("ada", "s", "else"), ("ada", "", "asked")]
    assert [None] * 4 == [caches.server_of(*other) for other in others]


def test_a_session_ends_by_itself() -> None:
    """After an hour without a call."""
    clock = Clock()
    caches = PromptCaches(clock=clock)
    caches.served("ada", "s", "asked", WAY, used(100, 50))
    clock.now = IDLE_SECONDS - 1
    assert WAY == caches.server_of("ada", "s", "asked")
    clock.now = IDLE_SECONDS

    assert (None, 0) == (caches.server_of("ada", "s", "asked"), caches.share("ada", "s", "model", "provider"))


def test_the_share_moves_halfway_to_what_was_seen() -> None:
    """In millionths; nothing known is nothing, also after calls that had nothing from a cache."""
    caches = PromptCaches()
    shares = []
    for prompt, cached in ((100, 0), (100, 80), (100, 0), (100, 0), (0, 0), (1000, 1000)):
        caches.served("ada", "", "asked", WAY, used(prompt, cached))
        shares.append(caches.share("ada", "", "model", "provider"))

    assert [0, 800_000, 400_000, 200_000, 200_000, 600_000] == shares
    assert [0, 0, 0] == [
        caches.share(*one)
        for one in (
            ("bob", "", "model", "provider"),
            ("ada", "", "asked", "provider"),
            ("ada", "", "model", "elsewhere"),
        )
    ]


def test_a_session_knows_its_own_share_better() -> None:
    """What the session has seen counts before what the account has; a new session starts with the account's."""
    caches = PromptCaches()
    caches.served("ada", "", "asked", WAY, used(100, 20))
    caches.served("ada", "s", "asked", WAY, used(100, 90))

    assert [900_000, 550_000, 550_000] == [caches.share("ada", name, "model", "provider") for name in ("s", "t", "")]


def test_an_estimate_says_nothing_of_a_cache() -> None:
    """A call without reported usage leads its session back all the same."""
    caches = PromptCaches()
    caches.served("ada", "s", "asked", WAY, used(100, 90))
    caches.served("ada", "s", "asked", WAY, None)

    assert (WAY, 900_000) == (
        caches.server_of("ada", "s", "asked"),
        caches.share("ada", "s", "model", "provider"),
    )


def test_the_memory_is_bounded() -> None:
    """The session that was silent longest goes first."""
    caches = PromptCaches(sessions=2, shares=2)
    for session in ("one", "two", "three"):
        caches.served("ada", session, "asked", WAY, used(100, 50))

    assert [None, WAY, WAY] == [caches.server_of("ada", session, "asked") for session in ("one", "two", "three")]

"""The facts of a call: a fact is read after it was decided, or loudly not at all."""

from __future__ import annotations

import pytest

from middlewares.call import WRITERS, Answer, Call, ProviderKey


@pytest.mark.parametrize("fact", sorted(WRITERS))
def test_a_fact_that_is_read_too_early_fails_loudly(fact: str) -> None:
    """No fact has a default: a middleware in the wrong place fails in its first test, and the error names the fact."""
    with pytest.raises(AttributeError, match=fact):
        getattr(Call(), fact)


def test_a_decided_fact_is_what_was_decided() -> None:
    """Also one that was decided to be empty."""
    call = Call()
    call.mode = None
    call.request_id = "req_1"

    assert (None, "req_1") == (call.mode, call.request_id)


def test_what_is_no_fact_is_no_attribute() -> None:
    """A misspelled fact can be neither read nor written."""
    with pytest.raises(AttributeError, match="moode"):
        _ = Call().moode  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        Call().moode = "byok"  # type: ignore[attr-defined]


def test_a_provider_key_is_not_shown_by_accident() -> None:
    """What a log line or a traceback prints of it has no secret in it."""
    assert "secret" not in repr(ProviderKey("deepseek", "sk-secret"))


def test_an_answer_begins_with_nothing_known() -> None:
    """No ending, no usage, no bytes."""
    answer = Answer()

    assert (None, None, None, None, 0, False) == (
        answer.ending,
        answer.failure,
        answer.first_content_at,
        answer.tally.usage(),
        answer.produced_bytes,
        answer.finished,
    )


def test_an_answer_tells_the_id_of_the_call_that_was_made() -> None:
    """Its own, or the one whose answer it gets."""
    call = Call()
    call.request_id, call.replay_of = "req_2", None
    assert "req_2" == call.told_id
    call.replay_of = "req_1"
    assert "req_1" == call.told_id

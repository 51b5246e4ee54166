"""simulator/journal.py: what was asked is remembered, but no key, and not without bounds."""

from simulator.journal import Journal

HEADERS = {"Authorization": "Bearer sk-simsecret12345678", "X-Other": "value"}


def record(journal: Journal, provider: str = "kimi", body: bytes = b"{}") -> int:
    """Record one call and give its number."""
    return journal.record(provider, "POST", "/kimi/chat/completions", HEADERS, 4321, body).number


def test_calls_are_numbered_and_found_by_provider_and_number() -> None:
    """Numbers go on over all providers, also after the journal was cleared."""
    journal = Journal()
    numbers = [record(journal), record(journal, "qwen"), record(journal)]
    assert numbers == [1, 2, 3]
    assert [call.number for call in journal.calls("kimi")] == [1, 3]
    assert [call.number for call in journal.calls(since=1)] == [2, 3]
    journal.clear()
    assert journal.calls() == []
    assert record(journal) == 4


def test_no_whole_key_and_no_header_value_is_kept() -> None:
    """Only names of headers, and the last four characters of the key."""
    journal = Journal()
    record(journal)
    shown = journal.calls()[0].shown()
    assert shown["key_last_four"] == "5678"
    assert shown["header_names"] == ("Authorization", "X-Other")
    assert "secret" not in str(shown)
    assert "value" not in str(shown)


def test_the_oldest_calls_go_when_there_are_too_many() -> None:
    """The bound on calls."""
    journal = Journal(most_calls=3)
    for _ in range(5):
        record(journal)
    assert [call.number for call in journal.calls()] == [3, 4, 5]


def test_the_oldest_calls_go_when_their_bodies_are_too_big() -> None:
    """The bound on bytes; the newest call stays, however big."""
    journal = Journal(most_body_bytes=100)
    for size in (60, 60, 10, 500):
        record(journal, body=b"x" * size)
    assert [len(call.body) for call in journal.calls()] == [500]
    record(journal, body=b"y" * 10)
    assert [len(call.body) for call in journal.calls()] == [10]


def test_a_call_is_closed_once_with_its_end() -> None:
    """An open call has no end; bodies that are no text are shown all the same."""
    journal = Journal()
    record(journal, body=b"\xff")
    call = journal.calls()[0]
    assert call.shown()["body"] == "\ufffd"
    assert call.ended_at is None
    call.close(completed=False, peer_left=True)
    assert (call.completed, call.peer_left) == (False, True)
    assert call.ended_at is not None
    assert call.ended_at >= call.arrived_at

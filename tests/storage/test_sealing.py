"""Sealed values open for their own row only, and with any secret key of the list."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.sealing import SealBroken, Sealer, SealingUnavailable

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@settings(deadline=None, print_blob=True)
@given(st.text(), st.text(), st.text())
def test_what_was_sealed_opens_again(plain: str, account: str, row: str) -> None:
    """Any text, for the same row of the same account."""
    sealer = Sealer(NEW)

    sealed = sealer.seal(plain, account_id=account, row_id=row)

    assert plain == sealer.open(sealed, account_id=account, row_id=row)


def test_a_sealed_value_shows_nothing_and_never_repeats() -> None:
    """Not the text, and not that two texts are the same."""
    sealer = Sealer(NEW)
    one, two = (sealer.seal("sk-secret", account_id="a", row_id="r") for _ in range(2))

    assert b"secret" not in one
    assert one != two


@pytest.mark.parametrize(("account", "row"), [("b", "r"), ("a", "q"), ("ar", ""), ("", "ar")])
def test_a_sealed_value_moved_to_another_row_does_not_open(account: str, row: str) -> None:
    """Nor to another account, nor to ids that read the same when put together."""
    sealed = Sealer(NEW).seal("sk-secret", account_id="a", row_id="r")

    with pytest.raises(SealBroken):
        Sealer(NEW).open(sealed, account_id=account, row_id=row)


@settings(deadline=None, print_blob=True)
@given(st.integers(0, 41), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, change: int) -> None:
    """Wherever it is."""
    sealed = bytearray(Sealer(NEW).seal("sk-secret", account_id="a", row_id="r"))
    sealed[position] ^= change

    with pytest.raises(SealBroken):
        Sealer(NEW).open(bytes(sealed), account_id="a", row_id="r")


@settings(deadline=None, print_blob=True)
@given(st.binary(max_size=60))
def test_no_bytes_break_it(junk: bytes) -> None:
    """Empty, short or any: it does not open, and says so."""
    with pytest.raises(SealBroken):
        Sealer(NEW).open(junk, account_id="a", row_id="r")


def test_the_first_key_seals_and_all_of_them_open() -> None:
    """So a secret key can be changed: new in front of old, and later without the old."""
    old = Sealer(OLD).seal("sk-secret", account_id="a", row_id="r")
    both = Sealer(f"{NEW}, {OLD}")
    new = both.seal("sk-secret", account_id="a", row_id="r")

    assert ["sk-secret"] * 3 == [
        both.open(old, account_id="a", row_id="r"),
        both.open(new, account_id="a", row_id="r"),
        Sealer(NEW).open(new, account_id="a", row_id="r"),
    ]
    with pytest.raises(SealBroken, match="another secret key"):
        Sealer(NEW).open(old, account_id="a", row_id="r")


def test_without_a_key_nothing_is_sealed_and_the_setting_is_named() -> None:
    """The gateway runs without; only provider keys need it."""
    sealer = Sealer("")

    assert (False, True) == (sealer.is_available, Sealer(NEW).is_available)
    with pytest.raises(SealingUnavailable, match="FIND_TOKEN_SECRET_KEY"):
        sealer.seal("x", account_id="a", row_id="r")
    with pytest.raises(SealingUnavailable, match="FIND_TOKEN_SECRET_KEY"):
        sealer.open(b"x", account_id="a", row_id="r")


@pytest.mark.parametrize("text", ["x", "AAAA", "not base64!", base64.b64encode(b"1" * 31).decode(), f"{NEW},x"])
def test_a_key_of_another_length_is_refused(text: str) -> None:
    """With a sentence that says how to make one, and without showing it."""
    with pytest.raises(ValueError, match="openssl rand -base64 32"):
        Sealer(text)


@settings(deadline=None, print_blob=True)
@given(st.binary())
def test_an_answer_opens_as_an_answer_alone(answer: bytes) -> None:
    """Any bytes; never as the provider key of a row of the same id, nor the other way round."""
    sealer = Sealer(NEW)
    sealed = sealer.seal_answer(answer, account_id="a", row_id="r")

    assert answer == sealer.open_answer(sealed, account_id="a", row_id="r")
    with pytest.raises(SealBroken):
        sealer.open(sealed, account_id="a", row_id="r")
    with pytest.raises(SealBroken):
        sealer.open_answer(sealer.seal("x", account_id="a", row_id="r"), account_id="a", row_id="r")

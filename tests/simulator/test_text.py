"""simulator/text.py: the same words for the same seed, counted the same way."""

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.text import count_prompt_tokens, cut_to_pieces, has_chinese, seed_of, text_of, write_pieces


@settings(deadline=None, print_blob=True, max_examples=200)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 300), chinese=st.booleans())
def test_exactly_as_many_pieces_as_were_asked_for(seed: int, count: int, chinese: bool) -> None:
    """Every piece has something in it, and the same seed writes the same."""
    pieces = write_pieces(seed, count, chinese=chinese)
    assert count == len(pieces)
    assert all(len(piece) == (2 if chinese else 4) for piece in pieces)
    assert pieces == write_pieces(seed, count, chinese=chinese)


def test_the_text_is_sentences() -> None:
    """A long answer begins with a capital, is made of words and ends with a full stop."""
    text = "".join(write_pieces(7, 50)).rstrip()
    assert text[0].isupper()
    assert text.endswith(".")
    assert "  " not in text


def test_chinese_is_answered_in_chinese() -> None:
    """One Chinese character is enough to tell, and the answer has them."""
    assert has_chinese("什么是 API?")
    assert not has_chinese("What is an API?")
    assert has_chinese("".join(write_pieces(1, 5, chinese=True)))


def test_other_seeds_say_other_things() -> None:
    """Answers to different prompts can be told apart."""
    assert len({write_pieces(seed, 40) for seed in range(50)}) > 40


def test_the_seed_depends_on_the_value_alone() -> None:
    """The order of an object's fields does not matter."""
    assert seed_of({"a": 1, "b": 2}) == seed_of({"b": 2, "a": 1})
    assert seed_of({"a": 1}) != seed_of({"a": 2})


@settings(deadline=None, print_blob=True, max_examples=100)
@given(text=st.text(), more=st.text(min_size=1))
def test_cut_pieces_join_to_the_text(text: str, more: str) -> None:
    """Cutting loses nothing."""
    assert text + more == "".join(cut_to_pieces(text + more))


def test_prompt_tokens_are_a_quarter_of_the_bytes_and_four_a_message() -> None:
    """Two messages of 5 and 6 bytes: eleven bytes are three tokens, and eight for the messages."""
    messages = [{"role": "system", "content": "hello"}, {"role": "user", "content": "你好"}]
    assert count_prompt_tokens(messages) == 11


def test_a_prompt_has_at_least_one_token() -> None:
    """Nothing is not free."""
    assert count_prompt_tokens([]) == 1


def test_text_of_parts_and_of_nothing() -> None:
    """Only parts with text count; strange content counts as empty."""
    parts = [{"type": "text", "text": "one"}, {"type": "image_url"}, "odd", {"type": "text", "text": "two"}]
    assert text_of(parts) == "one\ntwo"
    assert text_of(None) == ""
    assert text_of(7) == ""

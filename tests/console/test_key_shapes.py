"""What looks like a key is seen, what is an id or a sentence is not."""

from __future__ import annotations

import pytest

from console.key_shapes import holds_a_key
from middlewares.correlate import new_request_id
from storage.identifiers import new_id
from storage.keys import new_key

KEYS = [
    new_key("sk-ft_"),
    new_key("acme_"),
    "sk-proj-abcDEF0123456789",
    "0123456789abcdef0123456789abcdef.Zm9vYmFyYmF6",
    "eyJhbGciOiJSUzI1NiJ9.eyJHcm91cE5hbWUi.c2ln",
    "sk_live_51abcdefgh",
    "whsec_abcdefgh12345678",
    "AIzaSyA1234567890123456789012345",
    "-----BEGIN RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("key", KEYS, ids=[key[:5] for key in KEYS])
@pytest.mark.parametrize("around", ["{}", "my key is {} and fails", "a line\n{}\nanother", "key={}&x=1"])
def test_keys_are_seen(key: str, around: str) -> None:
    """Wherever they stand in a text."""
    prefix = "acme_" if key.startswith("acme_") else "sk-ft_"

    assert holds_a_key(around.format(key), prefix)


def test_what_is_behind_bearer_is_a_key() -> None:
    """Whatever its form, in whatever case."""
    assert holds_a_key("authorization: bearer 0123456789abcdefXYZ", "sk-ft_")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I use sk-ft_… as the docs say",
        "the header is `Authorization: Bearer <your key>`",
        "risk-averse customers ask-for-everything, task-scheduler",
        new_request_id(),
        new_id("key_"),
        new_id("recharge_"),
        "model deepseek/deepseek-chat-v3.1 answered 0123456789abcdef0123456789abcdef",
    ],
    # Those made anew have another text in each process that collects the tests.
    ids=["nothing", "beginning", "header", "hyphens", "request", "key id", "recharge", "model"],
)
def test_other_texts_are_not(text: str) -> None:
    """Ids, sentences about keys, words with hyphens."""
    assert not holds_a_key(text, "sk-ft_")

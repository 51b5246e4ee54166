"""What an address says was done is one of our own sentences."""

from __future__ import annotations

from console.pages.showing import DONE
from tests.gateway import Gateway
from tests.visiting import Browser


async def test_only_our_own_sentences(pages: Gateway, ada: Browser) -> None:
    """A word of the list shows its sentence, any other shows nothing."""
    said = await ada.get("/my/keys?done=revoked")
    other = await ada.get("/my/keys?done=You+won+a+prize")

    assert DONE["revoked"].encode() in said.body
    assert b"prize" not in other.body
    assert b'class="done"' not in other.body

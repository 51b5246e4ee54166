"""The wire of embeddings: what a vendor takes of OpenAI's request, how it is shaped for the vendor, and the answer's form. Pure.

Vendors differ little here, so a dialect has no method for it but a row of facts; None says that it offers none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.json_bytes import parse_json, replace_text
from providers.provider import EmbeddingTerms
from providers.rewriting import merged

FORMATS: Final = ("float", "base64")
"""What ``encoding_format`` may be."""
_MODEL: Final = b"model"
_BETWEEN: Final = b" \t\r\n,"


def shape_embedding(
    request: Mapping[str, Any], upstream_model: str, force: Mapping[str, Any], terms: EmbeddingTerms
) -> dict[str, Any]:
    """The body to send for ``request``, which is not changed. Forced fields win."""
    body = {name: value for name, value in request.items() if name not in terms.dropped}
    if not terms.knows_formats:
        body.pop("encoding_format", None)
    body["model"] = upstream_model
    return merged(body, force) if force else body


def with_model(document: bytes, name: bytes) -> bytes:
    """``document``, an answer, with ``name`` (JSON) for its model's; every other byte as it was. As `replace_text` does it, which
    would walk through all vectors where the model stands behind them, as with OpenAI: millions of numbers take seconds."""
    behind = document.rfind(b"]", 0, max(document.rfind(b'"model"'), 0)) + 1
    if behind:
        rest = document[behind:].lstrip(_BETWEEN)
        # If what is left is an object with a brace before it, then no list and no other object was open there.
        if _has_a_model(rest_as_object := b"{" + rest):
            return document[: len(document) - len(rest)] + replace_text(rest_as_object, _MODEL, name)[1:]
    return replace_text(document, _MODEL, name)


def _has_a_model(document: bytes) -> bool:
    """Whether it is an object that names one; where it names none, that stands before the vectors."""
    try:
        read = parse_json(document)
    except (ValueError, RecursionError):
        return False
    return isinstance(read, dict) and "model" in read

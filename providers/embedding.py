"""The wire of embeddings: what a vendor takes of OpenAI's request, and how it is shaped for the vendor. Pure.

Vendors differ little here, so a dialect has no method for it but a row of facts; None says that it offers none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.provider import EmbeddingTerms
from providers.rewriting import merged

FORMATS: Final = ("float", "base64")
"""What ``encoding_format`` may be."""


def shape_embedding(
    request: Mapping[str, Any], upstream_model: str, force: Mapping[str, Any], terms: EmbeddingTerms
) -> dict[str, Any]:
    """The body to send for ``request``, which is not changed. Forced fields win."""
    body = {name: value for name, value in request.items() if name not in terms.dropped}
    if not terms.knows_formats:
        body.pop("encoding_format", None)
    body["model"] = upstream_model
    return merged(body, force) if force else body

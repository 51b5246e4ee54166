"""What looks like a key: texts that people paste where a key must not go, such as a support ticket.

Known by shape, not by value: our own keys, those of the providers, of Stripe, and whatever stands behind `Bearer`. Rather one
text too many is refused than one key kept; ids of requests and of our rows have none of these shapes.
"""

from __future__ import annotations

import re
from typing import Final

_SHAPES: Final = (
    r"\bsk-[A-Za-z0-9_-]{12,}",  # ours by default, and what most providers give
    r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{8,}",
    r"\bwhsec_[A-Za-z0-9+/=]{8,}",
    r"\b[0-9a-f]{32}\.[A-Za-z0-9]{8,}",  # Zhipu's
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # a signed token, such as MiniMax's
    r"\bAIza[A-Za-z0-9_-]{20,}",
    r"(?i:bearer)\s+[A-Za-z0-9._~+/=-]{16,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
)


def holds_a_key(text: str, key_prefix: str) -> bool:
    """Whether some part of the text looks like a key; ours begin with ``key_prefix``."""
    own = rf"(?<![A-Za-z0-9]){re.escape(key_prefix)}[0-9a-fA-F]{{8,}}"
    return any(re.search(shape, text) is not None for shape in (own, *_SHAPES))

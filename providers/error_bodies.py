"""What a provider's error answer says, whatever form it has: JSON of any vendor, SSE-framed JSON, text, HTML, nothing.

Only reads: which class of error it is, is decided in ``dialect.py``. Everything here is untrusted: no input makes these
functions raise, texts come out short, printable, and with whatever looks like a key or an account masked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

LONGEST_MESSAGE: Final = 500
"""Characters of a provider's message that are kept."""

LONGEST_CODE: Final = 100
_READ_BYTES: Final = 65_536
_LONGEST_WAIT_SECONDS: Final = 86_400.0
"""A provider that asks for more than a day is taken to ask for a day."""

# Keys: sk-… (DeepSeek, Qwen, Kimi, MiniMax, ours), JWT (old MiniMax keys), id.secret (Zhipu), whatever follows Bearer, and
# what is left of a key between asterisks. Accounts: Kimi names the organisation and access key in its rate-limit sentences.
_SECRETS: Final = re.compile(
    r"""
      \bBearer\s+[^\s"',;]+
    | \beyJ[\w-]{6,}(?:\.[\w-]*){0,2}
    | \bsk-[\w*-]{4,}
    | \b(?:ak|org|proj)-[A-Za-z0-9_-]{4,}
    | \b[0-9a-fA-F]{16,}\.[A-Za-z0-9]{8,}
    | \*{2,}\w+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WAIT_IN_WORDS: Final = re.compile(r"\bafter (\d{1,6}(?:\.\d{1,3})?) ?s(?:econds?)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a provider said about an error."""

    message: str = ""
    """Its sentence, cleaned; empty if it gave none that a person can read."""
    codes: tuple[str, ...] = ()
    """Its codes in lower case, the most specific first: ``code``, ``type``, ``http_code``."""
    param: str = ""
    """The field of the request that it names; empty if it names none."""


def read_complaint(body: bytes) -> Complaint:
    """The complaint in the body of an error answer."""
    text = body[:_READ_BYTES].decode("utf-8-sig", "replace").strip()
    parsed = _json_or_sse(text)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if isinstance(parsed, dict):
        return complaint_in(parsed)
    if isinstance(parsed, str):
        return Complaint(clean(parsed))
    if not text or text.startswith("<") or "<html" in text.lower():
        # An error page of some gateway on the way; its markup helps nobody.
        return Complaint()
    return Complaint(clean(text))


def complaint_in(answer: Mapping[str, Any]) -> Complaint:
    """The complaint in a JSON object: OpenAI's ``error``, MiniMax's ``base_resp``, or flat ``code`` and ``message``."""
    error = answer.get("error")
    if isinstance(error, dict):
        codes = _codes(error, "code", "type", "http_code", "status")
        return Complaint(_message(error, "message", "msg"), codes, _message(error, "param")[:LONGEST_CODE])
    if isinstance(error, str) and error:
        message = _message(answer, "message", "msg", "error_description") or clean(error)
        return Complaint(message, (*_codes(answer, "code"), *_codes(answer, "error")))
    base_resp = answer.get("base_resp")
    if isinstance(base_resp, dict) and base_resp.get("status_code"):
        return Complaint(_message(base_resp, "status_msg"), _codes(base_resp, "status_code"))
    return Complaint(_message(answer, "message", "msg", "detail"), _codes(answer, "code", "type", "status"))


def retry_after_seconds(headers: Mapping[str, str], message: str) -> float | None:
    """How long the provider asks us to wait: ``Retry-After`` in seconds or as a date, else "after N seconds" in its text.

    Never negative, at most a day; None if it does not say.
    """
    for name, value in headers.items():
        if name.lower() == "retry-after":
            seconds = _seconds_in_header(value.strip())
            if seconds is not None:
                return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
    in_words = _WAIT_IN_WORDS.search(message)
    return min(float(in_words[1]), _LONGEST_WAIT_SECONDS) if in_words else None


def clean(text: str) -> str:
    """``text`` on one line, printable, masked, and at most LONGEST_MESSAGE characters long."""
    # Cut before the regular expressions see it, and once more after masking may have made it longer.
    head = text[: 4 * LONGEST_MESSAGE].encode("utf-8", "replace").decode("utf-8")
    masked = _SECRETS.sub("[redacted]", " ".join(head.split()))
    printable = "".join(character for character in masked if character.isprintable())
    return printable if len(printable) <= LONGEST_MESSAGE else printable[: LONGEST_MESSAGE - 1] + "…"


def _json_or_sse(text: str) -> Any:
    """The JSON value of ``text``, or of its first SSE data line that holds one; None if there is neither.

    DashScope answers a refused stream with status 400 and a body framed as an SSE event.
    """
    parsed = _json(text)
    if parsed is not None:
        return parsed
    for line in text.splitlines():
        if line.startswith("data:"):
            parsed = _json(line[5:].strip())
            if parsed is not None:
                return parsed
    return None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _message(source: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = source.get(name)
        if isinstance(value, str) and value.strip():
            return clean(value)
    return ""


def _codes(source: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    codes = []
    for name in names:
        value = source.get(name)
        if isinstance(value, str):
            code = clean(value)[:LONGEST_CODE].lower()
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
            code = str(value)
        else:
            continue
        if code:
            codes.append(code)
    return tuple(codes)


def _seconds_in_header(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return seconds if math.isfinite(seconds) else None


def _seconds_until(http_date: str) -> float | None:
    try:
        instant = parsedate_to_datetime(http_date)
    except (ValueError, IndexError, OverflowError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - datetime.now(UTC)).total_seconds()

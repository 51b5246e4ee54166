"""How many prompt tokens a request can have at most, from its bytes alone.

A byte-level BPE vocabulary never makes more than one token of a UTF-8 byte (measured: at most 1.000 per byte over
hostile samples with the Qwen, o200k and DeepSeek vocabularies), so the bytes of the decoded text bound its tokens. No
tokenizer is needed, and none could be trusted for six vendors. Chat templates add a few tokens per message and per
request; pictures count by a cap, because their size in bytes says nothing about their tokens.

What is no plain text (tools, schemas) goes into the prompt as JSON, so there the bytes of the JSON count, spaces and
escapes included.

A request without messages is one for embeddings: its texts, or its tokens, which the caller has counted already, stand in
``input``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from billing.usage import BYTES_PER_TOKEN_ESTIMATE

TOKENS_PER_MESSAGE: Final = 16
TOKENS_PER_REQUEST: Final = 64
TOKENS_PER_INPUT: Final = 16
"""What a model of embeddings puts around each text: a mark before it, one behind it, a short instruction."""
TOKENS_PER_IMAGE: Final = 16_384
"""Qwen's vision models cut a picture into at most 16,384 tokens, the most of the six providers."""
TOKENS_PER_MEDIA_FILE: Final = 262_144
"""Audio and video: no vendor publishes a per-file maximum, so a whole common context window is set aside."""

_MEDIA_CAPS: Final = {
    "image_url": TOKENS_PER_IMAGE,
    "image": TOKENS_PER_IMAGE,
    "input_image": TOKENS_PER_IMAGE,
    "video_url": TOKENS_PER_MEDIA_FILE,
    "video": TOKENS_PER_MEDIA_FILE,
    "input_audio": TOKENS_PER_MEDIA_FILE,
    "file": TOKENS_PER_MEDIA_FILE,
}

# Of a media part only what these hold is data; whatever else stands in it is text like any other.
_MEDIA_FIELDS: Final = frozenset(_MEDIA_CAPS)

# What goes into the prompt besides the messages.
_PROMPT_FIELDS: Final = frozenset({"tools", "functions", "response_format", "tool_choice", "prompt"})

# What of an embeddings request surely does not go before its texts; an instruction of a vendor's own may.
_NOT_BEFORE_INPUTS: Final = frozenset({"input", "model", "dimensions", "encoding_format", "user"})


def prompt_token_bound(request: Mapping[str, object]) -> int:
    """The most prompt tokens that ``request``, a chat completion body or one for embeddings, can be counted as by any of the
    providers."""
    messages = request.get("messages")
    if messages is None and "input" in request:
        return _bound_of_inputs(request)
    bound = TOKENS_PER_REQUEST
    if isinstance(messages, list):
        bound += TOKENS_PER_MESSAGE * len(messages) + sum(map(_bytes_of_message, messages))
    for field in _PROMPT_FIELDS:
        if field in request:
            bound += _bytes_as_json(request[field])
    return bound


def text_bytes(request: Mapping[str, object]) -> int:
    """The bytes of the text a caller sent, for an estimate where the upstream reported no usage; pictures do not count."""
    total = 0
    pending: list[object] = [request.get("tools")]
    messages = request.get("messages")
    if messages is None and "input" in request:
        return sum(map(_bytes_of_input, inputs_of(request["input"])))
    if isinstance(messages, list):
        for message in messages:
            # Most messages hold nothing but texts; whatever else one holds is taken apart below.
            if isinstance(message, dict) and "type" not in message:
                for value in message.values():
                    if isinstance(value, str):
                        total += len(value) if value.isascii() else _utf8_length(value)
                    else:
                        pending.append(value)
            else:
                pending.append(message)
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            total += _utf8_length(value)
        elif isinstance(value, dict):
            pending.extend(_without_media(value).values())
        elif isinstance(value, list):
            pending.extend(value)
    return total


def bound_and_bytes(request: Mapping[str, object]) -> tuple[int, int]:
    """`prompt_token_bound` and `text_bytes` at once: they agree about plain messages, and most requests hold nothing else."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not _PROMPT_FIELDS.isdisjoint(request):
        return prompt_token_bound(request), text_bytes(request)
    total = 0
    for message in messages:
        if not isinstance(message, dict) or "type" in message:
            return prompt_token_bound(request), text_bytes(request)
        for value in message.values():
            if not isinstance(value, str):
                return prompt_token_bound(request), text_bytes(request)
            total += len(value) if value.isascii() else _utf8_length(value)
    return TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(messages) + total, total


def inputs_of(value: object) -> list[object]:
    """What an embeddings request wants vectors of, one by one: ``input`` may be a text, a list of texts, the tokens of a
    text, or a list of those."""
    if isinstance(value, list) and not (value and isinstance(value[0], int)):
        return value
    return [value]


def _bound_of_inputs(request: Mapping[str, object]) -> int:
    inputs = inputs_of(request["input"])
    before = sum(_bytes_as_json(value) for name, value in request.items() if name not in _NOT_BEFORE_INPUTS)
    tokens = sum(len(one) if isinstance(one, list) else _bytes_of_input(one) for one in inputs)
    return TOKENS_PER_REQUEST + (TOKENS_PER_INPUT + before) * len(inputs) + tokens


def _bytes_of_input(one: object) -> int:
    """The bytes of a text; tokens count as many as they are estimated to have had."""
    if isinstance(one, str):
        return _utf8_length(one)
    return BYTES_PER_TOKEN_ESTIMATE * len(one) if isinstance(one, list) else 0


def _bytes_of_message(message: object) -> int:
    """Bytes of a message's texts; what a chat template writes around them is in the allowance per message."""
    if not isinstance(message, dict):
        return _bytes_as_json(message)
    total = 0
    for name, value in message.items():
        if isinstance(value, str):
            total += len(value) if value.isascii() else _utf8_length(value)
        elif name == "content" and isinstance(value, list):
            total += sum(map(_bytes_of_part, value))
        else:
            total += _bytes_as_json(value)
    return total


def _bytes_of_part(part: object) -> int:
    """Bytes of one part of a message's content, the data of pictures and the like at their cap."""
    if not isinstance(part, Mapping):
        return _bytes_as_json(part)
    return _media_cap(part) + _bytes_as_json(_without_media(part))


def _bytes_as_json(value: object) -> int:
    """Bytes of ``value`` as JSON, with a space behind every comma and colon.

    A loop and not a recursion, because the caller decides how deep a request nests.
    """
    total = 0
    pending: list[object] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            total += _json_length(item)
        elif isinstance(item, dict):
            total += 2 + sum(_json_length(name) + 4 for name in item)
            pending.extend(item.values())
        elif isinstance(item, list):
            total += 2 + 2 * len(item)
            pending.extend(item)
        else:
            # Numbers, true, false and null as JSON writes them; no number is longer than its repr.
            total += len(repr(item))
    return total


def _media_cap(part: Mapping[str, object]) -> int:
    """The most tokens the data in ``part`` can count as; 0 for a part of text."""
    kind = part.get("type")
    return _MEDIA_CAPS.get(kind, 0) if isinstance(kind, str) else 0


def _without_media(part: Mapping[str, object]) -> Mapping[str, object]:
    """``part`` without its data, if it is a picture or the like."""
    if not _media_cap(part):
        return part
    return {name: value for name, value in part.items() if name not in _MEDIA_FIELDS}


def _json_length(text: str) -> int:
    return _utf8_length(json.dumps(text, ensure_ascii=False))


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

"""What is asked: the body is read within limits, parsed strictly, and our own fields are taken out of it.

Rules: unknown fields pass untouched; a field that we know has the type OpenAI gives it or is refused by name; duplicate
names, NaN and Infinity are refused, because two readers could understand them differently; credential-like fields never
go upstream.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL
from middlewares.errors import Refusal, invalid
from middlewares.options import OWN_FIELDS, read_options
from providers.catalogue import Catalogue, Model
from providers.selection import Wish

LARGEST_MAX_TOKENS: Final = 10_000_000
"""Ten times the largest context of any model; beyond it a number is a mistake."""
LARGEST_N: Final = 16
JSON_KIND: Final = "application/json"
ENCODINGS: Final = ("identity", "gzip", "deflate")
"""What a request's Content-Encoding may be."""

# What programs call a body by themselves, whatever is in it; JSON under one of these is taken for what it is.
_ANY_BODY: Final = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"})

# Fields that look like credentials or addresses: some clients send them, no provider may see them.
CREDENTIAL_FIELDS: Final = frozenset({"api_key", "api_base", "base_url", "organization"})

_TEXT: Final = ("a text", (str,))
_WHOLE: Final = ("a whole number", (int,))
_NUMBER: Final = ("a number", (int, float))
_FLAG: Final = ("true or false", (bool,))
_OBJECT: Final = ("an object", (dict,))
_LIST: Final = ("a list", (list,))

# OpenAI's chat completion fields, how their kind is called and which types it has; null means absent everywhere.
_KINDS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "model": _TEXT,
    "messages": _LIST,
    "stream": _FLAG,
    "stream_options": _OBJECT,
    "max_tokens": _WHOLE,
    "max_completion_tokens": _WHOLE,
    "n": _WHOLE,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "seed": _WHOLE,
    "logprobs": _FLAG,
    "top_logprobs": _WHOLE,
    "logit_bias": _OBJECT,
    "stop": ("a text or a list", (str, list)),
    "tools": _LIST,
    "tool_choice": ("a text or an object", (str, dict)),
    "parallel_tool_calls": _FLAG,
    "response_format": _OBJECT,
    "user": _TEXT,
    "metadata": _OBJECT,
}


JSON_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}


def known_fields() -> dict[str, list[str]]:
    """The fields of a chat completion that are checked, each with the JSON types it may have."""
    return {name: [JSON_TYPES[kind] for kind in kinds] for name, (_, kinds) in _KINDS.items()}


Check = Callable[[Mapping[str, Any], Wish, Catalogue], Model]
"""What checks a body, our own fields still in it, and finds the model it asks for."""


def check_chat(document: Mapping[str, Any], wish: Wish, catalogue: Catalogue) -> Model:
    """The model that a chat completion asks for. Raises a Refusal that names what is wrong."""
    name = document.get("model")
    model = catalogue.find(name) if isinstance(name, str) else None
    if model is not None and not model.chats:
        hint = "send its input to POST /v1/embeddings; what that costs stands in GET /v1/models"
        raise invalid("model", f"{model.id} makes embeddings and does not chat: {hint}")
    check_fields(document)
    check_stand_ins(catalogue, wish.models)
    return model if model is not None else find_model(catalogue, document["model"])


def body(
    max_bytes: int, read_seconds: float, catalogue: Callable[[], Catalogue], check: Check = check_chat
) -> Middleware:
    """Set the call's request, options, model and streaming. ``catalogue`` gives the one in force now."""

    @web.middleware
    async def read_body(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        check_kind(request.headers)
        document = parse(await read_bytes(request, max_bytes, read_seconds))
        call.body_digest = digest(document) if "Idempotency-Key" in request.headers else ""
        if call.caller_dialect is not None:
            document = call.caller_dialect.read_request(document)
        call.options = read_options(document, request.headers)
        call.model = check(document, call.options.wish, catalogue())
        call.streamed = document.get("stream") is True
        stream_options = document.get("stream_options") or {}
        call.wants_usage = call.streamed and stream_options.get("include_usage") is True
        call.request = {
            name: value for name, value in document.items() if name not in OWN_FIELDS and name not in CREDENTIAL_FIELDS
        }
        return await handler(request)

    return read_body


def digest(document: Mapping[str, Any]) -> str:
    """A hash of what a body means: spaces and the order of its fields do not count."""
    try:
        canonical = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Half a surrogate pair, a whole number of more than 64 bits: rare, valid, and not orjson's to write.
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()


def check_kind(headers: Mapping[str, str]) -> None:
    """Refuse a body that says itself that it is something else than JSON: XML, say, or a form with files in it."""
    kind = headers.get("Content-Type", JSON_KIND)
    if kind == JSON_KIND:
        return
    name = kind.partition(";")[0].strip().lower()
    if name not in _ANY_BODY and not name.endswith(("/json", "+json")):
        raise Refusal("unsupported_media_type", f"a body is {JSON_KIND}, not {name[:60]}")


async def read_bytes(request: web.Request, max_bytes: int, read_seconds: float) -> bytes:
    """The whole body, decompressed, within its limits of size (before and after) and time."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ENCODINGS:
        raise Refusal("unsupported_encoding", f"a body may be gzip or deflate, not {encoding[:40]}")
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    try:
        if request.content.is_eof():
            # The usual case: a small body has arrived together with its headers.
            data = request.content.read_nowait()
            if len(data) > max_bytes:
                raise _too_large(max_bytes)
        else:
            async with asyncio.timeout(read_seconds):
                data = await _read_parts(request, max_bytes)
    except TimeoutError:
        raise Refusal("request_timeout", f"the body did not arrive within {read_seconds:g} seconds") from None
    except (web.PayloadAccessError, web.RequestPayloadError) as error:
        raise Refusal("invalid_json", "the body could not be read to its end") from error
    return data if encoding == "identity" else decompress(data, encoding, max_bytes)


async def _read_parts(request: web.Request, max_bytes: int) -> bytes:
    parts = bytearray()
    while part := await request.content.readany():
        parts += part
        if len(parts) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(parts)


def decompress(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """What gzip or deflate made into ``data``. Raises a Refusal for more than ``max_bytes``, or for what is damaged.

    Ours and not the server library's, which answers an encoding that it does not know with a page of its own.
    """
    window = zlib.MAX_WBITS | 16
    if encoding == "deflate":
        # RFC 9110 means the zlib format; some clients leave out its header, whose low bits are always 8.
        window = zlib.MAX_WBITS if data[:1] and data[0] & 0x0F == 8 else -zlib.MAX_WBITS
    decompressor = zlib.decompressobj(window)
    try:
        plain = decompressor.decompress(data, max_bytes + 1)
    except zlib.error:
        raise Refusal("invalid_json", f"the body is not {encoding}, although its Content-Encoding says so") from None
    if len(plain) > max_bytes:
        raise _too_large(max_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise Refusal("invalid_json", f"the {encoding} of the body is cut, or followed by something else")
    return plain


def _too_large(max_bytes: int) -> Refusal:
    return Refusal("request_too_large", f"the body is larger than {max_bytes} bytes")


def parse(document: bytes) -> dict[str, Any]:
    """The JSON object in ``document``. Raises Refusal for anything else, naming a duplicate field."""
    try:
        parsed = _DECODE(document.removeprefix(codecs.BOM_UTF8).decode())
    except Refusal:
        raise
    except (ValueError, RecursionError):
        raise Refusal("invalid_json", "the body is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise Refusal("invalid_json", "the body must be a JSON object")
    return parsed


def check_fields(document: Mapping[str, Any]) -> None:
    """Raise a Refusal that names the first known field with a wrong kind or a value out of range."""
    for name, value in document.items():
        kind = _KINDS.get(name)
        if kind is not None and value is not None and type(value) not in kind[1]:
            raise invalid(name, f"{name} must be {kind[0]}")
    if not document.get("model"):
        raise invalid("model", "model is missing: name one of the models in GET /v1/models")
    messages = document.get("messages")
    if not messages:
        raise invalid("messages", "messages must be a list of at least one message")
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise invalid(f"messages[{position}]", f"messages[{position}] must be an object with a role")
    _check_limits(document)


def _check_limits(document: Mapping[str, Any]) -> None:
    limits = [document.get("max_tokens"), document.get("max_completion_tokens")]
    for name, value in zip(("max_tokens", "max_completion_tokens"), limits, strict=True):
        if value is not None and not 1 <= value <= LARGEST_MAX_TOKENS:
            raise invalid(name, f"{name} must be at least 1 and at most {LARGEST_MAX_TOKENS}")
    if None not in limits and limits[0] != limits[1]:
        raise invalid("max_tokens", "max_tokens and max_completion_tokens are both set and differ: send one of them")
    n = document.get("n")
    if n is not None and not 1 <= n <= LARGEST_N:
        raise invalid("n", f"n must be between 1 and {LARGEST_N}")


def find_model(catalogue: Catalogue, name: str) -> Model:
    """The model of this name or alias, spelled exactly. Raises a 404 Refusal with the nearest names."""
    model = catalogue.find(name)
    if model is None:
        nearest = catalogue.suggest(name)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "; GET /v1/models lists all"
        raise Refusal(
            "model_not_found", f"there is no model {name[:100]!r}{hint}", param="model", suggestions=list(nearest)
        )
    return model


def check_stand_ins(catalogue: Catalogue, names: tuple[str, ...]) -> None:
    """Raise a Refusal for a stand-in that is not for sale, or does not chat: a caller who misspelt it would count on it."""
    for position, name in enumerate(names):
        model = catalogue.find(name)
        if model is not None and not model.chats:
            raise invalid(f"models[{position}]", f"{model.id} makes embeddings and stands in for nobody")
        if model is None:
            nearest = catalogue.suggest(name)
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            raise invalid(f"models[{position}]", f"there is no model {name[:100]!r}{hint}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise Refusal("invalid_json", f"the field {twice[:100]!r} stands twice in one object", param=twice[:100])
    return found


def _no_constant(word: str) -> float:
    raise Refusal("invalid_json", f"{word} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Refusal("invalid_json", f"the number {text[:40]} is too large")
    return value


_DECODE: Final = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite
).decode
"""Made once: `json.loads` makes a decoder for every call that wants anything but its defaults."""

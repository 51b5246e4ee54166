"""Requests made up from the description of the API: as it says, nearly so, or not at all; and a judge of the answers.

Values come from the schemas. An id is one that exists, or any text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

Document = Mapping[str, Any]
JSON: Final = "application/json"
MODELS: Final = (
    "deepseek-chat",
    "glm-4-flash",
    "qwen/qwen-max",
    "kimi-k2:floor",
    "minimax-m2.5",
    "embedding-3",
    "text-embedding-v4",
    "no-such-model",
)

TEXTS: Final = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ("", "0", "null", "'; --", "../../etc", "%00", "2026-11-27", "1e999", "http://localhost/", "a@example.com")
    ),
)
NUMBERS: Final = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(20.5),
    st.just(10**400),
)
VALUES: Final[st.SearchStrategy[Any]] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
MESSAGES: Final = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "system", "assistant"))}, optional={"content": st.one_of(TEXTS, VALUES)}
    ),
    min_size=1,
    max_size=3,
)


@dataclass(frozen=True, slots=True)
class Made:
    """A request."""

    method: str
    path: str
    described: str
    """The path that the description has for it."""
    ids: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    key: str = "right"
    """How it says whose it is: `right`, `other header`, `wrong` or `none`."""

    def target(self, own: Mapping[str, str]) -> str:
        """Path and query; ``own`` are ids that exist, by the beginning of the paths that take them."""
        here = next((one for start, one in own.items() if self.described.startswith(start)), "none")
        path = self.path
        for one in self.ids:
            path = path.replace("{id}", quote(here if one is OWN else one, safe="") or "%20", 1)
        query = [(name, here if value is OWN else value) for name, value in self.query]
        return path + ("?" + urlencode(query) if query else "")


OWN: Final = "own"
"""Stands for an id that exists, and is the caller's."""


def of_schema(schema: Document, components: Document) -> st.SearchStrategy[Any]:
    """Values as a schema of the description wants them; what it does not say is left to chance."""
    if "$ref" in schema:
        return of_schema(components[schema["$ref"].rpartition("/")[2]], components)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([of_schema(one, components) for one in schema["anyOf"]])
    match schema.get("type"):
        case list() as kinds:
            return st.one_of([of_schema({**schema, "type": kind}, components) for kind in kinds])
        case "object":
            return _objects(schema, components)
        case "array":
            least = schema.get("minItems", 0)
            return st.lists(of_schema(schema.get("items", {}), components), min_size=least, max_size=least + 2)
    return _simple(schema)


def _simple(schema: Document) -> st.SearchStrategy[Any]:
    """Values that have no parts."""
    match schema.get("type"):
        case "string":
            return st.one_of(TEXTS, st.sampled_from(schema["examples"])) if "examples" in schema else TEXTS
        case "integer":
            return st.integers(schema.get("minimum", -3), min(schema.get("maximum", 300), 10**6))
        case "number":
            return st.one_of(st.integers(0, 100), st.just(20.5), st.floats(allow_nan=False, allow_infinity=False))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return VALUES


def _objects(schema: Document, components: Document) -> st.SearchStrategy[Any]:
    """An object with what is required and some of the rest; a call has a model for sale and something to say."""
    if "properties" not in schema:
        return st.dictionaries(TEXTS, VALUES, max_size=3)
    usual = {name: of_schema(one, components) for name, one in schema["properties"].items()}
    usual |= {name: one for name, one in _USUAL.items() if schema["properties"].get(name)}
    required = st.fixed_dictionaries({name: usual.pop(name) for name in schema.get("required", ())})
    if not usual:
        return required
    some = st.lists(st.sampled_from(sorted(usual)), max_size=3, unique=True)
    more = some.flatmap(lambda names: st.fixed_dictionaries({name: usual[name] for name in names}))
    return st.tuples(required, more).map(lambda both: {**both[0], **both[1]})


_USUAL: Final = {
    "model": st.sampled_from(MODELS),
    "messages": MESSAGES,
    "provider": st.one_of(st.sampled_from(("deepseek", "zhipu")), VALUES),
    "amount": st.one_of(st.integers(10, 50), NUMBERS),
    "success_url": st.one_of(st.just("http://localhost/back"), TEXTS),
    "cancel_url": st.one_of(st.just("https://localhost/back"), TEXTS),
    "api_key": st.one_of(st.just("sk-simowned0123456789"), TEXTS),
    "email": st.one_of(st.just("a@example.com"), TEXTS),
    "max_tokens": st.one_of(st.integers(1, 50), NUMBERS),
    "name": st.one_of(st.just("a name"), TEXTS),
    "allowed_models": st.one_of(st.none(), st.just(["deepseek-chat"]), VALUES),
    # Keys that can do nothing any more would end a story early.
    "expires_at": st.one_of(st.none(), st.just("2100-01-01"), VALUES),
}


@st.composite
def bodies(draw: st.DrawFn, schema: Document, components: Document) -> bytes:
    """A body as it should be, mostly; or with a field wrong, missing or too much; or anything, cut anywhere, as any bytes."""
    kind = draw(st.sampled_from(("right",) * 5 + ("field", "missing", "more", "any", "cut", "bytes")))
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    if kind == "any":
        return json.dumps(draw(VALUES)).encode()
    found = draw(of_schema(schema, components))
    if isinstance(found, dict) and found:
        name = draw(st.sampled_from(sorted(found)))
        if kind == "field":
            found[name] = draw(VALUES)
        if kind == "missing":
            del found[name]
        if kind == "more":
            found[draw(TEXTS)] = draw(VALUES)
    body = json.dumps(found).encode()
    return body[: draw(st.integers(0, len(body)))] if kind == "cut" else body


HEADERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "Idempotency-Key": st.sampled_from(("once", "twice", "x" * 300, "é")),
        "X-FindToken-Resumable": st.sampled_from(("true", "false", "maybe")),
        "X-FindToken-Explain": st.sampled_from(("1", "0", "?")),
        "X-Provider-Key": st.sampled_from(("sk-simowned", "", "ü")),
        "X-Session-Id": st.sampled_from(("session", "s" * 400)),
        "Last-Event-ID": st.sampled_from(("0", "3", "-1", "x")),
        "Accept-Encoding": st.sampled_from(("gzip", "br")),
        "Content-Encoding": st.sampled_from(("identity", "gzip", "br")),
        "Origin": st.sampled_from(("https://evil.example", "null")),
        "Cookie": st.sampled_from(("findtoken_session=x", "a=b; a=c")),
        "Stripe-Signature": st.sampled_from(("t=1,v1=0", "")),
    },
)


def requests(document: Document) -> st.SearchStrategy[Made]:
    """A request for one of the operations of the description."""
    components = document["components"]["schemas"]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return st.sampled_from(operations).flatmap(lambda chosen: _of_operation(*chosen, components))


def _one_in(count: int) -> st.SearchStrategy[bool]:
    """True once in a while. What is usual comes first, because Hypothesis likes that best."""
    return st.sampled_from((False,) * (count - 1) + (True,))


@st.composite
def _of_operation(draw: st.DrawFn, method: str, path: str, operation: Document, components: Document) -> Made:
    parameters = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    query: list[tuple[str, str]] = []
    for one in parameters:
        if one["required"] or draw(_one_in(4)):
            right = of_schema(one["schema"], components).map(_as_text)
            right = st.one_of(st.just(OWN), right) if one["name"] == "id" else right
            query.append((one["name"], draw(st.one_of(right, right, TEXTS))))
    if draw(_one_in(20)):
        query.append((draw(TEXTS), draw(TEXTS)))
    body = None
    if "requestBody" in operation:
        body = draw(bodies(operation["requestBody"]["content"][JSON]["schema"], components))
    elif method == "post":
        body = draw(st.binary(max_size=20))
    kinds = st.sampled_from((JSON,) * 8 + ("text/plain", "application/x-www-form-urlencoded", ""))
    headers = {"Content-Type": draw(kinds)} if body is not None else {}
    if draw(_one_in(3)):
        headers |= draw(HEADERS)
    under = "/api" if path.startswith("/v1/") and draw(_one_in(6)) else ""
    count = path.count("{id}")
    ids = draw(
        st.lists(st.one_of(st.just(OWN), st.just(OWN), st.sampled_from(MODELS), TEXTS), min_size=count, max_size=count)
    )
    return Made(
        method=draw(st.sampled_from(("PUT", "OPTIONS", "TRACE", "HEAD"))) if draw(_one_in(30)) else method.upper(),
        path=under + path,
        described=path,
        ids=tuple(ids),
        query=tuple((name.encode("utf-8", "replace").decode(), value) for name, value in query),
        headers={name: value.encode().decode("latin-1") for name, value in headers.items()},
        body=body,
        key=draw(st.sampled_from(("right",) * 8 + ("other header", "wrong", "none"))),
    )


def _as_text(found: Any) -> str:
    return found if isinstance(found, str) else json.dumps(found)


class Judge:
    """Holds answers to the description."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._validators: dict[str, Draft202012Validator] = {}
        self.seen: dict[tuple[str, str], set[int]] = {}
        """The statuses that each operation answered, by method and path."""

    def judge(self, made: Made, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """AssertionError for an answer that the description does not have."""
        operation = self._document["paths"][made.described].get(made.method.lower())
        media = headers.get("Content-Type", "").partition(";")[0]
        if operation is None:
            # Another method; HEAD is answered where GET is.
            assert made.method == "HEAD" or status in (404, 405), status
            return
        self.seen.setdefault((made.method, made.described), set()).add(status)
        assert status != 500, body
        assert str(status) in operation["responses"], f"{status} is not described: {body!r}"
        content = operation["responses"][str(status)].get("content")
        if content is None:
            return
        assert media in content, f"{media} is not described for {status}"
        if media == JSON:
            document = json.loads(body)
            problems = [error.message for error in self._validator(content[JSON]["schema"]).iter_errors(document)]
            assert [] == problems, body
            if status >= 400:
                # In Anthropic's shape it stands beside the error.
                told = document["error"] if "request_id" in document["error"] else document
                assert headers["X-FindToken-Request-Id"] == told["request_id"]

    def _validator(self, schema: Document) -> Draft202012Validator:
        name = json.dumps(schema)
        if name not in self._validators:
            whole = {"components": self._document["components"], **schema}
            self._validators[name] = Draft202012Validator(whole)
        return self._validators[name]

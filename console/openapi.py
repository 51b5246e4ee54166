"""The description of the API (OpenAPI 3.1), made from the models that bodies and queries are read with.

`OPERATIONS` has a line for every route of the public port; a test compares it with the routes that are served. The account
plane's answers are described by console/shapes.py, what is OpenAI's only as far as it is checked here.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pydantic
from aiohttp import web
from aiohttp.typedefs import Handler

from console.answers import Page, Query
from console.billing_log import CallFilter, CallPage
from console.byok import NewProviderKey
from console.dialect_shapes import (
    MessagesErrorShape,
    MessageShape,
    MessagesRequest,
    ResponseShape,
    ResponsesRequest,
)
from console.keys import KeyChange, NewKey
from console.openrouter import GenerationQuery
from console.recharge_requests import NewRecharge
from console.recharge_routes import RechargePage
from console.shapes import (
    Anything,
    BalanceShape,
    CallShape,
    CheckoutShape,
    CreditsShape,
    Data,
    ErrorShape,
    GenerationShape,
    KeyShape,
    Listed,
    NewKeyShape,
    OpenRouterKeyShape,
    ProviderKeyShape,
    ReceiptShape,
    RechargeShape,
    RefundedShape,
    RemovedShape,
    UsageShape,
)
from console.sign_in_routes import (
    EndedShape,
    LinkUse,
    LinkWish,
    ListedSessionShape,
    SentShape,
    SessionShape,
    SignedOutShape,
)
from console.support_shapes import AnnouncementShape, TicketShape
from console.tickets import NewTicket, TicketPage
from console.usage import Range
from middlewares.body import JSON_TYPES, known_fields
from middlewares.embedding import EMBEDDING_FIELDS, MOST_INPUTS
from middlewares.errors import CODES
from middlewares.options import OWN_FIELDS, PAYERS
from providers.embedding import FORMATS
from providers.selection import STRATEGIES

JSON: Final = "application/json"
PATH: Final = "/openapi.json"
_PAGES: Final = (
    ("GET", "/sign-in", "The page to sign in or up on"),
    ("POST", "/sign-in", "Its form: mails a link"),
    ("GET", "/sign-in/link", "What a mailed link opens: a button"),
    ("POST", "/sign-in/link", "The button: uses the link"),
    ("POST", "/sign-out", "Ends this session, or all"),
    ("GET", "/sign-in/google", "Leads to Google"),
    ("GET", "/sign-in/google/callback", "Where Google leads back"),
)
PAGES: Final = tuple(dict.fromkeys(path for _, path, _ in _PAGES))
WEBHOOK: Final = "/webhooks/stripe"
UNDER_NO_BASE: Final = (PATH, WEBHOOK, *PAGES)
"""What stands outside of the bases of the API."""
HTML: Final = "text/html"
_CHAT: Final = ("/v1/chat/completions", "/v1/quote")
_EMBEDDINGS: Final = "/v1/embeddings"
_STREAMED: Final = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
"""What answers with events, too, if it is asked to."""
_OF_SESSION: Final = ("/v1/auth/session", "/v1/auth/sign-out", "/v1/auth/sign-out-everywhere")
_REFERENCE: Final = "#/components/schemas/{model}"
_STRANGE: Final = frozenset({401, 403, 429})
"""What is answered where the caller is not known, not wanted, or asks too often."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: what it does, what it takes and what it answers."""

    summary: str
    answer: Any
    status: int = 200
    query: type[Query] | None = None
    body: type[pydantic.BaseModel] | None = None
    media: str = JSON
    needs_key: bool = True
    error: type[pydantic.BaseModel] = ErrorShape


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("POST", "/v1/chat/completions"): Operation("A chat completion, plain or streamed", Anything),
    ("POST", _EMBEDDINGS): Operation("Vectors of texts", Anything),
    ("POST", "/v1/messages"): Operation(
        "Anthropic's Messages, plain or streamed", MessageShape, body=MessagesRequest, error=MessagesErrorShape
    ),
    ("POST", "/v1/responses"): Operation(
        "OpenAI's Responses, stateless, plain or streamed", ResponseShape, body=ResponsesRequest
    ),
    ("POST", "/v1/quote"): Operation("What a chat completion would cost, and who would serve it", Anything),
    ("GET", "/v1/streams/{id}"): Operation("The rest of a resumable stream", str, media="text/event-stream"),
    ("GET", "/v1/models"): Operation("The models for sale", Anything, needs_key=False),
    ("GET", "/v1/models/{id}"): Operation("One model, by name or alias", Anything, needs_key=False),
    ("GET", "/v1/models/{id}/endpoints"): Operation("Who serves a model", Anything, needs_key=False),
    ("GET", PATH): Operation("This description", Anything, needs_key=False),
    ("GET", "/v1/user/balance"): Operation("What there is, lot by lot", BalanceShape),
    ("GET", "/v1/user/billing-logs"): Operation("Calls, newest first", Listed[CallShape], query=CallPage),
    ("GET", "/v1/user/billing-logs.csv"): Operation(
        "All calls of a filter, as a table", str, query=CallFilter, media="text/csv"
    ),
    ("GET", "/v1/user/billing-logs/{id}"): Operation("One call's receipt", ReceiptShape),
    ("GET", "/v1/user/usage"): Operation("Sums by day, model and key", UsageShape, query=Range),
    ("POST", "/v1/user/byok/register"): Operation(
        "Keep a key of your own at a provider", ProviderKeyShape, status=201, body=NewProviderKey
    ),
    ("GET", "/v1/user/byok/keys"): Operation("The provider keys that are kept", Listed[ProviderKeyShape]),
    ("DELETE", "/v1/user/byok/keys/{id}"): Operation("Remove a provider key", RemovedShape),
    ("GET", "/v1/user/keys"): Operation("Keys, newest first", Listed[KeyShape], query=Page),
    ("POST", "/v1/user/keys"): Operation("A new key", NewKeyShape, status=201, body=NewKey),
    ("PATCH", "/v1/user/keys/{id}"): Operation("Change a key", KeyShape, body=KeyChange),
    ("DELETE", "/v1/user/keys/{id}"): Operation("Revoke a key for good", KeyShape),
    ("POST", "/v1/user/credits"): Operation("Recharge: a page to pay on", CheckoutShape, body=NewRecharge),
    ("GET", "/v1/user/recharges"): Operation("Recharges, newest first", Listed[RechargeShape], query=RechargePage),
    ("GET", "/v1/user/recharges/{id}"): Operation("One recharge; asks Stripe whether it is paid", RechargeShape),
    ("POST", "/v1/user/recharges/{id}/refund"): Operation("Give back what is left of a recharge", RefundedShape),
    ("POST", "/v1/user/tickets"): Operation("A support ticket", TicketShape, status=201, body=NewTicket),
    ("GET", "/v1/user/tickets"): Operation("Tickets, newest first", Listed[TicketShape], query=TicketPage),
    ("GET", "/v1/user/tickets/{id}"): Operation("One ticket", TicketShape),
    ("GET", "/v1/announcements"): Operation(
        "What is announced now", Listed[AnnouncementShape], query=Page, needs_key=False
    ),
    ("POST", WEBHOOK): Operation("For Stripe alone", Anything, needs_key=False),
    ("POST", "/v1/auth/email"): Operation(
        "Mail a link that signs in, or up", SentShape, status=202, body=LinkWish, needs_key=False
    ),
    ("POST", "/v1/auth/email/confirm"): Operation(
        "Use a mailed link: sets a session's cookie", SessionShape, body=LinkUse, needs_key=False
    ),
    ("GET", "/v1/auth/session"): Operation("Who is signed in, by the cookie", SessionShape, needs_key=False),
    ("POST", "/v1/auth/sign-out"): Operation("End this session", SignedOutShape, needs_key=False),
    ("POST", "/v1/auth/sign-out-everywhere"): Operation("End all sessions", SignedOutShape, needs_key=False),
    ("GET", "/v1/user/sessions"): Operation("Who is signed in to this account", Listed[ListedSessionShape]),
    ("DELETE", "/v1/user/sessions/{id}"): Operation("End a session", EndedShape),
    **{(method, path): Operation(summary, str, media=HTML, needs_key=False) for method, path, summary in _PAGES},
    ("GET", "/v1/key"): Operation("The key that asks", Data[OpenRouterKeyShape]),
    ("GET", "/v1/credits"): Operation("What came in and what is used", Data[CreditsShape]),
    ("GET", "/v1/generation"): Operation("One call", Data[GenerationShape], query=GenerationQuery),
}


def show_openapi(version: str) -> Handler:
    """The description, made when it is asked for the first time: that takes longer than a start, or a call, may wait."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=await asyncio.to_thread(_document, version), content_type=JSON)

    return handle


@functools.cache
def _document(version: str) -> bytes:
    return orjson.dumps(describe(OPERATIONS, version))


def describe(operations: Mapping[tuple[str, str], Operation], version: str) -> dict[str, Any]:
    """The whole document. Paths are those under /v1; the second server is for people who come from OpenRouter."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "find-token",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}, {"url": "/api", "description": "The same, but for this description itself."}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "`Bearer sk-ft_…`"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-findtoken_session"},
            },
        },
    }


def _operation(method: str, path: str, operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"summary": operation.summary, "operationId": _name(method, path)}
    if not operation.needs_key:
        made["security"] = [{"session": []}] if path in _OF_SESSION else []
    elif path.startswith("/v1/user/"):
        made["security"] = [{"key": []}, {"session": []}]
    if parameters := [*_path_parameters(path), *_query_parameters(operation.query, schemas)]:
        made["parameters"] = parameters
    is_call = path in (*_CHAT, *_STREAMED, _EMBEDDINGS)
    body = _schema(operation.body, schemas) if operation.body else _call_schema(path) if is_call else None
    if body:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    answer: dict[str, Any] = {operation.media: {"schema": _schema(operation.answer, schemas)}}
    if path in _STREAMED:
        answer["text/event-stream"] = {"schema": {"type": "string"}}
    error = _schema(operation.error, schemas)
    responses = {str(operation.status): {"description": operation.summary, "content": answer}}
    for status in _errors(operation, path, is_call=is_call, has_body=bool(body)):
        codes = ", ".join(code for code, (number, _) in CODES.items() if number == status)
        # What goes wrong on a page is a page; what is no proper request is told in JSON everywhere.
        page = {HTML: {"schema": {"type": "string"}}} if operation.media == HTML else {}
        responses[str(status)] = {"description": codes, "content": {JSON: {"schema": error}, **page}}
    if operation.media == HTML:
        responses["303"] = {"description": "Leads on to another page"}
    return {**made, "responses": responses}


def _errors(operation: Operation, path: str, *, is_call: bool, has_body: bool) -> list[int]:
    """The statuses of the errors that a route can answer."""
    if is_call:
        return sorted({status for status, _ in CODES.values()} - {405})
    statuses = {500}
    if operation.needs_key:
        statuses |= {*_STRANGE, 503}
    if has_body or operation.query is not None:
        statuses.add(400)
    if has_body:
        statuses |= {408, 413, 415}
    if "{" in path or operation.query is GenerationQuery:
        statuses.add(404)
    if path.endswith("/refund"):
        statuses.add(409)
    if path.startswith(("/v1/auth/", "/sign")):
        statuses |= {400, 401, 403, 429, 503}
    if path.startswith("/sign-in/google"):
        statuses.add(404)
    if path.startswith("/v1/streams/"):
        statuses |= {400, 410}
    if path == WEBHOOK:
        statuses |= {400, 408, 413, 415, 503}
    return sorted(statuses)


def _schema(shape: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a shape; what it is made of goes into ``schemas``."""
    made = pydantic.TypeAdapter(shape).json_schema(ref_template=_REFERENCE, mode="validation")
    schemas.update(made.pop("$defs", {}))
    if not (isinstance(shape, type) and issubclass(shape, pydantic.BaseModel)):
        return made
    name = made["title"].replace("[", "_").replace("]", "")
    schemas[name] = made
    return {"$ref": _REFERENCE.format(model=name)}


def _query_parameters(query: type[Query] | None, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if query is None:
        return []
    made = query.model_json_schema(ref_template=_REFERENCE)
    schemas.update(made.pop("$defs", {}))
    required = made.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.pop("description", ""),
            "schema": _without_null(schema),
        }
        for name, schema in made["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not given is absent: null, as its default, cannot be said in a query."""
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if schema.get("default", "") is None:
        del schema["default"]
    return schema | choices[0] if len(choices) == 1 else schema | ({"anyOf": choices} if choices else {})


def _path_parameters(path: str) -> list[dict[str, Any]]:
    if "{id}" not in path:
        return []
    return [{"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]


def _call_schema(path: str) -> dict[str, Any]:
    return _chat_schema() if path in _CHAT else _embedding_schema()


def _chat_schema() -> dict[str, Any]:
    """The fields that are checked; every other one passes to the provider."""
    properties: dict[str, Any] = {
        name: {"type": [*types, "null"]} for name, types in known_fields().items() if name not in ("model", "messages")
    }
    properties["model"] = {"type": "string", "minLength": 1}
    properties["messages"] = {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["role"]}}
    return {"type": "object", "required": ["model", "messages"], "properties": properties | _own_schema()}


def _embedding_schema() -> dict[str, Any]:
    """The same of embeddings."""
    properties: dict[str, Any] = {
        name: {"type": [JSON_TYPES[kind], "null"]} for name, (_, kind) in EMBEDDING_FIELDS.items()
    }
    properties["model"] = {"type": "string", "minLength": 1}
    properties["encoding_format"] = {"enum": [*FORMATS, None]}
    tokens = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
    text = {"type": "string", "minLength": 1}
    many = {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS}
    properties["input"] = {"anyOf": [text, {**many, "items": text}, tokens, {**many, "items": tokens}]}
    return {"type": "object", "required": ["model", "input"], "properties": properties | _own_schema()}


def _own_schema() -> dict[str, Any]:
    """The fields of ours."""
    routing, payer = {"enum": [*STRATEGIES, None]}, {"enum": [*PAYERS, None]}
    return {**{name: {} for name in sorted(OWN_FIELDS)}, "routing": routing, "payer": payer}


def _name(method: str, path: str) -> str:
    words = path.removeprefix("/v1").replace(".", "/").replace("-", "/").strip("/").split("/")
    return "_".join([method.lower(), *(word.strip("{}") for word in words)])

"""Serving what a provider serves: chat completions and embeddings, the list of models, and the balance where it is told."""

import time
from dataclasses import replace

from aiohttp import web

from simulator.delivery import Stamp, play
from simulator.embedding import render_embeddings
from simulator.embedding_request import read_embedding_request
from simulator.faults import MalformedOrder, Order, order_in
from simulator.frames import stamp, to_json
from simulator.journal import RecordedCall
from simulator.refusal import Refusal
from simulator.render import render
from simulator.request import ChatRequest, UnreadableRequest, read_request
from simulator.script import Script, answer_script, json_script, refusal_script, replacing_script
from simulator.settings import Settings
from simulator.state import ProviderState, SimulatorState

_SIM = b"SIM:"


class ProviderRoutes:
    """The routes of one provider. Each request is recorded in the journal before anything else happens to it."""

    def __init__(self, state: SimulatorState, provider: str) -> None:
        self._journal = state.journal
        self._provider: ProviderState = state.providers[provider]
        self._name = provider

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /chat/completions`."""
        body = await request.read()
        call = self._recorded(request, body)
        self._provider.calls_in_flight += 1
        try:
            script = self._chat_script(request.headers.get("Authorization", ""), body, call)
            return await self._played(request, script, call)
        finally:
            self._provider.calls_in_flight -= 1

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """`POST /embeddings`."""
        body = await request.read()
        call = self._recorded(request, body)
        self._provider.calls_in_flight += 1
        try:
            script = self._embedding_script(request.headers.get("Authorization", ""), body, call)
            return await self._played(request, script, call)
        finally:
            self._provider.calls_in_flight -= 1

    async def models(self, request: web.Request) -> web.StreamResponse:
        """`GET /models`."""
        call = self._recorded(request)
        refusal = self._not_let_in(request.headers.get("Authorization", ""))
        if refusal is not None:
            return await self._played(request, refusal_script(self._provider.shape, refusal, streamed=False), call)
        return await self._played(request, json_script(to_json(self._provider.shape.models_page())), call)

    async def balance(self, request: web.Request) -> web.StreamResponse:
        """The vendor's balance route."""
        call = self._recorded(request)
        shape = self._provider.shape
        refusal = self._not_let_in(request.headers.get("Authorization", ""))
        if refusal is None:
            script = json_script(to_json(shape.balance_page(self._provider.settings)))
        elif refusal.status == 401 and shape.name == "zhipu":
            # The console behind this route tells failures under status 200 (observed).
            script = json_script(to_json({"code": 401, "msg": "令牌已过期或验证不正确", "success": False}))
        else:
            script = refusal_script(shape, refusal, streamed=False)
        return await self._played(request, script, call)

    def _recorded(self, request: web.Request, body: bytes = b"") -> RecordedCall:
        """The journal's line for this request."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        port = peer[1] if isinstance(peer, tuple) else 0
        return self._journal.record(self._name, request.method, request.path, request.headers, port, body)

    async def _played(self, request: web.Request, script: Script, call: RecordedCall) -> web.StreamResponse:
        """The script over the wire, under a fresh id."""
        call_id = self._provider.shape.new_id(call.number)
        return await play(request, script, call, self._provider.shape.headers(call_id), _stamper(call_id))

    def _not_let_in(self, authorization: str) -> Refusal | None:
        """The refusal of a provider that is down, or of a key it does not accept."""
        if self._provider.down:
            return self._provider.shape.refusal("unavailable")
        return self._provider.shape.authorize(authorization)

    def _not_served(self, authorization: str) -> Refusal | None:
        """The refusal of a caller who is not let in, or comes while too many are served."""
        provider, refusal = self._provider, self._not_let_in(authorization)
        if refusal is None and 0 < provider.settings.concurrent_limit < provider.calls_in_flight:
            return provider.shape.refusal("rate_limited")
        return refusal

    def _embedding_script(self, authorization: str, body: bytes, call: RecordedCall) -> Script:
        """What to answer to a request for embeddings: refused, spoiled, or served."""
        provider, shape = self._provider, self._provider.shape
        refusal = self._not_served(authorization)
        if refusal is not None:
            return refusal_script(shape, refusal, streamed=False)
        try:
            request = read_embedding_request(body)
            in_input = order_in(request.last_text) if _SIM in body else None
        except (UnreadableRequest, MalformedOrder) as error:
            return refusal_script(shape, shape.bad_request(str(error)), streamed=False)
        call.model, key = request.model, authorization.removeprefix("Bearer ")
        order = provider.take_order(in_input, request.last_text, request.model, key)
        settings = _hurried(provider.settings, order)
        call.fault = order.kind if order is not None else ""
        script = replacing_script(shape, order, settings, streamed=False) if order is not None else None
        if script is not None:
            return script
        model = shape.find_embedding_model(request.model)
        if model is None:
            return refusal_script(shape, shape.unknown_model(request.model), streamed=False)
        refusal = shape.refuse_embedding(request, model)
        if refusal is not None:
            return refusal_script(shape, refusal, streamed=False)
        shaped = shape.embedding_body
        rendered = render_embeddings(request, model, order, shaped, knows_base64=shape.knows_base64)
        return answer_script(shape, rendered, order, settings)

    def _chat_script(self, authorization: str, body: bytes, call: RecordedCall) -> Script:
        """What to answer to a chat request: refused, spoiled, or served."""
        provider, shape = self._provider, self._provider.shape
        refusal = self._not_served(authorization)
        if refusal is not None:
            return refusal_script(shape, refusal, streamed=False)
        if not provider.orders and (known := provider.remembered(body)) is not None:
            call.model, call.streamed = known.model, known.asked_for_stream
            return answer_script(shape, known, None, provider.settings)
        try:
            request = read_request(body)
            in_prompt = order_in(request.last_user_text) if _SIM in body else None
        except (UnreadableRequest, MalformedOrder) as error:
            return refusal_script(shape, shape.bad_request(str(error)), streamed=b'"stream":true' in body)
        call.model, call.streamed = request.model, request.streamed
        key = authorization.removeprefix("Bearer ")
        order = provider.take_order(in_prompt, request.last_user_text, request.model, key)
        return self._script_for(request, order, key, body, call)

    def _script_for(
        self, request: ChatRequest, order: Order | None, key: str, body: bytes, call: RecordedCall
    ) -> Script:
        """What to answer to a readable chat request."""
        provider, shape = self._provider, self._provider.shape
        settings = _hurried(provider.settings, order)
        call.fault = order.kind if order is not None else ""
        if order is not None:
            script = replacing_script(shape, order, settings, streamed=request.streamed)
            if script is not None:
                return script
        model = shape.find_model(request.model)
        if model is None:
            return refusal_script(shape, shape.unknown_model(request.model), streamed=request.streamed)
        refusal = shape.refuse(request, model) or self._sent_twice(request)
        if refusal is not None:
            return refusal_script(shape, refusal, streamed=request.streamed)
        rendered = render(shape, model, request, settings, order, key)
        if order is None and shape.unique_field not in request.fields and _SIM not in body:
            provider.remember(body, rendered)
        return answer_script(shape, rendered, order, settings)

    def _sent_twice(self, request: ChatRequest) -> Refusal | None:
        """The refusal of a value that may be sent only once (zhipu's `request_id`), or None for its first time."""
        field = self._provider.shape.unique_field
        value = request.fields.get(field) if field else None
        if not isinstance(value, str) or self._provider.count(f"unique:{value}") == 1:
            return None
        refusal = self._provider.shape.refusals_by_code["1231"]
        return replace(refusal, message=refusal.message.replace("{request_id}", value))


def _hurried(settings: Settings, order: Order | None) -> Settings:
    """The provider's settings at the speed an order wants for its call."""
    if order is None:
        return settings
    if order.latency_seconds is not None:
        settings = replace(settings, latency_seconds=float(order.latency_seconds))
    if order.pieces_per_second is not None:
        settings = replace(settings, pieces_per_second=float(order.pieces_per_second))
    return settings


def _stamper(call_id: str) -> Stamp:
    """The function that puts this call's id and time into its bytes."""
    id_bytes, created = call_id.encode(), str(int(time.time())).encode()
    return lambda data: stamp(data, id_bytes, created)

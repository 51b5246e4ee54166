"""The wire shape the vendors share: OpenAI's chat completions, plain and streamed. Each vendor's file says only what differs.

A shape turns a provider-neutral `Answer` or `Refusal` into bytes. It does no I/O and keeps no state.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any, ClassVar

from simulator.answer import Answer, Choice, ToolCall, Usage
from simulator.embedding_request import EmbeddingRequest
from simulator.facts import EMBEDDING_MODELS, MODELS, EmbeddingModel, Model
from simulator.frames import CREATED_MARK, DONE, ID_MARK, PIECE_MARK, Frame, event, piece_frames, to_json, uuid_like
from simulator.refusal import NAME_OF_STATUS, Refusal, gateway_page
from simulator.request import ChatRequest, Fields
from simulator.settings import Settings

IMAGE_REFUSED = "unknown variant 'image_url', expected 'text'"


class Shape:
    """OpenAI's own shape, and the base of every vendor's.

    The attributes are the small differences: which fields limit the length, whether an unfinished chunk has a null
    `finish_reason` or none, what each delta repeats, whether choices say `"logprobs": null`, whether the vendor shows
    signs of life while it works, whether it writes vectors in base64 where that is asked for, which field may never be sent
    twice with the same value, and where it tells the balance.
    """

    name = "openai"
    key_pattern = re.compile(r"sk-(?:sim|your-)[A-Za-z0-9_-]*")
    limit_fields: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    most_choices = 16
    unfinished: ClassVar[Fields] = {"finish_reason": None}
    every_delta: ClassVar[Fields] = {}
    finish_delta: ClassVar[Fields] = {}
    knows_any_model = True
    tells_logprobs = True
    knows_base64 = True
    sends_keep_alives = False
    unique_field = ""
    balance_path = ""
    refusals: ClassVar[Mapping[str, Refusal]] = {
        "bad_request": Refusal(400, "Invalid request.", "invalid_request_error"),
        "bad_key": Refusal(
            401,
            "Incorrect API key provided: {key}. You can find your API key at https://platform.openai.com/account/api-keys.",
            "invalid_request_error",
            "invalid_api_key",
        ),
        "no_key": Refusal(401, "You didn't provide an API key.", "invalid_request_error"),
        "no_balance": Refusal(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "permission": Refusal(403, "You are not allowed to use this model.", "permission_error"),
        "model_not_found": Refusal(404, "The model does not exist.", "invalid_request_error", "model_not_found"),
        "context_length": Refusal(
            400,
            "This model's maximum context length is {context} tokens. However, your messages resulted in {asked} tokens.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        "content_filter": Refusal(400, "The prompt was filtered.", "invalid_request_error", "content_filter"),
        "rate_limited": Refusal(429, "Rate limit reached for requests", "requests", "rate_limit_exceeded"),
        "overloaded": Refusal(503, "The engine is currently overloaded, please try again later", "server_error"),
        "quota_exhausted": Refusal(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
        "server_error": Refusal(500, "The server had an error while processing your request.", "server_error"),
        "unavailable": Refusal(503, "Service unavailable", "server_error"),
    }
    refusals_by_code: ClassVar[Mapping[str, Refusal]] = {}

    # What is let in.

    def authorize(self, authorization: str) -> Refusal | None:
        """None when the value of the Authorization header carries a key this provider accepts, else its refusal."""
        key = authorization.removeprefix("Bearer ")
        if not authorization.startswith("Bearer ") or not key:
            return self.refusal("no_key")
        if self.key_pattern.fullmatch(key) is None:
            return self.refusal("bad_key", key="*" * 4 + key[-4:])
        return None

    def find_model(self, model_id: str) -> Model | None:
        """What is known of `model_id`, or None for a model this provider does not sell (any more)."""
        known = MODELS[self.name].get(model_id)
        if known is None and self.knows_any_model:
            return Model(model_id, 1_000_000, 1_000_000, vision=True)
        return known

    def unknown_model(self, model_id: str) -> Refusal:
        """The refusal of a model this provider does not sell."""
        return self.refusal("model_not_found", model=model_id)

    def thinks(self, request: ChatRequest, model: Model) -> bool:
        """Whether this model thinks before it answers this request: by `thinking.type`, else as the model does by itself."""
        thinking = request.fields.get("thinking")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        if model.thinking in ("none", "always"):
            return model.thinking == "always"
        return kind != "disabled" if model.thinking == "on" else kind == "enabled"

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """What this vendor refuses about a request that is readable; None when it will be served."""
        if request.image_urls and not model.vision:
            return self.bad_request(IMAGE_REFUSED)
        asked = request.prompt_tokens
        if asked > model.context_tokens:
            return self.too_long(request, model, asked)
        return None

    def too_long(self, request: ChatRequest, model: Model, asked: int) -> Refusal:  # noqa: ARG002 - vendors name more
        """The refusal of a prompt of `asked` tokens that the model's window does not hold."""
        return self.refusal("context_length", context=model.context_tokens, asked=asked)

    # Refusals.

    def refusal(self, name: str, **values: object) -> Refusal:
        """This vendor's refusal called `name` (see `refusal.NAMES`), its message filled in with `values`.

        Raises KeyError for a name that is none of them.
        """
        from_table = self.refusals[name]
        message = from_table.message
        for word, value in {"model": "X", "key": "****0000", "context": 131_072, "asked": 131_134, **values}.items():
            message = message.replace("{" + word + "}", str(value))
        return replace(from_table, message=message)

    def bad_request(self, message: str) -> Refusal:
        """This vendor's refusal of a wrong request, in its own words."""
        return replace(self.refusals["bad_request"], message=message)

    def refusal_for(self, status: int | None, code: str, message: str) -> Refusal:
        """The refusal of this vendor that fits a status, a vendor's code and a message best; each may be left open.

        A code is looked up among the vendor's own. 502 and 504 without a code are pages of its edge.
        """
        if code in self.refusals_by_code:
            found = self.refusals_by_code[code]
        elif code in self.refusals:
            found = self.refusal(code)
        elif status in (502, 504) and not code:
            return gateway_page(status)
        else:
            found = self.refusal(NAME_OF_STATUS.get(status or 500, "server_error"))
            found = replace(found, code=code or found.code)
        return replace(found, status=status or found.status, message=message or found.message)

    def error_body(self, refusal: Refusal) -> Any:
        """The JSON of a refusal in this vendor's shape. It may hold `ID_MARK`."""
        return {
            "error": {
                "message": refusal.message,
                "type": refusal.type or None,
                "param": None,
                "code": refusal.code or None,
            }
        }

    def refusal_bytes(self, refusal: Refusal, *, streamed: bool) -> tuple[bytes, str]:  # noqa: ARG002 - qwen asks
        """Body and content type of a refused request; `streamed` says whether a stream was asked for."""
        if refusal.page:
            return refusal.page.encode(), refusal.content_type
        return to_json(self.error_body(refusal)), "application/json"

    def error_event(self, refusal: Refusal) -> bytes:
        """The event with which this vendor breaks off a stream it had begun."""
        return event(self.error_body(refusal))

    def error_in_200(self, refusal: Refusal) -> Any:
        """The JSON of an error this vendor sends under status 200."""
        return self.error_body(refusal)

    # Answers.

    def new_id(self, number: int) -> str:
        """The id of the call with this number; always of the same length."""
        return f"chatcmpl-{uuid_like(number)}"

    def headers(self, call_id: str) -> dict[str, str]:
        """Headers this vendor sends with every answer to the call `call_id`."""
        return {"x-request-id": f"req_{call_id[-12:]}"}

    def usage(self, usage: Usage) -> Fields:
        """The usage object in this vendor's shape."""
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }

    def reported(self, answer: Answer) -> Any:
        """What stands under `usage`: this vendor's usage object with what a fault put over it, or None for no usage at all."""
        shaped = self.usage(answer.usage) if answer.usage is not None else None
        if answer.usage_override is ...:
            return shaped
        if isinstance(answer.usage_override, dict) and shaped is not None:
            return {**shaped, **answer.usage_override}
        return answer.usage_override

    def envelope(self, answer: Answer, kind: str) -> Fields:
        """The fields around the choices; `kind` is the value of `object`."""
        return {"id": ID_MARK, "object": kind, "created": CREATED_MARK, "model": answer.model}

    def message(self, request: ChatRequest, answer: Answer, choice: Choice) -> Fields:
        """The message of one choice of a plain answer."""
        message: Fields = {"role": "assistant", "content": "".join(choice.pieces)}
        if choice.reasoning:
            message.update(self.reasoning_delta(request, "".join(choice.reasoning)))
        if choice.tool_calls:
            message["content"] = message["content"] or self.content_beside_tools()
            message["tool_calls"] = [
                self.whole_call(answer, call, index) for index, call in enumerate(choice.tool_calls)
            ]
        return message

    def content_beside_tools(self) -> str | None:
        """What `content` holds when the model calls a tool and says nothing."""
        return None

    def whole_call(self, answer: Answer, call: ToolCall, index: int) -> Fields:
        """A tool call as it stands in a plain answer."""
        function = {"name": call.name, "arguments": "".join(call.fragments)}
        return {"id": self.call_id(answer, call, index), "type": "function", "function": function}

    def call_id(self, answer: Answer, call: ToolCall, index: int) -> str:  # noqa: ARG002 - kimi names the function
        """The id of the tool call at `index`."""
        return f"call_{answer.seed:010d}{index:02d}"

    def body(self, request: ChatRequest, answer: Answer) -> Fields:
        """The whole plain answer as this vendor words it."""
        body = self.envelope(answer, "chat.completion")
        body["choices"] = [
            {
                "index": index,
                "message": self.message(request, answer, choice),
                **self._logprobs(),
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(answer.choices)
        ]
        usage = self.reported(answer)
        if usage is not None:
            body["usage"] = usage
        return body

    def _logprobs(self) -> Fields:
        return {"logprobs": None} if self.tells_logprobs else {}

    # Streams.

    def usage_places(self, request: ChatRequest) -> tuple[str, ...]:
        """Where this vendor puts the usage of a stream when nobody ordered otherwise."""
        return ("trailing",) if request.include_usage else ()

    def idle_usage(self, request: ChatRequest) -> Fields:
        """What chunks that do not report usage say about it."""
        return {"usage": None} if request.include_usage else {}

    def chunk(self, request: ChatRequest, answer: Answer, index: int, delta: Fields) -> Fields:
        """One chunk before the finish."""
        choice = {"index": index, "delta": {**self.every_delta, **delta}, **self._logprobs(), **self.unfinished}
        return {
            **self.envelope(answer, "chat.completion.chunk"),
            "choices": [choice],
            **self.idle_usage(request),
        }

    def opening(self, choice: Choice) -> Fields | None:  # noqa: ARG002 - vendors look at its reasoning
        """The delta that opens a choice before its first piece, or None where the vendor sends none."""
        return {"role": "assistant", "content": ""}

    def reasoning_delta(self, request: ChatRequest, piece: str) -> Fields:  # noqa: ARG002 - vendors look at its fields
        """The fields that carry a piece of thinking, in a delta or a message."""
        return {"reasoning_content": piece}

    def tool_deltas(self, request: ChatRequest, answer: Answer, call: ToolCall, index: int) -> list[Fields]:  # noqa: ARG002
        """The deltas that carry one tool call: its name first, then its arguments in fragments."""
        first = self.whole_call(answer, call, index)
        first["function"] = {"name": call.name, "arguments": ""}
        fragments = [{"index": index, "function": {"arguments": fragment}} for fragment in call.fragments]
        return [{"tool_calls": [delta]} for delta in ({"index": index, **first}, *fragments)]

    def choice_frames(self, request: ChatRequest, answer: Answer, index: int) -> list[Frame]:
        """All frames of one choice up to its finish."""
        choice = answer.choices[index]
        frames: list[Frame] = []
        opening = self.opening(choice)
        if opening is not None:
            frames.append(Frame("role", event(self.chunk(request, answer, index, opening))))
        thinking = self.chunk(request, answer, index, self.reasoning_delta(request, PIECE_MARK))
        frames += piece_frames(thinking, choice.reasoning)
        frames += piece_frames(self.chunk(request, answer, index, {"content": PIECE_MARK}), choice.pieces)
        for place, call in enumerate(choice.tool_calls):
            deltas = self.tool_deltas(request, answer, call, place)
            frames += [Frame("piece", event(self.chunk(request, answer, index, delta))) for delta in deltas]
        return frames

    def finish_frame(self, request: ChatRequest, answer: Answer, index: int, places: tuple[str, ...]) -> Frame:
        """The chunk that carries the finish reason of one choice, and the usage where it stands there."""
        chunk = self.chunk(request, answer, index, self.finish_delta)
        chunk["choices"][0]["finish_reason"] = answer.choices[index].finish
        usage = self.reported(answer)
        if usage is not None and index == len(answer.choices) - 1:
            if "finish" in places:
                chunk["usage"] = usage
            if "choice" in places:
                chunk["choices"][0]["usage"] = usage
        return Frame("finish", event(chunk))

    def trailing_frames(self, request: ChatRequest, answer: Answer, places: tuple[str, ...]) -> list[Frame]:
        """The chunk after the finish that carries nothing but usage, where there is one."""
        usage = self.reported(answer)
        if usage is None or not {"trailing", "trailing_choice"} & set(places):
            return []
        chunk = self.chunk(request, answer, 0, {})
        if "trailing" in places:
            chunk["choices"] = []
        chunk["usage"] = usage
        return [Frame("usage", event(chunk))]

    def frames(self, request: ChatRequest, answer: Answer, settings: Settings) -> list[Frame]:
        """The whole stream, `[DONE]` included. The frames of several choices take turns."""
        places = settings.usage_places or self.usage_places(request)
        indexes = range(len(answer.choices))
        turns = zip_longest(*(self.choice_frames(request, answer, index) for index in indexes))
        frames = [frame for frame in chain.from_iterable(turns) if frame is not None]
        frames += [self.finish_frame(request, answer, index, places) for index in indexes]
        return [*frames, *self.trailing_frames(request, answer, places), DONE]

    # Embeddings.

    def find_embedding_model(self, model_id: str) -> EmbeddingModel | None:
        """What is known of a model of embeddings, or None for one this provider does not sell."""
        models = EMBEDDING_MODELS.get(self.name, {})
        known = models.get(model_id)
        if known is None and models and self.knows_any_model:
            return replace(next(iter(models.values())), id=model_id)
        return known

    def refuse_embedding(self, request: EmbeddingRequest, model: EmbeddingModel) -> Refusal | None:
        """What this vendor refuses about a readable request for embeddings."""
        if len(request.inputs) > model.most_inputs:
            return self.bad_request(f"'input' has too many entries. The maximum is {model.most_inputs}.")
        if max(request.tokens) > model.input_tokens:
            return self.refusal("context_length", context=model.input_tokens, asked=max(request.tokens))
        return None

    def embedding_body(self, model_id: str, rows: list[Fields], tokens: int) -> Fields:
        """The answer with vectors."""
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": rows, "model": model_id, "usage": usage}

    # The other routes.

    def models_page(self) -> Any:
        """The answer to `GET /models`."""
        return {
            "object": "list",
            "data": [self.model_row(model) for model in MODELS[self.name].values() if model.listed],
        }

    def model_row(self, model: Model) -> Fields:
        """One row of the list of models."""
        return {"id": model.id, "object": "model", "created": 1_750_000_000, "owned_by": self.name}

    def balance_page(self, settings: Settings) -> Any:  # noqa: ARG002 - vendors tell it
        """The answer of `balance_path`; None for a vendor that tells no balance to a key."""
        return None

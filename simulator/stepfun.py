"""StepFun's shape: every chunk counts usage up, and the last one holds text, finish reason and usage together.

Source: StepFun's documentation (stream example, error list), 2026.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from simulator.answer import Answer, Usage
from simulator.facts import Model
from simulator.frames import DONE, Frame, event, hex_id
from simulator.refusal import Refusal
from simulator.request import ChatRequest, Fields
from simulator.settings import Settings
from simulator.shape import Shape

_ROLES = ("system", "user", "assistant", "tool")
_PARAMETERS = "request_params_invalid"


class StepFun(Shape):
    """StepFun. Thoughts stand under `reasoning` unless `reasoning_format` says `deepseek-style`."""

    name = "stepfun"
    limit_fields = ("max_tokens",)
    most_choices = 1
    knows_any_model = False
    tells_logprobs = False
    unfinished: ClassVar[Fields] = {}
    every_delta: ClassVar[Fields] = {"role": "assistant"}
    balance_path = "accounts"
    refusals: ClassVar[Mapping[str, Refusal]] = {
        "bad_request": Refusal(400, "input_invalid", _PARAMETERS),
        "bad_key": Refusal(401, "Incorrect API key provided", "invalid_api_key"),
        "no_key": Refusal(401, "Incorrect API key provided", "invalid_api_key"),
        "no_balance": Refusal(
            402, "You exceeded your current quota, please check your plan and billing details", "insufficient_quota"
        ),
        "permission": Refusal(403, "You have no permission to access this model", "permission_denied"),
        "model_not_found": Refusal(400, "model {model} not supported", _PARAMETERS),
        "context_length": Refusal(400, "input_invalid: prompt exceeds the context length of {context}", _PARAMETERS),
        "content_filter": Refusal(
            451, "The content you provided or machine outputted is blocked.", "censorship_blocked"
        ),
        "rate_limited": Refusal(429, "You have sent requests too fast", "rate_limited"),
        "overloaded": Refusal(503, "The engine is overloaded, please try again later", "engine_overloaded"),
        "quota_exhausted": Refusal(
            402, "You exceeded your current quota, please check your plan and billing details", "insufficient_quota"
        ),
        "server_error": Refusal(500, "Internal server error", "server_error"),
        "unavailable": Refusal(503, "Service unavailable", "server_unavailable"),
    }

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """StepFun's own refusals: a role it does not know, a temperature above 2."""
        strange = next((message["role"] for message in request.messages if message["role"] not in _ROLES), None)
        if strange is not None:
            return self.bad_request(f"invalid msg role: {strange}")
        temperature = request.fields.get("temperature")
        if temperature is not None and not 0 <= temperature <= 2:
            return self.bad_request("invalid temperature: must be in [0, 2]")
        return super().refuse(request, model)

    def error_body(self, refusal: Refusal) -> Any:
        """A message and a type; no code."""
        return {"error": {"message": refusal.message, "type": refusal.type}}

    def new_id(self, number: int) -> str:
        """Ids are twice 32 hexadecimal digits, with a point between."""
        return f"{hex_id(number)}.{hex_id(number + 2**32)}"

    def headers(self, call_id: str) -> dict[str, str]:  # noqa: ARG002 - other vendors send it
        """StepFun documents no headers of its own."""
        return {}

    def usage(self, usage: Usage) -> Fields:
        """Three counts, and the cached tokens among the prompt's when there are some."""
        shaped: Fields = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        if usage.cached_tokens:
            shaped["cached_tokens"] = usage.cached_tokens
        return shaped

    def reasoning_delta(self, request: ChatRequest, piece: str) -> Fields:
        """The field is named by `reasoning_format`."""
        style = request.fields.get("reasoning_format")
        return {"reasoning_content" if style == "deepseek-style" else "reasoning": piece}

    def content_beside_tools(self) -> str:
        """A tool call comes with an empty text."""
        return ""

    def chunk(self, request: ChatRequest, answer: Answer, index: int, delta: Fields) -> Fields:
        """A chunk with the vendor's `agent` field."""
        return {**super().chunk(request, answer, index, delta), "agent": ""}

    def frames(self, request: ChatRequest, answer: Answer, settings: Settings) -> list[Frame]:  # noqa: ARG002
        """Each chunk reports the usage so far; the last one also finishes. Other places for usage do not exist here."""
        deltas = self._deltas(request, answer)
        frames: list[Frame] = []
        for place, delta in enumerate(deltas, start=1):
            chunk = self.chunk(request, answer, 0, delta)
            is_last = place == len(deltas)
            usage = self.reported(answer) if is_last else self._usage_so_far(answer, place)
            if usage is not None:
                chunk["usage"] = usage
            if is_last:
                chunk["choices"][0]["finish_reason"] = answer.choices[0].finish
            frames.append(Frame("finish" if is_last else "piece", event(chunk)))
        return [*frames, DONE]

    def _deltas(self, request: ChatRequest, answer: Answer) -> list[Fields]:
        """What the chunks say, one after another; never none, since the last must finish."""
        choice = answer.choices[0]
        deltas = [self.reasoning_delta(request, piece) for piece in choice.reasoning]
        deltas += [{"content": piece} for piece in choice.pieces]
        for index, call in enumerate(choice.tool_calls):
            deltas += self.tool_deltas(request, answer, call, index)
        return deltas or [{"content": ""}]

    def _usage_so_far(self, answer: Answer, completion_tokens: int) -> Any:
        """Usage as it stands after so many tokens; what a fault put over usage shows in every chunk."""
        if answer.usage is None or answer.usage_override is not ...:
            return self.reported(answer)
        return self.usage(Usage(answer.usage.prompt_tokens, completion_tokens, 0, answer.usage.cached_tokens))

    def balance_page(self, settings: Settings) -> Any:
        """Amounts are numbers; the totals are everything ever paid in."""
        amount = float(settings.balance)
        return {
            "object": "account",
            "type": "prepaid",
            "balance": amount,
            "total_cash_balance": amount,
            "total_voucher_balance": 0.0,
        }

"""Qwen's shape (DashScope, compatible mode): usage only when asked, refused streams answered in the form of a stream.

Source: Alibaba Model Studio's documentation and observed answers, 2026.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from simulator.answer import Answer, Choice, ToolCall, Usage
from simulator.embedding_request import EmbeddingRequest
from simulator.facts import EmbeddingModel, Model
from simulator.frames import ID_MARK, event, uuid_like
from simulator.refusal import Refusal
from simulator.request import ChatRequest, Fields
from simulator.shape import Shape

_ROLES = ("system", "assistant", "user", "tool", "function")
_PARAMETER = "invalid_parameter_error"
_KEY_MESSAGE = (
    "Incorrect API key provided. For details, see: https://help.aliyun.com/zh/model-studio/error-code#apikey-error"
)
_INSPECTION = "data_inspection_failed"
_ARREARS = "Access denied, please make sure your account is in good standing."
_BURST = (
    "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale smoothly."
)

NATIVE_CODES = {
    _PARAMETER: "InvalidParameter",
    _INSPECTION: "DataInspectionFailed",
    "invalid_api_key": "InvalidApiKey",
    "model_not_found": "ModelNotFound",
    "limit_requests": "Throttling.RateQuota",
    "insufficient_quota": "Throttling.AllocationQuota",
    "limit_burst_rate": "Throttling.BurstRate",
    "internal_error": "InternalError",
    "access_denied": "AccessDenied",
}
"""What the compatible mode's codes are called in the vendor's own API."""

_REFUSALS = {
    "bad_request": Refusal(400, "The request is invalid.", "invalid_request_error", _PARAMETER),
    "bad_key": Refusal(401, _KEY_MESSAGE, "invalid_request_error", "invalid_api_key"),
    "no_key": Refusal(401, _KEY_MESSAGE, "invalid_request_error", "invalid_api_key"),
    "no_balance": Refusal(400, _ARREARS, "Arrearage", "Arrearage"),
    "permission": Refusal(403, "Access denied.", "access_denied", "access_denied"),
    "model_not_found": Refusal(
        404,
        "The model `{model}` does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    "context_length": Refusal(
        400, "Range of input length should be [1, {context}]", "invalid_request_error", _PARAMETER
    ),
    "content_filter": Refusal(400, "Input data may contain inappropriate content.", _INSPECTION, _INSPECTION),
    "rate_limited": Refusal(
        429, "Requests rate limit exceeded, please try again later.", "limit_requests", "limit_requests"
    ),
    "overloaded": Refusal(
        429, "Too many requests. The service is overloaded.", "overloaded_error", "Throttling.ServiceOverloaded"
    ),
    "quota_exhausted": Refusal(
        403, "The free tier of the model has been exhausted.", "access_denied", "AllocationQuota.FreeTierOnly"
    ),
    "server_error": Refusal(
        500, "An internal error has occured, please try again later.", "internal_error", "internal_error"
    ),
    "unavailable": Refusal(
        503, "Model is unavailable, please try again later.", "ModelUnavailable", "ModelUnavailable"
    ),
}
_MORE_BY_CODE = {
    "insufficient_quota": Refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "limit_burst_rate": Refusal(429, _BURST, "limit_burst_rate", "limit_burst_rate"),
    "RequestTimeOut": Refusal(408, "Request timed out, please try again later.", "RequestTimeOut", "RequestTimeOut"),
    "PostpaidBillOverdue": Refusal(429, "Your bill is overdue.", "PostpaidBillOverdue", "PostpaidBillOverdue"),
    "PrepaidBillOverdue": Refusal(429, "Your bill is overdue.", "PrepaidBillOverdue", "PrepaidBillOverdue"),
}


class Qwen(Shape):
    """Qwen. Thinking is switched by `enable_thinking`."""

    name = "qwen"
    limit_fields = ("max_tokens",)
    most_choices = 4
    knows_base64 = False
    knows_any_model = False
    finish_delta: ClassVar[Fields] = {"content": "", "reasoning_content": None}
    refusals: ClassVar[Mapping[str, Refusal]] = _REFUSALS
    refusals_by_code: ClassVar[Mapping[str, Refusal]] = {
        **{refusal.code: refusal for refusal in _REFUSALS.values() if "{" not in refusal.message},
        **_MORE_BY_CODE,
    }

    def thinks(self, request: ChatRequest, model: Model) -> bool:
        """By `enable_thinking`, else as the model does by itself."""
        wanted = request.fields.get("enable_thinking")
        if model.thinking in ("none", "always"):
            return model.thinking == "always"
        return wanted if isinstance(wanted, bool) else model.thinking == "on"

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """DashScope's own refusals, all 400."""
        wrong = _wrong(request, model) or _wrong_in_thinking(request, model, thinks=self.thinks(request, model))
        return self.bad_request(wrong) if wrong else super().refuse(request, model)

    def error_body(self, refusal: Refusal) -> Any:
        """OpenAI's error with a request id beside it."""
        return {**_error_object(refusal), "request_id": ID_MARK}

    def refusal_bytes(self, refusal: Refusal, *, streamed: bool) -> tuple[bytes, str]:
        """A refused stream is answered 400 with a body in the form of one event (observed)."""
        if streamed and refusal.status == 400 and not refusal.page:
            return self.error_event(refusal), "text/event-stream;charset=UTF-8"
        return super().refusal_bytes(refusal, streamed=streamed)

    def error_event(self, refusal: Refusal) -> bytes:
        """The same frame breaks off a running stream."""
        return event(_error_object(refusal))

    def headers(self, call_id: str) -> dict[str, str]:
        """A request id."""
        return {"x-request-id": call_id.removeprefix("chatcmpl-")}

    def new_id(self, number: int) -> str:
        """Ids are `chatcmpl-` and a UUID."""
        return f"chatcmpl-{uuid_like(number)}"

    def refuse_embedding(self, request: EmbeddingRequest, model: EmbeddingModel) -> Refusal | None:
        """All 400, and told by sentences (the one about the batch is observed)."""
        wrong = ""
        if request.has_tokens:
            wrong = "input must be a string or a list of strings"
        elif len(request.inputs) > model.most_inputs:
            wrong = f"batch size is invalid, it should not be larger than {model.most_inputs}.: input.contents"
        elif max(request.tokens) > model.input_tokens:
            wrong = f"Range of input length should be [1, {model.input_tokens}]"
        elif request.dimensions is not None and request.dimensions not in model.dimensions:
            wrong = f"dimension is invalid, it should be one of {list(model.dimensions)}"
        if not wrong:
            return None
        sentence = f"<400> InternalError.Algo.InvalidParameter: Value error, {wrong}"
        return Refusal(400, sentence, "InvalidParameter", "InvalidParameter")

    def embedding_body(self, model_id: str, rows: list[Fields], tokens: int) -> Fields:
        """An id behind OpenAI's members."""
        return {**super().embedding_body(model_id, rows, tokens), "id": ID_MARK}

    def usage(self, usage: Usage) -> Fields:
        """Reasoning tokens are named only when there are some."""
        shaped = super().usage(usage)
        if not usage.reasoning_tokens:
            del shaped["completion_tokens_details"]
        return shaped

    def envelope(self, answer: Answer, kind: str) -> Fields:
        """OpenAI's, with a fingerprint that is always null."""
        return {**super().envelope(answer, kind), "system_fingerprint": None}

    def idle_usage(self, request: ChatRequest) -> Fields:  # noqa: ARG002 - others ask
        """Every chunk says it has no usage, whether one asked for it or not."""
        return {"usage": None}

    def opening(self, choice: Choice) -> Fields:
        """The role, with an empty text or an empty thought."""
        if choice.reasoning:
            return {"content": None, "reasoning_content": "", "role": "assistant"}
        return {"content": "", "role": "assistant"}

    def content_beside_tools(self) -> str:
        """A tool call comes with an empty text."""
        return ""

    def call_id(self, answer: Answer, call: ToolCall, index: int) -> str:  # noqa: ARG002 - kimi names the function
        """Ids of tool calls are hexadecimal."""
        return f"call_{answer.seed:020x}{index:02x}"

    def whole_call(self, answer: Answer, call: ToolCall, index: int) -> Fields:
        """Plain answers number their tool calls too."""
        return {"index": index, **super().whole_call(answer, call, index)}

    def tool_deltas(self, request: ChatRequest, answer: Answer, call: ToolCall, index: int) -> list[Fields]:
        """Later fragments repeat an empty id and an empty name, which must not overwrite the first ones."""
        deltas = super().tool_deltas(request, answer, call, index)
        for delta in deltas[1:]:
            fragment = delta["tool_calls"][0]
            fragment.update({"id": "", "type": "function"})
            fragment["function"]["name"] = ""
        return deltas


def flat_error_event(refusal: Refusal) -> bytes:
    """The other frame with which DashScope breaks off a stream: flat, in the words of its own API."""
    code = NATIVE_CODES.get(refusal.code, refusal.code)
    return event({"code": code, "message": refusal.message, "request_id": ID_MARK})


def _error_object(refusal: Refusal) -> Fields:
    return {
        "error": {
            "code": refusal.code or None,
            "param": None,
            "message": refusal.message,
            "type": refusal.type or refusal.code,
        }
    }


def _wrong(request: ChatRequest, model: Model) -> str:
    """What is wrong with the parameters, in DashScope's words, or nothing."""
    place = next((i for i, message in enumerate(request.messages) if message["role"] not in _ROLES), None)
    if place is not None:
        role = request.messages[place]["role"]
        return f"{role} is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.{place}.role'"
    limit, n = request.whole_number("max_tokens"), request.whole_number("n") or 1
    temperature, top_p = request.fields.get("temperature"), request.fields.get("top_p")
    if limit is not None and limit > model.output_tokens:
        return f"Range of max_tokens should be [1, {model.output_tokens}]"
    if n > 4 or (n > 1 and request.tools):
        return "Range of n should be [1, 4]" if n > 4 else "The n parameter must be 1 when tools are used."
    if temperature is not None and not 0 <= temperature < 2:
        return "'temperature' must be in [0.0, 2.0)"
    if top_p is not None and not 0 < top_p <= 1:
        return "'top_p' must be in (0.0, 1.0]"
    if model.streams_only and not request.streamed:
        return "This model only support stream mode, please enable the stream parameter to access the model. "
    form = request.fields.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_object" and not request.mentions("json"):
        return "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
    return ""


def _wrong_in_thinking(request: ChatRequest, model: Model, *, thinks: bool) -> str:
    """What is wrong only because the model would think, in DashScope's words, or nothing."""
    if not thinks:
        return ""
    if model.plain_needs_thinking_off and not request.streamed:
        return "parameter.enable_thinking must be set to false for non-streaming calls"
    if request.fields.get("tool_choice") not in (None, "auto", "none"):
        return (
            "<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to "
            "required or object in thinking mode"
        )
    form = request.fields.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_object":
        return "Json mode response is not supported when enable_thinking is true"
    return ""

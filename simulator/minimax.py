"""MiniMax's shape: a name in every delta, thoughts in `<think>` unless split off, and errors that may hide in status 200.

Source: MiniMax's OpenAPI description and captured answers of MiniMax-M2.5, 2026.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from simulator.answer import Answer, Choice, ToolCall, Usage
from simulator.facts import MODELS, Model
from simulator.frames import CREATED_MARK, ID_MARK, PIECE_MARK, Frame, event, hex_id, piece_frames
from simulator.refusal import Refusal
from simulator.request import ChatRequest, Fields
from simulator.settings import Settings
from simulator.shape import Shape

_ROLES = ("system", "user", "assistant", "tool")
_NAME = "MiniMax AI"
_OPEN_THINK = ("<thi", "nk>\n")
_CLOSE_THINK = ("\n</th", "ink>\n\n")

_CODES = {
    "1000": (500, "server_error", "unknown error"),
    "1001": (504, "server_error", "request timeout"),
    "1002": (429, "rate_limit_error", "rate limit, please retry later"),
    "1004": (
        401,
        "authorized_error",
        "login fail: Please carry the API secret key in the 'Authorization' field of the request header",
    ),
    "1008": (402, "insufficient_balance_error", "insufficient balance"),
    "1013": (500, "server_error", "internal error"),
    "1024": (500, "server_error", "internal error"),
    "1026": (422, "unprocessable_entity_error", "input new_sensitive"),
    "1027": (422, "unprocessable_entity_error", "output new_sensitive"),
    "1033": (500, "server_error", "mysql failed"),
    "1039": (429, "rate_limit_error", "token limit"),
    "1041": (429, "rate_limit_error", "conn limit"),
    "1042": (400, "bad_request_error", "invisible character ratio limit"),
    "2013": (400, "bad_request_error", "invalid params"),
    "2045": (429, "rate_limit_error", "rate growth limit"),
    "2049": (401, "authorized_error", "invalid api key"),
    "2056": (429, "rate_limit_error", "usage limit exceeded"),
    "2061": (500, "api_error", "your current token plan not support model, {model}"),
    "2062": (429, "rate_limit_error", "Token Plan speed limit"),
    "2067": (429, "rate_limit_error", "plan limit reached"),
}
_NAMES = {
    "bad_request": "2013",
    "bad_key": "2049",
    "no_key": "1004",
    "no_balance": "1008",
    "permission": "2061",
    "content_filter": "1026",
    "rate_limited": "1002",
    "quota_exhausted": "2056",
    "server_error": "1000",
}
_BY_CODE = {code: Refusal(status, words, kind, code) for code, (status, kind, words) in _CODES.items()}


class MiniMax(Shape):
    """MiniMax. Model ids are read in any case; the answer names the model canonically."""

    name = "minimax"
    most_choices = 1
    knows_any_model = False
    tells_logprobs = False
    unfinished: ClassVar[Fields] = {}
    every_delta: ClassVar[Fields] = {"role": "assistant", "name": _NAME}
    balance_path = "token_plan/remains"
    refusals: ClassVar[Mapping[str, Refusal]] = {
        **{name: _BY_CODE[code] for name, code in _NAMES.items()},
        "model_not_found": Refusal(400, "invalid params, unknown model '{model}'", "bad_request_error", "2013"),
        "context_length": Refusal(400, "invalid params, context window exceeds limit", "bad_request_error", "2013"),
        "overloaded": Refusal(500, "server overloaded, please retry later", "api_error", "1000"),
        "unavailable": Refusal(503, "service unavailable", "server_error", "1000"),
    }
    refusals_by_code: ClassVar[Mapping[str, Refusal]] = _BY_CODE

    def find_model(self, model_id: str) -> Model | None:
        """Upper and lower case are the same here."""
        return next((model for name, model in MODELS[self.name].items() if name.lower() == model_id.lower()), None)

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """MiniMax's own refusals, all under code 2013 and told apart by their words."""
        wrong = _wrong(request, model)
        if wrong:
            return self.bad_request(f"invalid params, {wrong}")
        return super().refuse(request, model)

    def error_body(self, refusal: Refusal) -> Any:
        """The envelope of today: the vendor's own code stands in parentheses at the end of the message."""
        code = refusal.code or "1000"
        error = {"type": refusal.type, "message": f"{refusal.message} ({code})", "http_code": str(refusal.status)}
        return {"type": "error", "error": error, "request_id": ID_MARK}

    def error_in_200(self, refusal: Refusal) -> Any:
        """The envelope of old: status 200, and `base_resp` tells."""
        status = int(refusal.code) if refusal.code.isdigit() else 1000
        return {
            "id": ID_MARK,
            "choices": None,
            "created": CREATED_MARK,
            "model": "",
            "object": "",
            "usage": None,
            "base_resp": {"status_code": status, "status_msg": refusal.message},
        }

    def error_event(self, refusal: Refusal) -> bytes:
        """A stream breaks off with a `base_resp` too."""
        return event(self.error_in_200(refusal))

    def new_id(self, number: int) -> str:
        """Ids are 32 hexadecimal digits."""
        return hex_id(number)

    def headers(self, call_id: str) -> dict[str, str]:
        """A trace id."""
        return {"Trace-Id": call_id}

    def usage(self, usage: Usage) -> Fields:
        """Cached tokens are named only when there are some."""
        shaped: Fields = {
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "total_characters": 0,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }
        if usage.cached_tokens:
            shaped["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
        return shaped

    def reasoning_delta(self, request: ChatRequest, piece: str) -> Fields:
        """With `reasoning_split` the same thought stands in two fields; without it, it is text like any other."""
        if request.fields.get("reasoning_split") is not True:
            return {"content": piece}
        detail = {
            "type": "reasoning.text",
            "id": "reasoning-text-1",
            "format": "MiniMax-response-v1",
            "index": 0,
            "text": piece,
        }
        return {"content": "", "reasoning_content": piece, "reasoning_details": [detail]}

    def message(self, request: ChatRequest, answer: Answer, choice: Choice) -> Fields:
        """The message, with its thoughts inside the text unless they were asked to be split off."""
        content = "".join(choice.pieces)
        message: Fields = {"content": content, "role": "assistant", "name": _NAME, "audio_content": ""}
        if choice.reasoning and request.fields.get("reasoning_split") is True:
            message.update(self.reasoning_delta(request, "".join(choice.reasoning)))
            message["content"] = content
        elif choice.reasoning:
            message["content"] = "".join((*_OPEN_THINK, *choice.reasoning, *_CLOSE_THINK)) + content
        if choice.tool_calls:
            message["tool_calls"] = [self.whole_call(answer, call, i) for i, call in enumerate(choice.tool_calls)]
        return message

    def body(self, request: ChatRequest, answer: Answer) -> Fields:
        """The plain answer, with the flags and the `base_resp` no other vendor has."""
        body = super().body(request, answer)
        sensitive = {"input_sensitive": False, "output_sensitive": False, "input_sensitive_type": 0}
        return {
            **body,
            **sensitive,
            "output_sensitive_type": 0,
            "output_sensitive_int": 0,
            "base_resp": {"status_code": 0, "status_msg": ""},
        }

    def usage_places(self, request: ChatRequest) -> tuple[str, ...]:  # noqa: ARG002 - it is sent unasked
        """On a last chunk with one empty choice, always."""
        return ("trailing_choice",)

    def idle_usage(self, request: ChatRequest) -> Fields:  # noqa: ARG002 - others ask
        """Every other chunk says it has no usage."""
        return {"usage": None}

    def opening(self, choice: Choice) -> None:  # noqa: ARG002 - others look at it
        """No chunk of its own for the role: every delta repeats it."""
        return

    def chunk(self, request: ChatRequest, answer: Answer, index: int, delta: Fields) -> Fields:
        """As everywhere, but an empty delta stays empty."""
        chunk = super().chunk(request, answer, index, delta)
        if not delta:
            chunk["choices"][0]["delta"] = {}
        return chunk

    def choice_frames(self, request: ChatRequest, answer: Answer, index: int) -> list[Frame]:
        """As everywhere; unsplit thoughts are framed by `<think>` tags, which arrive cut in two."""
        frames = super().choice_frames(request, answer, index)
        thoughts = len(answer.choices[index].reasoning)
        if not thoughts or request.fields.get("reasoning_split") is True:
            return frames
        tag = self.chunk(request, answer, index, {"content": PIECE_MARK})
        opening, closing = piece_frames(tag, _OPEN_THINK), piece_frames(tag, _CLOSE_THINK)
        return [*opening, *frames[:thoughts], *closing, *frames[thoughts:]]

    def call_id(self, answer: Answer, call: ToolCall, index: int) -> str:  # noqa: ARG002 - kimi names the function
        """Ids of tool calls are counted from one."""
        return f"call_function_{answer.seed:012d}_{index + 1}"

    def tool_deltas(self, request: ChatRequest, answer: Answer, call: ToolCall, index: int) -> list[Fields]:  # noqa: ARG002
        """The first delta has the name and already some arguments; the later ones have no id."""
        first = self.whole_call(answer, call, index)
        first["function"] = {"name": call.name, "arguments": call.fragments[0]}
        later = [{"function": {"arguments": fragment}, "index": index} for fragment in call.fragments[1:]]
        return [{"tool_calls": [delta]} for delta in ({**first, "index": index}, *later)]

    def balance_page(self, settings: Settings) -> Any:
        """What is left of a plan; there is no balance for pay-as-you-go keys."""
        left = max(0, int(float(settings.balance)))
        row = {
            "model_name": "MiniMax-M*",
            "current_interval_total_count": 1500,
            "current_interval_usage_count": min(left, 1500),
        }
        return {"model_remains": [row], "base_resp": {"status_code": 0, "status_msg": "success"}}


def _wrong(request: ChatRequest, model: Model) -> str:
    """What is wrong with the parameters, in MiniMax's words, or nothing."""
    if any(message["role"] not in _ROLES for message in request.messages):
        return "invalid message role"
    if (request.whole_number("n") or 1) > 1:
        return "n must be 1"
    if request.fields.get("tool_choice") not in (None, "auto", "none"):
        return "tool_choice must be auto or none"
    temperature, top_p = request.fields.get("temperature"), request.fields.get("top_p")
    is_old = model.id.startswith("MiniMax-M2")
    if temperature is not None and not (0 < temperature <= 1 if is_old else 0 <= temperature <= 2):
        return "temperature must be in (0, 1]" if is_old else "temperature must be in [0, 2]"
    if top_p is not None and not 0 < top_p <= 1:
        return "top_p must be in (0, 1]"
    for before, message in zip((None, *request.messages), request.messages, strict=False):
        if message["role"] == "tool" and not (before and (before["role"] == "tool" or before.get("tool_calls"))):
            return "tool call result does not follow tool call"
    return ""

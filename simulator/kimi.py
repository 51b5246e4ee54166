"""Kimi's shape (Moonshot): sampling is pinned, errors have a type and no code, usage may stand inside a choice.

Source: platform.kimi.com's documentation and observed answers, 2026.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from simulator.answer import Answer, ToolCall, Usage
from simulator.facts import Model
from simulator.frames import hex_id
from simulator.refusal import Refusal
from simulator.request import ChatRequest, Fields
from simulator.settings import Settings
from simulator.shape import Shape

_ROLES = ("system", "user", "assistant", "tool")
_INVALID = "invalid_request_error"
_FUNCTION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9-_]{0,127}")
_ORGANIZATION = "Your account org-simulated/proj-simulated<ak-simulated> request reached organization"


class Kimi(Shape):
    """Kimi."""

    name = "kimi"
    most_choices = 1
    knows_any_model = False
    tells_logprobs = False
    balance_path = "users/me/balance"
    refusals: ClassVar[Mapping[str, Refusal]] = {
        "bad_request": Refusal(400, "Invalid request", _INVALID),
        "bad_key": Refusal(401, "Incorrect API key provided", "incorrect_api_key_error"),
        "no_key": Refusal(401, "Invalid Authentication", "invalid_authentication_error"),
        "no_balance": Refusal(
            429,
            "Your account is suspended due to insufficient balance, please recharge your account or check your plan and "
            "billing details",
            "exceeded_current_quota_error",
        ),
        "permission": Refusal(403, "The API you are accessing is not open", "permission_denied_error"),
        "model_not_found": Refusal(404, "Not found the model {model} or Permission denied", "resource_not_found_error"),
        "context_length": Refusal(
            400,
            "Invalid request: Your request exceeded model token limit: {context} (requested: {asked})",
            _INVALID,
        ),
        "content_filter": Refusal(
            400, "The request was rejected because it was considered high risk", "content_filter"
        ),
        "rate_limited": Refusal(
            429, f"{_ORGANIZATION} max RPM: 20, please try again after 1 seconds", "rate_limit_reached_error"
        ),
        "overloaded": Refusal(
            429,
            "The engine is currently overloaded, please try again later",
            "engine_overloaded_error",
            headers=(("Retry-After", "1"),),
        ),
        "quota_exhausted": Refusal(
            429,
            f"{_ORGANIZATION} TPD rate limit, current: 1567687, limit: 1500000",
            "rate_limit_reached_error",
        ),
        "server_error": Refusal(500, "Internal server error", "server_error"),
        "unavailable": Refusal(503, "The server is currently unavailable", "server_unavailable"),
    }

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """Kimi's own refusals: pinned sampling, demanded tools, empty or linked content, a window exceeded."""
        thinks = self.thinks(request, model)
        wrong = (
            _wrong_sampling(request, model, thinks=thinks)
            or _wrong_tools(request, model, thinks=thinks)
            or _wrong_messages(request)
        )
        if wrong:
            return self.bad_request(wrong)
        asked = request.prompt_tokens + (request.whole_number(*self.limit_fields) or 0)
        return self.too_long(request, model, asked) if asked > model.context_tokens else super().refuse(request, model)

    def error_body(self, refusal: Refusal) -> Any:
        """A type and a message; no code, no param."""
        return {"error": {"type": refusal.type, "message": refusal.message}}

    def new_id(self, number: int) -> str:
        """Ids are `chatcmpl-` and 24 hexadecimal digits."""
        return f"chatcmpl-{hex_id(number)[:24]}"

    def headers(self, call_id: str) -> dict[str, str]:
        """The vendor's trace headers."""
        request_id = call_id.removeprefix("chatcmpl-")
        return {"Msh-Request-Id": request_id, "X-Msh-Trace-Id": request_id, "Msh-Context-Cache-Token-Saved": "0"}

    def usage(self, usage: Usage) -> Fields:
        """Cached tokens stand at the top level."""
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
        }

    def usage_places(self, request: ChatRequest) -> tuple[str, ...]:
        """Inside the finish chunk's choice always, and once more on a chunk of its own for who asked."""
        return ("choice", "trailing") if request.include_usage else ("choice",)

    def idle_usage(self, request: ChatRequest) -> Fields:  # noqa: ARG002 - others ask
        """Other chunks do not mention usage."""
        return {}

    def content_beside_tools(self) -> str:
        """A tool call comes with an empty text."""
        return ""

    def call_id(self, answer: Answer, call: ToolCall, index: int) -> str:  # noqa: ARG002 - others use the seed
        """Ids of tool calls name the function."""
        return f"{call.name}:{index}"

    def model_row(self, model: Model) -> Fields:
        """Kimi tells in its list what a model can do."""
        return {
            **super().model_row(model),
            "owned_by": "moonshot",
            "context_length": model.context_tokens,
            "supports_image_in": model.vision,
            "supports_video_in": model.vision,
            "supports_reasoning": model.thinking != "none",
        }

    def balance_page(self, settings: Settings) -> Any:
        """Amounts are numbers; cash may be negative."""
        amount = float(settings.balance)
        data = {"available_balance": amount, "voucher_balance": 0.0, "cash_balance": amount}
        return {"code": 0, "data": data, "scode": "0x0", "status": True}


def _wrong_sampling(request: ChatRequest, model: Model, *, thinks: bool) -> str:
    """A sampling parameter that is not the pinned one, in Kimi's words, or nothing."""
    thinking = request.fields.get("thinking")
    if model.id.startswith("kimi-k2.7") and isinstance(thinking, dict) and thinking.get("type") == "disabled":
        return "invalid thinking: only type=enabled is allowed for this model"
    temperature = 1 if thinks else 0.6
    pinned = {"temperature": temperature, "top_p": 0.95, "n": 1, "presence_penalty": 0, "frequency_penalty": 0}
    for field, value in pinned.items():
        if request.fields.get(field) not in (None, value):
            return f"invalid {field}: only {value} is allowed for this model"
    if len(request.stops) > 5 or any(len(stop.encode()) > 32 for stop in request.stops):
        return "Invalid request: stop must be at most 5 strings of at most 32 bytes"
    return ""


def _wrong_tools(request: ChatRequest, model: Model, *, thinks: bool) -> str:
    """A wrong tool or tool choice, in Kimi's words, or nothing."""
    choice = request.fields.get("tool_choice")
    if isinstance(choice, dict) and thinks:
        return "tool_choice 'specified' is incompatible with thinking enabled"
    if choice == "required" and not model.id.startswith("kimi-k3"):
        return "tool_choice 'required' is incompatible with thinking enabled"
    names = [str(tool.get("name", "")) for tool in request.tools]
    for name in names:
        if _FUNCTION_NAME.fullmatch(name) is None:
            return (
                "Invalid request: function name is invalid, must start with a letter and can contain letters, numbers, "
                "underscores, and dashes"
            )
    return "Invalid request: function name must be unique" if len(set(names)) < len(names) else ""


def _wrong_messages(request: ChatRequest) -> str:
    """A message Kimi does not take, in its words, or nothing."""
    if any(message["role"] not in _ROLES for message in request.messages):
        return "Invalid request: invalid role"
    known: set[str] = set()
    for message in request.messages:
        calls = message.get("tool_calls")
        known |= {str(call.get("id")) for call in calls if isinstance(call, dict)} if isinstance(calls, list) else set()
        if message["role"] == "tool" and str(message.get("tool_call_id")) not in known:
            return "Invalid request: tool_call_id  is not found"
        if message["role"] == "user" and not message.get("content"):
            return "Invalid request: message at position 0 with role 'user' must not be empty"
    if any(not url.startswith(("data:", "ms://")) for url in request.image_urls):
        return "Invalid request: unsupported image url, only base64 and ms:// are supported"
    return ""

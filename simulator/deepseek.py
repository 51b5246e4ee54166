"""DeepSeek's shape: thinking by default, usage on a last chunk that still has a choice, and comments while one waits.

Source: DeepSeek's API documentation and observed answers, 2026.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from simulator.answer import Choice, Usage
from simulator.facts import Model
from simulator.refusal import Refusal
from simulator.request import ChatRequest, Fields
from simulator.settings import Settings
from simulator.shape import IMAGE_REFUSED, Shape

_INVALID = "invalid_request_error"
_DESERIALIZE = "Failed to deserialize the JSON body into the target type: "
_ROLES = ("system", "user", "assistant", "tool", "latest_reminder")


class DeepSeek(Shape):
    """DeepSeek. It reads `max_tokens` only, and ignores every field it does not know."""

    name = "deepseek"
    limit_fields = ("max_tokens",)
    most_choices = 1
    knows_any_model = False
    sends_keep_alives = True
    finish_delta: ClassVar[Fields] = {"content": ""}
    balance_path = "user/balance"
    refusals: ClassVar[Mapping[str, Refusal]] = {
        "bad_request": Refusal(400, "Invalid request.", _INVALID, _INVALID),
        "bad_key": Refusal(
            401, "Authentication Fails, Your api key: {key} is invalid", "authentication_error", _INVALID
        ),
        "no_key": Refusal(
            401, "Authentication Fails (governor)", page="Authentication Fails (governor)", content_type=""
        ),
        "no_balance": Refusal(402, "Insufficient Balance", "unknown_error", _INVALID),
        "permission": Refusal(403, "Permission denied", "permission_error", _INVALID),
        "model_not_found": Refusal(
            400,
            "The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed {model}.",
            _INVALID,
            _INVALID,
        ),
        "context_length": Refusal(
            400,
            "This model's maximum context length is {context} tokens. However, you requested {asked} tokens "
            "({prompt} in the messages, {completion} in the completion). "
            "Please reduce the length of the messages or completion.",
            _INVALID,
            _INVALID,
        ),
        "content_filter": Refusal(400, "Content Exists Risk", _INVALID, _INVALID),
        "rate_limited": Refusal(429, "Rate limit reached for TPM", "rate_limit_error", "rate_limit_exceeded"),
        "overloaded": Refusal(503, "The server is overloaded, please retry your request later", "server_error"),
        "quota_exhausted": Refusal(402, "Insufficient Balance", "unknown_error", _INVALID),
        "server_error": Refusal(500, "Internal server error", "server_error"),
        "unavailable": Refusal(503, "Service is too busy", "server_error"),
    }

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """DeepSeek's own refusals: a strange role, an image for a text model, a limit or a window exceeded, no "json"."""
        if refusal := _refused_message(request):
            return self.bad_request(refusal)
        if request.image_urls and not model.vision:
            return self.bad_request(f"{_DESERIALIZE}messages[0]: {IMAGE_REFUSED}")
        for tool in request.fields.get("tools") or ():
            if tool.get("type") != "function":
                return self.bad_request(
                    f"{_DESERIALIZE}tools[0].type: unknown variant '{tool.get('type')}', expected 'function'"
                )
        limit = request.whole_number("max_tokens")
        if limit is not None and limit > model.output_tokens:
            return self.bad_request(
                f"Invalid max_tokens value, the valid range of max_tokens is [1, {model.output_tokens}]"
            )
        if refusal := _refused_format(request):
            return self.bad_request(refusal)
        if self.thinks(request, model) and _thinking_was_dropped(request):
            return self.bad_request("The `reasoning_content` in the thinking mode must be passed back to the API.")
        asked = request.prompt_tokens + (limit or 0)
        return self.too_long(request, model, asked) if asked > model.context_tokens else None

    def too_long(self, request: ChatRequest, model: Model, asked: int) -> Refusal:
        """DeepSeek counts the prompt and the wanted completion together."""
        prompt = request.prompt_tokens
        counts = {"prompt": prompt, "completion": asked - prompt}
        return self.refusal("context_length", context=model.context_tokens, asked=asked, **counts)

    def refusal(self, name: str, **values: object) -> Refusal:
        """As everywhere, with example counts for the window's message."""
        return super().refusal(name, **{"prompt": 122_942, "completion": 8_192, **values})

    def headers(self, call_id: str) -> dict[str, str]:
        """A trace id, and the name of the web server in front."""
        return {"x-ds-trace-id": call_id.replace("-", ""), "Server": "openresty"}

    def new_id(self, number: int) -> str:
        """DeepSeek's ids are bare UUIDs."""
        return super().new_id(number).removeprefix("chatcmpl-")

    def usage(self, usage: Usage) -> Fields:
        """Cached tokens stand in two places; reasoning tokens are absent when the model did not think."""
        shaped: Fields = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "prompt_cache_hit_tokens": usage.cached_tokens,
            "prompt_cache_miss_tokens": usage.prompt_tokens - usage.cached_tokens,
        }
        if usage.reasoning_tokens:
            shaped["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
        return shaped

    def envelope(self, answer: Any, kind: str) -> Fields:
        """OpenAI's, with a fingerprint."""
        return {**super().envelope(answer, kind), "system_fingerprint": "fp_simulated_deepseek"}

    def content_beside_tools(self) -> str:
        """A tool call comes with an empty text, not with null."""
        return ""

    def usage_places(self, request: ChatRequest) -> tuple[str, ...]:
        """A last chunk that still carries `choices` with an empty delta (seen live, 2026-09-29)."""
        return ("trailing_choice",) if request.include_usage else ()

    def opening(self, choice: Choice) -> Fields:
        """In thinking mode the first chunk has a null content and an empty thought."""
        if choice.reasoning:
            return {"role": "assistant", "content": None, "reasoning_content": ""}
        return {"role": "assistant", "content": ""}

    def call_id(self, answer: Any, call: Any, index: int) -> str:  # noqa: ARG002 - kimi names the function
        """Ids of tool calls look like `call_00_…`."""
        return f"call_{index:02d}_{answer.seed:020d}"

    def balance_page(self, settings: Settings) -> Any:
        """Amounts are strings; whether calls are let through is told beside them."""
        row = {
            "currency": "CNY",
            "total_balance": settings.balance,
            "granted_balance": "0.00",
            "topped_up_balance": settings.balance,
        }
        return {"is_available": not settings.balance.startswith("-"), "balance_infos": [row]}


def _refused_message(request: ChatRequest) -> str:
    """Why a message's role is refused, or nothing."""
    for place, message in enumerate(request.messages):
        if message["role"] not in _ROLES:
            known = ", ".join(f"'{role}'" for role in _ROLES)
            return f"{_DESERIALIZE}messages[{place}].role: unknown variant '{message['role']}', expected one of {known}"
    return ""


def _refused_format(request: ChatRequest) -> str:
    """Why `response_format` is refused, or nothing."""
    form = request.fields.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_schema":
        return "This response_format type is unavailable now"
    if kind == "json_object" and not request.mentions("json"):
        return "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
    return ""


def _thinking_was_dropped(request: ChatRequest) -> bool:
    """Whether an earlier turn called a tool and comes back without its thoughts."""
    turns = (message for message in request.messages if message["role"] == "assistant" and message.get("tool_calls"))
    return any(not turn.get("reasoning_content") for turn in turns)

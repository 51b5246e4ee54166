"""What the routes of other APIs take and answer, for the API's description: as far as it is read, or made, here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from console.shapes import Shape

OURS = "A field of ours, as in a chat completion."


class Given(BaseModel):
    """A part of a request: the fields that are read; others may stand beside them."""

    model_config = ConfigDict(extra="allow")


class CallFields(Given):
    """What every call can ask of us."""

    model: str = Field(min_length=1)
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    routing: Literal["auto", "cheapest", "fallback"] | None = Field(default=None, description=OURS)
    payer: Literal["auto", "byok_only", "credits_only", "byok_then_credits"] | None = Field(
        default=None, description=OURS
    )
    models: list[str] | None = Field(default=None, description=OURS)
    provider: dict[str, Any] | None = Field(default=None, description=OURS)
    provider_key: dict[str, str] | None = Field(default=None, description=OURS)
    session_id: str | None = Field(default=None, description=OURS)


class MessagesTool(Given):
    """A function that the model may call."""

    name: str
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class MessagesToolChoice(Given):
    """Which tools are called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class MessagesTurn(Given):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessagesRequest(CallFields):
    """Anthropic's Messages."""

    max_tokens: int = Field(ge=1)
    messages: list[MessagesTurn] = Field(min_length=1)
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: list[str] | None = None
    top_k: int | None = None
    tools: list[MessagesTool] | None = None
    tool_choice: MessagesToolChoice | None = None
    thinking: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None


class TextBlock(Shape):
    """What was said."""

    type: Literal["text"]
    text: str


class ThinkingBlock(Shape):
    """What was thought."""

    type: Literal["thinking"]
    thinking: str
    signature: Literal[""]


class ToolUseBlock(Shape):
    """A call of a tool."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class MessagesUsage(Shape):
    """Tokens; those of a cache are not in `input_tokens`."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class MessageShape(Shape):
    """An answer in Anthropic's shape."""

    id: str = Field(pattern="^msg_")
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: Literal[
        "end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"
    ]
    stop_sequence: str | None
    usage: MessagesUsage
    findtoken: dict[str, Any] | None = Field(default=None, description="Only if it was asked for.")


class FunctionTool(Given):
    """A function that the model may call."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChosenFunction(Given):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class ResponsesRequest(CallFields):
    """OpenAI's Responses, without whatever needs something that is kept."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    user: str | None = None
    safety_identifier: str | None = None


class OutputText(Shape):
    """What was said."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] = Field(max_length=0)
    logprobs: list[Any] = Field(max_length=0)


class OutputRefusal(Shape):
    """That something is not said."""

    type: Literal["refusal"]
    refusal: str


class ReasoningText(Shape):
    """What was thought."""

    type: Literal["reasoning_text"]
    text: str


class OutputItem(Shape):
    """One thing that was said."""

    id: str
    status: Literal["completed", "incomplete"]


class OutputMessage(OutputItem):
    """A text or a refusal."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: list[OutputText | OutputRefusal]


class OutputReasoning(OutputItem):
    """Thoughts."""

    type: Literal["reasoning"]
    summary: list[Any] = Field(max_length=0)
    content: list[ReasoningText]


class OutputCall(OutputItem):
    """A call of a function."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class InputDetails(Shape):
    """Parts of the input."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Shape):
    """A part of the output."""

    reasoning_tokens: int


class ResponsesUsage(Shape):
    """Tokens."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Incomplete(Shape):
    """Why there is no more."""

    reason: Literal["max_output_tokens", "content_filter"]


class Effort(Shape):
    """How much was to be thought."""

    effort: str | None
    summary: None


class ResponseShape(Shape):
    """A plain answer in the shape of Responses."""

    id: str = Field(pattern="^resp_")
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    background: Literal[False]
    error: None
    incomplete_details: Incomplete | None
    model: str
    output: list[OutputMessage | OutputReasoning | OutputCall]
    usage: ResponsesUsage
    instructions: str | None
    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    user: str | None
    safety_identifier: str | None
    metadata: dict[str, Any]
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: Effort
    store: Literal[False]
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    truncation: Literal["disabled"]
    findtoken: dict[str, Any] | None = Field(default=None, description="Only if it was asked for.")


class MessagesErrorDetail(Given):
    """What is wrong; more members where a program needs them."""

    type: str
    message: str
    code: str | None
    param: str | None
    request_id: str | None


class MessagesErrorShape(Shape):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: MessagesErrorDetail
    request_id: str | None
    findtoken: dict[str, Any] | None = Field(default=None, description="Only if it was asked for.")

"""What is known of each simulated provider before any call: its models, a key it accepts, and where it answers.

Model ids, windows and thinking behaviour are the vendors' as of 2026-11. Models a vendor has retired are absent on
purpose: asking for them gets that vendor's own refusal.
"""

from dataclasses import dataclass
from typing import Literal

Thinking = Literal["none", "off", "on", "always"]

PROVIDERS = ("deepseek", "zhipu", "minimax", "qwen", "kimi", "stepfun", "openai")
"""The names under which the simulator answers; `openai` is the plain OpenAI shape under any model name."""

KEYS: dict[str, str] = {
    "deepseek": "sk-simdeepseek0123456789abcdef01",
    "zhipu": "simzhipu0123456789abcdef01234567.simulatedsecret1",
    "minimax": "sk-simminimax0123456789abcdef012",
    "qwen": "sk-simqwen0123456789abcdef012345",
    "kimi": "sk-simkimi0123456789abcdef012345",
    "stepfun": "sk-simstepfun0123456789abcdef012",
    "openai": "sk-simopenai0123456789abcdef0123",
}
"""A key each simulated provider accepts. Any other of the vendor's form that begins with `sk-sim` (zhipu: `sim`) will do, and
so will `sk-your-…`, which stands in for a key in examples that people paste."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model a provider sells.

    `thinking` says when it reasons before it answers: never ("none"), when asked ("off"), unless told not to ("on"), or
    whatever it is told ("always"). `listed` is False for aliases that answer without standing in the list of models.
    """

    id: str
    context_tokens: int
    output_tokens: int
    thinking: Thinking = "none"
    vision: bool = False
    listed: bool = True
    streams_only: bool = False
    plain_needs_thinking_off: bool = False


_DEEPSEEK = (
    Model("deepseek-flash", 1_000_000, 393_216, "on", vision=True),
    Model("deepseek-v4-pro", 1_000_000, 393_216, "on"),
    Model("deepseek-v4-flash", 1_000_000, 393_216, "on", vision=True, listed=False),
    Model("deepseek-v4-flash-vision-exp", 1_000_000, 393_216, "on", vision=True, listed=False),
)
_ZHIPU = (
    Model("glm-4-plus", 128_000, 4_095),
    Model("glm-4-flash", 128_000, 4_095),
    Model("glm-4-flash-250414", 128_000, 16_384),
    Model("glm-4-32b-0414-128k", 128_000, 32_000),
    Model("glm-4.5", 131_072, 98_304, "on"),
    Model("glm-4.5-air", 131_072, 98_304, "on"),
    Model("glm-4.6", 204_800, 131_072, "on"),
    Model("glm-4.7", 204_800, 131_072, "on"),
    Model("glm-4.7-flash", 200_000, 131_072, "on"),
    Model("glm-5", 204_800, 131_072, "on"),
    Model("glm-5.1", 200_000, 131_072, "on"),
    Model("glm-5.2", 1_000_000, 131_072, "always"),
    Model("glm-5.3", 1_000_000, 131_072, "always"),
    Model("glm-5.3-flash", 1_048_576, 131_072, "always", vision=True),
)
_MINIMAX = (
    Model("MiniMax-M2.5", 204_800, 131_072, "always"),
    Model("MiniMax-M2.5-highspeed", 204_800, 131_072, "always"),
    Model("MiniMax-M2.7", 204_800, 131_072, "always"),
    Model("MiniMax-M2.7-highspeed", 204_800, 131_072, "always"),
    Model("MiniMax-M3", 1_000_000, 128_000, "on", vision=True),
    Model("MiniMax-M3.1-Flash", 1_000_000, 128_000, "always", vision=True),
)
_QWEN = (
    Model("qwen3.8-max", 991_808, 131_072, "on", vision=True),
    Model("qwen3.8-flash", 991_808, 131_072, "on", vision=True),
    Model("qwen3.7-max", 991_808, 65_536, "on"),
    Model("qwen3.7-plus", 991_808, 65_536, "on", vision=True),
    Model("qwen3-max", 262_144, 65_536, "off"),
    Model("qwen-plus", 1_000_000, 32_768, "off"),
    Model("qwen-flash", 997_952, 32_768, "off"),
    Model("qwen3-coder-plus", 997_952, 65_536),
    Model("qwen3-coder-flash", 997_952, 65_536),
    Model("qwen3-32b", 131_072, 16_384, "on", plain_needs_thinking_off=True),
    Model("qwq-plus", 131_072, 8_192, "always", streams_only=True),
)
_KIMI = (
    Model("kimi-k2.6", 262_144, 262_144, "on", vision=True),
    Model("kimi-k2.7-code", 262_144, 262_144, "always", vision=True),
    Model("kimi-k2.7-code-highspeed", 262_144, 262_144, "always", vision=True),
    Model("kimi-k3", 1_048_576, 1_048_576, "always", vision=True),
    Model("kimi-k3.1-pro", 1_048_576, 1_048_576, "always", vision=True),
    Model("kimi-k3.1-pro-highspeed", 1_048_576, 1_048_576, "always", vision=True),
)
_STEPFUN = (
    Model("step-5-preview", 1_048_576, 1_048_576, "always", vision=True),
    Model("step-3.7-flash", 256_000, 256_000, "always", vision=True),
    Model("step-3.5-flash", 256_000, 256_000, "always"),
    Model("step-3.5-flash-2603", 256_000, 256_000, "always"),
    Model("step-2-mini", 8_000, 8_000),
    Model("step-2-16k", 16_384, 8_192),
    Model("step-1-32k", 32_768, 32_768),
)

MODELS: dict[str, dict[str, Model]] = {
    name: {model.id: model for model in models}
    for name, models in {
        "deepseek": _DEEPSEEK,
        "zhipu": _ZHIPU,
        "minimax": _MINIMAX,
        "qwen": _QWEN,
        "kimi": _KIMI,
        "stepfun": _STEPFUN,
        "openai": (Model("gpt-sim", 1_000_000, 131_072, vision=True),),
    }.items()
}
"""Per provider, the models it sells today, by the id a request must carry."""


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """One model of embeddings: the dimensions it may be asked for (none named: any), those it has unasked, how many inputs a
    request may have, how many tokens one of them, and all of them together (0: no limit of their sum)."""

    id: str
    dimensions: tuple[int, ...]
    default_dimensions: int
    most_inputs: int
    input_tokens: int
    all_tokens: int = 0


EMBEDDING_MODELS: dict[str, dict[str, EmbeddingModel]] = {
    name: {model.id: model for model in models}
    for name, models in {
        "zhipu": (
            EmbeddingModel("embedding-3", (256, 512, 1_024, 2_048), 2_048, 64, 3_072),
            EmbeddingModel("embedding-2", (1_024,), 1_024, 64, 512, 8_192),
        ),
        "qwen": (
            EmbeddingModel("text-embedding-v4", (64, 128, 256, 512, 768, 1_024, 1_536, 2_048), 1_024, 10, 8_192),
            EmbeddingModel("text-embedding-v3", (64, 128, 256, 512, 768, 1_024), 1_024, 10, 8_192),
        ),
        "openai": (EmbeddingModel("embedding-sim", (), 1_536, 2_048, 8_192, 300_000),),
    }.items()
}
"""The providers that make embeddings, and their models. MiniMax's, on a wire of its own, is not simulated."""


def base_url(root: str, provider: str) -> str:
    """Where `provider` answers on the simulator at `root`: the address up to, not including, `/chat/completions`.

    Raises KeyError for a provider that is not simulated.
    """
    if provider not in KEYS:
        raise KeyError(provider)
    return f"{root.rstrip('/')}/{provider}"

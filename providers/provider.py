"""What every provider must be able to do for us: shape a request, and read its errors.

A provider is a wire dialect and nothing more: it opens no connection, keeps no state and knows no price. `dialect.py` does
what most of them share; one file per vendor says only what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Protocol

from providers.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Ask:
    """What a dialect needs to know to shape one request."""

    request: Mapping[str, Any]
    """The caller's body, our own and credential-like fields already taken out. Never changed in place."""
    upstream_model: str
    streamed: bool
    """Whether the upstream is asked to stream."""
    max_tokens: int
    """The most completion tokens the upstream may produce; always sent, under the name the vendor knows."""
    force: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the catalogue's model row; they win over the caller's."""
    reasoning: bool = False
    """Whether the upstream model thinks in this request (some parameters are refused then)."""
    ask_for_usage: bool = True
    """Whether a stream is asked for usage; False for an upstream that refuses ``stream_options``."""


@dataclass(frozen=True, slots=True)
class EmbeddingTerms:
    """What a vendor's route for embeddings takes."""

    most_inputs: int
    """In one request."""
    takes_tokens: bool
    """Whether an input may be given as tokens."""
    knows_formats: bool
    """Whether ``encoding_format`` is sent; otherwise vectors come as numbers, and base64 is made of them here."""
    dropped: frozenset[str] = frozenset()
    """Fields that the vendor does not know and is not sent."""


class Provider(Protocol):
    """A wire dialect. Implementations are stateless and shared."""

    dialect: str
    """The name in the catalogue: deepseek, zhipu, minimax, qwen, kimi, stepfun, openai."""
    dropped: ClassVar[frozenset[str]]
    """Fields of a request that the vendor refuses, or ignores, and is not sent."""
    wallet_path: ClassVar[str]
    """Where the vendor tells what is left on the account, behind the base URL; empty where it does not."""
    embeddings: ClassVar[EmbeddingTerms | None]
    """What the vendor's embeddings take; None for a vendor without, or with a wire that is not OpenAI's."""

    def shape(self, ask: Ask) -> dict[str, Any]:
        """The body to send: model, stream and ``stream_options.include_usage``, the limit under the vendor's name, forced
        fields, and the parameter handling of the vendor (pass, rename, clamp, drop, emulate). Raises RequestRefused for what
        the vendor cannot do at all (``n`` above 1)."""
        ...

    def headers(self, key: str) -> dict[str, str]:
        """Authorization and content type for ``key``. An empty key sends no Authorization."""
        ...

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """The error in an answer that is not a success, whatever its form: JSON, SSE-framed JSON, plain text, HTML, empty.

        The order of evidence: the vendor's own code, then known sentences, then the HTTP status. Never contains a key.
        """
        ...

    def read_hidden_error(self, answer: Mapping[str, Any]) -> UpstreamError | None:
        """The error in a JSON answer or stream event that came under HTTP 200: ``error``, flat ``code``/``message``,
        ``base_resp``, or a finish reason that means the provider gave up. None for a proper answer or chunk."""
        ...

    def read_wallet(self, answer: Mapping[str, Any], base_url: str) -> Mapping[str, Decimal]:
        """What is left on the account, by currency, out of the answer from ``wallet_path``; empty where it does not say."""
        ...

"""The help centre: which articles there are, and which of them speak of what somebody looks for.

An article's text is a template of its own in templates/help. A search wants every word, begun as it is typed; words in the
title count most.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LONGEST_SEARCH: Final = 100
_TITLE: Final = 10
_SUMMARY: Final = 4


@dataclass(frozen=True, slots=True)
class Article:
    """One article."""

    slug: str
    area: str
    title: str
    summary: str

    @property
    def template(self) -> str:
        """Where its text stands."""
        return f"help/{self.slug}.html"


_KEYS, _MODELS, _BILLING, _CALLS, _PRODUCTION = (
    "Keys and signing in",
    "Models and routing",
    "Billing and balance",
    "Clients and streaming",
    "In production",
)

ARTICLES: Final = (
    Article("get-a-key", _KEYS, "How do I get an API key?", "Sign in, create a key, keep it on your server."),
    Article("keys-in-browsers", _KEYS, "May I put a key into a web page or an app?", "No, and what to do instead."),
    Article("leaked-key", _KEYS, "A key of mine was seen by others", "Revoke it now; what it has cost is in your log."),
    Article("error-401", _KEYS, "Error 401: the key is not accepted", "What each 401 means and how to mend it."),
    Article(
        "choose-a-model", _MODELS, "How do I choose a model?", "By the work it has to do, then with your own prompts."
    ),
    Article("routing", _MODELS, "What decides who answers?", "Strategies, equivalents, and how to forbid them."),
    Article(
        "own-provider-keys", _MODELS, "Using my own provider keys", "BYOK: whose key pays, and what it costs here."
    ),
    Article("what-a-call-costs", _BILLING, "What does a call cost?", "Tokens, prices, the fee, and broken answers."),
    Article(
        "insufficient-credits", _BILLING, "Error 402: not enough credit", "Why it may come with money left, what helps."
    ),
    Article(
        "recharge-and-refund",
        _BILLING,
        "Paying, refunds and expiry",
        "Cards by Stripe; what comes back and until when.",
    ),
    Article("openai-clients", _CALLS, "Using an OpenAI client", "The base address and the key; nothing else changes."),
    Article(
        "streaming", _CALLS, "Streaming answers", "Events, the cost at the end, and what a broken stream looks like."
    ),
    Article(
        "from-openrouter", _CALLS, "Coming from OpenRouter", "The same paths and model names, and what to check first."
    ),
    Article("error-429", _PRODUCTION, "Error 429: too many requests", "Wait as told, ask less at once."),
    Article(
        "error-503", _PRODUCTION, "Error 503: no provider can answer", "What was tried already, and what you can do."
    ),
    Article("going-live", _PRODUCTION, "Before you go live", "Limits, fallbacks, repeating safely, and what to keep."),
    Article("ask-for-help", _PRODUCTION, "What a support ticket should say", "The request id says most of it."),
)
BY_SLUG: Final = {article.slug: article for article in ARTICLES}


def by_area(articles: Iterable[Article]) -> dict[str, list[Article]]:
    """Articles under the headings they belong to."""
    found: dict[str, list[Article]] = {}
    for article in articles:
        found.setdefault(article.area, []).append(article)
    return found


class Library:
    """All articles, ready to be searched."""

    def __init__(self, texts: dict[str, str]) -> None:
        """``texts`` has the markup of each article by its slug."""
        self._words = [
            (article, words(article.title), words(article.summary), words(plain(texts[article.slug])))
            for article in ARTICLES
        ]

    def search(self, asked: str) -> list[Article]:
        """The articles with every word that is asked for, the best first; all of them for nothing."""
        wanted = words(asked[:LONGEST_SEARCH])
        found: list[tuple[int, int, Article]] = []
        for article, title, summary, text in self._words:
            points = [_TITLE * _has(title, word) + _SUMMARY * _has(summary, word) + _has(text, word) for word in wanted]
            if all(points):
                found.append((-sum(points), len(found), article))
        return [article for _, _, article in sorted(found, key=lambda one: one[:2])]


def words(text: str) -> frozenset[str]:
    """The words of a text, in lower case."""
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


def plain(markup: str) -> str:
    """What is left of a template without its tags."""
    return html.unescape(re.sub(r"<[^>]*>|{[{%].*?[}%]}", " ", markup))


def _has(text: frozenset[str], word: str) -> int:
    return 1 if any(one.startswith(word) for one in text) else 0

"""Words without a model: the same seed always writes the same plain sentences, and counts them the same way.

A *piece* is what the simulator calls a token: four characters of Latin text, two of Chinese. A prompt is counted from its
bytes, so that a longer prompt always costs more and nobody needs a tokenizer to predict the number.
"""

import json
import random
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

LATIN_PIECE_CHARACTERS = 4
CHINESE_PIECE_CHARACTERS = 2
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4

_SUBJECTS = (
    "The small boat",
    "A patient teacher",
    "The night train",
    "Our neighbour",
    "The old bridge",
    "A quiet river",
)
_VERBS = ("carries", "remembers", "follows", "measures", "waits for", "repairs")
_OBJECTS = ("the first light", "a box of letters", "the long road", "every garden", "two clocks", "the winter market")
_ENDINGS = ("before the rain comes", "without any hurry", "at the edge of town", "and says so", "once a year")

_CHINESE_SENTENCES = (
    "小船慢慢地靠近河岸。",
    "老师把钟修好了。",
    "雨后的街道很安静。",
    "夜里的火车带来了信件。",
    "邻居在花园里种树。",
    "桥边的市场今天开门。",
)
_CHINESE = re.compile("[\u4e00-\u9fff]")


def has_chinese(text: str) -> bool:
    """Whether any Chinese character stands in `text`; such prompts are answered in Chinese."""
    return _CHINESE.search(text) is not None


def seed_of(value: Any) -> int:
    """A number that depends on nothing but `value`, which is anything JSON can hold."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def write_pieces(seed: int, count: int, *, chinese: bool = False) -> tuple[str, ...]:
    """Exactly `count` pieces of readable text; joined they end with a full stop and, where words do not fit, spaces."""
    if count < 1:
        return ()
    size = CHINESE_PIECE_CHARACTERS if chinese else LATIN_PIECE_CHARACTERS
    wanted = count * size
    source = random.Random(seed)  # noqa: S311 - repeatable words, not secrets
    sentences: list[str] = []
    length = 0
    while length < wanted:
        sentence = source.choice(_CHINESE_SENTENCES) if chinese else _sentence(source)
        sentences.append(sentence)
        length += len(sentence)
    text = _ended("".join(sentences), wanted, "。" if chinese else ".")
    return tuple(text[start : start + size] for start in range(0, wanted, size))


def cut_to_pieces(text: str) -> tuple[str, ...]:
    """`text` in pieces of four characters; the last one may be shorter."""
    size = LATIN_PIECE_CHARACTERS
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def count_prompt_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Prompt tokens of a list of chat messages: a quarter of the bytes of their texts, rounded up, and four a message."""
    text_bytes = 0
    count = 0
    for message in messages:
        text_bytes += len(text_of(message.get("content")).encode("utf-8", "replace"))
        count += 1
    return max(1, -(-text_bytes // BYTES_PER_TOKEN) + count * TOKENS_PER_MESSAGE)


def text_of(content: Any) -> str:
    """The text of a message's `content`, which is a string, a list of parts, or null. Parts that hold no text count nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _ended(text: str, length: int, stop: str) -> str:
    """The beginning of `text`, `length` characters long, ended after a whole word where it has one; spaces fill it up."""
    words = text[: length - 1]
    whole = words if text[length - 1] in " ." else words.rpartition(" ")[0] or words
    return (whole.rstrip(" .。") + stop).ljust(length)


def _sentence(source: random.Random) -> str:
    words = (source.choice(_SUBJECTS), source.choice(_VERBS), source.choice(_OBJECTS), source.choice(_ENDINGS))
    return " ".join(words) + ". "

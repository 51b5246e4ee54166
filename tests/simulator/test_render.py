"""simulator/render.py: an answer in bytes, with what a fault puts into its words."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from simulator.facts import MODELS
from simulator.faults import Order
from simulator.render import Rendered, render
from simulator.request import ChatRequest
from simulator.settings import Settings
from simulator.vendors import SHAPES

MakeRequest = Callable[..., ChatRequest]

KEY = "sk-simkey12345"


def rendered(request: ChatRequest, kind: str = "", settings: Settings | None = None, **options: Any) -> Rendered:
    """What DeepSeek's Flash says to `request`, spoiled by an order of `kind`."""
    order = Order(kind, options) if kind else None
    model = MODELS["deepseek"]["deepseek-flash"]
    return render(SHAPES["deepseek"], model, request, settings or Settings(), order, KEY)


def text(answer: Rendered) -> str:
    """The text of a plain answer."""
    return str(json.loads(answer.whole)["choices"][0]["message"]["content"])


def test_a_plain_answer_is_one_body(chat_request: MakeRequest) -> None:
    """With the number of pieces it took."""
    answer = rendered(chat_request("pieces=5"))
    assert not answer.is_stream
    assert answer.pieces == 13
    assert json.loads(answer.whole)["model"] == "deepseek-flash"


def test_a_stream_is_its_frames(chat_request: MakeRequest) -> None:
    """Joined, they are the whole."""
    answer = rendered(chat_request("pieces=5", stream=True))
    assert answer.is_stream
    assert answer.whole == b"".join(frame.data for frame in answer.frames)
    assert sum(frame.kind == "piece" for frame in answer.frames) == 13


def test_settings_shape_the_answer(chat_request: MakeRequest) -> None:
    """Length of speech and of thought, cached tokens, and where usage stands."""
    settings = Settings(pieces=4, reasoning_pieces=2, cached_tokens=3, usage_places=("finish",))
    usage = json.loads(rendered(chat_request("Hi"), settings=settings).whole)["usage"]
    assert (usage["completion_tokens"], usage["prompt_cache_hit_tokens"]) == (6, 3)
    streamed = rendered(chat_request("Hi", stream=True), settings=settings)
    assert [b'"completion_tokens":6' in frame.data for frame in streamed.frames if frame.kind == "finish"] == [True]
    assert not [frame for frame in streamed.frames if frame.kind == "usage"]


def test_the_form_can_be_the_wrong_one(chat_request: MakeRequest) -> None:
    """A stream for who wanted none, and the other way round; what was asked for is remembered."""
    surprising = rendered(chat_request("Hi"), "sse_to_plain")
    assert (surprising.is_stream, surprising.asked_for_stream) == (True, False)
    dull = rendered(chat_request("Hi", stream=True), "plain_json_to_stream")
    assert (dull.is_stream, dull.asked_for_stream) == (False, True)


def test_no_usage(chat_request: MakeRequest) -> None:
    """The field is absent, and no chunk is sent for it."""
    assert "usage" not in json.loads(rendered(chat_request("Hi"), "no_usage").whole)
    request = chat_request("Hi", stream=True, stream_options={"include_usage": True})
    assert not [frame for frame in rendered(request, "no_usage").frames if frame.kind == "usage"]


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": -7, "completion_tokens": "many"}, {"prompt_tokens": -7, "completion_tokens": "many"}),
        ("nonsense", "nonsense"),
        ([1], [1]),
    ],
)
def test_usage_can_be_nonsense(chat_request: MakeRequest, usage: Any, told: Any) -> None:
    """An object is laid over the vendor's, all else takes its place."""
    shown = json.loads(rendered(chat_request("Hi"), "usage", usage=usage).whole)["usage"]
    assert told == ({name: shown[name] for name in told} if isinstance(told, dict) else shown)


def test_the_key_can_be_echoed(chat_request: MakeRequest) -> None:
    """Whole in one piece, or cut in two so that no single event holds it."""
    request = chat_request("Hi pieces=3", stream=True)
    whole, split = rendered(request, "echo_key"), rendered(request, "echo_key", split=True)
    assert any(KEY.encode() in frame.data for frame in whole.frames)
    assert not any(KEY.encode() in frame.data for frame in split.frames)
    assert KEY in text(rendered(chat_request("Hi"), "echo_key", split=True))


def test_the_answer_can_be_huge_name_another_model_or_finish_oddly(chat_request: MakeRequest) -> None:
    """Each with its own field, and a default."""
    assert text(rendered(chat_request("Hi"), "huge_piece", bytes=70_000)).startswith("x" * 70_000)
    assert json.loads(rendered(chat_request("Hi"), "wrong_model").whole)["model"] == "another-model"
    assert json.loads(rendered(chat_request("Hi"), "wrong_model", answer_model="x").whole)["model"] == "x"
    odd = json.loads(rendered(chat_request("Hi"), "finish", finish_reason="insufficient_system_resource").whole)
    assert odd["choices"][0]["finish_reason"] == "insufficient_system_resource"


def test_an_echo_has_words_after_it_even_when_there_were_none(chat_request: MakeRequest) -> None:
    """An answer of no pieces still says something beside the key."""
    assert text(rendered(chat_request("pieces=0"), "echo_key")).endswith("Done.")

"""simulator/script.py: which bytes will be sent, when, and how it will end; all planned without a wire."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.facts import MODELS, PROVIDERS
from simulator.faults import Order
from simulator.render import Rendered, render
from simulator.request import ChatRequest, read_request
from simulator.script import Script, answer_script, json_script, ordered_refusal, refusal_script, replacing_script
from simulator.settings import Settings
from simulator.vendors import SHAPES

MakeRequest = Callable[..., ChatRequest]


def answer(provider: str = "openai", *, streamed: bool = True, pieces: int = 6) -> Rendered:
    """What a provider says, unspoiled."""
    body = {"model": "m", "messages": [{"role": "user", "content": f"pieces={pieces}"}], "stream": streamed}
    model = next(iter(MODELS[provider].values()))
    return render(SHAPES[provider], model, read_request(json.dumps(body).encode()), Settings(), None, "")


def script(
    kind: str = "none",
    *,
    provider: str = "openai",
    streamed: bool = True,
    speed: Settings | None = None,
    **options: Any,
) -> Script:
    """The script of an answer spoiled by an order of `kind`."""
    rendered = answer(provider, streamed=streamed)
    return answer_script(SHAPES[provider], rendered, Order(kind, options), speed or Settings())


def data(of: Script) -> bytes:
    """All bytes of a script."""
    return b"".join(step.data for step in of.steps)


def pieces(of: Script) -> int:
    """How many pieces are in a script."""
    return sum(step.pieces for step in of.steps)


def test_at_full_speed_a_stream_is_one_step() -> None:
    """Nothing is split that need not be."""
    fast = script()
    assert len(fast.steps) == 1
    assert data(fast) == answer().whole
    assert pieces(fast) == 6
    assert (fast.status, fast.ending, fast.length) == (200, "end", None)


def test_at_a_speed_the_pieces_are_apart() -> None:
    """The first piece comes after one interval; frames that are no pieces are not waited for."""
    paced = script(speed=Settings(pieces_per_second=10, latency_seconds=0.5))
    assert [step.wait_seconds for step in paced.steps] == [0, *[0.1] * 6, 0, 0]
    assert paced.latency_seconds == 0.5
    assert data(paced) == answer().whole


def test_a_plain_answer_takes_as_long_as_its_stream_would() -> None:
    """Latency and speaking time come before the first byte."""
    plain = script(streamed=False, speed=Settings(pieces_per_second=10, latency_seconds=0.5))
    assert plain.latency_seconds == pytest.approx(1.1)
    assert plain.length == len(data(plain))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", ["reset_after", "cut_after", "drop_after", "hang_after", "error_after"])
@pytest.mark.parametrize("chunks", [0, 1, 3, 1000])
def test_a_stream_breaks_off_after_so_many_pieces(provider: str, kind: str, chunks: int) -> None:
    """Never with a finish, a usage chunk or `[DONE]`; for 0 not even the role was sent."""
    broken = script(kind, provider=provider, chunks=chunks)
    assert (chunks if chunks < 6 else pieces(script(provider=provider))) == pieces(broken)
    assert b"[DONE]" not in data(broken)
    assert b'"finish_reason":"stop"' not in data(broken)
    assert broken.ending == {"error_after": "cut", "cut_after": "cut", "hang_after": "hang"}.get(kind, kind[:-6])
    if chunks == 0 and kind != "error_after":
        assert data(broken) == b""


def test_an_error_in_a_stream_is_its_last_event() -> None:
    """In the vendor's words."""
    events = data(script("error_after", chunks=2, name="overloaded")).split(b"\n\n")
    assert b"overloaded" in events[-2]
    assert b"".join(events[:-2]) in answer().whole.replace(b"\n\n", b"")


def test_a_frame_can_be_torn() -> None:
    """Half of the next event, and then the end, or directly the event after it."""
    torn = data(script("cut_mid_frame", chunks=2))
    assert answer().whole.startswith(torn)
    assert not torn.endswith(b"\n\n")
    glued = script("cut_mid_frame", chunks=2, glued=True)
    assert data(glued).startswith(torn + b"data: ")
    assert data(glued).endswith(b"data: [DONE]\n\n")
    assert glued.ending == "end"


def test_the_end_can_be_missing() -> None:
    """`[DONE]` left out, or the finish before it."""
    assert b"[DONE]" not in data(script("no_done"))
    assert b'"stop"' in data(script("no_done"))
    assert data(script("done_without_finish")).endswith(b"data: [DONE]\n\n")
    assert b'"stop"' not in data(script("done_without_finish"))


def test_other_line_ends_and_no_space() -> None:
    """The same events in the other forms the standard allows."""
    whole = answer().whole
    assert data(script("crlf")) == whole.replace(b"\n", b"\r\n")
    assert data(script("no_space")) == whole.replace(b"data: ", b"data:")


@settings(deadline=None, print_blob=True, max_examples=30)
@given(seed=st.none() | st.integers(0, 1000), speed=st.sampled_from([0, 100]), streamed=st.booleans())
def test_portions_join_to_the_whole(seed: int | None, speed: int, streamed: bool) -> None:
    """Byte by byte without a seed, in small portions with one; no piece is lost from the count."""
    options = {} if seed is None else {"seed": seed}
    split = script("split_bytes", streamed=streamed, speed=Settings(pieces_per_second=speed), **options)
    assert data(split) == answer(streamed=streamed).whole
    assert pieces(split) == 6
    assert max(len(step.data) for step in split.steps) <= (1 if seed is None else 64)


def test_comments_and_empty_lines_before_the_answer() -> None:
    """As many as ordered, and apart when ordered so; a plain answer then has no claimed length."""
    streamed = script("comments", count=2, text="ping", seconds=0.1)
    assert data(streamed) == b": ping\n\n: ping\n\n" + answer().whole
    assert [step.wait_seconds for step in streamed.steps] == [0.1, 0.1, 0]
    plain = script("comments", streamed=False)
    assert data(plain).startswith(b"\n\n\n{")
    assert plain.length is None


def test_slow_spreads_the_answer() -> None:
    """Pieces of a stream, eighths of a plain body."""
    assert [step.wait_seconds for step in script("slow", seconds=2).steps][:4] == [0, 2, 2, 2]
    plain = script("slow", seconds=2, streamed=False)
    assert len(plain.steps) >= 8
    assert {2.0} == {step.wait_seconds for step in plain.steps}


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("reset_after", "reset"),
        ("cut_after", "drop"),
        ("drop_after", "drop"),
        ("cut_mid_frame", "drop"),
        ("hang_after", "hang"),
    ],
)
def test_a_plain_answer_breaks_in_the_middle(kind: str, ending: str) -> None:
    """It claims its whole length and sends half."""
    broken = script(kind, streamed=False)
    assert broken.ending == ending
    assert broken.length == len(answer(streamed=False).whole)
    assert 0 < len(data(broken)) < broken.length


def test_only_who_shows_signs_of_life_shows_them() -> None:
    """DeepSeek while the wait is longer than the interval; others never."""
    speed = Settings(latency_seconds=2.5)
    waiting = script(provider="deepseek", speed=speed)
    assert [step.wait_seconds for step in waiting.steps] == [1.0, 1.0, 0.5]
    assert waiting.latency_seconds == 0
    assert script(provider="openai", speed=speed).latency_seconds == 2.5
    assert script(provider="deepseek", speed=Settings(latency_seconds=0.5)).latency_seconds == 0.5


def replacing(kind: str, *, streamed: bool = False, provider: str = "openai", **options: Any) -> Script:
    """The script of an order that lets no answer be made."""
    found = replacing_script(SHAPES[provider], Order(kind, options), Settings(latency_seconds=0.25), streamed=streamed)
    assert found is not None
    assert found.latency_seconds == 0.25
    return found


def test_orders_that_let_no_answer_be_made() -> None:
    """Each says what is sent, and how it ends."""
    assert not replacing("hang").sends_headers
    assert replacing("hang").ending == "hang"
    assert not replacing("reset").sends_headers
    assert replacing("reset").ending == "reset"
    assert (replacing("headers_then_hang").status, replacing("headers_then_hang").ending) == (200, "hang")
    assert (replacing("empty_200").status, replacing("empty_200").length) == (200, 0)
    assert data(replacing("html_200")).startswith(b"<!DOCTYPE html>")
    moved = replacing("redirect", location="http://127.0.0.1:9/x", status=302)
    assert (moved.status, moved.headers) == (302, {"Location": "http://127.0.0.1:9/x"})


def test_an_error_in_a_200() -> None:
    """One event of a stream, or a plain body."""
    assert data(replacing("error_in_200", streamed=True)).startswith(b'data: {"error":')
    assert json.loads(data(replacing("error_in_200")))["error"]["type"] == "server_error"
    assert json.loads(data(replacing("error_after")))["error"]["type"] == "server_error"


def test_other_orders_need_an_answer_first() -> None:
    """They are left to `answer_script`."""
    for kind in ("none", "reset_after", "usage", "crlf"):
        assert replacing_script(SHAPES["openai"], Order(kind), Settings(), streamed=True) is None
    assert replacing_script(SHAPES["openai"], Order("error_after"), Settings(), streamed=True) is None


def test_raw_is_sent_as_it_is_spelled_out() -> None:
    """Text, bytes, repetitions and pauses; the content type is a header like others."""
    steps = [{"text": "ab", "times": 2}, {"base64": "/w==", "seconds": 1}]
    raw = replacing("raw", status=201, headers={"X-A": "b", "Content-Type": "text/plain"}, steps=steps, ending="drop")
    assert data(raw) == b"abab\xff"
    assert [step.wait_seconds for step in raw.steps] == [0, 0, 1]
    assert (raw.status, raw.content_type, raw.headers, raw.ending) == (201, "text/plain", {"X-A": "b"}, "drop")
    assert replacing("raw").content_type == "text/event-stream; charset=utf-8"


def test_a_refusal_is_ordered_by_name_code_status_or_message() -> None:
    """And its `Retry-After` replaces the vendor's."""
    kimi, zhipu = SHAPES["kimi"], SHAPES["zhipu"]
    assert ordered_refusal(zhipu, Order("status", {"name": "no_balance"}), "server_error").code == "1113"
    assert ordered_refusal(zhipu, Order("status", {"code": "1305"}), "server_error").status == 429
    assert ordered_refusal(zhipu, Order("status", {"status": 401}), "server_error").code == "401"
    assert ordered_refusal(zhipu, Order("status", {"message": "x"}), "overloaded").message == "x"
    named = ordered_refusal(zhipu, Order("status", {"name": "no_balance", "status": 402}), "server_error")
    assert (named.status, named.code) == (402, "1113")
    later = ordered_refusal(kimi, Order("status", {"name": "overloaded", "retry_after": 30}), "server_error")
    assert later.headers == (("Retry-After", "30"),)


def test_a_refusal_and_a_json_answer_are_whole() -> None:
    """With their length."""
    refusal = SHAPES["openai"].refusal("rate_limited")
    refused = refusal_script(SHAPES["openai"], refusal, streamed=False)
    assert (refused.status, refused.length) == (429, len(data(refused)))
    assert json_script(b"{}", 201).length == 2

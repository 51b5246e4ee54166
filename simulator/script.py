"""What goes over the wire for one call, planned before a byte is sent: which bytes, when, and how it ends.

Planning does no I/O; `delivery.py` plays a script without looking into it.
"""

import base64
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from simulator.faults import Order
from simulator.frames import Frame, to_json
from simulator.qwen import flat_error_event
from simulator.refusal import Refusal
from simulator.render import Rendered
from simulator.settings import Settings
from simulator.shape import Shape

Ending = Literal["end", "cut", "drop", "reset", "hang"]
"""How a call ends: properly; properly on the wire but before the answer was whole; with the connection closed in the
middle of the HTTP body; with a reset; or not at all."""

EVENT_STREAM = "text/event-stream; charset=utf-8"
_HTML = "<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"


class Step(NamedTuple):
    """Some bytes to send, `wait_seconds` after the step before; `pieces` of the answer are in them."""

    data: bytes
    pieces: int = 0
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """One answer as it will go over the wire.

    `length` is the Content-Length to claim; None sends the body in chunks. An empty `content_type` sends no such header.
    Without `sends_headers` not a byte is sent before the ending.
    """

    status: int
    content_type: str = "application/json"
    steps: tuple[Step, ...] = ()
    ending: Ending = "end"
    length: int | None = None
    latency_seconds: float = 0.0
    sends_headers: bool = True
    headers: dict[str, str] = field(default_factory=dict)


def refusal_script(shape: Shape, refusal: Refusal, *, streamed: bool, latency_seconds: float = 0.0) -> Script:
    """A provider's refusal, whole."""
    body, content_type = shape.refusal_bytes(refusal, streamed=streamed)
    return Script(
        refusal.status, content_type, (Step(body),), "end", len(body), latency_seconds, headers=dict(refusal.headers)
    )


def json_script(body: bytes, status: int = 200) -> Script:
    """A JSON answer, whole."""
    return Script(status, steps=(Step(body),), length=len(body))


def ordered_refusal(shape: Shape, order: Order, default_name: str) -> Refusal:
    """The refusal an order asks for by name, code, status and message, each of them optional."""
    options = order.options
    if "name" in options:
        found = shape.refusal(options["name"])
        found = replace(
            found, status=options.get("status", found.status), message=options.get("message", found.message)
        )
    elif options.keys() & {"code", "status"}:
        found = shape.refusal_for(options.get("status"), options.get("code", ""), options.get("message", ""))
    else:
        found = shape.refusal(default_name)
        found = replace(found, message=options.get("message", found.message))
    if "retry_after" not in options:
        return found
    kept = tuple(header for header in found.headers if header[0] != "Retry-After")
    return replace(found, headers=(*kept, ("Retry-After", str(options["retry_after"]))))


def replacing_script(shape: Shape, order: Order, settings: Settings, *, streamed: bool) -> Script | None:
    """The script of an order that lets no answer be made at all; None when the answer has to be made first."""
    latency = settings.latency_seconds
    kind, options = order.kind, order.options
    if kind == "status":
        refusal = ordered_refusal(shape, order, "server_error")
        return refusal_script(shape, refusal, streamed=streamed, latency_seconds=latency)
    if kind == "error_in_200" or (kind == "error_after" and not streamed):
        body = to_json(shape.error_in_200(ordered_refusal(shape, order, "server_error")))
        if not streamed:
            return replace(json_script(body), latency_seconds=latency)
        return Script(200, EVENT_STREAM, (Step(b"data: " + body + b"\n\n"),), latency_seconds=latency)
    if kind in ("hang", "reset"):
        ending: Ending = "hang" if kind == "hang" else "reset"
        return Script(0, ending=ending, sends_headers=False, latency_seconds=latency)
    if kind == "headers_then_hang":
        return Script(200, EVENT_STREAM if streamed else "application/json", ending="hang", latency_seconds=latency)
    if kind == "empty_200":
        return Script(200, length=0, latency_seconds=latency)
    if kind == "html_200":
        page = _HTML.encode()
        return Script(200, "text/html; charset=utf-8", (Step(page),), "end", len(page), latency)
    if kind == "redirect":
        location = {"Location": options.get("location", "http://127.0.0.1:9/elsewhere")}
        return Script(options.get("status", 307), "", (), "end", 0, latency, headers=location)
    return _raw_script(order, latency) if kind == "raw" else None


def _raw_script(order: Order, latency_seconds: float) -> Script:
    """Exactly the bytes, pauses and ending an order spells out."""
    steps: list[Step] = []
    for step in order.options.get("steps", []):
        data = base64.b64decode(step["base64"]) if "base64" in step else step.get("text", "").encode()
        steps += [Step(data, 0, float(step.get("seconds", 0)))] * int(step.get("times", 1))
    ending: Ending = order.options.get("ending", "end")
    headers = {"Content-Type": EVENT_STREAM, **order.options.get("headers", {})}
    content_type = headers.pop("Content-Type")
    return Script(
        order.options.get("status", 200), content_type, tuple(steps), ending, None, latency_seconds, headers=headers
    )


def answer_script(shape: Shape, rendered: Rendered, order: Order | None, settings: Settings) -> Script:
    """The script of an answer that was made: at the provider's speed, spoiled where `order` says so."""
    if not rendered.is_stream:
        return _plain_script(shape, rendered, order, settings)
    frames, ending = _spoiled(shape, rendered.frames, order)
    if order is not None and order.kind == "slow":
        pause = float(order.options.get("seconds", 1.0))
    else:
        pause = 1 / settings.pieces_per_second if settings.pieces_per_second else 0.0
    steps = _in_other_form(_steps_of(frames, pause), order)
    if order is not None and order.kind == "comments":
        steps = [*_repeated(f": {order.options.get('text', 'keep-alive')}\n\n", order), *steps]
    script = Script(200, EVENT_STREAM, tuple(steps), ending, None, settings.latency_seconds)
    return _with_signs_of_life(script, shape, settings, b": keep-alive\n\n")


def _plain_script(shape: Shape, rendered: Rendered, order: Order | None, settings: Settings) -> Script:
    """A plain answer: after the time it took to say, or broken in the middle of its body."""
    kind = order.kind if order is not None else ""
    body = rendered.whole
    speaking = rendered.pieces / settings.pieces_per_second if settings.pieces_per_second else 0.0
    script = Script(200, "application/json", (), "end", len(body), settings.latency_seconds + speaking)
    middle = len(body) // 2
    breaks: dict[str, Ending] = {
        "reset_after": "reset",
        "cut_after": "drop",
        "drop_after": "drop",
        "cut_mid_frame": "drop",
        "hang_after": "hang",
    }
    if kind in breaks:
        return replace(script, steps=(Step(body[:middle]),), ending=breaks[kind])
    if order is not None and kind == "slow":
        eighth = max(1, len(body) // 8)
        seconds = float(order.options.get("seconds", 1.0))
        parts = [body[start : start + eighth] for start in range(0, len(body), eighth)]
        return replace(script, steps=tuple(Step(part, 0, seconds) for part in parts))
    if order is not None and kind == "comments":
        return replace(script, steps=(*_repeated("\n", order), Step(body, rendered.pieces)), length=None)
    steps = _in_other_form([Step(body, rendered.pieces)], order if kind == "split_bytes" else None)
    return _with_signs_of_life(replace(script, steps=tuple(steps)), shape, settings, b"\n")


def _spoiled(shape: Shape, frames: Sequence[Frame], order: Order | None) -> tuple[list[Frame], Ending]:
    """The frames that will be sent, and how the stream ends."""
    kind = order.kind if order is not None else ""
    if order is None or kind == "no_done":
        return [frame for frame in frames if kind != "no_done" or frame.kind != "done"], "end"
    if kind == "done_without_finish":
        return [frame for frame in frames if frame.kind != "finish"], "end"
    begun = _begun(frames, order.chunks)
    endings: dict[str, Ending] = {
        "reset_after": "reset",
        "cut_after": "cut",
        "drop_after": "drop",
        "hang_after": "hang",
    }
    if kind in endings:
        return begun, endings[kind]
    if kind == "error_after":
        refusal = ordered_refusal(shape, order, "server_error")
        error = flat_error_event(refusal) if order.options.get("flat") else shape.error_event(refusal)
        return [*begun, Frame("error", error)], "cut"
    if kind == "cut_mid_frame":
        half = frames[len(begun)].data
        torn = Frame("error", half[: len(half) // 2])
        # Seen in production: the next event follows a torn one directly, on the same connection.
        rest = frames[len(begun) + 1 :] if order.options.get("glued") else ()
        return [*begun, torn, *rest], "end" if rest else "cut"
    return list(frames), "end"


def _begun(frames: Sequence[Frame], count: int) -> list[Frame]:
    """The frames up to the piece of number `count`, never a finish: nothing at all for 0."""
    begun: list[Frame] = []
    pieces = 0
    for frame in frames:
        if pieces == count or frame.kind not in ("role", "piece"):
            break
        begun.append(frame)
        pieces += frame.kind == "piece"
    return begun


def _steps_of(frames: Iterable[Frame], pause_seconds: float) -> list[Step]:
    """A step for each frame, the pieces `pause_seconds` apart; all in one step when there is no pause."""
    if pause_seconds == 0:
        frames = list(frames)
        pieces = sum(frame.kind == "piece" for frame in frames)
        return [Step(b"".join(frame.data for frame in frames), pieces)] if frames else []
    return [
        Step(frame.data, int(frame.kind == "piece"), pause_seconds if frame.kind == "piece" else 0.0)
        for frame in frames
    ]


def _repeated(text: str, order: Order) -> list[Step]:
    """`text` as often, and as far apart, as an order of kind `comments` says."""
    return [Step(text.encode(), 0, float(order.options.get("seconds", 0)))] * int(order.options.get("count", 3))


def _in_other_form(steps: list[Step], order: Order | None) -> list[Step]:
    """The same steps in another framing, or in other portions."""
    kind = order.kind if order is not None else ""
    if kind == "crlf":
        return [step._replace(data=step.data.replace(b"\n", b"\r\n")) for step in steps]
    if kind == "no_space":
        # Every step begins with a new event, and no JSON of ours has a line break in it.
        return [step._replace(data=(b"\n" + step.data).replace(b"\ndata: ", b"\ndata:")[1:]) for step in steps]
    if order is None or kind != "split_bytes":
        return steps
    seed = order.options.get("seed")
    source = random.Random(seed)  # noqa: S311 - the same portions in every run
    pause = float(order.options.get("seconds", 0.0))
    portions: list[Step] = []
    for step in steps:
        start = 0
        wait = step.wait_seconds
        while start < len(step.data):
            size = 1 if seed is None else source.randint(1, 64)
            last = start + size >= len(step.data)
            portions.append(Step(step.data[start : start + size], step.pieces if last else 0, wait + pause))
            wait = 0.0
            start += size
    return portions


def _with_signs_of_life(script: Script, shape: Shape, settings: Settings, sign: bytes) -> Script:
    """`script` with headers at once and a sign of life at intervals, where the vendor does so and the wait is long enough."""
    latency, interval = script.latency_seconds, settings.keep_alive_seconds
    if not shape.sends_keep_alives or latency <= interval or not script.steps:
        return script
    signs = int(latency / interval)
    first, *others = script.steps
    first = first._replace(wait_seconds=first.wait_seconds + latency - signs * interval)
    waiting = (Step(sign, 0, interval),) * signs
    return replace(script, steps=(*waiting, first, *others), latency_seconds=0.0, length=None)

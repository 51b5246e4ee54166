"""A caller's `traceparent` is read as W3C's Trace Context says, and whatever is not so is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from metrics.trace_context import LONGEST, Parent, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def read_by_opentelemetry(header: str) -> Parent | None:
    """What OpenTelemetry's own reader makes of a header."""
    span = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": header})).get_span_context()
    if not span.is_valid:
        return None
    return Parent(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.trace_flags.sampled)


@pytest.mark.parametrize(
    ("header", "parent"),
    [
        (GOOD, Parent(TRACE, SPAN, True)),
        (f"  {GOOD}\t", Parent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", Parent(TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-03", Parent(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-adds", Parent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"cc-{TRACE}-{SPAN}-01more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-0g", None),
        (f"{GOOD},{GOOD}", None),
        (f"cc-{TRACE}-{SPAN}-01-" + "a" * LONGEST, None),
        ("", None),
    ],
)
def test_what_a_header_names(header: str, parent: Parent | None) -> None:
    """The span it is a part of, or nothing; OpenTelemetry's own reader agrees."""
    assert parent == parse([header])
    assert parent == read_by_opentelemetry(header)


def test_a_header_that_comes_twice_names_nothing() -> None:
    """Nobody can say which one is meant."""
    assert (None, None) == (parse([]), parse([GOOD, GOOD]))


PARTS = st.sampled_from(["00", "01", "7f", "ff", TRACE, SPAN, "0" * 32, "0" * 16, "", "A0", "x"])
HEADERS = st.one_of(
    st.lists(PARTS, max_size=6).map("-".join),
    st.builds(
        "{}-{}-{}-{}{}".format,
        *(
            st.sampled_from(parts)
            for parts in (
                ["00", "01", "ff", "0G"],
                [TRACE, "0" * 32, TRACE[1:]],
                [SPAN, "0" * 16, SPAN + "0"],
                ["00", "01", "ff"],
                ["", "-", "-a", " "],
            )
        ),
    ),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=60),
)


@given(HEADERS)
def test_every_header_is_read_as_opentelemetry_reads_it(header: str) -> None:
    """Whatever a caller sends."""
    assert read_by_opentelemetry(header) == parse([header])

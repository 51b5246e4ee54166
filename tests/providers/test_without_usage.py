"""Upstreams that refuse `stream_options`: who they are, for how long, and how many are remembered."""

from __future__ import annotations

from providers.errors import ContentFiltered, ProviderFailed, RequestRefused, StreamOptionsRefused
from providers.without_usage import HOURS, UPSTREAMS_REMEMBERED, WithoutUsage, as_refusal_of_stream_options


def test_an_upstream_is_remembered_for_some_hours() -> None:
    """Then it is asked for usage again."""
    now = [1_000.0]
    known = WithoutUsage(lambda: now[0])
    known.remember(("alpha", "one"))

    assert ("alpha", "one") in known
    assert ("alpha", "two") not in known
    now[0] += HOURS * 3600 - 1
    assert ("alpha", "one") in known
    now[0] += 1
    assert ("alpha", "one") not in known


def test_too_many_push_out_the_oldest() -> None:
    """One that is remembered again counts as new."""
    known = WithoutUsage()
    for number in range(UPSTREAMS_REMEMBERED):
        known.remember(("alpha", str(number)))
    known.remember(("alpha", "0"))
    known.remember(("alpha", "new"))

    assert [True, False, True, True] == [("alpha", name) in known for name in ("0", "1", "2", "new")]


def test_only_a_refusal_that_names_the_field_counts() -> None:
    """An error of another kind may say what it likes."""
    named = as_refusal_of_stream_options(RequestRefused("unknown field stream_options", status=400, code="x"))

    assert (StreamOptionsRefused, 400, "x") == (type(named), named.status, named.code)
    others = (
        RequestRefused("unknown field streams"),
        ContentFiltered("include_usage is not allowed"),
        ProviderFailed("stream_options broke us"),
    )
    for other in others:
        assert other is as_refusal_of_stream_options(other)

"""Promises of editing JSON as bytes: the right value is found, it alone is replaced, and every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.json_bytes import as_json, find_value, parse_json, replace_text


def value_of(document: bytes, name: bytes = b"model", start: int = 0) -> bytes | None:
    span = find_value(document, name, start)
    return None if span is None else document[span[0] : span[1]]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"model":"x"}', b'"x"'),
        (b'{ "model" : "x" }', b'"x"'),
        (b'{"a":1,\n\t"model"\r\n:\n"x"\n}', b'"x"'),
        (b'{"model":""}', b'""'),
        (b'{"model":"a\\"b\\\\"}', b'"a\\"b\\\\"'),
        (b'{"model":null}', b"null"),
        (b'{"model":-1.5e3 ,"a":1}', b"-1.5e3"),
        (b'{"model":true}', b"true"),
        (b'{"model":[1,[2],{"a":"]"}],"b":[]}', b'[1,[2],{"a":"]"}]'),
        (b'{"model":{"model":"inner","a":[{}]}}', b'{"model":"inner","a":[{}]}'),
        (b'{"model":{},"b":"x"}', b"{}"),
        (b'{"a":{"model":"inner"},"model":"x"}', b'"x"'),
        (b'{"a":[{"model":"inner"}]}', None),
        (b'{"a":"model","b":"x"}', None),
        (b'{"a":"\\"model\\":\\"y\\"","b":["model","y"]}', None),
        (b'{"models":"x","Model":"y","mode":"z"}', None),
        (b'{"model":"first","model":"last"}', b'"last"'),
        (b'{"model":"first","model":[2]}', b"[2]"),
        (b'{"model":{"a":1},"model":3}', b"3"),
        (b'["model",{"model":"x"}]', None),
        (b"{}", None),
        (b"", None),
        (b"null", None),
        (b'data: {"model":"x"}\n\n', b'"x"'),
        (b'id: 1\ndata: {"a":1,"model":"x"}\n\n', b'"x"'),
        (b'{"model":"x"} {"model":"y"}', b'"x"'),
    ],
)
def test_the_value_of_the_top_level_name_is_found(document: bytes, expected: bytes | None) -> None:
    """Neither inside strings, nor in objects further in, nor in what follows; of duplicates the last, as readers take it."""
    assert expected == value_of(document)


def test_the_search_may_begin_further_on() -> None:
    """The object at or after the given place."""
    document = b'{"model":"x"}{"model":"y"}'

    assert b'"y"' == value_of(document, start=13)
    assert b"1" == value_of(b'{"usage":1}', b"usage")


@pytest.mark.parametrize(
    "document",
    [
        b'{"model"',
        b'{"model":',
        b'{"model":}',
        b'{"model": "x',
        b'{"model":"x\\"',
        b'{"model":[1,2',
        b'{"a":"b',
        b'{"model" "x"}',
    ],
)
def test_what_is_cut_or_broken_has_no_value(document: bytes) -> None:
    """No half value is found, and nothing fails."""
    assert None is value_of(document)


def test_a_string_that_never_ends_costs_no_more_than_its_length() -> None:
    """Two million escaped quotes in a chunk that was cut; a search from each of them would take days."""
    escaped = b'\\"' * 2_000_000
    document = b'data: {"id":"1","choices":[{"delta":{"content":"' + escaped

    assert None is value_of(document)
    assert None is value_of(document + b'"model":"x"')
    assert None is value_of(b'{"model":"' + escaped)
    assert None is value_of(b'{"model":["' + escaped)
    assert document == replace_text(document, b"model", b'"y"')


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"a":[1,-2.5e3,true,null,"\\u4f60\xe5\xa5\xbd"]}', {"a": [1, -2500.0, True, None, "你好"]}),
        (b' {"a":1,"a":2}\n', {"a": 2}),
        (b'"\\ud800"', "\ud800"),
        (b"[Infinity]", [float("inf")]),
        (b"[" * 1_000 + b"]" * 1_000, None),
    ],
)
def test_whatever_a_provider_wrote_is_read(document: bytes, expected: Any) -> None:
    """What a strict reader refuses and a lenient one takes is taken, and a thousand levels are not too deep."""
    actual = parse_json(document)

    assert expected is None or expected == actual


@pytest.mark.parametrize("document", [b"", b"{", b"{'a':1}", b'{"a":1}x', b'"\xff"', b'"\n"', b"data"])
def test_what_is_no_json_is_refused(document: bytes) -> None:
    """Always with the same error."""
    with pytest.raises(ValueError, match=r"."):
        parse_json(document)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_what_nests_without_end_is_refused(opening: bytes) -> None:
    """By an error that can be caught, not by a crash."""
    with pytest.raises((ValueError, RecursionError)):
        parse_json(opening * 200_000)


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
_NAMES = st.sampled_from(["model", "usage", "models", 'a"model', "model\\", "模"]) | st.text(max_size=5)
_TRAPS = st.sampled_from(['"model":"y"', '{"model":', "}]", "model", '\\"', "\\"])
_VALUES = st.recursive(
    _SCALARS | _TRAPS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=10,
)
_PAIRS = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)
_STYLES = st.fixed_dictionaries(
    {
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", "\t:\r\n")]),
        "indent": st.sampled_from([None, 0, 2]),
        "ensure_ascii": st.booleans(),
    }
)


def render(pairs: list[tuple[str, Any]], style: dict[str, Any]) -> bytes:
    """A JSON object of ``pairs`` in their order, duplicates included."""
    comma, colon = style["separators"]
    members = (
        json.dumps(name, ensure_ascii=style["ensure_ascii"]) + colon + json.dumps(value, **style)
        for name, value in pairs
    )
    return ("{" + comma.join(members) + "}").encode("utf-8", "surrogatepass")


def parse(document: bytes) -> Any:
    return json.loads(document.decode("utf-8", "surrogatepass"))


@settings(deadline=None, print_blob=True, max_examples=300)
@given(_PAIRS, _STYLES, st.sampled_from(["model", "usage", "模"]), st.sampled_from([b"", b"data: "]))
def test_a_replacement_changes_that_text_and_no_other_byte(
    pairs: list[tuple[str, Any]], style: dict[str, Any], name: str, before: bytes
) -> None:
    """For any JSON object in any style: the value a JSON reader sees is found, and if it is a text, it alone is replaced."""
    document = before + render(pairs, style)
    parsed = parse(document[len(before) :])
    quoted = json.dumps(name, ensure_ascii=style["ensure_ascii"])[1:-1].encode()
    span = find_value(document, quoted)
    if span is None:
        assert name not in parsed
        assert document == replace_text(document, quoted, b'"new"')
        return

    assert parsed[name] == parse(document[span[0] : span[1]])
    changed = replace_text(document, quoted, b'"new"')
    if not isinstance(parsed[name], str):
        assert document == changed
        return

    assert {**parsed, name: "new"} == parse(changed[len(before) :])
    assert document[: span[0]] + b'"new"' + document[span[1] :] == changed


@settings(deadline=None, print_blob=True)
@given(_PAIRS, _STYLES, st.integers(0, 200))
def test_a_cut_document_gives_no_half_text(pairs: list[tuple[str, Any]], style: dict[str, Any], cut: int) -> None:
    """Wherever an object is cut: no failure, and a text that is found is a whole one."""
    document = render(pairs, style)[:cut]
    value = value_of(document)

    if value is not None and value.startswith((b'"', b"{", b"[")):
        assert parse(value) is not None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'data: {"id":1,"model":"up"}\n\n', b'data: {"id":1,"model":"public"}\n\n'),
        (b'{"model":"up","model":"up"}', b'{"model":"up","model":"public"}'),
        (b'{"x":{"model":"up"},"model" : "up" }', b'{"x":{"model":"up"},"model" : "public" }'),
        (b'{"model":null}', b'{"model":null}'),
        (b'{"model":7}', b'{"model":7}'),
        (b'{"model":["up"]}', b'{"model":["up"]}'),
        (b'{"x":{"model":"up"}}', b'{"x":{"model":"up"}}'),
        (b"[DONE]", b"[DONE]"),
    ],
)
def test_only_a_text_is_replaced(document: bytes, expected: bytes) -> None:
    """A name that stands for anything but a text is left alone, and so is everything around it."""
    assert expected == replace_text(document, b"model", b'"public"')


def test_what_is_written_is_on_one_line_and_can_be_read_again() -> None:
    """As UTF-8 where there is one; half a surrogate pair has none, and is escaped."""
    assert '{"a":"ü\\n","b":[1,null]}'.encode() == as_json({"a": "ü\n", "b": [1, None]})
    assert b'{"a":"\\u00fc\\ud83d"}' == as_json({"a": "ü\ud83d"})
    assert {"a": "ü\ud83d"} == parse_json(as_json({"a": "ü\ud83d"}))

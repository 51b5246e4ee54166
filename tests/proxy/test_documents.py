"""Files as operators write them: variables filled in, faults placed on their lines, no file a reason to crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.documents import Document


def read(folder: Path, text: str | bytes, **environment: str) -> Document:
    """The document of this text, in a file called ``x.toml``."""
    path = folder / "x.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Document.read(path, environment)


def said(document: Document) -> list[str]:
    """The faults, without the folder of the test."""
    return [str(fault).rpartition("/")[2] for fault in document.faults]


def test_variables_are_filled_in_at_any_depth(tmp_path: Path) -> None:
    """In tables and lists; names that are not texts are left alone."""
    document = read(tmp_path, "a = ['${X}', 1, { b = '<${X}${Y}>' }]\n['${X}']\n", X="1", Y="2")
    assert {"a": ["1", 1, {"b": "<12>"}], "${X}": {}} == document.data
    assert {("a", 0): ["X"], ("a", 2, "b"): ["X", "Y"]} == document.variables
    assert {} == document.unset


def test_a_variable_that_is_unset_or_empty_reads_as_empty(tmp_path: Path) -> None:
    """Both are remembered by name, and by the place they stand in."""
    document = read(tmp_path, "a = 'x${NO}y${EMPTY}z${YES}'", EMPTY="", YES="!")
    assert {"a": "xyz!"} == document.data
    assert {("a",): ["NO", "EMPTY"]} == document.unset
    assert {("a",): "the value of NO, EMPTY, YES, which is not set"} == document.shown_instead()


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-B}", "${A", "${A} ${ B }"])
def test_a_variable_written_wrong_is_a_fault(tmp_path: Path, text: str) -> None:
    """Rather than a password that is literally `${A-B}`."""
    document = read(tmp_path, f"\na = '{text}'", A="1", B="2")
    assert ["x.toml:2: a: expected ${NAME} of letters, digits and _, found another use of ${"] == said(document)
    assert not document.broken


@pytest.mark.parametrize("text", ["$HOME", "100$", "{X}", "$ {X}", "$$"])
def test_other_dollars_and_braces_are_plain_text(tmp_path: Path, text: str) -> None:
    """Only `${` begins a variable."""
    document = read(tmp_path, f"a = '{text}'", HOME="h", X="x")
    assert (text, []) == (document.data["a"], document.faults)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff", "x.toml: file: expected a text in UTF-8, found other bytes"),
        (b"a = 1\na = 2\n", "x.toml:2: syntax: expected valid TOML, found: Cannot overwrite a value (column 6)"),
        (b"a = '", 'x.toml:1: syntax: expected valid TOML, found: Expected "\'" (end of the file)'),
    ],
)
def test_a_file_that_gives_no_values_says_why(tmp_path: Path, content: bytes, expected: str) -> None:
    """Encoding and syntax are faults like any other, with their line where there is one."""
    document = read(tmp_path, content)
    assert (True, {}) == (document.broken, document.data)
    assert [expected] == said(document)


def test_a_file_that_is_missing_or_a_folder_says_so(tmp_path: Path) -> None:
    """A wrong name is a sentence."""
    assert ["nope: file: expected a file that can be read, found: No such file or directory"] == said(
        Document.read(tmp_path / "nope", {})
    )
    assert Document.read(tmp_path, {}).broken


def test_without_a_path_the_document_is_empty() -> None:
    """No file is no fault."""
    document = Document.read(None, {})
    assert ({}, [], False) == (document.data, document.faults, document.broken)


def test_defaults_from_the_environment_fill_only_gaps(tmp_path: Path) -> None:
    """What the file says counts, even when it says nothing; a section of the wrong kind is left for the checks."""
    document = read(tmp_path, "wrong = 1\n[a]\nx = ''\n", X="1", Y="2")
    document.fill_from_environment({("a", "x"): "X", ("a", "y"): "Y", ("b", "z"): "Z", ("wrong", "x"): "X"}, {"Y": "2"})
    assert {"wrong": 1, "a": {"x": "", "y": "2"}, "b": {"z": ""}} == document.data
    assert {("b", "z"): ["Z"]} == document.unset


def test_a_fault_stands_at_its_value_or_the_nearest_table_around_it(tmp_path: Path) -> None:
    """What is missing has no line of its own."""
    document = read(tmp_path, "\n[a]\nx = [1,\n2]\n", Y="2")
    assert 4 == document.fault(("a", "x", 1), "s").line
    assert 3 == document.fault(("a", "x", 7), "s").line
    assert 2 == document.fault(("a", "missing", "deep"), "s").line
    assert 1 == document.fault(("b",), "s").line
    document.fill_from_environment({("a", "y"): "Y"}, {"Y": "2"})
    assert "environment: Y: a.y: s" == str(document.fault(("a", "y"), "s"))


def test_a_sentence_that_quotes_a_variable_is_made_to_name_it(tmp_path: Path) -> None:
    """Sentences come from many places; none of them gives a secret away."""
    document = read(tmp_path, "a = ['${X}']\nb = 1", X="hunter2")
    assert "there is no provider '…'" == document.fault(("b",), "there is no provider 'sk-abcdef1234'").sentence
    assert "there is no 'Bearer ${X}'" == document.fault(("b",), "there is no 'Bearer hunter2'").sentence

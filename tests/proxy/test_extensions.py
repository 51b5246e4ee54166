"""Middlewares of installed packages: found by name, made with their settings, told of when that cannot be; the example works."""

from __future__ import annotations

import importlib
import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from billing.money import format_usd
from proxy.app import Gateway as Process
from proxy.config import load
from proxy.extensions import check_names, installed_names, make_extensions
from proxy.faults import ConfigurationFaults
from proxy.reloading import Reloading
from proxy.settings import Settings
from storage.database import open_database
from tests.fakes.packages import plant
from tests.gateway import Gateway

ROOT = Path(__file__).parents[2]
OURS = '"byok", "budget", "routing", "metering", "headers"]\n'
PACKAGE = """
from middlewares.extending import extension

CALLS = []

async def plain(request, handler):
    return await handler(request)

def worded(*, word, times=1):
    CALLS.append(word)
    if word == "bad":
        raise ValueError("this word is bad")
    return plain

@extension(needs=("request",))
def reader():
    return plain

def nothing():
    return None

def anything(**settings):
    return plain

number = 7
"""
NAMES = ("plain", "worded", "reader", "nothing", "anything", "number", "missing")
NO_FACTORY = "found TypeError: it is 'int' and not a factory of a middleware"
UNKNOWN_TIME = "unknown setting, did you mean 'times'?"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package with middlewares of many kinds, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return plant(monkeypatch, tmp_path, PACKAGE, *NAMES)


def faults_of(chain: str, tables: str = "") -> list[str]:
    """What is said of a settings file with these names before `byok`, behind `auth` and `rate_limit`."""
    file = Path("find-token.toml")
    file.write_text(f'middlewares = ["auth", "rate_limit", {chain}{OURS}{tables}', "utf-8")
    try:
        load(file, {"WORD": "secret-word"})
    except ConfigurationFaults as error:
        return str(error).splitlines()
    return []


def test_nobody_is_imported_whom_nobody_names(package: str) -> None:
    """Names are known without that; a chain of our own asks for none."""
    assert set(NAMES) <= set(installed_names())
    assert Settings().middlewares == check_names(Settings().middlewares)
    assert {} == make_extensions(Settings().middlewares, {})
    assert package not in sys.modules


def test_what_stands_where_it_can_is_taken(package: str) -> None:
    """With its settings, or without where it has none; variables are filled in."""
    assert [] == faults_of('"plain", "worded", "anything", ', '[extensions.worded]\nword = "${WORD}"\n')
    assert [] == faults_of('"anything", ', "[extensions.anything]\nwhat = 1\never = [2]\n")
    assert "secret-word" in sys.modules[package].CALLS


def test_faults_say_what_to_do(package: str) -> None:
    """Where it stands, what was expected, what was found; a value from a variable is not shown."""
    unknown = f"found 'plian', did you mean 'plain'? Installed packages add {', '.join(sorted(NAMES))}."
    loads, needs = f"to load from {package}", "expected word in [extensions.worded], which 'worded' needs, found none"
    gone = f"found AttributeError: module '{package}' has no attribute 'missing'"
    bad = "expected 'worded' to take its settings, found ValueError: this word is bad"
    named = "expected the name of a middleware in `middlewares`, did you mean 'plain'?"
    cases = [
        ("plian", "", f"1: middlewares: expected only known middlewares, {unknown}"),
        ("number", "", f"1: middlewares: expected 'number' {loads}:number, {NO_FACTORY}"),
        ("missing", "", f"1: middlewares: expected 'missing' {loads}:missing, {gone}"),
        ("nothing", "", "1: middlewares: expected 'nothing' to make a middleware, found NoneType"),
        ("worded", "", f"1: middlewares: {needs}"),
        ("worded", "[extensions.worded]\ntimes = 2", f"2: extensions.worded: {needs}"),
        ("worded", '[extensions.worded]\nword = "bad"', f"2: extensions.worded: {bad}"),
        ("worded", '[extensions.worded]\nword = "x"\ntime = 2', f"4: extensions.worded.time: {UNKNOWN_TIME}"),
        ("plain", "[extensions.plane]\n", f"2: extensions.plane: {named}"),
        ("plain", "[extensions]\nplain = 3\n", "3: extensions.plain: expected a table, found 3"),
    ]

    told = [faults_of(f'"{name}", ', table) for name, table, _ in cases]

    assert [[f"find-token.toml:{sentence}"] for *_, sentence in cases] == told


def test_order_rules_are_faults_of_the_file(package: str) -> None:
    """As for ours: who needs what is not decided yet is told where to stand."""
    file = Path("find-token.toml")
    file.write_text('\nmiddlewares = ["reader", "auth", "rate_limit", ' + OURS, "utf-8")
    with pytest.raises(ConfigurationFaults) as found:
        load(file, {})

    sentence = "expected 'reader' behind 'rate_limit': it needs request, which is not decided before"
    assert f"find-token.toml:2: middlewares: {sentence}" == str(found.value)


def test_a_package_that_cannot_be_imported_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, also if it wants to end the process."""
    monkeypatch.chdir(tmp_path)
    for source, told in (("import nowhere_at_all", "ModuleNotFoundError: No module"), ("exit(3)", "SystemExit: 3")):
        name = plant(monkeypatch, tmp_path, source, f"broken_{len(source)}")
        assert [f"expected 'broken_{len(source)}' to load from {name}:broken_{len(source)}, found {told}"] == [
            fault.partition(": middlewares: ")[2][: -len(" named 'nowhere_at_all'") if "nowhere" in fault else None]
            for fault in faults_of(f'"broken_{len(source)}", ')
        ]


def test_two_packages_of_one_name_and_names_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody guesses which of two is meant, and nobody takes the place of a middleware of the gateway."""
    monkeypatch.chdir(tmp_path)
    packages = [plant(monkeypatch, tmp_path, PACKAGE, "plain", body="plain") for _ in range(2)]

    two = f"expected one package to add 'plain', found {' and '.join(sorted(packages))}: uninstall one of them"
    assert [f"find-token.toml:1: middlewares: {two}"] == faults_of('"plain", ')
    assert [
        "find-token.toml:1: middlewares: expected a name that is not one of the gateway's own, found 'body'"
    ] == faults_of('"body", ')


async def test_a_new_version_of_the_files_that_cannot_be_made_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the mistake shows only when it comes in force."""
    monkeypatch.chdir(tmp_path)
    source = """
made = []

def moody(*, mood):
    made.append(mood)
    if mood == "bad" and made.count("bad") > 1:
        raise ValueError("twice is too much")
    return lambda request, handler: handler(request)
"""
    plant(monkeypatch, tmp_path, source, "moody")
    assert [] == faults_of('"moody", ', '[extensions.moody]\nmood = "good"\n')
    loaded = load(Path("find-token.toml"), {})
    gateway = Process(loaded.settings, loaded.catalogue, open_database(f"sqlite:///{tmp_path}/never-opened.db"))
    gateway.reloading = reloading = Reloading(Path("find-token.toml"), loaded, gateway.apply, gateway.instruments)
    before = gateway._call_chain()["moody"]
    assert [] == faults_of('"moody", ', '[extensions.moody]\nmood = "bad"\n')

    with caplog.at_level(logging.CRITICAL), pytest.raises(ConfigurationFaults, match="twice is too much"):
        await reloading.reload()

    assert (loaded, before) == (reloading.loaded, gateway._extensions["moody"])
    assert "good" == gateway._settings.extensions["moody"]["mood"]


# --- the example ---


@pytest.fixture(scope="module")
def house_rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed: its wheel, built from a copy without a network, laid out as installers do."""
    folder = tmp_path_factory.mktemp("house-rules")
    shutil.copytree(ROOT / "examples" / "house-rules", folder / "source")
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], cwd=folder / "source", check=True, capture_output=True)
    (wheel,) = folder.glob("find_token_house_rules-1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


async def test_the_example_serves(
    house_rules: Path, start_gateway: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As its page says: installed, named, set; a forbidden prompt is refused and free, a tag comes back and is logged."""
    monkeypatch.syspath_prepend(str(house_rules))
    page = (ROOT / "examples" / "house-rules" / "README.md").read_text("utf-8")
    written = house_rules / "find-token.toml"
    written.write_text(page.split("```toml\n")[1].split("```")[0], "utf-8")
    settings = load(written, {}).settings
    gateway: Gateway = await start_gateway(middlewares=settings.middlewares, extensions=settings.extensions)
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "Project BlueBird?"}]

    refused = [await gateway.chat("What is Project BlueBird?"), await gateway.chat(parts)]  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "house-rules"):
        tagged = [await gateway.chat(stream=stream, headers={"X-Caller-Tag": "nightly"}) for stream in (False, True)]
    untagged = await gateway.chat()

    assert [(400, "content_filter")] * 2 == [reply.code for reply in refused]
    assert [(200, "nightly")] * 2 == [(reply.status, reply.headers["X-Caller-Tag"]) for reply in tagged]
    assert (200, False) == (untagged.status, "X-Caller-Tag" in untagged.headers)
    rows = await gateway.settled(3)
    costs = [f"nightly of {gateway.account_id} cost {format_usd(row.cost)}" for row in rows[:2]]
    assert costs == [record.message for record in caplog.records if record.name == "house-rules"]
    gateway.prove()


def test_the_example_reads_every_kind_of_request(house_rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts, parts of texts, inputs of embeddings; pictures and tokens say nothing."""
    monkeypatch.syspath_prepend(str(house_rules))
    texts = importlib.import_module("house_rules").texts
    parts = [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "x"}}]

    assert ["a", "b"] == list(texts({"messages": [{"content": "a"}, {"content": parts}, {"content": None}, {}]}))
    assert [["a"], ["a", "b"]] == [list(texts({"input": one})) for one in ("a", ["a", "b"])]
    assert [[], []] == [list(texts({"input": tokens})) for tokens in ([1, 2], [[1], [2]])]


def test_the_page_about_extensions_shows_the_example() -> None:
    """What docs/extending.md quotes is what is there."""
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    code = (ROOT / "examples" / "house-rules" / "house_rules.py").read_text("utf-8")
    shown = page.split("```python\n")[1].split("```")[0]

    assert shown in code

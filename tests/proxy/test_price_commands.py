"""`find-token receipt` as an operator runs it, over calls made on a real wire; and proved where there are no books."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from providers.catalogue import CatalogueFaults, build
from proxy.cli import main
from storage.database import open_database
from storage.ledger import place_hold
from storage.sweep import release_orphan
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import Gateway, model

StartGateway = Callable[..., Awaitable[Gateway]]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 400}}

CATALOGUE = """
[providers.alpha]
dialect = "openai"
base_url = "http://127.0.0.1:9"
keys = ["k"]
[models.standard]
provider = "alpha"
upstream_model = "standard-upstream"
context = 131_072
max_output = 8_192
[[models.standard.prices]]
from = 2026-01-01
input = 0.14
cached_input = 0.014
output = 0.28
"""


def run(settings: Path, *arguments: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, [*arguments, "--config", str(settings)])


def answer(settings: Path, *arguments: str, code: int = 0) -> Any:
    """Its JSON."""
    result = run(settings, *arguments, "--json")
    assert (code, "") == (result.exit_code, result.stderr), result.output
    return json.loads(result.stdout)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Path:
    """A settings file that names the database, and the price book of the gateway of these tests."""
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)
    path = tmp_path / "settings.toml"
    path.write_text(f'catalogue = "catalogue.toml"\n[storage]\ndatabase = "{database_url}"\n')
    return path


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    """The same price book, and a database that cannot be opened."""
    path = tmp_path / "offline.toml"
    path.write_text('catalogue = "catalogue.toml"\n[storage]\ndatabase = "sqlite:////nowhere/at/all.db"\n')
    return path


async def test_receipts_of_real_calls_are_proved_offline(
    settings: Path, offline: Path, tmp_path: Path, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Answered, failed, on an own key, and without a fee: each receipt agrees, and a changed one is named."""
    gateway = await start_gateway(database_url=database_url)
    alpha.next([http(completion(usage=USAGE))])
    await gateway.chat()
    alpha.next([http({"error": {"message": "no"}}, status=400)])
    await gateway.chat()
    alpha.next([http(completion(usage=USAGE))])
    await gateway.chat(provider_key={"provider": "alpha", "api_key": "own-key-0123456789"})
    rows = gateway.rows()
    assert 3 == len(rows)

    for row in rows:
        receipt = answer(settings, "receipt", row.request_id)
        file = tmp_path / "receipt.json"
        file.write_text(json.dumps(receipt))
        assert {"ok": True, "disagreements": []} == answer(offline, "receipt", "--verify", str(file))
    paid = answer(settings, "receipt", rows[0].request_id)
    assert ("plain", "0.14", "0.014", "0.28") == tuple(
        paid["rates"][name] for name in ("rule", "input", "cached_input", "output")
    )
    assert paid["call"]["cost"] == paid["paid"] == "0.00024223"
    paid["call"]["cost"] = "0.00024224"
    file.write_text(json.dumps(paid))
    assert ["digest", "call.cost"] == [
        one["field"] for one in answer(offline, "receipt", "--verify", str(file), code=1)["disagreements"]
    ][:2]


async def test_without_a_fee_on_usage_the_receipt_says_so(
    settings: Path, database_url: str, start_gateway: StartGateway, alpha: RawUpstream, tmp_path: Path, offline: Path
) -> None:
    """`billing.fee_on = "recharge"`: the call costs the provider's price, and its line says a fee of 0."""
    gateway = await start_gateway(database_url=database_url, billing={"fee_on": "recharge"})
    alpha.next([http(completion(usage=USAGE))])
    reply = await gateway.chat()
    row = gateway.row()

    assert ("0", 0, 22_960) == (row.fee_percent, row.fee, row.cost)
    assert 22_960 == reply.money("Cost")
    file = tmp_path / "receipt.json"
    file.write_text(run(settings, "receipt", row.request_id, "--json").stdout)
    assert answer(offline, "receipt", "--verify", str(file))["ok"]
    gateway.prove()


async def test_a_call_whose_gateway_died_has_a_receipt(
    settings: Path, database_url: str, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """It was free, and no price is named."""
    gateway = await start_gateway(database_url=database_url)
    database = open_database(database_url)
    with database.session() as connection:
        place_hold(connection, "req_dead", gateway.account_id, (100,), None, "dead", 0, 1)
        assert release_orphan(connection, "req_dead", gateway.account_id, 1)

    receipt = answer(settings, "receipt", "req_dead")
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt))
    assert (None, "0", "gateway_died") == (receipt["rates"], receipt["paid"], receipt["call"]["billing_outcome"])
    assert "the receipt agrees\n" == run(settings, "receipt", "--verify", str(file)).stdout
    assert "none: no provider's answer was priced" in run(settings, "receipt", "req_dead").stdout


async def test_a_version_that_the_catalogue_does_not_hold_is_said(
    settings: Path, database_url: str, start_gateway: StartGateway, alpha: RawUpstream, tmp_path: Path
) -> None:
    """When it is printed and when it is proved."""
    gateway = await start_gateway(database_url=database_url)
    alpha.next([http(completion(usage=USAGE))])
    await gateway.chat()
    request_id = gateway.row().request_id
    (tmp_path / "catalogue.toml").write_text(CATALOGUE.replace("2026-01-01", "2026-02-01"))

    assert "the catalogue does not hold this price version" in run(settings, "receipt", request_id).stdout
    file = tmp_path / "receipt.json"
    file.write_text(run(settings, "receipt", request_id, "--json").stdout)
    result = run(settings, "receipt", "--verify", str(file))
    assert 1 == result.exit_code
    assert "call.price_version: expected a version in the price book; this catalogue does not hold it" in result.stdout


def test_what_cannot_be_done_is_said(settings: Path, tmp_path: Path) -> None:
    """Unknown calls, files that are none, and neither or both of the two ways."""
    file = tmp_path / "no.json"
    file.write_bytes(b"\xff")
    for arguments, code, sentence in (
        (("receipt", "req_none"), 1, "there is no call req_none in the billing log"),
        (("receipt", "--verify", str(file)), 1, "no.json"),
        (("receipt", "--verify", str(tmp_path / "gone.json")), 1, "No such file or directory"),
        (("receipt",), 2, "either a REQUEST_ID or --verify FILE was expected"),
        (("receipt", "x", "--verify", str(file)), 2, "either a REQUEST_ID or --verify FILE was expected"),
    ):
        result = run(settings, *arguments)
        assert (code, "") == (result.exit_code, result.stdout), result.output
        assert sentence in result.stderr


async def test_aliases_and_other_spellings_are_never_served_free(
    start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """An alias is charged as its model; a name in another case is no model."""
    gateway = await start_gateway()
    alpha.next([http(completion(usage=USAGE))])
    await gateway.chat(model="vendor/standard")
    for name in ("STANDARD", "Vendor/Standard", "standard ", "standard\u200b"):
        assert (404, "model_not_found") == (await gateway.chat(model=name)).code

    assert ("standard", 24_223) == (gateway.row().model, gateway.row().cost)


@pytest.mark.parametrize(
    ("prices", "sentence"),
    [
        ([], "a model needs a price"),
        ([{"from": "2999-01-01T00:00:00Z", "input": 1, "output": 1}], "no price is in force today"),
    ],
)
def test_a_model_without_a_price_cannot_be_loaded(prices: list[dict[str, Any]], sentence: str) -> None:
    """Whether it has none or none yet."""
    providers = {"alpha": {"dialect": "openai", "base_url": "http://127.0.0.1:9", "keys": ["k"]}}
    with pytest.raises(CatalogueFaults, match=sentence):
        build({"providers": providers, "models": {"m": model("alpha", prices)}})


async def test_a_wrong_price_is_seen_and_put_right(
    settings: Path, tmp_path: Path, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """The difference is told, what calls would have cost, and given back once; the receipt then names both prices."""
    gateway = await start_gateway(database_url=database_url)
    alpha.next([http(completion(usage=USAGE))])
    await gateway.chat()
    request_id = gateway.row().request_id
    balance = gateway.balance().balance
    right = tmp_path / "right.toml"
    correction = CATALOGUE[CATALOGUE.index("[[models") :].replace("0.28", "0.14").replace("from", "revision = 2\nfrom")
    right.write_text(CATALOGUE + correction)

    told = answer(settings, "prices", "diff", str(right), "--since", "2026-01-01")
    (change,) = told["upstreams_changed"][0]["periods"][0]["changes"][:1]
    assert ("output", "0.28", "0.14", "-50.0") == (change["kind"], change["old"], change["new"], change["percent"])
    assert {"calls": 1, "cost": "0.00024223", "new_cost": "0.00016838", "difference": "-0.00007385"} == {
        name: told["calls"]["models"][0][name] for name in ("calls", "cost", "new_cost", "difference")
    }
    assert "price plain output: 0.28 -> 0.14 (-50.0 %)" in run(settings, "prices", "diff", str(right)).stdout

    wanted = ("prices", "rerate", "--model", "standard", "--from", "2026-01-01", "--to", "2999-01-01")
    wanted += ("--catalogue", str(right), "--reason", "the vendor's page was misread")
    tried = answer(settings, *wanted, "--dry-run")
    assert balance == gateway.balance().balance
    done = answer(settings, *wanted)
    assert {"calls": 1, "difference": "-0.00007385"} == tried["given_back"] == done["given_back"]
    assert balance + 7385 == gateway.balance().balance
    assert [] == answer(settings, *wanted)["calls"]
    assert answer(settings, "audit")["ok"]

    (tmp_path / "catalogue.toml").write_text(right.read_text())
    receipt = answer(settings, "receipt", request_id)
    assert ("0.00024223", "0.00016838") == (receipt["call"]["cost"], receipt["paid"])
    assert "the vendor's page was misread" in run(settings, "receipt", request_id).stdout
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt))
    assert answer(settings, "receipt", "--verify", str(file))["ok"]


def test_what_cannot_be_compared_or_rerated_is_said(settings: Path, tmp_path: Path) -> None:
    """A catalogue with faults, a model that is not there, moments in the wrong order or form."""
    broken = tmp_path / "broken.toml"
    broken.write_text("[providers.x]\n")
    asked = ("prices", "rerate", "--reason", "x", "--model")
    for arguments, code, sentence in (
        (("prices", "diff", str(broken)), 2, "base_url"),
        (("prices", "diff", str(tmp_path / "gone.toml")), 2, "No such file"),
        ((*asked, "gone", "--from", "2026-01-01", "--to", "2026-02-01"), 1, "the catalogue has no model gone"),
        ((*asked, "standard", "--from", "2026-02-01", "--to", "2026-01-01"), 2, "--from must be before --to"),
        ((*asked, "standard", "--from", "soon", "--to", "2026-01-01"), 2, "a date or an instant such as"),
    ):
        result = run(settings, *arguments)
        assert (code, "") == (result.exit_code, result.stdout), result.output
        assert sentence in result.stderr

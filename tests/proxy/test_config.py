"""Settings: defaults that hold, both files checked whole, every fault with its line and without a secret."""

from __future__ import annotations

import base64
import re
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.config import ConfigurationFaults, load
from proxy.reference import SettingFacts, every_setting
from proxy.settings import Settings

SECRET_KEY = base64.b64encode(bytes(range(32))).decode()

CATALOGUE = """\
[providers.deepseek]
dialect = "deepseek"
base_url = "https://api.deepseek.com"
keys = ["${DEEPSEEK_API_KEY}"]

[models.deepseek-chat]
provider = "deepseek"
context = 131_072
max_output = 8_192
capabilities = ["tools"]

[[models.deepseek-chat.prices]]
from = 2026-01-01
input = 0.14
output = 0.28
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that faults show short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults_of(settings: str = "", catalogue: str | None = None, **environment: str) -> list[str]:
    """What is said about these two texts, as files of the working directory."""
    if catalogue is not None:
        settings = f'catalogue = "catalogue.toml"\n{settings}'
        Path("catalogue.toml").write_text(catalogue, "utf-8")
    Path("find-token.toml").write_text(settings, "utf-8")
    try:
        load(Path("find-token.toml"), environment)
    except ConfigurationFaults as error:
        return str(error).splitlines()
    return []


def warnings_of(settings: str = "", catalogue: str | None = CATALOGUE, **environment: str) -> list[str]:
    """The warnings about these two texts, which are without fault."""
    assert [] == faults_of(settings, catalogue, **environment)
    return load(Path("find-token.toml"), environment).warnings


# --- what is read ---


def test_without_any_file_the_defaults_hold(folder: Path) -> None:
    """An operator who writes nothing gets the documented defaults and the shipped catalogue."""
    loaded = load(None, {})
    assert Settings().server == loaded.settings.server
    assert ("127.0.0.1:8080", "127.0.0.1:9090") == (loaded.settings.server.listen, loaded.settings.server.admin_listen)
    assert Decimal("5.5") == loaded.settings.billing.fee_percent
    assert (1, 2, 4) == loaded.settings.routing.backoff_seconds
    assert loaded.catalogue.find("deepseek-chat") is not None


def test_the_file_of_the_working_directory_is_read_without_being_named(folder: Path) -> None:
    """`find-token.toml` is found where one stands."""
    (folder / "find-token.toml").write_text("[limits]\nrequests_per_minute = 7\n")
    assert 7 == load(None, {}).settings.limits.requests_per_minute


def test_a_file_overrides_only_what_it_names(folder: Path) -> None:
    """A short file is enough."""
    path = folder / "short.toml"
    path.write_text("[server]\nlisten = '[::1]:0'\n[billing]\nfee_percent = 0.1\n[routing]\nfailover = 'patient'\n")
    settings = load(path, {}).settings
    assert "[::1]:0" == settings.server.listen
    assert Decimal("0.1") == settings.billing.fee_percent, "a fee is exact, never a float"
    assert "patient" == settings.routing.failover
    assert Settings().limits == settings.limits


def test_names_of_files_are_relative_to_the_settings_file(folder: Path) -> None:
    """The database and the catalogue stand beside the settings, wherever the command is run."""
    other = folder / "etc"
    other.mkdir()
    (other / "mine.toml").write_text('catalogue = "book.toml"\n[storage]\ndatabase = "sqlite:///books/ft.db"\n')
    (other / "book.toml").write_text(CATALOGUE)
    loaded = load(Path("etc/mine.toml"), {})
    assert f"sqlite:///{other}/books/ft.db" == loaded.settings.storage.database
    assert ["deepseek-chat"] == list(loaded.catalogue.models)


def test_absolute_names_and_other_databases_are_left_alone(folder: Path) -> None:
    """What says where it is stays there."""
    for url in ("sqlite:////var/lib/ft.db", "postgresql://me:pw@db:5432/ft"):
        (folder / "find-token.toml").write_text(f'[storage]\ndatabase = "{url}"\n')
        assert url == load(None, {}).settings.storage.database


def test_variables_are_filled_in_anywhere_in_a_text(folder: Path) -> None:
    """`${NAME}` may stand alone or among other characters, several times, in both files."""
    (folder / "find-token.toml").write_text(
        'catalogue = "${BOOK}.toml"\n[server]\nlisten = "${HOST}:${PORT}"\n[limits]\nrequests_per_minute = "${LIMIT}"\n'
    )
    (folder / "book.toml").write_text(CATALOGUE)
    environment = {"BOOK": "book", "HOST": "0.0.0.0", "PORT": "80", "LIMIT": "9", "DEEPSEEK_API_KEY": "sk-${PORT}"}
    loaded = load(None, environment)
    assert "0.0.0.0:80" == loaded.settings.server.listen
    assert 9 == loaded.settings.limits.requests_per_minute
    assert ("sk-${PORT}",) == loaded.catalogue.providers["deepseek"].keys, "a variable's value is not read again"


def test_secrets_are_read_from_the_environment_without_a_file(folder: Path) -> None:
    """The secrets' own variables count even where no file names them."""
    settings = load(None, {"FIND_TOKEN_SECRET_KEY": SECRET_KEY, "STRIPE_API_KEY": "sk_test_1"}).settings
    assert SECRET_KEY == settings.security.secret_key.get_secret_value()
    assert "sk_test_1" == settings.stripe.api_key.get_secret_value()


def test_the_process_environment_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to hand over an environment."""
    monkeypatch.setenv("FIND_TOKEN_SECRET_KEY", SECRET_KEY)
    assert SECRET_KEY == load(None).settings.security.secret_key.get_secret_value()


def test_secrets_do_not_appear_when_settings_are_printed(folder: Path) -> None:
    """Settings may be logged."""
    (folder / "find-token.toml").write_text('[storage]\ndatabase = "postgresql://me:hunter2@db:5432/ft"\n')
    loaded = load(None, {"FIND_TOKEN_SECRET_KEY": SECRET_KEY, "STRIPE_API_KEY": "sk_1", "DEEPSEEK_API_KEY": "sk-deep"})
    for secret in ("hunter2", SECRET_KEY, "sk_1", "sk-deep"):
        assert secret not in repr(loaded)
        assert secret not in str(loaded.settings)


# --- faults ---

FAULTS = [
    ("[server]\nworkrs = 2", "2: server.workrs: unknown setting, did you mean 'workers'?"),
    ("[server]\nxyz = 2", "2: server.xyz: unknown setting"),
    ("servr = 1", "1: servr: unknown setting, did you mean 'server'?"),
    ("[servr]\nlisten = ''", "1: servr: unknown setting, did you mean 'server'?"),
    ("server = 3", "1: server: expected a table, found 3"),
    ("[server]\nworkers = 65", "2: server.workers: expected a number of at most 64, found 65"),
    ("[server]\nworkers = 0", "2: server.workers: expected a number of at least 1, found 0"),
    ("[server]\nlisten = 8080", "2: server.listen: expected a text in quotes, found 8080"),
    ("[server]\nlisten = '8080'", "2: server.listen: expected host:port such as 127.0.0.1:8080, found '8080'"),
    (
        "[server]\npublic_url = 'example.com'",
        "2: server.public_url: expected an address that begins with http:// or https://, found 'example.com'",
    ),
    ("[server]\nmax_body_bytes = 1.5", "2: server.max_body_bytes: expected a whole number, found 1.5"),
    ("[server]\nkeepalive_seconds = true", "2: server.keepalive_seconds: expected a number, found true"),
    ("[server]\nkeepalive_seconds = 0", "2: server.keepalive_seconds: expected a number above 0, found 0"),
    ("[server]\nkeepalive_seconds = inf", "2: server.keepalive_seconds: expected a finite number, found Infinity"),
    (
        "[storage]\nredis = 'http://host:6379/0'",
        '2: storage.redis: expected an address such as "redis://host:6379/0", found a value that is not shown here',
    ),
    (
        "[tracing]\nendpoint = 'https://me:secret@host'",
        (
            "2: tracing.endpoint: expected the address of a collector without a user, a query or a fragment, "
            "found a text of 22 characters"
        ),
    ),
    ("[tracing]\nsample_percent = 101", "2: tracing.sample_percent: expected a number of at most 100, found 101"),
    (
        "[security]\nsecret_key = 'c2hvcnQ='",
        (
            "2: security.secret_key: expected 32 bytes in base64 (make one with: openssl rand -base64 32), "
            "found a value that is not shown here"
        ),
    ),
    (
        "[security]\nheader_prefix = 'X FT'",
        '2: security.header_prefix: expected letters, digits and "-", with "-" at the end, found \'X FT\'',
    ),
    (
        "[security]\nkey_prefix = ''",
        '2: security.key_prefix: expected 1 to 32 letters, digits, "_" or "-", found \'\'',
    ),
    ("[billing]\nfee_percent = 'much'", "2: billing.fee_percent: expected a number, found 'much'"),
    ("[billing]\nfee_percent = -1", "2: billing.fee_percent: expected a number of at least 0, found -1"),
    ("[billing]\nfee_percent = nan", "2: billing.fee_percent: expected a finite number, found NaN"),
    ("[billing]\nfee_on = 'never'", "2: billing.fee_on: expected 'usage' or 'recharge', found 'never'"),
    (
        "[billing]\nminimum_recharge_usd = 0.001",
        "2: billing.minimum_recharge_usd: expected a number of at most 2 decimals, found 0.001",
    ),
    (
        "[billing]\nminimum_recharge_usd = 20_000",
        "1: billing: expected minimum_recharge_usd to be at most maximum_recharge_usd",
    ),
    (
        "[limits]\ntokens_per_minute = -5",
        "2: limits.tokens_per_minute: expected a number of at least 0, found -5",
    ),
    ("[routing]\nbackoff_seconds = [1,\n 'x']", "3: routing.backoff_seconds[2]: expected a number, found 'x'"),
    ("[routing]\nbackoff_seconds = []", "2: routing.backoff_seconds: expected a list of at least 1, found a list"),
    ("[routing]\nbackoff_seconds = 3", "2: routing.backoff_seconds: expected a list, found 3"),
    ("[routing]\nfailover = 'patent'", "2: routing.failover: expected 'auto' or 'patient', found 'patent'"),
    (
        'middlewares = ["auth", "budgt"]',
        (
            "1: middlewares: expected only known middlewares, found 'budgt', did you mean 'budget'? "
            "Installed packages add none."
        ),
    ),
    (
        'middlewares = ["auth", "byok", "budget", "routing", "metering", "headers"]',
        (
            "1: middlewares: expected all of auth, rate_limit, byok, budget, routing, metering, headers, "
            "but rate_limit is missing"
        ),
    ),
    (
        'middlewares = ["auth", "rate_limit", "budget", "byok", "routing", "metering", "headers"]',
        (
            "1: middlewares: expected 'byok' before 'budget': "
            "the order is auth, rate_limit, byok, budget, routing, metering, headers"
        ),
    ),
    (
        'middlewares = ["auth", "auth", "rate_limit", "byok", "budget", "routing", "metering", "headers"]',
        "1: middlewares: expected every middleware once",
    ),
    (
        "a = 1\n[server\n",
        "2: syntax: expected valid TOML, found: Expected ']' at the end of a table declaration (column 8)",
    ),
    ("a = 1\nb =", "2: syntax: expected valid TOML, found: Invalid value (end of the file)"),
    (
        "[server]\nlisten = '${HOST'",
        "2: server.listen: expected ${NAME} of letters, digits and _, found another use of ${",
    ),
]


@pytest.mark.parametrize(("settings", "expected"), FAULTS, ids=[expected for _, expected in FAULTS])
def test_a_fault_names_file_line_setting_expectation_and_finding(folder: Path, settings: str, expected: str) -> None:
    """Every kind of fault is one line that an operator can act on."""
    assert f"find-token.toml:{expected}" in faults_of(settings)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("context = 131_072", "context = 0"), "8: models.deepseek-chat.context: expected a number above 0, found 0"),
        (
            ("output = 0.28", "output = 0.28\ncached_inptu = 1"),
            "16: models.deepseek-chat.prices[1].cached_inptu: unknown setting, did you mean 'cached_input'?",
        ),
        (
            ("input = 0.14", "input = -1"),
            "14: models.deepseek-chat.prices[1].input: expected a number of at least 0, found -1",
        ),
        (('"tools"', '"tool"'), "10: models.deepseek-chat.capabilities[1]: expected 'tools', "),
        (
            ('provider = "deepseek"', 'provider = "depseek"'),
            "7: models.deepseek-chat.provider: there is no provider 'depseek'",
        ),
        (('"https:', '"ftp:'), "3: providers.deepseek.base_url: an address that starts with https:// or http://"),
        (("2026-01-01", "9999-01-01"), "12: models.deepseek-chat.prices: no price is in force today"),
        (("2026-01-01", "'soon'"), "13: models.deepseek-chat.prices[1].from: "),
        (
            ('dialect = "deepseek"', 'dialekt = "x"'),
            "2: providers.deepseek.dialekt: unknown setting, did you mean 'dialect'?",
        ),
    ],
)
def test_a_fault_of_the_catalogue_names_its_line(folder: Path, change: tuple[str, str], expected: str) -> None:
    """The catalogue is checked like the settings, whether its form is wrong or what its parts say of one another."""
    found = faults_of("", CATALOGUE.replace(*change))
    assert 1 == len(found), found
    assert found[0].startswith(f"catalogue.toml:{expected}")


def test_all_faults_of_both_files_are_said_at_once_and_in_order(folder: Path) -> None:
    """One run of `check` is enough to mend everything."""
    found = faults_of(
        "[server]\nworkers = 65\nlisten = 1\n[limits]\nconcurrent_requests = -1\n",
        CATALOGUE.replace("input = 0.14", "input = 'x'").replace("output = 0.28", ""),
    )
    assert [
        "catalogue.toml:12: models.deepseek-chat.prices[1].output",
        "catalogue.toml:14: models.deepseek-chat.prices[1].input",
        "find-token.toml:3: server.workers",
        "find-token.toml:4: server.listen",
        "find-token.toml:6: limits.concurrent_requests",
    ] == [fault.rpartition(": ")[0] for fault in found]


def test_a_broken_settings_file_does_not_hide_faults_elsewhere(folder: Path) -> None:
    """A text that is no TOML is said together with the faults that can still be found."""
    assert ["find-token.toml:1: syntax: expected valid TOML, found: Invalid value (column 5)"] == faults_of("a = ]")
    assert 2 == len(faults_of("[server]\nworkers = 65", "x = "))


def test_a_catalogue_that_is_missing_is_a_fault(folder: Path) -> None:
    """A named catalogue is never silently replaced by the shipped one."""
    assert ["nope.toml: file: expected a file that can be read, found: No such file or directory"] == faults_of(
        'catalogue = "nope.toml"'
    )


@pytest.mark.parametrize(
    "settings",
    [
        "[storage]\ndatabase = 'mysql://me:hunter2hunter2@db/ft'",
        "[security]\nsecret_key = 'hunter2hunter2'",
        "[stripe]\napi_key = ['hunter2hunter2']",
        "[server]\nlisten = '${PASSWORD}'",
        "[server]\nlisten = 'sk-hunter2hunter2'",
        "[server]\nlisten = 'https://me:hunter2hunter2@x'",
        "[server]\npassword = 'hunter2hunter2'",
        "[stripe]\nwebhook_secret = 5\nwebhook_scret = 'hunter2hunter2'",
    ],
)
def test_a_fault_never_shows_a_secret(folder: Path, settings: str) -> None:
    """Neither what stands in a secret's place, nor what looks like one, nor what came from a variable."""
    found = faults_of(settings, PASSWORD="hunter2hunter2")
    assert found
    assert "hunter2" not in "".join(found)


def test_a_fault_of_a_variable_names_the_variable(folder: Path) -> None:
    """The value is named, not shown; a variable that no file names stands for itself."""
    assert [
        (
            "environment: FIND_TOKEN_SECRET_KEY: security.secret_key: expected 32 bytes in base64 "
            "(make one with: openssl rand -base64 32), found the value of FIND_TOKEN_SECRET_KEY"
        )
    ] == faults_of("", FIND_TOKEN_SECRET_KEY="abc")
    assert [
        (
            "find-token.toml:2: server.listen: expected host:port such as 127.0.0.1:8080, "
            "found the value of HOST, which is not set"
        )
    ] == faults_of("[server]\nlisten = '${HOST}'")


NUMBERS = ["1", "-1", "1.5", "inf", "nan", "1e400", "9" * 30, "2026-01-01", "07:30:00", "true"]
TEXTS = ["'x'", "''", "'${X}'", "'${'", "'a${X}b'", "'sk-aaaaaaaaaaaa'", '"""a\nb"""']
OTHERS = ["[]", "{}", "[1, 'a', []]", "{a = 1}", "[[1], {b = '${X}'}]"]
VALUES = st.sampled_from([*NUMBERS, *TEXTS, *OTHERS])
NAMES = st.sampled_from([facts for facts in every_setting() if facts.name != "catalogue"])


@given(st.lists(st.tuples(NAMES, st.sampled_from(["", "x"]), VALUES), max_size=6, unique_by=lambda one: one[0].key))
@hypothesis_settings(deadline=None, print_blob=True, max_examples=60)
def test_whatever_is_written_gives_settings_or_faults_and_no_secret(lines: list[tuple[SettingFacts, str, str]]) -> None:
    """No value makes the reader crash, and every fault has a line."""
    text = "".join(f"{facts.name}{typo} = {value}\n" for facts, typo, value in lines if not facts.section)
    for section in sorted({facts.section for facts, _, _ in lines} - {""}):
        text += f"[{section}]\n"
        text += "".join(f"{facts.name}{typo} = {value}\n" for facts, typo, value in lines if facts.section == section)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f.toml")
        path.write_text(text, "utf-8")
        try:
            load(path, {"X": "SECRETVALUE"})
        except ConfigurationFaults as error:
            said = str(error)
        else:
            said = ""
    assert "SECRETVALUE" not in said
    assert "sk-aaaa" not in said
    assert all(re.match(r".*/f\.toml:\d+: \S+: .", line) for line in said.splitlines())


# --- warnings ---


def test_several_workers_without_redis_are_pointed_out(folder: Path) -> None:
    """Each keeps limits by itself; one worker, a Redis, or no limit at all is no reason to speak."""
    several, redis = "[server]\nworkers = 4\n", '[storage]\nredis = "redis://127.0.0.1/0"\n'
    without_limits = "[limits]\nrequests_per_minute = 0\n"
    sentence = (
        "storage.redis is empty: each of the 4 workers keeps limits by itself, so together they allow 4 times as much"
    )

    assert sentence in warnings_of(several)
    for quiet in ("", several + redis, several + without_limits):
        assert not [warning for warning in warnings_of(quiet) if "storage.redis" in warning]


def test_values_that_cannot_stand_together_are_told_beside_a_wrong_one(folder: Path) -> None:
    """One run of `check` is enough, also where both faults are in one table."""
    billing = "[billing]\nfee_percent = -1\nminimum_recharge_usd = 20\nmaximum_recharge_usd = 10\n"
    stripe = "[stripe]\napi_key = 'sk_live_1'\nwebhook_secret = ''\napi_base = 'x'\n"

    assert [
        "find-token.toml:1: billing: expected minimum_recharge_usd to be at most maximum_recharge_usd",
        "find-token.toml:2: billing.fee_percent: expected a number of at least 0, found -1",
        "find-token.toml:5: stripe: expected webhook_secret beside a live api_key: without it no payment would be believed",
        "find-token.toml:8: stripe.api_base: expected an address that begins with http:// or https://, found 'x'",
    ] == faults_of(billing + stripe)


def test_an_unset_variable_says_what_is_off(folder: Path) -> None:
    """Unset and empty are the same: the feature is off, and the operator is told by which name."""
    expected = [
        "FIND_TOKEN_SECRET_KEY is not set: callers' own provider keys, and answers to repeat, cannot be stored",
        "STRIPE_API_KEY is not set: payments by Stripe are off",
        "STRIPE_WEBHOOK_SECRET is not set: webhooks of Stripe are refused",
        "SMTP_HOST is not set: no mail is sent: sign-in by e-mail and notices are off",
        "GOOGLE_CLIENT_ID is not set: signing in with Google is off",
        "GOOGLE_CLIENT_SECRET is not set: signing in with Google is off",
        "DEEPSEEK_API_KEY is not set: provider deepseek is off",
        "no provider is usable for: deepseek-chat",
    ]
    assert expected == warnings_of()
    assert expected == warnings_of(DEEPSEEK_API_KEY="")


def test_mails_in_a_folder_are_mails(folder: Path) -> None:
    """Nobody is told that sign-in by mail is off where it is not."""
    assert not [warning for warning in warnings_of('[mail]\nfolder = "mails"\n') if "SMTP_HOST" in warning]


def test_a_provider_with_another_key_goes_on(folder: Path) -> None:
    """One of several keys may be missing."""
    catalogue = CATALOGUE.replace('"${DEEPSEEK_API_KEY}"', '"${ONE}", "${TWO}"')
    warnings = warnings_of(catalogue=catalogue, TWO="sk-2")
    assert "ONE is not set: provider deepseek uses another of its keys" in warnings
    assert not [warning for warning in warnings if "usable" in warning]


def test_a_provider_without_any_key_is_pointed_out(folder: Path) -> None:
    """Leaving the keys out switches a provider off; that is said."""
    catalogue = CATALOGUE.replace('keys = ["${DEEPSEEK_API_KEY}"]', "keys = []")
    assert "provider deepseek has no key: it is off" in warnings_of(catalogue=catalogue)


def test_nothing_is_said_when_everything_is_there(folder: Path) -> None:
    """A complete configuration of what this version can do gives no warning, once it says where payment pages lead back."""
    everything = {"FIND_TOKEN_SECRET_KEY": SECRET_KEY, "DEEPSEEK_API_KEY": "sk-1"}
    stripe = {"STRIPE_API_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
    people = {"SMTP_HOST": "mail.example.com", "GOOGLE_CLIENT_ID": "id", "GOOGLE_CLIENT_SECRET": "secret"}
    public = "[server]\npublic_url = 'https://www.example.com'\n"
    assert [
        "stripe.return_hosts is empty: nobody can recharge, because no return address is allowed",
        "server.public_url is not set: people who sign in are led to this machine itself",
    ] == warnings_of(**everything, **stripe, **people)
    hosts = "[stripe]\nreturn_hosts = ['www.example.com']\n"
    assert [] == warnings_of(public + hosts, **everything, **stripe, **people)


def test_a_variable_elsewhere_that_is_not_set_is_pointed_out(folder: Path) -> None:
    """Also where emptiness switches nothing off."""
    catalogue = CATALOGUE.replace("context", 'description = "Runs in ${PLACE}"\ncontext')
    assert "PLACE is not set: models.deepseek-chat.description lacks it" in warnings_of(catalogue=catalogue)


def test_operators_who_cannot_sign_in_are_told(folder: Path) -> None:
    """Where there is neither mail nor Google; with either nothing is said."""
    operators = '[sign_in]\noperators = ["grace@example.com"]\n'

    assert any(warning.startswith("sign_in.operators") for warning in warnings_of(operators))
    for way in ('[mail]\nfolder = "mails"\n', '[google]\nclient_id = "us"\nclient_secret = "x"\n'):
        assert not any(warning.startswith("sign_in.operators") for warning in warnings_of(operators + way))

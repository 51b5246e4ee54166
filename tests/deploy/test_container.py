"""The image and the composition fit the gateway, as far as that can be tried without an engine for containers.

No engine builds or runs them here: their instructions are read, and what they do is done on this machine.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from proxy.config import load
from proxy.settings import Settings
from proxy.supervisor import GRACE_SECONDS
from tests.deploy.containers import DEPLOY, ROOT, compose, every, filled_in, image_environment, only, stages
from tests.fakes.redis_server import RedisServer
from tests.faults import processes
from tests.faults.pace import EXAM
from tests.faults.processes import started

SECRETS = {"POSTGRES_PASSWORD": "pw", "GRAFANA_PASSWORD": "pw", "FIND_TOKEN_SECRET_KEY": "A" * 43 + "="}
DATA, SETTINGS = "/var/lib/find-token", "/etc/find-token/find-token.toml"


def tracked() -> set[str]:
    """Every file of the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def copied() -> list[str]:
    """What the image takes from the repository."""
    return [source for copy in every("COPY") if "from" not in copy.options for source in copy.words[:-1]]


def test_everything_that_is_copied_is_there_and_is_let_through() -> None:
    """In the repository, not only on this machine; the list of what leaves the machine names it and nothing else."""
    files = tracked()
    let_through = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split("\n*\n")[1].split("**/")[0].split()

    assert [] == [name for name in copied() if not any(f"{file}/".startswith(f"{name}/") for file in files)]
    assert sorted(f"!{name}" for name in copied()) == sorted(let_through)


def test_the_packages_are_those_that_are_installed() -> None:
    """A package that is not copied would be missing in the image and nowhere else."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    packages = {name.partition(".")[0] for name in parser["options"]["packages"].split()}

    assert packages == {name for name in copied() if (ROOT / name).is_dir()}


def test_nothing_is_installed_without_a_hash() -> None:
    """What the lock names, as wheels; then the project, from what is there. The image that runs installs nothing."""
    first, second = [run.words for run in every("RUN") if "pip" in run.words]
    lock = (ROOT / "requirements-image.lock").read_text("utf-8")
    pins = [block for block in re.split(r"\n(?=\S)", lock) if not block.startswith("#")]

    assert {"--require-hashes", "--only-binary", ":all:", "requirements-image.lock"} <= set(first)
    assert {"--no-index", "--no-deps", "--no-build-isolation", "."} <= set(second)
    assert [] == [
        pin for pin in pins if not re.match(r"[a-z0-9-]+==\S+( ;.*)? \\\n    --hash=sha256:[0-9a-f]{64}", pin)
    ]
    assert [] == [run for run in stages()[-1] if "pip" in run.text]


def test_the_lock_of_the_image_is_the_lock_and_the_drivers() -> None:
    """What the tests run is what the image has; PostgreSQL and Redis can be reached."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==[^ ]+", (ROOT / name).read_text("utf-8"), re.MULTILINE))

    added = {pin.partition("==")[0] for pin in pins("requirements-image.lock") - pins("requirements.lock")}
    assert set() == pins("requirements.lock") - pins("requirements-image.lock")
    assert {"async-timeout", "hiredis", "psycopg2-binary", "redis"} == added
    assert {pin for pin in pins("requirements-image.lock") if pin.startswith(("psycopg2", "redis", "hiredis"))} <= pins(
        "requirements-dev.lock"
    )


def test_the_image_runs_as_nobody_and_has_no_secret() -> None:
    """A number, so that an engine can tell; nothing that looks like a secret is set, and no file with settings is copied but
    ours."""
    words = [word for name in ("ENV", "ARG") for instruction in every(name) for word in instruction.words]

    assert "10001:10001" == only("USER").text
    assert "SIGTERM" == only("STOPSIGNAL").text
    assert [] == [word for word in words if re.search(r"KEY|SECRET|PASSWORD|TOKEN=", word.partition("=")[0])]
    assert ["deploy/container.toml"] == [name for name in copied() if name.startswith("deploy")]
    assert {
        "server": {"listen", "admin_listen", "public_url"},
        "storage": {"database", "redis"},
    } == {name: set(table) for name, table in tomllib.loads((DEPLOY / "container.toml").read_text("utf-8")).items()}


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test's own."""
    server = RedisServer(tmp_path)
    server.start()
    yield server.url
    server.kill()


def gateway_environment(**instead: str) -> dict[str, str]:
    """The environment of the composition's gateway over that of the image; ``instead`` of its own addresses."""
    service = compose()["services"]["gateway"]
    return (
        image_environment()
        | {name: filled_in(text, SECRETS) for name, text in service["environment"].items()}
        | instead
    )


async def test_the_gateway_starts_as_the_image_and_the_composition_say(
    tmp_path: Path, postgres_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry point with its settings and environment serves, is healthy by its own check, and stops by its own signal."""
    settings = tmp_path / "find-token.toml"
    text = (DEPLOY / "container.toml").read_text("utf-8")
    settings.write_text(re.sub(r'"0\.0\.0\.0:\d+"', '"127.0.0.1:0"', text), "utf-8")
    given = gateway_environment(
        FIND_TOKEN_DATABASE=postgres_database_url, FIND_TOKEN_REDIS=redis_url, DEEPSEEK_API_KEY="sk-of-a-test"
    )
    program, *options = [str(settings) if word == SETTINGS else word for word in only("ENTRYPOINT").words]
    assert "find-token" == program
    monkeypatch.setattr(processes, "ENVIRONMENT", given | {"PATH": os.environ["PATH"]})

    async with started(tmp_path, *options, *only("CMD").words) as running, aiohttp.ClientSession() as session:
        async with session.get(f"{running.told['admin_url']}/readyz") as ready:
            told = await ready.json()
        async with session.get(f"{running.url}/v1/models") as models:
            listed = await models.json()
        check = only("HEALTHCHECK").words
        healthy = [word.replace("http://127.0.0.1:9090", running.told["admin_url"]) for word in check]
        checked = subprocess.run([sys.executable, *healthy[1:]], capture_output=True, text=True, check=False)
        assert 0 == await running.stop()

    assert {"status": "ready"} == told
    assert (True, 200) == (len(listed["data"]) > 0, models.status)
    assert ("python", 0, "") == (check[0], checked.returncode, checked.stderr)


def test_what_the_composition_sets_is_read() -> None:
    """Every variable of the gateway is one that its settings, their defaults or the shipped catalogue look up, and the other
    way round; the settings are without fault."""
    given = gateway_environment()
    loaded = load(DEPLOY / "container.toml", given)
    text = (DEPLOY / "container.toml").read_text("utf-8") + (ROOT / "providers" / "catalogue.toml").read_text("utf-8")
    extras = [
        field.json_schema_extra
        for section in Settings.model_fields.values()
        for field in getattr(section.annotation, "model_fields", {}).values()
    ]
    read = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    read |= {str(extra["environment"]) for extra in extras if isinstance(extra, dict)}

    assert read == set(compose()["services"]["gateway"]["environment"])
    assert "postgresql://find_token:pw@postgres:5432/find_token" == loaded.settings.storage.database
    assert (
        f"sqlite:///{DATA}/find-token.db"
        == load(DEPLOY / "container.toml", image_environment()).settings.storage.database
    )


def test_the_services_fit_each_other() -> None:
    """Who is waited for is there and healthy, files that are mounted are in the repository, time to settle is given, and the
    public reaches nothing but the API."""
    services: Mapping[str, Mapping[str, Any]] = compose()["services"]
    waited = {name for service in services.values() for name in service.get("depends_on", {})}
    mounted = [
        volume.partition(":")[0]
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ]
    settle = int(services["gateway"]["stop_grace_period"].removesuffix("s"))
    published = [port for service in services.values() for port in service.get("ports", ())]

    assert {"gateway", "migrate", "postgres", "redis", "prometheus", "grafana"} == set(services)
    assert {"migrate", "postgres", "redis"} == waited
    assert [] == [name for name in ("postgres", "redis") if "healthcheck" not in services[name]]
    assert set() == {os.path.normpath(f"deploy/{name}") for name in mounted} - tracked()
    assert settle > Settings().server.shutdown_seconds + GRACE_SECONDS
    assert ["8080:8080", "127.0.0.1:3000:3000"] == published
    assert services["gateway"]["ulimits"]["nofile"] >= 2 * Settings().server.max_connections
    assert [] == [
        name for name, service in services.items() if ":" not in service["image"] + ":" * ("build" in service)
    ]


def test_secrets_must_be_given_and_stand_nowhere() -> None:
    """Compose refuses to start without them, instead of starting with something that everybody knows."""
    text = (DEPLOY / "compose.yml").read_text("utf-8")
    for name in SECRETS:
        assert [] == re.findall(rf"\$\{{{name}(?!:\?)", text)
        with pytest.raises(KeyError):
            filled_in(f"${{{name}:?x}}", {})
    assert set() == set(re.findall(r"\$\{([A-Z_]+):\?", text)) - set(SECRETS)


def test_prometheus_and_grafana_are_given_what_deploy_has() -> None:
    """The same scraping of another address, the rules, the dashboard, and a source by the name that compose gives it."""
    ours, theirs = [
        "\n".join(line for line in (DEPLOY / name).read_text("utf-8").splitlines() if not line.startswith("#"))
        for name in ("prometheus.yml", "compose/prometheus.yml")
    ]
    source = yaml.safe_load((DEPLOY / "compose" / "datasource.yml").read_text("utf-8"))["datasources"][0]
    (provider,) = yaml.safe_load((DEPLOY / "compose" / "dashboards.yml").read_text("utf-8"))["providers"]
    grafana = compose()["services"]["grafana"]

    assert ours.replace("127.0.0.1:9090", "gateway:9090", 1) == theirs
    assert ("prometheus", "http://prometheus:9090", True) == (source["type"], source["url"], source["isDefault"])
    assert f"./grafana.json:{provider['options']['path']}/grafana.json:ro" in grafana["volumes"]


def install(source: Path, home: Path) -> set[str]:
    """Take the steps of the image's first stage on this machine; what is installed then, as paths."""
    for step in stages()[0]:
        if step.name == "COPY":
            for name in step.words[:-1]:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
                copy(ROOT / name, source / name)
        elif step.name == "RUN" and EXAM:
            script = step.text.replace("/opt/find-token", str(home))
            script = f"{sys.executable} {script.removeprefix('python ')}" if script.startswith("python ") else script
            subprocess.run(["bash", "-ec", script], cwd=source, check=True)
    if not EXAM:
        # The packages of the lock take a minute and a registry; the project alone does not.
        build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
        subprocess.run([sys.executable, "-c", build, home], cwd=source, check=True, capture_output=True)
        (wheel,) = home.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return set(archive.namelist())
    subprocess.run([home / "bin" / "find-token", "check"], cwd=source, check=True)
    (site,) = home.glob("lib/python*/site-packages")
    return {str(path.relative_to(site)) for path in site.rglob("*")}


@pytest.mark.timeout(0 if EXAM else 120)
def test_the_steps_of_the_image_install_the_gateway(tmp_path: Path) -> None:
    """From what is copied alone: every module, the catalogue, the pages. The exam takes every step, packages of the lock
    included, and starts the command."""
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    home.mkdir()

    installed = install(source, home)

    folders = {name for name in copied() if (ROOT / name).is_dir()}
    assert set() == {file for file in tracked() if file.partition("/")[0] in folders} - installed

"""The description of the API names every route that is served, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from console.openapi import OPERATIONS, PATH, UNDER_NO_BASE, describe
from middlewares.errors import CODES
from providers.catalogue import build, load_shipped
from proxy.app import Gateway as Process
from proxy.pages import ROUTES as PAGES
from proxy.settings import Settings
from storage.database import open_database
from tests.gateway import Gateway


def references(node: Any) -> set[str]:
    """Every `$ref` in a document."""
    if isinstance(node, dict):
        found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return found.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_every_route_is_described_and_every_description_is_served() -> None:
    """Under both bases, whatever is added; pages for people are no part of the API."""
    application = Process(Settings(), build(load_shipped()), open_database("sqlite:///never.db")).public_application()

    served = {
        (route.method, route.resource.canonical)
        for route in application.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }

    described = set(OPERATIONS) | {(method, f"/api{path}") for method, path in OPERATIONS if path not in UNDER_NO_BASE}
    assert described == served - set(PAGES)


async def test_it_is_served_to_anybody(gateway: Gateway) -> None:
    """As JSON, without a key, and with nothing in it that belongs to this gateway or its callers."""
    page = await gateway.get(PATH)

    assert (200, "application/json") == (page.status, page.headers["Content-Type"].partition(";")[0])
    assert "3.1.0" == page.json["openapi"]
    for secret in (gateway.key, gateway.account_id, gateway.database_url, "canary", "127.0.0.1"):
        assert secret.encode() not in page.body


def test_it_holds_together() -> None:
    """References lead somewhere, names are given once, every answer and every error has a schema."""
    document = describe(OPERATIONS, "1.2.3")

    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert references(document) <= named
    assert len(OPERATIONS) == len({operation["operationId"] for operation in operations})
    assert "1.2.3" == document["info"]["version"]
    json.dumps(document, allow_nan=False)
    statuses = {status for status, _ in CODES.values()}
    for operation in operations:
        for status, response in operation["responses"].items():
            assert all("schema" in media for media in response.get("content", {}).values())
            assert int(status) < 300 or int(status) in statuses | {303}


def test_bodies_are_those_that_are_read() -> None:
    """A body's required fields are required, and an unknown one is not allowed; calls pass unknown fields on."""
    schemas = describe(OPERATIONS, "0")["components"]["schemas"]
    chat = describe(OPERATIONS, "0")["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]

    assert (["name"], False) == (schemas["NewKey"]["required"], schemas["NewKey"]["additionalProperties"])
    assert {"provider", "api_key", "name"} == set(schemas["NewProviderKey"]["required"])
    schema = chat["application/json"]["schema"]
    assert ["model", "messages"] == schema["required"]
    assert ["boolean", "null"] == schema["properties"]["stream"]["type"]
    embeddings = describe(OPERATIONS, "0")["paths"]["/v1/embeddings"]["post"]
    wanted = embeddings["requestBody"]["content"]["application/json"]["schema"]
    assert ["model", "input"] == wanted["required"]
    assert (["float", "base64", None], ["integer", "null"]) == (
        wanted["properties"]["encoding_format"]["enum"],
        wanted["properties"]["dimensions"]["type"],
    )
    assert {"402", "503"} <= embeddings["responses"].keys()
    assert "stream" not in wanted["properties"]
    assert "byok_then_credits" in schema["properties"]["payer"]["enum"]
    assert "additionalProperties" not in schema

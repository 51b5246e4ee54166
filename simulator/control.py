"""The simulator's own routes, under `/_simulator/`: reading the journal, ordering faults, changing settings.

| route | does |
| --- | --- |
| `GET /_simulator/journal?provider=&since=` | the list of calls received, oldest first |
| `DELETE /_simulator/journal` | forgets every call |
| `PUT /_simulator/settings` | changes settings of all providers |
| `GET`, `PUT /_simulator/{provider}/settings` | shows or changes settings of one |
| `POST /_simulator/{provider}/faults` | puts orders behind those that wait: a list of orders, or one |
| `GET`, `DELETE /_simulator/{provider}/faults` | tells how many orders wait; forgets them |
| `PUT /_simulator/{provider}/down` | `{"down": true}` refuses every call until it is `false` |

What cannot be understood is answered 400 with `{"error": "a sentence"}`, and changes nothing.
"""

import dataclasses
import json
from typing import Any

from aiohttp import web

from simulator.faults import MalformedOrder, read_order
from simulator.settings import MalformedSettings, change_settings
from simulator.state import ProviderState, SimulatorState


class ControlRoutes:
    """The routes with which tests and demos steer a simulator."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Put the routes into an application's router."""
        router.add_get("/_simulator/journal", self.read_journal)
        router.add_delete("/_simulator/journal", self.clear_journal)
        router.add_put("/_simulator/settings", self.change_all_settings)
        router.add_get("/_simulator/{provider}/settings", self.read_settings)
        router.add_put("/_simulator/{provider}/settings", self.change_provider_settings)
        router.add_get("/_simulator/{provider}/faults", self.count_faults)
        router.add_post("/_simulator/{provider}/faults", self.add_faults)
        router.add_delete("/_simulator/{provider}/faults", self.clear_faults)
        router.add_put("/_simulator/{provider}/down", self.set_down)

    async def read_journal(self, request: web.Request) -> web.Response:
        """The calls received, of one provider or all, after a number or all."""
        since = request.query.get("since", "0")
        if not since.isdecimal():
            raise _refused(f"since must be the number of a call, not {since!r}")
        provider = request.query.get("provider", "")
        if provider:
            self._named(provider)
        calls = self._state.journal.calls(provider, int(since))
        return web.json_response([call.shown() for call in calls])

    async def clear_journal(self, _request: web.Request) -> web.Response:
        """Forget every call."""
        self._state.journal.clear()
        return web.json_response({})

    async def change_all_settings(self, request: web.Request) -> web.Response:
        """Change settings of every provider, or of none when one is wrong."""
        fields = await _object(request)
        try:
            changed = {
                name: change_settings(provider.settings, fields) for name, provider in self._state.providers.items()
            }
        except MalformedSettings as error:
            raise _refused(str(error)) from error
        for name, settings in changed.items():
            self._state.providers[name].change(settings)
        return web.json_response({})

    async def read_settings(self, request: web.Request) -> web.Response:
        """The settings of one provider."""
        return web.json_response(dataclasses.asdict(self._provider(request).settings))

    async def change_provider_settings(self, request: web.Request) -> web.Response:
        """Change settings of one provider; the answer shows them all."""
        provider = self._provider(request)
        try:
            provider.change(change_settings(provider.settings, await _object(request)))
        except MalformedSettings as error:
            raise _refused(str(error)) from error
        return web.json_response(dataclasses.asdict(provider.settings))

    async def count_faults(self, request: web.Request) -> web.Response:
        """How many orders wait."""
        return web.json_response({"waiting": len(self._provider(request).orders)})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Put one order or a list of orders behind those that wait; none of them when one is wrong."""
        provider = self._provider(request)
        value = await _json(request)
        try:
            provider.orders.add([read_order(item) for item in (value if isinstance(value, list) else [value])])
        except MalformedOrder as error:
            raise _refused(str(error)) from error
        return web.json_response({"waiting": len(provider.orders)})

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Forget the orders that wait."""
        self._provider(request).orders.clear()
        return web.json_response({"waiting": 0})

    async def set_down(self, request: web.Request) -> web.Response:
        """Take a provider down, or up again."""
        provider = self._provider(request)
        down = (await _object(request)).get("down")
        if not isinstance(down, bool):
            raise _refused("down must be true or false")
        provider.down = down
        return web.json_response({"down": down})

    def _provider(self, request: web.Request) -> ProviderState:
        return self._named(request.match_info["provider"])

    def _named(self, name: str) -> ProviderState:
        provider = self._state.providers.get(name)
        if provider is None:
            raise _refused(f"there is no provider {name!r}; there are {', '.join(self._state.providers)}", 404)
        return provider


async def _json(request: web.Request) -> Any:
    """The JSON body of a control request."""
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise _refused(f"the body is not JSON: {error}") from error


async def _object(request: web.Request) -> dict[str, Any]:
    """The JSON body of a control request, which must be an object."""
    value = await _json(request)
    if not isinstance(value, dict):
        raise _refused("the body must be a JSON object")
    return value


def _refused(sentence: str, status: int = 400) -> web.HTTPException:
    """The answer to a control request that cannot be carried out."""
    kind = web.HTTPNotFound if status == 404 else web.HTTPBadRequest
    return kind(text=json.dumps({"error": sentence}), content_type="application/json")

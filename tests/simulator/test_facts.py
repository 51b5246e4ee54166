"""simulator/facts.py: names, keys and addresses that others configure themselves with."""

import pytest

from simulator.facts import KEYS, MODELS, PROVIDERS, base_url


def test_every_provider_has_a_key_and_models() -> None:
    """No provider can be named that could not be called."""
    assert set(PROVIDERS) == set(KEYS) == set(MODELS)
    assert all(MODELS[provider] for provider in PROVIDERS)


def test_the_models_the_vendors_retired_are_not_sold() -> None:
    """The guides' old names must be refused, as they are at the vendors."""
    gone = {"deepseek-chat", "deepseek-reasoner", "qwen-max", "qwen-turbo", "kimi-k2", "moonshot-v1-8k"}
    sold = {model for models in MODELS.values() for model in models}
    assert set() == gone & sold


@pytest.mark.parametrize("root", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/"])
def test_base_url_is_the_address_before_the_route(root: str) -> None:
    """What comes back can be put before `/chat/completions`, slash at the root or not."""
    assert base_url(root, "kimi") == "http://127.0.0.1:8000/kimi"


def test_base_url_of_an_unknown_provider_is_refused() -> None:
    """A misspelt provider is found when it is configured, not when it is called."""
    with pytest.raises(KeyError):
        base_url("http://127.0.0.1:8000", "kimmi")

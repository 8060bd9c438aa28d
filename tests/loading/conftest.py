"""Libraries that may not be there, or only in part."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roofline.loading import libraries

STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails what opens a socket, or looks up a name."""

    def refuse(*given: Any, **_: Any) -> None:
        raise AssertionError(f"reached for the network: {given}")

    for place, name in ((socket, "getaddrinfo"), (socket, "create_connection"), (socket.socket, "connect")):
        monkeypatch.setattr(place, name, refuse)


@pytest.fixture
def torchvision_stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In place of torchvision, a package that imports only once somebody has declared the ops of its compiled part."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of(name, "torchvision", "timm")}
    monkeypatch.syspath_prepend(STAND_INS)
    _forget()
    yield
    _forget()
    for name in [name for name in sys.modules if _is_of(name, "torchvision", "timm")]:
        del sys.modules[name]
    sys.modules.update(hidden)


@pytest.fixture
def timm(no_network: None, request: pytest.FixtureRequest) -> None:
    """timm, with a stand-in for torchvision where only that is missing."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install timm")
    if importlib.util.find_spec("torchvision") is None:
        request.getfixturevalue("torchvision_stand_in")


def _is_of(name: str, *packages: str) -> bool:
    return name.partition(".")[0] in packages


def _forget() -> None:
    for known in (libraries.names, libraries._timm, libraries._torchvision, libraries.torchvision_or_none):
        known.cache_clear()

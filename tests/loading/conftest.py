"""Libraries that may not be there, or only in part."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from roofline.loading import libraries
from roofline.loading.absent import is_of

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
    hidden = _hide("torchvision", "timm")
    monkeypatch.syspath_prepend(STAND_INS)
    yield
    _hide("torchvision", "timm")
    sys.modules.update(hidden)


@pytest.fixture
def timm(no_network: None) -> None:
    """timm, with or without torchvision."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install --no-deps timm")


@pytest.fixture
def fresh_timm(timm: None) -> Iterator[None]:
    """timm as if it had never been imported, nor torchvision."""
    hidden = _hide("torchvision", "timm")
    yield
    _hide("torchvision", "timm")
    sys.modules.update(hidden)


def _hide(*packages: str) -> dict[str, ModuleType]:
    """Take what was imported of them out of the import system, and out of what roofline remembers."""
    for known in (libraries.names, libraries._timm, libraries._torchvision, libraries.torchvision_or_none):
        known.cache_clear()
    return {name: sys.modules.pop(name) for name in list(sys.modules) if any(is_of(name, one) for one in packages)}

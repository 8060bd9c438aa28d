"""The collector is off while something is made, and afterwards as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from roofline.errors import TraceError
from roofline.garbage import collection_paused
from roofline.layers import lower
from roofline.trace import trace


@pytest.fixture(autouse=True)
def _collector_as_it_was() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was_enabled else gc.disable)()


def test_it_is_off_inside_and_on_afterwards() -> None:
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled(), "the inner one found it off"
    assert gc.isenabled()


def test_who_has_it_off_keeps_it_off() -> None:
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


def test_it_is_on_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), collection_paused():
        1 / 0  # noqa: B018
    assert gc.isenabled()


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not gc.isenabled()
        return x.reshape(7)


def test_tracing_and_lowering_leave_it_on() -> None:
    graph = trace(nn.Linear(4, 4), torch.zeros(1, 4))
    assert gc.isenabled()
    lower(graph)
    assert gc.isenabled()
    with pytest.raises(TraceError, match="shape"):
        trace(Fails(), torch.zeros(1, 4))
    assert gc.isenabled()

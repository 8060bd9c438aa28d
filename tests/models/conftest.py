"""What the tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.flops import Macs


@pytest.fixture
def shapes_alone() -> Iterator[None]:
    """Networks on the meta device are followed for their shapes, ten times as fast as PyTorch alone does."""
    with torch.no_grad(), Macs():
        yield

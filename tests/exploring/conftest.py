"""What the tests of runs share: the dataset of a small space as one process makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exploring.runs import alone, tiny


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The dataset of `tiny(n)` as one process makes it in one go, made once."""
    made: dict[int, Path] = {}

    def of(n: int) -> Path:
        if n not in made:
            made[n] = tmp_path_factory.mktemp("whole") / "run"
            alone(tiny(n), made[n])
        return made[n]

    return of

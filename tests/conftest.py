"""What all tests share: golden files, and the command line run in this process."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Each of over a hundred properties; `pytest --hypothesis-profile default` tries 100 examples of each, its own number.
settings.register_profile("suite", max_examples=40)
settings.load_profile("suite")

# before torch is imported: on small tensors, threads that wait for each other are slower than one
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ROOFLINE_NO_CACHE"] = "1"  # tests judge what is computed, not what an earlier run has kept

GOLDEN = Path(__file__).parent / "golden"
COLOUR_VARIABLES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run every case of tests that are 'sampled'")
    parser.addoption("--overwrite", action="store_true", help="write golden files anew instead of comparing with them")


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    config.addinivalue_line(
        "markers", "sampled(every): of the cases of this test only one of so many is run, and with --all each of them"
    )


def pytest_collectreport() -> None:
    """What a module of tests has imported and made stays, and no collection while others follow has to look at it."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cases that say the same of one network after the other are sampled: all of them take minutes."""
    if config.getoption("all"):
        return
    seen: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("sampled")
        test = item.nodeid.partition("[")[0]
        (left if mark is not None and seen[test] % mark.args[0] else kept).append(item)
        seen[test] += 1
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture(autouse=True, scope="module")
def _light_collections() -> Iterator[None]:
    """What earlier tests left in the process does not slow the collections that a measurement asks for."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """The same network of the zoo is built once for a module's tests, and traced once for each shape of its inputs.

    For tests of what is made of traces: what a trace is has tests of its own.
    """
    from torch import Tensor

    from roofline import loading, models
    from roofline import trace as tracing

    load, trace = loading.load, tracing.trace
    loaded: dict[str, Any] = {}
    traced: dict[tuple[Any, ...], Any] = {}

    def load_once(reference: str, **asked: Any) -> Any:
        if not models.knows(reference) or asked.get("weights"):
            return load(reference, **asked)
        key = repr((reference, sorted(asked.items())))
        if key not in loaded:
            loaded[key] = load(reference, **asked)
        return loaded[key]

    def trace_once(module: Any, inputs: Any) -> Any:
        tensors = inputs if isinstance(inputs, tuple) else (inputs,)
        is_kept = any(module is one.module for one in loaded.values())  # no other module gets its id
        if not is_kept or not all(isinstance(tensor, Tensor) for tensor in tensors):
            return trace(module, inputs)
        key = (id(module), *((tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors))
        if key not in traced:
            traced[key] = trace(module, inputs)
        return traced[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", load_once)
        patch.setattr(tracing, "trace", trace_once)
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME``; with ``--overwrite``, write it there. Blanks at line ends are free."""

    def check(text: str, name: str) -> None:
        stripped = "\n".join(line.rstrip() for line in text.split("\n"))
        path = GOLDEN / name
        if request.config.getoption("overwrite"):
            path.write_text(stripped, encoding="utf-8")
        else:
            assert stripped == path.read_text(encoding="utf-8"), f"{name} differs; pytest --overwrite takes it over"

    return check


@pytest.fixture
def user_modules(tmp_path: Path) -> Iterator[None]:
    """Forget afterwards what a test's own model files left in the import system."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        folders = getattr(getattr(module, "__spec__", None), "submodule_search_locations", None)  # it has no file
        places = [getattr(module, "__file__", None), *(folders or ())]
        if any(str(place or "").startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, user_modules: None
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``roofline ARGUMENTS`` in this process, on 80 columns and without colours unless the test says so."""
    from roofline.cli import main

    for variable in COLOUR_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        given = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["roofline", *given])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        code = leaving.value.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(given, code if isinstance(code, int) else 1, out, err)

    return run

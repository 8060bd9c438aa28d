"""What was fitted and kept estimates as what was fitted just now, and is made again whenever it might not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from roofline.cache_folder import FITS, clear, contents, path_of, write
from roofline.calibration import fitted_cache, fitting, records
from roofline.calibration.ablations import ablations
from roofline.calibration.data import Calibration
from roofline.calibration.estimators import Estimate, Estimator, estimators
from roofline.calibration.file import from_bytes, save, to_bytes
from roofline.calibration.fitting import Fitted, fit
from roofline.calibration.profile import profile_of
from roofline.graph import Graph
from roofline.measurement.environment import environment
from roofline.trace import trace
from tests.calibration import known_laws, test_clocks, test_compiled
from tests.test_cache import RUN

MODEL = "mobilenetv4_conv_s"
FITTING = {"sklearn", "scipy", "threadpoolctl"}

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own, and nothing fitted in this process."""
    place = tmp_path / "cache"
    monkeypatch.delenv("ROOFLINE_NO_CACHE", raising=False)
    monkeypatch.setenv("ROOFLINE_CACHE_DIR", str(place))
    fit.cache_clear()
    return place


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Calibration]:
    """The calibrations that were fitted to, and so not found in the cache."""
    found: list[Calibration] = []
    real = fitting._fit

    def counted(calibration: Calibration) -> Fitted:
        found.append(calibration)
        return real(calibration)

    monkeypatch.setattr(fitting, "_fit", counted)
    return found


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(),
    )  # fmt: skip


@cache
def traced(width: int, side: int, memory_format: torch.memory_format = torch.contiguous_format) -> Graph:
    with torch.device("meta"):
        net = nn.Sequential(block(width, 2 * width), block(2 * width, width), nn.Softmax(1), nn.Flatten())
    image = torch.empty(1, width, side, side, device="meta").to(memory_format=memory_format)
    return trace(net.to(memory_format=memory_format).eval(), image)  # type: ignore[call-overload]  # torch has it


def eager() -> Calibration:
    sizes = [(width, side) for width in (16, 40, 80) for side in (14, 28, 56)]
    return known_laws.of_graphs({f"net{number}": traced(*size) for number, size in enumerate(sizes)})


def channels_last() -> Calibration:
    sizes = [(width, side) for width in (16, 40, 80) for side in (14, 28, 56)]
    graphs = {f"net{number}": traced(*size, torch.channels_last) for number, size in enumerate(sizes)}
    return replace(known_laws.of_graphs(graphs), mode="channels_last")


def small() -> Calibration:
    """Of which nothing is learned, so that a fit takes no time."""
    return known_laws.calibration(1, 30)


CALIBRATIONS: Mapping[str, Callable[[], Calibration]] = {
    "eager": eager,
    "channels_last": channels_last,
    "compile": test_compiled.calibration,
    "cuda": lambda: test_clocks.on_cuda(known_laws.calibration(6, 30, noise=0.1)),
    "few": small,
    "without networks": lambda: known_laws.calibration(6, 30, noise=0.3, wholes=False),
}


def graphs() -> list[Graph]:
    """Of sizes that were measured, of others, and in either layout."""
    return [traced(32, 28), traced(40, 28), traced(200, 112), traced(32, 28, torch.channels_last)]


def content(value: Any) -> Any:
    """All of a record, to the last bit."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value):
        return {field.name: content(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: content(item) for key, item in value.items()}
    return [content(item) for item in value] if isinstance(value, tuple) else repr(value)


def estimates(found: Mapping[str, Estimator]) -> dict[str, list[Estimate]]:
    return {name: [content(each.estimate(graph)) for graph in graphs()] for name, each in found.items()}


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", CALIBRATIONS)
def test_estimates_are_the_same_to_the_last_bit(mode: str, fits: list[Calibration]) -> None:
    calibration = CALIBRATIONS[mode]()
    anew = estimators(calibration, None, cached=False)
    assert contents().entries == 0
    first = estimators(calibration, None)
    assert contents().held[FITS].entries == 1
    fit.cache_clear()
    again = estimators(from_bytes(to_bytes(calibration)), None)
    assert len(fits) == 2
    assert list(anew) == list(again)
    assert estimates(anew) == estimates(first) == estimates(again)
    for one, other in zip(anew.values(), again.values(), strict=True):
        assert content(one.fitted) == content(other.fitted)  # type: ignore[attr-defined]


def test_so_are_those_without_a_part_each_with_an_entry_of_its_own(fits: list[Calibration]) -> None:
    calibration = small()
    first = ablations(calibration, "calibrated")
    fitted = len(fits)
    fit.cache_clear()
    again = ablations(calibration, "calibrated")
    assert len(fits) == fitted == contents().entries > 3
    assert estimates(first) == estimates(again)


def test_without_scikit_learn_it_says_so_from_the_cache_too(
    fits: list[Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration, version = eager(), metadata.version
    fit(calibration)

    def missing(name: str) -> str:
        if name == "scikit-learn":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    monkeypatch.setattr(metadata, "version", missing)
    for _ in range(2):
        fit.cache_clear()
        assert "pip install" in fit(calibration).why_not_learned
    assert len(fits) == 2


# --- commands ---------------------------------------------------------------------------------------------------------


def local(calibration: Calibration, place: Path) -> Path:
    """A profile that was calibrated in this environment."""
    made = replace(calibration, environment=environment(), threads=environment()["threads"]["intra_op"])
    save(made, place / "local.calibration.npz")
    (place / "local.yaml").write_text(profile_of(made, "local", file="local.calibration.npz"))
    return place / "local.yaml"


def test_a_second_process_says_the_same_and_imports_nothing_to_fit_with(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    profile = local(known_laws.calibration(8, 30, noise=0.02), tmp_path)
    given = ["analyze", MODEL, "--hw", str(profile), "--no-present", "--format", "json"]
    fitted_cache._source_digest.cache_clear()  # somebody may be at work on the sources
    first = command(*given)
    assert contents().held[FITS].entries == 1
    again = subprocess.run([sys.executable, "-c", RUN, json.dumps([given])], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{first.stdout}\f"
    assert '"estimator": "learned"' in first.stdout
    assert not FITTING & set(again.stderr.split())


def test_the_options_and_the_environment_say_whether(
    command: Command, tmp_path: Path, fits: list[Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = local(small(), tmp_path)

    def is_fitted(*options: str) -> bool:
        before = len(fits)
        fit.cache_clear()
        assert command("analyze", MODEL, "--hw", profile, "--no-present", *options).returncode == 0
        return len(fits) > before

    assert is_fitted("--no-cache")
    assert contents().entries == 0
    monkeypatch.setenv("ROOFLINE_NO_CACHE", "1")
    assert is_fitted()
    assert contents().entries == 0
    assert is_fitted("--cache")
    assert not is_fitted("--cache")
    monkeypatch.delenv("ROOFLINE_NO_CACHE")
    assert not is_fitted()
    assert is_fitted("--no-cache")


# --- what an entry depends on -----------------------------------------------------------------------------------------


def test_whatever_is_in_a_calibration_counts() -> None:
    calibration = known_laws.calibration(2, 10)
    ops = calibration.ops
    later = np.nextafter(ops.time_s, 1)
    others = [
        replace(calibration, ops=replace(ops, time_s=later)),
        replace(calibration, ops=replace(ops, samples=ops.samples + 1)),
        replace(calibration, ops=replace(ops, kernel=np.full(len(ops), "gemm"))),
        replace(calibration, mode="channels_last"),
        replace(calibration, dtype="bf16"),
        replace(calibration, environment={"device": {"type": "cuda"}}),
        replace(calibration, terms=tuple(reversed(calibration.terms))),
        known_laws.calibration(2, 10, wholes=False),
    ]
    keys = [fitted_cache.key_of(each) for each in (calibration, *others)]
    assert len(set(keys)) == len(keys)
    assert fitted_cache.key_of(known_laws.calibration(2, 10)) == keys[0]
    read = from_bytes(to_bytes(calibration))
    assert fitted_cache.key_of(read) == fitted_cache.key_of(from_bytes(to_bytes(read)))


@pytest.mark.parametrize("package", ["numpy", "scipy", "scikit-learn"])
def test_another_version_is_another_entry(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration, version = known_laws.calibration(1, 10), metadata.version
    before = fitted_cache.key_of(calibration)
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == package else version(name))
    assert fitted_cache.key_of(calibration) != before


@pytest.mark.parametrize("name", ["roofline.__version__", "platform.python_version"])
def test_so_is_another_version_of_roofline_or_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = known_laws.calibration(1, 10)
    before = fitted_cache.key_of(calibration)
    monkeypatch.setattr(name, (lambda: "3.99") if name.startswith("platform") else "99.0")
    assert fitted_cache.key_of(calibration) != before


def test_another_line_of_what_fits_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in Path(fitted_cache.__file__).parent.glob("*.py"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    digest = fitted_cache._source_digest.__wrapped__
    before = digest()
    monkeypatch.setattr(fitted_cache, "__file__", str(tmp_path / "fitted_cache.py"))
    assert digest() == before
    (tmp_path / "physics.py").write_bytes((tmp_path / "physics.py").read_bytes() + b"# a change\n")
    assert digest() != before


# --- what may happen to it --------------------------------------------------------------------------------------------


def test_what_is_damaged_is_made_again(fits: list[Calibration]) -> None:
    calibration = small()
    fit(calibration)
    entry = path_of(FITS, fitted_cache.key_of(calibration))
    whole = entry.read_bytes()
    middle = len(whole) // 2
    for damaged in (b"", whole[:-1], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole + b"x"):
        entry.write_bytes(damaged)
        before = len(fits)
        fit.cache_clear()
        fit(calibration)
        assert len(fits) == before + 1
        assert entry.read_bytes() == whole


def test_what_is_whole_and_of_something_else_is_made_again(fits: list[Calibration]) -> None:
    """An entry of another calibration under this name, and what somebody else has written with a true checksum."""
    calibration, other = small(), known_laws.calibration(1, 40)
    fit(calibration)
    fit(other)
    key = fitted_cache.key_of(calibration)
    path_of(FITS, key).write_bytes(path_of(FITS, fitted_cache.key_of(other)).read_bytes())
    assert fitted_cache.find(key) is None
    for body in (b"", b"PK", records.to_bytes(fit(calibration).host), b"\x80\x04K\x01."):
        write(FITS, key, body)
        assert fitted_cache.find(key) is None
    fit.cache_clear()
    fit(calibration)
    assert len(fits) == 3
    assert fitted_cache.find(key) is not None


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: list[Calibration]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROOFLINE_CACHE_DIR", str(tmp_path / "file"))
    calibration = small()
    fit(calibration)
    fit.cache_clear()
    fit(calibration)
    assert len(fits) == 2


def test_what_cannot_be_kept_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = replace(fit(small()), why_not_learned=None)  # type: ignore[arg-type]
    clear()
    fitted_cache.store("0" * 64, fitted)
    assert contents().entries == 0


def test_writers_and_readers_do_not_wait_for_each_other(folder: Path, fits: list[Calibration]) -> None:
    calibration = small()
    expected = content(fitting._fit(calibration))

    def work(number: int) -> bool:
        key = fitted_cache.key_of(calibration)
        for _ in range(5):
            fitted_cache.store(key, fitted)
            if content(fitted_cache.find(key)) != expected:
                return False
        return True

    fitted = fit(calibration)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert [path.suffix for path in folder.iterdir()] == [".fit"]

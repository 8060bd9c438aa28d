"""A calibration as a profile: its ceilings, where they come from, and nothing else that changes a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from roofline.calibration.data import Calibration
from roofline.calibration.file import load, save
from roofline.calibration.profile import profile_of
from roofline.errors import ProfileError
from roofline.hardware import Hardware
from roofline.profile_check import check_profile
from roofline.profiles import load_profile
from tests.calibration.made import ENVIRONMENT, make_calibration, make_ceilings


def written(calibration: Calibration, folder: Path, **how: Any) -> Hardware:
    (folder / "local.yaml").write_text(profile_of(calibration, "local", **how))
    return load_profile(folder / "local.yaml")


def test_it_is_a_plain_roofline_of_measured_ceilings(tmp_path: Path) -> None:
    device = written(make_calibration(), tmp_path)
    assert (device.id, device.name, device.device_class) == ("local", "Test CPU, 2 threads, eager", "cpu")
    assert device.peak_macs_per_s == {"fp32": 120e9, "bf16": 230e9}  # the same threads
    assert device.bandwidth_bytes_per_s == 44e9
    assert device.ridge_point("fp32") == pytest.approx(120 / 44)
    assert (device.default_fusion, device.fused_activations) == ("none", frozenset())
    assert device.is_plain
    assert device.latency_kind("fp32") == "prediction"
    assert device.calibration is None


def test_each_figure_says_what_measured_it(tmp_path: Path) -> None:
    command = "roofline calibrate --device cpu --threads 2 --dtype fp32 --mode eager, 2025-03-01, torch 2.9.0."
    figures = written(make_calibration(), tmp_path).figures
    assert set(figures) == {"peak_macs_per_s.fp32", "peak_macs_per_s.bf16", "bandwidth_bytes_per_s"}
    for figure in figures.values():
        assert figure.kind == "measured"
        assert figure.source.endswith(command)
    assert figures["peak_macs_per_s.fp32"].source.startswith("The fastest fp32 matrix product")
    assert figures["bandwidth_bytes_per_s"].source.startswith(
        "A copy that touches 256 MiB, read and written bytes together"
    )


def test_it_finds_its_calibration(tmp_path: Path) -> None:
    save(make_calibration(), tmp_path / "local.npz")
    device = written(make_calibration(), tmp_path, file="local.npz")
    assert device.calibration is not None
    assert load(device.calibration).ops.key.tolist() == make_calibration().ops.key.tolist()


def test_a_check_finds_nothing_implausible(tmp_path: Path) -> None:
    save(make_calibration(), tmp_path / "local.npz")
    written(make_calibration(), tmp_path, file="local.npz")
    assert check_profile(tmp_path / "local.yaml").warnings == ()


def test_its_notes_are_those_of_the_calibration_and_more(tmp_path: Path) -> None:
    notes = written(make_calibration(notes=("Half of the\nsamples \x1b[31mwere bad.",)), tmp_path).notes
    assert "Reading alone runs at 30 GB/s, a = b + s c at 40 GB/s." in notes
    assert "A copy slows down beyond 48 KiB, 2 MiB." in notes
    assert "Timed: 2 kernels in 1 networks; of 500 samples, 1 % left out" in notes
    assert notes.endswith(r"Half of the samples \x1b[31mwere bad.")
    assert "slows down" not in written(make_calibration(ceilings=make_ceilings(caches_bytes=())), tmp_path).notes


def test_figures_are_rounded_to_four_digits(tmp_path: Path) -> None:
    ceilings = make_ceilings(gemm_macs_per_s=123_456_789_012.0, copy_bytes_per_s=9.87654e6)
    document = yaml.safe_load(profile_of(make_calibration(ceilings=ceilings), "local"))
    assert document["peak_gmacs_per_s"]["fp32"]["value"] == 123.5
    assert document["bandwidth_gb_per_s"]["value"] == 0.009877


def test_another_device_and_another_mode(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "device": {"type": "cuda", "name": "Test GPU: A/B #1"}}
    calibration = make_calibration(environment=environment, mode="compile", dtype="fp16", threads=1)
    device = written(calibration, tmp_path)
    assert (device.name, device.device_class) == ("Test GPU: A/B #1, 1 thread, compile", "gpu")
    assert (device.default_dtype, device.default_fusion) == ("fp16", "none")  # estimates are of unfused layers


def test_an_environment_that_says_nothing_is_no_obstacle(tmp_path: Path) -> None:
    assert written(make_calibration(environment={}), tmp_path).name == "local, 2 threads, eager"


def test_a_name_makes_an_id() -> None:
    assert yaml.safe_load(profile_of(make_calibration(), "My Machine (2)"))["id"] == "my_machine_2"
    with pytest.raises(ProfileError, match=r"needs a name with letters or digits \(got '--'\)"):
        profile_of(make_calibration(), "--")


def test_a_dtype_that_profiles_do_not_know_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"local\.yaml:\d+: peak_gmacs_per_s\.fp64"):
        profile_of(make_calibration(dtype="fp64"), "local")

"""The record of a machine: complete, plain, and right about what a container may use."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from roofline.measurement import environment as of
from roofline.measurement.environment import (
    MATERIAL,
    cgroup_file,
    cgroup_quota,
    differences,
    environment,
    threads_warning,
)


def test_the_record_is_plain_data_and_holds_what_is_material() -> None:
    record = environment("cpu", seed=3)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["seed"] == 3
    assert record["threads"]["intra_op"] == torch.get_num_threads()
    assert record["versions"]["torch"] == torch.__version__
    for path in MATERIAL:
        group, key = path.split(".")
        assert key in record[group] or group == "versions", path  # a build of torch may lack any of these


def test_two_environments_differ_where_something_material_does() -> None:
    one = environment("cpu", seed=1)
    other = copy.deepcopy(one)
    other["seed"], other["cpu"]["load"] = 2, [99, 99, 99]
    assert differences(one, other) == []
    other["threads"]["intra_op"] += 1
    other["flags"]["flush_denormal"] = not one["flags"]["flush_denormal"]
    assert differences(one, other) == ["threads.intra_op", "flags.flush_denormal"]
    assert differences(one, {}) != []


def test_flushing_of_subnormals_is_seen() -> None:
    """torch has no getter; its setter says whether the processor can."""
    assert environment()["flags"]["flush_denormal"] is False
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such mode")
    try:
        assert environment()["flags"]["flush_denormal"] is True
    finally:
        torch.set_flush_denormal(False)


def test_variables_that_change_speed_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "KMP_AFFINITY", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OMPLIANCE", "no")
    found = environment()["variables"]
    assert {"OMP_NUM_THREADS", "KMP_AFFINITY", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX"} <= set(found)
    assert "OMPLIANCE" not in found


# --- control groups ---------------------------------------------------------------------------------------------------


def group(root: Path, path: str, files: dict[str, str]) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / path / name).write_text(text)


def test_the_quota_of_version_2_is_the_strictest_on_the_way_up(tmp_path: Path) -> None:
    own = tmp_path / "self"
    own.write_text("0::/pod/container\n")
    root = tmp_path / "cgroup"
    group(root, "pod/container", {"cpu.max": "max 100000\n", "cpu.stat": "throttled_usec 0\n"})
    group(root, "pod", {"cpu.max": "150000 100000\n"})
    assert cgroup_quota(root, own) == 1.5
    assert cgroup_file("cpu.stat", root, own) == root / "pod/container/cpu.stat"
    group(root, "pod/container", {"cpu.max": "50000 100000\n"})
    assert cgroup_quota(root, own) == 0.5


def test_the_quota_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "self"
    own.write_text("5:memory:/x\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n")
    root = tmp_path / "cgroup"
    group(root, "cpu,cpuacct/docker/abc", {"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"})
    group(root, "memory/x", {"cpu.max": "1 100000\n"})  # of no CPU controller
    assert cgroup_quota(root, own) == 2
    group(root, "cpu,cpuacct/docker/abc", {"cpu.cfs_quota_us": "-1\n"})
    assert cgroup_quota(root, own) is None


@pytest.mark.parametrize("text", ["", "max 100000", "what is this", "100000 0"])
def test_a_quota_that_is_none_is_none(text: str, tmp_path: Path) -> None:
    own = tmp_path / "self"
    own.write_text("0::/\n")
    group(tmp_path / "cgroup", ".", {"cpu.max": text})
    assert cgroup_quota(tmp_path / "cgroup", own) is None
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "gone") is None


def test_more_threads_than_cpus_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of, "available_cpus", lambda: 1.5)
    assert threads_warning(2) is None
    assert "3 threads share the 1.5 CPUs" in str(threads_warning(3))


def test_no_more_cpus_are_available_than_the_quota_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of, "cgroup_quota", lambda: 0.5)
    assert of.available_cpus() == 0.5
    monkeypatch.setattr(of, "cgroup_quota", lambda: None)
    assert of.available_cpus() >= 1

"""Where a measurement was made: all that a later one has to share before the two may be compared.

Nothing here changes the system, and what cannot be found out is None.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from roofline.measurement.allocator import policy

MATERIAL = (
    "device.name",
    "cpu.model",
    "cpu.capability",
    "cpu.caches",
    "cpu.available",
    "threads.intra_op",
    "threads.inter_op",
    "versions.torch",
    "versions.onednn",
    "versions.mkl",
    "versions.cuda",
    "versions.cudnn",
    "flags.flush_denormal",
    "flags.float32_matmul_precision",
    "flags.cudnn_allow_tf32",
    "flags.cudnn_benchmark",
    "flags.deterministic",
    "flags.grad_mode",
    "flags.freed_memory",
    "flags.l2",
    "flags.mkldnn",
)  # what must agree in two environments, as paths into the record; a virtual machine names but a family of processors
VARIABLES = re.compile(r"(OMP|KMP|GOMP|MKL|MALLOC|OPENBLAS|ONEDNN|DNNL|TORCH|PYTORCH|CUDA|NVIDIA)_\w+|LD_PRELOAD")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")  # which of them this process is in


def environment(device: str = "cpu", *, seed: int | None = None, l2: str = "hot") -> dict[str, Any]:
    """The record of this machine and this process, as plain data.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        seed: Of the inputs, the weights and the order of models.
        l2: ``"hot"`` or ``"cold"``: what a call finds in the L2 cache of a CUDA device.
    """
    return {
        "device": _device(device),
        "cpu": _cpu(),
        "memory_bytes": _memory_bytes(),
        "threads": _threads(),
        "flags": {**_flags(), "freed_memory": policy(), "l2": l2},
        "variables": {name: value for name, value in sorted(os.environ.items()) if VARIABLES.fullmatch(name)},
        "os": platform.platform(),
        "versions": versions(),
        "seed": seed,
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The paths of `MATERIAL` in which two environments differ: their measurements are not to be compared."""
    return [path for path in MATERIAL if _at(one, path) != _at(other, path)]


def _at(record: Mapping[str, Any], path: str) -> Any:
    found: Any = record
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def available_cpus() -> float:
    """Logical CPUs that this process may use at once: by its affinity and its cgroup's quota, so maybe no whole number.

    `os.cpu_count` counts those of the machine, which in a container says little.
    """
    allowed = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota = cgroup_quota()
    return allowed if quota is None else min(allowed, quota)


# --- the control group ------------------------------------------------------------------------------------------------


def cgroup_quota(root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float | None:
    """CPUs that the quota of this process's control groups allows, the strictest of them; None without one.

    Version 2 has ``cpu.max``, "QUOTA PERIOD" in microseconds with QUOTA "max" for none; version 1 has
    ``cpu.cfs_quota_us``, -1 for none, and ``cpu.cfs_period_us`` (Linux, Documentation/admin-guide/cgroup-v2.rst and
    Documentation/scheduler/sched-bwc.rst).
    """
    quotas = []
    for folder in _cgroup_folders(root, own):
        try:
            if (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
                period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
            if quota not in ("max", "-1"):
                quotas.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min(quotas, default=None)


def cgroup_file(name: str, root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> Path | None:
    """The file of that name in this process's control group, or the nearest above that has it."""
    return next((folder / name for folder in _cgroup_folders(root, own) if (folder / name).is_file()), None)


def _cgroup_folders(root: Path, membership: Path) -> list[Path]:
    """Those of this process's CPU controller, from its own to the root, as ``/proc/self/cgroup`` names them."""
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        own = mount / path.lstrip("/")
        folders += [own, *(folder for folder in own.parents if folder.is_relative_to(mount))]
    return [folder for folder in folders if folder.is_dir()]


# --- the processor ----------------------------------------------------------------------------------------------------


@cache
def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cpu() -> dict[str, Any]:
    import psutil  # type: ignore[import-untyped]
    import torch

    return {
        "model": _cpu_model(),
        "architecture": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "caches": _caches(),
        "logical": os.cpu_count(),
        "physical": psutil.cpu_count(logical=False),
        "threads_per_core": _threads_per_core(),
        "smt": _read("/sys/devices/system/cpu/smt/control"),
        "available": available_cpus(),
        "cgroup_quota": cgroup_quota(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "no_turbo": _read("/sys/devices/system/cpu/intel_pstate/no_turbo"),
        "frequency_hz": _frequency_hz(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def _threads_per_core() -> float | None:
    """Logical CPUs a core: 2 where cores run two threads at once, 1 in most virtual machines whatever is below."""
    import psutil

    logical, physical = psutil.cpu_count(), psutil.cpu_count(logical=False)
    return logical / physical if logical and physical else None


def _caches() -> list[dict[str, Any]]:
    """Those that the first core sees, from sysfs."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size, level, kind = (_read(folder / name) for name in ("size", "level", "type"))
        if size is not None and level is not None and (number := re.fullmatch(r"(\d+)([KMG]?)", size)):
            scale = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[number[2]]
            found.append({"level": int(level), "kind": (kind or "").lower(), "bytes": int(number[1]) * scale})
    return found


def _frequency_hz() -> float | None:
    """As the system says now, which in a virtual machine is often a constant."""
    import psutil

    try:
        now = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return now.current * 1e6 if now is not None and now.current else None


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


# --- torch ------------------------------------------------------------------------------------------------------------


def _device(device: str) -> dict[str, Any]:
    if device != "cuda":
        return {"type": device, "name": _cpu_model()}
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "type": device,
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
    }


def _threads() -> dict[str, Any]:
    import torch

    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads(), "affinity": affinity}


def _flags() -> dict[str, Any]:
    """Those of torch that change which kernels run, or how fast."""
    import torch

    return {
        "flush_denormal": _flushes_denormals(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad_mode": "inference_mode",
        "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,  # type: ignore[no-untyped-call]
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
    }


def _flushes_denormals() -> bool:
    """Whether subnormal numbers become 0, which torch sets and does not tell."""
    import torch

    smallest = torch.full((8,), torch.finfo(torch.float32).tiny)
    return not bool((smallest * 0.5).any())


def versions() -> dict[str, str]:
    """Of what made a result, by name; what is not there is left out."""
    import numpy
    import torch

    import roofline

    found = {
        "roofline": roofline.__version__,
        "roofline_commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "onednn": _configured(r"(?:MKL-DNN|oneDNN) v([\d.]+)"),
        "mkl": _configured(r"Math Kernel Library Version ([\d.]+)"),
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()) if torch.cuda.is_available() else None,  # type: ignore[no-untyped-call]
        "triton": installed_version("triton"),
        "compiler": sys.version.partition("[")[2].rstrip("]") or None,
    }
    return {name: version for name, version in found.items() if version}


@cache
def _commit() -> str | None:
    """The commit of the checkout that this package is part of; None of an installed one."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _configured(pattern: str) -> str | None:
    """A version in torch's description of its own build."""
    import torch

    found = re.search(pattern, torch.__config__.show())
    return found[1] if found else None


def installed_version(name: str) -> str | None:
    """That of a package; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def using_threads(threads: int | None) -> Iterator[int]:
    """That many threads within an op, and how many these are; as it was before afterwards.

    Args:
        threads: If None, those torch has now, or fewer where fewer CPUs may be used.
    """
    import torch

    before = torch.get_num_threads()
    wanted = min(before, max(1, int(available_cpus()))) if threads is None else threads
    if wanted != before:
        torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_warning(threads: int) -> str | None:
    """What is wrong with that many threads here, as a sentence; None if nothing is."""
    cpus = available_cpus()
    if threads <= math.ceil(cpus):
        return None
    return (
        f"{threads} threads share the {cpus:g} CPUs that this process may use: they wait for each other, and what is "
        "measured is mostly that"
    )

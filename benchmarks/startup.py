"""How long the command takes from start to exit, beside ``import torch``, which is most of it.

    python benchmarks/startup.py [--rounds N]

Whole processes of the environment that runs this script, in rounds whose order is drawn anew each time.
See docs/speed.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import (
    STYLE,
    Target,
    Timing,
    environment,
    measure,
    print_environment,
    print_targets,
    rounds_option,
)

ROOFLINE = str(Path(sysconfig.get_path("scripts")) / "roofline")
TORCH = "python -c 'import torch'"
ANALYZE = "roofline analyze"
COMMANDS: Mapping[str, Sequence[str]] = {
    "python -c pass": (sys.executable, "-c", "pass"),
    TORCH: (sys.executable, "-c", "import torch"),
    ANALYZE: (ROOFLINE, "analyze", "mobilenetv4_conv_m", "--hw", "pixel6_tpu.yaml", "--no-cache"),  # a first look
    "roofline --help": (ROOFLINE, "--help"),
    "roofline models": (ROOFLINE, "models"),
    "roofline hw": (ROOFLINE, "hw"),
    "python -c 'import roofline'": (sys.executable, "-c", "import roofline"),
}
LIGHT = ("roofline --help", "roofline models", "roofline hw", "python -c 'import roofline'")
HEAVY = ("torch", "torch._dynamo", "sympy", "numpy", "pandas", "sklearn", "scipy", "pydantic")  # slow starts


def start(command: Sequence[str], folder: str, **variables: str) -> str:
    """Run to the end and return stderr; the folder is empty, so that nothing in it is imported or read."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"exit code {done.returncode}: {last}")
    return done.stderr


def heavy_imports(command: Sequence[str], folder: str, **variables: str) -> list[str] | None:
    """Which of `HEAVY` the command imports; None where it fails."""
    try:
        log = start(command, folder, PYTHONPROFILEIMPORTTIME="1", **variables)
    except (OSError, RuntimeError):
        return None
    imported = set(re.findall(r"^import time:[^|]*\|[^|]*\|\s*(\S+)$", log, flags=re.MULTILINE))
    return [name for name in HEAVY if name in imported]


def targets(timings: Mapping[str, Timing], imports: Mapping[str, list[str] | None]) -> list[Target]:
    """The limits of docs/speed.md."""
    ratio = timings[ANALYZE].median_s / timings[TORCH].median_s if {ANALYZE, TORCH} <= set(timings) else None
    found = [Target(f"{ANALYZE} takes at most 1.3 times as long as import torch", ratio, 1.3, "times")]
    for name in LIGHT:
        seconds = timings[name].median_s if name in timings else None
        found.append(Target(f"{name} takes under 0.3 s", seconds, 0.3, "s"))
    known = [imports[name] for name in LIGHT]
    with_torch = None if None in known else float(sum("torch" in (names or ()) for names in known))
    found.append(Target(f"none of these {len(LIGHT)} imports torch", with_torch, 0, "do"))
    return found


def table(timings: Mapping[str, Timing], imports: Mapping[str, list[str] | None]) -> Table:
    """All commands that ran, in the order of `COMMANDS`."""
    drawn = Table(title="Whole processes, from start to exit", **STYLE)
    drawn.add_column("command", no_wrap=True)
    for column in ("s", "quartiles", "x torch"):
        drawn.add_column(column, justify="right", no_wrap=True)
    drawn.add_column("heavy imports")
    for name, timing in timings.items():
        low, high = timing.quartiles_s
        ratio = f"{timing.median_s / timings[TORCH].median_s:.2f}" if TORCH in timings else ""
        drawn.add_row(name, f"{timing.median_s:.3f}", f"{low:.3f} - {high:.3f}", ratio, ", ".join(imports[name] or ()))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description="Time whole processes of the roofline command.")
    rounds_option(parser, 7)
    rounds = parser.parse_args().rounds

    console = Console(highlight=False)
    where = environment()
    with tempfile.TemporaryDirectory() as folder:

        def caller(command: Sequence[str]) -> Callable[[], object]:
            return lambda: start(command, folder)

        timings, failures = measure({name: caller(command) for name, command in COMMANDS.items()}, rounds=rounds)
        imports = {name: heavy_imports(command, folder) for name, command in COMMANDS.items()}
    console.print(table(timings, imports))
    for name, why in failures.items():
        console.print(f"{name} is left out: {why}", style="yellow")
    console.print()
    print_environment(console, where, f"Medians of {rounds} interleaved rounds, after one that warms the caches")
    print_targets(console, targets(timings, imports), timings)


if __name__ == "__main__":
    main()

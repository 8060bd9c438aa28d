"""How long a second look at a model takes, from the start of the process to its end, beside ``import torch``.

    python benchmarks/cached.py [--rounds N] [--hw local.yaml]

Whole processes of the environment that runs this script, in rounds whose order is drawn anew each time. The cache is
one of this run's own, filled by the round that warms up; beside it stand the same commands without a cache. See
docs/cache.md. The calibrated profile is that of `roofline calibrate`, or made here as in benchmarks/predict.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import Target, Timing, environment, measure, print_environment, print_targets, rounds_option
from benchmarks.predict import made_calibration
from benchmarks.startup import ROOFLINE, TORCH, heavy_imports, start, table
from roofline.calibration.file import save
from roofline.calibration.profile import profile_of
from roofline.measurement.environment import environment as environment_of_times

ANALYZE, SWEEP, SWEEP_MANY = "roofline analyze", "roofline sweep", "roofline sweep of a pattern"
CALIBRATED = "roofline analyze, calibrated"  # which needs torch all the same
CACHED = (ANALYZE, SWEEP)  # those that have targets
MAX_S = 0.45
MAX_SHARE = 1 / 3  # of import torch
ARGUMENTS: Mapping[str, Sequence[str]] = {
    ANALYZE: ("analyze", "mobilenetv4_conv_m", "--hw", "pixel6_tpu"),
    SWEEP: ("sweep", "mobilenetv4_conv_m"),
    SWEEP_MANY: ("sweep", "mobilenetv4_*"),
}
FITTING = ("sklearn", "scipy")


def commands(profile: Path) -> dict[str, Sequence[str]]:
    """What is timed: each with and without the cache."""
    arguments = {**ARGUMENTS, CALIBRATED: (*ARGUMENTS[ANALYZE][:2], "--hw", str(profile), "--no-present")}
    return {
        TORCH: (sys.executable, "-c", "import torch"),
        **{name: (ROOFLINE, *given) for name, given in arguments.items()},
        **{f"{name} --no-cache": (ROOFLINE, *given, "--no-cache") for name, given in arguments.items()},
    }


def calibrated_profile(folder: Path) -> Path:
    """A profile of a calibration that a law made, of this environment."""
    here = environment_of_times()
    made = replace(made_calibration(), environment=here, threads=here["threads"]["intra_op"])
    save(made, folder / "local.calibration.npz")
    profile = folder / "local.yaml"
    profile.write_text(profile_of(made, "local", file="local.calibration.npz"), encoding="utf-8")
    return profile


def targets(timings: Mapping[str, Timing], imports: Mapping[str, list[str] | None]) -> list[Target]:
    """The limits of docs/cache.md."""
    found = []
    for name in CACHED:
        seconds = timings[name].median_s if name in timings else None
        share = seconds / timings[TORCH].median_s if seconds is not None and TORCH in timings else None
        found.append(Target(f"{name}, again, takes at most 1/3 of import torch", share, MAX_SHARE, "of it"))
        found.append(Target(f"{name}, again, takes at most {MAX_S} s", seconds, MAX_S, "s"))
    known = [imports[name] for name in (*CACHED, SWEEP_MANY)]
    heavy = None if None in known else float(sum(bool({"torch", "pandas"} & set(names or ())) for names in known))
    found.append(Target("none of these imports torch or pandas", heavy, 0, "do"))
    kept = imports[CALIBRATED]
    fitting = None if kept is None else float(bool(set(FITTING) & set(kept)))
    found.append(Target(f"{CALIBRATED}, again, imports neither scikit-learn nor SciPy", fitting, 0, "does"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time whole processes of the roofline command with a filled cache.")
    rounds_option(parser, 9)
    parser.add_argument("--hw", type=Path, help="a calibrated profile; made here if not given")
    arguments = parser.parse_args()
    rounds = arguments.rounds

    console = Console(highlight=False)
    where = environment()
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as cache,
        tempfile.TemporaryDirectory() as made,
    ):
        timed = commands(arguments.hw.resolve() if arguments.hw else calibrated_profile(Path(made)))
        variables = {"ROOFLINE_CACHE_DIR": cache, "ROOFLINE_NO_CACHE": ""}

        def caller(command: Sequence[str]) -> Callable[[], object]:
            return lambda: start(command, folder, **variables)

        timings, failures = measure({name: caller(command) for name, command in timed.items()}, rounds=rounds)
        imports = {name: heavy_imports(command, folder, **variables) for name, command in timed.items()}
    console.print(table(timings, imports))
    for name, why in failures.items():
        console.print(f"{name} is left out: {why}", style="yellow")
    console.print()
    print_environment(console, where, f"Medians of {rounds} interleaved rounds, after one that fills the cache")
    print_targets(console, targets(timings, imports), timings)


if __name__ == "__main__":
    main()

"""NetAdapt: narrow a network stage by stage until it is fast enough, keeping most accuracy for the latency saved.

    python examples/netadapt.py --hw pixel6_cpu --target 0.8
    python examples/netadapt.py --hw pixel6_cpu --target 12ms --accuracy my_training.py:accuracy

Yang et al., "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications", ECCV 2018, arXiv:1804.03230.
A step makes one proposal a stage: the widest narrower stage with which the whole network is faster by at least a
given time. Each is trained for a short while, and one is kept. NetAdapt keeps the most accurate; MobileNetV3's
authors (arXiv:1905.02244) keep the one that loses least accuracy for the time that it saves, and let a step save at
least 1 % of what the first network took. That is what is done here. Latency, which NetAdapt looks up in tables of
measured layers, is predicted by roofline.

The network is one of roofline's space `mobilenetv3`, whose five stages have the widths, kernels and so on of
MobileNetV3-Large, as far as the space has them. Accuracy is a function of yours: it gets a configuration, the fewer
channels in `widths`, and returns what a short fine-tuning of that network came to. Without one a stand-in is used, in
which each stage is worth the logarithm of its width: good to see the steps, and of no meaning beyond.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roofline.engine import predict
from roofline.errors import RooflineError
from roofline.exploring.accuracy import accuracy_function
from roofline.profiles import load_profile
from roofline.spaces import Config, Space, load
from roofline.spaces.counting import Counter, counted
from roofline.units import parse_quantity, seconds

LEAST_SAVED = 0.01  # of the latency of the first network, a step; MobileNetV3's delta
DIVISOR = 8  # widths are multiples of it, as MobileNets' are
LARGE: Mapping[str, Any] = {  # MobileNetV3-Large, arXiv:1905.02244, table 1, each stage by what most of its blocks have
    "depths": (2, 3, 4, 2, 3),
    "widths": (24, 40, 80, 112, 160),
    "kernels": (3, 5, 3, 3, 5),
    "expansions": (3, 3, 3, 6, 6),
    "squeeze_excite": (0, 1, 0, 1, 1),
    "nonlinearities": ("relu", "relu", "hardswish", "hardswish", "hardswish"),
}

Widths = tuple[int, ...]
Measure = Callable[[Widths], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """A network on the way.

    Attributes:
        widths: Channels of each stage.
        latency_s: Of the network, seconds.
        accuracy: In the user's unit.
        stage: Which stage was narrowed to come to it; None of the first.
    """

    widths: Widths
    latency_s: float
    accuracy: float
    stage: int | None = None


def proposals(now: Adapted, *, latency: Measure, accuracy: Measure, save_s: float) -> Iterator[Adapted]:
    """One network a stage: that stage as wide as it may be for the network to be faster by `save_s` seconds."""
    for stage, width in enumerate(now.widths):
        for narrower in range(width - DIVISOR, 0, -DIVISOR):
            widths = (*now.widths[:stage], narrower, *now.widths[stage + 1 :])
            latency_s = latency(widths)
            if latency_s <= now.latency_s - save_s:
                yield Adapted(widths=widths, latency_s=latency_s, accuracy=accuracy(widths), stage=stage)
                break


def chosen(now: Adapted, proposed: Sequence[Adapted]) -> Adapted:
    """The proposal that loses least accuracy for each second that it saves."""
    return max(proposed, key=lambda each: (each.accuracy - now.accuracy) / (now.latency_s - each.latency_s))


def adapt(widths: Widths, *, latency: Measure, accuracy: Measure, target_s: float) -> Iterator[Adapted]:
    """The networks from the first to one within the target, step by step.

    Args:
        widths: Channels of each stage of the first, multiples of 8.
        latency: Seconds that the network of some widths takes.
        accuracy: What it is worth.
        target_s: Where to stop.

    Raises:
        RooflineError: No stage can be narrowed any more, and the target is not reached.
    """
    now = Adapted(widths=widths, latency_s=latency(widths), accuracy=accuracy(widths))
    yield now
    save_s = LEAST_SAVED * now.latency_s
    while now.latency_s > target_s:
        proposed = list(proposals(now, latency=latency, accuracy=accuracy, save_s=save_s))
        if not proposed:
            raise RooflineError(f"no narrower stage makes it faster than {seconds(now.latency_s)}")
        now = chosen(now, proposed)
        yield now


# --- with roofline ----------------------------------------------------------------------------------------------------


def predicted(space: Space, config: Config, hw: str) -> Measure:
    """The latency of a configuration with other widths, on a device."""
    device = load_profile(hw)
    counter = Counter(
        fusion=device.default_fusion,
        dtype=device.default_dtype,
        fused_activations=device.fused_activations,
        transposes=device.copies_transposes,
    )

    def latency_s(widths: Widths) -> float:
        return float(predict(counted(space, {**config, "widths": widths}, counter), device).latency_s)

    return latency_s


def stand_in(widths: Widths) -> float:
    """An accuracy of no meaning, which falls as stages narrow."""
    return 75.0 + sum(math.log(width / full) for width, full in zip(widths, LARGE["widths"], strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Adapt MobileNetV3-Large to a device, and print the steps."""
    parser = argparse.ArgumentParser(description="Narrow a network until it is fast enough.")
    parser.add_argument("--hw", required=True, help="the name of a profile, or its YAML file")
    parser.add_argument("--target", required=True, help="a latency as 12ms, or a share of that of the first as 0.8")
    parser.add_argument("--accuracy", metavar="FILE.py:FUNCTION", help="takes a configuration; else a stand-in")
    given = parser.parse_args(arguments)
    try:
        for step in _steps(given.hw, given.target, given.accuracy):
            stage = "" if step.stage is None else f"stage {step.stage + 1} narrower"
            print(f"{seconds(step.latency_s):>10}  {step.accuracy:8.3f}  {' '.join(map(str, step.widths))}  {stage}")
    except RooflineError as error:
        parser.error(str(error))  # one line, and exit code 2


def _steps(hw: str, target: str, reference: str | None) -> Iterator[Adapted]:
    latency = predicted(load("mobilenetv3"), LARGE, hw)
    widths: Widths = LARGE["widths"]
    try:
        target_s = float(target) * latency(widths)
    except ValueError:
        target_s = float(parse_quantity(target, "duration"))
    if not target_s > 0:
        raise RooflineError(f"the target must be above 0 (got {target})")
    if reference is None:
        return adapt(widths, latency=latency, accuracy=stand_in, target_s=target_s)
    known = accuracy_function(reference)
    return adapt(widths, latency=latency, accuracy=lambda widths: known({**LARGE, "widths": widths}), target_s=target_s)


if __name__ == "__main__":
    main()

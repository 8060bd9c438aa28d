"""The example of NetAdapt: which proposals a step makes, which it keeps, and a run of it on a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.netadapt import LARGE, Adapted, adapt, chosen, main, predicted, proposals, stand_in
from roofline.errors import RooflineError
from tests.exploring.tiny import Tiny

DEVICE = "pixel6_cpu"


def of(widths: tuple[int, ...]) -> Adapted:
    """A network of two stages, where a channel of the second costs twice as much and is worth 5 instead of 4."""
    return Adapted(widths=widths, latency_s=latency(widths), accuracy=accuracy(widths))


def latency(widths: tuple[int, ...]) -> float:
    return widths[0] + 2.0 * widths[1]


def accuracy(widths: tuple[int, ...]) -> float:
    return 4.0 * widths[0] + 5.0 * widths[1]


def test_most_accuracy_for_the_latency_saved_is_kept_and_not_most_accuracy() -> None:
    """8 channels of the first stage: 32 less for 8 s, 4 a second. Of the second: 40 less for 16 s, 2.5 a second."""
    now = of((16, 16))
    first, second = proposals(now, latency=latency, accuracy=accuracy, save_s=1)
    assert (first.widths, first.accuracy, first.latency_s) == ((8, 16), 112, 40)
    assert (second.widths, second.accuracy, second.latency_s) == ((16, 8), 104, 32)
    assert chosen(now, [first, second]) == second
    assert [step.widths for step in adapt((16, 16), latency=latency, accuracy=accuracy, target_s=30)] == [
        (16, 16), (16, 8), (8, 8),
    ]  # fmt: skip


def test_a_stage_is_as_wide_as_it_may_be_for_the_time_to_save() -> None:
    """Vectors of 32 channels: 24 fewer of 64 save nothing; and 20 s of a channel a second are 24 channels."""
    (step,) = proposals(
        Adapted(widths=(64,), latency_s=2, accuracy=0),
        latency=lambda widths: -(-widths[0] // 32),
        accuracy=sum,
        save_s=1,
    )
    assert step.widths == (32,)
    first, _ = proposals(of((64, 64)), latency=latency, accuracy=accuracy, save_s=20)
    assert first.widths == (40, 64)


def test_what_cannot_be_reached_is_told() -> None:
    with pytest.raises(RooflineError, match="no narrower stage makes it faster than 24 s"):
        list(adapt((8, 8), latency=latency, accuracy=accuracy, target_s=1))


def test_with_roofline_each_step_is_faster_and_the_last_is_within_the_target() -> None:
    """A network of one stage of the tests' own space."""
    config: dict[str, Any] = {"width": 32, "depth": 3, "kernels": (3, 3, 3), "act": "relu"}
    of_widths = predicted(_OneStage(), config, DEVICE)
    steps = list(adapt((32,), latency=of_widths, accuracy=lambda widths: widths[0], target_s=0.5 * of_widths((32,))))
    latencies = [step.latency_s for step in steps]
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[-1] <= 0.5 * latencies[0] < latencies[-2]


class _OneStage(Tiny):
    """The tests' own space, with `widths` as NetAdapt names them."""

    def parts(self, config, batch):
        plain = {**config, "width": config["widths"][0]}
        del plain["widths"]
        return super().parts(plain, batch)


def test_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, user_modules: None) -> None:
    (tmp_path / "mine.py").write_text("def accuracy(config):\n    return sum(config['widths'])\n")
    main(["--hw", DEVICE, "--target", "0.97", "--accuracy", f"{tmp_path / 'mine.py'}:accuracy"])
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.split()[-5:] == [str(width) for width in LARGE["widths"]]
    assert "416.000" in first  # 24 + 40 + 80 + 112 + 160
    assert last.endswith("narrower")
    with pytest.raises(SystemExit) as leaving:
        main(["--hw", "no_such_device", "--target", "0.9"])
    assert leaving.value.code == 2
    assert "unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "0.8", "--accuracy", "{file}:fails"), "fails: "),
        (("--target", "0.8", "--accuracy", "{file}:nothing"), "gives an accuracy of None: a number above 0 is needed"),
        (("--target", "nan"), "the target must be above 0 (got nan)"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, user_modules: None
) -> None:
    path = tmp_path / "trained.py"
    path.write_text("def fails(config):\n    return config['no such thing']\n\ndef nothing(config):\n    return None\n")
    with pytest.raises(SystemExit) as left:
        main(["--hw", DEVICE, *(argument.format(file=path) for argument in arguments)])
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_stand_in_falls_as_stages_narrow() -> None:
    assert stand_in(LARGE["widths"]) == 75.0
    assert stand_in((16, *LARGE["widths"][1:])) < 75.0

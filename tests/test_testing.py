"""`roofline.testing.assert_budget`: passes, fails with what `roofline check` prints, and is light to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import roofline
from roofline.testing import assert_budget

NAME = "mobilenetv4_conv_s"


def test_a_budget_that_is_met_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert_budget(NAME, hw="pixel6_tpu", latency="1ms", weights="4MB", macs=186_005_568, activations=5e6)
    assert capsys.readouterr() == ("", "")


def test_the_message_is_what_the_command_prints(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_budget(NAME, hw="pixel6_tpu", latency="1us", macs="100M", batch=2, input_size=(3, 64, 64))
    file = tmp_path / "check.txt"
    run = command(
        "check", NAME, "--hw", "pixel6_tpu", "--max-latency", "1us", "--max-macs", "100M", "--batch", 2,
        "--input-size", "64", "-o", file,
    )  # fmt: skip
    assert run.returncode == 1
    assert str(failed.value) == file.read_text()


def test_a_module_brings_its_inputs() -> None:
    net = nn.Conv2d(3, 8, 1, bias=False)  # 3 x 8 x 32 x 32 = 24,576 MACs
    image = torch.empty(1, 3, 32, 32, device="meta")
    assert_budget(net, image, hw="pixel6_tpu", macs=24_576)
    with pytest.raises(AssertionError, match=r"MACs 24.6 k, at most 24 k"):
        assert_budget(net, image, hw="pixel6_tpu", macs="24k")


def test_a_baseline_with_a_tolerance(tmp_path: Path) -> None:
    file = tmp_path / "ci.json"
    file.write_text(roofline.analyze(NAME, hw="pixel6_tpu").to_json())
    assert_budget(NAME, hw="pixel6_tpu", baseline=file, tolerance="2%")
    with pytest.raises(AssertionError, match="on the baseline"):
        assert_budget(NAME, hw="pixel6_tpu", input_size=(3, 256, 256), baseline=file, tolerance="2%")


@pytest.mark.parametrize(
    ("budgets", "message"),
    [({"latency": "5"}, "no unit"), ({}, "nothing to check"), ({"macs": "1G", "hw": "pixel66"}, "unknown hardware")],
)
def test_what_is_asked_wrongly_is_no_failed_assertion(budgets: dict[str, str], message: str) -> None:
    with pytest.raises(roofline.RooflineError, match=message):
        assert_budget(NAME, **{"hw": "pixel6_tpu", **budgets})  # type: ignore[arg-type]


def test_it_imports_nothing_heavy() -> None:
    heavy = "torch numpy pandas scipy plotly rich pydantic".split()
    code = f"import roofline.testing, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_pytest_shows_the_layers_and_not_our_frames(tmp_path: Path) -> None:
    (tmp_path / "test_net.py").write_text(
        "from roofline.testing import assert_budget\n\n\n"
        f"def test_it():\n    assert_budget({NAME!r}, hw='pixel6_tpu', macs='1M')\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 1
    assert "Over budget: MACs 186 M, at most 1 M." in run.stdout
    assert "roofline/testing.py" not in run.stdout

"""Budgets as assertions, for the tests of your own project.

    from roofline.testing import assert_budget

    def test_latency():
        assert_budget("my_net.py:make_net", hw="pixel6_tpu", latency="5ms", weights="10MB")
        assert_budget(MyNet(), torch.empty(1, 3, 224, 224, device="meta"), hw="pixel6_tpu", macs="1G")

What is asked wrongly, a misspelt profile or a limit without its unit, is a `roofline.RooflineError` and no failed
assertion. Nothing heavy is imported until an assertion is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from roofline.check import Limit
    from roofline.hardware import Hardware


def assert_budget(
    model: str | nn.Module,
    inputs: Any = None,
    *,
    hw: str | Path | Hardware,
    latency: Limit | None = None,
    macs: Limit | None = None,
    weights: Limit | None = None,
    activations: Limit | None = None,
    baseline: str | Path | None = None,
    tolerance: Limit | None = None,
    batch: int | None = None,
    input_size: Sequence[int] | None = None,
    top: int = 3,
    **options: Any,
) -> None:
    """Assert that a model keeps within its budgets, as `roofline check` has it.

    Args:
        model: A reference, or a module; the latter with its `inputs`.
        inputs: Example inputs of a module, as `roofline.analyze` takes them.
        hw: Name of a bundled profile, path of a YAML file, or a `Hardware`.
        latency, macs, weights, activations: The most of each, as ``"5ms"``, ``"1G"``, ``"10MB"`` or a number in
            seconds, MACs and bytes.
        baseline: A saved analysis, than which no total may be more.
        tolerance: But for this share, as ``"2%"`` or ``0.02``.
        batch, input_size: Of a reference.
        top: Layers told of each broken budget.
        options: As `roofline.analyze` takes them: `dtype`, `fusion`, `arguments`, `estimator`.

    Raises:
        AssertionError: A budget is broken; the message is what `roofline check` prints.
        RooflineError: There is no budget, or something is wrong with the model, the profile, a limit or the baseline.

    >>> assert_budget("mobilenetv4_conv_s", hw="pixel6_tpu", latency="1ms", macs="200M")
    """
    __tracebackhide__ = True  # pytest ends its traceback in the test
    from roofline.check import check

    result = check(
        model, inputs, hw=hw, latency=latency, macs=macs, weights=weights, activations=activations, baseline=baseline,
        tolerance=tolerance, batch=batch, input_size=input_size, **options,
    )  # fmt: skip
    if not result.is_met:
        from roofline.reports.check_terminal import check_text

        raise AssertionError(check_text(result, top=top))

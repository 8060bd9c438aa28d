"""A fit as text, character by character."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from rich.console import Console

from roofline.fit import Fit, FittedRow
from roofline.fit_regression import Parameter, RidgePoint
from roofline.reports.fit_terminal import render_fit, signed_percent


@cache
def fit() -> Fit:
    rows = [
        ("mobilenetv2_100", 3.9e-3, 4.1e-3, 4.2e-3),
        ("mobilenetv4_conv_small", 2.4e-3, 2.4e-3, 2.399999e-3),
        ("mobilenetv1_100", 3.2e-3, 3.0e-3, 2.5e-3),
        ("net.py:make_a_network_with_a_name_that_is_too_long_for_its_column", 20.8e-3, 21e-3, 22e-3),
    ]
    return Fit(
        device="Some DSP",
        source="some.csv",
        ops="all",
        fusion="epilogue",
        fused_activations=("relu", "relu6"),
        terms=("add", "mac_layer_overhead", "depthwise"),
        chosen=True,
        parameters=(
            Parameter(name="peak.int8", value=1.03e12, unit="MACs/s", low=6.6e11, high=None),
            Parameter(name="bandwidth", value=8.27e9, unit="bytes/s", low=5.94e9, high=2.12e10),
            Parameter(name="mac_layer_overhead", value=26.3e-6, unit="s", low=20e-6, high=33.1e-6),
            Parameter(name="depthwise", value=0.0144, unit="", low=None, high=0.0317),
        ),
        ridge_points=(RidgePoint(dtype="int8", value=125.0, low=92.5, high=None, curve=((125.0, 0.1),)),),
        rows=tuple(
            FittedRow(
                line=number + 2,
                model=name,
                name=name,
                input_size=None,
                batch=1,
                dtype="int8",
                note="",
                macs=10**8 * (number + 1),
                latency_s=latency_s,
                predicted_s=predicted_s,
                error=predicted_s / latency_s - 1,
                loo_predicted_s=unseen_s,
                loo_error=unseen_s / latency_s - 1,
                loo_terms=(),
            )
            for number, (name, latency_s, predicted_s, unseen_s) in enumerate(rows)
        ),
        unseen_classes=(),
        remarks=("4 rows are few.",),
    )


def shown(result: Fit, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render_fit(result, width=width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [80, 120])
def test_every_character(golden: Callable[[str, str], None], width: int) -> None:
    text = shown(fit(), width)
    assert max(map(len, text.splitlines())) <= width
    golden(text, f"fit_{width}.txt")


def test_a_narrow_terminal_cuts_no_number() -> None:
    text = shown(fit(), 60)
    assert max(map(len, text.splitlines())) <= 60
    for number in ("20.8", "-21.9 %", "+7.7 %", "660 GMAC/s"):
        assert number in text


def test_rows_are_the_worst_first() -> None:
    names = [line.split()[0] for line in shown(fit(), 120).splitlines()[-4:]]
    assert names[0] == "mobilenetv1_100"
    assert names[-1] == "mobilenetv4_conv_small"


def test_what_is_not_the_usual_is_said() -> None:
    other = replace(fit(), ops="conv_only", chosen=False, source="", ridge_points=fit().ridge_points * 2)
    text = " ".join(shown(other).split())
    assert "Some DSP: fitted to 4 latencies Terms:" in text
    assert "(as given). Convolutions and linear layers alone count (--ops conv_only)." in text
    assert "Rows it has not seen (leave-one-out): mean error" in text
    assert text.count("Ridge point (int8) >= 92.5 MACs/byte") == 2


def test_without_ranks_none_are_told() -> None:
    same = replace(fit(), rows=(fit().rows[0],) * 4)
    assert "ank correlation" not in shown(same)


def test_an_effective_rate_is_not_presented_as_one_of_the_chip() -> None:
    assert "effective rates of the device with its runtime, not the peak and the bandwidth of the chip" in " ".join(
        shown(fit()).split()
    )


def test_hostile_names_are_spelt_out() -> None:
    evil = "[red]<b>\x1b[31m\n"
    rows = tuple(replace(row, name=evil) for row in fit().rows)
    text = shown(replace(fit(), device=evil, source=evil, rows=rows, remarks=(evil,)), 120)
    assert "\x1b" not in text
    assert text.count(r"[red]<b>\x1b[31m") == 2 + 4 + 1


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "+0.0 %"), (-0.0004, "+0.0 %"), (-0.0006, "-0.1 %"), (1.5, "+150.0 %")]
)
def test_an_error_has_a_sign(share: float, text: str) -> None:
    assert signed_percent(share) == text

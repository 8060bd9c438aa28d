"""One screen of 80 columns: what stands on it, that it adds up, and that nobody's names can disturb it."""

from __future__ import annotations

import io
import math
import re
import subprocess
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from rich.console import Console, RenderableType
from rich.segment import Segment
from torch import Tensor, nn

import roofline
from roofline import Analysis, Hardware
from roofline.analysis import GROUPS, SORTS, stage_of
from roofline.crosscheck import CrossCheck, Difference
from roofline.hardware import Figure
from roofline.models import Entry, entries, names
from roofline.reports.terminal import (
    STYLES,
    render_analysis,
    render_cross_check,
    render_explanation,
    render_model,
    render_models,
)
from roofline.units import percent, seconds, si, significant

pytestmark = pytest.mark.usefixtures("traced_once")

Command = Callable[..., subprocess.CompletedProcess[str]]
SCREEN = (80, 45)  # columns, lines
SHOWN = [entry.name for entry in entries() if entry.family == "mobilenetv4" and ":" not in entry.name] + [
    "mobilenetv1_100", "mobilenetv3_large_minimal_100", "rexnet_lite_130", "mobileone_s4:train", "regnety_320",
    "micronet_m3",
]  # fmt: skip
PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
KEYS: dict[str, Callable[[dict[str, Any]], float]] = {
    "time": lambda row: -row["latency_s"],
    "macs": lambda row: -row["macs"],
    "bytes": lambda row: -row["weight_bytes"] - row["activation_bytes"],
    "order": lambda row: 0,
}


def toy(**fields: Any) -> Hardware:
    given: dict[str, Any] = {
        "id": "toy",
        "name": "Toy",
        "device_class": "abstract",
        "peak_macs_per_s": {"int8": 1e12},
        "bandwidth_bytes_per_s": 1e10,
        "default_dtype": "int8",
        "default_fusion": "epilogue",
        "fused_activations": frozenset({"relu"}),
    }
    return Hardware(**{**given, **fields})


@pytest.fixture(scope="module")
def zoo() -> dict[str, Analysis]:
    return {name: roofline.analyze(name, hw="pixel6_tpu") for name in SHOWN}


@pytest.fixture(scope="module")
def mobile(zoo: dict[str, Analysis]) -> Analysis:
    return zoo["mobilenetv4_conv_medium"]


def drawn(renderable: RenderableType, width: int = SCREEN[0], encoding: str = "utf-8") -> str:
    """As it leaves through a pipe."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(file=file, width=width, color_system=None, highlight=False)
    console.print(renderable)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def painted(renderable: RenderableType) -> list[Segment]:
    console = Console(width=200, color_system="truecolor", force_terminal=True, file=io.StringIO())
    return list(console.render(renderable))


def colour(segment: Segment) -> str | None:
    return segment.style.color.name if segment.style and segment.style.color else None


def table(text: str, title: str) -> list[list[str]]:
    """The rows below a heading, cut where its columns end."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    body = lines[start + 2 :]
    return [re.split(r" {2,}", line.strip()) for line in body[: body.index("")]]


def numbers(line: str) -> list[str]:
    return re.findall(r"<?[\d.,]+ ?[kMGT]?", line)


def quantity(text: str) -> float:
    """``"16.5 MB"`` as 16.5e6."""
    value, _, unit = text.partition(" ")
    return float(value.replace(",", "")) * PREFIX[unit.removesuffix("B").strip()]


# --- golden files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["analyze", "mobilenetv4_conv_m", "--hw", "pixel6_tpu"], "analyze_conv_m_pixel6_tpu.txt"),
        (["explain", "mobilenetv4_conv_m", "stages.1.0.expand", "--hw", "pixel6_tpu"], "explain_conv_m_expand.txt"),
        (["models"], "models.txt"),
    ],
    ids=["analyze", "explain", "models"],
)
def test_the_answer_looks_as_it_was_meant_to(
    arguments: list[str], name: str, command: Command, golden: Callable[[str, str], None]
) -> None:
    run = command(*arguments)
    assert (run.returncode, run.stderr) == (0, "")
    golden(run.stdout, name)


# --- one screen -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", SHOWN)
def test_the_answer_fits_one_screen(name: str, group: str, zoo: dict[str, Analysis]) -> None:
    lines = drawn(render_analysis(zoo[name], group=group)).splitlines()
    assert max(map(len, lines)) <= SCREEN[0]
    assert len(lines) < SCREEN[1]


def test_many_kinds_long_names_and_long_times_fit_one_screen() -> None:
    """Names of fifty characters are usual in transformers: one that folds into three lines fills the screen."""

    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_rather_long_name_for_a_container = nn.ModuleDict({
                "convolution": nn.Conv2d(3, 16, 3),
                "depthwise_convolution": nn.Conv2d(16, 16, 3, groups=16),
                "grouped_convolution": nn.Conv2d(16, 16, 3, groups=4),
                "pointwise_convolution": nn.Conv2d(16, 16, 1),
                "normalisation": nn.GroupNorm(4, 16),
                "activation": nn.GELU(),
                "pool": nn.MaxPool2d(2),
                "linear": nn.Linear(16, 16),
            })  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            for part in list(self.a_rather_long_name_for_a_container.values())[:-1]:
                x = part(x)
            x = self.a_rather_long_name_for_a_container["linear"](x.flatten(2).transpose(1, 2))
            x = nn.functional.scaled_dot_product_attention(x, x, x) @ x.transpose(1, 2)
            x = torch.cat([x.softmax(-1), torch.fft.rfft(x).abs()], -1).mean(1)
            return x * x

    slow = toy(peak_macs_per_s={"int8": 1e3}, bandwidth_bytes_per_s=1e2)
    lines = drawn(render_analysis(roofline.analyze(Everything(), torch.zeros(64, 3, 64, 64), hw=slow))).splitlines()
    assert max(map(len, lines)) <= SCREEN[0]
    assert len(lines) < SCREEN[1]


def test_numbers_are_never_cut() -> None:
    """On the slowest device the times are the widest; names give way."""
    slow = toy(peak_macs_per_s={"int8": 1e5}, bandwidth_bytes_per_s=1e4)
    analysis = roofline.analyze("mobilenetv4_conv_m", hw=slow, batch=64)
    text = drawn(render_analysis(analysis))
    for row in sorted(analysis.rows(), key=KEYS["time"])[:10]:
        assert f" {row['latency_s'] * 1e3:,.2f} " in text


def test_times_of_a_tiny_network_are_not_rounded_away() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 10))
    analysis = roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw="pixel6_tpu")
    shown = [float(row[3]) for row in table(drawn(render_analysis(analysis)), "Top")]
    assert len(shown) == len(analysis.layers)
    assert 0.0 not in shown


# --- what stands on it ------------------------------------------------------------------------------------------------


def test_the_head_says_what_ran_where_and_how(mobile: Analysis) -> None:
    first, *rest = drawn(render_analysis(mobile)).splitlines()
    assert first == "mobilenetv4_conv_medium  1x3x256x256  on pixel6_tpu, int8, epilogue fusion"
    assert " ".join(line.strip() for line in rest[:2]) == mobile.verdict()


def test_the_totals_are_those_of_the_analysis(mobile: Analysis) -> None:
    text = re.sub(r"\s+", " ", drawn(render_analysis(mobile)))
    totals = mobile.totals()
    for label, value in (
        ("MACs", si(totals["macs"])),
        ("params", si(mobile.layers.params)),
        ("weight traffic", si(totals["weight_bytes"], "B")),
        ("activation traffic", si(totals["activation_bytes"], "B")),
        ("peak rate", si(mobile.hardware.peak("int8"), "MAC/s")),
        ("bandwidth", si(mobile.hardware.bandwidth_bytes_per_s, "B/s")),
    ):
        assert f"{label} {value}" in text


def test_a_total_is_not_torn_from_its_unit(mobile: Analysis) -> None:
    lines = drawn(render_analysis(mobile)).splitlines()
    totals = " | ".join(line.strip() for line in lines[3:5]).replace("\u00a0", " ")
    for value in ("9.72 M ", "15.9 MB", "1.05 MB", "4 TMAC/s", "41.6 GB/s"):
        assert value in totals


def test_energy_is_shown_where_the_profile_has_it(mobile: Analysis) -> None:
    assert "energy" not in drawn(render_analysis(mobile))
    analysis = roofline.analyze("mnv4_conv_s", hw=toy(energy_per_mac_j=1e-12, energy_per_byte_j=1e-10))
    text = drawn(render_analysis(analysis)).replace("\u00a0", " ")
    assert f"energy {significant(analysis.totals()['energy_j'] * 1e3)} mJ" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", SHOWN)
def test_where_the_time_goes_adds_up(name: str, group: str, zoo: dict[str, Analysis]) -> None:
    analysis = zoo[name]
    rows = table(drawn(render_analysis(analysis, group=group, top=0)), group.capitalize())
    totals = analysis.totals()
    unit = 1e-6 if totals["latency_s"] < 0.01 else 1e-3
    layers, macs, mem_bytes, times, shares = zip(*(row[1:6] for row in rows), strict=True)
    assert sum(map(int, layers)) == len(analysis.layers)
    assert sum(map(quantity, macs)) == pytest.approx(totals["macs"], rel=0.005)
    assert sum(map(quantity, mem_bytes)) == pytest.approx(
        totals["weight_bytes"] + totals["activation_bytes"], rel=0.005
    )
    assert sum(float(time.replace(",", "")) for time in times) * unit == pytest.approx(
        totals["latency_s"], abs=0.05 * unit * len(rows)
    )
    assert sum(float(share.strip("<> %")) for share in shares) == pytest.approx(100, abs=0.6 * len(rows))
    shown = [float(row[4].replace(",", "")) for row in rows if "others" not in row[0]]
    assert shown == sorted(shown, reverse=True)


def test_each_kind_is_the_sum_of_its_layers(mobile: Analysis) -> None:
    for name, layers, macs, mem_bytes, time, share, *_ in table(drawn(render_analysis(mobile)), "Kind"):
        rows = [row for row in mobile.rows() if row["kind"] == name]
        latency_s = sum(row["latency_s"] for row in rows)
        assert int(layers) == len(rows)
        assert macs == si(sum(row["macs"] for row in rows))
        assert mem_bytes == si(sum(row["weight_bytes"] + row["activation_bytes"] for row in rows), "B")
        assert float(time) == pytest.approx(latency_s * 1e6, abs=0.051)
        assert share == percent(latency_s / mobile.totals()["latency_s"])


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("stages.2.0.expand.conv", "stages.2"),
        ("stages.12", "stages.12"),
        ("stem.conv", "stem"),
        ("classifier", "classifier"),
        ("conv#2", "conv"),
        ("0", "0"),
        ("0.1.conv#3", "0.1"),
        ("", ""),
    ],
)
def test_a_stage_is_a_top_level_part_or_one_of_a_numbered_container(name: str, stage: str) -> None:
    assert stage_of(name) == stage


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("top", [1, 10, 1000])
def test_the_top_layers_are_the_costliest_in_order(mobile: Analysis, sort: str, top: int) -> None:
    text = drawn(render_analysis(mobile, sort=sort, top=top), width=100)
    expected = sorted(mobile.rows(), key=KEYS[sort])[:top]
    title = f"{'First' if sort == 'order' else 'Top'} {len(expected)} of {len(mobile.layers)} layers"
    rows = table(text, title)
    assert [row[0] for row in rows] == [row["name"] for row in expected]
    for shown, row in zip(rows, expected, strict=True):
        mem_bytes = row["weight_bytes"] + row["activation_bytes"]
        share = percent(row["latency_s"] / mobile.totals()["latency_s"])
        assert shown[1:6] == [
            row["kind"], significant(row["macs"] / mem_bytes), f"{row['latency_s'] * 1e6:,.1f}", share, row["bound"],
        ]  # fmt: skip


def test_no_layers_are_shown_if_none_are_asked_for(mobile: Analysis) -> None:
    text = drawn(render_analysis(mobile, top=0))
    assert "Top" not in text
    assert "pointwise_conv" in text


def test_a_network_without_layers_is_drawn_too() -> None:
    text = drawn(render_analysis(roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw="pixel6_tpu")))
    assert "it does nothing" in text
    assert "Next:" not in text


# --- bars and colours -------------------------------------------------------------------------------------------------


def test_bars_and_bounds_have_the_colour_of_the_bound(mobile: Analysis) -> None:
    segments = painted(render_analysis(mobile))
    words = {(segment.text.strip(), colour(segment)) for segment in segments if segment.text.strip() in STYLES}
    assert words == {(bound, style) for bound, style in STYLES.items()}
    bars = {colour(segment) for segment in segments if set(segment.text.strip()) == {"\u2588"}}
    assert bars == set(STYLES.values())


def test_a_bar_is_as_long_as_its_share(mobile: Analysis) -> None:
    rows = table(drawn(render_analysis(mobile)), "Top")
    slowest = max(row["latency_s"] for row in mobile.rows())
    for shown, row in zip(rows, sorted(mobile.rows(), key=KEYS["time"]), strict=False):
        assert shown[-1] == "\u2588" * max(1, round(8 * row["latency_s"] / slowest))


def test_in_ascii_everything_is_ascii(mobile: Analysis) -> None:
    """The encoding of a C locale; a character it lacks would be a traceback."""
    text = drawn(render_analysis(mobile, unicode=False), encoding="ascii")
    assert "########" in text


def test_a_pipe_gets_no_escape_codes(mobile: Analysis) -> None:
    for renderable in (render_analysis(mobile), render_models(entries())):
        assert "\x1b" not in drawn(renderable)


# --- notes ------------------------------------------------------------------------------------------------------------


def text_of(analysis: Analysis) -> str:
    return re.sub(r"\s+", " ", drawn(render_analysis(analysis)))


def test_defaults_and_the_published_figures_are_told(mobile: Analysis) -> None:
    text = text_of(mobile)
    assert (
        "Taken as defaults: input 3x256x256 (the published size), batch 1, dtype int8 (the profile's), "
        "fusion epilogue (the profile's)."
    ) in text
    assert "Published: 9.2M params, 1.0G MACs (arXiv:2404.10518v2 Table 6)" in text
    assert "M is 2^20 and G is 2^30" in text
    assert "Every op was counted." in text


@pytest.mark.parametrize("options", [{"batch": 8}, {"input_size": (3, 224, 224)}], ids=str)
def test_published_figures_say_of_which_input_they_are(options: dict[str, Any]) -> None:
    """Else they stand beside eight times as many MACs, and seem wrong."""
    text = text_of(roofline.analyze("mobilenetv4_conv_m", hw="pixel6_tpu", **options))
    assert re.search(r"Published:.* 3x256x256", text)


def test_nothing_is_called_a_default_that_was_given() -> None:
    options: dict[str, Any] = {"batch": 2, "input_size": (3, 64, 64), "dtype": "int8", "fusion": "none"}
    assert "default" not in text_of(roofline.analyze("mnv4_conv_s", hw="pixel6_tpu", **options))


def test_what_was_not_counted_is_named_with_its_share() -> None:
    class Bessel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            waves: Tensor = torch.special.bessel_j0(x) + torch.special.bessel_j0(x)
            return waves

    text = text_of(roofline.analyze(Bessel(), torch.zeros(1, 3, 8, 8), hw=toy()))
    share = re.search(r"Not counted, but for their bytes \((\d+) % of the traffic\): special_bessel_j0 \(2x\)\.", text)
    assert share is not None
    assert 0 < int(share[1]) < 100


def figures(peak: Any, bandwidth: Any) -> dict[str, Figure]:
    return {
        "peak_macs_per_s.int8": Figure(value=1e12, kind=peak, source="x"),
        "bandwidth_bytes_per_s": Figure(value=1e10, kind=bandwidth, source="x"),
    }


@pytest.mark.parametrize(
    ("peak", "bandwidth"), [("fitted", "datasheet"), ("datasheet", "measured"), ("fitted", "fitted")]
)
def test_fitted_and_measured_figures_give_a_prediction(peak: str, bandwidth: str) -> None:
    text = text_of(roofline.analyze("mnv4_conv_s", hw=toy(figures=figures(peak, bandwidth))))
    assert "Predicted latency" in text
    assert "This is a prediction" in text
    assert not re.search(r"\bbound:|at least", text)
    assert "measurement" not in text


@pytest.mark.parametrize(("peak", "bandwidth"), [("datasheet", "datasheet"), ("derived", "datasheet")])
def test_the_vendors_figures_give_a_bound(peak: str, bandwidth: str) -> None:
    text = text_of(roofline.analyze("mnv4_conv_s", hw=toy(figures=figures(peak, bandwidth))))
    assert "Latency bound: at least " in text
    assert "This is a bound: a roofline on the vendor's figures, which no run can beat." in text
    assert "redict" not in text


@pytest.mark.parametrize(("peak", "bandwidth"), [("estimate", "estimate"), ("estimate", "datasheet")])
def test_an_estimate_is_not_called_the_vendors_figure(peak: str, bandwidth: str) -> None:
    text = text_of(roofline.analyze("mnv4_conv_s", hw=toy(figures=figures(peak, bandwidth))))
    assert "vendor" not in text
    assert "no run can beat" not in text


def test_an_overhead_is_no_part_of_what_no_run_can_beat() -> None:
    """A vendor's peaks bound every run; the overhead of a layer is somebody's guess on top."""
    given = {**figures("datasheet", "datasheet"), "layer_overhead_s": Figure(value=1e-4, kind="estimate", source="x")}
    text = text_of(roofline.analyze("mnv4_conv_s", hw=toy(figures=given, layer_overhead_s=1e-4)))
    assert "no run can beat" not in text


# --- names that would be more than names ------------------------------------------------------------------------------

HOSTILE = [
    "[red]x[/red]",
    "[bold",
    "a|b",
    "\x1b[31mred\x1b[0m",
    "bell\x07",
    "new\nline",
    "tab\there",
    "\x9b31m",
    "\u202eltr",
]


@pytest.fixture(scope="module")
def hostile() -> Analysis:
    net = nn.Sequential(OrderedDict((name, nn.Conv2d(3, 3, 1)) for name in HOSTILE))
    net.__class__ = type("[link=x]Net[/link]\x1b]0;title\x07", (nn.Sequential,), {})
    return roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw=toy(name="[green]Toy\x1b[2J"))


def hostile_pages(analysis: Analysis) -> list[str]:
    from roofline.explain import explain

    pages = [drawn(render_analysis(analysis, group=group), width=120) for group in GROUPS]
    pages += [drawn(render_explanation(explain(analysis, name)), width=120) for name in analysis.layers.name]
    row = Difference(family="[red]\x1b[31m", macs=1, fvcore_flops=2, flop_counter_macs=None, reason="[b]\x1b[1m")
    check = CrossCheck(name="[red]\x1b[31m", differences=(row,), failures=("[red]\x1b[31m",))
    return [*pages, drawn(render_cross_check(check), width=120)]


def test_brackets_in_names_are_brackets(hostile: Analysis) -> None:
    page = drawn(render_analysis(hostile), width=120)
    assert "[link=x]Net[/link]" in page
    assert all(name in page for name in ("[red]x[/red]", "[bold", "a|b"))


def test_no_control_character_of_a_name_reaches_the_terminal(hostile: Analysis) -> None:
    for page in hostile_pages(hostile):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", page)


def test_a_line_break_in_a_name_makes_no_second_row(hostile: Analysis) -> None:
    assert len(table(drawn(render_analysis(hostile), width=120), "Top")) == len(HOSTILE)


# --- the other pages --------------------------------------------------------------------------------------------------


def test_models_have_exact_counts_and_a_short_name() -> None:
    lines = drawn(render_models(entries())).splitlines()
    end = next(i for i, line in enumerate(lines) if line.startswith("Counts"))
    rows = table("\n".join([line for line in lines[:end] if line.strip()] + [""]) + "\n", "Model")
    assert [row[0] for row in rows] == list(names())
    for shown, entry in zip(rows, entries(), strict=True):
        assert shown[1:3] == [si(entry.params, digits=4), si(entry.macs, digits=4)]
        assert shown[3] == str(entry.input_size[1])
        top1 = [] if entry.top1 is None else [f"{entry.top1:.1f}"]
        assert shown[4 : 4 + len(top1)] == top1
        assert set(shown[4 + len(top1) :]) <= set(entry.aliases)


@pytest.mark.parametrize("entry", entries(), ids=lambda e: e.name)
def test_a_model_is_described_in_80_columns(entry: Entry) -> None:
    text = drawn(render_model(entry), width=80)
    assert max(map(len, text.splitlines())) <= 80
    for figures in entry.published:
        assert " ".join(figures.source.split()[:2]) in " ".join(text.split())


def test_the_zoo_fits_80_columns() -> None:
    assert max(map(len, drawn(render_models(entries())).splitlines())) <= SCREEN[0]


def check_of(*rows: Difference, failures: Sequence[str] = ()) -> str:
    return drawn(render_cross_check(CrossCheck(name="net", differences=rows, failures=tuple(failures))))


SAME = Difference(family="convolution", macs=1000, fvcore_flops=1000, flop_counter_macs=1000, reason="")
OTHER = Difference(family="norm", macs=0, fvcore_flops=64, flop_counter_macs=0, reason="fvcore counts it as flops")
ABSENT = Difference(family="attention", macs=10, fvcore_flops=None, flop_counter_macs=10, reason="")


def test_a_cross_check_shows_three_counts_their_sums_and_the_reasons() -> None:
    text = check_of(SAME, OTHER)
    assert [re.split(r" {2,}", line) for line in text.splitlines()[3:6]] == [
        ["convolution", "1,000", "1,000", "1,000"],
        ["norm", "0", "64", "0"],
        ["total", "1,000", "1,064", "1,000"],
    ]
    assert "Why they differ" in text
    assert "norm: fvcore counts it as flops" in text
    assert "All three agree" not in text


def test_three_that_agree_are_said_to() -> None:
    assert "All three agree." in check_of(SAME)


def test_a_counter_that_failed_has_dashes_and_a_reason_and_agrees_with_nobody() -> None:
    text = check_of(ABSENT, failures=["fvcore could not count it: RuntimeError: no"])
    assert re.search(r"^attention +10 +- +10$", text, re.MULTILINE)
    assert re.search(r"^total +10 +- +10$", text, re.MULTILINE)
    assert "fvcore could not count it: RuntimeError: no" in text
    assert "All three agree" not in text


def test_an_explanation_is_headed_and_indented(mobile: Analysis) -> None:
    text = drawn(render_explanation([("MACs", ["1 x 2 = 2 MACs", "a line " * 20])]))
    heading, *body = text.splitlines()
    assert heading == "MACs"
    assert all(line.startswith("  ") for line in body)
    assert max(map(len, body)) <= SCREEN[0]


def test_the_latency_is_the_one_of_the_analysis(zoo: dict[str, Analysis]) -> None:
    for analysis in zoo.values():
        assert f"Predicted latency {seconds(analysis.totals()['latency_s'])}:" in text_of(analysis)
        assert math.isclose(analysis.totals()["latency_s"], sum(row["latency_s"] for row in analysis.rows()))

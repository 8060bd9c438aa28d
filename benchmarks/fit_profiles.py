"""The fitted profiles, and what they are worth: the tables of docs/validation.md, made again.

    python benchmarks/fit_profiles.py [--write]

Fits each device to its latencies in hwprofiles/*.csv (Table 6 of the MobileNetV4 paper, arXiv:2404.10518v2), the terms
chosen by nested leave-one-out; then the plain roofline, for the paper's ridge points (Table 16), all devices in one
form, and the paper's ablations of attention (its Tables 2, 3 and 17). Takes about two minutes. `--write` puts the
profiles into hwprofiles/ and the tables into docs/validation.md; without it they are printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

import roofline
from benchmarks._harness import markdown
from roofline.fit import Fit, fit, infer, parameter_text
from roofline.fit_profile import ridge_text, to_yaml
from roofline.fit_terms import Form, Rows, load_rows
from roofline.latencies import Latency, read_latencies
from roofline.output import write_text

ROOT = Path(__file__).resolve().parents[1]
PROFILES, PAGE = ROOT / "hwprofiles", ROOT / "docs" / "validation.md"
TABLE_6 = "Table 6 of arXiv:2404.10518v2"
NOT_CONVOLUTIONAL = ("fastvit_*", "efficientvit_*", "convnext_*", "mobilenetv4_hybrid_*")

_FASTEST_CORE = (
    "The paper ran TFLite with XNNPACK, bound to the fastest core (App. B), so these are figures of one core. The "
    "bandwidth is an effective cost per byte that the core handles, cached or not, far below that of the DRAM. The "
    "share of the peak of depthwise convolutions of 7x7 and more stands for two families, FastViT and ConvNeXt."
)
_UNPUBLISHED = "Google never published the TOPS of its EdgeTPUs for phones."


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of Table 6.

    Attributes:
        name: What its profile is called.
        device_class: Of the profile.
        remark: What its notes begin with.
        table_16: The paper's ridge point (MACs/byte), rank correlation of its roofline, and of MACs.
        bar: What an earlier trial of such fits reached, leave-one-out: mean error in % and rank correlation.
    """

    name: str
    device_class: str
    remark: str
    table_16: tuple[float, float, float]
    bar: tuple[int, float]


DEVICES = {
    "pixel6_cpu": Device(
        name="Google Pixel 6 CPU (Tensor G1)",
        device_class="cpu",
        remark=_FASTEST_CORE,
        table_16=(31.2, 0.973, 0.962),
        bar=(6, 0.991),
    ),
    "galaxy_s23_cpu": Device(
        name="Samsung Galaxy S23 CPU (Snapdragon 8 Gen 2)",
        device_class="cpu",
        remark=_FASTEST_CORE,
        table_16=(39.7, 0.962, 0.940),
        bar=(10, 0.995),
    ),
    "pixel4_dsp": Device(
        name="Google Pixel 4 Hexagon DSP (Snapdragon 855)",
        device_class="dsp",
        remark="Convolutional networks alone: the others of the table do not run on it.",
        table_16=(347.3, 0.962, 0.758),
        bar=(7, 0.971),
    ),
    "pixel8_tpu": Device(
        name="Google Pixel 8 EdgeTPU (Tensor G3)",
        device_class="edgetpu",
        remark=f"{_UNPUBLISHED} The latencies are printed to a tenth of a millisecond: 0.7 ms may be 7 % off.",
        table_16=(433.8, 0.973, 0.857),
        bar=(8, 0.970),
    ),
}
ONE_FORM: Sequence[Form] = (
    (),
    ("inference_overhead", "slow"),
    ("add", "slow"),
    ("add", "inference_overhead", "slow"),
    ("add", "mac_layer_overhead", "slow"),
    ("add", "inference_overhead", "mac_layer_overhead", "slow"),
)
# (question, device, network, latency in ms): Tables 2, 3 and 17 of arXiv:2404.10518v2
ABLATIONS = (
    ("attention in the last stage", "pixel8_tpu", "mobilenetv4_conv_large", 2.35),
    ("attention in the last stage", "pixel8_tpu", "mobilenetv4_conv_large:mhsa3", 2.76),
    ("attention in the last stage", "pixel8_tpu", "mobilenetv4_conv_large:mqa3", 2.60),
    ("keys and values at half size", "galaxy_s23_cpu", "mobilenetv4_hybrid_medium:kv1", 15.8),
    ("keys and values at half size", "galaxy_s23_cpu", "mobilenetv4_hybrid_medium", 12.8),
)


@cache
def latencies(device: str, *, convolutional: bool = False) -> tuple[Latency, ...]:
    rows = read_latencies(PROFILES / f"{device}.csv")
    patterns = [pattern.replace("*", "") for pattern in NOT_CONVOLUTIONAL] if convolutional else []
    return tuple(row for row in rows if not row.model.startswith(tuple(patterns)))


@cache
def rows_of(device: str, *, convolutional: bool = False, ops: str = "all") -> Rows:
    return load_rows(latencies(device, convolutional=convolutional), ops=ops)


def fitted(device: str) -> Fit:
    result = fit(PROFILES / f"{device}.csv", device=DEVICES[device].name)
    return replace(result, source=f"{device}.csv ({TABLE_6})")


def in_form(rows: Rows, terms: Form) -> Fit:
    """A fit in one form; of its terms, those that these rows can tell."""
    told = [term for term in terms if term != "slow" or len(rows.exercising(("grouped_conv", "depthwise_conv_k7"))) > 1]
    return infer(rows, device="any", terms=told)


# --- the tables -------------------------------------------------------------------------------------------------------


def ranks(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def summary(fits: dict[str, Fit]) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for device, nested in fits.items():
            fixed = infer(rows_of(device), device=device, terms=nested.terms)
            bar_error, bar_ranks = DEVICES[device].bar
            yield (
                f"`{device}`", str(len(nested.rows)), ", ".join(f"`{term}`" for term in nested.terms),
                *(f"{100 * result.loo_mape:.1f} / {100 * result.loo_median:.1f} / {ranks(result.loo_spearman)}"
                  for result in (nested, fixed)),
                f"{bar_error} / {bar_ranks:.3f}", ranks(nested.spearman_macs),
            )  # fmt: skip

    heads = (
        "profile", "rows", "terms", "terms chosen in each fold: mean %, median %, r_s",
        "these terms: mean %, median %, r_s", "earlier trial: mean %, r_s", "MACs: r_s",
    )  # fmt: skip
    return markdown(heads, rows())


def parameters(fits: dict[str, Fit]) -> str:
    lines = []
    for device, result in fits.items():
        shown = "; ".join(f"{p.name} {parameter_text(p)}" for p in result.parameters)
        lines.append(f"- `{device}`: {shown}. {ridge_text(result.ridge_points[0])}")
    return "\n".join(lines)


def table_6(fits: dict[str, Fit]) -> str:
    found = {device: {row.name: row for row in result.rows} for device, result in fits.items()}
    names = dict.fromkeys(name for rows in found.values() for name in rows)

    def cell(device: str, name: str) -> str:
        row = found[device].get(name)
        if row is None:
            return ""
        return f"{row.latency_s * 1e3:g}: {row.loo_predicted_s * 1e3:.3g} ({100 * row.loo_error:+.0f} %)"

    return markdown(("network", *(f"`{d}`" for d in fits)), ((f"`{n}`", *(cell(d, n) for d in fits)) for n in names))


def table_16() -> str:
    def rows() -> Iterator[Sequence[str]]:
        for device, what in DEVICES.items():
            for ops, said in (("conv_only", "conv and fc layers"), ("all", "all layers")):
                result = in_form(rows_of(device, convolutional=True, ops=ops), ())
                point = ridge_text(result.ridge_points[0]).removeprefix("Ridge point ").rstrip(".")
                point = point.replace(" within 10 % of the least error", "").replace(" MACs/byte", "")
                yield (
                    f"`{device}`", said, str(len(result.rows)), f"{what.table_16[0]}", point,
                    f"{100 * result.loo_mape:.1f}", ranks(result.spearman_roofline), f"{what.table_16[1]:.3f}",
                    ranks(result.spearman_macs), f"{what.table_16[2]:.3f}",
                )  # fmt: skip

    return markdown(
        ("profile", "counted", "rows", "paper: ridge point", "ours (10 % band), MACs/byte", "mean error, %", "r_s",
         "paper: r_s", "r_s of MACs", "paper: r_s of MACs"),
        rows(),
    )  # fmt: skip


def one_form() -> str:
    def rows() -> Iterator[Sequence[str]]:
        for form in ONE_FORM:
            results = [in_form(rows_of(device), form) for device in DEVICES]
            count = 2 + len([term for term in form if term != "add"])
            cells = [f"{100 * result.loo_mape:.1f} / {ranks(result.loo_spearman)}" for result in results]
            yield (", ".join(f"`{term}`" for term in form) or "peak and bandwidth alone", str(count), *cells)

    return markdown(("terms", "parameters", *(f"`{device}`" for device in DEVICES)), rows())


def ablations(fits: dict[str, Fit]) -> str:
    hardware = {device: roofline.load_profile(PROFILES / f"{device}.yaml") for device in fits}

    def rows() -> Iterator[Sequence[str]]:
        first: dict[str, tuple[float, float]] = {}
        for question, device, network, published_ms in ABLATIONS:
            predicted_ms = roofline.analyze(network, hw=hardware[device]).totals()["latency_s"] * 1e3
            base_ms, base_predicted_ms = first.setdefault(question, (published_ms, predicted_ms))
            changes = ("", "") if base_ms == published_ms else (
                f"{published_ms - base_ms:+.2f}", f"{predicted_ms - base_predicted_ms:+.2f}"
            )  # fmt: skip
            error = f"{100 * (predicted_ms / published_ms - 1):+.0f} %"
            yield f"`{network}`", f"`{device}`", f"{published_ms:g}", f"{predicted_ms:.2f}", error, *changes

    heads = ("network", "profile", "published, ms", "predicted, ms", "error", "change published", "change predicted")
    return markdown(heads, rows())


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="write the profiles and docs/validation.md")
    write = parser.parse_args(arguments).write
    fits = {}
    for device, what in DEVICES.items():
        fits[device] = fitted(device)
        print(f"{device}: {100 * fits[device].loo_mape:.1f} %", file=sys.stderr)
        if write:
            profile = to_yaml(fits[device], id=device, device_class=what.device_class, remark=what.remark)
            write_text(PROFILES / f"{device}.yaml", profile)
    parts = {
        "summary": summary(fits),
        "parameters": parameters(fits),
        "table 6": table_6(fits),
        "table 16": table_16(),
        "one form": one_form(),
        "ablations": ablations(fits),
    }
    text = PAGE.read_text(encoding="utf-8") if write else ""
    for name, part in parts.items():
        if write:
            start, end = f"<!-- made: {name} -->\n", "<!-- end -->"
            before, _, rest = text.partition(start)
            assert rest, f"{PAGE} has no place for {name}"
            text = f"{before}{start}\n{part}\n\n{end}{rest.partition(end)[2]}"
        else:
            print(f"\n## {name}\n\n{part}")
    if write:
        write_text(PAGE, text)


if __name__ == "__main__":
    main()

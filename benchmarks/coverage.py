"""Which networks of timm and torchvision are traced, and whether the counts are right: the tables of docs/coverage.md.

    python benchmarks/coverage.py [PATTERN...] [--results FILE] [--jobs N] [--write]

Each network is built on the meta device, traced at its default input, and counted again by what shares no code with
roofline: PyTorch's FlopCounterMode on meta tensors, with a formula here for each product that it lacks. Then come the
GMACs that timm prints (timm_gmacs.csv, from results/benchmark-infer-amp-nchw-pt291-cu130-pro6000maxq.csv of
huggingface/pytorch-image-models at commit aa4b585). fvcore counted those: it calls some elementwise work flops, which
is added to ours by fvcore's formulas. A network that had another number of parameters then is left out.

`--results` keeps what is done, a line each, and goes on from there as long as the code and the libraries are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import multiprocessing
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatchcase
from importlib import metadata
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import Target, filled, markdown
from roofline.count import cost, takes_batch_statistics
from roofline.crosscheck import FAMILIES
from roofline.errors import RooflineError
from roofline.graph import Graph, Op, numel
from roofline.loading import LoadedModel, expand, load
from roofline.output import write_text
from roofline.trace import trace

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"
PRINTED = ROOT / "benchmarks" / "timm_gmacs.csv"
EVERYTHING = ("timm:*", "torchvision:*")
CODE = "trace count graph vector_ops overloads shapes surroundings".split()  # what the results depend on
CLOSE = 1e-3
SAME_PARAMS = 0.01
TRACED_SHARE = 0.99
Row = dict[str, Any]

# --- the other counter ------------------------------------------------------------------------------------------------

aten = torch.ops.aten


def _first(a: Sequence[int], *_: Any, **__: Any) -> int:
    """FLOPs of a product in which each element of the first operand is used once."""
    return 2 * prod(a)


def _second(_: Any, a: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * prod(a)


# FLOPs (1 MAC = 2) of the products that FlopCounterMode has no formula for, by the shapes of their arguments.
LACKING: Mapping[Any, Callable[..., int]] = {aten.mv: _first, aten.dot: _first, aten.vdot: _first, aten.addmv: _second}


def counter_macs(module: nn.Module, inputs: Sequence[Tensor]) -> Counter[str]:
    """MACs by family of ops, as FlopCounterMode has them."""
    module.eval().requires_grad_(False)  # it hooks into autograd, and trips over views of parameters
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=dict(LACKING)) as counter:
        module(*inputs)
    counted: Counter[str] = Counter()
    for packet, flops in counter.get_flop_counts()["Global"].items():
        counted[family_of(packet.__name__)] += flops // 2
    return counted


def our_macs(graph: Graph) -> Counter[str]:
    counted: Counter[str] = Counter()
    for op in graph.ops:
        item = cost(op)
        if item is not None and item.macs:
            counted[family_of(op.name)] += item.macs
    return counted


def family_of(name: str) -> str:
    """Products are one family: PyTorch runs attention and recurrences as products of matrices."""
    family = next((family for family, names in FAMILIES.items() if name in names), name)
    return "product" if family in ("matrix product", "attention", "recurrent") else family


# --- the printed figures ----------------------------------------------------------------------------------------------


def fvcore_extras(graph: Graph) -> int:
    """What fvcore counts as flops and is no MAC: _DEFAULT_SUPPORTED_OPS of fvcore/nn/flop_count.py, 0.1.5."""
    return sum(_extra(op) for op in graph.ops if not op.is_view)


def _extra(op: Op) -> int:
    given, made = numel(op.inputs[0].shape) if op.inputs else 0, numel(op.outputs[0].shape) if op.outputs else 0
    match op.name:
        case "batch_norm" if takes_batch_statistics(op):  # of weights that are standardised
            return given * (5 if op.arg(1, "weight") is not None else 4)
        case "batch_norm":
            return given * (2 if op.arg(1, "weight") is not None else 1)
        case "layer_norm" | "group_norm":
            return given * (5 if op.arg(2, "weight") is not None else 4)
        case "instance_norm":
            return given * (5 if op.arg(1, "weight") is not None else 4)
        case "adaptive_avg_pool2d":
            return given
        case "upsample_nearest2d":
            return made
        case "upsample_bilinear2d" | "grid_sampler":
            return 4 * made
    return 0


def printed_figures() -> dict[str, list[Row]]:
    """By model of timm: pixels, GMACs and millions of parameters, each as printed."""
    found: dict[str, list[Row]] = defaultdict(list)
    for line in PRINTED.read_text(encoding="utf-8").splitlines()[1:]:
        model, px, gmacs, params = line.split(",")
        found[model].append({"px": int(px), "gmacs": gmacs, "params": params})
    return found


def beside_printed(reference: str, figure: Row, loaded: LoadedModel, graph: Graph) -> Row:
    """The figure, and ours by the same convention: as the network is, and folded if only that may agree.

    timm prints some networks as they run when branches and batch norms are folded into convolutions.
    """
    px, how = figure["px"], dict[str, Any]()
    if loaded.inputs[0].shape[-2:] != (px, px):
        how = {"input_size": (loaded.inputs[0].shape[1], px, px)}
        try:
            loaded = load(reference, **how)
            graph = trace(loaded.module, loaded.inputs)
        except RooflineError:  # its positions are those of one size, which it has to be built with
            how = {"arguments": {"img_size": px}}
            loaded = load(reference, **how)
            graph = trace(loaded.module, loaded.inputs)
    row = {**figure, "ours": [by_fvcore(graph)]}
    if off_by(row) > 0 and any(hasattr(module, name) for module in loaded.module.modules() for name in FOLDING):
        folded = load(reference, weights=True, **how)  # to fold takes numbers
        module = importlib.import_module("timm.models").reparameterize_model(folded.module, inplace=True)
        row["ours"].append(by_fvcore(trace(module, loaded.inputs)))
    return row


FOLDING = ("fuse", "reparameterize", "switch_to_deploy")  # methods that timm's reparameterize_model calls
ATTENTION = "scaled_dot_product_attention"


def by_fvcore(graph: Graph) -> Row:
    attention = sum(item.macs for op in graph.ops if op.name == ATTENTION and (item := cost(op)) is not None)
    flops = our_macs(graph).total() + fvcore_extras(graph)
    return {"params": graph.params, "flops": flops, "attention": attention}


def of_same_network(figure: Row) -> list[Row]:
    """Those of ours that have as many parameters as is printed; a version of timm may have had a few tables more."""
    printed = float(figure["params"])
    most = max(SAME_PARAMS * printed, 0.5 * 10.0 ** -len(figure["params"].partition(".")[2]))
    return [ours for ours in figure["ours"] if abs(ours["params"] / 1e6 - printed) <= most]


def nearest_gmacs(figure: Row) -> float | None:
    """Ours, or ours without attention, which fvcore leaves out where it runs as one op."""
    found = [ours["flops"] - left_out for ours in of_same_network(figure) for left_out in (0, ours["attention"])]
    return min((flops / 1e9 for flops in found), key=lambda gmacs: abs(gmacs - float(figure["gmacs"])), default=None)


def off_by(figure: Row) -> float:
    """How far ours is from the printed figure, in GMACs beyond its rounding; infinite where the network is another."""
    ours = nearest_gmacs(figure)
    if ours is None:
        return math.inf
    half_digit = 0.5 * 10.0 ** -len(figure["gmacs"].partition(".")[2])
    return max(0.0, abs(ours - float(figure["gmacs"])) - half_digit - 1e-9)


# --- one network ------------------------------------------------------------------------------------------------------


def examine(reference: str, printed: Sequence[Row]) -> Row:
    """Build, trace, and count a network twice."""
    stage, row = "build", Row(reference=reference)
    try:
        loaded = load(reference)
        row["module"] = type(loaded.module).__module__.rpartition(".")[2]
        row["input"] = [list(tensor.shape) for tensor in loaded.inputs if isinstance(tensor, Tensor)]
        stage = "trace"
        graph = trace(loaded.module, loaded.inputs)
        row["ours"], row["params"] = our_macs(graph), graph.params
        row["unknown"] = sorted({op.name for op in graph.ops if (c := cost(op)) is not None and not c.is_known})
        stage = "printed"
        row["printed"] = [beside_printed(reference, figure, loaded, graph) for figure in printed]
        stage = "counter"
        row["theirs"] = counter_macs(loaded.module, loaded.inputs)
    except Exception as error:
        kind = "" if isinstance(error, RooflineError) else f"{type(error).__name__}: "
        row["failed"] = {"stage": stage, "why": kind + " ".join(str(error).split())[:300]}
    return row


def examine_all(references: Sequence[str], results: Path | None, jobs: int | None) -> list[Row]:
    """In parallel; what `results` holds already is not done again."""
    key = fingerprint()
    rows = {row["reference"]: row for row in _kept(results, key) if row["reference"] in set(references)}
    printed = printed_figures()
    missing = [reference for reference in references if reference not in rows]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tasks = [pool.submit(examine, ref, printed.get(ref.removeprefix("timm:"), ())) for ref in missing]
        for task in as_completed(tasks):
            row = task.result()
            rows[row["reference"]] = row
            if results is not None:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, **row}) + "\n")
            if len(rows) % 50 == 0:
                print(f"{len(rows)} of {len(references)}", file=sys.stderr)
    return [rows[reference] for reference in sorted(rows)]


def _kept(results: Path | None, key: str) -> Iterator[Row]:
    if results is None or not results.exists():
        return
    for line in results.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue
        if row.pop("key") == key:
            yield row


def fingerprint() -> str:
    """Of the code and the libraries that results depend on: not of how the page is made of them."""
    code = [ROOT / "roofline" / f"{name}.py" for name in CODE] + sorted((ROOT / "roofline" / "loading").glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*code, PRINTED)))
    digest.update(Path(__file__).read_bytes().partition(b"# --- the page")[0])
    return f"{digest.hexdigest()[:16]} {versions()}"


def versions() -> str:
    found = []
    for name in ("timm", "torchvision", "torch"):
        try:
            found.append(f"{name} {metadata.version(name).partition('+')[0]}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


# --- the page ---------------------------------------------------------------------------------------------------------

# Why a count differs from FlopCounterMode's, by family of ops.
WHY_COUNTER: Mapping[str, str] = {}
# Why a printed figure does, by the network's name.
WHY_PRINTED: Mapping[str, str] = {
    "convmixer_*": (
        'fvcore has no formula for `_convolution_mode`, as which its depthwise convolutions run: they are padded "same"'
    ),
    "sequencer2d_*": "fvcore has no formula for an LSTM",
    "vit_d*_patch16_*": (
        "printed unfused, where the two maps of its attention are subtracted before one product with V; fused has two"
    ),
}


def difference(row: Row) -> float:
    """Relative, of the totals."""
    ours, theirs = sum(row["ours"].values()), sum(row["theirs"].values())
    return (ours - theirs) / theirs if theirs else float(ours != theirs)


def counted(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if "theirs" in row]


def summary(rows: Sequence[Row]) -> str:
    lines = []
    for library in ("timm", "torchvision"):
        of = [row for row in rows if row["reference"].startswith(f"{library}:")]
        if not of:
            continue
        built = [row for row in of if row.get("failed", {}).get("stage") != "build"]
        traced = [row for row in built if "ours" in row]
        both = counted(traced)
        off = [abs(difference(row)) for row in both]
        lines.append(
            [
                library, f"{len(of):,}", f"{len(built):,}", f"{len(traced):,}", f"{len(both):,}",
                f"{sum(share == 0 for share in off):,}", f"{sum(0 < share <= CLOSE for share in off):,}",
                f"{sum(share > CLOSE for share in off):,}", f"{sum(bool(row['unknown']) for row in traced):,}",
            ]
        )  # fmt: skip
    heads = [
        "library", "networks", "built", "traced", "counted by both", "the same", "within 0.1 %", "further apart",
        "with ops that have no rule",
    ]  # fmt: skip
    return markdown(heads, lines)


def failures(rows: Sequence[Row]) -> str:
    lines = [
        [row["reference"], row["failed"]["stage"], row["failed"]["why"].replace("|", "\\|")]
        for row in rows
        if "failed" in row
    ]
    return markdown(["network", "at", "why"], lines) if lines else "None."


def differing(rows: Sequence[Row]) -> str:
    """Each network whose totals are not the same, family of ops by family."""
    lines = []
    for row in counted(rows):
        if difference(row) == 0:
            continue
        total = sum(row["theirs"].values())
        for family in sorted({*row["ours"], *row["theirs"]}):
            ours, theirs = row["ours"].get(family, 0), row["theirs"].get(family, 0)
            if ours != theirs:
                share = f"{(ours - theirs) / total:+.2%}" if total else "-"
                why = WHY_COUNTER.get(family, "not explained")
                lines.append([row["reference"], family, f"{ours:,}", f"{theirs:,}", share, why])
    heads = ["network", "ops", "roofline", "FlopCounterMode", "share of the network", "why"]
    return markdown(heads, lines) if lines else "None."


def all_printed(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    return [(row["reference"], figure) for row in rows for figure in row.get("printed", ())]


def printed_summary(rows: Sequence[Row]) -> str:
    every = [figure for _, figure in all_printed(rows)]
    same = [figure for figure in every if of_same_network(figure)]
    off = [off_by(figure) / max(float(figure["gmacs"]), 0.01) for figure in same]
    cells = [
        len(every), len(every) - len(same), len(same), sum(share == 0 for share in off),
        sum(0 < share <= 0.01 for share in off), sum(share > 0.01 for share in off),
    ]  # fmt: skip
    heads = ["figures", "of other parameters", "compared", "as printed", "within 1 %", "further apart"]
    return markdown(heads, [[f"{cell:,}" for cell in cells]])


def printed_differing(rows: Sequence[Row]) -> str:
    """Figures that ours are not."""
    lines = []
    for reference, figure in all_printed(rows):
        name, printed = reference.removeprefix("timm:"), float(figure["gmacs"])
        ours = nearest_gmacs(figure)
        if ours is None or off_by(figure) == 0:
            continue
        why = next((why for pattern, why in WHY_PRINTED.items() if fnmatchcase(name, pattern)), "not explained")
        lines.append(
            [name, str(figure["px"]), figure["gmacs"], f"{ours:.3f}", f"{ours / max(printed, 0.01) - 1:+.1%}", why]
        )
    heads = ["network", "pixels", "printed GMACs", "ours", "difference", "why"]
    return markdown(heads, lines) if lines else "None."


def printed_others(rows: Sequence[Row]) -> str:
    """Networks that had another number of parameters when they were printed."""
    lines = []
    for reference, figure in all_printed(rows):
        if not of_same_network(figure):
            ours = ", ".join(f"{each['params'] / 1e6:.2f}" for each in figure["ours"])
            lines.append([reference.removeprefix("timm:"), figure["params"], ours])
    heads = ["network", "printed parameters, millions", "ours, as it is and folded"]
    return markdown(heads, [list(line) for line in dict.fromkeys(map(tuple, lines))]) if lines else "None."


def unknown(rows: Sequence[Row]) -> str:
    networks: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for name in row.get("unknown", ()):
            networks[name].append(row["reference"])
    lines = [[f"`{name}`", str(len(found)), found[0]] for name, found in sorted(networks.items())]
    return markdown(["op", "networks", "such as"], lines) if lines else "None."


def modules(rows: Sequence[Row]) -> str:
    """By the file of the library that defines them."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if "module" in row:
            groups[row["reference"].partition(":")[0], row["module"]].append(row)
    lines = []
    for (library, module), of in sorted(groups.items()):
        same = sum(difference(row) == 0 for row in counted(of))
        gmacs = [sum(row["ours"].values()) / 1e9 for row in of if "ours" in row]
        spread = f"{min(gmacs):.3g} to {max(gmacs):,.3g}" if gmacs else "-"
        lines.append([f"{library}, {module}", str(len(of)), str(len(gmacs)), str(same), spread])
    return markdown(["file", "built", "traced", "the same count", "GMACs"], lines)


def parts(rows: Sequence[Row]) -> dict[str, str]:
    return {
        "setting": f"By {versions()}.",
        "summary": summary(rows),
        "failures": failures(rows),
        "differing": differing(rows),
        "unknown": unknown(rows),
        "printed": printed_summary(rows),
        "printed differing": printed_differing(rows),
        "printed others": printed_others(rows),
        "modules": modules(rows),
    }


def targets(rows: Sequence[Row]) -> list[Target]:
    built = [row for row in rows if row.get("failed", {}).get("stage") != "build"]
    lost = sum("ours" not in row for row in built) / max(1, len(built))
    unexplained = [line for line in (differing(rows) + printed_differing(rows)).splitlines() if "not explained" in line]
    return [
        Target("networks that are not traced", lost, 1 - TRACED_SHARE, "of those that build"),
        Target("counts that differ for no known reason", float(len(unexplained)), 0, "rows"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Trace the networks of timm and torchvision, and count them twice.")
    parser.add_argument("patterns", nargs="*", default=EVERYTHING, help="such as 'timm:resnet*' (default: all)")
    parser.add_argument("--results", type=Path, help="a file of lines of JSON, kept and gone on from")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--write", action="store_true", help=f"fill in {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()

    references: list[str] = []
    for pattern in given.patterns:
        try:
            references += expand(pattern)
        except RooflineError as error:
            print(f"{pattern} is left out: {error}", file=sys.stderr)
    if not references:
        return
    rows = examine_all(references, given.results, given.jobs)
    made = parts(rows)
    if given.write:
        write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), made))
    else:
        for name, part in made.items():
            print(f"\n## {name}\n\n{part}")
    for target in targets(rows):
        print(f"{'met' if target.met else 'missed'}: {target.what} ({target.value:.3g} {target.unit})")


if __name__ == "__main__":
    main()

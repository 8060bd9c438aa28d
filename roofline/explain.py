"""The arithmetic of one layer written out: from shapes to MACs and bytes, to times, to the largest of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from roofline.analysis import Analysis
from roofline.engine import Prediction, by_class, combined, crossing_bytes, predict, terms_of
from roofline.errors import ModelError, did_you_mean
from roofline.graph import Op, numel
from roofline.layers import DTYPE_BYTES, LayerTable, Transfer, main_op
from roofline.units import seconds, shape, si, significant
from roofline.vector_ops import RECURRENT_OPS

NAMED = 8  # layers that an error lists
Section = tuple[str, Sequence[str]]


def explain(analysis: Analysis, layer: str) -> list[Section]:
    """Write out how the time of one layer comes about.

    Args:
        analysis: The model on the device.
        layer: The layer's name, or the path of a module that has just one.

    Returns:
        Headed paragraphs of lines.

    Raises:
        ModelError: There is no such layer.
    """
    index = _find(analysis, layer)
    op, transfers = main_op(analysis.graph, analysis.layers, index)
    row = analysis.rows()[index]
    by_roofline = analysis.estimates is None or analysis.estimates.chosen == "roofline"
    return [
        (f"{row['name']}: {row['kind']}, {row['ops'].replace('+', ' + ')}", [_place(analysis, index)]),
        ("MACs", _macs(analysis, op, row["macs"])),
        (
            f"Bytes ({analysis.layers.dtype}, {'unfused' if analysis.layers.fusion == 'none' else 'epilogue fusion'})",
            _bytes(row["ops"], op, transfers),
        ),
        *_time_sections(analysis, index),
        ("Sources" if by_roofline else "Sources of the bound", _sources(analysis, index)),
    ]


def _find(analysis: Analysis, layer: str) -> int:
    names: list[str] = analysis.layers.name.tolist()
    if layer in names:
        return names.index(layer)
    inside = [name for name in names if name.startswith(f"{layer}.")]
    if len(inside) == 1:
        return names.index(inside[0])
    if inside:
        more = f", and {len(inside) - NAMED} more" if len(inside) > NAMED else ""
        raise ModelError(f"{layer!r} is {len(inside)} layers; name one: {', '.join(inside[:NAMED])}{more}")
    raise ModelError(f"{analysis.name} has no layer {layer!r}.{did_you_mean(layer, names)}")


def _place(analysis: Analysis, index: int) -> str:
    latency_s = analysis.prediction.layer_latency_s[index]
    share = latency_s / (analysis.prediction.latency_s or 1.0)
    return f"layer {index + 1} of {len(analysis.layers)}, {share:.1%} of {analysis.name}'s latency"


def _time_sections(analysis: Analysis, index: int) -> Iterator[Section]:
    """The latency; where that is by a calibration, the bound of eq. 1 beside it."""
    hardware, estimates = analysis.hardware, analysis.estimates
    if estimates is None or estimates.chosen == "roofline":
        yield f"Time on {hardware.name}", _times(analysis, index)
        return
    from roofline.explain_estimate import estimated

    yield f"Time on {hardware.name}, by the {estimates.chosen} estimator", estimated(analysis, index)
    by_eq_1 = replace(analysis, prediction=predict(analysis.layers, hardware))
    yield "Beside it, the bound of eq. 1 on the figures of the profile", _times(by_eq_1, index, is_beside=True)


def _macs(analysis: Analysis, op: Op, macs: int) -> list[str]:
    out = op.outputs[0].shape
    if op.name in {unknown.name for unknown in analysis.layers.uncounted_ops}:
        return [f"nobody has said what {op.name} costs: its work is not counted, its bytes are"]
    if not macs:
        return ["it multiplies nothing: 0 MACs"]
    if op.name == "convolution":
        weight = op.inputs[1].shape
        transposed = numel(out) * numel(weight[1:]) != macs
        each, what = (op.inputs[0].shape, "input") if transposed else (out, "output")
        factors = " x ".join(str(size) for size in weight[1:])
        return [
            f"each of the {numel(each):,} {what} elements ({shape(each)}) takes {factors} MACs",
            f"{numel(each):,} x {numel(weight[1:]):,} = {macs:,} MACs",
        ]
    if op.name == "scaled_dot_product_attention":
        query, key, value = op.inputs[0].shape, op.inputs[1].shape, op.inputs[2].shape
        scores = numel(out[:-1]) * key[-2]
        return [
            f"{numel(out[:-1]):,} queries meet {key[-2]:,} keys each: {scores:,} scores",
            f"a score sums {query[-1]} products and weighs {value[-1]} elements: {query[-1] + value[-1]} MACs",
            f"{scores:,} x {query[-1] + value[-1]} = {macs:,} MACs",
        ]
    if op.name in RECURRENT_OPS:
        matrices = [operand.shape for operand in op.inputs if operand.is_weight and len(operand.shape) == 2]
        each_step = sum(numel(sizes) for sizes in matrices)
        steps = macs // max(1, each_step)
        return [
            f"each of {steps:,} steps meets all gate matrices: {' + '.join(map(shape, matrices))} = {each_step:,}",
            f"{steps:,} x {each_step:,} = {macs:,} MACs",
        ]
    if numel(out) and macs % numel(out) == 0:
        return [
            f"each of the {numel(out):,} output elements ({shape(out)}) sums {macs // numel(out):,} products",
            f"{numel(out):,} x {macs // numel(out):,} = {macs:,} MACs",
        ]
    return [f"{macs:,} MACs ({op.name} on {', '.join(shape(value.shape) for value in op.inputs)})"]


def _bytes(ops: str, op: Op, transfers: Sequence[Transfer]) -> list[str]:
    verb = {"weight": "reads", "input": "reads", "output": "writes"}
    lines = [
        f"{verb[t.role]:6} {t.role:6} {shape(t.shape):>14} {t.elements:>12,} x {t.bytes // max(1, t.elements)} = "
        f"{t.bytes:>12,} B  {t.name.removeprefix(f'{op.path}.')}".rstrip()
        for t in transfers
    ]
    lines.append(f"together {sum(t.bytes for t in transfers):,} B")
    if "+" in ops:
        lines.append("what passes between the ops of a layer stays inside it")
    if "batch_norm" in ops.split("+")[1:]:
        lines.append("the batch norm is folded into the weights and a bias")
    return lines


def _times(analysis: Analysis, index: int, *, is_beside: bool = False) -> list[str]:
    """The terms of the roofline; `is_beside` where it is the bound beside a prediction by something else."""
    layers, prediction, hardware = analysis.layers, analysis.prediction, analysis.hardware
    terms = {name: np.broadcast_to(term, len(layers))[index] for name, term in terms_of(layers, hardware).items()}
    macs, vector_ops = int(layers.macs[index]), int(layers.vector_ops[index])
    peak, share = si(hardware.peak(layers.dtype), "MAC/s", 4), terms["macs_per_s"] / hardware.peak(layers.dtype)
    bandwidth = si(terms["bytes_per_s"], "B/s", 4)
    if name := _class_of(layers, hardware.peak_share_by_class, index):
        peak = f"({peak} x {significant(share, 4)} of {name})"
    traffic = f"{terms['mem_bytes']:,} B / {bandwidth}"
    if name := _class_of(layers, hardware.bandwidth_bytes_per_s_by_class, index):
        traffic += f" of {name}"
    if terms["weight_bytes"]:
        traffic += f" + {terms['weight_bytes']:,} B of weights / {si(terms['weight_bytes_per_s'], 'B/s', 4)}"
    staying = list(_staying(analysis, index))
    lines = [
        f"MACTime = {macs:,} MACs / {peak} = {seconds(prediction.mac_time_s[index])}",
        *staying,
        f"MemTime = {traffic} = {seconds(prediction.mem_time_s[index])}",
    ]
    if hardware.vector_ops_per_s is not None:
        rate, time_s = si(hardware.vector_ops_per_s, "ops/s", 4), prediction.vector_time_s[index]
        lines.append(f"VectorTime = {vector_ops:,} vector ops / {rate} = {seconds(time_s)}")
    elif vector_ops:
        lines.append(f"its {vector_ops:,} vector ops cost nothing: the profile gives no vector rate")
    if terms["overhead_s"]:
        of = "a layer that does MACs" if hardware.overhead_layers == "macs" else "a layer"
        lines.append(f"overhead of {of}: {seconds(terms['overhead_s'])}")
    bound = "memory" if prediction.memory_bound[index] else "compute"
    word = "predicted" if analysis.latency_kind == "prediction" else "at least"
    which = "the larger" if hardware.vector_ops_per_s is None else "the largest"
    which = "their sum" if hardware.combine == "add" else which
    what = f"{which}, plus the overhead," if terms["overhead_s"] else which
    is_it = "is the bound:" if is_beside else f"is the latency: {word}"
    lines.append(f"{what} {is_it} {seconds(prediction.layer_latency_s[index])}, {bound}-bound")
    arithmetic_s, waits_s = (
        prediction.vector_time_s[index],
        (prediction.mac_time_s[index], prediction.mem_time_s[index]),
    )
    two_sided = hardware.combine == "max" and arithmetic_s <= max(waits_s)
    if two_sided and terms["mem_bytes"] and not terms["weight_bytes"]:  # with two rates of memory, no intensity does
        intensity, ridge = macs / terms["mem_bytes"], terms["macs_per_s"] / terms["bytes_per_s"]
        point = "the ridge point" if ridge == analysis.ridge_point else "the ridge point of its class"
        lines.append(
            f"its {significant(intensity, 4)} MACs/byte{' that crosses the bus' if staying else ''} are "
            f"{'below' if intensity < ridge else 'not below'} {point}, "
            f"{si(terms['macs_per_s'], 'MAC/s', 4)} / {bandwidth} = {significant(ridge, 4)} MACs/byte"
        )
    helps = _what_helps(prediction, index, add=hardware.combine == "add")
    lines.append(f"of the bound, {helps}" if is_beside else helps)
    return lines


def _class_of(layers: LayerTable, values: Mapping[str, float], index: int) -> str | None:
    """The class of a layer that has a value of its own; None where there is none."""
    name: str | None = by_class(layers, {name: name for name in values}, None)[index] if values else None
    return name


def _staying(analysis: Analysis, index: int) -> Iterator[str]:
    """What of a layer's bytes does not cross the memory bus."""
    layers = analysis.layers
    crossing = [sizes[index] for sizes in crossing_bytes(layers, analysis.hardware)]
    all_bytes = (layers.weight_bytes[index], layers.activation_bytes[index])
    staying = [whole - part for whole, part in zip(all_bytes, crossing, strict=True)]
    named = [f"{size:,} B of {what}" for size, what in zip(staying, ("weights", "activations"), strict=True) if size]
    if named:
        yield f"on the chip stay {' and '.join(named)}"


def _what_helps(prediction: Prediction, index: int, *, add: bool) -> str:
    mac_s, vector_s, mem_s = (
        times[index : index + 1] for times in (prediction.mac_time_s, prediction.vector_time_s, prediction.mem_time_s)
    )
    now_s = combined(mac_s, vector_s, mem_s, add)
    fewer_bytes, fewer_macs = combined(mac_s, vector_s, mem_s / 2, add), combined(mac_s / 2, vector_s, mem_s, add)
    saved = [float((now_s - then_s)[0]) for then_s in (fewer_bytes, fewer_macs)]
    return f"half its bytes would save {seconds(saved[0])}, half its MACs {seconds(saved[1])}"


def _sources(analysis: Analysis, index: int) -> list[str]:
    """The figures that the time of the layer comes of."""
    hardware, dtype = analysis.hardware, analysis.layers.dtype
    width = DTYPE_BYTES[dtype]
    used = hardware.figures_of_time(dtype)
    lines = [
        f"{path} = {figure.value:g} ({figure.kind}): {figure.source}"
        for path, figure in used.items()
        if _is_used(analysis, index, path)
    ]
    formula = "eq. 1 of arXiv:2404.10518" + ("" if hardware.is_plain else " with the terms of this profile")
    return [*lines, f"{dtype}: {width} byte{'s' if width > 1 else ''} an element; formula: {formula}"]


def _is_used(analysis: Analysis, index: int, path: str) -> bool:
    """Whether the time of a layer depends on a figure of the device, by its field path."""
    layers, hardware = analysis.layers, analysis.hardware
    terms = {name: np.broadcast_to(term, len(layers))[index] for name, term in terms_of(layers, hardware).items()}
    field, _, key = path.partition(".")
    match field:
        case "peak_share_by_class" | "bandwidth_bytes_per_s_by_class":
            return key == _class_of(layers, getattr(hardware, field), index)
        case "bandwidth_bytes_per_s":  # of what is left to it by the rates of classes and of weights
            is_own = _class_of(layers, hardware.bandwidth_bytes_per_s_by_class, index) is not None
            return not is_own and bool(terms["mem_bytes"] or not terms["weight_bytes"])
        case "peak_macs_per_s":
            return bool(layers.macs[index])
        case "weight_bandwidth_bytes_per_s":
            return bool(terms["weight_bytes"])
        case "vector_ops_per_s":
            return bool(layers.vector_ops[index])
        case "layer_overhead_s":
            return bool(terms["overhead_s"])
        case _:
            return path != "inference_overhead_s"

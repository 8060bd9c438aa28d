"""What shapes do not tell: ops whose time hangs on the values they are given.

The exponential of a number between about -104 and -88 is subnormal in fp32 (below 2^-126 = 1.2e-38 and above half of
2^-149 = 1.4e-45), and x86 cores do arithmetic on such numbers in microcode. An attention mask that adds -100, as Swin
Transformers do (arXiv:2103.14030, their released code), fills the scores with them, and the product after the softmax
with slow operands. A mask of -inf or -1e9 makes exact zeros and costs nothing.
"""

from __future__ import annotations

import math

from roofline.graph import FLOATING, Graph, Op, Value

LOW, HIGH = -math.log(2.0**150), -math.log(2.0**126)  # -103.97, -87.34: between them exp is subnormal in fp32
SPREAD = 16.0  # how far a score may lie from the largest of its row before the mask comes in; ours: exp(-16) = 1e-7
FILLS = ("full", "full_like", "new_full", "fill", "masked_fill", "where")
HOPS = 4  # ops that may stand between the mask and the softmax: a bias, a scale


def risks(graph: Graph) -> tuple[str, ...]:
    """Sentences on what may take longer than its shapes tell; none for most networks."""
    named: list[str] = []
    unknown: list[str] = []
    for op in graph.ops:
        if op.name in ("softmax", "log_softmax"):
            mask = _mask_of(graph, op.inputs[0])
        elif op.name == "scaled_dot_product_attention":
            given = op.arg(3, "attn_mask")
            mask = given if _is_mask(graph, given) else None
        else:
            continue
        if isinstance(mask, float):
            named.append(f"{op.path or 'the model itself'} ({mask:g})")
        elif mask is not None:
            unknown.append(op.path or "the model itself")
    what = (
        "makes subnormal numbers, on which a processor is tens of times slower; shapes do not tell, so it is left out"
    )
    sentences = []
    if named:
        sentences.append(f"a masked score near -100 {what}: softmax in {_listed(named)}")
    if unknown:
        sentences.append(
            f"a mask of about -100, if it is one (-inf is harmless), {what}: softmax in {_listed(unknown)}"
        )
    return tuple(sentences)


def _mask_of(graph: Graph, scores: Value) -> Value | float | None:
    """What masks the scores that go into a softmax: a tensor of unknown values, or a value in the dangerous range."""
    for _ in range(HOPS):
        producer = scores.root.producer
        if producer < 0:
            return None
        op = graph.ops[producer]
        if op.name in ("masked_fill", "where"):
            fill = _fill_of(op)
            if fill is not None and _is_dangerous(fill):
                return fill
        elif op.name == "add":
            mask = next((value for value in op.inputs if _is_mask(graph, value)), None)
            if mask is not None:
                return mask
        elif op.name not in ("mul", "div", "clone", "contiguous", "reshape"):
            return None
        scores = next((value for value in op.inputs if not value.is_constant), op.inputs[0])
    return None


def _is_mask(graph: Graph, value: object) -> bool:
    """Whether it is a floating tensor that comes with the model and was not learnt (a bias is), of rank 2 or more."""
    if not isinstance(value, Value) or value.dtype not in FLOATING or len(value.shape) < 2:
        return False
    return value.is_constant and not _is_harmless(graph, value)


def _is_harmless(graph: Graph, value: Value) -> bool:
    """Whether a parameter is in it (a table of position biases, gathered), or a fill known to be no such mask."""
    pending, seen = [value.root], set()
    while pending:
        root = pending.pop()
        if root.role == "parameter":
            return True
        if root.producer < 0 or root.producer in seen:
            continue
        seen.add(root.producer)
        op = graph.ops[root.producer]
        fill = _fill_of(op)
        if fill is not None and fill != 0 and not _is_dangerous(fill):
            return True
        pending += [given.root for given in op.inputs]
    return False


def _fill_of(op: Op) -> float | None:
    """The number that an op fills a tensor with, or a part of it."""
    if op.name not in FILLS:
        return None
    given = next((arg for arg in reversed(op.args) if isinstance(arg, int | float)), op.kwargs.get("value"))
    return float(given) if isinstance(given, int | float) else None


def _is_dangerous(fill: float) -> bool:
    return LOW - SPREAD <= fill <= HIGH + SPREAD


def _listed(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"

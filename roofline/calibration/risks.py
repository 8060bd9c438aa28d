"""What shapes do not tell: ops whose time hangs on the values they are given.

The exponential of a number between about -104 and -88 is subnormal in fp32 (below 2^-126 = 1.2e-38 and above half of
2^-149 = 1.4e-45), and x86 cores do arithmetic on such numbers in microcode. An attention mask that adds -100, as Swin
Transformers do (arXiv:2103.14030, their released code), fills the scores with them, and the product after the softmax
with slow operands. A mask of -inf or -1e9 makes exact zeros and costs nothing.

What a mask holds is followed through the ops that make it, as far as the numbers among their arguments tell. What comes
from outside, such as a mask that is given, is taken to be of zeros and ones; the values of a buffer that is added as it
is are not known, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

from roofline.graph import FLOATING, Graph, Op, Value

LOW, HIGH = -math.log(2.0**150), -math.log(2.0**126)  # -103.97, -87.34: between them exp is subnormal in fp32
SPREAD = 16.0  # how far a score may lie from the largest of its row before the mask comes in; ours: exp(-16) = 1e-7
FILLS = ("full", "full_like", "new_full", "fill", "masked_fill", "where")
HOPS = 4  # ops that may stand between the mask and the softmax: a bias, a scale
MOST_LEVELS = 16  # values that a tensor is followed with; one of more is no mask
Levels = frozenset[float]
NOT_KNOWN: Levels = frozenset()
ZERO_OR_ONE = frozenset({0.0, 1.0})
CREATED: Mapping[str, float] = {
    "zeros": 0.0, "zeros_like": 0.0, "new_zeros": 0.0, "zero": 0.0, "ones": 1.0, "ones_like": 1.0, "new_ones": 1.0,
}  # fmt: skip
MOVED = frozenset(
    "clone contiguous to _to_copy type_as copy expand repeat repeat_interleave reshape cat stack index index_select "
    "slice_scatter roll lift_fresh".split()
)
WITH_ZEROS = frozenset({"tril", "triu", "constant_pad_nd", "pad"})
COMPUTED: Mapping[str, Callable[[float, float, float], float]] = {  # of two operands and ``alpha``
    "add": lambda a, b, alpha: a + alpha * b,
    "sub": lambda a, b, alpha: a - alpha * b,
    "rsub": lambda a, b, alpha: b - alpha * a,
    "mul": lambda a, b, _: a * b,
    "div": lambda a, b, _: a / b if b else math.nan,
}


def risks(graph: Graph) -> tuple[str, ...]:
    """Sentences on what may take longer than its shapes tell; none for most networks."""
    if not any(op.name in ("softmax", "log_softmax", "scaled_dot_product_attention") for op in graph.ops):
        return ()
    known = _known(graph)
    named: list[str] = []
    unknown: list[str] = []
    for op in graph.ops:
        if op.name in ("softmax", "log_softmax"):
            mask = _mask_of(graph, op.inputs[0], known)
        elif op.name == "scaled_dot_product_attention":
            mask = _as_mask(graph, op.arg(3, "attn_mask"), known)
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


def _mask_of(graph: Graph, scores: Value, known: Sequence[Levels]) -> Value | float | None:
    """What masks the scores that go into a softmax: a tensor of unknown values, or a value in the dangerous range."""
    pending = [(scores, HOPS)]
    while pending:
        value, hops = pending.pop(0)
        producer = value.root.producer
        if producer < 0 or not hops:
            continue
        op = graph.ops[producer]
        added = op.inputs[:1] if op.name == "baddbmm" else op.inputs
        masks: list[Value | float] = []
        if op.name in ("masked_fill", "where"):
            given = op.args[1:] if op.name == "where" else (op.arg(2, "value"),)
            masks += [fill for each in given if (fill := _dangerous(_levels(each, known))) is not None]
        elif op.name in ("add", "sub", "baddbmm"):
            found = (_as_mask(graph, each, known, op.name == "sub" and each is op.args[1]) for each in added)
            masks += [mask for mask in found if mask is not None]
        elif op.name not in ("mul", "div", "clone", "contiguous", "reshape"):
            continue
        if masks:
            return next((mask for mask in masks if isinstance(mask, float)), masks[0])
        pending += [(each, hops - 1) for each in added if not each.is_constant]
    return None


def _as_mask(graph: Graph, value: object, known: Sequence[Levels], is_subtracted: bool = False) -> Value | float | None:
    """What is dangerous about a tensor that is added to scores, or subtracted: a value, or that it is not known."""
    if not isinstance(value, Value):
        return None
    sign = -1.0 if is_subtracted else 1.0
    fill = _dangerous(frozenset(sign * level for level in _levels(value, known)))
    return fill if fill is not None else value if _is_mask(graph, value) else None


# --- known values -----------------------------------------------------------------------------------------------------


def _known(graph: Graph) -> list[Levels]:
    """What each op writes, as far as the values are known: empty where they are not."""
    found: list[Levels] = []
    for op in graph.ops:
        levels = _made_by(op, found)
        found.append(levels if len(levels) <= MOST_LEVELS else NOT_KNOWN)
    return found


def _levels(given: object, known: Sequence[Levels]) -> Levels:
    """The values that a tensor or a number may have, where those of all ops before are known."""
    if isinstance(given, int | float):
        return frozenset({float(given)})
    if not isinstance(given, Value) or given.root.role == "parameter":
        return NOT_KNOWN
    producer = given.root.producer
    return ZERO_OR_ONE if producer < 0 or given.root.dtype == "bool" else known[producer]


def _made_by(op: Op, known: Sequence[Levels]) -> Levels:
    """Those of what an op writes."""

    def of(*given: object) -> Levels:
        return NOT_KNOWN.union(*(_levels(each, known) for each in given))

    if op.name in CREATED:
        return frozenset({CREATED[op.name]})
    if op.name in ("full", "full_like", "new_full"):
        return of(_fill_of(op))
    if op.name == "fill":  # maybe a part of what was there
        return of(op.inputs[0], _fill_of(op))
    if op.name == "masked_fill":
        return of(op.args[0], op.arg(2, "value"))
    if op.name == "where":
        return of(*op.args[1:])
    if op.name == "neg":
        return frozenset(-level for level in of(op.args[0]))
    if op.name in MOVED:
        return of(*op.inputs)
    if op.name in WITH_ZEROS:
        return of(op.inputs[0]) | {0.0}
    if op.name in COMPUTED and len(op.args) > 1:
        alpha = float(op.kwargs.get("alpha", 1))
        pairs = product(of(op.args[0]), of(op.args[1]))
        results = (COMPUTED[op.name](one, other, alpha) for one, other in pairs)
        return frozenset(level for level in results if not math.isnan(level))
    return NOT_KNOWN


def _dangerous(levels: Levels) -> float | None:
    """The least of the values that make subnormal numbers; None if none does."""
    return min(filter(_is_dangerous, levels), default=None)


# --- values that are not known ----------------------------------------------------------------------------------------


def _is_mask(graph: Graph, value: Value) -> bool:
    """Whether it is a floating tensor that comes with the model and was not learnt (a bias is), of rank 2 or more."""
    if value.dtype not in FLOATING or len(value.shape) < 2:
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

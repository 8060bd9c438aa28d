"""Lower a graph to a LayerTable: one row a layer, whatever the machine.

The traffic of a layer is what it reads and writes that others see. Every operand of every op is read once, so a
tensor that two layers use is read twice and stored once; what passes between ops of one layer stays inside it; views
are free. Weight bytes are parameters and buffers; activation bytes are all other tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roofline.count import Cost, cost
from roofline.errors import RooflineError
from roofline.fuse import FUSIONS, Group, fuse
from roofline.garbage import collection_paused
from roofline.graph import FLOATING, Graph, Op, Value
from roofline.transposes import TRANSPOSES, with_copies
from roofline.vector_ops import ACTIVATIONS

if TYPE_CHECKING:
    import pandas as pd

KINDS = (
    "conv", "depthwise_conv", "grouped_conv", "pointwise_conv", "linear", "matmul", "attention", "norm", "activation",
    "pool", "elementwise", "reduce", "softmax", "embedding", "copy", "other",
)  # fmt: skip
DTYPE_BYTES: Mapping[str, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
FIXED_BYTES: Mapping[str, int] = {  # what keeps its width whatever the model's dtype
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1,
}  # fmt: skip

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class UncountedOp:
    """An op without a handler: its bytes are in the table, its work is not.

    Attributes:
        name: Its ATen or library name.
        calls: How often it ran.
        mem_bytes: The bytes its layers read and write.
    """

    name: str
    calls: int
    mem_bytes: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Flow:
    """The tensors that pass between the layers of a network of one input and one output, and those two.

    The first five are columns of moves, in the order of the layers: a tensor, or a part of one, that a layer reads or
    writes. Weights are none of them.

    Attributes:
        layer: Of which layer the move is.
        tensor: Which tensor it moves; 0 is the network's input.
        moved_bytes: How much of it.
        is_written: Whether it is written there, not read.
        is_external: Whether it is the network's input or output.
        output: Which tensor is the network's output.
        given_bytes: How much each layer reads of the network's input.
        alive_bytes: The activation memory that is alive during each layer, the input and the output included.
    """

    layer: Ints
    tensor: Ints
    moved_bytes: Ints
    is_written: NDArray[np.bool_]
    is_external: NDArray[np.bool_]
    output: int
    given_bytes: Ints
    alive_bytes: Ints

    @property
    def tensors(self) -> int:
        """How many tensors there are, the input included."""
        return int(max(self.tensor.max(initial=0), self.output)) + 1

    def reuse(self, activation_bytes: Ints) -> NDArray[np.object_]:
        """Of each layer, the on-chip room with which each of its tensors stays on the chip, and its bytes.

        A layer keeps its tensors where all of them, its activation bytes, fit. It reads one from the chip if it fits
        itself and so did the layers that wrote it; it writes one to memory alone if one of these, or of the layers that
        read it, does not fit. So a tensor is written to memory if and only if a layer reads it from there. The model's
        own inputs and outputs always cross; a tensor that nothing reads stays with the layer that writes it.
        """
        needs = activation_bytes[self.layer]
        kept, used = np.zeros((2, int(self.tensor.max(initial=0)) + 1), dtype=np.int64)
        np.maximum.at(used, self.tensor, needs)  # the most that a layer which moves the tensor needs
        np.maximum.at(kept, self.tensor[self.is_written], needs[self.is_written])  # and one which writes it
        room = np.where(self.is_written, used[self.tensor], np.maximum(needs, kept[self.tensor]))
        found: list[list[tuple[int, int]]] = [[] for _ in activation_bytes]
        inner = ~self.is_external
        moves = (column[inner].tolist() for column in (self.layer, room, self.moved_bytes))
        for layer, room_bytes, moved_bytes in zip(*moves, strict=True):
            found[layer].append((room_bytes, moved_bytes))
        return _objects(map(tuple, found))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerTable:
    """The layers of one model, for one choice of fusion and dtype; all columns have the same length.

    Attributes:
        name: Dotted module path of the layer's main op, unique.
        kind: One of `KINDS`.
        ops: Its ATen ops in order, joined by ``+``.
        input_shape, output_shape: Of the main op; tuples.
        kernel: Sizes of the main op's window, of a convolution or pooling; a tuple, empty where it has none.
        macs: Multiply-accumulates.
        vector_ops: Elementwise work in the weights of `roofline.vector_ops`.
        weight_bytes: Parameters and buffers read.
        input_bytes, output_bytes: Other tensors read and written; their sum is the activation bytes.
        external_bytes: Those activation bytes that are inputs of the model, or outputs of it.
        reuse: Finds, of each layer, the others, tensor by tensor, as pairs: the bytes of on-chip memory with which
            these need not cross the memory bus (see `Flow.reuse`), and how many they are. A function, as it takes
            its time and few devices ask; None where it is not known, so that all cross.
        unfused: Finds what each layer would move if each of its ops ran on its own, bytes (see `unfused_bytes`).
        fusion, dtype, fused_activations, transposes: The choices made.
        params: Parameters of the model, a shared one counted once.
        peak_activation_bytes: The most activation memory alive at once in execution order (a size, not a traffic).
        uncounted_ops: What no handler knows.
        flow: Finds what joins the table to others (see `join`); None where that is not known.
    """

    name: NDArray[np.object_]
    kind: NDArray[np.object_]
    ops: NDArray[np.object_]
    input_shape: NDArray[np.object_]
    output_shape: NDArray[np.object_]
    kernel: NDArray[np.object_]
    macs: Ints
    vector_ops: Ints
    weight_bytes: Ints
    input_bytes: Ints
    output_bytes: Ints
    external_bytes: Ints
    fusion: str
    dtype: str
    fused_activations: frozenset[str]
    transposes: bool
    params: int
    peak_activation_bytes: int
    uncounted_ops: tuple[UncountedOp, ...] = ()
    reuse: Callable[[], NDArray[np.object_]] | None = None
    unfused: Callable[[], Ints] | None = None
    flow: Callable[[], Flow] | None = None

    def __post_init__(self) -> None:
        for column in COLUMNS:
            getattr(self, column).flags.writeable = False

    def __len__(self) -> int:
        return len(self.name)

    @property
    def activation_bytes(self) -> Ints:
        """Activation traffic of each layer, bytes."""
        return self.input_bytes + self.output_bytes

    @property
    def mem_bytes(self) -> Ints:
        """All traffic of each layer, bytes."""
        return self.weight_bytes + self.activation_bytes

    @property
    def unfused_bytes(self) -> Ints:
        """What each layer would move if each of its ops ran on its own, bytes; `mem_bytes` where that is not known.

        Against `mem_bytes` it shows what fusion saves; without fusion the two are the same.
        """
        return self.mem_bytes if self.unfused is None else self.unfused()

    @property
    def operational_intensity(self) -> NDArray[np.float64]:
        """MACs per byte of each layer; 0 where neither is."""
        return np.divide(self.macs, self.mem_bytes, out=np.zeros(len(self)), where=self.mem_bytes > 0)

    def is_in(self, layer_class: str) -> NDArray[np.bool_]:
        """Which layers are of a class of `roofline.hardware.LAYER_CLASSES`: of a kind, or those of one op or size."""
        if layer_class in KINDS:
            return np.asarray(self.kind == layer_class)
        if layer_class == "transpose":
            return np.isin(self.ops, TRANSPOSES)
        if layer_class == "depthwise_conv_k7":
            large = np.fromiter((max(kernel, default=0) >= 7 for kernel in self.kernel), dtype=bool, count=len(self))
            return np.asarray(large & (self.kind == "depthwise_conv"))
        return np.fromiter((ops.partition("+")[0] == layer_class for ops in self.ops), dtype=bool, count=len(self))

    def take(self, chosen: NDArray[np.bool_] | slice) -> LayerTable:
        """The table with these layers alone; what is said of the whole model stays."""
        reuse, unfused = _chosen(self.reuse, chosen), _chosen(self.unfused, chosen)
        columns = {column: getattr(self, column)[chosen] for column in COLUMNS}
        return replace(self, reuse=reuse, unfused=unfused, flow=None, **columns)

    def to_frame(self) -> pd.DataFrame:
        """The table as a pandas DataFrame, one row a layer."""
        import pandas as pd

        return pd.DataFrame({column: getattr(self, column) for column in COLUMNS})


FLOW_COLUMNS = ("layer", "tensor", "moved_bytes", "is_written", "is_external", "given_bytes", "alive_bytes")
COLUMNS = (
    "name", "kind", "ops", "input_shape", "output_shape", "kernel", "macs", "vector_ops",
    "weight_bytes", "input_bytes", "output_bytes", "external_bytes",
)  # fmt: skip


@collection_paused()
def lower(
    graph: Graph,
    *,
    fusion: str = "none",
    dtype: str = "fp32",
    fused_activations: Collection[str] = frozenset({"relu", "relu6"}),
    transposes: bool = False,
) -> LayerTable:
    """Lower a traced graph to its layers.

    Args:
        graph: From `roofline.trace.trace`.
        fusion: ``"none"`` (each op reads and writes memory, as eager PyTorch does) or ``"epilogue"``
            (see `roofline.fuse`).
        dtype: Width of all floating tensors: fp32, fp16, bf16 or int8. Integer and bool tensors keep theirs.
        fused_activations: Under epilogue fusion, the activations that run inside the op before them.
        transposes: Whether views that reorder the elements in memory are layers that copy (see `roofline.transposes`).
            PyTorch only re-describes the memory; runtimes whose tensors have no strides, such as TFLite, move it.

    Raises:
        RooflineError: An unknown fusion, dtype or activation.
    """
    check_choice("fusion", fusion, FUSIONS)
    check_choice("dtype", dtype, DTYPE_BYTES)
    for activation in fused_activations:
        check_choice("fused activation", activation, [name for name in ACTIVATIONS if name != "gelu_tanh"])

    graph, costs, groups, layers = _group(graph, fusion, dtype, fused_activations, transposes)
    weight_bytes, input_bytes, output_bytes, external_bytes = layers.bytes_by_role()
    mem_bytes = [sum(layer) for layer in zip(weight_bytes, input_bytes, output_bytes, strict=True)]
    mains = [graph.ops[group.ops[0]] for group in groups]
    return LayerTable(
        name=_objects(_unique(_main_names(graph, costs, groups))),
        kind=_objects(group.kind for group in groups),
        ops=_objects("+".join(graph.ops[i].name for i in group.ops) for group in groups),
        input_shape=_objects(_main_input(op).shape if op.inputs else () for op in mains),
        output_shape=_objects(op.outputs[0].shape if op.outputs else () for op in mains),
        kernel=_objects(_kernel(op) for op in mains),
        macs=_ints(sum(_known(costs[i]).macs for i in group.ops) for group in groups),
        vector_ops=_ints(
            sum(_known(costs[i]).vector_ops for i in group.ops if i not in group.folded) for group in groups
        ),
        weight_bytes=_ints(weight_bytes),
        input_bytes=_ints(input_bytes),
        output_bytes=_ints(output_bytes),
        external_bytes=_ints(external_bytes),
        fusion=fusion,
        dtype=dtype,
        fused_activations=frozenset(fused_activations),
        transposes=transposes,
        params=graph.params,
        peak_activation_bytes=int(layers.alive_bytes().max(initial=0)),
        uncounted_ops=_uncounted(graph, costs, groups, mem_bytes),
        reuse=cache(lambda: layers.flow().reuse(_ints(map(sum, zip(input_bytes, output_bytes, strict=True))))),
        unfused=cache(lambda: _ints(layers.unfused_bytes(number) for number in range(len(groups)))),
        flow=cache(layers.flow) if len(graph.inputs) == len(graph.outputs) == 1 else None,
    )


def join(parts: Sequence[LayerTable]) -> LayerTable:
    """The layers of a network that is a chain of parts, each on the output of the one before.

    It is what the whole network would be lowered to, but for the names, where no fusion reaches across the ends of a
    part. The parts share no weights. Names start with the number of the part.

    Raises:
        RooflineError: A part has other than one input and one output, or was lowered with other choices.
    """
    first = parts[0]
    choices = ("fusion", "dtype", "fused_activations", "transposes")
    for part in parts:
        if part.flow is None:
            raise RooflineError("a part of a network must take one tensor and return one")
        if any(getattr(part, choice) != getattr(first, choice) for choice in choices):
            raise RooflineError("the parts of a network must be lowered with the same fusion and dtype")
    columns: dict[str, Any] = {column: np.concatenate([getattr(part, column) for part in parts]) for column in COLUMNS}
    columns["name"] = _objects(f"{number}.{name}" for number, part in enumerate(parts) for name in part.name)
    columns["external_bytes"] = _joined_external(parts)
    uncounted: dict[str, UncountedOp] = {}
    for op in (op for part in parts for op in part.uncounted_ops):
        before = uncounted.get(op.name, UncountedOp(op.name, 0, 0))
        uncounted[op.name] = UncountedOp(op.name, before.calls + op.calls, before.mem_bytes + op.mem_bytes)
    activation_bytes = columns["input_bytes"] + columns["output_bytes"]
    flow = cache(lambda: _joined_flow(parts))
    return LayerTable(
        **columns,
        **{choice: getattr(first, choice) for choice in choices},
        params=sum(part.params for part in parts),
        peak_activation_bytes=max(part.peak_activation_bytes for part in parts),
        uncounted_ops=tuple(sorted(uncounted.values(), key=lambda op: -op.mem_bytes)),
        reuse=cache(lambda: flow().reuse(activation_bytes)),
        unfused=cache(lambda: np.concatenate([part.unfused_bytes for part in parts])),
        flow=flow,
    )


def main_op(graph: Graph, layers: LayerTable, index: int) -> tuple[Op, list[Transfer]]:
    """The main op of one layer of a table that was lowered from `graph`, and what the layer moves, tensor by tensor."""
    graph, _, groups, lowered = _group(graph, layers.fusion, layers.dtype, layers.fused_activations, layers.transposes)
    return graph.ops[groups[index].ops[0]], list(lowered.transfers(index))


def _group(
    graph: Graph, fusion: str, dtype: str, fused_activations: Collection[str], transposes: bool
) -> tuple[Graph, list[Cost | None], list[Group], _Layers]:
    """What runs, what each op of it costs, which ops are one layer, and what these move."""
    compiled = fusion != "none" and bool(graph.inputs)
    if transposes:
        graph = with_copies(graph)
    costs = [Cost("copy") if op.name in TRANSPOSES and not op.is_view else cost(op) for op in graph.ops]
    if compiled:
        costs = [None if _is_precomputed(op, item) else item for op, item in zip(graph.ops, costs, strict=True)]
    groups = fuse(graph, costs, fusion, fused_activations)
    return graph, costs, groups, _Layers(graph, costs, groups, width=DTYPE_BYTES[dtype], compiled=compiled)


def _kernel(op: Op) -> tuple[int, ...]:
    """The window of a convolution (its weight's) or of a pooling."""
    if op.name == "convolution":
        return op.inputs[1].shape[2:]
    if "pool" in op.name and "adaptive" not in op.name:
        given = op.arg(1, "kernel_size", ())
        return (given,) if isinstance(given, int) else tuple(given)
    return ()


def _is_precomputed(op: Op, item: Cost | None) -> bool:
    """Whether a compiler does it beforehand: work on constants, but no MACs, which stay the same in every fusion."""
    return item is not None and not item.macs and all(value.role == "constant" for value in op.outputs)


def check_choice(what: str, choice: str, known: Iterable[str]) -> None:
    """Raise a RooflineError that lists the known ones where `choice` is none of them."""
    if choice not in known:
        raise RooflineError(f"unknown {what} {choice!r}: choose one of {', '.join(known)}")


def _known(item: Cost | None) -> Cost:
    assert item is not None, "a free op is in no layer"
    return item


class Transfer(NamedTuple):
    """One tensor that a layer reads or writes.

    Attributes:
        role: ``weight``, ``input`` or ``output``.
        name: Of a parameter or buffer.
        shape: Its sizes as the op sees them.
        elements: How many of its elements are moved.
        bytes: How many bytes they are.
        external: Whether it is an input of the model, or an output of it.
    """

    role: str
    name: str
    shape: tuple[int, ...]
    elements: int
    bytes: int
    external: bool = False


class _Layers:
    """What each group moves, and how long what it writes is alive."""

    def __init__(
        self, graph: Graph, costs: Sequence[Cost | None], groups: Sequence[Group], *, width: int, compiled: bool
    ) -> None:
        self.graph, self.costs, self.groups, self.width = graph, costs, groups, width
        self._bytes_of = _ElementBytes(width)
        self._weight_roles = frozenset(("parameter", "buffer", "constant") if compiled else ("parameter", "buffer"))
        self._given = {id(value) for value in graph.inputs}
        self._returned = {id(value.root) for value in graph.outputs}
        self._layer_of = {index: number for number, group in enumerate(groups) for index in group.ops}
        self._reads = [self._group_reads(group) for group in groups]
        self._read_last: dict[int, int] = {}  # storage -> the last layer that reads it
        self._inner: set[int] = set()  # written values that only their own layer reads
        self._find_inner()

    def _group_reads(self, group: Group) -> list[tuple[Value, int]]:
        """What a layer reads, op by op; a folded op reads nothing of its own but the tensor it works on."""
        reads: list[tuple[Value, int]] = []
        for index in group.ops:
            of_op = self._op_reads(index)
            reads += [(v, n) for v, n in of_op if not v.is_constant] if index in group.folded else of_op
        return reads

    def _op_reads(self, index: int) -> Sequence[tuple[Value, int]]:
        op, item = self.graph.ops[index], _known(self.costs[index])
        return [(value, value.elements) for value in op.inputs] if item.reads is None else item.reads

    def _op_writes(self, index: int) -> Sequence[tuple[Value, int]]:
        op, item = self.graph.ops[index], _known(self.costs[index])
        return item.writes or [(value, value.elements) for value in op.outputs]

    def _find_inner(self) -> None:
        outside = set(self._returned)
        for number, reads in enumerate(self._reads):
            for value, _ in reads:
                self._read_last[value.storage] = number
                root = value.root
                if self._layer_of.get(root.producer) != number:
                    outside.add(id(root))
        for group in self.groups:
            for index in group.ops[:-1]:
                self._inner.update(id(v) for v in self.graph.ops[index].outputs if id(v) not in outside)

    def bytes_by_role(self) -> tuple[list[int], list[int], list[int], list[int]]:
        """Weight, input and output bytes of each layer, and those among the latter two that are the model's own."""
        sums = {role: [0] * len(self.groups) for role in ("weight", "input", "output")}
        external = [0] * len(self.groups)
        for number in range(len(self.groups)):
            for role, _, _, _, size, is_external in self.transfers(number):
                sums[role][number] += size
                if is_external:
                    external[number] += size
        return sums["weight"], sums["input"], sums["output"], external

    def flow(self) -> Flow:
        """The tensors that pass between the layers, of a graph of any number of inputs and outputs."""
        number_of: dict[int, int] = {id(value): number for number, value in enumerate(self.graph.inputs)}
        tensor_of: dict[int, int] = {}  # a written value -> the tensor it is, or is a part of
        latest: dict[int, int] = {}  # storage -> the tensor that was last written there
        moves: list[tuple[int, int, int, bool, bool]] = []
        given_bytes = [0] * len(self.groups)
        for number, group in enumerate(self.groups):
            own = set(group.ops)
            for value, elements in self._reads[number]:
                root = value.root
                if value.role in self._weight_roles or root.producer in own:
                    continue
                size, is_given = elements * self._bytes_of[value.dtype], id(root) in self._given
                given_bytes[number] += size if is_given else 0
                tensor = tensor_of.get(id(root), id(root))
                moves.append((number, tensor, size, False, is_given))
            for value, elements in (written for index in group.ops for written in self._op_writes(index)):
                if id(value) not in self._inner:
                    tensor = id(value)
                    if elements < self.graph.storage_elements.get(value.storage, 0):  # in place, a part of another
                        tensor = latest.get(value.storage, tensor)
                    tensor_of[id(value)] = latest[value.storage] = tensor
                    is_returned = id(value) in self._returned
                    moves.append((number, tensor, elements * self._bytes_of[value.dtype], True, is_returned))
        outputs = [tensor_of.get(id(value.root), id(value.root)) for value in self.graph.outputs]
        for tensor in (*outputs, *(move[1] for move in moves)):
            number_of.setdefault(tensor, len(number_of))
        columns = np.array(
            [(layer, number_of[tensor], *rest) for layer, tensor, *rest in moves], dtype=np.int64
        ).reshape(-1, 5)
        return Flow(
            layer=columns[:, 0],
            tensor=columns[:, 1],
            moved_bytes=columns[:, 2],
            is_written=columns[:, 3].astype(bool),
            is_external=columns[:, 4].astype(bool),
            output=number_of[outputs[0]] if outputs else -1,
            given_bytes=_ints(given_bytes),
            alive_bytes=self.alive_bytes(),
        )

    def transfers(self, number: int) -> Iterator[Transfer]:
        """What layer `number` moves, tensor by tensor; the sums of these are its bytes."""
        group, bytes_of = self.groups[number], self._bytes_of
        for value, elements in self._reads[number]:
            size = elements * bytes_of[value.dtype]
            if value.role in self._weight_roles:
                yield Transfer("weight", value.name, value.shape, elements, size)
            elif (root := value.root).producer not in group.ops:
                yield Transfer("input", "", value.shape, elements, size, id(root) in self._given)
        if group.bias_elements:
            shape = (group.bias_elements,)
            yield Transfer("weight", "folded bias", shape, group.bias_elements, group.bias_elements * self.width)
        for index in group.ops:
            for value, elements in self._op_writes(index):
                if id(value) not in self._inner:
                    size = elements * bytes_of[value.dtype]
                    yield Transfer("output", value.name, value.shape, elements, size, id(value) in self._returned)

    def unfused_bytes(self, number: int) -> int:
        """What the ops of layer `number` would move if each ran on its own."""
        moved = ((*self._op_reads(index), *self._op_writes(index)) for index in self.groups[number].ops)
        return sum(elements * self._bytes_of[value.dtype] for op in moved for value, elements in op)

    def alive_bytes(self) -> Ints:
        """The sum of the activation storages that are alive during each layer, in bytes."""
        layers = len(self.groups)
        first: dict[int, tuple[int, Value]] = {value.storage: (0, value) for value in self.graph.inputs}
        for index, number in sorted(self._layer_of.items()):
            for value in self.graph.ops[index].outputs:
                if value.role not in self._weight_roles and id(value) not in self._inner:
                    first.setdefault(value.storage, (number, value))
        kept = {value.storage for value in self.graph.outputs}
        change = np.zeros(layers + 1, dtype=np.int64)
        for storage, (start, value) in first.items() if layers else ():
            end = layers - 1 if storage in kept else max(start, self._read_last.get(storage, start))
            size = self.graph.storage_elements[storage] * self._bytes_of[value.dtype]
            change[start] += size
            change[end + 1] -= size
        return np.cumsum(change[:-1])


class _ElementBytes(dict[str, int]):
    """The bytes of an element by dtype, where floating ones have one width."""

    def __init__(self, width: int) -> None:
        super().__init__({**FIXED_BYTES, **dict.fromkeys(FLOATING, width)})
        self._width = width

    def __missing__(self, dtype: str) -> int:
        size = self[dtype] = 2 * self._width if dtype.startswith("complex") else 1  # float8 and quantised types
        return size


def _main_input(op: Op) -> Value:
    return next((value for value in op.inputs if not value.is_weight), op.inputs[0])


def _main_names(graph: Graph, costs: Sequence[Cost | None], groups: Sequence[Group]) -> list[str]:
    """The module path of each group's main op; the op's own name is added where the path alone does not say which."""
    calls: dict[int, list[int]] = {}
    for index, (op, item) in enumerate(zip(graph.ops, costs, strict=True)):
        if item is not None and op.is_leaf:
            calls.setdefault(op.call, []).append(index)
    owners = {max(ops, key=lambda i: _known(costs[i]).macs) for ops in calls.values() if _has_main(ops, costs)}
    names = []
    for group in groups:
        op = graph.ops[group.ops[0]]
        plain = group.ops[0] in owners and op.path
        names.append(op.path if plain else f"{op.path}.{op.name}".lstrip("."))
    return names


def _has_main(ops: Sequence[int], costs: Sequence[Cost | None]) -> bool:
    return len(ops) == 1 or any(_known(costs[i]).macs for i in ops)


def _unique(names: Iterable[str]) -> list[str]:
    calls: dict[str, int] = {}
    unique: dict[str, None] = {}
    for name in names:
        new = name
        while new in unique:
            calls[name] = calls.get(name, 1) + 1
            new = f"{name}#{calls[name]}"
        unique[new] = None
    return list(unique)


def _uncounted(
    graph: Graph, costs: Sequence[Cost | None], groups: Sequence[Group], mem_bytes: Sequence[int]
) -> tuple[UncountedOp, ...]:
    found: dict[str, UncountedOp] = {}
    for group, size in zip(groups, mem_bytes, strict=True):
        if not _known(costs[group.ops[0]]).is_known:
            name = graph.ops[group.ops[0]].name
            before = found.get(name, UncountedOp(name, 0, 0))
            found[name] = UncountedOp(name, before.calls + 1, before.mem_bytes + size)
    return tuple(sorted(found.values(), key=lambda op: -op.mem_bytes))


def _joined_external(parts: Sequence[LayerTable]) -> Ints:
    """Of each layer of a chain, what it moves of the input of its first part and of the output of its last."""
    found = [np.zeros_like(part.external_bytes) for part in parts]
    found[0] = found[0] + _flow(parts[0]).given_bytes
    found[-1] = found[-1] + parts[-1].external_bytes - _flow(parts[-1]).given_bytes
    return np.concatenate(found)


def _joined_flow(parts: Sequence[LayerTable]) -> Flow:
    """The flow through a chain."""
    flows = [_flow(part) for part in parts]
    together = {column: np.concatenate([getattr(flow, column) for flow in flows]) for column in FLOW_COLUMNS}
    return chained(
        Flow(**together, output=0),
        moves=np.array([len(flow.layer) for flow in flows]),
        layers=np.array([len(part) for part in parts]),
        tensors=np.array([flow.tensors for flow in flows]),
        outputs=np.array([flow.output for flow in flows]),
        begins=np.arange(len(parts)) == 0,
    )


def chained(flow: Flow, *, moves: Ints, layers: Ints, tensors: Ints, outputs: Ints, begins: NDArray[np.bool_]) -> Flow:
    """Link parts to chains, many at once: the input of a part is the output of the one before.

    Args:
        flow: The columns of all parts, one part after the other, in numbers of its own each.
        moves, layers, tensors: How many of them each part has.
        outputs: Which tensor of each part is its output.
        begins: Whether a part is the first of a chain.

    Returns:
        The flow through all chains, in numbers of their own; its output is that of the last.
    """
    ends = np.append(begins[1:], True)
    first_layer, first_tensor = (np.cumsum(sizes) - sizes for sizes in (layers, tensors))
    output = first_tensor + outputs
    given = np.append(0, output[:-1])
    given[begins] = first_tensor[begins]
    for part in np.flatnonzero(outputs == 0):  # it returns what it was given
        output[part] = given[part]
        if not ends[part]:
            given[part + 1] = output[part]
    is_given = flow.tensor == 0
    is_crossing = np.where(flow.is_written, np.repeat(ends, moves), np.repeat(begins, moves))
    return Flow(
        layer=flow.layer + np.repeat(first_layer, moves),
        tensor=np.where(is_given, np.repeat(given, moves), flow.tensor + np.repeat(first_tensor, moves)),
        moved_bytes=flow.moved_bytes,
        is_written=flow.is_written,
        is_external=flow.is_external & is_crossing,
        output=int(output[-1]),
        given_bytes=np.where(np.repeat(begins, layers), flow.given_bytes, 0),
        alive_bytes=flow.alive_bytes,
    )


def _flow(part: LayerTable) -> Flow:
    assert part.flow is not None, "join has looked"
    return part.flow()


def _chosen(
    column: Callable[[], NDArray[Any]] | None, chosen: NDArray[np.bool_] | slice
) -> Callable[[], NDArray[Any]] | None:
    """A column that is found when it is asked for, of these layers alone."""
    return None if column is None else lambda: column()[chosen]


def _objects(items: Iterable[Any]) -> NDArray[np.object_]:
    return np.fromiter(items, dtype=object)


def _ints(items: Iterable[int]) -> Ints:
    listed = list(items)
    if sum(listed) >= 2**63:
        raise RooflineError("the counts of this model and input leave 64 bits: take a smaller input or batch")
    return np.array(listed, dtype=np.int64)

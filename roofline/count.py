"""What one ATen operation costs: its kind, its MACs, its vector ops and the elements it moves.

Every op is one of three: counted (a handler below), known to be free (a view: it writes nothing), or unknown
(no handler: its bytes are memory traffic and its name is reported).

MACs are multiply-accumulates of contractions alone: convolution, matrix product, attention, recurrent gates. A bias
is where the accumulator starts and costs nothing but its bytes. A norm, an activation or a pooling is no MAC; it is
vector work, weighted per element as `roofline.vector_ops` has it. All are counted in real numbers: a MAC of two complex
ones is four, one of a complex and a real number two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roofline.graph import Op, Value, numel
from roofline.vector_ops import (
    ACTIVATIONS,
    COMPLEX_MAGNITUDE,
    COMPLEX_PRODUCT,
    DIV,
    ELEMENTWISE,
    FFT_PER_POINT,
    NORMS,
    RECURRENT_OPS,
    REDUCTIONS,
    SOFTMAXES,
    SQRT,
)

# Movers of bytes. Some are views at times (reshape, flatten, contiguous, to): a call that is one is free before it gets
# here, and one that is not has to be counted whole, so they stand here lest they be taken apart.
COPIES = (
    "clone contiguous reshape flatten to type_as copy cat stack pad constant_pad_nd reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d roll flip "
    "repeat tile repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle "
    "tril triu rot90 im2col col2im unfold slice_scatter select_scatter lift_fresh lift float half double "
    "bfloat16 int long bool _to_copy ravel unflatten resolve_conj resolve_neg view_as_real "
    "view_as_complex complex real imag expand_as vstack hstack dstack concatenate concat hsplit movedim "
    "swapaxes unsafe_split unsafe_chunk one_hot bernoulli dropout alpha_dropout feature_dropout "
    "_reshape_copy view_copy to_dense _to_dense coalesce unfold_backward"
).split()
FACTORIES = (
    "zeros ones full arange linspace logspace eye rand randn randint randperm zeros_like ones_like "
    "full_like rand_like randn_like randint_like new_zeros new_ones new_full "
    "scalar_tensor fill zero normal uniform exponential tril_indices triu_indices "
    "hann_window meshgrid "
).split()
RESERVATIONS = frozenset("empty empty_like empty_strided empty_permuted new_empty new_empty_strided".split())
FREE = RESERVATIONS.union(  # and the parts of which a sparse tensor is made
    (
        "indices values _indices _values crow_indices col_indices ccol_indices row_indices "
        "_sparse_coo_tensor_with_dims_and_tensors _sparse_coo_tensor_unsafe _sparse_compressed_tensor_unsafe"
    ).split()
)
GATHERS = ("embedding", "index_select", "gather", "index", "take", "take_along_dim", "embedding_bag")


@dataclass(slots=True)
class Cost:
    """What one op costs, whatever the machine.

    Attributes:
        kind: One of the LayerTable's kinds.
        macs, vector_ops: Work.
        reads, writes: ``(value, elements)`` moved; None means each input, each output, whole.
        is_known: False where no handler knows the op: its work is missing, its bytes are not.
    """

    kind: str
    macs: int = 0
    vector_ops: int = 0
    reads: list[tuple[Value, int]] | None = None
    writes: list[tuple[Value, int]] | None = None
    is_known: bool = True


Handler = Callable[[Op], Cost]
HANDLERS: dict[str, Handler] = {}

_SAME_AS: Mapping[str, str] = {
    **dict.fromkeys(
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d _convolution".split(),
        "convolution",
    ),
    **dict.fromkeys(
        (
            "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
            "miopen_batch_norm _batch_norm_with_update _batch_norm_no_update"
        ).split(),
        "batch_norm",
    ),
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "_safe_softmax": "softmax",
    "_prelu_kernel": "prelu",
    "clip": "clamp",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "absolute": "abs",
    "negative": "neg",
    **dict.fromkeys(
        (
            "_scaled_dot_product_attention_math _scaled_dot_product_flash_attention "
            "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
            "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable "
            "_scaled_dot_product_attention_math_for_mps"
        ).split(),
        "scaled_dot_product_attention",
    ),
}


CLAMPS = frozenset({"hardtanh", "clamp", "clamp_min"})  # which may be a relu or a relu6


def canonical_name(raw: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """One name for all variants of an op: ``convolution`` for every conv, ``relu6`` for ``clip_(0, 6)``."""
    name = raw[:-1] if raw.endswith("_") and not raw.endswith("__") else raw
    name = _SAME_AS.get(name, name)
    if name in CLAMPS:
        defaults = (-1, 1) if name == "hardtanh" else (None, None)
        low = args[1] if len(args) > 1 else kwargs.get("min_val", kwargs.get("min", defaults[0]))
        high = args[2] if len(args) > 2 else kwargs.get("max_val", kwargs.get("max", defaults[1]))
        if isinstance(low, int | float) and low == 0 and (high is None or high == 6):
            return "relu6" if high else "relu"
    return name


def depends_on_arguments(raw: str) -> bool:
    """Whether the canonical name of that ATen name depends on the arguments."""
    return _SAME_AS.get(raw.removesuffix("_"), raw.removesuffix("_")) in CLAMPS


def is_counted(raw: str) -> bool:
    """Whether a handler counts the op of that ATen name; what is not is taken apart where torch can."""
    name = raw.removesuffix("_") if not raw.endswith("__") else raw
    return _SAME_AS.get(name, name) in HANDLERS


def cost(op: Op) -> Cost | None:
    """The cost of an op; None for one that is free: a view, memory reserved, a number read on the host."""
    if op.is_view or op.name in FREE or (not op.outputs and op.target.startswith(("aten.", "profiler."))):
        return None
    handler = HANDLERS.get(op.name)
    if handler is None:
        return Cost("other", is_known=False)
    item = handler(op)
    if op.outputs and op.inputs and (_is_complex(op.outputs[0]) or _is_complex(op.inputs[0])):
        _in_real_numbers(op, item)
    return item


COMPLEX = frozenset({"complex32", "complex64", "complex128"})


def _is_complex(value: Value) -> bool:
    return value.dtype in COMPLEX


def _in_real_numbers(op: Op, item: Cost) -> None:
    """Make the work of complex numbers that of their parts: twice, but for products of two, magnitudes and FFTs."""
    operands = [value for value in op.inputs if value.dtype.startswith(("complex", "float", "bfloat"))]
    meets_complex = len(operands) > 1 and all(map(_is_complex, operands))
    item.macs *= 4 if meets_complex else 2
    if op.name == "mul" and meets_complex:
        item.vector_ops *= COMPLEX_PRODUCT
    elif op.name == "abs":
        item.vector_ops *= COMPLEX_MAGNITUDE
    elif op.name not in FFTS:
        item.vector_ops *= 2


def counts(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler for ops of these canonical names (``lib::op`` for one outside ATen)."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


# --- contractions ------------------------------------------------------------------------------------------------


def conv_macs(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], output_shape: tuple[int, ...], *, transposed: bool
) -> int:
    """MACs of a convolution of any rank, stride, dilation and grouping.

    A plain convolution does ``(C_in / groups) * prod(kernel)`` MACs for each output element; the weight has shape
    ``(C_out, C_in / groups, *kernel)``. A transposed one spreads each *input* element over
    ``(C_out / groups) * prod(kernel)`` MACs; its weight has shape ``(C_in, C_out / groups, *kernel)``.
    """
    return numel(input_shape if transposed else output_shape) * numel(weight_shape[1:])


@counts("convolution")
def _convolution(op: Op) -> Cost:
    x, weight = op.inputs[0], op.inputs[1]
    transposed = "conv_transpose" in op.target or ("convolution" in op.target and op.arg(6, "transposed") is True)
    macs = conv_macs(x.shape, weight.shape, op.outputs[0].shape, transposed=transposed)
    in_channels = x.shape[1 - (len(weight.shape) - len(x.shape))]  # a missing batch dimension is allowed
    per_group = weight.shape[0] if transposed else weight.shape[1]
    groups = op.arg(8, "groups", 1) if transposed and "conv_transpose" not in op.target else in_channels // per_group
    if transposed and "conv_transpose" in op.target:
        groups = op.arg(6, "groups", 1)
    if groups == 1:
        kind = "pointwise_conv" if numel(weight.shape[2:]) == 1 else "conv"
    else:
        kind = "depthwise_conv" if groups == in_channels else "grouped_conv"
    return Cost(kind, macs)


@counts("linear")
def _linear(op: Op) -> Cost:
    if op.inputs[1].is_sparse:
        return Cost("linear", numel(op.inputs[0].shape[:-1]) * op.inputs[1].elements)
    return Cost("linear", numel(op.outputs[0].shape) * op.inputs[1].shape[-1])


def _product(op: Op, a: Value, b: Value) -> Cost:
    """A matrix product; it is a linear layer when one side is a weight of the model."""
    if not a.shape or not b.shape:  # `inner` of a number
        return Cost("elementwise", 0, numel(op.outputs[0].shape))
    macs = numel(op.outputs[0].shape) * a.shape[-1]
    if len(a.shape) == len(b.shape) == 1:
        macs = a.shape[0]
    elif a.is_sparse:  # each of its entries meets a row of the other
        macs = a.elements * numel(b.shape[1:])
    elif b.is_sparse:
        macs = b.elements * numel(a.shape[:-1])
    return Cost(_kind_of_product(a, b), macs)


def _kind_of_product(a: Value, b: Value) -> str:
    return "linear" if a.is_weight or b.is_weight else "matmul"


@counts("mm", "bmm", "matmul", "mv", "dot", "vdot", "inner", "_int_mm", "_sparse_mm")
def _matmul(op: Op) -> Cost:
    return _product(op, op.inputs[0], op.inputs[1])


@counts("addmm", "baddbmm", "addmv", "_addmm_activation", "_sparse_addmm")
def _addmm(op: Op) -> Cost:
    return _product(op, op.inputs[1], op.inputs[2])


@counts("addbmm")
def _addbmm(op: Op) -> Cost:
    a, b = op.inputs[1], op.inputs[2]
    return Cost("matmul", numel(a.shape) * b.shape[-1])


@counts("_grouped_mm", "_scaled_grouped_mm", "transformers::grouped_mm_fallback")
def _grouped_product(op: Op) -> Cost:
    """Groups of rows, each with a matrix of its own: the experts of a mixture. Where groups end is data (`offs`).

    Whichever matrix a row meets, it takes k x n MACs. No more matrices are read than there are rows (or columns, where
    it is these that are grouped): one token, of which 8 experts make 8 rows, reads 8 of 128.
    """
    a, b, *others = op.inputs
    rows, read_a, read_b = numel(a.shape[:-1]), a.elements, b.elements
    if len(a.shape) == 3 and len(b.shape) == 2:  # it is columns of b that are grouped
        rows, read_a = a.shape[1], min(a.shape[0], b.shape[1]) * numel(a.shape[1:])
    elif len(a.shape) == 2 and len(b.shape) == 3:
        read_b = min(b.shape[0], rows) * numel(b.shape[1:])
    reads = [(a, read_a), (b, read_b), *((value, value.elements) for value in others)]
    return Cost(_kind_of_product(a, b), rows * a.shape[-1] * b.shape[-1], reads=reads)


@counts("outer", "ger", "addr")
def _outer(op: Op) -> Cost:
    return Cost("matmul", numel(op.outputs[0].shape))


@counts("_trilinear")
def _bilinear(op: Op) -> Cost:
    """nn.Bilinear: every output sums the products of a weight of shape (out, in1, in2) with both inputs."""
    x1, weight = op.inputs[0], op.inputs[1]
    return Cost("linear", numel(x1.shape[:-1]) * numel(weight.shape))


@counts("scaled_dot_product_attention")
def _attention(op: Op) -> Cost:
    """QK^T and AV over the whole of both sequences, causal or not, as torch's own counter has it."""
    query, key, value = op.inputs[:3]
    scores = numel(op.outputs[0].shape[:-1]) * key.shape[-2]
    macs = scores * (query.shape[-1] + value.shape[-1])
    mask = scores if len(op.inputs) > 3 else 0
    return Cost(
        "attention", macs, scores * (1 + SOFTMAXES["softmax"]) + mask, writes=[(op.outputs[0], op.outputs[0].elements)]
    )


@counts("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(op: Op) -> Cost:
    """Each step of each layer and direction multiplies its input and its state by stacked gate matrices.

    The parameters are a flat list in which the matrices have rank 2: W_ih ``(gates * hidden, in)``, W_hh
    ``(gates * hidden, hidden)`` and, with a projection, W_hr. Every one meets every step of every sequence once.
    """
    parameters = next(arg for arg in op.args[1:] if isinstance(arg, tuple) and len(arg) > 1 and len(arg[0].shape) == 2)
    matrices = [value for value in parameters if len(value.shape) == 2]
    gated = [matrix.shape[0] for matrix in matrices if matrix.shape[0] == matrices[0].shape[0]]
    hidden = matrices[0].shape[0] // _GATES[op.name]
    packed = isinstance(op.args[1], Value) and op.args[1].dtype == "int64"  # (data, batch_sizes, ...)
    steps = op.inputs[0].shape[0] if packed else numel(op.inputs[0].shape[:-1])  # of all sequences, either layout
    work = steps * hidden * (len(gated) // 2) * RECURRENT_OPS[op.name]
    return Cost("linear", steps * sum(numel(matrix.shape) for matrix in matrices), work)


_GATES: Mapping[str, int] = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@counts("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _recurrent_cell(op: Op) -> Cost:
    x, w_ih, w_hh = op.args[0], op.args[2], op.args[3]
    batch = x.shape[0] if len(x.shape) > 1 else 1
    macs = batch * (numel(w_ih.shape) + numel(w_hh.shape))
    return Cost("linear", macs, batch * w_hh.shape[1] * RECURRENT_OPS[op.name.removesuffix("_cell")])


# --- everything else ---------------------------------------------------------------------------------------------


def _per_output(kind: str, table: Mapping[str, int]) -> Handler:
    def handler(op: Op) -> Cost:
        return Cost(kind, 0, table[op.name] * numel(op.outputs[0].shape))

    return handler


def _per_input(kind: str, table: Mapping[str, int]) -> Handler:
    def handler(op: Op) -> Cost:
        return Cost(kind, 0, table[op.name] * numel(op.inputs[0].shape))

    return handler


for _names, _handler in (
    (ELEMENTWISE, _per_output("elementwise", ELEMENTWISE)),
    (ACTIVATIONS, _per_output("activation", ACTIVATIONS)),
    (SOFTMAXES, _per_output("softmax", SOFTMAXES)),
    (REDUCTIONS, _per_input("reduce", REDUCTIONS)),
    (NORMS, _per_input("norm", NORMS)),
):
    counts(*_names)(_handler)


@counts("gelu")
def _gelu(op: Op) -> Cost:
    name = "gelu_tanh" if op.kwargs.get("approximate") == "tanh" else "gelu"
    return Cost("activation", 0, ACTIVATIONS[name] * op.outputs[0].elements)


@counts("pow")
def _pow(op: Op) -> Cost:
    known: Mapping[Any, int] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 2, 0.5: SQRT, -0.5: SQRT + DIV, -1: DIV}
    per_element = known.get(op.arg(1, "exponent"), ELEMENTWISE["pow"])
    return Cost("elementwise", 0, per_element * op.outputs[0].elements)


@counts("max", "min", "maximum", "minimum")
def _extremum(op: Op) -> Cost:
    kind = "elementwise" if len(op.inputs) > 1 else "reduce"
    return Cost(kind, 0, max(numel(value.shape) for value in (*op.inputs, *op.outputs)))


def takes_batch_statistics(op: Op) -> bool:
    """Whether a batch norm computes the statistics of its input, not the stored ones (what cannot fold)."""
    return op.arg(5, "training") is True or "with_update" in op.target or "no_stats" in op.target


@counts("batch_norm")
def _batch_norm(op: Op) -> Cost:
    """Stored statistics: one multiply and one add. Batch statistics: their mean and variance as well."""
    per_element = NORMS["batch_norm"] + (REDUCTIONS["var_mean"] if takes_batch_statistics(op) else 0)
    return Cost("norm", 0, per_element * numel(op.inputs[0].shape), writes=[(op.outputs[0], op.outputs[0].elements)])


@counts("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
        "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool2d", "max_pool1d_with_indices")  # fmt: skip
def _pool(op: Op) -> Cost:
    """A compare or an add for each element of each window."""
    kernel = op.arg(1, "kernel_size")
    rank = next((int(c) for c in op.name if c.isdigit()), 2)
    window = numel(kernel) if isinstance(kernel, tuple) and len(kernel) == rank else _scalar(kernel) ** rank
    return Cost("pool", 0, window * op.outputs[0].elements)


def _scalar(size: Any) -> int:
    return int(size[0] if isinstance(size, tuple) else size)


@counts("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")  # fmt: skip
def _adaptive_pool(op: Op) -> Cost:
    return Cost("pool", 0, numel(op.inputs[0].shape))


@counts("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d")
def _nearest(op: Op) -> Cost:
    return Cost("copy")


@counts("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
        "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "grid_sampler", "grid_sampler_2d",
        "grid_sampler_3d")  # fmt: skip
def _interpolate(op: Op) -> Cost:
    """A multiply and an add for each of the 2, 4, 8 or (bicubic) 16 neighbours of an output element."""
    rank = len(op.inputs[0].shape) - 2
    neighbours = 16 if "bicubic" in op.name else 2**rank
    return Cost("elementwise", 0, 2 * neighbours * op.outputs[0].elements)


FFTS = ("_fft_r2c", "_fft_c2r", "_fft_c2c")


@counts(*FFTS)
def _fft(op: Op) -> Cost:
    """Of n points, 5 n log2 n operations; half where one side is real."""
    real_side = op.outputs[0] if op.name == "_fft_c2r" else op.inputs[0]
    points = numel([real_side.shape[dim] for dim in op.arg(1, "dim")])
    work = FFT_PER_POINT * real_side.elements * math.log2(max(1, points))
    return Cost("other", 0, round(work if op.name == "_fft_c2c" else work / 2))


@counts(*COPIES)
def _copy(op: Op) -> Cost:
    if op.name == "copy":  # dst.copy_(src) does not read dst
        source = op.inputs[-1]
        return Cost("copy", reads=[(source, source.elements)])
    return Cost("copy")


@counts(*FACTORIES)
def _factory(op: Op) -> Cost:
    """Only written; what `zeros_like` or `fill_` are given lends its shape, not its data."""
    return Cost("copy", reads=[])


@counts(*GATHERS)
def _gather(op: Op) -> Cost:
    """Reads the rows that are asked for, not the whole table, and the indices."""
    table, *indices = op.inputs
    rows = indices[0].elements * table.shape[-1] if op.name == "embedding_bag" else op.outputs[0].elements
    reads = [(table, rows), *((index, index.elements) for index in indices)]
    kind = "embedding" if op.name.startswith("embedding") else "copy"
    return Cost(kind, reads=reads, writes=[(op.outputs[0], op.outputs[0].elements)])


@counts("index_put", "scatter", "index_copy", "index_add", "scatter_add", "masked_scatter", "index_fill")
def _scatter(op: Op) -> Cost:
    """Reads what is scattered and where to. In place it writes no more than that; else it copies its target first."""
    target, *others = op.inputs
    if op.name == "index_fill":
        size = target.shape[op.arg(1, "dim")] if target.shape else 1  # a scalar has one dimension to index, of size 1
        moved = others[0].elements * (target.elements // max(1, size))
    elif op.name == "index_put":
        moved = _indexed_elements(target, op.args[1])
    else:
        moved = max((value.elements for value in others), default=0)
    adds = moved if "add" in op.name or op.arg(3, "accumulate") is True else 0
    reads = [(value, value.elements) for value in others]
    if op.outputs[0].storage == target.storage:
        return Cost("copy", 0, adds, reads=reads, writes=[(op.outputs[0], moved)])
    return Cost("copy", 0, adds, reads=[(target, target.elements), *reads])


def _indexed_elements(target: Value, indices: tuple[Any, ...]) -> int:
    """Elements of ``target[indices]``, to which `index_put` broadcasts what it writes; for a mask, of all of it."""
    given = [index.shape for index in indices if isinstance(index, Value)]
    rank = max(map(len, given), default=0)
    padded = [(1,) * (rank - len(sizes)) + sizes for sizes in given]
    kept = [n for axis, n in enumerate(target.shape) if axis >= len(indices) or indices[axis] is None]
    return min(numel([max(sizes) for sizes in zip(*padded, strict=True)]) * numel(kept), numel(target.shape))

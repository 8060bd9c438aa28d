"""What each op runs on a CPU in eager mode: which kernel, and how much of what kind of work.

The code paths are those of PyTorch 2.13 with oneDNN on an AVX-512 CPU, as ``torch._C._select_conv_backend`` and
``ONEDNN_VERBOSE=1`` tell them (tests ask the former again). Of a convolution of contiguous fp32 images:

- oneDNN copies input and weight into blocks of 16 channels and the output back (`reorder_bytes`; what it costs to
  reorder the weight goes with `weight_bytes`); a channels-last one needs the weight's alone. Where the channels do not
  fill the last block, that takes longer (`ragged_bytes`): on two cores, depthwise 3x3 at 28x28 took 123 us of 88
  channels, and 85 of 96.
- A channels-last 1x1 one of fewer than 64 positions, or strided, reorders a weight whose rows are a multiple of 4 KiB
  three times as slowly (`aliased_bytes`): on two cores, 1024 to 2048 channels at 6x6 took 3.9 ms, and 1040 to 2048 took
  1.5. Of 1024, 2048, 3072 or 4096 channels to 512, 1024, 1280, 2000, 2048 or 2064 it was 0.28 ns a byte more, at any
  size of 5x5 to 7x7 and with strides to 20x20; of other sizes, and to 256, 768, 1536 or 3072 channels, 0.02 to 0.07.
- Below 16 input channels, kernels larger than 1x1 take the input as it is.
- A depthwise one with several outputs a channel is a matrix product a group over unrolled windows.
- One image, one group, no more than 20,480 input elements and a kernel of at most 3 one way: ATen's own matrix
  product over unrolled windows. (On one thread that is every plain 1x1 convolution; `conv_1x1` then means this path.)
- An input of any other order of strides is made contiguous first (``/copied``): that of one image made of transposed
  tokens, too, whose stride from image to image, of which there is one, is not what torch wants of channels-last.
- Weights of over 16 MB are a class, as reordering them is most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from roofline.calibration.layouts import (
    contiguous_strides,
    fits_blas,
    folds,
    inner_run,
    is_matrix,
    layout_of,
    suggests_channels_last,
)
from roofline.count import COPIES, FACTORIES, GATHERS, HANDLERS, Cost, takes_batch_statistics
from roofline.graph import Op, Value, numel
from roofline.vector_ops import ACTIVATIONS, ELEMENTWISE, EXP, NORMS, REDUCTIONS, SOFTMAXES

FALLBACK = "other"
BASES = (
    "conv_1x1", "conv_kxk", "conv_depthwise", "conv_depthwise_multiplier", "conv_grouped", "conv_few_channels",
    "conv_large_weights", "conv_small_1x1", "conv_small_kxk", "conv_transposed", "conv_other",
    "gemm", "gemm_skinny", "gemv", "bmm", "sdpa", "sdpa_math", "lstm", "recurrent", "batch_norm",
    "batch_norm_training", "layer_norm", "group_norm",
    "elementwise_cheap", "elementwise_binary", "elementwise_broadcast", "activation_transcendental",
    "activation_sigmoid", "activation_silu", "activation_gelu", "activation_gelu_tanh", "activation_elu",
    "activation_tanh", "activation_mish",
    "pool_max", "pool_avg", "pool_global", "copy", "cat", "pad", "reduce", "softmax", "embedding", "upsample",
    "host", FALLBACK,
)  # fmt: skip
BLOCK = 16  # fp32 values in a vector of AVX-512, and channels in a block of oneDNN's layouts
SMALL_CONV_ELEMENTS = 20_480  # use_mkldnn() in ATen/native/Convolution.cpp
SMALL_CONV_KERNEL = 3
LARGE_WEIGHT_BYTES = 16e6  # in the trial, 3x3 at 7x7: 107 GMAC/s with 2 MB of weights, 75 with 9, 25 with 30 or more
SKINNY = 4  # rows or columns of a matrix product up to which reading the matrix is most of what there is to do
PAGE_BYTES = 4096  # addresses so far apart share a set of an L1 cache of 64 sets of 64 bytes
ALIASED_FROM, UNALIASED_STEP = 257, 96  # output channels whose reordering suffers from that, but for multiples of this
ALIASED_BELOW = 64  # positions, unless it is strided
CACHE_BYTES = 2 << 20  # L2 of two cores of 1 MiB (Skylake-SP), of one of Sapphire Rapids; a kink that need not be exact
SHORT_RUN = 16  # elements: a loop over less than a cache line of fp32 costs more than what it moves
ITEM_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
OWN_KERNELS = frozenset("sigmoid silu gelu elu tanh mish".split())  # 2 to 20 GB/s: docs/activations.md
TRANSCENDENTAL = frozenset(
    name for name, weight in {**ELEMENTWISE, **ACTIVATIONS}.items() if weight >= EXP and name != "rsqrt"
)


@dataclass(slots=True)
class Work:
    """What one op does, beyond what `Cost` has of it."""

    kernel: str
    is_strided: bool = False
    padded_macs: int = 0
    elements: int = 0
    transcendentals: int = 0
    reorder_bytes: int = 0
    ragged_bytes: int = 0
    aliased_bytes: int = 0
    scratch_bytes: int = 0
    spilled_bytes: int = 0  # of these, what is beyond `CACHE_BYTES` each time
    taps: int = 0
    rows: int = 1


def item_bytes(value: Value) -> int:
    """Bytes of one element."""
    return ITEM_BYTES.get(value.dtype, 4)


def _padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


# --- convolutions and products ----------------------------------------------------------------------------------------


class _Path(NamedTuple):
    """How a convolution kernel treats a contiguous input, the channels of a group and the windows."""

    pads_input: bool = True
    pads_output: bool = True
    reorders_input: bool = True
    reorders_output: bool = True
    unrolls: bool = False


_PATHS: Mapping[str, _Path] = {
    "conv_few_channels": _Path(pads_input=False, reorders_input=False),
    "conv_depthwise_multiplier": _Path(False, False, False, False, unrolls=True),
    "conv_small_1x1": _Path(False, False, False, False),
    "conv_small_kxk": _Path(False, False, False, False, unrolls=True),
}


def _convolution(op: Op, item: Cost) -> Work:
    x, weight, out = op.inputs[0], op.inputs[1], op.outputs[0]
    window = weight.shape[2:]
    channels = -1 - len(window)  # the axis, with or without one of images before it
    into, outof = x.shape[channels], out.shape[channels]
    is_transposed = "transpose" in op.target or op.arg(6, "transposed") is True
    groups = max(1, outof // weight.shape[1] if is_transposed else into // weight.shape[1])
    kernel = "conv_transposed" if is_transposed else _convolution_class(x, weight, groups, outof)
    path = _PATHS.get(kernel, _Path())
    is_strided = suggests_channels_last(x) or suggests_channels_last(weight)

    taps, pixels, positions = numel(window), numel(x.shape) // max(1, into), numel(out.shape) // max(1, outof)
    padded = item.macs
    if into == groups == outof:
        padded = padded // into * _padded(into)
    else:
        if path.pads_input:
            padded = padded * _padded(into // groups) // (into // groups)
        if path.pads_output:
            padded = padded * _padded(outof // groups) // (outof // groups)
    if kernel.startswith("conv_small"):  # pixels are the columns of its matrix product
        padded = padded // max(1, positions) * _padded(positions)
    reorders = [
        (into, path.reorders_input * _padded(into) * pixels), (outof, path.reorders_output * _padded(outof) * positions)
    ]  # fmt: skip
    reordered = sum(elements for _, elements in reorders)
    ragged = sum(elements for channels, elements in reorders if channels % BLOCK)
    is_aliased = is_strided and kernel == "conv_1x1" and (positions < ALIASED_BELOW or positions != pixels)
    is_copied = layout_of(x) == "other" and not is_strided
    if is_copied:
        reordered += numel(x.shape)
    unrolls = path.unrolls or (kernel == "conv_small_1x1" and positions != pixels)
    if is_strided and groups > 1:  # oneDNN's direct kernel, several outputs a channel or not
        unrolls = False
    return Work(
        f"{kernel}/copied" if is_copied else kernel,
        is_strided,
        padded_macs=padded,
        elements=numel(out.shape),
        reorder_bytes=0 if is_strided else 2 * reordered * item_bytes(x),
        ragged_bytes=0 if is_strided else 2 * ragged * item_bytes(x),
        aliased_bytes=weight.elements * item_bytes(weight) if is_aliased and _has_aliases(weight, outof) else 0,
        scratch_bytes=2 * into * taps * positions * item_bytes(x) if unrolls else 0,
        taps=positions * taps,
        rows=positions,
    )


def _has_aliases(weight: Value, outof: int) -> bool:
    row_bytes = weight.shape[1] * item_bytes(weight)
    return row_bytes % PAGE_BYTES == 0 and outof >= ALIASED_FROM and outof % UNALIASED_STEP != 0


def _convolution_class(x: Value, weight: Value, groups: int, outof: int) -> str:
    window = weight.shape[2:]
    if len(window) != 2:
        return "conv_other"
    if groups > 1:
        if weight.shape[1] > 1:
            return "conv_grouped"
        return "conv_depthwise" if groups == outof else "conv_depthwise_multiplier"
    is_1x1, is_one_image = numel(window) == 1, len(x.shape) == 3 or x.shape[0] == 1
    if is_one_image and numel(x.shape) <= SMALL_CONV_ELEMENTS and min(window) <= SMALL_CONV_KERNEL:
        return "conv_small_1x1" if is_1x1 else "conv_small_kxk"
    if weight.shape[1] < BLOCK and not is_1x1:
        return "conv_few_channels"
    if numel(weight.shape) * item_bytes(weight) > LARGE_WEIGHT_BYTES:
        return "conv_large_weights"
    return "conv_1x1" if is_1x1 else "conv_kxk"


BIASED = frozenset("addmm baddbmm addmv addbmm _addmm_activation".split())  # the bias comes first


def _matrix_product(op: Op, item: Cost) -> Work:
    """``linear`` and products of two tensors: of matrices, or of batches of them."""
    a, b = op.inputs[1:3] if op.name in BIASED else op.inputs[:2]
    out = op.outputs[0]
    if len(b.shape) > 2:
        return _batched_product(a, b, out, item)
    columns = b.shape[0] if op.name == "linear" and len(b.shape) == 2 else b.shape[-1] if len(b.shape) == 2 else 1
    rows = max(1, numel(a.shape[:-1]))
    return Work(
        "gemv" if (least := min(rows, columns)) == 1 else "gemm_skinny" if least <= SKINNY else "gemm",
        layout_of(a) != "contiguous",
        padded_macs=item.macs // max(1, columns) * _padded(columns),
        elements=numel(out.shape),
        reorder_bytes=0 if is_matrix(a) else 2 * numel(a.shape) * item_bytes(a),
        rows=rows,
    )


def _batched_product(a: Value, b: Value, out: Value, item: Cost) -> Work:
    """ATen hands MKL a batch whose dimensions fold and whose matrices BLAS takes; it copies and loops otherwise."""
    batch = out.shape[:-2]
    copied = 0
    for value in (a, b):
        is_split = len(batch) > 1 and len(value.shape) > 2
        if is_split and (value.shape[:-2] != batch or not folds(batch, value.strides[:-2])):
            copied += numel((*batch, *value.shape[-2:])) * item_bytes(value)
    columns = b.shape[-1]
    return Work(
        "bmm",
        copied > 0 or not (fits_blas(a) and fits_blas(b)),
        padded_macs=item.macs // max(1, columns) * _padded(columns),
        elements=numel(out.shape),
        reorder_bytes=2 * copied,
        rows=max(1, numel(batch)),
    )


def _trilinear(op: Op, item: Cost) -> Work:
    """nn.Bilinear, which ATen multiplies and sums out element by element."""
    return Work("bmm", elements=item.macs, rows=max(1, numel(op.outputs[0].shape[:-1])))


def _attention(op: Op, item: Cost) -> Work:
    """Flash attention where ATen has it: rank 4, heads of one size, rows in one piece, a mask of rank 2 or 4."""
    query, key, value = op.inputs[:3]
    scores = numel(op.outputs[0].shape[:-1]) * key.shape[-2]
    mask = op.arg(3, "attn_mask")
    is_flash = (
        len(query.shape) == 4
        and query.shape[-1] == key.shape[-1] == value.shape[-1]
        and all(tensor.strides[-1:] in ((), (1,)) for tensor in (query, key, value))
        and (not isinstance(mask, Value) or len(mask.shape) in (2, 4))
    )
    return Work(
        "sdpa" if is_flash else "sdpa_math",
        elements=op.outputs[0].elements,
        transcendentals=scores,
        scratch_bytes=0 if is_flash else 4 * scores * item_bytes(query),  # written, read, written by softmax, read
        rows=max(1, numel(op.outputs[0].shape[:-2])),
    )


def _recurrent(op: Op, item: Cost) -> Work:
    """Steps that wait for each other: of the time axis, in each layer and direction.

    oneDNN has a kernel of LSTM layers; ATen makes the others of a product and elementwise ops a step. Each step reads
    the weights of its layer that multiply the state, from a cache if they fit one.
    """
    kernel = "lstm" if op.name == "lstm" else "recurrent"
    if op.name.endswith("_cell"):
        return Work("recurrent", elements=sum(value.elements for value in op.outputs))
    x = op.inputs[0]
    parameters = next(arg for arg in op.args[1:] if isinstance(arg, tuple) and len(arg) > 1 and len(arg[0].shape) == 2)
    matrices = [value for value in parameters if len(value.shape) == 2]
    of_state = [value.elements * item_bytes(value) for value in matrices[1::2]]  # after those of the layer's input
    is_packed = isinstance(op.args[1], Value) and op.args[1].dtype == "int64"
    if is_packed:
        steps = op.args[1].shape[0]
    else:
        steps = x.shape[1 if op.arg(8, "batch_first") is True and len(x.shape) == 3 else 0]
    return Work(
        kernel,
        layout_of(x) != "contiguous",
        elements=op.outputs[0].elements,
        scratch_bytes=steps * sum(of_state),
        spilled_bytes=steps * sum(max(0, size - CACHE_BYTES) for size in of_state),
        rows=steps * len(of_state),
    )


# --- elementwise work -------------------------------------------------------------------------------------------------


def _elementwise(op: Op, item: Cost) -> Work:
    if not op.outputs:
        return Work("elementwise_cheap")
    out = op.outputs[0]
    operands = [value for value in op.inputs if value.shape]
    run, is_unit = inner_run(out, operands)
    if op.name in TRANSCENDENTAL and not (op.name == "pow" and item.vector_ops < EXP * out.elements):
        kernel = _activation_class(op)
    elif len(operands) < 2:
        kernel = "elementwise_cheap"
    elif all(value.shape == out.shape and value.elements == operands[0].elements for value in operands):
        kernel = "elementwise_binary"
    else:
        kernel = "elementwise_broadcast"
    return Work(
        kernel,
        not is_unit or run < min(SHORT_RUN, out.elements),
        elements=out.elements,
        transcendentals=out.elements if kernel.startswith("activation_") else 0,
        rows=max(1, out.elements // run),
    )


def _activation_class(op: Op) -> str:
    """A function that networks are built with has a class of its own: one is ten times as slow as another."""
    if op.name not in OWN_KERNELS:
        return "activation_transcendental"
    is_tanh = op.name == "gelu" and op.arg(1, "approximate", "none") == "tanh"
    return f"activation_{op.name}_tanh" if is_tanh else f"activation_{op.name}"


def _norm(op: Op, item: Cost) -> Work:
    x = op.inputs[0]
    kernel, rows = "batch_norm", numel(x.shape[:2])
    if op.name in ("layer_norm", "rms_norm"):
        normalised = op.arg(1, "normalized_shape")
        width = numel(normalised) if isinstance(normalised, tuple) else x.shape[-1] if x.shape else 1
        kernel, rows = "layer_norm", x.elements // max(1, width)
    elif op.name == "group_norm":
        groups = op.arg(1, "num_groups")
        kernel, rows = "group_norm", (x.shape[0] * groups if isinstance(groups, int) else rows)
    elif op.name == "instance_norm":  # ATen calls a batch norm of as many channels as there are in all images
        kernel = "batch_norm_training" if op.arg(5, "use_input_stats") is True else "batch_norm"
    elif op.name != "batch_norm":
        kernel = "group_norm"
    elif takes_batch_statistics(op):  # of weights that a network normalises as it runs, say
        kernel = "batch_norm_training"
    return Work(kernel, layout_of(x) != "contiguous", elements=numel(x.shape), rows=max(1, rows))


def _softmax(op: Op, item: Cost) -> Work:
    x = op.inputs[0]
    dim = op.arg(1, "dim", -1)
    axis = dim % len(x.shape) if isinstance(dim, int) and x.shape else 0
    is_inner = layout_of(x) == "contiguous" and numel(x.shape[axis + 1 :]) == 1
    elements = numel(x.shape)
    width = x.shape[axis] if x.shape else 1
    return Work("softmax", not is_inner, elements=elements, transcendentals=elements, rows=elements // max(1, width))


def _reduce(op: Op, item: Cost) -> Work:
    x = op.inputs[0]
    rank = len(x.shape)
    dims = op.arg(2 if "norm" in op.name else 1, "dim")  # after the order of a norm
    given = (dims,) if type(dims) is int else dims if isinstance(dims, tuple) and dims else range(rank)
    axes = {axis % rank for axis in given} if rank else set()
    wide = [axis for axis in axes if x.shape[axis] != 1]
    is_inner = not wide or not x.strides or any(x.strides[axis] in (0, 1) for axis in wide)
    kernel = "pool_global" if rank == 4 and axes == {2, 3} else "reduce"
    rows = max(1, op.outputs[0].elements if op.outputs else 1)
    if not is_inner:  # results side by side are summed at once, as many as lie so in the input
        kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        run, _ = inner_run(replace(x, shape=tuple(kept)), [])
        rows = max(1, numel(x.shape) // run)
    return Work(
        kernel,
        not is_inner,
        elements=numel(x.shape),
        transcendentals=numel(x.shape) if op.name == "logsumexp" else 0,
        rows=rows,
    )


def _extremum(op: Op, item: Cost) -> Work:
    return _elementwise(op, item) if len(op.inputs) > 1 else _reduce(op, item)


def _pool(op: Op, item: Cost) -> Work:
    x, out = op.inputs[0], op.outputs[0]
    is_global = "adaptive_avg" in op.name and numel(out.shape[2:]) == 1 and len(x.shape) > 2
    kernel = "pool_global" if is_global else "pool_max" if "max" in op.name else "pool_avg"
    return Work(
        kernel,
        layout_of(x) != "contiguous",
        elements=x.elements if is_global else out.elements,
        taps=item.vector_ops,
        rows=max(1, numel(out.shape[:2]) if is_global else numel(out.shape[:-1])),
    )


# --- moving bytes -----------------------------------------------------------------------------------------------------


RESHAPING = frozenset("reshape flatten unflatten ravel _reshape_copy".split())
REORDERING = frozenset(
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle flip rot90 im2col col2im unfold".split()
)


def _copy(op: Op, item: Cost) -> Work:
    if not op.outputs:
        return _unknown(op, item)
    out = op.outputs[0]
    elements = numel(out.shape)
    is_made = item.reads == [] or not op.inputs  # of zeros, say
    run, is_unit = elements if is_made or not out.shape else out.shape[-1], True
    if not is_made and op.name not in REORDERING:
        source = op.inputs[-1] if op.name == "copy" else op.inputs[0]
        if source.shape == out.shape:
            run, is_unit = inner_run(out, [source])
        elif op.name in RESHAPING:  # what a view could not do
            run, is_unit = inner_run(replace(source, strides=contiguous_strides(source.shape)), [source])
    is_short = run < min(SHORT_RUN, elements)
    is_strided = op.name in REORDERING or not is_unit or is_short
    return Work("copy", is_strided, elements=elements, rows=elements // max(1, run))


def _cat(op: Op, item: Cost) -> Work:
    """Copies in runs: of all that an input has from the axis on, or as far as its elements stand side by side."""
    out = op.outputs[0]
    dim = op.arg(1, "dim", 0)
    axis = dim % len(out.shape) if isinstance(dim, int) and out.shape else 0
    is_strided = any(layout_of(value) != "contiguous" for value in op.inputs)
    if not is_strided:
        return Work("cat", elements=out.elements, rows=len(op.inputs) * max(1, numel(out.shape[:axis])))
    runs = sum(value.elements // inner_run(replace(value, strides=out.strides), [value])[0] for value in op.inputs)
    return Work("cat", is_strided=True, elements=out.elements, rows=max(1, runs))


def _roll(op: Op, item: Cost) -> Work:
    """ATen cuts the tensor in two along each dimension in turn, and concatenates (native/TensorTransformations.cpp)."""
    x, out = op.inputs[0], op.outputs[0]
    dims = op.arg(2, "dims", ())
    axes = [dim % len(out.shape) for dim in ((dims,) if isinstance(dims, int) else dims)] if out.shape else []
    rows = sum(2 * max(1, numel(out.shape[:axis])) for axis in axes or [0])
    return Work("cat", layout_of(x) != "contiguous", elements=out.elements * max(1, len(axes)), rows=rows)


def _pad(op: Op, item: Cost) -> Work:
    out = op.outputs[0]
    return Work("pad", layout_of(op.inputs[0]) != "contiguous", elements=out.elements, rows=_lines(out))


def _gather(op: Op, item: Cost) -> Work:
    out = op.outputs[0]
    return Work("embedding", layout_of(op.inputs[0]) != "contiguous", elements=out.elements, rows=_lines(out))


def _upsample(op: Op, item: Cost) -> Work:
    out = op.outputs[0]
    return Work("upsample", layout_of(op.inputs[0]) != "contiguous", elements=out.elements, rows=_lines(out))


def _lines(value: Value) -> int:
    return max(1, numel(value.shape[:-1]))


def _unknown(op: Op, item: Cost) -> Work:
    return Work(FALLBACK, elements=sum(value.elements for value in op.outputs), rows=len(op.outputs) or 1)


# Counted as reductions, but no sum takes as long: of 400,000 numbers, sort took over a thousand times what sum did, and
# cumsum twenty times (torch 2.13, two cores). No network of the menu has one, and that they were not measured is said.
ORDERINGS = "sort argsort topk median mode cumsum cumprod cummax cummin".split()
RARE = (  # that no network of the menu has, either
    "_fft_r2c _fft_c2r _fft_c2c _sparse_mm _sparse_addmm _grouped_mm _scaled_grouped_mm "
    "transformers::grouped_mm_fallback"
).split()

Handler = Callable[[Op, Cost], Work]
WORK: Mapping[str, Handler] = {
    **dict.fromkeys((*COPIES, *FACTORIES), _copy),
    **dict.fromkeys((*ELEMENTWISE, *ACTIVATIONS), _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys((*ORDERINGS, *RARE), _unknown),
    **dict.fromkeys(("max", "min"), _extremum),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(SOFTMAXES, _softmax),
    **dict.fromkeys(GATHERS, _gather),
    **dict.fromkeys("index_put scatter index_copy index_add scatter_add masked_scatter index_fill".split(), _gather),
    **dict.fromkeys("cat concat concatenate stack vstack hstack dstack".split(), _cat),
    "roll": _roll,
    **dict.fromkeys([name for name in COPIES if "pad" in name], _pad),
    **dict.fromkeys([name for name in HANDLERS if "pool" in name], _pool),
    **dict.fromkeys([name for name in HANDLERS if "upsample" in name or "grid_sampler" in name], _upsample),
    **dict.fromkeys("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split(), _recurrent),
    **dict.fromkeys("linear mm bmm matmul mv dot vdot inner _int_mm".split(), _matrix_product),
    **dict.fromkeys(BIASED, _matrix_product),
    **dict.fromkeys(("outer", "ger", "addr"), _elementwise),
    "_trilinear": _trilinear,
    "convolution": _convolution,
    "scaled_dot_product_attention": _attention,
}


def work_of(op: Op, item: Cost | None) -> Work:
    """The kernel of an op that is no view, of which `roofline.count.cost` says `item`.

    What only reserves memory or reads a number is ``host``, and what no handler of either module knows is `FALLBACK`.
    """
    return Work("host") if item is None else WORK.get(op.name, _unknown)(op, item)

"""Kernel classes and their terms: against torch's own choice of a backend, its FLOP counter, and arithmetic by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils.flop_counter import FlopCounterMode

from roofline.calibration.kernels import FALLBACK, KERNELS, TERMS, Kernels, kernels_of
from roofline.calibration.layouts import folds, inner_run, layout_of, suggests_channels_last
from roofline.calibration.work import BASES, WORK
from roofline.count import HANDLERS
from roofline.graph import Graph, Value
from roofline.loading import load
from roofline.models import entries
from roofline.trace import trace

MIB = 1 << 20


class Apply(nn.Module):
    """A model that is one function of its inputs: ``function(self, *inputs)``, with the given parts."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def graph_of(model: nn.Module | Callable[..., Any], *inputs: Tensor, **parts: Any) -> Graph:
    with torch.device("meta"):
        made = model if isinstance(model, nn.Module) else Apply(model, **parts)
    return trace(made, inputs)


def of(model: nn.Module | Callable[..., Any], *inputs: Tensor, **parts: Any) -> Kernels:
    return kernels_of(graph_of(model, *inputs, **parts))


def terms_of(kernels: Kernels, row: int = 0) -> dict[str, float]:
    return dict(zip(TERMS, kernels.terms[row].tolist(), strict=True))


def conv(into: int, outof: int, *, size: int, batch: int = 1, kernel_size: int, **options: Any) -> Kernels:
    return of(nn.Conv2d(into, outof, kernel_size, device="meta", **options), meta(batch, into, size, size))


def conv_last(into: int, outof: int, *, size: int, kernel_size: int = 1, stride: int = 1) -> Kernels:
    """A channels-last one."""
    model = in_channels_last(nn.Conv2d(into, outof, kernel_size, stride, device="meta"))
    return of(model, meta(1, into, size, size).to(memory_format=torch.channels_last))


def in_channels_last(model: Any) -> nn.Module:
    """With weights laid out so; mypy knows no such argument of ``Module.to``."""
    moved: nn.Module = model.to(memory_format=torch.channels_last)
    return moved


# --- classes ----------------------------------------------------------------------------------------------------------

CHANNELS_LAST = torch.channels_last
CLASSES: list[tuple[str, Callable[[], Kernels]]] = [
    ("conv_1x1", lambda: conv(64, 128, size=56, kernel_size=1)),
    ("conv_1x1", lambda: conv(64, 128, size=56, kernel_size=1, stride=2)),
    ("conv_1x1", lambda: conv(64, 128, size=7, batch=2, kernel_size=1)),
    ("conv_kxk", lambda: conv(64, 64, size=56, kernel_size=3)),
    ("conv_depthwise", lambda: conv(64, 64, size=56, kernel_size=3, groups=64)),
    ("conv_depthwise", lambda: conv(64, 64, size=7, kernel_size=3, groups=64)),
    ("conv_depthwise_multiplier", lambda: conv(48, 96, size=56, kernel_size=7, groups=48)),
    ("conv_grouped", lambda: conv(64, 64, size=56, kernel_size=3, groups=4)),
    ("conv_few_channels", lambda: conv(3, 32, size=224, kernel_size=3, stride=2)),
    ("conv_few_channels", lambda: conv(3, 96, size=224, kernel_size=4, stride=4)),
    ("conv_large_weights", lambda: conv(1024, 1024, size=7, kernel_size=3)),
    ("conv_small_1x1", lambda: conv(64, 16, size=1, kernel_size=1)),
    ("conv_small_kxk", lambda: conv(64, 64, size=14, kernel_size=3)),
    ("conv_kxk", lambda: conv(64, 64, size=14, kernel_size=5)),
    ("conv_transposed", lambda: of(nn.ConvTranspose2d(64, 32, 2, stride=2), meta(1, 64, 28, 28))),
    ("conv_other", lambda: of(nn.Conv1d(64, 64, 3), meta(1, 64, 900))),
    ("conv_other", lambda: of(nn.Conv3d(16, 32, 3), meta(1, 16, 8, 28, 28))),
    ("conv_kxk", lambda: of(nn.Conv2d(64, 64, 3), meta(64, 56, 56))),
    ("conv_kxk/strided", lambda: of(nn.Conv2d(64, 64, 3), meta(1, 64, 56, 56).to(memory_format=CHANNELS_LAST))),
    ("conv_1x1/strided", lambda: of(in_channels_last(nn.Conv2d(64, 64, 1)), meta(1, 64, 56, 56))),
    ("conv_kxk/copied", lambda: of(lambda m, x: m.conv(x[..., ::2]), meta(1, 64, 56, 112), conv=nn.Conv2d(64, 64, 3))),
    ("gemm", lambda: of(nn.Linear(64, 128), meta(1, 196, 64))),
    ("gemv", lambda: of(nn.Linear(1280, 1000), meta(1, 1280))),
    ("gemm_skinny", lambda: of(nn.Linear(1280, 1000), meta(4, 1280))),
    ("gemm", lambda: of(nn.Linear(1280, 1000), meta(5, 1280))),
    ("gemm", lambda: of(lambda m, a, b: torch.addmm(b[0], a, b), meta(50, 64), meta(64, 32))),
    ("bmm", lambda: of(lambda m, a, b: a @ b, meta(1, 8, 49, 32), meta(1, 8, 32, 49))),
    ("bmm", lambda: of(lambda m, a: torch.bmm(a, a), meta(8, 49, 49))),
    ("sdpa", lambda: of(lambda m, a: F.scaled_dot_product_attention(a, a, a), meta(1, 4, 49, 32))),
    ("sdpa_math", lambda: of(lambda m, a: F.scaled_dot_product_attention(a, a, a), meta(4, 49, 32))),
    ("batch_norm", lambda: of(nn.BatchNorm2d(64), meta(1, 64, 56, 56))),
    ("batch_norm/strided", lambda: of(nn.BatchNorm2d(64), meta(1, 64, 9, 9).to(memory_format=CHANNELS_LAST))),
    ("layer_norm", lambda: of(nn.LayerNorm(64), meta(1, 196, 64))),
    ("group_norm", lambda: of(nn.GroupNorm(1, 64), meta(1, 64, 14, 14))),
    ("elementwise_cheap", lambda: of(nn.ReLU(), meta(1, 64, 56, 56))),
    ("elementwise_cheap", lambda: of(nn.ReLU6(inplace=True), meta(1, 64, 56, 56).to(memory_format=CHANNELS_LAST))),
    ("elementwise_cheap", lambda: of(nn.Hardswish(), meta(1, 64, 56, 56))),
    ("elementwise_cheap", lambda: of(lambda m, x: x * 2, meta(1, 64, 56, 56))),
    ("elementwise_cheap", lambda: of(lambda m, x: x**2, meta(1, 64, 56, 56))),
    ("activation_gelu", lambda: of(nn.GELU(), meta(1, 196, 256))),
    ("activation_gelu_tanh", lambda: of(nn.GELU("tanh"), meta(1, 196, 256))),
    ("activation_silu", lambda: of(nn.SiLU(), meta(1, 64, 56, 56))),
    ("activation_sigmoid", lambda: of(nn.Sigmoid(), meta(1, 64, 56, 56))),
    ("activation_tanh", lambda: of(nn.Tanh(), meta(1, 64, 56, 56))),
    ("activation_mish", lambda: of(nn.Mish(), meta(1, 64, 56, 56))),
    ("activation_elu", lambda: of(nn.ELU(), meta(1, 64, 56, 56))),
    ("activation_transcendental", lambda: of(lambda m, x: x.exp(), meta(1, 196, 256))),
    ("activation_transcendental", lambda: of(lambda m, x: x**0.3, meta(1, 196, 256))),
    ("elementwise_binary", lambda: of(lambda m, a, b: a + b, meta(1, 64, 9, 9), meta(1, 64, 9, 9))),
    ("elementwise_binary/strided", lambda: of(lambda m, a, b: a + b.mT, meta(64, 64), meta(64, 64))),
    ("elementwise_broadcast", lambda: of(lambda m, a, b: a * b, meta(1, 64, 9, 9), meta(1, 64, 1, 1))),
    ("elementwise_broadcast", lambda: of(lambda m, x: x * m.scale, meta(1, 9, 64), scale=nn.Parameter(meta(64)))),
    ("pool_max", lambda: of(nn.MaxPool2d(3, 2, 1), meta(1, 64, 112, 112))),
    ("pool_avg", lambda: of(nn.AvgPool2d(3, 1, 1), meta(1, 64, 28, 28))),
    ("pool_avg", lambda: of(nn.AdaptiveAvgPool2d(7), meta(1, 64, 28, 28))),
    ("pool_global", lambda: of(nn.AdaptiveAvgPool2d(1), meta(1, 64, 28, 28))),
    ("pool_global", lambda: of(lambda m, x: x.mean((2, 3)), meta(1, 64, 28, 28))),
    ("pool_global", lambda: of(lambda m, x: x.mean((-2, -1), keepdim=True), meta(1, 64, 28, 28))),
    ("reduce/strided", lambda: of(lambda m, x: x.mean(1), meta(1, 196, 64))),
    ("reduce", lambda: of(lambda m, x: x.sum(-1), meta(1, 196, 64))),
    ("reduce", lambda: of(lambda m, x: x.max(), meta(1, 196, 64))),
    ("softmax", lambda: of(lambda m, x: x.softmax(-1), meta(1, 8, 49, 49))),
    ("softmax/strided", lambda: of(lambda m, x: x.softmax(1), meta(1, 8, 49, 49))),
    ("batch_norm_training", lambda: of(lambda m, x: F.batch_norm(x, None, None, training=True), meta(1, 64, 576))),
    ("copy", lambda: of(lambda m, x: x.clone(), meta(1, 64, 56, 56))),
    ("batch_norm_training", lambda: of(nn.InstanceNorm2d(64), meta(2, 64, 9, 9))),
    (
        "batch_norm_training",
        lambda: of(
            lambda m, x: torch.ops.aten._native_batch_norm_legit.no_stats(x, None, None, True, 0.1, 1e-5)[0],
            meta(2, 64, 9, 9),
        ),
    ),
    ("copy", lambda: of(lambda m, x: x.transpose(1, 2).reshape(2, 14, 7 * 32), meta(2, 7, 14, 32))),
    ("copy/strided", lambda: of(lambda m, x: x.transpose(1, 2).reshape(2, 14, 7 * 8), meta(2, 7, 14, 8))),
    ("copy", lambda: of(lambda m, x: x[:, :32].contiguous(), meta(2, 64, 56, 56))),
    ("copy", lambda: of(lambda m, x: x.clone(), meta(1, 64, 9, 9).to(memory_format=CHANNELS_LAST))),
    ("copy", lambda: of(lambda m, x: x.to(torch.bfloat16), meta(1, 64, 9, 9))),
    ("copy/strided", lambda: of(lambda m, x: x.mT.contiguous(), meta(1, 196, 64))),
    ("copy/strided", lambda: of(lambda m, x: x.permute(0, 2, 3, 1).contiguous(), meta(1, 64, 9, 9))),
    ("copy/strided", lambda: of(nn.PixelShuffle(2), meta(1, 64, 9, 9))),
    ("cat", lambda: of(lambda m, a, b: torch.cat([a, b], 1), meta(1, 64, 9, 9), meta(1, 32, 9, 9))),
    ("cat", lambda: of(lambda m, x: x.roll(8, 1), meta(1, 64, 9, 9))),
    ("pad", lambda: of(lambda m, x: F.pad(x, (0, 1, 0, 1)), meta(1, 64, 9, 9))),
    ("embedding", lambda: of(nn.Embedding(1000, 64), meta(1, 128, dtype=torch.int64))),
    ("upsample", lambda: of(nn.Upsample(scale_factor=2), meta(1, 64, 9, 9))),
    ("upsample", lambda: of(nn.Upsample(scale_factor=2, mode="bilinear"), meta(1, 64, 9, 9))),
    ("lstm", lambda: of(nn.LSTM(64, 128, batch_first=True), meta(1, 20, 64))),
    ("recurrent", lambda: of(nn.GRUCell(64, 128), meta(1, 64))),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "made"), CLASSES, ids=[f"{i}-{name}" for i, (name, _) in enumerate(CLASSES)])
def test_a_class_of_each_kind(kernel: str, made: Callable[[], Kernels]) -> None:
    kernels = made()
    *before, name = kernels.kernel.tolist()
    assert name == kernel
    assert set(before) <= {"copy"}  # the zeros of a first state
    assert kernel in KERNELS
    assert np.isfinite(kernels.terms).all()
    assert (kernels.terms >= 0).all()


def test_every_class_is_met_above() -> None:
    met = {name.partition("/")[0] for name, _ in CLASSES}
    assert met == {*BASES} - {"host", FALLBACK}


def test_every_op_that_is_counted_has_a_class() -> None:
    assert set(HANDLERS) <= set(WORK)


@contextmanager
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


BACKENDS = {
    "Slow2d": {"conv_small_1x1", "conv_small_kxk"},
    "SlowDilated2d": {"conv_small_kxk"},
    "Mkldnn": {
        "conv_1x1", "conv_kxk", "conv_depthwise", "conv_depthwise_multiplier", "conv_grouped", "conv_few_channels",
    },
}  # fmt: skip


@pytest.mark.skipif(
    not hasattr(torch._C, "_select_conv_backend") or not getattr(torch._C, "_has_mkldnn", False),
    reason="this torch does not tell which backend a convolution runs on",
)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("into", "outof", "size", "kernel", "stride", "dilation", "groups"),
    [
        (20, 8, 32, 1, 1, 1, 1),  # 20,480 elements, the most
        (21, 8, 32, 1, 1, 1, 1),
        (20, 8, 32, 3, 1, 1, 1),
        (21, 8, 32, 3, 1, 1, 1),
        (20, 8, 32, 3, 2, 1, 1),
        (20, 8, 32, 3, 1, 2, 1),
        (20, 8, 32, 5, 1, 1, 1),
        (20, 8, 32, (7, 1), 1, 1, 1),
        (20, 8, 32, (3, 5), 1, 1, 1),
        (20, 8, 32, 3, 1, 1, 2),
        (20, 20, 32, 3, 1, 1, 20),
        (3, 8, 64, 1, 2, 1, 1),
        (3, 8, 96, 1, 2, 1, 1),
        (64, 8, 1, 1, 1, 1, 1),
    ],
)
def test_small_convolutions_are_those_that_torch_keeps_from_onednn(
    into: int,
    outof: int,
    size: int,
    kernel: Any,
    stride: int,
    dilation: int,
    groups: int,
    batch: int,
    channels_last: bool,
) -> None:
    layer = nn.Conv2d(into, outof, kernel, stride, dilation=dilation, groups=groups, bias=False)
    x = torch.zeros(batch, into, size, size)
    if channels_last:
        x = x.to(memory_format=CHANNELS_LAST)
    with two_threads(), torch.inference_mode():
        backend = torch._C._select_conv_backend(
            x, layer.weight, None, layer.stride, layer.padding, layer.dilation, False, (0, 0), groups
        )
    (name,) = of(layer, x).kernel.tolist()
    assert name.partition("/")[0] in BACKENDS[str(backend).rpartition(".")[2]]


@pytest.mark.skipif(not hasattr(torch, "_fused_sdp_choice"), reason="this torch does not tell how it attends")
@pytest.mark.parametrize(
    "made",
    [
        lambda: (torch.zeros(1, 2, 8, 16),) * 3,
        lambda: (torch.zeros(2, 8, 16),) * 3,
        lambda: (torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 8, 32)),
        lambda: (torch.zeros(1, 2, 16, 8).mT, torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 8, 16)),
        lambda: (*(torch.zeros(1, 2, 8, 16),) * 3, torch.zeros(8, 8)),
        lambda: (*(torch.zeros(1, 2, 8, 16),) * 3, torch.zeros(1, 1, 8, 8)),
        lambda: (*(torch.zeros(1, 2, 8, 16),) * 3, torch.zeros(2, 8, 8)),
        lambda: (torch.zeros(1, 8, 2, 16).transpose(1, 2),) * 3,
    ],
)
def test_attention_is_fused_where_torch_fuses_it(made: Callable[[], tuple[Tensor, ...]]) -> None:
    tensors = made()
    math, flash = 0, 1
    with torch.inference_mode():
        choice = getattr(torch, "_fused_sdp_choice")(*tensors)  # noqa: B009
    assert choice in (math, flash)
    kernels = of(lambda m, *given: F.scaled_dot_product_attention(*given), *tensors)
    assert kernels.kernel.tolist() == ["sdpa" if choice == flash else "sdpa_math"]


# --- terms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv2d(60, 52, 3, padding=1), (2, 60, 20, 20)),
        (nn.Conv2d(64, 64, 3, groups=8), (1, 64, 20, 20)),
        (nn.Conv2d(64, 128, 5, groups=64, stride=2), (1, 64, 20, 20)),
        (nn.Conv2d(3, 32, 3, stride=2), (1, 3, 65, 65)),
        (nn.ConvTranspose2d(64, 32, 2, stride=2), (1, 64, 9, 9)),
        (nn.Conv1d(64, 32, 3), (1, 64, 90)),
        (nn.Linear(64, 100), (3, 50, 64)),
        (nn.Linear(64, 100), (64,)),
        (Apply(lambda m, x: x @ x.mT), (3, 50, 64)),
    ],
)
def test_macs_are_half_the_flops_that_torch_counts(model: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(x)
    terms = kernels_of(trace(model, x)).terms
    assert 2 * terms[:, TERMS.index("macs")].sum() == counter.get_total_flops()
    assert (terms[:, TERMS.index("padded_macs")] >= terms[:, TERMS.index("macs")]).all()


def test_the_terms_of_a_convolution_by_hand() -> None:
    terms = terms_of(conv(60, 52, size=30, batch=2, kernel_size=3))  # to 28 x 28
    positions = 2 * 28 * 28
    assert terms == {
        "calls": 1,
        "macs": positions * 52 * 60 * 9,
        "padded_macs": positions * 64 * 64 * 9,
        "elements": positions * 52,
        "vector_ops": 0,
        "transcendentals": 0,
        "read_bytes": 4 * 2 * 60 * 30 * 30,
        "written_bytes": 4 * positions * 52,
        "weight_bytes": 4 * (52 * 60 * 9 + 52),
        # both rounded up to 64 channels, read and written; neither 60 nor 52 fill them
        "reorder_bytes": 2 * 4 * (2 * 64 * 30 * 30 + positions * 64),
        "ragged_bytes": 2 * 4 * (2 * 64 * 30 * 30 + positions * 64),
        "aliased_bytes": 0,
        "scratch_bytes": 0,
        "taps": positions * 9,
        "rows": positions,
        "large_bytes": 0,  # 0.9 MB
        "fresh_bytes": 0,
    }


@pytest.mark.parametrize(
    ("kernels", "want"),
    [
        # The channels-last kernel copies no activation; a slice is copied once more than a contiguous image.
        (lambda: of(nn.Conv2d(64, 64, 1), meta(1, 64, 56, 56).to(memory_format=CHANNELS_LAST)), {"reorder_bytes": 0}),
        (lambda: conv(64, 52, size=28, kernel_size=1, batch=2), {"ragged_bytes": 2 * 4 * 2 * 28 * 28 * 64}),
        (lambda: conv(64, 96, size=28, kernel_size=1, batch=2), {"ragged_bytes": 0}),
        # Rows of 1024 numbers are 4 KiB apart; only the channels-last kernel of 1x1 reads them so.
        (lambda: conv_last(1024, 512, size=6), {"aliased_bytes": 4 * 1024 * 512}),
        (lambda: conv_last(1024, 512, size=20, stride=2), {"aliased_bytes": 4 * 1024 * 512}),
        (lambda: conv_last(1024, 512, size=8), {"aliased_bytes": 0}),
        (lambda: conv_last(1040, 512, size=6), {"aliased_bytes": 0}),
        (lambda: conv_last(1024, 768, size=6), {"aliased_bytes": 0}),
        (lambda: conv_last(1024, 512, size=6, kernel_size=3), {"aliased_bytes": 0}),
        (lambda: conv(1024, 512, size=6, kernel_size=1), {"aliased_bytes": 0}),
        # Each step reads the weights of the state again, of 4 gates here and 3 there; beyond 2 MiB from further off.
        (
            lambda: of(nn.LSTM(512, 512, batch_first=True), meta(1, 32, 512)),
            {
                "rows": 32,
                "scratch_bytes": 32 * 4 * 512 * 512 * 4,
                # weights of 8 MiB and 16 KiB, 64 KiB in and out each, two states of 2 KiB given and two left
                "large_bytes": 32 * 2 * MIB + (8 - 2) * MIB + (16 + 2 * 64 + 4 + 4) * 1024,
            },
        ),
        (
            lambda: of(nn.GRU(64, 128, bidirectional=True), meta(10, 1, 64)),
            {"rows": 20, "scratch_bytes": 2 * 10 * 3 * 128 * 128 * 4, "large_bytes": 0},
        ),
        (lambda: conv(60, 64, size=30, kernel_size=3, batch=2), {"ragged_bytes": 2 * 4 * 2 * 30 * 30 * 64}),
        (
            lambda: of(lambda m, x: m.conv(x[..., ::2]), meta(1, 64, 56, 112), conv=nn.Conv2d(64, 64, 1)),
            {"reorder_bytes": 3 * 2 * 4 * 64 * 56 * 56},
        ),
        # A first layer takes the image as it is; only its 32 channels out are copied, 2 * 4 B each.
        (lambda: conv(3, 32, size=65, kernel_size=3, stride=2), {"scratch_bytes": 2 * 4 * 27 * 32 * 32}),
        (
            lambda: conv(3, 32, size=225, kernel_size=3, stride=2),
            {"reorder_bytes": 2 * 4 * 32 * 112 * 112, "padded_macs": 112 * 112 * 32 * 27, "scratch_bytes": 0},
        ),
        # Depthwise: a channel of its own multiplies nobody else's padding.
        (lambda: conv(20, 20, size=30, kernel_size=3, groups=20), {"padded_macs": 32 * 28 * 28 * 9}),
        (
            lambda: conv(32, 64, size=30, kernel_size=3, groups=32),
            {"scratch_bytes": 2 * 4 * 32 * 9 * 28 * 28, "reorder_bytes": 0, "padded_macs": 64 * 28 * 28 * 9},
        ),
        (
            lambda: of(nn.Conv2d(32, 64, 3, groups=32), meta(1, 32, 30, 30).to(memory_format=CHANNELS_LAST)),
            {"scratch_bytes": 0, "reorder_bytes": 0},
        ),
        (lambda: conv(96, 96, size=30, kernel_size=1, groups=4), {"padded_macs": 30 * 30 * 4 * 32 * 32}),
        (lambda: conv(64, 20, size=1, kernel_size=1), {"scratch_bytes": 0, "reorder_bytes": 0, "rows": 1}),
        (
            lambda: of(nn.Linear(64, 100), meta(2, 49, 64)),
            {"rows": 98, "padded_macs": 98 * 64 * 112, "weight_bytes": 4 * 6500, "elements": 9800, "reorder_bytes": 0},
        ),
        # Tokens and channels swapped: a batch of one is a transposed matrix to BLAS, a batch of two has to be copied.
        (lambda: of(lambda m, x: m.fc(x.mT), meta(1, 49, 64), fc=nn.Linear(49, 10)), {"reorder_bytes": 0}),
        (lambda: of(lambda m, x: m.fc(x.mT), meta(2, 9, 64), fc=nn.Linear(9, 10)), {"reorder_bytes": 8 * 2 * 9 * 64}),
        # 30 MiB fit into what glibc keeps, 33 MiB do not; beyond 2 MiB is all but that, of both read and written.
        (lambda: of(nn.ReLU(), meta(30, 512, 512)), {"fresh_bytes": 0, "large_bytes": 58 * MIB}),
        (lambda: of(nn.ReLU(), meta(33, 512, 512)), {"fresh_bytes": 33 * MIB, "large_bytes": 64 * MIB}),
        (lambda: of(nn.ReLU(inplace=True), meta(33, 512, 512)), {"fresh_bytes": 0, "large_bytes": 31 * MIB}),
        (lambda: of(lambda m, a, b: a * b, meta(2, 64, 9, 9), meta(2, 64, 1, 1)), {"rows": 128, "elements": 10368}),
        (lambda: of(lambda m, a, b: a + b, meta(2, 64, 9, 9), meta(2, 64, 9, 9)), {"rows": 1, "read_bytes": 8 * 10368}),
        (lambda: of(nn.MaxPool2d(3, 2, 1), meta(1, 8, 12, 12)), {"taps": 9 * 8 * 6 * 6, "elements": 8 * 6 * 6}),
        (lambda: of(nn.AdaptiveAvgPool2d(1), meta(1, 8, 12, 12)), {"elements": 8 * 144, "rows": 8}),
        (lambda: of(nn.LayerNorm(64), meta(2, 49, 64)), {"rows": 98, "elements": 98 * 64, "weight_bytes": 4 * 128}),
        (lambda: of(nn.GroupNorm(4, 64), meta(2, 64, 7, 7)), {"rows": 8}),
        (lambda: of(lambda m, x: x.softmax(-1), meta(2, 8, 49, 49)), {"rows": 784, "transcendentals": 784 * 49}),
        (lambda: of(lambda m, a: torch.cat([a, a], 1), meta(4, 64, 9, 9)), {"rows": 8, "elements": 8 * 64 * 81}),
        # two pieces of each image, then two of each of its 64 channels
        (lambda: of(lambda m, a: a.roll((1, 2), (1, 2)), meta(4, 64, 9, 9)), {"rows": 520, "elements": 8 * 64 * 81}),
        (lambda: of(lambda m, x: x[:, :32].contiguous(), meta(2, 64, 9, 9)), {"rows": 2, "read_bytes": 4 * 64 * 81}),
        # A reshape of what cannot be viewed so copies it row by row; numbers made of nothing are one run.
        (lambda: of(lambda m, x: x.transpose(1, 2).reshape(2, 14, 224), meta(2, 7, 14, 32)), {"rows": 2 * 7 * 14}),
        (lambda: of(lambda m, x: x.mT.reshape(-1), meta(3, 8, 32)), {"rows": 3 * 32, "read_bytes": 4 * 3 * 8 * 32}),
        (lambda: of(lambda m, x: x.new_zeros(2, 16, 96), meta(1)), {"rows": 1, "read_bytes": 0}),
        # Sums over a dimension that is not the last run over what stands side by side: over two branches, of an image
        # each; over channels, of a map; over the last one, they are a run each.
        (lambda: of(lambda m, x: x.sum(1), meta(3, 2, 64, 9, 9)), {"rows": 3 * 2, "elements": 3 * 2 * 64 * 81}),
        (lambda: of(lambda m, x: x.mean(1), meta(3, 64, 9, 9)), {"rows": 3 * 64}),
        (lambda: of(lambda m, x: x.mean(-1), meta(3, 64, 9)), {"rows": 3 * 64}),
        (lambda: of(lambda m, x: x.norm(2, 1), meta(3, 64, 9, 9)), {"rows": 3 * 64}),  # the order is no dimension
        (lambda: of(lambda m, x: torch.linalg.vector_norm(x, 1, dim=-1), meta(3, 64, 9)), {"rows": 3 * 64}),
        (lambda: of(lambda m, x: x.norm(), meta(3, 64, 9)), {"rows": 1}),
        # A parameter is a weight on either side of a product.
        (lambda: of(lambda m, x: m.w @ x, meta(64, 9), w=nn.Linear(64, 32).weight), {"weight_bytes": 4 * 2048}),
        (lambda: of(lambda m, x: m.w * x, meta(8, 32, 64), w=nn.Linear(64, 32).weight), {"weight_bytes": 4 * 2048}),
        (lambda: of(lambda m, x: x * m.w, meta(8, 32, 64), w=nn.Linear(64, 32).weight), {"weight_bytes": 4 * 2048}),
        # What is transformed is read, be it a parameter; what it is transformed by is a weight, be it made of some.
        (
            lambda: of(lambda m: F.batch_norm(m.w, None, None, training=True), w=nn.Conv1d(9, 64, 5).weight),
            {"read_bytes": 4 * 64 * 9 * 5, "weight_bytes": 0, "rows": 64 * 9},
        ),
        (
            lambda: of(lambda m, x: F.conv2d(x, m.w * 2), meta(1, 32, 30, 30), w=nn.Conv2d(32, 64, 3).weight),
            {"read_bytes": 4 * 32 * 900, "weight_bytes": 4 * 64 * 32 * 9},
        ),
        (lambda: of(lambda m, x: F.linear(x, m.w * 2), meta(9, 32), w=nn.Linear(32, 8).weight), {"weight_bytes": 1024}),
        (lambda: of(nn.LSTM(8, 16, 2, bidirectional=True), meta(5, 3, 8)), {"rows": 5 * 2 * 2, "macs": 15 * 64 * 144}),
        (lambda: of(nn.LSTM(8, 16, batch_first=True), meta(3, 5, 8)), {"rows": 5, "macs": 15 * 64 * 24}),
        (lambda: of(nn.Embedding(1000, 64), meta(2, 9, dtype=torch.int64)), {"weight_bytes": 4608, "read_bytes": 144}),
        (
            lambda: of(lambda m, a: F.scaled_dot_product_attention(a, a, a), meta(4, 49, 32)),
            {"scratch_bytes": 4 * 4 * 4 * 49 * 49, "transcendentals": 4 * 49 * 49},
        ),
    ],
)  # fmt: skip
def test_terms_by_hand(kernels: Callable[[], Kernels], want: dict[str, float]) -> None:
    made = kernels()
    terms = terms_of(made, len(made) - 1)  # the zeros of a first state come before an LSTM
    assert {name: terms[name] for name in want} == want


def test_a_batch_of_interleaved_heads_is_copied_from_two_images_on() -> None:
    """Queries and keys of one projection: (B, N, 3, heads, d) seen as (B, heads, N, d)."""

    def scores(module: nn.Module, x: Tensor) -> Tensor:
        q, k, _ = x.reshape(x.shape[0], 49, 3, 4, 32).permute(2, 0, 3, 1, 4).unbind(0)
        return q @ k.transpose(-2, -1)

    one, two = of(scores, meta(1, 49, 384)), of(scores, meta(2, 49, 384))
    assert (one.kernel.tolist(), two.kernel.tolist()) == (["bmm"], ["bmm/strided"])
    assert terms_of(one)["reorder_bytes"] == 0
    assert terms_of(two)["reorder_bytes"] == 2 * 2 * (4 * 2 * 49 * 128)  # q and k, read and written


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["permuted", "transposed"])
@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_seen_as_an_image_run_the_channels_last_kernel_if_torch_sees_it(how: str, batch: int) -> None:
    layer = nn.Conv2d(64, 64, 3, padding=1, groups=64)

    def image(x: Tensor) -> Tensor:
        if how == "permuted":
            return x.view(-1, 14, 14, 64).permute(0, 3, 1, 2)
        return x.transpose(1, 2).view(-1, 64, 14, 14)

    kernels = of(lambda m, x: m.layer(image(x)), meta(batch, 196, 64), layer=layer)
    with torch.inference_mode():
        out = layer(image(torch.zeros(batch, 196, 64)))
    ran_channels_last = out.is_contiguous(memory_format=CHANNELS_LAST)
    assert kernels.kernel.tolist() == [f"conv_depthwise/{'strided' if ran_channels_last else 'copied'}"]
    assert ran_channels_last == (how == "permuted" or batch > 1)
    assert kernels.views == 2


def test_equal_keys_are_the_same_call() -> None:
    def block() -> nn.Module:
        return nn.Conv2d(32, 32, 3, padding=1)

    same = of(nn.Sequential(block(), nn.ReLU(), block(), nn.ReLU()), meta(1, 32, 56, 56))
    assert same.key[:2] == same.key[2:]
    assert same.key[0] != same.key[1]
    x = meta(1, 32, 56, 56)
    different = [
        of(nn.Conv2d(32, 32, 3, padding=1), x),
        of(nn.Conv2d(32, 32, 3, padding=1, stride=2), x),
        of(nn.Conv2d(32, 32, 3, padding=2, dilation=2), x),
        of(nn.Conv2d(32, 32, 3, padding=1, groups=2), x),
        of(nn.Conv2d(32, 32, 3, padding=1, bias=False), x),
        of(nn.Conv2d(32, 32, 3, padding=1), x.to(memory_format=CHANNELS_LAST)),
        of(nn.Conv2d(32, 32, 3, padding=1, dtype=torch.bfloat16), x.bfloat16()),
        of(nn.ReLU(), x),
        of(nn.ReLU(inplace=True), x),
        of(lambda m, x: x + m.p, x, p=nn.Parameter(meta(56))),
        of(lambda m, x: x + x[0, 0, 0], x),
    ]
    keys = [kernels.key[-1] for kernels in different]
    assert len({*keys, same.key[0]}) == len(different)  # the first is the block above


def test_modules_are_counted_as_hooks_count_them() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), shared), shared, nn.Identity(), nn.MaxPool2d(2))
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    graph = trace(model, torch.zeros(1, 3, 16, 16))
    with nn.modules.module.register_module_forward_pre_hook(count):
        model(torch.zeros(1, 3, 16, 16))
    assert kernels_of(graph).module_calls == graph.module_calls == calls == 7


FAMILIES = {entry.family: entry.name for entry in reversed(entries())}


@pytest.mark.parametrize("name", FAMILIES.values())
def test_the_zoo_has_no_op_of_an_unknown_kernel(name: str) -> None:
    loaded = load(name)
    graph = trace(loaded.module, loaded.inputs)
    kernels = kernels_of(graph)
    assert set(kernels.kernel.tolist()) <= {*KERNELS} - {FALLBACK, "host"}
    assert len(kernels) + kernels.views == len(graph.ops)
    assert kernels.op.tolist() == [index for index, op in enumerate(graph.ops) if not op.is_view]
    assert (kernels.terms >= 0).all()
    assert (kernels.terms[:, TERMS.index("calls")] == 1).all()
    assert (kernels.terms[:, TERMS.index("written_bytes")] > 0).all()


def test_what_runs_no_kernel_is_there_all_the_same() -> None:
    kernels = of(lambda m, x: torch.empty_like(x).copy_(x), meta(64, 64))
    assert kernels.kernel.tolist() == ["host", "copy"]
    assert kernels.terms[0].tolist() == [1] + [0] * (len(TERMS) - 1)


def test_an_unknown_op_has_its_bytes_and_is_named() -> None:
    kernels = of(lambda m, x: torch.linalg.inv(x), meta(8, 8))
    assert FALLBACK in kernels.kernel.tolist()
    terms = terms_of(kernels, kernels.kernel.tolist().index(FALLBACK))
    assert terms["read_bytes"] == 256
    assert terms["written_bytes"] >= 256


def test_a_network_of_views_has_no_rows() -> None:
    kernels = of(lambda m, x: x.flatten(1), meta(2, 3, 4))
    assert (len(kernels), kernels.views, kernels.terms.shape) == (0, 1, (0, len(TERMS)))


def test_torch_is_not_imported() -> None:
    code = "import sys, roofline.calibration.kernels; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- what shapes do not tell ------------------------------------------------------------------------------------------


def test_a_mask_of_a_hundred_is_flagged_and_an_infinite_one_is_not() -> None:
    mask, bias = torch.zeros(49, 49, dtype=torch.bool), nn.Parameter(torch.zeros(49, 49))

    def masked(value: float) -> tuple[str, ...]:
        return of(lambda m, x: x.masked_fill(m.mask, value).softmax(-1), meta(1, 8, 49, 49), mask=mask).flags

    (flag,) = masked(-100.0)
    assert "subnormal" in flag
    assert "(-100)" in flag
    assert masked(float("-inf")) == masked(-1e9) == ()
    swin = of(lambda m, x: (x + m.bias + m.mask).softmax(-1), meta(1, 8, 49, 49), bias=bias, mask=torch.zeros(49, 49))
    (flag,) = swin.flags
    assert "-inf is harmless" in flag
    assert of(lambda m, x: (x + m.bias).softmax(-1), meta(1, 8, 49, 49), bias=bias).flags == ()
    table, index = nn.Parameter(torch.zeros(169, 8)), torch.zeros(49 * 49, dtype=torch.int64)
    gathered = of(
        lambda m, x: (x + m.table[m.index].view(49, 49, 8).permute(2, 0, 1).contiguous()).softmax(-1),
        meta(1, 8, 49, 49), table=table, index=index,
    )  # fmt: skip
    assert gathered.flags == ()


def test_a_mask_of_fused_attention_is_flagged_unless_it_is_known_to_be_harmless() -> None:
    def attend(module: Any, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, module.mask)

    def causal(module: Any, x: Tensor) -> Tensor:
        mask = torch.full((49, 49), float("-inf"), device=x.device).triu(1)
        return F.scaled_dot_product_attention(x, x, x, mask)

    assert len(of(attend, meta(1, 8, 49, 32), mask=torch.zeros(49, 49)).flags) == 1
    assert of(attend, meta(1, 8, 49, 32), mask=torch.zeros(49, 49, dtype=torch.bool)).flags == ()
    assert of(causal, meta(1, 8, 49, 32)).flags == ()


# --- layouts ----------------------------------------------------------------------------------------------------------


@st.composite
def views(draw: st.DrawFn) -> Tensor:
    """A tensor of rank 2 to 4 whose axes are in any order, cut and strided."""
    rank = draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    view = torch.zeros(sizes).permute(draw(st.permutations(range(rank))))
    axis = draw(st.integers(0, rank - 1))
    start = draw(st.integers(0, view.shape[axis] - 1))
    return view.narrow(axis, start, draw(st.integers(1, view.shape[axis] - start)))


def value_of(tensor: Tensor) -> Value:
    return Value(tuple(tensor.shape), "float32", "activation", tensor.numel(), 0, strides=tensor.stride())


@settings(max_examples=200, deadline=None)
@given(views())
def test_layouts_are_torchs_memory_formats(tensor: Tensor) -> None:
    layout = layout_of(value_of(tensor))
    assert (layout == "contiguous") == tensor.is_contiguous()
    is_channels_last = tensor.dim() == 4 and suggest_memory_format(tensor) is CHANNELS_LAST
    assert suggests_channels_last(value_of(tensor)) == is_channels_last


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: x.sort(-1)[0],
        lambda m, x: x.topk(3)[0],
        lambda m, x: x.cumsum(-1),
        lambda m, x: x.median(-1)[0],
    ],
    ids=["sort", "topk", "cumsum", "median"],
)
def test_what_orders_numbers_is_not_taken_for_a_sum(call: Callable[[nn.Module, Tensor], Tensor]) -> None:
    assert of(call, meta(1, 196, 64)).kernel.tolist() == [FALLBACK]


@settings(max_examples=200, deadline=None)
@given(views())
def test_axes_fold_where_a_reshape_is_a_view(tensor: Tensor) -> None:
    is_view = tensor.reshape(-1, tensor.shape[-1]).untyped_storage()._cdata == tensor.untyped_storage()._cdata
    assert folds(tuple(tensor.shape[:-1]), tensor.stride()[:-1]) == is_view


@pytest.mark.parametrize(
    ("shape", "operands", "run"),
    [
        ((2, 3, 4), [(2, 3, 4)], 24),
        ((2, 3, 4), [(3, 4)], 12),
        ((2, 3, 4), [(4,)], 4),
        ((2, 3, 4), [(3, 1)], 4),
        ((2, 3, 4), [(2, 1, 1)], 12),
        ((2, 3, 4), [(2, 3, 4), (1, 1, 1)], 24),
        ((5,), [()], 5),
        ((), [()], 1),
    ],
)
def test_the_inner_loop_goes_on_for_as_long_as_all_operands_step_alike(
    shape: tuple[int, ...], operands: list[tuple[int, ...]], run: int
) -> None:
    tensors = [value_of(torch.zeros(size)) for size in (shape, *operands)]
    assert inner_run(tensors[0], tensors[1:]) == (run, True)

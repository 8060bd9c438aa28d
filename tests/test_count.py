"""What an op costs, against arithmetic by hand, torch's own counter on meta tensors, and fvcore.

1 MAC = 2 FLOPs. `FlopCounterMode` counts FLOPs, so its figures are halved; fvcore's "flops" are MACs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from roofline.count import HANDLERS, canonical_name, conv_macs, cost, is_counted
from roofline.graph import Op, Value
from roofline.layers import KINDS, LayerTable, lower
from roofline.trace import trace
from roofline.vector_ops import ACTIVATIONS, ELEMENTWISE, NORMS, REDUCTIONS, SOFTMAXES, VECTOR_OPS_PER_ELEMENT

quick = settings(max_examples=40, deadline=None, derandomize=True)
Parts = Tensor | nn.Module


class Apply(nn.Module):
    """A model that is one function of its inputs: ``function(self, *inputs)``, with the given parts."""

    def __init__(self, function: Callable[..., Any], **parts: Parts) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Parameter | nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def tensor(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(tensor(*shape))


def table(model: nn.Module, *inputs: Any) -> LayerTable:
    """The unfused fp32 layers of a model; inputs may be given as shapes."""
    given = tuple(tensor(*item) if isinstance(item, tuple) else item for item in inputs)
    return lower(trace(model, given))


def macs(model: nn.Module, *inputs: Any) -> int:
    return int(table(model, *inputs).macs.sum())


def vector_ops(model: nn.Module, *inputs: Any) -> int:
    return int(table(model, *inputs).vector_ops.sum())


def function_of(function: Callable[..., Any]) -> nn.Module:
    return Apply(lambda _, *inputs: function(*inputs))


def torch_macs(model: nn.Module, *inputs: Tensor) -> int:
    """Torch's own count on meta tensors, where every op has a formula or is taken apart."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta")(*inputs)
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


# --- 28 models that counters get wrong, counted by hand -----------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model, the shapes of its inputs, and its MACs with the arithmetic written out."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Sequence[tuple[int, ...]]
    macs: int


def linear_called_twice() -> nn.Module:
    return Apply(lambda self, x: self.linear(self.linear(x)), linear=nn.Linear(64, 64))


def linear_under_two_names() -> nn.Module:
    shared = nn.Linear(64, 64)
    return Apply(lambda self, x: self.second(self.first(x)), first=shared, second=shared)


def conv_inside_two_parents() -> nn.Module:
    shared = nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared, nn.ReLU()))


def uncalled_module() -> nn.Module:
    return Apply(lambda self, x: self.used(x), used=nn.Linear(64, 64), unused=nn.Linear(64, 64))


class Doubled(nn.Module):
    """A parametrisation that computes the weight anew at each call."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def parametrised_linear() -> nn.Module:
    linear = nn.Linear(64, 64)
    nn.utils.parametrize.register_parametrization(linear, "weight", Doubled())
    return linear


def self_attention() -> nn.Module:
    return Apply(lambda self, x: self.mha(x, x, x)[0], mha=nn.MultiheadAttention(64, 4, batch_first=True))


PROJECTIONS = 4 * 32 * 64 * 64  # Q, K, V and the output, on 32 tokens of 64 features
SCORES = 4 * 32 * 32 * 16  # Q K^T of 4 heads of 16 features; A V costs the same
HARD_CASES = [
    Case("conv2d module", lambda: nn.Conv2d(8, 8, 3, padding=1), [(1, 8, 16, 16)], 8 * 16 * 16 * (8 * 3 * 3)),
    Case("depthwise conv", lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), [(1, 8, 16, 16)], 8 * 16 * 16 * (3 * 3)),
    Case("conv2d with bias", lambda: nn.Conv2d(8, 8, 1, bias=True), [(1, 8, 16, 16)], 8 * 16 * 16 * 8),
    Case("conv transpose 2d s2", lambda: nn.ConvTranspose2d(8, 16, 2, 2), [(1, 8, 8, 8)], 8 * 8 * 8 * (16 * 2 * 2)),
    Case(
        "F.conv2d, weight a parameter",
        lambda: Apply(lambda self, x: F.conv2d(x, self.w, padding=1), w=parameter(8, 8, 3, 3)),
        [(1, 8, 16, 16)],
        8 * 16 * 16 * (8 * 3 * 3),
    ),
    Case(
        "F.linear, weight a parameter",
        lambda: Apply(lambda self, x: F.linear(x, self.w), w=parameter(64, 64)),
        [(32, 64)],
        32 * 64 * 64,
    ),
    Case("x @ W", lambda: Apply(lambda self, x: x @ self.w, w=parameter(64, 64)), [(32, 64)], 32 * 64 * 64),
    Case("torch.matmul 4d", lambda: function_of(torch.matmul), [(1, 4, 32, 16), (1, 4, 16, 32)], 4 * 32 * 32 * 16),
    Case("Tensor.matmul method", lambda: function_of(Tensor.matmul), [(4, 32, 16), (4, 16, 32)], 4 * 32 * 32 * 16),
    Case("torch.bmm", lambda: function_of(torch.bmm), [(4, 32, 16), (4, 16, 32)], 4 * 32 * 32 * 16),
    Case(
        "torch.einsum bhid,bhjd->bhij",
        lambda: function_of(lambda q, k: torch.einsum("bhid,bhjd->bhij", q, k)),
        [(1, 4, 32, 16)] * 2,
        4 * 32 * 32 * 16,
    ),
    Case(
        "F.scaled_dot_product_attention",
        lambda: function_of(F.scaled_dot_product_attention),
        [(1, 4, 32, 16)] * 3,
        2 * SCORES,
    ),
    Case(
        "sdpa, causal",  # the whole square, as torch's own counter has it
        lambda: function_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
        [(1, 4, 32, 16)] * 3,
        2 * SCORES,
    ),
    Case("nn.MultiheadAttention self", self_attention, [(1, 32, 64)], PROJECTIONS + 2 * SCORES),
    Case(
        "nn.TransformerEncoderLayer",
        lambda: nn.TransformerEncoderLayer(64, 4, dim_feedforward=128, batch_first=True),
        [(1, 32, 64)],
        PROJECTIONS + 2 * SCORES + 2 * 32 * 64 * 128,
    ),
    Case("one Linear called twice", linear_called_twice, [(32, 64)], 2 * 32 * 64 * 64),
    Case("one Linear under two names", linear_under_two_names, [(32, 64)], 2 * 32 * 64 * 64),
    Case("one Conv inside two parents", conv_inside_two_parents, [(1, 8, 16, 16)], 2 * 8 * 16 * 16 * (8 * 3 * 3)),
    Case("module present, not called", uncalled_module, [(32, 64)], 32 * 64 * 64),
    Case("Linear, 3-d input", lambda: nn.Linear(64, 64), [(2, 32, 64)], 2 * 32 * 64 * 64),
    Case("batch 4 conv", lambda: nn.Conv2d(8, 8, 3, padding=1), [(4, 8, 16, 16)], 4 * 8 * 16 * 16 * (8 * 3 * 3)),
    Case("conv1d", lambda: nn.Conv1d(64, 64, 3, padding=1), [(1, 64, 32)], 64 * 32 * (64 * 3)),
    Case("conv3d", lambda: nn.Conv3d(8, 8, 3, padding=1), [(1, 8, 4, 4, 4)], 8 * 4**3 * (8 * 3**3)),
    Case("LSTM 1 layer", lambda: nn.LSTM(64, 64), [(32, 1, 64)], 32 * (4 * 64) * (64 + 64)),
    Case("batchnorm + relu only", lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), [(1, 8, 16, 16)], 0),
    Case("weights shared by parametrization", parametrised_linear, [(32, 64)], 32 * 64 * 64),
    Case("two inputs, a @ b", lambda: function_of(lambda a, b: a @ b), [(16, 32), (32, 32)], 16 * 32 * 32),
    Case("bare Parameter model: x*w", lambda: Apply(lambda self, x: x * self.w, w=parameter(64)), [(2, 64)], 0),
]
PUBLISHED_MACS = [
    147456, 18432, 16384, 32768, 147456, 131072, 131072, 65536, 65536, 65536, 65536, 131072, 131072, 655360, 1179648,
    262144, 262144, 294912, 131072, 262144, 589824, 393216, 110592, 1048576, 0, 131072, 16384, 0,
]  # fmt: skip


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("case", HARD_CASES, ids=lambda case: case.name)
def test_hard_case_by_hand(case: Case, mode: str) -> None:
    layers = table(case.build().train(mode == "train"), *case.inputs)
    assert layers.macs.sum() == case.macs
    assert layers.uncounted_ops == ()


def test_the_hard_cases_are_the_ones_that_the_peers_were_run_on() -> None:
    assert [case.macs for case in HARD_CASES] == PUBLISHED_MACS


# --- where the peers are wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_counts_the_same_on_every_device(device: str) -> None:
    q = torch.zeros(2, 4, 32, 16, device=device)
    layers = table(function_of(F.scaled_dot_product_attention), q, q.clone(), q.clone())
    assert (layers.kind[0], layers.macs.sum()) == ("attention", 2 * 2 * SCORES)


@pytest.mark.parametrize("tokens", [16, 32, 64])
def test_attention_is_quadratic_in_the_length_of_the_sequence(tokens: int) -> None:
    heads, features = 4, 16
    assert macs(function_of(F.scaled_dot_product_attention), *[(1, heads, tokens, features)] * 3) == (
        2 * heads * tokens**2 * features
    )
    assert macs(self_attention(), (1, tokens, 64)) == 4 * tokens * 64 * 64 + 2 * heads * tokens**2 * features


def test_attention_whose_values_are_wider_than_its_keys() -> None:
    q, k, v = (2, 4, 10, 16), (2, 4, 20, 16), (2, 4, 20, 24)
    assert macs(function_of(F.scaled_dot_product_attention), q, k, v) == 2 * 4 * 10 * 20 * (16 + 24)


def test_grouped_query_attention_costs_what_its_query_heads_cost() -> None:
    grouped = function_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    layers = table(grouped, (1, 8, 32, 16), (1, 2, 32, 16), (1, 2, 32, 16))
    assert layers.macs.sum() == 8 * 32 * 32 * (16 + 16)
    assert layers.input_bytes.sum() == 4 * (8 + 2 + 2) * 32 * 16, "shared keys and values are read once"


def test_attention_whose_queries_broadcast_over_the_batch() -> None:
    layers = table(function_of(F.scaled_dot_product_attention), (1, 4, 16, 8), (3, 4, 16, 8), (3, 4, 16, 8))
    assert layers.output_shape[-1] == (3, 4, 16, 8)
    assert layers.macs.sum() == 3 * 4 * 16 * 16 * (8 + 8)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_mask_changes_no_macs(is_masked: bool, is_causal: bool) -> None:
    mask = None if not is_masked or is_causal else tensor(32, 32, dtype=torch.bool)
    attend = function_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal))
    assert macs(attend, *[(1, 4, 32, 16)] * 3) == 2 * SCORES


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("fast_path", [True, False])
def test_multihead_attention_counts_the_same_with_and_without_its_fast_path(
    need_weights: bool, fast_path: bool
) -> None:
    mha = nn.MultiheadAttention(64, 4, batch_first=True).eval()
    model = Apply(lambda self, x: self.mha(x, x, x, need_weights=need_weights)[0], mha=mha)
    torch.backends.mha.set_fastpath_enabled(fast_path)
    try:
        assert macs(model, torch.zeros(1, 32, 64)) == PROJECTIONS + 2 * SCORES
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_an_encoder_in_eval_mode_is_its_parts() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, dim_feedforward=128, batch_first=True)
    encoder = nn.TransformerEncoder(layer, num_layers=3).eval()
    layers = table(encoder, torch.zeros(1, 32, 64))
    assert layers.macs.sum() == 3 * (PROJECTIONS + 2 * SCORES + 2 * 32 * 64 * 128)
    assert (layers.kind == "attention").sum() == 3
    assert layers.uncounted_ops == ()


def test_a_whole_transformer_counts_as_torch_counts_its_parts() -> None:
    model = nn.Transformer(32, 4, 2, 2, 64, batch_first=True).eval()
    source, target = tensor(2, 7, 32), tensor(2, 5, 32)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        want = torch_macs(model, source, target)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert macs(model, source, target) == want


def test_a_shared_module_is_counted_per_call_and_its_parameters_once() -> None:
    for build in (linear_called_twice, linear_under_two_names):
        layers = table(build(), (32, 64))
        assert layers.macs.tolist() == [32 * 64 * 64] * 2
        assert layers.params == 64 * 64 + 64
        assert layers.weight_bytes.tolist() == [4 * (64 * 64 + 64)] * 2, "it is read at each call"


def test_a_shared_weight_is_one_parameter_and_two_products() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(100, 8)
            self.head = nn.Linear(8, 100, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Any:
            return self.head(self.embedding(tokens))

    layers = table(Tied(), tensor(1, 5, dtype=torch.int64))
    assert layers.params == 100 * 8
    assert layers.macs.tolist() == [0, 5 * 8 * 100]
    assert layers.weight_bytes.tolist() == [4 * 5 * 8, 4 * 100 * 8]


# --- contractions ------------------------------------------------------------------------------------------------

A, B, C = (3, 4), (4, 5), (5, 6)
CONTRACTIONS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], int]] = {
    "mm": (torch.mm, [A, B], 3 * 5 * 4),
    "matrix x vector": (torch.matmul, [A, (4,)], 3 * 4),
    "vector x matrix": (torch.matmul, [(4,), B], 5 * 4),
    "mv": (torch.mv, [A, (4,)], 3 * 4),
    "dot": (torch.dot, [(4,), (4,)], 4),
    "vector x vector": (torch.matmul, [(4,), (4,)], 4),
    "inner": (torch.inner, [A, (7, 4)], 3 * 7 * 4),
    "batch x matrix": (torch.matmul, [(2, 3, 4), B], 2 * 3 * 5 * 4),
    "batch x vector": (torch.matmul, [(2, 3, 4), (4,)], 2 * 3 * 4),
    "vector x batch": (torch.matmul, [(3,), (2, 3, 4)], 2 * 4 * 3),
    "broadcast batches": (torch.matmul, [(2, 1, 3, 4), (6, 4, 5)], 2 * 6 * 3 * 5 * 4),
    "addmm": (torch.addmm, [(5,), A, B], 3 * 5 * 4),
    "addmv": (torch.addmv, [(3,), A, (4,)], 3 * 4),
    "baddbmm": (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 5 * 4),
    "addbmm": (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 5 * 4),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=2), [(3, 4, 5), (4, 5, 6)], 3 * 6 * (4 * 5)),
    "multi_dot": (lambda *m: torch.linalg.multi_dot(m), [A, B, C], 3 * 5 * 4 + 3 * 6 * 5),
    "chain of einsum": (lambda *m: torch.einsum("ij,jk,kl->il", *m), [A, B, C], 3 * 5 * 4 + 3 * 6 * 5),
    "einsum, transposed": (lambda a, b: torch.einsum("ji,kj->ki", a, b), [(4, 3), (5, 4)], 5 * 3 * 4),
    "F.linear of a vector": (F.linear, [(8,), (4, 8)], 8 * 4),
    "F.linear with bias": (F.linear, [(2, 3, 8), (4, 8), (4,)], 2 * 3 * 8 * 4),
    "F.conv2d, dynamic weight": (F.conv2d, [(1, 3, 8, 8), (5, 3, 3, 3)], 5 * 6 * 6 * (3 * 3 * 3)),
    "unbatched conv": (F.conv2d, [(3, 8, 8), (5, 3, 3, 3)], 5 * 6 * 6 * (3 * 3 * 3)),
    "unbatched transposed conv": (F.conv_transpose2d, [(3, 8, 8), (3, 5, 2, 2)], 3 * 8 * 8 * (5 * 2 * 2)),
    "empty batch": (torch.matmul, [(0, 3, 4), (0, 4, 5)], 0),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_contraction_by_hand(name: str) -> None:
    function, shapes, want = CONTRACTIONS[name]
    layers = table(function_of(function), *shapes)
    assert layers.macs.sum() == want
    assert layers.uncounted_ops == ()


def test_a_matmul_is_a_linear_layer_when_a_side_is_a_weight() -> None:
    weight = parameter(64, 64)
    for function in (lambda self, x: x @ self.w, lambda self, x: x @ self.w.t(), lambda self, x: torch.mm(self.w, x)):
        assert table(Apply(function, w=weight), (64, 64)).kind.tolist() == ["linear"]
    assert table(function_of(torch.matmul), (64, 64), (64, 64)).kind.tolist() == ["matmul"]


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: nn.Conv2d(8, 16, 3), "conv"),
        (lambda: nn.Conv2d(8, 16, 1), "pointwise_conv"),
        (lambda: nn.Conv2d(8, 8, 3, groups=8), "depthwise_conv"),
        (lambda: nn.Conv2d(8, 16, 3, groups=8), "depthwise_conv"),
        (lambda: nn.Conv2d(8, 16, 1, groups=2), "grouped_conv"),
        (lambda: nn.ConvTranspose2d(8, 16, 3), "conv"),
        (lambda: nn.ConvTranspose2d(8, 8, 3, groups=8), "depthwise_conv"),
        (lambda: nn.ConvTranspose2d(8, 16, 3, groups=4), "grouped_conv"),
        (lambda: nn.Conv2d(1, 8, 3), "conv"),
    ],
)
def test_the_kind_of_a_convolution(build: Callable[[], nn.Module], kind: str) -> None:
    model = build()
    assert isinstance(model, nn.Conv2d | nn.ConvTranspose2d)
    assert table(model, (1, model.in_channels, 9, 9)).kind.tolist() == [kind]
    assert table(model, (model.in_channels, 9, 9)).kind.tolist() == [kind], "without a batch dimension"


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A random convolution of rank 1 to 3 and an input that it takes."""
    rank, transposed = draw(st.integers(1, 3)), draw(st.booleans())

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups = draw(st.integers(1, 4))
    channels, out_channels = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel, stride, dilation, padding = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2), per_axis(0, 2)
    spatial = tuple(draw(st.integers(d * (k - 1) + 1, 9)) for k, d in zip(kernel, dilation, strict=True))
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    if transposed:
        padding = tuple(min(p, d * (k - 1) // 2) for p, k, d in zip(padding, kernel, dilation, strict=True))
        steps = zip(stride, dilation, strict=True)
        options["output_padding"] = tuple(draw(st.integers(0, max(pair) - 1)) for pair in steps)
    name = f"Conv{'Transpose' if transposed else ''}{rank}d"
    model = getattr(nn, name)(channels, out_channels, kernel, padding=padding, device="meta", **options)
    return model, tensor(draw(st.integers(1, 3)), channels, *spatial)


@quick
@given(convolutions())
def test_any_convolution_counts_as_torch_counts_it(drawn: tuple[nn.Module, Tensor]) -> None:
    model, x = drawn
    assert macs(model, x) == torch_macs(model, x)


def test_a_transposed_convolution_spreads_each_input_a_plain_one_gathers_each_output() -> None:
    assert conv_macs((1, 8, 5, 5), (8, 16, 3, 3), (1, 16, 11, 11), transposed=True) == 8 * 25 * 16 * 9
    assert conv_macs((1, 8, 11, 11), (16, 8, 3, 3), (1, 16, 5, 5), transposed=False) == 16 * 25 * 8 * 9


@st.composite
def einsums(draw: st.DrawFn) -> tuple[str, Tensor, Tensor, int]:
    """Two operands, each letter in at least two places, one of them summed over; its MACs by hand."""
    roles = [draw(st.lists(st.sampled_from(["batch", "left", "right"]), max_size=3)), ["sum"]]
    letters = dict(zip("abcdefgh", [role for group in roles for role in group], strict=False))
    sizes = {letter: draw(st.integers(2, 4)) for letter in letters}
    places = {"left": ("batch", "left", "sum"), "right": ("batch", "right", "sum"), "out": ("batch", "left", "right")}

    def indices(place: str) -> str:
        return "".join(draw(st.permutations([letter for letter, role in letters.items() if role in places[place]])))

    left, right = indices("left"), indices("right")
    operands = [tensor(*[sizes[letter] for letter in side]) for side in (left, right)]
    return f"{left},{right}->{indices('out')}", operands[0], operands[1], math.prod(sizes.values())


@quick
@given(einsums())
def test_an_einsum_of_two_does_one_mac_for_each_combination_of_its_indices(
    drawn: tuple[str, Tensor, Tensor, int],
) -> None:
    equation, a, b, want = drawn
    assert macs(function_of(lambda a, b: torch.einsum(equation, a, b)), a, b) == want


@pytest.mark.filterwarnings("ignore")  # fvcore traces with the deprecated torch.jit
def test_convolutions_and_products_count_as_fvcore_counts_them() -> None:
    from fvcore.nn import FlopCountAnalysis

    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 3, stride=2),
        nn.Flatten(2),
        nn.Linear(49, 16),
        Apply(lambda _, x: torch.einsum("bij,bkj->bik", x, x) @ x, part=nn.Identity()),
    )
    x = torch.zeros(2, 4, 8, 8)
    assert macs(model, x) == FlopCountAnalysis(model, x).unsupported_ops_warnings(False).total()


# --- recurrent layers --------------------------------------------------------------------------------------------

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@st.composite
def recurrent_layers(draw: st.DrawFn) -> tuple[nn.RNNBase, Tensor, int]:
    """A random recurrent layer, its input, and its MACs by hand: every step meets every gate matrix once."""
    name = draw(st.sampled_from(list(GATES)))
    features, hidden, steps, batch = (draw(st.integers(1, 8)) for _ in range(4))
    depth, directions = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    projection = draw(st.integers(0, hidden - 1)) if name == "LSTM" else 0
    state = projection or hidden
    options: dict[str, Any] = {
        "bidirectional": directions == 2,
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if projection:
        options["proj_size"] = projection
    model = getattr(nn, name)(features, hidden, depth, device="meta", **options)
    shape = draw(st.sampled_from([(steps, features), (steps, batch, features)]))
    rows = GATES[name] * hidden
    per_step = 0
    for layer in range(depth):
        into = features if layer == 0 else directions * state
        per_step += directions * (rows * into + rows * state + projection * hidden)
    return model, tensor(*shape), math.prod(shape[:-1]) * per_step


@quick
@given(recurrent_layers())
def test_a_recurrent_layer_multiplies_each_step_by_each_gate_matrix(drawn: tuple[nn.RNNBase, Tensor, int]) -> None:
    model, x, want = drawn
    layers = table(model, x)
    assert layers.macs.sum() == want == torch_macs(model, x)
    assert layers.uncounted_ops == ()
    assert layers.weight_bytes.sum() == 4 * layers.params


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_a_recurrent_cell_is_one_step(cell: Callable[..., nn.Module], gates: int) -> None:
    assert macs(cell(8, 16), (3, 8)) == 3 * gates * 16 * (8 + 16)
    assert macs(cell(8, 16), (8,)) == gates * 16 * (8 + 16), "without a batch dimension"


def test_a_recurrent_cell_whose_weight_is_computed_multiplies_by_it_all_the_same() -> None:
    cell = nn.LSTMCell(8, 16)
    nn.utils.parametrize.register_parametrization(cell, "weight_hh", Doubled())
    assert macs(cell, (3, 8)) == 3 * 64 * (8 + 16)


@pytest.mark.parametrize("name", GATES)
def test_a_cell_does_the_vector_work_of_a_layer_of_one_step(name: str) -> None:
    cell = getattr(nn, f"{name}Cell")(8, 16)
    layer = getattr(nn, name)(8, 16)
    assert vector_ops(cell, (3, 8)) == vector_ops(layer, (1, 3, 8)) > 0


def test_the_vector_work_of_a_recurrent_layer_is_per_step_unit_layer_and_direction() -> None:
    one = vector_ops(nn.LSTM(8, 16), (1, 1, 8))
    assert vector_ops(nn.LSTM(32, 16), (1, 1, 32)) == one, "its inputs are multiplied, not activated"
    assert vector_ops(nn.LSTM(8, 16), (5, 3, 8)) == 5 * 3 * one
    assert vector_ops(nn.LSTM(8, 32), (1, 1, 8)) == 2 * one
    assert vector_ops(nn.LSTM(8, 16, num_layers=3, bidirectional=True), (1, 1, 8)) == 3 * 2 * one


def test_packed_sequences_are_counted_by_their_steps() -> None:
    sizes = torch.tensor([3, 3, 2, 1])  # sequences still running at each step
    packed = Apply(lambda self, x: self.lstm(nn.utils.rnn.PackedSequence(x, sizes))[0].data, lstm=nn.LSTM(8, 16))
    assert macs(packed, (9, 8)) == 9 * 4 * 16 * (8 + 16)


def test_a_projection_of_the_state_leaves_the_gates_their_vector_work() -> None:
    assert vector_ops(nn.LSTM(8, 16, proj_size=4), (5, 3, 8)) == vector_ops(nn.LSTM(8, 16), (5, 3, 8))


def bf16(*shape: int) -> Tensor:
    return tensor(*shape, dtype=torch.bfloat16)


ENDS = tensor(4, dtype=torch.int32)
GROUPED: dict[str, tuple[tuple[Tensor, Tensor], int, tuple[int, int]]] = {  # MACs, elements read of either operand
    "rows, a matrix each group": ((bf16(24, 32), bf16(4, 32, 16)), 24 * 32 * 16, (24 * 32, 4 * 32 * 16)),
    "fewer rows than matrices": ((bf16(3, 32), bf16(4, 32, 16)), 3 * 32 * 16, (3 * 32, 3 * 32 * 16)),
    "one row": ((bf16(1, 32), bf16(4, 32, 16)), 32 * 16, (32, 32 * 16)),
    "columns, a matrix each group": ((bf16(4, 8, 32), bf16(32, 24)), 8 * 32 * 24, (4 * 8 * 32, 32 * 24)),
    "sums, in groups": ((bf16(8, 24), bf16(24, 16)), 8 * 24 * 16, (8 * 24, 24 * 16)),
    "matrices": ((bf16(4, 8, 32), bf16(4, 32, 16)), 4 * 8 * 32 * 16, (4 * 8 * 32, 4 * 32 * 16)),
}


@pytest.mark.parametrize("name", GROUPED)
def test_a_grouped_product_is_one_matrix_for_each_row(name: str) -> None:
    """Which of them it is, is data, and does not matter: of a mixture's experts a token meets so many, not all."""
    (a, b), want, read = GROUPED[name]
    batched = len(a.shape) == len(b.shape) == 3
    outputs = {(2, 3): (a.shape[0], b.shape[-1]), (3, 2): (a.shape[-2], b.shape[-1])}
    made = outputs.get((a.dim(), b.dim()), (4, a.shape[-2], b.shape[-1]))
    op = grouped(a, b, None if batched else ENDS, made)
    item = cost(op)
    assert item is not None
    assert item.reads is not None
    assert (item.kind, item.macs) == ("linear", want)
    assert tuple(elements for _, elements in item.reads[:2]) == read


def grouped(a: Tensor, b: Tensor, ends: Tensor | None, made: tuple[int, ...]) -> Op:
    """The op as it is recorded; not every pair of ranks runs on shapes alone."""
    values = [
        Value(tuple(a.shape), "bfloat16", "activation", a.numel(), 0),
        Value(tuple(b.shape), "bfloat16", "parameter", b.numel(), 1),
    ]
    if ends is not None:
        values.append(Value(tuple(ends.shape), "int32", "activation", ends.numel(), 2))
    output = Value(made, "bfloat16", "activation", math.prod(made), 3, producer=0)
    return Op(
        "_grouped_mm", "aten._grouped_mm.default", tuple(values), {}, tuple(values), (output,), False, "", True, 1
    )


def test_a_mixture_of_experts_multiplies_each_token_by_its_own() -> None:
    """Two experts of four a token: 2 x 8 rows, each by 32 x 64, of bf16 weights that are all read."""

    def forward(self: Any, x: Tensor) -> Tensor:
        ends = (x[:4, 0] * 0).to(torch.int32)
        return F.grouped_mm(x.repeat_interleave(2, 0), self.experts, offs=ends)

    model = Apply(forward, experts=nn.Parameter(bf16(4, 32, 64)))
    layers = lower(trace(model, bf16(8, 32)), dtype="bf16")
    row = layers.kind.tolist().index("linear")
    assert layers.uncounted_ops == ()
    assert layers.macs.sum() == layers.macs[row] == 16 * 32 * 64
    assert layers.weight_bytes[row] == 2 * 4 * 32 * 64


def test_a_bilinear_layer_and_an_outer_product() -> None:
    assert macs(nn.Bilinear(4, 5, 6), (2, 3, 4), (2, 3, 5)) == (2 * 3) * 6 * (4 * 5)
    assert macs(function_of(torch.addr), (3, 4), (3,), (4,)) == 3 * 4


# --- vector ops --------------------------------------------------------------------------------------------------

# McMahon's weights, as the module's docstring gives them.
WEIGHTS = {**dict.fromkeys(["add", "sub", "mul", "max", "min", "select", "abs", "neg"], 1),
           **dict.fromkeys(["div", "sqrt"], 4), **dict.fromkeys(["exp", "log", "erf"], 8)}  # fmt: skip
SIGMOID, SOFTPLUS = "neg exp add div", "exp add log"
TANH = "mul exp sub add div"
FORMULAS = {  # each function written out as a compiler would run it
    "relu": "max",
    "relu6": "max min",
    "hardtanh": "max min",
    "leaky_relu": "mul max",
    "prelu": "mul max",
    "hardsigmoid": "add max min mul",
    "hardswish": "add max min mul mul",
    "sigmoid": SIGMOID,
    "silu": f"{SIGMOID} mul",
    "tanh": TANH,
    "gelu": "mul erf add mul mul",
    "gelu_tanh": f"mul mul mul add mul {TANH} add mul mul",
    "elu": "exp sub mul select",
    "selu": "exp sub mul select mul",
    "softplus": SOFTPLUS,
    "mish": f"{SOFTPLUS} {TANH} mul",
    "log_sigmoid": f"neg {SOFTPLUS} neg",
    "softsign": "abs add div",
    "glu": f"{SIGMOID} mul",
    "softmax": "max sub exp add div",
    "log_softmax": "max sub exp add sub",
    "batch_norm": "mul add",
    "rms_norm": "mul add mul mul",
    "sqrt": "sqrt",
    "rsqrt": "sqrt div",
    "exp": "exp",
    "div": "div",
    "add": "add",
    "mul": "mul",
    "where": "select",
    "pow": "log mul exp",
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_composed_cost_is_its_formula_in_the_documented_weights(name: str) -> None:
    costs = {**SOFTMAXES, **NORMS, **ELEMENTWISE, **ACTIVATIONS}
    assert costs[name] == sum(WEIGHTS[op] for op in FORMULAS[name].split())


def test_the_documented_table_is_what_the_handlers_use() -> None:
    assert VECTOR_OPS_PER_ELEMENT["activation"] is ACTIVATIONS
    assert set(VECTOR_OPS_PER_ELEMENT) <= set(KINDS)
    for costs in VECTOR_OPS_PER_ELEMENT.values():
        assert all(isinstance(cost, int) and cost > 0 for cost in costs.values())


MODULES: dict[str, nn.Module] = {
    "relu": nn.ReLU(), "relu6": nn.ReLU6(), "hardtanh": nn.Hardtanh(), "leaky_relu": nn.LeakyReLU(),
    "prelu": nn.PReLU(), "hardsigmoid": nn.Hardsigmoid(), "hardswish": nn.Hardswish(), "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(), "tanh": nn.Tanh(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "elu": nn.ELU(),
    "selu": nn.SELU(), "celu": nn.CELU(), "softplus": nn.Softplus(), "mish": nn.Mish(), "log_sigmoid": nn.LogSigmoid(),
    "hardshrink": nn.Hardshrink(), "softshrink": nn.Softshrink(), "threshold": nn.Threshold(0.5, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_an_activation_costs_its_figure_for_each_element(name: str) -> None:
    layers = table(MODULES[name], (2, 8, 5, 5))
    assert layers.kind.tolist() == ["activation"]
    assert (layers.macs.sum(), layers.vector_ops.sum()) == (0, ACTIVATIONS[name] * 2 * 8 * 5 * 5)
    assert layers.activation_bytes.sum() == 2 * 4 * 2 * 8 * 5 * 5, "each element is read and written once"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.relu, "relu"),
        (F.relu_, "relu"),
        (torch.Tensor.relu_, "relu"),
        (lambda x: x.clamp(0, 6), "relu6"),
        (lambda x: x.clamp_(0, 6), "relu6"),
        (lambda x: F.hardtanh(x, 0, 6), "relu6"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: x.clamp_min(0), "relu"),
        (lambda x: torch.clip(x, 0, 6), "relu6"),
        (lambda x: F.silu(x, inplace=True), "silu"),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_the_spellings_of_an_activation_cost_the_same(function: Callable[..., Any], name: str) -> None:
    layers = table(function_of(function), (2, 8))
    assert layers.kind.tolist() == ["activation"]
    assert layers.vector_ops.sum() == ACTIVATIONS[name] * 16


def test_the_canonical_names() -> None:
    assert canonical_name("conv_transpose3d", (), {}) == canonical_name("conv2d", (), {}) == "convolution"
    assert canonical_name("relu_", (), {}) == "relu"
    assert canonical_name("__and__", (), {}) == "__and__"
    assert canonical_name("hardtanh", (None, 0.0, 6.0), {}) == "relu6"
    assert canonical_name("hardtanh", (None,), {}) == "hardtanh"
    assert canonical_name("clamp", (None,), {"min": 0}) == "relu"
    assert canonical_name("clamp", (None, 0), {}) == "relu"
    assert canonical_name("clamp", (None, None, 6), {}) == "clamp"
    assert canonical_name("clamp", (None, -1, 1), {}) == "clamp"
    assert canonical_name("clamp_min", (None, 0), {}) == "relu"
    assert canonical_name("clamp_min", (None, 1e-12), {}) == "clamp_min"


X = 2 * 8 * 6 * 6  # elements of the input below
VECTOR_OPS: dict[str, tuple[nn.Module, int]] = {
    "batch norm": (nn.BatchNorm2d(8), 2 * X),
    "batch norm by the batch's statistics": (nn.BatchNorm2d(8, track_running_stats=False), (2 + 4) * X),
    "batch norm told to use the batch's statistics": (
        Apply(lambda self, x: F.batch_norm(x, self.mean, self.var, training=True), mean=tensor(8), var=tensor(8)),
        (2 + 4) * X,
    ),
    "layer norm": (nn.LayerNorm([8, 6, 6]), NORMS["layer_norm"] * X),
    "group norm": (nn.GroupNorm(2, 8), NORMS["group_norm"] * X),
    "softmax": (nn.Softmax(1), SOFTMAXES["softmax"] * X),
    "softmin": (nn.Softmin(1), (1 + SOFTMAXES["softmax"]) * X),
    "max pool: a compare for each element of each window": (nn.MaxPool2d(3, 2, 1), 9 * 2 * 8 * 3 * 3),
    "max pool, oblong": (nn.MaxPool2d((3, 2)), 6 * 2 * 8 * 2 * 3),
    "max pool with indices": (nn.MaxPool2d(2, return_indices=True), 4 * 2 * 8 * 3 * 3),
    "average pool": (nn.AvgPool2d(2), 4 * 2 * 8 * 3 * 3),
    "global average pool": (nn.AdaptiveAvgPool2d(1), X),
    "mean": (function_of(lambda x: x.mean((2, 3))), X),
    "add": (function_of(lambda x: x + x), X),
    "square": (function_of(lambda x: x**2), X),
    "square root": (function_of(lambda x: x**0.5), 4 * X),
    "a broadcast counts what it makes": (function_of(lambda x: x[:1] + x), X),
    "where": (function_of(lambda x: torch.where(x > 0, x, 0.0)), 2 * X),
    "bilinear upsampling: 4 neighbours, multiply and add": (nn.Upsample(scale_factor=2, mode="bilinear"), 8 * 4 * X),
    "nearest upsampling moves bytes": (nn.Upsample(scale_factor=2), 0),
    "dropout in eval mode": (nn.Dropout(), 0),
    "fake quantisation: there and back": (
        function_of(lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255)),
        7 * X,
    ),
}


@pytest.mark.parametrize("name", VECTOR_OPS)
def test_vector_ops_by_hand(name: str) -> None:
    model, want = VECTOR_OPS[name]
    layers = table(model, (2, 8, 6, 6))
    assert (layers.macs.sum(), layers.vector_ops.sum()) == (0, want)
    assert layers.uncounted_ops == ()


def test_a_repeated_tensor_is_worked_on_as_often_as_it_is_repeated() -> None:
    assert vector_ops(function_of(lambda x: x.expand(100, 8).sum(0)), (1, 8)) == 100 * 8
    assert vector_ops(function_of(lambda x: F.layer_norm(x.expand(100, 8), (8,))), (1, 8)) == NORMS["layer_norm"] * 800


def test_sampling_a_volume_reads_eight_neighbours_and_an_image_four() -> None:
    sample = function_of(lambda x, grid: F.grid_sample(x, grid, align_corners=False))
    assert vector_ops(sample, (1, 3, 8, 8), (1, 4, 4, 2)) == 2 * 4 * (3 * 4 * 4)
    assert vector_ops(sample, (1, 3, 8, 8, 8), (1, 4, 4, 4, 3)) == 2 * 8 * (3 * 4 * 4 * 4)


def test_attention_pays_for_its_scale_its_softmax_and_its_mask() -> None:
    scores = 4 * 32 * 32
    attend = function_of(F.scaled_dot_product_attention)
    assert vector_ops(attend, *[(1, 4, 32, 16)] * 3) == scores * (1 + SOFTMAXES["softmax"])
    assert vector_ops(attend, *[(1, 4, 32, 16)] * 3, (32, 32)) == scores * (1 + SOFTMAXES["softmax"] + 1)


# --- complex numbers ---------------------------------------------------------------------------------------------

COMPLEX: dict[str, tuple[Callable[[Tensor], Any], int, int]] = {  # of 4 x 8: MACs, vector ops
    "a product of matrices: four real ones": (lambda z: z @ z.t(), 4 * 4 * 8 * 4, 0),
    "a convolution": (lambda z: F.conv1d(z[None], z[:, :, None].transpose(0, 1)), 4 * (8 * 8) * 4, 0),
    "a sum: of both parts": (lambda z: z + z, 0, 2 * 32),
    "a multiple": (lambda z: z * 2, 0, 2 * 32),
    "a product: 4 multiplications, 2 additions": (lambda z: z * z, 0, 6 * 32),
    "a magnitude: a^2 + b^2, and its root": (lambda z: z.abs(), 0, (3 + 4) * 32),
    "its parts are there": (lambda z: torch.view_as_real(z)[..., 0].view(8, 4), 0, 0),
    "an FFT: 5 n log2 n, n = 8": (lambda z: torch.fft.fft(z), 0, 4 * 5 * 8 * 3),
    "an FFT of both dimensions: n = 32": (lambda z: torch.fft.fft2(z), 0, 5 * 32 * 5),
    "back": (lambda z: torch.fft.ifft(z), 0, 4 * 5 * 8 * 3),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_count_as_their_real_parts(name: str) -> None:
    function, want_macs, want_vector_ops = COMPLEX[name]
    layers = table(function_of(function), tensor(4, 8, dtype=torch.complex64))
    assert layers.uncounted_ops == ()
    assert layers.macs.sum() == want_macs
    assert layers.vector_ops.sum() == want_vector_ops


def test_the_transform_of_real_numbers_takes_half_the_work_there_and_back() -> None:
    assert vector_ops(function_of(torch.fft.rfft), (4, 16)) == 4 * 5 * 16 * 4 / 2
    there_and_back = function_of(lambda x: torch.fft.irfft2(torch.fft.rfft2(x), s=(4, 16)))
    assert vector_ops(there_and_back, (3, 4, 16)) == 2 * (3 * 5 * 64 * 6 / 2)
    assert vector_ops(function_of(lambda x: torch.fft.rfft(x, dim=0)), (1, 8)) == 0, (
        "of one point there is nothing to do"
    )


def test_complex_numbers_are_two_wide() -> None:
    layers = table(function_of(lambda z: z + z), tensor(4, 8, dtype=torch.complex64))
    assert layers.input_bytes.tolist() == [2 * 32 * 8]
    assert layers.output_bytes.tolist() == [32 * 8]


# --- sparse matrices ---------------------------------------------------------------------------------------------

ADJACENT = torch.tensor([[1.0, 0, 0, 2], [0, 3, 0, 0], [0, 0, 0, 0], [4, 0, 0, 5]])  # 5 of 16 entries
SPARSE: dict[str, Callable[[Any, Tensor], Any]] = {
    "torch.sparse.mm": lambda self, x: torch.sparse.mm(self.a, x),
    "@": lambda self, x: self.a @ x,
    "coalesced before": lambda self, x: self.a.coalesce() @ x,
    "on the right": lambda self, x: x.t() @ self.a,
    "transposed": lambda self, x: self.a.t() @ x,
}


@pytest.mark.parametrize("name", SPARSE)
def test_each_entry_of_a_sparse_matrix_meets_one_row(name: str) -> None:
    layers = table(Apply(SPARSE[name], a=ADJACENT.to_sparse()), (4, 6))
    assert layers.uncounted_ops == ()
    assert layers.macs.sum() == 5 * 6


# --- bytes -------------------------------------------------------------------------------------------------------


def test_an_embedding_does_no_macs_and_reads_its_rows_alone() -> None:
    layers = table(nn.Embedding(100_000, 16), tensor(2, 5, dtype=torch.int64))
    assert layers.kind.tolist() == ["embedding"]
    assert (layers.macs.sum(), layers.vector_ops.sum()) == (0, 0)
    assert layers.weight_bytes.tolist() == [4 * 10 * 16], "10 rows of 16"
    assert layers.input_bytes.tolist() == [8 * 10], "10 int64 indices"
    assert layers.output_bytes.tolist() == [4 * 10 * 16]


def test_a_bag_of_embeddings_reads_every_row_it_sums() -> None:
    layers = table(nn.EmbeddingBag(100_000, 16, mode="sum"), tensor(2, 5, dtype=torch.int64))
    row = layers.kind.tolist().index("embedding")
    assert layers.weight_bytes[row] == 4 * 10 * 16
    assert layers.macs.sum() == 0


READ_AND_WRITTEN: dict[str, tuple[Callable[..., Any], int, int]] = {
    "a view moves nothing": (lambda x: x.view(8, 4).t()[:, :2].unsqueeze(0), 0, 0),
    "a permuted copy": (lambda x: x.t().contiguous(), 32, 32),
    "what is contiguous already": (lambda x: x.contiguous(), 0, 0),
    "concatenation": (lambda x: torch.cat([x, x]), 64, 64),
    "an expanded tensor is read once": (lambda x: x[:1].expand(4, 8) + x, 8 + 32, 32),
    "zeros are only written": (lambda x: torch.zeros_like(x), 0, 32),
    "memory that is only reserved": (lambda x: torch.empty_like(x), 0, 0),
    "a copy into memory does not read it": (lambda x: torch.empty_like(x).copy_(x), 32, 32),
    "a sum into given memory does not read it": (lambda x: torch.add(x, x, out=torch.empty_like(x)), 64, 32),
    "in place": (lambda x: x.relu_(), 32, 32),
    "half of it in place": (lambda x: x[:, :4].relu_(), 16, 16),
    "gathered rows": (lambda x: x.index_select(0, torch.zeros(2, dtype=torch.int32)), 16 + 2, 2 + 16),
    "an item is put in its place": (lambda x: x.index_fill_(0, torch.zeros(1, dtype=torch.int32), 1.0), 1, 1 + 8),
    "a scalar is filled": (lambda x: x.sum().index_fill_(0, torch.zeros(1, dtype=torch.int32), 1.0), 32 + 1, 1 + 1 + 1),
    "a row that is set": (lambda x: x.index_copy_(0, torch.zeros(1, dtype=torch.int32), x[1:2]), 1 + 8, 1 + 8),
    "a number put into rows": (
        lambda x: x.index_put_((torch.zeros(2, dtype=torch.int32),), torch.zeros(())), 2 + 1, 3 + 16,
    ),
    "a row put into rows": (lambda x: x.index_put_((torch.zeros(2, dtype=torch.int32),), x[3]), 2 + 8, 2 + 16),
    "rows set in a new tensor": (
        lambda x: x.index_copy(0, torch.zeros(1, dtype=torch.int32), x[1:2]), 32 + 1 + 8, 1 + 32,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ_AND_WRITTEN)
def test_elements_moved_by_hand(name: str) -> None:
    """Four-byte elements in and out, for an input of 4 x 8."""
    function, read, written = READ_AND_WRITTEN[name]
    layers = table(function_of(function), (4, 8))
    assert (layers.input_bytes.sum() // 4, layers.output_bytes.sum() // 4) == (read, written)


# --- unknown ops -------------------------------------------------------------------------------------------------


@torch.library.custom_op("roofline_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("roofline_tests::relu", mutates_args=())
def named_like_a_known_op(x: Tensor) -> Tensor:
    return x * 2


@named_like_a_known_op.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_unknown_op_is_named_with_its_calls_and_its_bytes_are_in_the_table() -> None:
    layers = table(function_of(lambda x: twice(twice(x)) + 1), (2, 8))
    (unknown,) = layers.uncounted_ops
    assert (unknown.name, unknown.calls, unknown.mem_bytes) == ("roofline_tests::twice", 2, 2 * 2 * 4 * 16)
    assert layers.kind.tolist() == ["other", "other", "elementwise"]
    assert layers.mem_bytes.tolist() == [2 * 4 * 16] * 3


def test_the_unknown_ops_are_listed_by_what_they_move() -> None:
    model = function_of(lambda x: named_like_a_known_op(twice(x).repeat(4, 1)))
    assert [op.name for op in table(model, (2, 8)).uncounted_ops] == ["roofline_tests::relu", "roofline_tests::twice"]


def test_a_name_counts_in_its_own_library_alone() -> None:
    (unknown,) = table(function_of(named_like_a_known_op), (2, 8)).uncounted_ops
    assert unknown.name == "roofline_tests::relu"
    assert is_counted("relu")
    assert not is_counted("roofline_tests::relu")


def test_a_librarys_composite_op_is_taken_apart_whatever_its_name() -> None:
    library: Any = torch.library.Library("roofline_tests", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("composite", "linear"):
        library.define(f"{name}(Tensor a, Tensor b) -> Tensor")
        library.impl(name, lambda a, b: (a @ b).relu(), "CompositeImplicitAutograd")
        op = getattr(torch.ops.roofline_tests, name)
        layers = table(function_of(op), (4, 8), (8, 4))
        assert layers.ops.tolist() == ["matmul", "relu"], name
        assert layers.uncounted_ops == ()


COMPOSITES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "cosine_similarity": (F.cosine_similarity, [(3, 8), (3, 8)]),
    "pairwise_distance": (F.pairwise_distance, [(3, 8), (3, 8)]),
    "kron": (torch.kron, [(3, 4), (5, 6)]),
    "outer": (torch.outer, [(3,), (4,)]),
    "normalize": (F.normalize, [(3, 8)]),
    "local_response_norm": (lambda x: F.local_response_norm(x, 2), [(2, 8, 4, 4)]),
    "lp_pool2d": (lambda x: F.lp_pool2d(x, 2, 2), [(2, 8, 4, 4)]),
    "softsign": (F.softsign, [(3, 8)]),
    "tanhshrink": (F.tanhshrink, [(3, 8)]),
    "gumbel_softmax": (F.gumbel_softmax, [(3, 8)]),
    "var": (torch.var, [(3, 8)]),
    "std": (torch.std, [(3, 8)]),
    "cumsum": (lambda x: x.cumsum(1), [(3, 8)]),
    "cov": (torch.cov, [(3, 8)]),
    "instance_norm": (F.instance_norm, [(2, 8, 4, 4)]),
    "cross": (lambda a, b: torch.linalg.cross(a, b), [(4, 3), (4, 3)]),
    "area interpolation": (lambda x: F.interpolate(x, size=2, mode="area"), [(2, 8, 4, 4)]),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_op_is_taken_apart_and_never_counts_as_nothing(name: str) -> None:
    function, shapes = COMPOSITES[name]
    layers = table(function_of(function), *shapes)
    assert layers.macs.sum() + layers.vector_ops.sum() > 0 or layers.uncounted_ops
    assert (layers.macs >= 0).all()
    assert layers.mem_bytes.sum() >= 4 * sum(math.prod(shape) for shape in shapes), "it reads its inputs at least"


OPAQUE: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "bilinear": (F.bilinear, [(3, 8), (3, 6), (4, 8, 6)]),
    "cdist": (torch.cdist, [(3, 8), (5, 8)]),
    "solve": (torch.linalg.solve, [(8, 8), (8, 8)]),
    "addr": (torch.addr, [(3, 4), (3,), (4,)]),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_torch_cannot_take_apart_is_counted_or_named(name: str) -> None:
    function, shapes = OPAQUE[name]
    layers = table(function_of(function), *shapes)
    assert layers.macs.sum() > 0 or layers.uncounted_ops
    assert layers.mem_bytes.sum() >= 4 * sum(math.prod(shape) for shape in shapes)


def test_reading_a_constant_on_the_host_and_profiler_marks_are_no_work_and_no_unknown() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.profiler.record_function("block"):
            return x * int(self.scale) if self.scale > 2 else x

    layers = table(Apply(forward, scale=torch.tensor(3)), (2, 8))
    assert layers.uncounted_ops == ()
    assert "mul" in layers.ops.tolist()


# --- properties --------------------------------------------------------------------------------------------------


def test_every_handler_is_reachable_by_its_canonical_name() -> None:
    assert [name for name in HANDLERS if not is_counted(name)] == []


BATCHED = [case for case in HARD_CASES if case.name != "two inputs, a @ b"]  # of which only the first has a batch


@pytest.mark.parametrize("case", BATCHED, ids=lambda case: case.name)
def test_twice_the_batch_is_twice_the_work(case: Case) -> None:
    axis = 1 if "LSTM" in case.name else 0
    doubled = [tuple(2 * n if i == axis else n for i, n in enumerate(shape)) for shape in case.inputs]
    one, two = table(case.build(), *case.inputs), table(case.build(), *doubled)
    weight_work = vector_ops(Doubled(), (64, 64)) if "parametrization" in case.name else 0
    assert two.macs.sum() == 2 * one.macs.sum()
    assert two.vector_ops.sum() - weight_work == 2 * (one.vector_ops.sum() - weight_work)
    assert two.weight_bytes.sum() == one.weight_bytes.sum()


def test_reductions_cost_what_they_read() -> None:
    for name in ("sum", "mean", "amax", "argmax", "prod", "std", "logsumexp"):
        reduce = function_of(lambda x, name=name: getattr(torch, name)(x, dim=1))
        assert vector_ops(reduce, (4, 32)) == REDUCTIONS[name] * 4 * 32, name

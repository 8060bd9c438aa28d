"""Three counts of one network: where they agree, why they differ, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import roofline
from roofline import crosscheck
from roofline.crosscheck import VECTOR_FAMILIES, CrossCheck, Difference, cross_check
from roofline.loading import LoadedModel, load


class Net(nn.Module):
    """A network written in one line: what it does with its inputs, and its parts by name."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def loaded(module: nn.Module, *shapes: tuple[int, ...]) -> LoadedModel:
    inputs = tuple(torch.empty(shape, device="meta") for shape in shapes)
    return LoadedModel(reference="net", name="net", module=module, inputs=inputs, input_source="given")


def attend(net: Any, x: Tensor) -> Tensor:
    tokens = net.project(x).flatten(2).transpose(1, 2).unflatten(-1, (4, 8)).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


NETWORKS: dict[str, Callable[[], LoadedModel]] = {
    "MobileNetV4": lambda: load("mnv4_conv_s", input_size=(3, 64, 64)),
    "MobileNetV4 hybrid": lambda: load("mnv4_hybrid_m", input_size=(3, 64, 64)),
    "attention": lambda: loaded(Net(attend, project=nn.Conv2d(3, 32, 4, stride=4)), (2, 3, 32, 32)),
    "an encoder layer": lambda: loaded(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (2, 7, 32)),
    "transposed": lambda: loaded(
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 16, 4, 2, 1, groups=4)), (1, 3, 32, 32)
    ),
    "LSTM": lambda: loaded(nn.LSTM(16, 32, num_layers=2), (5, 2, 16)),
    "GRU": lambda: loaded(nn.GRU(8, 16), (5, 2, 8)),
    "LSTM cell": lambda: loaded(nn.LSTMCell(8, 16), (2, 8)),
    "einsum": lambda: loaded(Net(lambda _, a, b: torch.einsum("bij,bjk->bik", a, b)), (2, 3, 4), (2, 4, 5)),
    "matrix times vector": lambda: loaded(Net(lambda _, a, b: a @ b), (3, 4), (4,)),
    "norms and interpolation": lambda: loaded(
        Net(lambda n, x: F.interpolate(n.norm(n.conv(x)), scale_factor=2, mode="bilinear"),
            conv=nn.Conv2d(3, 4, 3), norm=nn.GroupNorm(2, 4)), (1, 3, 8, 8)
    ),
    "a bilinear layer": lambda: loaded(Net(lambda n, a: n.two(a, a), two=nn.Bilinear(7, 7, 3)), (2, 7)),
    "nothing to multiply": lambda: loaded(nn.ReLU(), (2, 8)),
}  # fmt: skip


@pytest.fixture(scope="module")
def checks() -> dict[str, tuple[LoadedModel, CrossCheck]]:
    made = {name: make() for name, make in NETWORKS.items()}
    return {name: (model, cross_check(model)) for name, model in made.items()}


def row(check: CrossCheck, family: str) -> Difference:
    return next(row for row in check.differences if row.family == family)


# --- every network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_our_column_is_what_the_analysis_counts(name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    model, check = checks[name]
    analysis = roofline.analyze(model.module, model.inputs, hw="pixel6_tpu")
    assert check.total.macs == sum(row.macs for row in check.differences) == analysis.totals()["macs"]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_counter_fails_on_what_it_can_run(name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    """A counter that knows nothing of a network counts 0; fvcore's own formula for matrix @ vector raises."""
    _, check = checks[name]
    assert [line for line in check.failures if "fvcore could not" not in line] == []
    assert bool(check.failures) == (name == "matrix times vector")


@pytest.mark.parametrize("name", NETWORKS)
def test_each_difference_has_a_reason_and_nothing_else_has(
    name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]
) -> None:
    for difference in checks[name][1].differences:
        others = [count for count in (difference.fvcore_flops, difference.flop_counter_macs) if count is not None]
        assert bool(difference.reason) == any(count != difference.macs for count in others), difference


@pytest.mark.parametrize("name", NETWORKS)
def test_a_reason_names_what_is_different(name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    for difference in checks[name][1].differences:
        assert ("fvcore" in difference.reason) == (difference.fvcore_flops not in (None, difference.macs))
        said = "FlopCounterMode" in difference.reason
        assert said == (difference.flop_counter_macs not in (None, difference.macs)), difference


@pytest.mark.parametrize("name", NETWORKS)
def test_a_number_alone_is_no_reason(name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    """``counts +4,917,248`` repeats the table; why it does is what was asked."""
    reasons = [part for row in checks[name][1].differences for part in row.reason.split("; ") if part]
    assert [reason for reason in reasons if reason.rpartition(" ")[2].lstrip("+-").replace(",", "").isdecimal()] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_totals_are_the_sums_of_the_columns(name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    _, check = checks[name]
    assert check.total.flop_counter_macs == sum(row.flop_counter_macs or 0 for row in check.differences)
    if not check.failures:
        assert check.total.fvcore_flops == sum(row.fvcore_flops or 0 for row in check.differences)


# --- known agreements and differences ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MobileNetV4", "MobileNetV4 hybrid"])
def test_the_zoo_agrees_but_for_norms_and_pooling(name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    _, check = checks[name]
    assert check.failures == ()
    for family in ("convolution", "matrix product"):
        same = row(check, family)
        assert same.macs == same.fvcore_flops == same.flop_counter_macs
    for family in ("norm", "pooling"):
        other = row(check, family)
        assert (other.macs, other.flop_counter_macs) == (0, 0)
        assert other.fvcore_flops
        assert other.reason.startswith("fvcore counts it as flops; it is no multiply-accumulate, here ")
    assert {difference.family for difference in check.differences} == {
        "convolution", "matrix product", "norm", "pooling",
    }  # fmt: skip


def test_a_grouped_transposed_convolution_is_counted_alike_by_all(
    checks: dict[str, tuple[LoadedModel, CrossCheck]],
) -> None:
    (only,) = checks["transposed"][1].differences
    down, up = 8 * 16 * 16 * 27, 8 * 16 * 16 * (16 // 4 * 4 * 4)
    assert only == Difference(
        family="convolution", macs=down + up, fvcore_flops=down + up, flop_counter_macs=down + up, reason=""
    )


@pytest.mark.parametrize(("name", "macs"), [("attention", 2 * 4 * 64 * 64 * (8 + 8)), ("an encoder layer", 6272)])
def test_attention_is_what_fvcore_misses(
    name: str, macs: int, checks: dict[str, tuple[LoadedModel, CrossCheck]]
) -> None:
    missed = row(checks[name][1], "attention")
    assert (missed.macs, missed.fvcore_flops) == (macs, 0)
    assert "fvcore has no formula for scaled_dot_product_attention" in missed.reason


def test_what_flop_counter_mode_counts_elsewhere_is_not_called_missed(
    checks: dict[str, tuple[LoadedModel, CrossCheck]],
) -> None:
    """On CPU tensors torch may run attention, and a GRU its gates, as matrix products: the totals then agree."""
    for name in ("attention", "GRU", "LSTM cell"):
        _, check = checks[name]
        if check.total.macs == check.total.flop_counter_macs:
            reasons = " ".join(difference.reason for difference in check.differences)
            assert "FlopCounterMode has no formula" not in reasons, name


@pytest.mark.parametrize("name", NETWORKS)
def test_what_fvcore_counts_elsewhere_is_not_called_another_number(
    name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]
) -> None:
    """Its gates are matrix products to fvcore, too: the two rows differ, their sum does not."""
    products = [row for row in checks[name][1].differences if row.family not in VECTOR_FAMILIES]
    if sum(row.macs for row in products) == sum(row.fvcore_flops or 0 for row in products):
        assert not any("another number" in row.reason for row in products)


@pytest.mark.parametrize(("name", "op"), [("LSTM", "lstm"), ("GRU", "gru")])
def test_a_recurrence_is_what_fvcore_misses(
    name: str, op: str, checks: dict[str, tuple[LoadedModel, CrossCheck]]
) -> None:
    missed = row(checks[name][1], "recurrent")
    assert missed.fvcore_flops == 0
    assert f"fvcore has no formula for {op}" in missed.reason


def test_each_family_is_blamed_for_its_own_ops_only() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        steps = net.memory(x)[0].unsqueeze(1)
        return F.scaled_dot_product_attention(steps, steps, steps)

    check = cross_check(loaded(Net(run, memory=nn.LSTM(16, 32)), (5, 2, 16)))
    assert "lstm" not in row(check, "attention").reason
    assert "scaled_dot_product_attention" not in row(check, "recurrent").reason


# --- what fails -------------------------------------------------------------------------------------------------------


def fails_on_data(net: Any, x: Tensor) -> Tensor:
    if not x.is_meta:
        raise RuntimeError("no kernel\n  for this")
    result: Tensor = net.conv(x)
    return result


def test_a_counter_that_fails_is_reported_beside_our_count() -> None:
    check = cross_check(loaded(Net(fails_on_data, conv=nn.Conv2d(3, 4, 3)), (1, 3, 8, 8)))
    assert check.failures == (
        "fvcore could not count it: RuntimeError: no kernel for this",
        "FlopCounterMode could not count it: RuntimeError: no kernel for this",
    )
    (only,) = check.differences
    assert (only.macs, only.fvcore_flops, only.flop_counter_macs, only.reason) == (6 * 6 * 4 * 27, None, None, "")
    assert (check.total.fvcore_flops, check.total.flop_counter_macs) == (None, None)


def test_attention_is_counted_by_the_products_it_is_made_of() -> None:
    """Torch runs it as one op on a CPU, for which FlopCounterMode has no formula: 2 x 4 heads x 9 x 9 x 8 MACs."""
    check = cross_check(loaded(Net(attend, project=nn.Conv2d(3, 32, 1)), (1, 3, 3, 3)))
    (attention,) = [row for row in check.differences if row.family == "attention"]
    assert attention.macs == 2 * 4 * 9 * 9 * 8
    assert check.total.flop_counter_macs == check.total.macs == 9 * 3 * 32 + attention.macs


def test_a_model_whose_weights_find_no_room_is_counted_by_its_shapes() -> None:
    """fvcore runs it: 2^20 x 2^20 weights are 4 TiB."""
    with torch.device("meta"):
        check = cross_check(loaded(nn.Linear(2**20, 2**20, bias=False), (1, 2**20)))
    assert check.total.macs == check.total.flop_counter_macs == 2**40
    assert check.total.fvcore_flops is None
    (failure,) = check.failures
    assert failure.startswith("fvcore is left out: it runs the model, whose weights take 4398.0 GB, and ")
    assert failure.endswith("FlopCounterMode counts shapes alone")


@pytest.mark.parametrize("name", ["MobileNetV4 hybrid", "attention", "transposed", "einsum", "a bilinear layer"])
def test_shapes_alone_are_counted_as_a_run_is(
    name: str, checks: dict[str, tuple[LoadedModel, CrossCheck]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crosscheck, "free_bytes", lambda: -1)
    model, with_weights = checks[name]
    assert cross_check(model).total.flop_counter_macs == with_weights.total.flop_counter_macs


def test_a_model_that_cannot_be_copied_is_reported_too() -> None:
    class Single(nn.Conv2d):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("there can be only one")

    check = cross_check(loaded(Single(3, 4, 3), (1, 3, 8, 8)))
    assert check.total.macs == 6 * 6 * 4 * 27
    assert len(check.failures) == 2
    assert all(line.endswith("TypeError: there can be only one") for line in check.failures)


def test_a_model_that_cannot_be_traced_is_an_error() -> None:
    with pytest.raises(roofline.RooflineError, match="fails on input 1x3x8x8"):
        cross_check(loaded(nn.Conv2d(4, 4, 3), (1, 3, 8, 8)))


# --- the model --------------------------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was(checks: dict[str, tuple[LoadedModel, CrossCheck]]) -> None:
    model, _ = checks["MobileNetV4"]
    assert {tensor.device.type for tensor in (*model.module.parameters(), *model.module.buffers())} == {"meta"}

    conv = nn.Conv2d(3, 4, 3).train()
    weights = conv.weight.detach().clone()
    state = torch.get_rng_state()
    cross_check(loaded(conv, (1, 3, 8, 8)))
    assert torch.equal(conv.weight, weights)
    assert conv.training
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_is_counted_alike() -> None:
    model = LoadedModel(
        reference="net",
        name="net",
        module=nn.Conv2d(3, 4, 3).half(),
        inputs=(torch.empty(1, 3, 8, 8, dtype=torch.float16, device="meta"),),
        input_source="given",
    )
    check = cross_check(model)
    assert check.failures == ()
    assert check.total.macs == check.total.fvcore_flops == check.total.flop_counter_macs

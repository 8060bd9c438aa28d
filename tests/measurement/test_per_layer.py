"""The time of each layer, of networks whose ops take as long as they say, on a clock that stands still otherwise."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline import models
from roofline.errors import MeasurementError, RooflineError, TraceError
from roofline.layers import lower
from roofline.measurement import per_layer
from roofline.measurement.module_profile import ModuleProfile
from roofline.measurement.per_layer import (
    CHAIN_OPS,
    Gap,
    LayerTimes,
    ModuleTime,
    align,
    both_ways,
    layer_times,
    layer_times_of,
)
from roofline.trace import trace
from tests.measurement.timed_ops import CLOCK, Net, StillClock, Takes, halves, no_kernel, work, work_

X = torch.arange(24.0).reshape(2, 12)


@pytest.fixture(autouse=True)
def clock() -> StillClock:
    return CLOCK.reset()


def measured(net: nn.Module, inputs: Any = X, **options: Any) -> LayerTimes:
    given = {"rounds": 3, "warm_up": 1, "profiled_rounds": 0, **options}
    return layer_times(net, inputs, clock=CLOCK, **given)


def times(found: LayerTimes) -> dict[str, float]:
    return dict(zip(found.layers.name.tolist(), found.latency_s.tolist(), strict=True))


# --- rows -------------------------------------------------------------------------------------------------------------


def test_each_row_of_the_layer_table_has_the_time_of_its_op() -> None:
    net = nn.Sequential(Takes(1.0), nn.ReLU(), Takes(0.25), Takes(2.0))
    found = measured(net)
    assert times(found) == {"0": 1.0, "1": 0.0, "2": 0.25, "3": 2.0}
    assert found.layers.name.tolist() == lower(trace(net, X)).name.tolist()
    assert found.replayed.median == found.whole.median == 3.25
    assert found.gap.unexplained_s == 0
    assert found.rounds == 3
    assert found.notes == ()


def test_a_module_that_is_called_twice_has_two_rows_and_views_have_none() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        x = net.part(x).view(4, 6).t()
        return net.part(x[:, :2]).unsqueeze(0)

    found = measured(Net(forward, part=Takes(0.5)))
    assert times(found) == {"part": 0.5, "part#2": 0.5}
    assert found.gap.ops == 2 + 4
    assert found.gap.free_ops == 4
    assert found.gap.free_ops_s == 0


def test_writing_in_place_and_several_outputs_are_timed() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        one, other = halves(x, 0.5)
        work_(one, 0.25)
        other[:, :3] += work(one[:, :3], 0.125)
        return one.chunk(2, 1)[0] + other.max(1).values[:, None]

    found = measured(Net(forward))
    assert [(str(ops), time_s) for ops, time_s in zip(found.layers.ops, found.latency_s, strict=True)] == [
        ("timed::halves", 0.5), ("timed::work", 0.25), ("timed::work", 0.125), ("add", 0.0), ("max", 0.0), ("add", 0.0)
    ]  # fmt: skip
    assert sum(times(found).values()) == 0.875


class Scripted:
    """A stopwatch that reads, of each op of the network, its number over 8 times the number of the replay."""

    def __init__(self, steps: int) -> None:
        self.steps, self.replays = steps, 0

    def start(self) -> None:
        pass

    def mark(self) -> None:
        pass

    def spans_s(self, marks: Sequence[Any]) -> list[float]:
        if len(marks) != self.steps:  # its own cost, or the chain
            return [0.0] * len(marks)
        self.replays += 1
        return [(step + 1) * self.replays / 8 for step in range(self.steps)]


def test_a_time_is_the_median_of_the_rounds_with_its_interval() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.Tanh())
    found = measured(net, stopwatch=Scripted(3), rounds=9, warm_up=2)
    # replays 3 to 11 count: the median is the 7th; of 9, the 2nd and the 8th smallest bound it, the 4th and the 10th
    assert found.latency_s.tolist() == [7 / 8, 14 / 8, 21 / 8]
    assert found.low_s.tolist() == [4 / 8, 8 / 8, 12 / 8]
    assert found.high_s.tolist() == [10 / 8, 20 / 8, 30 / 8]
    assert found.replayed.median == 42 / 8
    assert found.replayed.ci95 == (24 / 8, 60 / 8)
    assert found.gap.unexplained_s == -42 / 8  # the whole took no time on the clock


# --- the gap ----------------------------------------------------------------------------------------------------------


def test_the_gap_is_what_ops_and_modules_cost_and_the_rest() -> None:
    gap = Gap(
        whole_s=100.0, layers_s=60.0, free_ops=4, free_ops_s=3.0, ops=10, op_host_s=0.5, module_calls=7,
        module_host_s=2.0,
    )  # fmt: skip
    assert (gap.dispatch_s, gap.modules_s) == (5.0, 14.0)
    assert gap.unexplained_s == 100 - 60 - 3 - 5 - 14
    assert gap.to_dict()["unexplained_share"] == 0.18


@pytest.mark.parametrize(("layers_s", "unexplained_s"), [(60.0, 100 - 63), (5.0, 100 - 19)])
def test_on_an_accelerator_the_longer_of_ops_and_host_counts(layers_s: float, unexplained_s: float) -> None:
    gap = Gap(
        whole_s=100.0, layers_s=layers_s, free_ops=4, free_ops_s=3.0, ops=10, op_host_s=0.5, module_calls=7,
        module_host_s=2.0, overlaps=True,
    )  # fmt: skip
    assert gap.unexplained_s == unexplained_s


def test_python_in_the_network_is_not_explained() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        CLOCK.time_s += 0.75
        return net.part(x)

    found = measured(Net(forward, part=Takes(1.0)))
    assert found.whole.median == 1.75
    assert found.replayed.median == 1.0
    assert found.gap.unexplained_s == 0.75


@pytest.fixture
def module_calls_take_a_quarter() -> Iterator[None]:
    def take(*_: Any) -> None:
        CLOCK.time_s += 0.25

    handle = nn.modules.module.register_module_forward_pre_hook(take)
    yield
    handle.remove()


def test_the_cost_of_a_module_call_is_found_by_the_chains(module_calls_take_a_quarter: None) -> None:
    net = nn.Sequential(Takes(1.0), nn.Sequential(Takes(2.0), nn.Identity()))
    found = measured(net)
    assert found.gap.module_calls == 5
    assert found.gap.module_host_s == 0.25  # the chain of modules makes 33 calls, that of functions 1
    assert found.gap.op_host_s == 0.25 / CHAIN_OPS  # that 1, over its ops
    assert found.whole.median == 3.0 + 5 * 0.25
    assert found.gap.unexplained_s == pytest.approx(-2 * 0.25 / CHAIN_OPS)


def test_rounds_stop_when_the_time_is_up_but_not_before_six() -> None:
    net = Takes(1.0)
    assert measured(net, rounds=50, cap_s=0.0).rounds == 6
    # a round takes 2 s, the whole and its replay; one warms up: the last begins before 24 s have passed
    assert measured(net, rounds=50, cap_s=24.0).rounds == 12
    assert measured(net, rounds=4, cap_s=0.0).rounds == 4


def test_progress_is_told_before_each_round() -> None:
    told: list[tuple[int, int]] = []
    measured(Takes(1.0), progress=lambda number, of: told.append((number, of)))
    assert told == [(0, 3), (1, 3), (2, 3)]


def test_the_profiler_is_told_of_as_the_last_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def profile_modules(*_: Any, **__: Any) -> None:
        told.append((-1, -1))

    monkeypatch.setattr("roofline.measurement.module_profile.profile_modules", profile_modules)
    measured(Takes(1.0), profiled_rounds=2, progress=lambda number, of: told.append((number, of)))
    assert told == [(0, 5), (1, 5), (2, 5), (3, 5), (-1, -1)]


# --- two ways ---------------------------------------------------------------------------------------------------------


def test_replay_and_profile_stand_side_by_side() -> None:
    profile = ModuleProfile(
        op_s={"conv": 300e-6, "act": 40e-6, "new": 1e-3}, ops={"conv": 1, "act": 1, "new": 1}, whole_s=2e-3
    )
    conv, act, gone, new = both_ways({"conv": [100e-6, 50e-6], "act": [5e-6], "gone": [1e-6]}, profile, 1e-3)
    # the profiler made the whole take twice as long, so its times count half
    assert (conv.path, conv.ops, conv.profiled_ops, conv.profiled_s) == ("conv", 2, 1, 300e-6)
    assert (conv.replay_s, conv.scaled_s) == pytest.approx((150e-6, 150e-6))
    assert conv.ratio == pytest.approx(1.0)
    assert conv.agrees is True
    assert act.ratio == pytest.approx(4.0)
    assert act.agrees is None  # a profiler cannot time 40 us
    assert (gone.ratio, gone.agrees) == (None, None)
    assert (new.ops, new.replay_s, new.ratio, new.agrees) == (0, 0, None, None)


@pytest.mark.parametrize(("scaled_s", "agrees"), [(0.84e-3, False), (0.86e-3, True), (1.14e-3, True), (1.16e-3, False)])
def test_the_two_ways_agree_within_15_percent(scaled_s: float, agrees: bool) -> None:
    both = ModuleTime(path="", ops=1, replay_s=1e-3, profiled_ops=1, profiled_s=scaled_s, scaled_s=scaled_s)
    assert both.agrees is agrees


def test_disagreements_are_named_the_largest_first() -> None:
    found = measured(nn.Sequential(Takes(1.0), Takes(2.0), Takes(1.0)))
    assert [module.path for module in found.modules] == ["0", "1", "2"]
    assert [module.replay_s for module in found.modules] == [1.0, 2.0, 1.0]
    assert found.profiled_whole_s is None
    assert found.disagreements() == ()
    read = {"0": 1.5, "1": 2.1, "2": 3.0}
    profile = ModuleProfile(op_s=read, ops=dict.fromkeys(read, 1), whole_s=found.whole.median)
    modules = both_ways({"0": [1.0], "1": [2.0], "2": [1.0]}, profile, found.whole.median)
    disagreeing = LayerTimes(**{name: getattr(found, name) for name in found.__slots__} | {"modules": modules})
    assert [module.path for module in disagreeing.disagreements()] == ["2", "0"]
    assert disagreeing.to_dict()["disagreements"] == ["2", "0"]


def test_the_profile_is_of_the_modules_of_the_table() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Flatten()))
    found = layer_times(net, torch.ones(1, 3, 8, 8), rounds=1, warm_up=0, profiled_rounds=1)
    assert [(module.path, module.ops, module.profiled_ops) for module in found.modules] == [
        ("0", 1, 1), ("1", 1, 1), ("2.0", 1, 1), ("2.1", 1, 1)
    ]  # fmt: skip
    assert found.profiled_whole_s is not None


# --- as plain data ----------------------------------------------------------------------------------------------------


def test_as_plain_data() -> None:
    found = measured(nn.Sequential(Takes(1.0), nn.Flatten(), Takes(0.5)))
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["schema"] == "roofline/layer_times/1"
    assert data["device"] == "cpu"
    assert data["rows"][0] == {
        "name": "0", "kind": "other", "ops": "timed::work", "latency_s": 1.0, "ci95_s": [1.0, 1.0]
    }  # fmt: skip
    assert data["whole_s"]["median"] == data["layers_s"]["median"] == 1.5
    assert data["gap"]["unexplained_share"] == 0
    assert data["modules"][2]["path"] == "2"
    with pytest.raises(ValueError, match="read-only"):
        found.latency_s[0] = 0.0


# --- what it leaves ---------------------------------------------------------------------------------------------------


def test_the_model_its_inputs_and_torch_are_left_as_they_were() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        net.count += 1
        net.steps.add_(1)
        net.seen.append(x)
        net.fc.weight.data = net.fc.weight.data * 1
        x.mul_(2)
        return net.fc(net.drop(x)) + torch.rand(3)

    net: Any = Net(forward, fc=nn.Linear(12, 3), drop=nn.Dropout(), steps=torch.zeros(1))
    net.count, net.seen = 0, []
    net.train()
    net.drop.eval()
    weight, bias = net.fc.weight, net.fc.weight.detach().clone()
    net.fc.weight.grad = torch.ones_like(weight)
    x, state = X.clone(), torch.get_rng_state()
    assert gc.isenabled()
    assert torch.backends.mha.get_fastpath_enabled()

    layer_times(net, x, clock=CLOCK, rounds=2, warm_up=1, profiled_rounds=1)
    assert torch.equal(x, X)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.count == 0
    assert net.seen == []
    assert net.steps.item() == 0
    assert (net.training, net.fc.training, net.drop.training) == (True, True, False)
    assert net.fc.weight is weight
    assert torch.equal(weight, bias)
    assert weight.requires_grad
    assert weight.grad is not None
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
    assert gc.isenabled()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_a_network_keeps_in_a_buffer_is_the_same_in_each_run() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        net.cache[net.at] = x[0, 0]  # would be out of range the third time
        net.at.add_(1)
        return net.cache * 1

    net: Any = Net(forward, cache=torch.zeros(2), at=torch.zeros(1, dtype=torch.int64))
    found = measured(net, rounds=6)
    assert not np.isnan(found.latency_s).any()
    assert net.at.item() == 0


def test_a_compiled_module_is_timed_as_it_runs_without() -> None:
    def compiled(*_: Any) -> None:
        raise AssertionError("what compile() made is not to run")

    net = nn.Sequential(Takes(1.0))
    net._compiled_call_impl = compiled
    assert times(measured(net)) == {"0": 1.0}
    assert net._compiled_call_impl is compiled


# --- networks of all kinds --------------------------------------------------------------------------------------------


def _needs_values(_: Any, x: Tensor) -> Tensor:
    noise = torch.rand(4) + F.dropout(x[0, :4], 0.5)
    return torch.bernoulli(torch.full((4,), 0.5)) * noise


class Doubles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2


def _checkpointed(net: Any, x: Tensor) -> Any:
    y = torch.utils.checkpoint.checkpoint(net.part, x.detach(), use_reentrant=False)
    return Doubles.apply(y)  # type: ignore[no-untyped-call]


NETS = {
    "attention": (nn.TransformerEncoderLayer(12, 3, 8, batch_first=True), torch.ones(1, 2, 12)),
    "multi-head attention": (nn.MultiheadAttention(12, 3), (torch.ones(2, 1, 12),) * 3),
    "lstm": (nn.LSTM(12, 5, batch_first=True), torch.ones(1, 2, 12)),
    "embedding": (nn.Embedding(9, 4), torch.tensor([[1, 2, 8]])),
    "random": (Net(_needs_values), X),
    "checkpoint": (Net(_checkpointed, part=nn.Linear(12, 3)), X),
    "made in forward": (Net(lambda _, x: nn.Sequential(nn.ReLU(), nn.Tanh())(x)), X),
    "named inputs": (Net(lambda _, x, scale: x * scale), {"x": X, "scale": torch.ones(12)}),
    "no ops": (nn.Identity(), X),
    "double": (nn.Linear(12, 3, dtype=torch.float64), X.double()),
    "half": (nn.Linear(12, 3, dtype=torch.bfloat16), X.bfloat16()),
}


@pytest.mark.parametrize("name", NETS)
def test_networks_of_all_kinds_have_a_time_in_each_row(name: str) -> None:
    net, inputs = NETS[name]
    found = measured(net, inputs, rounds=1, warm_up=0)
    assert found.notes == ()
    assert len(found.latency_s) == len(lower(trace(net, inputs)))
    assert not np.isnan(found.latency_s).any()
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_network_of_the_zoo() -> None:
    net = models.find("mobilenetv4_conv_small").build()
    found = measured(net, torch.randn(1, 3, 64, 64), rounds=1, warm_up=0)
    assert found.notes == ()
    assert found.layers.name.tolist() == lower(trace(net, torch.ones(1, 3, 64, 64))).name.tolist()
    assert found.gap.module_calls == 225
    assert net.training


def test_a_reference_is_built_with_weights() -> None:
    found = layer_times_of(
        "mobilenetv1_025", input_size=(3, 64, 64), clock=CLOCK, rounds=1, warm_up=0, profiled_rounds=0
    )
    assert not np.isnan(found.latency_s).any()
    assert found.layers.dtype == "fp32"


def test_a_network_that_does_something_else_on_its_device_says_so() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        x = work(x, 0.5)
        x = x.relu() if x.is_meta else x.sigmoid().tanh()
        return work(x, 0.25)

    found = measured(Net(forward))
    assert times(found) == {"timed::work": 0.5, "relu": pytest.approx(float("nan"), nan_ok=True), "timed::work#2": 0.25}
    assert found.notes == (
        "1 layers did not run here as they were traced, and have no time: relu",
        "2 ops ran here that were not traced; their time is among that of the free ops",
    )
    assert found.to_dict()["rows"][1]["latency_s"] is None
    assert found.to_dict()["rows"][1]["ci95_s"] == [None, None]


def test_ops_are_aligned_where_they_are_the_same() -> None:
    assert align(["a", "b", "a"], ["a", "b", "a"]) == [0, 1, 2]
    assert align(["a", "b", "c"], ["a", "x", "b", "c"]) == [0, 2, 3]
    assert align(["a", "b", "c"], ["a", "c"]) == [0, None, 1]
    assert align([], ["a"]) == []


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warm_up": -1}, {"profiled_rounds": -1}])
def test_rounds_that_make_no_sense_are_an_error(options: dict[str, int]) -> None:
    with pytest.raises(MeasurementError, match=r"^layers are timed in at least 1 round"):
        measured(Takes(1.0), **options)


@pytest.mark.parametrize("on_meta", ["weights", "input"])
def test_without_data_there_is_nothing_to_time(on_meta: str) -> None:
    net = nn.Linear(12, 3, device="meta" if on_meta == "weights" else None)
    with pytest.raises(MeasurementError, match=r"^Linear or its input is on the meta device .*: put it on the CPU$"):
        measured(net, X if on_meta == "weights" else X.to("meta"))


def test_a_model_that_cannot_run_here_is_one_line_and_left_as_it_was() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        net.steps.add_(1)
        return no_kernel(x)

    net: Any = Net(forward, steps=torch.zeros(1)).train()
    with pytest.raises(MeasurementError, match=r"^Net does not run on cpu: NotImplementedError: ") as raised:
        measured(net)
    assert "\n" not in str(raised.value)
    assert net.steps.item() == 0
    assert net.training
    assert gc.isenabled()


def test_a_model_that_cannot_be_traced_is_an_error_of_tracing() -> None:
    with pytest.raises(TraceError, match="needs numbers where only shapes are known"):
        measured(Net(lambda _, x: x if x.sum() > 0 else -x))


def test_a_model_that_needs_gradients_is_one_line() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            return torch.autograd.grad((x * x).sum(), x)[0]

    with pytest.raises(
        TraceError, match=r"^Net fails on input 2x12: it takes gradients, and the forward is traced without"
    ) as raised:
        measured(Net(forward))
    assert "\n" not in str(raised.value)


def test_an_unknown_reference_is_one_line() -> None:
    with pytest.raises(RooflineError, match="mobilenet_v9"):
        layer_times_of("mobilenet_v9", clock=CLOCK)


def test_ctrl_c_leaves_all_as_it_was() -> None:
    def stop(number: int, _: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    def forward(net: Any, x: Tensor) -> Any:
        net.steps.add_(1)
        return work(x, 1.0)

    net: Any = Net(forward, steps=torch.zeros(1)).train()
    with pytest.raises(KeyboardInterrupt):
        measured(net, progress=stop)
    assert net.steps.item() == 0
    assert net.training
    assert gc.isenabled()


def test_the_chain_does_the_same_as_functions_and_as_modules() -> None:
    functions, modules = per_layer._chains(torch.device("cpu"))
    with torch.inference_mode():
        one, other = functions(), modules()
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    assert torch.equal(one, other)

"""Recordings: run again, they give what the network gives, take what its ops take, and leave all as it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline import models
from roofline.measurement.cuda import EventStopwatch
from roofline.measurement.replay import (
    ClockStopwatch,
    Recording,
    own_cost_s,
    record,
    replay,
    use_bindings,
)
from roofline.surroundings import without_mha_fast_path
from roofline.trace import trace
from tests.measurement.timed_ops import CLOCK, Net, PaperGpu, StillClock, Takes, halves, work, work_

X = torch.arange(24.0).reshape(2, 12)


@pytest.fixture(autouse=True)
def clock() -> Iterator[StillClock]:
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield CLOCK.reset()


def recorded(net: Callable[..., object], *inputs: Any) -> Recording:
    recording = record(lambda: net(*inputs))
    recording.restore()
    return recording


def step_times(recording: Recording) -> list[float]:
    return replay(recording, ClockStopwatch(CLOCK)).step_s


def assert_same(ours: Any, theirs: Any) -> None:
    flat = [theirs] if isinstance(theirs, Tensor) else list(theirs)
    assert len(ours) == len(flat)
    assert all(torch.equal(one, other) for one, other in zip(ours, flat, strict=True))


# --- what a replay gives ----------------------------------------------------------------------------------------------


class Doubles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2


def _scaled(net: Any, x: Tensor) -> Any:
    with torch.no_grad(), torch.enable_grad():
        doubled = Doubles.apply(x.detach().requires_grad_(False))  # type: ignore[no-untyped-call]
        return doubled + net.scale.data


def _writes_into_parts(net: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :6] += x[:, 6:]
    y[:, 0] = 3.0
    torch.add(x, 1.0, out=y[:, :12])
    return y.relu_().mul_(2)


def _by_lists(net: Any, x: Tensor) -> tuple[Tensor, ...]:
    parts = [part.clone() for part in x.chunk(3, 1)]
    torch._foreach_add_(parts, 1.0)
    return torch._foreach_mul(parts, 2.0)


def _random(net: Any, x: Tensor) -> Tensor:
    noise = F.dropout(x, 0.5) + torch.rand_like(x) + torch.randn(12)
    return noise[torch.rand(2) > -1].cumsum(1)


def _on_the_host(net: Any, x: Tensor) -> Tensor:
    y = x[x > 5].reshape(-1)
    return y * float(x.max()) if x.sum() > 0 else y


NETS = {
    "conv": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(2)), torch.ones(1, 3, 8, 8)),
    "channels_last": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        torch.ones(1, 3, 8, 8).contiguous(memory_format=torch.channels_last),
    ),
    "attention": (nn.TransformerEncoderLayer(12, 3, 8, batch_first=True), torch.ones(1, 2, 12)),
    "lstm": (nn.LSTM(12, 5, num_layers=2, batch_first=True), torch.ones(1, 2, 12)),
    "embedding": (nn.Sequential(nn.Embedding(9, 4, max_norm=1.0), nn.Linear(4, 2)), torch.tensor([[1, 2, 8]])),
    "autograd function": (Net(_scaled, scale=nn.Parameter(torch.ones(12))), X),
    "views": (Net(lambda _, x: x.view(4, 6).t().unsqueeze(0)[..., :2].expand(3, -1, -1)), X),
    "several outputs": (Net(lambda _, x: (*x.max(1), *x.chunk(2, 1), *torch.var_mean(x), *halves(x, 1.0))), X),
    "writes into parts": (Net(_writes_into_parts), X),
    "lists": (Net(_by_lists), X),
    "random": (Net(_random), X),
    "on the host": (Net(_on_the_host), X),
    "sparse": (Net(lambda _, x: torch.sparse.mm(x.to_sparse(), x.t()).relu()), X),
    "returns its input": (Net(lambda _, x: (x, x + 1, x)), X),
    "complex": (Net(lambda _, x: torch.fft.rfft(x).abs()), X),
    "norm": (Net(lambda _, x: F.layer_norm(torch.linalg.vector_norm(x, dim=1), (2,)) + torch.special.erf(x[0, 0])), X),
}


@pytest.mark.parametrize("name", NETS)
def test_a_replay_gives_what_the_network_gives(name: str) -> None:
    net, x = NETS[name]
    net.eval()
    with without_mha_fast_path():
        state = torch.get_rng_state()
        expected = net(x)
        torch.set_rng_state(state)
        recording = recorded(net, x)
        flat = torch.utils._pytree.tree_leaves(expected)
        assert_same(replay(recording, ClockStopwatch(CLOCK)).results, flat)
        use_bindings(recording)
        for _ in range(2):
            assert_same(replay(recording, ClockStopwatch(CLOCK)).results, flat)


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "rexnet_090", "micronet_m0", "fastvit_t8"])
def test_networks_of_the_zoo_run_the_ops_that_were_traced_and_give_what_they_give(name: str) -> None:
    net, x = models.find(name).build().eval(), torch.randn(1, 3, 64, 64)
    recording = recorded(net, x)
    assert [step.target for step in recording.steps] == [op.target for op in trace(net, x).ops]
    use_bindings(recording)
    assert_same(replay(recording, ClockStopwatch(CLOCK)).results, net(x))


def test_strides_are_those_of_the_network() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    x = torch.ones(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    (result,) = replay(recorded(net, x), ClockStopwatch(CLOCK)).results
    assert result.stride() == net(x).stride() == (64, 1, 16, 4)


# --- what it takes ----------------------------------------------------------------------------------------------------


def test_each_step_is_timed() -> None:
    net = Net(lambda net, x: net.b(work_(net.a(x), 0.25).t()), a=Takes(1.0), b=Takes(2.0))
    recording = recorded(net, X)
    assert [step.target for step in recording.steps] == [
        "timed.work.default", "timed.work_.default", "aten.t.default", "timed.work.default"
    ]  # fmt: skip
    assert step_times(recording) == [1.0, 0.25, 0.0, 2.0]


def test_what_reading_the_clock_takes_is_taken_off(clock: StillClock) -> None:
    recording = recorded(Net(lambda _, x: work(x + 1, 2.0)), X)
    clock.tick_s = 0.125
    stopwatch = ClockStopwatch(clock)
    assert step_times(recording) == [0.125, 2.125]
    own_s = own_cost_s(stopwatch)
    assert own_s == 0.125
    assert replay(recording, stopwatch, own_cost_s=own_s).step_s == [0.0, 2.0]
    assert replay(recording, stopwatch, own_cost_s=1.0).step_s == [0.0, 1.125]  # never less than nothing


def test_steps_call_what_python_code_calls_where_that_runs_the_same_op() -> None:
    net = Net(lambda net, x: net.fc(x[:, :4]).add_(1.0).relu() * 2, fc=nn.Linear(4, 3))
    recording = recorded(net, X)
    use_bindings(recording)
    calls = {step.target: step.call for step in recording.steps}
    assert calls["aten.linear.default"] is torch._C._nn.linear
    assert calls["aten.relu.default"] is torch._C._VariableFunctions.relu
    assert isinstance(calls["aten.slice.Tensor"], torch._ops.OpOverload)  # what indexing runs has no name in Python


def test_a_binding_that_runs_another_op_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = recorded(Net(lambda _, x: x.relu()), X)
    monkeypatch.setattr("roofline.measurement.replay._bindings", lambda func: [torch.sigmoid, torch.add])
    use_bindings(recording)
    assert recording.steps[0].call is torch.ops.aten.relu.default
    assert_same(replay(recording, ClockStopwatch(CLOCK)).results, X.relu())


def test_kernels_are_timed_by_events_without_what_the_host_takes() -> None:
    gpu = PaperGpu(CLOCK)
    recording = recorded(Net(lambda _, x: x.relu().sigmoid().tanh()), X)
    for step, kernel_s in zip(recording.steps, (1e-6, 80e-6, 3e-6), strict=True):

        def launch(x: Tensor, kernel_s: float = kernel_s) -> Tensor:
            gpu.launch(kernel_s)
            return x

        step.call = launch
    stopwatch = EventStopwatch(gpu)
    own_s = own_cost_s(stopwatch)
    assert replay(recording, stopwatch, own_cost_s=own_s).step_s == pytest.approx([1e-6, 80e-6, 3e-6])


def test_calls_of_modules_are_counted() -> None:
    part = Takes(1.0)
    net = nn.Sequential(part, nn.Identity(), nn.Sequential(part, nn.Sequential()))
    assert recorded(net, X).module_calls == 6  # the shared part twice


# --- what it leaves ---------------------------------------------------------------------------------------------------


def test_activations_are_freed_as_ever_while_recording_and_replaying() -> None:
    seen: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def forward(_: Any, x: Tensor) -> Tensor:
        for _ in range(4):
            x = x + 1
            seen.append(weakref.ref(x))
            alive.append(sum(ref() is not None for ref in seen))
        return x

    recording = recorded(Net(forward), X)
    assert alive == [1, 1, 1, 1]
    gc.collect()
    assert sum(ref() is not None for ref in seen) == 0
    assert [step.last for step in recording.steps] == [(), *[step.outputs for step in recording.steps[:-1]]]


def test_weights_are_not_copied() -> None:
    net = nn.Linear(12, 3)
    recording = recorded(net, X)
    assert any(given is net.weight for given in recording.given.values())
    assert not recording.saved


def test_what_the_network_writes_into_is_put_back() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        net.steps.add_(1)
        net.cache[:, 2:4] = x[:, :2]
        x.mul_(2)
        return net.cache.sum() + x + net.steps

    x, steps, cache = X.clone(), torch.zeros(1), torch.ones(2, 5)
    net = Net(forward, steps=steps, cache=cache)
    expected = net(x)
    x.copy_(X), steps.zero_(), cache.fill_(1.0)
    recording = record(lambda: net(x))
    assert steps.item() == 1
    recording.restore()
    for _ in range(3):
        assert_same(replay(recording, ClockStopwatch(CLOCK)).results, expected)
    use_bindings(recording)
    assert torch.equal(x, X)
    assert steps.item() == 0
    assert torch.equal(cache, torch.ones(2, 5))


def test_statistics_that_a_norm_updates_without_saying_so_are_put_back() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        first = F.batch_norm(x, net.mean, net.var, training=True)
        return F.instance_norm(first[..., None], net.mean, net.var, use_input_stats=True)

    mean, var = torch.zeros(12), torch.ones(12)
    net = Net(forward, mean=mean, var=var)
    x = torch.randn(2, 12, 3)
    recording = record(lambda: net(x))
    assert not torch.equal(mean, torch.zeros(12))
    recording.restore()
    step_times(recording)
    assert torch.equal(mean, torch.zeros(12))
    assert torch.equal(var, torch.ones(12))


def test_a_failing_pass_is_put_back_too() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        net.steps.add_(1)
        raise RuntimeError("no")

    steps = torch.zeros(1)
    net = Net(forward, steps=steps)
    with pytest.raises(RuntimeError, match="no"):
        record(lambda: net(X))
    assert steps.item() == 0
    assert not nn.modules.module._global_forward_pre_hooks


def test_a_replay_draws_the_same_numbers_each_time() -> None:
    recording = recorded(Net(lambda _, x: torch.rand_like(x)), X)
    first = replay(recording, ClockStopwatch(CLOCK)).results
    torch.rand(3)
    assert_same(replay(recording, ClockStopwatch(CLOCK)).results, first)

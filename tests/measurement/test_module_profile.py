"""Which module an op is of, by the scopes around it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function

from roofline.measurement.module_profile import SCOPE, module_scopes, op_times_by_scope, profile_modules
from tests.measurement.timed_ops import Net

X = torch.ones(2, 4)


@dataclass
class Event:
    """What is used of ``torch.autograd.profiler_util.FunctionEvent``."""

    name: str
    us: float
    cpu_parent: Event | None = None
    device_time_total: float = 0.0

    @property
    def time_range(self) -> Any:
        return SimpleNamespace(elapsed_us=lambda: self.us)


def test_an_op_is_of_the_innermost_scope_and_what_it_calls_is_a_part_of_it() -> None:
    root = Event(SCOPE, 100)
    layer = Event(f"{SCOPE}a.conv", 50, root)
    conv = Event("aten::conv2d", 40, layer, device_time_total=7)
    inner = Event("aten::convolution", 38, conv, device_time_total=7)
    scope_of_users = Event("my block", 30, root)
    add = Event("aten::add", 20, scope_of_users, device_time_total=3)
    custom = Event("mylib::op", 5, root, device_time_total=1)
    outside = Event("aten::ones", 9)
    events = [root, layer, conv, inner, scope_of_users, add, custom, outside]
    assert op_times_by_scope(events) == {"a.conv": [40e-6], "": [20e-6, 5e-6]}
    assert op_times_by_scope(events, on_cuda=True) == {"a.conv": [7e-6], "": [3e-6, 1e-6]}


def test_the_ops_of_the_profiler_are_none() -> None:
    root = Event(SCOPE, 100)
    assert op_times_by_scope([root, Event("profiler::_record_function_enter_new", 1, root)]) == {}


def shared_parts() -> nn.Module:
    part = nn.Linear(4, 4)
    return nn.ModuleDict({"left": nn.Sequential(part), "right": nn.Sequential(part, nn.ReLU())})


def _run_both(net: Any, x: Tensor) -> Any:
    with record_function("my block"):
        return net.parts["right"](net.parts["left"](x)) + nn.Sigmoid()(x)


def test_a_profile_names_modules_by_the_paths_that_run() -> None:
    net = Net(_run_both, parts=shared_parts())
    runs = []

    def run() -> float:
        net(X)
        runs.append(1)
        return float(len(runs))

    found = profile_modules(net, run, rounds=3)
    assert found.ops == {"parts.left.0": 1, "parts.right.0": 1, "parts.right.1": 1, "Sigmoid": 1, "": 1}
    assert found.op_s.keys() == found.ops.keys()
    assert all(time_s >= 0 for time_s in found.op_s.values())
    assert found.whole_s == 2.0  # the median of 1, 2 and 3


def test_profiling_leaves_no_hook_and_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    profile_modules(net, lambda: float(net(X).shape[0]), rounds=1)
    tables = (nn.modules.module._global_forward_pre_hooks, nn.modules.module._global_forward_hooks)
    assert not any(tables)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert capfd.readouterr() == ("", "")


def test_scopes_close_when_a_module_fails() -> None:
    def fails(net: Any, x: Tensor) -> None:
        raise RuntimeError("no")

    net = nn.Sequential(Net(fails))
    with module_scopes(net), pytest.raises(RuntimeError, match="no"):
        net(X)
    with module_scopes(net), pytest.raises(RuntimeError, match="no"):  # and open again
        net(X)
    assert not nn.modules.module._global_forward_hooks

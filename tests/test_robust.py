"""Whatever a network does: counts as by hand, or one line that says what could not be followed, and where.

Either way the network, its tensors and the generators of random numbers are as they were. What a trace records in
detail is tested in test_trace.py; here are the habits of networks as people write them.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roofline.errors import TraceError
from roofline.layers import LayerTable, lower
from roofline.trace import trace

LINEAR = 2 * 8 * 8  # MACs of the layer below on the input below
X = torch.linspace(-1, 1, 16).reshape(2, 8)


class Net(nn.Module):
    """A linear layer and a batch norm, and whatever `run` does with them: ``run(self, *inputs)``."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.run(self, *inputs)


def everything(model: nn.Module) -> list[object]:
    """What a user could find changed: every entry of every module and hook table, every tensor, every generator."""
    found: list[object] = [
        torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state()),  # noqa: NPY002
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.tensor, torch.cuda._lazy_init, nn.Module.__call__,
    ]  # fmt: skip
    for path, module in model.named_modules():
        for key, item in vars(module).items():
            contents = tuple(item.items()) if isinstance(item, dict) else item
            found.append((path, key, id(item), repr(contents) if key.endswith("hooks") else module.training))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        values = (tensor.to_dense() if tensor.layout is not torch.strided else tensor).detach().tolist()
        found.append((name, id(tensor), tensor.dtype, tensor.device, tensor.requires_grad, tensor.grad, values))
    return found


def followed(model: nn.Module, *inputs: Any) -> LayerTable:
    before, given = everything(model), [item.clone() for item in inputs]
    layers = lower(trace(model, inputs))
    assert everything(model) == before
    assert all(same(a, b) for a, b in zip(inputs, given, strict=True))
    return layers


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(*(item if item.layout is torch.strided else item.to_dense() for item in (a, b)))


# --- what is followed -------------------------------------------------------------------------------------------------


def with_hooks() -> nn.Module:
    """They change what goes in and what comes out, by a product of their own."""
    net = Net(lambda self, x: self.linear(x))
    net.linear.register_forward_pre_hook(lambda _, args: (args[0] @ torch.ones(8, 8),))
    net.linear.register_forward_pre_hook(lambda _, args, kwargs: (args, kwargs), with_kwargs=True)
    net.linear.register_forward_hook(lambda _, __, out: out @ torch.ones(8, 8))
    net.linear.register_forward_hook(lambda *_: None, always_call=True)
    net.linear.register_full_backward_hook(lambda *_: None)
    net.linear.register_full_backward_pre_hook(lambda *_: None)
    return net


def counts_its_calls(self: Any, x: Tensor) -> Any:
    """Buffers that are made, filled and replaced in forward."""
    if not hasattr(self, "cache"):
        self.register_buffer("cache", x @ x.t(), persistent=False)
    self.mask = torch.tril(torch.ones(2, 2, device=x.device))
    self.norm.num_batches_tracked += 1
    return (self.cache * self.mask) @ self.linear(x)


def by_shapes(self: Any, x: Tensor) -> Any:
    """A loop, a branch, a while, a recursion, a try, over what shapes and constants say."""
    for _ in range(x.shape[0]):
        x = self.linear(x) if x.shape[-1] == 8 and int(self.times) == 2 else x
    while x.dim() < 4:
        x = x[None]
    return by_shapes(self, x[0, 0]) if x.shape[0] > 1 else x


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


def draws(self: Any, x: Tensor) -> Any:
    """From all three generators, as stochastic depth and noise do."""
    noise = random.random() + np.random.rand() + torch.rand(8)  # noqa: NPY002
    if random.random() < 2:
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
    return F.dropout(self.linear(x + noise), training=True)


def on_cuda(self: Any, x: Tensor) -> Any:
    """As on a machine that has one; here there may be none."""
    x = x.cuda() + torch.zeros(8, device="cuda") + x.new_ones(8, device=torch.device("cuda", 0))
    x = x.to("cuda:0", non_blocking=True) * torch.tensor([2.0], device="cuda")
    keep = int(torch.arange(9, device="cuda")[-1])
    return self.linear.cuda()(x[:, :keep]) + self.shift.to(device="cuda").cpu().to(x.device)


def under_a_device(self: Any, x: Tensor) -> Any:
    with torch.device("cuda"), torch.autocast(x.device.type, dtype=torch.bfloat16):
        return self.linear(x) * torch.ones(8)


def talks(self: Any, x: Tensor) -> Any:
    print("run", x, f"{x.shape} {x}", x.sum(), self.linear, x.device)
    return self.linear(x)


library: Any = torch.library.Library("roofline_robust", "DEF")  # type: ignore[no-untyped-call]
for operator, kernel in (("double", lambda x: x * 2), ("abstract", None), ("entries", lambda x: x.nonzero())):
    library.define(f"{operator}(Tensor x) -> Tensor")
    if kernel is not None:
        library.impl(operator, kernel, "CPU")

WAVES = torch.ones(8, 5, dtype=torch.complex64)
ADJACENT = torch.tensor([[0.0, 3.0], [0.0, 0.0]])  # one edge

FOLLOWED: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], int]] = {
    "hooks of its own": (with_hooks, (X,), 3 * LINEAR),
    "weight norm": (
        lambda: Net(lambda self, x: self.part(x), part=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))),
        (X,),
        LINEAR,
    ),
    "buffers made in forward": (lambda: Net(counts_its_calls), (X,), 2 * 2 * 8 + LINEAR + 2 * 2 * 8),
    "control flow over shapes and constants": (lambda: Net(by_shapes, times=torch.tensor(2)), (X,), 2 * LINEAR),
    "a function of its own for autograd": (
        lambda: Net(lambda self, x: Doubled.apply(x, self.linear.weight)),  # type: ignore[no-untyped-call]
        (X,),
        LINEAR,
    ),
    "gradients in forward": (lambda: Net(lambda self, x: self.linear(x.requires_grad_().detach())), (X,), LINEAR),
    "an operator without shapes of its own": (
        lambda: Net(lambda self, x: self.linear(torch.ops.roofline_robust.double(x))), (X,), LINEAR,
    ),
    "complex numbers": (
        lambda: Net(lambda self, x: torch.fft.irfft(torch.fft.rfft(self.linear(x)) * self.waves[0], n=8), waves=WAVES),
        (X,),
        LINEAR,
    ),
    "a product of complex numbers": (
        lambda: Net(lambda self, x: torch.complex(x, x) @ self.waves, waves=WAVES), (X,), 4 * 2 * 8 * 5,
    ),
    "a sparse buffer": (lambda: Net(lambda self, x: self.a @ self.linear(x), a=ADJACENT.to_sparse()), (X,), LINEAR + 8),
    "a sparse buffer, by rows": (
        lambda: Net(lambda self, x: self.a @ self.linear(x), a=ADJACENT.to_sparse_csr()), (X,), LINEAR + 8,
    ),
    "a sparse input": (lambda: Net(lambda _, a, x: a @ x), (ADJACENT.to_sparse(), X), 8),
    "fake quantisation": (
        lambda: Net(lambda self, x: self.linear(torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127))),
        (X,),
        LINEAR,
    ),
    "integers": (
        lambda: Net(
            lambda self, x: torch._int_mm(x.to(torch.int8).repeat(16, 1), self.w), w=torch.ones(8, 8, dtype=torch.int8)
        ),
        (X,),
        32 * 8 * 8,
    ),
    "random numbers": (lambda: Net(draws), (X,), LINEAR),
    "devices in forward": (lambda: Net(on_cuda, shift=torch.ones(8)), (X,), LINEAR),
    "a device around it": (lambda: Net(under_a_device), (X,), LINEAR),
    "a print per call": (lambda: Net(talks), (X,), LINEAR),
    "vmap": (lambda: Net(lambda self, x: torch.vmap(self.linear)(x)), (X,), LINEAR),
    "other weights for a call": (
        lambda: Net(
            lambda self, x: torch.func.functional_call(self.linear, {"weight": self.linear.weight * 2}, (x,))
        ),
        (X,),
        LINEAR,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse")  # torch calls some layouts of them young
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("habit", FOLLOWED)
def test_it_is_counted_and_left_as_it_was(habit: str, training: bool) -> None:
    build, inputs, macs = FOLLOWED[habit]
    assert followed(build().train(training), *inputs).macs.sum() == macs


def test_an_operator_that_nobody_has_a_rule_for_is_named() -> None:
    net = Net(lambda self, x: self.linear(torch.ops.roofline_robust.double(x)))
    (unknown,) = followed(net, X).uncounted_ops
    assert (unknown.name, unknown.mem_bytes) == ("roofline_robust::double", 2 * 16 * 4)


def test_it_prints_as_often_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    trace(Net(talks), X)
    assert capsys.readouterr().out.count("run tensor(") == 1


def test_a_model_that_another_thread_runs_meanwhile_is_none_of_ours() -> None:
    other, started, done = nn.Linear(3, 3), threading.Event(), threading.Event()
    results: list[Tensor] = []

    def work() -> None:
        started.wait()
        results.append(other(torch.ones(1, 3)))
        done.set()

    def run(self: Any, x: Tensor) -> Any:
        started.set()
        done.wait()
        return self.linear(x)

    worker = threading.Thread(target=work)
    worker.start()
    layers = followed(Net(run), X)
    worker.join()
    assert layers.name.tolist() == ["linear"]
    assert results[0].shape == (1, 3)


# --- what is not ------------------------------------------------------------------------------------------------------


def in_a_pool(self: Any, x: Tensor) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(self.linear, x).result()


def in_a_pool_and_silent(self: Any, x: Tensor) -> Any:
    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(self.linear, x).exception()
        return x if failed else None


def endless(self: Any, x: Tensor) -> Any:
    return endless(self, x)


def leaves(self: Any, x: Tensor) -> Any:
    raise SystemExit(3)


DATA = "depends on data values"
REFUSED: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...], str]] = {
    "the places that are not zero": (lambda self, x: self.linear(x)[x.nonzero()[:, 0]], (X,), DATA),
    "a mask": (lambda self, x: self.linear(x)[x > 0], (X,), DATA),
    "a number": (lambda self, x: self.linear(x) * x.sum().item(), (X,), DATA),
    "a branch": (lambda self, x: self.linear(x) if x.sum() > 0 else x, (X,), DATA),
    "a loop": (lambda self, x: [self.linear(x) for _ in range(int(x.argmax()))], (X,), DATA),
    "a dispatch to experts": (lambda self, x: [self.linear(x[x[:, 0] == e]) for e in range(2)], (X,), DATA),
    "a print of a number": (lambda self, x: (print(f"{x.mean():.3f}"), self.linear(x)), (X,), DATA),
    "a table of numbers": (lambda self, x: self.linear(x).detach().cpu().numpy(), (X,), DATA),
    "entries that are not zero": (lambda self, x: self.linear(x).to_sparse(), (X,), DATA),
    "quantised activations": (lambda self, x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), (X,), "quantised"),
    "an operator without kernels": (
        lambda self, x: torch.ops.roofline_robust.abstract(x), (X,), r"roofline_robust::abstract' has no kernel .*fake",
    ),
    "another thread": (in_a_pool, (X,), r"layer 'linear' runs in another thread"),
    "another thread that says nothing": (in_a_pool_and_silent, (X,), r"layer 'linear' runs in another thread"),
    "a recursion without end": (endless, (X,), "RecursionError"),
    "leaving": (leaves, (X,), "SystemExit: 3"),
    "a device that is asked": (lambda self, x: x * torch.cuda.current_device(), (X,), "CUDA|cuda"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # it is on its way out of torch
@pytest.mark.parametrize("habit", REFUSED)
def test_it_is_said_what_and_where_and_nothing_is_changed(habit: str) -> None:
    if habit == "a device that is asked" and torch.cuda.is_available():
        pytest.skip("there is one")
    run, inputs, expected = REFUSED[habit]
    net = Net(run)
    before = everything(net)
    with pytest.raises(TraceError, match=expected) as caught:
        trace(net, inputs)
    assert everything(net) == before
    message = str(caught.value)
    assert "\n" not in message
    if "thread" not in habit:
        assert re.search(rf"{re.escape(Path(__file__).name)}:\d+", message), "the line of the user's code"


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_weights_and_inputs_are_named() -> None:
    quantised = torch.quantize_per_tensor(X, 0.1, 0, torch.quint8)
    with pytest.raises(TraceError, match=r"^an input, of quint8, is a quantised tensor, .*: take the network before"):
        trace(Net(lambda self, x: self.linear(x.dequantize())), quantised)
    with pytest.raises(TraceError, match=r"^buffer 'table', of quint8, is a quantised tensor"):
        trace(Net(lambda self, x: self.linear(x) + self.table.dequantize(), table=quantised), X)
    with pytest.raises(TraceError, match=r"a constant, of quint8, is a quantised tensor.* \(.*test_robust.py:\d+\)"):
        trace(Net(lambda self, x: self.linear(x) + quantised.dequantize()), X)

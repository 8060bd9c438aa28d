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


def test_devices_are_torchs_own_afterwards() -> None:
    """torch lists once, at the first need, the functions that a device context is about."""
    torch.utils._device._device_constructors.cache_clear()
    trace(Net(under_a_device), X)
    with torch.device("meta"):
        assert torch.tensor(0).is_meta


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


# --- what a model hides -----------------------------------------------------------------------------------------------


@torch.library.custom_op("roofline_robust::modern", mutates_args=())
def modern(x: Tensor) -> Tensor:
    """Without a kernel for shapes."""
    return x * 2


@torch.library.custom_op("roofline_robust::chosen", mutates_args=())
def chosen(x: Tensor) -> Tensor:
    """All rows of ones, but not of every matrix."""
    return x[x[:, 0] > 0.5]


@torch.library.custom_op("roofline_robust::counted", mutates_args=())
def counted(x: Tensor) -> int:
    return int((x > 0.5).sum())


def in_a_thread(self: Any, x: Tensor, work: Callable[[list[Tensor]], None]) -> Any:
    out: list[Tensor] = []
    worker = threading.Thread(target=work, args=(out,))
    worker.start()
    worker.join()
    return self.linear(out[0])


HIDDEN: dict[str, tuple[Callable[..., Any], str]] = {
    "a number": (lambda self, x: x.sum().item(), "depends on data values: 'item'"),
    "a number in a layer": (lambda self, x: self.part(x), "depends on data values: 'item' in layer 'part' .Net."),
    "a table of numbers": (lambda self, x: np.asarray(x), "depends on data values: 'numpy'"),
    "a list of numbers": (lambda self, x: x.tolist(), "depends on data values: 'tolist'"),
    "a number in words": (lambda self, x: f"{x.sum():.2f}", "depends on data values: 'format'"),
    "a mask": (lambda self, x: x[x > 0], "depends on data values: 'index'"),
    "an operator without kernels": (lambda self, x: torch.ops.roofline_robust.abstract(x), "no kernel for shapes"),
    "an operator that chooses rows": (lambda self, x: chosen(x), "depends on data values: 'roofline_robust::chosen'"),
    "a higher-order op": (
        lambda self, x: torch.cond(x.sum() > 0, torch.relu, torch.tanh, (x,)), "higher-order op, such as torch.cond",
    ),
    "quantised activations": (lambda self, x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), "quantised tensors"),
    "an op in a thread": (
        lambda self, x: in_a_thread(self, x, lambda out: out.append(x * 2)), "op 'mul' runs in another thread",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("caught", [Exception, (RuntimeError, ValueError, TypeError, IndexError)])
@pytest.mark.parametrize("habit", HIDDEN)
def test_a_model_that_goes_on_without_what_could_not_be_followed_is_refused(habit: str, caught: Any) -> None:
    attempt, expected = HIDDEN[habit]

    def run(self: Any, x: Tensor) -> Any:
        x = self.linear(x)
        try:
            attempt(self, x)
            x = self.linear(x)
        except caught:
            pass
        return x

    with pytest.raises(TraceError, match=expected) as refused:
        trace(Net(run, part=Net(lambda _, x: x.sum().item())), X)
    if "thread" not in habit:
        assert re.search(rf"{re.escape(Path(__file__).name)}:\d+", str(refused.value))


def test_an_operator_without_shapes_is_run_however_it_was_made() -> None:
    for operator in (torch.ops.roofline_robust.double, modern):
        net = Net(lambda self, x, operator=operator: self.linear(operator(x)))
        layers = followed(net, X)
        assert layers.macs.sum() == LINEAR
        assert layers.output_shape.tolist() == [(2, 8), (2, 8)]


@pytest.mark.parametrize("operator", [chosen, counted])
def test_an_operator_whose_result_depends_on_numbers_is_refused(operator: Any) -> None:
    """x[x[:, 0] > 0.5] keeps every row of ones, and not every row of what came in."""
    with pytest.raises(TraceError, match=r"depends on data values: 'roofline_robust::(chosen|counted)'"):
        trace(Net(lambda self, x: self.linear(x + operator(x) if operator is counted else operator(x))), X)


def test_an_operator_that_reads_a_constant_is_run_on_it() -> None:
    """Of the rows of a unit matrix one begins with more than a half: (2, 4) @ (4, 1)."""
    net = Net(lambda self, x: x[:, :4] @ chosen(self.rows).t(), rows=torch.eye(4))
    assert followed(net, X).macs.sum() == 2 * 4 * 1


@pytest.mark.filterwarnings("ignore")  # torch calls its own quantisation young, and old
def test_operators_of_quantised_tensors_are_named_as_such() -> None:
    converted = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)), {nn.Linear})  # type: ignore[no-untyped-call]
    expected = r"layer '0', .*'quantized::linear_dynamic' is of quantised tensors, .*before its conversion"
    with pytest.raises(TraceError, match=expected):
        trace(converted, X)
    with pytest.raises(TraceError, match=r"'quantized::add' is of quantised tensors"):
        trace(Net(lambda self, x: torch.ops.quantized.add(x, x, 1.0, 0)), X)


WORK: dict[str, tuple[Callable[..., Any], str]] = {
    "a layer": (lambda self, x, out: out.append(self.linear(x)), "layer 'linear' runs in another thread"),
    "an op": (lambda self, x, out: out.append(x * 2), "op 'mul' runs in another thread"),
    "an op in a thread of a thread": (
        lambda self, x, out: in_a_thread(self, x, lambda _: out.append(x * 2)), "op 'mul' runs in another thread",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WORK)
def test_what_runs_in_a_thread_is_said_once(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    work, expected = WORK[kind]
    before = threading.Thread.start, ThreadPoolExecutor.submit
    with pytest.raises(TraceError, match=expected):
        trace(Net(lambda self, x: in_a_thread(self, x, lambda out: work(self, x, out))), X)
    assert "AnotherThread" not in capfd.readouterr().err
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


def test_an_op_in_a_pool_that_was_there_before_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int, "3").result() == 3  # its thread runs
        with pytest.raises(TraceError, match="op 'relu' runs in another thread"):
            trace(Net(lambda self, x: self.linear(pool.submit(torch.relu, x).result())), X)
        assert pool.submit(torch.relu, torch.tensor([-1.0])).result().item() == 0, "afterwards all is as it was"


def test_a_thread_that_runs_no_op_is_let_run() -> None:
    def run(self: Any, x: Tensor) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return self.linear(x) * pool.submit(pow, 2, 3).result()

    assert followed(Net(run), X).macs.sum() == LINEAR

"""Which views a runtime without strides has to copy, and what the network then costs, by hand.

At int8 an element is a byte, so that elements can be read as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.graph import Op
from roofline.layers import LayerTable, lower, main_op
from roofline.trace import trace
from roofline.transposes import CARRIERS, TRANSPOSES, moves, with_copies


class Net(nn.Module):
    """A network written in one line: what it does with its inputs, and its parts by name."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def of(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def table(net: nn.Module, *inputs: Tensor, transposes: bool = True, **options: Any) -> LayerTable:
    return lower(trace(net, inputs), dtype="int8", transposes=transposes, **options)


def traffic(layers: LayerTable) -> list[tuple[str, int, int]]:
    """One tuple a layer: its ops, then input and output bytes."""
    return list(zip(layers.ops.tolist(), layers.input_bytes.tolist(), layers.output_bytes.tolist(), strict=True))


# --- which move their elements ------------------------------------------------------------------------------------


@given(st.permutations(range(5)), st.lists(st.integers(1, 4), min_size=5, max_size=5), st.integers(1, 5))
def test_elements_stay_or_are_a_batch_of_transposed_matrices_exactly_where_nothing_is_said_to_move(
    order: list[int], sizes: list[int], rank: int
) -> None:
    shape, order = tuple(sizes[:rank]), [axis for axis in order if axis < rank]
    count = prod(shape)
    turned = np.arange(count).reshape(shape).transpose(order).ravel()
    matrices = [
        (b, m, count // b // m) for b in range(1, count + 1) for m in range(1, count + 1) if count % (b * m) == 0
    ]
    free = any((np.arange(count).reshape(three).swapaxes(1, 2).ravel() == turned).all() for three in matrices)
    assert moves(shape, order) == (not free)


BATCH, HEADS, TOKENS, DIM = 2, 4, 6, 3
X = (BATCH, TOKENS, HEADS, DIM)

MOVED: list[tuple[str, Callable[[Tensor], Tensor], tuple[int, ...]]] = [
    ("transpose", lambda x: x.transpose(1, 2), X),  # the heads of attention, to where a product wants them
    ("transpose", lambda x: torch.transpose(x, dim0=-3, dim1=-2), X),
    ("permute", lambda x: x.permute(0, 2, 1, 3), X),
    ("permute", lambda x: torch.permute(x, dims=(0, -2, -3, -1)), X),
    ("movedim", lambda x: x.movedim(1, 2), X),
    ("movedim", lambda x: torch.movedim(x, source=(-3, -2), destination=(2, 1)), X),
    ("moveaxis", lambda x: x.moveaxis(1, 2), X),
    ("swapaxes", lambda x: x.swapaxes(1, 2), X),
    ("swapaxes", lambda x: torch.swapaxes(x, axis0=1, axis1=-2), X),
    ("swapdims", lambda x: x.swapdims(1, 2), X),
    ("permute", lambda x: x.permute(2, 0, 3, 1, 4), (BATCH, TOKENS, 3, HEADS, DIM)),  # query, key and value at once
    ("permute", lambda x: x.permute(0, 1, 3, 2, 4, 5), (BATCH, 2, 4, 2, 4, DIM)),  # windows of an image
    ("transpose", lambda x: x.transpose(1, 2), (1, 2, 3, 4, 4)),  # a channel shuffle
    ("transpose", lambda x: x.transpose(0, 1), (BATCH, TOKENS, DIM)),  # batch first to tokens first
    ("permute", lambda x: x.permute(3, 2, 1, 0), X),
]
STAYING: list[tuple[str, Callable[[Tensor], Tensor], tuple[int, ...]]] = [
    ("the key of attention", lambda x: x.transpose(-2, -1), (BATCH, HEADS, TOKENS, DIM)),
    ("the key of attention", lambda x: x.mT, (BATCH, HEADS, TOKENS, DIM)),
    ("a matrix", lambda x: x.T, (TOKENS, DIM)),
    ("a matrix", lambda x: x.t(), (TOKENS, DIM)),
    ("an image to channels-last", lambda x: x.permute(0, 2, 3, 1), (BATCH, DIM, 4, 4)),
    ("an image to channels-first", lambda x: x.permute(0, 3, 1, 2), (BATCH, 4, 4, DIM)),
    ("an image to channels-last, moved", lambda x: x.movedim(1, -1), (BATCH, DIM, 4, 4)),
    ("an image without a batch", lambda x: x.permute(1, 2, 0), (DIM, 4, 4)),
    ("a film to channels-last", lambda x: x.permute(0, 2, 3, 4, 1), (BATCH, DIM, 2, 4, 4)),
    ("an image to tokens", lambda x: x.flatten(2).transpose(1, 2), (BATCH, DIM, 4, 4)),
    ("one head", lambda x: x.transpose(1, 2), (BATCH, TOKENS, 1, DIM)),
    ("one image, batch first to tokens first", lambda x: x.transpose(0, 1), (1, TOKENS, DIM)),
    ("no move at all", lambda x: x.permute(0, 1, 2, 3), X),
    ("an axis with itself", lambda x: x.transpose(1, 1), X),
]


@pytest.mark.parametrize(("op", "view", "shape"), MOVED, ids=[f"{op} {i}" for i, (op, _, _) in enumerate(MOVED)])
def test_a_view_that_reorders_reads_and_writes_all_of_its_tensor(
    op: str, view: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    layers = table(Net(lambda _, x: view(x)), of(*shape))
    assert traffic(layers) == [(op, prod(shape), prod(shape))]
    assert (layers.kind.tolist(), layers.name.tolist(), layers.macs.tolist()) == (["copy"], [op], [0])
    assert layers.is_in("transpose").tolist() == layers.is_in("copy").tolist() == [True]
    assert len(table(Net(lambda _, x: view(x)), of(*shape), transposes=False)) == 0


def test_every_op_that_may_reorder_is_tried_above() -> None:
    assert {op for op, _, _ in MOVED} | {"numpy_T"} == set(TRANSPOSES)


@pytest.mark.parametrize(("what", "view", "shape"), STAYING)
def test_what_need_not_move_is_no_layer(what: str, view: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    graph = trace(Net(lambda _, x: view(x)), of(*shape))
    assert with_copies(graph) is graph, what
    assert len(lower(graph, transposes=True)) == 0


@pytest.mark.parametrize("fusion", ["none", "epilogue"])
def test_a_weight_is_turned_before_the_network_runs(fusion: str) -> None:
    weight = nn.Parameter(torch.zeros(5, HEADS, DIM))
    net = Net(lambda net, x: x + net.weight.transpose(0, 1), weight=weight)
    assert traffic(table(net, of(HEADS, 5, DIM), fusion=fusion)) == [("add", HEADS * 5 * DIM, HEADS * 5 * DIM)]
    given = Net(lambda _, x, weight: x + weight.transpose(0, 1))  # an input is none
    assert "transpose" in table(given, of(HEADS, 5, DIM), of(5, HEADS, DIM), fusion=fusion).ops


# --- what the network costs then ----------------------------------------------------------------------------------


def attend(net: Any, x: Tensor) -> Tensor:
    """Multi-head attention on tokens, as most write it."""
    batch, tokens, width = x.shape

    def heads(y: Tensor) -> Tensor:
        return y.reshape(batch, tokens, HEADS, width // HEADS).transpose(1, 2)

    query, key, value = heads(net.q(x)), heads(net.k(x)), heads(net.v(x))
    y = (query @ key.transpose(-2, -1)).softmax(-1) @ value
    out: Tensor = net.out(y.transpose(1, 2).reshape(batch, tokens, width))
    return out


WIDTH = HEADS * DIM
ATTENTION = Net(attend, **{name: nn.Linear(WIDTH, WIDTH, bias=False) for name in ("q", "k", "v", "out")})


@pytest.mark.parametrize("fusion", ["none", "epilogue"])
def test_attention_splits_its_heads_in_four_copies_and_turns_its_key_in_none(fusion: str) -> None:
    """In PyTorch the last of the four is a copy too, of the reshape behind it; that is not counted twice."""
    whole, scores = BATCH * TOKENS * WIDTH, BATCH * HEADS * TOKENS * TOKENS
    here, there = (table(ATTENTION, of(BATCH, TOKENS, WIDTH), fusion=fusion, transposes=t) for t in (False, True))
    linear = ("linear", whole, whole)
    products = [("matmul", 2 * whole, scores), ("softmax", scores, scores), ("matmul", scores + whole, whole)]
    turn = ("transpose", whole, whole)
    # PyTorch copies the turned heads for its batched product as well: matmul here is one op that needs none
    assert [row for row in traffic(here) if row[0] != "reshape"] == [linear, linear, linear, *products, linear]
    assert traffic(here)[-2:] == [("reshape", whole, whole), linear]
    assert traffic(there) == [linear, turn, linear, turn, linear, turn, *products, turn, linear]
    assert here.macs.sum() == there.macs.sum() == 4 * BATCH * TOKENS * WIDTH**2 + 2 * scores * DIM
    assert here.weight_bytes.sum() == there.weight_bytes.sum() == 4 * WIDTH**2
    assert here.vector_ops.sum() == there.vector_ops.sum()


@pytest.mark.parametrize(
    "carry",
    [
        lambda y: y.contiguous(),
        lambda y: y.reshape(BATCH, HEADS * TOKENS, DIM),
        lambda y: y.flatten(1),
        lambda y: y.flatten(1).reshape(BATCH, -1, DIM),
        lambda y: y.clone(),
        lambda y: y.ravel(),
        lambda y: y.unsqueeze(1).contiguous(),
        lambda y: y[:, 1:].contiguous(),
    ],
)
def test_what_only_brings_the_elements_in_order_is_not_counted_beside_the_view(
    carry: Callable[[Tensor], Tensor],
) -> None:
    net = Net(lambda _, x: torch.tanh(carry(x.transpose(1, 2))))
    size = prod(X)
    in_torch, (turn, tanh) = traffic(table(net, of(*X), transposes=False)), traffic(table(net, of(*X)))
    assert in_torch[0][0] in CARRIERS
    assert in_torch[1] == tanh
    assert turn == ("transpose", size, size)


def test_query_key_and_value_that_are_turned_at_once_are_one_copy() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        q, k, v = (
            part.contiguous() for part in x.reshape(BATCH, TOKENS, 3, HEADS, DIM).permute(2, 0, 3, 1, 4).unbind(0)
        )
        return F.scaled_dot_product_attention(q, k, v)

    one = BATCH * TOKENS * WIDTH
    assert traffic(table(Net(forward), of(BATCH, TOKENS, 3 * WIDTH))) == [
        ("permute", 3 * one, 3 * one),
        ("scaled_dot_product_attention", 3 * one, one),
    ]


def test_an_einsum_over_heads_turns_its_operands_and_not_the_key_again() -> None:
    net = Net(lambda _, q, k: torch.einsum("bihd,bjhd->bhij", q, k))
    one, scores = prod(X), BATCH * HEADS * TOKENS * TOKENS
    turn = ("permute", one, one)
    assert traffic(table(net, of(*X), of(*X))) == [turn, turn, ("bmm", 2 * one, scores)]


def test_a_copy_of_what_is_not_turned_stays_what_it_is_in_pytorch() -> None:
    net = Net(lambda _, x: x.transpose(-1, -2).contiguous())
    for transposes in (False, True):
        assert traffic(table(net, of(*X), transposes=transposes)) == [("contiguous", prod(X), prod(X))]


def test_turned_twice_is_copied_twice() -> None:
    net = Net(lambda _, x: x.transpose(1, 2).contiguous().transpose(1, 2))
    assert traffic(table(net, of(*X))) == [("transpose", prod(X), prod(X))] * 2


@pytest.mark.parametrize("reads", [1, 2])
def test_a_copy_is_memory_of_its_own_that_lives_until_its_last_reader(reads: int) -> None:
    net = Net(lambda _, x: [torch.tanh(y) for y in [torch.tanh(x).transpose(1, 2).contiguous()] for _ in range(reads)])
    size = prod(X)
    assert table(net, of(*X)).peak_activation_bytes == (2 + (reads - 1)) * size + (reads > 1) * 0
    layers = table(net, of(*X))
    assert traffic(layers) == [("tanh", size, size), ("transpose", size, size), *[("tanh", size, size)] * reads]
    kept = Net(lambda _, x: (lambda y: y.transpose(1, 2) + y.sum())(torch.tanh(x)))
    # tanh: x, y; transpose: y, copy; sum: y, copy, a number; add: copy, number, out
    assert table(kept, of(*X)).peak_activation_bytes == 2 * size + 1


def test_the_model_s_own_bytes_are_those_of_its_input_and_of_the_copy_that_it_returns() -> None:
    net = Net(lambda net, x: net.fc(x).transpose(1, 2), fc=nn.Linear(DIM, DIM))
    size = prod(X)
    assert table(net, of(*X)).external_bytes.tolist() == [size, size]  # read by the layer, written by the copy
    assert table(net, of(*X), transposes=False).external_bytes.tolist() == [2 * size]
    first = Net(lambda net, x: net.fc(x.transpose(1, 2)), fc=nn.Linear(DIM, DIM))
    assert table(first, of(*X)).external_bytes.tolist() == [size, size]


@pytest.mark.parametrize("transposes", [False, True])
def test_nothing_fuses_across_a_view_that_reorders_and_all_does_before_it(transposes: bool) -> None:
    block = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    net = Net(lambda net, x: F.relu(net.block(x).unflatten(1, (2, 2)).transpose(1, 2)), block=block)
    layers = table(net, of(BATCH, 4, 3, 3), fusion="epilogue", transposes=transposes)
    turn = ["transpose"] if transposes else []
    assert layers.ops.tolist() == ["convolution+batch_norm+relu", *turn, "relu"]


def test_a_residual_add_reads_the_turned_branch_and_waits_for_it() -> None:
    size = BATCH * TOKENS * TOKENS * DIM
    x, fc = of(BATCH, TOKENS, TOKENS, DIM), nn.Linear(DIM, DIM)
    before = Net(lambda net, x: (lambda turned: net.fc(x) + turned)(x.transpose(1, 2)), fc=fc)
    assert traffic(table(before, x, fusion="epilogue")) == [("transpose", size, size), ("linear+add", 2 * size, size)]
    behind = Net(lambda net, x: net.fc(x) + x.transpose(1, 2), fc=fc)  # the later of the producers is the copy
    assert table(behind, x, fusion="epilogue").ops.tolist() == ["linear", "transpose", "add"]


def test_the_ops_and_bytes_behind_a_layer_are_those_of_the_table() -> None:
    graph = trace(ATTENTION, of(BATCH, TOKENS, WIDTH))
    layers = lower(graph, dtype="int8", transposes=True)
    assert layers.unfused_bytes.tolist() == layers.mem_bytes.tolist()
    for index, name in enumerate(layers.ops):
        op, moved = main_op(graph, layers, index)
        assert isinstance(op, Op)
        assert op.name == name
        assert sum(transfer.bytes for transfer in moved) == layers.mem_bytes[index]
        assert sum(transfer.bytes for transfer in moved if transfer.external) == layers.external_bytes[index]


def test_the_graph_is_left_as_it_was() -> None:
    graph = trace(ATTENTION, of(BATCH, TOKENS, WIDTH))
    before = [(op, op.is_view, op.inputs, op.outputs) for op in graph.ops]
    assert with_copies(graph) is not graph
    assert [(op, op.is_view, op.inputs, op.outputs) for op in graph.ops] == before

"""What a compiler makes of small networks: what is fused, what is moved, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from roofline.calibration.inductor import LOOP, LOOP_TERMS, WHOLE_TERMS, Compiled, compiled
from roofline.trace import trace
from tests.measurement.timed_ops import Net

MAP_BYTES = 4 * 16 * 14 * 14  # of 16 channels at 14 x 14


def of(net: nn.Module, *shape: int) -> Compiled:
    return compiled(trace(net.eval(), torch.zeros(shape, device="meta")))


def of_run(run: object, *shape: int, **parts: nn.Module) -> Compiled:
    return of(Net(run, **parts), *shape)  # type: ignore[arg-type]


def loops(found: Compiled, term: str) -> list[float]:
    return [float(value) for value in found.loops[:, LOOP_TERMS.index(term)]]


def conv(inputs: int = 16, outputs: int = 16, kernel: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def test_a_norm_and_an_activation_are_one_loop_that_reads_and_writes_once() -> None:
    found = of_run(
        lambda m, x: m.act(m.norm(m.conv(x.permute(0, 3, 1, 2)))), 1, 14, 14, 16,
        conv=conv(), norm=nn.BatchNorm2d(16), act=nn.ReLU(),
    )  # fmt: skip
    assert found.is_library.tolist() == [True, False, False]
    assert found.kernels.kernel.tolist()[1:] == [LOOP, LOOP]
    assert loops(found, "moved_bytes") == [2 * MAP_BYTES + 4 * 4 * 16]  # the map in and out, and four of 16
    assert found.runs == 1


def test_a_given_image_and_the_weights_of_windows_are_reordered_each_time() -> None:
    found = of_run(lambda m, x: m.second(m.first(x)), 1, 16, 14, 14, first=conv(kernel=3), second=conv(kernel=1))
    assert loops(found, "reordered_bytes") == [2 * MAP_BYTES, 2 * 4 * 16 * 16 * 9]  # and no weight of a 1x1
    assert found.runs == 1
    assert found.kernels.kernel[0] == "conv_small_kxk/strided"


def test_a_sum_of_two_branches_computes_both_norms_in_one_loop() -> None:
    found = of_run(
        lambda m, x: m.act(m.norm1(m.conv1(x)) + m.norm2(m.conv2(x))), 1, 16, 14, 14,
        conv1=conv(), conv2=conv(), norm1=nn.BatchNorm2d(16), norm2=nn.BatchNorm2d(16), act=nn.ReLU(),
    )  # fmt: skip
    *_, last = loops(found, "moved_bytes")
    assert last == 3 * MAP_BYTES + 8 * 4 * 16  # both convolutions in, one map out
    assert loops(found, "moved_bytes")[:-1] == [0.0, 0.0]  # the image, reordered for each convolution


def test_what_something_else_reads_is_written_out() -> None:
    found = of_run(
        lambda m, x: m.conv2(y := m.act(m.conv1(x))) + y, 1, 16, 14, 14, conv1=conv(), conv2=conv(), act=nn.ReLU()
    )
    _, act, add = loops(found, "moved_bytes")
    assert (act, add) == (2 * MAP_BYTES, 3 * MAP_BYTES)


def test_a_mean_over_positions_does_not_join_a_channels_last_loop_and_one_over_channels_does() -> None:
    def mean_of(*axes: int) -> Compiled:
        return of_run(
            lambda m, x: (y := m.act(m.conv(x))) + y.mean(axes, keepdim=True), 1, 16, 14, 14, conv=conv(), act=nn.ReLU()
        )

    assert loops(mean_of(2, 3), "moved_bytes") == [0, 2 * MAP_BYTES, MAP_BYTES + 4 * 16, 2 * MAP_BYTES + 4 * 16]
    assert loops(mean_of(1), "moved_bytes") == [0, 2 * MAP_BYTES]  # a row of channels after the other
    assert loops(mean_of(1), "outer_sums") == [0, 0]


def test_what_only_a_mean_reads_is_never_written() -> None:
    found = of_run(lambda m, x: m.act(m.conv(x)).mean((2, 3)), 1, 16, 14, 14, conv=conv(), act=nn.ReLU())
    assert loops(found, "moved_bytes") == [0, MAP_BYTES + 4 * 16]
    assert loops(found, "outer_sums") == [0, MAP_BYTES / 4]  # over positions, between which are 16 channels


def test_a_residual_and_the_layer_norm_behind_it_are_one_loop() -> None:
    found = of_run(
        lambda m, x: (y := x + m.first(x)) + m.second(m.norm(y)),
        2,
        49,
        64,
        first=nn.Linear(64, 64),
        second=nn.Linear(64, 64),
        norm=nn.LayerNorm(64),
    )
    tokens = 4 * 2 * 49 * 64
    # two in, the sum and the normalised out, weight and bias of the norm; then the sum and the product in, one out
    assert loops(found, "moved_bytes") == [4 * tokens + 2 * 4 * 64, 3 * tokens]
    assert found.kernels.kernel[found.is_library].tolist() == ["gemm", "gemm"]


def test_a_concatenation_copies_what_libraries_made_and_no_more() -> None:
    found = of_run(
        lambda m, x: m.conv(torch.cat([y := m.first(x), m.act(y)], 1)), 1, 16, 14, 14,
        first=conv(), act=nn.ReLU(), conv=conv(32),
    )  # fmt: skip
    _, act, cat = loops(found, "moved_bytes")
    assert (act, cat) == (2 * MAP_BYTES, 2 * MAP_BYTES)


def test_a_small_window_is_a_loop_and_a_large_one_a_librarys() -> None:
    found = of(nn.Sequential(conv(), nn.BatchNorm2d(16), nn.MaxPool2d(2)), 1, 16, 14, 14)
    assert len(loops(found, "loops")) == 1 + 2
    found = of(nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2)), 1, 16, 14, 14)
    assert loops(found, "moved_bytes") == [0, MAP_BYTES + MAP_BYTES / 4]  # computed anew for each window
    found = of(nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(7)), 1, 16, 14, 14)
    assert found.is_library.tolist() == [True, False, True]


def test_transcendentals_and_vector_ops_are_those_of_the_ops() -> None:
    found = of(nn.Sequential(nn.Linear(64, 64), nn.Sigmoid(), nn.Tanh()), 4, 64)
    assert loops(found, "transcendentals") == [2 * 4 * 64]
    assert loops(found, "loops") == [1.0]


def test_the_terms_of_a_network_are_its_loops_summed() -> None:
    found = of(nn.Sequential(conv(), nn.BatchNorm2d(16), nn.ReLU(), conv(), nn.ReLU()), 1, 16, 14, 14)
    whole = dict(zip(WHOLE_TERMS, found.whole.tolist(), strict=True))
    assert (whole["calls"], whole["library_calls"], whole["runs"], whole["loops"]) == (1, 2, 3, 3)
    assert whole["moved_bytes"] == sum(loops(found, "moved_bytes"))


def test_the_time_of_a_loop_is_shared_by_its_ops() -> None:
    found = of(nn.Sequential(conv(), nn.BatchNorm2d(16), nn.ReLU(), conv(kernel=3)), 1, 16, 14, 14)
    loop_s = np.arange(1.0, len(found.loops) + 1)
    op_s = found.op_s(np.full(len(found.kernels), 10.0), loop_s)
    assert op_s.sum() == pytest.approx(2 * 10 + loop_s.sum())
    assert (op_s > 0).all()


def test_recurrent_layers_cut_a_graph() -> None:
    assert of_run(lambda m, x: m.lstm(x)[0], 5, 1, 8, lstm=nn.LSTM(8, 8)).is_cut
    assert not of(nn.Sequential(nn.Linear(8, 8)), 2, 8).is_cut

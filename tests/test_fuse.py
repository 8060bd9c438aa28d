"""When ops run as one layer, and every reason why they must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.hardware import ACTIVATIONS
from roofline.layers import LayerTable, lower
from roofline.trace import trace

CHANNEL = 4 * 4  # bytes of one channel of `maps` at int8


class Net(nn.Module):
    """A network written in one line: what it does with its inputs, and its parts by name."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def maps(channels: int = 8, size: int = 4) -> Tensor:
    return torch.empty(1, channels, size, size, device="meta")


def vectors(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def conv(chans: int = 8, out_chans: int = 8, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(chans, out_chans, 1, bias=bias)


def norm(chans: int = 8) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(chans)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


def fused(model: nn.Module, *inputs: Tensor, activations: tuple[str, ...] = ("relu", "relu6")) -> LayerTable:
    return lower(trace(model, inputs), fusion="epilogue", dtype="int8", fused_activations=activations)


def rows(model: nn.Module, *inputs: Tensor, activations: tuple[str, ...] = ("relu", "relu6")) -> list[str]:
    """The ops of each layer, in the order in which the layers run."""
    layers: list[str] = fused(model, *inputs, activations=activations).ops.tolist()
    return layers


# --- 1. a batch norm folds into the convolution or linear layer before it -----------------------------------------


@pytest.mark.parametrize(
    ("layer", "batch_norm", "x"),
    [
        (nn.Conv1d(8, 4, 3), nn.BatchNorm1d(4), vectors(1, 8, 5)),
        (nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), maps()),
        (nn.Conv3d(8, 4, 3), nn.BatchNorm3d(4), vectors(1, 8, 4, 4, 4)),
        (nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), maps()),
        (nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8), maps()),
        (nn.ConvTranspose2d(8, 4, 2, stride=2), nn.BatchNorm2d(4), maps()),
    ],
)
def test_a_norm_folds_into_any_convolution(layer: nn.Module, batch_norm: nn.Module, x: Tensor) -> None:
    assert rows(nn.Sequential(layer, batch_norm), x) == ["convolution+batch_norm"]


def test_a_folded_norm_leaves_nothing_behind_but_a_bias() -> None:
    alone, folded = fused(conv(), maps()), fused(nn.Sequential(conv(), norm()), maps())
    assert folded.macs.tolist() == alone.macs.tolist()
    assert folded.vector_ops.tolist() == alone.vector_ops.tolist() == [0]
    assert folded.activation_bytes.tolist() == alone.activation_bytes.tolist()
    assert folded.weight_bytes.tolist() == [8 * 8 + 8]
    assert fused(nn.Sequential(conv(bias=True), norm()), maps()).weight_bytes.tolist() == [8 * 8 + 8]


def test_a_second_norm_folds_as_well_and_leaves_no_second_bias() -> None:
    twice = fused(nn.Sequential(conv(), norm(), norm()), maps())
    assert twice.ops.tolist() == ["convolution+batch_norm+batch_norm"]
    assert twice.weight_bytes.tolist() == [8 * 8 + 8]


def test_a_norm_folds_into_a_linear_layer_on_vectors() -> None:
    net = nn.Sequential(nn.Linear(8, 4, bias=False), nn.BatchNorm1d(4))
    layers = fused(net, vectors(3, 8))
    assert layers.ops.tolist() == ["linear+batch_norm"]
    assert layers.weight_bytes.tolist() == [8 * 4 + 4]


def test_a_norm_over_the_tokens_of_a_linear_layer_stays() -> None:
    """(batch, tokens, features): the norm's channels are the tokens, which no weight of the layer belongs to."""
    net = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(5))
    assert rows(net, vectors(3, 5, 8)) == ["linear", "batch_norm"]


def test_a_norm_folds_through_dropout_which_does_nothing_in_eval_mode() -> None:
    assert rows(nn.Sequential(conv(), nn.Dropout(), norm()), maps()) == ["convolution+batch_norm"]


def test_a_norm_stays_where_something_else_reads_the_convolution() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        return torch.cat([net.norm(y), y], 1)

    assert rows(Net(forward, conv=conv(), norm=norm()), maps()) == ["convolution", "batch_norm", "cat"]


@pytest.mark.parametrize("also", [lambda y: y, lambda y: y.flatten(1), lambda y: y[:, :1]], ids=["it", "view", "slice"])
def test_a_norm_stays_where_the_model_returns_the_convolution(also: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda net, x: (lambda y: (net.norm(y), also(y)))(net.conv(x)), conv=conv(), norm=norm())
    assert rows(net, maps()) == ["convolution", "batch_norm"]


def test_a_norm_over_batch_statistics_stays() -> None:
    net = nn.Sequential(conv(), nn.BatchNorm2d(8, track_running_stats=False))
    assert rows(net, maps()) == ["convolution", "batch_norm"]


def test_a_norm_that_is_told_to_take_batch_statistics_stays_though_it_has_others() -> None:
    net = Net(
        lambda net, x: F.batch_norm(net.conv(x), net.mean, net.var, training=True),
        conv=conv(), mean=torch.zeros(8), var=torch.ones(8),
    )  # fmt: skip
    assert rows(net, maps()) == ["convolution", "batch_norm"]


def test_a_norm_over_batch_statistics_stays_though_its_scale_and_shift_are_buffers() -> None:
    net = Net(
        lambda net, x: F.batch_norm(net.conv(x), None, None, net.scale, net.shift, training=True),
        conv=conv(), scale=torch.ones(8), shift=torch.zeros(8),
    )  # fmt: skip
    assert rows(net, maps()) == ["convolution", "batch_norm"]


@pytest.mark.parametrize("other", [nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(2, 8), nn.LayerNorm(4)])
def test_norms_that_depend_on_the_data_stay(other: nn.Module) -> None:
    assert len(rows(nn.Sequential(conv(), other), maps())) == 2


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (nn.ReLU(), ["convolution+relu", "batch_norm"]),
        (nn.GELU(), ["convolution", "gelu", "batch_norm"]),
        (nn.MaxPool2d(1), ["convolution", "max_pool2d", "batch_norm"]),
    ],
)
def test_a_norm_stays_behind_what_is_not_linear(between: nn.Module, expected: list[str]) -> None:
    assert rows(nn.Sequential(conv(), between, norm()), maps()) == expected


def test_a_norm_stays_behind_a_residual_add() -> None:
    net = Net(lambda net, x: net.norm(net.conv(x) + x), conv=conv(), norm=norm())
    assert rows(net, maps()) == ["convolution+add", "batch_norm"]


def test_a_norm_stays_where_there_is_no_layer_before_it() -> None:
    assert rows(norm(), maps()) == ["batch_norm"]
    split = Net(lambda net, x: net.norm(torch.cat([net.a(x), net.b(x)], 1)), a=conv(8, 4), b=conv(8, 4), norm=norm())
    assert rows(split, maps()) == ["convolution", "convolution", "cat", "batch_norm"]


@pytest.mark.parametrize(
    ("view", "channels"),
    [
        (lambda y: y.transpose(1, 2), 8),
        (lambda y: y.permute(0, 2, 3, 1), 8),
        (lambda y: y.reshape(1, 16, 4, 8), 16),
        (lambda y: y[:, :4], 4),
    ],
    ids=["transpose", "permute", "reshape", "slice"],
)
def test_a_norm_stays_where_a_view_gave_it_other_channels(view: Callable[[Tensor], Tensor], channels: int) -> None:
    """On maps of 8 x 8 x 8 a transposed tensor has the shape of the one before, and its channels are another axis."""
    net = Net(lambda net, x: net.norm(view(net.conv(x))), conv=conv(), norm=norm(channels))
    assert rows(net, maps(size=8)) == ["convolution", "batch_norm"]


def test_a_norm_stays_behind_a_product_whose_output_channels_come_first() -> None:
    """W @ x is (outputs, columns): a norm over the columns scales no row of W."""
    net = Net(lambda net, x: net.norm(net.weight @ x), weight=parameter(8, 8), norm=nn.BatchNorm1d(3))
    assert rows(net, vectors(8, 3)) == ["matmul", "batch_norm"]


def test_a_norm_stays_where_the_tensor_was_written_in_between() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        y[:, :4].add_(x[:, :4])
        normed: Tensor = net.norm(y)
        return normed

    assert rows(Net(forward, conv=conv(), norm=norm()), maps()) == ["convolution", "add", "batch_norm"]


# --- 2. so does a multiplication or addition by a constant per channel --------------------------------------------


def scaled(shape: tuple[int, ...], layer: nn.Module) -> Net:
    return Net(lambda net, x: net.layer(x) * net.gamma, layer=layer, gamma=parameter(*shape))


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1), (1,), ()])
def test_a_layer_scale_folds_into_a_convolution(shape: tuple[int, ...]) -> None:
    layers = fused(scaled(shape, conv()), maps())
    assert layers.ops.tolist() == ["convolution+mul"]
    assert layers.weight_bytes.tolist() == [8 * 8]  # a multiplication needs no bias
    assert layers.vector_ops.tolist() == [0]


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8), (1,), ()])
def test_a_layer_scale_folds_into_a_linear_layer_on_tokens(shape: tuple[int, ...]) -> None:
    layers = fused(scaled(shape, nn.Linear(8, 8)), vectors(2, 5, 8))
    assert layers.ops.tolist() == ["linear+mul"]
    assert layers.weight_bytes.tolist() == [8 * 8 + 8]


@pytest.mark.parametrize("shape", [(1, 8, 4, 4), (8, 4, 4), (4, 4), (1, 1, 1, 4), (4,)])
def test_a_multiplication_by_a_parameter_that_differs_in_space_stays(shape: tuple[int, ...]) -> None:
    layers = fused(scaled(shape, conv()), maps())
    assert layers.ops.tolist() == ["convolution", "mul"]
    assert layers.weight_bytes.tolist() == [64, parameter(*shape).numel()]


def test_a_multiplication_by_a_parameter_that_differs_by_token_stays() -> None:
    assert rows(scaled((5, 1), nn.Linear(8, 8)), vectors(2, 5, 8)) == ["linear", "mul"]
    assert rows(scaled((8, 1, 1), nn.Linear(8, 8)), vectors(8, 5, 8)) == ["linear", "mul"]


def test_channels_of_an_image_without_a_batch_come_first() -> None:
    assert rows(scaled((8, 1, 1), conv()), vectors(8, 4, 4)) == ["convolution+mul"]
    assert rows(scaled((1, 4, 1), conv()), vectors(8, 4, 4)) == ["convolution", "mul"]


def test_the_rows_of_a_weight_that_multiplies_from_the_left_are_its_channels() -> None:
    def net(shape: tuple[int, ...]) -> Net:
        return Net(lambda net, x: (net.weight @ x) * net.gamma, weight=parameter(8, 8), gamma=parameter(*shape))

    assert rows(net((3,)), vectors(8, 3)) == ["matmul", "mul"]
    assert rows(net((8, 1)), vectors(8, 3)) == ["matmul+mul"]


def test_constants_do_not_fold_into_a_recurrence() -> None:
    """Its outputs are its states, which the weights of the next step have already met."""
    lstm = Net(lambda net, x: net.lstm(x)[0] * net.gamma, lstm=nn.LSTM(8, 8), gamma=parameter(8))
    assert rows(lstm, vectors(5, 1, 8))[-2:] == ["lstm", "mul"]


@pytest.mark.parametrize(
    ("change", "op"),
    [
        (lambda y: y * 0.5, "mul"),
        (lambda y: y.mul_(0.5), "mul"),
        (lambda y: y / 3, "div"),
        (lambda y: y + 1, "add"),
        (lambda y: y - 1, "sub"),
    ],
)
def test_arithmetic_with_a_number_folds(change: Callable[[Tensor], Tensor], op: str) -> None:
    layers = fused(Net(lambda net, x: change(net.conv(x)), conv=conv(bias=True)), maps())
    assert layers.ops.tolist() == [f"convolution+{op}"]
    assert layers.weight_bytes.tolist() == [8 * 8 + 8]
    assert layers.activation_bytes.tolist() == [2 * 8 * CHANNEL]
    assert layers.vector_ops.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "op"),
    [
        (lambda y, p: y + p, "add"),
        (lambda y, p: p + y, "add"),
        (lambda y, p: y.add_(p), "add"),
        (lambda y, p: y - p, "sub"),
    ],
)
def test_adding_a_parameter_per_channel_is_a_bias(change: Callable[[Tensor, Tensor], Tensor], op: str) -> None:
    def net(bias: bool) -> Net:
        return Net(lambda net, x: change(net.conv(x), net.shift), conv=conv(bias=bias), shift=parameter(8, 1, 1))

    for bias in (False, True):
        layers = fused(net(bias), maps())
        assert layers.ops.tolist() == [f"convolution+{op}"]
        assert layers.weight_bytes.tolist() == [8 * 8 + 8]


@pytest.mark.parametrize(
    ("change", "op"), [(lambda y, p: p / y, "div"), (lambda y, p: p - y, "sub"), (lambda y, p: torch.pow(y, p), "pow")]
)
def test_what_is_no_linear_function_of_the_output_stays(change: Callable[[Tensor, Tensor], Tensor], op: str) -> None:
    net = Net(lambda net, x: change(net.conv(x), net.p), conv=conv(), p=parameter(8, 1, 1))
    assert rows(net, maps()) == ["convolution", op]


def test_norm_layer_scale_and_bias_fold_one_after_the_other() -> None:
    net = Net(
        lambda net, x: F.relu(net.norm(net.conv(x)) * net.gamma + net.beta),
        conv=conv(), norm=norm(), gamma=parameter(8, 1, 1), beta=parameter(8, 1, 1),
    )  # fmt: skip
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution+batch_norm+mul+add+relu"]
    assert layers.weight_bytes.tolist() == [8 * 8 + 8]
    assert layers.vector_ops.tolist() == [8 * CHANNEL]  # the ReLU


@pytest.mark.parametrize("between", [nn.ReLU(), nn.GELU(), nn.AvgPool2d(1), nn.Softmax(1)])
def test_a_layer_scale_stays_behind_anything_but_the_layer_itself(between: nn.Module) -> None:
    net = Net(
        lambda net, x: net.between(net.conv(x)) * net.gamma, conv=conv(), between=between, gamma=parameter(8, 1, 1)
    )
    assert rows(net, maps())[-1] == "mul"


def test_a_layer_scale_stays_where_something_else_reads_the_layer() -> None:
    net = Net(lambda net, x: (lambda y: (y * net.gamma, y.sum()))(net.conv(x)), conv=conv(), gamma=parameter(8, 1, 1))
    assert rows(net, maps()) == ["convolution", "mul", "sum"]


def test_the_multiply_of_squeeze_and_excite_stays() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        return F.relu(y * torch.sigmoid(net.expand(F.relu(net.reduce(y.mean((2, 3), keepdim=True))))))

    net = Net(forward, conv=conv(), reduce=conv(8, 2), expand=conv(2, 8))
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution", "mean", "convolution+relu", "convolution", "sigmoid", "mul+relu"]
    assert layers.input_bytes.tolist()[-1] == 8 * CHANNEL + 8  # the map and its gate
    assert layers.output_bytes.tolist()[-1] == 8 * CHANNEL


# --- 3. a residual add joins the later of its producers -----------------------------------------------------------


@pytest.mark.parametrize(
    "add",
    [
        lambda y, x: y + x,
        lambda y, x: x + y,
        lambda y, x: y.add_(x),
        lambda y, x: x.add_(y),
        lambda y, x: torch.add(y, x),
    ],
    ids=["y + x", "x + y", "y += x", "x += y", "torch.add"],
)
def test_a_residual_add_is_one_more_read(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    net = Net(lambda net, x: F.relu(add(net.norm(net.conv(x)), x)), conv=conv(), norm=norm())
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution+batch_norm+add+relu"]
    assert layers.input_bytes.tolist() == [2 * 8 * CHANNEL]
    assert layers.output_bytes.tolist() == [8 * CHANNEL]


@pytest.mark.parametrize("add", [lambda a, b: a + b, lambda a, b: b + a], ids=["a + b", "b + a"])
def test_the_sum_of_two_branches_joins_the_one_that_runs_later(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    net = Net(lambda net, x: (lambda a, b: add(a, b))(net.a(x), net.b(x)), a=conv(), b=conv())
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution", "convolution+add"]
    assert layers.name.tolist() == ["a", "b"]
    assert layers.input_bytes.tolist() == [8 * CHANNEL, 2 * 8 * CHANNEL]


@pytest.mark.parametrize(
    ("late", "op"),
    [(lambda net, a: F.relu(a), "relu"), (lambda net, a: net.norm(a), "batch_norm"), (lambda net, a: a * 2, "mul")],
    ids=["relu", "norm", "scale"],
)
def test_the_later_branch_is_the_one_whose_layer_runs_later(late: Callable[[Any, Tensor], Any], op: str) -> None:
    """What is fused into the earlier layer runs with it, however late the network asks for it."""

    def forward(net: Any, x: Tensor) -> Any:
        a, b = net.a(x), net.b(x)
        return late(net, a) + b

    layers = fused(Net(forward, a=conv(), b=conv(), norm=norm()), maps())
    assert layers.ops.tolist() == [f"convolution+{op}", "convolution+add"]
    assert layers.name.tolist() == ["a", "b"]


def test_an_add_joins_a_linear_layer_a_matrix_product_or_attention() -> None:
    linear = Net(lambda net, x: x + net.fc(x), fc=nn.Linear(8, 8))
    assert rows(linear, vectors(2, 8)) == ["linear+add"]
    assert rows(Net(lambda _, x: x + x @ x), vectors(8, 8)) == ["matmul+add"]
    attention = Net(lambda _, x: x + F.scaled_dot_product_attention(x, x, x))
    assert rows(attention, vectors(1, 2, 4, 8)) == ["scaled_dot_product_attention+add"]


def test_an_epilogue_has_one_second_operand() -> None:
    net = Net(lambda net, x, y: F.relu(net.conv(x) + x + y), conv=conv())
    layers = fused(net, maps(), maps())
    assert layers.ops.tolist() == ["convolution+add", "add+relu"]
    assert layers.input_bytes.tolist() == [2 * 8 * CHANNEL, 2 * 8 * CHANNEL]


def test_an_add_behind_a_fused_activation_joins_as_well() -> None:
    net = Net(lambda net, x: F.relu(F.relu(net.conv(x)) + x), conv=conv())
    assert rows(net, maps()) == ["convolution+relu+add+relu"]


def test_a_tensor_added_to_itself_stays() -> None:
    net = Net(lambda net, x: (lambda y: y + y)(net.conv(x)), conv=conv())
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution", "add"]
    assert layers.input_bytes.tolist() == [8 * CHANNEL, 2 * 8 * CHANNEL]


def test_the_sum_of_two_inputs_is_a_layer_of_its_own() -> None:
    assert rows(Net(lambda _, x, y: F.relu(x + y)), maps(), maps()) == ["add+relu"]


def test_an_add_stays_where_something_else_reads_the_later_branch() -> None:
    """It cannot join the earlier one, whose layer is over before the later branch is there."""
    net = Net(lambda net, x: (lambda a, b: (a + b, b))(net.a(x), net.b(x)), a=conv(), b=conv())
    assert rows(net, maps()) == ["convolution", "convolution", "add"]


def test_an_add_joins_the_later_branch_though_something_else_reads_the_earlier() -> None:
    net = Net(lambda net, x: (lambda a, b: (a + b, a))(net.a(x), net.b(x)), a=conv(), b=conv())
    assert rows(net, maps()) == ["convolution", "convolution+add"]


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1), nn.GELU(), nn.Softmax(1), nn.GroupNorm(2, 8)]
)
def test_an_add_stays_where_the_later_branch_ends_in_no_contraction(pool: nn.Module) -> None:
    net = Net(lambda net, x: (lambda a: a + net.pool(x))(net.conv(x)), conv=conv(), pool=pool)
    layers = fused(net, maps())
    assert len(layers) == 3
    assert layers.ops.tolist()[0] == "convolution"
    assert layers.ops.tolist()[-1] == "add"


def test_an_add_that_broadcasts_the_other_branch_reads_only_what_is_there() -> None:
    net = Net(lambda net, x: (lambda pooled: net.conv(x) + pooled)(x.mean((2, 3), keepdim=True)), conv=conv())
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["mean", "convolution+add"]
    assert layers.input_bytes.tolist()[-1] == 8 * CHANNEL + 8


def test_an_add_that_broadcasts_the_later_branch_stays() -> None:
    """The layer would have to write more than it computes."""
    net = Net(lambda net, x: x + net.conv(x.mean((2, 3), keepdim=True)), conv=conv())
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["mean", "convolution", "add"]
    assert layers.input_bytes.tolist()[-1] == 8 * CHANNEL + 8


def test_a_parameter_as_large_as_the_map_is_a_second_operand_and_is_read() -> None:
    net = Net(lambda net, x: net.conv(x) + net.position, conv=conv(), position=parameter(1, 8, 4, 4))
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution+add"]
    assert layers.weight_bytes.tolist() == [8 * 8 + 8 * CHANNEL]
    assert layers.vector_ops.tolist() == [8 * CHANNEL]


def test_a_partial_residual_stays() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        y[:, :4].add_(x)
        return F.relu(y)

    layers = fused(Net(forward, conv=conv(4, 8)), maps(4))
    assert layers.ops.tolist() == ["convolution", "add", "relu"]
    assert layers.input_bytes.tolist() == [4 * CHANNEL, 2 * 4 * CHANNEL, 8 * CHANNEL]
    assert layers.output_bytes.tolist() == [8 * CHANNEL, 4 * CHANNEL, 8 * CHANNEL]


def test_work_on_one_half_of_a_tensor_does_not_fuse_with_work_on_the_other() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y: Tensor = net.conv(x)
        y[:, :4].add_(x)
        y[:, 4:].relu_()
        return y

    layers = fused(Net(forward, conv=conv(4, 8)), maps(4))
    assert layers.ops.tolist() == ["convolution", "add", "relu"]
    assert layers.input_bytes.tolist() == [4 * CHANNEL, 2 * 4 * CHANNEL, 4 * CHANNEL]
    assert layers.output_bytes.tolist() == [8 * CHANNEL, 4 * CHANNEL, 4 * CHANNEL]


# --- 4. an activation that the device fuses joins the op before it ------------------------------------------------

MODULES: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "sigmoid": nn.Sigmoid(),
    "hardsigmoid": nn.Hardsigmoid(),
    "tanh": nn.Tanh(),
    "elu": nn.ELU(),
    "leaky_relu": nn.LeakyReLU(),
    "prelu": nn.PReLU(8),
    "mish": nn.Mish(),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_that_a_profile_may_name_fuses_if_it_does(activation: str) -> None:
    net = nn.Sequential(conv(), MODULES[activation])
    assert rows(net, maps(), activations=(activation,)) == [f"convolution+{activation}"]
    assert rows(net, maps(), activations=()) == ["convolution", activation]


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("relu", lambda x: torch.relu_(x)),
        ("relu6", lambda x: x.clamp(0, 6)),
        ("relu6", nn.Hardtanh(0, 6)),
        ("gelu", nn.GELU("tanh")),
        ("silu", nn.SiLU(inplace=True)),
        ("hardswish", nn.Hardswish(inplace=True)),
    ],
)
def test_an_activation_is_known_however_it_is_written(name: str, activation: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda net, x: activation(net.conv(x)), conv=conv())
    assert rows(net, maps(), activations=(name,)) == [f"convolution+{name}"]


def test_a_fused_activation_costs_its_work_and_no_bytes() -> None:
    alone, with_relu = fused(conv(), maps()), fused(nn.Sequential(conv(), nn.ReLU()), maps())
    assert with_relu.mem_bytes.tolist() == alone.mem_bytes.tolist()
    assert with_relu.vector_ops.tolist() == [8 * CHANNEL]


def test_an_activation_that_the_device_does_not_fuse_reads_and_writes_the_map() -> None:
    for in_place in (False, True):
        layers = fused(nn.Sequential(conv(), norm(), nn.Hardswish(in_place), conv()), maps())
        assert layers.ops.tolist() == ["convolution+batch_norm", "hardswish", "convolution"]
        assert layers.input_bytes.tolist() == layers.output_bytes.tolist() == [8 * CHANNEL] * 3


def test_a_parametric_activation_brings_its_weights() -> None:
    layers = fused(nn.Sequential(conv(), nn.PReLU(8)), maps(), activations=("prelu",))
    assert layers.weight_bytes.tolist() == [8 * 8 + 8]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (norm(), "batch_norm+relu"),
        (nn.MaxPool2d(2), "max_pool2d+relu"),
        (Net(lambda _, x: x + 1), "add+relu"),
        (Net(lambda _, x: x * torch.sigmoid(x)), "mul+relu"),
    ],
)
def test_an_activation_joins_any_op_that_computes(before: nn.Module, expected: str) -> None:
    assert rows(nn.Sequential(before, nn.ReLU()), maps())[-1] == expected


def test_an_activation_does_not_join_a_copy() -> None:
    net = Net(lambda net, x: F.relu(torch.cat([x, net.conv(x)], 1)), conv=conv())
    assert rows(net, maps()) == ["convolution", "cat", "relu"]


def test_an_activation_stays_where_something_else_reads_its_input() -> None:
    net = Net(lambda net, x: (lambda y: torch.cat([F.relu(y), y], 1))(net.conv(x)), conv=conv())
    assert rows(net, maps()) == ["convolution", "relu", "cat"]
    silu_by_hand = Net(lambda net, x: (lambda y: y * torch.sigmoid(y))(net.conv(x)), conv=conv())
    assert rows(silu_by_hand, maps(), activations=("sigmoid",)) == ["convolution", "sigmoid", "mul"]


def test_an_activation_of_an_input_is_a_layer_of_its_own() -> None:
    assert rows(nn.ReLU(), maps()) == ["relu"]
    pre_activation = nn.Sequential(norm(), nn.ReLU(), conv(), norm(), nn.ReLU(), conv())
    assert rows(pre_activation, maps()) == ["batch_norm+relu", "convolution+batch_norm+relu", "convolution"]


def test_relu_in_place_fuses_as_any_relu_does() -> None:
    for in_place in (False, True):
        net = nn.Sequential(conv(), norm(), nn.ReLU(in_place), conv())
        layers = fused(net, maps())
        assert layers.ops.tolist() == ["convolution+batch_norm+relu", "convolution"]
        assert layers.input_bytes.tolist() == layers.output_bytes.tolist() == [8 * CHANNEL] * 2


def test_what_an_op_wrote_through_a_view_is_what_everybody_reads_from_then_on() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        y = net.conv(x)
        y[:].relu_()  # a view of all of it
        return net.other(y)

    net = Net(forward, conv=conv(), other=conv())
    assert rows(net, maps()) == ["convolution+relu", "convolution"]

    def sum_through_a_view(net: Any, x: Tensor) -> Any:
        y = net.conv(x)
        y[:].add_(x)
        return F.relu(y)

    assert rows(Net(sum_through_a_view, conv=conv()), maps()) == ["convolution+add+relu"]


def test_relu_in_place_stays_where_its_input_was_read_before() -> None:
    def forward(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = net.conv(x)
        z = net.other(y)
        return y.relu_(), z

    layers = fused(Net(forward, conv=conv(), other=conv()), maps())
    assert layers.ops.tolist() == ["convolution", "convolution", "relu"]


# --- views ---------------------------------------------------------------------------------------------------------


def test_a_reshape_does_not_keep_an_activation_from_its_layer() -> None:
    """It moves nothing, and an activation takes elements one by one."""
    net = Net(lambda net, x: F.relu(net.conv(x).flatten(1)), conv=conv())
    assert rows(net, maps()) == ["convolution+relu"]


def test_a_reshape_does_not_keep_a_residual_add_from_its_layer() -> None:
    """As between the output projection of nn.MultiheadAttention and the add behind it."""
    net = Net(lambda net, x: x + net.fc(x.flatten(0, 1)).view(2, 5, 8), fc=nn.Linear(8, 8))
    layers = fused(net, vectors(2, 5, 8))
    assert layers.ops.tolist() == ["linear+add"]
    assert layers.input_bytes.tolist() == [2 * 2 * 5 * 8]


def test_a_slice_of_a_layer_does_not_fuse_with_it() -> None:
    """The layer writes all of its output, the activation half as much."""
    net = Net(lambda net, x: F.relu(net.conv(x)[:, :4]), conv=conv())
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution", "relu"]
    assert layers.input_bytes.tolist() == [8 * CHANNEL, 4 * CHANNEL]


# --- whole blocks --------------------------------------------------------------------------------------------------


def test_fusion_none_runs_every_op_as_a_layer() -> None:
    net = nn.Sequential(conv(), norm(), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(8 * 16, 4))
    layers = lower(trace(net, maps()), fusion="none", fused_activations=("relu",))
    assert layers.ops.tolist() == ["convolution", "batch_norm", "relu", "linear"]


def test_a_resnet_bottleneck_with_a_projection_on_its_shortcut() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.relu(net.norm1(net.conv1(x)))
        y = net.norm2(net.conv2(y))
        y += net.norm3(net.downsample(x))
        return F.relu(y)

    net = Net(forward, conv1=conv(), norm1=norm(), conv2=conv(), norm2=norm(), downsample=conv(), norm3=norm())
    layers = fused(net, maps())
    assert layers.ops.tolist() == [
        "convolution+batch_norm+relu",
        "convolution+batch_norm",
        "convolution+batch_norm+add+relu",
    ]
    assert layers.name.tolist() == ["conv1", "conv2", "downsample"]


def test_an_inverted_bottleneck_with_a_layer_scale() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        y = F.gelu(net.norm1(net.expand(x)))
        return x + net.norm2(net.project(y)) * net.gamma

    net = Net(forward, expand=conv(8, 32), norm1=norm(32), project=conv(32, 8), norm2=norm(), gamma=parameter(8, 1, 1))
    assert rows(net, maps()) == ["convolution+batch_norm", "gelu", "convolution+batch_norm+mul+add"]
    assert rows(net, maps(), activations=("gelu",)) == [
        "convolution+batch_norm+gelu",
        "convolution+batch_norm+mul+add",
    ]


def test_layers_run_in_the_order_of_their_main_ops() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b, c = net.a(x), net.b(x), net.c(x)
        return torch.cat([F.relu(net.norm_c(c)), F.relu(net.norm_a(a)), b], 1)

    net = Net(forward, a=conv(), b=conv(), c=conv(), norm_a=norm(), norm_c=norm())
    layers = fused(net, maps())
    assert layers.name.tolist() == ["a", "b", "c", "cat"]
    assert layers.ops.tolist() == ["convolution+batch_norm+relu", "convolution", "convolution+batch_norm+relu", "cat"]


# --- what is computed from constants alone ------------------------------------------------------------------------


class FrozenNorm(nn.Module):
    """A batch norm written out, as detection networks have it: its scale and shift are made from buffers."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "mean", "var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.var + 1e-5).rsqrt()
        shift = self.bias - self.mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def test_a_norm_that_is_written_out_folds_as_a_batch_norm_does() -> None:
    layers = fused(nn.Sequential(conv(), FrozenNorm(8)), maps())
    assert layers.ops.tolist() == ["convolution+mul+add"]
    assert layers.weight_bytes.tolist() == [64 + 8], "the weight and one folded bias"
    assert fused(nn.Sequential(conv(), norm()), maps()).mem_bytes.sum() == layers.mem_bytes.sum()


def test_standardised_weights_are_weights() -> None:
    net = Net(lambda net, x: F.conv2d(x, (net.w - net.w.mean()) / net.w.std()), w=parameter(8, 8, 1, 1))
    layers = fused(net, maps())
    assert layers.ops.tolist() == ["convolution"]
    assert layers.weight_bytes.tolist() == [64]


def test_a_buffer_that_the_input_is_written_into_is_no_constant() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        canvas = torch.zeros(1, 8, 4, 4)
        canvas[:, :, :2] = x[:, :, :2]
        return canvas * 2

    assert rows(Net(forward), maps())[-1] == "mul"


@pytest.mark.parametrize("fusion", ["none", "epilogue"])
def test_what_a_forward_makes_for_its_batch_is_no_weight(fusion: str) -> None:
    """The first state of a recurrence, positions, a repeated token: they grow with the batch, weights do not."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Embedding(6, 8)
            self.token = nn.Parameter(torch.zeros(1, 1, 8))
            self.memory = nn.LSTM(8, 8, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            batch, length, _ = x.shape
            x = x + self.positions(torch.arange(length).expand(batch, -1)) + torch.zeros(batch, length, 8)
            return self.memory(torch.cat([self.token.repeat(batch, 1, 1), x], 1))[0]

    one, two = (lower(trace(Tokens(), torch.zeros(n, 6, 8)), fusion=fusion) for n in (1, 2))
    weights = [int(table.weight_bytes[table.kind != "embedding"].sum()) for table in (one, two)]
    assert [int((table.kind == "embedding").sum()) for table in (one, two)] == [1, 1], "positions are looked up"
    assert weights[0] == weights[1]


def test_products_of_weights_are_counted_in_every_fusion() -> None:
    net = Net(lambda net, x: x @ (net.a @ net.b), a=parameter(8, 4), b=parameter(4, 8))
    macs = [int(lower(trace(net, vectors(2, 8)), fusion=fusion).macs.sum()) for fusion in ("none", "epilogue")]
    assert macs == [8 * 4 * 8 + 2 * 8 * 8] * 2


def test_random_numbers_are_drawn_at_run_time() -> None:
    noise = Net(lambda net, x: x + torch.rand_like(net.scale) * net.scale, scale=parameter(8))
    assert rows(noise, vectors(2, 8)) == ["rand_like", "mul", "add"]


def test_a_network_without_inputs_is_not_computed_beforehand() -> None:
    net = Net(lambda net: net.fc(net.queries), fc=nn.Linear(8, 4), queries=parameter(6, 8))
    assert rows(net) == ["linear"]


def test_a_division_that_rounds_does_not_fold() -> None:
    floor = Net(lambda net, x: torch.div(net.conv(x), 2, rounding_mode="floor"), conv=conv())
    assert rows(floor, maps()) == ["convolution", "div"]

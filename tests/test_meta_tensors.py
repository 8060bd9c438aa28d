"""What a tensor says of itself without its values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from roofline.meta_tensors import (
    DTYPE_NAMES,
    address_of,
    extent_of,
    lie,
    on_meta,
    ones,
    others,
    tensors_in,
    with_tensors,
)


@pytest.mark.parametrize(
    ("tensor", "shape", "strides", "elements"),
    [
        (torch.zeros(2, 3), (2, 3), (3, 1), 6),
        (torch.zeros(2, 3).t(), (3, 2), (1, 3), 6),
        (torch.zeros(3).expand(4, 3), (4, 3), (0, 1), 3),  # what is expanded is there once
        (torch.zeros(1, 0).expand(5, 0), (5, 0), (0, 1), 0),
        (torch.zeros(()), (), (), 1),
    ],
)
def test_how_a_dense_tensor_lies(
    tensor: torch.Tensor, shape: tuple[int, ...], strides: tuple[int, ...], elements: int
) -> None:
    assert lie(tensor) == (shape, strides, elements, False, address_of(tensor))


def test_of_a_sparse_tensor_the_entries_count() -> None:
    tensor = torch.eye(4).to_sparse()
    assert lie(tensor) == ((4, 4), (), 4, True, id(tensor))


def test_views_share_an_address_and_copies_do_not() -> None:
    base = torch.zeros(4, 6, device="meta")
    assert address_of(base[1:]) == address_of(base) != address_of(base.clone())


def test_what_a_view_shows_of_its_base() -> None:
    base = torch.zeros(4, 6, device="meta")
    assert extent_of(base.view(4, 6), base) == "same"
    assert extent_of(base.view(24), base) == "reshaped"
    for part in (base[:2], base.t(), base.view(torch.int32), base.flatten()[4:8]):
        assert extent_of(part, base) == "other"


def test_a_stand_in_lies_as_the_tensor_does() -> None:
    tensor = torch.zeros(2, 3, 4, dtype=torch.float16).permute(2, 0, 1)
    stand_in = on_meta(tensor)
    assert stand_in.is_meta
    assert (stand_in.dtype, stand_in.shape, stand_in.stride()) == (tensor.dtype, tensor.shape, tensor.stride())


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int64, torch.uint8, torch.bool]
)
def test_two_fillings_lie_as_the_tensor_does_and_differ(dtype: torch.dtype) -> None:
    tensor = torch.empty_strided((4, 6), (1, 4), dtype=dtype, device="meta")
    with torch.device("meta"):
        first, second, again = ones(tensor), others(tensor), others(tensor)
    for filled in (first, second):
        assert (filled.device.type, filled.dtype, filled.stride()) == ("cpu", dtype, (1, 4))
    assert bool((first == 1).all())
    assert torch.equal(second, again)
    assert not torch.equal(first, second)
    if not (dtype.is_floating_point or dtype.is_complex):
        assert set(second.int().flatten().tolist()) == {0, 1}, "indices that are there"


def test_dtypes_go_by_their_names() -> None:
    assert DTYPE_NAMES[torch.float32] == "float32"
    assert DTYPE_NAMES[torch.bool] == "bool"


def test_tensors_are_found_in_what_an_op_returns() -> None:
    x, y = torch.zeros(1), torch.zeros(2)
    assert [*tensors_in(x)] == [x]
    assert all(a is b for a, b in zip(tensors_in([x, (None, y), 3]), (x, y), strict=True))
    assert not [*tensors_in(None)]


def test_tensors_are_replaced_wherever_they_are_held() -> None:
    held: Any = SimpleNamespace(x=torch.zeros(1), more={"y": [torch.zeros(2)]})
    held.itself = held
    twin = with_tensors(held, lambda tensor: tuple(tensor.shape))
    assert (twin.x, twin.more, twin.itself is twin) == ((1,), {"y": [(2,)]}, True)
    assert isinstance(held.x, torch.Tensor)

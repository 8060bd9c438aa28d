"""Example inputs in words."""

from __future__ import annotations

import pytest
import torch

from roofline.errors import ModelError
from roofline.loading.specs import DTYPES, TensorSpec, is_spec, parse_input, parse_spec, separated


@pytest.mark.parametrize(
    ("text", "name", "dtype", "shape"),
    [
        ("ids:int64[1,128]", "ids", "int64", (1, 128)),
        ("pixel_values:float32[2, 3, 224, 224]", "pixel_values", "float32", (2, 3, 224, 224)),
        ("step:int64[]", "step", "int64", ()),
        ("mask:bool[1,1,4,4]", "mask", "bool", (1, 1, 4, 4)),
    ],
)
def test_a_name_a_dtype_and_sizes(text: str, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    assert parse_input(text) == (name, TensorSpec(dtype, shape))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int64[1,128]", r"is not NAME:DTYPE\[SIZES\], as in ids:int64\[1,128\]"),
        ("ids", "is not NAME"),
        ("ids:int64", "is not NAME"),
        ("my-ids:int64[1]", "is not NAME"),
        ("ids:int46[1,128]", r"no dtype 'int46'\. Did you mean 'int64'"),
        ("ids:int64[1,0]", "at least 1"),
        ("ids:int64[1,,2]", "at least 1"),
        ("ids:int64[1,2,]", "at least 1"),
        ("ids:int64[99999999999999]", "at least 1"),
    ],
)
def test_what_is_written_otherwise_says_how(text: str, expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        parse_input(text)
    assert "\n" not in str(caught.value)


def test_every_dtype_is_one_of_torch() -> None:
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPES)


def test_it_is_written_as_it_is_read() -> None:
    for text in ("int64[1,128]", "float32[]", "bool[3]"):
        assert str(parse_spec(text)) == text


@pytest.mark.parametrize("value", [1, None, "relu", "int64", [1, 128], "conv[3x3]", "int64[a]"])
def test_other_arguments_are_for_the_constructor(value: object) -> None:
    assert not is_spec(value)


def test_arguments_are_told_apart() -> None:
    assert separated({"width": 8, "ids": "int64[1,4]", "act": "relu"}) == (
        {"width": 8, "act": "relu"},
        {"ids": TensorSpec("int64", (1, 4))},
    )


def test_a_leading_one_is_the_batch() -> None:
    assert parse_spec("int64[1,128]").with_batch(4).shape == (4, 128)
    assert parse_spec("int64[8,128]").with_batch(1).shape == (8, 128)
    assert parse_spec("int64[]").with_batch(4).shape == ()
    with pytest.raises(ModelError, match=r"int64\[8,128\] has a batch of its own"):
        parse_spec("int64[8,128]").with_batch(4)

"""What a saved result says of how it was counted: the formula with just the terms that the device adds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from roofline.conventions import LEFT_OUT, conventions
from roofline.hardware import NO_TERMS
from roofline.layers import DTYPE_BYTES

PLAIN = (
    "Time of a layer: the larger of its MACs at the peak and its bytes at the memory bandwidth (eq. 1 of "
    "arXiv:2404.10518). Latency: the sum over layers."
)
TERMS: list[tuple[dict[str, Any], str]] = [  # what is added, and what the formula then says beside
    ({"combine": "add"}, "the sum of its MACs at the peak and its bytes at the memory bandwidth (eq. 1 of "
                         "arXiv:2404.10518, which has the larger)."),
    ({"vector_ops_per_s": 1e9}, "the largest of its MACs at the peak, its vector ops at their rate and its bytes"),
    ({"layer_overhead_s": 1e-6}, "at the memory bandwidth, plus an overhead (eq. 1"),
    ({"layer_overhead_s": 1e-6, "overhead_layers": "macs"}, "plus an overhead where it does MACs (eq. 1"),
    ({"peak_share_by_class": {"conv": 0.5}}, "Layers of class conv do their MACs at 0.5 times the peak."),
    ({"weight_bandwidth_bytes_per_s": 5e8}, "Weight bytes move at 500 MB/s."),
    ({"bandwidth_bytes_per_s_by_class": {"gelu": 2e9}}, "All bytes of layers of class gelu move at 2 GB/s."),
    (
        {"bandwidth_bytes_per_s_by_class": {"transpose": 2e9}},
        "All bytes of layers of class transpose, views that reorder the elements and here copy them, move at 2 GB/s.",
    ),
    (
        {"onchip_holds": ["activations"], "onchip_bytes": 8 * 2**20},
        "Tensors that pass between layers whose inputs and outputs fit into the 8 MiB of on-chip memory stay there.",
    ),
    (
        {"onchip_holds": ["weights"], "onchip_bytes": 2**19},
        "The weights of the first layers that fit into the 0.5 MiB of on-chip memory stay there from one inference to "
        "the next.",
    ),
    (
        {"onchip_holds": ["activations", "weights"], "onchip_bytes": 8 * 2**20},
        "The weights of the first layers that fit beside them stay there from one inference to the next.",
    ),
    ({"inference_overhead_s": 1e-3}, "Latency: the sum over layers and one overhead of an inference."),
]  # fmt: skip


@pytest.mark.parametrize("terms", [None, {}, NO_TERMS, {**NO_TERMS, "onchip_bytes": 8, "overhead_layers": "macs"}])
def test_without_terms_a_time_is_eq_1_and_nothing_else(terms: dict[str, Any] | None) -> None:
    assert conventions("int8", "none", (), terms=terms)[0] == PLAIN


@pytest.mark.parametrize(("terms", "said"), TERMS)
def test_each_term_is_told(terms: dict[str, Any], said: str) -> None:
    formula = conventions("int8", "none", (), terms={**NO_TERMS, **terms})[0]
    assert said in formula
    assert said not in PLAIN


def test_all_terms_are_told_at_once() -> None:
    added = [TERMS[number][0] for number in (0, 1, 3, 4, 5, 7, 10, 11)]
    terms = dict(itertools.chain.from_iterable(term.items() for term in added))
    formula = conventions("int8", "none", (), terms=terms)[0]
    for said in (
        "the sum of its MACs at the peak, its vector ops at their rate and its bytes at the memory bandwidth, plus an "
        "overhead where it does MACs (eq. 1 of arXiv:2404.10518, which has the larger). Layers of class conv",
        "Weight bytes move at 500 MB/s. All bytes of layers of class transpose",
        "fit into the 8 MiB of on-chip memory",
        "fit beside them",
        "and one overhead of an inference.",
    ):
        assert said in formula


def test_a_rate_of_vector_ops_is_what_they_cost_beside_their_bytes() -> None:
    without, with_rate = (conventions("fp16", "none", (), terms=terms)[1] for terms in ({}, {"vector_ops_per_s": 1e9}))
    assert "they cost their bytes alone" in without
    assert "they cost their bytes alone" not in with_rate


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
@pytest.mark.parametrize("fusion", ["none", "epilogue"])
def test_lines_are_sentences_that_name_width_and_fusion(dtype: str, fusion: str) -> None:
    lines = conventions(dtype, fusion, {"relu6", "relu"}, terms=TERMS[0][0])
    for line in (*lines, *LEFT_OUT):
        assert line[0].isupper()
        assert line.endswith(".")
        assert "\n" not in line
    width = DTYPE_BYTES[dtype]
    assert f"floating tensors take {width} byte{'s' if width > 1 else ''} an element ({dtype})" in lines[2]
    assert lines[3].startswith("Epilogue fusion" if fusion == "epilogue" else "No fusion")
    assert ("(relu, relu6)" in lines[3]) == (fusion == "epilogue")

"""Masks that make subnormal numbers, found however they are written; softmax itself says which of them do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.calibration.risks import risks
from roofline.trace import trace

N = 8
SMALLEST_NORMAL = torch.finfo(torch.float32).tiny

Attend = Callable[[Tensor, Tensor], Tensor]  # of scores and of a mask of zeros and ones


class Net(nn.Module):
    """Scores and a mask of zeros and ones, whatever is made of them."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        return self.attend(scores, mask)


def filled(scores: Tensor, value: float) -> Tensor:
    """A mask made in forward; nothing of it is the model's."""
    return torch.full((N, N), value, device=scores.device).triu(1)


def in_turns(scores: Tensor, mask: Tensor) -> Tensor:
    bias = scores.new_zeros(N, N).masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)  # as Swin's released code
    return (scores.view(1, 2, N, N) + bias.unsqueeze(0).unsqueeze(0)).view(2, N, N).softmax(-1)


FORMS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "full": lambda x, m, low: (x + filled(x, low)).softmax(-1),
    "full, on the left": lambda x, m, low: (filled(x, low) + x).softmax(-1),
    "zeros, filled": lambda x, m, low: (x + torch.zeros_like(x).masked_fill(m > 0, low)).softmax(-1),
    "where": lambda x, m, low: (x + torch.where(m > 0, low, 0.0)).softmax(-1),
    "scores, filled": lambda x, m, low: x.masked_fill(m > 0, low).softmax(-1),
    "scores, where": lambda x, m, low: torch.where(m > 0, torch.full_like(x, low), x).softmax(-1),
    "(1 - m) * low": lambda x, m, low: (x + (1.0 - m) * low).softmax(-1),
    "bool, cast": lambda x, m, low: (x + (m < 1).to(x.dtype) * low).softmax(-1),
    "scores - mask": lambda x, m, low: (x - m * -low).softmax(-1),
    "expanded": lambda x, m, low: (x + (m * low)[None].expand(2, N, N)).softmax(-1),
    "baddbmm": lambda x, m, low: torch.baddbmm((m * low)[None], x, x).softmax(-1),
    "fused": lambda x, m, low: F.scaled_dot_product_attention(x, x, x, (1.0 - m) * low),
}


def makes_subnormals(form: Callable[[Tensor, Tensor, float], Tensor], low: float) -> bool:
    """Whether the softmax of small scores does, when it runs; the fused one does by its mask alone."""
    torch.manual_seed(0)
    scores, mask = torch.randn(2, N, N) / 8, torch.ones(N, N).triu(1)
    if form is FORMS["fused"]:
        form = FORMS["(1 - m) * low"]
    weights = form(scores, mask, low)
    return bool(((weights > 0) & (weights < SMALLEST_NORMAL)).any())


def told(attend: Attend) -> tuple[str, ...]:
    return risks(trace(Net(attend), (torch.zeros(2, N, N), torch.zeros(N, N))))


@pytest.mark.parametrize("low", [-95.0, -100.0, -1.0, -1e4, -1e9])
@pytest.mark.parametrize("name", FORMS)
def test_a_mask_is_named_where_softmax_makes_subnormal_numbers_of_it(name: str, low: float) -> None:
    form = FORMS[name]
    found = told(lambda x, m: form(x, m, low))
    assert bool(found) == makes_subnormals(form, low)
    assert all(f"({low:g})" in sentence for sentence in found)


def test_an_infinite_mask_is_harmless() -> None:
    low = float("-inf")
    assert not makes_subnormals(FORMS["full"], low)
    assert told(lambda x, m: FORMS["full"](x, m, low)) == ()


def test_a_shifted_window_is_named() -> None:
    (found,) = told(in_turns)
    assert "(-100)" in found


class Attention(nn.Module):
    """PyTorch's own, with a buffer as its mask."""

    mask: Tensor

    def __init__(self, mask: Tensor, needs_weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.register_buffer("mask", mask)
        self.needs_weights = needs_weights

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x, attn_mask=self.mask, need_weights=self.needs_weights)[0]
        return found


@pytest.mark.parametrize("needs_weights", [True, False])
def test_what_a_buffer_holds_is_not_known_and_that_is_said(needs_weights: bool) -> None:
    floating = Attention(torch.full((N, N), -100.0).triu(1), needs_weights)
    (found,) = risks(trace(floating, torch.zeros(1, N, 16)))
    assert "if it is one" in found
    boolean = Attention(torch.ones(N, N, dtype=torch.bool).triu(1), needs_weights)  # becomes -inf
    assert risks(trace(boolean, torch.zeros(1, N, 16))) == ()


@pytest.mark.parametrize(
    "attend",
    [
        lambda x, m: (x + m).softmax(-1),  # what is added is one at most, as far as anybody can tell
        lambda x, m: ((x @ x) * -100.0).softmax(-1),  # distances, not a mask
        lambda x, m: (x + (x @ x) * -100.0).softmax(-1),
        lambda x, m: (x + m * -100.0).relu(),  # there is no softmax
    ],
)
def test_what_is_no_mask_is_not_named(attend: Attend) -> None:
    assert told(attend) == ()

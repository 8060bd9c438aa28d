"""Why a forward pass could not be traced, in one line."""

from __future__ import annotations

import torch
from torch import nn

from roofline.errors import TraceError
from roofline.trace_words import Failure, failed, strayed

X = torch.zeros(1, 3)
NET = nn.Sequential(nn.Linear(4, 4))
WRONG = RuntimeError("shapes\n  cannot be multiplied")


def test_it_names_the_layer_and_what_it_was_given() -> None:
    failure = Failure(WRONG, "0", NET[0], ((X,), {}))
    said = failed(WRONG, NET, ((X,), {}), failure, op="", needs_data=False)
    assert said == (
        "Sequential fails on input 1x3: layer '0', Linear(in_features=4, out_features=4, bias=True), got 1x3: "
        "RuntimeError: shapes cannot be multiplied"
    )


def test_of_the_model_itself_it_names_no_layer() -> None:
    failure = Failure(WRONG, "", NET, ((X,), {}))
    said = failed(WRONG, NET, ((X,), {}), failure, op="", needs_data=False)
    assert said == "Sequential fails on input 1x3: RuntimeError: shapes cannot be multiplied"


def test_what_needs_values_is_said_with_the_way_out() -> None:
    failure = Failure(WRONG, "0", NET[0], ((X,), {}))
    said = failed(WRONG, NET, ((X,), {}), failure, op="nonzero", needs_data=True)
    assert said.startswith("the forward of Sequential depends on data values: 'nonzero' in layer '0' (Linear)")
    assert "x.is_meta" in said


def test_what_cannot_be_followed_is_named_and_our_own_errors_are_kept() -> None:
    nested = failed(RuntimeError("NestedTensor does not"), NET, (X,), None, op="", needs_data=False)
    assert nested == "Sequential fails on input 1x3: nested tensors cannot be followed; a padded one can"
    own = failed(TraceError("parameter 'w' is lazy"), NET, (X,), None, op="", needs_data=False)
    assert own == "Sequential fails on input 1x3: parameter 'w' is lazy"


def test_a_layer_that_strayed_is_told_to_come_back() -> None:
    said = strayed(NET, RuntimeError("layer '0' runs in another thread"))
    assert said == (
        "the forward of Sequential cannot be followed: layer '0' runs in another thread. "
        "Run it in the thread that calls the model."
    )

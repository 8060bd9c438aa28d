"""Which layer is which: what a person would say of small cases, and what must hold of all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline import matching
from roofline.matching import Pair, match

Layer = tuple[str, str, tuple[int, ...], tuple[int, ...], int]


def conv(name: str, channels: int = 8, size: int = 16, kernel: int = 3, kind: str = "conv") -> Layer:
    """A convolution that keeps its shape."""
    shape = (1, channels, size, size)
    return name, kind, shape, shape, channels**2 * kernel**2 * size**2


def relu(name: str, channels: int = 8, size: int = 16) -> Layer:
    shape = (1, channels, size, size)
    return name, "activation", shape, shape, 0


def linear(name: str, width: int = 8, classes: int = 10) -> Layer:
    return name, "linear", (1, width), (1, classes), width * classes


def plain(layers: Sequence[Layer], batch: int = 1) -> dict[str, Any]:
    """As much of an analysis as matching reads."""
    keys = ("name", "kind", "input_shape", "output_shape", "macs")
    return {"batch": batch, "layers": [dict(zip(keys, layer, strict=True)) for layer in layers]}


def numbered(layers: Sequence[Layer]) -> list[Layer]:
    """Named as a sequential container names them."""
    return [(str(i), *layer[1:]) for i, layer in enumerate(layers)]


def names(first: Sequence[Layer], second: Sequence[Layer], pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    return [("" if i is None else first[i][0], "" if j is None else second[j][0]) for i, j in pairs]


def matched(first: Sequence[Layer], second: Sequence[Layer]) -> list[tuple[str, str]]:
    return names(first, second, match(plain(first), plain(second)))


# --- small cases ------------------------------------------------------------------------------------------------------


def test_the_same_network_matches_layer_by_layer() -> None:
    layers = [conv("a"), relu("b"), conv("c"), linear("d")]
    assert match(plain(layers), plain(layers)) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_block_that_was_put_in_shifts_the_names_behind_it_and_no_layer() -> None:
    before = [conv("blocks.0", 8), conv("blocks.1", 16), conv("blocks.2", 32)]
    after = [conv("blocks.0", 8), conv("blocks.1", 12), conv("blocks.2", 16), conv("blocks.3", 32)]
    assert matched(before, after) == [
        ("blocks.0", "blocks.0"), ("", "blocks.1"), ("blocks.1", "blocks.2"), ("blocks.2", "blocks.3"),
    ]  # fmt: skip
    assert matched(after, before) == [
        ("blocks.0", "blocks.0"), ("blocks.1", ""), ("blocks.2", "blocks.1"), ("blocks.3", "blocks.2"),
    ]  # fmt: skip


def test_of_blocks_that_are_all_alike_the_last_is_the_new_one() -> None:
    assert matched([conv("b.0"), conv("b.1")], [conv("b.0"), conv("b.1"), conv("b.2")])[-1] == ("", "b.2")


def test_a_wider_network_matches_by_name() -> None:
    before, after = ([conv(name, channels) for name in "abc"] for channels in (8, 12))
    assert matched(before, after) == [("a", "a"), ("b", "b"), ("c", "c")]


def test_another_kernel_is_the_same_layer_changed() -> None:
    assert matched([conv("a"), conv("b")], [conv("a"), conv("b", kernel=5)]) == [("a", "a"), ("b", "b")]


def test_another_kind_of_layer_under_the_same_name_is_that_layer_changed() -> None:
    before, after = [conv("a"), conv("b"), relu("c")], [conv("a"), conv("b", kind="depthwise_conv"), relu("c")]
    assert matched(before, after) == [("a", "a"), ("b", "b"), ("c", "c")]


def test_layers_are_matched_under_other_names() -> None:
    before = [conv("features.0.conv"), relu("features.0.act"), linear("classifier")]
    after = [conv("stem.conv"), relu("stem.act"), linear("head.fc")]
    assert matched(before, after) == list(zip((a[0] for a in before), (b[0] for b in after), strict=True))


def test_layers_that_have_nothing_in_common_are_not_matched() -> None:
    assert matched([conv("a")], [linear("b")]) == [("a", ""), ("", "b")]
    assert matched([conv("a", 8, 16)], [conv("b", 8, 64)]) == [("a", ""), ("", "b")]


def test_a_branch_that_runs_earlier_is_still_the_same_branch() -> None:
    before = [conv("a", 8), conv("b", 16), conv("c", 32), conv("d", 64)]
    after = [conv("c", 32), conv("d", 64), conv("a", 8), conv("b", 16)]
    assert sorted(matched(before, after)) == [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]


def test_the_batch_makes_no_difference() -> None:
    before = [conv("x.1"), linear("x.2")]
    after = [(name, kind, (4, *i[1:]), (4, *o[1:]), 4 * macs) for name, kind, i, o, macs in before]
    shifted = [conv("x.0", 99), *(after)]
    assert match(plain(before), plain(shifted, batch=4)) == [(None, 0), (0, 1), (1, 2)]
    kernels = [conv("0", kernel=3), conv("1", kernel=5)]
    _, kind, i, o, macs = kernels[1]
    moved = ("0", kind, (4, *i[1:]), (4, *o[1:]), 4 * macs)
    assert match(plain(kernels), plain([moved], batch=4)) == [(0, None), (1, 0)]
    assert match(plain(before, batch=0), plain(before, batch=0)) == [(0, 0), (1, 1)]


def test_a_removed_layer_stands_behind_the_one_it_followed() -> None:
    before = [linear("x", 3), conv("a", 8), linear("y", 4), conv("b", 16), linear("z", 5)]
    after = [conv("a", 8), conv("b", 16)]
    assert matched(before, after) == [("x", ""), ("a", "a"), ("y", ""), ("b", "b"), ("z", "")]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 3), (3, 0)])
def test_networks_without_layers(first: int, second: int) -> None:
    one, two = ([conv(str(i)) for i in range(count)] for count in (first, second))
    expected = [(None, j) for j in range(second)] + [(i, None) for i in range(first)]
    assert match(plain(one), plain(two)) == expected


def test_networks_too_large_for_a_programme_are_matched_by_their_ends_and_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matching, "MAX_CELLS", 3)
    before = [conv("a"), conv("b", 16), conv("c", 32), conv("d", 64), conv("e")]
    after = [conv("a"), conv("c", 32), conv("x", 16), conv("d", 65), conv("e")]
    assert sorted(matched(before, after)) == [("", "x"), ("a", "a"), ("b", ""), ("c", "c"), ("d", "d"), ("e", "e")]


def test_names_that_are_not_unique_break_nothing() -> None:
    layers = [conv("a"), conv("a", 16), conv("a")]
    assert match(plain(layers), plain(layers[::-1])) == [(0, 0), (1, 1), (2, 2)]


# --- what must hold of all --------------------------------------------------------------------------------------------

SHAPES = [(1, 8, 4, 4), (1, 8, 2, 2), (1, 4, 4, 4), (1, 8), (1, 16)]
LAYERS = st.builds(
    lambda kind, i, o, macs: ("", kind, i, o, macs),
    st.sampled_from(["conv", "linear", "norm"]),
    st.sampled_from(SHAPES),
    st.sampled_from(SHAPES),
    st.sampled_from([0, 100, 900]),
)
NETWORKS = st.lists(LAYERS, max_size=12).map(numbered)


@given(NETWORKS, NETWORKS)
def test_each_layer_is_in_one_pair_and_in_order(first: list[Layer], second: list[Layer]) -> None:
    pairs = match(plain(first), plain(second))
    assert sorted(i for i, _ in pairs if i is not None) == list(range(len(first)))
    assert [j for _, j in pairs if j is not None] == list(range(len(second)))


@given(NETWORKS, NETWORKS)
def test_the_match_does_not_depend_on_which_is_the_first(first: list[Layer], second: list[Layer]) -> None:
    def both(pairs: list[Pair]) -> set[Pair]:
        return {pair for pair in pairs if None not in pair}

    forth, back = match(plain(first), plain(second)), match(plain(second), plain(first))
    assert both(forth) == {(i, j) for j, i in both(back)}


@given(NETWORKS, st.data())
def test_layers_that_were_put_in_are_the_ones_without_a_match(network: list[Layer], data: st.DataObject) -> None:
    """However they are called: numbered anew, or with names of their own."""
    before: list[Layer] = [(f"stage.{layer[0]}", *layer[1:]) for layer in network]
    places = data.draw(st.lists(st.integers(0, len(before)), min_size=1, max_size=3))
    after = list(before)
    for place in places:
        after.insert(place, ("new", *data.draw(LAYERS)[1:]))
    if data.draw(st.booleans()):
        after = [(f"stage.{i}", *layer[1:]) for i, layer in enumerate(after)]
    pairs = match(plain(before), plain(after))
    assert sum(i is None for i, _ in pairs) == len(places)
    assert all(before[i][1:] == after[j][1:] for i, j in pairs if i is not None and j is not None)


@given(NETWORKS, st.permutations(range(30)))
def test_names_do_not_matter_where_the_layers_are_alike(network: list[Layer], order: list[int]) -> None:
    renamed = [(f"other.{order[i]}", *layer[1:]) for i, layer in enumerate(network)]
    assert match(plain(network), plain(renamed)) == [(i, i) for i in range(len(network))]


@settings(deadline=None)
@given(NETWORKS, NETWORKS)
def test_no_alignment_has_more_alike_pairs(first: list[Layer], second: list[Layer]) -> None:
    """Against the longest common subsequence, by recursion."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            same = a[1:] == b[1:]
            table[i + 1][j + 1] = table[i][j] + 1 if same else max(table[i][j + 1], table[i + 1][j])
    pairs = match(plain(first), plain(second))
    alike = sum(first[i][1:] == second[j][1:] for i, j in pairs if i is not None and j is not None)
    assert alike >= table[-1][-1]  # one more for each that is matched out of order


def test_large_networks_are_quick_to_match() -> None:
    """A thousand layers, every tenth of them another: no loop in Python goes over pairs."""
    chance = random.Random(0)
    before = [conv(f"b.{i}", chance.choice([8, 16, 32])) for i in range(1000)]
    after = [conv(f"c.{i}", 64) if i % 10 == 0 else (f"c.{i}", *layer[1:]) for i, layer in enumerate(before)]
    pairs = match(plain(before), plain(after))
    assert sum(i is not None and j is not None and i == j for i, j in pairs) >= 900

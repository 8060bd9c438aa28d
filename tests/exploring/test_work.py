"""One block of a run: its networks against arithmetic by hand, its tally, and spaces that are not as they should be."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import roofline
from roofline import spaces
from roofline.errors import RooflineError
from roofline.exploring.request import Range, span
from roofline.exploring.work import CHECK_EVERY, Job, Nearest, Tally, _to_check, explored
from tests.exploring.runs import TINY, tiny
from tests.exploring.tiny import Tiny, macs, network, params

Write = Callable[[str], str]

HEAD = """\
from torch import nn
from roofline.spaces import Part, Space


class Odd(Space):
    name, summary, input_shape = "odd", "not as it should be", (1, 3, 8, 8)

    def draw(self, choose):
        return {"width": choose.integer("width", 1, 99)}

    def build(self, config):
        return nn.Conv2d(3, config["width"], 1)
"""


@pytest.fixture
def odd(tmp_path: Path, user_modules: None) -> Callable[[str], Job]:
    """The job of a space that has these methods, too."""

    def made(methods: str, **others: Any) -> Job:
        path = tmp_path / "odd.py"
        path.write_text(HEAD + "\n" + "\n".join(f"    {line}" for line in methods.splitlines()) + "\n")
        return Job.of(tiny(space=f"{path}:Odd", **others))

    return made


# --- networks ---------------------------------------------------------------------------------------------------------


def test_rows_are_the_draws_counted_by_hand() -> None:
    job = Job.of(tiny())
    block = explored(job, 1)
    first, end = span(1)
    drawn: dict[int, dict[str, Any]] = {
        index: dict(Tiny().draw(spaces.RandomChooser(0, index))) for index in range(first, end)
    }
    valid = {index: config for index, config in drawn.items() if not Tiny().why_invalid(config)}
    found = {row.pop("index"): row for row in block.table().to_pylist()}
    assert list(found) == list(valid)
    for index, row in found.items():
        config = {name: list(value) if isinstance(value, tuple) else value for name, value in valid[index].items()}
        assert {name: row[name] for name in config} == config
        assert (row["macs"], row["params"]) == (macs(config), params(config))
        assert row["activations"] == 64 * config["width"] * config["depth"]
    assert block.tally.tried == end - first
    assert block.tally.invalid == len(drawn) - len(valid) > 0
    assert block.tally.because == "a width of 64 is for networks of one layer"


def test_latencies_are_those_of_an_analysis() -> None:
    """Of devices that run the network with other dtypes and fusions, each in its own way."""
    job = Job.of(tiny(batch=2))
    row = explored(job, 0).table().to_pylist()[3]
    module = network(row["width"], row["depth"], tuple(row["kernels"]), row["act"])
    image = torch.zeros(2, 3, 8, 8)
    for device in ("pixel6_tpu", "apple_m1_gpu"):
        analysis = roofline.analyze(module, image, hw=device)
        assert row[f"latency_s:{device}"] == pytest.approx(analysis.totals()["latency_s"], rel=1e-12)
    first = roofline.analyze(module, image, hw="pixel6_tpu").totals()
    assert {name: row[name] for name in ("macs", "weight_bytes", "activation_bytes")} == {
        name: first[name] for name in ("macs", "weight_bytes", "activation_bytes")
    }


def test_columns_have_their_types_and_order() -> None:
    schema = Job.of(tiny()).schema
    assert schema.names[:6] == ["index", "width", "depth", "kernels", "act", "macs"]
    assert schema.field("kernels").type == pa.list_(pa.int64())
    assert schema.names[-6:] == [
        f"{what}:{place}"
        for place in ("pixel6_tpu", "apple_m1_gpu", "ridge=30")
        for what in ("latency_s", "compute_bound_share")
    ]
    assert explored(Job.of(tiny()), 0).table().schema == schema


def test_a_ridge_point_alone_needs_no_device() -> None:
    job = Job.of(tiny(hw=(), ridge=(0.0, 100.0)))
    for row in explored(job, 0).table().to_pylist():
        assert row["latency_s:ridge=0"] == row["macs"]  # in the time of one MAC
        assert row["latency_s:ridge=100"] >= row["macs"]


def test_settings_hold_parameters() -> None:
    found = explored(Job.of(tiny(settings=(("width", "32"), ("kernels", "3")))), 0).table().to_pylist()
    assert {row["width"] for row in found} == {32}
    assert {kernel for row in found for kernel in row["kernels"]} == {3}
    assert {row["depth"] for row in found} == {1, 2, 3, 4}


def test_a_held_value_stands_where_it_was_asked_for() -> None:
    """AnyNetX D sorts its widths: a draw in which the one that is held would move is none."""
    job = Job.of(tiny(space="anynetxd", settings=(("widths[1]", "256"),)))
    block = explored(job, 3)
    widths = [row["widths"] for row in block.table().to_pylist()]
    assert widths
    assert all(row[1] == 256 and row == sorted(row) for row in widths)
    assert "widths[1] would be " in block.tally.because
    assert block.tally.invalid == block.tally.tried - len(widths)


def test_constraints_keep_what_lies_inside_and_name_the_nearest_outside() -> None:
    everything = explored(Job.of(tiny()), 1)
    limits = Range(2e6, 3e6)
    job = Job.of(tiny(macs=limits))
    some = explored(job, 1)
    kept = [row for row in everything.table().to_pylist() if 2e6 <= row["macs"] <= 3e6]
    assert some.table().to_pylist() == kept
    assert kept
    outside = [row for row in everything.table().to_pylist() if row not in kept]
    assert (some.tally.outside, some.tally.invalid) == (len(outside), everything.tally.invalid)
    nearest = min(outside, key=lambda row: abs(math.log(row["macs"] / (2e6 if row["macs"] < 2e6 else 3e6))))
    assert some.tally.nearest is not None
    assert some.tally.nearest.values == {"macs": nearest["macs"]}


def test_a_latency_is_a_constraint_too() -> None:
    everything = explored(Job.of(tiny()), 1).table().to_pylist()
    middle = sorted(row["latency_s:pixel6_tpu"] for row in everything)[len(everything) // 2]
    job = Job.of(tiny(latency=(("pixel6_tpu", Range(0, middle, "duration")),)))
    assert explored(job, 1).table().to_pylist() == [r for r in everything if r["latency_s:pixel6_tpu"] <= middle]


def test_tallies_add_up() -> None:
    one = Tally(tried=3, invalid=1, because="a", nearest=Nearest(miss=0.5, index=1, values={"macs": 1.0}))
    other = Tally(tried=4, outside=2, because="b", nearest=Nearest(miss=0.25, index=9, values={"macs": 2.0}))
    both = one + other
    assert (both.tried, both.invalid, both.outside, both.because, both.nearest) == (7, 1, 2, "a", other.nearest)
    assert Tally.from_dict(both.to_dict()) == both
    assert Tally() + both == both


# --- what is checked --------------------------------------------------------------------------------------------------


def test_a_sample_is_traced_whole() -> None:
    assert len(_to_check(0, 0, range(32))) == 3
    assert len(_to_check(0, 0, range(2))) == 2
    assert _to_check(0, 0, []) == []
    large = [_to_check(0, number, range(*span(number))) for number in range(5, 55)]
    draws = sum(len(range(*span(number))) for number in range(5, 55))
    assert sum(map(len, large)) == pytest.approx(draws / CHECK_EVERY, rel=0.05)
    assert _to_check(0, 7, range(1000)) != _to_check(1, 7, range(1000))
    assert explored(Job.of(tiny()), 0).tally.checked == 3


def test_parts_that_are_not_the_network_end_the_run(odd: Callable[..., Job]) -> None:
    job = odd(
        "def parts(self, config, batch):\n"
        "    return [Part(make=nn.Conv2d, config=(('in_channels', 3), ('out_channels', 5), ('kernel_size', 1)),\n"
        "                 input_shape=(batch, 3, 8, 8))]"
    )
    with pytest.raises(RooflineError, match=r"the space odd fails at draw \d+ \(width=\d+\): its parts are not the"):
        explored(job, 0)


# --- spaces of users --------------------------------------------------------------------------------------------------


def test_a_space_that_fails_says_in_which_draw(odd: Callable[..., Job]) -> None:
    job = odd("def parts(self, config, batch):\n    if config['width'] > 90:\n        raise KeyError('no\\nparts')\n"
              "    return super().parts(config, batch)")  # fmt: skip
    with pytest.raises(RooflineError, match=r"the space odd fails at draw \d+ \(width=9\d\): .*odd.py:\d+: KeyError:"):
        explored(job, 1)


def test_a_draw_that_fails_is_known_before_any_work(odd: Callable[..., Job]) -> None:
    with pytest.raises(RooflineError, match=r"the space odd fails at draw \d+: .*odd\.py:\d+: ZeroDivisionError"):
        odd("def draw(self, choose):\n    return {'width': 8 // choose.integer('width', 0, 3)}")


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ("{'macs': width}", "has a parameter 'macs', as a column of the dataset has"),
        ("{'a:b': width}", "has a parameter 'a:b'"),
        ("None", "draw returns a NoneType, and a dictionary of parameters is needed"),
        ("{}", "the space odd draws nothing: its configurations are empty"),
        ("{'width': width} if width % 2 else {'width': width, 'more': 1}", "and the first draw has "),
        ("{'width': width, 'mixed': 'text' if width % 2 else 1}", "'mixed' is of several types, int, str"),
        ("{'width': width, 'mixed': (1,) if width % 2 else 1}", "'mixed' is of several types, int, list"),
        ("{'width': width, 'thing': object()}", "'thing' is of several types, object"),
    ],
)
def test_what_becomes_no_column_is_refused(odd: Callable[..., Job], drawn: str, message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        odd(f"def draw(self, choose):\n    width = choose.integer('width', 1, 99)\n    return {drawn}")


def test_whole_and_broken_numbers_make_one_column(odd: Callable[..., Job]) -> None:
    job = odd("def draw(self, choose):\n    width = choose.integer('width', 1, 99)\n"
              "    return {'width': width, 'half': width / 2 if width % 2 else width // 2, 'none': ()}")  # fmt: skip
    assert job.parameters.field("half").type == pa.float64()
    assert job.parameters.field("none").type == pa.list_(pa.int64())
    assert all(row["half"] == row["width"] / 2 for row in explored(job, 0).table().to_pylist())


def test_the_spaces_of_the_documentation_are_the_same_with_and_without_parts(
    tmp_path: Path, user_modules: None
) -> None:
    page = Path(__file__).parents[2] / "docs" / "spaces.md"
    blocks = [text for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.S) if "class" in text]
    (tmp_path / "plain.py").write_text("\n".join(blocks))
    plain, fast = (
        explored(Job.of(tiny(space=f"{tmp_path / 'plain.py'}:{name}", settings=(("depth", "3"),))), 0)
        for name in ("Plain", "Fast")
    )
    assert plain.table() == fast.table()
    assert len(fast.table()) > 10


def test_a_worker_that_has_not_the_file_is_given_its_text(tmp_path: Path, user_modules: None) -> None:
    path = tmp_path / "mine.py"
    shutil.copy(TINY, path)
    job = Job.of(tiny(space=f"{path}:Tiny"))
    path.unlink()
    assert explored(job, 0).rows == explored(Job.of(tiny()), 0).rows


def test_a_worker_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job.of(tiny())
    monkeypatch.setattr("roofline.exploring.work.__version__", "9.9.9")
    with pytest.raises(RooflineError, match=r"a worker has roofline 9\.9\.9, and the run was started by"):
        explored(job, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"space": "regnetz"}, "unknown space 'regnetz'. Did you mean"),
        ({"space": "nowhere.py:Tiny"}, r"nowhere\.py: no such file"),
        ({"space": f"{TINY}:Tinny"}, "Did you mean 'Tiny'"),
        ({"space": f"{TINY}:network"}, "is no space"),
        ({"hw": ("pixel66",)}, "unknown hardware"),
        ({"hw": ("pixel6_tpu", "pixel6_tpu.yaml")}, "the device pixel6_tpu is given twice"),
        ({"dtype": "fp32"}, "no peak for dtype 'fp32'"),
        ({"settings": (("widht", "8"),)}, "no parameter 'widht'. Did you mean 'width'"),
        ({"settings": (("width", "9"),)}, "width must be a whole number from 8 to 64 in steps of 8"),
        ({"latency": (("pixel6_cpu", Range()),)}, "--hw does not name that device"),
    ],
)
def test_what_does_not_exist_is_known_before_any_work(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        Job.of(tiny(**given))

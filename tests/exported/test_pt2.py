"""Networks saved by torch.export have the layers of the live model, one by one; what is no such archive is refused."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from roofline.errors import ModelError, TraceError
from roofline.exported import archive, load_exported
from roofline.exported.network import Step, letting_go, perform
from roofline.layers import COLUMNS, LayerTable, lower
from roofline.trace import trace
from tests.exported.networks import Block, Recurrent, Tied, with_numbers, zoo

SEQUENCE = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("tokens", max=512)}


def saved(network: nn.Module, inputs: tuple[Any, ...], path: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter: it is what it writes that is tested
        torch.export.save(torch.export.export(network, inputs, **options), path)
    return path


def table_of(path: Path, fusion: str = "none", **sizes: Any) -> LayerTable:
    found = load_exported(path, **sizes)
    return lower(trace(found.network, found.inputs), fusion=fusion)


def assert_same(exported: LayerTable, live: LayerTable) -> None:
    for column in COLUMNS:
        assert getattr(exported, column).tolist() == getattr(live, column).tolist(), column
    assert exported.params == live.params
    assert exported.peak_activation_bytes == live.peak_activation_bytes
    assert not exported.uncounted_ops


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "mobilenetv3_small_100": (lambda: zoo("mobilenetv3_small_100"), (torch.zeros(1, 3, 64, 64),)),
    "regnety_004": (lambda: zoo("regnety_004"), (torch.zeros(2, 3, 64, 64),)),
    "transformer block": (lambda: with_numbers(Block()), (torch.zeros(2, 9, dtype=torch.int64),)),
    "lstm": (lambda: with_numbers(Recurrent()), (torch.zeros(2, 7, 16),)),
    "tied": (lambda: with_numbers(Tied()), (torch.zeros(2, 5, dtype=torch.int64),)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(2)
def test_the_layers_are_those_of_the_live_model(case: str, tmp_path: Path) -> None:
    make, inputs = CASES[case]
    network = make()
    path = saved(network, inputs, tmp_path / "net.pt2")
    for fusion in ("none", "epilogue"):
        assert_same(table_of(path, fusion), lower(trace(network, inputs), fusion=fusion))


def test_open_dimensions_take_any_size_they_were_exported_for(tmp_path: Path) -> None:
    network = with_numbers(Block())
    ids = torch.zeros(2, 16, dtype=torch.int64)
    path = saved(network, (ids,), tmp_path / "net.pt2", dynamic_shapes=(SEQUENCE,))
    assert_same(
        table_of(path, batch=2), lower(trace(network, ids))
    )  # 16 tokens, as in the example it was exported with
    assert_same(table_of(path), lower(trace(network, ids[:1])))
    wanted = torch.zeros(3, 40, dtype=torch.int64)
    assert_same(table_of(path, batch=3, input_size=(40,)), lower(trace(network, wanted)))
    with pytest.raises(ModelError, match=r"=600 is outside of what it was exported for: .* to 512"):
        load_exported(path, input_size=(600,))
    with pytest.raises(
        ModelError, match=r"called 'tokens': it has s\d+ \(dimension 0 of input 'ids'\), s\d+ \(dimension 1 of"
    ):
        load_exported(path, dims={"tokens": 3})


def test_a_fixed_dimension_stays_as_it_is(tmp_path: Path) -> None:
    path = saved(with_numbers(nn.Linear(4, 4)), (torch.zeros(2, 4),), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=r"net.pt2: the batch of input 'input' is fixed at 2 in the file \(got 8\)"):
        load_exported(path, batch=8)
    with pytest.raises(ModelError, match="its size without the batch has 1 numbers"):
        load_exported(path, input_size=(3, 224, 224))


def test_a_part_without_gradients_runs_inside_the_graph(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y: Tensor = self.linear(x)
            return y.relu()

    path = saved(Net(), (torch.zeros(3, 8),), tmp_path / "net.pt2")
    table = table_of(path)
    assert table.macs.sum() == 3 * 8 * 4
    assert "+".join(table.ops) == "linear+relu"


def test_text_of_the_file_is_no_code(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = f"tanh' + str(open({str(mark)!r}, 'w')) + '"
    path = saved(nn.GELU("tanh"), (torch.zeros(2, 4),), tmp_path / "net.pt2")

    def change(program: dict[str, Any]) -> None:
        for node in program["graph_module"]["graph"]["nodes"]:
            for entry in node["inputs"]:
                if "as_string" in entry["arg"]:
                    entry["arg"]["as_string"] = text

    flat = load_exported(with_program(path, change), weights=True).network.flattened()
    assert repr(text) in flat.code
    with pytest.raises(RuntimeError, match="approximate"):
        flat(torch.zeros(2, 4))
    assert not mark.exists()


def test_ops_of_others_are_counted_and_not_run(linear: Path) -> None:
    ran: list[Any] = []
    library = torch.library.Library("of_another", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("twice(Tensor x) -> Tensor")  # type: ignore[no-untyped-call]

    def twice(x: Tensor) -> Tensor:
        ran.append(x)
        return 2 * x

    library.impl("twice", twice, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]

    def change(program: dict[str, Any]) -> None:
        nodes = program["graph_module"]["graph"]["nodes"]
        call = {"target": "torch.ops.of_another.twice.default", "outputs": [{"as_tensor": {"name": "unread"}}]}
        given = [{"name": "x", "arg": {"as_tensor": {"name": "linear"}}, "kind": 1}]
        nodes.append({**call, "inputs": given, "metadata": {}})

    path = with_program(linear, change)
    try:
        found = load_exported(path)
        found.network(*found.inputs)
        assert len(ran) == 1
        with pytest.raises(ModelError, match=r"not torch's own, .*: torch\.ops\.of_another\.twice\.default \(1x\)"):
            load_exported(path, weights=True)
        assert len(ran) == 1
    finally:
        library._destroy()  # type: ignore[no-untyped-call]


# --- with numbers ------------------------------------------------------------------------------------------------


class Indexed(nn.Module):
    """Indices in every place that a file has for constants: a wrong one would be told by the result."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.register_buffer("positions", torch.tensor([5, 4, 3, 2, 1, 0]), persistent=False)
        self.register_buffer("saved", torch.arange(6) + 3)
        self.register_buffer("part", self.saved[2:])  # type: ignore[index]  # on the memory of the one before
        self.plain = torch.tensor([True, False, True, True, False, True])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.embed(self.positions) + self.embed(self.saved)
        x = x + self.embed(torch.tensor([7, 1, 1, 9, 2, 1])) + self.embed(self.part)[0]
        grid = torch.arange(6, device=x.device)[:, None]
        masked: Tensor = torch.where(self.plain[:, None], x, -x) * grid
        return masked


def numbered(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.rand(x.shape, generator=generator)
        if x.is_floating_point()
        else torch.randint(50, x.shape, generator=generator)
        for x in inputs
    )


RUNS = {**CASES, "indices": (lambda: with_numbers(Indexed()), (torch.zeros(2, 6, 4),))}


@pytest.mark.parametrize("case", RUNS)
@pytest.mark.sampled(2)
def test_it_computes_what_the_live_model_computes(case: str, tmp_path: Path) -> None:
    make, inputs = RUNS[case]
    network = make()
    found = load_exported(saved(network, inputs, tmp_path / "net.pt2"), weights=True).network.eval()
    given = numbered(network, inputs)
    with torch.inference_mode():
        want = network(*given)
        torch.testing.assert_close(found(*given)[0], want)
        torch.testing.assert_close(found.flattened()(*given)[0], want)
        if given[0].dim() == 4:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            found.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            images = given[0].contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(found(images)[0], network(images))
            assert found(images)[0].stride() == network(images).stride()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(2)
def test_flops_are_those_of_the_live_model(case: str, tmp_path: Path) -> None:
    make, inputs = CASES[case]
    network = make()
    found = load_exported(saved(network, inputs, tmp_path / "net.pt2"), weights=True).network
    counted = []
    for module in (network, found):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(*inputs)
        counted.append(counter.get_total_flops())
    assert counted[0] == counted[1] > 0


def test_in_another_dtype_constants_go_with_the_weights(tmp_path: Path) -> None:
    path = saved(with_numbers(nn.Linear(4, 4)), (torch.zeros(2, 4),), tmp_path / "net.pt2")
    network = load_exported(path, weights=True).network.to(torch.bfloat16)
    assert network(torch.ones(2, 4, dtype=torch.bfloat16))[0].dtype == torch.bfloat16


def test_values_are_let_go_of_where_nothing_reads_them_any_more() -> None:
    alive: list[set[str]] = []

    def step(name: str, *reads: str) -> Step:
        def run(values: dict[str, Any]) -> None:
            assert values.keys() >= set(reads)
            values[name] = object()
            alive.append(set(values))

        return Step((), run, reads, (name,))

    values: dict[str, Any] = {"x": 0}
    steps = [step("a", "x"), step("b", "a"), step("unused", "b"), step("c", "a", "b"), step("d", "c")]
    perform(letting_go(steps, ["b", "d"]), values)
    assert values.keys() == {"x", "b", "d"}
    assert alive == [set("xa"), set("xab"), {*"xab", "unused"}, set("xabc"), set("xbcd")]


def test_the_modules_give_out_what_the_last_of_them_does(tmp_path: Path) -> None:
    conv = nn.Conv2d(3, 4, 3)
    network = with_numbers(nn.Sequential(conv, nn.ReLU()))
    found = load_exported(saved(network, (torch.zeros(1, 3, 8, 8),), tmp_path / "net.pt2"), weights=True).network
    seen: dict[str, Any] = {}
    for name, module in found.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    x = torch.rand(1, 3, 8, 8)
    found(x)
    torch.testing.assert_close(seen["0"], conv(x))
    torch.testing.assert_close(seen["1"], network(x))


def test_autocast_inside_is_refused_where_it_runs(tmp_path: Path) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                y: Tensor = x @ x
            return y

    path = saved(Net(), (torch.zeros(3, 3),), tmp_path / "net.pt2")
    assert table_of(path).macs.sum() == 27
    with pytest.raises(ModelError, match=r"runs under torch\.autocast in part"):
        load_exported(path, weights=True).network(torch.zeros(3, 3))


def pickled(path: Path, malicious: bytes) -> Path:
    """The archive with each of its weights and constants as this pickle."""

    def changed(name: str, data: bytes) -> bytes:
        if name.endswith(("weights_config.json", "constants_config.json")):
            config = json.loads(data)
            for entry in config["config"].values():
                entry["use_pickle"] = True
            return json.dumps(config).encode()
        is_number = any(part in name for part in ("weights/weight_", "constants/tensor_", "sample_inputs"))
        return malicious if is_number else data

    return rewritten(path, changed)


def test_pickled_weights_are_made_up_and_pickled_indices_refused(linear: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    malicious = pickle.dumps(Bomb(mark))
    torch.manual_seed(0)
    network = load_exported(pickled(linear, malicious), weights=True).network
    assert network(torch.ones(2, 4))[0].isfinite().all()
    assert network(torch.ones(2, 4))[0].std() > 0
    indexed = saved(with_numbers(Indexed()), (torch.zeros(2, 6, 4),), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=r"'\w+' holds (int64|bool) numbers .* as a pickle, which is not opened"):
        load_exported(pickled(indexed, malicious), weights=True)
    with pytest.raises(ModelError, match=r"has 4 numbers, and .*weight_1 only 0|has 16 numbers, and .*weight_\d only"):
        load_exported(rewritten(linear, lambda name, data: b"" if "weights/weight_" in name else data), weights=True)
    assert not mark.exists()


def test_numbers_that_are_not_as_pytorch_writes_them(linear: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(linear) as old, zipfile.ZipFile(bomb, "w") as new:
        for name in old.namelist():
            how = zipfile.ZIP_DEFLATED if "weights/weight_" in name else zipfile.ZIP_STORED
            new.writestr(name, old.read(name), how)
    with pytest.raises(ModelError, match=r"weight_\d is compressed"):
        load_exported(bomb, weights=True)
    other = "big" if sys.byteorder == "little" else "little"
    with pytest.raises(ModelError, match="byte order of another kind of machine"):
        load_exported(
            rewritten(linear, lambda name, data: other.encode() if name.endswith("/byteorder") else data), weights=True
        )


# --- what is refused ---------------------------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The archive with members changed, or left out."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(with_numbers(nn.Linear(4, 4)), (torch.zeros(2, 4),), tmp_path_factory.mktemp("pt2") / "net.pt2")


def with_program(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    def changed(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        program = json.loads(data)
        change(program)
        return json.dumps(program).encode()

    return rewritten(path, changed)


def test_to_count_neither_weights_nor_pickles_are_read(linear: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    malicious = pickle.dumps(Bomb(mark))
    path = rewritten(linear, lambda name, data: malicious if "sample_inputs" in name or "weight_" in name else data)
    assert table_of(path).macs.sum() == 2 * 4 * 4
    assert not mark.exists()
    pickle.loads(malicious)  # it does run where it is read
    assert mark.exists()


def test_archives_from_before_pytorch_2_8(linear: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(linear) as new:
        program = next(new.read(name) for name in new.namelist() if name.endswith("models/model.json"))
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as old:
        old.writestr("version", "8.8")
        old.writestr("serialized_exported_program.json", program)
    assert_same(table_of(path), table_of(linear))
    assert load_exported(path, weights=True).network(torch.ones(2, 4))[0].isfinite().all()  # all weights are a pickle


def test_another_version_says_which(linear: Path) -> None:
    def change(program: dict[str, Any]) -> None:
        program.update(schema_version={"major": 9, "minor": 1}, torch_version="4.0")

    with pytest.raises(ModelError, match=r"another version of PyTorch \(4.0\): its schema is 9, and 8 is what can be"):
        load_exported(with_program(linear, change))


@pytest.mark.parametrize(
    "target", ["torch.ops.mine.op.default", "torch.ops.higher_order.cond", "torch.ops.aten.from_file.default",
               "torch.ops.aten.save.default", "torch.ops.aten.manual_seed.default",
               "os.system", "torch.ops.load_library", "torch.load", "torch.ops.aten.linear.__class__"]
)  # fmt: skip
def test_unknown_ops_are_named_and_never_called(linear: Path, target: str) -> None:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(ModelError, match=rf"changed.pt2: ops that are not known here: {target} \(1x\)"):
        load_exported(with_program(linear, change))


def test_damaged_graphs_are_one_line(linear: Path) -> None:
    with pytest.raises(ModelError, match=r"another version of PyTorch \(2.*\): its schema is None"):
        load_exported(with_program(linear, lambda program: program.pop("schema_version")))
    with pytest.raises(ModelError, match="is no exported program as PyTorch writes it"):
        load_exported(with_program(linear, lambda program: program.pop("graph_module")))
    with pytest.raises(ModelError, match="is no exported program as PyTorch writes it"):
        load_exported(with_program(linear, lambda program: program["graph_module"]["signature"].clear()))


def test_what_is_no_archive(linear: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent.pt2: no such file"):
        load_exported(tmp_path / "absent.pt2")
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(linear.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"no whole \.pt2 archive"):
        load_exported(cut)
    with pytest.raises(ModelError, match=r"holds no exported program; torch\.export\.save"):
        load_exported(rewritten(linear, lambda name, data: None if name.endswith(".json") else data))
    script = tmp_path / "script.pt2"
    with zipfile.ZipFile(script, "w") as made:
        made.writestr("net/data.pkl", b"")
    with pytest.raises(ModelError, match="TorchScript archive or a pickle, and loading it runs code"):
        load_exported(script)


def test_a_graph_that_would_fill_the_memory(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_JSON_BYTES", 100)
    with pytest.raises(ModelError, match=r"model.json would be [\d,]+ bytes; graphs have up to 100"):
        load_exported(linear)


def test_a_few_bytes_do_not_become_gigabytes(linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python makes 1.9 GB of 60 MiB of ``{},``, which fit into 61 kB; refused before they are parsed."""
    text = b'{"a":[' + b"{}," * (2**22 + 1) + b"{}]}"
    for how, match in (
        (zipfile.ZIP_DEFLATED, r"out of [\d,]+: no graph"),
        (zipfile.ZIP_STORED, "has more than 4,194,304"),
    ):
        with zipfile.ZipFile(tmp_path / "net.pt2", "w", how) as made:
            made.writestr("net/models/model.json", text)
        monkeypatch.setattr(json, "loads", lambda text: pytest.fail("it was parsed"))
        with pytest.raises(ModelError, match=rf"net\.pt2: net/models/model\.json .*{match}"):
            load_exported(tmp_path / "net.pt2")
        monkeypatch.undo()
    with zipfile.ZipFile(linear) as old, zipfile.ZipFile(tmp_path / "again.pt2", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert_same(table_of(tmp_path / "again.pt2"), table_of(linear))  # who compresses a graph again may


def test_deep_json_does_not_exhaust_the_stack(linear: Path) -> None:
    deep = b"[" * 1_000_000
    path = rewritten(linear, lambda name, data: deep if name.endswith("models/model.json") else data)
    with pytest.raises(ModelError, match=r"model\.json is no JSON"):
        load_exported(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "net/../../evil"])
def test_paths_that_leave_the_archive(linear: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "leaving.pt2"
    path.write_bytes(linear.read_bytes())
    with zipfile.ZipFile(path, "a") as archive_file:
        archive_file.writestr(name, b"")
    with pytest.raises(ModelError, match="a path that leaves the archive"):
        load_exported(path)


def test_sizes_beyond_any_machine(linear: Path) -> None:
    def change(program: dict[str, Any]) -> None:
        for meta in program["graph_module"]["graph"]["tensor_values"].values():
            meta["sizes"] = [{"as_int": 2**30}, {"as_int": 2**30}]

    with pytest.raises(ModelError, match=r"1073741824x1073741824.*2\^44 elements are allowed"):
        load_exported(with_program(linear, change))


def test_counts_by_hand(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10))
    table = table_of(saved(network, (torch.zeros(1, 3, 16, 16),), tmp_path / "net.pt2"), "epilogue")
    # convolution: 8 x 8 x 8 outputs of 3 x 3 x 3 products; linear: 512 x 10
    assert table.macs.tolist() == [512 * 27, 5120]
    assert table.name.tolist() == ["0", "3"]
    assert table.ops.tolist() == ["convolution+relu", "linear"]
    assert np.array_equal(table.weight_bytes, [4 * (216 + 8), 4 * (5120 + 10)])
    assert np.array_equal(table.activation_bytes, [4 * (768 + 512), 4 * (512 + 10)])


def test_arithmetic_that_would_not_end(linear: Path) -> None:
    def number(value: int) -> dict[str, Any]:
        return {"name": "a", "arg": {"as_int": value}, "kind": 1}

    def change(program: dict[str, Any]) -> None:
        outputs = [{"as_sym_int": {"as_name": "n"}}]
        node = {"target": "_operator.pow", "inputs": [number(10), number(10**10)], "outputs": outputs, "metadata": {}}
        program["graph_module"]["graph"]["nodes"].insert(0, node)

    found = load_exported(with_program(linear, change))
    with pytest.raises(TraceError, match=r"_operator\.pow with 10000000000 is no arithmetic of shapes"):
        trace(found.network, found.inputs)

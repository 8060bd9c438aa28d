"""`roofline hw` as people type it: the list, one profile, a check, the schema, and a profile to fill in."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from roofline.hardware import FigureKind
from roofline.profile_schema import json_schema
from roofline.profile_template import template
from roofline.profiles import bundled, load_all, load_profile
from roofline.units import si, significant

Command = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {"torch", "numpy", "pandas", "plotly", "scipy", "fvcore", "jinja2"}
MINE = template("mine").replace("kind: estimate", "kind: datasheet").replace("TODO: document, page", "brief, p. 3")
MINE = re.sub(r"^(bandwidth.*)brief, p\. 3", r"\1brief, p. 4", MINE, flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder as a user has it: a good profile and a bad one."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MINE)
    Path("bad.yaml").write_text(MINE.replace("class: npu", "class: tpu").replace("value: 34.1", "value: 0"))
    Path("folder").mkdir()


def well(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that went well printed."""
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that was refused said: one line, exit code 2, and not a word on stdout."""
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r"roofline: [^\n]+\n", run.stderr), run.stderr
    return run.stderr.removeprefix("roofline: ").removesuffix("\n")


def listed(text: str) -> list[str]:
    """The names in the first column of a table."""
    return re.findall(rf"^(\w+) .*  (?:{'|'.join(get_args(FigureKind))})$", text, re.MULTILINE)


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_looks_as_it_was_meant_to(command: Command, golden: Callable[[str, str], None]) -> None:
    golden(well(command("hw")), "hw.txt")


def test_the_list_has_each_profile_once_under_its_class(command: Command) -> None:
    text = well(command("hw"))
    assert max(map(len, text.splitlines())) <= 80
    names = listed(text)
    assert sorted(names) == list(bundled())
    heading = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"(\w+) \(\d+\)", line):
            heading = match[1]
        elif line.split()[:1] and line.split()[0] in bundled():
            device = load_profile(line.split()[0])
            dtype = device.default_dtype
            assert device.device_class == heading
            assert re.search(
                rf" {dtype}\b.* {si(device.peak(dtype))} +{si(device.bandwidth_bytes_per_s)} "
                rf"+{significant(device.ridge_point(dtype))}  \w+$",
                line,
            )


def test_json_is_a_list_of_what_python_gives(command: Command) -> None:
    assert json.loads(well(command("hw", "--format", "json"))) == [device.to_dict() for device in load_all()]


def test_json_of_one_is_a_list_too(command: Command) -> None:
    assert json.loads(well(command("hw", "pixel6_tpu", "--format", "json"))) == [load_profile("pixel6_tpu").to_dict()]


def test_csv_has_a_line_for_each_dtype_in_si_units(command: Command) -> None:
    lines = list(csv.DictReader(io.StringIO(well(command("hw", "--format", "csv")))))
    assert len(lines) == sum(len(device.peak_macs_per_s) for device in load_all())
    for line in lines:
        device = load_profile(line["id"])
        assert float(line["peak_macs_per_s"]) == device.peak(line["dtype"])
        assert float(line["bandwidth_bytes_per_s"]) == device.bandwidth_bytes_per_s
        assert float(line["ridge_point_macs_per_byte"]) == device.ridge_point(line["dtype"])
        assert line["latency_kind"] == device.latency_kind(line["dtype"])


def test_markdown_is_a_table(command: Command) -> None:
    lines = well(command("hw", "pixel6_tpu", "nvidia_t4", "--format", "md")).splitlines()
    assert [line.count("|") for line in lines[2:]] == [9] * (2 + 1 + 3)
    assert lines[4].startswith(r"| nvidia\_t4 | gpu | fp32 | 4.05 T |")


@pytest.mark.parametrize("name", ["list.txt", "list.json", "list.csv", "list.md"])
def test_a_file_gets_the_format_of_its_suffix(name: str, command: Command) -> None:
    assert well(command("hw", "pixel*", "-o", name)) == ""
    format = {".txt": "table"}.get(Path(name).suffix, Path(name).suffix[1:])
    assert Path(name).read_text().split() == well(command("hw", "pixel*", "--format", format)).split()


def test_a_class_may_be_given_again(command: Command) -> None:
    names = listed(well(command("hw", "--class", "dsp", "--class", "edgetpu")))
    assert names == [d.id for kind in ("dsp", "edgetpu") for d in load_all() if d.device_class == kind]


@pytest.mark.parametrize("sort", ["ridge", "peak", "bandwidth"])
def test_sorted_from_large_to_small(sort: str, command: Command) -> None:
    text = well(command("hw", "--sort", sort))
    assert max(map(len, text.splitlines())) <= 80
    devices = [load_profile(name) for name in listed(text)]
    keys = {
        "ridge": [d.ridge_point(d.default_dtype) for d in devices],
        "peak": [d.peak(d.default_dtype) for d in devices],
        "bandwidth": [d.bandwidth_bytes_per_s for d in devices],
    }
    assert sorted(d.id for d in devices) == list(bundled())
    assert keys[sort] == sorted(keys[sort], reverse=True)


def test_at_one_dtype_only_those_that_have_it(command: Command) -> None:
    names = listed(well(command("hw", "--dtype", "bf16")))
    assert sorted(names) == [device.id for device in load_all() if "bf16" in device.peak_macs_per_s]


def test_a_pattern_lists_what_it_matches(command: Command) -> None:
    assert listed(well(command("hw", "nvidia_h*"))) == [name for name in bundled() if name.startswith("nvidia_h")]
    assert listed(well(command("hw", "pixel6_tpu*"))) == ["pixel6_tpu"]  # one, but asked for as a list


def test_names_and_files_stand_in_one_list(command: Command) -> None:
    text = well(command("hw", "mine.yaml", "pixel6_tpu"))
    assert re.search(r"^mine +int8 fp16 +4 T +34\.1 G +117  datasheet$", text, re.MULTILINE)
    assert re.search(r"^pixel6_tpu +int8 ", text, re.MULTILINE)


# --- one profile ------------------------------------------------------------------------------------------------------


def test_one_profile_looks_as_it_was_meant_to(command: Command, golden: Callable[[str, str], None]) -> None:
    golden(well(command("hw", "pixel6_tpu")), "hw_pixel6_tpu.txt")


def test_a_profile_with_every_term_looks_as_it_was_meant_to(
    command: Command, golden: Callable[[str, str], None]
) -> None:
    Path("all.yaml").write_text(re.sub(r"^#(?=\w)", "", template("all"), flags=re.MULTILINE))
    golden(well(command("hw", "all.yaml")), "hw_all_terms.txt")


def test_a_name_and_its_file_tell_the_same(command: Command) -> None:
    path = Path(__file__).parents[1] / "hwprofiles" / "pixel6_tpu.yaml"
    assert well(command("hw", path)) == well(command("hw", "Pixel6-TPU"))


def test_a_class_that_one_has_leaves_it_told_in_full(command: Command) -> None:
    assert well(command("hw", "pixel6_tpu", "--class", "edgetpu")) == well(command("hw", "pixel6_tpu"))


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_good_file_is_one_line(command: Command) -> None:
    expected = "mine.yaml: ok: mine, npu, ridge point in MACs/byte: 58.7 at fp16, 117 at int8\n"
    assert well(command("hw", "check", "mine.yaml")) == expected


def test_warnings_are_no_failure(command: Command) -> None:
    Path("draft.yaml").write_text(template("draft"))
    lines = well(command("hw", "check", "draft.yaml")).splitlines()
    assert lines[0].startswith("draft.yaml: ok: ")
    assert len(lines) > 1
    assert all(re.match(r"draft\.yaml:\d+: warning: \w+", line) for line in lines[1:])


def test_of_several_files_each_is_told_and_a_bad_one_is_exit_code_2(command: Command) -> None:
    run = command("hw", "check", "mine.yaml", "bad.yaml", "none.yaml", "mine.yaml")
    assert (run.returncode, run.stderr) == (2, "")
    lines = run.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["mine.yaml", "bad.yaml", "bad.yaml", "none.yaml", "mine.yaml"]
    assert re.match(r"bad\.yaml:\d+: class: must be 'cpu', .* \(got 'tpu'\)$", lines[1])
    assert re.match(r"bad\.yaml:\d+: bandwidth_gb_per_s\.value: must be greater than 0 \(got 0\)$", lines[2])
    assert lines[3] == "none.yaml: no such file"


@pytest.mark.parametrize("name", ["pixel6_tpu", "Pixel6-TPU"])
def test_a_bundled_name_is_no_file_to_check(name: str, command: Command) -> None:
    run = command("hw", "check", name)
    told = f"{name}: no such file; a check takes files, and 'roofline hw pixel6_tpu' tells the bundled profile\n"
    assert (run.returncode, run.stdout) == (2, told)


def test_a_file_s_name_cannot_steer_the_terminal(command: Command) -> None:
    run = command("hw", "check", "\x1b[31mred.yaml")
    assert run.returncode == 2
    assert "\x1b" not in run.stdout


# --- schema and new ---------------------------------------------------------------------------------------------------


def test_the_schema_is_json_on_stdout_or_in_a_file(command: Command) -> None:
    printed = json.loads(well(command("hw", "schema")))
    assert printed == json_schema()
    Draft202012Validator.check_schema(printed)
    assert well(command("hw", "schema", "-o", "profile.schema.json")) == ""
    assert json.loads(Path("profile.schema.json").read_text()) == printed
    assert well(command("hw", "schema", "-o", "-")) == well(command("hw", "schema"))


def test_a_new_profile_is_called_what_is_asked_or_what_its_file_is(command: Command) -> None:
    assert well(command("hw", "new")) == template("my_device")
    assert well(command("hw", "new", "a1")) == well(command("hw", "new", "a1", "-o", "-")) == template("a1")
    assert well(command("hw", "new", "-o", "Their Chip.yaml")) == ""
    assert Path("Their Chip.yaml").read_text() == template("their_chip")
    assert well(command("hw", "new", "a1", "-o", "folder/x.yaml")) == ""
    assert Path("folder/x.yaml").read_text() == template("a1")


def test_a_new_profile_passes_the_check_and_can_be_listed(command: Command) -> None:
    well(command("hw", "new", "-o", "chip.yaml"))
    assert well(command("hw", "check", "chip.yaml")).startswith("chip.yaml: ok: chip, npu, ")
    assert well(command("hw", "chip.yaml")).startswith("chip  My Device, npu\n")


def test_a_file_is_never_overwritten_unless_forced(command: Command) -> None:
    told = one_line(command("hw", "new", "-o", "mine.yaml"))
    assert told == "mine.yaml is there already, and stays as it is; --force overwrites it"
    assert Path("mine.yaml").read_text() == MINE
    assert well(command("hw", "new", "-o", "mine.yaml", "--force")) == ""
    assert Path("mine.yaml").read_text() == template("mine")


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_written_beside_the_answer(command: Command) -> None:
    run = command("hw", "nvidia_h*", "--html", "hw.html", "--plotlyjs", "directory")
    assert (run.returncode, run.stderr) == (0, "Wrote hw.html\n")
    assert listed(run.stdout)
    page = Path("hw.html").read_text()
    assert "3 hardware profiles" in page
    assert "nvidia_h100_pcie" in page
    assert "roofline hw &#39;nvidia_h*&#39; --html hw.html" in page


def test_page_and_answer_are_not_one_file(command: Command) -> None:
    assert "--html and -o both name x.txt" in one_line(command("hw", "--html", "x.txt", "-o", "x.txt"))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pixel6_npu", r"unknown hardware 'pixel6_npu'\. Did you mean 'pixel6_tpu'.*'roofline hw' lists all\.$"),
        ("''", r"unknown hardware ''\."),
        ("shcema", r"unknown hardware 'shcema'.* Did you mean 'schema'\?$"),
        ("chekc mine.yaml", r"unknown hardware 'chekc'.* Did you mean 'check'\?$"),
        ("cheque mine.yaml", r"unknown hardware 'cheque'.* Did you mean 'check'\?$"),
        ("newfoundland", r"unknown hardware 'newfoundland'\. 'roofline hw' lists all\.$"),
        ("'nvdia_*'", r"no bundled profile matches 'nvdia_\*'\. Did you mean 'nvidia_"),
        ("bad.yaml", r"bad\.yaml:\d+: class: must be .* \(\+1 more\)$"),
        ("folder", r"folder: is a directory"),
        ("none.yaml", r"unknown hardware 'none\.yaml': no such file"),
        ("pixel6_tpu none/none.yaml", r"none/none\.yaml: no such file$"),
        ("pixel6_tpu --class cpu", r"no device of class cpu among pixel6_tpu$"),
        ("pixel4_dsp --dtype fp16", r"no device of dtype fp16 among pixel4_dsp \(it lists: int8\)$"),
        ("--class dsp --dtype bf16", r"of class dsp and dtype bf16 among the bundled profiles \(they list: int8\)$"),
        ("--class tpu", r"'--class': 'tpu' is not one of"),
        ("--sort size", r"'--sort': 'size' is not one of"),
        ("--dtype int4", r"'--dtype': 'int4' is not one of"),
        ("--format pdf", r"'--format': 'pdf' is not one of"),
        ("--fromat json", r"No such option '?--fromat"),
        ("--sort", r"'--sort' requires an argument"),
        ("-o out.pdf", r"format of out\.pdf"),
        ("-o none/out.txt", r"cannot write none/out\.txt: there is no folder none"),
        ("--html none/x.html", r"cannot write none/x\.html: there is no folder none"),
        ("check", r"Missing argument 'FILE\.\.\.'"),
        ("check --strict mine.yaml", r"No such option '?--strict"),
        ("schema mine.yaml", r"unexpected extra argument \(mine\.yaml\)"),
        ("schema -o folder", r"cannot write folder: it is a folder"),
        ("schema -o none/x.json", r"there is no folder none"),
        ("new 'My Device'", r"an id is lower-case .*, as in my_device \(got 'My Device'\)$"),
        ("new ''", r"an id is lower-case .* \(got ''\)$"),
        ("new a b", r"unexpected extra argument \(b\)"),
        ("new -o folder", r"cannot write folder: it is a folder"),
        ("new -o none/x.yaml", r"there is no folder none"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(line: str, told: str, command: Command) -> None:
    assert re.search(told, one_line(command("hw", *shlex.split(line))))


# --- help, completion, weight -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["--help", "-h", "pixel6_tpu --help", "--class gpu -h"])
def test_the_help_shows_every_way_to_call_it(arguments: str, command: Command) -> None:
    text = well(command("hw", *arguments.split()))
    assert text.startswith(
        "Usage: roofline hw [OPTIONS] [PROFILE]...\n"
        "       roofline hw check FILE...\n"
        "       roofline hw schema [-o FILE]\n"
        "       roofline hw new [ID] [-o FILE] [--force]\n"
    )
    assert max(map(len, text.splitlines())) <= 80
    for option in ("--class", "--dtype", "--sort", "--format", "--output", "--html", "--png", "--svg"):
        assert option in text
    assert re.findall(r"^  (\w+)  +[A-Z]", text, re.MULTILINE) == ["check", "new", "schema"]


@pytest.mark.parametrize("name", ["check", "new", "schema"])
def test_each_command_has_a_help(name: str, command: Command) -> None:
    text = well(command("hw", name, "--help"))
    assert text.startswith(f"Usage: roofline hw {name} ")
    assert max(map(len, text.splitlines())) <= 80


def test_a_file_that_is_called_as_a_command_is_a_path_away(command: Command) -> None:
    Path("check").write_text(MINE)
    assert well(command("hw", "./check")).startswith("mine  My Device, npu\n")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("roofline hw pixel6_", {name for name in bundled() if name.startswith("pixel6_")}),
        ("roofline hw sc", {"schema"}),
        ("roofline hw pixel6_tpu pixel8_t", {"pixel8_tpu"}),
        ("roofline hw --sort r", {"ridge"}),
        ("roofline hw new --f", {"--force"}),
    ],
)
def test_completion_knows_profiles_and_commands(
    line: str, found: set[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ROOFLINE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    assert {item.partition(",")[2] for item in well(command()).split()} == found


@pytest.mark.parametrize(
    "arguments",
    ["hw", "hw pixel6_tpu", "hw --sort ridge --format csv", "hw check mine.yaml", "hw schema", "hw new", "hw --help"],
)
def test_nothing_heavy_is_imported(arguments: str) -> None:
    code = (
        "import sys\nfrom roofline.cli import main\nsys.argv = ['roofline', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    root = str(Path(__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert not HEAVY & set(run.stderr.split())

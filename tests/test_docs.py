"""What the documents print is what the program does. `pytest --overwrite` writes the outputs anew."""

import re
import shlex
from pathlib import Path

import pytest

from roofline.hardware import LAYER_CLASSES
from roofline.profiles import MAC_CLASSES, ProfileEntry
from roofline.vector_ops import VECTOR_OPS_PER_ELEMENT

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(
    r"(<!-- output: roofline (?P<arguments>.*?) -->\n```console\n)(?P<body>.*?)(```\n<!-- end -->)", re.S
)


def test_the_readme_shows_what_the_commands_print(request, monkeypatch, capsys):
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")

    def run(block: re.Match[str]) -> str:
        arguments = block["arguments"]
        monkeypatch.setattr("sys.argv", ["roofline", *shlex.split(arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        output = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
        return f"{block[1]}$ roofline {arguments}\n{output}\n{block[4]}"

    from roofline.cli import main

    monkeypatch.setenv("COLUMNS", "80")
    now = BLOCK.sub(run, text)
    assert len(BLOCK.findall(text)) == 2
    if request.config.getoption("--overwrite"):
        readme.write_text(now, encoding="utf-8")
    else:
        assert text == now


def test_the_table_of_vector_ops_is_the_one_that_counts():
    documented = {
        (kind, name): int(ops)
        for kind, ops, names in re.findall(
            r"^\| (\w+) \| (\d+) \| (`.*`) \|$", (ROOT / "docs" / "method.md").read_text(encoding="utf-8"), re.M
        )
        for name in re.findall(r"`(\w+)`", names)
    }
    counted = {
        (kind, name): ops
        for kind, table in VECTOR_OPS_PER_ELEMENT.items()
        for name, ops in table.items()
        if not name.startswith("__")
    }
    assert documented == counted


def test_every_field_and_every_class_of_a_profile_is_documented():
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    fields = {field.alias or name for name, field in ProfileEntry.model_fields.items()}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) >= fields
    for begin, classes in (
        (r"Classes of layers: (.*)", LAYER_CLASSES),
        (r"Classes that do MACs.*: (.*)\.", MAC_CLASSES),
    ):
        (words,) = re.findall(rf"^{begin}$", page, re.M)
        assert re.findall(r"`(\w+)`", words) == list(classes)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_what_a_page_links_to_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target

"""The surface of the package, and what importing and running it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import metadata

import pytest

import roofline

HEAVY = {"torch", "numpy", "pandas", "plotly", "fvcore", "jinja2"}
RUN = """
import sys
from roofline.cli import main
sys.argv = ["roofline", *sys.argv[1:]]
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
print(*sys.modules, file=sys.stderr)
"""


def imported_by(code: str, *arguments: str) -> set[str]:
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(run.stderr.split())


# --- names ------------------------------------------------------------------------------------------------------------


def test_what_is_exported_is_what_is_visible() -> None:
    assert dir(roofline) == sorted(roofline.__all__)
    public = {
        name for name, value in vars(roofline).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public - {"TYPE_CHECKING", "Any", "annotations"} <= set(roofline.__all__)


def test_a_star_import_gives_all_of_it() -> None:
    names: dict[str, object] = {}
    exec("from roofline import *", names)
    assert set(names) - {"__builtins__"} == set(roofline.__all__)


@pytest.mark.parametrize("name", sorted(set(roofline.__all__) - {"__version__"}))
def test_each_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(roofline, name))


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'roofline' has no attribute 'analyse'$"):
        roofline.analyse  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    assert roofline.__version__ == metadata.version("roofline-profiler")


def test_a_clone_that_is_not_installed_has_a_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert roofline.__version__ == "0+unknown"


@pytest.mark.parametrize("error", ["ModelError", "TraceError", "ProfileError", "OutputError"])
def test_every_error_of_a_user_is_a_roofline_error(error: str) -> None:
    from roofline import errors

    assert issubclass(getattr(errors, error), roofline.RooflineError)
    assert issubclass(roofline.RooflineError, ValueError)


# --- what is imported -------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, roofline; dir(roofline); roofline.RooflineError; print(*sys.modules, file=sys.stderr)"
    assert not (HEAVY | {"rich", "click", "pydantic", "yaml"}) & imported_by(code)


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "-h",
        "--version",
        "analyze --help",
        "models",
        "models --format json",
        "hw",
        "hw --format json",
        "completion bash",
    ],
)
def test_commands_that_need_no_model_import_no_torch(arguments: str) -> None:
    assert not HEAVY & imported_by(RUN, *arguments.split())


@pytest.mark.parametrize(
    ("model", "form"), [("mobilenetv4_conv_s", "table"), ("mobilenetv4_conv_s", "md"), ("mobilenetv4_hybrid_m", "csv")]
)
def test_an_analysis_imports_torch_and_no_more_than_it_needs(model: str, form: str) -> None:
    """Each of these costs as much as a whole analysis, sympy half a second."""
    modules = imported_by(RUN, "analyze", model, "--hw", "pixel6_tpu", "--format", form)
    assert "torch" in modules
    assert not {"pandas", "plotly", "fvcore", "jinja2", "sympy", "torch._dynamo", "torch._inductor"} & modules


def test_completing_a_word_imports_nothing_heavy() -> None:
    words = {"_ROOFLINE_COMPLETE": "bash_complete", "COMP_WORDS": "roofline analyze mobilenetv4_", "COMP_CWORD": "2"}
    assert not HEAVY & imported_by(f"import os; os.environ.update({words})\n{RUN}")

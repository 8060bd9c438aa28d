"""What the repository promises to those who install it, pin it or cite it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import roofline

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))
CITATION = yaml.safe_load(read("CITATION.cff"))
PROJECT = PYPROJECT["project"]
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}


def folder_of(package: str) -> Path:
    return ROOT / str(SETUPTOOLS["package-dir"].get(package, package.replace(".", "/")))


def repository_files() -> list[Path]:
    """Every file git tracks or would track; outside a git checkout, every file that is not hidden or built."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        names = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
        paths = [ROOT / name for name in names if name]
    else:
        built = re.compile(r"(^|/)(\.(?!ci/)[^/]*|__pycache__|build|dist|[^/]*\.egg-info)(/|$)")
        paths = [path for path in ROOT.rglob("*") if not built.search(path.relative_to(ROOT).as_posix())]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


# What a wheel holds


def test_every_package_folder_is_declared() -> None:
    declared = {folder_of(package) for package in SETUPTOOLS["packages"]}
    found = {
        init.resolve().parent
        for top in ("roofline", "models", "reports", "hwprofiles")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert found == declared


def test_every_data_file_is_declared() -> None:
    declared = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in folder_of(package).glob(pattern)
    }
    folders = {folder_of(package) for package in SETUPTOOLS["packages"]}
    data = {path for path in repository_files() if folders & set(path.parents) and path.suffix != ".py"}
    assert data <= declared


@pytest.mark.parametrize("folder", ["models", "reports", "hwprofiles"])
def test_a_bare_clone_sees_the_installed_layout_through_a_relative_link(folder: str) -> None:
    assert (ROOT / "roofline" / folder).readlink() == Path("..", folder)


# What is installed with it


@pytest.mark.parametrize("requirement", [*RUNTIME, *(r for extra in EXTRAS.values() for r in extra)], ids=str)
def test_ranges_are_open(requirement: Requirement) -> None:
    assert [specifier.operator for specifier in requirement.specifier] == [">="]


@pytest.mark.parametrize("requirement", [*RUNTIME, *EXTRAS["test"]], ids=str)
def test_constraints_pin_each_dependency_within_its_range(requirement: Requirement) -> None:
    lines = read("constraints.txt").splitlines()
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, (x for x in lines if x and x[0] != "#"))}
    (specifier,) = pins[canonicalize_name(requirement.name)].specifier
    assert specifier.operator == "=="
    assert specifier.version in requirement.specifier


# What it says of itself


def test_one_version_everywhere() -> None:
    releases = re.findall(r"^## \[(\d[^]]*)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert {roofline.__version__, releases[0], CITATION["version"]} == {PROJECT["version"]}


def test_the_licence_is_whole_and_named_alike() -> None:
    text = read("LICENSE")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert CITATION["license"] == PROJECT["license"] == "Apache-2.0"


# Each pattern is written so that it does not match itself.
MACHINE_BOUND = {
    "absolute path": r"(?<![\w.~*-])/(?:work|root|home|Users)/",
    "package registry": r"pypi[.](?:org|python)|python" + r"hosted[.]|download[.]pytorch|npmjs[.]|deb[.]debian",
    "index option": r"--(?:extra-)?index" + r"-url|--find" + r"-links",
}


@pytest.mark.parametrize("pattern", MACHINE_BOUND.values(), ids=MACHINE_BOUND.keys())
def test_no_file_is_bound_to_one_machine_or_registry(pattern: str) -> None:
    files = repository_files()
    assert ROOT / "pyproject.toml" in files
    assert [path.name for path in files if re.search(pattern, path.read_text("utf-8", "ignore"))] == []

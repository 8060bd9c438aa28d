"""`roofline calibrate`, from the command line; what is measured is made up here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roofline.calibration import collect
from roofline.calibration.data import Calibration
from roofline.calibration.file import load, save
from roofline.calibration.profile import profile_of
from roofline.errors import BusyError
from roofline.profiles import load_profile
from tests.calibration.made import ANCHOR, make_calibration, make_wholes

Command = Callable[..., subprocess.CompletedProcess[str]]
FACTOR = {"median": 1.1, "p10": 1.0, "p90": 1.4, "n": 90}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(**changes: Any) -> Calibration:
    return make_calibration(anchor={**ANCHOR, "factor": FACTOR}, wholes=make_wholes(["menu-0", "menu-7"]), **changes)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[collect.Request, Calibration | None]]:
    calls: list[tuple[collect.Request, Calibration | None]] = []

    def calibrate(request: collect.Request, *, base: Any, progress: Any) -> tuple[Calibration, bool]:
        request.check()
        calls.append((request, base))
        return made(), False

    monkeypatch.setattr(collect, "calibrate", calibrate)
    return calls


def test_a_profile_and_a_calibration_beside_it(command: Command, asked: list[Any], here: Path) -> None:
    done = command("calibrate", "-o", "mine.yaml")
    assert done.returncode == 0
    profile = load_profile(here / "mine.yaml")
    assert profile.calibration == here / "mine.calibration.npz"
    assert profile.peak("fp32") == 120e9
    assert load(here / "mine.calibration.npz").ops.key.tolist() == made().ops.key.tolist()
    assert "2 kernel calls in 2 synthetic networks" in done.stdout
    assert "1.10 times as slow as at its reference state (80 % of the time 1.00 to 1.40)" in done.stdout
    assert "roofline validate MODEL... --hw mine.yaml" in done.stdout


@pytest.mark.parametrize(
    ("text", "budget_s"), [("90", 90), ("90s", 90), ("2m", 120), ("1.5m", 90), ("1h", 3600), ("30 s", 30)]
)
def test_options_reach_it(text: str, budget_s: float, command: Command, asked: list[Any]) -> None:
    command("calibrate", "--budget", text, "--threads", 1, "--dtype", "bf16", "--mode", "channels_last", "--seed", 4,
            "--quiet-wait", "0")  # fmt: skip
    (request, base), *_ = asked
    assert base is None
    assert request == collect.Request(
        budget_s=budget_s, threads=1, dtype="bf16", mode="channels_last", seed=4, quiet_wait_s=0
    )


def test_compiled_it_takes_longer_unless_told(command: Command, asked: list[Any]) -> None:
    command("calibrate")
    command("calibrate", "--mode", "compile")
    command("calibrate", "--mode", "compile", "--budget", "5m")
    assert [request.budget_s for request, _ in asked] == [120, 600, 300]


def test_without_a_gpu_it_says_so(command: Command, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = command("calibrate", "--device", "cuda")
    assert done.returncode == 2
    assert done.stderr.startswith("roofline: there is no CUDA device: torch ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(here.iterdir())


def test_extending_goes_on_with_other_networks(command: Command, asked: list[Any], here: Path) -> None:
    save(made(mode="channels_last"), here / "local.calibration.npz")
    assert command("calibrate", "--extend").returncode == 0
    request, base = asked[0]
    assert base.wholes.network.tolist() == ["menu-0", "menu-7"]
    assert (request.mode, request.seed, request.threads) == ("channels_last", 8, 2)


def test_after_ctrl_c_what_there_is_is_kept(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = ("it was stopped by hand: --extend adds to it",)
    monkeypatch.setattr(collect, "calibrate", lambda *given, **how: (replace(made(), notes=notes), True))
    done = command("calibrate")
    assert done.returncode == 130
    assert load(here / "local.calibration.npz").notes == notes
    assert "note: it was stopped by hand: --extend adds to it" in done.stdout


def kept(folder: Path) -> dict[str, bytes]:
    """A calibration of before, and what is in the folder then."""
    save(made(notes=("of before",)), folder / "local.calibration.npz")
    (folder / "local.yaml").write_text(profile_of(made(), "local", file="local.calibration.npz"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_after_ctrl_c_a_calibration_of_before_is_left_alone(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(here)
    monkeypatch.setattr(collect, "calibrate", lambda *given, **how: (made(notes=("stopped",)), True))
    done = command("calibrate")
    assert done.returncode == 130
    assert done.stderr == "roofline: stopped, so local.yaml is left as it was, and this goes beside it\n"
    assert "Wrote local-stopped.yaml and local-stopped.calibration.npz" in done.stdout
    assert {name: (here / name).read_bytes() for name in before} == before
    stopped = load_profile(here / "local-stopped.yaml")
    assert stopped.calibration == here / "local-stopped.calibration.npz"
    assert load(here / "local-stopped.calibration.npz").notes == ("stopped",)
    assert command("calibrate").returncode == 130  # a second one takes the place of the first
    assert len(list(here.iterdir())) == 4


def test_an_extension_that_was_stopped_holds_all_and_so_goes_to_the_same_file(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(here)
    monkeypatch.setattr(collect, "calibrate", lambda *given, **how: (made(notes=("stopped",)), True))
    assert command("calibrate", "--extend").returncode == 130
    assert load(here / "local.calibration.npz").notes == ("stopped",)
    assert len(list(here.iterdir())) == 2


@pytest.mark.parametrize("name", ["local.yaml", "local-stopped.yaml"])
@pytest.mark.parametrize("text", ["by hand", None])
def test_a_profile_that_no_calibration_made_is_refused_before_the_work(
    text: str | None, name: str, command: Command, asked: list[Any], here: Path
) -> None:
    text = profile_of(made(), "local") if text is None else text  # one whose calibration was taken out
    (here / name).write_text(text)
    done = command("calibrate")
    assert done.returncode == 2
    assert done.stderr == (
        f"roofline: {name} is there, and no calibration made it: choose another name with -o, or move it away\n"
    )
    assert not asked
    assert (here / name).read_text() == text


def test_a_busy_machine_has_an_exit_code_of_its_own_and_overwrites_nothing(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*given: Any, **how: Any) -> Any:
        raise BusyError("other processes used the cores for 60 s")

    before = kept(here)
    monkeypatch.setattr(collect, "calibrate", busy)
    done = command("calibrate")
    assert done.returncode == 3
    assert done.stderr == "roofline: other processes used the cores for 60 s\n"
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "soon"), "'soon' is no duration"),
        (("--budget", "5s"), "too small to fit anything: 10 s at least"),
        (("--budget", "-3"), "no duration"),
        (("--device", "tpu"), "only cpu and cuda can be calibrated"),
        (("--device", "cuda", "--mode", "compile"), "mode compile is calibrated on a CPU alone"),
        (("--mode", "compile", "--budget", "2m"), "240 s at least, since compiling a network takes 10 to 30 s"),
        (("--mode", "cudagraph"), "unknown mode 'cudagraph'"),
        (("-o", "local.json"), "name it local.yaml"),
        (("-o", "nowhere/local.yaml"), "nowhere"),
        (("-o", "--.yaml"), "a profile needs a name with letters or digits"),
        (("--extend",), "there is no calibration to extend"),
        (("--threads", "0"), "0 is not in the range"),
    ],
)
def test_bad_input_is_one_line(
    options: tuple[str, ...], message: str, command: Command, asked: list[Any], here: Path
) -> None:
    done = command("calibrate", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 or done.stderr.startswith("Usage")
    assert not list(here.iterdir())


@pytest.mark.parametrize("option", [("--threads", 1), ("--device", "cpu"), ("--seed", 3)])
def test_extending_leaves_nothing_to_choose(
    option: tuple[Any, ...], command: Command, asked: list[Any], here: Path
) -> None:
    save(made(), here / "local.calibration.npz")
    done = command("calibrate", "--extend", *option)
    assert done.returncode == 2
    assert f"leave out {option[0]}" in done.stderr
    assert not asked


def test_a_damaged_calibration_is_not_extended_and_not_overwritten(
    command: Command, asked: list[Any], here: Path
) -> None:
    file = here / "local.calibration.npz"
    save(made(), file)
    cut = file.read_bytes()[:-100]
    file.write_bytes(cut)
    done = command("calibrate", "--extend")
    assert done.returncode == 2
    assert "cut short or changed" in done.stderr
    assert file.read_bytes() == cut


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_the_work(
    command: Command, asked: list[Any], here: Path
) -> None:
    (here / "closed").mkdir(mode=0o500)
    assert command("calibrate", "-o", "closed/local.yaml").returncode == 2
    assert not asked

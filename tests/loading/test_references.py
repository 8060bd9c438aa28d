"""What a reference names, which names a pattern stands for, and which files are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roofline import models
from roofline.errors import ModelError
from roofline.loading import expand, load
from roofline.loading.references import own_code

REFUSED = {
    "net.pt": ("TorchScript archive or a pickle", "net.py:make_net", "torch.export.save"),
    "net.ts": ("TorchScript", "runs code from inside", "torch.export.save"),
    "net.torchscript": ("TorchScript", "runs code from inside", "torch.export.save"),
    "runs/best.pth": ("a pickle", "run code from inside", "net.py:make_net"),
    "pytorch_model.bin": ("a pickle", "the class of the network", "weights are not needed"),
    "last.ckpt": ("a pickle", "the class of the network", "net.py:make_net"),
    "MODEL.PTH": ("a pickle",),
    "model.safetensors": ("weights alone", "net.py:make_net"),
    "hf:model.safetensors": ("weights alone", "net.py:make_net"),
}


@pytest.mark.parametrize("reference", REFUSED)
def test_files_that_would_run_code_are_refused(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file is there does not matter: nothing of it is read."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        load(reference)
    message = str(caught.value)
    assert message.startswith(reference)
    assert all(part in message for part in REFUSED[reference])
    assert "\n" not in message


def test_a_file_in_a_folder_of_such_a_name_is_the_users_own(tmp_path: Path, user_modules: None) -> None:
    folder = tmp_path / "runs.bin"
    folder.mkdir()
    (folder / "net.py").write_text("from torch import nn\nmake = nn.ReLU\n")
    assert load(f"{folder}/net.py:make").inputs[0].shape == (1, 3, 224, 224)


def test_patterns_of_the_zoo() -> None:
    assert expand("mobilenetv4_hybrid_*") == ["mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_large"]
    assert expand("*") == [name for name in models.names() if ":" not in name]
    with pytest.raises(ModelError, match="no model matches 'nothing\\*'"):
        expand("nothing*")


@pytest.mark.parametrize("reference", ["mobilenetv1", "timm:resnet18", "net[1].py:make", "hf:config.json", "no such"])
def test_what_is_no_pattern_stays(reference: str) -> None:
    assert expand(reference) == [reference]


def test_a_reference_is_told_without_importing_torch() -> None:
    """Analysing a network of which the layers are cached starts here."""
    code = (
        "import sys; from roofline.loading import expand; expand('mobilenetv4_*'); expand('timm:resnet18'); "
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_of_the_users_own_a_reference_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is there, and a module whose package is: nothing is imported to find out."""
    monkeypatch.chdir(tmp_path)
    for path in ("net.py", "nets/small.py"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("raise SystemExit('imported')\n")
    runs = {
        "net.py:make": "net.py", "nets/small.py:make": "nets/small.py", "nets.small:make": "nets.small",
        "net:make": "net", "pytest:make": "pytest", "__main__:make": "__main__",
    }  # fmt: skip
    assert {reference: own_code(reference) for reference in runs} == runs
    nothing = (
        "missing.py:make", "missing.part:make", "mobilenetv1", "mobileone_s0:train", "timm:resnet18",
        "torchvision:resnet50", "hf:config.json", "net.onnx", "a/b:make", ":make", "net.py", "",
    )  # fmt: skip
    assert [reference for reference in nothing if own_code(reference) is not None] == []

"""From a model reference to a module and its example inputs; weights are not read, and not made but to run it.

    mobilenetv4_conv_m            the zoo (`roofline.models`)
    mobileone_s0:train            a form of one of its networks
    timm:efficientnet_lite0       a network of timm, or of torchvision, at its default input size
    hf:PATH, hf:config.json       a network of transformers from its config: encoder, language model, vision transformer
    path/to/net.py:make_net       a callable in your own file that returns a module, or a module class
    package.module:make_net       the same in an importable module
    net.onnx, net.pt2             an exported graph (`roofline.exported`)

Only the two before the last run code that is neither roofline's nor an installed library's: your own, as python would.
Nothing is ever downloaded, and no pickle is loaded. docs/references.md has all of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from roofline.loading.references import expand

if TYPE_CHECKING:
    from roofline.loading.building import build_on_meta
    from roofline.loading.inputs import DEFAULT_INPUT_SIZE, MAX_ELEMENTS
    from roofline.loading.model import LoadedModel, load

_HOME = {  # imported where used: they need torch
    "DEFAULT_INPUT_SIZE": "inputs",
    "LoadedModel": "model",
    "MAX_ELEMENTS": "inputs",
    "build_on_meta": "building",
    "load": "model",
}
__all__ = ["DEFAULT_INPUT_SIZE", "MAX_ELEMENTS", "LoadedModel", "build_on_meta", "expand", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'roofline.loading' has no attribute {name!r}")
    return getattr(importlib.import_module(f"roofline.loading.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

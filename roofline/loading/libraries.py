"""Networks of timm and torchvision, by name, at their default input size: without weights, and offline."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from roofline.errors import ModelError, did_you_mean
from roofline.loading.absent import absent, is_of
from roofline.loading.building import build, offline, where
from roofline.loading.inputs import Built, Example, image, image_example
from roofline.loading.references import library_of

# Arguments that name weights, or where they are.
WEIGHTS = {
    "timm": ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    "torchvision": ("weights", "weights_backbone", "pretrained", "pretrained_backbone"),
}

# torchvision registers shapes of these ops when it is imported, also where its compiled part, which declares them, does
# not load beside this torch: "operator torchvision::nms does not exist". With the declarations alone it imports, its
# networks build, and only these ops cannot run. As in torchvision/csrc/ops/nms.cpp and roi_align.cpp.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
}
VIDEO_FRAMES = 16  # --clip-len of references/video_classification/train.py of torchvision
MIN_FLOW_SIZE = (3, 128, 128)  # "min_size" in the meta data of RAFT's weights, torchvision/models/optical_flow/raft.py


def built(reference: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    """Build a network of a library, without its weights.

    Raises:
        ModelError: The library is missing, has no such network, or cannot build it so.
    """
    found = library_of(reference)
    assert found is not None
    library, name = found
    for key in arguments:
        if key in WEIGHTS[library]:
            raise ModelError(
                f"{reference}: {key} is about weights, which are neither needed nor downloaded; leave it out"
            )
    known = names(library)
    if name.partition(".")[0] not in known:  # timm's names may end in the tag of their weights
        raise ModelError(f"{library} has no model {name!r}.{did_you_mean(name, known)} It has {len(known)}.")
    return (_of_timm if library == "timm" else _of_torchvision)(reference, name, arguments, weights)


@cache
def names(library: str) -> tuple[str, ...]:
    """The networks of a library, in its own order.

    Raises:
        ModelError: It is missing, or does not import.
    """
    return tuple((_timm() if library == "timm" else _torchvision()).list_models())


# --- timm -------------------------------------------------------------------------------------------------------------


def _of_timm(reference: str, name: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    settings = dict(arguments)
    if "act" in settings:  # as the zoo has it; timm calls most of these names the same
        settings["act_layer"] = _act_layer(settings.pop("act"), reference)
    create = partial(_timm().create_model, name, pretrained=False, **settings)
    with offline():
        module = build(create, reference, weights)
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    channels, height, width = config.get("input_size") or (3, 224, 224)
    stated = arguments.get("img_size")
    if stated is not None:
        height, width = stated if isinstance(stated, tuple | list) else (stated, stated)
    size = (arguments.get("in_chans", channels), height, width)
    return Built(module=module, name=reference, example=image_example(module, size, "timm's default"))


def _act_layer(act: object, reference: str) -> Any:
    """timm's class for the name of an activation."""
    layers = importlib.import_module("timm.layers")
    try:
        return layers.get_act_layer(act)
    except (KeyError, AttributeError):
        raise ModelError(f"{reference}: timm knows no activation {act!r}") from None


@cache
def _timm() -> Any:
    """timm, also without the torchvision that it imports and that its networks do not need."""
    try:
        found = torchvision_or_none()
    except ModelError:
        found = None
    with nullcontext() if found is not None else absent("torchvision"):
        return _imported("timm")


# --- torchvision ------------------------------------------------------------------------------------------------------


def _of_torchvision(reference: str, name: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    library = _torchvision()
    builder = library.get_model_builder(name)
    parts = [key for key in ("weights", "weights_backbone") if key in inspect.signature(builder).parameters]
    with offline():
        module = build(partial(builder, **dict.fromkeys(parts), **arguments), reference, weights)
    return Built(module=module, name=reference, example=_torchvision_example(library, name, module))


def _torchvision_example(
    library: Any, name: str, module: nn.Module
) -> Callable[[int, tuple[int, ...] | None], Example]:
    """What the preset of a network's default weights makes of an image, read off it, not run."""
    preset = library.get_model_weights(name).DEFAULT.transforms
    kind = getattr(preset, "func", preset).__name__
    settings = getattr(preset, "keywords", {})
    source = "torchvision's default"
    if kind == "OpticalFlow":

        def two_images(batch: int, size: tuple[int, ...] | None) -> Example:
            frames = tuple(image(module, batch, size or MIN_FLOW_SIZE) for _ in range(2))
            return Example(args=frames, source="given" if size else "the smallest that RAFT takes")

        return two_images
    if kind == "ObjectDetection":

        def images(batch: int, size: tuple[int, ...] | None) -> Example:
            each = [image(module, 1, size or (3, 800, 800))[0] for _ in range(batch)]
            return Example(args=(each,), source="given" if size else "the side to which detectors resize")

        return images
    side = settings.get("crop_size") or settings.get("resize_size") or 224
    height, width = side if isinstance(side, tuple | list) else (side, side)
    frames = (VIDEO_FRAMES,) if kind == "VideoClassification" else ()
    return image_example(module, (3, *frames, height, width), source)


@cache
def _torchvision() -> Any:
    """torchvision.models."""
    found = torchvision_or_none()
    if found is None:
        raise _missing("torchvision")
    return importlib.import_module("torchvision.models")


@cache
def torchvision_or_none() -> Any:
    """torchvision, also where its compiled part does not load; None where there is none."""
    try:
        return _imported("torchvision")
    except ModelError as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and is_of(error.__cause__.name or "", "torchvision"):
            return None
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if is_of(name, "torchvision")]:
        del sys.modules[name]  # half imported
    _declare_ops()
    return _imported("torchvision")


def _declare_ops() -> None:
    """Declare the ops of torchvision's compiled part that nothing has declared."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    _KEPT.append(library)


_KEPT: list[torch.library.Library] = []  # declarations last as long as the object that made them


# --- importing --------------------------------------------------------------------------------------------------------


def _imported(name: str) -> Any:
    try:
        with offline():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise _missing(name, missing) from error
    except Exception as error:
        raise ModelError(f"{name} is installed, but does not import: {where(error)}") from error


def _missing(library: str, missing: str | None = None) -> ModelError:
    if missing in (None, library):
        return ModelError(f"{library} is not installed: pip install {library}")
    return ModelError(f"{library} needs {missing}, which is not installed: pip install {missing}")

"""Networks of transformers from a config.json, ``hf:PATH`` or ``hf:config.json``: without weights, and offline.

A config of a causal language model gives the whole of it, with the head that chooses the next token, over a prompt; any
other gives what AutoModel makes of it. What takes more than text is tried on its default input: parts that it does not
reach are told of, and where it is not enough, what to write down. Code that a config says lies in a repository is not
run.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roofline.errors import ModelError, TraceError, did_you_mean
from roofline.loading.building import build, offline, where
from roofline.loading.inputs import Built, Example, empty, given_example, image
from roofline.loading.libraries import torchvision_or_none
from roofline.loading.references import HUGGING_FACE
from roofline.loading.specs import TensorSpec
from roofline.models.activations import name_of
from roofline.units import percent

TOKENS = 128  # of a prompt, or of a text to encode, if not given
MAX_CONFIG_BYTES = 16 * 2**20  # the largest in public have about 1 MB, of label names
SAMPLES = 16_000  # of audio: one second at the rate of wav2vec 2.0 and its kin (arXiv:2006.11477, section 4.1)
SPECTROGRAM = (80, 3000)  # mel bins and frames of 30 s, as Whisper takes them (arXiv:2212.04356, section 2.2)
IMAGE_SIDE = 224  # of a vision model whose config does not say
MAX_PARTS = 4  # that are named of those that a call does not run
ACTIVATION_KEYS = ("hidden_act", "activation_function", "hidden_activation", "activation")  # as configs call `act`
EXPERTS_NOTE = "in bfloat16, as the config has no dtype and its experts' grouped product takes no other"


def built(reference: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    """Build the network of a config.

    Args:
        reference: ``hf:`` and a folder with a config.json, or that file.
        arguments: ``prefill`` or ``decode`` of a language model, a number of tokens; entries of the config to change.
        weights: Whether it is to run.

    Raises:
        ModelError: There is no such config, transformers is missing or cannot build it, or an argument is none.
    """
    path = _config_path(reference)
    changes = dict(arguments)
    prefill, decode = changes.pop("prefill", None), changes.pop("decode", None)
    with _quiet(), offline():
        config, has_dtype = _config(reference, path, changes)
        is_language = _is_causal_language(config)
        create = _auto_class("AutoModelForCausalLM" if is_language else "AutoModel").from_config
        module = build(partial(create, config, trust_remote_code=False), reference, weights)
        note = ""
        if not weights and _has_experts_in_another_dtype(module):
            if has_dtype:
                raise ModelError(
                    f"{reference} has a mixture of experts, whose grouped product takes nothing but bfloat16 without "
                    "weights: --arg dtype=bfloat16"
                )
            config.dtype, note = torch.bfloat16, EXPERTS_NOTE
            module = build(partial(create, config, trust_remote_code=False), reference, weights)
    for part in module.modules():  # they would look for padding in ids that have no values, to warn of it
        if hasattr(part, "warn_if_padding_and_no_attention_mask"):
            part.warn_if_padding_and_no_attention_mask = _say_nothing  # type: ignore[assignment]
    if not is_language:
        if prefill is not None or decode is not None:
            raise ModelError(
                f"{reference} is a {config.model_type}, no causal language model: leave out prefill and decode"
            )

        def example_of_kind(batch: int, size: tuple[int, ...] | None) -> Example:
            example = _example(module, config, batch, size)
            return example if weights else _tried(module, config, example, note, reference)

        return Built(module=module, name=reference, example=example_of_kind)
    from roofline.loading.language import Pass, language_example

    this = Pass.of(prefill, decode, TOKENS, reference)

    def example(batch: int, size: tuple[int, ...] | None) -> Example:
        if size is not None:
            raise ModelError(f"{reference} is a language model and takes tokens, no image: give prefill or decode")
        with _quiet():
            given = prefill is not None or decode is not None
            example = language_example(module, this, batch, is_prompt_given=given, reference=reference)
            return example if weights else _tried(module, config, example, note, reference)

    return Built(module=module, name=reference, example=example)


def _say_nothing(*_: Any) -> None:
    """In place of a warning."""


def _example(module: nn.Module, config: Any, batch: int, size: tuple[int, ...] | None) -> Example:
    """The call of a network that is no causal language model: text, an image or sound, as its class says."""
    main = getattr(module, "main_input_name", "input_ids")
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    if main.startswith("pixel_values"):
        pixels = image(module, batch, _image_size(config, size))
        return Example(kwargs={main: pixels}, source="given" if size else "the config's")
    if size is not None:
        inputs = _as_options(_all_inputs(module, config)) or "as in --input 'ids:int64[1,128]'"
        raise ModelError(f"{type(module).__name__} takes {main}, no image: write them down, {inputs}")
    if main == "input_values":
        return Example(kwargs={main: empty((batch, SAMPLES), dtype)}, source="one second of sound, the default")
    if main == "input_features":
        bins = getattr(config, "num_mel_bins", SPECTROGRAM[0])
        kwargs = {main: empty((batch, bins, SPECTROGRAM[1]), dtype)}
    else:
        kwargs = {main: empty((batch, TOKENS), torch.int64)}
    source = f"{TOKENS} tokens, the default"
    if getattr(config, "is_encoder_decoder", False):
        kwargs["decoder_input_ids"] = empty((batch, TOKENS), torch.int64)
    return Example(kwargs=kwargs, source=source)


def _image_size(config: Any, size: tuple[int, ...] | None) -> tuple[int, ...]:
    """(channels, height, width), with the frames of a video before them: as given, else as the config says."""
    vision = config if _first(config, "image_size", "crop_size") else getattr(config, "vision_config", None) or config
    stated = _first(vision, "image_size", "crop_size") or IMAGE_SIDE
    height, width = stated if isinstance(stated, tuple | list) else (stated, stated)
    channels = getattr(vision, "num_channels", 3) or 3
    frames = _first(vision, "num_frames", "frames_per_clip")
    return (*([frames] if frames else []), *(size or (channels, height, width)))


def _first(config: Any, *names: str) -> Any:
    """The first of these entries that a config has."""
    return next((getattr(config, name) for name in names if getattr(config, name, None)), None)


def _tried(module: nn.Module, config: Any, example: Example, note: str, reference: str) -> Example:
    """The same call; of what takes more than one kind of input, it is tried, and parts that it does not run are named.

    Raises:
        ModelError: It takes another input, too; the message says what to write down.
    """
    notes = [example.source, *([note] if note else [])]
    modalities = getattr(module, "input_modalities", "")
    if not isinstance(modalities, str) and len(modalities) > 1:
        from roofline.loading.trials import can_be_traced, parts_not_run

        try:
            parts, share = parts_not_run(module, example.kwargs)
        except TraceError as error:
            inputs = _all_inputs(module, config)
            if not can_be_traced(module, given_example(inputs, 1).kwargs):
                raise  # for another reason
            raise ModelError(
                f"{reference} takes {' and '.join(inputs)}, and none alone: write them down, {_as_options(inputs)}"
            ) from error
        if parts:
            shown = ", ".join([*parts[:MAX_PARTS], *([f"{len(parts) - MAX_PARTS} more"] if parts[MAX_PARTS:] else [])])
            notes.append(f"not run, as this input does not reach it: {shown}, with {percent(share)} of the parameters")
    return replace(example, source="; ".join(notes))


def _as_options(inputs: Mapping[str, TensorSpec]) -> str:
    return " ".join(f'--input "{name}:{spec}"' for name, spec in inputs.items())


def _all_inputs(module: nn.Module, config: Any) -> dict[str, TensorSpec]:
    """What forward takes of text, images and sound, each as --input has it."""
    text = getattr(config, "text_config", config)
    tokens = min(TOKENS, getattr(text, "max_position_embeddings", None) or TOKENS)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    floats = str(dtype).removeprefix("torch.")
    known = {
        "input_ids": TensorSpec("int64", (1, tokens)),
        "pixel_values": TensorSpec(floats, (1, *_image_size(config, None))),
        "input_features": TensorSpec(floats, (1, *SPECTROGRAM)),
        "input_values": TensorSpec(floats, (1, SAMPLES)),
    }
    takes = inspect.signature(module.forward).parameters
    return {name: spec for name, spec in known.items() if name in takes}


def _has_experts_in_another_dtype(module: nn.Module) -> bool:
    """Whether it multiplies experts in one grouped product, for which torch has a meta kernel in bfloat16 alone.

    That is `_meta_grouped_mm_common` of torch/_meta_registrations.py. Experts are modules that the decorator
    `use_experts_implementation` of transformers/integrations/moe.py made what they are.
    """
    return any(
        weight.dim() == 3 and weight.is_floating_point() and weight.dtype != torch.bfloat16
        for part in module.modules()
        if hasattr(part, "is_transposed") and hasattr(part, "has_gate")
        for weight in part.parameters(recurse=False)
    )


# --- configs ----------------------------------------------------------------------------------------------------------


def _config_path(reference: str) -> Path:
    place = reference.removeprefix(f"{HUGGING_FACE}:")
    path = Path(place)
    if path.is_dir():
        path = path / "config.json"
    if not place or not path.is_file():
        raise ModelError(
            f"{reference}: there is no {path if place else 'path'}; a folder with a config.json, or that file, is "
            "needed, as nothing is downloaded"
        )
    return path


def _config(reference: str, path: Path, changes: Mapping[str, Any]) -> tuple[Any, bool]:
    """The config of a file, with some entries changed; and whether one of them is its dtype."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelError(f"{path} is no config: it has more than {MAX_CONFIG_BYTES // 2**20} MiB")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(f"{path} is no JSON: {' '.join(str(error).split())[:200]}") from error
    kind = entries.get("model_type") if isinstance(entries, dict) else None
    if not isinstance(kind, str):
        raise ModelError(f"{path} is no config of transformers: it has no model_type")
    transformers = _transformers()
    known = list(transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES)
    if kind not in known:
        if entries.get("auto_map"):
            raise ModelError(f"{path}: the code of {kind!r} lies in a repository of its own, and is not run")
        raise ModelError(
            f"{path}: transformers {transformers.__version__} has no model_type {kind!r}.{did_you_mean(kind, known)}"
        )
    entries.pop("auto_map", None)
    entries["use_pretrained_backbone"] = False
    try:
        make = transformers.CONFIG_MAPPING[kind]
        takes = make().to_dict().keys() | entries.keys()
        changes = _with_activation(changes, takes, reference)
        for key in changes:
            if key not in takes:
                raise ModelError(f"{reference}: a config of {kind} has no {key!r}.{did_you_mean(key, takes)}")
        entries |= changes
        return make.from_dict(entries), bool(entries.get("dtype") or entries.get("torch_dtype"))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} is no config of {kind}: {where(error)[:400]}") from error


def _with_activation(changes: Mapping[str, Any], takes: Collection[str], reference: str) -> dict[str, Any]:
    """`act`, as the zoo has it, by the names that this config has for it, and the function by transformers' name."""
    changes = dict(changes)
    keys = [key for key in ACTIVATION_KEYS if key in takes]
    if "act" not in changes or "act" in takes or not keys:
        return changes
    act = str(changes.pop("act"))
    known = importlib.import_module("transformers.activations").ACT2FN
    if act not in known:
        with suppress(ValueError):  # the zoo does not have it either
            act = name_of(act)
    if act not in known:
        raise ModelError(f"{reference}: transformers has no activation {act!r}.{did_you_mean(act, known)}")
    return changes | dict.fromkeys(keys, act)


def _is_causal_language(config: Any) -> bool:
    """Whether it is of a model that predicts the next token, and not one that also can, such as BERT."""
    auto = _transformers().models.auto.modeling_auto
    kind = type(config)
    if getattr(config, "is_encoder_decoder", False) or kind not in auto.MODEL_FOR_CAUSAL_LM_MAPPING:
        return False
    said = getattr(config, "architectures", None) or []
    if any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in said):
        return True
    return kind not in auto.MODEL_FOR_MASKED_LM_MAPPING and kind not in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


# --- the library ------------------------------------------------------------------------------------------------------


def _transformers() -> Any:
    torchvision_or_none()  # transformers imports it where it is installed, and fails with it
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name == "transformers":
            raise ModelError("transformers is not installed: pip install transformers") from error
        raise ModelError(
            f"transformers needs {error.name}, which is not installed: pip install {error.name}"
        ) from error
    return transformers


def _auto_class(name: str) -> Any:
    return getattr(_transformers(), name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers says of configs that are smaller than their tokenizers, and of weights."""
    logging = _transformers().logging
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)

"""Networks of transformers from a config.json, ``hf:PATH`` or ``hf:config.json``: without weights, and offline.

A config of a causal language model gives the whole of it, with the head that chooses the next token, over a prompt; any
other gives what AutoModel makes of it. Code that a config says lies in a repository is not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roofline.errors import ModelError, did_you_mean
from roofline.loading.building import build, offline, where
from roofline.loading.inputs import Built, Example, empty, image
from roofline.loading.libraries import torchvision_or_none
from roofline.loading.references import HUGGING_FACE

TOKENS = 128  # of a prompt, or of a text to encode, if not given
MAX_CONFIG_BYTES = 16 * 2**20  # the largest in public have about 1 MB, of label names
SAMPLES = 16_000  # of audio: one second at the rate of wav2vec 2.0 and its kin (arXiv:2006.11477, section 4.1)
SPECTROGRAM = (80, 3000)  # mel bins and frames of 30 s, as Whisper takes them (arXiv:2212.04356, section 2.2)
IMAGE_SIDE = 224  # of a vision model whose config does not say


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
        config = _config(reference, path, changes)
        is_language = _is_causal_language(config)
        create = _auto_class("AutoModelForCausalLM" if is_language else "AutoModel").from_config
        module = build(partial(create, config, trust_remote_code=False), reference, weights)
    for part in module.modules():  # they would look for padding in ids that have no values, to warn of it
        if hasattr(part, "warn_if_padding_and_no_attention_mask"):
            part.warn_if_padding_and_no_attention_mask = _say_nothing  # type: ignore[assignment]
    if not is_language:
        if prefill is not None or decode is not None:
            raise ModelError(
                f"{reference} is a {config.model_type}, no causal language model: leave out prefill and decode"
            )
        return Built(module=module, name=reference, example=partial(_example, module, config))
    from roofline.loading.language import Pass, language_example

    this = Pass.of(prefill, decode, TOKENS, reference)

    def example(batch: int, size: tuple[int, ...] | None) -> Example:
        if size is not None:
            raise ModelError(f"{reference} is a language model and takes tokens, no image: give prefill or decode")
        with _quiet():
            given = prefill is not None or decode is not None
            return language_example(module, this, batch, is_prompt_given=given, reference=reference)

    return Built(module=module, name=reference, example=example)


def _say_nothing(*_: Any) -> None:
    """In place of a warning."""


def _example(module: nn.Module, config: Any, batch: int, size: tuple[int, ...] | None) -> Example:
    """The call of a network that is no causal language model: text, an image or sound, as its class says."""
    main = getattr(module, "main_input_name", "input_ids")
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    if main == "pixel_values":
        stated = getattr(config, "image_size", None) or IMAGE_SIDE
        height, width = stated if isinstance(stated, tuple | list) else (stated, stated)
        channels = getattr(config, "num_channels", 3) or 3
        pixels = image(module, batch, size or (channels, height, width))
        return Example(kwargs={main: pixels}, source="given" if size else "the config's")
    if size is not None:
        raise ModelError(
            f"{type(module).__name__} takes {main}, no image: write them down, as in --input 'ids:int64[1,128]'"
        )
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


def _config(reference: str, path: Path, changes: Mapping[str, Any]) -> Any:
    """The config of a file, with some entries changed."""
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
        for key in changes:
            if key not in takes:
                raise ModelError(f"{reference}: a config of {kind} has no {key!r}.{did_you_mean(key, takes)}")
        return make.from_dict({**entries, **changes})
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} is no config of {kind}: {where(error)[:400]}") from error


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

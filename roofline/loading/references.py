"""What a reference names, and which names a pattern stands for. Nothing here imports torch, but to list a library.

mobilenetv4_conv_m, 'mobilenetv4_*'     the zoo
timm:NAME, 'timm:*efficientnet*'        timm
torchvision:NAME, 'torchvision:res*'    torchvision
"""

from __future__ import annotations

import importlib.util
import sys
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from roofline import models
from roofline.errors import ModelError, did_you_mean

LIBRARIES = ("timm", "torchvision")  # their networks have names, which a pattern may match
HUGGING_FACE = "hf"
PASSES = ("prefill", "decode")  # arguments of a language model, in numbers of tokens

_CODE_INSIDE = "export it instead: torch.export.save(torch.export.export(net, inputs), 'net.pt2')"
_BY_ITS_CODE = "name the code that builds the network, net.py:make_net; weights are not needed"
REFUSED = {  # suffixes of files that are no reference: why, and what to do instead
    ".pt": f"a TorchScript archive or a pickle, and loading either runs code from inside it; {_BY_ITS_CODE}, "
    f"or {_CODE_INSIDE}",
    ".ts": f"a TorchScript archive, and loading it runs code from inside it; {_CODE_INSIDE}",
    ".torchscript": f"a TorchScript archive, and loading it runs code from inside it; {_CODE_INSIDE}",
    ".ptl": f"a TorchScript archive, and loading it runs code from inside it; {_CODE_INSIDE}",
    **dict.fromkeys(
        (".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"),
        f"a pickle: loading it would run code from inside it, and would need the class of the network; {_BY_ITS_CODE}",
    ),
    ".safetensors": f"weights alone, which do not say what is computed with them; {_BY_ITS_CODE}",
}


def library_of(reference: str) -> tuple[str, str] | None:
    """The library and the name in it of ``timm:NAME`` or ``torchvision:NAME``; None of any other reference."""
    library, colon, name = reference.partition(":")
    return (library, name) if colon and library in LIBRARIES else None


def is_code(reference: str) -> bool:
    """Whether it names what a user wrote, ``net.py:make_net`` or ``package.module:make_net``.

    >>> [is_code(name) for name in ("net.py:make_net", "nets:make_net", "timm:resnet18", "hf:config.json", "net.onnx")]
    [True, True, False, False, False]
    """
    where, colon, _ = reference.partition(":")
    return bool(colon) and where not in (*LIBRARIES, HUGGING_FACE) and not models.knows(reference)


def own_code(reference: str) -> str | None:
    """The user's file or module that loading this reference runs, to tell them; None where there is none.

    Nothing is imported to find out: of ``package.module`` it is the package that has to be there.
    """
    place, _, _ = reference.rpartition(":")
    if not is_code(reference):
        return None
    if place.endswith(".py"):
        return place if Path(place).is_file() else None
    top = place.partition(".")[0]
    if not top.isidentifier():
        return None
    is_here = Path(top).is_dir() or Path(f"{top}.py").is_file()  # the current folder comes first on the path
    return place if is_here or top in sys.modules or importlib.util.find_spec(top) is not None else None


def no_pass(name: str) -> str:
    """Why ``prefill`` or ``decode`` makes no sense of a reference; to follow what is wrong with it."""
    return f"is no language model: {name} is for a config, {HUGGING_FACE}:PATH"


def refuse_weights(reference: str) -> None:
    """Refuse a file whose loading runs code, or that holds no network.

    Raises:
        ModelError: The reference is one; the message says why, and what to do instead.
    """
    place = reference.removeprefix(f"{HUGGING_FACE}:")
    why = REFUSED.get(PurePath(place).suffix.lower())
    if why is not None and ".py:" not in place:
        raise ModelError(f"{reference} is {why}")


def expand(reference: str) -> list[str]:
    """Return the references that a pattern of names stands for; any other reference as it is.

    Args:
        reference: ``mobilenetv4_conv_*`` of the zoo, ``timm:*efficientnet*``, ``torchvision:resnet*``, or a reference
            without wildcards.

    Raises:
        ModelError: A pattern that matches nothing (the message names the nearest), or a library that is missing.

    >>> expand("mobilenetv4_hybrid_*"), expand("net.py:make")
    (['mobilenetv4_hybrid_medium', 'mobilenetv4_hybrid_large'], ['net.py:make'])
    """
    found = library_of(reference)
    if found is None:
        return list(models.expand(reference))
    library, pattern = found
    if not models.is_pattern(pattern):
        return [reference]
    from roofline.loading.libraries import names

    known = names(library)
    matching = [name for name in known if fnmatchcase(name, pattern.lower())]
    if not matching:
        plain = "".join(char for char in pattern.lower() if char not in "*?[]").strip("_.")
        raise ModelError(
            f"no model of {library} matches {pattern!r}.{did_you_mean(plain, known)} It has {len(known)}; "
            f"{library}.list_models() lists them."
        )
    return [f"{library}:{name}" for name in matching]

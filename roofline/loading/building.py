"""Build a module without weights: on the meta device, with the functions of ``torch.nn.init`` switched off.

No memory is allocated and no random numbers are drawn. A constructor that needs real numbers is built on the CPU.
"""

from __future__ import annotations

import os
import socket
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from roofline.errors import ModelError

_ONE_AT_A_TIME = threading.RLock()
MAX_FRAMES = 5  # of a traceback: the innermost, as a recursion has a thousand
_NOT_USERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<")
SHARE_OF_MEMORY = 0.5  # of what is free, for weights; the rest is for activations
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # as huggingface_hub and transformers document them


def build_on_meta(factory: Callable[[], nn.Module]) -> nn.Module:
    """Call `factory` so that its parameters are shapes without memory, and its random initialisation is skipped."""
    with torch.device("meta"), _WithoutInit():
        return factory()


class _WithoutInit(TorchFunctionMode):
    """Leaves tensors as they are where ``torch.nn.init`` would fill them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build(factory: Callable[[], Any], reference: str, weights: bool) -> nn.Module:
    """Call `factory` on the meta device, or with real weights where these are asked for or needed to build it.

    Raises:
        ModelError: It fails, or returns no module; the message says where.
    """
    try:
        module = factory() if weights else build_on_meta(factory)
    except (Exception, SystemExit):
        try:  # a constructor that reads values, such as a linspace of drop rates, needs a real device
            with torch.random.fork_rng(devices=[]):
                module = factory()
        except (Exception, SystemExit) as error:
            raise ModelError(f"{reference} fails to build: {where(error)}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{reference} returns a {type(module).__name__}; an nn.Module is needed")
    return module


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, had they memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def free_bytes() -> int:
    """Memory of this machine that is free for the weights of a model."""
    return int(psutil.virtual_memory().available * SHARE_OF_MEMORY)


@contextmanager
def offline() -> Iterator[None]:
    """Whatever a library does in here, it reaches no other machine; other threads may."""
    thread = threading.get_ident()

    def closed(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*given: Any) -> Any:
            if threading.get_ident() == thread:
                raise ConnectionError("roofline downloads nothing: a network is built without weights, and offline")
            return original(*given)

        return connect

    with (
        _ONE_AT_A_TIME,
        mock.patch.dict(os.environ, OFFLINE),
        mock.patch.object(socket.socket, "connect", closed(socket.socket.connect)),
        mock.patch.object(socket.socket, "connect_ex", closed(socket.socket.connect_ex)),
    ):
        yield


def where(error: BaseException) -> str:
    """``net.py:30 -> net.py:12: NameError: ...``: a traceback in one line, cut to the frames of the user's own files.

    Where it has none, as in a library that fails by itself, it is the innermost line that is not ours.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if _is_users(frame.filename)]
    ours = str(Path(__file__).parent)
    others = [frame for frame in frames if not frame.filename.startswith((ours, "<frozen"))]
    shown = [f"{frame.filename}:{frame.lineno}" for frame in users[-MAX_FRAMES:] or others[-1:]]
    place = f"{' -> '.join(shown)}: " if shown else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())}"


def _is_users(file: str) -> bool:
    """Whether a file is neither roofline's, nor Python's, nor of an installed package."""
    return not file.startswith(_NOT_USERS) and not {"site-packages", "dist-packages"} & set(Path(file).parts)

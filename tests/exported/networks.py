"""Small networks to export, with numbers in them: exporters drop biases and fold norms that are zero or one."""

from __future__ import annotations

import importlib
import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline import models


def with_numbers(network: nn.Module) -> nn.Module:
    """The network in eval mode, every weight and statistic of its own value, so that none is taken for another."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) / 10 + 0.1)
    return network.eval()


def zoo(name: str) -> nn.Module:
    return with_numbers(models.find(name).build())


@cache
def _torchlib() -> tuple[Any, Any]:
    """Where the exporter finds how to write PyTorch's ops, and the list, which it makes anew for every network."""
    exporter: Any = importlib.import_module("torch.onnx._internal.exporter._registration")
    apis = exporter.onnxscript_apis
    return apis, apis.get_torchlib_ops()


def as_onnx(network: nn.Module, inputs: tuple[Tensor, ...], path: Path, **options: Any) -> Path:
    """Save what PyTorch exports of a network in eval mode."""
    pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter: it is what it writes that is tested
        apis, ops = _torchlib()
        with mock.patch.object(apis, "get_torchlib_ops", return_value=ops):
            torch.onnx.export(network, inputs, path, dynamo=True, verbose=False, **options)
    return path


class Attention(nn.Module):
    """Multi-head attention as timm's vision transformers write it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class Block(nn.Module):
    """A transformer block on token numbers."""

    def __init__(self, width: int = 64, heads: int = 4, vocabulary: int = 100) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, ids: Tensor) -> Tensor:
        x: Tensor = self.embed(ids)
        x = x + self.attn(self.norm1(x))
        x = x + self.down(self.act(self.up(self.norm2(x))))
        return x


class Recurrent(nn.Module):
    """Two layers of LSTM in both directions, and a classifier of the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        classes: Tensor = self.head(self.lstm(x)[0][:, -1])
        return classes


class Tied(nn.Module):
    """The output layer has the weight of the embedding, one module is called twice, and a buffer is made of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.linspace(0, 1, 16))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) * self.scale
        x = F.relu_(self.mix(x)) + torch.arange(16, dtype=torch.float32)
        tokens: Tensor = self.head(self.mix(x))
        return tokens

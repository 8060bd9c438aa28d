"""Language models: one pass over a prompt (prefill), or over one token after it (decode), with a key/value cache.

The cache is allocated beforehand, as engines that serve do, and it is an input of the pass: 2 tensors a layer of shape
(batch, key/value heads, tokens, head dimension). Attention reads all of it, and the keys and values of the new tokens
are written into it, so the traffic of a cache of n tokens and L layers with h heads of dimension d is

    read by decode 2 L h d (n + 1) elements        written 2 L h d a new token

A layer that attends to a window keeps no more than that. transformers' own DynamicCache would copy the whole cache for
each token, which no engine does.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from roofline.errors import ModelError
from roofline.loading.building import offline, where
from roofline.loading.inputs import Example, empty

MAX_TOKENS = 2**24  # beyond any context length


class Pass(NamedTuple):
    """What is run of a language model.

    Attributes:
        tokens: New ones, of each sequence.
        cached: Those whose keys and values are in the cache already.
    """

    tokens: int
    cached: int

    @classmethod
    def of(cls, prefill: object, decode: object, default: int, reference: str) -> Pass:
        """From the numbers that were given: a prompt's length, or that of what is cached before the one token.

        Raises:
            ModelError: Both were given, or one is no whole number of at least 1.
        """
        for name, value in (("prefill", prefill), ("decode", decode)):
            if value is not None and not (type(value) is int and 0 < value <= MAX_TOKENS):
                raise ModelError(f"{reference}: {name} is a number of tokens, of at least 1 (got {value!r})")
        if prefill is not None and decode is not None:
            raise ModelError(f"{reference}: prefill and decode are two passes; give one of them")
        if decode is not None:
            assert isinstance(decode, int)
            return cls(tokens=1, cached=decode)
        assert prefill is None or isinstance(prefill, int)
        return cls(tokens=prefill or default, cached=0)

    def __str__(self) -> str:
        if self.cached:
            return f"decode: one token after {self.cached} in the key/value cache"
        return f"prefill: a prompt of {self.tokens} tokens"


class Shape(NamedTuple):
    """What one layer keeps of each token; a layer that keeps nothing has no heads.

    Attributes:
        heads: Heads of keys and values.
        key_width, value_width: Elements of a head's key and value.
        window: Tokens it attends to; 0 for all.
    """

    heads: int = 0
    key_width: int = 0
    value_width: int = 0
    window: int = 0


def language_example(module: nn.Module, this: Pass, batch: int, *, is_prompt_given: bool, reference: str) -> Example:
    """The call of a causal language model that is this pass, of `batch` sequences.

    Raises:
        ModelError: It keeps a state that is no cache of keys and values; a prompt whose state is not kept is fine.
    """
    _check_positions(module, this, reference)
    kwargs: dict[str, Any] = {"input_ids": empty((batch, this.tokens), torch.int64)}
    parameters = inspect.signature(module.forward).parameters
    name = "cache" if "cache" in parameters else "past_key_values"  # as it was called before transformers renamed it
    if not this.cached and "logits_to_keep" in parameters:
        kwargs["logits_to_keep"] = 1  # the next token is all that a prompt is read for
    shapes = _shapes(module, name, reference)
    if shapes is not None:
        dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        kwargs |= {name: KeyValueCache([_layer(shape, this, batch, dtype) for shape in shapes]), "use_cache": True}
    elif this.cached:
        raise ModelError(
            f"{reference} keeps a state that is no key/value cache of attention alone: give prefill, not decode"
        )
    elif "use_cache" in parameters:
        kwargs["use_cache"] = False
    return Example(kwargs=kwargs, source=f"{this}" if is_prompt_given else f"{this} (the default)")


def _check_positions(module: nn.Module, this: Pass, reference: str) -> None:
    """Refuse more tokens than there are learned positions: without values, looking one up that is not there succeeds.

    Positions that are computed, as rotary ones are, have no end; OPT's table begins with two that no token has.
    """
    network: Any = module  # transformers has no types
    most = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(most, int) or this.cached + this.tokens <= most:
        return
    words = network.get_input_embeddings()
    for table in module.modules():
        if isinstance(table, nn.Embedding) and table is not words and most <= table.num_embeddings <= most + 2:
            entry = network.config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
            raise ModelError(
                f"{reference} has {most} positions, and this pass needs {this.cached + this.tokens}: fewer tokens, or "
                f"--arg {entry}={this.cached + this.tokens}"
            )


def _shapes(module: nn.Module, name: str, reference: str) -> list[Shape] | None:
    """What each layer caches, found by one pass over one token; None where it is more than keys and values."""
    device = next((p.device for p in module.parameters()), torch.device("meta"))
    try:
        cache = DynamicCache(config=module.config)
        if any(type(layer) not in PLAIN_LAYERS for layer in cache.layers):
            return None
        was_training = module.training
        with offline(), torch.inference_mode():
            token = torch.zeros((1, 1), dtype=torch.int64, device=device)
            module.eval()(input_ids=token, use_cache=True, **{name: cache})
            module.train(was_training)
    except Exception as error:
        raise ModelError(f"{reference} does not run on one token: {where(error)}") from error
    if any(type(layer) not in PLAIN_LAYERS for layer in cache.layers):
        return None
    return [_shape(layer) for layer in cache.layers]


def _shape(layer: Any) -> Shape:
    if layer.keys is None or layer.keys.dim() != 4:  # it uses the keys and values of another layer
        return Shape()
    heads, key_width = layer.keys.shape[1], layer.keys.shape[3]
    return Shape(heads, key_width, layer.values.shape[3], getattr(layer, "sliding_window", 0) or 0)


PLAIN_LAYERS: set[type] = {DynamicLayer, DynamicSlidingWindowLayer}
try:  # of models whose layers share a cache, since transformers 5
    from transformers.cache_utils import DummyLayer

    PLAIN_LAYERS.add(DummyLayer)
except ImportError:
    pass


# --- the cache --------------------------------------------------------------------------------------------------------


def _layer(shape: Shape, this: Pass, batch: int, dtype: torch.dtype) -> _KeyValues:
    total = this.cached + this.tokens
    room = min(total, shape.window) if shape.window else total
    keys, values = (
        empty((batch, shape.heads, room, width), dtype) if shape.heads else None
        for width in (shape.key_width, shape.value_width)
    )
    return _KeyValues(keys, values, this, room)


class _KeyValues(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """The keys and values of one layer, with room for what the pass adds; a window is full when it is written into."""

    is_sliding = False
    is_compileable = False  # its length is known: no mask has to hide what is not filled yet

    def __init__(self, keys: Tensor | None, values: Tensor | None, this: Pass, room: int) -> None:
        super().__init__()
        self.keys, self.values, self.this, self.room = keys, values, this, room
        self.is_initialized = True

    def lazy_initialization(self, *_: Tensor) -> None:
        """Nothing: there is room already."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of the new tokens, and give those to attend to."""
        kept = min(self.this.tokens, self.room)
        for cache, new in ((self.keys, key_states), (self.values, value_states)):
            assert cache is not None
            cache[:, :, self.room - kept :].copy_(new[:, :, -kept:])
        if not self.this.cached:  # a prompt attends to itself
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        """How many tokens are attended to, and the position of the first."""
        if not self.this.cached:
            return self.this.tokens, 0
        return self.room, self.this.cached + self.this.tokens - self.room

    def get_seq_length(self, *_: Any) -> int:
        """Tokens before this pass."""
        return self.this.cached

    def get_max_length(self) -> int:
        """Tokens that there is room for."""
        return self.room

    get_max_cache_shape = get_max_length  # its name before transformers 5


class KeyValueCache(Cache):  # type: ignore[misc]
    """The cache of a whole model; to torch, a nest of its tensors."""

    def __init__(self, layers: list[_KeyValues]) -> None:
        super().__init__(layers=layers)


def _flatten(cache: KeyValueCache) -> tuple[list[Any], Any]:
    return [[layer.keys, layer.values] for layer in cache.layers], [(layer.this, layer.room) for layer in cache.layers]


def _unflatten(tensors: Any, context: Any) -> KeyValueCache:
    return KeyValueCache(
        [_KeyValues(keys, values, this, room) for (keys, values), (this, room) in zip(tensors, context, strict=True)]
    )


register_pytree_node(KeyValueCache, _flatten, _unflatten, serialized_type_name="roofline.KeyValueCache")

"""Run a model's forward pass once on meta tensors and record what it did.

The pass runs in eval mode under inference mode. Below autograd torch hands over ``conv2d``, ``matmul`` or
``scaled_dot_product_attention`` whole, the same on every device and under every grad mode. An op that
``count.py`` knows is recorded so; any other composite op is taken apart into what it is made of.

Parameters, buffers and inputs with data are stood in for by meta tensors, so nothing large is computed or copied. What
the forward makes out of small constants alone (an ``arange``, a registered buffer) keeps its values, so that control
flow over constants can be followed; control flow over data cannot, and raises `TraceError`.
"""

from __future__ import annotations

import copy
import re
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

from roofline.count import canonical_name
from roofline.errors import TraceError
from roofline.graph import Extent, Graph, Op, Role, Value, numel
from roofline.overloads import Overload, overload_of
from roofline.shapes import RULES
from roofline.surroundings import (
    any_device,
    named_modules,
    random_numbers_unchanged,
    set_eval,
    unchanged,
    without_mha_fast_path,
)

META = torch.device("meta")
CONSTANT_ELEMENTS = 1 << 16  # constants up to this size keep their values; larger ones are only shapes
ONES_ELEMENTS = 1 << 22  # an op without a meta kernel is run for its shapes on up to so many
SPARSE = frozenset({torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc})
# What makes a dense tensor of a sparse one, or a product of it that `count.py` knows.
SPARSE_READERS = frozenset("matmul mm bmm mv addmm linear _sparse_mm _sparse_addmm to_dense _to_dense".split())
SEQUENCES = (list, tuple)
PLAIN = (bool, int, float, str, type(None))
PLAIN_TYPES = frozenset(PLAIN)
NO_META_KERNEL = "no fake impl or Meta kernel"  # in what torch raises
# Ops whose integer arguments have to have values: indices, repeats, the sizes of packed batches.
SHAPED_BY_INTEGERS = {"index", "repeat_interleave", "tensor_split", "lstm", "gru", "rnn_tanh", "rnn_relu"}
NEEDS_DATA = re.compile(  # in what torch raises where a number is read off a meta tensor
    r"meta tensor|register_meta|meta device type|unallocated storage|data is not allocated"
    r"|Tensor\.__format__|got \dD meta"
)
CANNOT_FOLLOW = [  # what torch raises, and what it means here
    (
        re.compile("HigherOrderOperator|FlexAttention"),
        "a higher-order op, such as torch.cond or flex_attention, cannot be followed",
    ),
    (re.compile("NestedTensor|NestedInt"), "nested tensors cannot be followed; a padded one can"),
    (
        re.compile("does not require grad|doesn't require gradient"),
        "it takes gradients, and the forward is traced without autograd",
    ),
    (
        re.compile("_cuda_|CUDA (support|library|generator|driver)|CUDA GPUs|NVIDIA"),
        "it asks a CUDA device, and none is here",
    ),
]
QUANTISED = (
    "is a quantised tensor, which shapes alone do not make: take the network before its conversion, with --dtype int8"
)
_ONE_AT_A_TIME = threading.RLock()


def trace(model: nn.Module, inputs: Any) -> Graph:
    """Record the dataflow graph of ``model(inputs)``.

    Args:
        model: Any module, on any device; meta is cheapest. It is left as it was.
        inputs: A tensor, a tuple or list of positional arguments, or a mapping of keyword arguments.
            Tensors may be nested in them and on any device; only their shapes and dtypes are used.

    Returns:
        The graph: every ATen op in execution order, with its tensors and its module path.

    Raises:
        TraceError: The forward pass fails, or decides by data values; the message says where.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)  # it patches torch, for the whole process
        named = named_modules(model)
        modules = list({id(module): module for _, module in named}.values())
        recorder = _Recorder(model, named)
        around = (unchanged(modules), without_mha_fast_path(), any_device(), random_numbers_unchanged())
        for context in (*around, torch.inference_mode()):
            stack.enter_context(context)
        args, kwargs = _call_arguments(inputs, recorder.adopt_input)
        set_eval(modules)
        stack.enter_context(recorder.following_modules())
        try:
            with recorder:
                result = model(*args, **kwargs)
            if recorder.strayed is not None:  # and the model went on without it
                raise recorder.strayed
        except (Exception, SystemExit) as error:
            raise TraceError(recorder.explain(error, model, (args, kwargs))) from error
    return recorder.graph(result)


def _call_arguments(inputs: Any, adopt: Callable[[Tensor], Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), {key: _with_tensors(value, adopt) for key, value in inputs.items()}
    positional = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return tuple(_with_tensors(value, adopt) for value in positional), {}


def _with_tensors(given: Any, replace: Callable[[Tensor], Any]) -> Any:
    """A copy of any nest of containers and plain objects, with each tensor replaced."""
    twins: dict[int, Any] = {}  # by identity: objects may be shared, or hold themselves

    def leaf(item: Any) -> Any:
        if isinstance(item, Tensor):
            return replace(item)
        if isinstance(item, (*PLAIN, nn.Module, type)) or not hasattr(item, "__dict__"):
            return item
        if id(item) not in twins:
            twin = twins[id(item)] = copy.copy(item)  # a dataclass, a namespace, a mapping of its own kind
            for name, value in vars(item).items():
                object.__setattr__(twin, name, tree_map(leaf, value))
        return twins[id(item)]

    return tree_map(leaf, given)


class _Scope(NamedTuple):
    """One running module call."""

    path: str
    is_leaf: bool
    call: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where an exception came up first."""

    error: BaseException
    scope: _Scope
    module: nn.Module
    arguments: Any


class _AnotherThread(Exception):
    """A layer runs where ops are not recorded."""


class _Taken(NamedTuple):
    """A tensor argument: as it was given, as it is run, and as it is recorded."""

    given: Tensor
    stand_in: Tensor
    value: Value


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Stands between the model and torch: runs each op on meta tensors and writes it down.

    A tensor that the model holds is either meta, and then it may depend on data, or it has values, and then it is a
    constant; a constant has a meta tensor that stands in for it wherever it meets data.
    """

    def __init__(self, model: nn.Module, named: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.inputs: list[Value] = []
        self.params = 0
        self.storage_elements: dict[int, int] = {}
        self._storages: dict[int, int] = {}  # address of a live storage -> its number
        self._latest: dict[int, Value] = {}  # storage number -> the version last written in place
        self._tensors: dict[int, tuple[Tensor, Value]] = {}  # id of a tensor -> its stand-in, its value
        self._places: set[tuple[Any, ...]] = set()  # where the parameters counted so far are
        self._given: dict[int, Tensor] = {}  # id of an input as given -> its stand-in
        self._alive: list[Any] = []  # so that no id or address above is used twice
        self._scopes = [_Scope("", not model._modules, 0)]
        self._calls = 1
        self._failure: _Failure | None = None
        self._failed_op: tuple[BaseException, str, bool] | None = None
        self.strayed: _AnotherThread | None = None
        self._names: dict[int, list[str]] = {}
        for name, module in named:
            self._names.setdefault(id(module), []).append(name)
            if len(self._names[id(module)]) == 1:
                self._adopt_weights(f"{name}." if name else "", module)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else torch wraps every dispatch in a guard against Dynamo, and imports all of it (a second) for that."""
        return False

    # --- tensors -------------------------------------------------------------------------------------------

    def adopt_input(self, tensor: Tensor) -> Tensor:
        """A meta tensor of the same shape and layout, known as an input of the model."""
        stand_in = self._given.get(id(tensor))
        if stand_in is None:
            _check_quantised(tensor, "an input")
            stand_in, value = self._adopt(_on_meta(tensor), "input")
            value.elements, value.is_sparse = _distinct_elements(tensor), tensor.layout in SPARSE
            self._given[id(tensor)] = stand_in
            self._alive.append(tensor)
            self.inputs.append(value)
        return stand_in

    def _adopt_weights(self, prefix: str, module: nn.Module) -> None:
        for key, parameter in module._parameters.items():
            if parameter is None:
                continue
            if nn.parameter.is_lazy(parameter):
                raise TraceError(f"parameter {prefix + key!r} has no shape yet (a lazy module): run the model first")
            value = self._adopt(parameter, "parameter", prefix + key)[1]
            place = (value.storage, parameter.storage_offset(), value.shape)
            if place not in self._places:  # a tied parameter may be two objects on the same memory
                self._places.add(place)
                self.params += parameter.numel()
        for key, buffer in module._buffers.items():
            if buffer is not None:
                self._adopt(buffer, "buffer", prefix + key)

    def _adopt(self, tensor: Tensor, role: Role, name: str = "") -> tuple[Tensor, Value]:
        """Make a tensor that no recorded op produced known, with a meta stand-in where it has data."""
        known = self._tensors.get(id(tensor))
        if known is not None:
            return known
        _check_quantised(tensor, f"{role} {name!r}" if name else f"a {role}")
        address, elements = _address(tensor), _distinct_elements(tensor)
        storage = self._storages.get(address)
        if storage is None:
            storage = self._new_storage(address, elements)
        elif role == "constant":  # another handle on memory we know, such as ``parameter.data``
            base = next(value for _, value in self._tensors.values() if value.storage == storage)
            role, name = base.role, base.name
        stand_in = tensor
        if not tensor.is_meta:
            stand_in = _on_meta(tensor)
            self._storages[_address(stand_in)] = storage
        value = Value(
            tuple(tensor.shape), _dtype_name(tensor.dtype), role, elements, storage, name,
            strides=_strides(tensor), is_sparse=tensor.layout in SPARSE,
        )  # fmt: skip
        self._remember(tensor, stand_in, value)
        return stand_in, value

    def _remember(self, tensor: Tensor, stand_in: Tensor, value: Value) -> None:
        self._tensors[id(tensor)] = self._tensors[id(stand_in)] = (stand_in, value)
        self._alive.append((tensor, stand_in))

    def _new_storage(self, address: int, elements: int) -> int:
        number = len(self.storage_elements)
        self._storages[address] = number
        self.storage_elements[number] = elements
        return number

    def _current(self, value: Value) -> Value:
        """The value as it stands now: a view of the version last written, if memory was written in place."""
        latest = self._latest.get(value.storage)
        if latest is None or latest is value.root:
            return value
        is_whole = latest.elements == self.storage_elements[value.storage]
        extent = value.extent_of_root if is_whole else "other"
        return Value(
            value.shape, value.dtype, latest.role, value.elements, value.storage, value.name,
            latest.producer, latest, extent, value.strides,
        )  # fmt: skip

    # --- ops -----------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        overload = overload_of(func)
        inputs: list[_Taken] = []
        targets: list[_Taken] = []  # tensors given to be written into (``out=``), which are not read
        taken = [(arg, arg) if arg.__class__ in PLAIN_TYPES else self._take(arg, inputs) for arg in args]
        taken_kwargs = {
            key: self._take(arg, targets if key in overload.writes else inputs) for key, arg in (kwargs or {}).items()
        }
        run_args, record_args = zip(*taken, strict=True) if taken else ((), ())
        run_kwargs = {key: run for key, (run, _) in taken_kwargs.items()}
        if overload.takes_device and (not inputs or "device" in run_kwargs):
            run_kwargs["device"] = META
        if (
            overload.name == "copy_"
            and _extent(*run_args[:2]) == "same"
            and _address(run_args[0]) == _address(run_args[1])
        ):
            return run_args[0]  # the end of ``x[:, :c] += y``; torch returns at once, too

        rule = RULES.get(func)
        out = rule(*run_args, **run_kwargs) if rule is not None else None
        data = None  # the result, where it is a constant
        if out is None:
            if overload.take_apart:
                with self:
                    constants = inputs if self._are_constants(inputs) else []
                    return func.decompose(*_as_given(run_args, constants), **_as_given(run_kwargs, constants))
            out, data = self._run(func, overload, run_args, run_kwargs, inputs)
        if data is None and overload.keeps_constants and self._are_constants(inputs):
            data = self._constant(func, overload, run_args, run_kwargs, inputs, out)
        if data is None:
            self._check_layout(overload, inputs)

        written = [taken[key] if isinstance(key, int) else taken_kwargs[key] for key in overload.writes]
        outputs = self._outputs(out, written, inputs, targets, overload.is_random)
        scope = self._scopes[-1]
        record_kwargs = {key: record for key, (_, record) in taken_kwargs.items()}
        self.ops.append(
            Op(
                name=overload.canonical or canonical_name(overload.name, record_args, record_kwargs),
                target=overload.target,
                args=record_args,
                kwargs=record_kwargs,
                inputs=tuple(item.value for item in inputs),
                outputs=tuple(outputs),
                is_view=bool(outputs) and not overload.writes and all(value.base is not None for value in outputs),
                path=scope.path,
                is_leaf=scope.is_leaf,
                call=scope.call,
            )
        )
        if data is None:
            return out
        for constant, stand_in in zip(_tensors_in(data), _tensors_in(out), strict=True):
            value = self._tensors[id(stand_in)][1]
            if constant.layout in SPARSE:  # its stand-in is dense
                value.elements, value.is_sparse = _distinct_elements(constant), True
            self._remember(constant, stand_in, value)
        return data

    def _take(self, arg: Any, tensors: list[_Taken]) -> tuple[Any, Any]:
        """An argument as it is run (meta) and as it is recorded (Values); its tensors are added to `tensors`."""
        if isinstance(arg, Tensor):
            stand_in, value = self._tensors.get(id(arg)) or self._adopt(arg, "constant")
            if self._latest:
                value = self._current(value)
            tensors.append(_Taken(arg, stand_in, value))
            return stand_in, value
        if isinstance(arg, PLAIN):
            return arg, arg
        if isinstance(arg, SEQUENCES):
            if arg and arg[0].__class__ is int:  # strides, sizes: nothing to look for
                return arg, tuple(arg)
            pairs = [self._take(item, tensors) for item in arg]
            return [run for run, _ in pairs], tuple(record for _, record in pairs)
        if isinstance(arg, torch.device):
            return META, "device"
        return arg, str(arg)

    def _run(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Taken]
    ) -> tuple[Any, Any]:
        """The result on meta tensors, and its data where only constants could decide it."""
        try:
            out = func(*args, **kwargs)
        except Exception as error:
            data = self._run_on_constants(func, overload, args, kwargs, inputs)
            if data is None and not overload.needs_data and NO_META_KERNEL in str(error):
                out = self._run_on_ones(func, args, kwargs, inputs)
                if out is not None:
                    return out, None
            if data is None:
                self._failed_op = (error, overload.name, overload.needs_data)
                raise
            out, is_constant = data
            return tree_map_only(Tensor, _on_meta, out), out if is_constant else None
        lay_out = LAYOUTS.get(overload.name)
        if lay_out is not None:
            out = lay_out(out, [item.stand_in for item in inputs])
        if any(not tensor.is_meta for tensor in _tensors_in(out)):  # an op that makes its tensors out of nothing
            return tree_map_only(Tensor, _on_meta, out), out
        return out, None

    def _run_on_constants(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Taken]
    ) -> tuple[Any, bool] | None:
        """What meta tensors cannot tell, where constants alone decide it: the result, and whether it is constant."""
        if overload.keeps_constants and self._are_constants(inputs):
            return func(*_on_cpu(_as_given(args, inputs)), **_on_cpu(_as_given(kwargs, inputs))), True
        integers = [item for item in inputs[1:] if not item.stand_in.is_floating_point()]
        if overload.name in SHAPED_BY_INTEGERS and integers and self._are_constants(integers):
            return func(*_as_given(args, integers), **_as_given(kwargs, integers)), False
        return None

    def _run_on_ones(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Taken]) -> Any:
        """The shapes of an op that has no kernel for meta tensors; None where it would be much work, or fails."""
        if sum(item.value.elements for item in inputs) > ONES_ELEMENTS:
            return None
        filled = [item._replace(given=torch.ones_like(item.stand_in, device="cpu")) for item in inputs]
        try:
            out = func(*_on_cpu(_as_given(args, filled)), **_on_cpu(_as_given(kwargs, filled)))
        except Exception:  # it is the first error that says what is missing
            return None
        return tree_map_only(Tensor, _on_meta, out)

    def _are_constants(self, inputs: list[_Taken]) -> bool:
        for item in inputs:
            limit = ONES_ELEMENTS if item.value.is_sparse else CONSTANT_ELEMENTS
            if item.given.is_meta or item.value.elements > limit:
                return False
            if item.value.storage in self._latest:  # its values have changed, but only on the stand-in
                return False
        return True

    def _constant(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Taken], out: Any
    ) -> Any:
        """The data of a result that is made of constants alone; None where it is none, or too large."""
        tensors = _tensors_in(out)
        has_sparse = any(item.value.is_sparse for item in inputs)
        is_sparse = has_sparse and overload.name not in SPARSE_READERS
        if not tensors or (not is_sparse and any(tensor.numel() > CONSTANT_ELEMENTS for tensor in tensors)):
            return None
        with torch.inference_mode(not has_sparse):  # in which a sparse tensor has no views
            return func(*_on_cpu(_as_given(args, inputs)), **_on_cpu(_as_given(kwargs, inputs)))

    def _check_layout(self, overload: Overload, inputs: list[_Taken]) -> None:
        """Refuse what is more than a shape: sparse tensors whose entries nobody can number, quantised ones."""
        if overload.name.lstrip("_").startswith("to_sparse"):
            error = ValueError("it depends on how many are not zero")
            self._failed_op = (error, overload.name, True)
            raise error
        if overload.name not in SPARSE_READERS and any(item.value.is_sparse for item in inputs):
            raise ValueError(f"what {overload.name!r} makes of a sparse tensor cannot be followed")
        if overload.name.startswith("quantize_per"):
            raise ValueError(f"what {overload.name!r} makes {QUANTISED}")

    def _outputs(
        self, out: Any, written: list[tuple[Any, Any]], inputs: list[_Taken], targets: list[_Taken], is_random: bool
    ) -> list[Value]:
        index = len(self.ops)
        is_constant = not is_random and _are_made_of_constants(inputs)
        # What is larger than what it is made of is no constant: it grows with the batch.
        limit = max(item.value.elements for item in inputs) if is_constant else 0
        outputs = []
        for pair in written:
            for tensor, value in _flat_pairs(*pair):
                if isinstance(tensor, Tensor):
                    outputs.append(self._write(tensor, value, index, is_constant))
        for tensor in _tensors_in(out):
            if not (outputs and any(tensor is item.stand_in for item in (*inputs, *targets))):
                outputs.append(self._new_value(tensor, index, inputs, is_constant and tensor.numel() <= limit))
        return outputs

    def _write(self, tensor: Tensor, value: Value, index: int, is_constant: bool) -> Value:
        role = "activation" if value.role == "constant" and not is_constant else value.role
        version = Value(
            value.shape, value.dtype, role, value.elements, value.storage, value.name, index, strides=value.strides
        )
        self._tensors[id(tensor)] = (tensor, version)
        self._latest[value.storage] = version
        return version

    def _new_value(self, tensor: Tensor, index: int, inputs: list[_Taken], is_constant: bool) -> Value:
        shape, dtype, address = tuple(tensor.shape), _dtype_name(tensor.dtype), _address(tensor)
        strides = _strides(tensor)
        storage = self._storages.get(address)
        if storage is None:
            is_sparse = tensor.layout in SPARSE
            elements = _distinct_elements(tensor) if is_sparse else numel(shape)
            made: Role = "constant" if is_constant else "activation"
            number = self._new_storage(address, elements)
            value = Value(shape, dtype, made, elements, number, "", index, strides=strides, is_sparse=is_sparse)
        else:
            base = next((item for item in inputs if item.value.storage == storage), None)
            viewed = None if base is None else base.value
            role: Role = "activation" if viewed is None else viewed.role
            name = "" if viewed is None else viewed.name
            extent: Extent = "other" if base is None else _extent(tensor, base.stand_in)
            elements = _distinct_elements(tensor)
            value = Value(shape, dtype, role, elements, storage, name, index, viewed, extent, strides)
        self._remember(tensor, tensor, value)
        return value

    # --- modules -------------------------------------------------------------------------------------------

    @contextmanager
    def following_modules(self) -> Iterator[None]:
        """Know which module is running, without touching the model's own hooks."""
        original: Callable[..., Any] = nn.Module.__call__
        thread = threading.get_ident()

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                if id(module) in self._names:
                    self.strayed = _AnotherThread(f"layer {self._names[id(module)][0]!r} runs in another thread")
                    raise self.strayed
                return original(module, *args, **kwargs)  # of a model that has nothing to do with this one
            if "_orig_mod" in module._modules:  # a compiled part runs as it is
                return call(module.get_submodule("_orig_mod"), *args, **kwargs)
            self._scopes.append(self._enter(module))
            run = original if module._compiled_call_impl is None else nn.Module._call_impl  # not what compile() made
            try:
                return run(module, *args, **kwargs)
            except (Exception, SystemExit) as error:
                if self._failure is None or self._failure.error is not error:
                    self._failure = _Failure(error, self._scopes[-1], module, (args, kwargs))
                raise
            finally:
                self._scopes.pop()

        with mock.patch.object(nn.Module, "__call__", call):
            yield

    def _enter(self, module: nn.Module) -> _Scope:
        parent = self._scopes[-1].path
        names = self._names.get(id(module))
        if names is None:  # made during forward
            path = f"{parent}.{type(module).__name__}".lstrip(".")
        elif len(names) == 1:
            path = names[0]
        else:  # a module with several parents goes by the one that is running
            inside = [name for name in names if not parent or name.startswith(f"{parent}.")]
            path = min(inside or names, key=lambda name: name.count("."))
        self._calls += 1
        return _Scope(path, not module._modules, self._calls)

    # --- results -------------------------------------------------------------------------------------------

    def graph(self, result: Any) -> Graph:
        """The finished graph of a pass that returned `result`."""
        returned: list[Tensor] = []
        _with_tensors(result, returned.append)
        values = [self._tensors[id(tensor)][1] for tensor in returned if id(tensor) in self._tensors]
        outputs = tuple(self._current(value) for value in values)
        calls = self._calls - 1  # the first number stands for what runs outside any call
        return Graph(tuple(self.ops), tuple(self.inputs), outputs, self.params, self.storage_elements, calls)

    def explain(self, error: BaseException, model: nn.Module, arguments: Any) -> str:
        """One line: which layer failed, on what shapes, why, and what to do."""
        if self.strayed is not None:
            return (
                f"the forward of {type(model).__name__} cannot be followed: {self.strayed}. "
                "Run it in the thread that calls the model."
            )
        failure = self._failure if self._failure is not None and self._failure.error is error else None
        path = failure.scope.path if failure is not None else ""
        op, needs_data = self._failed_op[1:] if self._failed_op and self._failed_op[0] is error else ("", False)
        message = " ".join(str(error).split())
        if needs_data or NEEDS_DATA.search(message):
            what = f"{op!r}" if op else "what it reads"
            where = f" in layer {path!r} ({type(failure.module).__name__})" if failure is not None and path else ""
            return (
                f"the forward of {type(model).__name__} depends on data values: {what}{where} {_user_line(error)}"
                "needs numbers where only shapes are known. Decide by shapes or by a constructor argument, "
                "or skip the branch with `if x.is_meta`."
            )
        if NO_META_KERNEL in message:
            reason = f"{op!r} has no kernel for shapes alone; give it one with torch.library.register_fake"
        elif isinstance(error, TraceError):
            reason = message
        else:
            known = (why for pattern, why in CANNOT_FOLLOW if pattern.search(message))
            reason = next(known, f"{type(error).__name__}: {message}")
        layer = ""
        if failure is not None and path:
            layer = f"layer {path!r}, {_one_line(failure.module)}, got {_shapes_in(failure.arguments)}: "
        return (
            f"{type(model).__name__} fails on input {_shapes_in(arguments)}: {layer}"
            f"{reason} {_user_line(error)}".rstrip()
        )


_DTYPE_NAMES: dict[torch.dtype, str] = {}


def _extent(view: Tensor, base: Tensor) -> Extent:
    if (view.shape, view.stride(), view.dtype) == (base.shape, base.stride(), base.dtype):
        return "same" if view.storage_offset() == base.storage_offset() else "other"
    is_whole = view.numel() == base.numel() and view.dtype == base.dtype
    return "reshaped" if is_whole and view.is_contiguous() and base.is_contiguous() else "other"


def _are_made_of_constants(inputs: list[_Taken]) -> bool:
    for item in inputs:  # the first is mostly an activation
        if not item.value.is_constant:
            return False
    return bool(inputs)


def _as_given(arguments: Any, inputs: list[_Taken]) -> Any:
    """The arguments with the tensors that were given in place of their stand-ins."""
    given = {id(item.stand_in): item.given for item in inputs}
    return tree_map_only(Tensor, lambda tensor: given.get(id(tensor), tensor), arguments)


def _on_cpu(arguments: Any) -> Any:
    """The arguments, with the CPU for any device that they name."""
    return tree_map_only(torch.device, lambda _: torch.device("cpu"), arguments)


def _on_meta(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=META)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _as_image(out: Tensor, inputs: list[Tensor]) -> Tensor:
    """Channels-last where an operand is."""
    formats = [suggest_memory_format(tensor) for tensor in inputs[:2] if tensor.dim() == out.dim()]
    return out.contiguous(memory_format=torch.channels_last) if torch.channels_last in formats else out


def _as_queries(out: Tensor, inputs: list[Tensor]) -> Tensor:
    """Fused attention lays its result out as the queries, mostly as (batch, tokens, heads, width)."""
    q, k, v = inputs[:3]
    is_fused = out.dim() == 4 and q.shape[-1] == k.shape[-1] == v.shape[-1] and q.stride(-1) == 1
    return torch.empty_like(q) if is_fused and out.shape == q.shape else out


# Where torch's meta kernels say contiguous, and those that compute do not.
LAYOUTS: Mapping[str, Callable[[Tensor, list[Tensor]], Tensor]] = {
    "conv2d": _as_image,
    "group_norm": _as_image,
    "scaled_dot_product_attention": _as_queries,
}


def _strides(tensor: Tensor) -> tuple[int, ...]:
    return tensor.stride() if tensor.layout is torch.strided else ()


def _check_quantised(tensor: Tensor, what: str) -> None:
    if tensor.is_quantized:
        raise TraceError(f"{what}, of {_dtype_name(tensor.dtype)}, {QUANTISED}")


def _distinct_elements(tensor: Tensor) -> int:
    """Its elements, where expanded (stride 0) dimensions count once; of a sparse tensor, those that it holds."""
    if tensor.layout in SPARSE:
        return (tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()).numel()
    if tensor.layout is not torch.strided or 0 not in tensor.stride():
        return tensor.numel()
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return numel([size for size, stride in strides if stride or not size])


def _dtype_name(dtype: torch.dtype) -> str:
    name = _DTYPE_NAMES.get(dtype)
    if name is None:
        name = _DTYPE_NAMES[dtype] = str(dtype).removeprefix("torch.")
    return name


def _tensors_in(out: Any) -> list[Tensor]:
    if isinstance(out, Tensor):
        return [out]
    return [t for item in out for t in _tensors_in(item)] if isinstance(out, list | tuple) else []


def _flat_pairs(run: Any, record: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(run, list):
        for pair in zip(run, record, strict=True):
            yield from _flat_pairs(*pair)
    else:
        yield run, record


def _shapes_in(arguments: Any) -> str:
    tensors: list[Tensor] = []
    _with_tensors(arguments, tensors.append)
    return ", ".join("x".join(map(str, t.shape)) or "scalar" for t in tensors) or "no tensors"


def _one_line(module: nn.Module | None) -> str:
    """``Conv2d(3, 32, kernel_size=(3, 3))`` of a leaf module, the class of any other."""
    return type(module).__name__ if module is None or module._modules else " ".join(repr(module).split())


def _user_line(error: BaseException) -> str:
    """``(net.py:12) `` of the innermost frame in the user's own code."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    return f"({frames[-1].filename}:{frames[-1].lineno}) " if frames else ""

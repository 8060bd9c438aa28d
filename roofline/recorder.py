"""What stands between a model and torch during a traced forward pass: it runs each op on meta tensors and notes it.

Parameters, buffers and inputs with data are stood in for by meta tensors, so nothing large is computed or copied. What
the forward makes out of small constants alone (an ``arange``, a registered buffer) keeps its values, so that control
flow over constants can be followed; control flow over data cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from roofline.count import canonical_name
from roofline.errors import TraceError
from roofline.graph import Extent, Graph, Op, Role, Value, numel
from roofline.meta_tensors import (
    DTYPE_NAMES,
    LAYOUTS,
    META,
    PLAIN,
    SPARSE,
    address_of,
    extent_of,
    lie,
    on_cpu,
    on_meta,
    ones,
    others,
    tensors_in,
    with_tensors,
)
from roofline.module_calls import ModuleCalls
from roofline.overloads import Overload, overload_of
from roofline.plain_layers import TENSOR_TYPES, plain_call, runs_as_usual
from roofline.trace_words import HIGHER_ORDER, NO_META_KERNEL, FailedOp, Failure

CONSTANT_ELEMENTS = 1 << 16  # constants up to this size keep their values; larger ones are only shapes
NUMBERS = 1 << 22  # an op without a meta kernel is run for its shapes on up to so many
# What makes a dense tensor of a sparse one, or a product of it that `count.py` knows.
SPARSE_READERS = frozenset("matmul mm bmm mv addmm linear _sparse_mm _sparse_addmm to_dense _to_dense".split())
SEQUENCES = (list, tuple)
PLAIN_TYPES = frozenset(PLAIN)
# Ops whose integer arguments have to have values: indices, repeats, the sizes of packed batches.
SHAPED_BY_INTEGERS = {"index", "repeat_interleave", "tensor_split", "lstm", "gru", "rnn_tanh", "rnn_relu"}
UNMADE = "which shapes alone do not make: take the network before its conversion, with --dtype int8"


class _Known(NamedTuple):
    """A tensor: as the model has it, as it is run (on meta), and as it is recorded."""

    given: Tensor
    stand_in: Tensor
    value: Value


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Stands between the model and torch: runs each op on meta tensors and writes it down.

    A tensor that the model holds is either meta, and then it may depend on data, or it has values, and then it is a
    constant; a constant has a meta tensor that stands in for it wherever it meets data.
    """

    def __init__(self, modules: ModuleCalls, named: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.inputs: list[Value] = []
        self.params = 0
        self.storage_elements: dict[int, int] = {}
        self._storages: dict[int, int] = {}  # address of a live storage -> its number
        self._latest: dict[int, Value] = {}  # storage number -> the version last written in place
        self._tensors: dict[int, _Known] = {}  # by the id of a tensor, which this keeps alive
        self._places: set[tuple[Any, ...]] = set()  # where the parameters counted so far are
        self._given: dict[int, Tensor] = {}  # id of an input as given -> its stand-in
        self._alive: list[Tensor] = []  # inputs as given, so that no id of one is used twice
        self._modules = modules
        self.failed_op: FailedOp | None = None  # the latest
        self.obstacle: FailedOp | None = None  # the first that would have run on numbers
        adopted: set[int] = set()
        for name, module in named:
            if (module._parameters or module._buffers) and id(module) not in adopted:
                adopted.add(id(module))
                self._adopt_weights(f"{name}." if name else "", module)

    supports_higher_order_operators = True  # to refuse them where the model cannot hide it

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else torch wraps every dispatch in a guard against Dynamo, and imports all of it (a second) for that."""
        return False

    # --- tensors -------------------------------------------------------------------------------------------

    def adopt_input(self, tensor: Tensor) -> Tensor:
        """A meta tensor of the same shape and layout, known as an input of the model."""
        stand_in = self._given.get(id(tensor))
        if stand_in is None:
            if tensor.is_quantized:
                raise _quantised(tensor, "an input")
            _, stand_in, value = self._adopt(on_meta(tensor), "input")
            _, _, value.elements, value.is_sparse, _ = lie(tensor)
            self._given[id(tensor)] = stand_in
            self._alive.append(tensor)
            self.inputs.append(value)
        return stand_in

    def _adopt_weights(self, prefix: str, module: nn.Module) -> None:
        places, is_lazy = self._places, nn.parameter.is_lazy
        for key, parameter in module._parameters.items():
            if parameter is None:
                continue
            if is_lazy(parameter):
                raise TraceError(f"parameter {prefix + key!r} has no shape yet (a lazy module): run the model first")
            value = self._adopt(parameter, "parameter", prefix + key).value
            place = (value.storage, parameter.storage_offset(), value.shape)
            if place not in places:  # a tied parameter may be two objects on the same memory
                places.add(place)
                self.params += parameter.numel()
        for key, buffer in module._buffers.items():
            if buffer is not None:
                self._adopt(buffer, "buffer", prefix + key)

    def _adopt(self, tensor: Tensor, role: Role, name: str = "") -> _Known:
        """Make a tensor that no recorded op produced known, with a meta stand-in where it has data."""
        known = self._tensors.get(id(tensor))
        if known is not None:
            return known
        if tensor.is_quantized:
            raise _quantised(tensor, f"{role} {name!r}" if name else f"a {role}")
        shape, strides, elements, is_sparse, address = lie(tensor)
        storage = self._storages.get(address)
        if storage is None:
            storage = self._new_storage(address, elements)
        elif role == "constant":  # another handle on memory we know, such as ``parameter.data``
            base = next(known.value for known in self._tensors.values() if known.value.storage == storage)
            role, name = base.role, base.name
        stand_in = tensor
        if not tensor.is_meta:
            stand_in = on_meta(tensor)
            self._storages[address_of(stand_in)] = storage
        dtype = DTYPE_NAMES[tensor.dtype]
        value = Value(shape, dtype, role, elements, storage, name, -1, None, "same", strides, is_sparse)
        return self._remember(tensor, stand_in, value)

    def _remember(self, tensor: Tensor, stand_in: Tensor, value: Value) -> _Known:
        if stand_in is not tensor:
            self._tensors[id(stand_in)] = _Known(stand_in, stand_in, value)
        known = self._tensors[id(tensor)] = _Known(tensor, stand_in, value)
        return known

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
        if isinstance(func, HigherOrderOperator):
            raise self._refusal(HIGHER_ORDER, str(func))
        overload = overload_of(func)
        inputs: list[_Known] = []
        targets: list[_Known] = []  # tensors given to be written into (``out=``), which are not read
        run_args: list[Any] = []
        record_args: list[Any] = []
        for arg in args:
            run, record = (arg, arg) if arg.__class__ in PLAIN_TYPES else self._take(arg, inputs)
            run_args.append(run)
            record_args.append(record)
        run_kwargs: dict[str, Any] = {}
        record_kwargs: dict[str, Any] = {}
        if kwargs:
            for key, arg in kwargs.items():
                into = targets if key in overload.writes else inputs
                run_kwargs[key], record_kwargs[key] = self._take(arg, into)
        if overload.takes_device and (not inputs or "device" in run_kwargs):
            run_kwargs["device"] = META
        if (
            overload.name == "copy_"
            and extent_of(*run_args[:2]) == "same"
            and address_of(run_args[0]) == address_of(run_args[1])
        ):
            return run_args[0]  # the end of ``x[:, :c] += y``; torch returns at once, too

        out = overload.rule(*run_args, **run_kwargs) if overload.rule is not None else None
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

        written = [
            (run_args[key], record_args[key]) if isinstance(key, int) else (run_kwargs[key], record_kwargs[key])
            for key in overload.writes
        ]
        self._note(overload, record_args, record_kwargs, inputs, self._outputs(out, written, inputs, targets, overload))
        if data is None:
            return out
        for constant, stand_in in zip(tensors_in(data), tensors_in(out), strict=True):
            value = self._tensors[id(stand_in)].value
            if constant.layout in SPARSE:  # its stand-in is dense
                _, _, value.elements, value.is_sparse, _ = lie(constant)
            self._remember(constant, stand_in, value)
        return data

    def at_once(self, module: nn.Module, given: Any) -> Any:
        """What a plain layer returns on `given`, recorded as if it had run; None where it has to run."""
        planned = plain_call(module, given)
        if planned is None or not runs_as_usual():
            return None
        overload, args = planned
        if overload is None:
            return given
        rule, tensors, latest = overload.rule, self._tensors, self._latest
        known = tensors.get(id(given))
        if rule is None or known is None or not known.given.is_meta:
            return None
        inputs: list[_Known] = []
        run_args: list[Any] = []
        record_args: list[Any] = []
        for arg in (given, *args):
            run = record = arg
            if arg.__class__ in TENSOR_TYPES:
                known = tensors.get(id(arg))
                if known is None or known.value.is_sparse:
                    return None
                if known.value.storage in latest:
                    known = _Known(known.given, known.stand_in, self._current(known.value))
                inputs.append(known)
                _, run, record = known
            elif isinstance(arg, Tensor):
                return None
            run_args.append(run)
            record_args.append(record)
        unseen = torch._C._DisableTorchDispatch()  # what the rule makes is no op of the model
        try:
            out = rule(*run_args)
        finally:
            del unseen
        if out is None:
            return None
        written = [(run_args[key], record_args[key]) for key in overload.writes if isinstance(key, int)]
        self._note(overload, record_args, {}, inputs, self._outputs(out, written, inputs, [], overload))
        return out

    def _note(
        self,
        overload: Overload,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        inputs: list[_Known],
        outputs: tuple[Value, ...],
    ) -> None:
        """Add an op that ran to the record."""
        path, is_leaf, call = self._modules.scope
        recorded = tuple(args)
        self.ops.append(
            Op(
                overload.canonical or canonical_name(overload.name, recorded, kwargs),
                overload.target,
                recorded,
                kwargs,
                tuple([known.value for known in inputs]),
                outputs,
                bool(outputs) and not overload.writes and None not in [value.base for value in outputs],
                path,
                is_leaf,
                call,
            )
        )

    def _take(self, arg: Any, tensors: list[_Known]) -> tuple[Any, Any]:
        """An argument as it is run (meta) and as it is recorded (Values); its tensors are added to `tensors`."""
        known = self._tensors.get(id(arg))
        if known is None and isinstance(arg, Tensor):
            known = self._adopt(arg, "constant")
        if known is not None:
            if known.value.storage in self._latest and (value := self._current(known.value)) is not known.value:
                known = _Known(known.given, known.stand_in, value)
            tensors.append(known)
            return known.stand_in, known.value
        if isinstance(arg, PLAIN):
            return arg, arg
        if isinstance(arg, SEQUENCES):
            if arg and arg[0].__class__ is int:  # strides, sizes: nothing to look for
                return arg, tuple(arg)
            pairs = [self._take(item, tensors) for item in arg]
            return [run for run, _ in pairs], tuple([record for _, record in pairs])
        if isinstance(arg, torch.device):
            return META, "device"
        return arg, str(arg)

    def _run(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Known]
    ) -> tuple[Any, Any]:
        """The result on meta tensors, and its data where only constants could decide it."""
        try:
            out = func(*args, **kwargs)
        except Exception as error:
            if overload.makes == "quantised":
                raise self._quantised_op(overload) from error
            data = self._run_on_constants(func, overload, args, kwargs, inputs)
            if data is None and not overload.needs_data and NO_META_KERNEL.search(str(error)):
                out = self._run_on_numbers(func, overload, args, kwargs, inputs)
                if out is not None:
                    return out, None
            if data is None:
                self._note_failed(error, overload.name, overload.needs_data)
                raise
            out, is_constant = data
            return tree_map_only(Tensor, on_meta, out), out if is_constant else None
        lay_out = LAYOUTS.get(overload.name)
        if lay_out is not None:
            out = lay_out(out, [item.stand_in for item in inputs])
        for tensor in tensors_in(out):
            if not tensor.is_meta:  # an op that makes its tensors out of nothing
                return tree_map_only(Tensor, on_meta, out), out
        return out, None

    def _run_on_constants(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Known]
    ) -> tuple[Any, bool] | None:
        """What meta tensors cannot tell, where constants alone decide it: the result, and whether it is constant."""
        if overload.keeps_constants and self._are_constants(inputs):
            return func(*on_cpu(_as_given(args, inputs)), **on_cpu(_as_given(kwargs, inputs))), True
        integers = [item for item in inputs[1:] if not item.stand_in.is_floating_point()]
        if overload.name in SHAPED_BY_INTEGERS and integers and self._are_constants(integers):
            return func(*_as_given(args, integers), **_as_given(kwargs, integers)), False
        return None

    def _run_on_numbers(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Known]
    ) -> Any:
        """What an op without a kernel for meta tensors makes of ones, and of others; None where that is much, or fails.

        Raises:
            TraceError: It makes something else of each, so that it depends on the numbers.
        """
        if sum(item.value.elements for item in inputs) > NUMBERS:
            return None
        found = []
        for fill in (ones, others):
            filled = [
                item._replace(
                    given=item.given.to("cpu", copy=True) if self._are_constants([item]) else fill(item.stand_in)
                )
                for item in inputs
            ]
            try:
                out = func(*on_cpu(_as_given(args, filled)), **on_cpu(_as_given(kwargs, filled)))
            except Exception:  # it is the first error that says what is missing
                return None
            found.append(tree_map_only(Tensor, on_meta, out))
        shapes = [tree_map_only(Tensor, lambda tensor: (tensor.shape, tensor.dtype), out) for out in found]
        if shapes[0] != shapes[1]:
            raise self._refusal("its shape depends on the numbers", overload.name, needs_data=True)
        return found[0]

    def _are_constants(self, inputs: list[_Known]) -> bool:
        for item in inputs:
            limit = NUMBERS if item.value.is_sparse else CONSTANT_ELEMENTS
            if item.given.is_meta or item.value.elements > limit:
                return False
            if item.value.storage in self._latest:  # its values have changed, but only on the stand-in
                return False
        return True

    def _constant(
        self, func: Any, overload: Overload, args: Sequence[Any], kwargs: dict[str, Any], inputs: list[_Known], out: Any
    ) -> Any:
        """The data of a result that is made of constants alone; None where it is none, or too large."""
        tensors = tensors_in(out)
        has_sparse = any(item.value.is_sparse for item in inputs)
        is_sparse = has_sparse and overload.name not in SPARSE_READERS
        if not tensors or (not is_sparse and any(tensor.numel() > CONSTANT_ELEMENTS for tensor in tensors)):
            return None
        with torch.inference_mode(not has_sparse):  # in which a sparse tensor has no views
            return func(*on_cpu(_as_given(args, inputs)), **on_cpu(_as_given(kwargs, inputs)))

    def _check_layout(self, overload: Overload, inputs: list[_Known]) -> None:
        """Refuse what is more than a shape: sparse tensors whose entries nobody can number, quantised ones."""
        if overload.makes == "sparse":
            raise self._refusal("it depends on how many are not zero", overload.name, needs_data=True)
        for known in inputs:
            if known.value.is_sparse and overload.name not in SPARSE_READERS:
                raise self._refusal(
                    f"what {overload.name!r} makes of a sparse tensor cannot be followed", overload.name
                )
        if overload.makes == "quantised":
            raise self._quantised_op(overload)

    def note_unreadable(self, error: BaseException, what: str) -> None:
        """Numbers were asked of a tensor by another way than an op."""
        self._note_failed(error, what, needs_data=True)

    def _quantised_op(self, overload: Overload) -> TraceError:
        return self._refusal(f"{overload.name!r} is of quantised tensors, {UNMADE}", overload.name)

    def _refusal(self, why: str, op: str, *, needs_data: bool = False) -> TraceError:
        """An error of ours, which no run on numbers would raise."""
        error = TraceError(why)
        self._note_failed(error, op, needs_data, is_ours=True)
        return error

    def _note_failed(self, error: BaseException, op: str, needs_data: bool, *, is_ours: bool = False) -> None:
        """An op that did not run: the latest, and perhaps the first that would have run on numbers."""
        failure = Failure(error, self._modules.scope[0], *self._modules.running)
        failed = self.failed_op = FailedOp(failure, op, needs_data)
        if self.obstacle is None and (is_ours or failed.is_the_tracers):
            self.obstacle = failed

    def _outputs(
        self, out: Any, written: list[tuple[Any, Any]], inputs: list[_Known], targets: list[_Known], overload: Overload
    ) -> tuple[Value, ...]:
        index = len(self.ops)
        is_constant = not overload.is_random and _are_made_of_constants(inputs)
        if not written and isinstance(out, Tensor):
            return (self._new_value(out, index, inputs, is_constant),)
        outputs = []
        for pair in written:
            for tensor, value in _flat_pairs(*pair):
                if isinstance(tensor, Tensor):
                    outputs.append(self._write(tensor, value, index, is_constant))
        for tensor in tensors_in(out):
            if not (outputs and any(tensor is item.stand_in for item in (*inputs, *targets))):
                outputs.append(self._new_value(tensor, index, inputs, is_constant))
        return tuple(outputs)

    def _write(self, tensor: Tensor, value: Value, index: int, is_constant: bool) -> Value:
        role = "activation" if value.role == "constant" and not is_constant else value.role
        version = Value(
            value.shape, value.dtype, role, value.elements, value.storage, value.name, index, strides=value.strides
        )
        self._tensors[id(tensor)] = _Known(tensor, tensor, version)
        self._latest[value.storage] = version
        return version

    def _new_value(self, tensor: Tensor, index: int, inputs: list[_Known], is_constant: bool) -> Value:
        """What an op has made; `is_constant` says whether of constants alone."""
        shape, strides, elements, is_sparse, address = lie(tensor)
        dtype = DTYPE_NAMES[tensor.dtype]
        storage = self._storages.get(address)
        if storage is None:
            if not is_sparse:
                elements = numel(shape)
            # What is larger than what it is made of is no constant: it grows with the batch.
            is_small = is_constant and numel(shape) <= max(known.value.elements for known in inputs)
            role: Role = "constant" if is_small else "activation"
            number = self._new_storage(address, elements)
            value = Value(shape, dtype, role, elements, number, "", index, None, "same", strides, is_sparse)
        else:
            base = next((known for known in inputs if known.value.storage == storage), None)
            viewed = None if base is None else base.value
            role = "activation" if viewed is None else viewed.role
            name = "" if viewed is None else viewed.name
            extent: Extent = "other" if base is None else extent_of(tensor, base.stand_in)
            value = Value(shape, dtype, role, elements, storage, name, index, viewed, extent, strides)
        self._remember(tensor, tensor, value)
        return value

    # --- results -------------------------------------------------------------------------------------------

    def graph(self, result: Any) -> Graph:
        """The finished graph of a pass that returned `result`."""
        returned: list[Tensor] = []
        with_tensors(result, returned.append)
        values = [self._tensors[id(tensor)].value for tensor in returned if id(tensor) in self._tensors]
        outputs = tuple(self._current(value) for value in values)
        calls = self._modules.count - 1
        return Graph(tuple(self.ops), tuple(self.inputs), outputs, self.params, self.storage_elements, calls)


def _are_made_of_constants(inputs: list[_Known]) -> bool:
    for item in inputs:  # the first is mostly an activation
        if not item.value.is_constant:
            return False
    return bool(inputs)


def _as_given(arguments: Any, inputs: list[_Known]) -> Any:
    """The arguments with the tensors that were given in place of their stand-ins."""
    given = {id(item.stand_in): item.given for item in inputs}
    return tree_map_only(Tensor, lambda tensor: given.get(id(tensor), tensor), arguments)


def _quantised(tensor: Tensor, what: str) -> TraceError:
    return TraceError(f"{what}, of {DTYPE_NAMES[tensor.dtype]}, is a quantised tensor, {UNMADE}")


def _flat_pairs(run: Any, record: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(run, list):
        for pair in zip(run, record, strict=True):
            yield from _flat_pairs(*pair)
    else:
        yield run, record

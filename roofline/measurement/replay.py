"""Record the ops that a module runs, and run them again, one by one under a timer.

A recording is a list of steps over numbered tensors. A replay starts from the same inputs, weights and random state
and hands each step the tensors that the steps before it made. So shapes, strides and values are those of the module,
outputs are allocated anew, memory is given back after its last use, and what an op reads was just written, as when the
module runs. (In a trial with six networks, ops timed one at a time in a tight loop summed up to 0.76 to 0.90 of the
whole, and in order and in context to 0.87 to 0.96, where the rest is Python: alone, an op finds caches and predictors
as no network leaves them.)

A step calls what Python code calls, ``torch.conv2d``, where that leads to the op that was recorded: an overload called
by itself goes through a slower parser of arguments. Ops that write into tensors from outside (a buffer, an input) work
on copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from roofline.measurement.clock import Clock
from roofline.measurement.stopping import median
from roofline.overloads import Overload, overload_of

OWN_COST_SPANS = 1000  # spans around nothing whose median is a timer's own cost
# Where torch keeps the functions that its Python code calls, one for all overloads of an op.
BINDINGS = ("_VariableFunctions", "_nn", "_linalg", "_special", "_fft", "TensorBase")


class Slot(NamedTuple):
    """Stands for a tensor among the arguments of a step."""

    number: int


@dataclass(slots=True, eq=False)
class Step:
    """One op as it ran.

    Attributes:
        target: The overload that ran, e.g. ``aten.conv2d.default``.
        call: What runs it.
        args, kwargs: Its arguments, with Slots in place of tensors.
        outputs: Slots of the tensors it returns, in order; those of its inputs where it works in place.
        last: Slots that no later step reads.
    """

    target: str
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]
    last: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Recording:
    """What a forward pass did.

    Attributes:
        steps: All ops, views included, in the order in which they ran.
        given: Tensors that no step made, by slot: parameters, buffers, inputs, constants.
        saved: Contents, before the pass, of the storages among them that it writes into.
        results: Slots of the tensors that the pass returns.
        module_calls: Calls of modules.
        random_states: Of torch's generators, before the pass.
    """

    steps: list[Step] = field(default_factory=list)
    given: dict[int, Tensor] = field(default_factory=dict)
    saved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = field(default_factory=dict)
    results: tuple[int, ...] = ()
    module_calls: int = 0
    random_states: tuple[Tensor, ...] = ()

    def restore(self) -> None:
        """Put back what was in the tensors from outside, and the random states, before the pass."""
        for storage, saved in self.saved.values():
            storage.copy_(saved)
        _set_random_states(self.random_states)

    def tensors(self) -> dict[int, Tensor]:
        """The tensors that a replay starts from; those it will write into are copies."""
        copies = {key: _copy(saved) for key, (_, saved) in self.saved.items()}
        found = dict(self.given)
        for number, tensor in self.given.items():
            copy = copies.get(_storage_key(tensor))
            if copy is not None:
                blank = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
                found[number] = blank.set_(copy, tensor.storage_offset(), tensor.shape, tensor.stride())
        return found


def record(call: Callable[[], object]) -> Recording:
    """Run a forward pass once and write down what it did.

    It is to be called under inference mode: composite ops are then seen whole, as `roofline.trace` records them. What
    the pass writes into tensors that were there before stays there until `Recording.restore`.
    """
    recorder = _Recorder()
    recording = recorder.recording
    recording.random_states = _random_states()

    def count(*_: Any) -> None:
        recording.module_calls += 1

    try:
        with on_module_calls(before=count), recorder:
            returned = call()
    except BaseException:
        recording.restore()
        raise
    recording.results = recorder.numbers_of(tree_leaves(returned))
    kept = {*recording.given, *recording.results}
    last: dict[int, Step] = {}
    for step in recording.steps:
        for number in (*(slot.number for slot in _slots_in((step.args, step.kwargs))), *step.outputs):
            if number not in kept:
                last[number] = step
    for number, step in last.items():
        step.last = (*step.last, number)
    return recording


@contextmanager
def on_module_calls(
    before: Callable[[nn.Module, Any], None], after: Callable[[nn.Module, Any, Any], None] | None = None
) -> Iterator[None]:
    """Have functions called around each call of any module, by hooks of torch's own table and none of the modules'."""
    handles = [nn.modules.module.register_module_forward_pre_hook(before)]
    if after is not None:
        handles.append(nn.modules.module.register_module_forward_hook(after, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Stands between the module and torch, and writes down what passes; `roofline.trace` takes the same ops apart."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = Recording()
        self._numbers: Any = WeakTensorKeyDictionary()  # tensors that live; the pass may free them as ever
        self._count = 0
        self._outside: dict[int, torch.UntypedStorage] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else torch wraps every dispatch in a guard against Dynamo, and imports all of it (a second) for that."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        overload, kwargs = overload_of(func), kwargs or {}
        if overload.take_apart:
            with self:
                return func.decompose(*args, **kwargs)
        if overload.name == "copy_" and _is_same_memory(args[0], args[1]):
            return func(*args, **kwargs)  # the end of ``x[:, :c] += y``, which does nothing
        taken, taken_kwargs = self._take(args), self._take(kwargs)
        for target in _written(func, overload, args, kwargs):
            self._save(target)
        out = func(*args, **kwargs)
        outputs = tuple(self._number(tensor) for tensor in _tensors_in(out))
        self.recording.steps.append(Step(overload.target, func, taken, taken_kwargs, outputs))
        return out

    def numbers_of(self, leaves: Sequence[Any]) -> tuple[int, ...]:
        """The numbers of those that are known tensors."""
        known = (self._numbers.get(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        return tuple(number for number in known if number is not None)

    def _take(self, arg: Any) -> Any:
        if isinstance(arg, Tensor):
            if arg not in self._numbers:
                self._adopt(arg)
            return Slot(self._numbers[arg])
        if isinstance(arg, tuple | list):
            return type(arg)(map(self._take, arg)) if type(arg) in (tuple, list) else arg
        if isinstance(arg, dict):
            return {key: self._take(value) for key, value in arg.items()}
        return arg

    def _adopt(self, tensor: Tensor) -> None:
        number = self._number(tensor)
        self.recording.given[number] = tensor
        if _storage_key(tensor):
            self._outside[_storage_key(tensor)] = tensor.untyped_storage()

    def _number(self, tensor: Tensor) -> int:
        number = self._numbers.get(tensor)
        if number is None:
            number = self._numbers[tensor] = self._count
            self._count += 1
        return int(number)

    def _save(self, target: Tensor) -> None:
        key = _storage_key(target)
        if key in self._outside and key not in self.recording.saved:
            storage = self._outside[key]
            self.recording.saved[key] = (storage, _copy(storage))


def _written(func: Any, overload: Overload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an op writes into, by its schema; norms write statistics, which theirs does not say."""
    places: list[Any] = []
    for key in overload.writes:
        if isinstance(key, str):
            places.append(kwargs.get(key))
        else:
            places.append(args[key] if key < len(args) else kwargs.get(func._schema.arguments[key].name))
    if overload.name.endswith(("batch_norm", "instance_norm")) and len(args) > 5 and args[5] is True:
        places += args[3:5]  # running mean and variance; args[5] is `training`, or `use_input_stats`
    return _tensors_in(places)


# --- replay ----------------------------------------------------------------------------------------------------------


class Stopwatch(Protocol):
    """Times spans one after the other; a mark may be a time, or an event on an accelerator."""

    def start(self) -> None:
        """Called before the first mark of a sequence."""

    def mark(self) -> Any:
        """Now."""

    def spans_s(self, marks: Sequence[tuple[Any, Any]]) -> list[float]:
        """Seconds between the marks of each pair; called after the last of a sequence."""


class ClockStopwatch:
    """Reads a clock, for work that has ended when the call returns."""

    def __init__(self, clock: Clock) -> None:
        self.mark = clock.now_s

    def start(self) -> None:
        """Nothing to prepare."""

    def spans_s(self, marks: Sequence[tuple[float, float]]) -> list[float]:
        """Seconds between the readings of each pair."""
        return [end_s - start_s for start_s, end_s in marks]


class Replayed(NamedTuple):
    """What a replay gave.

    Attributes:
        step_s: Seconds of each step.
        results: The tensors that the forward pass returned.
    """

    step_s: list[float]
    results: tuple[Tensor, ...]


def replay(recording: Recording, stopwatch: Stopwatch, *, own_cost_s: float = 0.0) -> Replayed:
    """Run a recording again.

    Args:
        recording: What to run.
        stopwatch: Times each step. What is between steps, taking up arguments and giving back memory, is not timed.
        own_cost_s: Of the stopwatch, taken off each time.
    """
    tensors = recording.tensors()
    _set_random_states(recording.random_states)
    marks = []
    mark = stopwatch.mark
    stopwatch.start()
    for step in recording.steps:
        call, args, kwargs = step.call, _bind(step.args, tensors), _bind(step.kwargs, tensors)
        start = mark()
        out = call(*args, **kwargs)
        end = mark()
        marks.append((start, end))
        _keep(step, out, tensors)
        del args, kwargs, out
    step_s = [max(0.0, span_s - own_cost_s) for span_s in stopwatch.spans_s(marks)]
    return Replayed(step_s, tuple(tensors[number] for number in recording.results))


def own_cost_s(stopwatch: Stopwatch, spans: int = OWN_COST_SPANS) -> float:
    """What a stopwatch reads of a call that does nothing, as `replay` makes it."""
    call, args, kwargs = _nothing, (), dict[str, Any]()
    marks = []
    mark = stopwatch.mark
    stopwatch.start()
    for _ in range(spans):
        start = mark()
        call(*args, **kwargs)
        end = mark()
        marks.append((start, end))
    return median(stopwatch.spans_s(marks))


def _nothing() -> None:
    pass


def use_bindings(recording: Recording) -> None:
    """Let each step call what Python code calls for its op, where a trial shows that it runs the overload recorded."""
    tensors = recording.tensors()
    _set_random_states(recording.random_states)
    witness = _Witness()
    for step in recording.steps:
        args, kwargs = _bind(step.args, tensors), _bind(step.kwargs, tensors)
        out, ran = None, False
        for binding in _bindings(step.call):
            witness.seen.clear()
            try:
                with witness:
                    out = binding(*args, **kwargs)
            except Exception:  # another signature
                continue
            if witness.seen == [step.call]:
                step.call, ran = binding, True
                break
        if not ran:
            out = step.call(*args, **kwargs)
        _keep(step, out, tensors)


class _Witness(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Notes which overloads run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def _bindings(func: Any) -> Iterator[Callable[..., Any]]:
    namespace, _, name = func._schema.name.partition("::")
    if namespace == "aten":
        for home in BINDINGS:
            binding = getattr(getattr(torch._C, home, None), name, None)
            if binding is not None:
                yield binding


def _bind(arg: Any, tensors: dict[int, Tensor]) -> Any:
    if type(arg) is Slot:
        return tensors[arg.number]
    if type(arg) is tuple or type(arg) is list:
        return type(arg)([_bind(item, tensors) for item in arg])
    if type(arg) is dict:
        return {key: _bind(value, tensors) for key, value in arg.items()}
    return arg


def _keep(step: Step, out: Any, tensors: dict[int, Tensor]) -> None:
    """Keep what a step made for those that read it, and let go of what none will."""
    if step.outputs:
        tensors.update(zip(step.outputs, _tensors_in(out), strict=True))
    for number in step.last:
        del tensors[number]


def _slots_in(arg: Any) -> Iterator[Slot]:
    if isinstance(arg, Slot):
        yield arg
    elif isinstance(arg, tuple | list):
        for item in arg:
            yield from _slots_in(item)
    elif isinstance(arg, dict):
        yield from _slots_in(list(arg.values()))


def _tensors_in(out: Any) -> list[Tensor]:
    if isinstance(out, Tensor):
        return [out]
    return [tensor for item in out for tensor in _tensors_in(item)] if isinstance(out, list | tuple) else []


def _storage_key(tensor: Tensor) -> int:
    """The address of a tensor's storage; 0 where it has none of its own, such as a sparse one."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0


def _copy(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    made = torch.UntypedStorage(storage.nbytes(), device=storage.device)  # type: ignore[no-untyped-call]
    return made.copy_(storage)


def _is_same_memory(one: Tensor, other: Tensor) -> bool:
    def place(tensor: Tensor) -> tuple[Any, ...]:
        return _storage_key(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype

    return one.layout is other.layout is torch.strided and place(one) == place(other)


def _random_states() -> tuple[Tensor, ...]:
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return (torch.get_rng_state(), *on_gpu)


def _set_random_states(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for index, state in enumerate(states[1:]):
        torch.cuda.set_rng_state(state, index)

"""Which module of a model is running, while its forward pass does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from roofline.other_threads import AnotherThread, threads_refused
from roofline.trace_words import Failure

Shortcut = Callable[[nn.Module, Any], Any]
Scope = tuple[str, bool, int]  # of a running call: the path of its module, whether that has no children, its number


class ModuleCalls:
    """The calls of the modules of one model.

    Attributes:
        scope: The innermost call that is running.
        running: The module of it, and what that was called with.
        count: The number of the latest; how many there have been is one less.
        failure: Where an exception came up first.
        strayed: A layer or an op in another thread, where ops are not recorded: the first.
    """

    def __init__(self, model: nn.Module, named: Sequence[tuple[str, nn.Module]]) -> None:
        self.scope: Scope = "", not model._modules, 0
        self.running: tuple[nn.Module, Any] = model, ()
        self.count = 1  # the first number stands for what runs outside any call
        self.failure: Failure | None = None
        self.strayed: AnotherThread | None = None
        self._names: dict[int, list[str]] = {}
        for name, module in named:
            self._names.setdefault(id(module), []).append(name)
        self._paths = {of: names[0] for of, names in self._names.items() if len(names) == 1}

    @contextmanager
    def following(self, shortcut: Shortcut) -> Iterator[None]:
        """Know which module is running, without touching the model's own hooks.

        What ``Module.__call__`` calls is patched, not itself: a new special method is written into every subclass.

        Args:
            shortcut: Asked first what a module returns on its one argument; None where it has to run.
        """
        original: Callable[..., Any] = nn.Module._call_impl
        get_ident = threading.get_ident
        thread, paths = get_ident(), self._paths

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if get_ident() != thread:
                if id(module) in self._names:
                    raise self._stray(f"layer {self._names[id(module)][0]!r}")
                return original(module, *args, **kwargs)  # of a model that has nothing to do with this one
            while "_orig_mod" in module._modules:  # a compiled part runs as it is
                module = module.get_submodule("_orig_mod")
            outer, around = self.scope, self.running
            path = paths.get(id(module))
            number = self.count = self.count + 1
            self.scope = self._path_of(module) if path is None else path, not module._modules, number
            self.running = module, (args, kwargs)
            try:
                if len(args) == 1 and not kwargs and (out := shortcut(module, args[0])) is not None:
                    return out
                return original(module, *args, **kwargs)
            except (Exception, SystemExit) as error:
                if self.failure is None or self.failure.error is not error:
                    self.failure = Failure(error, self.scope[0], module, (args, kwargs))
                raise
            finally:
                self.scope, self.running = outer, around

        def compiled(module: nn.Module) -> Any:
            """What `Module.compile` made, which does not run here."""
            return None if get_ident() == thread else module.__dict__.get("_compiled_call_impl")

        def keep_compiled(module: nn.Module, made: Any) -> None:
            module.__dict__["_compiled_call_impl"] = made

        patches = {"_call_impl": call, "_compiled_call_impl": property(compiled, keep_compiled)}
        originals = {name: getattr(nn.Module, name) for name in patches}
        try:
            for name, patch in patches.items():
                setattr(nn.Module, name, patch)
            with threads_refused(self._stray, lambda: self.strayed is not None):
                yield
        finally:
            for name, original_one in originals.items():
                setattr(nn.Module, name, original_one)

    def _stray(self, what: str) -> AnotherThread:
        """What to raise where a layer or an op runs in another thread."""
        error = AnotherThread(f"{what} runs in another thread")
        if self.strayed is None:
            self.strayed = error
        return error

    def _path_of(self, module: nn.Module) -> str:
        """The path of a module that has not just one."""
        parent, names = self.scope[0], self._names.get(id(module))
        if names is None:  # made during forward
            return f"{parent}.{type(module).__name__}".lstrip(".")
        inside = [name for name in names if not parent or name.startswith(f"{parent}.")]
        return min(inside or names, key=lambda name: name.count("."))  # of the parent that is running

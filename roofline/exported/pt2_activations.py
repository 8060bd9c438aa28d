"""The activation functions of a ``.pt2`` archive, with another function in their place.

The file's nodes are read as the records that ONNX files are read as, so that one rule says of both where an activation
is (`roofline.exported.activation_sites`). In place of each comes the module that `roofline.models.activations` makes of
the name, where the module of the file was: so the network is traced, and runs, as a live one that was built with it.
The archive says of which class its modules are. Those of `roofline.models.activations` that are more than one op
(SE-ReLU, Dynamic ReLU, Dynamic Shift-Max) are replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from roofline.errors import ModelError
from roofline.exported.activation_sites import RANKS, Site, check_channels, clip, find_sites
from roofline.exported.archive import Json
from roofline.exported.network import CALL_MARK, ExportedNetwork, Step
from roofline.exported.onnx_nodes import HARD_SIXTH, Node
from roofline.exported.pt2_schema import argument_of, base_name, dtype_of, names_in, scopes_of, tagged, written_by
from roofline.models.activations import make_activation

# ATen's names, without the underscore of what works in place, of what ONNX has a name for.
OPS: Mapping[str, str] = {
    "add": "Add", "sub": "Sub", "rsub": "Sub", "mul": "Mul", "div": "Div", "true_divide": "Div", "pow": "Pow",
    "relu": "Relu", "relu6": "Relu6", "leaky_relu": "LeakyRelu", "prelu": "PRelu", "elu": "Elu", "selu": "Selu",
    "celu": "Celu", "gelu": "Gelu", "silu": "Swish", "mish": "Mish", "hardswish": "HardSwish",
    "hardsigmoid": "HardSigmoid", "sigmoid": "Sigmoid", "tanh": "Tanh", "erf": "Erf", "softplus": "Softplus",
    "matmul": "MatMul", "mm": "MatMul", "bmm": "MatMul", "einsum": "Einsum",
    "scaled_dot_product_attention": "Attention", "to": "Cast", "_to_copy": "Cast", "dropout": "Dropout",
    "feature_dropout": "Dropout", "neg": "Neg",
}  # fmt: skip
VIEWS: Mapping[str, str] = {
    "view": "View", "reshape": "Reshape", "view_as": "View", "reshape_as": "Reshape", "flatten": "Flatten",
    "unflatten": "Reshape", "permute": "Transpose", "transpose": "Transpose", "t": "Transpose", "movedim": "Transpose",
    "numpy_T": "Transpose", "squeeze": "Squeeze", "unsqueeze": "Unsqueeze", "expand": "Expand", "expand_as": "Expand",
    "slice": "Slice", "select": "Slice", "narrow": "Slice", "split": "Split", "split_with_sizes": "Split",
    "chunk": "Split", "unbind": "Split", "alias": "Identity", "detach": "Identity", "lift_fresh_copy": "Identity",
    "clone": "Identity", "contiguous": "Identity",
}  # fmt: skip
VIEW_OPS = frozenset(VIEWS.values())
CLIPS: Mapping[str, tuple[float | None, float | None]] = {  # and the limits that they have where none are given
    "hardtanh": (-1.0, 1.0), "clamp": (None, None), "clip": (None, None), "clamp_min": (None, None),
}  # fmt: skip
WITH_NUMBERS = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})
WHOLE: Mapping[str, str] = {  # by the class of a module: a function of several ops
    f"{make_activation.__module__}.{name}": function
    for name, function in {
        "SEReLU": "se_relu", "DynamicReLU": "dynamic_relu_b", "DynamicShiftMax": "dynamic_shift_max",
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is to be done in place of a file's activation functions.

    Attributes:
        steps: By the index of the node that they take the place of.
        gone: Indices of all nodes whose place they take.
        paths: Of the modules that were put in.
    """

    steps: Mapping[int, Step]
    gone: frozenset[int]
    paths: tuple[str, ...]


UNCHANGED = Exchange({}, frozenset(), ())


def exchanged(
    network: ExportedNetwork, graph: Json, weights: Collection[str], outputs: Sequence[str], act: str, *, on_meta: bool
) -> Exchange:
    """Put another activation function into a network, in which nothing is yet.

    Args:
        network: Where its modules go.
        graph: Of the archive: its nodes, and ``tensor_values``.
        weights: Names of the values that do not depend on the inputs.
        outputs: Names of the values that the graph returns.
        act: Its name in `roofline.models.activations`.
        on_meta: Whether its weights are to be shapes without memory.

    Raises:
        ModelError: The file has no activation function; or the other one cannot stand in the place of one.
    """
    numbers: dict[str, float] = {}
    nodes = [_record(index, node, numbers) for index, node in enumerate(graph["nodes"])]
    sites = find_sites(nodes, outputs, numbers, weights, known=list(_whole(nodes, graph, weights, outputs)))
    if not sites:
        raise ModelError(f"it has no activation function that {act} could take the place of")
    gone = frozenset(index for site in sites for index in site.nodes)
    paths = _paths(nodes, sites, gone, act)
    made: dict[str, Any] = {}  # modules by path
    channels: dict[str, Any] = {}
    steps, views = {}, _Views(nodes, outputs)
    for site, (path, scopes) in zip(sites, paths, strict=True):
        meta = graph["tensor_values"][site.source]
        if path not in made:
            made[path] = network.place(path, _module(act, meta, path, on_meta=on_meta))
            channels[path] = _channels(meta)
        elif act in RANKS and channels[path] != _channels(meta):
            raise ModelError(f"{act} has weights for each channel, and {path!r} is called on different numbers of them")
        in_place = _is_in_place(graph["nodes"][site.last], nodes[site.last], site)
        if in_place and hasattr(made[path], "inplace"):
            made[path].inplace = True
        elif in_place and views.is_read_elsewhere(site):
            raise ModelError(f"{path!r} works in place on what is read elsewhere, too, and {act} cannot")
        writes = (site.result, site.source) if in_place else (site.result,)
        steps[site.last] = Step(scopes, network.calling(path, site.source, writes), (site.source,), writes)
    return Exchange(steps, gone, tuple(made))


def _record(index: int, node: Json, numbers: dict[str, float]) -> Node:
    """A node by the names that ONNX has; a number among its arguments is a value, kept in `numbers`."""
    raw = base_name(node["target"])
    name = raw.removesuffix("_")
    op, arguments = OPS.get(name) or VIEWS.get(name) or f"aten.{raw}", [entry["arg"] for entry in node["inputs"]]
    keywords = {entry["name"] for entry in node["inputs"]}
    if name in CLIPS:
        op = clip(*_limits(name, node))
    elif op in ("Add", "Sub") and "alpha" in keywords:
        op = f"aten.{raw}"
    inputs: list[str] = []
    for entry in arguments:
        kind, held = tagged(entry)
        if op in WITH_NUMBERS and kind in ("as_int", "as_float"):
            numbers[f"={float(held)}"] = float(held)
            inputs.append(f"={float(held)}")
        elif kind != "as_graph":
            inputs += names_in(argument_of(entry))
    written = tuple(each for output in node["outputs"] for each in written_by(output)) or (f"nothing {index}",)
    attributes = {"alpha": HARD_SIXTH} if op == "HardSigmoid" else {}
    stack = node.get("metadata", {}).get("nn_module_stack", "")
    return Node(op, "", tuple(inputs), written, attributes, 0, scopes_of(stack))


def _limits(name: str, node: Json) -> tuple[float | None, float | None]:
    """What a clip clips to; NaN where that is known as the network runs alone."""
    low, high = CLIPS[name]
    for position, entry in enumerate(node["inputs"][1:]):
        value = argument_of(entry["arg"])
        if value is None:
            continue
        number = float(value) if isinstance(value, int | float) else float("nan")
        if entry["name"] in ("max", "max_val") or position == 1:
            high = number
        else:
            low = number
    return low, high


def _whole(nodes: Sequence[Node], graph: Json, weights: Collection[str], outputs: Sequence[str]) -> Iterator[Site]:
    """The calls of modules that are one activation of several ops."""
    calls: dict[str, tuple[str, set[int]]] = {}
    fixed, readers = set(weights), _readers(nodes)
    for index, node in enumerate(graph["nodes"]):
        for entry in node.get("metadata", {}).get("nn_module_stack", "").split(";"):
            _, path, kind = (*entry.split(","), "", "", "")[:3]
            if path and kind in WHOLE:
                calls.setdefault(path, (WHOLE[kind], set()))[1].add(index)
                break
    for function, inside in calls.values():
        written = [name for index in sorted(inside) for name in nodes[index].outputs]
        own = set(written)
        read = {name for i in inside for name in nodes[i].inputs} - own - fixed
        given = [name for name in read if not name.startswith("=")]
        results = [name for name in written if name in outputs or not inside.issuperset(readers.get(name, ()))]
        if len(given) == len(results) == 1:
            yield Site(function, frozenset(inside), given[0], results[0])


def _readers(nodes: Sequence[Node]) -> dict[str, list[int]]:
    """Indices of the nodes that read each value, in order."""
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    return readers


def _paths(
    nodes: Sequence[Node], sites: Sequence[Site], gone: frozenset[int], act: str
) -> list[tuple[str, tuple[str, ...]]]:
    """Where the module of each site goes, and the modules that it is called in.

    In place of the innermost module that does nothing else, in any of its calls; else into the module that it is in,
    where it has the name of the function.
    """
    of_call: dict[str, set[int]] = {}
    of_module: dict[str, set[int]] = {}
    for index, node in enumerate(nodes):
        for scope in node.scopes:
            of_call.setdefault(scope, set()).add(index)
            of_module.setdefault(scope.partition(CALL_MARK)[0], set()).add(index)
    replaced = {path for path, inside in of_module.items() if inside <= gone}
    used = dict.fromkeys(of_module, 1)
    found = []
    for site in sites:
        shared = [scope for scope in nodes[site.last].scopes if site.nodes <= of_call[scope]]
        own = shared[-1] if shared else ""
        path = own.partition(CALL_MARK)[0]
        if own and of_call[own] == site.nodes and path in replaced:
            found.append((path, tuple(shared[:-1])))
            continue
        path = _new(f"{path}.{act}".lstrip("."), used)
        found.append((path, tuple(shared)))
    return found


def _new(path: str, used: dict[str, int]) -> str:
    """That path, or with a number where there is something already; `used` has the last number of each."""
    name = path
    while name in used:
        used[path] += 1
        name = f"{path}_{used[path]}"
    used[name] = 1
    return name


def _module(act: str, meta: Json, path: str, *, on_meta: bool) -> nn.Module:
    """The function as a module for the channels of a value, with random weights where it has some."""
    rank, channels = len(meta["sizes"]), _channels(meta)
    if rank not in RANKS.get(act, (rank,)):
        raise ModelError(f"{act} works on channels, and what {path!r} sees is no map of them: it has {rank} dimensions")
    if act in RANKS and not isinstance(channels, int):
        raise ModelError(f"{act} has weights for each channel, and how many channels {path!r} sees is left open")
    if act in RANKS:
        check_channels(act, path, channels)
    with torch.device("meta" if on_meta else "cpu"):
        module = make_activation(act, channels if isinstance(channels, int) else 1)
    return module.to(dtype_of(meta["dtype"])).eval().requires_grad_(False)


def _channels(meta: Json) -> Any:
    """The second size of a value: a number, or what stands for one."""
    sizes = meta["sizes"]
    return tagged(sizes[1])[1] if len(sizes) > 1 else 1


def _is_in_place(node: Json, record: Node, site: Site) -> bool:
    """Whether a function writes its result over what it reads."""
    return base_name(node["target"]).endswith("_") and record.inputs[0] == site.source


class _Views:
    """Which values are on the memory of each other, as a view is on that of what it is of; sites come in order."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[str]) -> None:
        self.nodes, self.seen = nodes, 0
        self.last_reads = {name: indices[-1] for name, indices in _readers(nodes).items()}
        self.last_reads.update(dict.fromkeys(outputs, len(nodes)))
        self.parents: dict[str, str] = {}
        self.latest: dict[str, list[tuple[int, str]]] = {}  # of each memory, the two names that are read last

    def is_read_elsewhere(self, site: Site) -> bool:
        """Whether what a function reads has another name that is read after it."""
        for node in self.nodes[self.seen : site.last]:
            if node.op in VIEW_OPS:
                for name in node.outputs:
                    self._join(node.inputs[0], name)
        self.seen = site.last
        return any(index > site.last and name != site.source for index, name in self._latest(self._root(site.source)))

    def _join(self, one: str, other: str) -> None:
        root, below = self._root(one), self._root(other)
        if root != below:
            self.latest[root] = sorted(self._latest(root) + self._latest(below))[-2:]
            self.parents[below] = root

    def _latest(self, root: str) -> list[tuple[int, str]]:
        return self.latest.get(root, [(self.last_reads.get(root, -1), root)])

    def _root(self, name: str) -> str:
        while name in self.parents:
            above = self.parents[name]
            self.parents[name] = self.parents.get(above, above)  # so that no way to the root stays long
            name = above
        return name

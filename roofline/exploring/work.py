"""The work of a run, block by block: draw, count, predict, and keep what lies within the constraints.

A `Job` says all a worker needs to know, on this machine or another; `explored` does one block of it. A block depends
on the job and its own number alone, so that it does not matter who does it, when, or how often.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roofline import __version__
from roofline.errors import RooflineError, did_you_mean
from roofline.exploring.networks import COUNTS, JUDGEMENTS, LATENCY, RIDGE, SHARE, check_parquet
from roofline.exploring.request import Range, Request, span
from roofline.hardware import Hardware
from roofline.units import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from roofline.spaces import Config, Space
    from roofline.spaces.counting import Counter

CHECK_EVERY = 500  # draws; so many networks are traced whole and compared
FEWEST_CHECKS = 3  # of the first block
DEFAULT_DTYPE, DEFAULT_FUSION = "int8", "epilogue"  # of a ridge point without devices, as `roofline sweep` has it
_CHECK_STREAM = 2**63  # streams of random numbers beyond it are none of a draw's


# --- what is to be done -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """A request, and everything a worker needs to do a part of it.

    Attributes:
        request: What is asked.
        devices: Its devices, in its order.
        space: What people call the space.
        summary: What it is, in a line.
        source: The text of the user's file that has the space; None for a space that is installed.
        parameters: Name and type of each column that the configuration becomes, as a pyarrow schema.
        version: Of roofline; a worker with another one may count otherwise.
        key: Digest of all this.
    """

    request: Request
    devices: tuple[Hardware, ...]
    space: str
    summary: str
    source: str | None
    parameters: pa.Schema
    version: str
    key: str

    @classmethod
    def of(cls, request: Request) -> Job:
        """Look up what a request names.

        Raises:
            RooflineError: An unknown space, parameter or device, or a package that is missing.
        """
        check_parquet()
        from roofline import spaces
        from roofline.profiles import load_profile

        devices = tuple(load_profile(name) for name in request.hw)
        for device in devices:
            device.peak(request.dtype or device.default_dtype)
        ids = [device.id for device in devices]
        for number, name in enumerate(ids):
            if name in ids[:number]:
                raise RooflineError(f"the device {name} is given twice")
        for name, _ in request.latency:
            if name not in ids:
                known = did_you_mean(name, ids) or f" It has: {', '.join(ids) or 'none'}."
                raise RooflineError(f"a latency on {name!r} is asked for, and --hw does not name that device.{known}")
        with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
            space = spaces.load(request.space)
            source = source_of(request.space)
            _check_settings(space, request)
            parameters = _types(space, request)
        identity = identity_of(request, devices, source)
        return cls(
            request=request,
            devices=devices,
            space=space.name,
            summary=space.summary,
            source=source,
            parameters=parameters,
            version=__version__,
            key=sha256_of(json.dumps(identity, sort_keys=True)),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the dataset, as plain data."""
        return identity_of(self.request, self.devices, self.source)

    @property
    def schema(self) -> pa.Schema:
        """Name and type of each column of the dataset."""
        import pyarrow as pa

        counts = [pa.field(name, pa.int64()) for name in COUNTS]
        times = [pa.field(f"{what}{name}", pa.float64()) for name in self.targets for what in (LATENCY, SHARE)]
        return pa.schema([pa.field("index", pa.int64()), *self.parameters, *counts, *times])

    @property
    def targets(self) -> tuple[str, ...]:
        """What latencies are predicted on, in order: ids of devices, then ridge points as ``ridge=30``."""
        return (*(device.id for device in self.devices), *(f"{RIDGE}{point:g}" for point in self.request.ridge))


def identity_of(request: Request, devices: Sequence[Hardware], source: str | None) -> dict[str, Any]:
    """What decides the dataset of a request, as plain data; the contents of files as digests."""
    digests = {device.id: sha256_of(json.dumps(device.to_dict(), sort_keys=True)) for device in devices}
    return {
        **request.to_dict(),
        "space_sha256": None if source is None else sha256_of(source),
        "hw_sha256": digests,
        "roofline": __version__,
    }


def sha256_of(text: str) -> str:
    """The digest of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()


def source_of(reference: str) -> str | None:
    """The text of the user's file that has a space; None for a space that is installed."""
    place = Path(reference.rpartition(":")[0])
    return place.read_text(encoding="utf-8", errors="surrogateescape") if place.suffix == ".py" else None


def _check_settings(space: Space, request: Request) -> None:
    """Refuse parameters that the space has not got, and values that they cannot have."""
    from roofline.spaces import check_fixed

    _drawn(space, replace(request, settings=()), 0)
    try:
        check_fixed(space, dict(request.settings))
    except RooflineError:
        raise
    except (Exception, SystemExit):
        _drawn(space, request, 0)  # fails likewise, and says where


def _types(space: Space, request: Request) -> pa.Schema:
    """The column of each parameter, from the first draws: a number, a word, or a list of either."""
    import pyarrow as pa

    from roofline.spaces.space import LOOKED_AT

    names = space.parameters()
    if not names:
        raise RooflineError(f"the space {space.name} draws nothing: its configurations are empty")
    found: dict[str, list[Any]] = {name: [] for name in names}
    for index in range(LOOKED_AT):
        for name, value in _drawn(space, request, index, names).items():
            found[name].append(_plain(value))
    reserved = {"index", *COUNTS, *JUDGEMENTS}
    for name in found:
        if name in reserved or ":" in name:
            raise RooflineError(
                f"the space {space.name} has a parameter {name!r}, as a column of the dataset has: rename it"
            )
    return pa.schema([pa.field(name, _type(name, values)) for name, values in found.items()])


def _type(name: str, values: Sequence[Any]) -> pa.DataType:
    import pyarrow as pa

    is_list = {isinstance(value, list) for value in values}
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    types = {type(item) for item in items}
    one = (
        pa.bool_() if types == {bool}
        else pa.string() if types == {str}
        else pa.int64() if types <= {int}
        else pa.float64() if types <= {int, float}
        else None
    )  # fmt: skip
    if one is None or len(is_list) > 1:
        known = sorted(kind.__name__ for kind in types | {list} if kind is not list or True in is_list)
        raise RooflineError(
            f"the parameter {name!r} is of several types, {', '.join(known)}: a number, a text, or a list of them"
        )
    return pa.list_(one) if True in is_list else one


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


# --- a block of it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The network that misses the constraints by the least.

    Attributes:
        miss: By how much: the sum, over constraints, of the logarithm of the ratio to the nearer end.
        index: Number of its draw.
        values: Those of the columns that constraints are on.
    """

    miss: float
    index: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of some draws.

    Attributes:
        tried: Draws.
        invalid: Those that are no network of the space.
        outside: Networks outside of the constraints.
        checked: Networks that were traced whole, and agreed with the sum of their parts.
        because: Why an invalid one is; empty if none is.
        nearest: Of the networks outside.
    """

    tried: int = 0
    invalid: int = 0
    outside: int = 0
    checked: int = 0
    because: str = ""
    nearest: Nearest | None = None

    def __add__(self, later: Tally) -> Tally:
        both = [found for found in (self.nearest, later.nearest) if found is not None]
        return Tally(
            tried=self.tried + later.tried,
            invalid=self.invalid + later.invalid,
            outside=self.outside + later.outside,
            checked=self.checked + later.checked,
            because=self.because or later.because,
            nearest=min(both, key=lambda found: (found.miss, found.index), default=None),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Tally:
        """What `to_dict` made plain data of."""
        nearest = data["nearest"]
        return cls(**{**data, "nearest": None if nearest is None else Nearest(**nearest)})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Block:
    """What came of one block.

    Attributes:
        number: Of the block; `roofline.exploring.request.span` has its draws.
        rows: Networks that were found, in the order of their draws, as an Arrow IPC stream.
        tally: What became of all draws.
    """

    number: int
    rows: bytes
    tally: Tally

    def table(self) -> pa.Table:
        """The networks as a pyarrow table."""
        import pyarrow as pa

        with pa.ipc.open_stream(self.rows) as stream:
            return stream.read_all()


def explored(job: Job, number: int) -> Block:
    """Do one block of a job.

    Raises:
        RooflineError: The space fails, or a network costs something else than its parts.
    """
    if job.version != __version__:
        raise RooflineError(f"a worker has roofline {__version__}, and the run was started by {job.version}")
    with _ONE_AT_A_TIME, redirect_stdout(sys.stderr):
        return _explored(_worker(job), job, number)


def _explored(worker: Worker, job: Job, number: int) -> Block:
    import pyarrow as pa

    space, request = worker.space, job.request
    configs: dict[int, Config] = {}
    because = ""
    first, end = span(number)
    names = job.parameters.names
    for index in range(first, end):
        config = _drawn(space, request, index, names)
        why = why_invalid(space, request, index, config)
        if why:
            because = because or why
        else:
            configs[index] = config
    chosen = _to_check(request.seed, number, list(configs))
    columns = worker.rows(configs) if configs else {field.name: np.zeros(0) for field in job.schema}
    for index in chosen:
        worker.check(index, configs[index])
    constraints = request.constraints()
    is_kept = np.ones(len(configs), dtype=bool)
    for column, limits in constraints.items():
        is_kept &= limits.holds(columns[column])
    kept = [config for config, keep in zip(configs.values(), is_kept, strict=True) if keep]
    arrays = [config_column(space, field, kept) if field.name in job.parameters.names
              else pa.array(np.asarray(columns[field.name])[is_kept], field.type) for field in job.schema]  # fmt: skip
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, job.schema) as stream:
        stream.write_table(pa.table(arrays, schema=job.schema))
    tally = Tally(
        tried=end - first,
        invalid=end - first - len(configs),
        outside=len(configs) - len(kept),
        checked=len(chosen),
        because=because,
        nearest=_nearest(np.array(list(configs)), columns, is_kept, constraints),
    )
    return Block(number=number, rows=sink.getvalue().to_pybytes(), tally=tally)


def _to_check(seed: int, number: int, indices: Sequence[int]) -> list[int]:
    """A random sample of the networks of a block."""
    first, end = span(number)
    wanted = max(end // CHECK_EVERY - first // CHECK_EVERY, 1 if number else FEWEST_CHECKS)
    random = np.random.Generator(np.random.Philox(key=np.array([seed, _CHECK_STREAM + number], dtype=np.uint64)))
    places = random.choice(len(indices), size=min(wanted, len(indices)), replace=False) if indices else ()
    return [indices[place] for place in sorted(places)]


def _nearest(
    indices: NDArray[np.int64],
    columns: Mapping[str, Any],
    is_kept: NDArray[np.bool_],
    constraints: Mapping[str, Range],
) -> Nearest | None:
    if is_kept.all():
        return None
    miss = np.sum([limits.miss(columns[column]) for column, limits in constraints.items()], axis=0)
    place = int(np.argmin(np.where(is_kept, np.inf, miss)))
    values = {column: float(columns[column][place]) for column in constraints}
    return Nearest(miss=float(miss[place]), index=int(indices[place]), values=values)


def config_column(space: Space, field: pa.Field, configs: Sequence[Config]) -> pa.Array:
    """A parameter of networks as a column of the dataset.

    Raises:
        RooflineError: A value is of another type than those of the first draws.
    """
    import pyarrow as pa

    try:
        return pa.array([_plain(config.get(field.name)) for config in configs], field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise RooflineError(
            f"{space.name}'s parameter {field.name!r} is {field.type}, as its first draws tell, and one does not fit: "
            f"{printable(str(error))}"
        ) from error


def _drawn(space: Space, request: Request, index: int, names: Sequence[str] | None = None) -> Config:
    """Draw number `index`, which must have parameters of these names."""
    from roofline.spaces import Fixed, RandomChooser

    with told_of(space, index):
        config = space.draw(Fixed(RandomChooser(request.seed, index), dict(request.settings)))
        check_config(config, names)
        return config


def check_config(config: Any, names: Sequence[str] | None = None) -> None:
    """Refuse what a space of the user's may have drawn in place of a configuration.

    Raises:
        RooflineError: It is no dictionary, or has other names than these.
    """
    if not isinstance(config, Mapping):
        raise RooflineError(f"draw returns a {type(config).__name__}, and a dictionary of parameters is needed")
    if names is not None and config.keys() != set(names):
        raise RooflineError(
            f"it has the parameters {', '.join(config) or 'none'}, and the first draw has {', '.join(names)}: a space "
            "has the same ones in every draw"
        )


def why_invalid(space: Space, request: Request, index: int, config: Config) -> str:
    """Why a draw is no network of the space with the parameters that are held, in a sentence; empty where it is."""
    from roofline.spaces import why_not_held

    with told_of(space, index):
        return space.why_invalid(config) or why_not_held(config, dict(request.settings))


@contextmanager
def told_of(space: Space, index: int, config: Config | None = None) -> Iterator[None]:
    """Whatever goes wrong in a space says in which draw."""
    try:
        yield
    except (Exception, SystemExit) as error:
        from roofline.loading.building import where

        drawn = "" if config is None else f" ({', '.join(f'{name}={value}' for name, value in config.items())})"
        what = str(error) if isinstance(error, RooflineError) else where(error)
        raise RooflineError(f"the space {space.name} fails at draw {index}{drawn}: {what}") from error


# --- what a worker keeps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Lowering:
    """Devices that run a network as the same layers, and what was counted for them."""

    devices: tuple[Hardware, ...]
    counter: Counter


class Worker:
    """A space, and what was counted of it so far.

    The first lowering is that of the first device. Its counts are those of the dataset, and ridge points are of it.
    """

    def __init__(self, job: Job) -> None:
        from roofline.spaces.counting import Counter

        self.job, self.space = job, _loaded(job)
        request = job.request
        together: dict[tuple[Any, ...], list[Hardware]] = {}
        for device in job.devices:
            choices = (
                request.fusion or device.default_fusion,
                request.dtype or device.default_dtype,
                device.fused_activations,
                device.copies_transposes,
            )
            together.setdefault(choices, []).append(device)
        if not together:
            fused = frozenset({"relu", "relu6"})  # as `roofline.layers.lower` has it
            together[request.fusion or DEFAULT_FUSION, request.dtype or DEFAULT_DTYPE, fused, False] = []
        names = ("fusion", "dtype", "fused_activations", "transposes")
        self.lowerings = [
            _Lowering(tuple(devices), Counter(**dict(zip(names, choices, strict=True))))
            for choices, devices in together.items()
        ]

    def rows(self, configs: Mapping[int, Config]) -> dict[str, Any]:
        """The columns of networks, by name."""
        try:
            return self._rows(configs)
        except (Exception, SystemExit):
            for index, config in configs.items():
                with told_of(self.space, index, config):
                    self._rows({index: config})
            raise

    def _rows(self, configs: Mapping[int, Config]) -> dict[str, Any]:
        from roofline.exploring.rows import rows

        request, found = self.job.request, dict[str, Any]()
        for number, lowering in enumerate(self.lowerings):
            ridge = () if number else request.ridge
            counted = partial(rows, self.space, list(configs.values()), list(configs), lowering.counter)
            found = {**counted(lowering.devices, ridge, request.batch), **found}  # counts are those of the first
        return found

    def check(self, index: int, config: Config) -> None:
        """Trace a network whole.

        Raises:
            RooflineError: It costs something else than its parts together.
        """
        from roofline.spaces.counting import differences

        for lowering in self.lowerings:
            with told_of(self.space, index, config):
                found = differences(self.space, config, lowering.counter, self.job.request.batch)
                if found:
                    raise RooflineError(f"its parts are not the network: {'; '.join(found[:3])}")


_ONE_AT_A_TIME = threading.RLock()  # a dask worker may have several threads
_kept: Worker | None = None


def _worker(job: Job) -> Worker:
    """What this process keeps for the job; of an earlier job it keeps nothing."""
    global _kept
    if _kept is None or _kept.job.key != job.key:
        _kept = None
        _kept = Worker(job)
    return _kept


def _loaded(job: Job) -> Space:
    """The space; from the text of the user's file where this machine has not got the file itself."""
    from roofline import spaces

    reference = job.request.space
    if job.source is None or _is_here(reference, job.source):
        return spaces.load(reference)
    place, _, name = reference.rpartition(":")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(place).name)
        copy.write_text(job.source, encoding="utf-8", errors="surrogateescape")
        try:
            return spaces.load(f"{copy}:{name}")
        except RooflineError as error:
            raise RooflineError(str(error).replace(str(copy), place)) from error


def _is_here(reference: str, source: str) -> bool:
    try:
        return source_of(reference) == source
    except OSError:
        return False

"""What a user knows of how well networks learn: a Python function of a network, or a table of networks."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import RooflineError, did_you_mean
from roofline.exploring.networks import COUNTS, JUDGEMENTS
from roofline.exploring.work import Job
from roofline.units import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from roofline.spaces import Config

Row = Mapping[str, Any]
Accuracy = Callable[[Row], float]


def accuracy_function(reference: str) -> Accuracy:
    """The user's function of a network.

    Raises:
        RooflineError: There is none.
    """
    if ":" not in reference:
        raise RooflineError(
            f"{printable(reference)!r} is no accuracy: FILE.csv, FILE.py:FUNCTION or MODULE:FUNCTION is"
        )
    from roofline.loading.building import where
    from roofline.loading.users import named

    function = named(reference)
    if not callable(function):
        raise RooflineError(f"{reference} is no function: one that takes a network and returns its accuracy is needed")

    def accuracy(network: Row) -> float:
        try:
            found = function(dict(network))
        except (Exception, SystemExit) as error:
            raise RooflineError(f"{reference} fails: {where(error)}") from error
        return _checked(found, reference)

    return accuracy


def _checked(accuracy: Any, source: str) -> float:
    try:
        number = float(accuracy)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise RooflineError(
            f"{source} gives an accuracy of {printable(str(accuracy))[:80] or 'nothing'}: a number above 0 is needed"
        )
    return number


class AccuracyTable:
    """A CSV of networks: a column for each parameter of the space, lists with blanks between their items, and accuracy.

    What `roofline explore --format csv` prints is such a table, once it has its accuracies; its other columns are
    counted and predicted anew.
    """

    def __init__(self, path: Path, job: Job) -> None:
        """Read it.

        Raises:
            RooflineError: It cannot be read, or a row is no network.
        """
        if job.request.settings:
            raise RooflineError("a table of accuracies names whole networks: leave out --set")
        self._path = path
        self._accuracy: dict[Hashable, float] = {}
        self.configs: list[Config] = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                for line, row in self._rows(csv.DictReader(file, strict=True), job):
                    config = {name: self._value(row[name], job.parameters.field(name), line) for name in _names(job)}
                    accuracy = _checked(row["accuracy"], f"{path}:{line}")
                    if self._accuracy.setdefault(as_key(config), accuracy) != accuracy:
                        raise RooflineError(f"{path}:{line}: this network has another accuracy further up")
                    self.configs.append(config)
        except OSError as error:
            raise RooflineError(f"cannot read {path}: {error.strerror}") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise RooflineError(f"{path} is no CSV: {error}") from error
        if not self.configs:
            raise RooflineError(f"{path} holds no networks")

    def accuracy(self, network: Row) -> float:
        """Of a network of the table."""
        return self._accuracy[as_key({name: network[name] for name in self.configs[0]})]

    def _rows(self, reader: csv.DictReader[str], job: Job) -> Iterator[tuple[int, dict[str, str]]]:
        columns = reader.fieldnames or []
        missing = [name for name in (*_names(job), "accuracy") if name not in columns]
        if missing:
            raise RooflineError(
                f"{self._path} has no column {missing[0]!r}: a table of accuracies has {', '.join(_names(job))} and "
                "accuracy"
            )
        known = {*_names(job), "index", *COUNTS, *JUDGEMENTS}
        for name in columns:
            if name not in known and ":" not in name:
                raise RooflineError(f"{self._path}: {job.space} has no {name!r}.{did_you_mean(name, _names(job))}")
        for row in reader:
            if None in row or None in row.values():
                raise RooflineError(f"{self._path}:{reader.line_num} has not as many cells as there are columns")
            yield reader.line_num, row

    def _value(self, cell: str, field: pa.Field, line: int) -> Any:
        """A cell, as what the space draws."""
        import pyarrow.types as is_type

        kind, is_list = field.type, is_type.is_list(field.type)
        items = cell.split() if is_list else [cell.strip()]
        item_kind = kind.value_type if is_list else kind
        convert: Callable[[str], Any] = (
            int if is_type.is_integer(item_kind) else float if is_type.is_floating(item_kind)
            else _truth if is_type.is_boolean(item_kind) else str
        )  # fmt: skip
        try:
            values = tuple(convert(item) for item in items)
        except ValueError:
            raise RooflineError(f"{self._path}:{line}: {field.name} cannot be {printable(cell)[:80]!r}") from None
        return values if is_list else values[0]


def _names(job: Job) -> list[str]:
    return list(job.parameters.names)


def _truth(cell: str) -> bool:
    if cell not in ("True", "False"):
        raise ValueError(cell)
    return cell == "True"


def as_key(config: Config) -> Hashable:
    """A configuration as a key of a dictionary."""
    return tuple((name, tuple(value) if isinstance(value, list | tuple) else value) for name, value in config.items())

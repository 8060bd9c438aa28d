"""Results that were saved as JSON, read back as the plain data that reports are drawn from.

Nothing of a file is ever executed. What a drawing needs is checked here, so that nothing later meets a value of the
wrong kind; keys that this version does not know are kept and left alone. Every problem is a `SavedError` of one line
that names the file and, where there is one, the line or the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from roofline.errors import SavedError
from roofline.saved_analysis import Analysis, Comparison, Sweep, WhatIf, comparison_fits, sweep_fits, whatif_fits
from roofline.saved_exploration import Exploration, exploration_fits
from roofline.saved_fields import InputShape
from roofline.saved_measurement import Activations, Elementwise, Run, activations_fit, elementwise_fits
from roofline.saved_validation import Fit, Validation, validation_fits
from roofline.units import printable

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

MAX_BYTES = 256 * 10**6  # a result of 300 layers has 150 kB


def load_saved(path: str | Path) -> dict[str, Any]:
    """Read a saved result of any kind: those of `SCHEMAS`, which `roofline report` draws.

    Raises:
        SavedError: There is no such file, it is not JSON, no result of roofline, of a schema that this version does
            not know, or lacks something that its schema asks for.
    """
    from pydantic import ValidationError

    data = _parse(_read(Path(path)), path)
    if not isinstance(data, dict) or not isinstance(data.get("schema"), str):
        raise SavedError(f"{path} is no saved result of roofline: it has no 'schema' (-o result.json saves one)")
    what = _what(data["schema"], path)
    try:
        _checked(what).validate_python(data, strict=True)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        raise SavedError(f"{path}: {_problem(first)} (schema {data['schema']})") from None
    return data


def load_analysis(path: str | Path) -> dict[str, Any]:
    """Read a saved analysis.

    Raises:
        SavedError: As `load_saved`; or the file holds another kind of result.
    """
    data = load_saved(path)
    what = data["schema"].split("/")[1]
    if what != "analysis":
        raise SavedError(f"{path} holds a saved {what}, and a saved analysis is needed ('roofline report' draws both)")
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SavedError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise SavedError(f"{path} is a folder, not a saved result") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise SavedError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise SavedError(f"{path} is larger than {MAX_BYTES // 10**6} MB, which no saved result is")
    return data


def _parse(data: bytes, path: str | Path) -> object:
    try:
        return json.loads(data.decode(json.detect_encoding(data)), parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise SavedError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SavedError(f"{path}:{line}: not JSON: not {error.encoding} text") from None
    except RecursionError:
        raise SavedError(f"{path}: nested deeper than any result") from None
    except SavedError as refused:
        raise SavedError(f"{path}: {refused}") from None
    except ValueError:  # Python refuses whole numbers of more than 4300 digits
        raise SavedError(f"{path}: holds a number with thousands of digits") from None


def _refuse(constant: str) -> object:
    raise SavedError(f"holds {constant}, which is no number of a result")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise SavedError(f"holds {text[:40]}, which is out of the range of numbers")
    return value


def _what(schema: str, path: str | Path) -> str:
    """The kind of result, a key of `SCHEMAS`, of a schema, which is ``roofline/WHAT/VERSION``."""
    parts = re.fullmatch(r"roofline/([a-z]+)/([0-9]{1,9})", schema)
    what, version = (parts[1], int(parts[2])) if parts else ("", 0)
    known = {what: f"roofline/{what}/{newest}" for what, (newest, *_) in SCHEMAS.items()}
    if what not in known:
        raise SavedError(f"{path} has the schema {schema[:60]!r}, which is none of {', '.join(known.values())}")
    newest = SCHEMAS[what][0]
    if version > newest:
        raise SavedError(
            f"{path} was made by a newer roofline: its schema is {schema}, and this version reads up to {known[what]}"
        )
    if version < newest:
        raise SavedError(
            f"{path} has the schema {schema}, which there never was; known are {', '.join(known.values())}"
        )
    return what


@cache
def _checked(what: str) -> TypeAdapter[Any]:
    from pydantic import AfterValidator, TypeAdapter

    _, schema, fits = SCHEMAS[what]
    checked: Any = Annotated[schema, AfterValidator(fits)]
    return TypeAdapter(checked)


def _problem(error: ErrorDetails) -> str:
    """Which key it is, and in our words, or else in pydantic's, what is wrong with it and what would be right."""
    context = error.get("ctx", {})
    steps = (step for step in error["loc"] if step not in (InputShape.ONE, InputShape.SEVERAL))
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step[:60])}" for step in steps)
    match error["type"]:
        case "value_error":
            return str(context["error"])  # of `sweep_fits` and its like, which name the key
        case "missing":
            wrong = "is missing"
        case "too_short" | "too_long":
            wrong = error["msg"].replace("List should", "must").replace(" after validation", "")
        case kind:
            right = _RIGHT[kind].format(**context) if kind in _RIGHT else error["msg"].removeprefix("Input should be ")
            wrong = f"must be {right} (got {_shown(error['input'])})"
    return f"{key.removeprefix('.')} {wrong}"


_RIGHT = {
    "dict_type": "an object",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number, 0 or more",
    "float_type": "a number, 0 or more",
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than": "less than {lt:g}",
}


def _shown(value: object) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case dict() | list():
            return "an object" if isinstance(value, dict) else "a list"
        case int() if not -(10**30) < value < 10**30:
            return "a number with many digits"
        case _:
            text = repr(value)
            return text if len(text) <= 40 else f"{text[:36]}...'"


SCHEMAS: Mapping[str, tuple[int, Any, Callable[..., object]]] = {  # newest version, what it holds, how that fits
    "analysis": (1, Analysis, lambda analysis: analysis),
    "sweep": (1, Sweep, sweep_fits),
    "comparison": (1, Comparison, comparison_fits),
    "whatif": (1, WhatIf, whatif_fits),
    "measurement": (1, Run, lambda run: run),
    "activations": (1, Activations, activations_fit),
    "elementwise": (1, Elementwise, elementwise_fits),
    "fit": (1, Fit, lambda fit: fit),
    "validation": (1, Validation, validation_fits),
    "exploration": (1, Exploration, exploration_fits),
}

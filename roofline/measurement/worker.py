"""One fresh process of a measurement: ``python -m roofline.measurement.worker``, JSON in and lines of JSON out.

It reads ``{"references": [...], "request": {...}, "process": 0}``, and writes ``{"progress": {...}}`` any number of
times and then ``{"run": {...}}`` with all samples, ``{"error": "..."}``, or ``{"interrupted": true}`` after Ctrl-C
before there was a session. What the user's own code prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from typing import Any, TextIO

from roofline.errors import RooflineError
from roofline.measurement import api
from roofline.measurement.result import Run
from roofline.measurement.session import Progress


def main(source: TextIO, target: TextIO) -> None:
    """Answer one request."""

    def tell(answer: Mapping[str, Any]) -> None:
        print(json.dumps(answer, allow_nan=False), file=target, flush=True)

    def progress(told: Progress) -> None:
        tell({"progress": asdict(told)})

    try:
        asked = json.load(source)
        tell({"run": _measured(asked, progress).to_dict(samples=True)})
    except RooflineError as error:
        tell({"error": str(error)})
    except KeyboardInterrupt:
        tell({"interrupted": True})
    except BrokenPipeError:  # nobody waits for the answer any more
        os._exit(1)


def _measured(asked: Mapping[str, Any], progress: Any) -> Run:
    request = api.Request.from_dict(asked["request"])
    references = asked["references"]
    factories = [partial(api._of_reference, reference, request) for reference in references]
    with redirect_stdout(sys.stderr):
        return api.measure_here(factories, request, progress=progress, labels=references, process=asked["process"])


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)

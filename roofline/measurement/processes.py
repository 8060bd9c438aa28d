"""The same measurement in several fresh processes: the spread between them is the honest noise.

What a process is given by chance (where its memory lies, which cores its threads start on) stays the same for all its
samples, so more samples do not show it. The headline is the median of the medians of the processes.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from roofline.errors import MeasurementError
from roofline.measurement import session, stopping
from roofline.measurement.api import Request
from roofline.measurement.result import Failure, Measurement, Run, Summary
from roofline.measurement.session import Progress
from roofline.measurement.stopping import median

WORKER = ("-m", "roofline.measurement.worker")


def measure_in_processes(
    references: Sequence[str],
    request: Request,
    *,
    processes: int,
    progress: Callable[[Progress], None] | None = None,
    command: Sequence[str] = (sys.executable, *WORKER),
) -> Run:
    """Measure in fresh processes, one after the other, all at the reference state of the first.

    Args:
        references: The models.
        request: How to measure.
        processes: How many processes.
        progress: Called with how far it is.
        command: What a process runs.

    Raises:
        MeasurementError: None can be measured, or the first process does not end as it should.
    """
    runs: list[Run] = []
    for number in range(processes):
        own = replace(request, per_layer=request.per_layer and number == 0)
        if runs:  # a state that was taken anew is not to be taken again
            own = replace(own, anchor_reference_s=tuple(runs[0].anchor["reference_s"]))

        def tell(told: Progress, number: int = number) -> None:
            if progress is not None:
                progress(replace(told, process=number, processes=processes))

        asked = {"references": list(references), "request": own.to_dict(), "process": number}
        try:
            runs.append(_run(command, asked, tell))
        except MeasurementError:
            if not runs:
                raise
            break
        if runs[-1].is_interrupted:
            break
    return merged(runs, request, asked=processes)


def _run(command: Sequence[str], asked: Mapping[str, Any], progress: Callable[[Progress], None]) -> Run:
    """One process: the request as JSON on its stdin; lines of JSON with progress, and the run, on its stdout."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    ) as worker:  # in a session of its own, so that Ctrl-C reaches it through this process, once
        assert worker.stdin is not None
        assert worker.stdout is not None
        answer: dict[str, Any] = {}
        is_ended = False
        try:
            worker.stdin.write(json.dumps(asked))
            worker.stdin.close()
        except BrokenPipeError:
            is_ended = True
        while not is_ended:
            try:
                for line in worker.stdout:
                    answer = json.loads(line)
                    if "progress" in answer:
                        progress(Progress(**answer["progress"]))
                is_ended = True
            except KeyboardInterrupt:
                worker.send_signal(signal.SIGINT)  # it ends its block, and tells what it has
            except json.JSONDecodeError as error:
                worker.kill()
                raise MeasurementError(f"a measuring process answered what is no JSON: {error}") from None
        code = worker.wait()
    if "run" in answer:
        return Run.from_dict(answer["run"])
    if "error" in answer:
        raise MeasurementError(answer["error"])
    raise MeasurementError(f"a measuring process ended with code {code} and without a result; what it said is above")


def merged(runs: Sequence[Run], request: Request, *, asked: int) -> Run:
    """One run of those of several processes, of which there is at least one."""
    first = runs[0]
    measurements = []
    failures: list[Failure] = []
    names = list(dict.fromkeys(_key(each) for run in runs for each in run.measurements))
    for key in names:
        found = [each for run in runs for each in run.measurements if _key(each) == key]
        measurements.append(_merged(found, request, asked=asked))
    measured = {key[0] or key[1] for key in names}
    for run in runs:
        for failure in run.failures:
            if failure.model not in measured and failure not in failures:
                failures.append(failure)
    return replace(
        first,
        measurements=tuple(measurements),
        failures=tuple(failures),
        is_interrupted=any(run.is_interrupted for run in runs),
        environment={**first.environment, "processes": len(runs)},
    )


def _key(measurement: Measurement) -> tuple[str, str, str]:
    """A model whose compilation failed in one process is another measurement there."""
    return measurement.reference, measurement.name, measurement.mode


def _merged(found: Sequence[Measurement], request: Request, *, asked: int) -> Measurement:
    first = found[0]
    samples = tuple(sample for each in found for sample in each.samples)
    medians = [each.reference_latency_s.median for each in found]
    pooled = session.summed_up(samples, rounds=request.rounds, limits=request.limits, name=first.name)
    between = max(medians) / min(medians) - 1 if len(medians) > 1 and min(medians) > 0 else None
    shares = {flag: count / len(samples) for flag, count in pooled.flags.items()}
    reference = _headline(pooled.reference_latency_s, medians)
    status = stopping.status_of(
        known=all(each.status != "capped" for each in found) and len(found) == asked,
        left_out=pooled.left_out / len(samples),
        crowded=shares.get("crowded", 0),
        throttled=shares.get("throttled", 0),
        spread=reference.iqr / reference.median if reference.median > 0 else 0.0,
        between_process=between,
    )
    kernel = pooled.kernel_latency_s
    of_kernel = [each.kernel_latency_s.median for each in found if each.kernel_latency_s is not None]
    return replace(
        first,
        latency_s=_headline(pooled.latency_s, [each.latency_s.median for each in found]),
        reference_latency_s=reference,
        kernel_latency_s=None if kernel is None else _headline(kernel, of_kernel),
        between_process=between,
        process_medians_s=tuple(medians),
        status=status,
        flags=pooled.flags,
        left_out=pooled.left_out,
        machine_factor=median([each.machine_factor for each in found]),
        is_interrupted=any(each.is_interrupted for each in found) or len(found) < asked,
        samples=samples,
    )


def _headline(pooled: Summary, medians: Sequence[float]) -> Summary:
    """That of all samples, with the median of the processes' medians and an interval that holds all of these."""
    low, high = pooled.ci95
    return replace(pooled, median=median(medians), ci95=(min(low, *medians), max(high, *medians)))

"""The same measurement in several fresh processes: the spread between them is the honest noise.

What a process is given by chance (where its memory lies, which cores its threads start on) stays the same for all its
samples, so more samples do not show it. The headline is the median of the medians of the processes, and its status that
of the worst of them. A process in which no sample of a model counts has no median of it.
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
from roofline.measurement.clock import Clock, SystemClock
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
    variables: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> Run:
    """Measure in fresh processes, one after the other, all at the reference state of the first.

    Args:
        references: The models.
        request: How to measure.
        processes: How many processes.
        progress: Called with how far it is.
        command: What a process runs.
        variables: Its environment variables; those of this process if None.
        clock: Tells how long the processes so far have taken; that of the system if None.

    Returns:
        What they make together. A process that ends without a result is a `Failure`, and the others are measured.

    Raises:
        MeasurementError: None can be measured.
        KeyboardInterrupt: It was stopped by hand before a process had a result.
    """
    clock = clock or SystemClock()
    began_s = clock.now_s()
    runs: list[Run] = []
    failures: list[Failure] = []
    is_interrupted = False
    for number in range(processes):
        own = replace(request, per_layer=request.per_layer and not any(run.measurements for run in runs))
        if runs:  # a state that was taken anew is not to be taken again
            own = replace(own, anchor_reference_s=tuple(runs[0].anchor["reference_s"]))

        def tell(told: Progress, number: int = number) -> None:
            if progress is not None:
                a_process_s = (clock.now_s() - began_s + told.left_s) / (number + 1)
                left_s = told.left_s + a_process_s * (processes - number - 1)
                progress(replace(told, process=number, processes=processes, left_s=left_s))

        asked = {"references": list(references), "request": own.to_dict(), "process": number}
        try:
            runs.append(_run(command, asked, tell, variables))
            is_interrupted = runs[-1].is_interrupted
        except KeyboardInterrupt:
            is_interrupted = True
        except MeasurementError as error:
            if not runs and not isinstance(error, _NoAnswer):  # of what was asked for, which no process can measure
                raise
            failures.append(Failure(model="", reason=f"process {number + 1} of {processes}: {error}"))
        if is_interrupted:
            break
    if runs:
        return merged(runs, request, asked=processes, failures=failures, is_interrupted=is_interrupted)
    if is_interrupted:
        raise KeyboardInterrupt
    raise MeasurementError("; ".join(failure.reason for failure in failures))


class _NoAnswer(MeasurementError):
    """A process ended otherwise than it should, which says nothing of the next one."""


def _run(
    command: Sequence[str],
    asked: Mapping[str, Any],
    progress: Callable[[Progress], None],
    variables: Mapping[str, str] | None = None,
) -> Run:
    """One process: the request as JSON on its stdin; lines of JSON with progress, and the run, on its stdout.

    Raises:
        MeasurementError: It cannot measure what was asked for, or does not answer.
        KeyboardInterrupt: It was stopped by hand before it had a result.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=variables,
        start_new_session=True,  # so that Ctrl-C reaches it through this process, once
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        answer: dict[str, Any] = {}
        is_asked = is_ended = is_stopped = False
        while not is_ended:
            try:
                if not is_asked:
                    is_asked = True
                    worker.stdin.write(json.dumps(asked))
                    worker.stdin.close()
                for line in worker.stdout:
                    answer = json.loads(line)
                    if "progress" in answer:
                        progress(Progress(**answer["progress"]))
                is_ended = True
            except KeyboardInterrupt:
                is_stopped = True
                if answer:
                    worker.send_signal(signal.SIGINT)  # it ends its block, and tells what it has
                else:
                    worker.kill()  # it has nothing yet
            except BrokenPipeError:
                is_ended = True
            except json.JSONDecodeError as error:
                worker.kill()
                raise _NoAnswer(f"it answered what is no JSON: {error}") from None
        code = worker.wait()
    if "run" in answer:
        return Run.from_dict(answer["run"])
    if is_stopped or "interrupted" in answer:
        raise KeyboardInterrupt
    if "error" in answer:
        raise MeasurementError(answer["error"])
    raise _NoAnswer(f"it {_ended(code)} and gave no result")


def _ended(code: int) -> str:
    """How a process ended, by the code that `subprocess` has of it."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (", as the system does where memory runs out," if name == "SIGKILL" else "")


def merged(
    runs: Sequence[Run],
    request: Request,
    *,
    asked: int,
    failures: Sequence[Failure] = (),
    is_interrupted: bool = False,
) -> Run:
    """One run of those of several processes.

    Args:
        runs: Of the processes that gave a result, at least one.
        request: What each was asked for.
        asked: How many processes there should have been.
        failures: Of the other processes.
        is_interrupted: Whether it was stopped by hand.
    """
    first = runs[0]
    by_key: dict[tuple[str, str, str], list[Measurement]] = {}
    for run in runs:
        for each in run.measurements:
            by_key.setdefault(_key(each), []).append(each)
    failed: dict[str, list[Failure]] = {}
    for run in runs:
        for failure in run.failures:
            failed.setdefault(failure.model, []).append(failure)
    measurements = []
    for found in by_key.values():
        contended = [failure for failure in failed.get(_label(found[0]), ()) if failure.is_contention]
        is_cut = is_interrupted and len(found) + len(contended) < asked
        measurements.append(_merged(found, contended, request, asked=asked, is_cut=is_cut))
    measured = {_label(found[0]) for found in by_key.values()}
    left = [_failure(model, of_model, model in measured, asked) for model, of_model in failed.items()]
    return replace(
        first,
        measurements=tuple(measurements),
        failures=(*(failure for failure in left if failure is not None), *failures),
        is_interrupted=is_interrupted,
        environment={**first.environment, "processes": len(runs)},
    )


def _failure(model: str, found: Sequence[Failure], is_measured: bool, asked: int) -> Failure | None:
    """What is to be said of a model that could not be measured in some processes; None if its measurement says it."""
    others = [failure for failure in found if not failure.is_contention and failure.reason != session.NOT_TIMED]
    if others:
        share = f"in {len(others)} of {asked} processes: " if is_measured or len(others) < len(found) else ""
        return Failure(model=model, reason=f"{share}{others[0].reason}")
    if is_measured:
        return None
    samples = [sample for failure in found for sample in failure.samples]
    return session.contended(model, samples) if samples else found[0]


def _key(measurement: Measurement) -> tuple[str, str, str]:
    """A model whose compilation failed in one process is another measurement there."""
    return measurement.reference, measurement.name, measurement.mode


def _label(measurement: Measurement) -> str:
    return measurement.reference or measurement.name


def _merged(
    found: Sequence[Measurement], contended: Sequence[Failure], request: Request, *, asked: int, is_cut: bool
) -> Measurement:
    """One measurement of those of several processes.

    Args:
        found: Those.
        contended: Of the processes in which no sample counts.
        request: What each was asked for.
        asked: How many processes there should have been.
        is_cut: Whether there are fewer because it was stopped by hand.
    """
    first = found[0]
    taken = (*(each.samples for each in found), *(failure.samples for failure in contended))
    parts = sorted(taken, key=lambda samples: samples[0].process)
    samples = tuple(sample for part in parts for sample in part)
    medians = [each.reference_latency_s.median for each in found]
    pooled = session.summed_up(samples, rounds=request.rounds, limits=request.limits, name=first.name)
    between = max(medians) / min(medians) - 1 if len(medians) > 1 and min(medians) > 0 else None

    def worst(flag: str) -> float:
        return max(sum(flag in sample.flags for sample in part) / len(part) for part in parts)

    status = stopping.status_of(
        known=all(each.status != "capped" for each in found) and not is_cut,
        left_out=max(sum(sample.is_left_out for sample in part) / len(part) for part in parts),
        crowded=worst("crowded"),
        throttled=worst("throttled"),
        spread=stopping.spread([sample.reference_s for sample in samples if not sample.is_left_out]),
        between_process=stopping.difference(medians) if len(medians) > 1 else None,
    )
    kernel = pooled.kernel_latency_s
    of_kernel = [each.kernel_latency_s.median for each in found if each.kernel_latency_s is not None]
    return replace(
        first,
        latency_s=_headline(pooled.latency_s, [each.latency_s.median for each in found]),
        reference_latency_s=_headline(pooled.reference_latency_s, medians),
        kernel_latency_s=None if kernel is None else _headline(kernel, of_kernel),
        between_process=between,
        process_medians_s=tuple(medians),
        status=status,
        flags=pooled.flags,
        left_out=pooled.left_out,
        machine_factor=median([each.machine_factor for each in found]),
        is_interrupted=any(each.is_interrupted for each in found) or is_cut,
        notes=(*first.notes, *(_dropped(failure, asked) for failure in contended)),
        samples=samples,
    )


def _dropped(failure: Failure, asked: int) -> str:
    number = failure.samples[0].process + 1
    return f"process {number} of {asked} has no median, as all of its {failure.left_out} samples were contended"


def _headline(pooled: Summary, medians: Sequence[float]) -> Summary:
    """That of all samples, with the median of the processes' medians and an interval that holds all of these."""
    low, high = pooled.ci95
    return replace(pooled, median=median(medians), ci95=(min(low, *medians), max(high, *medians)))

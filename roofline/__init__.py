"""roofline: how fast a neural network will run on a piece of hardware, why, and what to change.

    >>> import roofline
    >>> analysis = roofline.analyze("mobilenetv4_conv_m", hw="pixel6_tpu")
    >>> int(analysis.layers.macs.sum())
    1080244224

The steps of the pipeline are in the modules named after them, each usable alone: `roofline.loading.load` a reference,
`roofline.trace.trace` a module, `roofline.layers.lower` the graph, `roofline.engine.predict` the times. The ridge point
is swept by `roofline.sweep.sweep`, which shares its name with its module and so is imported from there.
Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roofline.analysis import Analysis, analyze
    from roofline.comparison import Comparison, compare, compare_models
    from roofline.engine import Prediction
    from roofline.errors import (
        MeasurementError,
        ModelError,
        OutputError,
        ProfileError,
        RooflineError,
        SavedError,
        TraceError,
    )
    from roofline.hardware import Hardware
    from roofline.layers import LayerTable
    from roofline.measurement.api import measure
    from roofline.measurement.result import Measurement
    from roofline.profiles import load_profile
    from roofline.saved import load_saved
    from roofline.sweep import RidgeSweep

    __version__: str

_HOME = {
    "Analysis": "analysis",
    "Comparison": "comparison",
    "Hardware": "hardware",
    "LayerTable": "layers",
    "Measurement": "measurement.result",
    "Prediction": "engine",
    "RidgeSweep": "sweep",
    "MeasurementError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "ProfileError": "errors",
    "TraceError": "errors",
    "RooflineError": "errors",
    "SavedError": "errors",
    "analyze": "analysis",
    "compare": "comparison",
    "compare_models": "comparison",
    "load_profile": "profiles",
    "load_saved": "saved",
    "measure": "measurement.api",
}
__all__ = [
    "Analysis",
    "Comparison",
    "Hardware",
    "LayerTable",
    "Measurement",
    "MeasurementError",
    "ModelError",
    "OutputError",
    "Prediction",
    "ProfileError",
    "RidgeSweep",
    "RooflineError",
    "SavedError",
    "TraceError",
    "__version__",
    "analyze",
    "compare",
    "compare_models",
    "load_profile",
    "load_saved",
    "measure",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("roofline-profiler")
        except metadata.PackageNotFoundError:  # a clone that is not installed
            return "0+unknown"
    if name not in _HOME:
        raise AttributeError(f"module 'roofline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"roofline.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

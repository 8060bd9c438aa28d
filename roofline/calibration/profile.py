"""A calibration as a hardware profile: the plain roofline of its ceilings, which anybody can read and draw."""

from __future__ import annotations

from typing import Any

import yaml

from roofline.calibration.data import Calibration, gemm_key
from roofline.errors import ProfileError
from roofline.layers import DTYPE_BYTES
from roofline.profile_template import slug
from roofline.profiles import SCHEMA, parse_profile
from roofline.units import percent, printable

DIGITS = 4  # of a figure: the machine does not repeat itself beyond the third


def profile_of(calibration: Calibration, name: str, *, file: str | None = None) -> str:
    """The YAML of a profile with the measured ceilings, and no other term.

    The peak is the rate of the fastest matrix product, the bandwidth that of the largest copy, which reads and writes.

    Args:
        calibration: What was measured.
        name: What the profile is called; its id is made of it.
        file: The calibration's file, as a path from the profile's; None: the profile names none.

    Raises:
        ProfileError: Nothing of the name can stand in an id, or profiles do not know the dtype.
    """
    if not slug(name):
        raise ProfileError(f"a profile needs a name with letters or digits (got {name!r})")
    ceilings, device = calibration.ceilings, calibration.environment.get("device", {})
    threads = f"{calibration.threads} thread{'s' if calibration.threads > 1 else ''}"
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "id": slug(name),
        "name": printable(f"{device.get('name') or name}, {threads}, {calibration.mode}"),
        "class": "gpu" if device.get("type") == "cuda" else "cpu",
        "peak_gmacs_per_s": {
            dtype: _measured(calibration, macs_per_s, f"The fastest {dtype} matrix product")
            for dtype, macs_per_s in _peaks(calibration).items()
        },
        "bandwidth_gb_per_s": _measured(
            calibration,
            ceilings.copy_bytes_per_s,
            f"A copy that touches {_size(ceilings.footprints_bytes[-1])}, read and written bytes together",
        ),
        "default_dtype": calibration.dtype,
        "default_fusion": "none",  # estimates are of unfused layers, whatever the compiler makes of them
        "fused_activations": [],
    }
    if file is not None:
        document["calibration"] = file
    document["notes"] = printable(_notes(calibration))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    parse_profile(text.encode(), f"{document['id']}.yaml")  # what is written can be read
    return text


def _peaks(calibration: Calibration) -> dict[str, float]:
    """MACs a second by dtype with the calibration's threads, its own dtype first."""
    by = calibration.ceilings.gemm_by_macs_per_s
    keys = {dtype: gemm_key(dtype, calibration.threads) for dtype in DTYPE_BYTES}
    others = {dtype: by[key] for dtype, key in keys.items() if key in by and dtype != calibration.dtype}
    return {calibration.dtype: calibration.ceilings.gemm_macs_per_s, **others}


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:.3g} MiB" if size_bytes >= 2**20 else f"{size_bytes / 2**10:.3g} KiB"


def _measured(calibration: Calibration, per_s: float, what: str) -> dict[str, Any]:
    """A rate as a figure in 1e9 a second."""
    return {
        "value": float(f"{per_s / 1e9:.{DIGITS}g}"),
        "kind": "measured",
        "source": printable(f"{what}, the best of several tries. {_command(calibration)}"),
    }


def _command(calibration: Calibration) -> str:
    """What made it, and when, as a sentence."""
    environment = calibration.environment
    torch = environment.get("versions", {}).get("torch")
    with_torch = f", torch {torch}" if torch else ""
    return (
        f"roofline calibrate --device {environment.get('device', {}).get('type', 'cpu')} "
        f"--threads {calibration.threads} --dtype {calibration.dtype} --mode {calibration.mode}, "
        f"{calibration.made_at[:10]}{with_torch}."
    )


def _notes(calibration: Calibration) -> str:
    ceilings = calibration.ceilings
    caches = ", ".join(map(_size, ceilings.caches_bytes))
    one = ceilings.gemm_by_macs_per_s.get(gemm_key(calibration.dtype, 1))
    told = [
        "Measured ceilings, not a vendor's peaks; the kernels of networks run below them.",
        f"Reading alone runs at {ceilings.read_bytes_per_s / 1e9:.3g} GB/s, a = b + s c at "
        f"{ceilings.triad_bytes_per_s / 1e9:.3g} GB/s.",
        f"With one thread, products reach {one / 1e9:.3g} GMAC/s." if one else "",
        f"A copy slows down beyond {caches}." if caches else "",
        f"Timed: {len(calibration.ops)} kernels in {len(calibration.wholes)} networks; of {calibration.total_samples} "
        f"samples, {percent(calibration.left_out_share)} left out since others kept the machine busy.",
        *calibration.all_notes,
    ]
    return " ".join(filter(None, told))

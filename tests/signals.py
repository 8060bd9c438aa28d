"""What Linux says of the signals of a process."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

asks_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")


def ignores_interrupts(process: int | str) -> bool:
    """Whether SIGINT never reaches the main thread of a process, or of ``self``: it is blocked there."""
    (mask,) = re.findall(r"^SigBlk:\s*([0-9a-f]+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)

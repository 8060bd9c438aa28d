"""Design spaces: sets of networks to draw from, each with a rule which of them there are.

    space = load("regnetx")
    config = space.draw(RandomChooser(seed=0, index=7))
    network = space.build(config)

A space of one's own is a subclass of `Space` in a Python file: ``load("my_space.py:MySpace")``.
"""

from __future__ import annotations

from roofline.spaces.registry import BUILT_IN, load
from roofline.spaces.space import Chooser, Config, Fixed, Part, RandomChooser, Size, Space, check_fixed, why_not_held

__all__ = [
    "BUILT_IN",
    "Chooser",
    "Config",
    "Fixed",
    "Part",
    "RandomChooser",
    "Size",
    "Space",
    "check_fixed",
    "load",
    "why_not_held",
]

"""A space by its name: one of those built in, or a class of the user's own.

regnetx                     built in
my_space.py:MySpace         a subclass of `Space` in a file, or an instance
package.module:MySpace      in a module
"""

from __future__ import annotations

from collections.abc import Mapping

from roofline.errors import ModelError, RooflineError, did_you_mean
from roofline.loading.building import where
from roofline.loading.users import named
from roofline.spaces.mobilenetv3 import MobileNetV3Space
from roofline.spaces.regnet import AnyNetSpace, RegNetSpace
from roofline.spaces.rexnet import ReXNetSpace
from roofline.spaces.space import Space
from roofline.spaces.uib import UIBSpace

BUILT_IN: Mapping[str, Space] = {
    space.name: space
    for space in (
        *(AnyNetSpace(letter) for letter in "abcde"),
        *(RegNetSpace(letter) for letter in ("", "x", "y")),
        UIBSpace(),
        MobileNetV3Space(),
        ReXNetSpace(),
    )
}


def load(reference: str) -> Space:
    """The space of a name.

    Raises:
        RooflineError: There is none of that name, the user's file does not import, or what it names is no space.
    """
    if reference in BUILT_IN:
        return BUILT_IN[reference]
    place, _, name = reference.rpartition(":")
    if not place or not name:
        near = did_you_mean(reference, BUILT_IN) or f" There are {', '.join(BUILT_IN)}."
        raise RooflineError(f"unknown space {reference!r}.{near} One of your own is FILE.py:CLASS or MODULE:CLASS.")
    try:
        found = named(reference)
    except ModelError as error:
        raise RooflineError(str(error).replace("unknown model", "unknown space", 1)) from error
    if isinstance(found, type) and issubclass(found, Space):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise RooflineError(f"{reference} cannot be made without arguments: {where(error)}") from error
    if not isinstance(found, Space):
        raise RooflineError(
            f"{reference} is no space: a subclass of roofline.spaces.Space is needed, or one made of it"
        )
    for attribute in ("name", "summary"):
        if not isinstance(getattr(found, attribute, None), str):
            raise RooflineError(f"{reference} has no {attribute}: a space needs one, of text")
    shape = found.input_shape
    if (
        not isinstance(shape, tuple | list)
        or not shape
        or not all(isinstance(size, int) and size > 0 for size in shape)
    ):
        raise RooflineError(f"{reference} has an input_shape of {shape!r}: whole numbers above 0, the batch first")
    return found

"""What the schemas of saved results are made of: numbers in their ranges, lists, and sizes.

They are for pydantic's strict mode, and import nothing of it until something is checked.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from annotated_types import Ge, Gt, Len, Lt

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class _FirstWrong:
    """Ends the check of a list at its first wrong item: no more are told, and a hostile file has millions."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", {**handler(source), "fail_fast": True})


T = TypeVar("T")
Many = Annotated[list[T], _FirstWrong]
Count = Annotated[int, Ge(0), Lt(2**63)]
Number = Annotated[float, Ge(0), Lt(1e300)]  # `roofline.saved` lets no NaN and no infinity in
Positive = Annotated[float, Gt(0), Lt(1e300)]
Signed = Annotated[float, Gt(-1e300), Lt(1e300)]
Shape = Many[Count]
Interval = Annotated[Many[Number], Len(2, 2)]


class InputShape(list[Any]):
    """Sizes, or a list of such lists for a model with several inputs."""

    ONE, SEVERAL = "<one>", "<several>"  # in the places of errors, beside the keys

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        choices = {cls.ONE: handler.generate_schema(Shape), cls.SEVERAL: handler.generate_schema(Many[Shape])}
        return core_schema.tagged_union_schema(choices, discriminator=cls._choice)

    @classmethod
    def _choice(cls, value: object) -> str:
        several = isinstance(value, list) and any(isinstance(item, list) for item in value)
        return cls.SEVERAL if several else cls.ONE


def check_length(items: Sized, key: str, like: Sized) -> None:
    """Refuse items, those of `key`, that are not as many as others.

    Raises:
        ValueError: They are not; the message names the key.
    """
    if len(items) != len(like):
        raise ValueError(f"{key} must have {len(like)} items (it has {len(items)})")

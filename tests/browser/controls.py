"""Controls of a page, put where they were: one that is there already is left alone, as the page draws anew for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator


def put_text(field: Locator, text: str) -> None:
    if field.input_value() != text:
        field.fill(text)


def put_choice(choice: Locator, value: str) -> None:
    if choice.input_value() != value:
        choice.select_option(value)

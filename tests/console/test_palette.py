"""Every colour of a text, a line or a sign can be told from what it stands on (WCAG 2.2, level AA), in both themes."""

from __future__ import annotations

import re

import pytest

from worker.console.templating import ASSETS

CSS = ASSETS["console.css"].content.decode()
TEXT = 4.5
SIGN = 3.0
"""For signs and edges that are no text."""

PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "soft", "accent") for ground in ("ground", "surface", "sunken")),
    *((word, f"{word}-ground", TEXT) for word in ("good", "wait", "bad", "late", "gone")),
    *((word, ground, TEXT) for word in ("bad", "wait") for ground in ("ground", "surface")),
    *((word, ground, SIGN) for word in ("good", "late", "gone") for ground in ("ground", "surface")),
    ("on-accent", "accent", TEXT),
    ("edge", "surface", SIGN),
    ("edge", "ground", SIGN),
]


def theme(selector: str) -> dict[str, str]:
    block = CSS.partition(f"{selector} {{")[2].partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


THEMES = {
    "light": theme(":root"),
    "dark": theme(':root[data-theme="dark"]'),
    "dark by preference": theme('  :root:not([data-theme="light"])'),
}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_it_should_be() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_what_is_written_can_be_read(name: str, ink: str, ground: str, least: float) -> None:
    colours = THEMES[name]
    assert contrast(colours[ink], colours[ground]) >= least


def test_both_ways_to_the_dark_are_the_same() -> None:
    assert THEMES["dark"] == THEMES["dark by preference"]
    assert set(THEMES["light"]) == set(THEMES["dark"])


def test_no_colour_is_given_but_by_its_name() -> None:
    _, _, rest = CSS.partition("* { box-sizing")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rest) == []
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    assert used == set(THEMES["light"])
    assert "@import" not in CSS
    assert "url(" not in CSS

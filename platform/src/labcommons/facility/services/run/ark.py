"""Archival Resource Keys with the NCDA check character of the NOID scheme.

The check character is over the name assigning number and the name (``99999/lc1...``): the digits' values times their
places, summed, modulo 29. One wrong character, or two swapped, changes it.
"""

from __future__ import annotations

__all__ = ["ark_of", "check_character", "is_sound"]

_DIGITS = "0123456789bcdfghjkmnpqrstvwxz"
NAAN = "99999"
SHOULDER = "lc1"


def check_character(text: str) -> str:
    """The NCDA check character of ``text``; a character outside the alphabet counts as zero."""
    total = sum(place * max(0, _DIGITS.find(character)) for place, character in enumerate(text, start=1))
    return _DIGITS[total % len(_DIGITS)]


def ark_of(identifier: str, naan: str = NAAN) -> str:
    """The ARK of a typed identifier: our shoulder, the identifier, the check character."""
    name = f"{naan}/{SHOULDER}{identifier}"
    return f"ark:/{name}{check_character(name)}"


def is_sound(ark: str) -> bool:
    """Whether the check character fits. ``ark`` begins with ``ark:/`` or ``ark:``."""
    name = ark.removeprefix("ark:").removeprefix("/")
    return len(name) > 1 and check_character(name[:-1]) == name[-1]

"""Wire versions: each side speaks its own version and the one before.

The sender writes the receiver's version; a first message is in the older version that its sender speaks.
"""

from __future__ import annotations

from labcommons.core.errors import InvalidInput

__all__ = ["SPEAKS", "WIRE", "agree"]

#: The version that this code writes when the other side speaks it too.
WIRE = 1
#: All versions that this code reads, oldest first. There is no version before the first.
SPEAKS: tuple[int, ...] = (1,)


def agree(other: tuple[int, ...] | list[int]) -> int:
    """The newest version that both sides speak. Raises ``InvalidInput`` (code ``wire_version``) when there is none."""
    common = set(SPEAKS) & set(other)
    if not common:
        raise InvalidInput(
            f"no common wire version: here {list(SPEAKS)}, there {list(other)}",
            code="wire_version",
            field="/speaks",
            remedy="upgrade the older side; versions next to each other always understand each other",
        )
    return max(common)

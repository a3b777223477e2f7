"""Typed identifiers: a three-letter kind, an underscore, 26 Crockford characters that sort by time.

The 26 characters are 130 bits of which the first two are zero: 48 bits of milliseconds since 1970 and 80 bits that
the caller draws. Time and entropy are arguments, so that decisions which mint identifiers stay pure.
"""

from __future__ import annotations

from typing import ClassVar, Self

from labcommons.core.errors import InvalidInput

__all__ = [
    "AllocationId",
    "AttemptId",
    "EntryId",
    "ExperimentId",
    "Identifier",
    "InstrumentId",
    "JournalId",
    "LabId",
    "NodeId",
    "PersonId",
    "ProjectId",
    "RecordId",
    "SampleId",
    "SessionId",
    "StepId",
    "StudyId",
    "encode_crockford",
]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_ENTROPY_BYTES = 10
_MAX_MS = (1 << 48) - 1


def encode_crockford(number: int, length: int) -> str:
    """``number`` (not negative) in Crockford's base 32, left-padded to ``length`` characters."""
    digits = []
    for _ in range(length):
        number, low = divmod(number, 32)
        digits.append(_ALPHABET[low])
    return "".join(reversed(digits))


class Identifier(str):
    """Base of the typed identifiers. An instance is a ``str``; ``parse`` is the checked way in."""

    __slots__ = ()
    prefix: ClassVar[str] = ""

    @classmethod
    def parse(cls, text: object, field: str = "") -> Self:
        """``text`` as an identifier of this kind. Raises ``InvalidInput`` (code ``bad_identifier``)."""
        if isinstance(text, str) and text.startswith(cls.prefix + "_"):
            body = text[len(cls.prefix) + 1 :]
            # The first character holds the two padding bits and three of the time: past 7 it would overflow.
            if len(body) == _LENGTH and body[0] in "01234567" and all(c in _ALPHABET for c in body):
                return cls(text)
        raise InvalidInput(
            f"{str(text)[:60]!r} is not an identifier of the kind {cls.prefix}_",
            code="bad_identifier",
            field=field,
            remedy=f"give {cls.prefix}_ followed by 26 characters of 0-9 A-Z without I, L, O and U",
        )

    @classmethod
    def mint(cls, at_ms: int, entropy: bytes) -> Self:
        """A new identifier from a time (ms since 1970, UTC) and ten bytes of entropy. Raises ``ValueError``."""
        if not 0 <= at_ms <= _MAX_MS or len(entropy) != _ENTROPY_BYTES:
            raise ValueError("an identifier needs a time within 48 bits of milliseconds and ten bytes of entropy")
        number = (at_ms << 80) | int.from_bytes(entropy, "big")
        return cls(f"{cls.prefix}_{encode_crockford(number, _LENGTH)}")


class ExperimentId(Identifier):
    """What a user wants: one protocol with its arguments."""

    prefix = "exp"


class StepId(Identifier):
    """One action of an experiment."""

    prefix = "stp"


class AttemptId(Identifier):
    """One permission to perform one step on one instrument."""

    prefix = "att"


class StudyId(Identifier):
    """Experiments that belong together."""

    prefix = "std"


class ProjectId(Identifier):
    """People with a common allocation."""

    prefix = "prj"


class PersonId(Identifier):
    """A person; the subject of the person's tokens."""

    prefix = "per"


class LabId(Identifier):
    """A partner lab."""

    prefix = "lab"


class NodeId(Identifier):
    """A lab's agent, also its client id at the issuer."""

    prefix = "nod"


class InstrumentId(Identifier):
    """An instrument of a lab."""

    prefix = "ins"


class SampleId(Identifier):
    """A sample, from the submission that expects it on."""

    prefix = "smp"


class RecordId(Identifier):
    """The data of one attempt."""

    prefix = "rec"


class AllocationId(Identifier):
    """An amount of one instrument type for one project in one window."""

    prefix = "alc"


class EntryId(Identifier):
    """An entry of the ledger."""

    prefix = "ent"


class SessionId(Identifier):
    """One life of a node's agent."""

    prefix = "ses"


class JournalId(Identifier):
    """One journal file of a node."""

    prefix = "jnl"

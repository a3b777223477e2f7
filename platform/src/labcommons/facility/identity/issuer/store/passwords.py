"""Passwords as scrypt hashes: ``scrypt$n$r$p$salt$hash``, salt and hash in hex."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata

from labcommons.core.errors import InvalidInput
from labcommons.facility.identity.issuer.config import PasswordCost

__all__ = ["MAXIMUM_CHARACTERS", "MINIMUM_CHARACTERS", "check_password", "hash_password", "matches"]

MINIMUM_CHARACTERS = 12
MAXIMUM_CHARACTERS = 256


def check_password(password: str) -> None:
    """Raise ``InvalidInput`` (``weak_password``) for one that is too short, or too long to be hashed in good time."""
    if not MINIMUM_CHARACTERS <= len(password) <= MAXIMUM_CHARACTERS:
        raise InvalidInput(
            f"a password has {MINIMUM_CHARACTERS} to {MAXIMUM_CHARACTERS} characters",
            code="weak_password",
            field="/password",
            remedy="take a longer one; four random words will do",
        )


def hash_password(password: str, cost: PasswordCost) -> str:
    """The text to store."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, cost)
    return f"scrypt${cost.n}${cost.r}${cost.p}${salt.hex()}${digest.hex()}"


def matches(password: str, stored: str) -> bool:
    """Whether ``password`` is the one behind ``stored``; takes as long whether it is or not."""
    _, n, r, p, salt, digest = stored.split("$")
    found = _scrypt(password, bytes.fromhex(salt), PasswordCost(int(n), int(r), int(p)))
    return hmac.compare_digest(found, bytes.fromhex(digest))


def _scrypt(password: str, salt: bytes, cost: PasswordCost) -> bytes:
    # Names and passwords typed on different keyboards may differ in composition only.
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    memory = 256 * cost.n * cost.r + (1 << 20)
    return hashlib.scrypt(text, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=memory, dklen=32)

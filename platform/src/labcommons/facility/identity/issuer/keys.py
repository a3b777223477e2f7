"""The issuer's signing key: EC P-256, in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from joserfc.jwk import ECKey, KeySet

from labcommons.core.errors import Unavailable

__all__ = ["load_signing_key", "write_private"]


def write_private(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` with mode 0600, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    # The mode is given at creation: there is no moment at which others could open it.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_signing_key(path: Path) -> KeySet:
    """A set of one key: of several, the library signs with any of them at random.

    Made at the first call. Raises ``Unavailable`` when the file is there and others may read it.
    """
    if not path.exists():
        write_private(path, ECKey.generate_key("P-256").as_pem(private=True))
    if path.stat().st_mode & 0o077:
        raise Unavailable(
            f"others may read the issuer's signing key {path.name}",
            code="key_exposed",
            remedy="delete the file: the next start makes a new key, and everybody logs in again",
        )
    key = ECKey.import_key(path.read_bytes(), {"use": "sig", "alg": "ES256"})
    return KeySet([key])

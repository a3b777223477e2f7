"""Keys as an operator's own tools make them: the node only reads its key."""

from __future__ import annotations

from pathlib import Path

from joserfc.jwk import ECKey


def write_key(path: Path, curve: str = "P-256") -> None:
    """A new private key in `path`, for the owner's eyes alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(ECKey.generate_key(curve).as_pem(private=True))

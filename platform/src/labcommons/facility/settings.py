"""The facility's settings: one typed tree, read once, in the shell.

Every value can be given by an environment variable: the prefix `LABCOMMONS_`, then the path with two underscores
between its words (`LABCOMMONS_SERVER__PORT=8080`, `LABCOMMONS_DELIVERY__LEASE_MS=30000`). Unknown words inside a group
are refused. Durations are integer milliseconds of wall time in fields that end in `_ms`, sizes are bytes in fields
that end in `_bytes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
DEFAULT_HOME = Path("~/.local/state/labcommons")


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Group):
    """Where the facility listens and how the outside calls it."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback, because the default transport is plain HTTP, which is refused anywhere else."""

    port: int = Field(default=8310, ge=0, le=65535)
    """TCP port. 8310 belongs to no well-known service; `labcommons up` takes a free one if it is in use; 0 asks the
    system."""

    public_url: str | None = None
    """The URL that people, nodes and tokens use, without a slash at the end. None: `http://host:port`. Behind a proxy
    that ends TLS it must be given, since the facility cannot see that name."""

    shutdown_ms: int = Field(default=5_000, ge=0)
    """How long a stopping server waits for open answers, in ms. Five seconds: every answer but a held `next` or an
    event stream is far shorter, and those are repeated by their clients without loss."""


class StorageSettings(_Group):
    """The database, the only truth."""

    url: str | None = None
    """SQLAlchemy URL. None: SQLite at `HOME/facility/facility.sqlite`, which needs nothing installed."""

    busy_ms: int = Field(default=10_000, ge=0)
    """How long a writer waits for another process' write lock, in ms. Ten seconds: `labcommons admin` may hold it
    beside a running facility, and no commit of ours takes one."""

    migrate_on_start: bool = True
    """Bring the schema to the newest revision when the facility starts. On, because a laptop has nobody to do it; a
    site with several replicas turns it off and runs `labcommons admin migrate` once."""


class ObjectSettings(_Group):
    """Bytes by content."""

    folder: Path | None = None
    """Where objects lie, by their sha256. None: `HOME/facility/objects`. It must be restored never older than the
    database."""

    maximum_bytes: int = Field(default=1 << 30, ge=1)
    """The largest object that a node may send, in bytes. One GiB: a long diffraction scan fits, and a mistaken loop
    does not fill the disk in one call."""


class IdentitySettings(_Group):
    """Whose tokens are believed."""

    issuer: str | None = None
    """URL of the OIDC issuer. None: the embedded issuer, mounted at `/oidc`, which serves on loopback only."""

    audience: str = "labcommons"
    """The word that a token's `aud` must hold. A token without it was made for somebody else's service."""

    algorithms: tuple[str, ...] = ("ES256",)
    """Signature algorithms accepted. ES256 alone, what the embedded issuer signs with; a Keycloak realm may need
    RS256 too. Never a symmetric one: the verifier's key would then make tokens."""

    leeway_ms: int = Field(default=5_000, ge=0, le=60_000)
    """How far `exp` and `nbf` may be off, in ms. Five seconds, for clocks that NTP keeps; more would lengthen every
    token."""

    access_token_ms: int = Field(default=300_000, ge=1_000)
    """Life of a token of the embedded issuer, in ms. Five minutes: a stolen one is soon worth nothing, and revocation
    does not have to reach far."""

    session_ms: int = Field(default=43_200_000, ge=60_000)
    """Life of a person's session at the embedded issuer, in ms. Twelve hours: one working day and no more."""


class DeliverySettings(_Group):
    """How long silence lasts before it gets a name. Time alone never frees an attempt."""

    lease_ms: int = Field(default=60_000, ge=1_000)
    """A node that has not called for this long, in ms, is silent and its live attempts are SUSPECT. A minute is twice
    the long poll and some: one lost call is no alarm."""

    suspect_ms: int = Field(default=600_000, ge=1_000)
    """SUSPECT turns UNKNOWN after this long, in ms (at once where the protocol is `repeatable`). Ten minutes: a
    router's restart or a lab's reboot should not call a person."""

    long_poll_ms: int = Field(default=25_000, ge=100)
    """How long `next` is held, in ms. 25 s, under the 30 s and 60 s at which common proxies cut an idle
    connection."""


class LimitSettings(_Group):
    """How much one call may ask."""

    body_bytes: int = Field(default=1 << 20, ge=1_024)
    """Largest body of a person's call, in bytes. One MiB: a thousand experiments of ten arguments take a third of
    it."""

    node_body_bytes: int = Field(default=16 << 20, ge=1_024)
    """Largest body of a node's `report` or `next`, in bytes. Sixteen MiB: 64 entries at their own limit of 256 KiB; a
    node with more to say says it in several calls."""

    page_default: int = Field(default=50, ge=1)
    """Items on a page when `limit` is not given. Fifty fill a screen."""

    page_maximum: int = Field(default=1_000, ge=1)
    """The largest `limit`. A thousand, so that an export makes few calls and no single answer grows without end."""

    idempotency_days: int = Field(default=7, ge=1)
    """How long the answer to an `Idempotency-Key` is kept, in days. Seven: a script that was left over a weekend may
    repeat."""


class EventSettings(_Group):
    """The event streams."""

    heartbeat_ms: int = Field(default=15_000, ge=100)
    """A stream with nothing to say sends a comment this often, in ms, so that proxies keep it and dead readers are
    noticed."""

    batch: int = Field(default=200, ge=1)
    """Events read from the outbox at a time. A reader that does not read holds this many rows in memory and no
    more."""


class CheckSettings(_Group):
    """Self-control in production."""

    invariants: bool = False
    """Check the books after every commit of a worker. Off: it reads whole tables. Tests and `labcommons admin check`
    do it."""


class DemoSettings(_Group):
    """What `labcommons up` brings besides the facility."""

    labs: int = Field(default=2, ge=0, le=2)
    """How many demo labs are started: `north`, then `south`. Two, since one lab is no federation."""

    seed: int = Field(default=1, ge=0)
    """Seed of the simulated labs' readings. The same seed gives the same readings."""

    time_scale: str = "240"
    """Lab time per wall time in the demo labs, as text. 240: a test of eight minutes takes two seconds to watch."""

    runtime: Literal["ray", "inprocess"] | None = None
    """Where a demo lab's instruments live: in the lab's own Ray cluster, or in the agent's process. Unset: in Ray where
    it is installed, else in the process."""


class Settings(BaseSettings):
    """The whole tree. `Settings()` reads the environment; tests give keyword arguments."""

    model_config = SettingsConfigDict(
        env_prefix="LABCOMMONS_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: Path = DEFAULT_HOME
    """Folder of all state (`LABCOMMONS_HOME`). Under the user's own state folder, so that nothing needs root."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    objects: ObjectSettings = ObjectSettings()
    identity: IdentitySettings = IdentitySettings()
    delivery: DeliverySettings = DeliverySettings()
    limits: LimitSettings = LimitSettings()
    events: EventSettings = EventSettings()
    checks: CheckSettings = CheckSettings()
    demo: DemoSettings = DemoSettings()

    @model_validator(mode="after")
    def _transport(self) -> Self:
        """Plain HTTP and the embedded issuer are refused off loopback."""
        if self.server.host in LOOPBACK:
            return self
        if self.server.public_url is None or not self.server.public_url.startswith("https://"):
            raise ValueError(
                "plain HTTP is refused off loopback: set LABCOMMONS_SERVER__PUBLIC_URL to the https:// URL of the "
                "proxy that ends TLS, or LABCOMMONS_SERVER__HOST to 127.0.0.1"
            )
        if self.identity.issuer is None:
            raise ValueError(
                "the embedded issuer serves on loopback only: set LABCOMMONS_IDENTITY__ISSUER, or "
                "LABCOMMONS_SERVER__HOST to 127.0.0.1"
            )
        return self

    @property
    def home_path(self) -> Path:
        """HOME, absolute, with `~` expanded."""
        return self.home.expanduser().absolute()

    @property
    def url(self) -> str:
        """The facility's public URL without a slash at the end."""
        if self.server.public_url is not None:
            return self.server.public_url.rstrip("/")
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return f"http://{host}:{self.server.port}"

    @property
    def issuer(self) -> str:
        """The issuer whose tokens are believed: the configured one, or the embedded one under our own URL."""
        return self.identity.issuer or f"{self.url}/oidc"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL, with the default filled in."""
        return self.storage.url or f"sqlite:///{self.home_path / 'facility' / 'facility.sqlite'}"

    @property
    def objects_folder(self) -> Path:
        """The folder of the content-addressed store, with the default filled in."""
        return self.objects.folder or self.home_path / "facility" / "objects"

"""The embedded issuer in a process of its own: prints its URL, serves until it is told to end."""

import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from labcommons.facility.api.oidc import mount_issuer
from labcommons.facility.clock import SystemClock
from labcommons.facility.identity.issuer import IssuerConfig, PasswordCost, create_issuer


def main(folder: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/oidc"
        cost = PasswordCost(n=1 << 10, r=8, p=1)
        issuer = create_issuer(IssuerConfig(url=url, folder=folder, cost=cost), SystemClock())
        try:
            app = FastAPI()
            mount_issuer(app, issuer)
            print(url, flush=True)
            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
        finally:
            issuer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

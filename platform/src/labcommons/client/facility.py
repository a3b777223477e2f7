"""``Facility``: the way in for notebooks, scripts and the command line."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labcommons.client import requests
from labcommons.client.addresses import checked
from labcommons.client.arguments import to_values
from labcommons.client.home import facility_url, home_folder, token_file
from labcommons.client.oidc import TokenStore
from labcommons.client.results import Experiment, Study
from labcommons.client.transport import Transport
from labcommons.client.waiting import wait_for
from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import ExperimentId

__all__ = ["Facility"]


class Facility:
    """One facility, as one person sees it.

    ``url``: its address (else ``LABCOMMONS_URL``, else the facility that ``labcommons up`` started); ``token``: a
    bearer token (else ``LABCOMMONS_TOKEN``, else the tokens of ``labcommons login``, renewed silently); ``home``: the
    folder of local state (else ``LABCOMMONS_HOME``). Raises ``FacilityUnreachable`` where no address is known,
    ``NotLoggedIn`` where it is plain http off this machine.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, home: Path | str | None = None) -> None:
        self.home = Path(home) if home is not None else home_folder()
        self.url = checked(facility_url(self.home, url))
        fixed = token or os.environ.get("LABCOMMONS_TOKEN")
        store = TokenStore(token_file(self.home), self.url)
        self.transport = Transport(
            self.url,
            (lambda: fixed) if fixed else store.access_token,
            (lambda: None) if fixed else store.renewed,
        )
        self._protocols: dict[str, dict[str, Any]] = {}
        self._labs: dict[str, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Work that was submitted goes on."""
        self.transport.close()

    # Reading ---------------------------------------------------------------------------------------------------

    def pages(self, *parts: str, **params: object) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        after: str | None = None
        while True:
            page = self.transport.send(requests.listing(*parts, after=after, filters=params))
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def me(self) -> dict[str, Any]:
        """Who I am: person, roles, projects, labs."""
        return dict(self.transport.send(requests.get("me")))

    def labs(self) -> list[dict[str, Any]]:
        """The labs of the federation."""
        return list(self.pages("labs"))

    def instruments(self) -> list[dict[str, Any]]:
        """Their instruments, with state and what they offer."""
        return list(self.pages("instruments"))

    def names(self) -> dict[str, str]:
        """What people call the labs and instruments of the federation, by identifier."""
        return {one["id"]: one["name"] for one in (*self.labs(), *self.instruments())}

    def protocols(self) -> list[dict[str, Any]]:
        """The protocols that the facility knows, newest versions."""
        return list(self.pages("protocols"))

    def protocol(self, name: str) -> dict[str, Any]:
        """One protocol by name (its newest version) or hash, with its document."""
        if name not in self._protocols:
            self._protocols[name] = dict(self.transport.send(requests.get("protocols", name)))
        return self._protocols[name]

    def experiments(self, **filters: object) -> Iterator[Experiment]:
        """Experiments that I may see; filters: ``project``, ``study``, ``state``."""
        for item in self.pages("experiments", **filters):
            yield Experiment(self, item)

    def attach(self, identifier: str) -> Experiment | Study:
        """The experiment (``exp_``) or study (``std_``) again, in another process, on another day."""
        if identifier.startswith("exp_"):
            return Experiment(self, self.transport.send(requests.get("experiments", identifier)))
        if identifier.startswith("std_"):
            return Study(self, self.transport.send(requests.get("studies", identifier)))
        raise InvalidInput(
            f"{identifier!r} is neither an experiment nor a study",
            code="bad_identifier",
            remedy="give an identifier that begins with exp_ or std_; `labcommons list` shows yours",
        )

    def statement(self, project: str | None = None) -> dict[str, Any]:
        """The ledger of one project: allocations and every entry behind them."""
        return dict(self.transport.send(requests.get("ledger", "statement", project=project or self.default_project())))

    # Doing -----------------------------------------------------------------------------------------------------

    def compile(
        self,
        protocol: str,
        experiments: Sequence[Mapping[str, Any]],
        *,
        project: str | None = None,
    ) -> list[dict[str, Any]]:
        """For each experiment its steps, candidates and cost, or the reasons against it. Nothing is stored."""
        items = self._items(protocol, experiments)
        request = requests.compile_items(project or self.default_project(), protocol, "compile", items)
        return list(self.transport.send(request)["items"])

    def submit(
        self,
        protocol: str,
        experiments: Sequence[Mapping[str, Any]],
        *,
        project: str | None = None,
        study: str | None = None,
        key: str | None = None,
    ) -> Study:
        """Submit experiments as one study; taken whole or refused whole.

        Each is either a mapping of arguments, ``{"n": 9, "theta": "40 deg"}``, or the API's form with ``arguments`` and
        any of ``labs`` (identifiers or names), ``types``, ``priority``, ``label``. ``key``: the ``Idempotency-Key``;
        drawn when not given, and kept through all repeats. Raises ``FacilityRefused`` with pointer and remedy.
        """
        request = requests.submit(
            project or self.default_project(),
            protocol,
            study or protocol,
            self._items(protocol, experiments),
            key=key or secrets.token_urlsafe(18),
        )
        answer = self.transport.send(request)
        return Study(self, self.transport.send(requests.get("studies", answer["study"])))

    def cancel(self, experiment: str) -> dict[str, Any]:
        """Wish that ``experiment`` ends. Raises ``InvalidInput`` for what is no experiment's identifier."""
        return dict(self.transport.send(requests.cancel(ExperimentId.parse(experiment), key=secrets.token_urlsafe(18))))

    def wait(
        self,
        experiments: Sequence[Experiment],
        timeout_s: float | None = None,
        *,
        progress: bool = True,
        study: str | None = None,
    ) -> None:
        """Wait until each of ``experiments`` ended or needs a person. Raises ``TimeoutError``."""
        wait_for(self, experiments, timeout_s, progress=progress, study=study)

    def default_project(self) -> str:
        """My only project. Raises ``InvalidInput`` where I have none or several."""
        projects = self.me()["projects"]
        if len(projects) == 1:
            return str(projects[0]["id"])
        names = ", ".join(f"{one['id']} ({one['name']})" for one in projects) or "none"
        raise InvalidInput(
            f"name the project; yours: {names}",
            code="project_needed",
            field="/project",
            remedy="give project=... (--project on the command line)"
            if projects
            else "ask a PI to add you to a project",
        )

    def _items(self, protocol: str, experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        parameters = self.protocol(protocol)["document"].get("parameters", {})
        items = []
        for index, given in enumerate(experiments):
            whole: dict[str, Any] = dict(given) if "arguments" in given else {"arguments": given}
            try:
                whole["arguments"] = to_values(whole["arguments"], parameters)
                if whole.get("labs"):
                    whole["labs"] = self._lab_ids(whole["labs"])
            except LabCommonsError as error:
                raise error.at(f"/experiments/{index}") from None
            items.append(whole)
        return items

    def _lab_ids(self, labs: Sequence[str]) -> list[str]:
        """Identifiers of labs called by name; what is no lab's name goes as it is, for the facility to judge."""
        if all(lab.startswith("lab_") for lab in labs):
            return list(labs)
        if self._labs is None:
            self._labs = {str(one["name"]): str(one["id"]) for one in self.labs()}
        return [self._labs.get(lab, lab) for lab in labs]

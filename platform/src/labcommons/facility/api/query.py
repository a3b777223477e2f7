"""Unknown query parameters are refused: a misspelt filter must not answer with everything."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from labcommons.core.errors import InvalidInput


def refuse_unknown(request: Request) -> None:
    """Go on if the route knows every query parameter (a dependency of all routes).

    Raises `InvalidInput` (`unknown_field`), which names the parameter and those that are known.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = query_names(route.dependant)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        name = unknown[0][:60]
        raise InvalidInput(
            f"{name!r} is not a parameter of this address.",
            code="unknown_field",
            field=f"/{name.replace('~', '~0').replace('/', '~1')}",
            remedy=f"leave it out; known are {', '.join(sorted(known)) or 'none'}",
        )


def query_names(dependant: Dependant) -> frozenset[str]:
    """The query parameters that a route takes, its dependencies' among them."""
    own = {field.alias for field in dependant.query_params}
    return frozenset(own).union(*(query_names(one) for one in dependant.dependencies))

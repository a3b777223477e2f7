"""Logging in without a library, on httpx and the standard library alone.

``login_with_browser`` is for people and any issuer, ``login_with_password`` for the embedded issuer alone; ``refresh``
renews, ``logout`` ends the session, ``TokenStore`` keeps tokens in a file (mode 0600) and renews them silently.
All raise ``NotLoggedIn`` and ``FacilityUnreachable``.
"""

from labcommons.client.oidc.flow import TokenStore, login_with_browser, login_with_password, logout, refresh
from labcommons.client.oidc.tokens import Tokens

__all__ = ["TokenStore", "Tokens", "login_with_browser", "login_with_password", "logout", "refresh"]

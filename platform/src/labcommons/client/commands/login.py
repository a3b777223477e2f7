"""Who is at the keyboard: login, logout, whoami."""

from __future__ import annotations

import sys

import click

from labcommons.client.commands.common import Console, command
from labcommons.client.home import facility_url, home_folder, token_file
from labcommons.client.oidc import TokenStore, login_with_browser, login_with_password, logout

__all__ = ["COMMANDS"]


@click.option(
    "--user", metavar="NAME", help="Log in on this terminal as NAME (embedded issuer); asks for the password."
)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin instead of asking.")
@command("login", example="labcommons login --user rae")
def login(console: Console, user: str | None, password_stdin: bool) -> None:
    """Log in: in the browser, or on this terminal with --user."""
    home = home_folder()
    url = facility_url(home, console.api_url)
    if user is None:
        tokens = login_with_browser(url, announce=console.note)
    else:
        password = sys.stdin.readline().rstrip("\n") if password_stdin else None
        tokens = login_with_password(url, user, password or click.prompt("Password", hide_input=True, err=True))
    TokenStore(token_file(home), url).save(tokens)
    me = console.facility().me()
    console.document(me, f"Logged in as {me['name']} ({me['username']}).")


@command("logout", example="labcommons logout")
def end_session(console: Console) -> None:
    """End the session here and at the issuer."""
    home = home_folder()
    store = TokenStore(token_file(home), facility_url(home, console.api_url))
    tokens = store.load()
    if tokens is not None:
        logout(tokens)
        store.clear()
    console.document({"logged_out": tokens is not None}, "Logged out." if tokens else "Nobody was logged in.")


@command("whoami", example="labcommons whoami")
def whoami(console: Console) -> None:
    """Say who I am, my roles, my projects and labs."""
    me = console.facility().me()
    lines = [f"{me['name']} ({me['username']}), {me['person']}", f"roles:    {', '.join(me['roles']) or 'none'}"]
    lines += [f"project:  {one['id']}  {one['name']} ({one['role']})" for one in me["projects"]]
    lines += [f"lab:      {one['id']}  {one['name']}" for one in me["labs"]]
    console.document(me, "\n".join(lines))


COMMANDS = [login, end_session, whoami]

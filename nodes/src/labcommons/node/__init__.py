"""The agent of a partner lab: journal, link, safety, runtime, settings and command."""

"""All that crosses a trust domain: calls of a node, answers of the facility, grants, journal entries.

Schema-checked JSON and nothing else. The facility refuses what it does not know; a node ignores it, because the
sender is bound to write the receiver's wire version (see ``versions``).
"""

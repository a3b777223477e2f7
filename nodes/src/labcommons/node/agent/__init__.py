"""The agent: it takes grants, sees to it that each runs once at most, and tells what became of them.

``process`` is one agent process; ``session`` one life of it on one runtime; ``bench`` one instrument; ``runs`` what is
in hand; ``results`` turns what an instrument gave into a RESULT; ``local`` the files beside the journal.
"""

"""The canonical text: the same bytes for the same meaning, and nothing that rounds."""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core.errors import InvalidInput
from labcommons.core.ids import LabId
from labcommons.protocols.canonical import canonical, digest, protocol_hash

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(documents)
def test_the_text_says_the_same_and_is_stable(document: Any) -> None:
    written = canonical(document)
    assert json.loads(written) == document
    assert canonical(json.loads(written)) == written


@given(st.dictionaries(text, documents, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(document: dict[str, Any], random: Any) -> None:
    items = list(document.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(document)
    assert digest(dict(items)) == hashlib.sha256(canonical(document)).hexdigest()


def test_the_form() -> None:
    assert canonical({"b": [1, True, None], "a": "é\n", "€": 1}) == '{"a":"é\\n","b":[1,true,null],"€":1}'.encode()
    assert canonical(MappingProxyType({"a": (1,)})) == b'{"a":[1]}'
    assert canonical(LabId("lab_x")) == b'"lab_x"'
    assert protocol_hash({}) == "sha256:" + hashlib.sha256(b"{}").hexdigest()
    # RFC 8785 sorts by UTF-16 code units, where this one comes before the other.
    assert canonical({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


def nested(depth: int) -> Any:
    out: Any = "x"
    for _ in range(depth):
        out = [out]
    return out


@pytest.mark.parametrize(
    ("document", "word", "field"),
    [
        ({"a/b": [1, 2.5]}, "float_in_document", "/a~1b/1"),
        (1.0, "float_in_document", ""),
        ({"a": 2**53}, "bad_number", "/a"),
        ({1: "x"}, "bad_document", ""),
        ({"a": {1, 2}}, "bad_document", "/a"),
        ({"a": b"x"}, "bad_document", "/a"),
        ("\ud800", "bad_document", ""),
        (nested(61), "too_large", "/0" * 61),
    ],
)
def test_what_has_no_canonical_text(document: Any, word: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical(document)
    assert (caught.value.word, caught.value.field) == (word, field)


def test_the_deepest_that_is_taken() -> None:
    assert canonical(nested(60)) == b"[" * 60 + b'"x"' + b"]" * 60

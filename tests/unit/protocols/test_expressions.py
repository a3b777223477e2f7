"""Guards and durations: what they can say, and that nothing hostile gets through to the interpreter."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import SampleId
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Enum, Int, Sample, Text, Value
from labcommons.protocols.durations import evaluate_duration, numbers_of
from labcommons.protocols.expressions import compile_expression
from labcommons.protocols.guards import compile_guard, evaluate_guard
from labcommons.protocols.specs import ParameterSpec

OUTPUTS: dict[str, dict[str, Value]] = {
    "mix": {
        "volume": Quantity.of("30.0", "uL", "0.2"),
        "count": Int(3),
        "state": Enum("clear"),
        "note": Text("fine"),
        "well": Sample(SampleId.mint(1, b"0123456789")),
    }
}
V = "steps.mix.outputs.volume"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (f"{V} >= quantity('20', 'uL')", True),
        (f"{V} >= quantity('0.04', 'mL')", False),
        (f"{V} > quantity('30', 'uL')", False),
        (f"{V} < quantity('30.000001', 'uL')", True),
        (f"{V} <= quantity('0.03', 'mL')", True),
        (f"{V} == quantity('0.030', 'mL')", True),
        (f"{V} != quantity('30', 'uL')", False),
        ("steps.mix.outputs.count > 2 && steps.mix.outputs.state == 'clear'", True),
        ("steps.mix.outputs.note == 'fine' ? parameters.n == 4 : false", True),
        ("!(steps.mix.outputs.count + 1 == 4) || false", False),
        ("has(steps.mix.outputs.other)", False),
        ("has(steps.mix.outputs.volume)", True),
        ("double(steps.mix.outputs.count) / 2.0 > 1.4", True),
        ("true // a comment", True),
    ],
)
def test_guards(text: str, holds: bool) -> None:
    assert evaluate_guard(text, OUTPUTS, {"n": Int(4)}) is holds


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"{V} >= 20", "bare_number"),
        (f"{V} == 20", "bare_number"),
        (f"{V} >= quantity('20', 'mg')", "wrong_dimension"),
        (f"{V} == quantity('20', 'mg')", "wrong_dimension"),
        (f"{V} >= quantity('20', 'uLL')", "unknown_unit"),
        (f"{V} >= quantity('x', 'uL')", "bad_number"),
        (f"{V} >= quantity(20, 'uL')", "bad_guard"),
        (f"{V} >= quantity('20')", "bad_guard"),
        (f"{V} + quantity('20', 'uL') > quantity('1', 'uL')", "bad_guard"),
        (V, "bad_guard"),
        ("steps.mix.outputs.count", "bad_guard"),
        ("'text'", "bad_guard"),
        ("null", "bad_guard"),
        ("steps.mix.outputs.well == 'x'", "bad_guard"),
        ("steps.other.outputs.volume > 1", "bad_guard"),
        ("1 / 0 == 1", "bad_guard"),
        ("9223372036854775807 + 1 > 0", "bad_guard"),
        ("'a' > 1", "bad_guard"),
        ("true &&", "bad_guard"),
        ("steps.all(s, true)", "bad_guard"),
        ("steps.mix.outputs.exists(o, true)", "bad_guard"),
        ("'aaa'.matches('(a+)+$')", "bad_guard"),
        ("matches('aaa', 'a')", "bad_guard"),
        ("size('abc') == 3", "bad_guard"),
        (".size('abc') == 3", "bad_guard"),
        (".steps == 1", "bad_guard"),
        ("[1, 2][0] == 1", "bad_guard"),
        ("{'a': 1}.a == 1", "bad_guard"),
        ("steps['mix'] == 1", "bad_guard"),
        ("1 in [1]", "bad_guard"),
        ("Foo{a: 1} == 1", "bad_guard"),
        ("getattr(steps, 'x')", "bad_guard"),
        ("__import__('os')", "bad_guard"),
        ("steps.mix.__class__ == 1", "bad_guard"),
        ("(" * 100 + "true" + ")" * 100, "bad_guard"),
        ("!" * 400 + "true", "bad_guard"),
        ("true" + " " * 500, "bad_guard"),
        ("", "bad_guard"),
        ("\x00", "bad_guard"),
    ],
)
def test_guards_that_are_refused(text: str, word: str) -> None:
    with pytest.raises(LabCommonsError) as caught:
        evaluate_guard(text, OUTPUTS)
    assert caught.value.word == word
    assert caught.value.remedy
    assert len(caught.value.detail) < 400


@given(st.text(st.sampled_from("ab1.()[]{}!&|<>=+-*/%?:,'\" "), max_size=60))
def test_any_text_gives_a_truth_value_or_our_error(text: str) -> None:
    try:
        outcome: object = evaluate_guard(text, {})
    except LabCommonsError as error:
        outcome = error.word
    assert outcome in (True, False, "bad_guard")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"{V} >= quantity('20', 'uL') && parameters.n > 3", {V, "parameters.n"}),
        ("has(a.b) ? c : -d.e", {"a.b", "c", "d.e"}),
        ("(a + b).c == 1", {"a", "b", "?.c"}),
        ("quantity('1', 'm').value == x", {"?.value", "x"}),
        ("4000.0", set()),
    ],
)
def test_the_names_an_expression_reads(text: str, names: set[str]) -> None:
    assert compile_guard(text).references == names


def test_loading_the_interpreter_does_not_lower_the_recursion_limit() -> None:
    from labcommons.protocols.expressions import _machinery

    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(9000)
        _machinery.cache_clear()
        compile_expression.__wrapped__("1 == 1", "bad_guard")
        assert sys.getrecursionlimit() == 9000
    finally:
        sys.setrecursionlimit(before)


NUMBERS = {"red": 30.0, "n": 6.0}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("60000", 60000),
        ("0", 0),
        ("4000.0 + 150.0 * red", 8500),
        ("n * 1000.4", 6002),
        ("red > 20.0 ? 5000.0 : 1000.0", 5000),
        ("30 * 1000", 30000),
        ("double(30)", 30),
    ],
)
def test_durations(text: str, want: int) -> None:
    assert evaluate_duration(text, NUMBERS) == want


# fmt: off
@pytest.mark.parametrize(
    "text",
    [
        "-1.0", "4000 + 150 * red", "1.0 / 0.0", "1e308 * 1e308", "0.0 / 0.0", "99999999999999999999999", "yellow",
        "'x'", "red > 1.0", "quantity('1', 's')", "red *", "1e13", "red.size()", "-5", "٣", "null", "1" * 300,
    ],
)
def test_durations_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        evaluate_duration(text, NUMBERS)
    assert (caught.value.word, bool(caught.value.remedy)) == ("bad_duration", True)


def test_what_a_duration_can_read() -> None:
    specs = {
        "red": ParameterSpec.model_validate({"kind": "quantity", "unit": "uL", "max": "80"}),
        "blue": ParameterSpec.model_validate({"kind": "quantity", "unit": "uL", "max": "70"}),
        "free": ParameterSpec.model_validate({"kind": "quantity", "unit": "uL"}),
        "mode": ParameterSpec.model_validate({"kind": "enum", "values": ["a"]}),
    }
    ramp = Profile.ramp(Quantity.of("25", "Cel"), Quantity.of("450", "Cel"), 600_000)
    given: dict[str, Value] = {"red": Quantity.of("0.03", "mL"), "n": Int(3), "mode": Enum("a"), "heat": ramp}
    given["depth"] = Quantity.of("2", "mm")
    # blue is not known yet: its largest value counts.
    assert numbers_of(given, specs) == {"red": 30.0, "n": 3.0, "heat": 600_000.0, "depth": 2.0, "blue": 70.0}

"""The demo's judge finds each planted disagreement between the three exports."""

import copy
from typing import Any

import pytest

from labcommons.facility.demo.compare import best, paired_difference
from labcommons.facility.demo.judge import judge

Exports = tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]], list[dict[str, Any]]]


def exports() -> Exports:
    journals: dict[str, list[dict[str, Any]]] = {
        lab: [
            {"state": "SESSION", "attempt": None, "detail": {"ray_cluster": f"cluster-{lab}"}},
            {"state": "STARTED", "attempt": f"att_{lab}", "detail": {}},
            {"state": "RESULT", "attempt": f"att_{lab}", "detail": {}},
        ]
        for lab in ("north", "south")
    }
    attempts: list[dict[str, Any]] = [
        {"attempt": f"att_{lab}", "state": "SUCCEEDED", "charged_ms": 7} for lab in journals
    ]
    ledger: list[dict[str, Any]] = [{"kind": "charge", "cause": f"att_{lab}", "amount_ms": 7} for lab in journals]
    return journals, attempts, [{"kind": "hold", "cause": "stp_1", "amount_ms": 9}, *ledger]


def test_three_exports_that_agree_are_believed() -> None:
    verdict = judge(*exports(), expected_ran=2)
    assert verdict.mismatches == ()
    assert (verdict.started, verdict.ran, verdict.charged, verdict.clusters, verdict.charged_ms) == (2, 2, 2, 2, 14)
    assert verdict.exit_code == 0


def lost_charge(e: Exports) -> None:
    e[2].pop()


def double_charge(e: Exports) -> None:
    e[2].append(e[2][-1])


def wrong_amount(e: Exports) -> None:
    e[2][-1] = {**e[2][-1], "amount_ms": 8}


def double_start(e: Exports) -> None:
    e[0]["north"].append(e[0]["north"][1])


def start_nobody_knows(e: Exports) -> None:
    e[0]["north"].append({"state": "STARTED", "attempt": "att_ghost", "detail": {}})


def ran_without_start(e: Exports) -> None:
    del e[0]["north"][1]


def one_cluster_for_two(e: Exports) -> None:
    e[0]["south"][0]["detail"]["ray_cluster"] = "cluster-north"


def lost_attempt(e: Exports) -> None:
    e[0]["south"].pop(1)
    e[1].pop()
    e[2].pop()


PLANTED = [
    lost_charge,
    double_charge,
    wrong_amount,
    double_start,
    start_nobody_knows,
    ran_without_start,
    one_cluster_for_two,
    lost_attempt,
]


@pytest.mark.parametrize("plant", PLANTED)
def test_each_planted_disagreement_is_found(plant: Any) -> None:
    faulty = copy.deepcopy(exports())
    plant(faulty)
    verdict = judge(*faulty, expected_ran=2)
    assert verdict.mismatches
    assert verdict.exit_code == 1


def test_what_is_in_doubt_is_named_and_is_no_mismatch() -> None:
    journals, attempts, ledger = exports()
    attempts[1] = {**attempts[1], "state": "UNKNOWN", "charged_ms": None}
    verdict = judge(journals, attempts, ledger[:-1], expected_ran=2)
    assert verdict.mismatches == ()
    assert verdict.unknown == ("att_south",)
    assert verdict.exit_code == 5


def row(lab: str, condition: str, value: float | None) -> dict[str, Any]:
    return {"lab": lab, "condition": condition, "output": "toughness", "value": value, "unit": "J"}


def test_labs_are_compared_pair_by_pair_with_an_uncertainty_of_their_own() -> None:
    rows = [row("a", "1", 3.0), row("b", "1", 1.0), row("a", "2", 7.0), row("b", "2", 4.0), row("a", "3", 9.0)]
    found = paired_difference(rows, "a", "b", "toughness")
    assert found is not None
    assert (found.mean, found.n, found.unit) == (2.5, 2, "J")
    assert found.u == pytest.approx(0.5)
    assert "they differ" in found.sentence
    same = paired_difference(
        [row("a", "1", 1.0), row("b", "1", 2.0), row("a", "2", 2.0), row("b", "2", 1.0)], "a", "b", "toughness"
    )
    assert same is not None
    assert "no difference can be seen" in same.sentence


def test_one_pair_says_nothing_about_scatter() -> None:
    assert paired_difference([row("a", "1", 1.0), row("b", "1", 2.0)], "a", "b", "toughness") is None


def test_the_best_row_is_the_largest_that_was_measured() -> None:
    rows = [row("a", "1", 3.0), row("a", "2", None), row("b", "3", 4.0)]
    assert best(rows, "toughness") == rows[2]
    assert best([], "toughness") is None

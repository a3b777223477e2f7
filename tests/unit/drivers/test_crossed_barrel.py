"""The simulated lab stands on the published data, and its seed and its name make it what it is."""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import math
import statistics
import threading
from collections import defaultdict
from importlib.resources import files
from typing import Any

import pytest

from labcommons.node.drivers.simulated import SimulatedDriver
from labcommons.node.simulated.crossed_barrel import ACTION, CrossedBarrel, conditions, expected, pooled_sd
from labcommons.node.simulated.models import model_names, open_model

DATA = files("labcommons.node.simulated").joinpath("data/crossed_barrel")


def arguments(n: float, theta: float, r: float, t: float) -> dict[str, Any]:
    return {
        "n": {"int": int(n)},
        "theta": {"value": str(theta), "unit": "deg"},
        "r": {"value": str(r), "unit": "mm"},
        "t": {"value": str(t), "unit": "mm"},
    }


def test_the_data_are_those_that_were_published_with_licence_and_card() -> None:
    data = DATA.joinpath("Crossed_barrel.csv").read_bytes()
    assert hashlib.sha256(data).hexdigest() == "2c01f875f3c210e986ca6142bf20f417884c2ad7d6f008c2fc574b44a3d5f606"
    assert "MIT License" in DATA.joinpath("LICENSE").read_text()
    card = DATA.joinpath("README.md").read_text()
    assert "10.1126/sciadv.aaz1708" in card
    assert "10.1038/s41524-021-00656-9" in card


def test_the_scatter_is_that_of_the_replicates() -> None:
    """The pooled sd is computed here from the file, not taken from the model."""
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in csv.DictReader(DATA.joinpath("Crossed_barrel.csv").read_text().splitlines()):
        groups[row["n"], row["theta"], row["r"], row["t"]].append(float(row["toughness"]))
    of_data = math.sqrt(statistics.fmean(statistics.variance(g) for g in groups.values()))
    assert pooled_sd() == pytest.approx(of_data)
    of_model = math.sqrt(statistics.fmean(c.sd**2 for c in conditions()))
    assert of_model == pytest.approx(of_data, rel=1e-9)
    assert len(conditions()) == 600


PLACES = conditions()[3::6]
"""A hundred conditions, over the whole range of toughness."""


def test_over_300_runs_of_the_instrument_the_pooled_sd_is_within_a_tenth_of_the_data() -> None:
    """Started, waited for and read like any instrument; three replicates of a hundred conditions."""
    driver = SimulatedDriver(
        {"model": "crossed_barrel", "seed": 7, "lab": "north", "time_scale": "100000000", "remembers": False}
    )
    ended = threading.Event()
    driver.subscribe(lambda event: ended.set() if event.phase == "done" else None)
    variances = []
    for i, condition in enumerate(PLACES):
        values = []
        for k in range(3):
            ended.clear()
            driver.start(f"att_{i}_{k}", "crush", arguments(*condition.at))
            assert ended.wait(10)
            result = driver.status(f"att_{i}_{k}").result
            assert result is not None
            values.append(float(result["outputs"]["toughness"]["value"]))
        variances.append(statistics.variance(values))
    driver.close()
    assert len(variances) == 100
    assert math.sqrt(statistics.fmean(variances)) == pytest.approx(pooled_sd(), rel=0.1)


def test_it_is_so_in_nearly_every_lab() -> None:
    """A pooled sd of 200 degrees of freedom scatters by some per cent itself."""
    ratios = []
    for seed in range(30):
        for name in ("north", "south"):
            lab = CrossedBarrel(seed, name)
            groups = [[lab.reading(arguments(*c.at), f"{i}-{k}", k)[0] for k in range(3)] for i, c in enumerate(PLACES)]
            ratios.append(math.sqrt(statistics.fmean(map(statistics.variance, groups))) / pooled_sd())
    assert statistics.fmean(abs(ratio - 1) <= 0.1 for ratio in ratios) >= 0.93


def test_over_many_seeds_the_scatter_has_no_bias() -> None:
    ratios = []
    for seed in range(40):
        lab = CrossedBarrel(seed, "any")
        squares = []
        for i, c in enumerate(conditions()):
            readings = [lab.reading(arguments(*c.at), f"{i}-{k}")[0] for k in range(2)]
            squares.append((readings[0] - readings[1]) ** 2 / 2)
        ratios.append(math.sqrt(statistics.fmean(squares)) / pooled_sd())
    assert statistics.fmean(ratios) == pytest.approx(1, abs=0.02)


def test_the_mean_is_the_published_one_and_interpolated_between() -> None:
    for c in conditions()[::50]:
        assert expected(*c.at) == (c.mean, c.sd)
    low, high = expected(8, 75, 2.0, 1.05)[0], expected(10, 75, 2.0, 1.05)[0]
    between = expected(9, 75, 2.0, 1.05)[0]
    everything = [c.mean for c in conditions()]
    assert min(everything) <= between <= max(everything)
    assert abs(between - (low + high) / 2) < 15


def test_seed_lab_and_attempt_make_the_reading() -> None:
    where = arguments(8, 75, 2.0, 1.05)
    reading = CrossedBarrel(7, "north").reading(where, "att_1")
    assert reading == CrossedBarrel(7, "north").reading(where, "att_1")
    others = (
        CrossedBarrel(8, "north").reading(where, "att_1"),
        CrossedBarrel(7, "south").reading(where, "att_1"),
        CrossedBarrel(7, "north").reading(where, "att_2"),
    )
    assert all(other[0] != reading[0] for other in others)


def test_each_lab_has_its_offset_drift_and_dead_time() -> None:
    labs = [CrossedBarrel(seed, name) for seed in range(20) for name in ("north", "south")]
    assert len({lab.offset_j for lab in labs}) == 40
    assert all(0.8 <= abs(lab.offset_j) <= 2.4 for lab in labs)
    assert all(20_000 <= lab.dead_ms < 60_000 for lab in labs)
    strong = max(conditions(), key=lambda c: c.mean)
    lab = labs[0]
    first, last = (lab.reading(arguments(*strong.at), "att_1", number)[0] for number in (0, 49))
    assert last - first == pytest.approx(49 * lab.drift_j_per_run)
    assert lab.reading(arguments(*strong.at), "att_1", 50)[0] == first


def test_the_offset_shows_in_the_mean() -> None:
    lab = CrossedBarrel(7, "north")
    strong = [c for c in conditions() if c.mean > 12]
    shifts = [lab.reading(arguments(*c.at), f"{c.at}-{k}")[0] - c.mean for c in strong for k in range(20)]
    assert statistics.fmean(shifts) == pytest.approx(lab.offset_j, abs=0.3)


def test_a_run_takes_about_eight_minutes_of_lab_time() -> None:
    lab = CrossedBarrel(7, "north")
    for n in range(6, 13):
        took = lab.duration_ms("crush", arguments(n, 0, 2, 1.05), f"att_{n}")
        assert 0.7 * ACTION.expected_ms < took <= ACTION.max_ms


def test_the_curve_is_of_this_run_and_says_that_it_is_simulated() -> None:
    lab = CrossedBarrel(7, "north")
    result = lab.measure("crush", arguments(8, 75, 2.0, 1.05), "att_1", 0)
    data = base64.b64decode(result["files"][0]["base64"])
    assert hashlib.sha256(data).hexdigest() == result["files"][0]["sha256"]
    head, names, *rows = data.decode().splitlines()
    assert "simulated" in head
    assert names == "displacement_mm,force_N"
    points = [tuple(map(float, row.split(","))) for row in rows]
    area = sum((x1 - x0) * (f0 + f1) / 2 for (x0, f0), (x1, f1) in itertools.pairwise(points)) / 1000
    assert area == pytest.approx(float(result["outputs"]["toughness"]["value"]), rel=1e-3)
    partial = lab.partial("crush", arguments(8, 75, 2.0, 1.05), "att_1", 0, 0.5)
    assert partial["outputs"] == {}
    assert len(base64.b64decode(partial["files"][0]["base64"])) < len(data)


def test_no_reading_is_negative_and_each_has_its_uncertainty() -> None:
    lab = CrossedBarrel(3, "south")
    for c in conditions()[:120]:
        for k in range(5):
            value, u = lab.reading(arguments(*c.at), f"{c.at}-{k}", k)
            assert value > 0
            assert u >= c.sd


def test_an_unknown_model_is_refused_with_those_that_exist() -> None:
    assert model_names() == ["crossed_barrel"]
    with pytest.raises(ValueError, match="there are: crossed_barrel"):
        open_model("perpetual_motion", 1, "")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "crossed_barrel"}, "memory"),
        ({"model": "crossed_barrel", "remembers": "no"}, "remembers must be"),
        ({"model": "crossed_barrel", "seed": "x"}, "seed must be"),
        ({"model": "crossed_barrel", "remembers": False, "time_scale": 60}, "time_scale must be"),
        ({"model": "crossed_barrel", "remembers": False, "time_scale": "-1"}, "time_scale must be"),
        ({"model": "crossed_barrel", "sede": 1}, "no option 'sede'"),
        ({"model": "crossed_barrel", "remembers": False, "on_disconnect": "weep"}, "on_disconnect"),
    ],
)
def test_wrong_options_are_refused_in_words(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SimulatedDriver(options)

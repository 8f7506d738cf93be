"""The plan of a chaos run: the same for a seed, and a few seeds together meet everything."""

import pytest

from orchestrator_project.crash_points import POINTS
from tests.chaos.plan import CALM_SLOTS, every_kind, plan

SEEDS_TOGETHER = range(1, 6)


def test_a_seed_alone_decides_what_happens():
    assert plan(7, 20) == plan(7, 20)
    assert plan(7, 20) != plan(8, 20)


@pytest.mark.parametrize("slots", [12, 20])
def test_five_seeds_in_a_row_plan_every_kind_of_fault(slots: int):
    planned = set().union(*(plan(seed, slots).kinds() for seed in SEEDS_TOGETHER))
    assert {kind.removesuffix(":whole") for kind in planned} >= every_kind()


@pytest.mark.parametrize("slots", [12, 20])
def test_the_last_slots_are_calm(slots: int):
    for seed in range(50):
        assert max(fault.slot for fault in plan(seed, slots).faults) < slots - CALM_SLOTS


def test_every_clock_step_is_taken_back():
    for seed in range(50):
        steps = [fault.whom for fault in plan(seed, 20).faults if fault.what == "clock"]
        assert steps[-1] == "0"


def test_a_person_always_resumes_what_a_person_has_halted():
    for seed in range(50):
        person = [fault for fault in plan(seed, 20).faults if fault.what == "person"]
        assert [fault.whom for fault in person] in (["halt", "resume"], ["close_all", "resume"])


@pytest.mark.parametrize("point", [point for point in POINTS if "close" in point])
def test_where_a_close_is_to_die_a_person_closes_while_something_is_open(point: str):
    for faults in (plan(seed, 20).faults for seed in range(50)):
        if any(fault.whom.partition(":")[0] == point for fault in faults):
            assert ("close_all", "held") in {(fault.whom, fault.when) for fault in faults}


def test_every_other_seed_has_an_order_whose_sender_dies_while_the_venue_is_silent():
    for seed in range(1, 50, 2):
        faults = plan(seed, 20).faults
        [silence] = [fault for fault in faults if fault.whom == "silence"]
        killed = [fault for fault in faults if fault.whom.startswith("order_on_stream")]
        assert (silence.slot, silence.after_seconds) in {(fault.slot, fault.after_seconds) for fault in killed}

"""New versions of the playbook, who may write over whom (nobody), and which version trades."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from journal.models import ChallengerDecision, PerformanceSnapshot, PlaybookVersion, Promotion
from journal.playbook import Playbook, content, first_playbook, playbook_hash, read_playbook
from journal.playbook_pages import pnl_then
from journal.playbook_versions import (
    Basis,
    Conflict,
    NoVersion,
    PromotionMode,
    Refused,
    active,
    basis,
    challenger,
    find,
    promote,
    reject,
    roll_back,
    save_manual,
    save_reflection,
    standing,
)
from journal.presentation import shown
from journal.services import active_playbook
from tests.integration.admin_rows import row
from tests.integration.decisions.scene import at_once
from tests.integration.journal.playbooks import NOW, by_hand, by_reflection, lessons, seeded, taught
from tests.integration.rewriting import rewriting_the_record

pytestmark = pytest.mark.usefixtures(seeded.__name__)


def versions() -> list[int]:
    return list(PlaybookVersion.objects.order_by("version").values_list("version", flat=True))


def standings() -> dict[int, str]:
    return {each.version: standing(each, active().version) for each in PlaybookVersion.objects.all()}


def save(
    playbook: Playbook, seen: Basis, *, by: str = "ada", reason: str = "it pays", **changes: Any
) -> PlaybookVersion:
    given: dict[str, Any] = {"now": NOW, "promote": True, **changes}
    return save_manual(playbook, basis=seen, by=by, reason=reason, **given)


# --- a person's version -----------------------------------------------------------------------------------------------


def test_a_persons_version_is_the_next_one_and_keeps_who_and_why() -> None:
    written = by_hand("L1")
    assert (written.version, written.triggered_by, written.created_by) == (2, "manual", "ada")
    assert (written.reason, written.change_summary) == ("for L1", "lessons_learned: added L1")
    stored = read_playbook(written.playbook_json)
    assert (stored.version, stored.last_updated, written.content_hash) == (2, NOW, playbook_hash(stored))
    assert active_playbook() == stored
    assert Promotion.objects.latest("id").promoted_by == "ada"


def test_a_version_that_is_not_promoted_waits() -> None:
    by_hand("L1", promote=False)
    assert active().version == 1
    assert standings() == {1: "active", 2: "waiting"}
    promote(2, by="eve", reason="agreed")
    assert standings() == {1: "former", 2: "active"}
    assert not ChallengerDecision.objects.exists()


def test_a_version_written_meanwhile_is_a_conflict_that_says_who_when_and_what() -> None:
    seen, mine = basis(), taught("MINE")
    theirs = by_hand("THEIRS", by="eve")
    with pytest.raises(Conflict) as raised:
        save(mine, seen)
    told = str(raised.value)
    assert f"Version 2 was written meanwhile by eve, {theirs.created_at:%Y-%m-%d %H:%M} UTC: for THEIRS" in told
    assert "What version 2 changes in version 1:\nlessons_learned: added THEIRS" in told
    assert versions() == [1, 2]
    assert lessons(find(2)) == ["THEIRS"]


def test_a_promotion_meanwhile_is_a_conflict_too() -> None:
    by_reflection("L1")
    seen, mine = basis(), taught("MINE")
    promote(2, by="eve", reason="its record is better")
    with pytest.raises(Conflict, match=r"Version 2 was promoted meanwhile by eve, .*: its record is better"):
        save(mine, seen)
    assert versions() == [1, 2]


def test_a_challenger_that_the_author_saw_is_no_conflict() -> None:
    by_reflection("L1")
    assert save(taught("MINE"), basis()).version == 3


def test_a_promotion_ends_the_challengers_made_from_the_version_before() -> None:
    by_reflection("L1")
    by_hand("DRAFT", promote=False)
    assert challenger() is not None
    by_hand("L2", by="eve")
    assert (standings(), challenger()) == ({1: "former", 2: "superseded", 3: "waiting", 4: "active"}, None)
    decided = ChallengerDecision.objects.get()
    assert (decided.decided_by, decided.reason) == (
        "eve",
        "Version 4 was promoted: this one was made from the version before.",
    )
    by_reflection("L3")
    roll_back(1, by="ada", reason="all of it was worse", now=NOW)
    assert standings()[5] == "superseded"


def test_a_version_may_be_edited_from_any_other() -> None:
    by_hand("L1")
    written = save(taught("L2"), basis(edited_from=1))
    assert written.change_summary == "From version 1: lessons_learned: added L1; lessons_learned: added L2"
    with pytest.raises(NoVersion, match="There is no playbook version 9: they go from 1 to 3"):
        basis(edited_from=9)


def test_nothing_changed_is_no_version() -> None:
    unchanged = first_playbook(NOW + timedelta(days=1)).model_copy(update={"version": 7})
    with pytest.raises(Refused, match="Nothing was changed: it says what version 1 says"):
        save(unchanged, basis())
    assert versions() == [1]


def test_a_new_order_is_a_change() -> None:
    first = active_playbook()
    turned = first.model_copy(update={"strategy_definitions": first.strategy_definitions[::-1]})
    assert save(turned, basis()).change_summary == "strategy_definitions: reordered"


@pytest.mark.parametrize(
    ("by", "reason"), [("", "why"), (" ", "why"), ("ada", ""), ("ada", " \n"), ("ada", "x" * 1001)]
)
def test_a_name_and_a_reason_are_needed(by: str, reason: str) -> None:
    with pytest.raises(Refused, match="it is kept"):
        save(taught("L1"), basis(), by=by, reason=reason)
    for deed in (partial(promote, 1), partial(reject, 1), partial(roll_back, 1, now=NOW)):
        with pytest.raises(Refused, match="it is kept"):
            deed(by=by, reason=reason)
    assert (versions(), Promotion.objects.count()) == ([1], 1)


def test_the_performance_of_the_last_day_is_kept_with_it() -> None:
    assert by_hand("L1").performance_at_update is None
    for number, kind in enumerate(["daily", "daily", "hourly"]):
        row(PerformanceSnapshot, number, snapshot_type=kind, total_trades=number)
    kept = by_hand("L2").performance_at_update
    assert (kept["snapshot_type"], kept["total_trades"], kept["total_pnl"]) == ("daily", 1, "1.0000")
    assert kept["period_end"] == "2022-11-01T00:01:00Z"


def test_the_history_says_how_long_a_result_then_took() -> None:
    assert pnl_then(by_hand("L1")) == shown("total_pnl", None, short=True)
    row(PerformanceSnapshot, 1, snapshot_type="daily")
    assert pnl_then(by_hand("L2")).endswith(" in the last day")
    figures = {"total_pnl": "12.5", "period_start": "2026-01-08T10:30:00Z", "period_end": "2026-02-07T10:30:00Z"}
    written = save_reflection(
        taught("L3"), basis=basis(), change_summary="", performance=figures, promotion="manual", now=NOW
    )
    assert pnl_then(written).endswith(" in 30 d 00 h")


# --- reflection's version ---------------------------------------------------------------------------------------------


def test_immediate_lets_reflections_version_trade_at_once() -> None:
    written = by_reflection("L1", promotion="immediate")
    assert (written.triggered_by, written.created_by, written.change_summary) == ("reflection",) * 2 + ("Learnt L1.",)
    assert written.performance_at_update == {"total_pnl": "12.5"}
    assert (active().version, challenger()) == (2, None)


@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_otherwise_it_is_the_challenger(mode: PromotionMode) -> None:
    written = by_reflection("L1", promotion=mode)
    assert (active().version, challenger()) == (1, written)


@pytest.mark.parametrize("mode", ["immediate", "manual"])
def test_a_newer_version_of_reflection_supersedes_the_challenger(mode: PromotionMode) -> None:
    by_reflection("L1")
    newer = by_reflection("L2", promotion=mode)
    decided = ChallengerDecision.objects.get()
    assert (decided.playbook.version, decided.decision, decided.decided_by) == (2, "superseded", "reflection")
    assert standings()[2] == "superseded"
    assert challenger() == (newer if mode == "manual" else None)


def test_reflection_writes_over_nobody_and_loses_nothing() -> None:
    seen, learnt = basis(), taught("LEARNT")
    by_hand("THEIRS", by="eve")
    written = save_reflection(
        learnt, basis=seen, change_summary="Learnt.", performance=None, promotion="immediate", now=NOW
    )
    assert (active().version, challenger()) == (2, written)
    assert lessons(written) == ["LEARNT"]
    assert written.reason.startswith("It was shown version 1. Version 2 was written meanwhile by eve")


def test_what_somebody_wrote_and_nobody_promoted_is_in_nobodys_way() -> None:
    seen, learnt = basis(), taught("LEARNT")
    by_hand("DRAFT", promote=False)
    written = save_reflection(
        learnt, basis=seen, change_summary="Learnt.", performance=None, promotion="immediate", now=NOW
    )
    assert (active(), standings()) == (written, {1: "former", 2: "waiting", 3: "active"})


# --- decisions --------------------------------------------------------------------------------------------------------


def test_a_promoted_challenger_is_approved() -> None:
    by_reflection("L1")
    promotion = promote(2, by="ada", reason="better over 40 trades")
    assert (promotion.promoted_by, promotion.reason) == ("ada", "better over 40 trades")
    decided = find(2).decision
    assert (decided.decision, decided.decided_by, decided.reason) == ("approved", "ada", "better over 40 trades")
    assert (active_playbook().version, challenger()) == (2, None)


def test_a_rejected_challenger_never_trades_by_promotion() -> None:
    by_reflection("L1")
    reject(2, by="ada", reason="one bad week is no ban")
    assert (active().version, challenger(), standings()[2]) == (1, None, "rejected")
    for deed in (promote, reject):
        with pytest.raises(Refused, match=r"Version 2 was rejected by ada, .*one bad week is no ban"):
            deed(2, by="eve", reason="again")
    assert ChallengerDecision.objects.count() == 1
    assert roll_back(2, by="eve", reason="all the same", now=NOW).version == 3
    assert lessons(active()) == ["L1"]


def test_what_trades_or_has_traded_is_not_promoted() -> None:
    by_hand("L1")
    for deed in (promote, reject):
        with pytest.raises(Refused, match="Version 2 is the one that trades already"):
            deed(2, by="ada", reason="again")
        with pytest.raises(Refused, match="Version 1 has traded before: roll back to it"):
            deed(1, by="ada", reason="again")
    assert Promotion.objects.count() == 2


def test_a_roll_back_is_a_new_version_with_the_old_content() -> None:
    by_hand("L1")
    written = roll_back(1, by="ada", reason="it paid less", now=NOW + timedelta(days=1))
    assert (written.version, written.triggered_by, written.created_by) == (3, "manual", "ada")
    assert (written.reason, written.change_summary) == (
        "it paid less",
        "Rolled back from version 2 to version 1.",
    )
    assert content(active_playbook()) == content(first_playbook(NOW))
    assert active_playbook().version == 3
    with pytest.raises(Refused, match="Version 3, which trades now, says what version 1 says"):
        roll_back(1, by="ada", reason="again", now=NOW)


@pytest.mark.parametrize("write", [by_reflection, partial(by_hand, promote=False)])
def test_what_waits_is_promoted_and_not_rolled_back_to(write: Callable[[str], PlaybookVersion]) -> None:
    write("L1")
    with pytest.raises(Refused, match="Version 2 has never traded and waits for its decision: promote it instead"):
        roll_back(2, by="ada", reason="I want it now", now=NOW)
    assert versions() == [1, 2]


def test_an_unreadable_version_that_trades_is_left_by_editing_it_and_by_a_roll_back() -> None:
    by_hand("L1")
    mended = taught("L2")
    for deed in (
        lambda: save(mended, basis()),
        lambda: roll_back(1, by="ada", reason="it cannot be read", now=NOW),
    ):
        with rewriting_the_record():
            PlaybookVersion.objects.filter(version=active().version).update(playbook_json={"version": 2})
        assert deed() == active()
    assert find(3).change_summary.startswith("Version 2 cannot be read any more: last_updated: it is missing")
    assert lessons(find(4)) == []


def test_what_was_promoted_after_the_look_is_a_conflict() -> None:
    looked_at = basis().promotion
    by_reflection("L1")
    by_hand("L2", by="eve")
    with pytest.raises(Conflict, match="Version 3 was promoted meanwhile by eve"):
        promote(2, by="ada", reason="better", seen_promotion=looked_at)
    with pytest.raises(Conflict, match="Version 3 was promoted meanwhile by eve"):
        roll_back(2, by="ada", reason="better", now=NOW, seen_promotion=looked_at)
    assert versions() == [1, 2, 3]


def test_before_the_first_playbook_everything_says_so() -> None:
    with rewriting_the_record():
        Promotion.objects.all().delete()
        PlaybookVersion.objects.all().delete()
    for deed in (basis, active, partial(promote, 1, by="ada", reason="why"), partial(reject, 1, by="a", reason="why")):
        with pytest.raises(NoVersion, match=r"`manage\.py seed` writes the first"):
            deed()


# --- at once, on real Postgres ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(5))
def test_two_people_and_reflection_save_at_once_and_no_text_is_lost(turn: int, transactional_db: None) -> None:
    seen = basis()
    texts = {name: taught(name) for name in ("ADA", "EVE", "LEARNT")}
    learn = partial(
        save_reflection, basis=seen, change_summary="Learnt.", performance=None, promotion="immediate", now=NOW
    )
    deeds: list[Callable[[], object]] = [
        partial(save, texts["ADA"], seen, by="ada"),
        partial(save, texts["EVE"], seen, by="eve"),
        partial(learn, texts["LEARNT"]),
    ]
    raised = at_once(*deeds[turn % 3 :], *deeds[: turn % 3])
    assert all(isinstance(error, Conflict) for error in raised)
    written = {tuple(lessons(each)): each for each in PlaybookVersion.objects.filter(version__gt=1)}
    assert ("LEARNT",) in written
    assert len(written) + len(raised) == 3
    assert versions() == list(range(1, len(written) + 2))
    first = PlaybookVersion.objects.get(version=2)
    assert active() == first
    if first.triggered_by == "manual":
        assert (len(raised), challenger()) == (1, written[("LEARNT",)])
    else:
        assert (len(raised), challenger()) == (2, None)
    for error in raised:
        assert f"Version 2 was written meanwhile by {first.created_by}" in str(error)


@pytest.mark.django_db(transaction=True)
def test_twenty_writers_make_twenty_contiguous_versions(transactional_db: None) -> None:
    seen = basis()
    learn = partial(save_reflection, basis=seen, performance=None, promotion="manual", now=NOW)
    texts = [taught(f"L{number}") for number in range(20)]
    assert at_once(*(partial(learn, text, change_summary="Learnt.") for text in texts)) == []
    assert versions() == list(range(1, 22))
    assert standings()[21] == "challenger"
    assert ChallengerDecision.objects.filter(decision="superseded").count() == 19


@pytest.mark.django_db(transaction=True)
def test_a_challenger_is_decided_once_however_many_decide(transactional_db: None) -> None:
    by_reflection("L1")
    decide = [partial(deed, 2, by=name, reason="why") for name in ("ada", "eve") for deed in (promote, reject)]
    raised = at_once(*decide)
    assert [type(error) for error in raised] == [Refused] * 3
    decided = ChallengerDecision.objects.get()
    assert (active().version == 2) == (decided.decision == "approved")

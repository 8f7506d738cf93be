"""A verdict that was changed, taken out or slipped in is found; one that was not is judged the same again."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from risk import gate
from risk.verification import FIRST_HASH, StoredVerdict, chained_hash, verify
from tests.unit.risk.cases import CALM, LONG, SHORT, inputs

PROPOSALS = (LONG, SHORT, replace(LONG, size_pct=Decimal("0.1")), replace(LONG, stop_loss=None))


def stored(number: int, previous: str, proposal: gate.Proposal, **changes: Any) -> StoredVerdict:
    given = inputs(proposal, **changes)
    verdict = gate.evaluate(**given)
    documents = json.loads(json.dumps({"inputs": gate.inputs_to_dict(**given), "results": verdict.as_dict()}))
    decision_id = UUID(int=number)
    return StoredVerdict(
        number=number,
        decision_id=decision_id,
        symbol=proposal.symbol,
        action=proposal.action,
        approved=verdict.approved,
        outcome=verdict.outcome,
        previous_hash=previous,
        content_hash=chained_hash(previous, decision_id, documents["inputs"], documents["results"]),
        **documents,
    )


def chain(*proposals: gate.Proposal) -> list[StoredVerdict]:
    verdicts: list[StoredVerdict] = []
    for number, proposal in enumerate(proposals, 1):
        previous = verdicts[-1].content_hash if verdicts else FIRST_HASH
        verdicts.append(stored(number, previous, proposal))
    return verdicts


def told(verdicts: list[StoredVerdict], after: str | None = FIRST_HASH) -> list[str]:
    return [str(fault) for fault in verify(verdicts, after=after)]


def changed(verdict: StoredVerdict, change: Callable[[dict[str, Any]], None], *, rehash: bool) -> StoredVerdict:
    """The verdict with its documents changed; with `rehash` by somebody who knows how its hash is made."""
    documents = json.loads(json.dumps({"inputs": verdict.inputs, "results": verdict.results}))
    change(documents)
    content_hash = verdict.content_hash
    if rehash:
        content_hash = chained_hash(verdict.previous_hash, verdict.decision_id, **documents)
    return replace(verdict, **documents, content_hash=content_hash)


@pytest.mark.parametrize("content", [None, [], "x", 7, {}])
@pytest.mark.parametrize("document", ["inputs", "results"])
def test_a_document_that_is_none_any_more_is_a_fault_and_no_error(document: str, content: Any) -> None:
    (verdict,) = chain(LONG)
    assert told([replace(verdict, **{document: content})])


@pytest.mark.parametrize("content", [None, "x", 7])
@pytest.mark.parametrize("name", ["proposal", "account", "positions", "state", "correlations", "instrument", "limits"])
def test_an_input_of_another_shape_is_a_fault_and_no_error(name: str, content: Any) -> None:
    (verdict,) = chain(LONG)
    assert told([changed(verdict, lambda documents: documents["inputs"].update({name: content}), rehash=True)])


def test_what_was_not_touched_is_judged_the_same_again() -> None:
    assert told(chain(*PROPOSALS)) == []


def test_unmeasurable_figures_are_judged_the_same_again() -> None:
    unknown = replace(CALM, peak_equity=Decimal("NaN"))
    assert told([stored(1, FIRST_HASH, LONG, state=unknown, equity="NaN")]) == []


def test_a_verdict_that_was_taken_out_or_moved_breaks_the_chain() -> None:
    one, two, three, four = chain(*PROPOSALS)
    assert told([one, three, four]) == [
        "verdict 3: the chain is broken: the verdict before it was changed, added or taken out"
    ]
    assert len(told([two, one, three, four])) == 3
    assert told([two, three, four], after=None) == []
    assert told([two, three, four], after=one.content_hash) == []


def loosen(documents: dict[str, Any]) -> None:
    documents["inputs"]["limits"]["max_single_trade_pct"] = "0.25"


def approve(documents: dict[str, Any]) -> None:
    documents["results"]["approved"] = True


def enlarge(documents: dict[str, Any]) -> None:
    documents["results"]["contracts"] = "999"


@pytest.mark.parametrize(
    ("change", "path"),
    [(loosen, "approved"), (approve, "approved"), (enlarge, "contracts")],
    ids=["limit", "approval", "size"],
)
@pytest.mark.parametrize("rehash", [False, True])
def test_a_verdict_that_was_changed_is_found_however_it_was_hashed(
    change: Callable[[dict[str, Any]], None], path: str, rehash: bool
) -> None:
    verdicts = chain(*PROPOSALS)
    verdicts[2] = changed(verdicts[2], change, rehash=rehash)
    faults = told(verdicts)
    assert any(f"judged again, {path} is" in fault for fault in faults), faults
    assert any("does not match its hash" in fault for fault in faults) is not rehash
    assert any("verdict 4: the chain is broken" in fault for fault in faults) is rehash


def test_a_column_that_says_something_else_is_found() -> None:
    verdicts = chain(*PROPOSALS)
    verdicts[3] = replace(verdicts[3], approved=True)
    assert told(verdicts) == ["verdict 4: it is listed with approved True, its documents say False"]


@pytest.mark.parametrize("place", ["proposal", "limits", "now"])
def test_inputs_that_cannot_be_read_are_told(place: str) -> None:
    def spoil(documents: dict[str, Any]) -> None:
        documents["inputs"][place] = {"a": 1}

    faults = told([changed(chain(LONG)[0], spoil, rehash=True)])
    assert any("cannot be read" in fault for fault in faults), faults


def test_a_gate_that_judges_otherwise_today_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = chain(*PROPOSALS)
    monkeypatch.setattr(gate, "RULES", tuple(rule for rule in gate.RULES if rule is not gate.trade_size))
    assert any("verdict 3: judged again, approved is True" in fault for fault in told(verdicts))

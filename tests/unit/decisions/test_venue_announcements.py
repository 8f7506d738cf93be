"""What the venue says by a fault plan, of what really happened."""

from collections.abc import Iterable
from typing import Any

from decisions.messages import TRADE_FILLS, TRADE_POSITIONS, FundingPayment, Message, PositionUpdate, TradeFill
from decisions.sandbox.venue import Announcement, FaultPlan, Occasion, announcements
from tests.unit.decisions.venue_scene import BAR, BTC, ETH, START, D, Scene, quote

Pairs = list[tuple[str, Message]]


def _pairs(messages: Iterable[Message]) -> Pairs:
    return [(TRADE_POSITIONS if isinstance(each, PositionUpdate) else TRADE_FILLS, each) for each in messages]


def _occasion(scene: Scene | None = None, **changes: Any) -> Occasion:
    quotes = scene.account.state.quotes if scene else {}
    plain: dict[str, Any] = {"replies": (), "number": 0, "quotes": quotes, "before": None, "heartbeat": False}
    return Occasion(**({"account_id": "test"} | plain | changes))


def _said(messages: Iterable[Message], occasion: Occasion | None = None, **plan: Any) -> list[Announcement]:
    return list(announcements(FaultPlan.model_validate(plan), occasion or _occasion(), _pairs(messages)))


def _update(scene: Scene) -> PositionUpdate:
    return scene.account.position_update(scene.now)


def _funding() -> FundingPayment:
    return FundingPayment(
        funding_id="test-funding-9", symbol=BTC, pos_side="long", amount_usd=D(1), rate=D("0.0001"), paid_at=START
    )


def test_a_quiet_plan_says_everything_at_once_and_once() -> None:
    scene = Scene()
    messages = [scene.fill(), _funding(), _update(scene)]
    assert _said(messages) == [Announcement(stream, message) for stream, message in _pairs(messages)]


def test_fills_and_funding_are_dropped_and_updates_never() -> None:
    scene = Scene()
    fill, update = scene.fill(), _update(scene)
    assert [each.message for each in _said([fill, _funding(), update], drop_fill=1)] == [update]
    assert update.recent_fills == (fill,)


def test_a_message_is_befallen_by_what_it_is_and_not_by_its_company() -> None:
    scene = Scene()
    fills = [scene.fill("OPEN_LONG", 10)] + [scene.fill("ADD", 1) for _ in range(30)]
    together = [each.message for each in _said(fills, seed=3, drop_fill=0.5)]
    singly = [each.message for fill in fills for each in _said([fill], seed=3, drop_fill=0.5)]
    assert together == singly
    assert 5 < len(together) < 26


def test_the_account_s_name_plays_no_part() -> None:
    scene = Scene()
    fills = [scene.fill("OPEN_LONG", 10)] + [scene.fill("ADD", 1) for _ in range(30)]
    renamed = [fill.model_copy(update={"fill_id": fill.fill_id.replace("test", "other")}) for fill in fills]
    told = [each.message for each in _said(renamed, _occasion(account_id="other"), drop_fill=0.5)]
    assert [each.message for each in _said(fills, drop_fill=0.5)] == [fills[renamed.index(one)] for one in told]  # type: ignore[arg-type]


def test_delayed_reordered_and_duplicated_fills() -> None:
    fill = Scene().fill()
    assert _said([fill], delay_fill={"share": 1, "seconds": 3}) == [Announcement(TRADE_FILLS, fill, held_seconds=3)]
    assert _said([fill], reorder_fills={"share": 1, "seconds": 2}) == [
        Announcement(TRADE_FILLS, fill, held_seconds=2, overtaken=True)
    ]
    assert _said([fill], duplicate_fill=1) == [Announcement(TRADE_FILLS, fill, again="new_id")]
    assert _said([fill], duplicate_fill={"share": 1, "same_message": 1}) == [
        Announcement(TRADE_FILLS, fill, again="same_id")
    ]


def test_a_lost_reply_takes_the_answer_to_an_order_and_nothing_else() -> None:
    scene = Scene()
    accepted = scene.fill(limit_price=19500)
    (filled,) = scene.bar(20000, 20000, 19000, 19600)
    refused = scene.fill("OPEN_LONG", "0.001")
    assert isinstance(filled, TradeFill)
    occasion = _occasion(replies={accepted.fill_id, refused.fill_id})
    assert [each.message for each in _said([accepted, filled, refused], occasion, lose_reply=1)] == [filled, refused]


def test_all_parts_of_a_market_order_are_lost_with_its_reply() -> None:
    scene = Scene()
    scene.account.faults = FaultPlan.model_validate({"partial_fill": {"share": 1, "cancel_rest": 1}})
    reports = scene.send("OPEN_LONG", 9)
    replies = {report.fill_id for report in reports if isinstance(report, TradeFill)}
    assert len(replies) > 1
    assert _said(reports, _occasion(replies=replies), lose_reply=1) == []


# --- positions ----------------------------------------------------------------------------------------------------


def test_a_late_update_is_held_back_but_a_heartbeat_never() -> None:
    update, lag = _update(Scene()), {"share": 1, "seconds": 4}
    assert _said([update], lag_positions=lag) == [Announcement(TRADE_POSITIONS, update, held_seconds=4)]
    assert _said([update], _occasion(heartbeat=True), lag_positions=lag) == [Announcement(TRADE_POSITIONS, update)]


def test_the_state_before_a_change_is_repeated_only_as_of_the_same_bar() -> None:
    scene, lag = Scene(), {"share": 1, "seconds": 4, "repeat": 1}
    first = _update(scene)
    scene.fill()
    second = _update(scene)
    scene.fill("ADD", 1)
    third = _update(scene)
    scene.bar(20000, 20000, 20000, 20000)
    fourth = _update(scene)
    said = _said([second, third, fourth], _occasion(before=first), lag_positions=lag)
    assert [each.message for each in said] == [first, second, fourth]
    assert [each.held_seconds for each in said] == [0, 0, 4]
    assert _said([second], lag_positions=lag) == [Announcement(TRADE_POSITIONS, second, held_seconds=4)]


def _with_eth() -> Scene:
    """Long 10 contracts of one instrument; another is quoted and not held."""
    scene = Scene()
    scene.account.on_bar(quote(START, 1500, ETH))
    scene.fill("OPEN_LONG", 10, stop_loss=19000)
    return scene


def _positions(update: Message) -> dict[str, Any]:
    assert isinstance(update, PositionUpdate)
    return {position.symbol: position.size for position in update.positions}


def test_an_update_disagrees_by_one_position_missing_of_another_size_or_invented() -> None:
    scene, seen = _with_eth(), set()
    truth = _update(scene)
    for number in range(60):
        occasion = _occasion(scene, number=number)
        (said,) = _said([truth], occasion, disagree_positions={"share": 1, "messages": 1})
        assert isinstance(said.message, PositionUpdate)
        assert said.message.model_copy(update={"positions": truth.positions}) == truth
        seen.add(tuple(_positions(said.message).items()))
        PositionUpdate.model_validate_json(said.message.model_dump_json())
    assert seen == {(), ((BTC, D(20)),), ((BTC, D(10)), (ETH, D("0.01")))}


def test_a_disagreement_lasts_for_its_stretch_of_messages() -> None:
    scene = _with_eth()
    truth, plan = _update(scene), {"seed": 2, "disagree_positions": {"share": 0.5, "messages": 5}}
    said = [_positions(_said([truth], _occasion(scene, number=number), **plan)[0].message) for number in range(100)]
    stretches = [said[start : start + 5] for start in range(0, 100, 5)]
    assert all(stretch == [stretch[0]] * 5 for stretch in stretches)
    assert 3 < sum(stretch[0] != _positions(truth) for stretch in stretches) < 17


def test_what_is_not_held_nor_quoted_cannot_disagree() -> None:
    update = _update(Scene())
    assert _said([update], disagree_positions={"share": 1, "messages": 3}) == [Announcement(TRADE_POSITIONS, update)]


def test_each_update_of_a_batch_is_befallen_by_its_own_number() -> None:
    scene = Scene()
    updates = [scene.account.position_update(START + number * BAR) for number in range(40)]
    lag = {"lag_positions": {"share": 0.5, "seconds": 1}}
    singly = [_said([each], _occasion(number=number), **lag)[0] for number, each in enumerate(updates)]
    assert _said(updates, **lag) == singly
    assert 0 < sum(each.held_seconds > 0 for each in singly) < 40

"""What goes out of the alerts that wait: the gravest first, the same once, a storm as one, nothing that is too old."""

from datetime import UTC, datetime, timedelta

from decisions.alerts_out.plan import AGAIN_AFTER, MOST_A_MINUTE, OLDEST, STORM, Outgoing, Plan, Waiting, plan

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def waiting(
    number: int, severity: str = "WARN", category: str = "order_unknown", about: str = "", age: int = 0
) -> Waiting:
    return Waiting(
        delivery=number,
        msg_id=f"m{number}",
        severity=severity,
        category=category,
        about=about or str(number),
        title=f"Title {number}",
        detail=f"Detail {number}",
        action_taken="None",
        told_at=NOW - timedelta(seconds=age),
    )


def planned(*alerts: Waiting, told: tuple[tuple[str, str], ...] = (), sent: int = 0) -> Plan:
    return plan(alerts, told_of_late=told, sent_in_the_last_minute=sent, now=NOW)


def deliveries(found: Plan) -> list[tuple[int, ...]]:
    return [message.deliveries for message in found.messages]


def test_the_gravest_goes_first_then_the_oldest() -> None:
    found = planned(waiting(1, "INFO"), waiting(2), waiting(3, age=60), waiting(4, "CRITICAL"))
    assert deliveries(found) == [(4,), (3,), (2,), (1,)]


def test_the_same_several_times_is_one_message_that_says_how_often() -> None:
    found = planned(waiting(1, about="BTC"), waiting(2, about="BTC"), waiting(3, about="ETH"))
    assert deliveries(found) == [(1, 2), (3,)]
    assert [message.title for message in found.messages] == ["Title 1 (2 times)", "Title 3"]


def test_what_was_told_a_moment_ago_is_counted_and_not_repeated() -> None:
    found = planned(waiting(1, about="BTC"), waiting(2, about="ETH"), told=(("order_unknown", "BTC"),))
    assert (deliveries(found), found.counted) == ([(2,)], (1,))
    assert AGAIN_AFTER < OLDEST


def test_what_is_too_old_is_not_told_late() -> None:
    limit = int(OLDEST.total_seconds())
    found = planned(waiting(1, age=limit), waiting(2, age=limit + 1))
    assert (deliveries(found), found.too_old) == ([(1,)], (2,))


def test_a_few_go_out_one_by_one_and_one_more_makes_a_summary() -> None:
    few = [waiting(number) for number in range(STORM)]
    assert len(planned(*few).messages) == STORM
    (summary,) = planned(*few, waiting(99, "CRITICAL")).messages
    assert summary.is_summary
    assert len(summary.deliveries) == STORM + 1
    assert summary.severity == "CRITICAL"
    assert summary.title == f"{STORM + 1} alerts at once: 1 CRITICAL, {STORM} WARN"
    assert summary.text.splitlines()[0] == "CRITICAL order_unknown: Title 99"


def test_a_storm_of_one_kind_is_short_and_says_what_it_leaves_out() -> None:
    (summary,) = planned(*(waiting(number) for number in range(200))).messages
    assert len(summary.text.splitlines()) == 13
    assert summary.text.endswith("and 188 more, see the admin")


def test_what_has_no_room_in_this_minute_waits() -> None:
    found = planned(waiting(1), waiting(2), waiting(3), sent=MOST_A_MINUTE - 1)
    assert (deliveries(found), found.counted, found.too_old) == ([(1,)], (), ())
    assert planned(waiting(1), sent=MOST_A_MINUTE + 5).messages == ()


def test_one_alert_tells_what_was_done_about_it() -> None:
    message = Outgoing(alerts=(waiting(1),), is_summary=False)
    assert (message.title, message.text) == ("Title 1", "Detail 1\nDone: None")

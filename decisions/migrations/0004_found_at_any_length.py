from django.db import migrations, models
from django.db.models import Q

LIVE = ["pending", "sent", "accepted", "partially_filled", "unknown"]

ENDED_HAS_TIME = """
UPDATE orders SET ended_at = coalesce(sent_at, created_at)
WHERE status IN ('filled', 'rejected', 'cancelled', 'expired') AND ended_at IS NULL;
UPDATE orders SET ended_at = NULL
WHERE status NOT IN ('filled', 'rejected', 'cancelled', 'expired') AND ended_at IS NOT NULL;
"""

# What the day's calls have cost is read from an index alone, but only of pages that a vacuum has seen; left to
# itself that comes when the table has grown by a fifth.
VACUUMED_EACH_DAY = """
ALTER TABLE model_calls SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 2000)
"""
VACUUMED_AS_USUAL = """
ALTER TABLE model_calls RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("decisions", "0003_orders_and_fills_under_faults"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="decisioncycle", name="cycle_one_open"),
        migrations.RemoveIndex(model_name="decisioncycle", name="idx_cycle_open"),
        migrations.AddConstraint(
            model_name="decisioncycle",
            constraint=models.UniqueConstraint(
                fields=("instrument",), condition=Q(finished_at__isnull=True), name="cycle_one_open"
            ),
        ),
        migrations.AddIndex(
            model_name="decisioncycle", index=models.Index(fields=["finished_at"], name="idx_cycle_finished")
        ),
        migrations.RunSQL(ENDED_HAS_TIME, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=Q(status__in=LIVE, ended_at__isnull=True) | (~Q(status__in=LIVE) & Q(ended_at__isnull=False)),
                name="order_ended_has_time",
            ),
        ),
        migrations.RemoveIndex(model_name="order", name="idx_order_symbol"),
        migrations.AddIndex(model_name="order", index=models.Index(fields=["symbol", "-id"], name="idx_order_symbol")),
        migrations.RemoveIndex(model_name="fill", name="idx_fill_symbol"),
        migrations.AddIndex(model_name="fill", index=models.Index(fields=["symbol", "-id"], name="idx_fill_symbol")),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["symbol"], condition=Q(ended_at__isnull=True), name="idx_order_live"),
        ),
        migrations.AddIndex(model_name="ordertransition", index=models.Index(fields=["at"], name="idx_transition_at")),
        migrations.AddIndex(
            model_name="marketalertrecord",
            index=models.Index(fields=["received_at"], name="idx_market_alert_received"),
        ),
        migrations.AddIndex(model_name="outboxmessage", index=models.Index(fields=["sent_at"], name="idx_outbox_sent")),
        migrations.RunSQL(VACUUMED_EACH_DAY, VACUUMED_AS_USUAL),
        migrations.AddIndex(
            model_name="decisioncycle",
            index=models.Index(fields=["slot_at"], condition=Q(shadow_audit=True), name="idx_cycle_audit"),
        ),
        migrations.AddIndex(
            model_name="decisioncycle",
            index=models.Index(fields=["slot_at"], condition=Q(round=2), name="idx_cycle_second_round"),
        ),
        migrations.AddIndex(
            model_name="decisioncycle",
            index=models.Index(
                fields=["openings_blocked", "slot_at"], condition=~Q(openings_blocked=""), name="idx_cycle_blocked"
            ),
        ),
        migrations.AddIndex(
            model_name="modelcall",
            index=models.Index(fields=["outcome", "id"], condition=~Q(outcome="ok"), name="idx_call_trouble"),
        ),
        migrations.AddIndex(
            model_name="modelcall",
            index=models.Index(fields=["id"], condition=Q(shadow=True), name="idx_call_shadow"),
        ),
        migrations.AddIndex(
            model_name="modelcall", index=models.Index(fields=["purpose", "id"], name="idx_call_purpose")
        ),
        migrations.AddIndex(
            model_name="modelcall",
            index=models.Index(fields=["source", "id"], condition=~Q(source="live"), name="idx_call_not_live"),
        ),
        migrations.AddIndex(
            model_name="screenerlog", index=models.Index(fields=["symbol", "id"], name="idx_screener_symbol")
        ),
        migrations.AddIndex(
            model_name="screenerlog",
            index=models.Index(fields=["opus_action", "id"], condition=~Q(opus_action=""), name="idx_screener_opus"),
        ),
        migrations.AddIndex(
            model_name="screenerlog",
            index=models.Index(fields=["id"], condition=Q(opus_agreed=False), name="idx_screener_disagreed"),
        ),
    ]

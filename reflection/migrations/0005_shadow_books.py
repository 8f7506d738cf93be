import django.db.models.deletion
from django.db import migrations, models

from journal.append_only import append_only


class Migration(migrations.Migration):
    dependencies = [
        ("decisions", "0003_orders_and_fills_under_faults"),
        ("reflection", "0004_append_only"),
    ]

    operations = [
        migrations.DeleteModel(name="ShadowTrade"),  # nothing has ever been written to it
        migrations.CreateModel(
            name="ShadowContest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("challenger_version", models.IntegerField()),
                ("champion_version", models.IntegerField()),
                (
                    "start_equity",
                    models.DecimalField(
                        decimal_places=4, help_text="Of both books: the account's then.", max_digits=20
                    ),
                ),
                ("started_at", models.DateTimeField(help_text="Market time.")),
                (
                    "played_until",
                    models.DateTimeField(help_text="How far the books have been brought, market time.", null=True),
                ),
                ("books", models.JSONField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "shadow_contests",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("challenger_version", "champion_version"), name="shadow_contest_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ShadowLook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveSmallIntegerField()),
                (
                    "verdict",
                    models.CharField(
                        choices=[("better", "Better"), ("worse", "Worse"), ("undecided", "Undecided")], max_length=10
                    ),
                ),
                ("level", models.FloatField(help_text="The p-value at which the difference counts as beyond chance.")),
                ("net_better", models.FloatField(help_text="p-value of the challenger's higher net result.")),
                ("net_worse", models.FloatField(help_text="p-value of its lower net result.")),
                ("calibration_better", models.FloatField(help_text="p-value of its lower Brier score.", null=True)),
                ("days", models.IntegerField(help_text="Market days on which the records differ.")),
                ("record", models.JSONField(help_text="The figures of both records then.")),
                ("as_of", models.DateTimeField(help_text="Market time.")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "contest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="looks", to="reflection.shadowcontest"
                    ),
                ),
            ],
            options={
                "db_table": "shadow_looks",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("verdict__in", ["better", "worse", "undecided"])), name="shadow_verdict"
                    ),
                    models.UniqueConstraint(fields=("contest", "number"), name="shadow_look_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ShadowQuestion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("snapshot_at", models.DateTimeField(help_text="Market time of the snapshot that it is about.")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("answered", "Answered"),
                            ("followed", "Followed"),
                            ("left_out", "Left Out"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True, help_text="Why it was left out.")),
                ("claimed_until", models.DateTimeField(help_text="Somebody is asking, wall time.", null=True)),
                ("answer", models.JSONField(help_text="The challenger's.", null=True)),
                (
                    "consequences",
                    models.JSONField(help_text="What became of each answer in its book, by role.", null=True),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "contest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="questions",
                        to="reflection.shadowcontest",
                    ),
                ),
                (
                    "cycle",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shadow_questions",
                        to="decisions.decisioncycle",
                    ),
                ),
            ],
            options={
                "db_table": "shadow_questions",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status__in", ["waiting", "answered"])),
                        fields=["contest", "snapshot_at"],
                        name="idx_shadow_due",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["waiting", "answered", "followed", "left_out"])),
                        name="shadow_question_status",
                    ),
                    models.UniqueConstraint(fields=("contest", "cycle"), name="shadow_asked_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ShadowTrade",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(choices=[("challenger", "Challenger"), ("champion", "Champion")], max_length=10),
                ),
                ("playbook_version", models.IntegerField()),
                ("cycle_number", models.BigIntegerField()),
                ("symbol", models.CharField(max_length=30)),
                ("direction", models.CharField(max_length=5)),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                ("strategy", models.CharField(blank=True, max_length=50)),
                ("regime", models.CharField(blank=True, max_length=20)),
                ("confidence", models.DecimalField(decimal_places=3, max_digits=4)),
                ("entry_price", models.DecimalField(decimal_places=8, max_digits=20)),
                ("exit_price", models.DecimalField(decimal_places=8, max_digits=20, null=True)),
                ("stop_loss", models.DecimalField(decimal_places=8, max_digits=20, null=True)),
                ("take_profit", models.DecimalField(decimal_places=8, max_digits=20, null=True)),
                ("size", models.DecimalField(decimal_places=8, max_digits=20)),
                ("entry_notional_usd", models.DecimalField(decimal_places=4, max_digits=20)),
                ("gross_pnl_usd", models.DecimalField(decimal_places=4, max_digits=20)),
                ("fees_usd", models.DecimalField(decimal_places=4, max_digits=20)),
                ("funding_usd", models.DecimalField(decimal_places=4, max_digits=20)),
                ("pnl_usd", models.DecimalField(decimal_places=4, max_digits=20, null=True)),
                ("exit_reason", models.CharField(blank=True, max_length=30)),
                (
                    "contest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="trades",
                        to="reflection.shadowcontest",
                    ),
                ),
            ],
            options={
                "db_table": "shadow_trades",
                "indexes": [models.Index(fields=["playbook_version"], name="idx_shadow_playbook")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("direction__in", ["LONG", "SHORT"])), name="shadow_direction"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["challenger", "champion"])), name="shadow_role"
                    ),
                    models.UniqueConstraint(fields=("contest", "role", "cycle_number"), name="shadow_once_a_cycle"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("closed_at__isnull", True), ("exit_reason", ""), ("pnl_usd__isnull", True)),
                            models.Q(
                                ("closed_at__isnull", False),
                                ("exit_price__isnull", False),
                                ("pnl_usd__isnull", False),
                                models.Q(("exit_reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="shadow_closed_completely",
                    ),
                ],
            },
        ),
        append_only("shadow_looks"),
    ]

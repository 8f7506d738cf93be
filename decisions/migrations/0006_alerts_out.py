import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("decisions", "0005_append_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="outboxmessage",
            name="repeated",
            field=models.PositiveIntegerField(default=0, help_text="How often the same came again and was not told."),
        ),
        migrations.CreateModel(
            name="AlertDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "channel",
                    models.CharField(choices=[("telegram", "Telegram"), ("webhook", "Webhook")], max_length=10),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("sent", "Sent"),
                            ("counted", "counted in another"),
                            ("given_up", "Given Up"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_try_at", models.DateTimeField(help_text="Not before; none: at once.", null=True)),
                ("error", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "alert",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="decisions.outboxmessage",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "alert deliveries",
                "db_table": "alert_deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("ended_at__isnull", True)), fields=["channel"], name="idx_delivery_pending"
                    ),
                    models.Index(fields=["channel", "ended_at"], name="idx_delivery_ended"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("alert", "channel"), name="delivery_once"),
                    models.CheckConstraint(
                        condition=models.Q(("channel__in", ["telegram", "webhook"])), name="delivery_channel"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["pending", "sent", "counted", "given_up"])),
                        name="delivery_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at__isnull", True), ("state", "pending")),
                            models.Q(models.Q(("state", "pending"), _negated=True), ("ended_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="delivery_end",
                    ),
                ],
            },
        ),
    ]

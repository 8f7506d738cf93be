from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("risk", "0001_initial"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="riskstate",
            options={
                "permissions": (
                    ("halt_trading", "Can halt trading and close every position"),
                    ("resume_trading", "Can resume trading and re-base the peak"),
                )
            },
        ),
        migrations.AddField(
            model_name="riskstate",
            name="streak_from",
            field=models.DateTimeField(help_text="Trades closed up to then count in no streak any more.", null=True),
        ),
        migrations.CreateModel(
            name="RiskAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account", models.CharField(max_length=50)),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("halt", "Halt"),
                            ("resume", "Resume"),
                            ("rebase_peak", "Rebase Peak"),
                            ("close_all", "Close All"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[("stream", "Stream"), ("admin", "Admin"), ("command", "Command")], max_length=10
                    ),
                ),
                ("by", models.CharField(max_length=150)),
                ("reason", models.TextField()),
                ("detail", models.TextField(blank=True, help_text="What it changed.")),
                ("market_time", models.DateTimeField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "risk_actions",
                "indexes": [
                    models.Index(
                        models.OrderBy(models.F("created_at"), descending=True), name="idx_risk_action_created"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("action__in", ["halt", "resume", "rebase_peak", "close_all"])),
                        name="risk_action",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["stream", "admin", "command"])), name="risk_action_source"
                    ),
                ],
            },
        ),
    ]

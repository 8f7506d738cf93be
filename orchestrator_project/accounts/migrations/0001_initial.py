from django.db import migrations, models

from journal.append_only import append_only


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("journal", "0005_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="AccountEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("username", models.CharField(help_text="As it was typed.", max_length=150)),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("signed_in", "Signed In"),
                            ("verified", "Verified"),
                            ("signed_out", "Signed Out"),
                            ("refused", "Refused"),
                            ("locked_out", "Locked Out"),
                            ("factor_enrolled", "Factor Enrolled"),
                            ("codes_written", "Codes Written"),
                            ("factor_removed", "Factor Removed"),
                            ("password_set", "Password Set"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "by",
                    models.CharField(blank=True, help_text="Who did it, where it was somebody else.", max_length=150),
                ),
                ("detail", models.TextField(blank=True)),
                ("address", models.GenericIPAddressField(null=True)),
                ("user_agent", models.CharField(blank=True, max_length=255)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "account_events",
                "indexes": [
                    models.Index(
                        models.OrderBy(models.F("created_at"), descending=True), name="idx_account_event_created"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "event__in",
                                [
                                    "signed_in",
                                    "verified",
                                    "signed_out",
                                    "refused",
                                    "locked_out",
                                    "factor_enrolled",
                                    "codes_written",
                                    "factor_removed",
                                    "password_set",
                                ],
                            )
                        ),
                        name="account_event",
                    )
                ],
            },
        ),
        append_only("account_events"),
        append_only("django_admin_log"),
    ]

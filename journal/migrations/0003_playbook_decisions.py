import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0002_stop_lost_at"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="playbookversion",
            options={
                "permissions": (
                    ("edit_playbook", "Can write a new version of the playbook"),
                    ("promote_playbook", "Can promote, reject and roll back versions of the playbook"),
                )
            },
        ),
        migrations.AddField(
            model_name="playbookversion",
            name="created_by",
            field=models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AddField(
            model_name="playbookversion",
            name="reason",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.CreateModel(
            name="ChallengerDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "decision",
                    models.CharField(
                        choices=[("approved", "Approved"), ("rejected", "Rejected"), ("superseded", "Superseded")],
                        max_length=10,
                    ),
                ),
                ("decided_by", models.CharField(max_length=150)),
                ("reason", models.TextField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "playbook",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="journal.playbookversion",
                    ),
                ),
            ],
            options={
                "db_table": "playbook_decisions",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("decision__in", ["approved", "rejected", "superseded"])),
                        name="playbook_decision",
                    )
                ],
            },
        ),
    ]

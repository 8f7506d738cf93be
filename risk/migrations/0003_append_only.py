from django.db import migrations, models

from journal.append_only import append_only, fixed_but


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0005_append_only"),
        ("risk", "0002_people_act"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="riskaction", name="risk_action"),
        migrations.AlterField(
            model_name="riskaction",
            name="action",
            field=models.CharField(
                choices=[
                    ("halt", "Halt"),
                    ("resume", "Resume"),
                    ("rebase_peak", "Rebase Peak"),
                    ("close_all", "Close All"),
                    ("lift_block", "Lift Block"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="riskaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("action__in", ["halt", "resume", "rebase_peak", "close_all", "lift_block"])),
                name="risk_action",
            ),
        ),
        append_only("risk_verdicts"),
        append_only("risk_rejections"),
        append_only("risk_actions"),
        fixed_but("risk_halts", "ended_at", "ended_by", "end_reason", until="ended_at"),
    ]

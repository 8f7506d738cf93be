from django.db import migrations, models


def name_the_source(apps, _schema_editor):
    apps.get_model("decisions", "ModelCall").objects.filter(offline=True).update(source="offline")


def take_the_source_back(apps, _schema_editor):
    apps.get_model("decisions", "ModelCall").objects.exclude(source="live").update(offline=True)


class Migration(migrations.Migration):
    dependencies = [
        ("decisions", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="CalendarFeed",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=50, unique=True)),
                ("tried_at", models.DateTimeField()),
                ("fetched_at", models.DateTimeField(help_text="When it last answered with events.", null=True)),
                (
                    "error",
                    models.TextField(
                        blank=True, help_text="Why the newest try failed; the events of the last good one stay."
                    ),
                ),
            ],
            options={
                "db_table": "calendar_feeds",
            },
        ),
        migrations.CreateModel(
            name="ModelStatus",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("model", models.CharField(max_length=100, unique=True)),
                (
                    "lifecycle",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("deprecated", "Deprecated"),
                            ("retired", "Retired"),
                            ("unknown", "Unknown"),
                        ],
                        max_length=20,
                    ),
                ),
                ("retires_at", models.DateTimeField(null=True)),
                ("detail", models.TextField(blank=True)),
                ("checked_at", models.DateTimeField(help_text="When the API last answered about it, wall time.")),
            ],
            options={
                "verbose_name_plural": "model status",
                "db_table": "model_status",
            },
        ),
        migrations.AddField(
            model_name="decisioncycle",
            name="warnings",
            field=models.TextField(blank=True, help_text="What was wrong with the decision without stopping it."),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="http_status",
            field=models.PositiveSmallIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="source",
            field=models.CharField(
                choices=[("live", "Live"), ("offline", "Offline"), ("replay", "Replay")], default="live", max_length=10
            ),
        ),
        migrations.RunPython(name_the_source, take_the_source_back),
        migrations.RemoveField(
            model_name="modelcall",
            name="offline",
        ),
        migrations.AddField(
            model_name="scheduledevent",
            name="manual",
            field=models.BooleanField(default=False, help_text="Entered or changed by a person: no feed replaces it."),
        ),
        migrations.AddConstraint(
            model_name="modelcall",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", ["live", "offline", "replay"])), name="call_source"
            ),
        ),
        migrations.AddConstraint(
            model_name="modelstatus",
            constraint=models.CheckConstraint(
                condition=models.Q(("lifecycle__in", ["active", "deprecated", "retired", "unknown"])),
                name="model_lifecycle",
            ),
        ),
    ]

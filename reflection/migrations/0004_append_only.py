from django.db import migrations

from journal.append_only import append_only


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0005_append_only"),
        ("reflection", "0002_work_of_reflection"),
    ]

    operations = [
        append_only("reflection_logs"),
    ]

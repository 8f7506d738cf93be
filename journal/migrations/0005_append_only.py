from django.db import migrations

from journal.append_only import FUNCTION, append_only


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0003_playbook_decisions"),
    ]

    operations = [
        FUNCTION,
        append_only("playbook_versions"),
        append_only("playbook_promotions"),
        append_only("playbook_decisions"),
        append_only("performance_snapshots"),
    ]

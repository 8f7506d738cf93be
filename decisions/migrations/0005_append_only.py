from django.db import migrations

from journal.append_only import append_only, fixed_but


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0005_append_only"),
        ("decisions", "0004_found_at_any_length"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="instrumentblock",
            options={"permissions": (("lift_block", "Can lift the block of an instrument"),)},
        ),
        fixed_but("model_calls", "outcome", "error"),
        append_only("order_transitions"),
        append_only("system_commands"),
        append_only("screener_switches"),
        fixed_but("instrument_blocks", "ended_at", "ended_by", until="ended_at"),
    ]

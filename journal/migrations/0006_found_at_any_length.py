from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0004_notes_and_tags"),
        ("journal", "0005_append_only"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="trade",
            index=models.Index(fields=["symbol", "-opened_at"], name="idx_trades_symbol_opened"),
        ),
        migrations.AddIndex(model_name="trade", index=models.Index(fields=["decision_id"], name="idx_trades_decision")),
        migrations.RemoveConstraint(model_name="trade", name="trades_one_open_per_symbol"),
        migrations.AddConstraint(
            model_name="trade",
            constraint=models.UniqueConstraint(
                fields=("symbol",), condition=Q(closed_at__isnull=True), name="trades_one_open_per_symbol"
            ),
        ),
    ]

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

from journal.append_only import append_only, fixed_but


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0005_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="TradeNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("author", models.CharField(max_length=150)),
                ("text", models.CharField(max_length=5000)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "trade",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="notes", to="journal.trade"
                    ),
                ),
            ],
            options={
                "db_table": "trade_notes",
                "permissions": (("annotate_trade", "Can write notes about trades and set their tags"),),
                "constraints": [
                    models.CheckConstraint(condition=Q(text__regex=r"\S"), name="note_text"),
                    models.CheckConstraint(condition=~Q(author=""), name="note_author"),
                ],
            },
        ),
        migrations.CreateModel(
            name="TradeTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tag", models.CharField(max_length=30)),
                ("added_by", models.CharField(max_length=150)),
                ("added_at", models.DateTimeField(auto_now_add=True)),
                ("removed_by", models.CharField(blank=True, max_length=150)),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "trade",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tags", to="journal.trade"
                    ),
                ),
            ],
            options={
                "db_table": "trade_tags",
                "indexes": [
                    models.Index(condition=Q(removed_at__isnull=True), fields=["tag"], name="idx_tag_standing")
                ],
                "constraints": [
                    models.CheckConstraint(condition=Q(tag__regex=r"^[a-z0-9][a-z0-9-]*$"), name="tag_word"),
                    models.CheckConstraint(
                        condition=Q(removed_at__isnull=True, removed_by="")
                        | Q(removed_at__isnull=False) & ~Q(removed_by=""),
                        name="tag_removed_by_somebody",
                    ),
                    models.UniqueConstraint(
                        condition=Q(removed_at__isnull=True), fields=("trade", "tag"), name="tag_once_a_trade"
                    ),
                ],
            },
        ),
        append_only("trade_notes"),
        fixed_but("trade_tags", "removed_by", "removed_at", until="removed_at"),
    ]

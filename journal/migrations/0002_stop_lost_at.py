from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("journal", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="trade",
            name="stop_lost_at",
            field=models.DateTimeField(help_text="When a confirmed stop was seen to be gone, wall time.", null=True),
        ),
    ]

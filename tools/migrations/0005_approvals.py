from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tools", "0004_mcp"),
    ]

    operations = [
        migrations.AddField(
            model_name="tool",
            name="approval",
            field=models.CharField(
                choices=[("never", "Never"), ("always", "Always")],
                db_default="never",
                default="never",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="tool",
            name="approval_timeout_seconds",
            field=models.PositiveIntegerField(db_default=86400, default=86400),
        ),
    ]

"""The data of events that are not about an execution."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0001_webhooks"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookdelivery",
            name="data",
            field=models.JSONField(blank=True, null=True),
        ),
    ]

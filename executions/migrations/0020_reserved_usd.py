"""Reservations of model calls in progress. Adds a nullable column, which rewrites no rows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0019_history_filters"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="reserved_usd",
            field=models.DecimalField(blank=True, decimal_places=9, max_digits=20, null=True),
        ),
    ]

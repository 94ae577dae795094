from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0008_unfinished"),
    ]

    operations = [
        migrations.AlterField(
            model_name="execution",
            name="latency_ms",
            field=models.PositiveIntegerField(
                help_text="Duration of the run in milliseconds, excluding the network time between the client and the server."
            ),
        ),
    ]

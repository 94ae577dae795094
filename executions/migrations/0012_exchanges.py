"""The number of exchanges before an execution, and the latest execution of a conversation.

A change of the type of `dropped_exchanges`, which no release has written, would rewrite the table.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0011_by_conversation")]

    operations = [
        migrations.RemoveField(model_name="execution", name="dropped_exchanges"),
        migrations.AddField(
            model_name="execution",
            name="dropped_exchanges",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="execution",
            name="earlier_exchanges",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="conversation",
            name="latest_execution_id",
            field=models.UUIDField(blank=True, null=True),
        ),
    ]

"""An index for the list of the admin."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0016_conversation_waits")]

    operations = [
        migrations.AddIndex(
            model_name="approval",
            index=models.Index(fields=["created_at", "id"], name="approval_by_time"),
        ),
    ]

"""An index for the keys that have been unused the longest."""

from django.db import migrations, models
from django.db.models.functions import Coalesce


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_budgets")]

    operations = [
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(
                Coalesce("last_used_at", "created_at"),
                models.F("id"),
                condition=models.Q(revoked_at=None),
                name="api_key_by_activity",
            ),
        ),
    ]

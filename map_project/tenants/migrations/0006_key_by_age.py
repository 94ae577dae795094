"""An index for the list of a tenant's keys."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0005_scopes")]

    operations = [
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(fields=["tenant", "created_at", "id"], name="api_key_by_age"),
        ),
    ]

"""The lifetime of a key that is rotated again in its grace period."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_retention")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="rotated_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="original_expires_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]

"""The retention of the history of a tenant."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0008_key_by_activity"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="retention_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Days after which runs that have ended are deleted from the history. Leave blank to keep them forever.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(36500),
                ],
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("retention_days__isnull", True),
                    ("retention_days__range", (1, 36500)),
                    _connector="OR",
                ),
                name="tenant_retention_days_in_range",
            ),
        ),
    ]

"""Structured output and the length of a context. No table is rewritten."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0008_by_model"),
    ]

    operations = [
        migrations.AddField(
            model_name="agent",
            name="max_context_characters",
            field=models.PositiveIntegerField(
                db_default=200000,
                default=200000,
                help_text="Maximum characters of the earlier messages that a run continues. The oldest exchanges are left out.",
                validators=[
                    django.core.validators.MinValueValidator(1000),
                    django.core.validators.MaxValueValidator(4000000),
                ],
            ),
        ),
        migrations.AddField(
            model_name="agent",
            name="output_schema",
            field=models.JSONField(blank=True, null=True),
        ),
    ]

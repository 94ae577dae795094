"""Budgets of tenants."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0006_key_by_age"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="budget_usd_day",
            field=models.DecimalField(
                blank=True,
                decimal_places=9,
                help_text="Maximum cost of the model calls in a day (UTC). Leave blank for no limit.",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="budget per day (USD)",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="budget_usd_month",
            field=models.DecimalField(
                blank=True,
                decimal_places=9,
                help_text="Maximum cost of the model calls in a month (UTC). Leave blank for no limit.",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="budget per month (USD)",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="budget_warning_percent",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Percent of a budget at which the tenant's webhooks receive budget.warning. Leave blank for 80.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(100),
                ],
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("budget_usd_day__isnull", True), ("budget_usd_day__gte", 0), _connector="OR"
                ),
                name="tenant_budget_usd_day_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("budget_usd_month__isnull", True),
                    ("budget_usd_month__gte", 0),
                    _connector="OR",
                ),
                name="tenant_budget_usd_month_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("budget_warning_percent__isnull", True),
                    ("budget_warning_percent__range", (1, 100)),
                    _connector="OR",
                ),
                name="tenant_budget_warning_percent_in_range",
            ),
        ),
    ]

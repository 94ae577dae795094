"""The costs per tenant and day, kept by a trigger, so that processes of earlier releases keep them as well."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

# The trigger locks the totals against changes until the commit, and so the sums are exact. Folding waits.
ADD_TO_DAYS = """
CREATE FUNCTION usage_add_to_day() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    added numeric := NEW.cost_usd;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        added := NEW.cost_usd - OLD.cost_usd;
    END IF;
    IF added <> 0 THEN
        INSERT INTO usage_dailycost AS total (tenant_id, day, cost_usd)
        VALUES (NEW.tenant_id, (NEW.hour AT TIME ZONE 'UTC')::date, added)
        ON CONFLICT (tenant_id, day) DO UPDATE SET cost_usd = total.cost_usd + excluded.cost_usd;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_add_to_day AFTER INSERT OR UPDATE OF cost_usd ON usage_hourlyusage
    FOR EACH ROW WHEN (NEW.cost_usd <> 0) EXECUTE FUNCTION usage_add_to_day();
SET LOCAL statement_timeout = 0;
INSERT INTO usage_dailycost (tenant_id, day, cost_usd)
SELECT tenant_id, (hour AT TIME ZONE 'UTC')::date, sum(cost_usd) FROM usage_hourlyusage
GROUP BY 1, 2 HAVING sum(cost_usd) > 0;
"""
REMOVE_TRIGGER = """
DROP TRIGGER usage_add_to_day ON usage_hourlyusage;
DROP FUNCTION usage_add_to_day();
"""


def _tenant() -> Any:
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="tenants.tenant",
    )


def _id() -> Any:
    return models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_budgets"), ("usage", "0003_declined_calls")]

    operations = [
        migrations.CreateModel(
            name="BudgetWarning",
            fields=[
                ("id", _id()),
                ("tenant", _tenant()),
                ("period", models.CharField(max_length=10)),
                ("starts_on", models.DateField()),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "period", "starts_on"), name="budget_warning_once"
                    )
                ],
                "indexes": [models.Index(fields=["starts_on"], name="budget_warning_by_start")],
            },
        ),
        migrations.CreateModel(
            name="DailyCost",
            fields=[
                ("id", _id()),
                ("tenant", _tenant()),
                ("day", models.DateField()),
                ("cost_usd", models.DecimalField(decimal_places=9, max_digits=30)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "day"), name="daily_cost_once")
                ],
            },
        ),
        migrations.RunSQL(ADD_TO_DAYS, REMOVE_TRIGGER),
    ]

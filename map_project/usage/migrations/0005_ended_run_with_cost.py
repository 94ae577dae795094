"""An index for budgets, created without blocking the ends of runs."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("usage", "0004_budgets")]

    operations = [
        AddIndexConcurrently(
            model_name="endedrun",
            index=models.Index(
                condition=models.Q(("cost_usd__gt", 0)),
                fields=["tenant"],
                name="ended_run_with_cost",
            ),
        ),
    ]

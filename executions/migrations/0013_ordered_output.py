"""`output_schema` and `output` as text, which keeps the order of properties. No release has stored them."""

from django.db import migrations

import tools.models


class Migration(migrations.Migration):
    dependencies = [("executions", "0012_exchanges")]

    operations = [
        # Unlike a change of the type, this does not rewrite the table.
        migrations.RemoveField("execution", "output_schema"),
        migrations.RemoveField("execution", "output"),
        migrations.AddField(
            "execution", "output_schema", tools.models.OrderedJSONField(blank=True, null=True)
        ),
        migrations.AddField(
            "execution", "output", tools.models.OrderedJSONField(blank=True, null=True)
        ),
    ]

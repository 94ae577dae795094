"""`output_schema` as text, which keeps the order of properties. No release has stored one."""

from django.db import migrations

import tools.models


class Migration(migrations.Migration):
    dependencies = [("agents", "0009_output_schema")]

    operations = [
        # Unlike a change of the type, this does not rewrite the table.
        migrations.RemoveField("agent", "output_schema"),
        migrations.AddField(
            "agent",
            "output_schema",
            tools.models.OrderedJSONField(
                blank=True,
                help_text="JSON Schema of the response. Leave blank for plain text.",
                null=True,
            ),
        ),
    ]

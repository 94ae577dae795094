from django.db import migrations, models

# The default for a tool that is created from now on.
SET_DEFAULT = """
UPDATE tools_tool SET idempotent = true
WHERE kind = 'http' AND config::jsonb ->> 'method' = 'GET'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tools", "0002_kinds"),
    ]

    operations = [
        migrations.AddField(
            model_name="tool",
            name="idempotent",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL(SET_DEFAULT, migrations.RunSQL.noop),
    ]

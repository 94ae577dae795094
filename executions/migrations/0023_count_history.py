"""Counts the executions of each tenant, so that no request has to count those of all years.

It blocks no writes. Runs continue meanwhile: later executions are counted by requests.
"""

from typing import Any

from django.db import migrations, transaction

# The rows up to this time are visible, unless a transaction that inserted one is older.
_UNTIL = "SELECT STATEMENT_TIMESTAMP() - interval '1 hour'"
_LOCK = "SELECT tenant_id FROM executions_historytotal WHERE tenant_id = %s FOR UPDATE"
# In a statement after the lock: it sees the changes of those that had the lock before.
_COUNT = """
UPDATE executions_historytotal SET until = %(until)s, count = (
    SELECT count(*) FROM executions_execution WHERE tenant_id = %(tenant)s AND created_at <= %(until)s
) WHERE tenant_id = %(tenant)s
"""


def count_history(apps: Any, schema_editor: Any) -> None:
    tenants = apps.get_model("executions", "HistoryTotal").objects.values_list("pk", flat=True)
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(_UNTIL)
        until = cursor.fetchone()[0]
        for tenant in [*tenants]:
            with transaction.atomic(schema_editor.connection.alias):
                cursor.execute(_LOCK, [tenant])
                cursor.execute(_COUNT, {"tenant": tenant, "until": until})


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0022_history_total")]

    operations = [migrations.RunPython(count_history, migrations.RunPython.noop)]

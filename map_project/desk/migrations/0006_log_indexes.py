"""Indexes of Django's log of the admin, which has none for its list and for the changes of one row.

They are created in SQL: the model belongs to `django.contrib.admin`, so that its state must not change.
"""

from django.db import migrations


def create(name: str, columns: str) -> migrations.RunSQL:
    """Create an index without blocking inserts."""
    return migrations.RunSQL(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON django_admin_log ({columns})",
        f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("desk", "0005_approvals"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]

    operations = [
        create("desk_log_by_time", "action_time, id"),
        create("desk_log_by_object", "object_id, content_type_id"),
    ]

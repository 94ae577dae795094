"""The groups `operator` and `auditor`."""

from django.db import migrations

from map_project.desk.groups import grant


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("axes", "0010_accessattemptexpiration"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("tenants", "0001_initial"),
        ("tools", "0001_initial"),
        ("agents", "0003_language_model"),
        ("executions", "0001_initial"),
    ]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]

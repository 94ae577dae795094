import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

import map_project.api.ids


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0014_conversation_by_time"),
        ("tenants", "0004_concurrency"),
    ]

    operations = [
        migrations.CreateModel(
            name="Approval",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=map_project.api.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("attempt", models.SmallIntegerField()),
                ("tool_id", models.UUIDField()),
                ("tool_name", models.CharField(max_length=100)),
                ("arguments", models.TextField(blank=True)),
                ("arguments_sha256", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("approved", "Approved"),
                            ("declined", "Declined"),
                            ("expired", "Expired"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True, default="")),
                (
                    "decided_by",
                    models.CharField(blank=True, default="", max_length=12),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                ("expires_at", models.DateTimeField()),
                (
                    "execution",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="approvals",
                        to="executions.execution",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("execution", "position"), name="approval_unique"
                    )
                ],
                "indexes": [
                    models.Index(fields=["tenant", "-created_at", "-id"], name="approval_by_age"),
                    models.Index(
                        fields=["tenant", "status", "-created_at", "-id"],
                        name="approval_by_status",
                    ),
                    models.Index(
                        condition=models.Q(status="pending"),
                        fields=["expires_at"],
                        name="approval_pending",
                    ),
                ],
            },
        ),
        migrations.AddField(
            "execution", "waited_ms", models.BigIntegerField(db_default=0, default=0)
        ),
        migrations.AddField("step", "approval_id", models.UUIDField(blank=True, null=True)),
        migrations.AlterField(
            "execution",
            "status",
            models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("running", "Running"),
                    ("requires_action", "Requires Action"),
                    ("succeeded", "Succeeded"),
                    ("incomplete", "Incomplete"),
                    ("failed", "Failed"),
                    ("cancelled", "Cancelled"),
                ],
                max_length=20,
            ),
        ),
    ]

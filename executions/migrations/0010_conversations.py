"""Conversations, events of streamed runs, and structured output. No table is rewritten."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import map_project.api.ids


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0009_help_texts"),
        ("tenants", "0004_concurrency"),
    ]

    operations = [
        migrations.CreateModel(
            name="Conversation",
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
                ("metadata", models.JSONField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "ordering": ("created_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="EventBatch",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_number", models.IntegerField()),
                ("events", models.TextField()),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "ordering": ("execution", "first_number"),
            },
        ),
        migrations.AddField(
            model_name="execution",
            name="conversation_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="dropped_exchanges",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="execution",
            name="is_hidden",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="execution",
            name="is_streamed",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="execution",
            name="options",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="output",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="output_schema",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="previous_execution_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="conversation",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="eventbatch",
            name="execution",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                to="executions.execution",
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["tenant", "created_at", "id"], name="conversation_by_age"),
        ),
        migrations.AddIndex(
            model_name="eventbatch",
            index=models.Index(fields=["created_at"], name="event_batch_by_age"),
        ),
        migrations.AddConstraint(
            model_name="eventbatch",
            constraint=models.UniqueConstraint(
                fields=("execution", "first_number"), name="event_number_unique"
            ),
        ),
    ]

"""The totals of the history, and the triggers that keep them when executions are deleted or inserted late."""

import django.db.models.deletion
from django.db import migrations, models

# Each tenant has a total. A trigger locks it before it reads `until`: a concurrent move has either counted the
# rows already, or starts after this transaction.
CREATE_TRIGGERS = """
CREATE FUNCTION executions_create_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO executions_historytotal (tenant_id, count, until)
    VALUES (NEW.id, 0, '0002-01-01 00:00:00+00') ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE FUNCTION executions_subtract_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM executions_historytotal
    WHERE tenant_id IN (SELECT tenant_id FROM deleted) ORDER BY tenant_id FOR UPDATE;
    UPDATE executions_historytotal total SET count = total.count - gone.count
    FROM (
        SELECT tenant_id, count(*) FROM deleted JOIN executions_historytotal USING (tenant_id)
        WHERE created_at <= until GROUP BY tenant_id
    ) gone
    WHERE gone.tenant_id = total.tenant_id;
    RETURN NULL;
END
$$;
CREATE FUNCTION executions_reset_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- OLD is null after an insertion.
    PERFORM FROM executions_historytotal
    WHERE tenant_id IN (OLD.tenant_id, NEW.tenant_id) ORDER BY tenant_id FOR UPDATE;
    UPDATE executions_historytotal SET count = 0, until = '0002-01-01 00:00:00+00'
    WHERE tenant_id IN (OLD.tenant_id, NEW.tenant_id)
        AND until >= LEAST(OLD.created_at, NEW.created_at);
    RETURN NULL;
END
$$;
CREATE FUNCTION executions_reset_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE executions_historytotal SET count = 0, until = '0002-01-01 00:00:00+00';
    RETURN NULL;
END
$$;
CREATE TRIGGER total_on_insert AFTER INSERT ON tenants_tenant FOR EACH ROW
    EXECUTE FUNCTION executions_create_total();
INSERT INTO executions_historytotal (tenant_id, count, until)
    SELECT id, 0, '0002-01-01 00:00:00+00' FROM tenants_tenant ON CONFLICT DO NOTHING;
CREATE TRIGGER total_on_delete AFTER DELETE ON executions_execution
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION executions_subtract_deleted();
-- Runs never have an earlier time: the condition is false for each of them.
CREATE TRIGGER total_on_insert AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.created_at < STATEMENT_TIMESTAMP() - interval '5 seconds')
    EXECUTE FUNCTION executions_reset_total();
-- For changes by hand: nothing in this project changes these columns, or truncates the table.
CREATE TRIGGER total_on_update AFTER UPDATE ON executions_execution FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.created_at) IS DISTINCT FROM (NEW.tenant_id, NEW.created_at))
    EXECUTE FUNCTION executions_reset_total();
CREATE TRIGGER total_on_truncate AFTER TRUNCATE ON executions_execution
    FOR EACH STATEMENT EXECUTE FUNCTION executions_reset_totals();
"""
REMOVE_TRIGGERS = """
DROP TRIGGER total_on_truncate ON executions_execution;
DROP TRIGGER total_on_update ON executions_execution;
DROP TRIGGER total_on_insert ON executions_execution;
DROP TRIGGER total_on_delete ON executions_execution;
DROP TRIGGER total_on_insert ON tenants_tenant;
DROP FUNCTION executions_reset_totals();
DROP FUNCTION executions_reset_total();
DROP FUNCTION executions_subtract_deleted();
DROP FUNCTION executions_create_total();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0021_search"),
        ("tenants", "0010_rotated_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoryTotal",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="tenants.tenant",
                    ),
                ),
                ("count", models.BigIntegerField()),
                ("until", models.DateTimeField()),
            ],
        ),
        # Last: it waits for the writes to executions in progress, and holds up others until the commit.
        migrations.RunSQL(CREATE_TRIGGERS, REMOVE_TRIGGERS),
    ]

"""Add `Agent.version` and the triggers that increment it.

Triggers apply to all writes: by the API, the admin, a command, or psql.
"""

from django.db import migrations, models

COUNT_UP = """
CREATE FUNCTION agents_count_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;

CREATE TRIGGER agents_count_up BEFORE UPDATE ON agents_agent
    FOR EACH ROW EXECUTE FUNCTION agents_count_up();

-- In the order of ids, so that two changes of many agents never wait for each other.
CREATE FUNCTION agents_touch(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM agents_agent WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    UPDATE agents_agent SET version = version WHERE id = ANY (ids);
END $$;

CREATE FUNCTION agents_touch_by_association() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM agents_touch(ARRAY(SELECT DISTINCT agent_id FROM changed));
    RETURN NULL;
END $$;

CREATE TRIGGER agents_touch_inserted AFTER INSERT ON agents_agenttool
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION agents_touch_by_association();
CREATE TRIGGER agents_touch_deleted AFTER DELETE ON agents_agenttool
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION agents_touch_by_association();
CREATE TRIGGER agents_touch_updated_from AFTER UPDATE ON agents_agenttool
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION agents_touch_by_association();
CREATE TRIGGER agents_touch_updated_to AFTER UPDATE ON agents_agenttool
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION agents_touch_by_association();

CREATE FUNCTION agents_touch_by_tool() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM agents_touch(ARRAY(
        SELECT DISTINCT agent_id FROM agents_agenttool WHERE tool_id IN (SELECT id FROM changed)
    ));
    RETURN NULL;
END $$;

CREATE TRIGGER agents_touch_by_tool AFTER UPDATE ON tools_tool
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION agents_touch_by_tool();
"""

FORGET = """
DROP TRIGGER agents_touch_by_tool ON tools_tool;
DROP TRIGGER agents_touch_updated_to ON agents_agenttool;
DROP TRIGGER agents_touch_updated_from ON agents_agenttool;
DROP TRIGGER agents_touch_deleted ON agents_agenttool;
DROP TRIGGER agents_touch_inserted ON agents_agenttool;
DROP TRIGGER agents_count_up ON agents_agent;
DROP FUNCTION agents_touch_by_tool, agents_touch_by_association, agents_touch, agents_count_up;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="agent",
            name="version",
            field=models.PositiveBigIntegerField(db_default=1, editable=False),
        ),
        migrations.RunSQL(COUNT_UP, FORGET),
    ]

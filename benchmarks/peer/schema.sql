DROP TABLE IF EXISTS execution_logs, agent_tool_associations, agents, tools, api_keys, tenants CASCADE;
CREATE TABLE tenants (id uuid PRIMARY KEY, name text NOT NULL UNIQUE, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE api_keys (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant_id uuid NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
  key_hash char(64) NOT NULL UNIQUE, prefix varchar(16) NOT NULL DEFAULT '', is_active bool NOT NULL DEFAULT true, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE tools (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name varchar(100) NOT NULL, description text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, UNIQUE (tenant_id, name));
CREATE TABLE agents (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name varchar(100) NOT NULL, role varchar(100) NOT NULL, description text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, version int NOT NULL DEFAULT 1, UNIQUE (tenant_id, name));
CREATE TABLE agent_tool_associations (agent_id uuid NOT NULL REFERENCES agents(id) ON DELETE CASCADE, tool_id uuid NOT NULL REFERENCES tools(id) ON DELETE RESTRICT,
  PRIMARY KEY (agent_id, tool_id));
CREATE INDEX ata_tool ON agent_tool_associations(tool_id);
CREATE TABLE execution_logs (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, agent_id uuid NOT NULL REFERENCES agents(id) ON DELETE CASCADE,
  model varchar(50) NOT NULL, prompt text NOT NULL, response text NOT NULL, status varchar(20) NOT NULL DEFAULT 'success', created_at timestamptz NOT NULL);
INSERT INTO tenants SELECT ('00000000-0000-4000-8000-'||lpad(i::text,12,'0'))::uuid, 'tenant-'||i FROM generate_series(1,12) i;
INSERT INTO api_keys(tenant_id,key_hash,prefix) SELECT id, encode(sha256((name||'-key')::bytea),'hex'), 'x' FROM tenants;
-- tenant 11: run tenant with 20 tools, agents with 5 tools each. tenants 1..10: history tenants (100k rows each of 1,000,000);
-- tenant 10's POST tools; tenant 12: 10,000 rows of history. The platform's rows are the same: benchmarks/fill.py.
INSERT INTO tools SELECT ('10000000-0000-4000-8000-'||lpad(i::text,12,'0'))::uuid, '00000000-0000-4000-8000-000000000011', 'tool-'||i, 'A tool that does useful thing number '||i||' for the agents of this tenant.', now(), now() FROM generate_series(1,20) i;
INSERT INTO agents SELECT ('20000000-0000-4000-8000-'||lpad(i::text,12,'0'))::uuid, '00000000-0000-4000-8000-000000000011', 'agent-'||i, 'researcher', 'Agent '||i||' researches things.', now(), now() FROM generate_series(1,10) i;
INSERT INTO agents SELECT ('30000000-0000-4000-8000-'||lpad(i::text,12,'0'))::uuid, ('00000000-0000-4000-8000-'||lpad(i::text,12,'0'))::uuid, 'hist-agent', 'researcher', 'x', now(), now() FROM generate_series(1,12) i WHERE i <> 11;
INSERT INTO agent_tool_associations SELECT a.id, t.id FROM agents a, tools t WHERE a.tenant_id=t.tenant_id AND substring(t.id::text from 25)::bigint <= 5;
INSERT INTO execution_logs
 SELECT gen_random_uuid(), ('00000000-0000-4000-8000-'||lpad((1+i%10)::text,12,'0'))::uuid, ('30000000-0000-4000-8000-'||lpad((1+i%10)::text,12,'0'))::uuid,
  'gpt-4o', 'Please summarise document number '||i||' and list the most important points in it, with references.',
  '[gpt-4o] researcher hist-agent: '||repeat(md5(i::text),6), 'success', timestamptz '2026-01-01' + i * interval '10 second'
 FROM generate_series(1,:rows) i;
INSERT INTO execution_logs
 SELECT gen_random_uuid(), '00000000-0000-4000-8000-000000000012', '30000000-0000-4000-8000-000000000012',
  'gpt-4o', 'Please summarise document number '||i||' and list the most important points in it, with references.',
  '[gpt-4o] researcher hist-agent: '||repeat(md5(i::text),6), 'success', timestamptz '2026-01-01' + i * interval '10 second'
 FROM generate_series(1,10000) i;
CREATE INDEX exec_tenant_created ON execution_logs (tenant_id, created_at DESC);
VACUUM ANALYZE;

-- sidecar_install() and masters of every kind: attached, or waiting with a
-- readable reason; never an error.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
CREATE DOMAIN company_id AS text CHECK (VALUE <> '');
CREATE DOMAIN company_id_2 AS company_id;
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;

-- makes the master, installs, and tells the foreign key's fate and whether an
-- upsert works
CREATE FUNCTION try(ddl text) RETURNS TABLE (master text, outcome text, hint text, upsert text) LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE marketing.company_sidecar DROP CONSTRAINT IF EXISTS fk_company_sidecar_company;
    EXECUTE ddl;
    master := ddl;
    SELECT i.outcome, i.hint INTO outcome, hint FROM sidecar_install() i WHERE i.object ~ 'foreign key .*company';
    BEGIN
        INSERT INTO marketing.company_master (company_unique_id) VALUES ('1');
        upsert := sidecar_upsert_company('1');
    EXCEPTION WHEN OTHERS THEN
        upsert := SQLSTATE;
    END;
    RETURN NEXT;
    EXECUTE format('DROP %s marketing.company_master CASCADE',
        (SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
         FROM pg_class WHERE oid = 'marketing.company_master'::regclass));
    TRUNCATE marketing.company_sidecar;
END $$;
\x
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id varchar(50) PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id varchar PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id company_id PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id company_id_2 PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text UNIQUE)');
SELECT * FROM try('CREATE TABLE marketing.company_master (id int PRIMARY KEY DEFAULT 1, company_unique_id text); CREATE UNIQUE INDEX ON marketing.company_master (company_unique_id) INCLUDE (id)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY) PARTITION BY HASH (company_unique_id); CREATE TABLE marketing.master_0 PARTITION OF marketing.company_master FOR VALUES WITH (MODULUS 1, REMAINDER 0)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id int PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id char(9) PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (id text PRIMARY KEY)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text)');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text); CREATE UNIQUE INDEX ON marketing.company_master (company_unique_id) WHERE company_unique_id > ''''');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text); CREATE UNIQUE INDEX ON marketing.company_master (lower(company_unique_id))');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text, n int, UNIQUE (company_unique_id, n))');
SELECT * FROM try('CREATE TABLE marketing.company_master (company_unique_id text UNIQUE DEFERRABLE)');
SELECT * FROM try('CREATE UNLOGGED TABLE marketing.company_master (company_unique_id text PRIMARY KEY)');
SELECT * FROM try('CREATE VIEW marketing.company_master AS SELECT ''1''::text AS company_unique_id');
SELECT * FROM try('CREATE MATERIALIZED VIEW marketing.company_master AS SELECT ''1''::text AS company_unique_id');
SELECT * FROM try('CREATE FOREIGN TABLE marketing.company_master (company_unique_id text) SERVER files OPTIONS (filename ''/nowhere'')');
\x
-- a temporary table of that name is none in schema marketing
CREATE TEMPORARY TABLE company_master (company_unique_id text PRIMARY KEY);
SELECT outcome, hint FROM sidecar_install() WHERE object ~ 'foreign key .*company';
DROP TABLE company_master;

-- row security on the sidecar cannot hide an orphan from the key's check
CREATE ROLE regress_sidecar_owner;
CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY, company_name text);
INSERT INTO marketing.company_master VALUES ('c1', 'Acme');
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('c1'), ('orphan');
GRANT ALL ON SCHEMA marketing TO regress_sidecar_owner;
GRANT EXECUTE ON FUNCTION update_company_sidecar_updated_at(), update_people_sidecar_updated_at(), sidecar_rejects_mark() TO regress_sidecar_owner;
ALTER TABLE marketing.company_master OWNER TO regress_sidecar_owner;
ALTER TABLE marketing.company_sidecar OWNER TO regress_sidecar_owner;
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY hide ON marketing.company_sidecar USING (company_unique_id <> 'orphan');
SET ROLE regress_sidecar_owner;
SELECT outcome, hint FROM sidecar_install() WHERE object ~ 'foreign key .*company';
RESET ROLE;
SELECT count(*) AS keys FROM pg_constraint WHERE conrelid = 'marketing.company_sidecar'::regclass AND contype = 'f';
SELECT outcome, hint FROM sidecar_install() WHERE object ~ 'foreign key .*company';
SELECT entity, foreign_key_validated, orphan_rows FROM sidecar_status() WHERE entity = 'company';
DELETE FROM marketing.company_sidecar WHERE company_unique_id = 'orphan';
ALTER TABLE marketing.company_sidecar VALIDATE CONSTRAINT fk_company_sidecar_company;
SELECT entity, foreign_key_validated, orphan_rows, to_do FROM sidecar_status() WHERE entity = 'company';

-- an owner of the sidecar who may not reference the master
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
ALTER TABLE marketing.company_sidecar NO FORCE ROW LEVEL SECURITY;
ALTER TABLE marketing.company_master OWNER TO CURRENT_USER;
SET ROLE regress_sidecar_owner;
SELECT outcome, hint FROM sidecar_install() WHERE object ~ 'foreign key .*company';
RESET ROLE;
GRANT REFERENCES ON marketing.company_master TO regress_sidecar_owner;
SET ROLE regress_sidecar_owner;
SELECT outcome, hint FROM sidecar_install() WHERE object ~ 'foreign key .*company';
RESET ROLE;

-- an ordinary role in a database of its own: no rights at all, then its own tables
DROP SCHEMA marketing CASCADE;
SET ROLE regress_sidecar_owner;
SELECT count(*) FILTER (WHERE outcome = 'waiting') AS waiting, count(*) FILTER (WHERE outcome = 'created') AS created FROM sidecar_install();
SELECT object, outcome, hint FROM sidecar_install() WHERE object ~ 'schema|index .*ein|trigger .*company';
RESET ROLE;
CREATE SCHEMA marketing AUTHORIZATION regress_sidecar_owner;
SET ROLE regress_sidecar_owner;
SELECT outcome, count(*) FROM sidecar_install() GROUP BY outcome ORDER BY outcome;
SELECT outcome, count(*) FROM sidecar_create_masters() GROUP BY outcome ORDER BY outcome;
INSERT INTO marketing.company_master VALUES ('c1', 'Acme');
SELECT sidecar_upsert_company('c1');
RESET ROLE;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP EXTENSION file_fdw CASCADE;
DROP FUNCTION try;
DROP DOMAIN company_id_2;
DROP DOMAIN company_id;
DROP ROLE regress_sidecar_owner;

-- A mark is a right, a name is none: which table is the sidecar, and what runs
-- with whose rights.
SET client_min_messages = warning;
-- nobody doubts that what is taken over has times of UTC
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE ROLE regress_sidecar_stranger;
CREATE ROLE regress_sidecar_owner;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 4) i;
INSERT INTO marketing.people_master VALUES ('p1', 'Person 1');
SELECT sidecar_upsert_company('c1', '1');
CREATE VIEW bound AS SELECT entity, sidecar_table, to_do FROM sidecar_status() WHERE entity = 'company';

-- nobody makes the mark who was not given it
GRANT CREATE ON SCHEMA public TO regress_sidecar_stranger;
SET ROLE regress_sidecar_stranger;
CREATE TEMP TABLE mine (updated_at timestamp);
CREATE TRIGGER x BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE public.mine (updated_at timestamp);
CREATE TRIGGER x BEFORE UPDATE ON public.mine FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at();
CREATE FOREIGN TABLE public.inbox (company_unique_id text) SERVER sidecar OPTIONS (entity 'company');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- nor does it count when somebody makes it for him, on any table of his
CREATE TABLE public.his (LIKE marketing.company_sidecar);
ALTER TABLE public.his OWNER TO regress_sidecar_stranger;
CREATE TRIGGER x BEFORE UPDATE ON public.his FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
CREATE TEMP TABLE ours (LIKE marketing.company_sidecar);
CREATE TRIGGER x BEFORE UPDATE ON ours FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
TABLE bound;
SELECT sidecar_upsert_company('c1', '2');
-- nor where there is no other
ALTER TABLE marketing.company_sidecar DISABLE TRIGGER ALL;
DROP TRIGGER company_sidecar_updated_at ON marketing.company_sidecar;
SELECT sidecar_upsert_company('c1', '3');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE his;
SELECT sidecar_upsert_company('c1', '3');
ALTER TABLE marketing.company_sidecar ENABLE TRIGGER ALL;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT sidecar_upsert_company('c1', '3');

-- an owner has it as long as he has the right
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_owner;
GRANT REFERENCES ON marketing.company_master TO regress_sidecar_owner;
GRANT EXECUTE ON FUNCTION update_company_sidecar_updated_at() TO regress_sidecar_owner;
ALTER TABLE marketing.company_sidecar OWNER TO regress_sidecar_owner;
SELECT sidecar_upsert_company('c1', '4');
REVOKE EXECUTE ON FUNCTION update_company_sidecar_updated_at() FROM regress_sidecar_owner;
SELECT sidecar_upsert_company('c1', '5');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
TABLE bound;
ALTER TABLE marketing.company_sidecar OWNER TO CURRENT_USER;
SELECT sidecar_upsert_company('c1', '5');

-- of several marked ones it is the one in schema marketing, live and afterwards
CREATE SCHEMA marketing_old;
CREATE TABLE marketing_old.company_sidecar (LIKE marketing.company_sidecar INCLUDING ALL);
CREATE TRIGGER x BEFORE UPDATE ON marketing_old.company_sidecar FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
SELECT sidecar_upsert_company('c1', '6');
-- in it the one of the default name
CREATE TABLE marketing.company_sidecar_copy (LIKE marketing.company_sidecar INCLUDING ALL);
CREATE TRIGGER x BEFORE UPDATE ON marketing.company_sidecar_copy FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
SELECT sidecar_upsert_company('c1', '7');
SELECT company_unique_id, ein_number FROM marketing.company_sidecar;
SELECT count(*) FROM (TABLE marketing_old.company_sidecar UNION ALL TABLE marketing.company_sidecar_copy) others;
-- which is said
SELECT entity, sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL ORDER BY 2;
-- and another is never taken because that one cannot be used
BEGIN;
ALTER TABLE marketing.company_sidecar ALTER ein_number TYPE bytea USING NULL;
SELECT sidecar_upsert_company('c1', '8');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- two that have the same claim
BEGIN;
ALTER TABLE marketing.company_sidecar SET SCHEMA public;
DROP TABLE marketing.company_sidecar_copy;
SAVEPOINT s;
SELECT sidecar_upsert_company('c1', '8');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
TABLE bound;
-- each is named, and neither is said to be none
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL ORDER BY 1;
SELECT sidecar_install();
ROLLBACK TO s;
DROP TABLE marketing_old.company_sidecar;
SELECT sidecar_upsert_company('c1', '8');
ROLLBACK;
-- a table that has the trigger because it has an updated_at is no sidecar
CREATE TABLE marketing.notes (id int, updated_at timestamp);
CREATE TRIGGER x BEFORE UPDATE ON marketing.notes FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
DROP TABLE marketing_old.company_sidecar, marketing.company_sidecar_copy;
ALTER TABLE marketing.company_sidecar RENAME TO enrichment;
SELECT sidecar_upsert_company('c1', '8');
TABLE bound;
ALTER TABLE marketing.enrichment RENAME TO company_sidecar;
DROP TABLE marketing.notes;

-- a shard of a distributed table, to which the trigger was copied
CREATE FUNCTION pg_catalog.relation_is_a_known_shard(regclass) RETURNS boolean LANGUAGE sql AS $$ SELECT $1::text ~ '_102008$' $$;
CREATE TABLE public.company_sidecar_102008 (LIKE marketing.company_sidecar);
CREATE TRIGGER x BEFORE UPDATE ON public.company_sidecar_102008 FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
ALTER TABLE marketing.company_sidecar SET SCHEMA marketing_old;
SELECT sidecar_upsert_company('c1', '9');
TABLE bound;
ALTER TABLE marketing_old.company_sidecar SET SCHEMA marketing;
DROP TABLE company_sidecar_102008;
DROP FUNCTION pg_catalog.relation_is_a_known_shard(regclass);

-- names are never taken for text to expand
ALTER TABLE marketing.company_sidecar ADD COLUMN "{sidecar}" text, ADD COLUMN "{master}"" {key}" text, ADD COLUMN "%s %n $1 '{name}'" text;
ALTER TABLE marketing.company_sidecar RENAME TO "{key}, (SELECT 1/0) ""{master}";
ALTER TABLE marketing.company_master RENAME TO "{sidecar} s) x, pg_sleep(1000) --";
UPDATE marketing."{key}, (SELECT 1/0) ""{master}" SET "{sidecar}" = 'x';
SELECT field, filled, filled_pct FROM sidecar_field_coverage() WHERE field ~ '[{]';
SELECT entity, total, enriched FROM sidecar_coverage();
SELECT * FROM sidecar_missing_companies(1);
SELECT sidecar_upsert_company('c2', '1');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c2", "{sidecar}": "y", "{master}\" {key}": "z", "%s %n $1 ''{name}''": "a"}');
SELECT "{sidecar}", "{master}"" {key}", "%s %n $1 '{name}'" FROM marketing."{key}, (SELECT 1/0) ""{master}" WHERE company_unique_id = 'c2';
SELECT count(*) FROM sidecar_summary(exact => false);
SELECT count(*) FROM sidecar_objects() WHERE state = 'missing';
ALTER TABLE marketing."{key}, (SELECT 1/0) ""{master}" RENAME TO company_sidecar;
ALTER TABLE marketing."{sidecar} s) x, pg_sleep(1000) --" RENAME TO company_master;

-- a C function answers to its own declaration only
CREATE FUNCTION library() RETURNS text LANGUAGE sql AS $$ SELECT probin FROM pg_proc WHERE proname = 'sidecar_coverage' $$;
CREATE FUNCTION try_declaration(signature text, symbol text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('CREATE FUNCTION other%s AS %L, %L LANGUAGE C', signature, library(), symbol);
    EXECUTE 'SELECT count(*) FROM other' || call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT signature, symbol, try_declaration(signature, 'sidecar_' || symbol, call) FROM (VALUES
    ('(company_unique_id text, last_enriched_at text, on_conflict text, clear text[]) RETURNS text', 'upsert_company', $$('c1', 'x', NULL, NULL)$$),
    ('(company_unique_id text, last_enriched_at timestamp, on_conflict text, clear text[]) RETURNS text', 'upsert_company', $$('c1', now()::timestamp, NULL, NULL)$$),
    ('(text, timestamptz, text) RETURNS text', 'upsert_company', $$('c1', now(), NULL)$$),
    ('(company_unique_id text, last_enriched_at timestamptz, on_conflict int, clear text[]) RETURNS text', 'upsert_company', $$('c1', now(), 5, NULL)$$),
    ('(company_unique_id text, last_enriched_at timestamptz, on_conflict text, clear text[]) RETURNS int', 'upsert_company', $$('c1', now(), NULL, NULL)$$),
    ('(last_enriched_at timestamptz, company_unique_id text, on_conflict text, clear text[]) RETURNS text', 'upsert_company', $$(now(), 'c1', NULL, NULL)$$),
    ('(company_unique_id text, ein_number bigint, last_enriched_at timestamptz, on_conflict text, clear text[]) RETURNS text', 'upsert_company', $$('c1', 5, now(), NULL, NULL)$$),
    ('(company_unique_id text, on_conflict text, clear text[]) RETURNS text', 'upsert_company', $$('c1', NULL, NULL)$$),
    ('() RETURNS text', 'upsert_company', '()'),
    ('(records bigint, on_conflict text, unknown_keys text) RETURNS TABLE (record bigint, unique_id text, outcome text, error text)', 'upsert_companies', '(5, NULL, NULL)'),
    ('(records jsonb) RETURNS TABLE (record bigint, unique_id text, outcome text, error text)', 'upsert_companies', '(''{}'')'),
    ('(records jsonb, on_conflict text, unknown_keys text) RETURNS TABLE (record text, unique_id text, outcome text, error text)', 'upsert_companies', '(''[{}]'', NULL, NULL)'),
    ('(max_rows text) RETURNS TABLE (reject_id uuid, entity text, unique_id text, outcome text, error text)', 'retry_rejects', '(''x'')'),
    ('() RETURNS TABLE (a text, b text, c text, d text)', 'coverage', '()'),
    ('() RETURNS TABLE (a text)', 'status', '()'),
    ('() RETURNS TABLE (a text)', 'entity_bindings', '()'),
    ('(a text, b text, c text) RETURNS TABLE (d text, e text)', 'summary', '(''1'', ''2'', ''3'')'),
    ('() RETURNS SETOF record', 'sources', '() AS (a text)'),
    ('(a text, b bigint) RETURNS TABLE (a1 text, a2 text, a3 text, a4 timestamp, a5 numeric)', 'stale_companies', '(''x'', 2)'),
    ('(a interval, b bigint) RETURNS TABLE (a1 text, a2 text, a3 bigint, a4 timestamp, a5 numeric)', 'stale_companies', '(''1 day'', 2)'),
    ('(a interval, b bigint) RETURNS text', 'stale_people', '(''1 day'', 2)'),
    ('(a int) RETURNS TABLE (a1 text, a2 text)', 'missing_people', '(1)')) f (signature, symbol, call);
-- one of the user's own, with fewer columns, that is declared alike: it works
CREATE FUNCTION upsert_ein(company_unique_id text, ein_number text, last_enriched_at timestamptz, on_conflict text, clear text[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN END';
SELECT format('CREATE OR REPLACE FUNCTION upsert_ein(company_unique_id text, ein_number text, last_enriched_at timestamptz, on_conflict text, clear text[]) RETURNS text AS %L, ''sidecar_upsert_company'' LANGUAGE C', library()) \gexec
SELECT upsert_ein('c1', '10', NULL, NULL, NULL), sidecar_upsert_company('c1', '10'), upsert_ein('c1', '11', NULL, NULL, NULL), sidecar_upsert_company('c1', dun_and_bradstreet_number => '5');
SELECT company_unique_id, ein_number, dun_and_bradstreet_number FROM marketing.company_sidecar WHERE company_unique_id = 'c1';

-- while a batch works nobody alters its table, not even a domain's check
CREATE FUNCTION spoil() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE current_setting('my.ddl');
    RETURN true;
END $$;
CREATE DOMAIN spoiling AS text CHECK (spoil());
ALTER TABLE marketing.company_sidecar ADD COLUMN spoilt text[];
CREATE FUNCTION try_spoiling(ddl text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    PERFORM set_config('my.ddl', 'SELECT', true);
    ALTER TABLE marketing.company_sidecar ALTER spoilt TYPE spoiling[];
    PERFORM set_config('my.ddl', ddl, true);
    SELECT string_agg(concat_ws(' ', outcome, error), ', ') INTO answer FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "spoilt": ["x"]}, {"company_unique_id": "none", "spoilt": ["x"]}]');
    RAISE EXCEPTION USING MESSAGE = answer, ERRCODE = 'UNDO0';
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(': ', nullif(SQLSTATE, 'UNDO0'), regexp_replace(SQLERRM, '\d{3,}', 'NNN', 'g'));
END $$;
SELECT ddl, try_spoiling(ddl) FROM unnest(ARRAY[
    'ALTER TABLE IF EXISTS marketing.company_sidecar DROP CONSTRAINT IF EXISTS fk_company_sidecar_company',
    'ALTER TABLE marketing.company_sidecar ALTER confidence_score TYPE bigint',
    'ALTER TABLE marketing.company_sidecar DROP COLUMN ein_number',
    'ALTER TABLE marketing.company_sidecar ADD COLUMN IF NOT EXISTS more text',
    'DROP TABLE marketing.company_sidecar',
    'DROP TABLE IF EXISTS marketing.company_master CASCADE',
    'DROP TRIGGER IF EXISTS company_sidecar_updated_at ON marketing.company_sidecar',
    'ALTER TABLE IF EXISTS marketing.company_sidecar RENAME TO gone',
    'ALTER TABLE IF EXISTS marketing.company_master RENAME TO gone']) ddl;
ALTER TABLE marketing.company_sidecar DROP COLUMN spoilt;

-- a table of parked records that somebody else put there
ALTER TABLE marketing.sidecar_rejects OWNER TO regress_sidecar_stranger;
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "none"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
SELECT entity, rejected FROM sidecar_summary();
TABLE bound;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing, marketing_old CASCADE;
DROP TABLE public.mine, pg_temp.mine, pg_temp.ours;
DROP VIEW IF EXISTS bound;
DROP DOMAIN spoiling;
DROP FUNCTION spoil, try_spoiling, try_declaration, library, upsert_ein;
REVOKE CREATE ON SCHEMA public FROM regress_sidecar_stranger;
DROP ROLE regress_sidecar_stranger;
DROP ROLE regress_sidecar_owner;

-- What there is, compared with what there should be: by the catalog, whatever
-- settings a session has; and the tables that might be taken for a sidecar.
SET client_min_messages = warning;
-- nobody doubts that what is taken over has times of UTC
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master VALUES ('c1', 'Acme'), ('c2', 'Globex');
CREATE VIEW wrong AS SELECT kind, object, state, hint FROM sidecar_objects() WHERE state <> 'present' OR hint IS NOT NULL ORDER BY position;
SELECT max(position) = count(*) AS numbered, count(DISTINCT position) = count(*) AS once, min(position), pg_typeof(min(position)) FROM sidecar_objects();

-- indexes: what does not change the queries that they serve does not matter
ALTER INDEX marketing.idx_company_sidecar_payload SET (fastupdate = off);
ALTER INDEX marketing.idx_company_sidecar_ein SET (fillfactor = 80);
ALTER INDEX marketing.idx_company_sidecar_duns RENAME TO "Duns";
DROP INDEX marketing.idx_company_sidecar_source, marketing.idx_people_sidecar_source;
CREATE INDEX source_and_score ON marketing.company_sidecar (enrichment_source varchar_ops) INCLUDE (confidence_score);
CREATE UNIQUE INDEX "Source" ON marketing.people_sidecar (enrichment_source) WITH (deduplicate_items = off);
TABLE wrong;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
SELECT entity, missing_indexes, to_do FROM sidecar_status();
DROP INDEX marketing.source_and_score, marketing."Source";
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
-- what does, does
CREATE FUNCTION like_it(ddl text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
BEGIN
    EXECUTE ddl;
    SELECT o.state INTO state FROM sidecar_objects() o WHERE o.object = 'marketing.idx_company_sidecar_' || current_setting('my.index');
    RAISE EXCEPTION USING MESSAGE = state, ERRCODE = 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
    RETURN SQLERRM;
END $$;
BEGIN;
DROP INDEX marketing.idx_company_sidecar_ein, marketing.idx_company_sidecar_enriched, marketing.idx_company_sidecar_payload;
SET LOCAL my.index = 'ein';
SELECT ddl, like_it('CREATE INDEX ON marketing.company_sidecar ' || ddl) FROM unnest(ARRAY['(ein_number)', 'USING hash (ein_number)', '(ein_number DESC)', '(ein_number NULLS FIRST)', '(ein_number COLLATE "C")',
    '(ein_number text_pattern_ops)', '(ein_number bpchar_ops)', '(ein_number, enrichment_source)', '(lower(ein_number))', '(ein_number) WHERE ein_number IS NOT NULL', '(enrichment_source)']) ddl;
SET LOCAL my.index = 'enriched';
SELECT ddl, like_it('CREATE INDEX ON marketing.company_sidecar ' || ddl) FROM unnest(ARRAY['(last_enriched_at DESC)', '(last_enriched_at DESC NULLS FIRST)', '(last_enriched_at DESC NULLS LAST)', '(last_enriched_at)']) ddl;
SET LOCAL my.index = 'payload';
SELECT ddl, like_it('CREATE INDEX ON marketing.company_sidecar ' || ddl) FROM unnest(ARRAY['USING gin (enrichment_payload)', 'USING gin (enrichment_payload jsonb_path_ops)', '(enrichment_payload)']) ddl;
ROLLBACK;
-- a table whose columns are of other types that may be bound
BEGIN;
ALTER TABLE marketing.company_sidecar ALTER last_enriched_at TYPE timestamptz, ALTER ein_number TYPE text;
TABLE wrong;
ROLLBACK;
-- the index of a partitioned table that its partitions do not have yet
BEGIN;
ALTER TABLE marketing.people_sidecar RENAME TO people_sidecar_0;
CREATE TABLE marketing.people_sidecar (LIKE marketing.people_sidecar_0 INCLUDING DEFAULTS) PARTITION BY HASH (person_unique_id);
DROP TRIGGER people_sidecar_updated_at ON marketing.people_sidecar_0;
ALTER TABLE marketing.people_sidecar ATTACH PARTITION marketing.people_sidecar_0 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX social ON ONLY marketing.people_sidecar USING gin (social_profiles);
TABLE wrong;
ROLLBACK;

-- any valid unique index on the key alone is a key
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_pkey;
SAVEPOINT s;
CREATE UNIQUE INDEX ON marketing.company_sidecar (company_unique_id) WITH (fillfactor = 70);
TABLE wrong;
ROLLBACK TO s;
ALTER TABLE marketing.company_sidecar ADD UNIQUE (company_unique_id) DEFERRABLE;
TABLE wrong;
ROLLBACK TO s;
CREATE UNIQUE INDEX ON marketing.company_sidecar (company_unique_id) WHERE ein_number IS NULL;
CREATE UNIQUE INDEX ON marketing.company_sidecar (company_unique_id, ein_number);
CREATE INDEX ON marketing.company_sidecar (company_unique_id);
TABLE wrong;
-- it is made beside another primary key, and where the name is taken
ALTER TABLE marketing.company_sidecar ADD COLUMN id int PRIMARY KEY;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'marketing.company_sidecar'::regclass AND contype IN ('p', 'u') ORDER BY 1;
ROLLBACK;
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_pkey;
CREATE SEQUENCE marketing.company_sidecar_pkey;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
TABLE wrong;
ROLLBACK;

-- checks: ours by another name is not made twice, a valid one counts
BEGIN;
ALTER TABLE marketing.company_sidecar RENAME CONSTRAINT company_sidecar_confidence_score_check TO score;
SET LOCAL quote_all_identifiers = on;
TABLE wrong;
RESET quote_all_identifiers;
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT company_sidecar_confidence_score_check CHECK (confidence_score >= 0 AND confidence_score <= 100) NOT VALID;
TABLE wrong;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT score;
TABLE wrong;
ALTER TABLE marketing.company_sidecar RENAME CONSTRAINT company_sidecar_confidence_score_check TO score;
TABLE wrong;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT score, ADD CONSTRAINT score CHECK (confidence_score >= 0 AND confidence_score <= 10);
TABLE wrong;
ROLLBACK;

-- whatever a session has set: everything is found, and made
SET quote_all_identifiers = on;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET search_path = marketing, public;
TABLE public.wrong;
SELECT DISTINCT outcome FROM public.sidecar_install();
SELECT to_do FROM public.sidecar_status();
DROP TABLE company_sidecar, people_sidecar, sidecar_rejects;
SELECT outcome, count(*) FROM public.sidecar_install() GROUP BY outcome ORDER BY outcome;
SELECT outcome, count(*) FROM public.sidecar_install() GROUP BY outcome ORDER BY outcome;
TABLE public.wrong;
-- also over the tables of a migration, whose functions are told from others
DROP EXTENSION sidecar CASCADE;
CREATE FUNCTION public.update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END; $$;
CREATE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON company_sidecar FOR EACH ROW EXECUTE FUNCTION public.update_company_sidecar_updated_at();
CREATE EXTENSION sidecar SCHEMA public;
RESET quote_all_identifiers;
RESET standard_conforming_strings;
RESET escape_string_warning;
RESET search_path;
SELECT p.oid::regprocedure, l.lanname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.proname ~ 'update_company_sidecar' ORDER BY 1;
CREATE VIEW wrong AS SELECT kind, object, state, hint FROM sidecar_objects() WHERE state <> 'present' OR hint IS NOT NULL ORDER BY position;
TABLE wrong;

-- nothing is locked by which somebody without rights could stop it, nor anything
-- else where there is nothing to make
CREATE VIEW locks AS SELECT locktype, relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype NOT IN ('virtualxid', 'transactionid')
    AND (locktype <> 'relation' OR mode <> 'AccessShareLock') AND (relation IS NULL OR relation > 16383) ORDER BY 2, 3;
BEGIN;
SELECT count(*) FROM sidecar_install();
TABLE locks;
DROP INDEX marketing.idx_people_sidecar_source;
ROLLBACK;
DROP INDEX marketing.idx_people_sidecar_source;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_confidence_score_check;
BEGIN;
SELECT sidecar_lock_tables();
TABLE locks;
ROLLBACK;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';

-- a trigger function of ours that a migration has replaced
CREATE OR REPLACE FUNCTION update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
SELECT kind, object, state FROM wrong;
SELECT entity, trigger_enabled, unnest(to_do) AS to_do FROM sidecar_status();
SELECT object, outcome, hint = (SELECT hint FROM wrong) AS same_hint FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
ALTER TABLE marketing.company_sidecar DISABLE TRIGGER company_sidecar_updated_at;
SELECT unnest(string_to_array(hint, '; ')) AS hint FROM wrong;
ALTER TABLE marketing.company_sidecar ENABLE TRIGGER company_sidecar_updated_at;
SELECT substring(hint FROM 'CREATE OR REPLACE.*') FROM wrong \gexec
TABLE wrong;
-- by another function of the library, or one of the same name of another library
DO $$ BEGIN EXECUTE format('CREATE OR REPLACE FUNCTION update_people_sidecar_updated_at() RETURNS trigger AS %L, ''update_company_sidecar_updated_at'' LANGUAGE C', (SELECT probin FROM pg_proc WHERE proname = 'sidecar_coverage')); END $$;
SELECT hint FROM wrong;
SELECT substring(hint FROM 'CREATE OR REPLACE.*') FROM wrong \gexec
TABLE wrong;

-- what might be taken for the sidecar, and is not
SELECT * FROM sidecar_unbound_tables();
CREATE SCHEMA marketing_old;
-- a copy in another schema: without the trigger, with it, with no more than the columns or the name
CREATE TABLE marketing_old.company_sidecar (LIKE marketing.company_sidecar INCLUDING ALL);
CREATE TABLE marketing_old.people_sidecar (LIKE marketing.people_sidecar INCLUDING ALL);
CREATE TRIGGER x BEFORE UPDATE ON marketing_old.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at();
CREATE TABLE marketing_old."Copy" (LIKE marketing.company_sidecar);
CREATE TABLE marketing_old.half_a_copy (LIKE marketing.company_sidecar);
ALTER TABLE marketing_old.half_a_copy DROP COLUMN enrichment_payload;
CREATE SCHEMA other;
CREATE TABLE other.company_sidecar (a int);
CREATE TABLE other.notes (updated_at timestamp);
CREATE TRIGGER x BEFORE UPDATE ON other.notes FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
-- but not what cannot be
CREATE TEMP TABLE company_sidecar (LIKE marketing.company_sidecar);
CREATE TRIGGER x BEFORE UPDATE ON company_sidecar FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
CREATE FOREIGN DATA WRAPPER none;
CREATE SERVER none FOREIGN DATA WRAPPER none;
CREATE FOREIGN TABLE other.foreign_copy (company_unique_id text, enrichment_source text, confidence_score numeric, last_enriched_at timestamp, enrichment_payload jsonb) SERVER none;
CREATE VIEW other.people_sidecar AS TABLE marketing.people_sidecar;
CREATE FUNCTION pg_catalog.relation_is_a_known_shard(regclass) RETURNS boolean LANGUAGE sql AS $$ SELECT $1::text ~ '_102008$' $$;
CREATE TABLE marketing.company_sidecar_102008 (LIKE marketing.company_sidecar);
CREATE TRIGGER x BEFORE UPDATE ON marketing.company_sidecar_102008 FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
\x
SELECT * FROM sidecar_unbound_tables();
\x
DROP FUNCTION pg_catalog.relation_is_a_known_shard(regclass);
DROP FOREIGN DATA WRAPPER none CASCADE;
DROP TABLE marketing.company_sidecar_102008;
DROP SCHEMA marketing_old, other CASCADE;
DROP TABLE pg_temp.company_sidecar;
SELECT * FROM sidecar_unbound_tables();
-- partitions belong to their table
BEGIN;
CREATE TABLE marketing.p (LIKE marketing.company_sidecar) PARTITION BY HASH (company_unique_id);
CREATE TABLE marketing.p_0 PARTITION OF marketing.p FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TRIGGER x BEFORE UPDATE ON marketing.p FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
SELECT sidecar_table FROM sidecar_unbound_tables();
ROLLBACK;
-- tables swapped by renaming them: the mark stays where it was, which only who did it can tell
SELECT sidecar_upsert_company('c1', '1');
CREATE TABLE marketing.company_sidecar_new (LIKE marketing.company_sidecar INCLUDING ALL);
INSERT INTO marketing.company_sidecar_new TABLE marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar RENAME TO company_sidecar_retired;
ALTER TABLE marketing.company_sidecar_new RENAME TO company_sidecar;
SELECT sidecar FROM sidecar_entity_bindings() WHERE entity = 'company';
SELECT * FROM sidecar_unbound_tables();
-- and what it says is right
SELECT command || ';' FROM sidecar_unbound_tables(), regexp_split_to_table(substring(to_do FROM 'DROP TRIGGER.*'), '; ') command WHERE command ~ 'TRIGGER' \gexec
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT sidecar FROM sidecar_entity_bindings() WHERE entity = 'company';
TABLE wrong;
SELECT * FROM sidecar_unbound_tables();
SELECT sidecar_upsert_company('c1', '2');
SELECT s.tableoid::regclass, ein_number FROM marketing.company_sidecar s UNION ALL SELECT s.tableoid::regclass, ein_number FROM marketing.company_sidecar_retired s;
DROP TABLE marketing.company_sidecar_retired;
-- where nothing is bound, the one of the name is sidecar_install()'s business, any other is not
ALTER TABLE marketing.company_sidecar SET SCHEMA public;
DROP TRIGGER company_sidecar_updated_at ON public.company_sidecar;
SELECT * FROM sidecar_unbound_tables();
ALTER TABLE public.company_sidecar SET SCHEMA marketing;
SELECT * FROM sidecar_unbound_tables();
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';

DROP VIEW wrong, locks;
DROP FUNCTION like_it;
-- the name of the foreign key, which something else has
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company,
    ADD CONSTRAINT fk_company_sidecar_company CHECK (company_unique_id <> '');
SELECT unnest(to_do) AS to_do FROM sidecar_status() WHERE entity = 'company';
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
ROLLBACK;
-- a foreign key whose triggers are off, on either side, and parked records that
-- have no table
ALTER TABLE marketing.company_sidecar DISABLE TRIGGER ALL;
ALTER TABLE marketing.company_master DISABLE TRIGGER ALL;
SELECT unnest(to_do) AS to_do FROM sidecar_status() WHERE entity = 'company';
ALTER TABLE marketing.company_sidecar ENABLE TRIGGER ALL;
ALTER TABLE marketing.company_master ENABLE TRIGGER ALL;
ALTER TABLE marketing.sidecar_rejects RENAME TO parked;
SELECT entity, sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
DROP TABLE marketing.parked;
SELECT entity, sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT entity, sidecar_table, to_do FROM sidecar_status();

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

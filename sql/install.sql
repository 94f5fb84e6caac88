-- CREATE EXTENSION and sidecar_install(): what there is afterwards, and
-- what happens with both masters, with one, with none, and during a restore.
SET client_min_messages = warning;
-- nobody doubts that what is taken over has times of UTC
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY, company_name text);
CREATE TABLE marketing.people_master (unique_id varchar(50) PRIMARY KEY, full_name text, title text, email text);

CREATE EXTENSION sidecar;

-- tables created
SELECT table_schema, table_name
FROM information_schema.tables
WHERE table_name IN ('company_sidecar', 'people_sidecar')
AND table_schema = 'marketing';
-- column counts
SELECT table_name, count(*) || ' columns' AS columns
FROM information_schema.columns
WHERE table_schema = 'marketing' AND table_name IN ('company_sidecar', 'people_sidecar')
GROUP BY table_name ORDER BY table_name;
-- foreign keys
SELECT conname, conrelid::regclass || '.' || (SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]) || ' -> ' ||
       confrelid::regclass || '.' || (SELECT attname FROM pg_attribute WHERE attrelid = confrelid AND attnum = confkey[1]) AS key,
       confdeltype = 'c' AS on_delete_cascade, convalidated
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'marketing'::regnamespace ORDER BY conname;
-- indexes
SELECT tablename, count(*) || ' indexes' AS indexes FROM pg_indexes
WHERE schemaname = 'marketing' AND tablename IN ('company_sidecar', 'people_sidecar') GROUP BY tablename ORDER BY tablename;
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'marketing' AND tablename IN ('company_sidecar', 'people_sidecar') ORDER BY tablename, indexname;
-- triggers
SELECT tgrelid::regclass AS table, tgname, tgfoid::regprocedure FROM pg_trigger WHERE NOT tgisinternal AND tgname ~ 'updated_at|other' ORDER BY tgname;
-- and the tables in full, with comments
\d marketing.company_sidecar
\d marketing.people_sidecar
\d marketing.sidecar_rejects
SELECT c.relname, a.attname, COALESCE(col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')) AS comment
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND (a.attnum > 0 OR a.attname = 'tableoid')
WHERE c.relnamespace = 'marketing'::regnamespace AND (c.relname ~ 'sidecar' AND c.relkind = 'r') ORDER BY c.relname, a.attnum;

-- code is the extension's, data is the user's: no table, sequence or schema is a member
SELECT type, count(*) > 0 AS members FROM pg_depend d, pg_identify_object(classid, objid, objsubid)
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sidecar')
  AND deptype = 'e' AND type !~ 'type'
GROUP BY type ORDER BY type;
-- every member tells what it is for
SELECT identity FROM pg_depend d, pg_identify_object(classid, objid, objsubid)
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sidecar')
  AND deptype = 'e' AND type !~ 'type' AND obj_description(d.objid, d.classid::regclass::name) IS NULL;

-- idempotent: all is present, nothing is made
SELECT * FROM sidecar_install();
SELECT * FROM sidecar_status();

-- what is missing is made, and nothing else
DROP INDEX marketing.idx_company_sidecar_ein;
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person, DROP COLUMN clay_insight_summary;
ALTER TABLE marketing.company_sidecar DISABLE TRIGGER company_sidecar_updated_at;
SELECT entity, foreign_key_present, trigger_enabled, missing_indexes, to_do FROM sidecar_status();
SELECT * FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
ALTER TABLE marketing.company_sidecar ENABLE TRIGGER company_sidecar_updated_at;
SELECT entity, to_do FROM sidecar_status();
-- an index that is the same by another name will do; one that an interrupted build left does not
ALTER INDEX marketing.idx_company_sidecar_ein RENAME TO ein;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'marketing.idx_people_sidecar_source'::regclass;
SELECT entity, missing_indexes, to_do FROM sidecar_status();
SELECT * FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
REINDEX INDEX marketing.idx_people_sidecar_source;
SELECT entity, missing_indexes, to_do FROM sidecar_status();

-- DROP EXTENSION refuses while its triggers stand on the tables; CASCADE keeps every row
INSERT INTO marketing.company_master VALUES ('c1', 'Acme');
SELECT sidecar_upsert_company('c1', ein_number => '12-3456789');
\set VERBOSITY terse
DROP EXTENSION sidecar;
DROP EXTENSION sidecar CASCADE;
\set VERBOSITY default
SELECT company_unique_id, ein_number FROM marketing.company_sidecar;
SELECT count(*) AS indexes FROM pg_indexes WHERE schemaname = 'marketing' AND tablename = 'company_sidecar';
SELECT conname FROM pg_constraint WHERE conrelid = 'marketing.company_sidecar'::regclass AND contype <> 'n' ORDER BY conname;
-- and CREATE EXTENSION picks up where it was
CREATE EXTENSION sidecar;
SELECT sidecar_upsert_company('c1', dun_and_bradstreet_number => '123456789');
SELECT company_unique_id, ein_number, dun_and_bradstreet_number FROM marketing.company_sidecar;
DROP EXTENSION sidecar CASCADE;

-- one master: the other waits, and attaches when it comes
DROP SCHEMA marketing CASCADE;
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY, company_name text);
CREATE EXTENSION sidecar;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
SELECT entity, master_table, foreign_key_present, foreign_key_validated, orphan_rows, to_do FROM sidecar_status();
SELECT * FROM sidecar_coverage();
CREATE TABLE marketing.people_master (unique_id text PRIMARY KEY);
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- no master, not even the schema: sidecar_create_masters() makes minimal ones
CREATE EXTENSION sidecar;
SELECT entity, to_do FROM sidecar_status();
SELECT * FROM sidecar_create_masters() WHERE outcome <> 'present';
SELECT count(*) AS objects, count(*) FILTER (WHERE outcome = 'present') AS present FROM sidecar_create_masters();
\d marketing.company_master
\d marketing.people_master
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- the extension's functions in a schema of their own
CREATE SCHEMA "Side Car";
CREATE EXTENSION sidecar SCHEMA "Side Car";
SELECT count(*) > 0 AS made FROM "Side Car".sidecar_create_masters();
INSERT INTO marketing.company_master VALUES ('c1', 'Acme');
SELECT "Side Car".sidecar_upsert_company('c1');
SELECT * FROM "Side Car".sidecar_coverage();
SELECT entity, to_do FROM "Side Car".sidecar_status();
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP SCHEMA "Side Car";

-- a restore brings its own tables: nothing is made, quietly; errors say what to
-- do, and reports on all entities know nothing
SET row_security = off;
CREATE EXTENSION sidecar;
RESET row_security;
SELECT count(*) FROM pg_namespace WHERE nspname = 'marketing';
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_stale_companies();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_coverage();
SELECT entity, sidecar_table, trigger_enabled, array_length(to_do, 1) AS to_do, to_do[1] FROM sidecar_status();
SELECT outcome, count(*) FROM sidecar_install() GROUP BY outcome ORDER BY outcome;
SELECT entity, total FROM sidecar_coverage();

-- rows without a master: the key is NOT VALID, and a warning counts them
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_confidence_score_check;
INSERT INTO marketing.company_sidecar (company_unique_id, confidence_score) VALUES ('orphan 1', 50), ('orphan 2', 150);
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
SELECT entity, foreign_key_present, foreign_key_validated, orphan_rows, to_do FROM sidecar_status() WHERE entity = 'company';
SELECT * FROM sidecar_coverage() WHERE entity = 'company';
-- new rows are checked all the same
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('orphan 3');
\echo :LAST_ERROR_SQLSTATE

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

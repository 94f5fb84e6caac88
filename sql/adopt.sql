-- CREATE EXTENSION over the tables that the plain SQL migration made.
SET client_min_messages = warning;
-- nobody doubts that what is taken over has times of UTC
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
\set SHOW_CONTEXT never
\getenv srcdir PG_ABS_SRCDIR
\set migration :srcdir '/test/migration.sql'
\set ECHO none
\i :migration
\set ECHO all
CREATE ROLE regress_sidecar_app;

-- rows, grants, a policy, and a user's own index, column, view and trigger
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 5) i;
INSERT INTO marketing.company_sidecar (company_unique_id, ein_number, confidence_score, created_at, updated_at)
SELECT 'c' || i, i, 10 * i, '2025-11-18', '2025-11-18' FROM generate_series(1, 3) i;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_app;
GRANT SELECT, UPDATE ON marketing.company_sidecar TO regress_sidecar_app;
GRANT SELECT ON marketing.company_master, marketing.people_master, marketing.people_sidecar TO regress_sidecar_app;
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY app ON marketing.company_sidecar TO regress_sidecar_app USING (company_unique_id <> 'c3');
ALTER TABLE marketing.company_sidecar ADD COLUMN note text DEFAULT 'mine';
CREATE INDEX mine ON marketing.company_sidecar (note);
CREATE VIEW marketing.enriched AS SELECT company_unique_id, confidence_score FROM marketing.company_sidecar;
CREATE TABLE marketing.log (n int);
CREATE FUNCTION marketing.log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO marketing.log VALUES (1); RETURN NULL; END $$;
CREATE TRIGGER log AFTER UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION marketing.log();

-- what the catalogs say of the tables, but for the two triggers
CREATE VIEW catalog AS
    SELECT 'column' AS what, attrelid::regclass || '.' || attname AS name, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)) AS said
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid IN ('marketing.company_sidecar'::regclass, 'marketing.people_sidecar'::regclass) AND attnum > 0
    UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN ('marketing.company_sidecar'::regclass, 'marketing.people_sidecar'::regclass)
    UNION ALL SELECT 'constraint', conname, concat_ws(' ', conrelid::regclass, pg_get_constraintdef(oid), convalidated) FROM pg_constraint WHERE connamespace = 'marketing'::regnamespace AND contype <> 'n'
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgname !~ 'updated_at'
    UNION ALL SELECT 'policy', policyname, qual FROM pg_policies
    UNION ALL SELECT 'table', relname, concat_ws(' ', replace(relacl::text, CURRENT_USER, ''), relrowsecurity, pg_get_userbyid(relowner) = CURRENT_USER, obj_description(oid, 'pg_class')) FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind = 'r';
CREATE TEMPORARY TABLE catalog_before AS TABLE catalog;
CREATE TEMPORARY TABLE company_before AS TABLE marketing.company_sidecar;

CREATE EXTENSION sidecar;

-- nothing is gone; what is new
SELECT * FROM catalog_before EXCEPT TABLE catalog;
SELECT what, name FROM catalog EXCEPT SELECT what, name FROM catalog_before ORDER BY 1, 2;
SELECT count(*) AS same FROM (TABLE marketing.company_sidecar INTERSECT TABLE company_before) same;
SELECT tgname, tgrelid::regclass, l.lanname, p.pronamespace::regnamespace FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid JOIN pg_language l ON l.oid = prolang
WHERE NOT tgisinternal AND tgname ~ 'updated_at' ORDER BY 1;
SELECT proname, lanname FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE proname ~ 'sidecar_updated_at' ORDER BY 1;
SELECT * FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
SELECT entity, foreign_key_validated, to_do FROM sidecar_status();
-- and it works
SELECT sidecar_upsert_company('c1', '99', last_enriched_at => '2026-01-01'), sidecar_upsert_company('c4', '4');
SELECT ein_number, note, created_at, updated_at > '2026-01-01' AS updated, (SELECT count(*) FROM marketing.log) AS logged FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
SET ROLE regress_sidecar_app;
SELECT count(*) FROM marketing.company_sidecar;
SELECT enriched FROM sidecar_coverage() WHERE entity = 'company';
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
DROP EXTENSION sidecar CASCADE;
DROP VIEW catalog;
DROP SCHEMA marketing CASCADE;

-- the functions in schema marketing
\set ECHO none
\i :migration
\set ECHO all
ALTER FUNCTION update_company_sidecar_updated_at() SET SCHEMA marketing;
ALTER FUNCTION update_people_sidecar_updated_at() SET SCHEMA marketing;
CREATE EXTENSION sidecar;
SELECT tgname, tgfoid::regprocedure FROM pg_trigger WHERE NOT tgisinternal AND tgname ~ 'updated_at|other' ORDER BY 1;
SELECT pronamespace::regnamespace, proname FROM pg_proc WHERE proname ~ 'sidecar_updated_at' ORDER BY 2;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- a function whose body was edited, and one that another trigger uses: kept, with a warning
\set ECHO none
\i :migration
\set ECHO all
CREATE OR REPLACE FUNCTION update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = clock_timestamp();
    RETURN NEW;
END $$;
CREATE TABLE marketing.other (a int, updated_at timestamp);
CREATE TRIGGER other BEFORE UPDATE ON marketing.other FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at();
CREATE EXTENSION sidecar;
SELECT tgname, tgfoid::regprocedure FROM pg_trigger WHERE NOT tgisinternal AND tgname ~ 'updated_at|other' ORDER BY 1;
SELECT proname, prosrc ~ 'clock' AS edited FROM pg_proc WHERE proname ~ 'sidecar_updated_at' AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') ORDER BY 1;
INSERT INTO marketing.other VALUES (1);
UPDATE marketing.other SET a = 2;
SELECT updated_at > '2025-01-01' AS updated FROM marketing.other;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP FUNCTION update_company_sidecar_updated_at_replaced(), update_people_sidecar_updated_at_replaced();

-- what cannot serve is refused with a reason, nothing changed
\set ECHO none
\i :migration
\set ECHO all
ALTER TABLE marketing.company_sidecar ALTER COLUMN confidence_score TYPE integer, ALTER COLUMN clay_tags TYPE text;
CREATE EXTENSION sidecar;
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pg_extension WHERE extname = 'sidecar';
SELECT tgname, tgfoid::regprocedure FROM pg_trigger WHERE NOT tgisinternal AND tgname ~ 'updated_at|other' ORDER BY 1;
SELECT to_regclass('marketing.sidecar_rejects');
ALTER TABLE marketing.company_sidecar RENAME COLUMN company_unique_id TO id;
CREATE EXTENSION sidecar;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE marketing.company_sidecar;
CREATE VIEW marketing.company_sidecar AS SELECT 1 AS a;
CREATE EXTENSION sidecar;
\echo :LAST_ERROR_SQLSTATE
DROP VIEW marketing.company_sidecar;
CREATE UNLOGGED TABLE marketing.company_sidecar (company_unique_id varchar(50) PRIMARY KEY);
CREATE EXTENSION sidecar;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE marketing.company_sidecar;
-- but a table that only lacks columns gets them
CREATE TABLE marketing.company_sidecar (company_unique_id varchar(50), ein_number varchar(20));
CREATE EXTENSION sidecar;
SELECT attname FROM pg_attribute WHERE attrelid = 'marketing.company_sidecar'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname FROM pg_constraint WHERE conrelid = 'marketing.company_sidecar'::regclass AND contype <> 'n' ORDER BY 1;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP FUNCTION IF EXISTS update_company_sidecar_updated_at_replaced(), update_company_sidecar_updated_at(), update_people_sidecar_updated_at();

-- an index name that something else has: the index waits
\set ECHO none
\i :migration
\set ECHO all
DROP INDEX marketing.idx_company_sidecar_ein, marketing.idx_company_sidecar_source;
CREATE TABLE marketing.idx_company_sidecar_ein (a int);
CREATE INDEX idx_company_sidecar_source ON marketing.company_sidecar (enrichment_source) WHERE enrichment_source = 'clay';
CREATE EXTENSION sidecar;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
ALTER INDEX marketing.idx_company_sidecar_source RENAME TO clay;
ALTER TABLE marketing.idx_company_sidecar_ein RENAME TO other;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- tables that an ordinary role owns stay its own
CREATE ROLE regress_sidecar_owner;
\set ECHO none
\i :migration
\set ECHO all
ALTER SCHEMA marketing OWNER TO regress_sidecar_owner;
ALTER TABLE marketing.company_sidecar OWNER TO regress_sidecar_owner;
ALTER TABLE marketing.people_sidecar OWNER TO regress_sidecar_owner;
ALTER TABLE marketing.company_master OWNER TO regress_sidecar_owner;
ALTER TABLE marketing.people_master OWNER TO regress_sidecar_owner;
ALTER FUNCTION update_company_sidecar_updated_at() OWNER TO regress_sidecar_owner;
-- an owner has to be given the mark: a name is no right
CREATE EXTENSION sidecar;
SELECT object, outcome, hint FROM sidecar_install() WHERE object ~ 'sidecar' AND outcome <> 'present';
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
SELECT unnest(to_do) AS to_do FROM sidecar_status() WHERE entity = 'company';
GRANT EXECUTE ON FUNCTION update_company_sidecar_updated_at(), update_people_sidecar_updated_at(), sidecar_rejects_mark() TO regress_sidecar_owner;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT relname, pg_get_userbyid(relowner) = 'regress_sidecar_owner' AS own FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relname ~ '(company|people)' ORDER BY 1;
SET ROLE regress_sidecar_owner;
INSERT INTO marketing.company_master VALUES ('c1', 'Acme');
SELECT sidecar_upsert_company('c1');
SELECT outcome, count(*) FROM sidecar_install() GROUP BY outcome ORDER BY outcome;
RESET ROLE;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- scores out of bounds are kept; new ones are checked
\set ECHO none
\i :migration
\set ECHO all
INSERT INTO marketing.company_master VALUES ('c1', 'Acme'), ('c2', 'Globex');
INSERT INTO marketing.company_sidecar (company_unique_id, confidence_score) VALUES ('c1', 150), ('c2', 'NaN');
CREATE EXTENSION sidecar;
SELECT company_unique_id, confidence_score FROM marketing.company_sidecar ORDER BY 1;
SELECT entity, to_do FROM sidecar_status() WHERE entity = 'company';
\set VERBOSITY terse
UPDATE marketing.company_sidecar SET confidence_score = 101 WHERE company_unique_id = 'c2';
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', confidence_score => 15);
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- hostile objects: whatever an ordinary role plants in public and in marketing,
-- none of it runs when a superuser installs
GRANT CREATE ON SCHEMA public TO regress_sidecar_owner;
CREATE SCHEMA marketing AUTHORIZATION regress_sidecar_owner;
SET ROLE regress_sidecar_owner;
CREATE FUNCTION public.sprung() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF CURRENT_USER <> 'regress_sidecar_owner' THEN
        RAISE EXCEPTION 'hostile code ran as %', CURRENT_USER;
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION public.trap_text(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.sprung()';
CREATE FUNCTION public.trap_name(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.sprung()';
CREATE FUNCTION public.trap_oid(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT public.sprung()';
CREATE FUNCTION public.trap_varchar(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT public.sprung()';
CREATE FUNCTION public.trap_numeric(numeric, integer) RETURNS boolean LANGUAGE sql AS 'SELECT public.sprung()';
CREATE FUNCTION public.trap_concat(text, name) RETURNS text LANGUAGE sql AS 'SELECT public.sprung()::text';
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap_text);
CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap_text);
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.trap_name);
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.trap_oid);
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.trap_varchar);
CREATE OPERATOR public.>= (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.trap_numeric);
CREATE OPERATOR public.<= (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.trap_numeric);
CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = name, FUNCTION = public.trap_concat);
CREATE FUNCTION public.format(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT public.sprung()::text';
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM public.sprung(); RETURN pg_catalog.now(); END';
CREATE FUNCTION public.count() RETURNS bigint LANGUAGE sql AS 'SELECT public.sprung()::int::bigint';
CREATE FUNCTION public.update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.sprung(); RETURN NEW; END $$;
CREATE TYPE public.regclass AS ENUM ('trap');
CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY DEFAULT public.sprung()::text, company_name text);
INSERT INTO marketing.company_master VALUES ('c1', 'Acme');
CREATE TABLE marketing.company_sidecar (company_unique_id varchar(50) PRIMARY KEY, clay_tags text[],
    trap text DEFAULT public.sprung()::text, CHECK (public.sprung()));
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('c1'), ('orphan');
CREATE INDEX trap ON marketing.company_sidecar (trap) WHERE trap <> '';
CREATE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION public.update_company_sidecar_updated_at();
CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION public.update_company_sidecar_updated_at();
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY trap ON marketing.company_sidecar USING (public.sprung());
RESET ROLE;
CREATE EXTENSION sidecar;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
-- nor when somebody trusts him
GRANT EXECUTE ON FUNCTION public.update_company_sidecar_updated_at() TO regress_sidecar_owner;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT * FROM sidecar_coverage() WHERE entity = 'company';
SELECT entity, foreign_key_validated, orphan_rows FROM sidecar_status() WHERE entity = 'company';
SELECT count(*) FROM sidecar_stale_companies();
SELECT tgname, tgfoid::pg_catalog.regprocedure FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'marketing.company_sidecar'::pg_catalog.regclass ORDER BY 1;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP OWNED BY regress_sidecar_owner CASCADE;

DROP ROLE regress_sidecar_app;
DROP ROLE regress_sidecar_owner;

/* sidecar--1.0.sql: enrichment data beside master data */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION sidecar" to load this file. \quit

-- Nothing that others put into the extension's schema is ever found by name.
SET LOCAL search_path TO pg_catalog, pg_temp;


-- ---------------------------------------------------------------------------
-- A plain SQL migration may have made trigger functions of our names in this
-- very schema.  They make room; sidecar_install() drops those that are the
-- migration's own, once their triggers are replaced.
-- ---------------------------------------------------------------------------

DO $$
DECLARE
    old regprocedure;
BEGIN
    FOR old IN
        SELECT p.oid
        FROM pg_proc p
        JOIN pg_extension e ON e.extnamespace = p.pronamespace AND e.extname = 'sidecar'
        WHERE p.proname IN ('update_company_sidecar_updated_at', 'update_people_sidecar_updated_at')
          AND p.pronargs = 0
          AND p.prorettype = 'trigger'::regtype
    LOOP
        EXECUTE format('ALTER FUNCTION %s RENAME TO %I', old,
                       (SELECT p.proname || '_replaced' ||
                               CASE WHEN EXISTS (SELECT FROM pg_proc o WHERE o.proname = p.proname || '_replaced'
                                                 AND o.pronamespace = p.pronamespace) THEN '_' || p.oid ELSE '' END
                        FROM pg_proc p WHERE p.oid = old));
    END LOOP;
END
$$;


-- ---------------------------------------------------------------------------
-- Triggers: updated_at
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.update_company_sidecar_updated_at()
RETURNS trigger
AS 'MODULE_PATHNAME', 'update_company_sidecar_updated_at'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.update_company_sidecar_updated_at() IS
'trigger BEFORE UPDATE FOR EACH ROW: updated_at becomes now(); the table that carries it is the company sidecar';

CREATE FUNCTION @extschema@.update_people_sidecar_updated_at()
RETURNS trigger
AS 'MODULE_PATHNAME', 'update_people_sidecar_updated_at'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.update_people_sidecar_updated_at() IS
'trigger BEFORE UPDATE FOR EACH ROW: updated_at becomes now(); the table that carries it is the people sidecar';

-- A table with one of these triggers is where everybody's enrichment goes: a
-- right, which a table's owner has to hold.  Owners of the database have it, so
-- that they restore their dumps; others are given it.
REVOKE EXECUTE ON FUNCTION @extschema@.update_company_sidecar_updated_at(),
                           @extschema@.update_people_sidecar_updated_at() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.update_company_sidecar_updated_at(),
                          @extschema@.update_people_sidecar_updated_at() TO pg_database_owner;


-- ---------------------------------------------------------------------------
-- One record
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_upsert_company(
    company_unique_id text,
    ein_number text DEFAULT NULL,
    dun_and_bradstreet_number text DEFAULT NULL,
    clay_tags text[] DEFAULT NULL,
    clay_segments text[] DEFAULT NULL,
    enrichment_payload jsonb DEFAULT NULL,
    last_enriched_at timestamptz DEFAULT NULL,
    enrichment_source text DEFAULT NULL,
    confidence_score numeric DEFAULT NULL,
    on_conflict text DEFAULT 'overwrite')
RETURNS text
AS 'MODULE_PATHNAME', 'sidecar_upsert_company'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_company(text, text, text, text[], text[], jsonb, timestamptz, text, numeric, text) IS
'stores what a source says of a company; NULL leaves a stored value, on_conflict is overwrite, newest, most_confident or fill; answers inserted, updated, unchanged or skipped';

CREATE FUNCTION @extschema@.sidecar_upsert_person(
    person_unique_id text,
    clay_insight_summary text DEFAULT NULL,
    clay_segments text[] DEFAULT NULL,
    social_profiles jsonb DEFAULT NULL,
    enrichment_payload jsonb DEFAULT NULL,
    last_enriched_at timestamptz DEFAULT NULL,
    enrichment_source text DEFAULT NULL,
    confidence_score numeric DEFAULT NULL,
    on_conflict text DEFAULT 'overwrite')
RETURNS text
AS 'MODULE_PATHNAME', 'sidecar_upsert_person'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_person(text, text, text[], jsonb, jsonb, timestamptz, text, numeric, text) IS
'stores what a source says of a person; NULL leaves a stored value, on_conflict is overwrite, newest, most_confident or fill; answers inserted, updated, unchanged or skipped';


-- ---------------------------------------------------------------------------
-- Many records
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_upsert_companies(records jsonb, on_conflict text DEFAULT 'overwrite')
RETURNS TABLE (record bigint, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_upsert_companies'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_companies(jsonb, text) IS
'stores a JSON array of company records, or one; a row per record tells what became of it; a bad one is rejected and parked, and costs the others nothing';

CREATE FUNCTION @extschema@.sidecar_upsert_people(records jsonb, on_conflict text DEFAULT 'overwrite')
RETURNS TABLE (record bigint, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_upsert_people'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_people(jsonb, text) IS
'stores a JSON array of person records, or one; a row per record tells what became of it; a bad one is rejected and parked, and costs the others nothing';

CREATE FUNCTION @extschema@.sidecar_retry_rejects(max_rows bigint DEFAULT NULL)
RETURNS TABLE (reject_id bigint, entity text, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_retry_rejects'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_retry_rejects(bigint) IS
'tries parked records again, oldest first, at most max_rows: those that can be stored now leave marketing.sidecar_rejects';

CREATE FUNCTION @extschema@.sidecar_inbox_insert()
RETURNS trigger
AS 'MODULE_PATHNAME', 'sidecar_inbox_insert'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_inbox_insert() IS
'trigger of an inbox view, INSTEAD OF INSERT for each row and AFTER INSERT for each statement: stores the rows as the upsert functions do, by the rule overwrite';

REVOKE EXECUTE ON FUNCTION @extschema@.sidecar_inbox_insert() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.sidecar_inbox_insert() TO pg_database_owner;

CREATE VIEW @extschema@.sidecar_company_inbox AS
SELECT NULL::text AS company_unique_id, NULL::text AS ein_number, NULL::text AS dun_and_bradstreet_number,
       NULL::text[] AS clay_tags, NULL::text[] AS clay_segments, NULL::jsonb AS enrichment_payload,
       NULL::timestamptz AS last_enriched_at, NULL::text AS enrichment_source, NULL::numeric AS confidence_score
WHERE false;

COMMENT ON VIEW @extschema@.sidecar_company_inbox IS
'INSERT or COPY company records into it: each is stored as by sidecar_upsert_company(); it is always empty';

CREATE TRIGGER sidecar_inbox_row INSTEAD OF INSERT ON @extschema@.sidecar_company_inbox
FOR EACH ROW EXECUTE FUNCTION @extschema@.sidecar_inbox_insert('company');
CREATE TRIGGER sidecar_inbox_statement AFTER INSERT ON @extschema@.sidecar_company_inbox
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.sidecar_inbox_insert();

CREATE VIEW @extschema@.sidecar_people_inbox AS
SELECT NULL::text AS person_unique_id, NULL::text AS clay_insight_summary, NULL::text[] AS clay_segments,
       NULL::jsonb AS social_profiles, NULL::jsonb AS enrichment_payload,
       NULL::timestamptz AS last_enriched_at, NULL::text AS enrichment_source, NULL::numeric AS confidence_score
WHERE false;

COMMENT ON VIEW @extschema@.sidecar_people_inbox IS
'INSERT or COPY person records into it: each is stored as by sidecar_upsert_person(); it is always empty';

CREATE TRIGGER sidecar_inbox_row INSTEAD OF INSERT ON @extschema@.sidecar_people_inbox
FOR EACH ROW EXECUTE FUNCTION @extschema@.sidecar_inbox_insert('people');
CREATE TRIGGER sidecar_inbox_statement AFTER INSERT ON @extschema@.sidecar_people_inbox
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.sidecar_inbox_insert();


-- ---------------------------------------------------------------------------
-- Reports
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_coverage()
RETURNS TABLE (entity text, total bigint, enriched bigint, enrichment_coverage_pct numeric)
AS 'MODULE_PATHNAME', 'sidecar_coverage'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 2;

COMMENT ON FUNCTION @extschema@.sidecar_coverage() IS
'how many masters have enrichment, and which percentage that is, per entity';

CREATE FUNCTION @extschema@.sidecar_summary(
    older_than interval DEFAULT '90 days', below numeric DEFAULT 70, exact boolean DEFAULT true)
RETURNS TABLE (
    entity text, total bigint, enriched bigint, enrichment_coverage_pct numeric, stale bigint,
    low_confidence bigint, undated bigint, rejected bigint, oldest_enrichment timestamp,
    latest_enrichment timestamp, statistics_at timestamptz)
AS 'MODULE_PATHNAME', 'sidecar_summary'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 2;

COMMENT ON FUNCTION @extschema@.sidecar_summary(interval, numeric, boolean) IS
'all of it in a row per entity: coverage, how many rows are stale, of low confidence and undated, how many records are parked; with exact => false all figures are estimates by the statistics of statistics_at, NULL where there are none, and no table is read';

CREATE FUNCTION @extschema@.sidecar_field_coverage()
RETURNS TABLE (entity text, field text, filled bigint, filled_pct numeric)
AS 'MODULE_PATHNAME', 'sidecar_field_coverage'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 20;

COMMENT ON FUNCTION @extschema@.sidecar_field_coverage() IS
'for each column of the sidecar tables, how many masters have it filled, and which percentage that is';

CREATE FUNCTION @extschema@.sidecar_sources()
RETURNS TABLE (
    entity text, enrichment_source text, total_enrichments bigint, avg_confidence numeric,
    latest_enrichment timestamp)
AS 'MODULE_PATHNAME', 'sidecar_sources'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 20;

COMMENT ON FUNCTION @extschema@.sidecar_sources() IS
'what each source delivered, how confident it was on average and when it last did; most reliable first';

CREATE FUNCTION @extschema@.sidecar_stale_companies(older_than interval DEFAULT '90 days', max_rows bigint DEFAULT NULL)
RETURNS TABLE (
    company_unique_id text, company_name text, enrichment_source text, last_enriched_at timestamp,
    days_since_enrichment numeric)
AS 'MODULE_PATHNAME', 'sidecar_stale_companies'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_stale_companies(interval, bigint) IS
'companies last enriched longer ago than older_than; oldest first, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_stale_people(older_than interval DEFAULT '90 days', max_rows bigint DEFAULT NULL)
RETURNS TABLE (
    person_unique_id text, full_name text, enrichment_source text, last_enriched_at timestamp,
    days_since_enrichment numeric)
AS 'MODULE_PATHNAME', 'sidecar_stale_people'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_stale_people(interval, bigint) IS
'people last enriched longer ago than older_than; oldest first, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_low_confidence_companies(below numeric DEFAULT 70, max_rows bigint DEFAULT NULL)
RETURNS TABLE (
    company_unique_id text, company_name text, enrichment_source text, confidence_score numeric,
    last_enriched_at timestamp)
AS 'MODULE_PATHNAME', 'sidecar_low_confidence_companies'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_low_confidence_companies(numeric, bigint) IS
'companies whose confidence_score is below the threshold; lowest first, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_low_confidence_people(below numeric DEFAULT 70, max_rows bigint DEFAULT NULL)
RETURNS TABLE (
    person_unique_id text, full_name text, enrichment_source text, confidence_score numeric,
    last_enriched_at timestamp)
AS 'MODULE_PATHNAME', 'sidecar_low_confidence_people'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_low_confidence_people(numeric, bigint) IS
'people whose confidence_score is below the threshold; lowest first, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_missing_companies(max_rows bigint DEFAULT NULL)
RETURNS TABLE (company_unique_id text, company_name text)
AS 'MODULE_PATHNAME', 'sidecar_missing_companies'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_missing_companies(bigint) IS
'companies that have no enrichment yet, in no particular order, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_missing_people(max_rows bigint DEFAULT NULL)
RETURNS TABLE (person_unique_id text, full_name text)
AS 'MODULE_PATHNAME', 'sidecar_missing_people'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_missing_people(bigint) IS
'people who have no enrichment yet, in no particular order, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_status()
RETURNS TABLE (
    entity text, sidecar_table text, master_table text, foreign_key_present boolean,
    foreign_key_validated boolean, orphan_rows bigint, trigger_enabled boolean,
    missing_indexes text[], rejects_parked bigint, to_do text[])
AS 'MODULE_PATHNAME', 'sidecar_status'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 2;

COMMENT ON FUNCTION @extschema@.sidecar_status() IS
'whether tables, foreign keys, triggers and indexes are as they should be, per entity, and what to do where they are not';


-- ---------------------------------------------------------------------------
-- Installation: what there should be, what there is, and making the rest
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_entity_bindings()
RETURNS TABLE (
    entity text, sidecar_name text, key_column text, trigger_name text, trigger_function text,
    foreign_key text, master_name text, master_key text, sidecar regclass, master regclass,
    problem text)
AS 'MODULE_PATHNAME', 'sidecar_entity_bindings'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 2;

COMMENT ON FUNCTION @extschema@.sidecar_entity_bindings() IS
'the entities: the names that sidecar_install() uses, and the tables that are their sidecar and master now, and why they cannot be used';

-- Every object that the extension works with.
--
--   position    in the order of creation
--   state       present; missing: "command" makes it; replace: "command" puts
--               ours in its place; invalid, waiting: "hint" says what to do;
--               refused: something else of that name is in the way
--   violations  a query that counts the rows which keep a constraint from
--               being valid
--   replaces    the trigger function that a replaced trigger called
CREATE FUNCTION @extschema@.sidecar_objects()
RETURNS TABLE (
    "position" integer, entity text, kind text, object text, state text, command text, hint text,
    violations text, replaces regprocedure)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 60
SET search_path = pg_catalog, pg_temp
AS $sql$
WITH RECURSIVE
-- What the tables are like.  Types are spelled as format_type() does.
column_definition (table_name, n, column_name, type, rest, description) AS (VALUES
    ('company_sidecar', 1, 'company_unique_id', 'character varying(50)', ' NOT NULL', 'Company that the enrichment is about: key of company_master'),
    ('company_sidecar', 2, 'ein_number', 'character varying(20)', '', 'Employer Identification Number (IRS)'),
    ('company_sidecar', 3, 'dun_and_bradstreet_number', 'character varying(20)', '', 'Dun & Bradstreet DUNS number'),
    ('company_sidecar', 4, 'clay_tags', 'text[]', '', 'Clay.com tags for categorization'),
    ('company_sidecar', 5, 'clay_segments', 'text[]', '', 'Clay.com segments for grouping'),
    ('company_sidecar', 6, 'enrichment_payload', 'jsonb', '', 'Full JSON from enrichment source'),
    ('company_sidecar', 7, 'last_enriched_at', 'timestamp without time zone', '', 'Last enrichment timestamp'),
    ('company_sidecar', 8, 'enrichment_source', 'text', '', 'Source (clay, apify, firecrawl, etc.)'),
    ('company_sidecar', 9, 'confidence_score', 'numeric(5,2)', '', 'Data confidence score (0-100)'),
    ('company_sidecar', 10, 'created_at', 'timestamp without time zone', ' DEFAULT now()', 'When the row was inserted'),
    ('company_sidecar', 11, 'updated_at', 'timestamp without time zone', ' DEFAULT now()', 'When the row was last updated (by trigger)'),
    ('people_sidecar', 1, 'person_unique_id', 'character varying(50)', ' NOT NULL', 'Person that the enrichment is about: key of people_master'),
    ('people_sidecar', 2, 'clay_insight_summary', 'text', '', 'Clay.com AI-generated insights'),
    ('people_sidecar', 3, 'clay_segments', 'text[]', '', 'Clay.com segments (e.g., "VP-Engineering")'),
    ('people_sidecar', 4, 'social_profiles', 'jsonb', '', 'Social media profiles (Twitter, GitHub, etc.)'),
    ('people_sidecar', 5, 'enrichment_payload', 'jsonb', '', 'Full JSON from enrichment source'),
    ('people_sidecar', 6, 'last_enriched_at', 'timestamp without time zone', '', 'Last enrichment timestamp'),
    ('people_sidecar', 7, 'enrichment_source', 'text', '', 'Source (clay, apify, linkedin_scraper, etc.)'),
    ('people_sidecar', 8, 'confidence_score', 'numeric(5,2)', '', 'Data confidence score (0-100)'),
    ('people_sidecar', 9, 'created_at', 'timestamp without time zone', ' DEFAULT now()', 'When the row was inserted'),
    ('people_sidecar', 10, 'updated_at', 'timestamp without time zone', ' DEFAULT now()', 'When the row was last updated (by trigger)'),
    ('sidecar_rejects', 1, 'reject_id', 'bigint', ' GENERATED ALWAYS AS IDENTITY', 'Order in which records were parked'),
    ('sidecar_rejects', 2, 'entity', 'text', ' NOT NULL', 'What the record is about: company or people'),
    ('sidecar_rejects', 3, 'unique_id', 'text', '', 'Key that the record names, if it names one'),
    ('sidecar_rejects', 4, 'record', 'jsonb', ' NOT NULL', 'The record as it was sent'),
    ('sidecar_rejects', 5, 'on_conflict', 'text', ' NOT NULL', 'Survivorship rule that it was sent with'),
    ('sidecar_rejects', 6, 'error', 'text', ' NOT NULL', 'Why it could not be stored'),
    ('sidecar_rejects', 7, 'sqlstate', 'text', ' NOT NULL', 'The same as an SQLSTATE'),
    ('sidecar_rejects', 8, 'attempts', 'integer', ' NOT NULL DEFAULT 1', 'How often it was tried'),
    ('sidecar_rejects', 9, 'rejected_at', 'timestamp with time zone', ' NOT NULL DEFAULT now()', 'When it was parked'),
    ('sidecar_rejects', 10, 'last_tried_at', 'timestamp with time zone', ' NOT NULL DEFAULT now()', 'When it was last tried')
),
table_definition (n, table_name, key_column, description) AS (VALUES
    (1, 'company_sidecar', 'company_unique_id', 'Optional enrichment data for companies (EIN, D&B, Clay metadata)'),
    (2, 'people_sidecar', 'person_unique_id', 'Optional enrichment data for people (Clay insights, social profiles)'),
    (3, 'sidecar_rejects', 'reject_id', 'Enrichment records that could not be stored; sidecar_retry_rejects() tries them again')
),
index_definition (n, table_name, index_name, spec) AS (VALUES
    (1, 'company_sidecar', 'idx_company_sidecar_ein', 'btree (ein_number)'),
    (2, 'company_sidecar', 'idx_company_sidecar_duns', 'btree (dun_and_bradstreet_number)'),
    (3, 'company_sidecar', 'idx_company_sidecar_enriched', 'btree (last_enriched_at DESC)'),
    (4, 'company_sidecar', 'idx_company_sidecar_source', 'btree (enrichment_source)'),
    (5, 'company_sidecar', 'idx_company_sidecar_confidence', 'btree (confidence_score DESC)'),
    (6, 'company_sidecar', 'idx_company_sidecar_payload', 'gin (enrichment_payload)'),
    (1, 'people_sidecar', 'idx_people_sidecar_enriched', 'btree (last_enriched_at DESC)'),
    (2, 'people_sidecar', 'idx_people_sidecar_source', 'btree (enrichment_source)'),
    (3, 'people_sidecar', 'idx_people_sidecar_confidence', 'btree (confidence_score DESC)'),
    (4, 'people_sidecar', 'idx_people_sidecar_social', 'gin (social_profiles)'),
    (5, 'people_sidecar', 'idx_people_sidecar_payload', 'gin (enrichment_payload)')
),
binding AS MATERIALIZED (
    SELECT * FROM @extschema@.sidecar_entity_bindings()
),
-- the relations of schema marketing by name, whatever they are
named AS (
    SELECT c.relname, c.oid::regclass AS rel
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'marketing'
),
-- our tables as they are: the bound one, or else the one of that name
found AS (
    SELECT d.n, b.entity, d.table_name, d.key_column, d.description,
           format('marketing.%I', d.table_name) AS default_name,
           b.sidecar IS NOT NULL AS bound,
           COALESCE(b.sidecar, named.rel) AS rel,
           b.problem, c.relkind, c.relpersistence, c.relowner, n.nspname, c.relname,
           COALESCE(quote_ident(n.nspname) || '.' || quote_ident(c.relname),
                    format('marketing.%I', d.table_name)) AS table_sql
    FROM table_definition d
    LEFT JOIN binding b ON b.sidecar_name = d.table_name
    LEFT JOIN named ON named.relname = d.table_name
    LEFT JOIN pg_class c ON c.oid = COALESCE(b.sidecar, named.rel)
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
),
-- a name is no right: why what is found by its name alone is not touched
distrusted AS (
    SELECT f.table_name,
           format('Its owner %I may not own a sidecar table; if it shall be one: GRANT EXECUTE ON FUNCTION %s TO %1$I, then SELECT sidecar_install()',
                  pg_get_userbyid(f.relowner), string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.proname)) AS reason
    FROM found f
    JOIN binding b ON b.entity = f.entity OR f.entity IS NULL
    JOIN pg_proc p ON p.proname = b.trigger_function AND p.pronargs = 0
    JOIN pg_extension e ON e.extnamespace = p.pronamespace AND e.extname = 'sidecar'
    WHERE f.rel IS NOT NULL AND NOT f.bound
    GROUP BY f.table_name, f.relowner
    HAVING NOT bool_or(has_function_privilege(f.relowner, p.oid, 'EXECUTE'))
),
-- the tables to work on
ours AS (
    SELECT * FROM found f
    WHERE NOT EXISTS (SELECT FROM distrusted d WHERE d.table_name = f.table_name)
      AND (f.bound OR f.problem IS NULL)
),
-- why a relation that has our table's name is not it
refusal AS (
    SELECT f.table_name,
           CASE
               WHEN f.problem IS NOT NULL THEN f.problem
               ELSE 'It has the name that sidecar needs, but ' || CASE
               WHEN f.relkind NOT IN ('r', 'p') THEN 'it is not a table'
               WHEN f.relpersistence <> 'p' THEN 'it is not a permanent table'
               ELSE (
                   SELECT string_agg(
                       CASE WHEN a.attname IS NULL THEN format('it has no column %I', d.column_name)
                            ELSE format('column %I is %s, not %s', d.column_name,
                                        format_type(a.atttypid, a.atttypmod), d.type)
                       END, ', ' ORDER BY d.n)
                   FROM column_definition d
                   LEFT JOIN pg_attribute a
                       ON a.attrelid = f.rel AND a.attname = d.column_name AND NOT a.attisdropped
                   WHERE d.table_name = f.table_name
                     AND (format_type(a.atttypid, a.atttypmod) <> d.type
                          OR a.attname IS NULL AND d.column_name = f.key_column))
               END
           END AS reason
    FROM found f
    WHERE f.problem IS NOT NULL OR f.rel IS NOT NULL AND NOT f.bound
),
-- the masters as they are: the referenced one, or else the one of that name
master AS (
    SELECT b.entity, b.master_key, b.master IS NOT NULL AS bound,
           format('marketing.%I', b.master_name) AS default_name,
           COALESCE(b.master, named.rel) AS rel, c.relkind, c.relpersistence,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS table_sql,
           a.attnum, a.atttypid
    FROM binding b
    LEFT JOIN named ON named.relname = b.master_name
    LEFT JOIN pg_class c ON c.oid = COALESCE(b.master, named.rel)
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = b.master_key AND NOT a.attisdropped
),
-- a domain is what it is made of
base_type (entity, type, typtype, typbasetype) AS (
    SELECT m.entity, t.oid, t.typtype, t.typbasetype
    FROM master m JOIN pg_type t ON t.oid = m.atttypid
    UNION ALL
    SELECT b.entity, t.oid, t.typtype, t.typbasetype
    FROM base_type b JOIN pg_type t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd'
),
-- why a master cannot be referenced
obstacle AS (
    SELECT m.entity,
           CASE
               WHEN m.rel IS NULL THEN
                   format('create table %s with a unique column %I, or SELECT sidecar_create_masters()', m.default_name, m.master_key)
               WHEN m.relkind NOT IN ('r', 'p') THEN
                   format('%s is a %s; the master must be an ordinary or partitioned table', m.table_sql,
                          CASE m.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                                         WHEN 'f' THEN 'foreign table' ELSE 'relation of another kind' END)
               WHEN m.relpersistence <> 'p' THEN
                   format('%s is unlogged or temporary; the master must be a permanent table', m.table_sql)
               WHEN m.attnum IS NULL THEN
                   format('%s has no column %I', m.table_sql, m.master_key)
               WHEN NOT EXISTS (SELECT FROM base_type b WHERE b.entity = m.entity
                                AND b.type IN ('text'::regtype, 'varchar'::regtype)) THEN
                   format('column %I of %s is %s; the key must be text or character varying', m.master_key, m.table_sql,
                          format_type(m.atttypid, NULL))
               WHEN NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = m.rel
                                AND i.indisunique AND i.indisvalid AND i.indimmediate
                                AND i.indnkeyatts = 1 AND i.indkey[0] = m.attnum AND i.indpred IS NULL) THEN
                   format('column %I of %s has no plain unique index that is valid and not deferrable', m.master_key, m.table_sql)
           END AS reason
    FROM master m
)

-- the schema
SELECT 0, NULL, 'schema', 'marketing',
       CASE WHEN EXISTS (SELECT FROM pg_namespace WHERE nspname = 'marketing') THEN 'present' ELSE 'missing' END,
       'CREATE SCHEMA marketing', NULL, NULL, NULL::regprocedure

UNION ALL
-- the tables
SELECT 100 + 20 * f.n, f.entity, 'table', f.table_sql,
       CASE WHEN d.reason IS NOT NULL THEN 'waiting' WHEN r.reason IS NOT NULL THEN 'refused'
            WHEN f.rel IS NULL THEN 'missing' ELSE 'present' END,
       format(E'CREATE TABLE %s (\n%s,\n    CONSTRAINT %I PRIMARY KEY (%I));\nCOMMENT ON TABLE %1$s IS %5$L;%6$s',
              f.default_name,
              (SELECT string_agg(format('    %I %s%s', d.column_name, d.type, d.rest), E',\n' ORDER BY d.n)
               FROM column_definition d WHERE d.table_name = f.table_name),
              f.table_name || '_pkey', f.key_column, f.description,
              (SELECT string_agg(format(E'\nCOMMENT ON COLUMN %s.%I IS %L', f.default_name, d.column_name, d.description), ';' ORDER BY d.n)
               FROM column_definition d WHERE d.table_name = f.table_name)),
       COALESCE(d.reason, r.reason), NULL, NULL
FROM found f LEFT JOIN refusal r USING (table_name) LEFT JOIN distrusted d USING (table_name)

UNION ALL
-- columns that a later version added, or that were dropped
SELECT 200 + 20 * f.n + d.n, f.entity, 'column', format('%s.%I', f.table_sql, d.column_name), 'missing',
       format(E'ALTER TABLE %s ADD COLUMN %I %s%s;\nCOMMENT ON COLUMN %1$s.%2$I IS %5$L',
              f.table_sql, d.column_name, d.type, d.rest, d.description),
       NULL, NULL, NULL
FROM ours f
JOIN column_definition d USING (table_name)
WHERE f.rel IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = f.rel AND a.attname = d.column_name AND NOT a.attisdropped)

UNION ALL
-- the primary keys, made with the tables
SELECT 300 + 20 * f.n, f.entity, 'primary key', f.table_name || '_pkey', 'missing',
       format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (%I)', f.table_sql, f.table_name || '_pkey', f.key_column),
       NULL, NULL, NULL
FROM ours f
WHERE f.rel IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                  WHERE i.indrelid = f.rel AND a.attname = f.key_column AND i.indisunique AND i.indisvalid
                    AND i.indimmediate AND i.indnkeyatts = 1 AND i.indpred IS NULL)

UNION ALL
-- the checks
SELECT 400 + 20 * f.n, f.entity, 'check', format('%I on %s', f.table_name || '_confidence_score_check', f.table_sql),
       CASE WHEN c.oid IS NOT NULL THEN 'present' ELSE 'missing' END,
       format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (confidence_score >= 0 AND confidence_score <= 100)',
              f.table_sql, f.table_name || '_confidence_score_check'),
       CASE WHEN NOT c.convalidated THEN
                format('stored rows do not meet it: mend them, then ALTER TABLE %s VALIDATE CONSTRAINT %I', f.table_sql, c.conname) END,
       format('SELECT count(*) FROM %s WHERE NOT (confidence_score >= 0 AND confidence_score <= 100)', f.table_sql),
       NULL
FROM ours f
LEFT JOIN pg_constraint c ON c.conrelid = f.rel AND c.contype = 'c' AND c.conname = f.table_name || '_confidence_score_check'
WHERE f.entity IS NOT NULL

UNION ALL
-- the indexes: one of the same definition will do, whatever its name
SELECT 500 + 20 * f.n + d.n, f.entity, 'index', format('%I.%I', COALESCE(f.nspname, 'marketing'), d.index_name),
       CASE WHEN like_it.valid THEN 'present'
            WHEN NOT like_it.valid THEN 'invalid'
            WHEN taken.what IS NOT NULL THEN 'waiting'
            ELSE 'missing' END,
       format('CREATE INDEX %I ON %s USING %s', d.index_name, f.table_sql, d.spec),
       CASE WHEN like_it.valid THEN NULL
            WHEN NOT like_it.valid THEN format('REINDEX INDEX CONCURRENTLY %s', like_it.name)
            WHEN taken.what IS NOT NULL THEN format('the name is taken by %s: rename that', taken.what) END,
       NULL, NULL
FROM ours f
JOIN index_definition d USING (table_name)
LEFT JOIN LATERAL (
    SELECT i.indexrelid::regclass AS name, i.indisvalid AS valid
    FROM pg_index i
    WHERE i.indrelid = f.rel AND i.indpred IS NULL
      AND regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', '') = d.spec
    ORDER BY i.indisvalid DESC LIMIT 1) like_it ON true
LEFT JOIN LATERAL (
    SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) AS what
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = COALESCE(f.nspname, 'marketing') AND c.relname = d.index_name) taken ON true

UNION ALL
-- the triggers
SELECT 600 + 20 * f.n, f.entity, 'trigger', format('%I on %s', b.trigger_name, f.table_sql),
       CASE WHEN f.bound THEN 'present' WHEN old.tgfoid IS NOT NULL THEN 'replace' ELSE 'missing' END,
       CASE WHEN old.tgfoid IS NOT NULL THEN format(E'DROP TRIGGER %I ON %s;\n', b.trigger_name, f.table_sql) ELSE '' END ||
       format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %I.%I()',
              b.trigger_name, f.table_sql,
              (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'sidecar'),
              b.trigger_function),
       (SELECT format('disabled: ALTER TABLE %s ENABLE TRIGGER %I', f.table_sql, t.tgname)
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE f.bound AND t.tgrelid = f.rel AND p.proname = b.trigger_function AND t.tgenabled NOT IN ('O', 'A')
        LIMIT 1),
       NULL, old.tgfoid::regprocedure
FROM ours f
JOIN binding b USING (entity)
LEFT JOIN pg_trigger old ON NOT f.bound AND old.tgrelid = f.rel AND old.tgname = b.trigger_name

UNION ALL
-- the foreign keys
SELECT 700 + 20 * f.n, f.entity, 'foreign key', format('%I on %s', b.foreign_key, f.table_sql),
       CASE WHEN m.bound THEN 'present' WHEN o.reason IS NOT NULL THEN 'waiting' ELSE 'missing' END,
       format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES %s (%I) ON DELETE CASCADE',
              f.table_sql, b.foreign_key, f.key_column, COALESCE(m.table_sql, m.default_name), b.master_key),
       CASE WHEN m.bound THEN
                (SELECT format('stored rows do not meet it: mend them, then ALTER TABLE %s VALIDATE CONSTRAINT %I', f.table_sql, c.conname)
                 FROM pg_constraint c
                 WHERE c.conrelid = f.rel AND c.confrelid = m.rel AND c.contype = 'f' AND c.conparentid = 0 AND NOT c.convalidated
                 LIMIT 1)
            ELSE o.reason || '; then SELECT sidecar_install()' END,
       format('SELECT count(*) FROM %s s WHERE NOT EXISTS (SELECT FROM %s m WHERE m.%I = s.%I)',
              f.table_sql, m.table_sql, b.master_key, f.key_column),
       NULL
FROM ours f
JOIN binding b USING (entity)
JOIN master m USING (entity)
JOIN obstacle o USING (entity)
ORDER BY 1
$sql$;

COMMENT ON FUNCTION @extschema@.sidecar_objects() IS
'every object that the extension works with, its state, and the command that makes it: what sidecar_install() would do';

CREATE FUNCTION @extschema@.sidecar_install()
RETURNS TABLE (object text, outcome text, hint text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- row security must not hide a row from a constraint's check: it fails loudly instead
SET row_security = off
AS $plpgsql$
DECLARE
    step text;
    o record;
    bad bigint;
    whole boolean;
BEGIN
    -- one at a time; whoever waited sees what the other has made
    PERFORM pg_advisory_xact_lock('pg_extension'::regclass::oid::int, e.oid::int)
    FROM pg_extension e WHERE e.extname = 'sidecar';

    -- each step looks at what the one before it has made
    FOREACH step IN ARRAY ARRAY['schema', 'table', 'column', 'primary key', 'check', 'index', 'trigger', 'foreign key'] LOOP
        FOR o IN SELECT * FROM @extschema@.sidecar_objects() s WHERE s.kind = step ORDER BY s.position LOOP
            object := o.kind || ' ' || o.object;
            hint := o.hint;
            CASE o.state
                WHEN 'present', 'waiting' THEN
                    outcome := o.state;
                    IF step = 'table' AND o.state = 'waiting' THEN
                        RAISE WARNING '% is not touched', o.object USING HINT = o.hint;
                    END IF;
                WHEN 'invalid' THEN
                    outcome := 'present';
                WHEN 'refused' THEN
                    RAISE EXCEPTION USING
                        ERRCODE = 'wrong_object_type',
                        MESSAGE = format('%s cannot serve as a sidecar table', o.object),
                        DETAIL = rtrim(o.hint, '.') || '.',
                        HINT = 'Rename it or change it, then try again. Nothing was changed.';
                ELSE
                    whole := true;
                    BEGIN
                        EXECUTE o.command;
                    EXCEPTION
                        -- not allowed, or not there because an earlier one was not allowed
                        WHEN insufficient_privilege OR invalid_schema_name OR undefined_table THEN
                            outcome := 'waiting';
                            hint := format(E'%s; for someone who may:\n%s', SQLERRM, o.command);
                            RETURN NEXT;
                            CONTINUE;
                        WHEN foreign_key_violation OR check_violation THEN
                            whole := false;
                    END;
                    outcome := CASE o.state WHEN 'replace' THEN 'replaced' ELSE 'created' END;
                    IF NOT whole THEN
                        EXECUTE o.violations INTO bad;
                        BEGIN
                            EXECUTE o.command || ' NOT VALID';
                        EXCEPTION WHEN wrong_object_type OR feature_not_supported THEN
                            -- a partitioned table, up to PostgreSQL 17
                            outcome := 'waiting';
                            hint := format('%s stored rows do not meet it: mend them, then SELECT sidecar_install()', bad);
                            RETURN NEXT;
                            CONTINUE;
                        END;
                        hint := format('%s stored rows do not meet it, new rows must: mend them, then ALTER TABLE ... VALIDATE CONSTRAINT', bad);
                        RAISE WARNING '% is not valid for % stored rows', object, bad
                            USING ERRCODE = 'integrity_constraint_violation',
                                  HINT = 'They were kept; new rows are checked. SELECT * FROM sidecar_status() tells what to do.';
                    END IF;
                    IF o.replaces IS NOT NULL THEN
                        -- the migration's own function goes, any other stays
                        IF EXISTS (SELECT FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
                                   WHERE p.oid = o.replaces AND l.lanname = 'plpgsql'
                                     AND regexp_replace(lower(p.prosrc), '\s|:', '', 'g') = 'beginnew.updated_at=now();returnnew;end;')
                           AND NOT EXISTS (SELECT FROM pg_depend d
                                           WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = o.replaces)
                        THEN
                            EXECUTE format('DROP FUNCTION %s', o.replaces);
                        ELSE
                            hint := format('function %s was kept: it is not the migration''s own, or something else uses it', o.replaces);
                            RAISE WARNING '% no longer calls %', object, o.replaces
                                USING HINT = 'The function was kept: it is not the migration''s own, or something else uses it.';
                        END IF;
                    END IF;
            END CASE;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_install() IS
'makes whatever is missing of schema, tables, indexes, checks, triggers and foreign keys; tells per object whether it was created, present, replaced or is waiting';

CREATE FUNCTION @extschema@.sidecar_create_masters()
RETURNS TABLE (object text, outcome text, hint text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    e record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'marketing') THEN
        CREATE SCHEMA marketing;
    END IF;
    FOR e IN SELECT * FROM @extschema@.sidecar_entity_bindings() LOOP
        object := format('table marketing.%I', e.master_name);
        outcome := 'present';
        IF e.master IS NOT NULL THEN
            object := 'table ' || e.master;
        ELSIF to_regclass(format('marketing.%I', e.master_name)) IS NULL THEN
            outcome := 'created';
            EXECUTE CASE e.entity
                WHEN 'company' THEN $$
                    CREATE TABLE marketing.company_master (
                        company_unique_id character varying(50) PRIMARY KEY,
                        company_name text NOT NULL);
                    COMMENT ON TABLE marketing.company_master IS 'Companies: only what was validated' $$
                WHEN 'people' THEN $$
                    CREATE TABLE marketing.people_master (
                        unique_id character varying(50) PRIMARY KEY,
                        full_name text NOT NULL,
                        title text,
                        email text,
                        company_unique_id character varying(50));
                    COMMENT ON TABLE marketing.people_master IS 'People: only what was validated' $$
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
    RETURN QUERY SELECT * FROM @extschema@.sidecar_install();
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_create_masters() IS
'makes minimal master tables where there are none, and attaches them by sidecar_install()';


-- ---------------------------------------------------------------------------
-- The tables belong to the user: they are made here, but are not members.
-- A restore brings its own; pg_dump's scripts say so by row_security = off.
-- ---------------------------------------------------------------------------

DO $$
DECLARE
    made record;
BEGIN
    IF NOT current_setting('row_security')::boolean THEN
        RETURN;
    END IF;
    PERFORM @extschema@.sidecar_install();
    FOR made IN
        SELECT i.type, i.identity
        FROM pg_depend d
        JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'sidecar',
        LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND i.type IN ('schema', 'table', 'sequence')
    LOOP
        EXECUTE format('ALTER EXTENSION sidecar DROP %s %s', made.type, made.identity);
    END LOOP;
END
$$;

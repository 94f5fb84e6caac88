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
-- Triggers: updated_at, and the marks of our tables
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.update_company_sidecar_updated_at()
RETURNS trigger
AS 'MODULE_PATHNAME', 'update_company_sidecar_updated_at'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.update_company_sidecar_updated_at() IS
'trigger BEFORE UPDATE FOR EACH ROW: updated_at becomes now(); the table that carries it is the company sidecar; its argument is the time zone of the table''s timestamp columns, none means UTC';

CREATE FUNCTION @extschema@.update_people_sidecar_updated_at()
RETURNS trigger
AS 'MODULE_PATHNAME', 'update_people_sidecar_updated_at'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.update_people_sidecar_updated_at() IS
'trigger BEFORE UPDATE FOR EACH ROW: updated_at becomes now(); the table that carries it is the people sidecar; its argument is the time zone of the table''s timestamp columns, none means UTC';

CREATE FUNCTION @extschema@.sidecar_rejects_mark()
RETURNS trigger
AS 'MODULE_PATHNAME', 'sidecar_rejects_mark'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_rejects_mark() IS
'trigger BEFORE UPDATE FOR EACH ROW that changes nothing; the table that carries it is the one in which records are parked';

-- A table with one of these triggers is where everybody's enrichment goes: a
-- right, which a table's owner has to hold.  Owners of the database have it, so
-- that they restore their dumps; others are given it.
REVOKE EXECUTE ON FUNCTION @extschema@.update_company_sidecar_updated_at(),
                           @extschema@.update_people_sidecar_updated_at(),
                           @extschema@.sidecar_rejects_mark() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.update_company_sidecar_updated_at(),
                          @extschema@.update_people_sidecar_updated_at(),
                          @extschema@.sidecar_rejects_mark() TO pg_database_owner;


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
    confidence_score double precision DEFAULT NULL,
    on_conflict text DEFAULT NULL,
    clear text[] DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'sidecar_upsert_company'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_company(text, text, text, text[], text[], jsonb, timestamptz, text, double precision, text, text[]) IS
'stores what a source says of a company; NULL, JSON null and a blank text leave a stored value, clear names columns that become NULL; on_conflict is overwrite, newest, most_confident or fill, NULL what sidecar.on_conflict says; answers inserted, updated, unchanged or skipped';

CREATE FUNCTION @extschema@.sidecar_upsert_person(
    person_unique_id text,
    clay_insight_summary text DEFAULT NULL,
    clay_segments text[] DEFAULT NULL,
    social_profiles jsonb DEFAULT NULL,
    enrichment_payload jsonb DEFAULT NULL,
    last_enriched_at timestamptz DEFAULT NULL,
    enrichment_source text DEFAULT NULL,
    confidence_score double precision DEFAULT NULL,
    on_conflict text DEFAULT NULL,
    clear text[] DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'sidecar_upsert_person'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_person(text, text, text[], jsonb, jsonb, timestamptz, text, double precision, text, text[]) IS
'stores what a source says of a person; NULL, JSON null and a blank text leave a stored value, clear names columns that become NULL; on_conflict is overwrite, newest, most_confident or fill, NULL what sidecar.on_conflict says; answers inserted, updated, unchanged or skipped';


-- ---------------------------------------------------------------------------
-- Many records
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_upsert_companies(
    records jsonb, on_conflict text DEFAULT NULL, unknown_keys text DEFAULT 'reject')
RETURNS TABLE (record bigint, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_upsert_companies'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_companies(jsonb, text, text) IS
'stores a JSON array of company records, or one; a row per record tells what became of it; a bad one is rejected and parked, and costs the others nothing; keys that are no columns have it rejected, or go into the payload, or are ignored';

CREATE FUNCTION @extschema@.sidecar_upsert_people(
    records jsonb, on_conflict text DEFAULT NULL, unknown_keys text DEFAULT 'reject')
RETURNS TABLE (record bigint, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_upsert_people'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_upsert_people(jsonb, text, text) IS
'stores a JSON array of person records, or one; a row per record tells what became of it; a bad one is rejected and parked, and costs the others nothing; keys that are no columns have it rejected, or go into the payload, or are ignored';

CREATE FUNCTION @extschema@.sidecar_import_companies(
    records text, on_conflict text DEFAULT NULL, unknown_keys text DEFAULT 'reject')
RETURNS TABLE (record bigint, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_import_companies'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_import_companies(text, text, text) IS
'as sidecar_upsert_companies(), of text: a JSON array or JSON Lines of company records; one that is not JSON, or that jsonb refuses, is rejected and parked alone';

CREATE FUNCTION @extschema@.sidecar_import_people(
    records text, on_conflict text DEFAULT NULL, unknown_keys text DEFAULT 'reject')
RETURNS TABLE (record bigint, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_import_people'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_import_people(text, text, text) IS
'as sidecar_upsert_people(), of text: a JSON array or JSON Lines of person records; one that is not JSON, or that jsonb refuses, is rejected and parked alone';

CREATE FUNCTION @extschema@.sidecar_retry_rejects(max_rows bigint DEFAULT NULL)
RETURNS TABLE (reject_id uuid, entity text, unique_id text, outcome text, error text)
AS 'MODULE_PATHNAME', 'sidecar_retry_rejects'
LANGUAGE C;

COMMENT ON FUNCTION @extschema@.sidecar_retry_rejects(bigint) IS
'tries parked records again, at most max_rows, those first that were not tried for longest: what can be stored now is parked no more';


-- ---------------------------------------------------------------------------
-- Inboxes: foreign tables of a wrapper that takes rows and has none
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_fdw_handler()
RETURNS fdw_handler
AS 'MODULE_PATHNAME', 'sidecar_fdw_handler'
LANGUAGE C STRICT;

COMMENT ON FUNCTION @extschema@.sidecar_fdw_handler() IS
'what the foreign-data wrapper sidecar does: rows that are inserted are stored as a batch is';

CREATE FUNCTION @extschema@.sidecar_fdw_validator(options text[], catalog oid)
RETURNS void
AS 'MODULE_PATHNAME', 'sidecar_fdw_validator'
LANGUAGE C STRICT;

COMMENT ON FUNCTION @extschema@.sidecar_fdw_validator(text[], oid) IS
'options of the foreign-data wrapper sidecar: a foreign table has entity, company or people';

REVOKE EXECUTE ON FUNCTION @extschema@.sidecar_fdw_handler(),
                           @extschema@.sidecar_fdw_validator(text[], oid) FROM PUBLIC;

CREATE FOREIGN DATA WRAPPER sidecar
HANDLER @extschema@.sidecar_fdw_handler VALIDATOR @extschema@.sidecar_fdw_validator;

COMMENT ON FOREIGN DATA WRAPPER sidecar IS
'inboxes: rows that are inserted or copied into its foreign tables are stored as a batch is';

-- A further inbox is a foreign table of it, for whom USAGE is granted.
CREATE SERVER sidecar FOREIGN DATA WRAPPER sidecar;

COMMENT ON SERVER sidecar IS
'this database: the server of inboxes';

CREATE FOREIGN TABLE @extschema@.sidecar_company_inbox (
    company_unique_id text, ein_number text, dun_and_bradstreet_number text, clay_tags text,
    clay_segments text, enrichment_payload text, last_enriched_at text, enrichment_source text,
    confidence_score text, on_conflict text, outcome text)
SERVER sidecar OPTIONS (entity 'company');

COMMENT ON FOREIGN TABLE @extschema@.sidecar_company_inbox IS
'INSERT or COPY company records into it: each is stored as by sidecar_upsert_companies(), a bad one is parked; it is always empty';

CREATE FOREIGN TABLE @extschema@.sidecar_people_inbox (
    person_unique_id text, clay_insight_summary text, clay_segments text, social_profiles text,
    enrichment_payload text, last_enriched_at text, enrichment_source text, confidence_score text,
    on_conflict text, outcome text)
SERVER sidecar OPTIONS (entity 'people');

COMMENT ON FOREIGN TABLE @extschema@.sidecar_people_inbox IS
'INSERT or COPY person records into it: each is stored as by sidecar_upsert_people(), a bad one is parked; it is always empty';

COMMENT ON COLUMN @extschema@.sidecar_company_inbox.on_conflict IS
'rule for a row that is stored already: overwrite, newest, most_confident or fill; NULL is what sidecar.on_conflict says';
COMMENT ON COLUMN @extschema@.sidecar_company_inbox.outcome IS
'RETURNING tells what became of the row, which is stored in its turn then; not to be given';
COMMENT ON COLUMN @extschema@.sidecar_people_inbox.on_conflict IS
'rule for a row that is stored already: overwrite, newest, most_confident or fill; NULL is what sidecar.on_conflict says';
COMMENT ON COLUMN @extschema@.sidecar_people_inbox.outcome IS
'RETURNING tells what became of the row, which is stored in its turn then; not to be given';


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
    older_than interval DEFAULT '90 days', below double precision DEFAULT 70, exact boolean DEFAULT true)
RETURNS TABLE (
    entity text, total bigint, enriched bigint, enrichment_coverage_pct numeric, stale bigint,
    low_confidence bigint, undated bigint, rejected bigint, oldest_enrichment timestamp,
    latest_enrichment timestamp, statistics_at timestamptz)
AS 'MODULE_PATHNAME', 'sidecar_summary'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 2;

COMMENT ON FUNCTION @extschema@.sidecar_summary(interval, double precision, boolean) IS
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

CREATE FUNCTION @extschema@.sidecar_low_confidence_companies(below double precision DEFAULT 70, max_rows bigint DEFAULT NULL)
RETURNS TABLE (
    company_unique_id text, company_name text, enrichment_source text, confidence_score numeric,
    last_enriched_at timestamp)
AS 'MODULE_PATHNAME', 'sidecar_low_confidence_companies'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_low_confidence_companies(double precision, bigint) IS
'companies whose confidence_score is below the threshold; lowest first, at most max_rows';

CREATE FUNCTION @extschema@.sidecar_low_confidence_people(below double precision DEFAULT 70, max_rows bigint DEFAULT NULL)
RETURNS TABLE (
    person_unique_id text, full_name text, enrichment_source text, confidence_score numeric,
    last_enriched_at timestamp)
AS 'MODULE_PATHNAME', 'sidecar_low_confidence_people'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.sidecar_low_confidence_people(double precision, bigint) IS
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
    missing_indexes text[], rejects_parked bigint, time_zone text, to_do text[])
AS 'MODULE_PATHNAME', 'sidecar_status'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 2;

COMMENT ON FUNCTION @extschema@.sidecar_status() IS
'whether tables, foreign keys, triggers and indexes are as they should be, per entity, the time zone of the timestamp columns, and what to do where something is not';


-- ---------------------------------------------------------------------------
-- What the tables are like
--
-- Every table that sidecar_install() makes or completes is described here, and
-- nowhere else.  A further column, index or table is a row of these functions.
--
-- The functions from here on are pinned to pg_catalog, so that nothing that
-- others have made is taken for what is meant, and to the quoting of
-- identifiers that the texts are written in.
-- ---------------------------------------------------------------------------

-- n is the order in which they are made.  What sidecar_entity_bindings() says of
-- a table has its name in sidecar_name.
CREATE FUNCTION @extschema@.sidecar_table_definitions()
RETURNS TABLE (n integer, table_name text, key_column text, description text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 3
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
VALUES
    (1, 'company_sidecar', 'company_unique_id',
     'Optional enrichment data for companies (EIN, D&B, Clay metadata)'),
    (2, 'people_sidecar', 'person_unique_id',
     'Optional enrichment data for people (Clay insights, social profiles)'),
    (3, 'sidecar_rejects', 'reject_id',
     'Enrichment records that could not be stored; sidecar_retry_rejects() tries them again');
END;

COMMENT ON FUNCTION @extschema@.sidecar_table_definitions() IS
'the tables that sidecar_install() makes in schema marketing: key column and comment';

-- Types are spelled as format_type() does, because they are compared with what
-- it says; rest is what follows the type in CREATE TABLE.
CREATE FUNCTION @extschema@.sidecar_column_definitions()
RETURNS TABLE (
    table_name text, n integer, column_name text, type text, rest text, description text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 35
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
VALUES
    ('company_sidecar', 1, 'company_unique_id', 'character varying(50)', ' NOT NULL',
     'Company that the enrichment is about: key of company_master'),
    ('company_sidecar', 2, 'ein_number', 'character varying(20)', '',
     'Employer Identification Number (IRS)'),
    ('company_sidecar', 3, 'dun_and_bradstreet_number', 'character varying(20)', '',
     'Dun & Bradstreet DUNS number'),
    ('company_sidecar', 4, 'clay_tags', 'text[]', '', 'Clay.com tags for categorization'),
    ('company_sidecar', 5, 'clay_segments', 'text[]', '', 'Clay.com segments for grouping'),
    ('company_sidecar', 6, 'enrichment_payload', 'jsonb', '', 'Full JSON from enrichment source'),
    ('company_sidecar', 7, 'last_enriched_at', 'timestamp without time zone', '',
     'Last enrichment timestamp'),
    ('company_sidecar', 8, 'enrichment_source', 'text', '',
     'Source (clay, apify, firecrawl, etc.)'),
    ('company_sidecar', 9, 'confidence_score', 'numeric(5,2)', '', 'Data confidence score (0-100)'),
    ('company_sidecar', 10, 'created_at', 'timestamp without time zone', ' DEFAULT now()',
     'When the row was inserted'),
    ('company_sidecar', 11, 'updated_at', 'timestamp without time zone', ' DEFAULT now()',
     'When the row was last updated (by trigger)'),
    ('people_sidecar', 1, 'person_unique_id', 'character varying(50)', ' NOT NULL',
     'Person that the enrichment is about: key of people_master'),
    ('people_sidecar', 2, 'clay_insight_summary', 'text', '', 'Clay.com AI-generated insights'),
    ('people_sidecar', 3, 'clay_segments', 'text[]', '',
     'Clay.com segments (e.g., "VP-Engineering")'),
    ('people_sidecar', 4, 'social_profiles', 'jsonb', '',
     'Social media profiles (Twitter, GitHub, etc.)'),
    ('people_sidecar', 5, 'enrichment_payload', 'jsonb', '', 'Full JSON from enrichment source'),
    ('people_sidecar', 6, 'last_enriched_at', 'timestamp without time zone', '',
     'Last enrichment timestamp'),
    ('people_sidecar', 7, 'enrichment_source', 'text', '',
     'Source (clay, apify, linkedin_scraper, etc.)'),
    ('people_sidecar', 8, 'confidence_score', 'numeric(5,2)', '', 'Data confidence score (0-100)'),
    ('people_sidecar', 9, 'created_at', 'timestamp without time zone', ' DEFAULT now()',
     'When the row was inserted'),
    ('people_sidecar', 10, 'updated_at', 'timestamp without time zone', ' DEFAULT now()',
     'When the row was last updated (by trigger)'),
    -- no sequence: a subscriber that takes over would begin it anew
    ('sidecar_rejects', 1, 'reject_id', 'uuid', ' NOT NULL DEFAULT gen_random_uuid()',
     'Key of the parked record'),
    ('sidecar_rejects', 2, 'record_no', 'bigint', ' NOT NULL DEFAULT 1',
     'Order among records of the same rejected_at: number of the record in its call'),
    ('sidecar_rejects', 3, 'entity', 'text', ' NOT NULL',
     'What the record is about: company or people'),
    ('sidecar_rejects', 4, 'unique_id', 'text', '', 'Key that the record names, if it names one'),
    ('sidecar_rejects', 5, 'record', 'jsonb', ' NOT NULL', 'The record as it was sent'),
    ('sidecar_rejects', 6, 'on_conflict', 'text', ' NOT NULL',
     'Survivorship rule that it was sent with'),
    ('sidecar_rejects', 7, 'options', 'jsonb', '', 'What else it was sent with'),
    ('sidecar_rejects', 8, 'origin', 'jsonb', '', 'Where it came from: line of a file'),
    ('sidecar_rejects', 9, 'error', 'text', ' NOT NULL', 'Why it could not be stored'),
    ('sidecar_rejects', 10, 'sqlstate', 'text', ' NOT NULL', 'The same as an SQLSTATE'),
    ('sidecar_rejects', 11, 'attempts', 'integer', ' NOT NULL DEFAULT 1',
     'How often it was tried: once, and by sidecar_retry_rejects()'),
    ('sidecar_rejects', 12, 'rejected_at', 'timestamp with time zone', ' NOT NULL DEFAULT now()',
     'When it was parked'),
    ('sidecar_rejects', 13, 'last_tried_at', 'timestamp with time zone', ' NOT NULL DEFAULT now()',
     'When it was last tried'),
    -- of the texts' bytes, whatever the encoding; nobody can make two of one hash.
    -- The record, which may be large, is hashed by itself: no longer text is made
    ('sidecar_rejects', 14, 'hash', 'bytea',
     ' GENERATED ALWAYS AS (sha256(decode(replace('
     'entity || ''/'' || on_conflict || ''/'' || COALESCE(options::text, ''''), '
     'chr(92), chr(92) || chr(92)), ''escape'') || '
     'sha256(decode(replace(record::text, chr(92), chr(92) || chr(92)), ''escape'')))) STORED',
     'The same again is the same record: of entity, on_conflict, options and record');
END;

COMMENT ON FUNCTION @extschema@.sidecar_column_definitions() IS
'the columns of the tables that sidecar_install() makes: type, default and comment';

-- All are indexes of one column.  family is the operator family, which says
-- what queries an index can serve: the default one of method and type.
CREATE FUNCTION @extschema@.sidecar_index_definitions()
RETURNS TABLE (
    table_name text, n integer, index_name text, method text, family text, column_name text,
    is_descending boolean, is_unique boolean)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 12
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT table_name, n, 'idx_' || table_name || '_' || suffix, method, family, column_name,
       is_descending, is_unique
FROM (VALUES
    ('company_sidecar', 1, 'ein', 'btree', 'text_ops', 'ein_number', false, false),
    ('company_sidecar', 2, 'duns', 'btree', 'text_ops', 'dun_and_bradstreet_number', false, false),
    ('company_sidecar', 3, 'enriched', 'btree', 'datetime_ops', 'last_enriched_at', true, false),
    ('company_sidecar', 4, 'source', 'btree', 'text_ops', 'enrichment_source', false, false),
    ('company_sidecar', 5, 'confidence', 'btree', 'numeric_ops', 'confidence_score', true, false),
    ('company_sidecar', 6, 'payload', 'gin', 'jsonb_ops', 'enrichment_payload', false, false),
    ('people_sidecar', 1, 'enriched', 'btree', 'datetime_ops', 'last_enriched_at', true, false),
    ('people_sidecar', 2, 'source', 'btree', 'text_ops', 'enrichment_source', false, false),
    ('people_sidecar', 3, 'confidence', 'btree', 'numeric_ops', 'confidence_score', true, false),
    ('people_sidecar', 4, 'social', 'gin', 'jsonb_ops', 'social_profiles', false, false),
    ('people_sidecar', 5, 'payload', 'gin', 'jsonb_ops', 'enrichment_payload', false, false),
    ('sidecar_rejects', 1, 'hash', 'btree', 'bytea_ops', 'hash', false, true)
) d (table_name, n, suffix, method, family, column_name, is_descending, is_unique);
END;

COMMENT ON FUNCTION @extschema@.sidecar_index_definitions() IS
'the indexes of the tables that sidecar_install() makes, but for primary keys';

-- printed is the condition as pg_get_expr() gives it back: a constraint that
-- was renamed is known by that.
CREATE FUNCTION @extschema@.sidecar_check_definitions()
RETURNS TABLE (
    table_name text, n integer, check_name text, column_name text, condition text, printed text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT table_name, 1, table_name || '_confidence_score_check', 'confidence_score',
       'confidence_score >= 0 AND confidence_score <= 100',
       '((confidence_score >= (0)::numeric) AND (confidence_score <= (100)::numeric))'
FROM (VALUES ('company_sidecar'), ('people_sidecar')) d (table_name);
END;

COMMENT ON FUNCTION @extschema@.sidecar_check_definitions() IS
'the check constraints of the tables that sidecar_install() makes';


-- ---------------------------------------------------------------------------
-- What there is: the tables, their masters, and why one is not touched
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sidecar_entity_bindings()
RETURNS TABLE (
    entity text, sidecar_name text, key_column text, trigger_name text, trigger_function text,
    foreign_key text, master_name text, master_key text, sidecar regclass, master regclass,
    time_zone text, problem text)
AS 'MODULE_PATHNAME', 'sidecar_entity_bindings'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 3;

COMMENT ON FUNCTION @extschema@.sidecar_entity_bindings() IS
'the entities: the names that sidecar_install() uses, the tables that are their sidecar and master now, the zone of their timestamp columns, and why they cannot be used; the last row is the table of parked records';

CREATE FUNCTION @extschema@.sidecar_accepted_type(type oid)
RETURNS oid
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'sidecar_accepted_type';

COMMENT ON FUNCTION @extschema@.sidecar_accepted_type(oid) IS
'the type in which values of a column of that type are given: a column may have any type of which that is the same; NULL if there is no such type';

-- The trigger functions.  Whoever re-runs a migration replaces ours by CREATE
-- OR REPLACE: the triggers stay, and call another function.  Ours is known by
-- language, symbol and library; the library is that of a function which must be
-- ours, or else nothing here would work.
CREATE FUNCTION @extschema@.sidecar_trigger_functions()
RETURNS TABLE (table_name text, function regprocedure, replaced text)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 3
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT b.sidecar_name, p.oid::regprocedure,
       CASE WHEN (p.prolang, p.prosrc, p.probin) IS DISTINCT FROM
                 (ours.prolang, b.trigger_function, ours.probin) THEN
           format('function %s was replaced by another; to put it back: '
                  'CREATE OR REPLACE FUNCTION %1$s RETURNS trigger AS %L, %L LANGUAGE C',
                  p.oid::regprocedure, ours.probin, b.trigger_function) END
FROM @extschema@.sidecar_entity_bindings() b
JOIN pg_extension e ON e.extname = 'sidecar'
JOIN pg_proc p
    ON p.pronamespace = e.extnamespace AND p.proname = b.trigger_function AND p.pronargs = 0
JOIN pg_proc ours
    ON ours.pronamespace = e.extnamespace AND ours.proname = 'sidecar_entity_bindings'
   AND ours.pronargs = 0;
END;

COMMENT ON FUNCTION @extschema@.sidecar_trigger_functions() IS
'the trigger function of each table, and what to do if somebody has replaced it';

-- A name is no right: what is found by its name alone has to belong to somebody
-- who may own sidecar tables, or to whoever calls.  Whoever owns a schema drops
-- what is in it; whoever owns a table has PostgreSQL run functions of his (in
-- policies, index predicates, triggers) as those who read it or write to it.
CREATE FUNCTION @extschema@.sidecar_distrust(owner oid, table_name text)
RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT format('its owner %I may not own %s; if he shall be trusted: '
              'GRANT EXECUTE ON FUNCTION %s TO %1$I, then SELECT sidecar_install()',
              pg_get_userbyid($1),
              CASE WHEN $2 = 'sidecar_rejects' THEN 'the table of parked records'
                   ELSE 'a sidecar table' END,
              string_agg(t.function::text, ', ' ORDER BY d.n))
FROM @extschema@.sidecar_trigger_functions() t
JOIN @extschema@.sidecar_table_definitions() d USING (table_name)
WHERE t.table_name = $2 OR $2 IS NULL
HAVING pg_get_userbyid($1) <> current_user
   AND NOT bool_or(has_function_privilege($1, t.function, 'EXECUTE'));
END;

COMMENT ON FUNCTION @extschema@.sidecar_distrust(oid, text) IS
'why what that role owns is not touched when it is found by its name, and what to grant; NULL if it may own that table of ours (NULL: any)';

-- Our tables as they are: the bound one, or else the one of that name in schema
-- marketing, whatever it is; relation is NULL where there is none.
--
--   name_sql     its name, to be put into a command
--   problem      why it cannot serve: what is bound was looked at already, what
--                is found by its name is here
--   distrust     why what is found by its name is not touched
--   is_usable    keys, indexes, triggers and so on may be made on it
CREATE FUNCTION @extschema@.sidecar_found_tables()
RETURNS TABLE (
    n integer, entity text, table_name text, key_column text, description text, relation oid,
    schema_name text, name_sql text, is_bound boolean, problem text, distrust text,
    is_usable boolean)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 3
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
WITH binding AS MATERIALIZED (
    SELECT * FROM @extschema@.sidecar_entity_bindings()
),
found AS (
    SELECT d.*, b.entity, b.problem, b.sidecar IS NOT NULL AS is_bound,
           COALESCE(b.sidecar, named.oid) AS relation
    FROM @extschema@.sidecar_table_definitions() d
    LEFT JOIN binding b ON b.sidecar_name = d.table_name
    LEFT JOIN (pg_class named JOIN pg_namespace n
               ON n.oid = named.relnamespace AND n.nspname = 'marketing')
        ON named.relname = d.table_name
)
SELECT f.n, f.entity, f.table_name, f.key_column, f.description, c.oid,
       COALESCE(n.nspname, 'marketing'),
       quote_ident(COALESCE(n.nspname, 'marketing')) || '.' ||
       quote_ident(COALESCE(c.relname, f.table_name)),
       f.is_bound, COALESCE(f.problem, misfit.reason), distrust.reason,
       distrust.reason IS NULL AND
       (f.is_bound AND f.entity IS NOT NULL OR COALESCE(f.problem, misfit.reason) IS NULL)
FROM found f
LEFT JOIN pg_class c ON c.oid = f.relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_namespace home ON home.nspname = 'marketing'
LEFT JOIN LATERAL (
    -- what is not there yet would be at the mercy of whoever owns the schema
    SELECT CASE WHEN c.oid IS NOT NULL THEN @extschema@.sidecar_distrust(c.relowner, f.table_name)
                WHEN home.oid IS NOT NULL THEN
                    'it would be in schema marketing: ' ||
                    @extschema@.sidecar_distrust(home.nspowner, NULL) END AS reason
) distrust ON NOT f.is_bound
LEFT JOIN LATERAL (
    SELECT 'It has the name that sidecar needs, but ' || CASE
               WHEN c.relkind NOT IN ('r', 'p') THEN 'it is not a table'
               WHEN c.relpersistence <> 'p' THEN 'it is not a permanent table'
               ELSE string_agg(
                   CASE WHEN a.attname IS NULL THEN format('it has no column %I', d.column_name)
                        ELSE format('column %I is %s, not %s', d.column_name,
                                    format_type(a.atttypid, a.atttypmod), d.type) END,
                   ', ' ORDER BY d.n)
                   -- other columns that are missing are added
                   FILTER (WHERE @extschema@.sidecar_accepted_type(a.atttypid) <>
                               @extschema@.sidecar_accepted_type(d.type::regtype)
                           -- these are read in every session's zone
                           OR d.type = 'timestamp with time zone' AND format_type(a.atttypid, -1) <> d.type
                           OR a.attname IS NULL AND d.column_name = f.key_column) END AS reason
    FROM @extschema@.sidecar_column_definitions() d
    LEFT JOIN pg_attribute a
        ON a.attrelid = c.oid AND a.attname = d.column_name AND NOT a.attisdropped
    WHERE d.table_name = f.table_name
) misfit ON NOT f.is_bound AND c.oid IS NOT NULL;
END;

COMMENT ON FUNCTION @extschema@.sidecar_found_tables() IS
'the tables of sidecar_table_definitions() as they are: the one that is bound, or else the one of that name, and why it is not touched';

-- What an upsert finds a row by, and a foreign key can reference: a unique index
-- on this column and no other.
CREATE FUNCTION @extschema@.sidecar_has_key(relation oid, column_number smallint)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = relation AND i.indnkeyatts = 1 AND i.indkey[0] = column_number
      AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL);
END;

COMMENT ON FUNCTION @extschema@.sidecar_has_key(oid, smallint) IS
'whether the column alone has a unique index that is valid, whole and not deferrable';

-- The masters as they are: the referenced one, or else the one of that name in
-- schema marketing; obstacle says why it cannot be referenced.
CREATE FUNCTION @extschema@.sidecar_found_masters()
RETURNS TABLE (
    entity text, key_column text, relation oid, name_sql text, is_bound boolean, obstacle text)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
WITH RECURSIVE found AS MATERIALIZED (
    SELECT b.entity, b.master_key, b.master IS NOT NULL AS is_bound,
           c.oid AS relation, c.relkind, c.relpersistence, a.attnum, a.atttypid,
           CASE WHEN b.master IS NULL THEN
               @extschema@.sidecar_distrust(c.relowner, b.sidecar_name) END AS distrust,
           quote_ident(COALESCE(n.nspname, 'marketing')) || '.' ||
           quote_ident(COALESCE(c.relname, b.master_name)) AS name_sql
    FROM @extschema@.sidecar_entity_bindings() b
    LEFT JOIN (pg_class named JOIN pg_namespace m
               ON m.oid = named.relnamespace AND m.nspname = 'marketing')
        ON named.relname = b.master_name
    LEFT JOIN pg_class c ON c.oid = COALESCE(b.master, named.oid)
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a
        ON a.attrelid = c.oid AND a.attname = b.master_key AND NOT a.attisdropped
    WHERE b.entity IS NOT NULL
),
-- a domain is what it is made of
base_type (entity, type, typtype, typbasetype) AS (
    SELECT f.entity, t.oid, t.typtype, t.typbasetype
    FROM found f JOIN pg_type t ON t.oid = f.atttypid
    UNION ALL
    SELECT b.entity, t.oid, t.typtype, t.typbasetype
    FROM base_type b JOIN pg_type t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd'
)
SELECT f.entity, f.master_key, f.relation, f.name_sql, f.is_bound, CASE
    WHEN f.relation IS NULL THEN
        format('create table %s with a unique column %I, or SELECT sidecar_create_masters()',
               f.name_sql, f.master_key)
    WHEN f.distrust IS NOT NULL THEN format('%s is not touched: %s', f.name_sql, f.distrust)
    WHEN f.relkind NOT IN ('r', 'p') THEN
        format('%s is a %s; the master must be an ordinary or partitioned table', f.name_sql,
               CASE f.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                              WHEN 'f' THEN 'foreign table' ELSE 'relation of another kind' END)
    WHEN f.relpersistence <> 'p' THEN
        format('%s is unlogged or temporary; the master must be a permanent table', f.name_sql)
    WHEN f.attnum IS NULL THEN format('%s has no column %I', f.name_sql, f.master_key)
    WHEN NOT EXISTS (SELECT FROM base_type b WHERE b.entity = f.entity
                     AND b.type IN ('text'::regtype, 'varchar'::regtype)) THEN
        format('column %I of %s is %s; the key must be text or character varying',
               f.master_key, f.name_sql, format_type(f.atttypid, NULL))
    WHEN NOT @extschema@.sidecar_has_key(f.relation, f.attnum) THEN
        format('column %I of %s has no plain unique index that is valid and not deferrable',
               f.master_key, f.name_sql)
    END
FROM found f;
END;

COMMENT ON FUNCTION @extschema@.sidecar_found_masters() IS
'the masters as they are: the one that is referenced, or else the one of that name, and why it cannot be referenced';


-- ---------------------------------------------------------------------------
-- What there is, compared with what there should be: a function per kind of
-- object, all with the same columns
-- ---------------------------------------------------------------------------

--   table_order, n   the order among those of its kind
--   state            present; missing: "command" makes it; replace: "command"
--                    puts ours in its place; invalid, waiting: "hint" says what
--                    to do; refused: something else of that name is in the way
--   hint             what is to be done by hand, also if it is present
--   violations       a query that counts the rows which keep a constraint from
--                    being valid.  It runs with the caller's rights: only on
--                    columns whose types were looked at, because anything else
--                    could call an owner's casts and operators
--   replaces         the trigger function that a replaced trigger called
CREATE TYPE @extschema@.sidecar_object AS (
    table_order integer, n integer, entity text, kind text, object text, state text, command text,
    hint text, violations text, replaces regprocedure);

COMMENT ON TYPE @extschema@.sidecar_object IS
'an object that the extension works with: a row of the functions that sidecar_objects() puts together';

-- Only columns that an inbox lacks: those that users have added to the table, and
-- any of ours.  What the table sets itself is nobody's to give.  An inbox is known
-- by being a member of the extension.
CREATE FUNCTION @extschema@.sidecar_objects_inboxes()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, wanted.n, f.entity, 'inbox column', format('%I.%I.%I', n.nspname, c.relname, wanted.column_name),
       'missing', format('ALTER FOREIGN TABLE %I.%I ADD COLUMN %I text', n.nspname, c.relname, wanted.column_name),
       NULL, NULL, NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
JOIN LATERAL (
    SELECT min(i.n), i.column_name
    FROM (SELECT a.attnum::integer, a.attname::text
          FROM pg_attribute a
          WHERE a.attrelid = f.relation AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attgenerated = '' AND a.attidentity = ''
          UNION ALL
          SELECT d.n, d.column_name
          FROM @extschema@.sidecar_column_definitions() d
          WHERE d.table_name = f.table_name) i (n, column_name)
    GROUP BY i.column_name) wanted (n, column_name) ON true
JOIN pg_extension e ON e.extname = 'sidecar'
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_foreign_table t
    ON d.classid = 'pg_class'::regclass AND d.objid = t.ftrelid AND 'entity=' || f.entity = ANY (t.ftoptions)
JOIN pg_class c ON c.oid = t.ftrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.is_usable AND NOT c.relispartition
  AND wanted.column_name NOT IN ('created_at', 'updated_at', 'on_conflict', 'outcome')
  AND NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attname = wanted.column_name AND NOT a.attisdropped);
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_inboxes() IS
'the columns that inboxes lack: their part of sidecar_objects()';

CREATE FUNCTION @extschema@.sidecar_objects_schema()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT 0, 0, NULL, 'schema', 'marketing',
       CASE WHEN n.oid IS NULL THEN 'missing' WHEN distrust.reason IS NOT NULL THEN 'waiting'
            ELSE 'present' END,
       'CREATE SCHEMA marketing', distrust.reason, NULL, NULL::regprocedure
FROM (SELECT 'marketing' AS name) ours
LEFT JOIN pg_namespace n ON n.nspname = ours.name
LEFT JOIN LATERAL (
    SELECT @extschema@.sidecar_distrust(n.nspowner, NULL) AS reason) distrust ON n.oid IS NOT NULL
-- all may have gone elsewhere
WHERE n.oid IS NOT NULL OR EXISTS (SELECT FROM @extschema@.sidecar_found_tables() f WHERE f.relation IS NULL);
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_schema() IS
'the schema that our tables are made in: its part of sidecar_objects()';

CREATE FUNCTION @extschema@.sidecar_objects_tables()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 3
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, 0, f.entity, 'table', f.name_sql,
       CASE WHEN f.distrust IS NOT NULL THEN 'waiting'
            -- what the sidecars need is there without it
            WHEN f.problem IS NOT NULL AND f.entity IS NULL THEN 'waiting'
            WHEN f.problem IS NOT NULL THEN 'refused'
            WHEN f.relation IS NULL THEN 'missing' ELSE 'present' END,
       -- unnamed, the key gets the name that is given elsewhere, or a free one if
       -- an older table still has that
       format(E'CREATE TABLE marketing.%I (\n%s,\n    PRIMARY KEY (%I));\n'
              'COMMENT ON TABLE marketing.%1$I IS %4$L;%5$s',
              f.table_name, made.columns, f.key_column, f.description, made.comments),
       COALESCE(f.distrust, f.problem), NULL, NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
LEFT JOIN LATERAL (
    SELECT string_agg(format('    %I %s%s', d.column_name, d.type, d.rest), E',\n' ORDER BY d.n),
           string_agg(format(E'\nCOMMENT ON COLUMN marketing.%I.%I IS %L', f.table_name,
                             d.column_name, d.description), ';' ORDER BY d.n)
    FROM @extschema@.sidecar_column_definitions() d
    WHERE d.table_name = f.table_name) made (columns, comments) ON true;
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_tables() IS
'the tables: their part of sidecar_objects()';

-- Only columns that a later version has added, or that were dropped: those that
-- are there go with their table.  But one that is to be generated has to be.
CREATE FUNCTION @extschema@.sidecar_objects_columns()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, d.n, f.entity, 'column', format('%s.%I', f.name_sql, d.column_name),
       CASE WHEN a.attname IS NULL THEN 'missing' ELSE 'waiting' END,
       format(E'ALTER TABLE %s ADD COLUMN %I %s%s;\nCOMMENT ON COLUMN %1$s.%2$I IS %5$L',
              f.name_sql, d.column_name, d.type, d.rest, d.description),
       CASE WHEN a.attname IS NOT NULL THEN
           format('it is not generated: ALTER TABLE %s DROP COLUMN %I, then SELECT sidecar_install()',
                  f.name_sql, d.column_name) END,
       NULL, NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
JOIN @extschema@.sidecar_column_definitions() d USING (table_name)
LEFT JOIN pg_attribute a
    ON a.attrelid = f.relation AND a.attname = d.column_name AND NOT a.attisdropped
WHERE f.is_usable AND f.relation IS NOT NULL
  AND (a.attname IS NULL OR a.attgenerated = '' AND starts_with(d.rest, ' GENERATED '));
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_columns() IS
'the columns that are missing, or are not generated: their part of sidecar_objects()';

-- Only those that are missing: they are made with their tables.  Any unique key
-- of the column will do, and is made where the table has a primary key of its
-- own already.
CREATE FUNCTION @extschema@.sidecar_objects_keys()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, 0, f.entity, 'primary key', f.table_name || '_pkey', 'missing',
       format('ALTER TABLE %s ADD %s (%I)', f.name_sql,
              CASE WHEN EXISTS (SELECT FROM pg_index i
                                WHERE i.indrelid = f.relation AND i.indisprimary)
                   THEN 'UNIQUE' ELSE 'PRIMARY KEY' END, f.key_column),
       NULL, NULL, NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
LEFT JOIN pg_attribute a
    ON a.attrelid = f.relation AND a.attname = f.key_column AND NOT a.attisdropped
WHERE f.is_usable AND f.relation IS NOT NULL
  AND NOT @extschema@.sidecar_has_key(f.relation, a.attnum);
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_keys() IS
'the primary keys that are missing: their part of sidecar_objects()';

-- The one of that name on the table, or a valid one that says the same.
CREATE FUNCTION @extschema@.sidecar_objects_checks()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, d.n, f.entity, 'check', format('%I on %s', d.check_name, f.name_sql),
       CASE WHEN c.conname IS NOT NULL THEN 'present' ELSE 'missing' END,
       format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s)', f.name_sql, d.check_name,
              d.condition),
       CASE WHEN NOT c.convalidated THEN
           format('stored rows do not meet it: mend them, '
                  'then ALTER TABLE %s VALIDATE CONSTRAINT %I', f.name_sql, c.conname) END,
       format('SELECT count(*) FROM %s WHERE NOT (%s)', f.name_sql, d.condition),
       NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
JOIN @extschema@.sidecar_check_definitions() d USING (table_name)
LEFT JOIN pg_attribute a
    ON a.attrelid = f.relation AND a.attname = d.column_name AND NOT a.attisdropped
LEFT JOIN LATERAL (
    SELECT c.conname, c.convalidated
    FROM pg_constraint c
    WHERE c.conrelid = f.relation AND c.contype = 'c'
      AND (c.conname = d.check_name
           OR c.conkey = ARRAY[a.attnum] AND pg_get_expr(c.conbin, c.conrelid) = d.printed)
    ORDER BY c.convalidated DESC, c.conname <> d.check_name LIMIT 1) c ON true
WHERE f.is_usable;
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_checks() IS
'the check constraints: their part of sidecar_objects()';

-- One that serves the same queries will do, whatever its name, tablespace and
-- storage parameters, and unique where ours need not be: the catalog is compared,
-- not a text.
CREATE FUNCTION @extschema@.sidecar_objects_indexes()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 12
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, d.n, f.entity, 'index', format('%I.%I', f.schema_name, d.index_name),
       CASE WHEN same.is_valid THEN 'present' WHEN NOT same.is_valid THEN 'invalid'
            WHEN taken.what IS NOT NULL OR cannot.reason IS NOT NULL THEN 'waiting'
            ELSE 'missing' END,
       format('CREATE %sINDEX %I ON %s USING %s (%I%s)', CASE WHEN d.is_unique THEN 'UNIQUE ' END,
              d.index_name, f.name_sql, d.method, d.column_name,
              CASE WHEN d.is_descending THEN ' DESC' END),
       CASE WHEN same.is_valid THEN NULL
            -- REINDEX does not make the index of a partitioned table valid
            WHEN NOT same.is_valid AND same.relkind = 'I' THEN
                format('make it on each partition, then ALTER INDEX %s ATTACH PARTITION for each',
                       same.index)
            WHEN NOT same.is_valid THEN format('REINDEX INDEX CONCURRENTLY %s', same.index)
            WHEN taken.what IS NOT NULL THEN
                format('the name is taken by %s: rename that', taken.what)
            ELSE cannot.reason END,
       NULL, NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
JOIN @extschema@.sidecar_index_definitions() d USING (table_name)
LEFT JOIN LATERAL (
    SELECT i.indexrelid::regclass AS index, i.indisvalid AS is_valid, c.relkind
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am m ON m.oid = c.relam
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    JOIN pg_opclass o ON o.oid = i.indclass[0]
    JOIN pg_opfamily y ON y.oid = o.opcfamily
    WHERE i.indrelid = f.relation AND i.indislive
      AND m.amname = d.method AND a.attname = d.column_name
      -- operators of pg_catalog, in the column's own order
      AND y.opfname = d.family AND y.opfnamespace = 'pg_catalog'::regnamespace
      AND i.indcollation[0] = a.attcollation
      -- 1 is DESC and 2 is NULLS FIRST; DESC alone means both
      AND i.indoption[0] = CASE WHEN d.is_descending THEN 3 ELSE 0 END
      -- one key column; an expression would have no number
      AND i.indnkeyatts = 1 AND i.indpred IS NULL AND (i.indisunique OR NOT d.is_unique)
    ORDER BY i.indisvalid DESC LIMIT 1) same ON true
LEFT JOIN LATERAL (
    SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) AS what
    FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE s.nspname = f.schema_name AND c.relname = d.index_name) taken ON true
LEFT JOIN LATERAL (
    -- no table is partitioned by a generated column; and what is not generated
    -- would keep out what is not the same
    SELECT CASE WHEN c.relkind = 'p' THEN
                    'a partitioned table cannot have it: what is sent again is parked again'
                ELSE format('column %I is not generated', d.column_name) END AS reason
    FROM pg_class c
    LEFT JOIN pg_attribute a
        ON a.attrelid = c.oid AND a.attname = d.column_name AND NOT a.attisdropped
    WHERE d.is_unique AND c.oid = f.relation AND (c.relkind = 'p' OR a.attgenerated = '')) cannot ON true
WHERE f.is_usable;
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_indexes() IS
'the indexes: their part of sidecar_objects()';

-- A table is bound if it has the trigger, whatever that is called, and whatever
-- time zone its argument is.  One that calls another function of that name, as a
-- migration that is run again makes it, keeps its argument.
CREATE FUNCTION @extschema@.sidecar_objects_triggers()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 3
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, 0, f.entity, 'trigger', format('%I on %s', b.trigger_name, f.name_sql),
       CASE WHEN f.is_bound THEN 'present' WHEN old.tgfoid IS NOT NULL THEN 'replace'
            ELSE 'missing' END,
       CASE WHEN old.tgfoid IS NOT NULL THEN
           format(E'DROP TRIGGER %I ON %s;\n', b.trigger_name, f.name_sql) ELSE '' END ||
       format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s',
              b.trigger_name, f.name_sql,
              CASE WHEN kept.zone IS NULL THEN t.function::text
                   ELSE format('%s(%L)', t.function::oid::regproc, kept.zone) END),
       NULLIF(concat_ws('; ', disabled.hint, unknown.hint, t.replaced), ''), NULL,
       old.tgfoid::regprocedure
FROM @extschema@.sidecar_found_tables() f
JOIN @extschema@.sidecar_entity_bindings() b ON b.sidecar_name = f.table_name
JOIN @extschema@.sidecar_trigger_functions() t USING (table_name)
LEFT JOIN pg_trigger old
    ON NOT f.is_bound AND old.tgrelid = f.relation AND old.tgname = b.trigger_name
LEFT JOIN LATERAL (
    SELECT format('disabled: ALTER TABLE %s ENABLE TRIGGER %I', f.name_sql, g.tgname) AS hint
    FROM pg_trigger g
    WHERE f.is_bound AND g.tgrelid = f.relation AND g.tgfoid = t.function
      AND g.tgenabled NOT IN ('O', 'A')
    LIMIT 1) disabled ON true
LEFT JOIN LATERAL (
    SELECT format('its time zone is not known: CREATE OR REPLACE TRIGGER %I BEFORE UPDATE ON %s '
                  'FOR EACH ROW EXECUTE FUNCTION %s(%L), or another name of pg_timezone_names',
                  g.tgname, f.name_sql, t.function::oid::regproc, 'UTC') AS hint
    FROM pg_trigger g
    WHERE f.is_bound AND f.entity IS NOT NULL AND b.time_zone IS NULL AND g.tgrelid = f.relation AND g.tgfoid = t.function
    ORDER BY g.tgname DESC LIMIT 1) unknown ON true
LEFT JOIN LATERAL (
    -- each argument ends with a zero byte; this may be evaluated where there is none
    SELECT convert_from(substr(old.tgargs, 1, GREATEST(octet_length(old.tgargs) - 1, 0)),
                        getdatabaseencoding()) AS zone
    FROM pg_proc p
    WHERE old.tgnargs = 1 AND p.oid = old.tgfoid AND starts_with(p.proname, b.trigger_function)) kept ON true
WHERE f.is_usable;
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_triggers() IS
'the triggers: their part of sidecar_objects()';

-- One that references the master by the sidecar's key column binds the master,
-- whatever its name.
CREATE FUNCTION @extschema@.sidecar_objects_foreign_keys()
RETURNS SETOF @extschema@.sidecar_object
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT f.n, 0, f.entity, 'foreign key', format('%I on %s', b.foreign_key, f.name_sql),
       CASE WHEN m.is_bound THEN 'present'
            WHEN m.obstacle IS NOT NULL OR taken.hint IS NOT NULL THEN 'waiting'
            ELSE 'missing' END,
       format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) '
              'REFERENCES %s (%I) ON DELETE CASCADE',
              f.name_sql, b.foreign_key, f.key_column, m.name_sql, m.key_column),
       CASE WHEN m.is_bound THEN NULLIF(concat_ws('; ', invalid.hint, disabled.hint), '')
            ELSE COALESCE(m.obstacle, taken.hint) || '; then SELECT sidecar_install()' END,
       format('SELECT count(*) FROM %s s WHERE NOT EXISTS (SELECT FROM %s m WHERE m.%I = s.%I)',
              f.name_sql, m.name_sql, m.key_column, f.key_column),
       NULL::regprocedure
FROM @extschema@.sidecar_found_tables() f
JOIN @extschema@.sidecar_entity_bindings() b USING (entity)
JOIN @extschema@.sidecar_found_masters() m USING (entity)
LEFT JOIN LATERAL (
    SELECT format('stored rows do not meet it: mend them, '
                  'then ALTER TABLE %s VALIDATE CONSTRAINT %I', f.name_sql, c.conname) AS hint
    FROM pg_constraint c
    WHERE c.conrelid = f.relation AND c.confrelid = m.relation AND c.contype = 'f'
      AND c.conparentid = 0 AND NOT c.convalidated
      -- a column since PostgreSQL 18
      AND to_jsonb(c) ->> 'conenforced' IS DISTINCT FROM 'false'
    LIMIT 1) invalid ON true
LEFT JOIN LATERAL (
    SELECT format('constraint %I of %s has its name and is not it, or is not enforced: drop it',
                  c.conname, f.name_sql) AS hint
    FROM pg_constraint c
    WHERE c.conrelid = f.relation AND c.conname = b.foreign_key) taken ON true
LEFT JOIN LATERAL (
    -- DISABLE TRIGGER ALL takes the key's own triggers too, on either table
    SELECT string_agg(DISTINCT format('its triggers are disabled: ALTER TABLE %s ENABLE TRIGGER ALL '
                                      'enables them, and all others', g.tgrelid::regclass), '; ') AS hint
    FROM pg_constraint c
    JOIN pg_trigger g ON g.tgconstraint = c.oid AND g.tgenabled NOT IN ('O', 'A')
    WHERE c.conrelid = f.relation AND c.confrelid = m.relation AND c.contype = 'f'
      AND c.conparentid = 0) disabled ON true
WHERE f.is_usable;
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects_foreign_keys() IS
'the foreign keys to the masters: their part of sidecar_objects()';

-- In the order of creation.
CREATE FUNCTION @extschema@.sidecar_objects()
RETURNS TABLE (
    "position" integer, entity text, kind text, object text, state text, command text, hint text,
    violations text, replaces regprocedure)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 24
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
SELECT (row_number() OVER (ORDER BY o.kind_order, o.table_order, o.n))::integer, o.entity, o.kind,
       o.object, o.state, o.command, o.hint, o.violations, o.replaces
FROM (SELECT 0 AS kind_order, * FROM @extschema@.sidecar_objects_inboxes()
      UNION ALL SELECT 1, * FROM @extschema@.sidecar_objects_schema()
      UNION ALL SELECT 2, * FROM @extschema@.sidecar_objects_tables()
      UNION ALL SELECT 3, * FROM @extschema@.sidecar_objects_columns()
      UNION ALL SELECT 4, * FROM @extschema@.sidecar_objects_keys()
      UNION ALL SELECT 5, * FROM @extschema@.sidecar_objects_checks()
      UNION ALL SELECT 6, * FROM @extschema@.sidecar_objects_indexes()
      UNION ALL SELECT 7, * FROM @extschema@.sidecar_objects_triggers()
      UNION ALL SELECT 8, * FROM @extschema@.sidecar_objects_foreign_keys()) o
ORDER BY 1;
END;

COMMENT ON FUNCTION @extschema@.sidecar_objects() IS
'every object that the extension works with, its state, and the command that makes it: what sidecar_install() would do';


-- ---------------------------------------------------------------------------
-- Tables that might be taken for a sidecar, and are not
-- ---------------------------------------------------------------------------

-- Citus copies the trigger to every shard of a distributed table.
CREATE FUNCTION @extschema@.sidecar_is_shard(relation regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
AS $plpgsql$
DECLARE
    answer boolean := false;
BEGIN
    IF to_regprocedure('pg_catalog.relation_is_a_known_shard(regclass)') IS NOT NULL THEN
        EXECUTE 'SELECT pg_catalog.relation_is_a_known_shard($1)' INTO answer USING relation;
    END IF;
    RETURN answer;
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_is_shard(regclass) IS
'whether the table is a shard of a distributed one (Citus)';

-- The sidecar tables themselves are among them.  Partitions go with their
-- table; temporary and foreign tables cannot be meant.
CREATE FUNCTION @extschema@.sidecar_suspects()
RETURNS TABLE (table_name text, relation oid, name_sql text, why text, trigger_name name)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
WITH binding AS MATERIALIZED (
    SELECT * FROM @extschema@.sidecar_entity_bindings()
),
-- by its trigger, or else its name, or else its columns
suspect (rank, table_name, relation, why, trigger_name) AS (
    SELECT 1, t.table_name, g.tgrelid, 'carries its trigger, too', g.tgname
    FROM @extschema@.sidecar_trigger_functions() t
    JOIN pg_trigger g ON g.tgfoid = t.function
    -- for each row, before, update
    WHERE (g.tgtype & 19) = 19
    UNION ALL
    SELECT 2, b.sidecar_name, c.oid, 'has its name', NULL
    FROM binding b JOIN pg_class c ON c.relname = b.sidecar_name
    UNION ALL
    SELECT 3, b.sidecar_name, a.attrelid, 'has its columns', NULL
    FROM binding b
    JOIN pg_attribute a
        ON a.attname = ANY (b.key_column || CASE WHEN b.entity IS NULL
               THEN '{record,on_conflict,sqlstate,last_tried_at}'
               ELSE '{enrichment_source,confidence_score,last_enriched_at,enrichment_payload}' END::text[])
       AND NOT a.attisdropped
    GROUP BY b.sidecar_name, a.attrelid
    HAVING count(*) = 5
)
SELECT DISTINCT ON (s.table_name, s.relation)
       s.table_name, s.relation, quote_ident(n.nspname) || '.' || quote_ident(c.relname), s.why,
       s.trigger_name
FROM suspect s
JOIN pg_class c ON c.oid = s.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
  AND NOT @extschema@.sidecar_is_shard(c.oid)
ORDER BY s.table_name, s.relation, s.rank, s.trigger_name;
END;

COMMENT ON FUNCTION @extschema@.sidecar_suspects() IS
'the tables that carry the trigger of one of ours, or else have its name or columns, ours among them';

-- After a copy was restored into another schema, or tables were swapped by
-- renaming them, everything works, but perhaps not on the table that is meant:
-- nobody can tell but who did it.  What sidecar_objects() speaks of is not told
-- here again.
CREATE FUNCTION @extschema@.sidecar_unbound_tables()
RETURNS TABLE (sidecar_table text, to_do text)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
BEGIN ATOMIC
WITH found AS MATERIALIZED (
    SELECT * FROM @extschema@.sidecar_found_tables()
)
SELECT s.name_sql,
       CASE WHEN f.is_bound THEN format('the %s is %s', what.it_is, f.name_sql)
            WHEN b.problem IS NOT NULL AND s.trigger_name IS NOT NULL THEN
                format('several tables carry the trigger of the %s: drop it from those that '
                       'are not that, and leave it on the one that is', what.it_is)
            ELSE format('there is no %s', what.it_is) END ||
       CASE WHEN s.trigger_name IS NULL THEN
           format(', and %1$s, without its trigger, %2$s: if that is it, %3$s'
                  'CREATE TRIGGER %4$I BEFORE UPDATE ON %1$s FOR EACH ROW EXECUTE FUNCTION %5$s; '
                  'SELECT sidecar_install()',
                  s.name_sql, s.why, mark.drop_it || '; ', b.trigger_name,
                  -- the zone of what it takes the place of
                  CASE WHEN b.time_zone <> 'UTC' THEN format('%s(%L)', t.function::oid::regproc, b.time_zone)
                       ELSE t.function::text END)
       ELSE
           format(', but %1$s %2$s: DROP TRIGGER %3$I ON %1$s%4$s', s.name_sql, s.why,
                  s.trigger_name, '; or, if that is it, ' || mark.drop_it)
       END
FROM @extschema@.sidecar_suspects() s
JOIN found f USING (table_name)
JOIN @extschema@.sidecar_entity_bindings() b ON b.sidecar_name = f.table_name
JOIN @extschema@.sidecar_trigger_functions() t USING (table_name)
CROSS JOIN LATERAL (
    SELECT COALESCE('sidecar of entity ' || f.entity, 'table of parked records')) what (it_is)
LEFT JOIN LATERAL (
    SELECT string_agg(format('DROP TRIGGER %I ON %s', g.tgname, f.name_sql), '; '
                      ORDER BY g.tgname)
    FROM pg_trigger g
    WHERE f.is_bound AND g.tgrelid = f.relation AND g.tgfoid = t.function) mark (drop_it) ON true
WHERE NOT EXISTS (SELECT FROM found o WHERE o.relation = s.relation)
ORDER BY s.name_sql, s.table_name;
END;

COMMENT ON FUNCTION @extschema@.sidecar_unbound_tables() IS
'the tables that might be taken for one of ours and are not, because another one is bound or none: which one is used, and what to do if it is the wrong one';


-- ---------------------------------------------------------------------------
-- Making what is missing
-- ---------------------------------------------------------------------------

-- One at a time: whoever has something to make takes the locks that the commands
-- will need, at once and in one order, on the tables that are there; whoever
-- waited sees what the other has made.  Nobody can hold these locks for long who
-- could not keep the commands themselves from running; an advisory lock is
-- anybody's.
CREATE FUNCTION @extschema@.sidecar_lock_tables()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $plpgsql$
DECLARE
    t record;
    home text := (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'sidecar');
BEGIN
    FOR t IN EXECUTE format(
        'SELECT f.name_sql, f.relation, '
        'bool_or(o.kind IN (''column'', ''primary key'', ''check'')) AS exclusively '
        'FROM %1$s.sidecar_found_tables() f '
        'JOIN %1$s.sidecar_objects() o '
        'ON o.entity IS NOT DISTINCT FROM f.entity AND o.kind NOT IN (''inbox column'', ''schema'', ''table'') '
        'WHERE f.relation IS NOT NULL AND o.state IN (''missing'', ''replace'') '
        'GROUP BY f.n, f.name_sql, f.relation ORDER BY f.n', home)
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN %s MODE', t.name_sql,
                           CASE WHEN t.exclusively THEN 'ACCESS EXCLUSIVE'
                                ELSE 'SHARE ROW EXCLUSIVE' END);
        EXCEPTION WHEN insufficient_privilege OR undefined_table THEN
            CONTINUE;           -- the commands will tell
        END;
        IF to_regclass(t.name_sql) IS DISTINCT FROM t.relation::regclass THEN
            RAISE EXCEPTION USING
                ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = format('%s has become another table meanwhile', t.name_sql),
                HINT = 'Try again.';
        END IF;
    END LOOP;
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_lock_tables() IS
'locks the tables that sidecar_install() has something to make on';

-- Makes one object of sidecar_objects(): outcome is created, or present if
-- somebody else was quicker, or waiting.
CREATE FUNCTION @extschema@.sidecar_make(
    kind text, object text, command text, violations text, OUT outcome text, OUT hint text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
-- row security must not hide a row from a constraint's check: it fails loudly instead
SET row_security = off
AS $plpgsql$
DECLARE
    bad bigint;
    still_missing boolean;
    detail text;
BEGIN
    BEGIN
        EXECUTE command;
        outcome := 'created';
        RETURN;
    EXCEPTION
        WHEN insufficient_privilege OR invalid_schema_name OR undefined_table OR too_many_columns THEN
            -- not allowed, or not there because an earlier one was not allowed
            outcome := 'waiting';
            hint := format(E'%s; for someone who may:\n%s', SQLERRM, command);
            RETURN;
        WHEN duplicate_schema OR duplicate_table OR duplicate_column OR duplicate_object
             OR unique_violation THEN
            -- there was no table to lock when two of us looked: look again
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %s.sidecar_objects() s '
                'WHERE s.kind = $1 AND s.object = $2 AND s.state = ''missing'')',
                (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'sidecar'))
            INTO still_missing USING kind, object;
            IF still_missing AND SQLSTATE = '23505' THEN
                outcome := 'waiting';
                hint := format('%s: %s; delete all but one of each, then SELECT sidecar_install()', SQLERRM,
                               CASE kind WHEN 'primary key' THEN 'several rows have the same key'
                                         ELSE 'the same record is parked several times' END);
                RETURN;
            ELSIF still_missing THEN
                RAISE;
            END IF;
            outcome := 'present';
            RETURN;
        WHEN feature_not_supported THEN
            -- a partitioned table cannot have every key
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            outcome := 'waiting';
            hint := concat_ws(': ', SQLERRM, NULLIF(detail, ''));
            RETURN;
        WHEN foreign_key_violation OR check_violation THEN
            NULL;               -- stored rows: only new ones are checked, below
    END;

    EXECUTE violations INTO bad;
    BEGIN
        EXECUTE command || ' NOT VALID';
    EXCEPTION WHEN wrong_object_type OR feature_not_supported THEN
        -- a partitioned table, up to PostgreSQL 17
        outcome := 'waiting';
        hint := format('%s stored rows do not meet it: mend them, then SELECT sidecar_install()',
                       bad);
        RETURN;
    END;
    outcome := 'created';
    hint := format('%s stored rows do not meet it, new rows must: mend them, '
                   'then ALTER TABLE ... VALIDATE CONSTRAINT', bad);
    RAISE WARNING '% % is not valid for % stored rows', kind, object, bad
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'They were kept; new rows are checked. '
                     'SELECT * FROM sidecar_status() tells what to do.';
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_make(text, text, text, text) IS
'makes one object of sidecar_objects(), a constraint as NOT VALID if stored rows do not meet it';

-- After a trigger of a migration was replaced by ours: the migration's own
-- function goes, any other stays, and the hint says so.
CREATE FUNCTION @extschema@.sidecar_drop_replaced(
    object text, function regprocedure, owner oid)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $plpgsql$
BEGIN
    -- an owner's trigger may have called somebody else's function
    IF EXISTS (SELECT FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
               WHERE p.oid = function AND l.lanname = 'plpgsql'
                 AND (pg_get_userbyid(p.proowner) = current_user OR p.proowner = owner)
                 AND regexp_replace(lower(p.prosrc), '\s|:', '', 'g') =
                     'beginnew.updated_at=now();returnnew;end;')
       AND NOT EXISTS (SELECT FROM pg_depend d
                       WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = function)
    THEN
        EXECUTE format('DROP FUNCTION %s', function);
        RETURN NULL;
    END IF;
    RAISE WARNING '% no longer calls %', object, function
        USING HINT = 'The function was kept: it is not the migration''s own, '
                     'or something else uses it.';
    RETURN format('function %s was kept: it is not the migration''s own, '
                  'or something else uses it', function);
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_drop_replaced(text, regprocedure, oid) IS
'drops the trigger function of a plain SQL migration, if it is that and nothing uses it; a hint says why not';

-- After a table has got its trigger: what wrote the times that it has already may
-- have done so in another zone, that of the database most likely.  What a session
-- has set itself, or its client, says nothing of others.
CREATE FUNCTION @extschema@.sidecar_doubt_zone(entity text)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $plpgsql$
DECLARE
    t record;
    has_times boolean;
    statement text;
    zone text := (
        SELECT split_part(c, '=', 2)
        FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND s.setrole = 0 AND lower(split_part(c, '=', 1)) = 'timezone'
        ORDER BY s.setdatabase DESC LIMIT 1);
    home text := (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'sidecar');
BEGIN
    IF zone IS NULL AND has_table_privilege('pg_file_settings', 'SELECT')
       AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') THEN
        zone := (SELECT setting FROM pg_file_settings WHERE lower(name) = 'timezone' AND applied
                 ORDER BY seqno DESC LIMIT 1);
    END IF;
    BEGIN
        -- as a name that the trigger takes, also where it is a number of hours
        PERFORM set_config('TimeZone', COALESCE(zone, (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone')),
                           true);
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN NULL;            -- nor does anybody else know it
    END;
    zone := current_setting('TimeZone');
    -- whatever it is called: it differs neither in winter nor in summer
    IF timestamptz '2026-01-01 00:00:00Z' AT TIME ZONE zone = timestamp '2026-01-01 00:00:00'
       AND timestamptz '2026-07-01 00:00:00Z' AT TIME ZONE zone = timestamp '2026-07-01 00:00:00' THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'SELECT f.name_sql, g.tgname, t.function::oid::regproc AS function, '
        'string_agg(quote_ident(a.attname) || '' IS NOT NULL'', '' OR '') AS condition '
        'FROM %1$s.sidecar_found_tables() f '
        'JOIN %1$s.sidecar_trigger_functions() t USING (table_name) '
        'JOIN pg_trigger g ON g.tgrelid = f.relation AND g.tgfoid = t.function AND g.tgnargs = 0 '
        'JOIN pg_attribute a ON a.attrelid = f.relation AND a.atttypid = ''timestamp''::regtype '
        'AND a.attname IN (''last_enriched_at'', ''created_at'', ''updated_at'') AND NOT a.attisdropped '
        'WHERE f.entity = $1 GROUP BY 1, 2, 3', home)
    INTO t USING entity;
    IF t.condition IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s)', t.name_sql, t.condition) INTO has_times;
    EXCEPTION WHEN insufficient_privilege THEN
        has_times := true;      -- perhaps
    END;
    IF NOT has_times THEN
        RETURN NULL;
    END IF;
    statement := format('CREATE OR REPLACE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s(%L)',
                        t.tgname, t.name_sql, t.function, zone);
    RAISE WARNING 'times in % are taken for UTC, but the time zone of the database is "%"', t.name_sql, zone
        USING HINT = format('If they were written in that zone: %s', statement);
    RETURN format('times in it are taken for UTC; if they are of the zone of the database: %s', statement);
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_doubt_zone(text) IS
'warns if a table has times that may be of another zone than its trigger says; the hint is the statement that sets it';

CREATE FUNCTION @extschema@.sidecar_install()
RETURNS TABLE (object text, outcome text, hint text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $plpgsql$
DECLARE
    kinds text;
    o record;
    is_there boolean;
    home text := (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'sidecar');
BEGIN
    -- as sidecar_objects() does, but each kind is looked at when those before it are made
    FOREACH kinds IN ARRAY ARRAY['inboxes', 'schema', 'tables', 'columns', 'keys', 'checks', 'indexes',
                                 'triggers', 'foreign_keys'] LOOP
        -- in the order in which an INSERT into an inbox locks
        IF kinds = 'schema' THEN
            EXECUTE format('SELECT %s.sidecar_lock_tables()', home);
        END IF;
        FOR o IN EXECUTE format('SELECT * FROM %s.sidecar_objects_%s() s '
                                'ORDER BY s.table_order, s.n', home, kinds) LOOP
            object := o.kind || ' ' || o.object;
            outcome := CASE o.state WHEN 'waiting' THEN 'waiting' ELSE 'present' END;
            hint := o.hint;
            IF o.state = 'refused' THEN
                -- by the catalog: a name is only resolved for who may use its schema
                is_there := EXISTS (
                    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE format('%I.%I', n.nspname, c.relname) = o.object);
                RAISE EXCEPTION USING
                    ERRCODE = 'wrong_object_type',
                    MESSAGE = CASE WHEN is_there
                                   THEN format('%s cannot serve as a sidecar table', o.object)
                                   ELSE format('there is no %s, and another table cannot serve',
                                               o.object) END,
                    DETAIL = rtrim(o.hint, '.') || '.',
                    HINT = CASE WHEN is_there THEN 'Rename it or change it' ELSE 'Mend that' END
                           || ', then try again. Nothing was changed.';
            ELSIF o.state = 'waiting' AND o.kind IN ('schema', 'table') THEN
                RAISE WARNING '% is not touched', o.object
                    USING HINT = upper(left(o.hint, 1)) || substr(o.hint, 2);
            ELSIF o.state IN ('missing', 'replace') THEN
                -- a column's default is a time of the table's
                EXECUTE format('SELECT set_config(''TimeZone'', COALESCE((SELECT b.time_zone '
                               'FROM %s.sidecar_entity_bindings() b WHERE b.entity = $1), ''UTC''), true)',
                               home) USING o.entity;
                EXECUTE format('SELECT m.outcome, COALESCE(m.hint, $5) '
                               'FROM %s.sidecar_make($1, $2, $3, $4) m', home)
                INTO outcome, hint USING o.kind, o.object, o.command, o.violations, o.hint;
                IF o.state = 'replace' AND outcome = 'created' THEN
                    outcome := 'replaced';
                    EXECUTE format('SELECT COALESCE(%1$s.sidecar_drop_replaced($1, $2, c.relowner), $3) '
                                   'FROM %1$s.sidecar_found_tables() f, pg_class c '
                                   'WHERE f.entity IS NOT DISTINCT FROM $4 AND c.oid = f.relation', home)
                    INTO hint USING object, o.replaces, o.hint, o.entity;
                END IF;
                IF o.kind = 'trigger' AND outcome IN ('created', 'replaced') THEN
                    EXECUTE format('SELECT NULLIF(concat_ws(''; '', $1, %s.sidecar_doubt_zone($2)), '''')', home)
                    INTO hint USING hint, o.entity;
                END IF;
            END IF;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$plpgsql$;

COMMENT ON FUNCTION @extschema@.sidecar_install() IS
'makes whatever is missing of schema, tables, indexes, checks, triggers and foreign keys, and inboxes'' columns; tells per object whether it was created, present, replaced or is waiting';

CREATE FUNCTION @extschema@.sidecar_create_masters()
RETURNS TABLE (object text, outcome text, hint text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $plpgsql$
DECLARE
    e record;
    distrust text;
    home text := (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'sidecar');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'marketing') THEN
        CREATE SCHEMA marketing;
    END IF;
    EXECUTE format('SELECT %s.sidecar_distrust(n.nspowner, NULL) FROM pg_namespace n '
                   'WHERE n.nspname = $1', home) INTO distrust USING 'marketing';
    FOR e IN EXECUTE format('SELECT * FROM %s.sidecar_entity_bindings() WHERE entity IS NOT NULL', home) LOOP
        object := format('table marketing.%I', e.master_name);
        outcome := 'present';
        hint := NULL;
        IF e.master IS NOT NULL THEN
            object := 'table ' || e.master;
        ELSIF to_regclass(format('marketing.%I', e.master_name)) IS NULL AND distrust IS NOT NULL THEN
            outcome := 'waiting';
            hint := 'it would be in schema marketing: ' || distrust;
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
    RETURN QUERY EXECUTE format('SELECT * FROM %s.sidecar_install()', home);
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
          AND i.type IN ('schema', 'table')
    LOOP
        EXECUTE format('ALTER EXTENSION sidecar DROP %s %s', made.type, made.identity);
    END LOOP;
END
$$;

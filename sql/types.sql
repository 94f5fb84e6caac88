-- The tables are the user's: types that can be right work in every way in and
-- out, others are refused before a value is read.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 4) i;
INSERT INTO marketing.people_master VALUES ('p1', 'Person 1');
CREATE TYPE word AS ENUM ('c1', 'c2', 'clay', '70');
CREATE FUNCTION own_cast(word) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cast ran as %', current_user; END $$;
CREATE CAST (word AS numeric) WITH FUNCTION own_cast(word) AS IMPLICIT;
CREATE FUNCTION own_text_cast(word) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cast ran as %', current_user; END $$;
CREATE CAST (word AS text) WITH FUNCTION own_text_cast(word) AS IMPLICIT;

-- every function that meets the tables
CREATE FUNCTION ask(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE VIEW answers AS SELECT n, call, CASE WHEN call ~ '^INSERT' THEN ask(call || ' RETURNING ''stored''') ELSE ask(call) END AS answer FROM unnest(ARRAY[
    $q$SELECT sidecar_upsert_company('c1', '1', '2', '{a}', '{b}', '{"x": 1}', '2026-01-01 12:00+02', 'clay', 70.126)$q$,
    $q$SELECT sidecar_upsert_company('c2')$q$,
    $q$SELECT sidecar_upsert_company('c1', '1', confidence_score => 70.126, last_enriched_at => '2026-01-01 12:00+02', on_conflict => 'newest')$q$,
    $q$SELECT string_agg(concat_ws(' ', outcome, error), ', ' ORDER BY record) FROM sidecar_upsert_companies('[{"company_unique_id": "c3", "ein_number": "1", "clay_tags": ["a"], "enrichment_payload": {"x": 1},
        "last_enriched_at": "2026-01-01T12:00:00+02", "enrichment_source": "clay", "confidence_score": 70.126}, {"company_unique_id": "c3"}, {"company_unique_id": "c2"}]')$q$,
    $q$INSERT INTO sidecar_company_inbox VALUES ('c4', '1', '2', '{a}', '{b}', '{"x": 1}', '2026-01-01 12:00+02', 'clay', 70.126)$q$,
    $q$SELECT string_agg(to_jsonb(c)::text, ' ') FROM sidecar_coverage() c WHERE entity = 'company'$q$,
    $q$SELECT string_agg((to_jsonb(c) - 'latest_enrichment')::text, ' ') FROM sidecar_summary('1 hour', 80) c WHERE entity = 'company'$q$,
    $q$SELECT count(*) FROM sidecar_summary(exact => false) c$q$,
    $q$SELECT string_agg(field || filled, ' ') FROM sidecar_field_coverage() WHERE entity = 'company'$q$,
    $q$SELECT string_agg(concat_ws(' ', enrichment_source, total_enrichments, avg_confidence), ', ') FROM sidecar_sources() WHERE entity = 'company'$q$,
    $q$SELECT string_agg(concat_ws(' ', enrichment_source, last_enriched_at), ', ') FROM sidecar_stale_companies('1 hour', 1)$q$,
    $q$SELECT string_agg(concat_ws(' ', enrichment_source, confidence_score), ', ') FROM sidecar_low_confidence_companies(80, 1)$q$,
    $q$SELECT string_agg(company_unique_id, ' ') FROM sidecar_missing_companies()$q$,
    $q$SELECT concat_ws(' ', orphan_rows, to_do) FROM sidecar_status() WHERE entity = 'company'$q$,
    $q$SELECT string_agg(concat_ws(' ', object, outcome), ', ') FROM sidecar_install() WHERE outcome <> 'present'$q$]) WITH ORDINALITY c (call, n);
SELECT n, answer FROM answers;
TRUNCATE marketing.company_sidecar;

-- domains, timestamptz, a text key, lengths: the same answers
CREATE DOMAIN score AS numeric CHECK (VALUE < 1000);
CREATE DOMAIN moment AS timestamp;
CREATE DOMAIN moment_with_zone AS timestamptz;
CREATE DOMAIN label AS text CHECK (VALUE <> '');
CREATE DOMAIN short AS varchar(5);
CREATE DOMAIN labels AS text[];
CREATE DOMAIN document AS jsonb;
ALTER TABLE marketing.company_sidecar ALTER confidence_score TYPE score, ALTER last_enriched_at TYPE moment, ALTER enrichment_source TYPE varchar(50),
    ALTER ein_number TYPE short, ALTER clay_tags TYPE labels, ALTER clay_segments TYPE varchar(3)[], ALTER enrichment_payload TYPE document,
    ALTER updated_at TYPE moment_with_zone, ALTER created_at TYPE moment_with_zone;
SELECT n, answer FROM answers;
SELECT company_unique_id, last_enriched_at, confidence_score, clay_segments FROM marketing.company_sidecar WHERE company_unique_id IN ('c1', 'c4') ORDER BY 1;
BEGIN;
UPDATE marketing.company_sidecar SET updated_at = '2000-01-01' WHERE company_unique_id = 'c1';
SELECT updated_at = now() AS now FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
COMMIT;
SELECT sidecar_upsert_company('c1', '123456');
\echo :LAST_ERROR_SQLSTATE
-- a domain that one record does not meet costs the others nothing
SELECT record, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "7"}, {"company_unique_id": "c2", "clay_segments": ["long"]}, {"company_unique_id": "c3", "ein_number": "8"}]');
TRUNCATE marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar ALTER last_enriched_at TYPE timestamptz, ALTER company_unique_id TYPE label, ALTER confidence_score TYPE numeric(5,2);
SELECT n, answer FROM answers WHERE answer ~ '^\w{5}: ';
SELECT company_unique_id, last_enriched_at, confidence_score FROM marketing.company_sidecar WHERE company_unique_id IN ('c1', 'c4') ORDER BY 1;
DROP VIEW answers;

-- what cannot be right: each function says so, no value is read as what it is not
CREATE PROCEDURE alter_and_ask(col text, type text, calls text[]) LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    call text;
BEGIN
    EXECUTE format('ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_confidence_score_check, ALTER %I DROP DEFAULT, ALTER %1$I TYPE %s USING NULL', col, type);
    FOREACH call IN ARRAY calls LOOP
        answer := ask(call);
        IF answer !~ format('^(42804|42809): .*(column "?%s"? |cannot serve)', col) THEN
            RAISE WARNING '%: %: % answers %', col, type, call, answer;
        END IF;
    END LOOP;
    RAISE WARNING '%', (SELECT to_do[1] FROM sidecar_status() WHERE entity = 'company');
    ROLLBACK;
END $$;
CREATE PROCEDURE try_types(INOUT tried int DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
    c record;
    calls text[] := ARRAY[
        $q$SELECT sidecar_upsert_company('c1', '1', confidence_score => 50)$q$,
        $q$SELECT sidecar_upsert_companies('[{"company_unique_id": "c1", "confidence_score": 50, "last_enriched_at": "2026-01-01"}]')$q$,
        $q$INSERT INTO sidecar_company_inbox (company_unique_id, confidence_score) VALUES ('c1', 50)$q$,
        'SELECT sidecar_retry_rejects()', 'SELECT sidecar_coverage()', 'SELECT sidecar_summary()', 'SELECT sidecar_summary(exact => false)', 'SELECT sidecar_sources()',
        'SELECT sidecar_field_coverage()', 'SELECT sidecar_stale_companies()', 'SELECT sidecar_low_confidence_companies()', 'SELECT sidecar_missing_companies()', 'SELECT sidecar_install()'];
BEGIN
    FOR c IN SELECT col, type FROM (VALUES
        ('confidence_score', 'double precision'), ('confidence_score', 'real'), ('confidence_score', 'integer'), ('confidence_score', 'bigint'), ('confidence_score', 'money'),
        ('confidence_score', 'word'), ('confidence_score', 'text'), ('confidence_score', 'numeric[]'),
        ('last_enriched_at', 'text'), ('last_enriched_at', 'date'), ('last_enriched_at', 'bigint'), ('last_enriched_at', 'interval'), ('last_enriched_at', 'timestamp[]'),
        ('enrichment_source', 'word'), ('enrichment_source', 'jsonb'), ('enrichment_source', 'name'), ('enrichment_source', 'integer'),
        ('ein_number', 'bigint'), ('ein_number', 'bytea'), ('ein_number', 'char(20)'), ('dun_and_bradstreet_number', 'integer'), ('clay_tags', 'text'), ('clay_tags', 'jsonb'), ('clay_segments', 'integer[]'),
        ('created_at', 'date'), ('updated_at', 'text')) c (col, type)
    LOOP
        CALL alter_and_ask(c.col, c.type, calls);
        tried := tried + 1;
    END LOOP;
END $$;
INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) VALUES ('company', 'c1', '{"company_unique_id": "c1"}', 'overwrite', 'x', 'P0001');
CALL try_types();

-- the master's key is compared with ours, its name is shown: neither by a cast
-- of the owner's own
TRUNCATE marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company, ALTER company_unique_id TYPE text, ALTER last_enriched_at TYPE timestamp;
CREATE TYPE fullname AS (first text, last text);
CREATE FUNCTION name_cast(fullname) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cast ran as %', current_user; END $$;
CREATE CAST (fullname AS text) WITH FUNCTION name_cast(fullname) AS IMPLICIT;
CREATE TABLE marketing.words (id char(10) PRIMARY KEY, company_name fullname);
ALTER TABLE marketing.company_sidecar ADD FOREIGN KEY (company_unique_id) REFERENCES marketing.words;
SELECT ask('SELECT sidecar_coverage()') AS coverage, ask($q$SELECT sidecar_upsert_company('c1')$q$) AS upsert, ask('SELECT sidecar_missing_companies()') AS missing;
SELECT foreign_key_present, orphan_rows, to_do FROM sidecar_status() WHERE entity = 'company';
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_company_unique_id_fkey;
CREATE TABLE marketing.names (id text PRIMARY KEY, company_name fullname);
INSERT INTO marketing.names VALUES ('c1', '(A,B)'), ('c2', NULL), ('c3', '(C,)');
ALTER TABLE marketing.company_sidecar ADD FOREIGN KEY (company_unique_id) REFERENCES marketing.names;
SELECT sidecar_upsert_company('c1', confidence_score => 5, last_enriched_at => '2020-01-01');
SELECT company_name FROM sidecar_stale_companies() UNION ALL SELECT company_name FROM sidecar_low_confidence_companies();
SELECT company_name, company_name IS NULL AS is_null FROM sidecar_missing_companies();

-- the table of parked records
CREATE FUNCTION alter_rejects(change text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'ALTER TABLE marketing.sidecar_rejects ' || change;
    RAISE EXCEPTION USING MESSAGE = concat_ws(E'\n', change, ask($q$SELECT sidecar_upsert_companies('[{"company_unique_id": "none"}]')$q$),
        ask('SELECT sidecar_retry_rejects()'), ask('SELECT sidecar_summary()'), ask($q$SELECT to_do FROM sidecar_status() WHERE entity IS NULL$q$)), ERRCODE = 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
    RETURN SQLERRM;
END $$;
\pset format unaligned
SELECT alter_rejects(change) FROM unnest(ARRAY['DROP hash, ALTER record TYPE text', 'DROP hash, ALTER record TYPE bytea USING NULL, ALTER record DROP NOT NULL', 'ALTER rejected_at DROP DEFAULT, ALTER rejected_at TYPE text',
    'ALTER reject_id DROP DEFAULT, ALTER reject_id TYPE text', 'ALTER unique_id TYPE word USING NULL', 'DROP hash, ALTER entity TYPE word USING ''c1''', 'DROP error', 'ALTER record_no TYPE numeric', 'ALTER attempts TYPE text USING NULL, ALTER attempts DROP NOT NULL']) change;
\pset format aligned
-- rows that it should not have
TRUNCATE marketing.sidecar_rejects;
ALTER TABLE marketing.company_sidecar ALTER updated_at TYPE timestamp;
ALTER TABLE marketing.sidecar_rejects ALTER record DROP NOT NULL, ALTER entity DROP NOT NULL, ALTER on_conflict DROP NOT NULL, ALTER rejected_at DROP NOT NULL,
    ALTER record_no DROP NOT NULL, ALTER last_tried_at DROP NOT NULL, ALTER attempts DROP NOT NULL, ALTER error DROP NOT NULL;
INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, error, sqlstate, rejected_at) VALUES (NULL, '{}', 'fill', '', '', now()), ('company', NULL, 'fill', '', '', now()),
    ('company', '{}', NULL, '', '', now()), ('company', '{}', 'fill', '', '', NULL), ('company', '[1]', 'fill', '', '', now()), ('company', '"x"', 'fill', '', '', now());
INSERT INTO marketing.sidecar_rejects (record_no, entity, unique_id, record, on_conflict, options, error, sqlstate, attempts, last_tried_at) VALUES
    (NULL, 'company', 'c1', '{"company_unique_id": "c1", "ein_number": "1"}', 'fill', '"junk"', NULL, '', NULL, NULL),
    (NULL, 'company', NULL, '{"company_unique_id": "none"}', 'fill', '[1]', NULL, '', NULL, NULL), (2, 'planet', 'c1', '{}', 'fill', NULL, '', '', 1, now()),
    (3, 'company', 'c1', '{"company_unique_id": "c1", "ein_number": "2"}', 'eldest', NULL, '', '', 1, now()), (4, 'company', 'c1', '{"company_unique_id": "c1", "ein_number": "3"}', 'overwrite', '{"text": 7}', '', '', -1, 'infinity');
SELECT unique_id, outcome, error FROM sidecar_retry_rejects() ORDER BY error, unique_id, outcome;
SELECT entity, unique_id, record, on_conflict, attempts FROM marketing.sidecar_rejects ORDER BY entity, on_conflict, record;

-- nor is a table with rules a sidecar by which something else is written, or nothing
CREATE RULE other AS ON UPDATE TO marketing.company_sidecar DO ALSO NOTIFY other;
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c1"}');
\echo :LAST_ERROR_SQLSTATE
SELECT to_do FROM sidecar_status() WHERE entity = 'company';
DROP RULE other ON marketing.company_sidecar;
CREATE RULE other AS ON DELETE TO marketing.company_sidecar DO ALSO NOTIFY other;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "ein_number": "4"}');
DROP RULE other ON marketing.company_sidecar;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP PROCEDURE try_types, alter_and_ask;
DROP FUNCTION alter_rejects, ask;
DROP TYPE word, fullname CASCADE;
DROP DOMAIN score, moment, moment_with_zone, label, short, labels, document;

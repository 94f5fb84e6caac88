-- One bad record costs the others nothing, and nothing that was sent is lost or
-- kept twice: for people, by every way in.  Deferrable constraints are in
-- deferred.sql, a cut-over is in test/t/014_cutover.pl.
--
-- what a trigger raises             "raised": by import, inbox, retry and single; what ends the call
-- no sequence                       "taken over": parked records that come from elsewhere
-- keys as the column says           "alike": people, retries, inbox, a domain; a trigger that normalises, with UPDATE too
-- the table of parked records       "gone", "replaced", "moved": dropped, copied, restored, in one transaction
-- the same again, and retries       "daily": batch, import and inbox three times; 10 broken ones first
-- text that jsonb refuses           "no JSON": people, inside arrays, cut off, in keys
-- one entity's trouble              "one of two": no table, no key, no master, no trigger, each way round
SET client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\pset format unaligned
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/test/ways.sql'
\set ECHO none
\i :file
\set ECHO all
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;

-- raised: what a trigger of the user's raises for one person
CREATE FUNCTION fuss() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    i int;
BEGIN
    CASE NEW.clay_insight_summary
        WHEN 'cast' THEN i := NEW.clay_insight_summary::int;
        WHEN 'zero' THEN i := 1 / (NEW.confidence_score * 0)::int;
        WHEN 'range' THEN i := 3000000000;
        WHEN 'none' THEN SELECT 1 INTO STRICT i WHERE false;
        WHEN 'many' THEN SELECT n INTO STRICT i FROM generate_series(1, 2) n;
        WHEN 'json' THEN PERFORM '{'::jsonb;
        WHEN 'no case' THEN CASE i WHEN 1 THEN NULL; END CASE;
        WHEN 'unique' THEN INSERT INTO marketing.people_master VALUES ('p1');
        WHEN 'deep' THEN PERFORM fuss_deep();
        WHEN 'no table' THEN PERFORM count(*) FROM not_there;
        WHEN 'no right' THEN RAISE insufficient_privilege;
        WHEN 'time' THEN PERFORM pg_sleep(10);
        WHEN 'lock' THEN RAISE lock_not_available;
        ELSE
            IF NEW.clay_insight_summary ~ '^[0-9A-Z]{5}$' THEN RAISE 'raised' USING ERRCODE = NEW.clay_insight_summary; END IF;
    END CASE;
    RETURN NEW;
END $$;
CREATE FUNCTION fuss_deep() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION SQLSTATE '2F002' USING MESSAGE = 'deep'; END $$;
CREATE TRIGGER fuss BEFORE INSERT OR UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION fuss();
CREATE FUNCTION try(word text, stored boolean, OUT single text, OUT batch text, OUT import text, OUT inbox text, OUT retry text) LANGUAGE plpgsql AS $$
DECLARE
    bad text := CASE WHEN stored THEN 'p1' ELSE 'p2' END;
    records jsonb := jsonb_build_array('{"person_unique_id": "p3", "clay_insight_summary": "good"}'::jsonb,
                                       jsonb_build_object('person_unique_id', bad, 'clay_insight_summary', word, 'confidence_score', 1),
                                       '{"person_unique_id": "p4", "clay_insight_summary": "good"}'::jsonb);
BEGIN
    DELETE FROM marketing.sidecar_rejects;
    BEGIN
        single := sidecar_upsert_person(bad, word, confidence_score => 1);
    EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
        single := SQLSTATE;
    END;
    BEGIN
        batch := (SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_upsert_people(records));
    EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
        batch := SQLSTATE;
    END;
    DELETE FROM marketing.people_sidecar WHERE person_unique_id > 'p1';
    BEGIN
        import := (SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_import_people(records::text));
    EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
        import := SQLSTATE;
    END;
    DELETE FROM marketing.people_sidecar WHERE person_unique_id > 'p1';
    DELETE FROM marketing.sidecar_rejects;
    BEGIN
        INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary, confidence_score) SELECT r->>'person_unique_id', r->>'clay_insight_summary', r->>'confidence_score' FROM jsonb_array_elements(records) r;
        inbox := concat_ws(' ', (SELECT count(*) FROM marketing.people_sidecar WHERE person_unique_id > 'p1'), 'stored,', (SELECT string_agg(sqlstate, ' ') FROM marketing.sidecar_rejects));
    EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
        inbox := SQLSTATE;
    END;
    DELETE FROM marketing.people_sidecar WHERE person_unique_id > 'p1';
    DELETE FROM marketing.sidecar_rejects;
    INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) SELECT 'people', r->>'person_unique_id', r, 'overwrite', '', '' FROM jsonb_array_elements(records) r;
    BEGIN
        retry := (SELECT string_agg(outcome, ' ' ORDER BY unique_id) FROM sidecar_retry_rejects());
    EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
        retry := SQLSTATE;
    END;
    DELETE FROM marketing.people_sidecar WHERE person_unique_id > 'p1';
END $$;
INSERT INTO marketing.people_sidecar (person_unique_id) VALUES ('p1');
SELECT word, t.* FROM unnest('{cast,zero,range,none,many,json,no case,unique,deep,P0001,P0004,45000,2F003,38000,39004,HV00B,21000,24000,26000,0A000,0L000,44000,54001,72000,ZZZZZ}'::text[]) WITH ORDINALITY w (word, n), try(word, false) t ORDER BY n;
SELECT word, t.* FROM unnest('{cast,zero,deep,P0001,45000,2F005,HV000}'::text[]) WITH ORDINALITY w (word, n), try(word, true) t ORDER BY n;
-- what cannot lie in a record ends the call, and nothing of it is parked
SET statement_timeout = '300s';
SELECT word, t.* FROM unnest('{no table,no right,lock,40001,40P01,53200,55P03,57014,57P01,58030,08003,25006,XX001}'::text[]) WITH ORDINALITY w (word, n), try(word, false) t ORDER BY n;
SET statement_timeout = '100ms';
SELECT outcome FROM sidecar_import_people('[{"person_unique_id": "p3"}, {"person_unique_id": "p4", "clay_insight_summary": "time"}]');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p3', 'good'), ('p4', 'time');
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
SELECT count(*) FROM marketing.people_sidecar WHERE person_unique_id > 'p1';
DROP TRIGGER fuss ON marketing.people_sidecar;
DROP FUNCTION fuss, fuss_deep, try;
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;

-- daily: what is sent three times by each of three ways is parked once per way
-- that says something else of it, however often it was sent
CREATE VIEW parked AS SELECT entity, unique_id, on_conflict, options, sqlstate, attempts FROM marketing.sidecar_rejects ORDER BY entity, unique_id, options, on_conflict;
SELECT count(DISTINCT o.outcome) FROM generate_series(1, 3), LATERAL sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'n' || i, 'clay_insight_summary', i)) FROM generate_series(1, 50) i)) o;
SELECT count(DISTINCT o.outcome) FROM generate_series(1, 3), LATERAL sidecar_import_people((SELECT string_agg(format('{"clay_insight_summary": %s, "person_unique_id": "n%1$s"}', i), E'\n') FROM generate_series(1, 50) i)) o;
SELECT count(*), count(DISTINCT unique_id), max(attempts) FROM marketing.sidecar_rejects;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) SELECT 'n' || i, i FROM generate_series(1, 50) i, generate_series(1, 3);
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) SELECT 'n' || i, i FROM generate_series(1, 50) i, generate_series(1, 3);
COPY sidecar_people_inbox (clay_insight_summary, person_unique_id) FROM stdin;
1	n1
2	n2
2	n2
\.
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('n1', '1') RETURNING outcome;
SELECT count(*), count(DISTINCT unique_id), max(attempts) FROM marketing.sidecar_rejects;
-- a retry does not make it another one, and the next delivery does not count as a try
SELECT outcome, count(*) FROM sidecar_retry_rejects() GROUP BY 1;
SELECT count(*) FROM sidecar_upsert_people('[{"person_unique_id": "n1", "clay_insight_summary": 1}]');
SELECT attempts, count(*) FROM marketing.sidecar_rejects GROUP BY 1;
-- promoted at last, each is stored, and gone
INSERT INTO marketing.people_master SELECT 'n' || i, 'Late' FROM generate_series(1, 50) i;
SELECT outcome, count(*) FROM sidecar_retry_rejects() GROUP BY 1 ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE 'n' || clay_insight_summary = person_unique_id) AS as_sent FROM marketing.people_sidecar;
SELECT count(*) FROM marketing.sidecar_rejects;
TRUNCATE marketing.people_sidecar;
-- ten broken ones do not hold up an eleventh of the other entity, nor one that was parked by an inbox
SELECT count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'p1', 'confidence_score', 100 + i)) FROM generate_series(1, 10) i));
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('eleventh', '11');
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('twelfth');
INSERT INTO marketing.company_master VALUES ('eleventh', 'Eleventh');
INSERT INTO marketing.people_master VALUES ('twelfth', 'Twelfth');
SELECT outcome, count(*) FROM sidecar_retry_rejects(10) GROUP BY 1;
SELECT unique_id, outcome FROM sidecar_retry_rejects(10) WHERE outcome <> 'rejected' ORDER BY 1;
SELECT attempts, count(*) FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
-- one at a time each has its turn
DELETE FROM marketing.sidecar_rejects WHERE attempts = 3;
SELECT count(DISTINCT reject_id) FROM (SELECT (sidecar_retry_rejects(1)).reject_id FROM generate_series(1, 2)) r;
TRUNCATE marketing.people_sidecar, marketing.company_sidecar, marketing.sidecar_rejects;

-- no JSON: each is rejected alone, the others of its text are stored
SELECT record, unique_id, outcome FROM sidecar_import_people(E'{"person_unique_id": "p1", "clay_insight_summary": "\\ud83d"}\n{"person_unique_id": "p2", "clay_insight_summary": "a\\u0000b"}\n{"person_unique_id": "p3", "clay_insight_summary": "\\ud83d\\ude00"}\n{"person_unique_id": "p4", "clay_insight_summary": "\\ude00 first"}\n{"person_unique_id": "p5", "clay_insight_summary": "good"}\n{"person_unique_id": "p6",\n');
SELECT record, unique_id, outcome FROM sidecar_import_people('[{"person_unique_id": "p1", "enrichment_payload": {"deep": [{"er": "\u0000"}]}}, {"person_unique_id": "p2", "social_profiles": {"\ud83d": 1}}, {"person_unique_id": "\u0000"}, {"person_unique_id": "p6", "clay_insight_summary": "good"}, {"person_unique_id": "p7", "confidence_score": NaN}, {"person_unique_id": "p8", "confidence_score": 1e999999}, {"person_unique_id": "p9", "clay_insight_summary": "cut off');
SELECT jsonb_typeof(record) AS type, unique_id, sqlstate, origin->'line' AS line, record FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;
SELECT person_unique_id, clay_insight_summary = U&'\+01F600' AS emoji FROM marketing.people_sidecar ORDER BY 1;
-- sent again it is the same; mended it is stored
SELECT count(*) FROM sidecar_import_people(E'\n\n{"person_unique_id": "p1", "clay_insight_summary": "\\ud83d"}');
SELECT count(*) FROM marketing.sidecar_rejects;
UPDATE marketing.sidecar_rejects SET record = to_jsonb(replace(record #>> '{}', '\ud83d', '?')) WHERE jsonb_typeof(record) = 'string';
SELECT unique_id, outcome FROM sidecar_retry_rejects() WHERE outcome <> 'rejected' ORDER BY 1;
SELECT person_unique_id, clay_insight_summary, social_profiles FROM marketing.people_sidecar WHERE person_unique_id < 'p3' ORDER BY 1;
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;

-- alike: keys of people in a collation without case; each record has its own answer
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person, ALTER person_unique_id TYPE varchar(50) COLLATE nocase;
ALTER TABLE marketing.people_master ALTER unique_id TYPE text COLLATE nocase;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT w.* FROM ways('people', 'P1', '{"clay_insight_summary": "new", "last_enriched_at": "2026-01-01T00:00:00Z"}') w;
INSERT INTO marketing.people_sidecar (person_unique_id, clay_insight_summary, last_enriched_at) VALUES ('p1', 'stored', '2026-01-02');
SELECT w.* FROM unnest('{overwrite,newest,fill}'::text[]) WITH ORDINALITY r (rule, n), ways('people', 'P1', '{"clay_insight_summary": "older", "last_enriched_at": "2026-01-01T00:00:00Z"}', rule) w ORDER BY n, 1;
INSERT INTO marketing.people_master SELECT 'k' || i, 'Person' FROM generate_series(1, 150) i;
SELECT outcome, count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i, 'clay_insight_summary', i) ORDER BY md5(i::text)) FROM generate_series(1, 152) i)) GROUP BY 1 ORDER BY 1;
SELECT outcome, count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'K' || i, 'clay_insight_summary', -i) ORDER BY md5(i::text)) FROM generate_series(1, 152) i)) GROUP BY 1 ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE clay_insight_summary::int = -substr(person_unique_id, 2)::int) AS last FROM marketing.people_sidecar WHERE substr(person_unique_id, 1, 1) = 'k';
SELECT outcome, count(*) FROM sidecar_retry_rejects() GROUP BY 1;
INSERT INTO marketing.people_master VALUES ('K151', 'Late');
SELECT unique_id, outcome = 'rejected' AS rejected FROM sidecar_retry_rejects() ORDER BY unique_id COLLATE "C";
SELECT count(*) FROM marketing.people_sidecar WHERE person_unique_id = 'k151';
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;
DELETE FROM marketing.people_master WHERE unique_id COLLATE "C" ~ '^[kK]';
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person, ALTER person_unique_id TYPE varchar(50) COLLATE "default";
ALTER TABLE marketing.people_master ALTER unique_id TYPE text COLLATE "default";
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
-- a domain that says so; a type with an equality of its own is refused, citext and all of its kind
CREATE DOMAIN key_of_no_case AS varchar(50) COLLATE nocase;
BEGIN;
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person, ALTER person_unique_id TYPE key_of_no_case;
ALTER TABLE marketing.people_master ALTER unique_id TYPE key_of_no_case;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
INSERT INTO marketing.people_sidecar (person_unique_id, clay_insight_summary, last_enriched_at) VALUES ('p1', 'stored', '2025-01-02');
SELECT id, w.* FROM unnest('{P1,P2}'::text[]) id, ways('people', id, '{"clay_insight_summary": "given", "last_enriched_at": "2026-01-01T00:00:00Z"}') w ORDER BY 1;
ROLLBACK;
DROP DOMAIN key_of_no_case;
BEGIN;
CREATE TYPE other_text;
CREATE FUNCTION other_in(cstring) RETURNS other_text LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION other_out(other_text) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE other_text (INPUT = other_in, OUTPUT = other_out, LIKE = text, CATEGORY = 'S', COLLATABLE = true);
CREATE CAST (varchar AS other_text) WITHOUT FUNCTION AS ASSIGNMENT;
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person, DROP CONSTRAINT people_sidecar_pkey, ALTER person_unique_id TYPE other_text;
SAVEPOINT one;
SELECT sidecar_upsert_person('p1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p1"}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
DROP COLLATION nocase;
-- a trigger that normalises keys, when they are stored and when they are changed; by a role that may not look for masters
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.person_unique_id := lower(btrim(NEW.person_unique_id)); RETURN NEW; END $$;
CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION tidy();
CREATE ROLE regress_parking;
GRANT USAGE ON SCHEMA marketing TO regress_parking;
GRANT ALL ON marketing.people_sidecar, marketing.sidecar_rejects, sidecar_people_inbox TO regress_parking;
SET ROLE regress_parking;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": " p1", "clay_insight_summary": "1"}, {"person_unique_id": "P1", "clay_insight_summary": "2"}, {"person_unique_id": "P2", "clay_insight_summary": "3"}, {"person_unique_id": "p3"}, {"person_unique_id": " Nobody"}]');
SELECT outcome FROM sidecar_import_people(E'{"person_unique_id": "P1 ", "clay_insight_summary": "4"}\n{"person_unique_id": "P4 "}');
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('P1', '5'), ('p1 ', '6'), ('P5', '7'), ('Nobody', '8') RETURNING person_unique_id, outcome;
SELECT sidecar_upsert_person(' P1 ', '9') AS stored, sidecar_upsert_person(' P6 ', '9') AS new;
SELECT person_unique_id, clay_insight_summary FROM marketing.people_sidecar ORDER BY 1;
RESET ROLE;
INSERT INTO marketing.people_master VALUES ('nobody', 'Nobody');
SET ROLE regress_parking;
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY unique_id COLLATE "C";
RESET ROLE;
DROP OWNED BY regress_parking;
DROP ROLE regress_parking;
SELECT clay_insight_summary FROM marketing.people_sidecar WHERE person_unique_id = 'nobody';
DROP TRIGGER tidy ON marketing.people_sidecar;
DROP FUNCTION tidy;
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;

-- taken over: parked records of another server, as a subscription or COPY brings them; what is parked here collides with none
SELECT count(*) FROM sidecar_upsert_people('[{"person_unique_id": "x1"}, {"person_unique_id": "x2"}]');
CREATE TABLE brought AS TABLE marketing.sidecar_rejects;
TRUNCATE marketing.sidecar_rejects RESTART IDENTITY;
SET session_replication_role = replica;
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns FROM pg_attribute WHERE attrelid = 'marketing.sidecar_rejects'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' \gset
INSERT INTO marketing.sidecar_rejects (:columns) SELECT :columns FROM brought;
RESET session_replication_role;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "x2"}, {"person_unique_id": "x3"}, {"person_unique_id": "p1"}]');
SELECT outcome FROM sidecar_import_people('{"person_unique_id": "x1"}');
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('x4');
SELECT unique_id, count(*) FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
INSERT INTO marketing.people_master VALUES ('x1', 'X'), ('x3', 'X'), ('x4', 'X');
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY 1;
DROP TABLE brought;
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;

-- moved: within one transaction, and what the transaction parked goes with it, back again too
BEGIN;
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "m1"}');
ALTER SCHEMA marketing RENAME TO enrichment;
ALTER TABLE enrichment.sidecar_rejects RENAME TO waiting;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "m2"}, {"person_unique_id": "p1"}]');
SELECT outcome FROM sidecar_import_people('{"person_unique_id": "m1"}');
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('m3'), ('p2');
SELECT unique_id FROM enrichment.waiting ORDER BY 1;
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY 1;
SELECT entity, rejected FROM sidecar_summary();
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present' AND object ~ 'reject|waiting';
ROLLBACK;
SELECT count(*) FROM marketing.sidecar_rejects;
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "m4"}');
SELECT unique_id, outcome FROM sidecar_retry_rejects();
-- where the caller's search_path and an empty table of its name mislead
CREATE TABLE sidecar_rejects (LIKE marketing.sidecar_rejects INCLUDING ALL);
SET search_path = public, marketing;
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "m5"}');
SELECT unique_id FROM sidecar_retry_rejects() ORDER BY 1;
SELECT count(*) FROM public.sidecar_rejects;
RESET search_path;
DROP TABLE public.sidecar_rejects;
-- gone: what is good and single goes on; one bad record is told what is missing, and nothing of its call is stored
ALTER TABLE marketing.sidecar_rejects RENAME TO safe;
ALTER TABLE marketing.safe SET SCHEMA public;
DROP VIEW parked;
BEGIN;
DROP TABLE public.safe;
SELECT sidecar_upsert_person('p1', 'single');
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p1", "clay_insight_summary": "good"}');
SAVEPOINT one;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1", "clay_insight_summary": "better"}, {"person_unique_id": "m6"}]');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p1', 'better'), ('m6', 'x');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
SELECT entity, rejected FROM sidecar_summary();
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1", "clay_insight_summary": "better"}, {"person_unique_id": "m6"}]');
ROLLBACK;
-- replaced: a restore by hand makes it anew, and the old one stands aside without its mark
CREATE TABLE marketing.sidecar_rejects (LIKE public.safe INCLUDING ALL);
CREATE TRIGGER sidecar_rejects_mark BEFORE UPDATE ON marketing.sidecar_rejects FOR EACH ROW EXECUTE FUNCTION sidecar_rejects_mark();
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "m7"}]');
SELECT sidecar_table, to_do <> '{}' AS told FROM sidecar_status() WHERE entity IS NULL;
INSERT INTO marketing.sidecar_rejects (:columns) SELECT :columns FROM public.safe;
DROP TABLE public.safe;
SELECT unique_id FROM sidecar_retry_rejects() ORDER BY 1;
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;

-- one of two: the other's figures, its parked records and its writers are as before
INSERT INTO marketing.company_sidecar (company_unique_id, ein_number, enrichment_source) VALUES ('c1', '1', 'clay');
INSERT INTO marketing.people_sidecar (person_unique_id, clay_insight_summary, enrichment_source) VALUES ('p1', '1', 'clay');
CREATE FUNCTION one_of_two(trouble text) RETURNS TABLE (n int, said text) LANGUAGE plpgsql AS $$
DECLARE
    query text;
BEGIN
    EXECUTE trouble;
    INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) VALUES
        ('company', 'c2', '{"company_unique_id": "c2"}', 'overwrite', '', ''), ('people', 'p2', '{"person_unique_id": "p2"}', 'overwrite', '', '');
    n := 0;
    FOREACH query IN ARRAY ARRAY[
        $q$SELECT string_agg(concat_ws(' ', entity, COALESCE(total > 0 AND enriched > 0, false)), ', ' ORDER BY entity) FROM sidecar_coverage()$q$,
        $q$SELECT string_agg(concat_ws(' ', entity, COALESCE(total > 0 AND enriched > 0, false), rejected), ', ' ORDER BY entity) FROM sidecar_summary()$q$,
        $q$SELECT string_agg(concat_ws(' ', entity, total > 0), ', ' ORDER BY entity) FROM sidecar_summary(exact => false)$q$,
        $q$SELECT string_agg(concat_ws(' ', entity, enrichment_source), ', ' ORDER BY entity) FROM sidecar_sources()$q$,
        $q$SELECT string_agg(DISTINCT concat_ws(' ', entity, filled > 0), ', ') FROM sidecar_field_coverage() WHERE field IN ('ein_number', 'clay_insight_summary')$q$,
        $q$SELECT string_agg(concat_ws(' ', entity, rejects_parked, to_do <> '{}'), ', ' ORDER BY entity) FROM sidecar_status() WHERE entity IS NOT NULL$q$,
        $q$SELECT string_agg(concat_ws(' ', unique_id, outcome), ', ' ORDER BY unique_id) FROM sidecar_retry_rejects()$q$,
        $q$SELECT sidecar_upsert_company('c3')$q$, $q$SELECT sidecar_upsert_person('p3')$q$,
        $q$SELECT string_agg(outcome, ' ') FROM sidecar_upsert_companies('[{"company_unique_id": "c4"}, {"company_unique_id": "x"}]')$q$,
        $q$SELECT string_agg(outcome, ' ') FROM sidecar_upsert_people('[{"person_unique_id": "p4"}, {"person_unique_id": "x"}]')$q$,
        $q$INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c5') RETURNING outcome$q$,
        $q$INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p5') RETURNING outcome$q$,
        $q$SELECT count(*) FROM sidecar_stale_companies()$q$, $q$SELECT count(*) FROM sidecar_stale_people()$q$,
        $q$SELECT string_agg(DISTINCT unique_id, ' ' ORDER BY unique_id) FROM marketing.sidecar_rejects$q$] LOOP
        n := n + 1;
        BEGIN
            EXECUTE query INTO said;
        EXCEPTION WHEN OTHERS THEN
            said := SQLSTATE;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
BEGIN; SELECT * FROM one_of_two('DROP TABLE marketing.company_sidecar'); ROLLBACK;
BEGIN; SELECT * FROM one_of_two('ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company'); ROLLBACK;
BEGIN; SELECT * FROM one_of_two('DROP TABLE marketing.people_master CASCADE'); ROLLBACK;
BEGIN; SELECT * FROM one_of_two('DROP TABLE marketing.people_sidecar'); ROLLBACK;
BEGIN; SELECT * FROM one_of_two('ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person'); ROLLBACK;
BEGIN; SELECT * FROM one_of_two('DROP TRIGGER people_sidecar_updated_at ON marketing.people_sidecar'); ROLLBACK;
BEGIN; SELECT * FROM one_of_two('ALTER TABLE marketing.people_sidecar DROP COLUMN confidence_score') WHERE said ~ ' ' OR n > 6; ROLLBACK;
BEGIN; SELECT * FROM one_of_two($$CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('Mars/X')$$); ROLLBACK;
DROP FUNCTION one_of_two;

-- alike: of keys that are equal to the column the last that came is stored last
TRUNCATE marketing.sidecar_rejects;
BEGIN;
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company, ALTER company_unique_id TYPE varchar(50) COLLATE nocase;
ALTER TABLE marketing.company_master ALTER company_unique_id TYPE text COLLATE nocase;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT record, unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "first"}, {"company_unique_id": "C1", "ein_number": "second"}]');
SELECT record, unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "C3", "ein_number": "first"}, {"company_unique_id": "c3", "ein_number": "second", "on_conflict": 1}, {"company_unique_id": "c3", "ein_number": "third"}, {"company_unique_id": "C3", "ein_number": "last"}]');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c2', 'first'), ('C2', 'second');
SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "x1", "ein_number": "first"}, {"company_unique_id": "X1", "ein_number": "second"}]');
INSERT INTO marketing.company_master VALUES ('x1', 'Late');
SELECT unique_id, outcome FROM sidecar_retry_rejects() WHERE unique_id ~* 'x1';
SELECT company_unique_id, ein_number FROM marketing.company_sidecar WHERE ein_number IS NOT NULL ORDER BY 1;
ROLLBACK;
-- a trigger that makes the key of a master of what was sent: who may look for masters looks for what was sent
BEGIN;
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.company_unique_id := lower(btrim(NEW.company_unique_id)); RETURN NEW; END $$;
CREATE TRIGGER tidy BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION tidy();
SELECT sidecar_upsert_company('C4');
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('C5') RETURNING outcome;
SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "C1"}, {"company_unique_id": " c2 "}, {"company_unique_id": "None"}]');
ROLLBACK;

-- raised: what a statement that a trigger makes of a record is wrong in
BEGIN;
CREATE FUNCTION dyn() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE x text; BEGIN EXECUTE 'SELECT 1 WHERE ' || NEW.ein_number INTO x; RETURN NEW; END $$;
CREATE TRIGGER dyn BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION dyn();
SELECT unique_id, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c6", "ein_number": "true"}, {"company_unique_id": "c7", "ein_number": "bad ( text"}, {"company_unique_id": "c8", "ein_number": "7"}]');
SAVEPOINT one;
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c6"}, {"company_unique_id": "c7", "ein_number": "no_such_column"}]');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- a transaction that may not write has the same error by every way, whatever there is to write
BEGIN READ ONLY;
SAVEPOINT one;
SELECT * FROM sidecar_upsert_companies('[]');
ROLLBACK TO one;
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c3"}');
ROLLBACK TO one;
SELECT * FROM sidecar_import_people('');
ROLLBACK TO one;
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c3');
ROLLBACK TO one;
SELECT sidecar_upsert_company('c3');
ROLLBACK TO one;
SELECT * FROM sidecar_retry_rejects();
ROLLBACK;
DROP FUNCTION ways;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

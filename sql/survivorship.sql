-- A stored row is updated whatever a new one would need, and the rules tell the
-- truth about it: for people, by every way in.
--
-- NOT NULL column, policy           "a stored person"; domain, CHECK, generated and identity columns, policies,
--                                   columns without privileges, many at once: after it
-- fill and provenance               "fill": twice, with clear, on an empty row, users' own columns
-- most_confident, newest            "scores", "times"
-- vetoed is not unchanged           "a veto"
-- a revoked writer                  "who may not write"
-- an inbox and DEFAULTs             "defaults"
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
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 160) i;

-- a stored person is updated by every way in; a new one is refused, and parked
ALTER TABLE marketing.people_sidecar ADD COLUMN tier text;
SELECT sidecar_upsert_person('p1', 'first', last_enriched_at => '2026-01-01', enrichment_source => 'clay', confidence_score => 50);
UPDATE marketing.people_sidecar SET tier = 'gold';
ALTER TABLE marketing.people_sidecar ALTER tier SET NOT NULL;
SELECT outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "second", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p2', '{"clay_insight_summary": "second", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p2', '{"tier": "iron", "last_enriched_at": "2026-01-02T00:00:00Z"}');
-- what the rule keeps stays, and what is stored already is unchanged
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "older", "last_enriched_at": "2025-12-31T00:00:00Z"}', 'newest');
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "weaker", "confidence_score": 49}', 'most_confident');
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "first", "last_enriched_at": "2026-01-01T00:00:00Z"}');
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{filled}", "clay_insight_summary": "other"}', 'fill');
-- a column of ours that is made NOT NULL
ALTER TABLE marketing.people_sidecar ALTER enrichment_source SET NOT NULL, ALTER tier DROP NOT NULL;
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
ALTER TABLE marketing.people_sidecar ALTER enrichment_source DROP NOT NULL;
-- a check of several columns, one of which is not given
ALTER TABLE marketing.people_sidecar ADD CONSTRAINT scored CHECK (clay_segments IS NULL OR confidence_score IS NOT NULL);
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p2', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT scored;
-- a domain with a check, and a generated column that would be NULL
CREATE DOMAIN rank AS text CHECK (VALUE IS NOT NULL AND VALUE <> '');
ALTER TABLE marketing.people_sidecar ALTER tier TYPE rank, ADD COLUMN shout text GENERATED ALWAYS AS (upper(tier::text)) STORED NOT NULL;
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p2', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
ALTER TABLE marketing.people_sidecar DROP COLUMN shout, DROP COLUMN tier;
DROP DOMAIN rank;
-- identity columns count by themselves, for stored and new
ALTER TABLE marketing.people_sidecar ADD COLUMN own int GENERATED ALWAYS AS IDENTITY, ADD COLUMN own2 int NOT NULL DEFAULT 5;
SELECT w.ways, outcome, stored - 'own' AS stored FROM ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}') w;
SELECT DISTINCT outcome, stored - 'own' AS stored FROM ways('people', 'p2', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}') ORDER BY 1;
ALTER TABLE marketing.people_sidecar DROP COLUMN own, DROP COLUMN own2;
-- stored and new ones among each other, also one key several times
ALTER TABLE marketing.company_sidecar ADD COLUMN tier text;
INSERT INTO marketing.company_sidecar (company_unique_id, tier, last_enriched_at) SELECT 'c' || i, 'gold', '2026-01-01' FROM generate_series(1, 150) i;
ALTER TABLE marketing.company_sidecar ALTER tier SET NOT NULL;
SELECT outcome, left(error, 30) AS error, count(*) FROM sidecar_upsert_companies((
    SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c' || i, 'ein_number', i) ORDER BY md5(i::text)) FROM generate_series(1, 153) i)) GROUP BY 1, 2 ORDER BY 1;
SELECT outcome FROM sidecar_import_companies('[{"company_unique_id": "c151", "ein_number": "1"}, {"company_unique_id": "c151", "tier": "iron"}, {"company_unique_id": "c151", "ein_number": "2"}]');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c152', '1'), ('c151', '3'), ('c1', '3') RETURNING company_unique_id, outcome;
SELECT count(*), count(ein_number) FROM marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar DROP COLUMN tier;
TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;

-- policies for new rows alone, and for stored ones alone
CREATE ROLE regress_survivor;
GRANT USAGE ON SCHEMA marketing TO regress_survivor;
GRANT SELECT ON ALL TABLES IN SCHEMA marketing TO regress_survivor;
GRANT ALL ON marketing.sidecar_rejects, marketing.people_sidecar, sidecar_people_inbox TO regress_survivor;
ALTER TABLE marketing.people_sidecar ADD COLUMN tenant text;
INSERT INTO marketing.people_sidecar (person_unique_id, tenant) VALUES ('p3', 'blue'), ('p4', 'red');
UPDATE marketing.people_sidecar SET tenant = 'blue' WHERE person_unique_id = 'p1';
ALTER TABLE marketing.people_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON marketing.people_sidecar FOR SELECT USING (tenant <> 'red');
CREATE POLICY change ON marketing.people_sidecar FOR UPDATE USING (tenant <> 'red') WITH CHECK (clay_insight_summary <> 'forbidden');
CREATE POLICY make ON marketing.people_sidecar FOR INSERT WITH CHECK (tenant = 'green' OR clay_insight_summary = 'forbidden');
SET ROLE regress_survivor;
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "changed", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "forbidden", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p5', '{"clay_insight_summary": "new", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p4', '{"clay_insight_summary": "of others", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p4', '{"clay_insight_summary": "of others", "last_enriched_at": "2026-01-02T00:00:00Z"}', 'fill');
RESET ROLE;
ALTER TABLE marketing.people_sidecar FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE marketing.people_sidecar NO FORCE ROW LEVEL SECURITY;
DROP POLICY see ON marketing.people_sidecar;
DROP POLICY change ON marketing.people_sidecar;
DROP POLICY make ON marketing.people_sidecar;
-- a column that the writer may neither set nor change is no concern of a record that does not name it
REVOKE ALL ON marketing.people_sidecar FROM regress_survivor;
SELECT format('GRANT SELECT, INSERT (%1$s), UPDATE (%1$s) ON marketing.people_sidecar TO regress_survivor', string_agg(attname, ', '))
FROM pg_attribute WHERE attrelid = 'marketing.people_sidecar'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'tenant' \gexec
SET ROLE regress_survivor;
SELECT sidecar_upsert_person('p1', 'columns', last_enriched_at => '2026-01-03') AS stored, sidecar_upsert_person('p5', 'columns', last_enriched_at => '2026-01-03') AS new;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1", "clay_insight_summary": "batch"}, {"person_unique_id": "p6", "clay_insight_summary": "batch"}]');
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p1', 'inbox'), ('p7', 'inbox');
RESET ROLE;
SELECT person_unique_id, clay_insight_summary FROM marketing.people_sidecar ORDER BY 1;
ALTER TABLE marketing.people_sidecar DROP COLUMN tenant;
GRANT ALL ON marketing.people_sidecar TO regress_survivor;
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;

-- fill: an old and weak source gives one field; source, score and time stand
SELECT sidecar_upsert_person('p1', 'strong', last_enriched_at => '2025-11-01', enrichment_source => 'clay', confidence_score => 95);
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{weak}", "enrichment_source": "weak", "confidence_score": 10, "last_enriched_at": "2020-01-01T00:00:00Z"}', 'fill');
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{newer}", "enrichment_source": "newer", "confidence_score": 100, "last_enriched_at": "2026-01-01T00:00:00Z"}', 'fill');
SELECT sidecar_upsert_person('p1', clay_segments => '{weak}', last_enriched_at => '2020-01-01', enrichment_source => 'weak', confidence_score => 10, on_conflict => 'fill') AS filled,
       sidecar_upsert_person('p1', clay_segments => '{weak}', last_enriched_at => '2020-01-01', enrichment_source => 'weak', confidence_score => 10, on_conflict => 'fill') AS again;
-- so that newest and most_confident know the row for what it is
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "2021", "last_enriched_at": "2021-01-01T00:00:00Z"}', 'newest');
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "81", "confidence_score": 81}', 'most_confident');
-- nothing to fill
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{other}", "enrichment_source": "weak"}', 'fill');
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{weak}"}', 'fill');
-- clear: fill clears nothing that is stored
SELECT sidecar_upsert_person('p1', social_profiles => '{"a": 1}', clear => '{clay_segments,enrichment_source}', on_conflict => 'fill');
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p1", "enrichment_payload": {"b": 1}, "$clear": ["clay_segments", "social_profiles"]}', 'fill');
SELECT clay_insight_summary, clay_segments, social_profiles, enrichment_payload, last_enriched_at, enrichment_source, confidence_score FROM marketing.people_sidecar;
-- a row of nothing takes everything, the time too; an empty list stands
INSERT INTO marketing.people_sidecar (person_unique_id) VALUES ('p2');
SELECT * FROM ways('people', 'p2', '{"clay_segments": "{weak}", "enrichment_source": "weak", "confidence_score": 10, "last_enriched_at": "2020-01-01T00:00:00Z"}', 'fill');
INSERT INTO marketing.people_sidecar (person_unique_id, enrichment_source, clay_segments) VALUES ('p3', 'clay', '{}');
SELECT * FROM ways('people', 'p3', '{"clay_segments": "{weak}", "enrichment_source": "weak", "confidence_score": 10, "last_enriched_at": "2020-01-01T00:00:00Z"}', 'fill');
-- a key that is not there yet
SELECT * FROM ways('people', 'p4', '{"clay_segments": "{weak}", "enrichment_source": "weak", "last_enriched_at": "2020-01-01T00:00:00Z"}', 'fill');
-- a column of the user's
ALTER TABLE marketing.people_sidecar ADD COLUMN seniority text, ADD COLUMN level int;
SELECT outcome FROM sidecar_install() WHERE outcome <> 'present';
UPDATE marketing.people_sidecar SET level = 3 WHERE person_unique_id = 'p1';
SELECT * FROM ways('people', 'p1', '{"seniority": "vp", "level": 9, "last_enriched_at": "2020-01-01T00:00:00Z"}', 'fill');
ALTER TABLE marketing.people_sidecar DROP COLUMN seniority, DROP COLUMN level;
SELECT outcome FROM sidecar_install() WHERE outcome <> 'present';
TRUNCATE marketing.people_sidecar;

-- scores: as they are stored; none is less than any
INSERT INTO marketing.people_sidecar (person_unique_id, confidence_score) VALUES ('p1', NULL), ('p2', 80), ('p3', 0);
SELECT given, w.* FROM unnest('{79.99,79.994999,79.995,80.00,80.004,80.005}'::text[]) WITH ORDINALITY g (given, n),
    ways('people', 'p2', jsonb_build_object('confidence_score', given::numeric, 'clay_segments', '{a}', 'last_enriched_at', '2026-01-01T00:00:00Z'), 'most_confident') w ORDER BY n;
SELECT * FROM ways('people', 'p2', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-01T00:00:00Z"}', 'most_confident');
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-01T00:00:00Z"}', 'most_confident');
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{a}", "confidence_score": 0, "last_enriched_at": "2026-01-01T00:00:00Z"}', 'most_confident');
SELECT * FROM ways('people', 'p3', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-01T00:00:00Z"}', 'most_confident');
SELECT * FROM ways('people', 'p3', '{"clay_segments": "{a}", "confidence_score": -0.004, "last_enriched_at": "2026-01-01T00:00:00Z"}', 'most_confident');

-- times: to the microsecond; equal is not older
TRUNCATE marketing.people_sidecar;
INSERT INTO marketing.people_sidecar (person_unique_id, last_enriched_at) VALUES ('p1', '2026-01-01 12:00:00.000002'), ('p2', 'infinity'), ('p3', '-infinity'), ('p4', NULL);
SELECT given, w.* FROM unnest('{2026-01-01T12:00:00.000001Z,2026-01-01T12:00:00.000002Z,2026-01-01T14:00:00.000002+02:00,2026-01-01T12:00:00.000003Z}'::text[]) WITH ORDINALITY g (given, n),
    ways('people', 'p1', jsonb_build_object('last_enriched_at', given, 'clay_segments', '{a}'), 'newest') w ORDER BY n;
SELECT id, w.* FROM unnest('{p2,p3,p4}'::text[]) id, ways('people', id, '{"last_enriched_at": "1999-01-01T00:00:00Z", "clay_segments": "{a}"}', 'newest') w ORDER BY id;
SELECT id, w.* FROM unnest('{p2,p3,p4}'::text[]) id, ways('people', id, '{"clay_segments": "{a}"}', 'newest') w ORDER BY id;
SELECT given, w.* FROM unnest('{infinity,-infinity}'::text[]) given, ways('people', 'p1', jsonb_build_object('last_enriched_at', given), 'newest') w ORDER BY 1;
-- what is stored already is unchanged, though it would be too old to be told from something new
SELECT * FROM ways('people', 'p1', '{"last_enriched_at": "2026-01-01T12:00:00.000002Z"}', 'newest');
TRUNCATE marketing.people_sidecar;

-- what is vetoed when it is tried again stays parked, if nothing of it is stored
INSERT INTO marketing.people_sidecar (person_unique_id, clay_insight_summary, last_enriched_at) VALUES ('p1', 'stands', '2026-01-01');
CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER veto BEFORE INSERT OR UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION veto();
INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate)
SELECT 'people', id, jsonb_build_object('person_unique_id', id, 'clay_segments', '{a}', 'last_enriched_at', '2026-01-02T00:00:00Z'), 'overwrite', '', '' FROM unnest('{p1,p2}'::text[]) id;
SELECT unique_id, outcome, error FROM sidecar_retry_rejects() ORDER BY 1;
SELECT unique_id, attempts FROM marketing.sidecar_rejects ORDER BY 1;
TRUNCATE marketing.people_sidecar, marketing.sidecar_rejects;
DROP TRIGGER veto ON marketing.people_sidecar;
DROP FUNCTION veto;

-- a veto is "skipped", of a stored row and of a new one, also when nothing would have changed
INSERT INTO marketing.people_sidecar (person_unique_id, clay_insight_summary, last_enriched_at) VALUES ('p1', 'stands', '2026-01-01');
CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER veto BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION veto();
SELECT rule, w.* FROM unnest('{overwrite,newest,most_confident,fill}'::text[]) WITH ORDINALITY r (rule, n), ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}', rule) w ORDER BY n;
SELECT * FROM ways('people', 'p2', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
DROP TRIGGER veto ON marketing.people_sidecar;
CREATE TRIGGER veto BEFORE INSERT ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION veto();
SELECT rule, w.* FROM unnest('{overwrite,newest,most_confident,fill}'::text[]) WITH ORDINALITY r (rule, n), ways('people', 'p2', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}', rule) w ORDER BY n;
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{a}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
SELECT * FROM ways('people', 'p1', '{"clay_insight_summary": "stands", "last_enriched_at": "2026-01-01T00:00:00Z"}');
-- among others, and the same key again
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p2"}, {"person_unique_id": "p2", "clay_insight_summary": "x"}, {"person_unique_id": "p1", "clay_insight_summary": "x"}]');
DROP TRIGGER veto ON marketing.people_sidecar;
DROP FUNCTION veto;

-- who may not write gets 42501 and no answer, whatever is sent, and whether or not it would change anything
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN concat('answered ', answer);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE TABLE statements (n serial, statement text);
INSERT INTO statements (statement) SELECT unnest(ARRAY[
    $$SELECT sidecar_upsert_person('p1', 'x', last_enriched_at => '2026-01-01')$$,
    $$SELECT sidecar_upsert_person('p1', 'x', last_enriched_at => '2020-01-01', on_conflict => 'newest')$$,
    $$SELECT sidecar_upsert_person('p1', last_enriched_at => '2026-01-01', on_conflict => 'fill')$$,
    $$SELECT sidecar_upsert_person('p9')$$,
    $$SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1", "clay_insight_summary": "x", "last_enriched_at": "2026-01-01"}]')$$,
    $$SELECT outcome FROM sidecar_upsert_people('[]')$$,
    $$SELECT outcome FROM sidecar_upsert_people('[{"bad": 1}]')$$,
    $$SELECT outcome FROM sidecar_import_people('{"person_unique_id": "p1", "clay_insight_summary": "x", "last_enriched_at": "2026-01-01"}')$$,
    $$SELECT outcome FROM sidecar_import_people('')$$,
    $$SELECT outcome FROM sidecar_import_people('no json')$$,
    $$INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary, last_enriched_at) VALUES ('p1', 'x', '2026-01-01') RETURNING 1$$,
    $$INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary, last_enriched_at) VALUES ('p1', 'x', '2026-01-01') RETURNING outcome$$,
    $$INSERT INTO sidecar_people_inbox (person_unique_id) SELECT 'p1' WHERE false RETURNING 1$$,
    $$INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p1') ON CONFLICT DO NOTHING RETURNING 1$$,
    $$SELECT count(*) FROM sidecar_retry_rejects() WHERE outcome <> 'rejected'$$]);
UPDATE marketing.people_sidecar SET clay_insight_summary = 'x';
INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) VALUES ('people', 'p1', '{"person_unique_id": "p1", "clay_insight_summary": "x", "last_enriched_at": "2026-01-01"}', 'overwrite', '', '');
GRANT SELECT ON statements TO regress_survivor;
SET ROLE regress_survivor;
BEGIN;
SELECT n, refused(statement) FROM statements ORDER BY n;
ROLLBACK;
RESET ROLE;
REVOKE UPDATE ON marketing.people_sidecar FROM regress_survivor;
SET ROLE regress_survivor;
SELECT n, refused(statement) AS no_update FROM statements ORDER BY n;
RESET ROLE;
GRANT UPDATE ON marketing.people_sidecar TO regress_survivor;
REVOKE INSERT ON marketing.people_sidecar FROM regress_survivor;
SET ROLE regress_survivor;
SELECT n, refused(statement) AS no_insert FROM statements ORDER BY n;
RESET ROLE;
GRANT INSERT ON marketing.people_sidecar TO regress_survivor;
SET ROLE regress_survivor;
BEGIN READ ONLY;
SELECT n, refused(statement) AS read_only FROM statements WHERE n NOT IN (5, 6, 8, 9) ORDER BY n;
ROLLBACK;
RESET ROLE;
REVOKE INSERT ON marketing.people_sidecar FROM regress_survivor;
SET ROLE regress_survivor;
BEGIN READ ONLY;
SELECT refused(statement) AS neither, count(*) FROM statements GROUP BY 1 ORDER BY 1;
ROLLBACK;
RESET ROLE;
SELECT unique_id, attempts FROM marketing.sidecar_rejects ORDER BY 1;
TRUNCATE marketing.sidecar_rejects;
DROP FUNCTION refused;
DROP TABLE statements;
DROP OWNED BY regress_survivor;
DROP ROLE regress_survivor;

-- defaults: what is not given has the table's, by every way in
ALTER TABLE marketing.people_sidecar ADD COLUMN tier text DEFAULT 'unknown', ALTER enrichment_source SET DEFAULT 'clay', ALTER confidence_score SET DEFAULT 50,
    ALTER clay_segments SET DEFAULT '{new}', ALTER social_profiles SET DEFAULT '{}';
SELECT outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT * FROM ways('people', 'p5', '{"clay_insight_summary": "a", "last_enriched_at": "2026-01-01T00:00:00Z"}');
SELECT * FROM ways('people', 'p5', '{"clay_segments": "{given}", "confidence_score": 7, "last_enriched_at": "2026-01-01T00:00:00Z"}', 'fill');
SELECT * FROM ways('people', 'p1', '{"clay_segments": "{given}", "last_enriched_at": "2026-01-02T00:00:00Z"}');
INSERT INTO sidecar_people_inbox VALUES ('p6', DEFAULT, DEFAULT, DEFAULT, DEFAULT, '2026-01-01', DEFAULT, DEFAULT);
INSERT INTO sidecar_people_inbox (person_unique_id, enrichment_source, clay_segments, confidence_score, tier, last_enriched_at) VALUES ('p7', NULL, '', ' ', NULL, '2026-01-01');
COPY sidecar_people_inbox (person_unique_id, enrichment_source, clay_segments, tier, last_enriched_at) FROM stdin CSV;
p8,,,,2026-01-01
p9,"","","",2026-01-01
\.
SELECT person_unique_id AS id, enrichment_source, clay_segments, confidence_score, social_profiles, tier, created_at = updated_at AS same FROM marketing.people_sidecar WHERE person_unique_id >= 'p5' ORDER BY 1;
-- what $clear names has none
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p5", "last_enriched_at": "2026-01-01", "$clear": ["tier", "enrichment_source"]}');
SELECT enrichment_source, confidence_score, tier FROM marketing.people_sidecar WHERE person_unique_id = 'p5';

DROP FUNCTION ways;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

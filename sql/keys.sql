-- Keys that are no columns, columns to clear, and exported rows fed back.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 40) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 40) i;

-- keys that are no columns: all of them are named at once, in other case, quoted, empty, and those that only look like ours
SELECT record, outcome, error FROM sidecar_upsert_people('[{"person_unique_id": "p1", "b": 1, "a": null, "": "", "Clay_Segments": ["x"], "it\"s": {}, "tab\there": 1}, {"Person_Unique_ID": "p1"}, {"person_unique_id": "p1", "company_unique_id": "c1", "ein_number": "1"},
    {"person_unique_id": "p1", "clay_segments ": ["x"]}, {"person_unique_id": "p1", "ctid": "(0,1)", "tableoid": 1}, {"person_unique_id": "p1", "on_conflict": "fill", "outcome": "inserted"}, {"person_unique_id": "p1", "$Clear": []}, {"company_unique_id": "c1"}]');
SELECT record, outcome, error FROM sidecar_import_people(E'{"person_unique_id": "p1", "clay_insight_summary": "ok"}\n{"person_unique_id": "p2", "fullName": "x", "headline": "y"}', 'newest');
SELECT unique_id, on_conflict, sqlstate, options FROM marketing.sidecar_rejects WHERE on_conflict = 'newest';
DELETE FROM marketing.sidecar_rejects;
-- into the payload: beside what is there, without what says nothing, but with all that does
DELETE FROM marketing.people_sidecar;
SELECT record, outcome, error FROM sidecar_upsert_people('[
    {"person_unique_id": "p1", "Clay_Segments": ["x"], "": "empty", "it\"s": 1, "b": false, "zero": 0, "null": null, "blank": " ", "list": [], "object": {}, "nested": {"a": {"b": [null, ""]}}},
    {"person_unique_id": "p2", "a": 1, "enrichment_payload": {"a": 2, "b": 3}},
    {"person_unique_id": "p3", "a": 1, "enrichment_payload": "\"{\\\"b\\\": 2}\""},
    {"person_unique_id": "p4", "a": 1, "enrichment_payload": ""},
    {"person_unique_id": "p5", "a": "", "b": null},
    {"person_unique_id": "p6", "a": 1, "enrichment_payload": [1]},
    {"person_unique_id": "p7", "a": 1, "enrichment_payload": "text"},
    {"person_unique_id": "p8", "a": 1, "$clear": ["clay_segments"]},
    {"person_unique_id": "p9", "a": 1, "$clear": ["enrichment_payload"]},
    {"person_unique_id": "p10", "a": 1, "confidence_score": "high"}]', unknown_keys => 'payload');
SELECT person_unique_id, enrichment_payload FROM marketing.people_sidecar ORDER BY person_unique_id;
SELECT unique_id, options FROM marketing.sidecar_rejects ORDER BY record_no;
DELETE FROM marketing.sidecar_rejects;
-- and by the rules it is a payload like any other
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p1", "website": "x"}', 'fill', 'payload');
SELECT outcome FROM sidecar_import_people('{"person_unique_id": "p1", "website": "x", "last_enriched_at": "2020-01-01"}', 'newest', 'payload');
SELECT outcome FROM sidecar_import_people('{"person_unique_id": "p1", "website": "x"}', 'most_confident', 'payload');
SELECT enrichment_payload FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
SELECT record, outcome, error FROM sidecar_import_people(E'{"person_unique_id": "p2", "x": 1, "clay_insight_summary": "kept"}\n{"x": 1}\n{"person_unique_id": "p3", "a\\u0000": 1}', unknown_keys => 'ignore') ORDER BY 1;
SELECT enrichment_payload, clay_insight_summary FROM marketing.people_sidecar WHERE person_unique_id = 'p2';
SELECT unique_id, options, origin FROM marketing.sidecar_rejects ORDER BY record_no;
DELETE FROM marketing.sidecar_rejects;
SELECT count(*) FROM sidecar_import_people('{}', unknown_keys => 'Payload');
\echo :LAST_ERROR_SQLSTATE

-- columns that become NULL: for people, by text, and what cannot be
SELECT sidecar_upsert_person('p1', 'good', '{good}', '{"good": 1}', '{"good": 1}', '2026-01-01', 'clay', 50);
SELECT record, outcome, error FROM sidecar_import_people(E'{"person_unique_id": "p1", "last_enriched_at": "2026-01-02", "$clear": ["clay_segments", "social_profiles"], "clay_segments": "", "social_profiles": "{}"}\n{"person_unique_id": "p1", "last_enriched_at": "2026-01-02", "$clear": ["enrichment_source"], "enrichment_source": "apify"}\n{"person_unique_id": "p1", "$clear": ["person_unique_id"]}\n{"person_unique_id": "p1", "$clear": ["ein_number"]}\n{"person_unique_id": "p1", "$clear": "clay_segments"}\n{"person_unique_id": "p1", "$clear": "[\\"confidence_score\\"]"}\n{"person_unique_id": "p1", "$clear": ["Clay_Segments"]}\n{"person_unique_id": "p1", "$clear": [null]}\n{"person_unique_id": "p1", "$clear": [["clay_segments"]]}\n{"person_unique_id": "p1", "$clear": true}\n{"person_unique_id": "p1", "$clear": ["updated_at"]}\n{"person_unique_id": "nobody", "$clear": ["clay_segments"]}');
SELECT clay_insight_summary, clay_segments, social_profiles, enrichment_payload, enrichment_source, confidence_score FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
-- given and cleared in turn within a call: the last word counts, as one by one
SELECT record, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p2", "last_enriched_at": "2026-01-01", "clay_insight_summary": "a", "enrichment_source": "s"}, {"person_unique_id": "p2", "last_enriched_at": "2026-01-01", "$clear": ["clay_insight_summary"]}, {"person_unique_id": "p2", "last_enriched_at": "2026-01-01", "enrichment_source": "t"},
    {"person_unique_id": "p3", "clay_insight_summary": "a"}, {"person_unique_id": "p3", "$clear": ["clay_insight_summary"]}, {"person_unique_id": "p3", "clay_insight_summary": "b"}, {"person_unique_id": "p4", "$clear": ["clay_insight_summary", "clay_insight_summary"]}, {"person_unique_id": "p4", "$clear": []}]');
SELECT person_unique_id, clay_insight_summary, enrichment_source FROM marketing.people_sidecar WHERE person_unique_id IN ('p2', 'p3', 'p4') ORDER BY 1;
-- a record that clears is parked and comes back as such
INSERT INTO marketing.people_master VALUES ('nobody', 'Somebody');
INSERT INTO marketing.people_sidecar (person_unique_id, clay_segments, last_enriched_at) VALUES ('nobody', '{old}', '2020-01-01');
SELECT unique_id, outcome FROM sidecar_retry_rejects() WHERE unique_id = 'nobody';
SELECT clay_segments FROM marketing.people_sidecar WHERE person_unique_id = 'nobody';
DELETE FROM marketing.sidecar_rejects;

-- exported rows go back in, by every way, and change nothing; nor does what they say of the table's own times
ALTER TABLE marketing.company_sidecar ADD COLUMN employees integer, ADD COLUMN founded date, ADD COLUMN doubled integer GENERATED ALWAYS AS (employees * 2) STORED;
DELETE FROM marketing.company_sidecar;
SELECT sidecar_upsert_company('c1', 'é"\\', '1', '{"a b","c,d","e\"f","null"}', '{{a,b},{c,d}}', '{"a": [1, {"b": null}], "c": "\u0001"}', '2026-01-01 00:00:00.123456Z', E'two\nlines', 99.99), sidecar_upsert_company('c2'), sidecar_upsert_company('c3', clay_tags => '{}', enrichment_payload => '[]');
UPDATE marketing.company_sidecar SET employees = 7, founded = '1999-12-31', created_at = '2020-01-01';
CREATE TABLE before AS SELECT *, ctid AS at FROM marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar DROP COLUMN doubled;
SELECT record, outcome, error FROM sidecar_upsert_companies((SELECT jsonb_agg(to_jsonb(s) ORDER BY company_unique_id) FROM marketing.company_sidecar s));
SELECT record, outcome, error FROM sidecar_import_companies((SELECT string_agg(row_to_json(s)::text, E'\n' ORDER BY company_unique_id) FROM marketing.company_sidecar s), 'newest');
SELECT record, outcome, error FROM sidecar_import_companies((SELECT json_agg(s ORDER BY company_unique_id)::text FROM marketing.company_sidecar s), 'fill');
SELECT record, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "last_enriched_at": "2026-01-01T00:00:00.123456", "created_at": "not a date", "updated_at": "2999-01-01"}]');
SELECT count(*) AS differ FROM before b JOIN marketing.company_sidecar s USING (company_unique_id) WHERE (b.at, b.created_at, b.updated_at) IS DISTINCT FROM (s.ctid, s.created_at, s.updated_at);
-- into another database's row they bring what they say
DELETE FROM marketing.company_sidecar;
SELECT outcome, error, count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(to_jsonb(b) - 'at' - 'doubled' ORDER BY company_unique_id) FROM before b)) GROUP BY 1, 2;
SELECT company_unique_id, b.clay_tags = s.clay_tags AS tags, b.clay_segments = s.clay_segments AS segments, b.enrichment_payload = s.enrichment_payload AS payload, b.last_enriched_at = s.last_enriched_at AS at, (b.ein_number, b.enrichment_source, b.confidence_score, b.employees, b.founded) IS NOT DISTINCT FROM (s.ein_number, s.enrichment_source, s.confidence_score, s.employees, s.founded) AS others
FROM before b JOIN marketing.company_sidecar s USING (company_unique_id) ORDER BY 1;

DROP TABLE before;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

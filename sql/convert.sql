-- A field as people write it, in the form that the column's type reads: the
-- same for every way in.

SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;
SELECT sidecar_upsert_company('c1', 'good', 'good', '{good}', '{good}', '{"good": true}', '2026-01-01Z', 'clay', 50);

-- what says nothing does not wipe what is good
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c1", "ein_number": "", "dun_and_bradstreet_number": "   ", "clay_tags": [], "clay_segments": "", "enrichment_payload": {}, "enrichment_source": "\t", "last_enriched_at": "2026-01-01", "confidence_score": ""},
    {"company_unique_id": "c1", "clay_tags": "{}", "clay_segments": "[]", "enrichment_payload": "{}", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "c1", "clay_tags": ["", "  "], "clay_segments": " , ,", "enrichment_payload": "\"\"", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "c1", "clay_tags": "{ }", "clay_segments": "[\" \"]", "enrichment_payload": "null", "last_enriched_at": "2026-01-01"}]');
SELECT ein_number, dun_and_bradstreet_number, clay_tags, clay_segments, enrichment_payload, enrichment_source, confidence_score
FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": " "}, {"company_unique_id": ""}]');

-- lists
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c2", "clay_tags": "saas, b2b", "clay_segments": "saas"},
    {"company_unique_id": "c3", "clay_tags": "[\"saas\", \"\", \"b, c\"]", "clay_segments": "{saas,\"b, c\"}"},
    {"company_unique_id": "c4", "clay_tags": ["saas", "", "b2b"], "clay_segments": 5},
    {"company_unique_id": "c5", "clay_tags": " saas ,, b2b , ", "clay_segments": "[not json, b]"},
    {"company_unique_id": "c6", "clay_tags": {"a": 1}},
    {"company_unique_id": "c6", "clay_tags": "{a"}]');
SELECT company_unique_id, clay_tags, clay_segments FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c2' AND 'c6' ORDER BY 1;

-- nothing found, by every type of column
ALTER TABLE marketing.company_sidecar ADD COLUMN founded date, ADD COLUMN employees integer, ADD COLUMN seen timestamptz, ADD COLUMN listed boolean, ADD COLUMN words tsvector, ADD COLUMN path jsonpath, ADD COLUMN kind regclass, ADD COLUMN home regnamespace;
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "founded": "2001-02-03", "employees": 5, "seen": "2026-01-01", "listed": true, "ein_number": "good", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "c1", "founded": [], "employees": {}, "seen": [], "listed": "[]", "ein_number": [], "last_enriched_at": {}, "confidence_score": []},
    {"company_unique_id": "c1", "founded": "{}", "employees": "[ ]", "seen": " [] ", "listed": "", "ein_number": "{ }", "last_enriched_at": "[]", "confidence_score": "{}", "dun_and_bradstreet_number": " [] "}]');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, last_enriched_at, confidence_score, enrichment_payload) VALUES ('c1', '[]', '{}', '[]', '[]');
SELECT founded, employees, seen IS NOT NULL AS seen, listed, ein_number, confidence_score, enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
-- a bad value is its record's fault, whatever its type's input says
SELECT unique_id, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "words": "Rock''n''Roll ''x"}, {"company_unique_id": "c3", "path": "{"}, {"company_unique_id": "c4", "kind": "nothing"}, {"company_unique_id": "c5", "home": "nowhere"}, {"company_unique_id": "c6", "kind": "a.b.c.d"}, {"company_unique_id": "c7", "employees": "many"}]');
DELETE FROM marketing.company_sidecar WHERE company_unique_id IN ('c6', 'c7');
ALTER TABLE marketing.company_sidecar DROP COLUMN founded, DROP COLUMN employees, DROP COLUMN seen, DROP COLUMN listed, DROP COLUMN words, DROP COLUMN path, DROP COLUMN kind, DROP COLUMN home;
-- what an error quotes is cut off
SELECT length(error) FROM sidecar_upsert_companies(jsonb_build_object('company_unique_id', 'c1', 'confidence_score', repeat('é', 5000)));

-- and PostgreSQL's own form of them
INSERT INTO sidecar_company_inbox (company_unique_id, clay_tags, clay_segments) VALUES ('c2', ARRAY['', NULL]::text[], ARRAY[' ', 'a']::text[]), ('c3', '{{a,b},{c,d}}', '{"",NULL,"null"}'), ('c4', ARRAY['a"b', 'c,d', 'e\\f'], '{NULL}');
SELECT company_unique_id, clay_tags, clay_segments FROM marketing.company_sidecar WHERE company_unique_id IN ('c2', 'c3', 'c4') ORDER BY 1;

-- times
SELECT outcome, error FROM sidecar_upsert_companies(format('[
    {"company_unique_id": "c2", "last_enriched_at": 1762071112},
    {"company_unique_id": "c3", "last_enriched_at": 1762071112123},
    {"company_unique_id": "c4", "last_enriched_at": "1762071112"},
    {"company_unique_id": "c5", "last_enriched_at": "1762071112.5"},
    {"company_unique_id": "c6", "last_enriched_at": 20260131},
    {"company_unique_id": "c7", "last_enriched_at": "20260131"},
    {"company_unique_id": "c8", "last_enriched_at": "Sun, 02 Nov 2025 08:11:52 +0100"},
    {"company_unique_id": "c9", "last_enriched_at": "2025-11-02T08:11:52.250Z"},
    {"company_unique_id": "c9", "last_enriched_at": "2026-13-02"},
    {"company_unique_id": "c9", "last_enriched_at": 1e300},
    {"company_unique_id": "c9", "last_enriched_at": -1e14},
    {"company_unique_id": "c9", "last_enriched_at": "%s"},
    {"company_unique_id": "c9", "last_enriched_at": "infinity"}]', '9999-01-01')::jsonb);
SELECT company_unique_id, last_enriched_at FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c2' AND 'c9' ORDER BY 1;
SELECT sidecar_upsert_company('c9', last_enriched_at => now() + interval '23 hours') IS NOT NULL AS an_hour_ahead;
SELECT sidecar_upsert_company('c9', last_enriched_at => '2126-01-01');

-- scores
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c2", "confidence_score": 95}, {"company_unique_id": "c3", "confidence_score": "95"}, {"company_unique_id": "c4", "confidence_score": " 95% "},
    {"company_unique_id": "c5", "confidence_score": "95.5 %"}, {"company_unique_id": "c6", "confidence_score": "%"}, {"company_unique_id": "c6", "confidence_score": "high"},
    {"company_unique_id": "c6", "confidence_score": "101%"}]');
SELECT company_unique_id, confidence_score FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c2' AND 'c6' ORDER BY 1;

-- JSON, once and twice encoded
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c2", "enrichment_payload": {"a": 1}},
    {"company_unique_id": "c3", "enrichment_payload": "{\"a\": 1}"},
    {"company_unique_id": "c4", "enrichment_payload": "\"{\\\"a\\\": 1}\""},
    {"company_unique_id": "c5", "enrichment_payload": "[1, 2]"},
    {"company_unique_id": "c6", "enrichment_payload": "just text"},
    {"company_unique_id": "c7", "enrichment_payload": "95"},
    {"company_unique_id": "c8", "enrichment_payload": "{\"a\": "},
    {"company_unique_id": "c9", "enrichment_payload": "{\"a\": \"\\u0000\"}"}]');
SELECT company_unique_id, enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c2' AND 'c9' ORDER BY 1;

-- all unknown keys at once; exported rows fed back
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "name": "x", "ein_number": "", "website": null}]');
SELECT outcome, error FROM sidecar_upsert_companies((SELECT jsonb_agg(to_jsonb(s) ORDER BY 1) FROM marketing.company_sidecar s));

-- text: what jsonb refuses costs one record
SELECT record, unique_id, outcome, error FROM sidecar_import_companies(E'\ufeff[{"company_unique_id": "c1", "ein_number": "a,]}b"},\n {"company_unique_id": "c2", "ein_number": "\\u0000"}, {"company_unique_id": "c3", "ein_number": "\\ud83d"}, {bad, [}], {"company_unique_id": "c4", "ein_number": "x\\"y"}, 5, "text", {"company_unique_id": "c5"} ]');
SELECT record, unique_id, outcome, error FROM sidecar_import_companies(E'{"company_unique_id": "c1", "ein_number": "1"}\r\n\r\n{"company_unique_id": "c2", "ein_number": \r\n{"company_unique_id": "c3", "ein_number": "3"},\r\nnot JSON\r\n{"company_unique_id": "c4", "ein_number": "4"}', 'fill');
SELECT record, unique_id, outcome, error FROM sidecar_import_companies(E'{\n  "company_unique_id": "c1",\n  "enrichment_payload": {"a": [1, 2]}\n}\n');
-- laid out from the first line, cut off before the next record, two arrays
SELECT record, unique_id, outcome, error FROM sidecar_import_companies(E'{ "company_unique_id": "c1",\n  "clay_tags": ["a",\n "}"]}\n{"company_unique_id": "c2"}\n{ "company_unique_id": "c3", "ein_number": \n{"company_unique_id": "c4"}\n{"company_unique_id": \nnothing\n{"company_unique_id": "c5"}\n{"company_unique_id": "c6", \n');
-- a line that was cut off in a string, before one that ends it
SELECT record, unique_id, outcome FROM sidecar_import_companies(E'{"company_unique_id":"c1","ein_number":"a\n[]\n{"company_unique_id":"c2","ein_number":"}"}\n# comment\n{"company_unique_id":"c3"}\n{\n "company_unique_id": "c4",\n "enrichment_payload": {\n  "a": [\n   {"b": 1},\n   {\n    "b": 2\n   }\n  ]}\n}\n  {\n  "company_unique_id": "c5"\n  }');
SELECT enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id = 'c4';
SELECT count(*), count(*) FILTER (WHERE outcome = 'rejected') AS rejected FROM sidecar_import_companies(repeat(E'{\nx\n', 1000));
SELECT count(*), count(*) FILTER (WHERE outcome = 'rejected') AS rejected FROM sidecar_import_companies(repeat(E' {"a": [\n', 1000));
DELETE FROM marketing.sidecar_rejects WHERE record #>> '{}' IN ('{', 'x', '{"a": [');
-- made into text twice
SELECT record, unique_id, outcome, error FROM sidecar_import_companies(E'"{\\"company_unique_id\\": \\"c1\\"}"\n"no object"\n"\\"5\\""');
SELECT record, unique_id, outcome, error FROM sidecar_upsert_companies('["{\"company_unique_id\": \"c1\"}", "{}", "x"]');
SELECT record, unique_id, outcome, error FROM sidecar_import_companies(E'[{"company_unique_id": "c1"}]\n[ ]\n[{"company_unique_id": "c2"}, {"company_unique_id": "c3"}]\n{"company_unique_id": "c4"}');
SELECT record, unique_id, outcome, error FROM sidecar_import_people(E'[{"person_unique_id": "p1"}] {"person_unique_id": "p2"}');
SELECT record, unique_id, outcome, error FROM sidecar_import_companies('[{"company_unique_id": "c1", "ein_number": "cut off');
SELECT count(*) FROM sidecar_import_companies('  '), sidecar_import_people('[]') p;
SELECT sidecar_import_companies(NULL);
SELECT entity, unique_id, jsonb_typeof(record), left(replace(record #>> '{}', E'\n', ' '), 60) AS record, sqlstate FROM marketing.sidecar_rejects WHERE jsonb_typeof(record) <> 'object' ORDER BY rejected_at, record_no;

-- keys that are no columns
SELECT unique_id, outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c1", "website": "a.com", "employees": 5, "city": "", "tags": [], "x": null, "enrichment_source": "apify"},
    {"company_unique_id": "c2", "website": "b.com", "enrichment_payload": {"website": "own", "a": 1}},
    {"company_unique_id": "c3", "website": "c.com", "enrichment_payload": "{\"a\": {\"b\": 2}}"},
    {"company_unique_id": "c4", "website": "d.com", "enrichment_payload": [1]},
    {"company_unique_id": "c5", "website": " ", "city": {}},
    {"company_unique_id": "nobody", "website": "e.com", "created_at": "2020-01-01"}]', unknown_keys => 'payload');
SELECT company_unique_id, enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c1' AND 'c5' ORDER BY 1;
SELECT unique_id, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "website": "z.com", "ein_number": "ignored"}, {"company_unique_id": "nobody", "website": "z.com"}]', NULL, 'ignore');
SELECT ein_number, enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
SELECT unique_id, outcome FROM sidecar_import_people('{"person_unique_id": "p1", "headline": "CTO"}', 'fill', 'payload');
SELECT enrichment_payload FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
SELECT * FROM sidecar_upsert_companies('[]', unknown_keys => 'drop');
SELECT unique_id, outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "website": "a.com"}', unknown_keys => NULL);
-- sent again by a retry they are the same call
SELECT unique_id, on_conflict, options, origin FROM marketing.sidecar_rejects WHERE unique_id = 'nobody' ORDER BY rejected_at, record_no;
INSERT INTO marketing.company_master VALUES ('nobody', 'Somebody');
SELECT unique_id, outcome FROM sidecar_retry_rejects() WHERE unique_id = 'nobody';
SELECT enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id = 'nobody';

-- columns that become NULL
CREATE VIEW c1 AS SELECT ein_number AS ein, dun_and_bradstreet_number AS duns, clay_tags AS tags, enrichment_payload AS payload,
    enrichment_source AS source, confidence_score AS score FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
SELECT sidecar_upsert_company('c1', 'e', 'd', '{t}', '{s}', '{"p": 1}', '2026-02-01', 'clay', 50);
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c1", "last_enriched_at": "2026-02-01", "$clear": ["ein_number"]},
    {"company_unique_id": "c1", "last_enriched_at": "2026-02-01", "$clear": ["ein_number"]},
    {"company_unique_id": "c1", "last_enriched_at": "2026-02-01", "$clear": ["clay_tags", "enrichment_source"], "ein_number": "", "clay_tags": []},
    {"company_unique_id": "c1", "last_enriched_at": "2026-02-01", "$clear": []}]');
TABLE c1;
-- by rule: what is older or weaker clears nothing, and fill never does
SELECT sidecar_upsert_company('c1', 'e', 'd', '{t}', '{s}', '{"p": 1}', '2026-02-01', 'clay', 50);
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "last_enriched_at": "2026-01-01", "$clear": ["ein_number"]}', 'newest');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "last_enriched_at": "2026-02-01", "confidence_score": 40, "$clear": ["ein_number"]}', 'most_confident');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "last_enriched_at": "2026-02-01", "$clear": ["ein_number"]}', 'fill');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "last_enriched_at": "2026-02-02", "$clear": ["ein_number"]}', 'newest');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "last_enriched_at": "2026-02-02", "ein_number": "f", "$clear": ["clay_tags"]}', 'fill');
TABLE c1;
-- a new row has NULL, not a default
ALTER TABLE marketing.company_sidecar ADD COLUMN tier text DEFAULT 'unknown', ADD COLUMN twice text GENERATED ALWAYS AS (ein_number || ein_number) STORED;
DELETE FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c6' AND 'c9';
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c6", "$clear": ["tier"]}, {"company_unique_id": "c7", "ein_number": "1"}, {"company_unique_id": "c8", "$clear": ["tier"]}, {"company_unique_id": "c9"}]');
SELECT company_unique_id, tier, twice FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c6' AND 'c9' ORDER BY 1;
-- what cannot be
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c1", "$clear": ["company_unique_id"]}, {"company_unique_id": "c1", "$clear": ["last_enriched_at"]},
    {"company_unique_id": "c1", "$clear": ["created_at"]}, {"company_unique_id": "c1", "$clear": ["twice"]},
    {"company_unique_id": "c1", "$clear": ["website"]}, {"company_unique_id": "c1", "$clear": "ein_number"},
    {"company_unique_id": "c1", "$clear": [5]}, {"company_unique_id": "c1", "$clear": {"a": 1}},
    {"company_unique_id": "c1", "$clear": ["ein_number", "ein_number"], "ein_number": "5"},
    {"company_unique_id": "c1", "$clear": null}, {"company_unique_id": "c1", "$clear": ["ein_number", "ein_number"]}]', unknown_keys => 'ignore');
-- by function
SELECT sidecar_upsert_company('c1', 'e', 'd', '{t}', '{s}', '{"p": 1}', '2026-02-01', 'clay', 50);
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-02-01', clear => '{ein_number, enrichment_payload}') AS cleared,
       sidecar_upsert_company('c1', last_enriched_at => '2026-02-01', clear => '{ein_number, enrichment_payload}') AS again,
       sidecar_upsert_company('c1', last_enriched_at => '2026-02-01', clear => '{}') AS nothing,
       sidecar_upsert_company('c1', ' ', last_enriched_at => '2026-02-01', clear => '{dun_and_bradstreet_number}', on_conflict => 'fill') AS fill;
TABLE c1;
SELECT sidecar_upsert_person('p1', clear => '{enrichment_payload}');
SELECT enrichment_payload FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
SELECT sidecar_upsert_company('c1', 'x', clear => '{ein_number}');
SELECT sidecar_upsert_company('c1', clear => '{tier}');
SELECT sidecar_upsert_company('c1', clear => '{last_enriched_at}');
SELECT sidecar_upsert_company('c1', clear => '{company_unique_id}');
SELECT sidecar_upsert_company('c1', clear => '{NULL}');
SELECT sidecar_upsert_company('c1', clear => '{{ein_number},{clay_tags}}');
UPDATE marketing.company_sidecar SET ein_number = 'x';
ALTER TABLE marketing.company_sidecar ALTER ein_number SET NOT NULL;
SELECT outcome, left(error, 80) AS error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "$clear": ["ein_number"]}, {"company_unique_id": "c2", "ein_number": "y"}]');
ALTER TABLE marketing.company_sidecar ALTER ein_number DROP NOT NULL;

-- every client's number: rounded to the column's scale, then compared
SELECT sidecar_upsert_company('c2', confidence_score => 95.3::real) AS of_real, sidecar_upsert_company('c3', confidence_score => 79.995::float8) AS of_float, sidecar_upsert_company('c4', confidence_score => 100.004) AS of_numeric,
       sidecar_upsert_company('c5', confidence_score => 95::smallint) AS of_integer, sidecar_upsert_company('c6', confidence_score => -0.0049) AS of_almost_nothing;
SELECT company_unique_id, confidence_score FROM marketing.company_sidecar WHERE company_unique_id BETWEEN 'c2' AND 'c6' ORDER BY 1;
SELECT count(*) FROM sidecar_low_confidence_companies(95.3::real);
SELECT count(*) FROM sidecar_low_confidence_companies(95.31::real);
SELECT low_confidence FROM sidecar_summary(below => 95.3::real) WHERE entity = 'company';
SELECT low_confidence FROM sidecar_summary(below => 95.304::float8) WHERE entity = 'company';
SELECT count(*) FROM sidecar_low_confidence_companies('Infinity');
SELECT sidecar_upsert_company('c2', confidence_score => 'NaN');
SELECT sidecar_upsert_company('c2', confidence_score => 'Infinity');
SELECT sidecar_upsert_company('c2', confidence_score => 100.005);
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "confidence_score": 100.004}, {"company_unique_id": "c2", "confidence_score": 100.005}, {"company_unique_id": "c2", "confidence_score": -0.01}, {"company_unique_id": "c2", "confidence_score": "99.999%"}]');
SELECT confidence_score FROM marketing.company_sidecar WHERE company_unique_id = 'c2';

-- texts of digits, lists with nothing in them, time ahead by every way in
SELECT outcome, error FROM sidecar_upsert_companies('[
    {"company_unique_id": "c2", "last_enriched_at": "20260131093000"}, {"company_unique_id": "c3", "last_enriched_at": "1762071112123"}, {"company_unique_id": "c4", "last_enriched_at": 1762071112123456},
    {"company_unique_id": "c5", "last_enriched_at": "2026-01-31 09:30:00+05:30", "clay_tags": [null, "a", [], ""]}, {"company_unique_id": "c6", "last_enriched_at": true}]');
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "last_enriched_at": "202601311200"}, {"company_unique_id": "c2", "last_enriched_at": "17620711121"}, {"company_unique_id": "c2", "last_enriched_at": "176207111"}]');
SELECT company_unique_id, last_enriched_at, clay_tags FROM marketing.company_sidecar WHERE company_unique_id IN ('c3', 'c5') ORDER BY 1;
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at, clay_tags, clay_segments, confidence_score, enrichment_payload)
VALUES ('c2', '2126-01-01', NULL, NULL, NULL, NULL), ('c3', '1762071113', 'a, b', '["x", ""]', '95%', '"{\"a\": 1}"'), ('c4', '', '', '{}', ' ', ' {} '), ('c5', NULL, 'one', '{p,q}', '7', '{"a": [1]}');
SELECT company_unique_id, last_enriched_at, clay_tags, clay_segments, confidence_score, enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id IN ('c3') ORDER BY 1;
SELECT company_unique_id, clay_tags, clay_segments, confidence_score, enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id IN ('c4', 'c5') ORDER BY 1;
SELECT unique_id, error FROM marketing.sidecar_rejects WHERE options->>'text' = 'true';

-- where a record came from, and what is no JSON is read again when it is mended
DELETE FROM marketing.sidecar_rejects;
SELECT record, outcome FROM sidecar_import_companies(E'{"company_unique_id": "c1"}\n\n{"company_unique_id": "c2", "ein_number": "\\u0000"}\nnothing\n\n\n  {"company_unique_id": "c3", "ein_number": "123456789012345678901"}\n');
SELECT record, outcome FROM sidecar_import_companies(E'[\n{"company_unique_id": "c1"},\n{"company_unique_id":\n "nobody2"}, {"company_unique_id": "c4", \n"bad" 5}]');
SELECT unique_id, origin, record, error FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;
UPDATE marketing.sidecar_rejects SET record = to_jsonb(replace(record #>> '{}', '\u0000', '7')) WHERE origin->>'line' = '3' AND unique_id IS NULL;
UPDATE marketing.sidecar_rejects SET options = '{"unknown_keys": "junk", "text": 5}' WHERE origin->>'line' = '4';
UPDATE marketing.sidecar_rejects SET options = '[1]' WHERE unique_id = 'c3';
SELECT unique_id, outcome, error FROM sidecar_retry_rejects();
SELECT company_unique_id, ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'c2';

DROP VIEW c1;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

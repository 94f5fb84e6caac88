-- A field as people write it, in the form that the column's type reads: the
-- same for every way in.

SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;
SELECT sidecar_upsert_company('c1', 'good', 'good', '{good}', '{good}', '{"good": true}', '2026-01-01', 'clay', 50);

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

-- times
SELECT outcome, error FROM sidecar_upsert_companies(format('[
    {"company_unique_id": "c2", "last_enriched_at": 1762071112},
    {"company_unique_id": "c3", "last_enriched_at": 1762071112123},
    {"company_unique_id": "c4", "last_enriched_at": "1762071112"},
    {"company_unique_id": "c5", "last_enriched_at": "1762071112.5"},
    {"company_unique_id": "c6", "last_enriched_at": 20260131},
    {"company_unique_id": "c7", "last_enriched_at": "20260131"},
    {"company_unique_id": "c8", "last_enriched_at": "Mon, 02 Nov 2026 08:11:52 +0100"},
    {"company_unique_id": "c9", "last_enriched_at": "2026-11-02T08:11:52.250Z"},
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
SELECT record, unique_id, outcome, error FROM sidecar_import_people(E'[{"person_unique_id": "p1"}] {"person_unique_id": "p2"}');
SELECT record, unique_id, outcome, error FROM sidecar_import_companies('[{"company_unique_id": "c1", "ein_number": "cut off');
SELECT count(*) FROM sidecar_import_companies('  '), sidecar_import_people('[]') p;
SELECT sidecar_import_companies(NULL);
SELECT entity, unique_id, jsonb_typeof(record), record #>> '{}' AS record, sqlstate FROM marketing.sidecar_rejects WHERE jsonb_typeof(record) <> 'object' ORDER BY reject_id;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

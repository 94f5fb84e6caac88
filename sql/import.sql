-- Text as it arrives: JSON Lines and arrays that are damaged in places. One bad
-- record costs the others nothing, and nothing that was sent is lost.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 40) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 40) i;
CREATE VIEW parked AS SELECT entity, unique_id, origin->>'line' AS line, left(record #>> '{}', 70) AS record, sqlstate FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;

-- escapes that jsonb refuses, wherever they stand: in a value, in a key, in what no column takes
SELECT record, unique_id, outcome FROM sidecar_import_people(E'{"person_unique_id": "p1", "clay_insight_summary": "good"}
{"person_unique_id": "p2", "clay_insight_summary": "\\u0000"}
{"person_unique_id": "p\\u0000", "clay_insight_summary": "x"}
{"person_unique_id": "p3", "clay\\u0000": "x"}
{"person_unique_id": "p4", "enrichment_payload": {"a": ["\\ud83d"]}}
{"person_unique_id": "p5", "enrichment_payload": {"a": "\\ude00\\ud83d"}}
{"person_unique_id": "p6", "clay_insight_summary": "\\ud83d\\ud83d"}
{"person_unique_id": "p7", "clay_insight_summary": "\\uD83D\\uDE00 \\u00e9 \\\\u0000"}
{"person_unique_id": "p8", "clay_insight_summary": "\\x41"}
{"person_unique_id": "p9", "clay_insight_summary": "\\u12"}
{"person_unique_id": "p10", "confidence_score": 1e400}
{"person_unique_id": "p11", "confidence_score": 1e999999}
{"person_unique_id": "p12", "confidence_score": NaN}
{"person_unique_id": "p13", "confidence_score": 0x10}
{"person_unique_id": "p14", "confidence_score": 010}
{"person_unique_id": "p15", "confidence_score": .5}
{"person_unique_id": "p16", "clay_insight_summary": undefined}
{''person_unique_id'': ''p17''}
{"person_unique_id": "p18", "clay_insight_summary": "tab	in it"}
{"person_unique_id": "p19", "clay_insight_summary": "good",}
{"person_unique_id": "p20", "clay_insight_summary": "first", "clay_insight_summary": "last", "person_unique_id": "p21"}
{"person_unique_id": "p22", "clay_insight_summary": "good"}') ORDER BY 1;
TABLE parked;
SELECT person_unique_id, clay_insight_summary FROM marketing.people_sidecar ORDER BY substr(person_unique_id, 2)::int;
-- as one array it is the same
CREATE TABLE sent AS SELECT origin->>'line' AS line, record FROM marketing.sidecar_rejects;
DELETE FROM marketing.sidecar_rejects;
SELECT outcome, count(*) FROM sidecar_import_people((SELECT '[' || string_agg(CASE jsonb_typeof(record) WHEN 'string' THEN record #>> '{}' ELSE record::text END, ',' ORDER BY line::int) || ', {"person_unique_id": "p22"}]' FROM sent)) GROUP BY 1 ORDER BY 1;
SELECT count(*) AS differ FROM (SELECT record FROM sent EXCEPT SELECT record FROM marketing.sidecar_rejects) d;
-- mended in the table, a text is read again, and its key found
UPDATE marketing.sidecar_rejects SET record = to_jsonb(replace(replace(record #>> '{}', '\u0000', ''), '\ud83d', '?')) WHERE record #>> '{}' ~ 'p[24]"';
UPDATE marketing.sidecar_rejects SET record = to_jsonb(replace(record #>> '{}', 'NaN', '50')) WHERE record #>> '{}' ~ 'p12"';
UPDATE marketing.sidecar_rejects SET record = '{"person_unique_id": "p19", "clay_insight_summary": "mended"}' WHERE record #>> '{}' ~ 'p19"';
SELECT unique_id, outcome FROM sidecar_retry_rejects() WHERE outcome <> 'rejected' ORDER BY 1;
SELECT person_unique_id, clay_insight_summary, enrichment_payload, confidence_score FROM marketing.people_sidecar WHERE person_unique_id IN ('p2', 'p4', 'p12', 'p19') ORDER BY 1;
SELECT attempts, count(*) FROM marketing.sidecar_rejects GROUP BY 1;
DELETE FROM marketing.sidecar_rejects;

-- line ends, marks, blank lines, commas at the end of lines: each file has the same three records
CREATE TABLE files (n int GENERATED ALWAYS AS IDENTITY, content text);
INSERT INTO files (content) SELECT before || array_to_string(ARRAY['{"company_unique_id": "c1"}', '{"company_unique_id": "c2", "ein_number": "{,]"}', '{"company_unique_id": "c3"}'], between) || after FROM (VALUES
    ('', E'\n', ''), ('', E'\n', E'\n'), ('', E'\r\n', E'\r\n'), (E'\ufeff', E'\r\n', ''), (E'\ufeff\r\n', E'\r\n\r\n', E'\r\n\r\n\r\n'), (E'\n\n', E'\n \t\n', E'\n  '), ('', E',\n', E',\n'),
    ('[', ',', ']'), (E'\ufeff[', E',\r\n', E']\r\n'), (E'[\n', E',\n\n', E'\n]\n'), (E' \n [ ', E',\t', E' ] \n '), ('[', E']\n[', E']\n'), ('[', ',', ',]'), ('[', ',', '')) v (before, between, after);
SELECT n, r.outcomes FROM files, LATERAL (SELECT string_agg(concat_ws(' ', outcome, unique_id), ', ' ORDER BY record) AS outcomes FROM sidecar_import_companies(content)) r ORDER BY n;
SELECT count(*) FROM marketing.sidecar_rejects;

-- cut off in the middle, by a disk that was full, in every byte: what stands before is stored, what was sent is kept
CREATE TABLE cuts AS SELECT n, count(*) FILTER (WHERE outcome <> 'rejected') AS stored, count(*) FILTER (WHERE outcome = 'rejected') AS rejected
FROM generate_series(1, 115) n, sidecar_import_companies(left(E'{"company_unique_id": "c1", "clay_tags": ["a"]}\n{"company_unique_id": "c2", "enrichment_payload": {"x": "y, {}"}}\n', n)) GROUP BY n;
SELECT stored, rejected, min(n), max(n) FROM cuts GROUP BY 1, 2 ORDER BY min(n);
CREATE TABLE arrays AS SELECT n, count(*) FILTER (WHERE outcome <> 'rejected') AS stored, count(*) FILTER (WHERE outcome = 'rejected') AS rejected
FROM generate_series(1, 117) n, sidecar_import_companies(left('[{"company_unique_id": "c1", "clay_tags": ["a"]}, {"company_unique_id": "c2", "enrichment_payload": {"x": "y, {}"}}]', n)) GROUP BY n;
SELECT stored, rejected, min(n), max(n) FROM arrays GROUP BY 1, 2 ORDER BY min(n);
DELETE FROM marketing.sidecar_rejects;
-- a line cut off in the middle of a file, in a string or not, costs itself
SELECT record, unique_id, outcome FROM sidecar_import_companies(E'{"company_unique_id": "c1"}\n{"company_unique_id": "c2", "ein_number": "12-34\n{"company_unique_id": "c3"}\n{"company_unique_id": "c4", "enrichment_payload": {"a": [1,\n{"company_unique_id": "c5"}\n"company_unique_id": "c6"}\n{"company_unique_id": "c7"}\n');
TABLE parked;
DELETE FROM marketing.sidecar_rejects;
-- valid JSON is never torn, however it is laid out: one record each, and nothing of what is inside of it
SELECT n, record, unique_id, outcome FROM (VALUES (1, E'\ufeff{\n  "company_unique_id": "c10",\n  "enrichment_payload": [\n   {"company_unique_id": "c11", "ein_number": "nested"}\n  ]\n}'), (2, E'{\n"company_unique_id": "c10",\n"enrichment_payload": [\n{\n"company_unique_id": "c11",\n"ein_number": "nested"\n}\n]\n}'), (3, E'{"company_unique_id": "c10", "enrichment_payload":\n{"a": 1}}'), (4, E'[{\n"company_unique_id": "c10",\n"enrichment_payload": [\n{\n"company_unique_id": "c11"\n}\n]\n}]')) v (n, t), LATERAL sidecar_import_companies(t) ORDER BY 1, 2;
SELECT count(*) AS nested FROM marketing.company_sidecar WHERE company_unique_id = 'c11';
-- commas, marks, Macintosh line ends, JSON text sequences, several on a line
SELECT n, record, unique_id, outcome FROM (VALUES (1, '[{"company_unique_id": "c1"} , {"company_unique_id": "c2"}]'), (2, E'[\n{"company_unique_id": "c1"}\n,{"company_unique_id": "c2"}\n]'), (3, E'{"company_unique_id": "c1"}\n\ufeff{"company_unique_id": "c2"}'), (4, E'\ufeff\ufeff{"company_unique_id": "c1"}{"company_unique_id": "c2"}'), (5, E'{"company_unique_id": "c1"}\r{"company_unique_id": "c2"}\r'), (6, E'\x1e{"company_unique_id": "c1"}\n\x1e{"company_unique_id": "c2"}\n')) v (n, t), LATERAL sidecar_import_companies(t) ORDER BY 1, 2;
SELECT count(*) FROM marketing.sidecar_rejects;
-- one that is damaged costs itself, in an array, too: in a string, in a list, after a backslash, without its beginning, on one line
SELECT n, string_agg(COALESCE(unique_id, outcome), ' ' ORDER BY record) FROM (VALUES (1, E'[\n{"company_unique_id": "c1"},\n{"company_unique_id": "c2", "ein_number": "cut,\n{"company_unique_id": "c3"},\n{"company_unique_id": "c4"}\n]'), (2, E'[\n{"company_unique_id": "c1"},\n{"company_unique_id": "c2", "clay_tags": ["a",\n{"company_unique_id": "c3"},\n{"company_unique_id": "c4"}\n]'), (3, E'{"company_unique_id": "c1", "ein_number": "a\\\n{"company_unique_id": "c2", "ein_number": "}"}\n{"company_unique_id": "c3"}'), (4, E'[\n  {\n    "company_unique_id": "c1"\n  },\n    "company_unique_id": "c2",\n    "clay_tags": ["a"]\n  },\n  {\n    "company_unique_id": "c3"\n  }\n]'), (5, '[{"company_unique_id": "c1"}, {"company_unique_id": "c2", "clay_tags": ["a"}, {"company_unique_id": "c3"}]')) v (n, t), LATERAL sidecar_import_companies(t) GROUP BY n ORDER BY n;
-- and nothing of a list inside of it is stored
SELECT n, record, unique_id, outcome FROM (VALUES (1, E'[{"company_unique_id": "c1", "ein_number": "cut, "enrichment_payload": [{"x": 1},\n{"company_unique_id": "c11"},\n{"company_unique_id": "c11"}], "clay_tags": []},\n{"company_unique_id": "c2"}]'), (2, E'{\n"company_unique_id": "c1",\n"ein_number": "cut,\n"enrichment_payload": [\n{\n"company_unique_id": "c11"\n}\n]\n}\n{\n"company_unique_id": "c2"\n}')) v (n, t), LATERAL sidecar_import_companies(t) ORDER BY 1, 2;
DELETE FROM marketing.sidecar_rejects;
-- no JSON at all: an error page, a CSV, YAML, nothing
SELECT n, count(*), count(*) FILTER (WHERE outcome = 'rejected') AS rejected FROM (VALUES (1, '<html><body>502 Bad Gateway</body></html>'), (2, E'company_unique_id,ein_number\nc1,12-3456789\n'), (3, E'- company_unique_id: c1\n  ein_number: 1\n'), (4, 'null'), (5, '[null]'), (6, '"c1"'), (7, '5'), (8, '{}'), (9, '[{}]'), (10, '[[]]'), (11, '[[[{"company_unique_id": "c1"}]]]'), (12, ']'), (13, ','), (14, '{"error": {"code": 429}}'), (15, ''), (16, E'\ufeff'), (17, E'\n\n'), (18, '[]'), (19, E'[\n]\n')) v (n, t) LEFT JOIN sidecar_import_companies(t) ON true GROUP BY n ORDER BY n;
SELECT sqlstate, count(*) FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
DELETE FROM marketing.sidecar_rejects;
-- a line of a megabyte, and one that is wrong at its end, among thousands
SELECT outcome, count(*) FROM sidecar_import_companies((SELECT string_agg(CASE i WHEN 700 THEN '{"company_unique_id": "c1", "enrichment_payload": {"a": "' || repeat('x', 1000000) || '"}}' WHEN 1400 THEN '{"company_unique_id": "c2", "enrichment_payload": {"a": "' || repeat('x', 1000000) || '"}' ELSE format('{"company_unique_id": "c%s"}', 3 + i % 30) END, E'\n' ORDER BY i) FROM generate_series(1, 2500) i)) GROUP BY 1 ORDER BY 1;
SELECT length(enrichment_payload->>'a') FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
SELECT origin, length(record #>> '{}') FROM marketing.sidecar_rejects;
DELETE FROM marketing.sidecar_rejects;

DROP VIEW parked;
DROP TABLE sent, files, cuts, arrays;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

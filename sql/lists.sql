-- Lists, JSON and scores as cells and scrapers have them: the same by every way in.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 50) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 50) i;

-- lists: each spelling by a batch of companies, an import of people, and both inboxes
CREATE TABLE lists (n int GENERATED ALWAYS AS IDENTITY, value jsonb);
INSERT INTO lists (value) VALUES ('"saas, b2b"'), ('"saas,b2b"'), ('"saas"'), ('"two words"'), ('" padded , more "'), ('"a, b,"'), ('",a,,b"'), ('"a, a"'), ('"tab\t,\nline"'), ('"München, 東京, 🌱"'), ('"R&D, C++, it''s"'), ('"a;b"'), ('"null, a"'),
    ('"{saas,b2b}"'), ('"{\"a b\",\"c, d\",\"e\\\"f\"}"'), ('"{a,NULL,\"\",b}"'), ('" {a, b} "'), ('"{a}"'),
    ('"[\"saas\"]"'), ('"[\"a, b\", \"c\\\"d\", \"\", null]"'), ('" [\"a\",\n \"b\"] "'), ('"[1, 2.50, true]"'),
    ('["saas", "b2b"]'), ('["a", "", null, "b"]'), ('["a, b", "{c}", "[d]", "e\"f", "g\\h"]'), ('[1, 2.50, true]'), ('5'), ('true'), ('[{"name": "x"}, {"name": "y"}]'),
    -- words in quotes, and a list that was made into text once more
    (to_jsonb('"a, b", c'::text)), (to_jsonb('a, "b ""c"" , d"'::text)), (to_jsonb('5" pipe, 6" pipe'::text)), (to_jsonb('"a" b, c'::text)), (to_jsonb('"a, b'::text)), (to_jsonb('"a, b"'::text)), (to_jsonb('"", x'::text)), (to_jsonb('"null"'::text)),
    (to_jsonb('"[\"a\"]"'::text)), (to_jsonb('"{a,b}"'::text)), (to_jsonb('"\"a, b\", c"'::text)), (to_jsonb(to_jsonb(to_jsonb('["a"]'::text)::text)::text)),
    -- of several dimensions, and the same in PostgreSQL's form
    ('[["a", "b"], ["c", "d"]]'), ('"{{a,b},{c,d}}"'), ('[["a", ""], ["b", {}]]'), ('"{{a,\"\"},{b,NULL}}"'), ('[[], [""], ["a"]]'), ('"[[null, \"a\"]]"');
SELECT outcome, count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c' || n, 'clay_tags', value) ORDER BY n) FROM lists)) GROUP BY 1;
SELECT outcome, count(*) FROM sidecar_import_people((SELECT string_agg(format('{"person_unique_id": "p%s", "clay_segments": %s}', n, value), E'\n' ORDER BY n) FROM lists)) GROUP BY 1;
SELECT n, value, array_to_json(clay_tags) AS stored FROM lists LEFT JOIN marketing.company_sidecar ON company_unique_id = 'c' || n ORDER BY n;
SELECT count(*) AS differ FROM lists JOIN marketing.company_sidecar ON company_unique_id = 'c' || n JOIN marketing.people_sidecar ON person_unique_id = 'p' || n WHERE clay_tags <> people_sidecar.clay_segments;
INSERT INTO sidecar_company_inbox (company_unique_id, clay_segments) SELECT 'c' || n, value #>> '{}' FROM lists;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_segments) SELECT 'p' || n, value #>> '{}' FROM lists;
SELECT count(*) AS differ FROM lists JOIN marketing.company_sidecar ON company_unique_id = 'c' || n JOIN marketing.people_sidecar ON person_unique_id = 'p' || n WHERE clay_tags <> company_sidecar.clay_segments OR clay_tags <> people_sidecar.clay_segments;
-- one of nothing, however deep, changes nothing
SELECT sidecar_upsert_company('c50', clay_tags => '{good}', last_enriched_at => '2026-01-01');
SELECT outcome, error, count(*) FROM unnest(ARRAY['[[""], [null]]', '[[[]], [{}, " "]]', '"{{\"\",\" \"}}"', '"{{NULL}}"', '"[[\"\"], [null]]"', '"\"[]\""', '"\"{}\""', '"\"\""', '", \"\","', '"null"', '" NULL "']::jsonb[]) value, sidecar_upsert_companies(jsonb_build_object('company_unique_id', 'c50', 'clay_tags', value, 'last_enriched_at', '2026-01-01')) GROUP BY 1, 2;
SELECT clay_tags FROM marketing.company_sidecar WHERE company_unique_id = 'c50';
DELETE FROM marketing.company_sidecar USING lists WHERE company_unique_id = 'c' || n AND n > 29;
DELETE FROM marketing.people_sidecar USING lists WHERE person_unique_id = 'p' || n AND n > 29;
-- what is neither is told, and costs nobody anything
SELECT record, outcome, left(error, 35) AS error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "clay_tags": "{a,b"}, {"company_unique_id": "c1", "clay_tags": "{a,b}, c"}, {"company_unique_id": "c1", "clay_tags": "[a, b]"}, {"company_unique_id": "c1", "clay_tags": "[\"a\","}, {"company_unique_id": "c1", "clay_tags": "[\"a\",]"},
    {"company_unique_id": "c1", "clay_tags": {"0": "a"}}, {"company_unique_id": "c1", "clay_tags": "{\"a\": 1}"}, {"company_unique_id": "c1", "clay_tags": "[\"\\u0000\"]"}, {"company_unique_id": "c1", "clay_tags": "[\"\\ud83d\"]"}, {"company_unique_id": "c30", "clay_tags": "fine"}]');
SELECT array_to_json(clay_tags) FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
-- sent again in another spelling it is the same list
SELECT record, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c30", "clay_tags": "[\"fine\"]", "last_enriched_at": "2026-01-01"}, {"company_unique_id": "c30", "clay_tags": "{fine}", "last_enriched_at": "2026-01-01"}, {"company_unique_id": "c30", "clay_tags": ["fine"], "last_enriched_at": "2026-01-01"}]');
-- lists of one's own, of any type of element
CREATE DOMAIN years AS integer[];
CREATE TYPE stage AS ENUM ('seed', 'series a');
ALTER TABLE marketing.company_sidecar ADD COLUMN nums integer[], ADD COLUMN years years, ADD COLUMN stages stage[], ADD COLUMN prices numeric(6,2)[], ADD COLUMN flags boolean[], ADD COLUMN days date[], ADD COLUMN docs jsonb[], ADD COLUMN codes varchar(3)[];
SELECT record, outcome, left(error, 50) AS error FROM sidecar_upsert_companies('[{"company_unique_id": "c31", "nums": "1, 2", "years": 2020, "stages": "seed, series a", "prices": "1.005", "flags": "yes, no", "days": "2026-01-01, Feb 1 2026", "codes": "usd"},
    {"company_unique_id": "c32", "nums": [1, "2"], "years": "{2020,2021}", "stages": ["series a"], "prices": [1, "2.5"], "flags": [true, "f"], "days": ["2026-01-01"], "docs": [{"a": 1}, [2]], "codes": "{usd,eur}"},
    {"company_unique_id": "c33", "nums": "1, x"}, {"company_unique_id": "c33", "stages": "seed, series b"}, {"company_unique_id": "c33", "years": "soon"}]');
SELECT company_unique_id, nums, years, stages, prices, flags, days, docs, codes FROM marketing.company_sidecar WHERE nums IS NOT NULL ORDER BY 1;
ALTER TABLE marketing.company_sidecar DROP COLUMN nums, DROP COLUMN years, DROP COLUMN stages, DROP COLUMN prices, DROP COLUMN flags, DROP COLUMN days, DROP COLUMN docs, DROP COLUMN codes;

-- JSON, also as its text, also twice: an operator finds what is in it
CREATE TABLE docs (n int GENERATED ALWAYS AS IDENTITY, value jsonb);
INSERT INTO docs (value) VALUES ('{"a": 1}'), (to_jsonb('{"a":1}'::text)), (to_jsonb(to_jsonb('{"a":1}'::text)::text)), (to_jsonb(to_jsonb(to_jsonb('{"a":1}'::text)::text)::text)), (to_jsonb(E' \n{"a": 1}\t'::text)),
    ('[{"a": 1}]'), (to_jsonb('[{"a":1}]'::text)), (to_jsonb(to_jsonb('[{"a":1}]'::text)::text)), ('{"a": "{\"b\": 1}"}'), ('{"a": ""}'), ('{"a": 1e400}'), (to_jsonb('{"a": 1, "a": 2}'::text)), ('{"": 1}'), ('{"a\u0001": "\ud83c\udf31"}'),
    (to_jsonb(repeat('[', 500) || '1' || repeat(']', 500)));
SELECT outcome, count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'p' || n, 'enrichment_payload', value) ORDER BY n) FROM docs)) GROUP BY 1;
SELECT n, left(value::text, 40) AS value, jsonb_typeof(enrichment_payload), left(enrichment_payload::text, 40) AS stored, enrichment_payload ? 'a' AS has, enrichment_payload @> '{"a": 1}' AS contains FROM docs LEFT JOIN marketing.people_sidecar ON person_unique_id = 'p' || n ORDER BY n;
-- the same by an import, by inboxes, and in the people's other column of JSON
SELECT outcome, count(*) FROM sidecar_import_companies((SELECT string_agg(format('{"company_unique_id": "c%s", "enrichment_payload": %s}', n, value), E'\n') FROM docs)) GROUP BY 1;
INSERT INTO sidecar_people_inbox (person_unique_id, social_profiles) SELECT 'p' || n, value #>> '{}' FROM docs;
SELECT count(*), count(*) FILTER (WHERE c.enrichment_payload <> p.enrichment_payload OR p.social_profiles <> p.enrichment_payload) AS differ FROM docs JOIN marketing.people_sidecar p ON person_unique_id = 'p' || n JOIN marketing.company_sidecar c ON company_unique_id = 'c' || n;
-- cut off, doubled, in Python's spelling, too deep: in a batch a text is a string, in a cell it is an error
SELECT record, outcome, left(error, 40) AS error FROM sidecar_upsert_people(jsonb_build_array('{"person_unique_id": "p20", "enrichment_payload": "{\"a\": "}'::jsonb, '{"person_unique_id": "p21", "enrichment_payload": "{''a'': None}"}'::jsonb, '{"person_unique_id": "p22", "enrichment_payload": "{\"a\": \"\\u0000\"}"}'::jsonb, '{"person_unique_id": "p23", "enrichment_payload": "{\"a\": \"\\ud83d\"}"}'::jsonb,
    jsonb_build_object('person_unique_id', 'p25', 'enrichment_payload', '{"a": 1' || repeat('0', 200000) || '}')));
SELECT person_unique_id, jsonb_typeof(enrichment_payload) FROM marketing.people_sidecar WHERE person_unique_id BETWEEN 'p20' AND 'p25' AND enrichment_payload IS NOT NULL ORDER BY 1;
DELETE FROM marketing.sidecar_rejects;
INSERT INTO sidecar_people_inbox (person_unique_id, enrichment_payload) VALUES ('p26', '{"a": '), ('p27', '{''a'': None}'), ('p28', '{"a": "\u0000"}'), ('p29', 'text'), ('p30', '{"a": 1} {"a": 2}'), ('p31', 'NULL'), ('p32', '{"a": 1},'), ('p33', '95'), ('p34', 'true'), ('p35', '"text"'), ('p36', 'null'), ('p37', '"null"');
SELECT unique_id, sqlstate FROM marketing.sidecar_rejects ORDER BY record_no;
SELECT person_unique_id, enrichment_payload FROM marketing.people_sidecar WHERE person_unique_id BETWEEN 'p33' AND 'p37' ORDER BY 1;
-- what is too deep for the server is one record's trouble
SELECT record, outcome FROM sidecar_import_people('{"person_unique_id": "p38", "enrichment_payload": ' || repeat('[', 200000) || repeat(']', 200000) || E'}\n{"person_unique_id": "p38", "enrichment_payload": [1]}\n' || '{"person_unique_id": "p39", "enrichment_payload": "' || repeat('[', 200000) || '"}');
SELECT sqlstate, count(*) FROM marketing.sidecar_rejects WHERE length(record::text) > 100000 GROUP BY 1;

-- scores
CREATE TABLE scores (n int GENERATED ALWAYS AS IDENTITY, value jsonb);
INSERT INTO scores (value) VALUES ('95'), ('"95"'), ('"95%"'), ('" 95 "'), ('" 95 % "'), ('"1e2"'), ('1e1'), ('"-0"'), ('-0.0'), ('0'), ('100'), ('"100%"'), ('100.004'), ('"100.0049%"'), ('0.95'), ('"+7"'), ('"007"'), ('".5"'), ('"5."'), ('95.000000000000000000000000000001');
DELETE FROM marketing.people_sidecar;
SELECT outcome, error, count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'p' || n, 'confidence_score', value) ORDER BY n) FROM scores)) GROUP BY 1, 2;
INSERT INTO sidecar_company_inbox (company_unique_id, confidence_score) SELECT 'c' || n, value #>> '{}' FROM scores;
SELECT n, value, p.confidence_score, c.confidence_score AS inbox FROM scores LEFT JOIN marketing.people_sidecar p ON person_unique_id = 'p' || n LEFT JOIN marketing.company_sidecar c ON company_unique_id = 'c' || n ORDER BY n;
DELETE FROM marketing.sidecar_rejects;
SELECT left(value::text, 20) AS value, outcome, left(error, 49) AS error FROM (VALUES ('101'::jsonb), ('100.005'), ('-0.005'), ('"101%"'), ('"-1%"'), ('"95,5"'), ('"1,000"'), ('"95%%"'), ('"%"'), ('"% 95"'), ('"NaN"'), ('"Infinity"'), ('"-inf"'), ('"high"'), ('"95 percent"'), ('"95/100"'), ('true'), ('[95]'), ('{"value": 95}'), ('1e200')) v (value), sidecar_upsert_people(jsonb_build_object('person_unique_id', 'p1', 'confidence_score', value));
SELECT sqlstate, count(*) FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
SELECT confidence_score FROM marketing.people_sidecar WHERE person_unique_id = 'p1';

-- numbers of every client's type, for a score and for a threshold
DELETE FROM marketing.people_sidecar;
PREPARE by_float (text, float8) AS SELECT sidecar_upsert_person($1, confidence_score => $2, last_enriched_at => '2026-01-01');
PREPARE by_real (text, real) AS SELECT sidecar_upsert_person($1, confidence_score => $2, last_enriched_at => '2026-01-01');
PREPARE by_numeric (text, numeric) AS SELECT sidecar_upsert_person($1, confidence_score => $2, last_enriched_at => '2026-01-01');
PREPARE by_bigint (text, bigint) AS SELECT sidecar_upsert_person($1, confidence_score => $2, last_enriched_at => '2026-01-01');
EXECUTE by_float('p1', 70.1);
EXECUTE by_real('p1', 70.1);
EXECUTE by_numeric('p1', 70.1);
EXECUTE by_bigint('p2', 70);
EXECUTE by_float('p3', 69.994999999);
EXECUTE by_float('p4', 0.1::float8 + 0.2::float8);
EXECUTE by_float('p5', 1e-320);
EXECUTE by_float('p6', '-0');
SELECT person_unique_id, confidence_score FROM marketing.people_sidecar ORDER BY 1;
PREPARE below_float (float8) AS SELECT count(*), max(confidence_score) FROM sidecar_low_confidence_people($1);
PREPARE below_real (real, bigint) AS SELECT count(*), max(confidence_score) FROM sidecar_low_confidence_people($1, $2);
PREPARE below_int (integer) AS SELECT count(*), max(confidence_score) FROM sidecar_low_confidence_people($1);
PREPARE below_numeric (numeric) AS SELECT low_confidence FROM sidecar_summary(below => $1) WHERE entity = 'people';
EXECUTE below_float(70.1);
EXECUTE below_real(70.1, 2);
EXECUTE below_int(70);
EXECUTE below_numeric(70.1);
EXECUTE below_numeric(70.105);
SELECT count(*) FROM sidecar_low_confidence_people(below => 70.1::real), sidecar_low_confidence_companies(below => 50::smallint) c WHERE c.confidence_score >= 50;
DEALLOCATE ALL;

DROP TABLE lists, docs, scores;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP DOMAIN years;
DROP TYPE stage;

-- Exports and scrapers write "nothing found" in many ways: none of them wipes
-- what is stored, blocks "fill", counts as filled, or stands for a key.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;

-- a column of each type that people add
CREATE TYPE stage AS ENUM ('seed', 'a');
CREATE DOMAIN email AS text CHECK (value ~ '@');
CREATE DOMAIN tags AS text[];
CREATE DOMAIN facts AS jsonb CHECK (jsonb_typeof(value) = 'object');
ALTER TABLE marketing.people_sidecar ADD COLUMN phones text[], ADD COLUMN langs varchar(10)[], ADD COLUMN years integer[], ADD COLUMN own_tags tags,
    ADD COLUMN raw json, ADD COLUMN own jsonb, ADD COLUMN own_facts facts, ADD COLUMN n integer, ADD COLUMN big bigint, ADD COLUMN amount numeric(8,2), ADD COLUMN f double precision,
    ADD COLUMN born date, ADD COLUMN seen timestamptz, ADD COLUMN local timestamp, ADD COLUMN wakes time, ADD COLUMN span interval, ADD COLUMN active boolean,
    ADD COLUMN stage stage, ADD COLUMN mail email, ADD COLUMN vc varchar(5), ADD COLUMN ch char(3), ADD COLUMN u uuid, ADD COLUMN ip inet, ADD COLUMN r int4range, ADD COLUMN b bytea;
SELECT count(*) > 0 AS installed FROM sidecar_install();
CREATE TABLE good AS SELECT '{"person_unique_id": "p1", "clay_insight_summary": "good", "clay_segments": ["good"], "social_profiles": {"good": 1}, "enrichment_payload": {"good": 1},
    "last_enriched_at": "2026-01-01", "enrichment_source": "clay", "confidence_score": 50, "phones": ["1"], "langs": ["en"], "years": [2020], "own_tags": ["t"], "raw": {"good": 1}, "own": {"good": 1}, "own_facts": {"good": 1},
    "n": 7, "big": 7, "amount": 7.5, "f": 1.5, "born": "2001-02-03", "seen": "2026-01-01T00:00:00Z", "local": "2026-01-01", "wakes": "07:00", "span": "1 day", "active": true, "stage": "seed",
    "mail": "a@b.c", "vc": "good", "ch": "abc", "u": "00000000-0000-0000-0000-000000000001", "ip": "10.0.0.1", "r": "[1,2)", "b": "\\x61"}'::jsonb AS record;
SELECT outcome, error FROM good, sidecar_upsert_people(record);
CREATE TABLE stored AS TABLE marketing.people_sidecar;
-- which columns differ from what was good at first, if any do
CREATE VIEW wiped AS SELECT string_agg(n.key, ', ' ORDER BY n.key) AS wiped FROM marketing.people_sidecar p, stored s, jsonb_each(to_jsonb(p)) n, jsonb_each(to_jsonb(s)) o
    WHERE p.person_unique_id = 'p1' AND n.key = o.key AND n.value <> o.value;

-- each spelling of nothing, in all columns at once, by a batch, by text and by an inbox
CREATE TABLE nothing AS SELECT * FROM unnest(ARRAY['', ' ', '   ', E'\t', E'\r\n', E' \n\t ', '[]', '{}', '[ ]', '{ }', E' [\n] ', E'\t{}\r\n',
    U&'\00A0', U&'\200B\FEFF', U&' \3000\2003 ', U&'\1680\2028\2029\202F\205F\2060', U&'[\00A0]', U&'\FEFF{}\00A0']) WITH ORDINALITY AS t (spelling, n);
CREATE FUNCTION all_of(value jsonb, key text DEFAULT 'p1') RETURNS jsonb LANGUAGE sql STABLE AS $$
SELECT jsonb_object_agg(key, CASE key WHEN 'person_unique_id' THEN to_jsonb($2) WHEN 'last_enriched_at' THEN '"2026-01-01"' ELSE $1 END) FROM good, jsonb_object_keys(record) key $$;
SELECT outcome, error, count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(all_of(to_jsonb(spelling)) ORDER BY n) FROM nothing) || jsonb_build_array(all_of('null'), all_of('[]'), all_of('{}'))) GROUP BY 1, 2;
TABLE wiped;
SELECT outcome, error, count(*) FROM sidecar_import_people((SELECT string_agg(all_of(to_jsonb(spelling))::text, E'\n' ORDER BY n) FROM nothing)) GROUP BY 1, 2;
TABLE wiped;
SELECT 'INSERT INTO sidecar_people_inbox (' || string_agg(quote_ident(key), ', ' ORDER BY key) || ') SELECT ' ||
    string_agg(CASE key WHEN 'person_unique_id' THEN '''p1''' WHEN 'last_enriched_at' THEN '''2026-01-01''' ELSE 'spelling' END, ', ' ORDER BY key) || ' FROM nothing ORDER BY n RETURNING outcome' AS by_inbox
FROM good, jsonb_object_keys(record) key \gset
WITH sent AS (:by_inbox) SELECT outcome, count(*) FROM sent GROUP BY 1;
TABLE wiped;
SELECT count(*) AS parked FROM marketing.sidecar_rejects;

-- a new row of nothing has nothing, counts as nothing, and "fill" fills all of it
SELECT outcome, error, count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(all_of(to_jsonb(spelling), 'p2') ORDER BY n) FROM nothing) || jsonb_build_array(all_of('null', 'p2'), all_of('[]', 'p2'), all_of('{}', 'p2'))) GROUP BY 1, 2 ORDER BY 1;
SELECT jsonb_strip_nulls(to_jsonb(p) - 'created_at' - 'updated_at') FROM marketing.people_sidecar p WHERE person_unique_id = 'p2';
DELETE FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
SELECT field FROM sidecar_field_coverage() WHERE entity = 'people' AND filled > 0;
SELECT outcome, error FROM good, sidecar_upsert_people(record || '{"person_unique_id": "p2"}', 'fill');
SELECT count(*) AS differ FROM marketing.people_sidecar p, stored s, jsonb_each(to_jsonb(p)) n, jsonb_each(to_jsonb(s)) o
WHERE n.key = o.key AND n.value <> o.value AND n.key NOT IN ('person_unique_id', 'created_at', 'updated_at');
-- under no rule does it win or lose anything
SELECT rule, outcome FROM unnest('{overwrite,newest,most_confident,fill}'::text[]) rule, sidecar_upsert_people(all_of('""', 'p2'), rule);
SELECT rule, outcome FROM unnest('{overwrite,newest,most_confident,fill}'::text[]) rule, sidecar_upsert_people(all_of('""', 'p2') || '{"confidence_score": "50"}', rule);

-- for a key it is none, whatever way it comes in
SELECT record, unique_id, outcome, error FROM sidecar_upsert_people('[{"person_unique_id": ""}, {"person_unique_id": "  "}, {"person_unique_id": "\t\n"}, {"person_unique_id": []}, {"person_unique_id": {}}, {"person_unique_id": null}, {"person_unique_id": "[]"}, {"person_unique_id": "{}"}, {}]');
SELECT record, unique_id, outcome, error FROM sidecar_import_people(E'{"person_unique_id": ""}\n{"person_unique_id": " "}\n{"person_unique_id": []}\n{"clay_insight_summary": "whose?"}');
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('', 'a'), (' ', 'b'), (E'\t', 'c'), (NULL, 'd'), ('[]', 'e'), ('{}', 'f') RETURNING person_unique_id, outcome;
SELECT sqlstate, count(*) FROM marketing.sidecar_rejects GROUP BY 1;
SELECT sidecar_upsert_person('');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_person(E' \t ');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company(' ', 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company(U&'\00A0', 'x');
\echo :LAST_ERROR_SQLSTATE
DELETE FROM marketing.sidecar_rejects;

-- a programmer's empty list or object is a value; a blank text is not, not even hers
SELECT sidecar_upsert_person('p3', 'good', '{good}', '{"good": 1}', '{"good": 1}', '2026-01-01', 'clay', 50);
SELECT sidecar_upsert_person('p3', '', NULL, NULL, NULL, '2026-01-01', E' \t\r\n', NULL) AS blank,
    sidecar_upsert_person('p3', clay_segments => '{}', last_enriched_at => '2026-01-01') AS list,
    sidecar_upsert_person('p3', social_profiles => '{}', last_enriched_at => '2026-01-01') AS object,
    sidecar_upsert_person('p3', enrichment_payload => '[]', last_enriched_at => '2026-01-01') AS array,
    sidecar_upsert_person('p3', enrichment_payload => '[]', clay_segments => '{}', last_enriched_at => '2026-01-01') AS again;
SELECT clay_insight_summary, clay_segments, social_profiles, enrichment_payload, enrichment_source FROM marketing.people_sidecar WHERE person_unique_id = 'p3';
-- stored so, it is a value also for "fill"
SELECT sidecar_upsert_person('p3', clay_segments => '{x}', social_profiles => '{"x": 1}', last_enriched_at => '2026-01-01', on_conflict => 'fill');
-- fed back as exported, it says nothing, and changes nothing
SELECT outcome, error FROM sidecar_upsert_people((SELECT to_jsonb(p) FROM marketing.people_sidecar p WHERE person_unique_id = 'p3'));
SELECT clay_segments, social_profiles, enrichment_payload FROM marketing.people_sidecar WHERE person_unique_id = 'p3';

-- JSON null and a blank text as JSON are none either, and what was made into text is decoded, as in records
SELECT sidecar_upsert_person('p3', social_profiles => '{"good": 1}', enrichment_payload => '{"good": 1}', last_enriched_at => '2026-01-01');
SELECT value, sidecar_upsert_person('p3', social_profiles => value, enrichment_payload => value, last_enriched_at => '2026-01-01') FROM unnest(ARRAY['null', '""', '" \t"', '"\u00a0"', '"null"', '"\"\""']::jsonb[]) value;
SELECT sidecar_upsert_person('p3', enrichment_payload => '"{\"a\": 1}"', social_profiles => '"\"{\\\"a\\\": 2}\""'), sidecar_upsert_person('p7', enrichment_payload => '"{}"', social_profiles => '"95"'), sidecar_upsert_person('p8', enrichment_payload => '95', social_profiles => '"{text"');
SELECT person_unique_id, enrichment_payload, social_profiles FROM marketing.people_sidecar WHERE person_unique_id IN ('p3', 'p7', 'p8') ORDER BY 1;
SELECT sidecar_upsert_person('p3', enrichment_payload => 'null', clear => '{enrichment_payload}');
SELECT enrichment_payload IS NULL AS cleared FROM marketing.people_sidecar WHERE person_unique_id = 'p3';

-- lists and objects of nothing: blank elements are left out, so that none may be left; in JSON they are what was sent
SELECT record, outcome, error FROM sidecar_upsert_people('[
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "clay_segments": ["a"], "phones": ["1"], "years": [1], "own": {"a": 1}, "own_tags": ["a"]},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "clay_segments": [null], "phones": "[null]", "years": [null], "own_tags": ["", "\t"]},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "clay_segments": "[\"\"]", "phones": [""], "years": [""], "own_tags": "{\"\"}"},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "clay_segments": [[]], "phones": [{}, []], "years": "{}", "own_tags": ","},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "clay_segments": "[[], {}]", "phones": ",,,", "years": "[]", "own_tags": "[null, \" \"]"},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "clay_segments": "{NULL}", "phones": "{\" \",NULL}", "own": "[]"},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "own": "null"},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "own": "\"\""},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "own": "\"{}\""},
    {"person_unique_id": "p4", "last_enriched_at": "2026-01-01", "own": " { } "}]');
SELECT clay_segments, phones, years, own, own_tags FROM marketing.people_sidecar WHERE person_unique_id = 'p4';
SELECT outcome, error FROM sidecar_upsert_people('{"person_unique_id": "p4", "own": [null], "social_profiles": [""], "enrichment_payload": {"a": null}, "raw": {"b": ""}}');
SELECT own, social_profiles, enrichment_payload, raw FROM marketing.people_sidecar WHERE person_unique_id = 'p4';

-- words for nothing are values like any other, but null for a list, as for JSON
SELECT record, outcome, error FROM sidecar_upsert_people('[{"person_unique_id": "p5", "clay_insight_summary": "NULL", "enrichment_source": "null", "clay_segments": "NULL", "langs": "null", "phones": "null, a", "own_tags": "\"null\""}, {"person_unique_id": "p6", "clay_segments": ["null", "N/A"], "clay_insight_summary": "-"}]');
SELECT person_unique_id, clay_insight_summary, enrichment_source, clay_segments, langs, phones, own_tags FROM marketing.people_sidecar WHERE person_unique_id IN ('p5', 'p6') ORDER BY 1;
SELECT record, outcome, left(error, 44) AS error FROM sidecar_upsert_people('[{"person_unique_id": "p5", "confidence_score": "NULL"}, {"person_unique_id": "p5", "n": "null"}, {"person_unique_id": "p5", "born": "N/A"}, {"person_unique_id": "p5", "stage": "unknown"}]');

-- white space around what is trimmed
SELECT outcome, error FROM sidecar_upsert_people(jsonb_build_object('person_unique_id', 'p9', 'last_enriched_at', U&'\00A02025-11-02 08:11:52\200B', 'confidence_score', U&'\FEFF95\00A0%\3000', 'clay_segments', U&'a\00A0,\2003b c\2060, \00A0', 'own', U&'\FEFF{"a": 1}', 'clay_insight_summary', U&'caf\00E9\00A0'));
SELECT last_enriched_at, confidence_score, array_to_json(clay_segments) AS clay_segments, own, length(clay_insight_summary) FROM marketing.people_sidecar WHERE person_unique_id = 'p9';
-- what only begins or ends like it is something
SELECT outcome, error FROM sidecar_upsert_people(jsonb_build_object('person_unique_id', 'p9', 'phones', U&'\3042, \00E0, \2026, \FEFC'));
SELECT array_to_json(phones) AS phones FROM marketing.people_sidecar WHERE person_unique_id = 'p9';

-- what a domain, or a type's length, says names the field, whatever it is of
CREATE DOMAIN since AS timestamp CHECK (value > '2000-01-01');
CREATE DOMAIN must AS text NOT NULL;
CREATE DOMAIN short AS varchar(5) CHECK (value <> 'bad');
CREATE DOMAIN share AS numeric(3,1) CHECK (value > 10);
ALTER TABLE marketing.people_sidecar ADD COLUMN since since, ADD COLUMN must must DEFAULT 'x', ADD COLUMN short short, ADD COLUMN share share, ADD COLUMN codes varchar(3)[], ADD COLUMN mails email[], ADD COLUMN primes short[];
SELECT record, outcome, error FROM sidecar_upsert_people('[
    {"person_unique_id": "p5", "mail": "none"}, {"person_unique_id": "p5", "since": "1999-12-31T23:59:59Z"}, {"person_unique_id": "p5", "since": 915148800}, {"person_unique_id": "p5", "$clear": ["must"]}, {"person_unique_id": "p5", "short": "bad"}, {"person_unique_id": "p5", "short": "longer"},
    {"person_unique_id": "p5", "share": 10.04}, {"person_unique_id": "p5", "own_facts": [1]}, {"person_unique_id": "p5", "codes": ["usd", "long"]}, {"person_unique_id": "p5", "codes": "{{usd},{euro}}"}, {"person_unique_id": "p5", "mails": ["a@b", "none"]}, {"person_unique_id": "p5", "primes": ["bad"]},
    {"person_unique_id": "p5", "must": null, "mail": "", "since": 978307200, "short": "good", "share": 10.06, "codes": "usd, eur", "mails": "a@b", "own_facts": "{\"a\": 1}"}]');
SELECT must, mail, since, short, share, codes, mails, own_facts FROM marketing.people_sidecar WHERE person_unique_id = 'p5';
INSERT INTO sidecar_people_inbox (person_unique_id, own_facts, clay_insight_summary) VALUES ('p5', '[1]', 'bad'), ('p5', '{"a": 2}', 'good') RETURNING outcome;
SELECT unique_id, record->>'own_facts' AS own_facts, error FROM marketing.sidecar_rejects WHERE record->>'clay_insight_summary' = 'bad';

-- generated and identity columns: given as nothing they harm nobody
ALTER TABLE marketing.company_sidecar ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY, ADD COLUMN no bigint GENERATED BY DEFAULT AS IDENTITY, ADD COLUMN twice text GENERATED ALWAYS AS (ein_number || ein_number) STORED;
SELECT record, unique_id, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "1", "id": null, "no": "", "twice": []}, {"company_unique_id": "c2", "ein_number": "2", "id": "", "twice": "{}"}, {"company_unique_id": "c3", "id": 5}, {"company_unique_id": "c4", "twice": "x"}]');
SELECT company_unique_id, twice FROM marketing.company_sidecar ORDER BY 1;
ALTER TABLE marketing.company_sidecar DROP COLUMN id, DROP COLUMN no, DROP COLUMN twice;
-- a column that must not be NULL: nothing keeps what is stored, a new row has the default
ALTER TABLE marketing.company_sidecar ADD COLUMN tier text NOT NULL DEFAULT 'free', ADD COLUMN seats integer NOT NULL DEFAULT 1;
SELECT record, unique_id, outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c5", "tier": "", "seats": []}, {"company_unique_id": "c1", "tier": "paid", "seats": "12"}, {"company_unique_id": "c1", "tier": " ", "seats": null}, {"company_unique_id": "c1", "tier": {}, "seats": "[]"}]');
SELECT company_unique_id, tier, seats FROM marketing.company_sidecar WHERE company_unique_id IN ('c1', 'c5') ORDER BY 1;

DROP VIEW wiped;
DROP TABLE good, stored, nothing;
DROP FUNCTION all_of;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP DOMAIN email, tags, facts, since, must, short, share;
DROP TYPE stage;

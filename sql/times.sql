-- Times as vendors write them: a number is never read as a date, and no time that
-- would win for ever gets in.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
-- each spelling has a person of its own
CREATE TABLE spellings (n int GENERATED ALWAYS AS IDENTITY, value jsonb);
INSERT INTO spellings (value) VALUES
    -- numbers: seconds, with a fraction, milliseconds; before 1970; at once 1970
    ('1762071112'), ('1762071112.25'), ('1762071112123'), ('1.762071112e9'), ('1.762071112123E+12'), ('0'), ('-1'), ('-86400'), ('-1762071112000'), ('99999999999'), ('100000000000'), ('20251231'), ('2025'), ('2'),
    -- as text; a few digits are what PostgreSQL reads in them
    ('"1762071112"'), ('" 1762071112 "'), ('"1762071112.0"'), ('"1762071112123"'), ('"1762071112123.5"'), ('"946684800"'), ('"20251231"'), ('"20251231T093000"'), ('"20251231 093000"'),
    -- ISO and its like
    ('"2025-11-02"'), ('"2025-11-02T08:11:52Z"'), ('"2025-11-02T08:11:52.123Z"'), ('"2025-11-02 08:11:52+05:30"'), ('"2025-11-02T08:11:52-0800"'), ('"2025-306"'), ('"2025-11-02 08:11:52.1234567 +00:00"'), ('" 2025-11-02 "'), ('"\t2025-11-02T08:11:52Z\r\n"'),
    -- RFC 2822 and 850, and what people and spreadsheets write
    ('"Sun, 02 Nov 2025 08:11:52 +0100"'), ('"Sun, 2 Nov 2025 08:11:52 GMT"'), ('"Sun Nov  2 08:11:52 2025"'), ('"Sunday, 02-Nov-25 08:11:52 UTC"'), ('"Nov 2, 2025"'), ('"November 2, 2025 8:11 AM"'), ('"2 Nov 2025 8:11 PM"'), ('"11/2/2025"'), ('"11/2/2025 8:11:52 PM"'), ('"epoch"'),
    -- JavaScript's and Java's own, whose offsets are east of GMT, and comments
    ('"Sun Nov 02 2025 08:11:52 GMT+0100 (Central European Standard Time)"'), ('"Sun Nov 02 2025 08:11:52 GMT-0830"'), ('"Sun Nov 02 08:11:52 GMT+01:00 2025"'), ('"2025-11-02 08:11:52 UTC+1"'), ('"2025-11-02T08:11:52utc-01:00"'), ('"Sun, 02 Nov 2025 08:11:52 +0000 (UTC)"'), ('"Sun, 02 Nov 2025 08:11:52 -0500 (EST (New York))"'), ('"1762071112 (UTC)"'), ('"2025-11-02 08:11:52 CET+0100"'),
    -- but zones' own names, and POSIX's where it says hours
    ('"2025-11-02 08:11:52 Etc/GMT+1"'), ('"2025-11-02 08:11:52 EST+5"'), ('"02-Nov-2025"'), ('"2025-11-02T08:11:52.123456789Z"');
INSERT INTO marketing.people_master SELECT 'p' || n, 'Person ' || n FROM spellings;
INSERT INTO marketing.company_master SELECT 'c' || n, 'Company ' || n FROM spellings;
SELECT record, left(error, 46) AS error FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'p' || n, 'last_enriched_at', value) ORDER BY n) FROM spellings)) WHERE outcome <> 'inserted';
SELECT n, value, last_enriched_at FROM spellings LEFT JOIN marketing.people_sidecar ON person_unique_id = 'p' || n ORDER BY n;
-- an inbox and an import read the same; in an inbox a number is a text, so that a short one is a date or nothing
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) SELECT 'c' || n, value #>> '{}' FROM spellings ORDER BY n;
SELECT n, value, p.last_enriched_at AS batch, c.last_enriched_at AS inbox FROM spellings LEFT JOIN marketing.people_sidecar p ON person_unique_id = 'p' || n LEFT JOIN marketing.company_sidecar c ON company_unique_id = 'c' || n
WHERE p.last_enriched_at IS DISTINCT FROM c.last_enriched_at ORDER BY n;
SELECT unique_id, sqlstate FROM marketing.sidecar_rejects WHERE entity = 'company' ORDER BY record_no;
CREATE TABLE batch AS TABLE marketing.people_sidecar;
DELETE FROM marketing.people_sidecar;
SELECT outcome, count(*) FROM sidecar_import_people((SELECT string_agg(format('{"person_unique_id": "p%s", "last_enriched_at": %s}', n, value), E'\n' ORDER BY n) FROM spellings)) GROUP BY 1;
SELECT count(*) AS differ FROM batch FULL JOIN marketing.people_sidecar p USING (person_unique_id) WHERE batch.last_enriched_at IS DISTINCT FROM p.last_enriched_at;
DELETE FROM marketing.sidecar_rejects;

-- a day ahead is the end of it, from wherever; none of these wins under "newest" for ever
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p1", "clay_insight_summary": "good"}');
CREATE TABLE ahead (n int GENERATED ALWAYS AS IDENTITY, value jsonb);
INSERT INTO ahead (value) VALUES (to_jsonb(extract(epoch FROM now() + interval '2 days')::bigint)), (to_jsonb((extract(epoch FROM now() + interval '2 days') * 1000)::bigint)), (to_jsonb(extract(epoch FROM now() + interval '2 days')::bigint::text)), (to_jsonb(now() + interval '25 hours')),
    -- microseconds and nanoseconds; years of five digits; and the words for never
    ('1762071112123456'), ('1762071112123456789'), ('"1762071112123456"'), ('1e18'), ('"9999-12-31"'), ('"12025-11-02"'), ('"2205-11-02T08:11:52Z"'), ('99999999999999'), ('"infinity"'), ('"-infinity"'), ('1e300'), ('-1e300'), ('1e400'), ('"20260000"'), ('"2025-13-40"'), ('"2025-11-02T25:61:00Z"'), ('"yesterday-ish"'), ('true'), ('{"date": "2025-11-02"}'), ('"2025-W44-7"'), ('"1762071112abc"'), ('"1e9"'), ('"2025-11-02 Nowhere/Land"'), ('"1762071112Z"'), ('"1,762,071,112"'), ('"0000-00-00"'), ('"45963.34"');
SELECT r.record, CASE WHEN n > 4 THEN left(value::text, 30) END AS value, outcome, unique_id FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'p1', 'clay_insight_summary', 'bad', 'last_enriched_at', value) ORDER BY n) FROM ahead), 'newest') r JOIN ahead ON n = record ORDER BY 1;
SELECT CASE WHEN record_no <= 14 THEN sqlstate ELSE left(sqlstate, 2) END AS sqlstate, array_agg(record_no ORDER BY record_no), bool_and(error ~ '^last_enriched_at') AS names_it FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
DELETE FROM marketing.sidecar_rejects;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary, last_enriched_at, on_conflict) SELECT 'p1', 'bad', value #>> '{}', 'newest' FROM ahead WHERE n NOT IN (3, 7) ORDER BY n;
SELECT CASE WHEN record_no <= 12 THEN sqlstate ELSE left(sqlstate, 2) END AS sqlstate, array_agg(record_no ORDER BY record_no), bool_and(error ~ '^last_enriched_at') AS names_it FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
DELETE FROM marketing.sidecar_rejects;
SELECT clay_insight_summary, last_enriched_at <= now() AS past FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
-- by hand: the session reads the argument, and we look at it
\set VERBOSITY terse
SELECT sidecar_upsert_person('p1', 'bad', last_enriched_at => now() + interval '1 day 1 minute');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_person('p1', 'bad', last_enriched_at => '-infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_person('p1', 'bad', last_enriched_at => '9999-12-31');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', 'bad', last_enriched_at => to_timestamp(1762071112123));
\echo :LAST_ERROR_SQLSTATE
SELECT clay_insight_summary FROM marketing.people_sidecar WHERE person_unique_id = 'p1';
-- "now" and the like are times; a day ahead by the clock's hour is none
BEGIN;
SELECT record, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p2", "last_enriched_at": "now"}, {"person_unique_id": "p3", "last_enriched_at": "today"}, {"person_unique_id": "p4", "last_enriched_at": "yesterday"}, {"person_unique_id": "p5", "last_enriched_at": "tomorrow"}]');
SELECT person_unique_id, CASE person_unique_id WHEN 'p2' THEN last_enriched_at = now() ELSE last_enriched_at = current_date + CASE person_unique_id WHEN 'p3' THEN 0 WHEN 'p4' THEN -1 ELSE 1 END END AS as_told FROM marketing.people_sidecar WHERE person_unique_id IN ('p2', 'p3', 'p4', 'p5') ORDER BY 1;
ROLLBACK;

-- columns of one's own: a date, a timestamp and a timestamptz are times like ours, and may lie ahead; a time is its type's
ALTER TABLE marketing.people_sidecar ADD COLUMN seen timestamptz, ADD COLUMN renews timestamp, ADD COLUMN born date, ADD COLUMN wakes time;
CREATE DOMAIN stamp AS timestamptz CHECK (value > '2000-01-01');
ALTER TABLE marketing.people_sidecar ADD COLUMN stamp stamp;
SELECT record, outcome, error FROM sidecar_upsert_people('[
    {"person_unique_id": "p6", "seen": 1762071112, "renews": 1762071112123, "born": "2001-02-03", "wakes": "7:30 PM", "stamp": "1762071112"},
    {"person_unique_id": "p7", "seen": "2126-01-01T00:00:00+02:00", "renews": "2126-01-01T00:00:00+02:00", "born": "20010203", "stamp": 1762071112123},
    {"person_unique_id": "p8", "seen": "Sun, 02 Nov 2025 08:11:52 +0100", "renews": "infinity", "born": "Feb 3, 2001", "wakes": "07:30"}]');
SELECT person_unique_id, seen, renews, born, wakes, stamp FROM marketing.people_sidecar WHERE seen IS NOT NULL ORDER BY 1;

-- a number is no date in any of them, nor in lists; a day is the table's
CREATE DOMAIN day AS date CHECK (value > '1900-01-01');
CREATE DOMAIN days AS date[];
ALTER TABLE marketing.people_sidecar ADD COLUMN day day, ADD COLUMN days date[], ADD COLUMN own_days days, ADD COLUMN day_list day[], ADD COLUMN visits timestamptz[], ADD COLUMN locals timestamp[], ADD COLUMN span interval;
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('Asia/Tokyo');
SET timezone = 'America/New_York';
SELECT record, outcome, error FROM sidecar_upsert_people('[
    {"person_unique_id": "p14", "born": 1762110000, "day": "1762110000", "days": [1762110000, "1762110000123", "20251102"], "own_days": "1762110000, 2025-11-02", "day_list": 1762110000000, "visits": "{1762110000,NULL,2025-11-02T19:00Z}", "locals": "[1762110000.5]", "span": "1762110000"},
    {"person_unique_id": "p15", "born": "20251102", "day": "20251231", "days": "Feb 1 2026", "visits": [[1762110000, ""], ["2025-11-02 19:00:00Z", "Mon Nov 03 2025 04:00:00 GMT+0900 (JST)"]], "locals": "{{1762110000,\"\"}}"},
    {"person_unique_id": "p16", "visits": [], "days": [null, " "], "locals": [[""], [null]], "born": "infinity"}]');
-- a year or a date as a number is neither of them, nor seconds
SELECT outcome, error FROM sidecar_upsert_people('[{"person_unique_id": "p14", "born": 1987}, {"person_unique_id": "p14", "day": 20251231}, {"person_unique_id": "p14", "visits": [1987]}, {"person_unique_id": "p14", "born": -1}]');
SET timezone = 'UTC';
SELECT person_unique_id, born, day, days, own_days, day_list, visits, locals, span FROM marketing.people_sidecar WHERE person_unique_id IN ('p14', 'p15', 'p16') ORDER BY 1;
SELECT count(*) > 0 AS installed FROM sidecar_install();
SET timezone = 'America/New_York';
INSERT INTO sidecar_people_inbox (person_unique_id, born, days) VALUES ('p16', '1762110000', '1762110000') RETURNING outcome;
SET timezone = 'UTC';
SELECT born, days FROM marketing.people_sidecar WHERE person_unique_id = 'p16';
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at();
DELETE FROM marketing.sidecar_rejects;
SELECT key, outcome, left(error, 70) AS error FROM unnest('{last_enriched_at,born,day,seen,renews,stamp}'::text[]) key, unnest(ARRAY['[["2025-11-02"], {}]', '{"date": "2025-11-02"}', 'true', '"[1762110000]"', '"1762110000 UTC"', '"(1762110000)"', '"17621100001"', '"176211000012"', '"20251102081152"', '"\"1762110000"', '"1762110000/2025"']::jsonb[]) WITH ORDINALITY AS v (value, n),
    sidecar_upsert_people(jsonb_build_object('person_unique_id', 'p17', key, value)) WHERE outcome <> 'rejected' OR error NOT LIKE '%' || key || '%';
SELECT sqlstate, count(*) FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
DELETE FROM marketing.sidecar_rejects;

-- the session's order of day and month holds for what has none of its own; numbers and ISO do not ask
SET datestyle = 'ISO, DMY';
SELECT record, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p10", "last_enriched_at": "02/11/2025"}, {"person_unique_id": "p11", "last_enriched_at": "2025-11-02"}, {"person_unique_id": "p12", "last_enriched_at": 1762071112}]');
SELECT person_unique_id, last_enriched_at FROM marketing.people_sidecar WHERE person_unique_id IN ('p10', 'p11', 'p12') ORDER BY 1;
SET datestyle = 'German';
SELECT record, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p10", "last_enriched_at": 1762071113}, {"person_unique_id": "p11", "last_enriched_at": 1762071113123}, {"person_unique_id": "p12", "last_enriched_at": "1762071113.5"}, {"person_unique_id": "p13", "last_enriched_at": -1762071113}]');
RESET datestyle;
SET datestyle = 'ISO, MDY';
SELECT person_unique_id, last_enriched_at FROM marketing.people_sidecar WHERE person_unique_id IN ('p10', 'p11', 'p12', 'p13') ORDER BY 1;
-- nor does a session's zone turn an instant
SET timezone = 'Asia/Kolkata';
SELECT record, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p10", "last_enriched_at": 1762071114}, {"person_unique_id": "p11", "last_enriched_at": "2025-11-02 08:11:54"}, {"person_unique_id": "p12", "last_enriched_at": "Sun, 02 Nov 2025 08:11:54 GMT"}]');
SELECT person_unique_id, last_enriched_at FROM marketing.people_sidecar WHERE person_unique_id IN ('p10', 'p11', 'p12') ORDER BY 1;

DROP TABLE spellings, ahead, batch;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP DOMAIN stamp, day, days;

-- The zone belongs to the table: more of what timezone.sql is about, for people,
-- by every way in, from sessions in any zone.
--
-- a session's zone decides          "sessions": New York, Kolkata, UTC, numeric and POSIX ones
-- the hour of the change            "the hour": the one that comes twice, in a session's and in the table's zone; the gap
-- reports                           "reports": equal to the seed's queries under the table's zone
-- defaults, users' columns          "defaults": created_at, updated_at, timestamp, timestamptz, time and date of users
-- timestamptz columns               "instants": newest in the hour that comes twice
-- the zone changes                  "another zone": in a transaction that is rolled back, for one entity of two
-- taking over                       "taken over": people, no rows, the session's zone
-- A dump's zone is in test/t/001_dump_restore.pl and 014_cutover.pl.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET datestyle = 'ISO, MDY';
\pset format unaligned
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
SET timezone = 'UTC';
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/test/ways.sql'
\set ECHO none
\i :file
\set ECHO all
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;

-- sessions: one instant is stored as one time, whoever sends it, by every way
INSERT INTO marketing.people_sidecar (person_unique_id, last_enriched_at) VALUES ('p1', '2026-06-01 10:00');
CREATE FUNCTION from_zones(key text, fields jsonb, rule text DEFAULT 'overwrite') RETURNS TABLE (zones bigint, ways text, outcome text, stored jsonb) LANGUAGE plpgsql AS $$
DECLARE
    zone text;
    zones text[] := '{UTC,America/New_York,5.5,<+03>-3,EST5EDT}';
BEGIN
    CREATE TEMP TABLE said (ways text, outcome text, stored jsonb);
    FOREACH zone IN ARRAY zones LOOP
        PERFORM set_config('timezone', zone, true);
        INSERT INTO said SELECT * FROM ways('people', key, fields, rule);
    END LOOP;
    PERFORM set_config('timezone', 'UTC', true);
    RETURN QUERY SELECT count(*), s.ways, s.outcome, s.stored FROM said s GROUP BY 2, 3, 4 ORDER BY 2;
    DROP TABLE said;
END $$;
SELECT * FROM from_zones('p2', '{"last_enriched_at": "2026-06-01T10:00:00+00:00"}');
SELECT * FROM from_zones('p2', '{"last_enriched_at": "2026-06-01T15:30:00+05:30"}');
SELECT * FROM from_zones('p2', '{"last_enriched_at": "2026-01-15 09:30:00 America/New_York"}');
-- newest: a second older, the same, a second newer
SELECT * FROM from_zones('p1', '{"clay_insight_summary": "x", "last_enriched_at": "2026-06-01T09:59:59Z"}', 'newest');
SELECT * FROM from_zones('p1', '{"last_enriched_at": "2026-06-01T06:00:00-04:00"}', 'newest');
SELECT * FROM from_zones('p1', '{"clay_insight_summary": "x", "last_enriched_at": "2026-06-01T19:00:01+09:00"}', 'newest');
-- what is not given is now, as the table tells it
SELECT * FROM from_zones('p1', '{"clay_insight_summary": "x"}', 'newest');
SELECT * FROM from_zones('p3', '{"clay_insight_summary": "x"}');
-- a day ahead is a day of the clock, wherever the session is
CREATE FUNCTION ahead(ahead interval) RETURNS TABLE (single text, batch text) LANGUAGE plpgsql AS $$
BEGIN
    batch := (SELECT outcome FROM sidecar_upsert_people(jsonb_build_object('person_unique_id', 'p4', 'last_enriched_at', now() + ahead)));
    single := sidecar_upsert_person('p4', last_enriched_at => now() + ahead);
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    single := SQLSTATE;
    RETURN NEXT;
END $$;
SELECT DISTINCT a.* FROM unnest('{UTC,Pacific/Kiritimati,Pacific/Pago_Pago}'::text[]) zone, set_config('timezone', zone, true), ahead('23 hours') a;
SELECT DISTINCT a.* FROM unnest('{UTC,Pacific/Kiritimati,Pacific/Pago_Pago}'::text[]) zone, set_config('timezone', zone, true), ahead('25 hours') a;
DELETE FROM marketing.people_sidecar;
DELETE FROM marketing.sidecar_rejects;

-- the hour: a session's clock goes back, 05:30Z and 06:30Z are both 01:30 to it; the table's is UTC
SET timezone = 'America/New_York';
INSERT INTO marketing.people_sidecar (person_unique_id, last_enriched_at) VALUES ('p1', '2025-11-02 05:45');
SELECT at, outcome, stored->>'at' AS stored, w.ways
FROM unnest('{2025-11-02T05:30:00Z,2025-11-02T01:44:59-04:00,2025-11-02T06:30:00Z,2025-11-02T01:30:00-05:00}'::text[]) WITH ORDINALITY a (at, n), ways('people', 'p1', jsonb_build_object('last_enriched_at', at, 'clay_insight_summary', 'x'), 'newest') w ORDER BY n;
-- a naive time is one of the table's, also where the session has no such hour, and where it has two; as an argument it is the session's
SELECT at, outcome, stored->>'at' AS stored, w.ways
FROM unnest('{2026-03-08 02:30,2025-11-02 01:30}'::text[]) WITH ORDINALITY a (at, n), ways('people', 'p2', jsonb_build_object('last_enriched_at', at)) w ORDER BY n, 4;
-- the table's own clock has a gap, and an hour that comes twice; what is read in it is read as PostgreSQL does
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('America/New_York');
SET timezone = 'UTC';
SELECT at, outcome, stored->>'at' AS stored, w.ways
FROM unnest('{2026-03-08 02:30,2026-03-08 06:59:59Z,2026-03-08 07:00Z,2025-11-02 01:30,2025-11-02 05:30Z,2025-11-02 06:30Z,2025-11-02 07:00Z}'::text[]) WITH ORDINALITY a (at, n), ways('people', 'p2', jsonb_build_object('last_enriched_at', at)) w
WHERE at ~ 'Z' OR w.ways !~ 'single' ORDER BY n, 4;
-- sent again it is unchanged, in both
SELECT at, sidecar_upsert_person('p3', last_enriched_at => at) AS first, sidecar_upsert_person('p3', last_enriched_at => at) AS again, (SELECT outcome FROM sidecar_upsert_people(jsonb_build_object('person_unique_id', 'p3', 'last_enriched_at', at))) AS batch
FROM unnest('{2026-03-08 06:30Z,2026-03-08 07:30Z,2025-11-02 05:30Z,2025-11-02 07:30Z}'::timestamptz[]) WITH ORDINALITY a (at, n) ORDER BY n;
DELETE FROM marketing.people_sidecar;

-- reports: what the seed's query says under the table's zone
SET timezone = 'America/New_York';
INSERT INTO marketing.people_sidecar (person_unique_id, last_enriched_at, enrichment_source, confidence_score)
SELECT 'p' || i, now()::timestamp - interval '90 days' + (i - 4) * interval '1 hour', 'clay', 60 + i * 3 FROM generate_series(1, 8) i;
CREATE FUNCTION seed_stale() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws('|', pm.unique_id, ps.last_enriched_at, EXTRACT(DAY FROM NOW() - ps.last_enriched_at))
    FROM marketing.people_master pm JOIN marketing.people_sidecar ps ON pm.unique_id = ps.person_unique_id
    WHERE ps.last_enriched_at < NOW() - INTERVAL '90 days' $$;
CREATE FUNCTION seed_sources() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws('|', enrichment_source, COUNT(*), AVG(confidence_score), MAX(last_enriched_at)) FROM marketing.people_sidecar GROUP BY enrichment_source $$;
CREATE FUNCTION compare(zone text) RETURNS TABLE (stale bigint, differ bigint, summary bigint, sources bigint) LANGUAGE plpgsql AS $$
DECLARE
    seed text[];
    seed_sources text[];
BEGIN
    PERFORM set_config('timezone', (SELECT time_zone FROM sidecar_entity_bindings() WHERE entity = 'people'), true);
    seed := ARRAY(SELECT seed_stale());
    seed_sources := ARRAY(SELECT seed_sources());
    PERFORM set_config('timezone', zone, true);
    stale := cardinality(seed);
    differ := (SELECT count(*) FROM (SELECT concat_ws('|', person_unique_id, last_enriched_at, days_since_enrichment) FROM sidecar_stale_people() EXCEPT SELECT unnest(seed)) x)
            + (SELECT count(*) FROM (SELECT unnest(seed) EXCEPT SELECT concat_ws('|', person_unique_id, last_enriched_at, days_since_enrichment) FROM sidecar_stale_people()) x);
    summary := (SELECT s.stale FROM sidecar_summary() s WHERE entity = 'people') - stale;
    sources := (SELECT count(*) FROM sidecar_sources() s WHERE entity = 'people' AND s.latest_enrichment::text <> split_part(seed_sources[1], '|', 4));
    RETURN NEXT;
END $$;
SELECT count(*) AS zones, c.* FROM unnest('{UTC,America/New_York,Asia/Kolkata,Pacific/Chatham,-8,<+03>-3}'::text[]) zone, compare(zone) c GROUP BY 2, 3, 4, 5;
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('Asia/Kolkata');
SELECT count(*) AS zones, c.* FROM unnest('{UTC,America/New_York,Asia/Kolkata,Pacific/Chatham,-8,<+03>-3}'::text[]) zone, compare(zone) c GROUP BY 2, 3, 4, 5;
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at();
SELECT count(*) AS zones, c.* FROM unnest('{UTC,America/New_York,Asia/Kolkata,Pacific/Chatham,-8,<+03>-3}'::text[]) zone, compare(zone) c GROUP BY 2, 3, 4, 5;
DROP FUNCTION compare, seed_stale, seed_sources;
TRUNCATE marketing.people_sidecar;

-- defaults: created_at and updated_at, and users' columns, are the table's, by every way in, from every zone
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('Asia/Kolkata');
ALTER TABLE marketing.people_sidecar ADD COLUMN seen timestamp DEFAULT now(), ADD COLUMN seen_tz timestamptz DEFAULT now(), ADD COLUMN local timestamp, ADD COLUMN instant timestamptz;
SELECT outcome FROM sidecar_install() WHERE outcome <> 'present';
SET timezone = 'America/New_York';
SELECT sidecar_upsert_person('p1', 'single');
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p2", "local": "2026-06-01T10:00:00Z", "instant": "2026-06-01T10:00:00Z"}, {"person_unique_id": "early", "local": "2026-06-01T10:00:00Z", "instant": "2026-06-01 10:00"}]');
SET timezone = '-8';
SELECT outcome FROM sidecar_import_people('{"person_unique_id": "p3", "local": "2026-06-01 10:00", "instant": "2026-06-01 10:00"}');
INSERT INTO sidecar_people_inbox (person_unique_id, local, instant) VALUES ('p4', '2026-06-01 10:00', '2026-06-01 10:00'), ('p5', timestamptz '2026-06-01 10:00Z', timestamptz '2026-06-01 10:00Z');
INSERT INTO sidecar_people_inbox (person_unique_id, instant) VALUES ('p6', '2026-06-01 10:00+02') RETURNING outcome;
INSERT INTO marketing.people_master VALUES ('early', 'Early');
SET timezone = 'UTC';
SELECT outcome FROM sidecar_retry_rejects();
SELECT person_unique_id AS id, local, instant, created_at - local_now BETWEEN '-1 min' AND '0' AS created, updated_at - local_now BETWEEN '-1 min' AND '0' AS updated, seen - local_now BETWEEN '-1 min' AND '0' AS seen,
    seen_tz - now() BETWEEN '-1 min' AND '0' AS seen_tz, last_enriched_at - local_now BETWEEN '-1 min' AND '0' AS enriched
FROM marketing.people_sidecar, (SELECT now() AT TIME ZONE 'Asia/Kolkata') n (local_now) ORDER BY 1;
-- a plain UPDATE from anywhere; its updated_at is the table's
ALTER TABLE marketing.people_sidecar DISABLE TRIGGER USER;
UPDATE marketing.people_sidecar SET updated_at = '2000-01-01';
ALTER TABLE marketing.people_sidecar ENABLE TRIGGER USER;
SET timezone = 'America/New_York';
UPDATE marketing.people_sidecar SET clay_insight_summary = 'plain' WHERE person_unique_id < 'p3';
SET timezone = 'UTC';
SELECT count(*) FROM marketing.people_sidecar WHERE updated_at - (now() AT TIME ZONE 'Asia/Kolkata') BETWEEN '-1 min' AND '0';
ALTER TABLE marketing.people_sidecar DROP COLUMN seen, DROP COLUMN seen_tz, DROP COLUMN local, DROP COLUMN instant;
TRUNCATE marketing.people_sidecar;

-- another zone: what is rolled back was never there, and the other entity has its own
BEGIN;
SELECT sidecar_upsert_person('p1', last_enriched_at => '2026-06-01 10:00Z');
SAVEPOINT one;
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('America/New_York');
SELECT sidecar_upsert_person('p2', last_enriched_at => '2026-06-01 10:00Z'), sidecar_upsert_company('c2', last_enriched_at => '2026-06-01 10:00Z');
SELECT person_unique_id, last_enriched_at FROM marketing.people_sidecar UNION ALL SELECT company_unique_id, last_enriched_at FROM marketing.company_sidecar ORDER BY 1;
ROLLBACK TO one;
SELECT sidecar_upsert_person('p2', last_enriched_at => '2026-06-01 10:00Z');
INSERT INTO sidecar_people_inbox (person_unique_id, last_enriched_at) VALUES ('p3', timestamptz '2026-06-01 10:00Z');
SELECT person_unique_id, last_enriched_at FROM marketing.people_sidecar ORDER BY 1;
COMMIT;
SELECT entity, time_zone FROM sidecar_entity_bindings() WHERE entity IS NOT NULL ORDER BY 1;
-- renamed and moved it keeps its zone
ALTER SCHEMA marketing RENAME TO crm;
ALTER TABLE crm.people_sidecar RENAME TO persons;
SELECT sidecar_upsert_person('p4', last_enriched_at => '2026-06-01 10:00Z');
SELECT DISTINCT last_enriched_at FROM crm.persons;
ALTER TABLE crm.persons RENAME TO people_sidecar;
ALTER SCHEMA crm RENAME TO marketing;
TRUNCATE marketing.people_sidecar;

-- instants: timestamptz columns tell the two hours apart, by every way; the score's rule and fill see no zone
ALTER TABLE marketing.people_sidecar ALTER last_enriched_at TYPE timestamptz;
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('America/New_York');
INSERT INTO marketing.people_sidecar (person_unique_id, last_enriched_at) VALUES ('p1', '2025-11-02 06:00Z');
SELECT at, outcome, stored->>'at' AS stored, w.ways
FROM unnest('{2025-11-02T05:59:59Z,2025-11-02T01:59:59-04:00,2025-11-02T06:00:00Z,2025-11-02T01:00:01-05:00}'::text[]) WITH ORDINALITY a (at, n), ways('people', 'p1', jsonb_build_object('last_enriched_at', at, 'clay_insight_summary', 'x'), 'newest') w ORDER BY n;
SET timezone = 'Asia/Kolkata';
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "p2", "last_enriched_at": "2026-06-01 10:00"}');
SELECT last_enriched_at FROM marketing.people_sidecar WHERE person_unique_id = 'p2';
SELECT person_unique_id, last_enriched_at FROM sidecar_stale_people('1 day') ORDER BY 1;
SET timezone = 'UTC';

-- taken over: rows with times, of a database that has another zone, are doubted; others are not
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
CREATE SCHEMA marketing;
CREATE TABLE marketing.people_sidecar (person_unique_id varchar(50) PRIMARY KEY, clay_insight_summary text, clay_segments text[], social_profiles jsonb, enrichment_payload jsonb, last_enriched_at timestamp, enrichment_source text,
    confidence_score numeric(5, 2), created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
INSERT INTO marketing.people_sidecar (person_unique_id) VALUES ('p1');
ALTER DATABASE :"DBNAME" SET timezone = 'Europe/Berlin';
BEGIN;
CREATE EXTENSION sidecar;
SELECT entity, time_zone FROM sidecar_entity_bindings() WHERE entity IS NOT NULL ORDER BY 1;
ROLLBACK;
BEGIN;
DELETE FROM marketing.people_sidecar;
CREATE EXTENSION sidecar;
ROLLBACK;
-- the session's own zone is not the database's
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
SET timezone = 'Asia/Tokyo';
CREATE EXTENSION sidecar;
SELECT sidecar_create_masters() IS NULL AS none LIMIT 1;
ALTER DATABASE :"DBNAME" RESET timezone;
DROP FUNCTION ways, from_zones, ahead;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

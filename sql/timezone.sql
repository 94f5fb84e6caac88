-- The zone of timestamp columns is the table's: the argument of its updated_at
-- trigger, none means UTC.  No session's TimeZone changes what is stored, compared
-- or shown.
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
\set SHOW_CONTEXT never
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 20) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 4) i;
CREATE VIEW stored AS SELECT company_unique_id AS id, last_enriched_at AS enriched FROM marketing.company_sidecar;

-- one instant, as a JVM in New York, psycopg and psql in Kolkata send it
SET timezone = 'America/New_York';
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 06:00-04');
SET timezone = 'UTC';
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c2", "last_enriched_at": "2026-06-01T10:00:00+00:00"}');
SET timezone = 'Asia/Kolkata';
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('c3', timestamptz '2026-06-01 15:30');
SELECT outcome FROM sidecar_import_companies('{"company_unique_id": "c4", "last_enriched_at": 1780308000}');
SELECT * FROM stored ORDER BY 1;
-- sent again from elsewhere it is the same
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 15:30');
SET timezone = 'America/New_York';
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "last_enriched_at": "2026-06-01 06:00-04"}, {"company_unique_id": "c3", "last_enriched_at": "2026-06-01 10:00Z"}]');
-- "newest" knows older from newer, whoever asks
SELECT zone, set_config('timezone', zone, false) IS NULL AS failed,
       sidecar_upsert_company('c1', zone, last_enriched_at => '2026-06-01 09:59Z', on_conflict => 'newest') AS older,
       sidecar_upsert_company('c1', 'x', last_enriched_at => timestamptz '2026-06-01 10:00Z' + n * interval '1 second', on_conflict => 'newest') AS newer,
       sidecar_upsert_company('c1', 'x', last_enriched_at => timestamptz '2026-06-01 10:00Z' + n * interval '1 second', on_conflict => 'newest') AS again
FROM unnest('{America/New_York,UTC,Asia/Kolkata,Pacific/Auckland}'::text[]) WITH ORDINALITY z (zone, n);
-- and in the hour in which a session's clock goes back: 05:30Z and 06:30Z are both 01:30 there
SET timezone = 'America/New_York';
SELECT at, sidecar_upsert_company('c5', to_char(at, 'HH24:MI'), last_enriched_at => at, on_conflict => 'newest')
FROM unnest('{2025-11-02 05:30Z,2025-11-02 06:30Z,2025-11-02 05:45Z,2025-11-02 07:00Z}'::timestamptz[]) at;
SELECT * FROM stored WHERE id = 'c5';

-- a time that tells no zone is one of the table's; of an argument PostgreSQL has made
-- an instant in the session's zone before it is ours
SET timezone = 'Asia/Tokyo';
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c8", "last_enriched_at": "2026-06-01 10:00"}, {"company_unique_id": "c9", "last_enriched_at": "Mon, 01 Jun 2026 10:00:00"}]');
SELECT outcome FROM sidecar_import_companies('{"company_unique_id": "c10", "last_enriched_at": "2026-06-01T10:00"}');
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('c11', '2026-06-01 10:00'), ('c12', timestamp '2026-06-01 10:00');
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('c13', '06/01/2026 10:00') RETURNING outcome;
SET sidecar.inbox_rejects = error;
COPY sidecar_company_inbox (company_unique_id, last_enriched_at) FROM stdin;
c14	2026-06-01 10:00
\.
RESET sidecar.inbox_rejects;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "later", "last_enriched_at": "2026-06-01 10:00"}');
INSERT INTO marketing.company_master VALUES ('later', 'Later');
SET timezone = 'America/New_York';
SELECT outcome FROM sidecar_retry_rejects();
SELECT sidecar_upsert_company('c15', last_enriched_at => '2026-06-01 06:00');
SELECT enriched, count(*) FROM stored WHERE id IN ('c8', 'c9', 'c10', 'c11', 'c12', 'c13', 'c14', 'c15', 'later') GROUP BY 1;
-- what is exported can be fed back
SELECT outcome FROM sidecar_upsert_companies((SELECT jsonb_agg(to_jsonb(s)) FROM marketing.company_sidecar s WHERE company_unique_id IN ('c1', 'c8')));

-- a client's timestamptz is its instant under every DateStyle: the abbreviation is of
-- the session's zone, whatever the table's is
SET timezone = 'Asia/Kolkata';
SET datestyle = 'SQL, DMY';
SELECT (timestamptz '2026-06-01 10:00Z')::text AS as_text;
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('c16', timestamptz '2026-06-01 10:00Z');
SET datestyle = 'ISO, MDY';
SELECT * FROM stored WHERE id = 'c16';

-- the rest of the statement is in the session's zone, before, while and after
CREATE FUNCTION zone_here(id text) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT id FROM (SELECT current_setting('timezone') = 'Asia/Kolkata' AS ok) s WHERE ok $$;
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) SELECT zone_here('c' || i), timestamptz '2026-06-02 15:30' FROM generate_series(16, 18) i RETURNING outcome, zone_here('still') AS zone;
SELECT id, enriched, current_setting('timezone') FROM stored WHERE id IN ('c16', 'c17', 'c18') ORDER BY 1;
SELECT current_setting('timezone') AS before, sidecar_upsert_company('c17', '1'), current_setting('timezone') AS after;
DO $$
BEGIN
    BEGIN
        PERFORM sidecar_upsert_company('nobody');
    EXCEPTION WHEN foreign_key_violation THEN
        RAISE WARNING 'after an error: %', current_setting('timezone');
    END;
    BEGIN
        INSERT INTO sidecar_company_inbox (company_unique_id, unknown) SELECT 'c1', 'x';
    EXCEPTION WHEN undefined_column THEN
        RAISE WARNING 'after another: %', current_setting('timezone');
    END;
    PERFORM sidecar_upsert_companies('[{"company_unique_id": "nobody"}, {"company_unique_id": "c1", "last_enriched_at": "x"}]');
    RAISE WARNING 'after two that were caught inside: %', current_setting('timezone');
END $$;
SHOW timezone;
-- what the session sets for its transaction stays
BEGIN;
SET LOCAL timezone = 'Europe/Berlin';
SELECT sidecar_upsert_company('c17', '2');
SHOW timezone;
ROLLBACK;
SHOW timezone;

-- another zone, while this session knows the table already
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('America/New_York');
TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 10:00Z'), sidecar_upsert_company('c2', last_enriched_at => '2026-01-01 10:00Z');
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c3", "last_enriched_at": "2026-06-01 06:00"}, {"company_unique_id": "c4", "last_enriched_at": "2026-06-01 10:00Z"}]');
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('c5', '2026-06-01 06:00'), ('c6', timestamptz '2026-06-01 15:30');
SELECT * FROM stored ORDER BY 1;
SELECT entity, time_zone, to_do FROM sidecar_status() WHERE entity IS NOT NULL;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
-- created_at by its default, updated_at by the trigger, also of a plain UPDATE; a plain
-- INSERT that says now() is the session's
UPDATE marketing.company_sidecar SET ein_number = '1' WHERE company_unique_id = 'c1';
SELECT sidecar_upsert_company('c2', '2');
INSERT INTO marketing.company_sidecar (company_unique_id, last_enriched_at) VALUES ('c7', now());
SELECT company_unique_id, age < interval '1 minute' AND age > interval '-1 minute' AS right_then
FROM marketing.company_sidecar,
     unnest(ARRAY[now() - updated_at AT TIME ZONE 'America/New_York', now() - created_at AT TIME ZONE 'America/New_York',
                  now() - last_enriched_at AT TIME ZONE 'America/New_York']) WITH ORDINALITY a (age, n)
WHERE (company_unique_id, n) IN (('c1', 1), ('c2', 1), ('c2', 3), ('c2', 2), ('c7', 3)) ORDER BY 1, n;
DELETE FROM marketing.company_sidecar WHERE company_unique_id = 'c7';

-- reports: exactly at the border, from every zone, exact and estimated; days of a zone
-- that has no summer are of 24 hours
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('America/Bogota');
CREATE FUNCTION reported(zone text) RETURNS TABLE (report text, said text) LANGUAGE plpgsql SET search_path = public, pg_catalog AS $$
BEGIN
    PERFORM set_config('timezone', zone, true);
    RETURN QUERY SELECT 'stale ' || s.company_unique_id, concat_ws(' ', s.last_enriched_at - (now() AT TIME ZONE 'America/Bogota'), s.days_since_enrichment) FROM sidecar_stale_companies('10 days') s;
    RETURN QUERY SELECT 'summary', concat_ws(' ', s.stale, s.undated, s.oldest_enrichment - (now() AT TIME ZONE 'America/Bogota'), s.latest_enrichment - (now() AT TIME ZONE 'America/Bogota')) FROM sidecar_summary('10 days') s WHERE s.entity = 'company';
    RETURN QUERY SELECT 'estimate', concat_ws(' ', s.stale, s.oldest_enrichment - (now() AT TIME ZONE 'America/Bogota'), s.latest_enrichment - (now() AT TIME ZONE 'America/Bogota')) FROM sidecar_summary('10 days', exact => false) s WHERE s.entity = 'company';
    RETURN QUERY SELECT 'none stale by estimate', s.stale::text FROM sidecar_summary('10 days 1 second', exact => false) s WHERE s.entity = 'company';
    RETURN QUERY SELECT 'source', (s.latest_enrichment - (now() AT TIME ZONE 'America/Bogota'))::text FROM sidecar_sources() s WHERE s.entity = 'company' AND s.enrichment_source = 'clay';
    RETURN QUERY SELECT 'doubtful', (s.last_enriched_at - (now() AT TIME ZONE 'America/Bogota'))::text FROM sidecar_low_confidence_companies() s;
END $$;
BEGIN;
DELETE FROM marketing.company_sidecar;
-- at the border, a microsecond older; the border is a time of the table's zone
INSERT INTO marketing.company_sidecar (company_unique_id, last_enriched_at, enrichment_source, confidence_score)
SELECT id, border - age, source, score
FROM (SELECT (now() AT TIME ZONE 'America/Bogota' - interval '10 days') AS border) b,
     (VALUES ('c1', interval '0', 'clay', 90), ('c2', interval '1 microsecond', 'clay', 60), ('c3', interval '-5 days', 'apify', 90), ('c4', interval '1 hour', NULL, NULL)) v (id, age, source, score);
DELETE FROM marketing.company_sidecar WHERE company_unique_id = 'c4';
ANALYZE marketing.company_sidecar, marketing.company_master;
SELECT report, count(DISTINCT said) AS answers, min(said) AS said
FROM unnest('{America/Bogota,America/New_York,UTC,Asia/Kolkata,Pacific/Auckland}'::text[]) zone, reported(zone) GROUP BY 1 ORDER BY 1;
ROLLBACK;
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('America/New_York');

-- entities of different zones in one statement, and an instant among them
UPDATE marketing.company_sidecar SET last_enriched_at = '2026-01-01' WHERE company_unique_id = 'c2';
SELECT sidecar_upsert_person('p1', last_enriched_at => '2026-06-01 10:00Z');
SELECT entity, latest_enrichment, latest_enrichment AT TIME ZONE b.time_zone = '2026-06-01 10:00Z' AS right_then
FROM sidecar_summary() JOIN sidecar_entity_bindings() b USING (entity) ORDER BY 1;
ANALYZE marketing.company_sidecar, marketing.company_master;
SELECT abs(extract(epoch FROM now() - statistics_at)) < 60 AS is_an_instant FROM sidecar_summary(exact => false) WHERE entity = 'company';

-- what is the user's sees the table's zone where it is part of our statement
CREATE FUNCTION tell_zone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.enrichment_source := TG_WHEN || ' ' || current_setting('timezone'); RETURN NEW; END $$;
CREATE TRIGGER a_tell BEFORE INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION tell_zone();
ALTER TABLE marketing.company_sidecar ADD COLUMN noted_in text DEFAULT current_setting('timezone'), ADD COLUMN noted_at timestamp;
SELECT sidecar_upsert_company('c8', last_enriched_at => '2026-06-01 10:00Z');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c9", "last_enriched_at": "2026-06-01 10:00Z", "noted_at": "2026-06-01 12:00Z"}');
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('c10');
SELECT company_unique_id, enrichment_source, noted_in, noted_at FROM marketing.company_sidecar WHERE company_unique_id IN ('c8', 'c9', 'c10') ORDER BY length(company_unique_id), 1;
DROP TRIGGER a_tell ON marketing.company_sidecar;
CREATE ROLE regress_sidecar_zone;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_zone;
GRANT SELECT ON ALL TABLES IN SCHEMA marketing TO regress_sidecar_zone;
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY zone ON marketing.company_sidecar TO regress_sidecar_zone USING (current_setting('timezone') = 'America/New_York');
SET ROLE regress_sidecar_zone;
SELECT enriched > 0 AS seen FROM sidecar_coverage() WHERE entity = 'company';
SELECT count(*) FROM marketing.company_sidecar;
RESET ROLE;
ALTER TABLE marketing.company_sidecar DISABLE ROW LEVEL SECURITY, DROP COLUMN noted_in, DROP COLUMN noted_at;

-- another table that shall take its place gets its zone
BEGIN;
CREATE TABLE marketing.other (LIKE marketing.company_sidecar);
SELECT regexp_replace(to_do, '.*EXECUTE', 'EXECUTE') FROM sidecar_unbound_tables();
ROLLBACK;

-- every form of a zone, and what is none
CREATE FUNCTION with_zone(zone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at(%L)', zone);
    PERFORM sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 10:00Z');
    UPDATE marketing.company_sidecar SET ein_number = zone WHERE company_unique_id = 'c2';
    RETURN (SELECT concat_ws(', ', last_enriched_at, (SELECT abs(extract(epoch FROM updated_at - now() AT TIME ZONE zone)) < 60 FROM marketing.company_sidecar WHERE company_unique_id = 'c2'),
                             (SELECT time_zone FROM sidecar_entity_bindings() WHERE entity = 'company'))
            FROM marketing.company_sidecar WHERE company_unique_id = 'c1');
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(': ', SQLSTATE, SQLERRM);
END $$;
SELECT zone, with_zone(zone) FROM unnest('{europe/berlin,<+03>-3,<-02>2,EST5EDT,Etc/GMT+5,"",Mars/Olympus,5,"a''b","US/../UTC",right/UTC,Asia/Kathmandu}'::text[]) zone;
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('Mars/"O''Olympus"');
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
UPDATE marketing.company_sidecar SET ein_number = '1';
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c1');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_person('p1', 'the other entity');
-- nor do reports of both, but what they cannot know
SELECT entity, total, enriched FROM sidecar_coverage();
SELECT entity, total, enriched, stale, low_confidence, undated, rejected, latest_enrichment IS NULL AS untold, statistics_at FROM sidecar_summary();
SELECT * FROM sidecar_summary(exact => false) WHERE entity = 'company';
SELECT DISTINCT entity FROM sidecar_sources() ORDER BY 1;
SELECT DISTINCT entity FROM sidecar_field_coverage() ORDER BY 1;
SELECT count(*) FROM sidecar_missing_companies();
SELECT * FROM sidecar_stale_companies();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_low_confidence_companies();
\echo :LAST_ERROR_SQLSTATE
INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, error, sqlstate) VALUES ('company', '{"company_unique_id": "c1", "ein_number": "9"}', 'overwrite', '', ''), ('people', '{"person_unique_id": "p1"}', 'overwrite', '', '');
SELECT entity, outcome FROM sidecar_retry_rejects();
SELECT entity FROM marketing.sidecar_rejects;
TRUNCATE marketing.sidecar_rejects;
SELECT entity, time_zone, to_do FROM sidecar_status() WHERE entity IS NOT NULL;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;

-- of several triggers the last that fires tells
CREATE TRIGGER company_sidecar_updated_at_2 BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('Asia/Kolkata');
SELECT time_zone FROM sidecar_entity_bindings() WHERE entity = 'company';
ALTER TABLE marketing.company_sidecar DISABLE TRIGGER company_sidecar_updated_at_2;
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('Europe/Berlin');
SELECT time_zone FROM sidecar_entity_bindings() WHERE entity = 'company';
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 10:00Z');
SELECT last_enriched_at FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
DROP TRIGGER company_sidecar_updated_at_2 ON marketing.company_sidecar;

-- a migration that is run again calls its own function: the argument is kept
CREATE SCHEMA migration;
CREATE FUNCTION migration.update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at = NOW(); RETURN NEW; END; $$;
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION migration.update_company_sidecar_updated_at('America/New_York');
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'company_sidecar_updated_at';
-- a column that is missing is filled with a time of the table's
ALTER TABLE marketing.company_sidecar DROP COLUMN created_at;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT DISTINCT abs(extract(epoch FROM created_at - now() AT TIME ZONE 'America/New_York')) < 60 AS right_then FROM marketing.company_sidecar;
SHOW timezone;

-- taking over times of a database that has another zone than UTC
DROP EXTENSION sidecar CASCADE;
ALTER DATABASE :"DBNAME" SET timezone = 'America/New_York';
TRUNCATE marketing.people_sidecar;
CREATE EXTENSION sidecar;
SELECT time_zone FROM sidecar_entity_bindings();
SELECT count(*) FROM sidecar_install() WHERE outcome <> 'present' OR hint IS NOT NULL;
-- as a zone that the trigger takes
ALTER DATABASE :"DBNAME" SET timezone = '-5';
DROP TRIGGER company_sidecar_updated_at ON marketing.company_sidecar;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
SELECT with_zone('<-05>+05');
ALTER DATABASE :"DBNAME" SET timezone = 'Etc/UTC';
DROP TRIGGER company_sidecar_updated_at ON marketing.company_sidecar;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA migration, marketing CASCADE;

-- columns of timestamptz: instants, whatever the zone
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master VALUES ('c1', 'Company 1');
ALTER TABLE marketing.company_sidecar ALTER last_enriched_at TYPE timestamptz, ALTER created_at TYPE timestamptz, ALTER updated_at TYPE timestamptz;
SET timezone = 'Asia/Kolkata';
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 10:00Z');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1", "last_enriched_at": "2026-06-01 10:00Z"}');
UPDATE marketing.company_sidecar SET ein_number = '1';
SELECT last_enriched_at, abs(extract(epoch FROM now() - updated_at)) < 60 AS updated FROM marketing.company_sidecar;
SELECT latest_enrichment AT TIME ZONE b.time_zone AS latest FROM sidecar_sources() JOIN sidecar_entity_bindings() b USING (entity);
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- a partitioned table: its partitions' triggers are copies
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_sidecar (company_unique_id varchar(50) PRIMARY KEY, ein_number varchar(20), dun_and_bradstreet_number varchar(20), clay_tags text[], clay_segments text[], enrichment_payload jsonb,
    last_enriched_at timestamp, enrichment_source text, confidence_score numeric(5, 2), created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now()) PARTITION BY HASH (company_unique_id);
CREATE TABLE marketing.one PARTITION OF marketing.company_sidecar FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master VALUES ('c1', 'Company 1');
CREATE OR REPLACE TRIGGER company_sidecar_updated_at BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at('America/New_York');
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 10:00Z');
SELECT sidecar_upsert_company('c1', '1', last_enriched_at => '2026-06-01 10:00Z');
SELECT last_enriched_at, abs(extract(epoch FROM updated_at - now() AT TIME ZONE 'America/New_York')) < 60 AS updated FROM marketing.company_sidecar;

ALTER DATABASE :"DBNAME" RESET timezone;
DROP FUNCTION zone_here, reported, tell_zone, with_zone;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP ROLE regress_sidecar_zone;

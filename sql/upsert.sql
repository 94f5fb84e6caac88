-- sidecar_upsert_company() and sidecar_upsert_person(): answers, survivorship
-- rules, errors.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION sidecar;

-- no foreign key yet: 55000, with the way out
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY);
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE marketing.company_master;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;

CREATE VIEW c AS SELECT company_unique_id AS id, ein_number AS ein, dun_and_bradstreet_number AS duns, clay_tags AS tags,
    clay_segments AS segments, enrichment_payload AS payload, last_enriched_at, enrichment_source AS source, confidence_score AS score
FROM marketing.company_sidecar ORDER BY company_unique_id;

-- the answers; NULL leaves a stored value
SELECT sidecar_upsert_company('c1', '12-3456789', '123456789', '{saas,b2b}', '{mid}', '{"a": 1}', '2026-01-01 12:00', 'clay', 95.5);
SELECT sidecar_upsert_company('c1', '12-3456789', '123456789', '{saas,b2b}', '{mid}', '{"a": 1}', '2026-01-01 12:00', 'clay', 95.5);
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-01-01 12:00');
SELECT sidecar_upsert_company('c1', clay_tags => '{saas}', last_enriched_at => '2026-01-01 12:00');
SELECT * FROM c;
-- unchanged writes nothing: the row version stays
SELECT ctid AS before FROM marketing.company_sidecar \gset
SELECT sidecar_upsert_company('c1', clay_tags => '{saas}', last_enriched_at => '2026-01-01 12:00');
SELECT ctid = :'before' AS same FROM marketing.company_sidecar;
-- a score is compared as it is stored
SELECT sidecar_upsert_company('c1', confidence_score => 95.5001, last_enriched_at => '2026-01-01 12:00');
-- last_enriched_at not given is now()
SELECT sidecar_upsert_company('c2');
SELECT last_enriched_at BETWEEN now() - interval '1 minute' AND now() AS now FROM c WHERE id = 'c2';
BEGIN;
SELECT sidecar_upsert_company('c3', '1'), sidecar_upsert_company('c3', '1'), sidecar_upsert_company('c3', '2');
SELECT last_enriched_at = now() AS now FROM c WHERE id = 'c3';
COMMIT;
-- on_conflict NULL is not given either
SELECT sidecar_upsert_company('c3', '3', on_conflict => NULL);
-- updated_at and created_at are the table's business
UPDATE marketing.company_sidecar SET created_at = '2020-01-01';
SELECT sidecar_upsert_company('c3', '4');
SELECT created_at, updated_at > now() - interval '1 minute' AS updated FROM marketing.company_sidecar WHERE company_unique_id = 'c3';
DELETE FROM marketing.company_sidecar WHERE company_unique_id <> 'c1';

-- in a replica role no foreign key looks for masters: we do
SET session_replication_role = replica;
SELECT sidecar_upsert_company('nobody', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c3', '1'), sidecar_upsert_company('c3', '2');
SELECT sidecar_upsert_person('c3');
SELECT key, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "nobody"}, {"company_unique_id": "c4", "ein_number": "1"}]') AS r (record, key, outcome, error);
SELECT key, outcome FROM sidecar_upsert_companies('{"company_unique_id": "nobody"}') AS r (record, key, outcome, error);
SELECT key, outcome FROM sidecar_import_companies('{"company_unique_id": "nobody"}') AS r (record, key, outcome, error);
SELECT unique_id, outcome FROM sidecar_retry_rejects();
CREATE ROLE regress_sidecar_replica;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_replica;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_replica;
SET ROLE regress_sidecar_replica;
SELECT sidecar_upsert_company('c3', '3');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM sidecar_upsert_companies('{"company_unique_id": "c3", "ein_number": "3"}');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
DROP OWNED BY regress_sidecar_replica;
DROP ROLE regress_sidecar_replica;
RESET session_replication_role;
SELECT id, ein FROM c;
DELETE FROM marketing.company_sidecar WHERE company_unique_id <> 'c1';
DELETE FROM marketing.sidecar_rejects;

-- people
SELECT sidecar_upsert_person('p1', 'VP of Engineering', '{vp-engineering}', '{"github": "p1"}', '{"skills": ["C"]}', '2026-01-01 12:00+02', 'clay', 92);
SELECT sidecar_upsert_person('p1', social_profiles => '{"github": "p1", "twitter": "@p1"}', last_enriched_at => '2026-01-02');
SELECT person_unique_id, clay_insight_summary, clay_segments, social_profiles, enrichment_payload, last_enriched_at, enrichment_source, confidence_score
FROM marketing.people_sidecar;

-- newest: what is older than the stored record changes nothing
SELECT sidecar_upsert_company('c1', '1', last_enriched_at => '2025-12-31', on_conflict => 'newest');
SELECT sidecar_upsert_company('c1', clay_tags => '{saas}', last_enriched_at => '2026-01-01 12:00', on_conflict => 'newest');
SELECT sidecar_upsert_company('c1', '2', last_enriched_at => '2026-01-01 12:00', on_conflict => 'newest');
SELECT sidecar_upsert_company('c1', '3', last_enriched_at => '2026-01-02', on_conflict => 'newest');
SELECT sidecar_upsert_company('c4', '4', last_enriched_at => '2026-01-02', on_conflict => 'newest');
SELECT * FROM c;
-- a stored row without a date is older than any
UPDATE marketing.company_sidecar SET last_enriched_at = NULL WHERE company_unique_id = 'c4';
SELECT sidecar_upsert_company('c4', '5', last_enriched_at => '1999-01-01', on_conflict => 'newest');
-- not given is now(), which a date in the future beats; nothing new is unchanged all the same
UPDATE marketing.company_sidecar SET last_enriched_at = '2999-01-01' WHERE company_unique_id = 'c4';
SELECT sidecar_upsert_company('c4', '6', on_conflict => 'newest'), sidecar_upsert_company('c4', '5', on_conflict => 'newest');
SELECT * FROM c WHERE id = 'c4';

-- most_confident: a lower score, or none, changes nothing
SELECT sidecar_upsert_company('c1', '4', confidence_score => 95.49, on_conflict => 'most_confident');
SELECT sidecar_upsert_company('c1', '5', on_conflict => 'most_confident');
SELECT sidecar_upsert_company('c1', '3', last_enriched_at => '2026-01-02', on_conflict => 'most_confident');
SELECT sidecar_upsert_company('c1', '6', last_enriched_at => '2026-01-02', confidence_score => 95.5, on_conflict => 'most_confident');
SELECT sidecar_upsert_company('c1', '6', last_enriched_at => '2026-01-02', confidence_score => 95.5, on_conflict => 'most_confident');
SELECT sidecar_upsert_company('c1', '7', last_enriched_at => '2026-01-03', confidence_score => 96, on_conflict => 'most_confident');
-- any record beats a stored one without a score
SELECT sidecar_upsert_company('c4', '8', last_enriched_at => '2026-01-03', on_conflict => 'most_confident');
SELECT sidecar_upsert_company('c4', '8', last_enriched_at => '2026-01-03', confidence_score => 0, on_conflict => 'most_confident');
SELECT * FROM c;

-- fill: only what is NULL, source, score and time like the others
SELECT sidecar_upsert_company('c4', '9', on_conflict => 'fill');
SELECT sidecar_upsert_company('c4', '8', on_conflict => 'fill');
SELECT sidecar_upsert_company('c4', '8', enrichment_source => 'apify', on_conflict => 'fill');
SELECT sidecar_upsert_company('c4', '8', confidence_score => 50, on_conflict => 'fill');
SELECT sidecar_upsert_company('c4', '8', last_enriched_at => '2026-01-04', on_conflict => 'fill');
SELECT * FROM c WHERE id = 'c4';
SELECT sidecar_upsert_company('c4', '9', '999', last_enriched_at => '2025-01-04', enrichment_source => 'apify', confidence_score => 50, on_conflict => 'fill');
SELECT * FROM c WHERE id = 'c4';
SELECT sidecar_upsert_company('c4', clay_tags => '{x}', last_enriched_at => '2025-01-05', on_conflict => 'fill');
SELECT sidecar_upsert_company('c4', clay_tags => '{x}', last_enriched_at => '2025-01-05', on_conflict => 'fill');
SELECT * FROM c WHERE id = 'c4';
SELECT sidecar_upsert_company('c5', '5', on_conflict => 'fill');

-- types and sizes as the columns have them
SELECT sidecar_upsert_company('c6', repeat('x', 20), last_enriched_at => '2026-01-01', confidence_score => 0);
SELECT sidecar_upsert_company('c6', repeat('ü', 20), last_enriched_at => '2026-01-01', confidence_score => 100);
SELECT length(ein), octet_length(ein), score FROM c WHERE id = 'c6';
SELECT sidecar_upsert_company('c6', '', '', '{}', '{}', '[]', '2026-01-01', '', 12.345);
SELECT * FROM c WHERE id = 'c6';
-- from a query, by name
SELECT company_unique_id, sidecar_upsert_company(company_unique_id, enrichment_source => 'batch', last_enriched_at => '2026-01-01')
FROM marketing.company_master WHERE company_unique_id > 'c6' ORDER BY 1;

-- what is sent again is looked up first; every word stays the same
DELETE FROM marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar ALTER confidence_score SET DEFAULT 50, ALTER clay_segments SET DEFAULT '{new}';
CREATE FUNCTION send(ein text, score numeric DEFAULT NULL, at timestamptz DEFAULT '2026-01-01 00:00:00Z', rule text DEFAULT 'overwrite')
RETURNS text LANGUAGE sql AS $$
	SELECT sidecar_upsert_company((SELECT min(company_unique_id) FROM marketing.company_master), ein_number => ein,
								  last_enriched_at => at, confidence_score => score, on_conflict => rule)
$$;
SELECT send('12-3456789');
SELECT confidence_score, clay_segments FROM marketing.company_sidecar;
SELECT send('12-3456789'), send('12-3456789'), send('12-3456789');
BEGIN;
SELECT send('12-3456789'), pg_current_xact_id_if_assigned();
COMMIT;
SELECT send('12-3456789', at => NULL), send('12-3456789'), send('12-3456789'), send('98-7654321'), send('98-7654321');
SELECT send('98-7654321'), send('12-3456789', rule => 'most_confident'), send('12-3456789', 40, rule => 'most_confident'),
	send('98-7654321', rule => 'most_confident'), send('98-7654321', 60, rule => 'most_confident'), send('98-7654321', 60);
SELECT send('98-7654321', 60), send('12-3456789', at => '2025-01-01 00:00:00Z', rule => 'newest'), send('12-3456789', rule => 'fill'),
	send(NULL, 60, rule => 'fill'), send(NULL), send(NULL);
SELECT ein_number, last_enriched_at, confidence_score FROM marketing.company_sidecar;
-- with the time of the transaction: another one, then the same
BEGIN;
SELECT send('55-5555555', at => NULL), send('55-5555555', at => NULL), send('66-6666666', at => NULL), send('66-6666666', 10, at => NULL);
SELECT ein_number, last_enriched_at = now() AS now, confidence_score FROM marketing.company_sidecar;
ROLLBACK;
-- but only for a role that writes, where it can write
CREATE ROLE regress_sidecar_reader;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_reader;
GRANT SELECT ON marketing.company_sidecar, marketing.company_master TO regress_sidecar_reader;
SELECT send('98-7654321'), send('98-7654321');
SET ROLE regress_sidecar_reader;
SELECT send('98-7654321');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT send('98-7654321'), send('98-7654321');
BEGIN READ ONLY;
SELECT send('98-7654321');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
DROP OWNED BY regress_sidecar_reader;
DROP ROLE regress_sidecar_reader;
-- a value that a trigger takes away was not given; it is called once
CREATE SEQUENCE scrubbed;
CREATE FUNCTION scrub() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.ein_number := NULL; PERFORM nextval('scrubbed'); RETURN NEW; END $$;
CREATE TRIGGER scrub BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION scrub();
SELECT send('77-7777777', 61), send('77-7777777', 63, at => '2026-03-01 00:00:00Z');
SELECT last_value FROM scrubbed;
SELECT outcome FROM sidecar_upsert_companies((SELECT jsonb_build_object('company_unique_id', min(company_unique_id), 'ein_number', '1', 'confidence_score', 62) FROM marketing.company_master));
SELECT ein_number, confidence_score FROM marketing.company_sidecar;
DROP TRIGGER scrub ON marketing.company_sidecar;
DROP FUNCTION scrub;
DROP SEQUENCE scrubbed;
DROP FUNCTION send;
DELETE FROM marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar ALTER confidence_score DROP DEFAULT, ALTER clay_segments DROP DEFAULT;

-- errors: nothing is stored
SELECT sidecar_upsert_company(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_person(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company(repeat('k', 51));
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', ein_number => repeat('ü', 21));
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', dun_and_bradstreet_number => repeat('x', 21));
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', confidence_score => -0.01);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', confidence_score => 100.005);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', confidence_score => 'NaN');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', confidence_score => '-Infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', last_enriched_at => 'infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1', on_conflict => 'Newest');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_person('nobody');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW c;
ALTER TABLE marketing.company_sidecar DROP COLUMN ein_number;
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT sidecar_upsert_company('c1', '7');
DROP TABLE marketing.company_sidecar CASCADE;
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome, count(*) FROM sidecar_install() WHERE object ~ 'company' GROUP BY outcome;
SELECT sidecar_upsert_company('c1');

-- a plain INSERT is held to the same bounds
\set VERBOSITY terse
INSERT INTO marketing.company_sidecar (company_unique_id, confidence_score) VALUES ('c2', 100.01);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO marketing.people_sidecar (person_unique_id, confidence_score) VALUES ('p2', 'NaN');
\echo :LAST_ERROR_SQLSTATE

\set VERBOSITY default

-- the trigger functions, misused
SELECT update_company_sidecar_updated_at();
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE t (a int, updated_at date);
CREATE TRIGGER t AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
INSERT INTO t VALUES (1);
UPDATE t SET a = 2;
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER t ON t;
CREATE TRIGGER t BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
UPDATE t SET a = 2;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE t DROP COLUMN updated_at;
UPDATE t SET a = 2;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE t ADD COLUMN updated_at timestamptz;
UPDATE t SET a = 2;
SELECT updated_at > now() - interval '1 minute' AS updated FROM t;
DROP TABLE t;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

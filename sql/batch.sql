-- Batches: one bad record costs nothing; rejects are parked and come back.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 3) i;
CREATE VIEW c AS SELECT company_unique_id AS id, ein_number AS ein, clay_tags AS tags, enrichment_payload AS payload,
    last_enriched_at, enrichment_source AS source, confidence_score AS score
FROM marketing.company_sidecar ORDER BY company_unique_id;
CREATE VIEW rejects AS SELECT record_no, entity, unique_id, record, on_conflict, sqlstate, error, attempts
FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;

-- types as a person would send them
SELECT * FROM sidecar_upsert_companies('[
    {"company_unique_id": "c2", "ein_number": "12-3456789", "clay_tags": ["saas", "b2b"], "enrichment_payload": {"a": [1, {"b": null}]},
     "last_enriched_at": "2026-01-01T12:00:00+02:00", "enrichment_source": "clay", "confidence_score": 95.5},
    {"company_unique_id": "c1", "confidence_score": "70.004", "last_enriched_at": "2026-01-01 12:00", "ein_number": null, "clay_tags": []},
    {"company_unique_id": "c3", "last_enriched_at": "2026-01-01T12:00:00Z", "ein_number": 7}]');
SELECT * FROM c;
-- one object is one record; sent again it is unchanged, and writes nothing
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c3", "last_enriched_at": "2026-01-01T12:00:00Z", "ein_number": "7"}');
SELECT * FROM sidecar_upsert_companies('[]');
SELECT * FROM sidecar_upsert_people('[{"person_unique_id": "p1", "social_profiles": {"github": "p1"}, "clay_segments": ["vp"]},
    {"person_unique_id": "p9"}]');
-- last_enriched_at not given is now()
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c4"}');
SELECT last_enriched_at BETWEEN now() - interval '1 minute' AND now() AS now FROM c WHERE id = 'c4';

-- the same key twice applies in input order; answers come in input order
SELECT * FROM sidecar_upsert_companies('[
    {"company_unique_id": "c5", "ein_number": "1", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "c1", "ein_number": "2", "last_enriched_at": "2026-01-02"},
    {"company_unique_id": "c5", "ein_number": "3", "last_enriched_at": "2026-01-03"},
    {"company_unique_id": "c5", "ein_number": "3", "last_enriched_at": "2026-01-03"},
    {"company_unique_id": "c5", "enrichment_source": "apify", "last_enriched_at": "2026-01-03"}]');
SELECT id, ein, last_enriched_at, source FROM c WHERE id IN ('c1', 'c5');

-- the other rules
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c5", "ein_number": "4", "last_enriched_at": "2026-01-02"},
    {"company_unique_id": "c5", "ein_number": "3"}, {"company_unique_id": "c6", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "c5", "ein_number": "5", "last_enriched_at": "2026-01-05"}]', 'newest');
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "ein_number": "5", "confidence_score": 90},
    {"company_unique_id": "c2", "ein_number": "6", "confidence_score": 96}, {"company_unique_id": "c2", "ein_number": "6"}]', 'most_confident');
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "ein_number": "7"}, {"company_unique_id": "c2", "ein_number": "6"},
    {"company_unique_id": "c6", "ein_number": "8", "clay_tags": ["x"], "last_enriched_at": "2026-01-06"}, {"company_unique_id": "c2", "confidence_score": 1}]', 'fill');
SELECT id, ein, tags, score FROM c WHERE id IN ('c2', 'c5', 'c6');
SELECT * FROM sidecar_upsert_companies('[]', 'latest');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_upsert_companies(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_upsert_companies('"c1"');
\echo :LAST_ERROR_SQLSTATE

-- every way to be wrong, among good ones
TRUNCATE marketing.sidecar_rejects;
SELECT * FROM sidecar_upsert_companies(jsonb_build_array(
    '{"company_unique_id": "c7"}'::jsonb,
    '{"company_unique_id": "nobody"}'::jsonb,
    '{"company_unique_id": null}'::jsonb,
    '{"ein_number": "1"}'::jsonb,
    '{"company_unique_id": ["c1"]}'::jsonb,
    '{"company_unique_id": "c1", "website": "acme.com"}'::jsonb,
    '{"company_unique_id": "c1", "created_at": "2026-01-01"}'::jsonb,
    '{"company_unique_id": "c1", "updated_at": null}'::jsonb,
    '{"company_unique_id": "c1", "clay_tags": "saas"}'::jsonb,
    '{"company_unique_id": "c1", "clay_tags": {"a": 1}}'::jsonb,
    '{"company_unique_id": "c1", "confidence_score": "high"}'::jsonb,
    '{"company_unique_id": "c1", "confidence_score": 100.005}'::jsonb,
    '{"company_unique_id": "c1", "confidence_score": "NaN"}'::jsonb,
    '{"company_unique_id": "c1", "last_enriched_at": "yesterday noon"}'::jsonb,
    '{"company_unique_id": "c1", "last_enriched_at": "infinity"}'::jsonb,
    jsonb_build_object('company_unique_id', 'c1', 'ein_number', repeat('ü', 21)),
    jsonb_build_object('company_unique_id', repeat('ü', 51)),
    '"c1"'::jsonb, '17'::jsonb, 'null'::jsonb, '[{"company_unique_id": "c1"}]'::jsonb,
    '{"company_unique_id": "c8"}'::jsonb,
    '{}'::jsonb));
SELECT record_no, unique_id, left(record::text, 60) AS record, on_conflict, sqlstate, attempts FROM rejects;
SELECT id FROM c WHERE id IN ('c7', 'c8');
-- a key of 50 characters, whatever their bytes
INSERT INTO marketing.company_master VALUES (repeat('ü', 50), 'Ü');
SELECT outcome FROM sidecar_upsert_companies(jsonb_build_object('company_unique_id', repeat('ü', 50)));
DELETE FROM marketing.company_master WHERE company_unique_id > 'd';

-- what only the table knows: checks, uniqueness, triggers, an index that is too small
TRUNCATE marketing.sidecar_rejects;
ALTER TABLE marketing.company_sidecar ADD COLUMN note text DEFAULT 'none', ADD COLUMN n numeric(3,1), ADD CONSTRAINT note_check CHECK (note <> 'bad');
CREATE UNIQUE INDEX one_note ON marketing.company_sidecar (note) WHERE note <> 'none';
CREATE FUNCTION no_nine() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.company_unique_id = 'c9' THEN RAISE EXCEPTION 'no nine'; END IF; RETURN NEW; END $$;
CREATE TRIGGER no_nine BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION no_nine();
SELECT record, unique_id, outcome, left(error, 70) AS error FROM sidecar_upsert_companies(jsonb_build_array(
    '{"company_unique_id": "c1", "note": "good"}'::jsonb,
    '{"company_unique_id": "c2", "note": "bad"}'::jsonb,
    '{"company_unique_id": "c3", "note": "good"}'::jsonb,
    '{"company_unique_id": "c9"}'::jsonb,
    '{"company_unique_id": "c4", "n": 100}'::jsonb,
    '{"company_unique_id": "c4", "n": "12.34"}'::jsonb,
    jsonb_build_object('company_unique_id', 'c5', 'enrichment_source', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)),
    '{"company_unique_id": "c6", "note": null}'::jsonb));
SELECT unique_id, on_conflict, sqlstate FROM rejects;
-- a user's column works like ours; one that is not given takes its default
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c7", "note": "seven"}, {"company_unique_id": "c8", "n": 8}]');
DELETE FROM marketing.company_sidecar WHERE company_unique_id IN ('c7', 'c8');
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c7", "note": "seven"}, {"company_unique_id": "c8", "n": 8}]');
SELECT company_unique_id, note, n FROM marketing.company_sidecar WHERE company_unique_id IN ('c1', 'c4', 'c7', 'c8') ORDER BY 1;
ALTER TABLE marketing.company_sidecar ADD COLUMN twice numeric GENERATED ALWAYS AS (n * 2) STORED;
SELECT outcome, error FROM sidecar_upsert_companies('{"company_unique_id": "c7", "twice": 1}');
DROP TRIGGER no_nine ON marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar DROP COLUMN twice, DROP COLUMN n, DROP COLUMN note;

-- errors that do not lie in a record end the call, and park nothing
TRUNCATE marketing.sidecar_rejects;
CREATE ROLE regress_sidecar_writer;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_writer;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_writer;
SET ROLE regress_sidecar_writer;
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "w"}, {"company_unique_id": "c2", "ein_number": "w"}]');
SELECT * FROM sidecar_upsert_people('{"person_unique_id": "p1"}');
\echo :LAST_ERROR_SQLSTATE
-- nor may a record that cannot be parked get lost
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "v"}, {"company_unique_id": "nobody"}]');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT INSERT ON marketing.sidecar_rejects TO regress_sidecar_writer;
SET ROLE regress_sidecar_writer;
-- who may not read the masters learns of a missing one all the same
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "v"}, {"company_unique_id": "nobody"}, {"company_unique_id": "c2", "ein_number": "v"}]');
RESET ROLE;
DROP OWNED BY regress_sidecar_writer;
DROP ROLE regress_sidecar_writer;
BEGIN READ ONLY;
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c1"}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(10); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION slow();
SET statement_timeout = '100ms';
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c1", "ein_number": "slow"}');
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
DROP TRIGGER slow ON marketing.company_sidecar;
SELECT sqlstate, count(*) FROM rejects GROUP BY 1;
DROP TRIGGER sidecar_rejects_mark ON marketing.sidecar_rejects;
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "nobody"}');
\echo :LAST_ERROR_SQLSTATE
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c1"}');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) > 0 AS installed FROM sidecar_install();

-- several chunks, in any order, with bad records in each
TRUNCATE marketing.sidecar_rejects;
INSERT INTO marketing.company_master SELECT 'm' || i, 'Company ' || i FROM generate_series(1, 3000) i;
SELECT outcome, left(error, 14) AS error, count(*) FROM sidecar_upsert_companies((
    SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'm' || i, 'confidence_score', CASE WHEN i % 100 = 7 THEN 101 ELSE i % 100 END) ORDER BY md5(i::text))
    FROM generate_series(1, 3500) i)) GROUP BY 1, 2 ORDER BY 1, 2;
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT odd CHECK (confidence_score IS NULL OR confidence_score % 10 <> 3) NOT VALID;
SELECT outcome, count(*), count(*) FILTER (WHERE record > lag) AS in_order FROM (
    SELECT *, lag(record, 1, 0) OVER () AS lag FROM sidecar_upsert_companies((
    SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'm' || i, 'confidence_score', i % 97) ORDER BY md5(i::text))
    FROM generate_series(1, 2500) i))) x GROUP BY 1 ORDER BY 1;
SELECT entity, rejects_parked FROM sidecar_status();
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT odd;
SELECT outcome, count(*) FROM sidecar_retry_rejects() GROUP BY 1 ORDER BY 1;
DELETE FROM marketing.company_master WHERE company_unique_id ~ '^m';

-- enrichment before promotion: it waits, and comes back
TRUNCATE marketing.sidecar_rejects;
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "early", "ein_number": "1", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "early", "clay_tags": ["second"], "last_enriched_at": "2026-01-02"},
    {"company_unique_id": "never", "ein_number": "9"}]');
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "early", "clay_insight_summary": "soon"}', 'fill');
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects(1);
SELECT record_no, attempts, last_tried_at >= rejected_at AS tried FROM marketing.sidecar_rejects ORDER BY rejected_at, 1;
INSERT INTO marketing.company_master VALUES ('early', 'Early Inc.');
INSERT INTO marketing.people_master VALUES ('early', 'Early Bird');
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects();
SELECT id, ein, tags, last_enriched_at FROM c WHERE id = 'early';
SELECT record_no, unique_id, attempts, sqlstate FROM rejects;
SELECT entity, rejects_parked FROM sidecar_status();
INSERT INTO marketing.company_master VALUES ('never', 'At last');
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects();
SELECT count(*) FROM rejects;
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects();
-- an older parked record never overwrites what was stored since, dated or not
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "late", "ein_number": "old", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "later", "ein_number": "old"}]');
INSERT INTO marketing.company_master VALUES ('late', 'Late'), ('later', 'Later');
SELECT sidecar_upsert_company('late', 'new', last_enriched_at => '2026-02-01'), sidecar_upsert_company('later', 'new');
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects();
SELECT id, ein FROM c WHERE id IN ('late', 'later');

-- chunks after one in which nothing was found are written without looking; what
-- is in them is found all the same
INSERT INTO marketing.company_master SELECT 'w' || i, 'Write first' FROM generate_series(1001, 4000) i WHERE i NOT BETWEEN 2001 AND 2010;
INSERT INTO marketing.company_sidecar (company_unique_id, ein_number, last_enriched_at)
SELECT 'w' || i, i::text, timestamp '2026-01-01' FROM generate_series(3001, 3500) i UNION ALL SELECT 'w' || i, 'newer', '2026-02-01' FROM generate_series(3501, 3600) i;
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT not_2500 CHECK (ein_number <> '2500');
SELECT outcome, count(*), min(unique_id), max(unique_id), left(min(error), 70) AS error
FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'w' || i, 'ein_number', i, 'last_enriched_at', '2026-01-01') ORDER BY md5(i::text))
                               FROM generate_series(1001, 4000) i), 'newest')
GROUP BY outcome, error ~ 'no such master' ORDER BY outcome, 2;
SELECT count(*), count(*) FILTER (WHERE company_unique_id = 'w' || ein_number) AS as_sent FROM marketing.company_sidecar WHERE company_unique_id ~ '^w';
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT not_2500;
DELETE FROM marketing.sidecar_rejects;
DELETE FROM marketing.company_master WHERE company_unique_id ~ '^w';

DROP VIEW c, rejects;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP FUNCTION no_nine, slow;

-- Parked records: nothing that was sent is lost, nor kept twice, nor costs the
-- others.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master VALUES ('p1', 'One');
CREATE VIEW parked AS SELECT record_no AS no, entity, unique_id, record, on_conflict, options, sqlstate, attempts FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;

-- the same again is one row: the same entity, record, rule and options
SELECT outcome, count(*) FROM sidecar_upsert_companies('[{"company_unique_id": "x", "ein_number": "1"}, {"company_unique_id": "c1", "a": 1}, {"ein_number": "1", "company_unique_id": "x"}]') GROUP BY 1;
SELECT outcome, count(*) FROM sidecar_import_companies('[{"company_unique_id": "x", "ein_number": "1"}, {"company_unique_id": "c1", "a": 1}]') GROUP BY 1;
TABLE parked;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "x", "ein_number": "1"}', 'newest');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "x", "ein_number": "1"}', unknown_keys => 'payload');
SELECT outcome FROM sidecar_upsert_people('{"company_unique_id": "x", "ein_number": "1"}');
SELECT outcome FROM sidecar_import_companies(E'{"company_unique_id": "x", "ein_number": "\\u0000"}\n{"company_unique_id": "x", "ein_number": "\\u0000"}\n"x\\\\y"\n');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('x', '1'), ('x', '1'), ('x', '2');
TABLE parked;
-- what is mended is another one
UPDATE marketing.sidecar_rejects SET record = '{"company_unique_id": "x", "ein_number": "3"}' WHERE options->>'text' = 'true' AND record->>'ein_number' = '2';
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('x', '2'), ('x', '3');
SELECT unique_id, record FROM parked WHERE options->>'text' = 'true';
UPDATE marketing.sidecar_rejects SET record = '{"company_unique_id": "x", "ein_number": "3"}' WHERE options->>'text' = 'true' AND record->>'ein_number' = '2';
\echo :LAST_ERROR_SQLSTATE
-- no sequence to be begun anew by who takes over
SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'marketing'::regnamespace;
-- without the index each is kept; then it cannot be made before they are one again
DROP INDEX marketing.idx_sidecar_rejects_hash;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "x", "ein_number": "1"}');
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
SELECT entity, to_do FROM sidecar_status() WHERE entity IS NULL;
TRUNCATE marketing.sidecar_rejects;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';

-- a writer inserts, and needs nothing else
CREATE ROLE regress_sidecar_writer;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_writer;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_writer;
GRANT INSERT ON sidecar_company_inbox TO regress_sidecar_writer;
GRANT INSERT (record_no, entity, unique_id, record, on_conflict, options, origin, error, sqlstate) ON marketing.sidecar_rejects TO regress_sidecar_writer;
SET ROLE regress_sidecar_writer;
SELECT outcome, count(*) FROM sidecar_upsert_companies('[{"company_unique_id": "x"}, {"company_unique_id": "c1"}, {"company_unique_id": "x"}]') GROUP BY 1 ORDER BY 1;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "x"}]');
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('x');
RESET ROLE;
SELECT unique_id, options FROM parked;
TRUNCATE marketing.sidecar_rejects;

-- one order for all, whatever came first: 1 and 1.0 are two records
SELECT count(*) FROM sidecar_upsert_companies('[1, 1.0, true, null, "x", [1], [1.0], {"company_unique_id": "n", "a": 1}, {"company_unique_id": "n", "a": 1.00}, {"company_unique_id": "n", "a": 1.0}, false, 1.00]');
CREATE TEMP TABLE in_order AS SELECT row_number() OVER (ORDER BY ctid) AS place, record::text AS record FROM marketing.sidecar_rejects;
TRUNCATE marketing.sidecar_rejects;
SELECT count(*) FROM sidecar_upsert_companies('[false, 1.00, {"company_unique_id": "n", "a": 1.0}, [1.0], {"company_unique_id": "n", "a": 1.00}, {"company_unique_id": "n", "a": 1}, [1], "x", null, true, 1.0, 1, 1.0]');
SELECT count(*), count(*) FILTER (WHERE p.record = o.record) AS same FROM in_order o FULL JOIN (SELECT row_number() OVER (ORDER BY ctid) AS place, record::text AS record FROM marketing.sidecar_rejects) p USING (place);
DROP TABLE in_order;
TRUNCATE marketing.sidecar_rejects;
-- of the same ones of a call that is parked which counts: the last, but under "fill" the first
SELECT count(*) FROM sidecar_upsert_companies('[{"company_unique_id": "aba", "ein_number": "a"}, {"company_unique_id": "aba", "ein_number": "b"}, {"company_unique_id": "aba", "ein_number": "a"}]');
SELECT count(*) FROM sidecar_upsert_companies('[{"company_unique_id": "aba2", "ein_number": "a"}, {"company_unique_id": "aba2", "ein_number": "b"}, {"company_unique_id": "aba2", "ein_number": "a"}]', 'fill');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('aba3', 'a'), ('aba3', 'b'), ('aba3', 'a');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('aba4', 'a'), ('aba4', 'b'), ('aba4', 'a') ON CONFLICT DO NOTHING;
SELECT unique_id, no, record->>'ein_number' AS ein FROM parked ORDER BY 1, 2;
INSERT INTO marketing.company_master SELECT 'aba' || i, 'Aba' FROM unnest('{"",2,3,4}'::text[]) i;
SELECT count(*) FROM sidecar_retry_rejects() WHERE outcome <> 'rejected';
SELECT company_unique_id, ein_number FROM marketing.company_sidecar WHERE company_unique_id ~ '^aba' ORDER BY 1;
-- of another call it stays where it was
SELECT sidecar_upsert_companies('{"company_unique_id": "aba5", "ein_number": "a"}') IS NOT NULL AS a;
SELECT sidecar_upsert_companies('{"company_unique_id": "aba5", "ein_number": "b"}') IS NOT NULL AS b;
SELECT sidecar_upsert_companies('{"company_unique_id": "aba5", "ein_number": "a"}') IS NOT NULL AS a;
INSERT INTO marketing.company_master VALUES ('aba5', 'Aba');
SELECT outcome FROM sidecar_retry_rejects();
SELECT ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'aba5';

-- text's abbreviations are those of the session that has sent it
SET timezone = 'Asia/Kolkata';
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('india', '2026-01-01 12:00:00 IST'), ('india2', '2026-01-01 12:00:00');
SET timezone = 'Etc/UTC';
INSERT INTO sidecar_company_inbox (company_unique_id, last_enriched_at) VALUES ('israel', '2026-01-01 12:00:00 IST');
SELECT unique_id, options FROM parked;
INSERT INTO marketing.company_master VALUES ('india', 'India'), ('india2', 'India'), ('israel', 'Israel');
SET timezone = 'Asia/Kolkata';
SELECT outcome FROM sidecar_retry_rejects();
SET timezone = 'UTC';
SELECT company_unique_id, last_enriched_at AT TIME ZONE 'UTC' = CASE company_unique_id WHEN 'india' THEN '2026-01-01 06:30Z' WHEN 'india2' THEN '2026-01-01 12:00Z' ELSE '2026-01-01 10:00Z' END::timestamptz AS right_time
FROM marketing.company_sidecar WHERE company_unique_id ~ '^i' ORDER BY 1;
INSERT INTO marketing.company_master VALUES ('india3', 'India');
INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, options, error, sqlstate) VALUES ('company', '{"company_unique_id": "india3", "last_enriched_at": "2026-01-01 12:00:00 IST"}', 'fill', '{"text": true, "time_zone": "Asia/Kolkata"}', '', ''),
    ('company', '{"company_unique_id": "c9"}', 'fill', '{"text": true, "time_zone": "Mars/Olympus"}', '', '');
SELECT outcome FROM sidecar_retry_rejects();
SELECT last_enriched_at AT TIME ZONE 'UTC' = '2026-01-01 06:30Z' AS right_time FROM marketing.company_sidecar WHERE company_unique_id = 'india3';

-- words that name nothing are mended in their columns
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, on_conflict) VALUES ('c8', '8', 'Newest'), ('c8', '8', 'Newest'), ('c8', '8', 'Eldest');
SELECT unique_id, record, on_conflict, error FROM marketing.sidecar_rejects ORDER BY 3;
INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, error, sqlstate) VALUES ('comapny', '{"company_unique_id": "c7", "ein_number": "7"}', 'fill', '', '');
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects() ORDER BY error;
SELECT entity, on_conflict, attempts, sqlstate, error FROM marketing.sidecar_rejects ORDER BY error;
UPDATE marketing.sidecar_rejects SET on_conflict = 'newest' WHERE on_conflict = 'Newest';
UPDATE marketing.sidecar_rejects SET entity = 'company' WHERE entity = 'comapny';
DELETE FROM marketing.sidecar_rejects WHERE on_conflict = 'Eldest';
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects() ORDER BY 2;
SELECT company_unique_id, ein_number FROM marketing.company_sidecar WHERE company_unique_id IN ('c7', 'c8') ORDER BY 1;
INSERT INTO sidecar_company_inbox (company_unique_id, on_conflict) VALUES ('c8', repeat('x', 100000));
SELECT length(on_conflict), octet_length(error) FROM marketing.sidecar_rejects;
TRUNCATE marketing.sidecar_rejects;

-- another key would keep out what is not the same
CREATE UNIQUE INDEX one_per_key ON marketing.sidecar_rejects (unique_id);
SELECT sidecar_upsert_companies('{"company_unique_id": "x"}');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('x');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c1"}');
DROP INDEX marketing.one_per_key;
CREATE UNIQUE INDEX one_per_key ON marketing.sidecar_rejects (lower(unique_id)) WHERE unique_id = 'x';
SELECT sidecar_upsert_companies('{"company_unique_id": "x"}');
DROP INDEX marketing.one_per_key;
ALTER TABLE marketing.sidecar_rejects ADD CONSTRAINT one_per_key EXCLUDE (unique_id WITH =);
SELECT sidecar_upsert_companies('{"company_unique_id": "x"}');
ALTER TABLE marketing.sidecar_rejects DROP CONSTRAINT one_per_key;
-- one that says more than ours does not, nor do columns whatever their names
CREATE UNIQUE INDEX one_per_key ON marketing.sidecar_rejects (unique_id, reject_id);
CREATE UNIQUE INDEX one_per_hash ON marketing.sidecar_rejects (hash, unique_id);
ALTER TABLE marketing.sidecar_rejects ADD COLUMN is_mine integer, ADD COLUMN waits integer, ADD COLUMN is_older integer;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "x"}');
SELECT outcome FROM sidecar_retry_rejects(1);
ALTER TABLE marketing.sidecar_rejects DROP COLUMN is_mine, DROP COLUMN waits, DROP COLUMN is_older;
DROP INDEX marketing.one_per_key, marketing.one_per_hash;
TRUNCATE marketing.sidecar_rejects;

-- a hash that is not generated tells nothing
DROP INDEX marketing.idx_sidecar_rejects_hash;
ALTER TABLE marketing.sidecar_rejects ALTER hash DROP EXPRESSION, ALTER hash SET DEFAULT '';
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
SELECT to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "x"}, {"company_unique_id": "y"}]');
TRUNCATE marketing.sidecar_rejects;
CREATE UNIQUE INDEX idx_sidecar_rejects_hash ON marketing.sidecar_rejects (hash);
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "x"}, {"company_unique_id": "y"}]');
ALTER TABLE marketing.sidecar_rejects DROP COLUMN hash;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';

-- partitioned, it has not all that it needs; all else is there
CREATE TABLE parts (LIKE marketing.sidecar_rejects INCLUDING DEFAULTS INCLUDING GENERATED) PARTITION BY RANGE (rejected_at);
CREATE TABLE part PARTITION OF parts DEFAULT;
DROP TABLE marketing.sidecar_rejects CASCADE;
ALTER TABLE parts RENAME TO sidecar_rejects;
ALTER TABLE sidecar_rejects SET SCHEMA marketing;
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT people_sidecar_confidence_score_check;
SELECT object, outcome, left(hint, 76) AS hint FROM sidecar_install() WHERE outcome <> 'present';
SELECT to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "x"}');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "x"}');
SELECT count(*) FROM marketing.sidecar_rejects;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
CREATE UNIQUE INDEX ON part (unique_id) WHERE unique_id = 'y';
SELECT sidecar_upsert_companies('{"company_unique_id": "x"}');
DROP TABLE marketing.sidecar_rejects;

-- an older one is of numbers: all else is made, and it is brought up by hand
CREATE TABLE marketing.sidecar_rejects (reject_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, entity text NOT NULL, unique_id text, record jsonb NOT NULL, on_conflict text NOT NULL,
    error text NOT NULL, sqlstate text NOT NULL, attempts integer NOT NULL DEFAULT 1, rejected_at timestamptz NOT NULL DEFAULT now(), last_tried_at timestamptz NOT NULL DEFAULT now());
INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) VALUES ('company', 'old', '{"company_unique_id": "old", "ein_number": "1"}', 'overwrite', '', ''), ('company', 'old', '{"company_unique_id": "old", "ein_number": "2"}', 'overwrite', '', '');
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT people_sidecar_confidence_score_check;
SET client_min_messages = notice;
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
SET client_min_messages = warning;
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT sidecar_upsert_companies('{"company_unique_id": "x"}');
-- with the mark, too
CREATE TRIGGER sidecar_rejects_mark BEFORE UPDATE ON marketing.sidecar_rejects FOR EACH ROW EXECUTE FUNCTION sidecar_rejects_mark();
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
SELECT to_do FROM sidecar_status() WHERE entity IS NULL;
SELECT sidecar_upsert_companies('{"company_unique_id": "x"}');
DROP TRIGGER sidecar_rejects_mark ON marketing.sidecar_rejects;
ALTER TABLE marketing.sidecar_rejects RENAME reject_id TO record_no;
ALTER TABLE marketing.sidecar_rejects ALTER record_no DROP IDENTITY, ALTER record_no SET DEFAULT 1, DROP CONSTRAINT sidecar_rejects_pkey, ADD COLUMN reject_id uuid PRIMARY KEY DEFAULT gen_random_uuid();
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
INSERT INTO marketing.company_master VALUES ('old', 'Old');
SELECT outcome FROM sidecar_retry_rejects();
SELECT ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'old';
DROP TABLE marketing.sidecar_rejects CASCADE;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
CREATE VIEW parked AS SELECT record_no AS no, entity, unique_id, record, on_conflict, options, sqlstate, attempts FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;
-- a key that rows have twice is another matter than a record that is parked twice
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT people_sidecar_pkey, DROP CONSTRAINT fk_people_sidecar_person;
INSERT INTO marketing.people_sidecar (person_unique_id) VALUES ('p1'), ('p1');
SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present';
TRUNCATE marketing.people_sidecar;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';

-- an entity whose table tells a zone that nobody knows is left alone
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('Mars/Olympus');
INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, error, sqlstate) VALUES ('people', '{"person_unique_id": "p1"}', 'fill', '', ''), ('company', '{"company_unique_id": "c1", "clay_tags": "a"}', 'fill', '', '');
SELECT entity, outcome FROM sidecar_retry_rejects();
SELECT entity, attempts FROM parked;
CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at();
SELECT entity, outcome FROM sidecar_retry_rejects();

-- who may not do all that it takes is told so, and nothing is lost
CREATE ROLE regress_sidecar_operator;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_operator;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar, marketing.people_sidecar TO regress_sidecar_operator;
GRANT SELECT ON marketing.company_master, marketing.people_master TO regress_sidecar_operator;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "mine", "ein_number": "1"}, {"company_unique_id": "theirs", "ein_number": "1"}, {"company_unique_id": "nobody", "ein_number": "1"}]');
INSERT INTO marketing.company_master VALUES ('mine', 'Mine'), ('theirs', 'Theirs');
GRANT INSERT ON marketing.sidecar_rejects TO regress_sidecar_operator;
SET ROLE regress_sidecar_operator;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT SELECT ON marketing.sidecar_rejects TO regress_sidecar_operator;
SET ROLE regress_sidecar_operator;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT UPDATE ON marketing.sidecar_rejects TO regress_sidecar_operator;
SET ROLE regress_sidecar_operator;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT DELETE ON marketing.sidecar_rejects TO regress_sidecar_operator;
REVOKE INSERT ON marketing.company_sidecar FROM regress_sidecar_operator;
SET ROLE regress_sidecar_operator;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT INSERT ON marketing.company_sidecar TO regress_sidecar_operator;
-- policies of the sidecar refuse, those of the parked records hide
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON marketing.company_sidecar USING (company_unique_id <> 'theirs');
SET ROLE regress_sidecar_operator;
BEGIN;
SELECT unique_id, outcome, error FROM sidecar_retry_rejects();
ROLLBACK;
RESET ROLE;
ALTER TABLE marketing.company_sidecar DISABLE ROW LEVEL SECURITY;
DROP POLICY mine ON marketing.company_sidecar;
ALTER TABLE marketing.sidecar_rejects ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON marketing.sidecar_rejects FOR SELECT USING (unique_id <> 'theirs');
CREATE POLICY changed ON marketing.sidecar_rejects FOR UPDATE USING (unique_id <> 'theirs');
SET ROLE regress_sidecar_operator;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT unique_id, attempts FROM parked;
SELECT count(*) FROM marketing.company_sidecar WHERE company_unique_id IN ('mine', 'theirs');
CREATE POLICY cleared ON marketing.sidecar_rejects FOR DELETE USING (true);
SET ROLE regress_sidecar_operator;
SELECT unique_id, outcome FROM sidecar_retry_rejects();
-- nor may he park what a policy refuses
SELECT sidecar_upsert_companies('{"company_unique_id": "nobody2"}');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT unique_id, attempts FROM parked;
ALTER TABLE marketing.sidecar_rejects DISABLE ROW LEVEL SECURITY;
DROP POLICY seen ON marketing.sidecar_rejects;
DROP POLICY changed ON marketing.sidecar_rejects;
DROP POLICY cleared ON marketing.sidecar_rejects;
SELECT unique_id, outcome FROM sidecar_retry_rejects();
DROP OWNED BY regress_sidecar_operator;
DROP ROLE regress_sidecar_operator;
TRUNCATE marketing.sidecar_rejects;

-- least recently tried first, so that the broken ones do not starve the rest; of
-- one key the older one is stored first
SELECT count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c1', 'ein_number', i, 'broken', i)) FROM generate_series(1, 10) i));
SELECT count(*) FROM sidecar_upsert_companies('[{"company_unique_id": "soon", "ein_number": "1"}, {"company_unique_id": "soon", "ein_number": "2"}]');
INSERT INTO marketing.company_master VALUES ('soon', 'Soon');
SELECT outcome, count(*) FROM sidecar_retry_rejects(10) GROUP BY 1;
SELECT unique_id, outcome FROM sidecar_retry_rejects(10) WHERE outcome <> 'rejected';
SELECT ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'soon';
SELECT attempts, count(*) FROM marketing.sidecar_rejects GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM sidecar_retry_rejects(3);
SELECT count(*) FROM sidecar_retry_rejects(0);
SELECT sidecar_retry_rejects(-1);
\echo :LAST_ERROR_SQLSTATE
-- also two calls of one transaction are in their order
TRUNCATE marketing.sidecar_rejects;
BEGIN;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "twice", "ein_number": "1"}]');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('twice', '2'), ('twice', '3');
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "twice", "ein_number": "4"}]');
COMMIT;
SELECT no, record->>'ein_number' AS ein FROM parked;
INSERT INTO marketing.company_master VALUES ('twice', 'Twice');
SELECT outcome FROM sidecar_retry_rejects();
SELECT ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'twice';

-- what was overtaken fills what nobody else gave; of several such the last one
SELECT count(*) FROM sidecar_upsert_companies('[{"company_unique_id": "late", "ein_number": "old", "dun_and_bradstreet_number": "older", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "late", "dun_and_bradstreet_number": "old", "last_enriched_at": "2026-01-02"}, {"company_unique_id": "late", "ein_number": "older", "last_enriched_at": "2026-01-01"}]');
SELECT count(*) FROM sidecar_upsert_companies('{"company_unique_id": "late", "clay_tags": ["newest"], "last_enriched_at": "2026-01-01"}', 'newest');
INSERT INTO marketing.company_master VALUES ('late', 'Late');
SELECT sidecar_upsert_company('late', clay_segments => '{new}', last_enriched_at => '2026-02-01');
SELECT outcome FROM sidecar_retry_rejects();
SELECT ein_number, dun_and_bradstreet_number, clay_tags, clay_segments FROM marketing.company_sidecar WHERE company_unique_id = 'late';
SELECT count(*) FROM parked;
-- or stays, if it cannot
SELECT count(*) FROM sidecar_upsert_companies('{"company_unique_id": "late", "ein_number": "1", "enrichment_payload": {"bad": 1}, "confidence_score": 500, "last_enriched_at": "2026-01-01"}');
UPDATE marketing.sidecar_rejects SET record = record - 'confidence_score';
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT no_bad CHECK (NOT enrichment_payload ? 'bad');
SELECT outcome FROM sidecar_retry_rejects();
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT no_bad;
SELECT outcome FROM sidecar_retry_rejects();
SELECT enrichment_payload FROM marketing.company_sidecar WHERE company_unique_id = 'late';

-- of the same time what came after it stays, but of several parked ones the last is stored
TRUNCATE marketing.sidecar_rejects;
INSERT INTO marketing.company_master VALUES ('tie1', 'Tie'), ('tie2', 'Tie');
SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "tie1", "ein_number": "old", "confidence_score": 700}, {"company_unique_id": "tie1", "ein_number": "new", "confidence_score": 90},
    {"company_unique_id": "tie2", "ein_number": "old", "clay_tags": ["x"], "confidence_score": 700, "last_enriched_at": "2026-01-01"}, {"company_unique_id": "tie2", "ein_number": "new", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "tie3", "ein_number": "1"}, {"company_unique_id": "tie3", "ein_number": "2"}, {"company_unique_id": "tie4", "ein_number": "1", "last_enriched_at": "2026-01-01"},
    {"company_unique_id": "tie4", "ein_number": "2", "last_enriched_at": "2026-01-01"}, {"company_unique_id": "tie4", "ein_number": "0", "last_enriched_at": "2025-01-01"}]');
UPDATE marketing.sidecar_rejects SET record = record || '{"confidence_score": 70}';
INSERT INTO marketing.company_master VALUES ('tie3', 'Tie'), ('tie4', 'Tie');
SELECT unique_id, outcome FROM sidecar_retry_rejects();
SELECT company_unique_id, ein_number, confidence_score, clay_tags FROM marketing.company_sidecar WHERE company_unique_id ~ '^tie' ORDER BY 1;

-- what a policy refuses is rejected, and stops nobody else's
CREATE ROLE regress_sidecar_retrier;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_retrier;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_retrier;
GRANT SELECT, UPDATE, DELETE ON marketing.sidecar_rejects TO regress_sidecar_retrier;
GRANT SELECT ON marketing.company_master TO regress_sidecar_retrier;
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY not_evil ON marketing.company_sidecar USING (ein_number IS DISTINCT FROM 'evil');
SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "later1", "ein_number": "evil"}, {"company_unique_id": "later2", "ein_number": "good"}, {"company_unique_id": "later3", "ein_number": "good"}]');
INSERT INTO marketing.company_master VALUES ('later1', 'Later'), ('later2', 'Later'), ('later3', 'Later');
SET ROLE regress_sidecar_retrier;
SELECT unique_id, outcome, error FROM sidecar_retry_rejects(1);
SELECT unique_id, outcome FROM sidecar_retry_rejects();
RESET ROLE;
SELECT unique_id, sqlstate, attempts FROM marketing.sidecar_rejects;
DROP POLICY not_evil ON marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_sidecar_retrier;
DROP ROLE regress_sidecar_retrier;
TRUNCATE marketing.sidecar_rejects;
DELETE FROM marketing.company_master WHERE company_unique_id ~ '^(tie|later)';

-- a key that is checked no earlier than at COMMIT
ALTER TABLE marketing.company_sidecar ALTER CONSTRAINT fk_company_sidecar_company DEFERRABLE INITIALLY DEFERRED;
INSERT INTO marketing.company_master SELECT 'm' || i, 'Company' FROM generate_series(1, 2500) i;
BEGIN;
SELECT outcome, count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'm' || i)) FROM generate_series(1, 2501) i)) GROUP BY 1 ORDER BY 1;
SELECT outcome, count(*) FROM sidecar_import_companies('[{"company_unique_id": "m1"}, {"company_unique_id": "none"}]') GROUP BY 1 ORDER BY 1;
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('none'), ('m2');
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('none2'), ('m3') RETURNING company_unique_id, outcome;
SAVEPOINT one;
SELECT sidecar_upsert_company('none');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
SELECT sidecar_upsert_company('none', on_conflict => 'fill');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
COMMIT;
SELECT unique_id, sqlstate, count(*) FROM parked GROUP BY 1, 2 ORDER BY 1;
SELECT count(*) FROM marketing.company_sidecar WHERE company_unique_id ~ '^(m|none)';
-- nor for who may not read the masters, and with another key that waits
CREATE TABLE sources (name text PRIMARY KEY);
INSERT INTO sources VALUES ('clay');
ALTER TABLE marketing.company_sidecar ADD FOREIGN KEY (enrichment_source) REFERENCES sources DEFERRABLE INITIALLY IMMEDIATE;
SET ROLE regress_sidecar_writer;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT unique_id, outcome, left(error, 80) AS error FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "enrichment_source": "clay"}, {"company_unique_id": "c3", "enrichment_source": "nobody"}, {"company_unique_id": "none3"}]');
COMMIT;
RESET ROLE;
-- a row of the user's own whose master comes later is none of ours
BEGIN;
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('soon2');
SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c4"}, {"company_unique_id": "none4"}]');
INSERT INTO marketing.company_master VALUES ('soon2', 'Soon');
COMMIT;
-- a disabled key asks for nothing, as ever
ALTER TABLE marketing.company_sidecar DISABLE TRIGGER ALL;
SET ROLE regress_sidecar_writer;
SELECT sidecar_upsert_company('orphan');
RESET ROLE;
ALTER TABLE marketing.company_sidecar ENABLE TRIGGER ALL;
DELETE FROM marketing.company_sidecar WHERE company_unique_id = 'orphan';
DROP TABLE sources CASCADE;
ALTER TABLE marketing.company_sidecar ALTER CONSTRAINT fk_company_sidecar_company NOT DEFERRABLE;
TRUNCATE marketing.sidecar_rejects;
DELETE FROM marketing.company_master WHERE company_unique_id ~ '^m';
DROP OWNED BY regress_sidecar_writer;
DROP ROLE regress_sidecar_writer;

-- keys are equal as the column says, whose collation may know no case
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE caseless (company_unique_id text COLLATE nocase PRIMARY KEY);
INSERT INTO caseless VALUES ('a'), ('b'), ('c');
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
TRUNCATE marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar ALTER company_unique_id TYPE text COLLATE nocase, ADD FOREIGN KEY (company_unique_id) REFERENCES caseless;
SELECT sidecar_upsert_company('A', '1');
SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "a", "ein_number": "2"}, {"company_unique_id": "B", "ein_number": "2"}, {"company_unique_id": "b", "ein_number": "3"},
    {"company_unique_id": "C", "ein_number": "4", "last_enriched_at": "2026-01-01"}, {"company_unique_id": "D"}]');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c', '5'), ('C', '6'), ('d', '7');
SELECT company_unique_id, ein_number FROM marketing.company_sidecar ORDER BY 1;
SELECT unique_id FROM parked ORDER BY 1;
INSERT INTO caseless VALUES ('d');
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY 1;
SELECT company_unique_id, ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'd';

-- moved and renamed it is found: the mark is its trigger
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "none", "clay_insight_summary": "1"}]');
ALTER TABLE marketing.sidecar_rejects SET SCHEMA public;
SELECT unique_id, outcome FROM sidecar_retry_rejects();
ALTER TABLE public.sidecar_rejects RENAME TO waiting;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "none", "clay_insight_summary": "2"}]');
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('none');
SELECT entity, rejected FROM sidecar_summary();
SELECT entity, rejects_parked, to_do FROM sidecar_status() WHERE entity IS NULL OR entity = 'people';
SELECT object, outcome FROM sidecar_install() WHERE object ~ 'reject|waiting';
SELECT entity, sidecar_name, key_column, trigger_name, trigger_function, sidecar FROM sidecar_entity_bindings() WHERE entity IS NULL;
-- two that claim to be it are none, unless one is in its place
CREATE TABLE other (LIKE waiting INCLUDING ALL);
CREATE TRIGGER x BEFORE UPDATE ON other FOR EACH ROW EXECUTE FUNCTION sidecar_rejects_mark();
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "none"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT entity, rejected FROM sidecar_summary();
SELECT entity, rejects_parked FROM sidecar_status() WHERE entity IS NOT NULL;
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
ALTER TABLE waiting SET SCHEMA marketing;
SELECT count(*) FROM sidecar_retry_rejects();
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
DROP TABLE other;
-- nor one without the mark, or of somebody without the right to it
DROP TRIGGER sidecar_rejects_mark ON marketing.waiting;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_table, to_do FROM sidecar_status() WHERE entity IS NULL;
ALTER TABLE marketing.waiting RENAME TO sidecar_rejects;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT count(*) FROM sidecar_retry_rejects();
CREATE ROLE regress_sidecar_stranger;
ALTER TABLE marketing.sidecar_rejects OWNER TO regress_sidecar_stranger;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "none"}]');
GRANT EXECUTE ON FUNCTION sidecar_rejects_mark() TO regress_sidecar_stranger;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "none"}]');
ALTER TABLE marketing.sidecar_rejects OWNER TO CURRENT_USER;
DROP OWNED BY regress_sidecar_stranger;
DROP ROLE regress_sidecar_stranger;
-- whole schemas too
ALTER SCHEMA marketing RENAME TO enrichment;
SELECT unique_id, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1"}, {"person_unique_id": "none", "clay_insight_summary": "3"}]');
SELECT count(*) FROM sidecar_retry_rejects();
ALTER SCHEMA enrichment RENAME TO marketing;
-- and each table by itself
CREATE SCHEMA crm;
ALTER TABLE marketing.people_sidecar SET SCHEMA crm;
SELECT unique_id, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1"}, {"person_unique_id": "none", "clay_insight_summary": "4"}]');
ALTER TABLE marketing.people_master SET SCHEMA crm;
SELECT unique_id, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1"}, {"person_unique_id": "none", "clay_insight_summary": "5"}]');
ALTER TABLE marketing.sidecar_rejects SET SCHEMA crm;
SELECT unique_id, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1"}, {"person_unique_id": "none", "clay_insight_summary": "6"}]');
SELECT count(*) FROM sidecar_retry_rejects();
SELECT entity, rejects_parked FROM sidecar_status();
ALTER TABLE crm.people_sidecar SET SCHEMA marketing;
ALTER TABLE crm.people_master SET SCHEMA marketing;
ALTER TABLE crm.sidecar_rejects SET SCHEMA marketing;
DROP SCHEMA crm;
-- its rules would do something else
CREATE RULE keep AS ON DELETE TO marketing.sidecar_rejects DO INSTEAD NOTHING;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
DROP RULE keep ON marketing.sidecar_rejects;

-- one entity's trouble is not the other's
TRUNCATE marketing.sidecar_rejects;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "early"}');
SELECT outcome FROM sidecar_upsert_people('{"person_unique_id": "early"}');
INSERT INTO caseless VALUES ('early');
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT fk_people_sidecar_person;
SELECT entity, outcome FROM sidecar_retry_rejects();
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "later"}');
DROP TABLE marketing.people_sidecar;
INSERT INTO caseless VALUES ('later');
SELECT entity, outcome FROM sidecar_retry_rejects();
SELECT entity, unique_id, attempts FROM parked;
SELECT entity, total FROM sidecar_coverage();
SELECT entity, rejected FROM sidecar_summary();
SELECT count(DISTINCT entity) FROM sidecar_field_coverage();
SELECT entity FROM sidecar_sources();
SELECT count(*) > 0 AS made FROM sidecar_install();
INSERT INTO marketing.people_master VALUES ('early', 'Early');
SELECT entity, outcome FROM sidecar_retry_rejects();

-- the trigger is one for each row before an update, and nothing else
CREATE TABLE t (a int);
CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION sidecar_rejects_mark();
INSERT INTO t VALUES (1);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_rejects_mark();
\echo :LAST_ERROR_SQLSTATE
DROP TABLE t;

-- without the extension the rows stay, and are found again
DROP VIEW parked;
TRUNCATE marketing.company_sidecar, marketing.people_sidecar;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_company_unique_id_fkey, ALTER company_unique_id TYPE varchar(50) COLLATE "default";
DROP EXTENSION sidecar CASCADE;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'marketing.sidecar_rejects'::regclass;
INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, error, sqlstate) VALUES ('company', '{"company_unique_id": "kept"}', 'fill', '', '');
CREATE EXTENSION sidecar;
SELECT record, outcome FROM sidecar_retry_rejects() r JOIN marketing.sidecar_rejects USING (reject_id);
INSERT INTO marketing.company_master VALUES ('kept', 'Kept');
SELECT entity, outcome FROM sidecar_retry_rejects();
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP TABLE caseless;
DROP COLLATION nocase;

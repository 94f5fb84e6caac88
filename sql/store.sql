-- What became of a record, and what a session keeps: the same for every way in.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 4) i;
CREATE VIEW stored AS SELECT company_unique_id, ein_number, confidence_score FROM marketing.company_sidecar ORDER BY 1;

-- a veto is no answer but "skipped", whatever the rule
CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.ein_number = 'veto' THEN RETURN NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER veto BEFORE INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION veto();
SELECT sidecar_upsert_company('c1', 'veto'), sidecar_upsert_company('c2', '2', last_enriched_at => '2020-01-01');
SELECT rule, sidecar_upsert_company('c2', 'veto', last_enriched_at => '2020-01-01', on_conflict => rule) AS stored, sidecar_upsert_company('c3', 'veto', on_conflict => rule) AS new
FROM unnest(ARRAY['overwrite', 'newest', 'most_confident', 'fill']) rule;
SELECT rule, (SELECT string_agg(outcome, ', ' ORDER BY record) FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "ein_number": "veto"}, {"company_unique_id": "c3", "ein_number": "veto"},
    {"company_unique_id": "c4", "ein_number": "4", "last_enriched_at": "2020-01-01"}]', rule)) AS outcomes
FROM unnest(ARRAY['overwrite', 'newest', 'most_confident', 'fill']) rule;
TABLE stored;
DROP TRIGGER veto ON marketing.company_sidecar;

-- a trigger that makes keys alike: each record has its own outcome
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.company_unique_id := lower(btrim(NEW.company_unique_id)); RETURN NEW; END $$;
CREATE TRIGGER tidy BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION tidy();
DELETE FROM marketing.company_sidecar;
SELECT sidecar_upsert_company(' C1 ', '1'), sidecar_upsert_company('c1', '1', last_enriched_at => '2020-01-01');
CREATE ROLE regress_sidecar_writer;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_writer;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_writer;
GRANT INSERT ON marketing.sidecar_rejects TO regress_sidecar_writer;
SET ROLE regress_sidecar_writer;
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": " C1", "ein_number": "2"}, {"company_unique_id": "C2 ", "ein_number": "2"}, {"company_unique_id": "c2", "ein_number": "3"},
    {"company_unique_id": "c3", "ein_number": "3", "last_enriched_at": "2020-01-01"}, {"company_unique_id": "nobody"}]');
RESET ROLE;
TABLE stored;
DROP TRIGGER tidy ON marketing.company_sidecar;
DROP FUNCTION tidy, veto;
TRUNCATE marketing.sidecar_rejects;

-- what a trigger raises lies in the record, unless it cannot
CREATE FUNCTION fuss() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.ein_number ~ '^\w{5}$' THEN RAISE 'raised' USING ERRCODE = NEW.ein_number; END IF; RETURN NEW; END $$;
CREATE TRIGGER fuss BEFORE INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION fuss();
CREATE FUNCTION try(state text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    SELECT string_agg(outcome, ', ' ORDER BY record) INTO answer
    FROM sidecar_upsert_companies(jsonb_build_array('{"company_unique_id": "c3"}'::jsonb, jsonb_build_object('company_unique_id', 'c4', 'ein_number', state)));
    RETURN answer;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN SQLSTATE;
END $$;
SELECT state, try(state) FROM unnest(ARRAY['45000', '21000', '22012', '23514', '27000', '39P01', '38001', '44000', '54000', 'P0001', 'ZZ001', '0A000', 'HV000',
    '08006', '25006', '28000', '40001', '40P01', '42501', '42P01', '42703', '53100', '55P03', '57014', '58030', 'XX000']) state;
SELECT DISTINCT sqlstate FROM marketing.sidecar_rejects ORDER BY 1;
DROP TRIGGER fuss ON marketing.company_sidecar;
DROP FUNCTION fuss, try;

-- who may not write any more gets no answer by a look
SET ROLE regress_sidecar_writer;
SELECT sidecar_upsert_company('c2', '9', last_enriched_at => '2020-01-01') AS first, sidecar_upsert_company('c2', '9', last_enriched_at => '2020-01-01') AS again;
RESET ROLE;
REVOKE UPDATE ON marketing.company_sidecar FROM regress_sidecar_writer;
SET ROLE regress_sidecar_writer;
SELECT sidecar_upsert_company('c2', '9', last_enriched_at => '2020-01-01');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
DROP OWNED BY regress_sidecar_writer;
DROP ROLE regress_sidecar_writer;

-- a key that a trigger takes away, where the table lets it
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_pkey, ALTER company_unique_id DROP NOT NULL, ADD UNIQUE (company_unique_id);
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.ein_number = 'veto' THEN RETURN NULL; END IF;
    IF NEW.ein_number = 'lose' THEN NEW.company_unique_id := NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lose BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION lose();
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "lose"}, {"company_unique_id": "c2", "ein_number": "veto"}, {"company_unique_id": "c4", "ein_number": "5"}]');
ROLLBACK;
-- a composite of which a part is NULL is a value all the same
CREATE TYPE address AS (city text, zip text);
ALTER TABLE marketing.company_sidecar ADD COLUMN address address;
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c4", "address": {"city": "X"}}', 'fill');
SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c4", "address": {"city": "Y"}}', 'fill');
SELECT address FROM marketing.company_sidecar WHERE company_unique_id = 'c4';
ALTER TABLE marketing.company_sidecar DROP COLUMN address;
DROP TYPE address;
-- what lies among the parked records stops nobody, and nobody leaves with another
INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) VALUES ('company', 'c1', '{}', 'bogus', '', ''),
    ('company', 'c1', '{"company_unique_id": "c1", "ein_number": "parked"}', 'overwrite', '', ''), ('company', 'none', '{"company_unique_id": "none"}', 'overwrite', '', '');
SELECT unique_id, outcome FROM sidecar_retry_rejects() WHERE unique_id IN ('c1', 'none') ORDER BY 1;
BEGIN;
ALTER TABLE marketing.sidecar_rejects DROP CONSTRAINT sidecar_rejects_pkey, ADD COLUMN own int GENERATED ALWAYS AS IDENTITY PRIMARY KEY;
SELECT sidecar_retry_rejects();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
TRUNCATE marketing.sidecar_rejects;
ALTER TABLE marketing.sidecar_rejects ALTER error TYPE varchar(1000);
SELECT count(*) FROM sidecar_install() WHERE outcome <> 'present';

-- plans are kept, but not more than a session may want, whatever it gives
DO $$
BEGIN
    FOR i IN 0..511 LOOP
        PERFORM sidecar_upsert_company('c3', CASE WHEN i & 1 > 0 THEN '1' END, CASE WHEN i & 2 > 0 THEN '2' END, CASE WHEN i & 4 > 0 THEN '{a}'::text[] END,
            CASE WHEN i & 8 > 0 THEN '{b}'::text[] END, CASE WHEN i & 16 > 0 THEN '{}'::jsonb END, CASE WHEN i & 32 > 0 THEN now() END, CASE WHEN i & 64 > 0 THEN 'clay' END,
            CASE WHEN i & 128 > 0 THEN 5 END, CASE WHEN i & 256 > 0 THEN 'newest' END);
    END LOOP;
END $$;
SELECT count(*) AS plans FROM pg_backend_memory_contexts WHERE name = 'sidecar plan';
-- one that is running is not thrown away by those that run in it
CREATE FUNCTION many() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.company_unique_id = 'c1' THEN
        FOR i IN 0..127 LOOP
            PERFORM sidecar_upsert_company('c3', CASE WHEN i & 1 > 0 THEN '3' END, CASE WHEN i & 2 > 0 THEN '4' END, CASE WHEN i & 4 > 0 THEN '{a}'::text[] END,
                CASE WHEN i & 8 > 0 THEN '{b}'::text[] END, CASE WHEN i & 16 > 0 THEN '{}'::jsonb END, CASE WHEN i & 32 > 0 THEN now() END, CASE WHEN i & 64 > 0 THEN 'clay' END);
        END LOOP;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER many BEFORE INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION many();
SELECT sidecar_upsert_company('c1', 'many', on_conflict => rule) FROM unnest(ARRAY['overwrite', 'newest', 'fill']) rule;
DROP TRIGGER many ON marketing.company_sidecar;
SELECT sidecar_upsert_company('c1', 'many', on_conflict => 'fill');
SELECT count(*) <= 64 AS bounded FROM pg_backend_memory_contexts WHERE name = 'sidecar plan';
-- nor executed under names that are another table's meanwhile
CREATE TABLE marketing.other (LIKE marketing.company_sidecar INCLUDING ALL);
CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE marketing.company_sidecar RENAME TO mine;
    ALTER TABLE marketing.other RENAME TO company_sidecar;
    RETURN NULL;
END $$;
CREATE TRIGGER swap BEFORE INSERT ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION swap();
DO $$ BEGIN RAISE WARNING '%', sidecar_upsert_company('c4', 'swapped'); END $$;
SELECT (SELECT count(*) FROM marketing.company_sidecar) AS other, (SELECT count(*) FROM marketing.mine WHERE ein_number = 'swapped') AS mine;
DROP TRIGGER swap ON marketing.mine;
SELECT sidecar_upsert_company('c4', 'swapped');
SELECT (SELECT count(*) FROM marketing.company_sidecar) AS other, (SELECT count(*) FROM marketing.mine WHERE ein_number = 'swapped') AS mine;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP FUNCTION many, swap;

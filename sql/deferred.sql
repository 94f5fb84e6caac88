-- Constraints that are checked no earlier than at COMMIT cost nobody else
-- anything: the bad record is rejected and parked, the others are stored, COMMIT
-- succeeds.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET timezone = 'UTC';
\pset format unaligned
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 2500) i;
CREATE VIEW parked AS SELECT unique_id, sqlstate FROM marketing.sidecar_rejects ORDER BY unique_id COLLATE "C", record::text COLLATE "C";
-- a statement of each way for three companies or people, of which the one in the middle is bad
CREATE FUNCTION send(of_entity text, keys text[], column_name text, given text[]) RETURNS TABLE (way text, outcomes text, stored text, parked text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    key_column text := CASE of_entity WHEN 'company' THEN 'company_unique_id' ELSE 'person_unique_id' END;
    plural text := CASE of_entity WHEN 'company' THEN 'companies' ELSE 'people' END;
    sidecar text := CASE of_entity WHEN 'company' THEN 'marketing.company_sidecar' ELSE 'marketing.people_sidecar' END;
    records jsonb := (SELECT jsonb_agg(jsonb_build_object(key_column, k, column_name, g) ORDER BY n) FROM unnest(keys, given) WITH ORDINALITY u (k, g, n));
BEGIN
    FOREACH way IN ARRAY '{batch,import,inbox,returning,retry}'::text[] LOOP
        BEGIN
            DELETE FROM marketing.sidecar_rejects;
            outcomes := NULL;
            CASE way
                WHEN 'batch' THEN EXECUTE format('SELECT string_agg(outcome, '' '' ORDER BY record) FROM sidecar_upsert_%s($1)', plural) INTO outcomes USING records;
                WHEN 'import' THEN EXECUTE format('SELECT string_agg(outcome, '' '' ORDER BY record) FROM sidecar_import_%s($1)', plural) INTO outcomes USING records::text;
                WHEN 'inbox' THEN EXECUTE format('INSERT INTO sidecar_%s_inbox (%I, %I) SELECT r->>%2$L, r->>%3$L FROM jsonb_array_elements($1) r', of_entity, key_column, column_name) USING records;
                WHEN 'returning' THEN
                    EXECUTE format('WITH i AS (INSERT INTO sidecar_%s_inbox (%I, %I) SELECT r->>%2$L, r->>%3$L FROM jsonb_array_elements($1) r RETURNING %2$I AS k, outcome) SELECT string_agg(outcome, '' '' ORDER BY k COLLATE "C") FROM i',
                                   of_entity, key_column, column_name) INTO outcomes USING records;
                WHEN 'retry' THEN
                    INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate, record_no)
                    SELECT of_entity, r->>key_column, r, 'overwrite', '', '', n FROM jsonb_array_elements(records) WITH ORDINALITY e (r, n);
                    outcomes := (SELECT string_agg(r.outcome, ' ' ORDER BY r.unique_id COLLATE "C") FROM sidecar_retry_rejects() r);
            END CASE;
            EXECUTE format('SELECT string_agg(concat_ws('' '', %1$I, %2$I), '', '' ORDER BY %1$I COLLATE "C") FROM %3$s WHERE %1$I = ANY ($1)', key_column, column_name, sidecar) INTO stored USING keys;
            parked := (SELECT string_agg(concat_ws(' ', p.unique_id, p.sqlstate), ', ') FROM parked p);
            -- what COMMIT would do
            SET CONSTRAINTS ALL IMMEDIATE;
            RAISE EXCEPTION USING ERRCODE = 'UNDO0';
        EXCEPTION
            WHEN SQLSTATE 'UNDO0' THEN NULL;
            WHEN OTHERS THEN outcomes := concat_ws(' ', outcomes, 'then', SQLSTATE);
        END;
        SET CONSTRAINTS ALL DEFERRED;
        RETURN NEXT;
    END LOOP;
END $$;

-- the master's key, initially deferred; 2,501 records, one without a master, beyond the first thousand
ALTER TABLE marketing.company_sidecar ALTER CONSTRAINT fk_company_sidecar_company DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT outcome, count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', CASE WHEN i = 1700 THEN 'nobody' ELSE 'c' || i END) ORDER BY i) FROM generate_series(1, 2501) i)) GROUP BY 1 ORDER BY 1;
COMMIT;
SELECT count(*) FROM marketing.company_sidecar;
TABLE parked;
TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;
BEGIN;
SELECT * FROM send('company', '{c1,none,c3}', 'ein_number', '{1,2,3}');
COMMIT;
-- initially immediate, and deferred by the transaction; people
ALTER TABLE marketing.company_sidecar ALTER CONSTRAINT fk_company_sidecar_company NOT DEFERRABLE;
ALTER TABLE marketing.people_sidecar ALTER CONSTRAINT fk_people_sidecar_person DEFERRABLE INITIALLY IMMEDIATE;
BEGIN;
SELECT * FROM send('people', '{p1,none,p3}', 'enrichment_source', '{1,2,3}');
SET CONSTRAINTS ALL DEFERRED;
SELECT * FROM send('people', '{p1,none,p3}', 'enrichment_source', '{1,2,3}');
SELECT sidecar_upsert_person('none');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
ALTER TABLE marketing.people_sidecar ALTER CONSTRAINT fk_people_sidecar_person NOT DEFERRABLE;

-- a second deferrable foreign key, of the user's, on a column of ours: new rows, then stored ones
CREATE TABLE marketing.sources (name text PRIMARY KEY);
INSERT INTO marketing.sources VALUES ('clay'), ('apify');
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT known FOREIGN KEY (enrichment_source) REFERENCES marketing.sources DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT * FROM send('company', '{c1,c2,c3}', 'enrichment_source', '{clay,bad,apify}');
ROLLBACK;
INSERT INTO marketing.company_sidecar (company_unique_id, enrichment_source) VALUES ('c1', 'apify'), ('c2', 'clay'), ('c3', 'clay');
BEGIN;
SELECT * FROM send('company', '{c1,c2,c3}', 'enrichment_source', '{clay,bad,apify}');
ROLLBACK;
-- on a column of the user's
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT known, ADD COLUMN tier text REFERENCES marketing.sources DEFERRABLE INITIALLY DEFERRED;
SELECT outcome FROM sidecar_install() WHERE outcome <> 'present';
BEGIN;
SELECT * FROM send('company', '{c1,c2,c3}', 'tier', '{clay,bad,apify}');
SELECT * FROM send('company', '{c5,c6,c7}', 'tier', '{clay,bad,apify}');
ROLLBACK;
-- of two that wait in one batch each is parked, under each rule
BEGIN;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "tier": "bad"}, {"company_unique_id": "c2", "tier": "clay"}, {"company_unique_id": "c8", "tier": "bad"}, {"company_unique_id": "c9", "tier": "apify"}]', 'fill');
COMMIT;
TABLE parked;
SELECT company_unique_id, tier FROM marketing.company_sidecar WHERE tier IS NOT NULL ORDER BY 1;
TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;
ALTER TABLE marketing.company_sidecar DROP COLUMN tier;

-- a deferrable unique column: taken by a row that is stored, and by one of the same call
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT one_ein UNIQUE (ein_number) DEFERRABLE INITIALLY DEFERRED;
INSERT INTO marketing.company_sidecar (company_unique_id, ein_number) VALUES ('c9', 'taken');
BEGIN;
SELECT * FROM send('company', '{c1,c2,c3}', 'ein_number', '{1,taken,3}');
SELECT * FROM send('company', '{c1,c2,c3}', 'ein_number', '{1,1,3}');
ROLLBACK;
INSERT INTO marketing.company_sidecar (company_unique_id, ein_number) VALUES ('c1', 'a'), ('c2', 'b'), ('c3', 'c');
BEGIN;
SELECT * FROM send('company', '{c1,c2,c3}', 'ein_number', '{1,taken,3}');
ROLLBACK;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT one_ein;
TRUNCATE marketing.company_sidecar;

-- a constraint trigger of the user's that raises
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM marketing.people_sidecar p WHERE p.person_unique_id = NEW.person_unique_id AND p.enrichment_source = 'bad') THEN RAISE 'refused' USING ERRCODE = '45000'; END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON marketing.people_sidecar DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN;
SELECT * FROM send('people', '{p1,p2,p3}', 'enrichment_source', '{clay,bad,apify}');
ROLLBACK;
INSERT INTO marketing.people_sidecar (person_unique_id) VALUES ('p1'), ('p2'), ('p3');
BEGIN;
SELECT * FROM send('people', '{p1,p2,p3}', 'enrichment_source', '{clay,bad,apify}');
ROLLBACK;
-- while the user's own rows wait nothing of his is checked early, but masters are looked for
BEGIN;
INSERT INTO marketing.people_sidecar (person_unique_id, enrichment_source) VALUES ('p4', 'bad');
SELECT outcome, left(error, 14) AS error FROM sidecar_upsert_people('[{"person_unique_id": "p5"}, {"person_unique_id": "nobody"}]');
SELECT sidecar_upsert_person('p6');
UPDATE marketing.people_sidecar SET enrichment_source = 'clay' WHERE person_unique_id = 'p4';
COMMIT;
-- what a batch has written waits no more, and what comes after it waits as ever
BEGIN;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p5", "enrichment_source": "clay"}, {"person_unique_id": "p6", "enrichment_source": "bad"}]');
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p5", "enrichment_source": "bad"}, {"person_unique_id": "p6", "enrichment_source": "clay"}]');
UPDATE marketing.people_sidecar SET enrichment_source = 'bad' WHERE person_unique_id = 'p4';
UPDATE marketing.people_sidecar SET enrichment_source = 'clay' WHERE person_unique_id = 'p4';
COMMIT;
TRUNCATE marketing.sidecar_rejects;
-- a constraint of that name on another table is not ours to check: then nothing is
CREATE TABLE marketing.other (enrichment_source text, person_unique_id text);
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON marketing.other DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN;
INSERT INTO marketing.other VALUES ('bad', 'p5');
SELECT outcome, left(error, 14) AS error FROM sidecar_upsert_people('[{"person_unique_id": "p5", "enrichment_source": "apify"}, {"person_unique_id": "nobody"}]');
COMMIT;
DROP TABLE marketing.other;
TRUNCATE marketing.sidecar_rejects;
-- nor is the key of a table that references ours
CREATE SCHEMA audit;
CREATE TABLE audit.notes (k text CONSTRAINT notes_key REFERENCES marketing.people_sidecar DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO audit.notes VALUES ('p7');
DELETE FROM marketing.people_sidecar WHERE person_unique_id = 'p4';
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p7"}, {"person_unique_id": "nobody"}]');
COMMIT;
DROP SCHEMA audit CASCADE;
TRUNCATE marketing.sidecar_rejects;
-- immediate by itself, and deferred beside it: each stays what it is
ALTER TABLE marketing.people_sidecar ADD CONSTRAINT one_summary UNIQUE (clay_insight_summary) DEFERRABLE INITIALLY IMMEDIATE;
BEGIN;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "p1", "clay_insight_summary": "one"}, {"person_unique_id": "p2", "clay_insight_summary": "one"}]');
SAVEPOINT one;
UPDATE marketing.people_sidecar SET clay_insight_summary = 'one' WHERE person_unique_id = 'p7';
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
SET CONSTRAINTS marketing.one_summary DEFERRED;
UPDATE marketing.people_sidecar SET clay_insight_summary = 'one' WHERE person_unique_id = 'p7';
UPDATE marketing.people_sidecar SET clay_insight_summary = 'two' WHERE person_unique_id = 'p7';
COMMIT;
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT one_summary;
DELETE FROM marketing.people_sidecar;
TRUNCATE marketing.sidecar_rejects;
-- a copy in and a retry, each a transaction of its own
COPY sidecar_people_inbox (person_unique_id, enrichment_source) FROM stdin;
p7	clay
p8	bad
p9	apify
\.
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY 1;
TABLE parked;
SELECT person_unique_id, enrichment_source FROM marketing.people_sidecar WHERE person_unique_id > 'p4' ORDER BY 1;
DROP TRIGGER refuse ON marketing.people_sidecar;
DROP FUNCTION refuse, send;
DROP VIEW parked;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- a partitioned sidecar, whose partitions have copies of the key
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_sidecar (company_unique_id varchar(50) PRIMARY KEY, ein_number varchar(20), dun_and_bradstreet_number varchar(20), clay_tags text[], clay_segments text[], enrichment_payload jsonb,
    last_enriched_at timestamp, enrichment_source text, confidence_score numeric(5, 2), created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now()) PARTITION BY HASH (company_unique_id);
CREATE TABLE marketing.one PARTITION OF marketing.company_sidecar FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE marketing.two PARTITION OF marketing.company_sidecar FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 1200) i;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company,
    ADD CONSTRAINT fk_company_sidecar_company FOREIGN KEY (company_unique_id) REFERENCES marketing.company_master ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT outcome, count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c' || i)) FROM generate_series(1, 1202) i)) GROUP BY 1 ORDER BY 1;
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('none'), ('c2');
SELECT outcome FROM sidecar_import_companies('[{"company_unique_id": "c3"}, {"company_unique_id": "none2"}]');
COMMIT;
SELECT count(*), (SELECT count(*) FROM marketing.sidecar_rejects) AS parked FROM marketing.company_sidecar;
INSERT INTO marketing.company_master VALUES ('none', 'None');
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY 1;
-- and one that a partition has of its own
TRUNCATE marketing.sidecar_rejects, marketing.company_sidecar;
ALTER TABLE marketing.one ADD UNIQUE (ein_number) DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c' || i, 'ein_number', '7')) FROM generate_series(1, 20) i));
COMMIT;
SELECT (SELECT count(*) FROM marketing.one) AS one, (SELECT count(*) FROM marketing.two) > 1 AS two, (SELECT count(*) FROM marketing.company_sidecar) + (SELECT count(*) FROM marketing.sidecar_rejects) AS both;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

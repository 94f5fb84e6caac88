-- The sidecar table is the one that carries the trigger, its master the one
-- that the foreign key references: functions follow every change, in a session
-- that has its plans already.
SET client_min_messages = warning;
-- nobody doubts that what is taken over has times of UTC
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 3) i;

PREPARE up(text, text) AS SELECT sidecar_upsert_company($1, $2, last_enriched_at => '2020-01-01');
PREPARE newest(text, text) AS SELECT sidecar_upsert_company($1, $2, last_enriched_at => '2019-01-01', on_conflict => 'newest');
PREPARE coverage AS SELECT * FROM sidecar_coverage() WHERE entity = 'company';
PREPARE stale AS SELECT company_unique_id, company_name FROM sidecar_stale_companies();
EXECUTE up('c1', '1');
EXECUTE newest('c1', '2');
EXECUTE coverage;
EXECUTE stale;

-- tables and schema renamed and moved
ALTER TABLE marketing.company_sidecar RENAME TO "Company Enrichment";
EXECUTE up('c1', '2');
EXECUTE stale;
CREATE SCHEMA "Elsewhere";
ALTER TABLE marketing."Company Enrichment" SET SCHEMA "Elsewhere";
ALTER TABLE marketing.company_master SET SCHEMA "Elsewhere";
ALTER TABLE "Elsewhere".company_master RENAME TO companies;
EXECUTE up('c2', '2');
EXECUTE newest('c2', '3');
EXECUTE coverage;
EXECUTE stale;
ALTER SCHEMA "Elsewhere" RENAME TO crm;
EXECUTE up('c2', '3');
EXECUTE coverage;
-- another table of the old name is not taken for it
CREATE TABLE marketing.company_sidecar (company_unique_id varchar(50) PRIMARY KEY);
EXECUTE up('c2', '4');
DROP TABLE marketing.company_sidecar;
-- the master's key column renamed
ALTER TABLE crm.companies RENAME COLUMN company_unique_id TO id;
EXECUTE up('c3', '3');
EXECUTE coverage;
EXECUTE stale;
SELECT * FROM sidecar_missing_companies();
-- trigger and foreign key renamed
ALTER TRIGGER company_sidecar_updated_at ON crm."Company Enrichment" RENAME TO touch;
ALTER TABLE crm."Company Enrichment" RENAME CONSTRAINT fk_company_sidecar_company TO fk;
EXECUTE up('c3', '4');
EXECUTE coverage;
SELECT entity, sidecar_table, master_table, to_do FROM sidecar_status() WHERE entity = 'company';
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT object, outcome FROM sidecar_create_masters() WHERE outcome <> 'present';

-- columns added, dropped, changed
ALTER TABLE crm."Company Enrichment" ADD COLUMN note text, ALTER COLUMN ein_number TYPE varchar(5);
EXECUTE up('c3', '12345');
EXECUTE up('c3', '123456');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE crm."Company Enrichment" ALTER COLUMN ein_number TYPE text;
EXECUTE up('c3', '123456');
-- an index more, an index less, a search_path of another kind
CREATE INDEX ON crm."Company Enrichment" (note);
SET search_path = crm;
DEALLOCATE up;
PREPARE up(text, text) AS SELECT public.sidecar_upsert_company($1, $2, last_enriched_at => '2020-01-01');
EXECUTE up('c3', '7');
RESET search_path;

-- the foreign key gone and back, validated or not
BEGIN;
ALTER TABLE crm."Company Enrichment" DROP CONSTRAINT fk;
SAVEPOINT s;
EXECUTE up('c3', '8');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
ALTER TABLE crm."Company Enrichment" ADD CONSTRAINT fk FOREIGN KEY (company_unique_id) REFERENCES crm.companies ON DELETE CASCADE NOT VALID;
EXECUTE up('c3', '8');
SELECT entity, foreign_key_validated, to_do FROM sidecar_status() WHERE entity = 'company';
ALTER TABLE crm."Company Enrichment" VALIDATE CONSTRAINT fk;
SELECT entity, foreign_key_validated, to_do FROM sidecar_status() WHERE entity = 'company';
COMMIT;
-- of two foreign keys on the key column, the one of our name counts
CREATE TABLE crm.registry (id text PRIMARY KEY);
INSERT INTO crm.registry VALUES ('c1'), ('c2'), ('c3');
ALTER TABLE crm."Company Enrichment" ADD CONSTRAINT another FOREIGN KEY (company_unique_id) REFERENCES crm.registry;
ALTER TABLE crm."Company Enrichment" RENAME CONSTRAINT fk TO fk_company_sidecar_company;
SELECT entity, master_table FROM sidecar_status() WHERE entity = 'company';
ALTER TABLE crm."Company Enrichment" DROP CONSTRAINT another;

-- two tables that carry the trigger: an error that names both, at once
CREATE TABLE crm.copy (LIKE crm."Company Enrichment");
CREATE TRIGGER copy BEFORE UPDATE ON crm.copy FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at();
EXECUTE up('c3', '9');
\echo :LAST_ERROR_SQLSTATE
EXECUTE coverage;
DROP TABLE crm.copy;
EXECUTE up('c3', '9');

-- rolled back is as if it never was
BEGIN;
ALTER TABLE crm."Company Enrichment" RENAME TO gone;
EXECUTE up('c3', '10');
ROLLBACK;
EXECUTE up('c3', '11');
EXECUTE coverage;
-- so is a table that is dropped, and one made anew
BEGIN;
DROP TABLE crm."Company Enrichment";
SAVEPOINT s;
EXECUTE up('c3', '12');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
ALTER TABLE crm.companies SET SCHEMA marketing;
ALTER TABLE marketing.companies RENAME TO company_master;
ALTER TABLE marketing.company_master RENAME COLUMN id TO company_unique_id;
SELECT object, outcome FROM sidecar_install() WHERE object ~ 'table|key' AND outcome <> 'present';
EXECUTE up('c3', '12');
EXECUTE coverage;
ROLLBACK;

-- a trigger that calls the function again, and one that suppresses the row
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.note = 'stop' THEN RETURN NULL; END IF;
    IF NEW.company_unique_id = 'c1' THEN
        PERFORM sidecar_upsert_company('c2', 'from c1', last_enriched_at => '2020-01-01');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER again BEFORE INSERT OR UPDATE ON crm."Company Enrichment" FOR EACH ROW EXECUTE FUNCTION again();
EXECUTE up('c1', 'x');
SELECT company_unique_id, ein_number FROM crm."Company Enrichment" ORDER BY 1;
DROP TRIGGER again ON crm."Company Enrichment";

-- DROP and CREATE EXTENSION in one session
DEALLOCATE up;
DEALLOCATE coverage;
ALTER TABLE crm."Company Enrichment" RENAME TO company_sidecar;
ALTER TABLE crm.company_sidecar SET SCHEMA marketing;
PREPARE up(text, text) AS SELECT sidecar_upsert_company($1, $2, last_enriched_at => '2020-01-01');
PREPARE coverage AS SELECT * FROM sidecar_coverage() WHERE entity = 'company';
EXECUTE up('c3', '13');
DROP EXTENSION sidecar CASCADE;
EXECUTE up('c3', '14');
\echo :LAST_ERROR_SQLSTATE
-- other types that serve are no obstacle, before a table is bound and after; ein_number was made text above
ALTER TABLE marketing.company_sidecar ALTER COLUMN ein_number TYPE bytea USING ein_number::bytea;
CREATE EXTENSION sidecar;
\echo :LAST_ERROR_SQLSTATE
CREATE DOMAIN tax_number AS varchar(30);
ALTER TABLE marketing.company_sidecar ALTER COLUMN ein_number TYPE tax_number USING convert_from(ein_number, 'UTF8'), ALTER COLUMN company_unique_id TYPE text,
    ALTER COLUMN last_enriched_at TYPE timestamptz, ALTER COLUMN confidence_score TYPE numeric, ALTER COLUMN clay_tags TYPE varchar(20)[];
CREATE EXTENSION sidecar;
EXECUTE up('c3', '14');
EXECUTE coverage;
SELECT entity, sidecar_table, master_table, to_do FROM sidecar_status();
-- a schema that nothing is to be made in is not missing
ALTER SCHEMA marketing RENAME TO elsewhere;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
ALTER SCHEMA elsewhere RENAME TO marketing;

-- one master for both entities: both hear of what becomes of it
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT IF EXISTS fk_people_sidecar_person;
ALTER TABLE marketing.people_sidecar ADD CONSTRAINT fk_people_sidecar_person FOREIGN KEY (person_unique_id) REFERENCES crm.companies ON DELETE CASCADE;
SELECT sidecar_upsert_company('c1', '15'), sidecar_upsert_person('c1', 'party');
ALTER TABLE crm.companies RENAME TO party;
SELECT entity, master_table FROM sidecar_status() ORDER BY 1;
SELECT outcome, error FROM sidecar_upsert_people('[{"person_unique_id": "c2"}, {"person_unique_id": "none"}]');
SELECT outcome, error FROM sidecar_upsert_companies('[{"company_unique_id": "c2"}, {"company_unique_id": "none"}]');
SELECT * FROM sidecar_coverage();

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing, crm CASCADE;
DROP FUNCTION again;
DEALLOCATE ALL;

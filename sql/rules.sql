-- The rules do not lie about the row: what stands stays under fill, numbers and
-- times are compared as they are stored, and a stored row is updated, whatever
-- would refuse a new one.

SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
CREATE VIEW c AS SELECT company_unique_id AS id, ein_number AS ein, clay_tags AS tags, last_enriched_at AS at, enrichment_source AS source, confidence_score AS score
FROM marketing.company_sidecar ORDER BY 1;

-- an old and weak source fills one field: time, score and source of the row stand
SELECT sidecar_upsert_company('c1', 'strong', last_enriched_at => '2025-11-01', enrichment_source => 'clay', confidence_score => 95);
SELECT sidecar_upsert_company('c1', clay_tags => '{old}', last_enriched_at => '2020-01-01', enrichment_source => 'weak', confidence_score => 10, on_conflict => 'fill');
SELECT sidecar_upsert_company('c1', '2021', last_enriched_at => '2021-01-01', on_conflict => 'newest') AS newest, sidecar_upsert_company('c1', '81', confidence_score => 81, last_enriched_at => '2025-11-02', on_conflict => 'most_confident') AS most_confident;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "clay_tags": ["x"], "clay_segments": ["s"], "last_enriched_at": "2020-01-01", "enrichment_source": "weak", "confidence_score": 1}, {"company_unique_id": "c1", "clay_segments": ["t"], "enrichment_source": "weak"}]', 'fill');
INSERT INTO sidecar_company_inbox (company_unique_id, clay_tags, enrichment_source, on_conflict) VALUES ('c1', 'y', 'weak', 'fill'), ('c2', 'y', NULL, 'fill');
-- provenance alone is filled as well
SELECT sidecar_upsert_company('c2', enrichment_source => 'apify', confidence_score => 40, on_conflict => 'fill') AS filled, sidecar_upsert_company('c2', enrichment_source => 'weak', confidence_score => 41, on_conflict => 'fill') AS stands;
SELECT id, ein, tags, at < now() AS dated, source, score FROM c;

-- scores as they are stored
SELECT sidecar_upsert_company('c3', 'a', confidence_score => 70.004, last_enriched_at => '2026-01-01', on_conflict => 'most_confident') AS first, sidecar_upsert_company('c3', 'b', confidence_score => 69.996, last_enriched_at => '2026-01-01', on_conflict => 'most_confident') AS equal,
       sidecar_upsert_company('c3', 'c', confidence_score => 69.994, last_enriched_at => '2026-01-01', on_conflict => 'most_confident') AS less, sidecar_upsert_company('c3', 'd', confidence_score => 70.0000001::real, last_enriched_at => '2026-01-01', on_conflict => 'most_confident') AS of_real;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c3", "ein_number": "e", "confidence_score": 69.9951, "last_enriched_at": "2026-01-01"}, {"company_unique_id": "c3", "ein_number": "f", "confidence_score": 69.9949, "last_enriched_at": "2026-01-01"}]', 'most_confident');
SELECT ein, score FROM c WHERE id = 'c3';

-- a stored row is updated, whatever a new one would need
CREATE DOMAIN certain AS text NOT NULL;
CREATE FUNCTION try_all(id text, ein text, OUT single text, OUT many text, OUT inbox text) LANGUAGE plpgsql AS $$
DECLARE
    n bigint := (SELECT count(*) FROM marketing.sidecar_rejects);
BEGIN
    BEGIN
        single := sidecar_upsert_company(id, ein || 1);
    EXCEPTION WHEN OTHERS THEN
        single := SQLSTATE;
    END;
    BEGIN
        SELECT string_agg(u.outcome, ' ') INTO many FROM sidecar_upsert_companies(jsonb_build_array(jsonb_build_object('company_unique_id', id, 'ein_number', ein || 2), '{"company_unique_id": "c1"}'::jsonb, jsonb_build_object('company_unique_id', id, 'clay_tags', '[]'::jsonb))) u;
    EXCEPTION WHEN OTHERS THEN
        many := SQLSTATE;
    END;
    BEGIN
        INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES (id, ein || 3), ('c1', NULL);
        inbox := ((SELECT count(*) FROM marketing.sidecar_rejects) - n) || ' parked';
    EXCEPTION WHEN OTHERS THEN
        inbox := SQLSTATE;
    END;
END $$;
ALTER TABLE marketing.company_sidecar ADD COLUMN tier text;
UPDATE marketing.company_sidecar SET tier = 'gold';
ALTER TABLE marketing.company_sidecar ALTER tier SET NOT NULL;
SELECT * FROM try_all('c3', 'not null');
SELECT * FROM try_all('c4', 'new');
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c4", "tier": "iron"}, {"company_unique_id": "c3", "ein_number": "tier not given"}, {"company_unique_id": "c5"}]');
ALTER TABLE marketing.company_sidecar ALTER tier DROP NOT NULL, ADD CONSTRAINT has_tier CHECK (tier IS NOT NULL);
SELECT * FROM try_all('c3', 'check');
SELECT * FROM try_all('c5', 'new');
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT has_tier, ALTER tier TYPE certain;
SELECT * FROM try_all('c3', 'domain');
SELECT * FROM try_all('c5', 'new');
-- by every rule, and what the rule keeps stays
SELECT rule, sidecar_upsert_company('c3', 'rule', last_enriched_at => '2020-01-01', confidence_score => 1, on_conflict => rule) AS single,
       (SELECT outcome FROM sidecar_upsert_companies('{"company_unique_id": "c3", "ein_number": "rule", "last_enriched_at": "2020-01-01", "confidence_score": 1}', rule)) AS many FROM unnest('{newest,most_confident,fill,overwrite}'::text[]) rule;
SELECT sidecar_upsert_company('c3', 'rule', last_enriched_at => '2020-01-01', confidence_score => 1) AS again, sidecar_upsert_company('c3', last_enriched_at => '2020-01-01', clear => '{ein_number}') AS cleared, sidecar_upsert_company('c3', 'filled', on_conflict => 'fill') AS filled;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c3', 'do nothing'), ('c5', 'do nothing') ON CONFLICT DO NOTHING;
SELECT * FROM c WHERE id = 'c3';
SELECT unique_id, sqlstate, count(*) FROM marketing.sidecar_rejects GROUP BY 1, 2 ORDER BY 1, 2;
ALTER TABLE marketing.company_sidecar DROP COLUMN tier;
DROP DOMAIN certain;
DELETE FROM marketing.sidecar_rejects;

-- nor a policy for new rows
ALTER TABLE marketing.company_sidecar ADD COLUMN tenant text DEFAULT 'nobody';
UPDATE marketing.company_sidecar SET tenant = 'blue';
UPDATE marketing.company_sidecar SET tenant = 'red' WHERE company_unique_id = 'c2';
CREATE ROLE regress_blue;
GRANT USAGE ON SCHEMA marketing TO regress_blue;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA marketing TO regress_blue;
GRANT INSERT ON sidecar_company_inbox TO regress_blue;
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenants ON marketing.company_sidecar TO regress_blue USING (tenant = 'blue') WITH CHECK (tenant = 'blue');
SET ROLE regress_blue;
SELECT * FROM try_all('c3', 'policy');
SELECT * FROM try_all('c5', 'new');
SELECT * FROM try_all('c2', 'hidden');
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c6", "tenant": "blue"}, {"company_unique_id": "c3", "ein_number": "tenant not given"}, {"company_unique_id": "nobody", "tenant": "blue"}]');
RESET ROLE;
SELECT id, ein FROM c WHERE id IN ('c2', 'c3', 'c5');
ALTER TABLE marketing.company_sidecar DISABLE ROW LEVEL SECURITY;

-- whom a trigger keeps away is told so, and who may not write is refused
CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.ein_number = ''veto'' THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE TRIGGER veto BEFORE INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION veto();
SELECT sidecar_upsert_company('c3', 'veto') AS stored, sidecar_upsert_company('c7', 'veto') AS new, sidecar_upsert_company('c3', 'no veto', last_enriched_at => '2026-02-02') AS first, sidecar_upsert_company('c3', 'no veto', last_enriched_at => '2026-02-02') AS again;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c3", "ein_number": "veto"}, {"company_unique_id": "c7", "ein_number": "veto"}]');
REVOKE UPDATE ON marketing.company_sidecar FROM regress_blue;
SET ROLE regress_blue;
SELECT sidecar_upsert_company('c3', 'no veto', last_enriched_at => '2026-02-02');
SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c3", "ein_number": "no veto", "last_enriched_at": "2026-02-02"}');
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c3');
RESET ROLE;
DROP OWNED BY regress_blue;
DROP ROLE regress_blue;

-- what is the rule where none is named
SET sidecar.on_conflict = fill;
SELECT sidecar_upsert_company('c8', 'a', last_enriched_at => '2026-01-01') AS new, sidecar_upsert_company('c8', 'b', last_enriched_at => '2026-01-02') AS filled, sidecar_upsert_company('c8', 'c', last_enriched_at => '2026-01-01', on_conflict => 'overwrite') AS named;
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c8", "ein_number": "d"}, {"company_unique_id": "nobody"}]');
SELECT outcome FROM sidecar_import_companies('{"company_unique_id": "c8", "ein_number": "e"}', 'newest');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, on_conflict) VALUES ('c8', 'f', NULL), ('c8', 'g', ' ');
SELECT ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'c8';
SELECT unique_id, on_conflict FROM marketing.sidecar_rejects WHERE unique_id = 'nobody' ORDER BY rejected_at DESC LIMIT 1;
SET sidecar.on_conflict = latest;
RESET sidecar.on_conflict;

-- where neither INSERT nor UPDATE of the stored row passes, the reason is that of the UPDATE
TRUNCATE marketing.sidecar_rejects;
ALTER TABLE marketing.company_sidecar ADD must text;
UPDATE marketing.company_sidecar SET must = 'x';
ALTER TABLE marketing.company_sidecar ALTER must SET NOT NULL, ADD CONSTRAINT nogo CHECK (ein_number <> 'bad');
SELECT unique_id, outcome, left(error, 60) AS error FROM sidecar_upsert_companies('[{"company_unique_id": "c8", "ein_number": "bad"}, {"company_unique_id": "c9", "ein_number": "new"}]');

DROP VIEW c;
DROP FUNCTION try_all;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP FUNCTION veto;

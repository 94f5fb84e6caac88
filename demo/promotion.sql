-- From intake to master, and optionally to the sidecar: plain SQL to adapt.
-- A record that is not valid stays in intake with the reasons; enrichment never
-- decides whether a record is promoted.

-- Companies: what is wrong with each record, if anything
UPDATE intake.company_raw_intake i
SET reasons = array_remove(ARRAY[
        CASE WHEN i.company_unique_id IS NULL THEN 'no id' END,
        CASE WHEN COALESCE(btrim(i.company_name), '') = '' THEN 'no name' END,
        CASE WHEN i.website !~ '^[a-z0-9.-]+\.[a-z]+$' THEN 'no website: ' || i.website END,
        CASE WHEN EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = i.company_unique_id)
             THEN 'there is a company of that id' END], NULL);

-- the valid ones move, each with what its sender knew about it, in one transaction
BEGIN;
INSERT INTO marketing.company_master (company_unique_id, company_name, website, sector)
SELECT company_unique_id, company_name, website, sector FROM intake.company_raw_intake WHERE reasons = '{}';
SELECT sidecar_upsert_company(company_unique_id, ein_number => ein_number, enrichment_source => 'intake',
                              last_enriched_at => received_at, confidence_score => 60, on_conflict => 'fill') AS company_enrichment, count(*)
FROM intake.company_raw_intake
WHERE reasons = '{}' AND ein_number IS NOT NULL AND sector IN ('Information Technology', 'Health Care', 'Consumer Staples')
GROUP BY 1;
DELETE FROM intake.company_raw_intake WHERE reasons = '{}';
COMMIT;

-- People: the same, against the companies that are there now
UPDATE intake.people_raw_intake i
SET reasons = array_remove(ARRAY[
        CASE WHEN i.unique_id IS NULL THEN 'no id' END,
        CASE WHEN COALESCE(btrim(i.full_name), '') = '' THEN 'no name' END,
        CASE WHEN EXISTS (SELECT FROM marketing.people_master m WHERE m.unique_id = i.unique_id)
             THEN 'there is a person of that id' END,
        CASE WHEN NOT EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = i.company_unique_id)
             THEN 'no such company: ' || COALESCE(i.company_unique_id, 'none') END], NULL);

BEGIN;
INSERT INTO marketing.people_master (unique_id, full_name, title, company_unique_id)
SELECT unique_id, full_name, title, company_unique_id FROM intake.people_raw_intake WHERE reasons = '{}';
SELECT sidecar_upsert_person(unique_id, social_profiles => jsonb_build_object('twitter', twitter), enrichment_source => 'intake',
                             last_enriched_at => received_at, confidence_score => 60, on_conflict => 'fill') AS person_enrichment, count(*)
FROM intake.people_raw_intake WHERE reasons = '{}' AND twitter IS NOT NULL GROUP BY 1;
DELETE FROM intake.people_raw_intake WHERE reasons = '{}';
COMMIT;

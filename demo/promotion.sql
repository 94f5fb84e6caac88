-- From intake to master, and optionally to the sidecar: plain SQL to adapt, one
-- transaction each.  A record that is not valid stays in intake with the
-- reasons.  Enrichment never decides whether a record is promoted: what is bad
-- or early is parked in marketing.sidecar_rejects, and a transaction that is
-- rolled back takes its enrichment with it.

-- Companies: what is wrong with each record, if anything.  The update locks
-- them, so that a second run at the same time waits, and finds them gone.
BEGIN;
UPDATE intake.company_raw_intake i
SET reasons = array_remove(ARRAY[
        CASE WHEN COALESCE(btrim(i.company_unique_id), '') = '' THEN 'no id' END,
        CASE WHEN length(i.company_unique_id) > 50 THEN 'id is longer than 50 characters' END,
        CASE WHEN COALESCE(btrim(i.company_name), '') = '' THEN 'no name' END,
        CASE WHEN i.website ~ '^[a-z0-9.-]+\.[a-z]+$' THEN NULL ELSE 'no website: ' || COALESCE(i.website, 'none') END,
        CASE WHEN EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = i.company_unique_id)
             THEN 'there is a company of that id' END,
        CASE WHEN EXISTS (SELECT FROM intake.company_raw_intake o
                          WHERE o.company_unique_id = i.company_unique_id AND o.intake_id < i.intake_id)
             THEN 'the id was sent before' END], NULL);
INSERT INTO marketing.company_master (company_unique_id, company_name, website, sector)
SELECT company_unique_id, company_name, website, sector FROM intake.company_raw_intake WHERE reasons = '{}';
SELECT 'company' AS enrichment, outcome, count(*)
FROM sidecar_upsert_companies((
    SELECT COALESCE(jsonb_agg(jsonb_build_object('enrichment_source', 'intake', 'last_enriched_at', received_at) || enrichment
                              || jsonb_build_object('company_unique_id', company_unique_id)), '[]')
    FROM intake.company_raw_intake
    WHERE reasons = '{}' AND jsonb_typeof(enrichment) = 'object'), 'newest')
GROUP BY outcome ORDER BY outcome;
DELETE FROM intake.company_raw_intake WHERE reasons = '{}';
COMMIT;

-- People: the same, against the companies that are there now
BEGIN;
UPDATE intake.people_raw_intake i
SET reasons = array_remove(ARRAY[
        CASE WHEN COALESCE(btrim(i.unique_id), '') = '' THEN 'no id' END,
        CASE WHEN length(i.unique_id) > 50 THEN 'id is longer than 50 characters' END,
        CASE WHEN COALESCE(btrim(i.full_name), '') = '' THEN 'no name' END,
        CASE WHEN EXISTS (SELECT FROM marketing.people_master m WHERE m.unique_id = i.unique_id)
             THEN 'there is a person of that id' END,
        CASE WHEN EXISTS (SELECT FROM intake.people_raw_intake o
                          WHERE o.unique_id = i.unique_id AND o.intake_id < i.intake_id)
             THEN 'the id was sent before' END,
        CASE WHEN NOT EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = i.company_unique_id)
             THEN 'no such company: ' || COALESCE(i.company_unique_id, 'none') END], NULL);
INSERT INTO marketing.people_master (unique_id, full_name, title, company_unique_id)
SELECT unique_id, full_name, title, company_unique_id FROM intake.people_raw_intake WHERE reasons = '{}';
SELECT 'people' AS enrichment, outcome, count(*)
FROM sidecar_upsert_people((
    SELECT COALESCE(jsonb_agg(jsonb_build_object('enrichment_source', 'intake', 'last_enriched_at', received_at) || enrichment
                              || jsonb_build_object('person_unique_id', unique_id)), '[]')
    FROM intake.people_raw_intake
    WHERE reasons = '{}' AND jsonb_typeof(enrichment) = 'object'), 'newest')
GROUP BY outcome ORDER BY outcome;
DELETE FROM intake.people_raw_intake WHERE reasons = '{}';
COMMIT;

-- what was delivered before its master is stored now
SELECT entity AS retried, outcome, count(*) FROM sidecar_retry_rejects() GROUP BY entity, outcome ORDER BY entity, outcome;

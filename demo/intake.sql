-- What arrives: the records of the files, some with enrichment that the sender
-- knew, received 120 days ago; and some that are not valid, or not well enriched.
INSERT INTO intake.company_raw_intake (company_unique_id, company_name, website, sector, enrichment, received_at)
SELECT company_unique_id, company_name, website, sector,
       CASE WHEN ein_number IS NOT NULL AND sector IN ('Information Technology', 'Health Care', 'Consumer Staples')
            THEN jsonb_build_object('ein_number', ein_number, 'confidence_score', 60) END,
       now() - interval '120 days'
FROM c;
INSERT INTO intake.people_raw_intake (unique_id, full_name, title, company_unique_id, enrichment, received_at)
SELECT unique_id, full_name, title, company_unique_id,
       CASE WHEN twitter IS NOT NULL THEN jsonb_build_object('social_profiles', jsonb_build_object('twitter', twitter), 'confidence_score', 60) END,
       now() - interval '120 days'
FROM p;

INSERT INTO intake.company_raw_intake (company_unique_id, company_name, website) VALUES
    ('04.04.01.98.00098.098', 'No Website Ltd.', 'n/a'),
    ('04.04.01.99.00099.099', '  ', 'example.com'),
    ('04.04.01.01.00001.001', 'Apple Again', 'apple.com');
INSERT INTO intake.people_raw_intake (unique_id, full_name, company_unique_id) VALUES
    ('04.04.02.99.00099.099', 'Nobody Yet', '04.04.01.97.00097.097');

-- an agent that was faster than the promotion: parked, and stored after it
SELECT unique_id, outcome, error FROM sidecar_upsert_companies(jsonb_build_array(
    jsonb_build_object('company_unique_id', '04.04.01.01.00001.001', 'dun_and_bradstreet_number', '06-070-4780',
                       'enrichment_source', 'clay', 'confidence_score', 90, 'last_enriched_at', now()),
    jsonb_build_object('company_unique_id', '04.04.01.01.00001.001', 'confidence_score', 'very')));

-- What enrichment sources send after promotion, each in its own shape, mapped
-- to the sidecar's columns.  The facts are public: names, websites and EINs as
-- in the companies' annual reports to the SEC; titles as of fiscal 2023.

-- Clay: a row per company, tagged and segmented
WITH clay (domain, tags, segments, score, days) AS (VALUES
    ('apple.com',      '{hardware,consumer}',      '{enterprise,nasdaq-100}', 98, 3),
    ('microsoft.com',  '{saas,cloud,b2b}',         '{enterprise,nasdaq-100}', 99, 1),
    ('amazon.com',     '{cloud,retail}',           '{enterprise,nasdaq-100}', 97, 12),
    ('abc.xyz',        '{advertising,cloud}',      '{enterprise,nasdaq-100}', 96, 5),
    ('nvidia.com',     '{semiconductors}',         '{enterprise,nasdaq-100}', 98, 2),
    ('tesla.com',      '{automotive,energy}',      '{enterprise,nasdaq-100}', 91, 8),
    ('oracle.com',     '{database,cloud,b2b}',     '{enterprise}',            95, 100),
    ('salesforce.com', '{saas,crm,b2b}',           '{enterprise}',            97, 4),
    ('adobe.com',      '{saas,creative}',          '{enterprise,nasdaq-100}', 94, 130),
    ('cisco.com',      '{networking,b2b}',         '{enterprise,nasdaq-100}', 93, 20),
    ('ibm.com',        '{consulting,cloud,b2b}',   '{enterprise}',            90, 210),
    ('amd.com',        '{semiconductors}',         '{enterprise,nasdaq-100}', 95, 6))
SELECT 'clay' AS source, company_name,
       sidecar_upsert_company(company_unique_id,
           clay_tags => tags::text[], clay_segments => segments::text[],
           enrichment_payload => jsonb_build_object('domain', domain, 'sector', sector),
           last_enriched_at => now() - days * interval '1 day',
           enrichment_source => 'clay', confidence_score => score)
FROM clay JOIN marketing.company_master ON website = domain
ORDER BY company_unique_id;

-- Apify: items of an actor's run, with the run's time; an older one never
-- replaces what is known already
WITH item AS (
    SELECT website AS domain, now() - (row_number() OVER (ORDER BY company_unique_id) * 11) * interval '1 day' AS finished_at
    FROM marketing.company_master WHERE sector IN ('Consumer Staples', 'Consumer Discretionary'))
SELECT 'apify' AS source, company_name,
       sidecar_upsert_company(company_unique_id,
           enrichment_payload => jsonb_build_object('url', 'https://www.' || domain || '/', 'crawl', jsonb_build_object('depth', 0, 'httpStatusCode', 200)),
           last_enriched_at => finished_at,
           enrichment_source => 'apify', confidence_score => 82.5, on_conflict => 'newest')
FROM item JOIN marketing.company_master ON website = domain
ORDER BY company_unique_id;

-- Firecrawl: scraped pages, less sure of themselves
SELECT 'firecrawl' AS source, company_name,
       sidecar_upsert_company(company_unique_id,
           enrichment_payload => jsonb_build_object('metadata', jsonb_build_object('sourceURL', 'https://www.' || website, 'statusCode', 200)),
           last_enriched_at => now() - interval '45 days',
           enrichment_source => 'firecrawl', confidence_score => 64, on_conflict => 'most_confident')
FROM marketing.company_master WHERE sector IN ('Energy', 'Industrials') AND website <> '3m.com'
ORDER BY company_unique_id;

-- Clay again, for people
SELECT 'clay' AS source, full_name,
       sidecar_upsert_person(unique_id,
           clay_insight_summary => format('%s of %s', title, company_name),
           clay_segments => ARRAY['c-level', lower(replace(sector, ' ', '-'))],
           enrichment_payload => jsonb_build_object('title', title, 'company', company_name),
           last_enriched_at => now() - interval '1 day' * (length(full_name) * 8),
           enrichment_source => 'clay', confidence_score => CASE WHEN sector = 'Information Technology' THEN 92 ELSE 66 END)
FROM marketing.people_master p
JOIN marketing.company_master c USING (company_unique_id)
WHERE title ~ '^(Chair|President)'
ORDER BY unique_id;

-- the same delivery once more: nothing is written
SELECT sidecar_upsert_company(company_unique_id, ein_number, dun_and_bradstreet_number, clay_tags, clay_segments,
                              enrichment_payload, last_enriched_at, enrichment_source, confidence_score) AS delivered_twice, count(*)
FROM marketing.company_sidecar GROUP BY 1;

-- How people use the tables by plain SQL: storing, querying, monitoring.
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master VALUES ('04.04.01.24.00024.024', 'Acme'), ('04.04.01.24.00025.025', 'Unenriched');
INSERT INTO marketing.people_master VALUES ('04.04.02.15.00015.015', 'John Doe', 'VP of Engineering', 'john@johndoe.com', '04.04.01.24.00024.024');

-- Insert Company Enrichment Data
INSERT INTO marketing.company_sidecar (
    company_unique_id,
    ein_number,
    clay_tags,
    enrichment_payload,
    enrichment_source,
    confidence_score,
    last_enriched_at
) VALUES (
    '04.04.01.24.00024.024',  -- FK to company_master
    '12-3456789',              -- IRS EIN
    ARRAY['saas', 'b2b', 'series-b'],  -- Clay tags
    '{"revenue": "$5M-10M", "growth_rate": "40%", "headcount_change": "+15"}'::JSONB,
    'clay',
    95.5,
    NOW()
)
ON CONFLICT (company_unique_id) DO UPDATE SET
    ein_number = EXCLUDED.ein_number,
    clay_tags = EXCLUDED.clay_tags,
    enrichment_payload = EXCLUDED.enrichment_payload,
    enrichment_source = EXCLUDED.enrichment_source,
    confidence_score = EXCLUDED.confidence_score,
    last_enriched_at = EXCLUDED.last_enriched_at;

-- Insert People Enrichment Data
INSERT INTO marketing.people_sidecar (
    person_unique_id,
    clay_insight_summary,
    clay_segments,
    social_profiles,
    enrichment_payload,
    enrichment_source,
    confidence_score,
    last_enriched_at
) VALUES (
    '04.04.02.15.00015.015',  -- FK to people_master
    'VP of Engineering at Series B SaaS company, 10+ years experience, active GitHub contributor',
    ARRAY['vp-engineering', 'open-source-contributor', 'tech-leader'],
    '{"twitter": "@johndoe", "github": "johndoe", "personal": "johndoe.com"}'::JSONB,
    '{"skills": ["Python", "AWS", "Team Leadership"], "certifications": ["AWS Certified"]}'::JSONB,
    'clay',
    92.0,
    NOW()
)
ON CONFLICT (person_unique_id) DO UPDATE SET
    clay_insight_summary = EXCLUDED.clay_insight_summary,
    clay_segments = EXCLUDED.clay_segments,
    social_profiles = EXCLUDED.social_profiles,
    enrichment_payload = EXCLUDED.enrichment_payload,
    enrichment_source = EXCLUDED.enrichment_source,
    confidence_score = EXCLUDED.confidence_score,
    last_enriched_at = EXCLUDED.last_enriched_at;

-- the same by function: the stored row says all this already
SELECT sidecar_upsert_company('04.04.01.24.00024.024', '12-3456789', NULL, ARRAY['saas', 'b2b', 'series-b'], NULL,
    '{"revenue": "$5M-10M", "growth_rate": "40%", "headcount_change": "+15"}', last_enriched_at, 'clay', 95.5)
FROM marketing.company_sidecar;
SELECT sidecar_upsert_person('04.04.02.15.00015.015',
    'VP of Engineering at Series B SaaS company, 10+ years experience, active GitHub contributor',
    ARRAY['vp-engineering', 'open-source-contributor', 'tech-leader'],
    '{"twitter": "@johndoe", "github": "johndoe", "personal": "johndoe.com"}',
    '{"skills": ["Python", "AWS", "Team Leadership"], "certifications": ["AWS Certified"]}',
    last_enriched_at, 'clay', 92.0)
FROM marketing.people_sidecar;

-- Query Enriched Companies
SELECT
    cm.company_name,
    cs.ein_number,
    cs.clay_tags,
    cs.confidence_score,
    cs.last_enriched_at IS NOT NULL AS last_enriched_at -- printed: cs.last_enriched_at
FROM marketing.company_master cm
LEFT JOIN marketing.company_sidecar cs ON cm.company_unique_id = cs.company_unique_id
WHERE cs.confidence_score >= 90.0
ORDER BY cs.confidence_score DESC;

-- Query People by Social Profiles
SELECT
    pm.full_name,
    pm.title,
    ps.social_profiles->>'github' AS github_username,
    ps.clay_insight_summary
FROM marketing.people_master pm
JOIN marketing.people_sidecar ps ON pm.unique_id = ps.person_unique_id
WHERE ps.social_profiles ? 'github'
ORDER BY pm.full_name;

-- Query by Clay Segments
SELECT
    pm.full_name,
    pm.email,
    pm.title,
    ps.clay_segments
FROM marketing.people_master pm
JOIN marketing.people_sidecar ps ON pm.unique_id = ps.person_unique_id
WHERE 'vp-engineering' = ANY(ps.clay_segments)
   OR 'director-engineering' = ANY(ps.clay_segments);

-- Query Enrichment by Source
SELECT
    enrichment_source,
    COUNT(*) AS total_enrichments,
    AVG(confidence_score) AS avg_confidence,
    MAX(last_enriched_at) <= NOW() AS latest_enrichment -- printed: MAX(last_enriched_at)
FROM marketing.company_sidecar
GROUP BY enrichment_source
ORDER BY avg_confidence DESC;

-- Check Enrichment Coverage
SELECT
    COUNT(DISTINCT cm.company_unique_id) AS total_companies,
    COUNT(DISTINCT cs.company_unique_id) AS enriched_companies,
    ROUND(100.0 * COUNT(DISTINCT cs.company_unique_id) / COUNT(DISTINCT cm.company_unique_id), 2) AS enrichment_coverage_pct
FROM marketing.company_master cm
LEFT JOIN marketing.company_sidecar cs ON cm.company_unique_id = cs.company_unique_id;

-- Check Stale Enrichment
SELECT
    cm.company_name,
    cs.last_enriched_at,
    EXTRACT(DAY FROM NOW() - cs.last_enriched_at) AS days_since_enrichment
FROM marketing.company_master cm
JOIN marketing.company_sidecar cs ON cm.company_unique_id = cs.company_unique_id
WHERE cs.last_enriched_at < NOW() - INTERVAL '90 days'
ORDER BY cs.last_enriched_at ASC;

-- Check Low Confidence Enrichment
SELECT
    cm.company_name,
    cs.enrichment_source,
    cs.confidence_score,
    cs.last_enriched_at
FROM marketing.company_master cm
JOIN marketing.company_sidecar cs ON cm.company_unique_id = cs.company_unique_id
WHERE cs.confidence_score < 70.0
ORDER BY cs.confidence_score ASC;

-- updated_at moves with every UPDATE, created_at stays
UPDATE marketing.company_sidecar SET created_at = '2020-01-01', updated_at = '2020-01-01';
SELECT created_at, updated_at = now() AS updated_now FROM marketing.company_sidecar;
UPDATE marketing.people_sidecar SET updated_at = '2020-01-01';
SELECT updated_at = now() AS updated_now FROM marketing.people_sidecar;

-- Data integrity: cascading deletes, no row without its master, one row per master
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('no such company');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('04.04.01.24.00024.024');
\echo :LAST_ERROR_SQLSTATE
DELETE FROM marketing.company_master WHERE company_unique_id = '04.04.01.24.00024.024';
DELETE FROM marketing.people_master;
SELECT (SELECT count(*) FROM marketing.company_sidecar) AS companies, (SELECT count(*) FROM marketing.people_sidecar) AS people;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

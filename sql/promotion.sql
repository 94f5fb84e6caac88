-- The promotion of demo/, on records that are good, bad, early and sent twice.
SET client_min_messages = warning;
SET timezone = 'UTC';
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema :abs_srcdir '/demo/schema.sql'
\set promotion :abs_srcdir '/demo/promotion.sql'
\set ECHO none
\i :schema
\set ECHO all

-- valid: with good enrichment, with bad, with none, and with what is not an object
INSERT INTO intake.company_raw_intake (company_unique_id, company_name, website, enrichment, received_at) VALUES
    ('c1', 'Good', 'good.com', '{"ein_number": "12-3456789", "confidence_score": 60}', '2026-01-01'),
    ('c2', 'Bad enrichment', 'bad.com', '{"confidence_score": 700}', '2026-01-01'),
    ('c3', 'Unknown key', 'unknown.com', '{"employees": 7}', '2026-01-01'),
    ('c4', 'None', 'none.com', NULL, '2026-01-01'),
    ('c5', 'No object', 'no-object.com', '"text"', '2026-01-01'),
    ('c6', 'Other key', 'other.com', '{"company_unique_id": "c1", "ein_number": "mine"}', '2026-01-01');
-- not valid
INSERT INTO intake.company_raw_intake (company_unique_id, company_name, website, enrichment) VALUES
    (NULL, 'No id', 'no-id.com', '{"ein_number": "1"}'),
    (repeat('x', 51), 'Long id', 'long.com', NULL),
    ('c7', ' ', 'no-name.com', '{"ein_number": "1"}'),
    ('c8', 'No website', NULL, NULL),
    ('c1', 'Twice', 'good.com', '{"ein_number": "99-9999999"}');
INSERT INTO intake.people_raw_intake (unique_id, full_name, company_unique_id, enrichment, received_at) VALUES
    ('p1', 'Good', 'c1', '{"social_profiles": {"twitter": "@p1"}}', '2026-01-01'),
    ('p2', 'No company', 'c99', '{"social_profiles": {"twitter": "@p2"}}', '2026-01-01');
-- enrichment that is early
SELECT unique_id, outcome FROM sidecar_upsert_companies('{"company_unique_id": "c4", "clay_tags": ["early"], "last_enriched_at": "2026-02-01T00:00:00Z"}');
SELECT unique_id, outcome FROM sidecar_upsert_people('{"person_unique_id": "p2", "clay_insight_summary": "early"}');

-- a promotion that is rolled back leaves no enrichment behind
BEGIN;
INSERT INTO marketing.company_master SELECT company_unique_id, company_name, website FROM intake.company_raw_intake WHERE company_unique_id IN ('c2', 'c4');
SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c2", "ein_number": "1"}, {"company_unique_id": "c9"}]');
SELECT entity, outcome FROM sidecar_retry_rejects() ORDER BY 1, 2;
ROLLBACK;
SELECT (SELECT count(*) FROM marketing.company_master) AS masters, (SELECT count(*) FROM marketing.company_sidecar) AS enriched,
       (SELECT count(*) FROM marketing.sidecar_rejects) AS parked;

\i :promotion
SELECT company_unique_id, company_name FROM marketing.company_master ORDER BY 1;
SELECT company_unique_id, ein_number, clay_tags, enrichment_source, last_enriched_at FROM marketing.company_sidecar ORDER BY 1;
SELECT person_unique_id, social_profiles FROM marketing.people_sidecar ORDER BY 1;
SELECT company_unique_id, company_name, reasons FROM intake.company_raw_intake ORDER BY intake_id;
SELECT unique_id, full_name, reasons FROM intake.people_raw_intake;
SELECT entity, unique_id, attempts, error FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;
SELECT entity, rejects_parked, to_do FROM sidecar_status();

-- what was wrong is mended, and the promotion run again
INSERT INTO intake.company_raw_intake (company_unique_id, company_name, website) VALUES ('c99', 'Late', 'late.com');
UPDATE intake.company_raw_intake SET company_name = 'Named' WHERE company_unique_id = 'c7';
\set ECHO none
\i :promotion
\set ECHO all
SELECT company_unique_id, ein_number FROM marketing.company_sidecar ORDER BY 1;
SELECT person_unique_id, clay_insight_summary, social_profiles FROM marketing.people_sidecar ORDER BY 1;
SELECT count(*) FROM intake.people_raw_intake;
SELECT entity, enrichment_coverage_pct, rejected FROM sidecar_summary();
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing, intake CASCADE;

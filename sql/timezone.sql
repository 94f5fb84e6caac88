-- An offset in the input is honoured; the column takes the session's time zone,
-- as NOW() does.
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 4) i;

SET timezone = 'UTC';
SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-06-01 12:00+02');
SELECT sidecar_upsert_company('c2', last_enriched_at => '2026-06-01T10:00:00Z');
SET timezone = 'America/New_York';
SELECT sidecar_upsert_company('c3', last_enriched_at => '2026-06-01 12:00+02');
SELECT sidecar_upsert_company('c4', last_enriched_at => '2026-06-01 06:00');
SELECT company_unique_id, last_enriched_at FROM marketing.company_sidecar ORDER BY 1;
-- the same moment said again
SELECT sidecar_upsert_company('c3', last_enriched_at => '2026-06-01 10:00Z');
-- newest compares as the column does
SELECT sidecar_upsert_company('c3', 'x', last_enriched_at => '2026-06-01 09:59Z', on_conflict => 'newest');
SELECT sidecar_upsert_company('c3', 'x', last_enriched_at => '2026-06-01 10:01Z', on_conflict => 'newest');
-- now() in both zones, by the function, the default and the trigger
SELECT sidecar_upsert_company('c1');
SELECT last_enriched_at BETWEEN localtimestamp - interval '1 minute' AND localtimestamp AS enriched,
       updated_at BETWEEN localtimestamp - interval '1 minute' AND localtimestamp AS updated
FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
-- a report's bound is that of the plain query: what is stored, seen from the session's zone
UPDATE marketing.company_sidecar SET last_enriched_at = localtimestamp - interval '10 days 4 hours' WHERE company_unique_id = 'c1';
SELECT company_unique_id, days_since_enrichment FROM sidecar_stale_companies('10 days 1 hour') WHERE company_unique_id = 'c1';
SET timezone = 'Asia/Tokyo';
SELECT company_unique_id, days_since_enrichment FROM sidecar_stale_companies('10 days 1 hour') WHERE company_unique_id = 'c1';

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

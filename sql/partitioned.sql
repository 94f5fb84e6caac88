-- A sidecar table that the user made as a partitioned one is accepted, and
-- everything works on it.
SET client_min_messages = warning;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_sidecar (
    company_unique_id varchar(50) NOT NULL, ein_number varchar(20), dun_and_bradstreet_number varchar(20),
    clay_tags text[], clay_segments text[], enrichment_payload jsonb, last_enriched_at timestamp, enrichment_source text,
    confidence_score numeric(5, 2), created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now(),
    PRIMARY KEY (company_unique_id)) PARTITION BY HASH (company_unique_id);
CREATE TABLE marketing.company_sidecar_0 PARTITION OF marketing.company_sidecar FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE marketing.company_sidecar_1 PARTITION OF marketing.company_sidecar FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE EXTENSION sidecar;

-- a row without its master: the foreign key is not half-made, but waits or is not valid
INSERT INTO marketing.company_sidecar (company_unique_id) VALUES ('orphan');
SET client_min_messages = error;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
SET client_min_messages = warning;
SELECT outcome IN ('waiting', 'created') AS told, hint ~ '^1 stored rows do not meet it' AS hint FROM sidecar_install() WHERE object ~ 'foreign key .*company'
    AND outcome <> 'present' UNION ALL
SELECT true, true WHERE (SELECT foreign_key_present AND NOT foreign_key_validated FROM sidecar_status() WHERE entity = 'company');
DELETE FROM marketing.company_sidecar;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT IF EXISTS fk_company_sidecar_company;
SELECT outcome FROM sidecar_install() WHERE object ~ 'foreign key .*company';
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SELECT entity, foreign_key_validated, orphan_rows, trigger_enabled, missing_indexes, to_do FROM sidecar_status();

-- the answers are those of a plain table: the same calls on people_sidecar
INSERT INTO marketing.company_master SELECT 'k' || i, 'Company ' || i FROM generate_series(1, 300) i;
INSERT INTO marketing.people_master (unique_id, full_name) SELECT 'k' || i, 'Person ' || i FROM generate_series(1, 300) i;
SELECT rule, n, sidecar_upsert_company('k' || 1, enrichment_payload => payload, last_enriched_at => time, confidence_score => score, on_conflict => rule) AS partitioned,
       sidecar_upsert_person('k' || 1, enrichment_payload => payload, last_enriched_at => time, confidence_score => score, on_conflict => rule) AS plain
FROM (VALUES (1, 'overwrite', '{"a": 1}'::jsonb, '2026-01-02'::timestamptz, 50), (2, 'overwrite', '{"a": 1}', '2026-01-02', 50), (3, 'overwrite', '{"a": 2}', '2026-01-02', 50),
             (4, 'newest', '{"a": 3}', '2026-01-01', 50), (5, 'newest', '{"a": 3}', '2026-01-03', 50), (6, 'most_confident', '{"a": 4}', '2026-01-03', 40),
             (7, 'most_confident', '{"a": 4}', '2026-01-03', 60), (8, 'fill', '{"a": 5}', '2026-01-04', 60), (9, 'fill', '{"a": 4}', '2026-01-03', 60)) v (n, rule, payload, time, score)
ORDER BY n;
CREATE FUNCTION differ(records text, rule text) RETURNS TABLE (outcome text, partitioned bigint, plain bigint) LANGUAGE sql AS $$
    SELECT outcome, count(*) FILTER (WHERE c), count(*) FILTER (WHERE NOT c)
    FROM (SELECT outcome, true AS c FROM sidecar_upsert_companies(replace(records, 'KEY', 'company_unique_id')::jsonb, rule)
          UNION ALL SELECT outcome, false FROM sidecar_upsert_people(replace(records, 'KEY', 'person_unique_id')::jsonb, rule)) o
    GROUP BY outcome ORDER BY outcome $$;
CREATE FUNCTION records(n int, payload int, day int) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('KEY', 'k' || i % 320, 'enrichment_payload', jsonb_build_object('p', payload + i % 7),
                                        'last_enriched_at', timestamp '2026-01-01' + (day + i % 3) * interval '1 day', 'confidence_score', CASE WHEN i = 55 THEN 500 ELSE i % 90 END))::text
    FROM generate_series(1, n) i $$;
SELECT * FROM differ(records(200, 0, 0), 'overwrite');
SELECT * FROM differ(records(200, 0, 0), 'overwrite');
SELECT * FROM differ(records(900, 1, 0), 'newest');
SELECT * FROM differ(records(900, 2, 1), 'most_confident');
SELECT * FROM differ(records(900, 3, 1), 'fill');
SELECT count(*) AS rows, count(*) FILTER (WHERE (c.enrichment_payload, c.last_enriched_at, c.confidence_score) IS NOT DISTINCT FROM (p.enrichment_payload, p.last_enriched_at, p.confidence_score)) AS same
FROM marketing.company_sidecar c FULL JOIN marketing.people_sidecar p ON company_unique_id = person_unique_id;
SELECT count(*) > 0 AS both FROM marketing.company_sidecar_0 HAVING (SELECT count(*) > 0 FROM marketing.company_sidecar_1);

-- the rest of what there is
DELETE FROM marketing.company_sidecar;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, enrichment_source, confidence_score, last_enriched_at)
SELECT 'k' || i, i, 'clay', i % 100, now() - i * interval '1 day' FROM generate_series(1, 200) i;
SELECT outcome, count(*) FROM sidecar_retry_rejects() WHERE entity = 'company' GROUP BY 1 ORDER BY 1;
SELECT entity, total, enriched, enrichment_coverage_pct FROM sidecar_coverage() WHERE entity = 'company';
SELECT entity, total, enriched, stale, low_confidence FROM sidecar_summary() WHERE entity = 'company';
ANALYZE marketing.company_sidecar, marketing.company_master;
SELECT total, enriched, abs(stale - 110) < 4 AS stale, abs(low_confidence - 140) < 4 AS low_confidence FROM sidecar_summary(exact => false) WHERE entity = 'company';
SELECT field, filled FROM sidecar_field_coverage() WHERE entity = 'company' AND filled > 0;
SELECT company_unique_id FROM sidecar_stale_companies(max_rows => 2);
SELECT company_unique_id FROM sidecar_low_confidence_companies(max_rows => 1);
SELECT count(*) FROM sidecar_missing_companies();
UPDATE marketing.company_sidecar SET updated_at = '2020-01-01' WHERE company_unique_id = 'k1';
SELECT count(*) FROM marketing.company_sidecar WHERE updated_at < '2026-01-01';
DELETE FROM marketing.company_master WHERE company_unique_id = 'k1';
SELECT count(*) FROM marketing.company_sidecar WHERE company_unique_id = 'k1';
DROP FUNCTION differ, records;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

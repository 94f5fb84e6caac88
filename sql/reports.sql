-- Every report against the plain query of sql/usage.sql, or the plainest SQL, by
-- EXCEPT in both directions, on rows with NULLs, ties, undated rows, scores at
-- the thresholds and masters without a sidecar row.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();

-- an empty master has no percentage
SELECT * FROM sidecar_coverage();
SELECT * FROM sidecar_field_coverage() WHERE field = 'enrichment_source';
SELECT count(*) FROM sidecar_sources();

INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 800) i;
INSERT INTO marketing.people_master (unique_id, full_name, title) SELECT 'p' || i, 'Person ' || i, 'Title' FROM generate_series(1, 600) i;
-- no enrichment at all, in tables that were never analyzed
ANALYZE marketing.company_master;
SELECT * FROM sidecar_coverage();
SELECT entity, total, enriched, stale, low_confidence, undated, rejected FROM sidecar_summary(exact => false);
SELECT (SELECT count(*) FROM sidecar_missing_companies()) AS companies, (SELECT count(*) FROM sidecar_missing_people()) AS people;

INSERT INTO marketing.company_sidecar (company_unique_id, ein_number, clay_tags, enrichment_payload, last_enriched_at, enrichment_source, confidence_score)
SELECT 'c' || i,
       CASE WHEN i % 3 = 0 THEN '12-' || i END,
       CASE WHEN i % 4 = 0 THEN ARRAY['t' || i % 7] END,
       CASE WHEN i % 2 = 0 THEN jsonb_build_object('i', i) END,
       CASE i % 10 WHEN 0 THEN NULL WHEN 1 THEN now() - interval '90 days' ELSE now() - i % 50 * interval '5 days' END,
       CASE i % 9 WHEN 0 THEN NULL WHEN 1 THEN 'silent' ELSE (ARRAY['clay', 'apify', 'firecrawl'])[1 + i % 3] END,
       CASE WHEN i % 9 IN (1, 5) THEN NULL ELSE (ARRAY[0, 69.99, 70, 70.01, 95.5, 100])[1 + i % 6] END
FROM generate_series(1, 700) i WHERE i % 13 <> 0;
INSERT INTO marketing.people_sidecar (person_unique_id, clay_segments, social_profiles, last_enriched_at, enrichment_source, confidence_score)
SELECT 'p' || i,
       CASE WHEN i % 3 = 0 THEN ARRAY['s' || i % 7] END,
       CASE WHEN i % 4 = 0 THEN jsonb_build_object('github', 'u' || i) END,
       CASE WHEN i % 8 > 0 THEN now() - i % 30 * interval '7 days' END,
       CASE WHEN i % 5 > 0 THEN (ARRAY['clay', 'linkedin_scraper'])[1 + i % 2] END,
       CASE WHEN i % 7 > 0 THEN i % 101 END
FROM generate_series(1, 500) i WHERE i % 11 <> 0;

-- Two queries give the same rows, ties and all; the count of rows that differ
-- and the count of rows.
CREATE FUNCTION same(report text, query text, OUT differ bigint, OUT "rows" bigint) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('WITH a AS MATERIALIZED (%s), b AS MATERIALIZED (%s)
        SELECT (SELECT count(*) FROM (TABLE a EXCEPT ALL TABLE b) x) + (SELECT count(*) FROM (TABLE b EXCEPT ALL TABLE a) x),
               (SELECT count(*) FROM b)', report, query) INTO differ, "rows";
END $$;
-- The plain queries, for either entity
CREATE FUNCTION compare() RETURNS TABLE (report text, differ bigint, "rows" bigint) LANGUAGE plpgsql AS $$
DECLARE
    e record;
BEGIN
    FOR e IN
        SELECT * FROM (VALUES ('company', 'companies', 'company_master', 'company_unique_id', 'company_name', 'company_sidecar', 'company_unique_id'),
                              ('people', 'people', 'people_master', 'unique_id', 'full_name', 'people_sidecar', 'person_unique_id'))
            v (entity, plural, master, master_key, name, sidecar, key)
    LOOP
        report := e.entity || ' coverage';
        SELECT * INTO differ, "rows" FROM same(format('SELECT total, enriched, enrichment_coverage_pct FROM sidecar_coverage() WHERE entity = %L', e.entity),
            format('SELECT COUNT(DISTINCT cm.%1$I) AS total_companies, COUNT(DISTINCT cs.%2$I) AS enriched_companies,
                           ROUND(100.0 * COUNT(DISTINCT cs.%2$I) / COUNT(DISTINCT cm.%1$I), 2) AS enrichment_coverage_pct
                    FROM marketing.%3$I cm LEFT JOIN marketing.%4$I cs ON cm.%1$I = cs.%2$I', e.master_key, e.key, e.master, e.sidecar));
        RETURN NEXT;
        report := e.entity || ' sources';
        SELECT * INTO differ, "rows" FROM same(format('SELECT enrichment_source, total_enrichments, avg_confidence, latest_enrichment FROM sidecar_sources() WHERE entity = %L', e.entity),
            format('SELECT enrichment_source, COUNT(*) AS total_enrichments, AVG(confidence_score) AS avg_confidence, MAX(last_enriched_at) AS latest_enrichment
                    FROM marketing.%I GROUP BY enrichment_source', e.sidecar));
        RETURN NEXT;
        report := e.entity || ' stale';
        SELECT * INTO differ, "rows" FROM same(format('SELECT * FROM sidecar_stale_%s()', e.plural),
            format('SELECT cs.%2$I, cm.%5$I, cs.enrichment_source, cs.last_enriched_at, EXTRACT(DAY FROM NOW() - cs.last_enriched_at) AS days_since_enrichment
                    FROM marketing.%3$I cm JOIN marketing.%4$I cs ON cm.%1$I = cs.%2$I
                    WHERE cs.last_enriched_at < NOW() - INTERVAL ''90 days''', e.master_key, e.key, e.master, e.sidecar, e.name));
        RETURN NEXT;
        report := e.entity || ' low confidence';
        SELECT * INTO differ, "rows" FROM same(format('SELECT * FROM sidecar_low_confidence_%s()', e.plural),
            format('SELECT cs.%2$I, cm.%5$I, cs.enrichment_source, cs.confidence_score, cs.last_enriched_at
                    FROM marketing.%3$I cm JOIN marketing.%4$I cs ON cm.%1$I = cs.%2$I
                    WHERE cs.confidence_score < 70.0', e.master_key, e.key, e.master, e.sidecar, e.name));
        RETURN NEXT;
        report := e.entity || ' missing';
        SELECT * INTO differ, "rows" FROM same(format('SELECT * FROM sidecar_missing_%s()', e.plural),
            format('SELECT cm.%1$I, cm.%5$I FROM marketing.%3$I cm LEFT JOIN marketing.%4$I cs ON cm.%1$I = cs.%2$I WHERE cs.%2$I IS NULL',
                   e.master_key, e.key, e.master, e.sidecar, e.name));
        RETURN NEXT;
        report := e.entity || ' field coverage';
        SELECT * INTO differ, "rows" FROM same(format('SELECT field, filled, filled_pct FROM sidecar_field_coverage() WHERE entity = %L', e.entity),
            (SELECT string_agg(format('SELECT %6$L, COUNT(DISTINCT cs.%2$I) FILTER (WHERE cs.%6$I IS NOT NULL),
                           ROUND(100.0 * COUNT(DISTINCT cs.%2$I) FILTER (WHERE cs.%6$I IS NOT NULL) / COUNT(DISTINCT cm.%1$I), 2)
                    FROM marketing.%3$I cm LEFT JOIN marketing.%4$I cs ON cm.%1$I = cs.%2$I', e.master_key, e.key, e.master, e.sidecar, NULL, attname), ' UNION ALL ')
             FROM pg_attribute WHERE attrelid = format('marketing.%I', e.sidecar)::regclass AND attnum > 0 AND NOT attisdropped
               AND attname NOT IN (e.key, 'created_at', 'updated_at')));
        RETURN NEXT;
        report := e.entity || ' summary';
        SELECT * INTO differ, "rows" FROM same(format('SELECT total, enriched, enrichment_coverage_pct, stale, low_confidence, undated, rejected, oldest_enrichment, latest_enrichment
                    FROM sidecar_summary() WHERE entity = %L', e.entity),
            format('SELECT COUNT(DISTINCT cm.%1$I), COUNT(DISTINCT cs.%2$I), ROUND(100.0 * COUNT(DISTINCT cs.%2$I) / COUNT(DISTINCT cm.%1$I), 2), (SELECT count(*) FROM sidecar_stale_%5$s()),
                           (SELECT count(*) FROM sidecar_low_confidence_%5$s()), count(*) FILTER (WHERE cs.%2$I IS NOT NULL AND cs.last_enriched_at IS NULL),
                           (SELECT count(*) FROM marketing.sidecar_rejects WHERE entity = %6$L), min(cs.last_enriched_at), max(cs.last_enriched_at)
                    FROM marketing.%3$I cm LEFT JOIN marketing.%4$I cs ON cm.%1$I = cs.%2$I', e.master_key, e.key, e.master, e.sidecar, e.plural, e.entity));
        RETURN NEXT;
    END LOOP;
END $$;
SELECT * FROM compare();

-- order
SELECT bool_and(ordered) AS oldest_first FROM (SELECT last_enriched_at >= lag(last_enriched_at) OVER () AS ordered FROM sidecar_stale_companies()) s;
SELECT bool_and(ordered) AS lowest_first FROM (SELECT confidence_score >= lag(confidence_score) OVER () AS ordered FROM sidecar_low_confidence_people()) s;
SELECT entity, enrichment_source, total_enrichments, round(avg_confidence, 2) AS avg_confidence FROM sidecar_sources();
SELECT * FROM sidecar_field_coverage();

-- the arguments
SELECT * FROM same($$SELECT company_unique_id FROM sidecar_stale_companies('30 days')$$,
    $$SELECT company_unique_id FROM marketing.company_sidecar WHERE last_enriched_at < now() - interval '30 days'$$);
SELECT * FROM same($$SELECT person_unique_id FROM sidecar_stale_people(older_than => '1 year')$$,
    $$SELECT person_unique_id FROM marketing.people_sidecar WHERE last_enriched_at < now() - interval '1 year'$$);
SELECT * FROM same($$SELECT company_unique_id FROM sidecar_low_confidence_companies(70.01)$$,
    $$SELECT company_unique_id FROM marketing.company_sidecar WHERE confidence_score < 70.01$$);
SELECT count(*), count(DISTINCT company_unique_id), max(last_enriched_at) = (SELECT last_enriched_at FROM marketing.company_sidecar ORDER BY 1 OFFSET 9 LIMIT 1) AS the_oldest FROM sidecar_stale_companies(max_rows => 10);
SELECT count(*), max(confidence_score) FROM sidecar_low_confidence_people(max_rows => 5);
SELECT count(*) FROM sidecar_missing_companies(7);
SELECT count(*) FROM sidecar_missing_people(0);
SELECT sidecar_stale_companies(max_rows => -1);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_stale_people(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_low_confidence_companies(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_summary(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_summary(below => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_summary(exact => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM same($$SELECT stale, low_confidence FROM sidecar_summary('30 days', 10) WHERE entity = 'people'$$,
    $$SELECT (SELECT count(*) FROM sidecar_stale_people('30 days')), (SELECT count(*) FROM sidecar_low_confidence_people(10))$$);

-- with max_rows the index stops the scan, however many rows there are
CREATE FUNCTION rows_read(report text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
BEGIN
    before := pg_stat_get_xact_tuples_returned('marketing.company_sidecar'::regclass)
        + (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'marketing.company_sidecar'::regclass);
    EXECUTE 'SELECT count(*) FROM ' || report;
    RETURN CASE WHEN pg_stat_get_xact_tuples_returned('marketing.company_sidecar'::regclass)
        + (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'marketing.company_sidecar'::regclass)
        - before <= 10 THEN 'few' ELSE 'many' END;
END $$;
ANALYZE marketing.company_master, marketing.company_sidecar;
SELECT rows_read('sidecar_stale_companies(max_rows => 3)') AS stale,
       rows_read('sidecar_low_confidence_companies(max_rows => 3)') AS low_confidence,
       rows_read('sidecar_stale_companies()') AS stale_all;

-- estimates: near the exact shares, without reading a row; statistics_at tells
-- them from what was counted
SELECT bool_and(statistics_at IS NULL) AS counted FROM sidecar_summary();
BEGIN;
INSERT INTO marketing.company_master SELECT 'z' || i, 'Company ' || i FROM generate_series(1, 20000) i;
INSERT INTO marketing.company_sidecar (company_unique_id, confidence_score, last_enriched_at)
SELECT 'z' || i, i % 101, CASE WHEN i % 8 > 0 THEN now() - i % 700 * interval '1 day' END FROM generate_series(1, 15000) i;
COMMIT;
ANALYZE marketing.company_master, marketing.company_sidecar, marketing.people_master, marketing.people_sidecar, marketing.sidecar_rejects;
CREATE FUNCTION near(older_than interval, below numeric) RETURNS TABLE (entity text, coverage boolean, stale boolean, low_confidence boolean, undated boolean, times boolean, fresh boolean) LANGUAGE sql AS $$
    SELECT e.entity, abs(e.enrichment_coverage_pct - x.enrichment_coverage_pct) < 2,
           abs(e.stale - x.stale) < 0.02 * x.enriched, abs(e.low_confidence - x.low_confidence) < 0.02 * x.enriched,
           abs(e.undated - x.undated) < 0.02 * x.enriched,
           e.oldest_enrichment >= x.oldest_enrichment AND e.latest_enrichment <= x.latest_enrichment,
           e.statistics_at > now() - interval '1 minute'
    FROM sidecar_summary(older_than, below, exact => false) e JOIN sidecar_summary(older_than, below) x USING (entity) $$;
SELECT * FROM near('90 days', 70);
SELECT * FROM near('300 days', 33.3);
BEGIN;
SELECT sum(pg_stat_get_xact_tuples_returned(oid)) AS rows_read FROM pg_class WHERE oid IN ('marketing.company_master'::regclass, 'marketing.company_sidecar'::regclass) \gset
SELECT count(*) FROM sidecar_summary(exact => false);
SELECT sum(pg_stat_get_xact_tuples_returned(oid)) - :rows_read AS rows_read FROM pg_class WHERE oid IN ('marketing.company_master'::regclass, 'marketing.company_sidecar'::regclass);
COMMIT;
-- nothing is 0, also when statistics speak of more; nothing is both
CREATE FUNCTION estimates() RETURNS TABLE (entity text, total bigint, enriched bigint, stale bigint, low_confidence bigint, undated bigint, rejected bigint, agree boolean) LANGUAGE sql AS $$
    SELECT entity, total, enriched, stale, low_confidence, undated, rejected,
           enriched <= total AND stale + undated <= enriched AND low_confidence <= enriched AND enrichment_coverage_pct <= 100
    FROM sidecar_summary(exact => false) $$;
BEGIN;
UPDATE marketing.company_sidecar SET last_enriched_at = now() - random() * interval '80 days', confidence_score = 70 + random() * 30;
DELETE FROM marketing.people_sidecar;
ANALYZE marketing.company_sidecar, marketing.people_sidecar;
SELECT entity, total > 0 AS total, enriched > 0 AS enriched, stale, low_confidence, undated, rejected, agree FROM estimates();
-- all of it
UPDATE marketing.company_sidecar SET last_enriched_at = now() - interval '91 days' - random() * interval '80 days', confidence_score = 69 - random() * 30;
ANALYZE marketing.company_sidecar;
SELECT entity, stale > 0.99 * enriched AS stale, low_confidence > 0.99 * enriched AS low_confidence, undated, agree FROM estimates() WHERE entity = 'company';
UPDATE marketing.company_sidecar SET last_enriched_at = NULL, confidence_score = NULL;
ANALYZE marketing.company_sidecar;
SELECT entity, stale, low_confidence, undated > 0.99 * enriched AS undated, agree FROM estimates() WHERE entity = 'company';
-- more sidecars than masters
SET LOCAL session_replication_role = replica;
DELETE FROM marketing.company_master WHERE company_unique_id !~ '^c.$';
SET LOCAL session_replication_role = origin;
ANALYZE marketing.company_master;
SELECT entity, total, agree FROM estimates() WHERE entity = 'company';
DELETE FROM marketing.company_master;
ANALYZE marketing.company_master, marketing.company_sidecar;
SELECT * FROM estimates() WHERE entity = 'company';
ROLLBACK;
-- numbers of rows are not rolled back
ANALYZE marketing.company_master, marketing.company_sidecar, marketing.people_sidecar;
-- parked records of one entity are none of the other
BEGIN;
SELECT count(*) FROM sidecar_upsert_people((SELECT jsonb_agg(jsonb_build_object('person_unique_id', 'nobody' || i)) FROM generate_series(1, 50) i));
ANALYZE marketing.sidecar_rejects;
SELECT entity, rejected FROM estimates();
ROLLBACK;
-- to a role that policies hide rows from, whatever the planner makes of them
BEGIN;
CREATE ROLE regress_sidecar_estimates;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_estimates;
GRANT SELECT ON ALL TABLES IN SCHEMA marketing TO regress_sidecar_estimates;
CREATE FUNCTION shown(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN $1 ~ '1$'; END $$;
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
ALTER TABLE marketing.people_master ENABLE ROW LEVEL SECURITY;
ALTER TABLE marketing.people_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON marketing.company_sidecar USING (shown(company_unique_id));
CREATE POLICY shown ON marketing.people_master USING (unique_id = 'p1');
CREATE POLICY shown ON marketing.people_sidecar USING (true);
SET LOCAL ROLE regress_sidecar_estimates;
SELECT entity, total > 0 AS total, enriched > 0 AS enriched, agree FROM estimates();
SELECT total, enriched, stale <= 1 AS stale, low_confidence <= 1 AS low FROM estimates() WHERE entity = 'people';
ROLLBACK;
-- what was never analyzed is not known, nor what is in it where rows were only counted
BEGIN;
CREATE TABLE kept AS TABLE marketing.people_sidecar;
TRUNCATE marketing.people_sidecar;
SELECT enriched, stale, low_confidence, undated FROM estimates() WHERE entity = 'people';
INSERT INTO marketing.people_sidecar TABLE kept;
SELECT total, enriched, stale, low_confidence, undated FROM estimates() WHERE entity = 'people';
DELETE FROM pg_statistic WHERE starelid = 'marketing.people_sidecar'::regclass;
REINDEX TABLE marketing.people_sidecar;
SELECT total, enriched, stale, low_confidence, undated FROM estimates() WHERE entity = 'people';
ROLLBACK;
ANALYZE marketing.people_sidecar, marketing.sidecar_rejects;
DELETE FROM marketing.company_master WHERE company_unique_id ~ '^z';

-- a column that the user added is reported like any other; one that is dropped is not
ALTER TABLE marketing.company_sidecar ADD COLUMN "Naics Code" text, DROP COLUMN clay_segments;
UPDATE marketing.company_sidecar SET "Naics Code" = '1' WHERE company_unique_id = 'c1';
SELECT field, filled FROM sidecar_field_coverage() WHERE entity = 'company';
SELECT * FROM compare() WHERE report ~ 'company';

-- a master without the name column has NULL names
ALTER TABLE marketing.company_master DROP COLUMN company_name;
SELECT count(*), count(company_name) FROM sidecar_stale_companies();
SELECT count(*), count(company_name) FROM sidecar_missing_companies();
SELECT count(*), count(company_name) FROM sidecar_low_confidence_companies();
ALTER TABLE marketing.company_master ADD COLUMN company_name text;

-- a key that is validated does not mislead either: rows written, and masters
-- deleted, with triggers off, as by a subscription or --disable-triggers
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO marketing.company_sidecar (company_unique_id, enrichment_source, confidence_score, last_enriched_at)
SELECT 'orphan' || i, 'clay', i % 100, CASE WHEN i % 2 = 0 THEN now() - i * interval '1 day' END FROM generate_series(1, 2000) i;
DELETE FROM marketing.people_master WHERE unique_id ~ '^p..$';
SET LOCAL session_replication_role = origin;
SELECT entity, foreign_key_validated, orphan_rows FROM sidecar_status();
SELECT * FROM sidecar_coverage();
SELECT * FROM compare();
ROLLBACK;

-- the same key twice: a child by INHERITS has indexes of its own, on either side
BEGIN;
CREATE TABLE marketing.more_masters () INHERITS (marketing.company_master);
CREATE TABLE marketing.more_people () INHERITS (marketing.people_sidecar);
INSERT INTO marketing.more_masters SELECT * FROM marketing.company_master WHERE company_unique_id ~ '[05]$';
INSERT INTO marketing.more_people SELECT * FROM marketing.people_sidecar WHERE person_unique_id ~ '[1-5]$';
UPDATE marketing.more_people SET clay_segments = '{only here}';
SELECT * FROM sidecar_coverage();
SELECT * FROM compare();
ROLLBACK;

-- keys that are the same to a collation, to the master alone and to both; a
-- server without ICU has none
CREATE FUNCTION compare_letters(OUT reports bigint, OUT differ bigint) LANGUAGE plpgsql AS $$
BEGIN
    CREATE COLLATION marketing.same_letters (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
    ALTER TABLE marketing.company_master ALTER company_unique_id TYPE text COLLATE marketing.same_letters;
    BEGIN
        ALTER TABLE marketing.company_sidecar ADD CONSTRAINT fk_company_sidecar_company FOREIGN KEY (company_unique_id) REFERENCES marketing.company_master;
        INSERT INTO marketing.company_sidecar (company_unique_id, confidence_score)
        SELECT upper(company_unique_id), 1 FROM marketing.company_sidecar WHERE company_unique_id ~ '0$';
        SELECT count(*), sum(c.differ) INTO reports, differ FROM compare() c WHERE report ~ 'company';
        DELETE FROM marketing.company_sidecar WHERE company_unique_id ~ '^C';
        ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
    EXCEPTION WHEN collation_mismatch THEN
        -- PostgreSQL 18 takes no such key
        reports := 7;
        differ := 0;
    END;
    ALTER TABLE marketing.company_sidecar ALTER company_unique_id TYPE text COLLATE marketing.same_letters;
    ALTER TABLE marketing.company_sidecar ADD CONSTRAINT fk_company_sidecar_company FOREIGN KEY (company_unique_id) REFERENCES marketing.company_master;
    SELECT reports + count(*), compare_letters.differ + sum(c.differ) INTO reports, differ FROM compare() c WHERE report ~ 'company';
EXCEPTION WHEN feature_not_supported THEN
    reports := 14;
    differ := 0;
END $$;
BEGIN;
SELECT * FROM compare_letters();
ROLLBACK;
-- a key that only some rows have, or that may be there twice for a while
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_pkey;
INSERT INTO marketing.company_sidecar SELECT * FROM marketing.company_sidecar WHERE company_unique_id ~ '7$';
CREATE UNIQUE INDEX ON marketing.company_sidecar (company_unique_id) WHERE company_unique_id !~ '7$';
SELECT * FROM compare() WHERE report ~ 'company';
ROLLBACK;
BEGIN;
ALTER TABLE marketing.people_sidecar DROP CONSTRAINT people_sidecar_pkey, ADD UNIQUE (person_unique_id) DEFERRABLE INITIALLY DEFERRED;
INSERT INTO marketing.people_sidecar SELECT * FROM marketing.people_sidecar WHERE person_unique_id ~ '7$';
SELECT * FROM compare() WHERE report ~ 'people';
ROLLBACK;

-- a key that is not validated does not mislead: orphans are not counted
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
INSERT INTO marketing.company_sidecar (company_unique_id, enrichment_source) VALUES ('orphan', 'clay');
SELECT outcome FROM sidecar_install() WHERE object ~ 'foreign key .*company';
SELECT * FROM compare() WHERE report ~ 'company (coverage|field|stale|summary)';
ROLLBACK;

-- a report that needs the master says what is missing
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
SELECT * FROM sidecar_coverage();
SELECT entity, total, enriched, enrichment_coverage_pct, stale, low_confidence, undated, rejected FROM sidecar_summary();
SELECT entity, total, enriched, enrichment_coverage_pct FROM sidecar_summary(exact => false) WHERE entity = 'company';
SELECT count(*) > 0 AS works FROM sidecar_sources();
SELECT entity, count(*) AS fields, count(filled) AS known FROM sidecar_field_coverage() GROUP BY entity ORDER BY entity;
SELECT sidecar_stale_companies();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- an entity that has no sidecar table does not take the other's answers away
BEGIN;
SELECT outcome FROM sidecar_upsert_people('[{"person_unique_id": "nobody"}, {"person_unique_id": "nobody else"}]');
DROP TABLE marketing.people_sidecar;
SELECT * FROM sidecar_coverage();
SELECT entity, total, enriched, enrichment_coverage_pct, stale, low_confidence, undated, rejected, oldest_enrichment IS NULL AS no_time FROM sidecar_summary();
ANALYZE;
SELECT entity, total, enriched > 0 AS enriched, enrichment_coverage_pct > 0 AS pct, stale > 0 AS stale, rejected, statistics_at IS NULL AS no_statistics FROM sidecar_summary(exact => false);
SELECT entity, count(*) > 0 AS works FROM sidecar_sources() GROUP BY entity;
SELECT entity, count(*) > 0 AS works FROM sidecar_field_coverage() GROUP BY entity;
SELECT count(*) > 0 AS works FROM sidecar_stale_companies();
SELECT entity, sidecar_table, master_table, orphan_rows, rejects_parked FROM sidecar_status();
SAVEPOINT s;
SELECT sidecar_stale_people();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT sidecar_missing_people();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
-- what is there and cannot be used is an error
ALTER TABLE marketing.company_sidecar ALTER last_enriched_at TYPE text;
SAVEPOINT s;
SELECT sidecar_coverage();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
ALTER TABLE marketing.company_sidecar ALTER last_enriched_at TYPE timestamp USING last_enriched_at::timestamp, DROP confidence_score;
SELECT count(*) FROM sidecar_coverage();
SELECT sidecar_summary();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- a partitioned master, a unique index instead of a primary key, a parallel plan
BEGIN;
ALTER TABLE marketing.company_master RENAME TO old_master;
CREATE TABLE marketing.company_master (LIKE marketing.old_master) PARTITION BY HASH (company_unique_id);
CREATE TABLE marketing.company_master_0 PARTITION OF marketing.company_master FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE marketing.company_master_1 PARTITION OF marketing.company_master FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE UNIQUE INDEX ON marketing.company_master (company_unique_id);
INSERT INTO marketing.company_master SELECT * FROM marketing.old_master;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL min_parallel_index_scan_size = 0;
SELECT * FROM compare() WHERE report ~ 'company';
SELECT entity, master_table, to_do FROM sidecar_status() WHERE entity = 'company';
-- a master that has no key does not count
ALTER TABLE marketing.company_master ALTER company_unique_id DROP NOT NULL;
INSERT INTO marketing.company_master (company_unique_id, company_name) VALUES (NULL, 'None'), (NULL, 'None either');
SELECT * FROM compare() WHERE report = 'company coverage';
ROLLBACK;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP FUNCTION same, compare, compare_letters, rows_read, near, estimates;

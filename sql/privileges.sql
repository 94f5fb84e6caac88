-- Who may do what: functions run with the caller's rights, and row-level
-- security changes what they see.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 4) i;
SELECT sidecar_upsert_company('c' || i, last_enriched_at => '2020-01-01', confidence_score => 10) FROM generate_series(1, 3) i;

-- none of our functions is SECURITY DEFINER
SELECT proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'sidecar' WHERE prosecdef;

CREATE ROLE regress_sidecar_reader;
CREATE ROLE regress_sidecar_writer;
CREATE ROLE regress_sidecar_nobody;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_reader, regress_sidecar_writer;
GRANT SELECT ON marketing.company_master, marketing.people_master, marketing.company_sidecar, marketing.people_sidecar TO regress_sidecar_reader;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_writer;

-- a reader reads all reports and writes nothing
SET ROLE regress_sidecar_reader;
SELECT * FROM sidecar_coverage();
SELECT count(*) FROM sidecar_field_coverage();
SELECT count(*) FROM sidecar_sources();
SELECT count(*) FROM sidecar_stale_companies();
SELECT count(*) FROM sidecar_low_confidence_companies();
SELECT count(*) FROM sidecar_missing_companies();
SELECT entity, foreign_key_validated, orphan_rows, trigger_enabled, rejects_parked, to_do FROM sidecar_status();
SELECT sidecar_upsert_company('c1', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome, count(*) FROM sidecar_install() GROUP BY outcome ORDER BY outcome;

-- a role that may read keys, sources, scores and times gets the summary; parked
-- records are counted for who may read their entity
RESET ROLE;
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_nobody;
GRANT SELECT (company_unique_id) ON marketing.company_master TO regress_sidecar_nobody;
GRANT SELECT (unique_id) ON marketing.people_master TO regress_sidecar_nobody;
GRANT SELECT (company_unique_id, enrichment_source, confidence_score, last_enriched_at) ON marketing.company_sidecar TO regress_sidecar_nobody;
GRANT SELECT (person_unique_id, enrichment_source, confidence_score, last_enriched_at) ON marketing.people_sidecar TO regress_sidecar_nobody;
SET ROLE regress_sidecar_nobody;
SELECT entity, total, enriched, rejected FROM sidecar_summary();
RESET ROLE;
GRANT SELECT (entity) ON marketing.sidecar_rejects TO regress_sidecar_nobody;
SET ROLE regress_sidecar_nobody;
SELECT entity, total, enriched, rejected FROM sidecar_summary();
SELECT count(*) FROM sidecar_sources();
RESET ROLE;
REVOKE SELECT (entity) ON marketing.sidecar_rejects FROM regress_sidecar_nobody;
REVOKE SELECT (company_unique_id, enrichment_source, confidence_score, last_enriched_at) ON marketing.company_sidecar FROM regress_sidecar_nobody;
REVOKE SELECT (person_unique_id, enrichment_source, confidence_score, last_enriched_at) ON marketing.people_sidecar FROM regress_sidecar_nobody;
REVOKE SELECT (company_unique_id) ON marketing.company_master FROM regress_sidecar_nobody;
REVOKE SELECT (unique_id) ON marketing.people_master FROM regress_sidecar_nobody;
REVOKE USAGE ON SCHEMA marketing FROM regress_sidecar_nobody;

-- a writer writes what it may, and needs no right on the master
SET ROLE regress_sidecar_writer;
SELECT sidecar_upsert_company('c1', '1', last_enriched_at => '2020-01-01'), sidecar_upsert_company('c4', '4');
SELECT sidecar_upsert_company('c1', '1', last_enriched_at => '2019-01-01', on_conflict => 'newest');
SELECT sidecar_upsert_person('p1');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_coverage();
\echo :LAST_ERROR_SQLSTATE

SET ROLE regress_sidecar_nobody;
SELECT sidecar_summary(exact => false);
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_coverage();
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- who may not make an object gets the command for someone who may
DROP INDEX marketing.idx_company_sidecar_ein;
SET ROLE regress_sidecar_writer;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
RESET ROLE;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';

-- row-level security: reports count what the role may see
ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON marketing.company_sidecar USING (company_unique_id <> 'c1') WITH CHECK (true);
GRANT SELECT ON marketing.company_master, marketing.people_master, marketing.people_sidecar TO regress_sidecar_writer;
SET ROLE regress_sidecar_reader;
SELECT * FROM sidecar_coverage();
SELECT filled FROM sidecar_field_coverage() WHERE field = 'ein_number';
SELECT * FROM sidecar_missing_companies() ORDER BY 1;
RESET ROLE;
SELECT * FROM sidecar_coverage();
ALTER TABLE marketing.company_master ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON marketing.company_master USING (company_unique_id <> 'c2');
SET ROLE regress_sidecar_reader;
SELECT * FROM sidecar_coverage();
SELECT company_unique_id, last_enriched_at FROM sidecar_stale_companies() ORDER BY 1;
-- asked not to hide anything, it fails rather than hide
SET row_security = off;
SELECT * FROM sidecar_coverage();
\echo :LAST_ERROR_SQLSTATE
RESET row_security;
-- a stored row that the writer may not see is not overwritten
SET ROLE regress_sidecar_writer;
SELECT sidecar_upsert_company('c1', '2');
\echo :LAST_ERROR_SQLSTATE
SELECT sidecar_upsert_company('c3', '3');
RESET ROLE;

-- a read-only transaction reads; it does not write
BEGIN READ ONLY;
SELECT * FROM sidecar_coverage();
SELECT count(*) FROM sidecar_sources();
SELECT entity, to_do FROM sidecar_status();
SELECT sidecar_upsert_company('c1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- a long report answers statement_timeout
CREATE VIEW slow AS SELECT i FROM generate_series(1, 6000) i WHERE pg_sleep(0.01)::text = '';
ALTER POLICY visible ON marketing.company_master USING ((SELECT count(*) FROM slow) > 0);
GRANT SELECT ON slow TO regress_sidecar_reader;
SET ROLE regress_sidecar_reader;
SET statement_timeout = '100ms';
SELECT * FROM sidecar_coverage();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sidecar_missing_companies();
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
RESET ROLE;

DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP VIEW slow;
DROP ROLE regress_sidecar_reader;
DROP ROLE regress_sidecar_writer;
DROP ROLE regress_sidecar_nobody;

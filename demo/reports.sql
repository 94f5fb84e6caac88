\pset columns 120
\pset expanded auto
\echo
\echo '-- promotion: what is in the masters, and what stayed in intake'
SELECT 'company' AS entity, (SELECT count(*) FROM marketing.company_master) AS promoted, (SELECT count(*) FROM intake.company_raw_intake) AS kept
UNION ALL
SELECT 'people', (SELECT count(*) FROM marketing.people_master), (SELECT count(*) FROM intake.people_raw_intake);
\echo '-- what could not be promoted or stored, and why'
SELECT company_name, website, reasons FROM intake.company_raw_intake;
SELECT unique_id, attempts, error FROM marketing.sidecar_rejects;
SELECT full_name, reasons FROM intake.people_raw_intake;
\echo '-- sidecar_coverage(): how much of the master data is enriched'
SELECT * FROM sidecar_coverage();
\echo '-- sidecar_field_coverage(): which columns are filled'
SELECT * FROM sidecar_field_coverage();
\echo '-- sidecar_sources(): which sources are most reliable'
SELECT entity, enrichment_source, total_enrichments, round(avg_confidence, 2) AS avg_confidence, latest_enrichment FROM sidecar_sources();
\echo '-- sidecar_stale_companies(): not enriched in 90 days'
SELECT company_name, enrichment_source, last_enriched_at, days_since_enrichment FROM sidecar_stale_companies();
\echo '-- sidecar_stale_people()'
SELECT full_name, enrichment_source, last_enriched_at, days_since_enrichment FROM sidecar_stale_people();
\echo '-- sidecar_low_confidence_companies(max_rows => 5): confidence below 70'
SELECT company_name, enrichment_source, confidence_score, last_enriched_at FROM sidecar_low_confidence_companies(max_rows => 5);
\echo '-- sidecar_low_confidence_people()'
SELECT full_name, enrichment_source, confidence_score, last_enriched_at FROM sidecar_low_confidence_people();
\echo '-- sidecar_missing_people(5)'
SELECT * FROM sidecar_missing_people(5);
\echo '-- sidecar_status(): is all as it should be'
SELECT entity, sidecar_table, master_table, foreign_key_validated, orphan_rows, trigger_enabled, missing_indexes, to_do FROM sidecar_status();
\echo '-- sidecar_summary(): all of it in a row per entity'
SELECT * FROM sidecar_summary();

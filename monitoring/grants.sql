-- What the monitoring roles may do, and nothing else: psql -f monitoring/grants.sql
-- Functions run with the caller's rights, so it is the tables that are granted.
SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['sidecar_exporter', 'sidecar_dashboard']) name
WHERE to_regrole(name) IS NULL \gexec

-- the exporter counts: it reads keys, sources, scores and times, no enrichment
GRANT USAGE ON SCHEMA marketing TO sidecar_exporter, sidecar_dashboard;
GRANT SELECT (company_unique_id) ON marketing.company_master TO sidecar_exporter;
GRANT SELECT (unique_id) ON marketing.people_master TO sidecar_exporter;
GRANT SELECT (company_unique_id, enrichment_source, confidence_score, last_enriched_at) ON marketing.company_sidecar TO sidecar_exporter;
GRANT SELECT (person_unique_id, enrichment_source, confidence_score, last_enriched_at) ON marketing.people_sidecar TO sidecar_exporter;
GRANT SELECT (entity) ON marketing.sidecar_rejects TO sidecar_exporter;

-- the dashboard also shows names, field coverage, and why records were rejected,
-- but not the records themselves
GRANT SELECT ON marketing.company_master, marketing.people_master, marketing.company_sidecar, marketing.people_sidecar TO sidecar_dashboard;
GRANT SELECT (reject_id, record_no, entity, unique_id, error, sqlstate, rejected_at, attempts, last_tried_at) ON marketing.sidecar_rejects TO sidecar_dashboard;

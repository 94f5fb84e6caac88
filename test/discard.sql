-- What test/asserts runs twice, with caches kept and discarded, and compares.
-- CREATE EXTENSION and sidecar_install() would take minutes without caches.
BEGIN;
SELECT sidecar_upsert_company('c1', 'ein', clay_tags => ARRAY['tag'], enrichment_payload => '{"a": {"b": 1}}', enrichment_source => 'clay', confidence_score => 95.5,
	last_enriched_at => '2026-01-02 03:04:05+06');
SELECT sidecar_upsert_company('c1', 'newer', confidence_score => 10, last_enriched_at => '2026-01-01', on_conflict => 'newest');
SELECT sidecar_upsert_person('p1', 'insight', social_profiles => '{"github": "p1"}', last_enriched_at => '2026-01-01');
SAVEPOINT nobody;
SELECT sidecar_upsert_company('nobody');
ROLLBACK TO nobody;
SELECT * FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "confidence_score": 1, "last_enriched_at": "2027-01-01"},
	{"company_unique_id": "c2", "enrichment_payload": {"x": [1, 2]}, "clay_tags": ["a", "b"]}, {"company_unique_id": "nobody"}, {"company_unique_id": "c3", "confidence_score": "high"}]', 'newest');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, last_enriched_at) VALUES ('c3', 'inbox', '2026-03-01 00:00+01');
UPDATE marketing.company_sidecar SET enrichment_source = 'hand', updated_at = '2020-01-01' WHERE company_unique_id IN ('c1', 'c2');
DELETE FROM marketing.company_master WHERE company_unique_id = 'c2';
SELECT company_unique_id, ein_number, clay_tags, enrichment_payload, enrichment_source, confidence_score, last_enriched_at, updated_at = now()::timestamp
FROM marketing.company_sidecar ORDER BY 1;
INSERT INTO marketing.company_master VALUES ('nobody', 'Somebody');
SELECT entity, unique_id, outcome, error FROM sidecar_retry_rejects();
SELECT entity, unique_id, sqlstate FROM marketing.sidecar_rejects ORDER BY 1, 2;
SELECT * FROM sidecar_coverage();
SELECT * FROM sidecar_field_coverage() WHERE filled > 0;
SELECT entity, enrichment_source, total_enrichments, avg_confidence FROM sidecar_sources();
SELECT entity, total, enriched, stale, low_confidence, undated, rejected FROM sidecar_summary();
SELECT company_unique_id FROM sidecar_stale_companies('1 day');
SELECT count(*) FROM sidecar_missing_companies();
SELECT person_unique_id FROM sidecar_low_confidence_people(101);
SELECT entity, foreign_key_validated, orphan_rows, trigger_enabled, to_do FROM sidecar_status();
ALTER TABLE marketing.company_master RENAME TO renamed;
SELECT sidecar_upsert_company('c4', 'after the rename');
SELECT entity, sidecar, master FROM sidecar_entity_bindings();
ROLLBACK;

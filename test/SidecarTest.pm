# What the TAP tests share: a populated database, what is known of it, and
# whether it works.
package SidecarTest;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node populate fingerprint works restored_ok);

# A running server with the extension at hand.
sub new_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%params);
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
	$node->start;
	return $node;
}

# The shapes of master that the foreign key meets: with a primary key; with
# partitions, whose rows a dump loads after the sidecar's; with no more than a
# unique index.
our %master = (
	with_pkey => 'CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY, company_name text);',
	partitioned => 'CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY, company_name text) PARTITION BY HASH (company_unique_id);
		CREATE TABLE marketing.zz_0 PARTITION OF marketing.company_master FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE marketing.zz_1 PARTITION OF marketing.company_master FOR VALUES WITH (MODULUS 2, REMAINDER 1);',
	with_index => 'CREATE TABLE marketing.company_master (company_unique_id text, company_name text);
		CREATE UNIQUE INDEX company_master_key ON marketing.company_master (company_unique_id);');

# A database with 3000 companies, and all that users put on their tables.
sub populate
{
	my ($node, $db, $shape) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql('postgres', q(DO $$ BEGIN
		IF to_regrole('app') IS NULL THEN CREATE ROLE app; END IF; END $$));
	$node->safe_psql($db, "SET client_min_messages = warning; CREATE SCHEMA marketing; $master{$shape}" . q(
		CREATE TABLE marketing.people_master (unique_id varchar(50) PRIMARY KEY, full_name text);
		CREATE EXTENSION sidecar;
		INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 3000) i;
		INSERT INTO marketing.people_master VALUES ('p1', 'Person 1');
		SELECT sidecar_upsert_company('c' || i, i::text, enrichment_payload => jsonb_build_object('i', i),
			enrichment_source => 'clay', last_enriched_at => '2026-01-01', confidence_score => i % 101)
		FROM generate_series(1, 2000) i;
		SELECT sidecar_upsert_person('p1', 'an insight', social_profiles => '{"github": "p1"}');
		INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate)
		VALUES ('company', 'early', '{"company_unique_id": "early"}', 'overwrite', 'no master', '23503');
		ALTER TABLE marketing.company_sidecar ADD COLUMN note text DEFAULT 'mine';
		CREATE INDEX mine ON marketing.company_sidecar (note);
		ALTER TABLE marketing.company_sidecar ADD CONSTRAINT mine CHECK (note <> 'theirs');
		CREATE VIEW marketing.enriched AS SELECT company_unique_id, note FROM marketing.company_sidecar;
		COMMENT ON COLUMN marketing.company_sidecar.note IS 'a note of mine';
		GRANT USAGE ON SCHEMA marketing TO app;
		GRANT SELECT, UPDATE ON marketing.company_sidecar TO app;
		GRANT EXECUTE ON FUNCTION sidecar_coverage() TO app;
		ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY app ON marketing.company_sidecar TO app USING (company_unique_id < 'c2');
		CREATE PUBLICATION enrichment FOR TABLE marketing.company_sidecar, marketing.people_sidecar;));
	return;
}

# All that a dump must bring back, as text.
sub fingerprint
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, q(
		SELECT 'rows', c.oid::regclass::text, (xpath('//md5/text()', query_to_xml(format(
			'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) AS md5 FROM %s t', c.oid::regclass), false, false, '')))[1]::text
		FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('marketing', 'crm') AND relkind IN ('r', 'p', 'v')
		UNION ALL
		SELECT 'column', attrelid::regclass::text, concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
			pg_get_expr(adbin, adrelid), col_description(attrelid, a.attnum))
		FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE nspname IN ('marketing', 'crm') AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
		UNION ALL
		SELECT 'index', indrelid::regclass::text, concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
		FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('marketing', 'crm')
		UNION ALL
		SELECT 'constraint', conrelid::regclass::text, concat_ws(' ', conname, pg_get_constraintdef(oid), convalidated)
		FROM pg_constraint WHERE connamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('marketing', 'crm')) AND conparentid = 0 AND contype <> 'n'
		UNION ALL
		SELECT 'trigger', tgrelid::regclass::text, concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t WHERE NOT tgisinternal
		UNION ALL
		SELECT 'policy', polrelid::regclass::text, concat_ws(' ', polname, pg_get_expr(polqual, polrelid)) FROM pg_policy
		UNION ALL
		SELECT 'table', c.oid::regclass::text, concat_ws(' ', relacl, relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner), obj_description(c.oid, 'pg_class'))
		FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('marketing', 'crm') AND relkind IN ('r', 'p', 'v', 'S')
		UNION ALL
		SELECT 'publication', prrelid::regclass::text, NULL FROM pg_publication_rel
		UNION ALL
		SELECT 'extension', NULL, concat_ws(' ', extname, extversion, identity, p.proacl)
		FROM pg_extension e JOIN pg_depend d ON refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND deptype = 'e'
		LEFT JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass, pg_identify_object(d.classid, d.objid, d.objsubid)
		WHERE extname = 'sidecar' AND type !~ 'type'
		ORDER BY 1, 2, 3));
}

# Triggers fire, keys cascade and refuse, policies hide, functions work; the
# database is left as it was.
sub works
{
	my ($node, $db) = @_;
	my ($key, $sidecar, $master) = split /\|/, $node->safe_psql($db, q(
		SELECT a.attname, sidecar, master FROM sidecar_entity_bindings()
		JOIN pg_constraint ON conrelid = sidecar AND confrelid = master AND contype = 'f' AND conparentid = 0
		JOIN pg_attribute a ON attrelid = master AND attnum = confkey[1] WHERE entity = 'company'));
	return $node->safe_psql($db, qq(
		BEGIN;
		SELECT entity, foreign_key_validated, orphan_rows, trigger_enabled, to_do FROM sidecar_status();
		SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
		SELECT * FROM sidecar_coverage();
		UPDATE $sidecar SET updated_at = '2020-01-01' WHERE company_unique_id = 'c1';
		SELECT count(*) FROM $sidecar WHERE company_unique_id = 'c1' AND updated_at = now();
		SELECT sidecar_upsert_company('c1', 'new', on_conflict => 'newest'), sidecar_upsert_company('c3000');
		DELETE FROM $master WHERE $key = 'c2';
		SELECT count(*) FROM $sidecar WHERE company_unique_id = 'c2';
		SET LOCAL ROLE app;
		SELECT count(*) < 2000 AND count(*) > 0 FROM $sidecar;
		ROLLBACK;));
}

# The restored database is the source to the letter, and works like it.
sub restored_ok
{
	my ($node, $db, $source, $name, %opt) = @_;
	my $expected = fingerprint($node, $source);
	$expected =~ s/^publication.*\n//mg if $opt{without_publication};
	is(fingerprint($node, $db), $expected, "$name: all is there");
	is(works($node, $db), works($node, $source), "$name: and works");
	return;
}

1;

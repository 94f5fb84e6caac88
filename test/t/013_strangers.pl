# What a role with CONNECT and TEMP and no other right can do: nothing to
# anybody else's data, sessions or server; and what an owner's restore needs.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $node = new_node('main');
$node->append_conf('postgresql.conf', "work_mem = '64kB'\nlog_temp_files = 0\n");
$node->reload;
$node->safe_psql('postgres', q(
	SET client_min_messages = warning;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE writer LOGIN;
	CREATE EXTENSION sidecar;
	SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 20) i;
	GRANT USAGE ON SCHEMA marketing TO writer;
	GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO writer;
	GRANT INSERT ON sidecar_company_inbox TO writer, stranger;
	CREATE TABLE victim AS SELECT i, 'victim row ' || i AS t FROM generate_series(1, 200000) i;
	CHECKPOINT;));
my $described = $node->safe_psql('postgres', 'SELECT count(*), sum(length(description)) FROM pg_description');
my $victims = $node->safe_psql('postgres', 'SELECT count(*), sum(length(t)) FROM victim');

# psql's errors as SQLSTATEs, and what it printed
sub states
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 0, extra_params => $role eq 'superuser' ? [] : [ '-U', $role ]);
	return join ' ', $out =~ s/\n/ /gr, $err =~ /(?:ERROR|FATAL|WARNING):  (\w{5})/g;
}
my $rows = q(SELECT 'c' || i, jsonb_build_object('text', repeat('A', 2000)) FROM generate_series(1, 5000) i);

# Views that have a row trigger, and nothing that stores what it keeps.  The
# superuser makes them, because nobody else is let.
$node->safe_psql('postgres', q(
	CREATE VIEW half AS SELECT NULL::text AS company_unique_id, NULL::jsonb AS enrichment_payload, NULL::timestamptz AS last_enriched_at WHERE false;
	CREATE TRIGGER r INSTEAD OF INSERT ON half FOR EACH ROW EXECUTE FUNCTION sidecar_inbox_insert('company');
	GRANT INSERT ON half TO writer, stranger;));
my $spill = "BEGIN; INSERT INTO half $rows; ROLLBACK;\nBEGIN; INSERT INTO half $rows; SELECT count(*) FROM pg_class; INSERT INTO half $rows; COMMIT;";
foreach my $role (qw(writer stranger superuser))
{
	is(states($role, $spill), ' 42P17 42P17 25P02 25P02', "$role: rows that nobody would store are not kept");
}
$node->safe_psql('postgres', q(CREATE TRIGGER s AFTER INSERT ON half FOR EACH STATEMENT WHEN (current_setting('work_mem') = '') EXECUTE FUNCTION sidecar_inbox_insert()));
is(states('writer', $spill), ' 42P17 42P17 25P02 25P02', 'a statement trigger with a condition is none');

# the role changes in mid-statement: what the one kept is not stored by the other
is(states('superuser', "BEGIN;\nINSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) SELECT 'c' || (1 + i % 20), jsonb_build_object('t', repeat('A', 2000), 'r', set_config('role', CASE WHEN i > 4000 THEN 'writer' ELSE 'none' END, true)) FROM generate_series(1, 8000) i;\nSELECT count(*) > 0 FROM pg_class, pg_description;\nINSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c1');\nCOMMIT;"),
	't 55000', 'kept rows of another role make the transaction fail, and nothing else');
is(states('stranger', "INSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) $rows"), ' 42501', 'who may not write does not fill the disk');
is(states('writer', "INSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) SELECT 'c' || (1 + i % 20), jsonb_build_object('i', repeat(i::text, 1000)) FROM generate_series(1, 5000) i;\nSELECT count(*), max(length(enrichment_payload->>'i')) FROM marketing.company_sidecar"), '20|4000', 'who may, does');

# The view is another one when the second row comes
my $more = join ', ', map { "NULL::text AS x$_" } 1 .. 900;
my $columns = q(NULL::text AS company_unique_id, NULL::jsonb AS enrichment_payload, NULL::timestamptz AS last_enriched_at);
is(states('stranger', "CREATE TEMP VIEW mine AS SELECT $columns WHERE false;\nCREATE TRIGGER r INSTEAD OF INSERT ON mine FOR EACH ROW EXECUTE FUNCTION sidecar_inbox_insert('company')"), ' 42501', 'a stranger makes no inbox');
$node->safe_psql('postgres', qq(CREATE FUNCTION widen() RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW wide AS SELECT $columns, $more WHERE false'; RETURN 'c1'; END \$\$;
	CREATE VIEW wide AS SELECT $columns WHERE false;
	CREATE TRIGGER r INSTEAD OF INSERT ON wide FOR EACH ROW EXECUTE FUNCTION sidecar_inbox_insert('company');
	CREATE TRIGGER s AFTER INSERT ON wide FOR EACH STATEMENT EXECUTE FUNCTION sidecar_inbox_insert();));
is(states('superuser', "BEGIN;\nINSERT INTO wide VALUES ('c1'), ('c2');\nSELECT widen();\nINSERT INTO wide VALUES ('c1');\nROLLBACK;\nINSERT INTO wide VALUES ('c1'), (widen());"), 'c1 42703 55006', 'nor is it opened with other columns than it has');

# One temporary table stops nobody
my $stranger = $node->background_psql('postgres', extra_params => [ '-U', 'stranger' ], on_error_stop => 0);
$stranger->query(q(CREATE TEMP TABLE mine (updated_at timestamp)));
$stranger->query(qq(CREATE TRIGGER x BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION update_${_}_sidecar_updated_at())) foreach qw(company people);
is(states('writer', q(SELECT sidecar_upsert_company('c1', last_enriched_at => '2026-01-01'))), 'updated', 'a stranger\'s temporary table stops nobody');
is(states('superuser', q(SELECT sidecar_table FROM sidecar_status())), 'marketing.company_sidecar marketing.people_sidecar', 'and is nobody\'s sidecar');
$stranger->quit;

is($node->safe_psql('postgres', 'SELECT count(*), sum(length(t)) FROM victim'), $victims, 'every row of the victim is there');
is($node->safe_psql('postgres', 'SELECT count(*), sum(length(description)) FROM pg_description'), $described, 'and of the catalog');
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC|TRAP:|temporary file leak|resource was not closed|invalid page/, 'no crash, no leak');

# The owner of a database, who is no superuser, restores his dump into one that
# has the extension
$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN');
populate($node, 'source', 'with_pkey');
$node->safe_psql('source', q(ALTER DATABASE source OWNER TO owner; ALTER SCHEMA marketing OWNER TO owner;
	DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind IN ('r', 'v') LOOP EXECUTE format('ALTER TABLE %s OWNER TO owner', t); END LOOP; END $$;
	ALTER PUBLICATION enrichment OWNER TO owner; ALTER TABLE marketing.company_sidecar NO FORCE ROW LEVEL SECURITY));
$node->safe_psql('postgres', 'CREATE DATABASE target OWNER owner');
$node->safe_psql('target', 'SET row_security = off; CREATE EXTENSION sidecar');
my $dump = PostgreSQL::Test::Utils::tempdir . '/owner.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-U', 'owner', $node->connstr('source') ], 'the owner dumps');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--no-comments', '--no-acl', '-U', 'owner', '-d', $node->connstr('target'), $dump ], 'and restores');
is($node->safe_psql('target', 'SELECT entity, sidecar_table, trigger_enabled FROM sidecar_status()', extra_params => [ '-U', 'owner' ]), "company|marketing.company_sidecar|t\npeople|marketing.people_sidecar|t", 'what he restored is bound');
is($node->safe_psql('target', q(SELECT sidecar_upsert_company('c1', 'restored')), extra_params => [ '-U', 'owner' ]), 'updated', 'and works');
is($node->safe_psql('target', 'SELECT count(*) FROM marketing.company_sidecar'), $node->safe_psql('source', 'SELECT count(*) FROM marketing.company_sidecar'), 'with every row');

$node->stop;
done_testing();

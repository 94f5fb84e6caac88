# The roles of doc/roles.sql do what they are for, and nothing else, with and
# without row security; nothing that others plant runs; strange names work.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $node = new_node('main');
my $start = q(
	SET client_min_messages = warning;
	CREATE EXTENSION sidecar;
	SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 5) i;
	INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 5) i;
	SELECT sidecar_upsert_company('c' || i, last_enriched_at => '2020-01-01', confidence_score => 10) FROM generate_series(1, 3) i;
	SELECT sidecar_upsert_companies('{"company_unique_id": "early"}'););
$node->safe_psql('postgres', $start);
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$FindBin::RealBin/../../doc/roles.sql", $node->connstr('postgres') ], 'roles.sql runs');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$FindBin::RealBin/../../doc/roles.sql", $node->connstr('postgres') ], 'and again');

# What each action answers to each role: yes, or the SQLSTATE.
my @actions = (
	# action, reader, writer, operator
	[ 'coverage', q(SELECT * FROM sidecar_coverage()), 'yes', 'yes', 'yes' ],
	[ 'summary', q(SELECT * FROM sidecar_summary()), 'yes', 'yes', 'yes' ],
	[ 'stale report', q(SELECT * FROM sidecar_stale_companies()), 'yes', '42501', 'yes' ],
	[ 'low confidence', q(SELECT * FROM sidecar_low_confidence_people()), 'yes', '42501', 'yes' ],
	[ 'sources', q(SELECT * FROM sidecar_sources()), 'yes', 'yes', 'yes' ],
	[ 'field coverage', q(SELECT * FROM sidecar_field_coverage()), 'yes', 'yes', 'yes' ],
	[ 'missing', q(SELECT * FROM sidecar_missing_companies()), 'yes', '42501', 'yes' ],
	[ 'status', q(SELECT * FROM sidecar_status()), 'yes', 'yes', 'yes' ],
	[ 'count of rejects', q(SELECT count(entity) FROM marketing.sidecar_rejects), 'yes', '42501', 'yes' ],
	[ 'rejects', q(SELECT record FROM marketing.sidecar_rejects), '42501', '42501', 'yes' ],
	[ 'upsert', q(SELECT sidecar_upsert_company('c4')), '42501', 'yes', 'yes' ],
	[ 'batch', q(SELECT sidecar_upsert_people('[{"person_unique_id": "p1"}, {"person_unique_id": "none"}]')), '42501', 'yes', 'yes' ],
	[ 'inbox', q(INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c4')), '42501', 'yes', 'yes' ],
	[ 'retry', q(SELECT sidecar_retry_rejects()), '42501', '42501', 'yes' ],
	[ 'clearing rejects', q(DELETE FROM marketing.sidecar_rejects WHERE reject_id > 0), '42501', '42501', 'yes' ],
	[ 'delete', q(DELETE FROM marketing.company_sidecar), '42501', '42501', '42501' ],
	[ 'truncate', q(TRUNCATE marketing.company_sidecar), '42501', '42501', '42501' ],
	[ 'a master', q(UPDATE marketing.company_master SET company_name = 'x'), '42501', '42501', '42501' ],
	[ 'a new master', q(INSERT INTO marketing.company_master VALUES ('x')), '42501', '42501', '42501' ],
	[ 'names of companies', q(SELECT company_name FROM marketing.company_master), 'yes', '42501', 'yes' ],
	[ 'the trigger', q(ALTER TABLE marketing.company_sidecar DISABLE TRIGGER ALL), '42501', '42501', '42501' ],
	[ 'installing', q(DROP TRIGGER company_sidecar_updated_at ON marketing.company_sidecar), '42501', '42501', '42501' ],
	[ 'a table', q(CREATE TABLE marketing.mine ()), '42501', '42501', '42501' ],);
my @roles = qw(sidecar_reader sidecar_writer sidecar_operator);

sub answer
{
	my ($db, $role, $sql) = @_;
	my ($rc, $stdout, $stderr) = $node->psql($db, "\\set VERBOSITY sqlstate\nSET client_min_messages = error;\nBEGIN;\nSET LOCAL ROLE $role;\n$sql;\nROLLBACK;");
	return $stderr =~ /ERROR:  (\w{5})/ ? $1 : $stderr eq '' ? 'yes' : $stderr;
}
my $table = sub {
	return join "\n", map { my $a = $_; join ' ', $a->[0], map { answer('postgres', $_, $a->[1]) } @roles } @actions;
};
my $expected = join "\n", map { join ' ', @{$_}[ 0, 2 .. 4 ] } @actions;
is($table->(), $expected, 'each role does what it is for, and nothing else');
$node->safe_psql('postgres', q(
	ALTER TABLE marketing.company_sidecar ENABLE ROW LEVEL SECURITY;
	ALTER TABLE marketing.people_sidecar ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON marketing.company_sidecar USING (company_unique_id <> 'c1');
	CREATE POLICY own ON marketing.people_sidecar USING (true);));
is($table->(), $expected, 'with row security, too');
is($node->safe_psql('postgres', 'SET ROLE sidecar_reader; SELECT company_unique_id FROM sidecar_stale_companies() ORDER BY 1'), "c2\nc3", 'which hides rows from reports');
foreach my $sql (q(SELECT sidecar_upsert_company('c1')), q(SELECT * FROM sidecar_upsert_companies('{"company_unique_id": "c1"}')))
{
	is(answer('postgres', 'sidecar_writer', $sql), '42501', 'and from writers');
}
is($node->safe_psql('postgres', q(SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'sidecar' WHERE prosecdef)), '', 'no function is SECURITY DEFINER');

# Somebody may create in public, and plants there whatever pg_catalog has; the
# superuser's search path even puts public first.
$node->safe_psql('postgres', "CREATE DATABASE planted");
$node->safe_psql('planted', $start . q(
	CREATE ROLE planter;
	GRANT CREATE ON SCHEMA public TO planter;
	SET ROLE planter;
	DO $$
	DECLARE
		f record;
	BEGIN
		FOR f IN SELECT p.*, pg_get_function_identity_arguments(p.oid) AS args FROM pg_proc p
			WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a') LOOP
			BEGIN
				IF f.prokind = 'f' THEN
					EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''planted %s''; END $f$',
						f.proname, f.args, CASE WHEN f.proretset THEN 'SETOF ' ELSE '' END || format_type(f.prorettype, NULL), '', f.proname);
				ELSE
					EXECUTE format('CREATE FUNCTION public.planted_%s(int8 %s) RETURNS int8 LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''planted aggregate''; END $f$',
						f.oid, CASE WHEN f.pronargs > 0 THEN ', ' || f.args ELSE '' END);
					EXECUTE format('CREATE AGGREGATE public.%I(%s) (SFUNC = public.planted_%s, STYPE = int8, INITCOND = ''0'')',
						f.proname, CASE WHEN f.pronargs > 0 THEN f.args ELSE '*' END, f.oid);
				END IF;
			EXCEPTION WHEN OTHERS THEN
			END;
		END LOOP;
		FOR f IN SELECT o.*, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r, format_type(oprresult, NULL) AS res FROM pg_operator o
			WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0 LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION public.planted_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''planted operator''; END $f$', f.oid, f.l, f.r, f.res);
				EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.planted_%s, LEFTARG = %s, RIGHTARG = %s)', f.oprname, f.oid, f.l, f.r);
			EXCEPTION WHEN OTHERS THEN
			END;
		END LOOP;
		FOR f IN SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typname !~ '^_' LOOP
			BEGIN
				EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.int2', f.typname);
			EXCEPTION WHEN OTHERS THEN
			END;
		END LOOP;
	END $$;));
cmp_ok($node->safe_psql('planted', q(SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proowner = 'planter'::regrole)), '>', 2000, 'functions are planted');
cmp_ok($node->safe_psql('planted', q(SELECT count(*) FROM pg_operator WHERE oprnamespace = 'public'::regnamespace)), '>', 500, 'and operators');
cmp_ok($node->safe_psql('planted', q(SELECT count(*) FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'd')), '>', 50, 'and types');
like(($node->psql('planted', q(SET search_path = public, pg_catalog; SELECT lower('X'::pg_catalog.text))))[2], qr/planted lower/, 'and run, when they are called by name');
foreach my $path ('public, pg_catalog', 'public')
{
	foreach my $call (
		q(sidecar_upsert_company('c1', ein_number => '1', clay_tags => '{a}', enrichment_payload => '{}', confidence_score => '5', last_enriched_at => '2026-01-01')),
		q(sidecar_upsert_company('c1', ein_number => '1', clay_tags => '{a}', enrichment_payload => '{}', confidence_score => '5', last_enriched_at => '2026-01-01')),
		(map { "sidecar_upsert_company('c1', ein_number => '1', confidence_score => '4', on_conflict => '$_')" } qw(newest most_confident fill)),
		q(sidecar_upsert_person('p1', social_profiles => '{"a": 1}')),
		(map { qq(sidecar_upsert_companies('[{"company_unique_id": "c2", "clay_tags": ["x"], "confidence_score": 7, "last_enriched_at": "2026-01-01"}, {"company_unique_id": "none"}, {"company_unique_id": "c2"}]', '$_')) } qw(overwrite newest most_confident fill)),
		q(sidecar_upsert_people('[{"person_unique_id": "p2", "social_profiles": {"x": 1}}, {"person_unique_id": "p3", "confidence_score": 700}]')),
		qw(sidecar_retry_rejects() sidecar_coverage() sidecar_summary() sidecar_field_coverage() sidecar_sources() sidecar_status() sidecar_objects() sidecar_install()
		sidecar_stale_companies() sidecar_stale_people() sidecar_low_confidence_companies() sidecar_low_confidence_people() sidecar_missing_companies()
		sidecar_missing_people() sidecar_entity_bindings() sidecar_create_masters()),
		q(sidecar_summary(exact => 'false')))
	{
		my ($rc, $stdout, $stderr) = $node->psql('planted', "SET search_path = $path; SET client_min_messages = error; SELECT * FROM $call");
		is($stderr, '', "search_path $path: $call");
	}
	foreach my $sql (q(INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c5', '9'), ('c4', '8')),
		q(UPDATE marketing.company_sidecar SET ein_number = '5'))
	{
		is(($node->psql('planted', "SET search_path = $path; $sql"))[2], '', "search_path $path: $sql");
	}
}

# installed in front of planted things
$node->safe_psql('postgres', "CREATE DATABASE late TEMPLATE planted");
is(($node->psql('late', q(SET client_min_messages = error; DROP EXTENSION sidecar CASCADE; DROP SCHEMA marketing CASCADE;
	CREATE SCHEMA marketing; CREATE TABLE marketing.company_master (company_unique_id pg_catalog.text PRIMARY KEY, company_name pg_catalog.text);
	CREATE EXTENSION sidecar;)))[2], '', 'CREATE EXTENSION and DROP EXTENSION among planted things');
is($node->safe_psql('late', q(SET search_path = pg_catalog; SELECT count(*) FROM public.sidecar_coverage())), '2', 'and it works');

# Names that need care
$node->safe_psql('postgres', q(CREATE DATABASE names));
like(($node->psql('names', q(CREATE SCHEMA "a$b"; CREATE EXTENSION sidecar SCHEMA "a$b")))[2], qr/invalid character in extension "sidecar" schema/,
	'PostgreSQL itself refuses quotes and dollars in the name of an extension\'s schema');
my $role = q("o'role $$ ü""");
$node->safe_psql('names', qq(
	SET client_min_messages = warning;
	CREATE ROLE $role LOGIN;
	GRANT CREATE ON DATABASE names TO $role;
	CREATE SCHEMA "An extension ü";
	CREATE EXTENSION sidecar SCHEMA "An extension ü";
	SELECT "An extension ü".sidecar_create_masters();
	INSERT INTO marketing.company_master VALUES ('c1', 'One'), ('c2', 'Two');
	ALTER SCHEMA marketing RENAME TO "m \$q\$ '""ö {sidecar}";
	ALTER TABLE "m \$q\$ '""ö {sidecar}".company_sidecar RENAME TO "{key} \$1 '";
	GRANT USAGE ON SCHEMA "m \$q\$ '""ö {sidecar}", "An extension ü" TO $role;
	GRANT ALL ON ALL TABLES IN SCHEMA "m \$q\$ '""ö {sidecar}" TO $role;));
my $in = qq(SET search_path = "An extension ü"; SET ROLE $role; SET client_min_messages = error;);
is($node->safe_psql('names', "$in SELECT sidecar_upsert_company('c1', '1')"), 'inserted', 'schemas, tables and roles with quotes, dollars and unicode: upsert');
is($node->safe_psql('names', qq($in SELECT outcome FROM sidecar_upsert_companies('[{"company_unique_id": "c1", "ein_number": "2"}, {"company_unique_id": "c2"}]'))), "updated\ninserted", 'batch');
is($node->safe_psql('names', "$in SELECT count(*) FROM $_"), $_ =~ /stale|low|missing/ ? '0' : '2', $_)
	foreach qw(sidecar_coverage() sidecar_status() sidecar_summary() sidecar_stale_companies() sidecar_low_confidence_companies() sidecar_missing_companies());
is($node->safe_psql('names', "$in SELECT count(*) FROM sidecar_summary(exact => false)"), '2', 'estimates');
is($node->safe_psql('names', "$in SELECT count(*) > 0 FROM sidecar_objects()"), 't', 'objects');

done_testing();

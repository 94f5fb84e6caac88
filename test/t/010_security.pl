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
	[ 'clearing rejects', q(DELETE FROM marketing.sidecar_rejects WHERE reject_id IS NOT NULL), '42501', '42501', 'yes' ],
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

# of our names he can make functions where he may create, for calls that fit them better
$node->safe_psql('planted', q(SET ROLE planter; CREATE FUNCTION public.sidecar_missing_companies(integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'planted'; END $$));
is($node->safe_psql('planted', 'SELECT * FROM sidecar_missing_companies(5)'), 'planted', 'an integer is no bigint');
is($node->safe_psql('planted', "SELECT company_unique_id FROM sidecar_missing_companies('5'::bigint) WHERE company_unique_id = 'x'"), '', 'a bigint is');

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
is($node->safe_psql('names', "$in SELECT count(*) FROM sidecar_status() WHERE entity IS NOT NULL"), '2', 'status');
is($node->safe_psql('names', "$in SELECT count(*) FROM $_"), $_ =~ /stale|low|missing/ ? '0' : '2', $_)
	foreach qw(sidecar_coverage() sidecar_summary() sidecar_stale_companies() sidecar_low_confidence_companies() sidecar_missing_companies());
is($node->safe_psql('names', "$in SELECT count(*) FROM sidecar_summary(exact => false)"), '2', 'estimates');
is($node->safe_psql('names', "$in SELECT count(*) > 0 FROM sidecar_objects()"), 't', 'objects');

# A role with CONNECT and TEMP and no other right, a writer, an owner: what
# doc/security.md says of each
$node->stop;
$node = new_node('roles');
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

# the role changes in mid-statement: what the one kept is not stored by the other
is(states('superuser', "BEGIN;\nINSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) SELECT 'c' || (1 + i % 20), jsonb_build_object('t', repeat('A', 2000), 'r', set_config('role', CASE WHEN i > 4000 THEN 'writer' ELSE 'none' END, true)) FROM generate_series(1, 8000) i;\nSELECT count(*) > 0 FROM pg_class, pg_description;\nINSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c1');\nCOMMIT;"),
	' 55000 25P02 25P02', 'kept rows of another role make the statement fail, and nothing else');
is(states('stranger', "INSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) $rows"), ' 42501', 'who may not write does not fill the disk');
is(states('writer', "INSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) SELECT 'c' || (1 + i % 20), jsonb_build_object('i', repeat(i::text, 1000)) FROM generate_series(1, 5000) i;\nSELECT count(*), max(length(enrichment_payload #>> '{}')) FROM marketing.company_sidecar"), '20|4009', 'who may, does');

# The inbox is another one when the second row comes
is(states('stranger', q(CREATE FOREIGN TABLE pg_temp.mine (company_unique_id text) SERVER sidecar OPTIONS (entity 'company'))), ' 42501', 'a stranger makes no inbox');
my $more = join ', ', map { "ADD COLUMN x$_ text" } 1 .. 900;
$node->safe_psql('postgres', qq(CREATE FUNCTION widen() RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE 'ALTER FOREIGN TABLE wide $more'; RETURN 'c1'; END \$\$;
	CREATE FOREIGN TABLE wide (company_unique_id text) SERVER sidecar OPTIONS (entity 'company');));
is(states('superuser', "BEGIN;\nINSERT INTO wide VALUES ('c1'), ('c2');\nSELECT widen();\nINSERT INTO wide VALUES ('c1');\nINSERT INTO wide (company_unique_id, x900) VALUES ('c1', 'x');\nROLLBACK;\nINSERT INTO wide VALUES ('c1'), (widen());"), 'c1 42703 55006', 'nor is it opened with other columns than it has');

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

# every function that reads or writes rows
$node->safe_psql('postgres', 'CREATE VIEW public.functions AS SELECT p.oid::regproc::text AS name FROM pg_proc p
	JOIN pg_depend d ON d.objid = p.oid AND d.classid = \'pg_proc\'::regclass AND d.deptype = \'e\' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = \'sidecar\'
	WHERE prorettype <> ALL (\'{trigger,fdw_handler}\'::regtype[])');
my %open = map { $_ => 1 } qw(sidecar_entity_bindings sidecar_create_masters sidecar_has_key sidecar_accepted_type sidecar_is_shard sidecar_lock_tables sidecar_make sidecar_drop_replaced sidecar_doubt_zone
	sidecar_suspects sidecar_unbound_tables sidecar_trigger_functions sidecar_found_tables sidecar_found_masters sidecar_install sidecar_distrust),
	grep { /^sidecar_objects|^sidecar_.*_definitions$/ } split /\n/, $node->safe_psql("postgres", "SELECT name FROM functions");
foreach my $name (split /\n/, $node->safe_psql('postgres', 'SELECT name FROM functions ORDER BY 1'))
{
	my $args = $name =~ /fdw_validator/ ? "'{}', 0" : $name =~ /upsert_(company|person)/ ? "'c1'" : $name =~ /upsert|import/ ? qq('{"company_unique_id": "c1", "person_unique_id": "p1"}') : '';
	my $answer = states('stranger', "SELECT count(*) FROM $name($args)");
	if ($open{$name}) { unlike($answer, qr/[A-Z]/i, "a stranger sees names and definitions: $name"); }
	else { is($answer, ' 42501', "a stranger gets 42501: $name"); }
}

# an owner's casts and operators do not run as those who read
$node->safe_psql('postgres', q(
	CREATE ROLE tables_owner LOGIN;
	GRANT EXECUTE ON FUNCTION update_company_sidecar_updated_at() TO tables_owner;
	GRANT CREATE ON SCHEMA public TO tables_owner;
	GRANT CREATE, USAGE ON SCHEMA marketing TO tables_owner;
	ALTER TABLE marketing.company_sidecar OWNER TO tables_owner;
	ALTER TABLE marketing.company_master OWNER TO tables_owner;));
is(states('tables_owner', q(
	CREATE FUNCTION climb(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF current_user <> 'tables_owner' THEN ALTER ROLE tables_owner SUPERUSER; END IF; RETURN $1; END $$;
	CREATE TYPE score AS ENUM ('1', '70');
	CREATE FUNCTION climb(score) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN PERFORM climb('x'); RETURN 1; END $$;
	CREATE CAST (score AS numeric) WITH FUNCTION climb(score) AS IMPLICIT;
	CREATE TYPE name_of AS (t text);
	CREATE FUNCTION climb(name_of) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN climb('x'); END $$;
	CREATE CAST (name_of AS text) WITH FUNCTION climb(name_of) AS IMPLICIT;
	CREATE FUNCTION less(score, numeric) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM climb('x'); RETURN true; END $$;
	CREATE OPERATOR < (LEFTARG = score, RIGHTARG = numeric, FUNCTION = less);
	ALTER TABLE marketing.company_sidecar DROP CONSTRAINT company_sidecar_confidence_score_check, ALTER confidence_score TYPE score USING NULL,
		ADD COLUMN "{sidecar} x, (SELECT climb('x')) y --" text, ADD COLUMN score score DEFAULT '1';
	UPDATE marketing.company_sidecar SET confidence_score = '70';
	ALTER TABLE marketing.company_master ALTER company_name DROP NOT NULL, ALTER company_name TYPE name_of USING ROW(company_name);
	ALTER TABLE marketing.company_master RENAME TO "{key} m, (SELECT climb('x')) z --";)), '', 'an owner plants what he can');
my $reads = join ";\n", map { "SELECT count(*) FROM $_()" } grep { !/fdw|upsert|import|retry|create_masters|has_key|accepted_type|is_shard|sidecar_make|drop_replaced|distrust|doubt_zone/ } split /\n/, $node->safe_psql('postgres', 'SELECT name FROM functions ORDER BY 1');
like(states('superuser', $reads), qr/42804/, 'which a superuser\'s reports refuse to read');
$node->safe_psql('postgres', 'ALTER TABLE marketing.company_sidecar ALTER confidence_score TYPE numeric(5,2) USING NULL');
unlike(states('superuser', "$reads;\nSELECT count(*) FROM sidecar_create_masters()"), qr/[0-9A-Z]{5}$/, 'or read');
is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'tables_owner')), 'f', 'an owner runs nothing as those who read his tables');
is(states('tables_owner', q(BEGIN; DECLARE c CURSOR FOR SELECT 1 FROM marketing.company_sidecar; FETCH c; ALTER TABLE marketing.company_sidecar ADD COLUMN z int; ROLLBACK)), '1 55006', 'nothing is altered that is open');
is(states('superuser', q(ALTER TABLE marketing.company_sidecar OWNER TO stranger; SELECT sidecar_upsert_company('c1'); ALTER TABLE marketing.company_sidecar OWNER TO tables_owner)), ' 42P01', 'a table of somebody who was not given the mark is no sidecar');

# a stranger was there first: what has the names of schema, master or table is
# not touched, and his functions do not run as who creates the extension
$node->safe_psql('postgres', 'CREATE DATABASE early; GRANT CREATE ON DATABASE early TO stranger');
my $trap = q(
	CREATE FUNCTION %1$s.climb() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE stranger SUPERUSER; END IF; END $$;
	CREATE FUNCTION %1$s.immutably() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM %1$s.climb(); RETURN true; END $$;
	CREATE TABLE %1$s.%2$s (%3$s text PRIMARY KEY, company_name text, full_name text);
	CREATE INDEX ON %1$s.%2$s (company_name) WHERE %1$s.immutably(););
my $as_stranger = sub { my ($db, $sql) = @_; return ($node->psql($db, $sql, extra_params => [ '-U', 'stranger' ]))[2] };
is($as_stranger->('early', 'CREATE SCHEMA marketing;' . sprintf($trap, 'marketing', 'company_master', 'company_unique_id')), '', 'a stranger is there first');
like(($node->psql('early', 'CREATE EXTENSION sidecar'))[2], qr/WARNING:  marketing is not touched/, 'what he owns is not touched');
is($node->safe_psql('early', q(SELECT count(*) FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind = 'r' AND relname <> 'company_master')), '0', 'no table is made where he could drop it');
is($node->safe_psql('early', q(SET client_min_messages = error; SELECT DISTINCT outcome FROM sidecar_create_masters() WHERE object ~ 'people_master')), 'waiting', 'nor a master');
$node->psql('early', 'SELECT * FROM sidecar_install(); SELECT * FROM sidecar_status(); SELECT * FROM sidecar_create_masters()', on_error_stop => 0);
$node->safe_psql('postgres', 'CREATE DATABASE late_master');
$node->safe_psql('late_master', 'SET client_min_messages = error; CREATE EXTENSION sidecar; GRANT CREATE, USAGE ON SCHEMA marketing TO stranger');
is($as_stranger->('late_master', sprintf($trap, 'marketing', 'people_master', 'unique_id')), '', 'nor a master of his');
like($node->safe_psql('late_master', q(SET client_min_messages = error; SELECT outcome, hint FROM sidecar_install() WHERE object ~ 'foreign key .*people')), qr/^waiting\|.*not touched: its owner stranger/, 'which waits');
is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'stranger')), 'f', 'a stranger runs nothing as who installs');
is($as_stranger->('late_master', q(CREATE FUNCTION marketing.update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END')), '', 'he may have functions of our names');

# nor does he hold a lock: not by a call without records, and not by installing
foreach my $call ("sidecar_upsert_companies('[]')", 'sidecar_install()', 'sidecar_create_masters()', 'sidecar_coverage()', 'sidecar_retry_rejects()')
{
	my ($out) = ($node->psql('postgres', qq(BEGIN; SAVEPOINT s; SELECT count(*) FROM $call;\nROLLBACK TO s;
		SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND (locktype = 'advisory' OR relation IN (SELECT oid FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'marketing')));),
		on_error_stop => 0, extra_params => [ '-U', 'stranger' ]))[1];
	like($out, qr/(^|\n)0$/, "a stranger holds no lock by $call");
}
my ($held) = ($node->psql('postgres', q(BEGIN; SELECT count(*) FROM sidecar_install(); SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'; ROLLBACK), extra_params => [ '-U', 'stranger' ]))[1];
like($held, qr/\n0$/, 'nor while he is at it');

# what a writer puts into the table of parked records by himself stops nobody
$node->safe_psql('postgres', q(GRANT SELECT, INSERT, UPDATE, DELETE ON marketing.sidecar_rejects TO writer; ALTER TABLE marketing.company_sidecar OWNER TO CURRENT_USER;
	ALTER TABLE marketing.company_sidecar ALTER confidence_score TYPE numeric(5,2) USING NULL));
foreach my $row (q('nonsense', '{}', 'overwrite', 1, now()), q('company', '{}', 'nonsense', 1, now()), q('company', '{}', 'newest', 2147483647, now()),
	q('company', '{"company_unique_id": "c7"}', 'newest', 1, 'infinity'))
{
	is(states('writer', "INSERT INTO marketing.sidecar_rejects (entity, record, on_conflict, attempts, rejected_at, error, sqlstate) VALUES ($row, '', '')"), '', "a writer parks $row");
	unlike(states('superuser', 'SELECT count(*) FROM sidecar_retry_rejects()'), qr/[0-9A-Z]{5}/, 'and stops no retry');
}
is($node->safe_psql('postgres', q(SELECT isfinite(last_enriched_at) FROM marketing.company_sidecar WHERE company_unique_id = 'c7')), 't', 'nor every later record');

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


done_testing();

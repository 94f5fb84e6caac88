# What an owner may do to everything that is his, between and inside calls of
# every function, from several sessions: test/fuzz ddl.
#
# An episode is a fresh database and a list of steps, made from the seed and
# from what is in the database when a step is made.  After each step that calls
# the extension has to hold what the faults below say.  A list that ends in a
# fault is run again, with less and less in it, and the shortest is printed.

use strict;
use warnings;
use DBI;
use Getopt::Long;
use List::Util qw(max min);
use Time::HiRes qw(sleep time);

my %opt = (seconds => 60, seed => 1, length => 40, shrink => 60);
GetOptions(\%opt, 'seconds=i', 'seed=i', 'episode=i', 'length=i', 'shrink=i', 'show')
	&& !@ARGV or die "usage: fuzz_ddl.pl [--seconds S] [--seed N] [--episode N] [--length STEPS] [--shrink SECONDS] [--show]\n";
my $server_log = $ENV{SERVER_LOG} // die "SERVER_LOG is not set\n";

# Sessions, and who they are.  Whoever has to wait for a lock gives up soon.
my %role = (super => 'postgres', owner => 'fuzz_owner', other => 'fuzz_owner', writer => 'fuzz_writer');
my $settings = "SET lock_timeout = '30ms'; SET statement_timeout = '10s'; SET work_mem = '64kB'; SET client_min_messages = error;"
	. ' SET search_path = public, fuzz, marketing';

my @names = ('company_sidecar', 'people_sidecar', 'company_master', 'people_master', 'sidecar_rejects', 'company_sidecar_new', 'company_unique_id',
	'unique_id', 'ein_number', 'clay_tags', 'confidence_score', 'last_enriched_at', 'enrichment_source', 'enrichment_payload', 'updated_at', 'note',
	'{sidecar}', '{master}', '{key}', '{schema}', '$1', '%s', 'a"b', q(x' || '), '") FROM x; --', 'ü', 'x' x 63, 'pg_catalog', '?column?');
my @types = ('text', 'varchar(50)', 'varchar(5)', 'char(10)', 'smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric', 'numeric(4,1)',
	'jsonb', 'json', 'text[]', 'integer[]', 'timestamp', 'timestamptz', 'timestamp(0)', 'date', 'interval', 'boolean', 'uuid', 'bytea', 'oid', 'name',
	'money', 'bit(8)', 'int4range', 'tsvector', 'text COLLATE fuzz.nocase', 'fuzz.a_text', 'fuzz.a_number', 'fuzz.a_time', 'fuzz.some_text', 'fuzz.a_document', 'fuzz.color', 'fuzz.pair',
	'fuzz.a_pair');

# What an owner may do.  {T} a table, {V} a view, {C} one of its columns, {K} a
# constraint, {G} a trigger, {I} an index, {P} a policy, {S} a schema, {N} a
# name, {TY} a type, {INSIDE} a further such statement or a call of ours, as a
# string; {INSIDE_DDL} no call, where a function that writes would break
# PostgreSQL's own rules.
my $mark = 'update_{E}_sidecar_updated_at()';
my @ddl = (
	('ALTER TABLE {T} ALTER {C} TYPE {TY} USING {C}::text::{TY}') x 5,
	('ALTER TABLE {T} ALTER {C} TYPE {TY} USING NULL') x 3,
	'ALTER TABLE {T} ALTER {C} SET NOT NULL', 'ALTER TABLE {T} ALTER {C} DROP NOT NULL', 'ALTER TABLE {T} ALTER {C} DROP DEFAULT',
	'ALTER TABLE {T} ALTER {C} SET DEFAULT NULL', q(ALTER TABLE {T} ALTER {C} SET DEFAULT fuzz.inside({INSIDE_DDL})),
	('ALTER TABLE {T} RENAME {C} TO {N}') x 3, 'ALTER TABLE {T} DROP {C} CASCADE', 'ALTER TABLE {T} ADD {N} {TY}',
	'ALTER TABLE {T} DROP {C} CASCADE, ADD {C} {TY}', 'ALTER TABLE {T} ADD {N} text GENERATED ALWAYS AS ({C}::text) STORED',
	'ALTER TABLE {T} RENAME TO {N}', 'ALTER TABLE {T} SET SCHEMA {S}', 'ALTER SCHEMA {S} RENAME TO {N}', 'CREATE SCHEMA {N}',
	'DROP TABLE {T} CASCADE', 'TRUNCATE {T} CASCADE', 'DELETE FROM {T}',
	'ALTER TABLE {T} DROP CONSTRAINT {K} CASCADE', 'ALTER TABLE {T} ALTER CONSTRAINT {K} DEFERRABLE INITIALLY DEFERRED', 'ALTER TABLE {T} RENAME CONSTRAINT {K} TO {N}',
	'ALTER TABLE {T} ADD CHECK ({C} IS NOT NULL) NOT VALID', 'ALTER TABLE {T} ADD CHECK (length({C}::text) % 2 = 0) NOT VALID',
	q(ALTER TABLE {T} ADD CHECK (fuzz.inside({INSIDE_DDL}) IS NOT NULL) NOT VALID), 'ALTER TABLE {T} ADD UNIQUE ({C})', 'ALTER TABLE {T} ADD UNIQUE ({C}) DEFERRABLE',
	'ALTER TABLE {T} ADD FOREIGN KEY ({C}) REFERENCES {T} ON DELETE CASCADE NOT VALID', 'ALTER TABLE {T} ADD PRIMARY KEY ({C})',
	'ALTER TABLE {T} DISABLE TRIGGER {G}', 'ALTER TABLE {T} ENABLE ALWAYS TRIGGER {G}', 'ALTER TABLE {T} ENABLE REPLICA TRIGGER {G}', 'ALTER TABLE {T} DISABLE TRIGGER USER',
	'DROP TRIGGER {G} ON {T}', 'DROP TRIGGER {G} ON {V}', 'ALTER TRIGGER {G} ON {T} RENAME TO {N}',
	"CREATE TRIGGER {N} BEFORE UPDATE ON {T} FOR EACH ROW EXECUTE FUNCTION $mark", "CREATE TRIGGER {N} AFTER INSERT ON {T} FOR EACH STATEMENT EXECUTE FUNCTION $mark",
	(q(CREATE TRIGGER {N} BEFORE INSERT OR UPDATE ON {T} FOR EACH ROW EXECUTE FUNCTION fuzz.inside_row({INSIDE}))) x 4,
	(q(CREATE TRIGGER {N} AFTER INSERT OR UPDATE OR DELETE ON {T} FOR EACH STATEMENT EXECUTE FUNCTION fuzz.inside_row({INSIDE}))) x 2,
	q(CREATE TRIGGER {N} BEFORE INSERT OR UPDATE ON {T} FOR EACH ROW EXECUTE FUNCTION fuzz.veto()),
	q(CREATE TRIGGER {N} AFTER INSERT OR UPDATE ON {T} FOR EACH ROW EXECUTE FUNCTION fuzz.call('{CALL2}')),
	(q(ALTER DOMAIN {DOMAIN} ADD CHECK (fuzz.inside({INSIDE_DDL}) IS NOT NULL) NOT VALID)) x 2, 'ALTER DOMAIN {DOMAIN} SET NOT NULL', 'ALTER DOMAIN {DOMAIN} ADD CHECK (length(VALUE::text) < 8) NOT VALID',
	'ALTER TABLE {T} ENABLE ROW LEVEL SECURITY', 'ALTER TABLE {T} FORCE ROW LEVEL SECURITY', 'CREATE POLICY {N} ON {T} USING ({C} IS NOT NULL)',
	'CREATE POLICY {N} ON {T} USING (true) WITH CHECK (false)', q(CREATE POLICY {N} ON {T} USING (fuzz.inside({INSIDE_DDL}) IS NOT NULL)),
	'CREATE INDEX ON {T} ({C})', 'CREATE UNIQUE INDEX ON {T} ({C})', q(CREATE INDEX ON {T} ((fuzz.inside_immutable({C}::text, {INSIDE_DDL})))), 'DROP INDEX {I}', 'ALTER INDEX {I} RENAME TO {N}',
	'ALTER TABLE {T} SET (fillfactor = 50)', 'ALTER TABLE {T} SET UNLOGGED', 'CLUSTER {T} USING {I1}', 'ANALYZE {T}', 'VACUUM FULL {T}', 'REINDEX TABLE {T}', 'ALTER TABLE {T} REPLICA IDENTITY FULL',
	'CREATE RULE {N} AS ON INSERT TO {T} DO INSTEAD NOTHING', 'CREATE RULE {N} AS ON UPDATE TO {T} DO ALSO SELECT 1',
	('CREATE TABLE {S}.{N} (LIKE {T} INCLUDING ALL)') x 2, 'CREATE TABLE {S}.{N} AS TABLE {T}', 'CREATE TABLE {S}.{N} () INHERITS ({T})', 'ALTER TABLE {T} INHERIT {T}', 'ALTER TABLE {T} NO INHERIT {T}',
	'CREATE TABLE {S}.{N} (LIKE {T} INCLUDING DEFAULTS) PARTITION BY HASH ({C})', 'ALTER TABLE {T} ATTACH PARTITION {T} FOR VALUES WITH (MODULUS 1, REMAINDER 0)', 'ALTER TABLE {T} DETACH PARTITION {T}',
	# a swap by rename, and a copy that is restored elsewhere
	'ALTER TABLE {T} RENAME TO retired; CREATE TABLE marketing.company_sidecar (LIKE marketing.retired INCLUDING ALL)',
	("CREATE TABLE {S}.company_sidecar (LIKE marketing.company_sidecar INCLUDING ALL); CREATE TRIGGER {N} BEFORE UPDATE ON {S}.company_sidecar FOR EACH ROW EXECUTE FUNCTION update_company_sidecar_updated_at(); ALTER TABLE {S}.company_sidecar ADD FOREIGN KEY (company_unique_id) REFERENCES marketing.company_master ON DELETE CASCADE") x 3,
	"CREATE TEMP TABLE {N} (LIKE {T} INCLUDING ALL); CREATE TRIGGER t BEFORE UPDATE ON pg_temp.{N} FOR EACH ROW EXECUTE FUNCTION $mark",
	# inboxes of his own, whole, half and changed
	(q(CREATE FOREIGN TABLE fuzz.{N} (company_unique_id text, enrichment_payload text, last_enriched_at text, outcome text) SERVER sidecar OPTIONS (entity '{E}'))) x 3,
	'ALTER FOREIGN TABLE {V} ADD COLUMN ein_number text', 'ALTER FOREIGN TABLE {V} DROP COLUMN {C}', q(ALTER FOREIGN TABLE {V} OPTIONS (SET entity '{E}')),
	q(CREATE TRIGGER {N} BEFORE INSERT ON {V} FOR EACH ROW WHEN (fuzz.inside({INSIDE_DDL}) IS NOT NULL) EXECUTE FUNCTION suppress_redundant_updates_trigger()),
	'DROP FOREIGN TABLE {V} CASCADE', 'ALTER FOREIGN TABLE {V} RENAME {C} TO {N}');
# and what is for a superuser
my @admin = ('ALTER EXTENSION sidecar SET SCHEMA {S}', 'DROP EXTENSION sidecar CASCADE', 'CREATE EXTENSION sidecar', 'ALTER TABLE {T} DISABLE TRIGGER ALL', 'ALTER TABLE {T} ENABLE TRIGGER ALL',
	'ALTER TABLE {T} OWNER TO fuzz_writer', 'ALTER TABLE {T} OWNER TO fuzz_owner',
	q(CREATE OR REPLACE FUNCTION update_company_sidecar_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$));

# Calls of the extension.  {MARK} is a source that no other step has.
my $record = q({"{ID}": "{KEY}", "enrichment_source": "{MARK}", "confidence_score": {SCORE}, "last_enriched_at": "2026-0{DIGIT}-01", "clay_tags": ["a", "b"]});
$record =~ s/, "clay_tags".*?\]//;
my $bad = q({"{ID}": "nobody{DIGIT}", "enrichment_source": "{MARK}"});
my @write = (
	(q(SELECT sidecar_upsert_company('{KEY}', '{DIGIT}', enrichment_source => '{MARK}', confidence_score => {SCORE}, last_enriched_at => '2026-0{DIGIT}-01', on_conflict => '{RULE}'))) x 3,
	q(SELECT sidecar_upsert_company('{KEY}', clay_tags => '{a,b}', enrichment_payload => '{"a": 1}', enrichment_source => '{MARK}')),
	q(SELECT sidecar_upsert_company('{KEY}', enrichment_source => '{MARK}', clear => '{ein_number,clay_segments}', on_conflict => '{RULE}')),
	"SELECT outcome, error FROM sidecar_import_{MANY}(E'$record\n$bad\n{\"{ID}\": \"{KEY}\", \"x\": \"\\\\u0000\"}\n{\"{ID}\": \"{KEY}\", \"\$clear\": [\"enrichment_payload\"], \"unknown\": [1], \"enrichment_source\": \"{MARK}\"}', '{RULE}', 'payload')",
	(q(SELECT sidecar_upsert_person('{KEY}', 'text', enrichment_source => '{MARK}', on_conflict => '{RULE}'))) x 2,
	("SELECT outcome, error FROM sidecar_upsert_{MANY}('[$record, $bad, {\"{ID}\": \"{KEY}\", \"clay_tags\": {}, \"clay_segments\": {\"a\": 1}}, $record]', '{RULE}')") x 3,
	"SELECT outcome FROM sidecar_upsert_{MANY}((SELECT jsonb_agg(('$record'::jsonb) || jsonb_build_object('{ID}', 'c' || i)) FROM generate_series(1, 2500) i), '{RULE}')",
	q(INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, enrichment_source) VALUES ('{KEY}', '1', '{MARK}'), ('c{DIGIT}', '2', '{MARK}')),
	q(INSERT INTO {V} (company_unique_id, enrichment_payload) SELECT 'c' || i, jsonb_build_object('text', repeat('A', 2000)) FROM generate_series(1, 300) i),
	q(INSERT INTO {V} (company_unique_id) VALUES ('c1') ON CONFLICT DO NOTHING), q(INSERT INTO {V} (company_unique_id) VALUES ('c1'), ('nobody') RETURNING *),
	q(INSERT INTO {V} (company_unique_id) SELECT '{KEY}' FROM (SELECT set_config('role', 'fuzz_writer', true) OFFSET 0) r, generate_series(1, 3)),
	q(SELECT outcome FROM sidecar_retry_rejects()), q(SELECT outcome FROM sidecar_retry_rejects(2)));
my @read = ('SELECT * FROM sidecar_coverage()', 'SELECT * FROM sidecar_sources()', 'SELECT * FROM sidecar_field_coverage()', 'SELECT * FROM sidecar_summary()', 'SELECT * FROM sidecar_summary(exact => false)',
	'SELECT * FROM sidecar_stale_companies()', 'SELECT * FROM sidecar_stale_people()', 'SELECT * FROM sidecar_low_confidence_companies(90)', 'SELECT * FROM sidecar_low_confidence_people(90, 2)',
	'SELECT * FROM sidecar_missing_companies()', 'SELECT * FROM sidecar_missing_people()', 'SELECT * FROM sidecar_status()', 'SELECT * FROM sidecar_objects()', 'SELECT * FROM sidecar_entity_bindings()');
my @install = ('SELECT * FROM sidecar_install()', 'SELECT * FROM sidecar_install()', 'SELECT * FROM sidecar_create_masters()');
# a call among others
my @around = (
	('{CALL}') x 30,
	'PREPARE p{DIGIT} AS {CALL}', 'EXECUTE p{DIGIT}', 'DECLARE c{DIGIT} CURSOR WITH HOLD FOR {READ}', 'FETCH 1 FROM c{DIGIT}', 'CLOSE c{DIGIT}',
	"DO \$do\$ BEGIN PERFORM fuzz.inside('{CALL2}'); PERFORM fuzz.inside({INSIDE}); PERFORM fuzz.inside('{CALL2}'); END \$do\$");
# What must end although no cache holds anything, on servers with assertions
my $without_caches = "SET debug_discard_caches = 1; SET statement_timeout = '60s'; SELECT * FROM sidecar_entity_bindings(); SELECT sidecar_upsert_company('c1', '1'); SET statement_timeout = '10s'; SET debug_discard_caches = 0";
my @transaction = ('BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT s', 'ROLLBACK TO s', 'COMMIT', 'ROLLBACK', 'COMMIT');

$| = 1;
my ($steps, $episodes, $episode, %faults) = (0, 0, $opt{episode} // 0);
my ($log_position, $crashed, %session, $admin) = (0, 0);

sub pick { return $_[ int(rand(@_)) ] }
sub quoted { my $text = shift; $text =~ s/'/''/g; return "'$text'" }
sub ident { my $name = shift; $name =~ s/"/""/g; return qq("$name") }

sub connection
{
	my ($db, $user) = @_;
	for (1 .. 200)
	{
		my $dbh = DBI->connect("dbi:Pg:dbname=$db", $user, '', { PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_server_prepare => 0 });
		return $dbh if $dbh;
		# it is coming up after a crash
		sleep 0.1;
	}
	die "cannot connect to the server: " . DBI->errstr . "\n";
}

# The database that each episode begins with.
sub make_template
{
	my $dbh = connection('postgres', 'postgres');
	$dbh->do('SET client_min_messages = error');
	$dbh->do("DROP DATABASE IF EXISTS $_") foreach qw(fuzz fuzz_base);
	$dbh->do("DO \$\$ BEGIN IF to_regrole('$_') IS NULL THEN CREATE ROLE $_ LOGIN; END IF; END \$\$") foreach qw(fuzz_owner fuzz_writer);
	$dbh->do('CREATE DATABASE fuzz_base OWNER fuzz_owner');
	$dbh->disconnect;
	$dbh = connection('fuzz_base', 'postgres');
	$dbh->do('SET client_min_messages = error');
	$dbh->do(q(
		CREATE SCHEMA fuzz;
		CREATE COLLATION fuzz.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);)) or $dbh->do('CREATE SCHEMA fuzz');
	$dbh->do(q(
		CREATE EXTENSION sidecar;
		SELECT sidecar_create_masters();
		INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
		INSERT INTO marketing.people_master SELECT 'c' || i, 'Person ' || i FROM generate_series(1, 9) i;
		SELECT sidecar_upsert_company('c' || i, i::text, confidence_score => i, last_enriched_at => '2025-01-01', enrichment_source => 'clay') FROM generate_series(1, 5) i;
		SELECT sidecar_upsert_person('c' || i, i::text, confidence_score => i, enrichment_source => 'clay') FROM generate_series(1, 5) i;
		SELECT sidecar_upsert_companies('[{"company_unique_id": "nobody"}, {"company_unique_id": "c1", "clay_tags": {"a": 1}}]');
		CREATE DOMAIN fuzz.a_text AS text; CREATE DOMAIN fuzz.a_number AS numeric; CREATE DOMAIN fuzz.a_time AS timestamp;
		CREATE DOMAIN fuzz.some_text AS text[]; CREATE DOMAIN fuzz.a_document AS jsonb;
		CREATE TYPE fuzz.color AS ENUM ('red', '50'); CREATE TYPE fuzz.pair AS (a int, b text); CREATE DOMAIN fuzz.a_pair AS fuzz.pair;
		-- does what it is told, wherever PostgreSQL may call a function; but
		-- neither in itself for ever nor for each of thousands of rows
		CREATE FUNCTION fuzz.inside(statement text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			depth int = COALESCE(NULLIF(current_setting('fuzz.depth', true), ''), '0');
			times int = COALESCE(NULLIF(current_setting('fuzz.times', true), ''), '0');
		BEGIN
			IF depth < 2 AND times < 10 THEN
				PERFORM set_config('fuzz.depth', (depth + 1)::text, false), set_config('fuzz.times', (times + 1)::text, false);
				BEGIN
					EXECUTE statement;
				EXCEPTION WHEN OTHERS THEN
				END;
				PERFORM set_config('fuzz.depth', depth::text, false);
			END IF;
			RETURN 'x';
		END $$;
		CREATE FUNCTION fuzz.inside_immutable(value text, statement text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN
			PERFORM fuzz.inside(statement);
			RETURN value;
		END $$;
		CREATE FUNCTION fuzz.inside_row() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM fuzz.inside(TG_ARGV[0]);
			RETURN NEW;
		END $$;
		CREATE FUNCTION fuzz.call() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF pg_trigger_depth() < 2 THEN
				EXECUTE TG_ARGV[0];
			END IF;
			RETURN NEW;
		END $$;
		CREATE FUNCTION fuzz.veto() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			RETURN CASE WHEN length(NEW::text) % 2 = 0 THEN NEW END;
		END $$;
		GRANT ALL ON SCHEMA public TO fuzz_owner;
		GRANT USAGE ON SCHEMA fuzz, marketing TO PUBLIC;
		GRANT ALL ON ALL TABLES IN SCHEMA marketing, public TO fuzz_writer, fuzz_owner;
		GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO fuzz_owner;
		ALTER SCHEMA marketing OWNER TO fuzz_owner; ALTER SCHEMA fuzz OWNER TO fuzz_owner;
		ALTER FOREIGN TABLE sidecar_company_inbox OWNER TO fuzz_owner; ALTER FOREIGN TABLE sidecar_people_inbox OWNER TO fuzz_owner;
		GRANT USAGE ON FOREIGN SERVER sidecar TO fuzz_owner, fuzz_writer;
		DO $$ DECLARE r regclass; BEGIN
			FOR r IN SELECT oid FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind = 'r' LOOP EXECUTE format('ALTER TABLE %s OWNER TO fuzz_owner', r); END LOOP;
			FOR r IN SELECT oid FROM pg_type WHERE typnamespace = 'fuzz'::regnamespace AND typtype IN ('d', 'e') LOOP EXECUTE format('ALTER TYPE %s OWNER TO fuzz_owner', r::oid::regtype); END LOOP;
		END $$)) or die 'setting up: ' . $dbh->errstr;
	$dbh->disconnect;
	return;
}

sub begin_episode
{
	end_sessions();
	# whoever connects before the server has noticed a crash is thrown out
	sleep 2 if $crashed;
	$crashed = 0;
	my $dbh = connection('postgres', 'postgres');
	$dbh->do('SET client_min_messages = error');
	# a crash leaves nothing, but a session that ends may take a moment
	for (1 .. 50)
	{
		$dbh->do('DROP DATABASE IF EXISTS fuzz WITH (FORCE)') && $dbh->do('CREATE DATABASE fuzz TEMPLATE fuzz_base OWNER fuzz_owner') && last;
		sleep 0.1;
	}
	$dbh->disconnect;
	$admin = connection('fuzz', 'postgres');
	$admin->do("SET search_path = pg_catalog; SET lock_timeout = '50ms'; SET client_min_messages = error");
	$log_position = -s $server_log || 0;
	return;
}

sub end_sessions
{
	$_->disconnect foreach grep { defined } values %session, $admin;
	%session = ();
	undef $admin;
	return;
}

# A statement of the list, with something in each place.  Returns nothing if
# there is no such thing in the database.
sub fill
{
	my ($statement, $number, $depth) = @_;
	my $entity = pick(qw(company company people));
	my ($relation, %part);
	my %make = (
		E => sub { $entity }, ID => sub { $entity eq 'company' ? 'company_unique_id' : 'person_unique_id' },
		MANY => sub { $entity eq 'company' ? 'companies' : 'people' }, S => sub { ident(pick(qw(marketing marketing marketing fuzz fuzz public), pick(@names))) },
		N => sub { ident(pick(@names)) }, TY => sub { pick(@types) }, DOMAIN => sub { pick(qw(fuzz.a_text fuzz.a_number fuzz.a_time fuzz.some_text fuzz.a_document)) },
		KEY => sub { 'c' . (1 + int rand 11) }, MARK => sub { "m$number" }, SCORE => sub { pick(0, 50, 99.994, 100, 101) }, DIGIT => sub { 1 + int rand 9 },
		RULE => sub { pick(qw(overwrite overwrite fill newest most_confident)) },
		INSIDE_DDL => sub { $depth ? "'SELECT 1'" : quoted(fill(pick(@ddl), $number, 1) // 'SELECT 1') },
		INSIDE => sub { $depth ? "'SELECT 1'" : quoted(fill(rand() < 0.3 ? call() : pick(@ddl), $number, 1) // 'SELECT 1') },
		CALL => sub { fill(call(), $number, $depth) }, READ => sub { fill(pick(@read), $number, $depth) },
		CALL2 => sub { my $call = fill(call(), $number, $depth) // 'SELECT 1'; $call =~ s/'/''/g; $call });
	if ($statement =~ /\{([TV])\}/)
	{
		my $kind = $1;
		my @relations = @{ $admin->selectcol_arrayref(q(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
			WHERE n.nspname !~ '^pg_|^information_schema' AND relkind = ANY (?) ORDER BY c.relname, n.nspname), {}, $kind eq 'T' ? '{r,p}' : '{f}') // [] };
		return unless @relations;
		my $name = sub { ($relation) = pick(@relations); return ($admin->selectrow_array('SELECT CAST(CAST(? AS oid) AS regclass)', {}, $relation))[0] };
		my $first;
		$make{$kind} = sub { my $this = $name->(); $first //= $relation; return $this };
		# parts are the first one's
		my $of = sub {
			my ($sql) = @_;
			return sub {
				my @all = @{ $admin->selectcol_arrayref($sql, {}, $first) // [] };
				return @all ? pick(@all) : undef;
			};
		};
		$make{C} = $of->('SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = ? AND attnum > 0 AND NOT attisdropped ORDER BY attnum');
		$make{K} = $of->('SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = ? ORDER BY conname');
		$make{G} = $of->('SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = ? AND NOT tgisinternal ORDER BY tgname');
		$make{I} = $of->('SELECT CAST(CAST(indexrelid AS regclass) AS text) FROM pg_index WHERE indrelid = ? ORDER BY 1');
		$make{I1} = $of->('SELECT quote_ident(relname) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = ? ORDER BY 1');
	}
	# a column, a name and a schema are the same throughout, tables are not
	my $failed;
	$statement =~ s/\{(\w+)\}/
		my $what = $1;
		my $is = !$make{$what} ? "{$what}" : $what =~ m{^(C|KEY|MARK|N|S)$} ? ($part{$what} \/\/= $make{$what}->()) : $make{$what}->();
		$failed = 1 if !defined $is;
		$is \/\/ ''/gex;
	return $failed ? undef : $statement;
}

sub call { return pick(@write, @write, @read, @install) }

sub make_step
{
	my ($number) = @_;
	return { session => 'super', sql => $without_caches, calls => 1 } if $number == 0 && $episode % 20 == 0;
	my $who = pick(qw(super super owner owner other writer));
	my $what = rand();
	my ($statement, $kind) = $what < 0.40 ? (pick(@around), 'call') : $what < 0.86 ? (pick(@ddl), 'ddl') : $what < 0.90 ? (pick(@admin), 'ddl') : (pick(@transaction), 'transaction');
	$who = 'super' if $what >= 0.86 && $what < 0.90;
	$who = 'owner' if $kind eq 'ddl' && $who ne 'super' && $who ne 'other';
	# those that let others wait are seldom left open
	return { session => $who, sql => 'COMMIT' } if $kind eq 'transaction' && rand() < 0.3;
	my $sql = fill($statement, $number, 0) // return make_step($number);
	my ($marked) = $kind eq 'call' && $sql =~ /^(SELECT|INSERT).*['"](m\d+)['"]/s ? $2 : undef;
	return { session => $who, sql => $sql, calls => $kind eq 'call', mark => $marked };
}

# Takes a step.  Returns the fault that it shows, as (kind, what happened).
sub take_step
{
	my ($step) = @_;
	my $dbh = $session{ $step->{session} } //= do {
		my $new = connection('fuzz', $role{ $step->{session} });
		$new->do($settings);
		$new;
	};
	my ($rows, $state, $message, @fault);
	$dbh->do('SET fuzz.times = 0');
	if ($step->{sql} =~ /^SELECT/)
	{
		$rows = $dbh->selectall_arrayref($step->{sql}, { pg_direct => 1 });
	}
	else
	{
		$rows = $dbh->do($step->{sql});
	}
	($state, $message) = defined $rows ? ('00000', '') : ($dbh->state, $dbh->errstr);
	$step->{state} = $state;
	my $line = (split /\n/, $message)[0];
	@fault = log_fault();
	return @fault if @fault;
	return ('crash', $line) if !$dbh->ping && $state !~ /^25|^40/ && !$dbh->do('SELECT 1') && $dbh->state =~ /^(08|57P)/;
	if (!$step->{calls})
	{
		return;
	}
	# what PostgreSQL says in plain SQL, too: two sessions that alter one thing, and
	# a trigger that alters the key of the master whose row is about to be looked for
	return ("internal error $state", $message) if $state =~ /^XX/ && $message !~ /tuple concurrently|cache lookup failed for constraint/;
	return ('endless', $message) if $state eq '57014';
	return ('SQL of ours that does not parse', $message) if $state eq '42601' && $message =~ /^QUERY:/m;
	return ('SQL of ours that does not fit', $message) if $state =~ /^42(P10|P18|804|846|883)$/ && $message =~ /^QUERY:/m;
	return ('stopped by a temporary table', $message) if $message =~ /two tables claim to be the sidecar table of entity "(\w+)"/ && $dbh->ping == 1 && bound($admin, $1) < 2;
	return if $step->{session} ne 'super' || $state ne '00000';
	return wrong_place($dbh, $step, $rows) if $step->{mark};
	return if $dbh->ping != 1;
	return wrong_count($dbh) if $step->{sql} =~ /sidecar_(coverage|summary)\(\)$/;
	return;
}

# Assertions of PostgreSQL's own that fail in plain SQL, too: INSERT ... ON
# CONFLICT has locked a row or is inserting one, and a function in a CHECK or an
# index of the table writes to it in a subtransaction.
my $not_ours = qr/TRAP:.*(?:HEAP_XMAX_IS_LOCKED_ONLY|HeapTupleHeaderIsSpeculative)/;

# What the server itself has to say.
sub log_fault
{
	open my $log, '<', $server_log or die "$server_log: $!\n";
	seek $log, $log_position, 0;
	local $/;
	my $new = <$log> // '';
	$log_position = tell $log;
	return ('not ours', $1) if $new =~ /($not_ours.*)/;
	return ('crash', $1) if $new =~ /(TRAP:.*|.*terminated by signal.*|PANIC:.*)/;
	return ('leak', $1) if $new =~ /(WARNING:.*\bleak: .*|WARNING:.*was not closed.*|.*invalid page.*|.*still referenced.*)/;
	return;
}

# The tables that have the mark; or the one of them that has the name, too, which
# sidecar_install() gives.
sub bound
{
	my ($dbh, $entity) = @_;
	my @marked = @{ $dbh->selectall_arrayref(qq(SELECT c.oid, (nspname, relname) = ('marketing', '${entity}_sidecar') FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
		WHERE relpersistence <> 't' AND EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = tgfoid
			JOIN pg_catalog.pg_depend d ON d.objid = p.oid AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND deptype = 'e'
			WHERE tgrelid = c.oid AND tgparentid = 0 AND proname = 'update_${entity}_sidecar_updated_at'))) // [] };
	my @named = grep { $_->[1] } @marked;
	return map { $_->[0] } @named ? @named : @marked;
}

# Is what was written in the table that has the mark, and nowhere else?
sub wrong_place
{
	my ($dbh, $step, $rows) = @_;
	my $entity = $step->{sql} =~ /person|people/ ? 'people' : 'company';
	$dbh->do('SAVEPOINT look') if $dbh->ping > 1;
	my @bound = bound($dbh, $entity);
	my $found = $dbh->selectall_arrayref(q(SELECT a.attrelid, c.oid::regclass, quote_ident(attname) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = attrelid
		WHERE attname = 'enrichment_source' AND relkind = 'r' AND NOT attisdropped)) // [];
	my (@in, $unknown);
	foreach my $table (@$found)
	{
		my $n = $dbh->selectrow_array("SELECT count(*) FROM ONLY $table->[1] WHERE CAST($table->[2] AS text) = '$step->{mark}'");
		push @in, $table if $n;
		next if defined $n;
		# somebody has locked it
		$unknown = 1;
		$dbh->do('ROLLBACK TO look') if $dbh->ping > 1;
	}
	# a row of it may lie in a partition or in an heir
	my $allowed = $dbh->selectcol_arrayref(q(WITH RECURSIVE t AS (SELECT unnest(CAST(? AS oid[])) AS oid UNION SELECT inhrelid FROM pg_catalog.pg_inherits i JOIN t ON t.oid = inhparent) SELECT oid FROM t), {}, '{' . join(',', @bound) . '}') // [];
	$dbh->do('RELEASE look') if $dbh->ping > 1;
	foreach my $table (@in)
	{
		return ('written into another table', "$step->{mark} is in $table->[1]") unless grep { $_ == $table->[0] } @$allowed;
	}
	return ('told to be stored, and is not', 'no table has ' . $step->{mark})
		if ref $rows && @$rows == 1 && $rows->[0][0] eq 'inserted' && !@in && !$unknown;
	return;
}

# Do the reports say what a plain query says?
sub wrong_count
{
	my ($dbh) = @_;
	my $bindings = $dbh->selectall_arrayref('SELECT entity, quote_ident(key_column), quote_ident(master_key), sidecar, master FROM sidecar_entity_bindings() WHERE sidecar <> 0 AND master <> 0') // [];
	foreach my $b (@$bindings)
	{
		my @told = $dbh->selectrow_array('SELECT total, enriched, stale FROM sidecar_summary() WHERE entity = ?', {}, $b->[0]);
		my @covered = $dbh->selectrow_array('SELECT total, enriched FROM sidecar_coverage() WHERE entity = ?', {}, $b->[0]);
		my @plain = $dbh->selectrow_array("SELECT count(DISTINCT m.$b->[2]), count(DISTINCT s.$b->[1]) FROM $b->[4] m LEFT JOIN $b->[3] s ON s.$b->[1] = m.$b->[2]");
		my ($stale) = $dbh->selectrow_array('SELECT count(*) FROM sidecar_stale_' . ($b->[0] eq 'company' ? 'companies' : 'people') . '()');
		next if !@told || !@covered || !@plain || !defined $stale || !defined $told[0];
		return ('another count than the plain query', "$b->[0]: coverage @covered, summary @told, plain query @plain, $stale stale")
			if "@told" ne "@plain $stale" || "@covered" ne "@plain";
	}
	return;
}

# Takes steps until one shows a fault: its kind, what happened, the steps.
sub run_steps
{
	my ($next) = @_;
	my @taken;
	begin_episode();
	while (my $step = $next->(scalar @taken))
	{
		push @taken, $step;
		$steps++;
		print "-- $step->{session}\n$step->{sql};\n" if $opt{show};
		my ($kind, $what) = take_step($step);
		print "   -- $step->{state}\n" if $opt{show};
		$crashed = 1 if $kind && $kind =~ /^(crash|not ours)$/;
		return if $kind && $kind eq 'not ours';
		return ($kind, $what, \@taken) if $kind;
	}
	return;
}

# The shortest list that shows the same kind of fault.
sub shrink
{
	my ($kind, $list) = @_;
	my @best = @$list;
	my $until = time + $opt{shrink};
	for (my $size = int(@best / 2); $size >= 1 && time < $until; $size = $size == 1 ? 0 : int($size / 2))
	{
		for (my $at = 0; $at < $#best && time < $until;)
		{
			my @less = @best;
			splice @less, $at, min($size, $#best - $at);
			my ($again, undef, $taken) = run_steps(sub { $less[ $_[0] ] });
			if (defined $again && $again eq $kind) { @best = @$taken }
			else { $at += $size }
		}
	}
	return @best;
}

make_template();
my $until = time + $opt{seconds};
for (; time < $until; $episode++)
{
	srand($opt{seed} * 100_000 + $episode);
	$episodes++;
	my ($kind, $what, $taken) = run_steps(sub { $_[0] < $opt{length} ? make_step($_[0]) : undef });
	if ($kind)
	{
		# the first of each sort is told
		my ($line) = split /\n/, $what;
		(my $sort = join ' ', $kind, $line =~ /(?:\S+ ){0,4}/g ? $& : '') =~ s/\d+|"[^"]*"/_/g;
		next if $faults{$sort}++;
		print "not ok - $kind, --seed $opt{seed} --episode $episode: $line\n";
		print "# -- as $role{$_->{session}} ($_->{session})\n# " . join("\n# ", split /\n/, $_->{sql}) . ";\n" foreach shrink($kind, $taken);
		$until += $opt{shrink} if $opt{seconds} > $opt{shrink};
	}
	last if defined $opt{episode};
}
end_sessions();
my $faults = keys %faults;
printf "%s - DDL fuzz, seed %d: %d steps in %d episodes, %d kinds of fault\n", $faults ? 'not ok' : 'ok', $opt{seed}, $steps, $episodes, $faults;
exit($faults ? 1 : 0);

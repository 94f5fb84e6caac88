#!/usr/bin/env perl
# Roles against each other: a stranger, a reader, a writer, an operator, the
# tables' owner and a superuser do at random whatever they can think of, in
# sessions whose transactions interleave, and doc/security.md is what must hold.
#
# Usage: fuzz_roles.pl [--seed N] [--seconds S] [--without REGEX] [--ignore REGEX]
# To look beside a known fault: makes no statement that matches "without", and
# goes on when an oracle fails whose name matches "ignore".
#
# Connects as superuser by PGHOST and PGUSER to a server that can load the
# extension; makes databases fuzz_roles* and roles fuzz_* (and those of
# doc/roles.sql) there, and leaves them.  Results are TAP lines.  At the first
# fault the steps are replayed in fresh databases without one part or the
# other, and the shortest script that still fails is printed.

use strict;
use warnings;
use DBI;
use FindBin;
use Getopt::Long;
use List::Util qw(any max min);
use Time::HiRes qw(time sleep);

my ($seed, $seconds, $without, $ignore) = (1, 60, '^$', '^$');
GetOptions('seed=i' => \$seed, 'seconds=f' => \$seconds, 'without=s' => \$without, 'ignore=s' => \$ignore)
	&& !@ARGV or die "usage: $0 [--seed N] [--seconds S] [--without REGEX] [--ignore REGEX]\n";
$| = 1;
my ($top, $super) = ("$FindBin::RealBin/..", $ENV{PGUSER} // 'postgres');
my ($tests, $faults, %count) = (0, 0, map { $_ => 0 } qw(actions denied allowed));

# What PostgreSQL says in plain SQL, too: two sessions that alter one thing, and a
# trigger that alters the key of the master whose row is about to be looked for
my $not_ours = qr/tuple concurrently|cache lookup failed for constraint/;

sub pick { return $_[ int rand @_ ] }
sub chance { return rand() < $_[0] }
sub result { my ($ok, $name) = @_; $faults++ unless $ok; print(($ok ? 'ok ' : 'not ok '), ++$tests, " - $name\n"); return $ok }

# ---------------------------------------------------------------------------
# The world: roles, and the databases that each round takes a copy of
# ---------------------------------------------------------------------------

my @strangers = qw(stranger planter squatter);    # may CONNECT and TEMP; create in public, too; has a schema of his own, too
my @people = qw(reader writer operator);          # have the roles of doc/roles.sql
my @everybody = (@strangers, @people, 'owner', 'dba');

# Who takes part in a round, what it is a copy of, and where the extension is.
# An owner of the database owns public, and what is in it.
my %modes = (
	strangers => { template => 'public', roles => [ @strangers, 'reader', 'dba' ] },
	people => { template => 'ext', roles => [ @strangers, @people, @people, 'dba' ] },
	owner => { template => 'ext', roles => [ qw(owner owner owner owner dba dba dba writer reader stranger) ] },
	early => { template => 'empty', roles => [ @strangers, 'squatter', 'dba', 'dba' ] },);

sub connect_as
{
	my ($user, $db, $options) = @_;
	$options //= '-c lock_timeout=60 -c statement_timeout=10s -c client_min_messages=warning';
	return DBI->connect("dbi:Pg:dbname=$db;options='$options'", $user, '', { RaiseError => 0, PrintError => 0, PrintWarn => 1, AutoCommit => 1 });
}

sub god    # the superuser whom the oracles ask; waits if the server recovers
{
	my ($db) = @_;
	foreach (1 .. 100)
	{
		my $dbh = connect_as($super, $db, '-c search_path=pg_catalog -c lock_timeout=60 -c client_min_messages=error');
		return $dbh if $dbh;
		sleep 0.1;
	}
	die "cannot connect: $DBI::errstr\n";
}

sub must { my ($dbh, $sql) = @_; defined $dbh->do($sql) or die "$sql: " . $dbh->errstr; return }

my $rights = 'NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS NOREPLICATION';

sub make_templates
{
	my $dbh = god('postgres');
	must($dbh, "DROP DATABASE $_ WITH (FORCE)") foreach @{ $dbh->selectcol_arrayref("SELECT datname FROM pg_database WHERE datname ~ '^fuzz_roles'") };
	foreach my $role (@everybody)
	{
		must($dbh, "CREATE ROLE fuzz_$role LOGIN") unless $dbh->selectrow_array("SELECT 1 FROM pg_roles WHERE rolname = 'fuzz_$role'");
		must($dbh, "ALTER ROLE fuzz_$role " . ($role eq 'dba' ? 'SUPERUSER' : $rights));
	}
	foreach my $template (qw(empty ext public))
	{
		must($dbh, "CREATE DATABASE fuzz_roles_$template");
		my $t = god("fuzz_roles_$template");
		must($t, q(
			CREATE SCHEMA squat AUTHORIZATION fuzz_squatter;
			GRANT CREATE ON SCHEMA public TO fuzz_planter;
			CREATE TABLE public.victim AS SELECT i, 'SECRET-victim ' || i AS t FROM generate_series(1, 1000) i;));
		next if $template eq 'empty';
		must($t, qq(
			CREATE SCHEMA IF NOT EXISTS $template;
			GRANT USAGE ON SCHEMA $template TO PUBLIC;
			CREATE EXTENSION sidecar SCHEMA $template;
			GRANT USAGE ON FOREIGN SERVER sidecar TO PUBLIC;
			SELECT $template.sidecar_create_masters();
			INSERT INTO marketing.company_master SELECT k, 'SECRET-master ' || k FROM (SELECT 'c' || i FROM generate_series(1, 20) i UNION ALL SELECT 'probe') m (k);
			INSERT INTO marketing.people_master SELECT 'p' || i, 'SECRET-master ' || i FROM generate_series(1, 20) i;
			SELECT $template.sidecar_upsert_company('c' || i, enrichment_source => 'SECRET-sidecar', last_enriched_at => '2020-01-01', confidence_score => i),
				$template.sidecar_upsert_person('p' || i, enrichment_source => 'SECRET-sidecar', last_enriched_at => '2020-01-01', confidence_score => i) FROM generate_series(1, 10) i;
			SELECT $template.sidecar_upsert_company('probe');
			SELECT $template.sidecar_upsert_companies('[{"company_unique_id": "early", "ein_number": "SECRET-reject"}, {"company_unique_id": "early2"}]');
			ALTER SCHEMA marketing OWNER TO fuzz_owner;
			DO \$\$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %s OWNER TO fuzz_owner', t); END LOOP; END \$\$;));
		system('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', "fuzz_roles_$template", '-f', "$top/doc/roles.sql") == 0 or die "roles.sql failed\n";
		must($t, "GRANT sidecar_$_ TO fuzz_$_") foreach @people;
	}
	return;
}

# The functions of the extension: name => [ types of arguments, how many have defaults, whether it is a trigger's ]
my %functions;
sub learn_functions
{
	my $rows = god('fuzz_roles_ext')->selectall_arrayref(q(
		SELECT p.proname, array(SELECT t.typname::text FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (oid, n) JOIN pg_type t USING (oid) ORDER BY n),
			p.pronargdefaults, p.prorettype = 'trigger'::regtype
		FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'sidecar' ORDER BY 1));
	%functions = map { $_->[0] => { types => $_->[1], defaults => $_->[2], trigger => $_->[3] } } @$rows;
	return;
}

# What is guarded: who may change it, and who may read the secret in it
my %guarded = (
	'public.victim' => { writers => [], secret => 'victim', readers => [] },
	'marketing.company_master' => { writers => ['owner'], secret => 'master', readers => [qw(owner reader operator)] },
	'marketing.people_master' => { writers => ['owner'] },
	'marketing.company_sidecar' => { where => q{NOT starts_with(concat(fuzz), '(probe,')}, writers => [qw(owner writer operator)], secret => 'sidecar', readers => [qw(owner reader writer operator)] },
	'marketing.people_sidecar' => { writers => [qw(owner writer operator)] },
	'marketing.sidecar_rejects' => { writers => [qw(owner writer operator)], secret => 'reject', readers => [qw(owner operator)] },
	'pg_catalog.pg_description' => { writers => [], what => 'objoid, description', where => 'objoid < 16384' },
	'pg_catalog.pg_attribute' => { writers => [], what => 'attrelid, attname, atttypid', where => 'attrelid < 16384' },);

my $worlds = 0;
sub new_world
{
	my ($mode) = @_;
	my ($template, $db) = ($modes{$mode}{template}, 'fuzz_roles' . ++$worlds);
	my $postgres = god('postgres');
	must($postgres, "CREATE DATABASE $db TEMPLATE fuzz_roles_$template OWNER " . ($template eq 'empty' ? 'fuzz_dba' : 'fuzz_owner'));
	must($postgres, "GRANT CREATE ON DATABASE $db TO fuzz_squatter") if $mode eq 'early';
	my $w = { db => $db, mode => $mode, ext => $template eq 'empty' ? 'public' : $template, god => god($db), sessions => {}, open => {}, acted => {} };
	$w->{oids} = { map { $_ => $w->{god}->selectrow_array("SELECT to_regclass('$_')::oid") } keys %guarded };
	$w->{memberships} = memberships($w->{god});
	guard($w);
	return $w;
}

sub end_world
{
	my ($w) = @_;
	$_->disconnect foreach grep { $_ } values(%{ $w->{sessions} }), $w->{god};
	foreach (1 .. 50)
	{
		last if eval {
			my $postgres = god('postgres');
			must($postgres, "ALTER ROLE fuzz_$_ $rights") foreach grep { $_ ne 'dba' } @everybody;
			must($postgres, "DROP DATABASE IF EXISTS $w->{db} WITH (FORCE)");
			1;
		};
		sleep 0.2;    # it has crashed, and comes up again
	}
	return;
}

# ---------------------------------------------------------------------------
# A step, and what the oracles say of it: a fault is [ kind, text ]
# ---------------------------------------------------------------------------

sub run_sql
{
	my ($dbh, $sql, $data) = @_;
	my ($line, @seen) = ('');
	local $SIG{__WARN__} = sub { push @seen, @_ };    # notices, too
	my $sth = $dbh->prepare($sql, { pg_direct => 1 });
	my $ok = defined $sth->execute;
	if ($ok && $sql =~ /^COPY .* FROM STDIN/) { $ok = $dbh->pg_putcopydata($data) && $dbh->pg_putcopyend }
	elsif ($ok && $sql =~ /^COPY .* TO STDOUT/) { push @seen, $line while $dbh->pg_getcopydata(\$line) >= 0 }
	elsif ($ok && $sth->{NUM_OF_FIELDS}) { push @seen, map { join '|', map { $_ // '' } @$_ } @{ $sth->fetchall_arrayref // [] } }
	return { state => '00000', error => '', text => join "\n", @seen } if $ok;
	my $error = $dbh->errstr // '';
	return { state => $dbh->state, error => $error, internal => $dbh->pg_error_field('internal_query'), text => join "\n", @seen, $error };
}

my $writes = qr/upsert|retry|^\s*(INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|COMMIT)/i;

# What an owner may have run by others (doc/security.md): policies and
# immutable functions in indexes by whoever reads, the rest by whoever writes.
sub may_trip
{
	my ($w, $s, $kind, $planter, $current, $session) = @_;
	my $escalated = $current eq 'fuzz_dba' || $current eq $super;
	return 1 if $planter eq $current || !$escalated && $planter eq $session;
	return 1 if $planter eq 'fuzz_owner' && ($kind eq 'read' || $kind eq 'write' && $s->{sql} =~ $writes);
	return !$escalated && !$s->{pure};    # he named it himself, or his search_path did
}

sub step
{
	my ($w, $s) = @_;
	return check($w) if $s->{who} eq 'oracle';
	my $name = "$s->{who}.$s->{n}";
	my $dbh = $w->{sessions}{$name} //= connect_as("fuzz_$s->{who}", $w->{db}) or return [ 'lost', "$name cannot connect: $DBI::errstr" ];
	my $r = run_sql($dbh, $s->{sql}, $s->{data});
	$count{actions}++;
	$count{ $r->{state} eq '42501' ? 'denied' : $r->{state} eq '00000' ? 'allowed' : 'failed' }++;
	$w->{acted}{ $s->{who} } = 1 if $s->{who} ne 'dba' || $s->{sql} =~ /$writes|^(ALTER|DROP|CREATE)/;
	my $state = $dbh->ping;    # 1 idle, 2 active, 3 in a transaction, 4 in a failed one
	return [ 'lost', "$name lost its connection: $r->{error}" ] unless $state;
	$w->{open}{$name} = $state >= 3 ? $state : 0;

	return [ 'internal error', $r->{error} ] if $r->{state} =~ /^XX/ && $r->{error} !~ $not_ours;
	return [ 'slow', $r->{error} ] if $r->{state} eq '57014';
	return [ 'leak', $r->{text} ] if $r->{text} =~ /\bleak: |was not closed|still referenced/;
	while ($r->{text} =~ /TRIP (\w+) (\w+) (\w+) (\w+)/g)
	{
		return [ 'tripwire', "what $2 planted ($1) ran as $3" ] unless may_trip($w, $s, $1, $2, $3, $4);
	}
	foreach my $g (grep { $_->{secret} } values %guarded)
	{
		next if $s->{who} eq 'dba' || $s->{sql} =~ /SECRET/ || any { $_ eq $s->{who} } @{ $g->{readers} };
		next if $w->{mode} eq 'owner' && any { $_ eq $s->{who} } @people;    # he may have shown it to them
		return [ 'secret', "$name has seen SECRET-$g->{secret}: " . substr($r->{text}, 0, 300) ] if $r->{text} =~ /SECRET-$g->{secret}/;
	}
	# the SQL that is broken is ours
	return [ 'broken SQL', "$r->{error}\n$r->{internal}" ]
		if defined $r->{internal} && $s->{pure} && $s->{sql} !~ /sidecar_make/ && $r->{state} =~ ($s->{sql} =~ $writes || $s->{sql} =~ /install|create_masters/ ? qr/^42601/ : qr/^42(601|703|883|725)/);
	return;
}

# What is guarded as it is now: a fault, and which tables have changed
sub guard
{
	my ($w) = @_;
	my @changed;
	foreach my $table (sort keys %guarded)
	{
		my $oid = $w->{oids}{$table} or next;
		my ($name) = $w->{god}->selectrow_array("SELECT oid::regclass FROM pg_class WHERE oid = $oid");
		my ($print) = defined $name ? $w->{god}->selectrow_array(
			"SELECT concat(count(*), ' ', sum(hashtext(concat(" . ($guarded{$table}{what} // 'fuzz') . ")))) FROM $name fuzz WHERE " . ($guarded{$table}{where} // 'true')) : 'gone';
		if ($w->{god}->err)
		{
			next if ($w->{god}->state // '') eq '55P03' && any { /owner|dba/ && $w->{open}{$_} } keys %{ $w->{open} };
			return [ $w->{god}->state =~ /^55/ ? 'availability' : 'integrity', "$table: " . $w->{god}->errstr ];
		}
		push @changed, $table if exists $w->{prints}{$table} && ($print // '') ne ($w->{prints}{$table} // '');
		$w->{prints}{$table} = $print;
	}
	return (undef, @changed);
}

# What every role is, and is a member of
sub memberships
{
	my ($dbh) = @_;
	return scalar $dbh->selectrow_array(q(SELECT md5(string_agg(concat(r.oid, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, (SELECT array_agg(roleid ORDER BY roleid) FROM pg_auth_members WHERE member = r.oid)), ' ' ORDER BY r.oid)) FROM pg_roles r));
}

sub check
{
	my ($w) = @_;
	my ($fault, @changed) = guard($w);
	return $fault if $fault;
	foreach my $table (@changed)
	{
		next if $w->{mode} eq 'owner' && $table =~ /^marketing/;    # his triggers may do anything, by anybody who writes
		my @may = (@{ $guarded{$table}{writers} }, $table =~ /victim|pg_/ ? () : 'dba');
		return [ 'integrity', "$table was changed, and nobody was at work who may but " . join ', ', sort keys %{ $w->{acted} } ]
			unless any { $w->{acted}{$_} } @may;
	}
	$w->{acted} = {};
	return [ 'escalation', 'a role is another than it was' ] if memberships($w->{god}) ne $w->{memberships};
	return if $w->{mode} ne 'strangers';
	foreach my $probe ([ 'writer', "SELECT $w->{ext}.sidecar_upsert_company('probe'::pg_catalog.text, clay_tags => ARRAY[pg_catalog.clock_timestamp()::pg_catalog.text])" ], [ 'reader', "SELECT count(*) FROM $w->{ext}.sidecar_coverage()" ])
	{
		my $dbh = $w->{sessions}{"probe.$probe->[0]"} //= connect_as("fuzz_$probe->[0]", $w->{db});
		my $r = run_sql($dbh, $probe->[1]);
		return [ 'availability', "$probe->[0]: $r->{error}" ] if $r->{state} ne '00000';
	}
	return;
}

# ---------------------------------------------------------------------------
# The table of doc/security.md, on what nobody has touched yet
# ---------------------------------------------------------------------------

# Each row: the functions that it is about, and what else
my @rows = (
	[ qr/^coverage/, qr/^sidecar_(coverage|sources|field_coverage|summary|status)$/ ],
	[ qr/^stale/, qr/^sidecar_(stale|low_confidence|missing)_(companies|people)$/ ],
	[ qr/^upsert/, qr/^sidecar_(upsert_(company|person)|(upsert|import)_(companies|people))$/, map { "INSERT INTO ext.sidecar_$_" } q(company_inbox (company_unique_id) VALUES ('c1')), q(people_inbox (person_unique_id) VALUES ('p1')) ],
	[ qr/^how many/, qr/^$/, 'SELECT count(entity) FROM marketing.sidecar_rejects', 'SELECT entity, count(*) FROM marketing.sidecar_rejects GROUP BY entity' ],
	[ qr/^the parked/, qr/^sidecar_retry_rejects$/, 'SELECT record FROM marketing.sidecar_rejects', 'SELECT * FROM marketing.sidecar_rejects', 'DELETE FROM marketing.sidecar_rejects WHERE reject_id IS NOT NULL' ],
	[ qr/^deleting/, qr/^(update_\w+_updated_at|sidecar_rejects_mark|sidecar_fdw_\w+)$/,
		(map { my $t = "marketing.$_"; ("DELETE FROM $t", "TRUNCATE $t CASCADE", "ALTER TABLE $t DISABLE TRIGGER ALL", "DROP TABLE $t", "CREATE TRIGGER mine BEFORE UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()") } qw(company_sidecar people_sidecar company_master people_master)),
		"UPDATE marketing.company_master SET company_name = 'x'", "INSERT INTO marketing.people_master VALUES ('x', 'x')", 'CREATE TABLE marketing.mine ()' ],);
# and what everybody may call, a stranger too: it shows the catalog, or does only what its caller may do himself
my $for_all = qr/^sidecar_(install|create_masters|lock_tables|make|drop_replaced|distrust|doubt_zone|entity_bindings|trigger_functions|found_tables|found_masters|has_key|accepted_type|is_shard|suspects|unbound_tables|objects(_(inboxes|schema|tables|columns|keys|checks|indexes|triggers|foreign_keys))?|(table|column|index|check)_definitions)$/;

sub plain_call    # with arguments that are right
{
	my ($name) = @_;
	my $f = $functions{$name};
	return "CREATE TEMP TABLE mine (updated_at timestamp); CREATE TRIGGER mine BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION ext.$name()" if $name =~ /^update_|_mark$/;
	return "CREATE TEMP VIEW mine AS SELECT ''::text AS company_unique_id; CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION ext.$name()" if $f->{trigger};
	return "SELECT ext.$name()" if $name eq 'sidecar_fdw_handler';
	return "SELECT * FROM ext.$name('a', 'b', 'SELECT 1', NULL)" if $name eq 'sidecar_make';
	my %plain = (_text => '{}', text => $name =~ /person/ ? 'p1' : 'c1', jsonb => $name =~ /people/ ? '{"person_unique_id": "p1"}' : '{"company_unique_id": "c1"}', int2 => 1, oid => 1259, regclass => 'pg_class', regprocedure => 'now()');
	return "SELECT * FROM ext.$name(" . join(', ', map { "'$plain{$_}'::$_" } @{ $f->{types} }[ 0 .. $#{ $f->{types} } - $f->{defaults} ]) . ')';
}

sub test_table
{
	open my $in, '<', "$top/doc/security.md" or die "security.md: $!\n";
	my @lines = grep { /^\|/ } <$in>;
	my (undef, undef, @columns) = map { s/^[\s`]+|[\s`]+$//gr } split /\|/, shift(@lines) =~ s/\n//r;
	my $w = new_world('owner');
	my %mapped;
	my $try = sub {
		my ($role, $sql) = @_;
		my $dbh = $w->{sessions}{$role} //= connect_as("fuzz_$role", $w->{db}, '-c client_min_messages=error');
		run_sql($dbh, 'BEGIN');
		my $state = run_sql($dbh, $sql)->{state};
		run_sql($dbh, 'ROLLBACK');
		return $state eq '42501' ? 'no' : $state eq '00000' ? 'yes' : $state;
	};
	shift @lines;
	foreach my $line (@lines)
	{
		my (undef, $row, @answers) = map { s/^[\s`]+|[\s`]+$//gr } split /\|/, $line =~ s/\n//r;
		my ($r) = grep { $row =~ $_->[0] } @rows;
		result(0, "a row that this test does not know: $row"), next unless $r;
		my (undef, $its, @actions) = @$r;
		my @names = grep { $_ =~ $its } sort keys %functions;
		$mapped{$_}++ foreach @names;
		unshift @actions, map { plain_call($_) } @names;
		foreach my $i (0 .. $#columns + 3)
		{
			my $role = $i <= $#columns ? $columns[$i] =~ s/sidecar_//r : $strangers[ $i - @columns ];
			my $expected = $i <= $#columns ? $answers[$i] : 'no';
			my @wrong = grep { $try->($role, $_) ne $expected } @actions;
			print "# not $expected: $_\n" foreach @wrong;
			result(!@wrong, "table: $role: $row: $expected");
		}
	}
	my @open = grep { $_ =~ $for_all } sort keys %functions;
	$mapped{$_}++ foreach @open;
	foreach my $role (@strangers, @people)
	{
		my @wrong = grep { $try->($role, plain_call($_)) ne 'yes' } @open;
		print "# not yes: $_\n" foreach @wrong;
		result(!@wrong, "$role: what shows the catalog: yes");
	}
	my @unknown = grep { ($mapped{$_} // 0) != 1 } sort keys %functions;
	result(!@unknown, 'every function is in one row' . (@unknown ? ", but: @unknown" : ''));
	my $fault = check($w);
	result(!$fault, 'and nothing was changed' . ($fault ? ": @$fault" : ''));
	end_world($w);
	return;
}

# ---------------------------------------------------------------------------
# What anybody may think of: [ weight, who, what makes the statements ]
# ---------------------------------------------------------------------------

my %values = (
	text => [ qw(c1 c2 p1 nobody company people overwrite newest fill most_confident payload ignore), '{"company_unique_id": "c1", "$clear": ["ein_number"]}', 'ALTER ROLE fuzz_stranger SUPERUSER', "'; DROP TABLE public.victim; --", '{sidecar}', 'CREATE TABLE marketing.mine ()', 'SELECT count(*) FROM public.victim', 'x' x 60, '' ],
	jsonb => [ '[]', '{}', 'null', '{"company_unique_id": "c1", "ein_number": "1"}', '[{"company_unique_id": "c2"}, {"company_unique_id": "nobody"}]', '{"person_unique_id": "p1", "clay_segments": ["a"]}', '[1]', '{"company_unique_id": {"a": 1}}' ],
	_text => [ '{}', '{a,b}', '{NULL}', '{ein_number,enrichment_payload}' ],
	timestamptz => [ '2026-01-01', 'infinity', '-infinity', '0044-03-15 BC', 'now' ],
	interval => [ '90 days', '-1 day', '178000000 years', '0' ],
	numeric => [ qw(0 70 100 -1 1e10 NaN) ],
	float8 => [ qw(0 70 100 -1 1e300 NaN Infinity) ],
	int8 => [ qw(0 1 5 -1 9223372036854775807) ],
	int4 => [ qw(0 1 -1) ],
	int2 => [ qw(0 1 -1) ],
	bool => [qw(true false)],
	oid => [ 'OID', 0, 1259, 10, 4294967295 ],
	regclass => [ 'OID', 'pg_catalog.pg_class', '0' ],
	regprocedure => [ '0', 'pg_catalog.now()' ],);

my $w;    # the world of the round
my @ours = qw(company_sidecar people_sidecar company_master people_master sidecar_rejects);
my @system = qw(pg_class pg_proc pg_type pg_extension pg_trigger pg_namespace pg_depend text numeric);

sub value
{
	my ($type) = @_;
	return "NULL::pg_catalog.$type" if chance(0.08);
	my $value = pick(@{ $values{$type} // ['0'] });
	$value = pick(grep { $_ } map { $w->{oids}{$_} } sort keys %{ $w->{oids} }) if $value eq 'OID';
	return "'" . $value =~ s/'/''/gr . "'::pg_catalog.$type";
}

sub call
{
	my ($pattern) = @_;
	my $name = pick(grep { $_ =~ $pattern } sort keys %functions);
	my @types = @{ $functions{$name}{types} };
	splice @types, @types - int rand(1 + $functions{$name}{defaults});
	return "SELECT * FROM $w->{ext}.$name(" . join(', ', map { value($_) } @types) . ')';
}

# Where a role may create; its functions that tell who runs them are there
sub place
{
	my ($who) = @_;
	my %places = (planter => ['public'], squatter => [ 'squat', $w->{mode} eq 'early' ? 'marketing' : () ], owner => [ schema(), schema(), 'public' ]);
	return pick(@{ $places{$who} // ['pg_temp'] }, 'pg_temp');
}
sub home { my ($who) = @_; return { planter => 'public', squatter => 'squat', owner => 'public' }->{$who} // 'pg_temp' }

sub quoted { my ($name) = @_; return '"' . $name =~ s/"/""/gr . '"' }
sub now_named { my ($oid) = @_; return scalar $w->{god}->selectrow_array('SELECT oid::regclass FROM pg_class WHERE oid = ' . ($oid // 0)) }
sub ours { return now_named($w->{oids}{"marketing.$_[0]"}) // "marketing.$_[0]" }
sub schema { return $w->{god}->selectrow_array('SELECT relnamespace::regnamespace FROM pg_class WHERE oid = ' . ($w->{oids}{'marketing.company_master'} // 0)) // 'marketing' }
sub column
{
	my ($table) = @_;
	my $names = $w->{god}->selectcol_arrayref('SELECT attname FROM pg_attribute WHERE NOT attisdropped AND attnum > 0 AND attrelid = ' . ($w->{oids}{"marketing.$table"} // 0));
	return quoted(pick(@$names ? @$names : 'company_unique_id'));
}
sub own { my ($who) = @_; return place($who) . '.' . pick('mine', 'inbox', @ours, @system) }
sub inbox { my ($who) = @_; return chance(0.3) ? "$w->{ext}.sidecar_" . pick(qw(company_inbox people_inbox)) : place($who) . '.inbox' }
sub target { my ($who) = @_; return chance(0.6) ? ours(pick(@ours)) : chance(0.3) ? 'public.victim' : chance(0.5) ? inbox($who) : own($who) }
sub trigger_function { return "$w->{ext}.update_" . pick(qw(company people)) . '_sidecar_updated_at()' }

# A function that tells who runs it
sub tripwire
{
	my ($who, $kind, $signature, $returns, $return) = @_;
	return "CREATE OR REPLACE FUNCTION $signature RETURNS $returns LANGUAGE plpgsql" . ($kind eq 'read' ? ' IMMUTABLE' : '') .
		" AS \$trip\$ BEGIN RAISE WARNING 'TRIP $kind fuzz_$who % %', current_user, session_user; RETURN $return; END \$trip\$";
}
sub tripwires
{
	my ($who) = @_;
	my $home = home($who);
	return (tripwire($who, 'write', "$home.trip_trigger()", 'trigger', 'NEW'), tripwire($who, 'write', "$home.trip_check()", 'boolean', 'true'),
		tripwire($who, 'write', "$home.trip_default()", 'text', q('1')), tripwire($who, 'plain', "$home.trip()", 'text', q('1')),
		tripwire($who, 'read', "$home.trip_index(text)", 'text', '$1'), tripwire($who, 'read', "$home.trip_policy()", 'boolean', 'true'));
}

# A function of ours with other types, which a call that names ours does not fit
my %other = (int8 => 'int4', numeric => 'int4', text => 'varchar', timestamptz => 'timestamp', jsonb => 'json', int2 => 'int4', regclass => 'oid', regprocedure => 'oid');
sub overload
{
	my ($who) = @_;
	my $name = pick(grep { @{ $functions{$_}{types} } } sort keys %functions);
	return tripwire($who, 'plain', pick($w->{ext}, home($who)) . ".$name(" . join(', ', map { $other{$_} // 'text' } @{ $functions{$name}{types} }) . ')', 'text', q('1'));
}

# Everything of pg_catalog again, in a schema of one's own; a part of it
sub plant_names
{
	my ($who) = @_;
	my ($place, $part) = (place($who), int rand 12);
	my $body = tripwire($who, 'plain', '%s.%I(%s)', '%s', '%s') =~ s/(RAISE[^;]*)/$1 =~ s{%}{%%}gr/er =~ s/'/''/gr =~ s/ RETURN %s;/ RETURN%s;/r;
	my $head = q(DO $$ DECLARE f record; BEGIN FOR f IN);
	my $tail = q(EXCEPTION WHEN OTHERS THEN END; END LOOP; END $$);
	return pick(
		"$head SELECT p.*, pg_catalog.pg_get_function_identity_arguments(p.oid) AS args FROM pg_catalog.pg_proc p WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND prokind = 'f' AND oid % 12 = $part LOOP BEGIN
			EXECUTE pg_catalog.format('$body', '$place', f.proname, f.args, CASE WHEN f.proretset THEN 'SETOF ' ELSE '' END || pg_catalog.format_type(f.prorettype, NULL), CASE WHEN f.proretset THEN '' ELSE ' NULL' END); $tail",
		"$head SELECT o.*, pg_catalog.format_type(oprleft, NULL) AS l, pg_catalog.format_type(oprright, NULL) AS r, pg_catalog.format_type(oprresult, NULL) AS res FROM pg_catalog.pg_operator o WHERE oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND oprleft <> 0 AND oid % 6 = $part % 6 LOOP BEGIN
			EXECUTE pg_catalog.format('$body', '$place', 'trip_' || f.oid, f.l || ', ' || f.r, f.res, ' NULL');
			EXECUTE pg_catalog.format('CREATE OPERATOR $place.%s (FUNCTION = $place.trip_%s, LEFTARG = %s, RIGHTARG = %s)', f.oprname, f.oid, f.l, f.r); $tail",
		map { "CREATE DOMAIN $place.$_ AS pg_catalog.text CHECK (" . home($who) . '.trip_check())' } qw(text numeric jsonb int8 interval regclass timestamptz));
}

# A type with casts and operators, and a column of it
sub plant_type
{
	my ($who) = @_;
	my ($home, $type, $other) = (home($who), pick(qw(score name_of limited)), pick(qw(text numeric timestamp jsonb)));
	return "CREATE TYPE $home.score AS ENUM ('1', '70', 'clay')", "CREATE TYPE $home.name_of AS (t text)", "CREATE DOMAIN $home.limited AS $other CHECK ($home.trip_check())",
		tripwire($who, 'plain', "$home.to_other($home.$type)", $other, 'NULL'), "CREATE CAST ($home.$type AS $other) WITH FUNCTION $home.to_other($home.$type) AS " . pick(qw(IMPLICIT ASSIGNMENT)),
		tripwire($who, 'plain', "$home.compared($home.$type, $other)", 'boolean', 'true'), (map { "CREATE OPERATOR $home.$_ (FUNCTION = $home.compared, LEFTARG = $home.$type, RIGHTARG = $other)" } qw(< = >)),
		retype($who, "$home.$type");
}
sub retype
{
	my ($who, $type) = @_;
	my $table = pick(@ours);
	my ($on, $column) = (ours($table), column($table));
	return "ALTER TABLE $on ALTER $column DROP NOT NULL, ALTER $column DROP DEFAULT", pick("ALTER TABLE $on ALTER $column TYPE $type USING NULL", "ALTER TABLE $on DROP CONSTRAINT IF EXISTS company_sidecar_confidence_score_check, ALTER $column TYPE $type USING NULL", "ALTER TABLE $on ADD COLUMN " . quoted(hostile()) . " $type");
}

# Names: such that a template that is filled in by words might take them for its
# own, and such that are SQL where they stand unquoted
sub word { my $column = pick(qw(ein_number ein_number clay_insight_summary), ''); return $column . pick(map { "{$_}" } qw(master_key master_key master_key master_key sidecar key master entity name schema)) . $column }
sub sql_name
{
	my $trip = home('owner') . '.trip()';
	return pick(("||$trip||s.") x 6, "', $trip, '", "' || $trip || '", "\" || $trip || \"", "), (SELECT $trip) x --", " x, (SELECT $trip) y --", '$1', '%s', '%I', '{', "a'b", 'a"b', 'a\\b', '$$', 'ü', 'select');
}
sub hostile { return chance(0.5) ? word() : sql_name() }
# The one names the other, for a report to read; then they go again
sub two_names
{
	my ($sidecar, $master, $word, $name) = (ours('company_sidecar'), ours('company_master'), quoted(word()), quoted(sql_name()));
	return "ALTER TABLE $sidecar ADD COLUMN $word text", "ALTER TABLE $master RENAME company_unique_id TO $name", { who => 'dba', pure => 1, sql => call(qr/coverage|summary|status|missing/) }, { who => 'dba', pure => 1, sql => call(qr/field_coverage/) },
		"ALTER TABLE $sidecar DROP COLUMN $word", "ALTER TABLE $master RENAME $name TO company_unique_id";
}

# An inbox of his own, if he is let
sub make_inbox
{
	my ($who) = @_;
	my ($entity, $table) = (pick(qw(company people)), place($who) . '.inbox');
	my $key = $entity eq 'company' ? 'company_unique_id' : 'person_unique_id';
	my @rest = (qw(enrichment_payload last_enriched_at), chance(0.2) ? pick(qw(nothing outcome enrichment_source)) : ());
	return "DROP FOREIGN TABLE IF EXISTS $table",
		"CREATE FOREIGN TABLE $table (" . join(', ', map { "$_ pg_catalog." . (chance(0.05) ? 'jsonb' : 'text') } $key, @rest) . ') SERVER sidecar OPTIONS (entity \'' . pick($entity, $entity, $entity, 'nonsense') . "')",
		chance(0.7) ? feed($who, $table, $key) : ();
}
sub feed
{
	my ($who, $view, $key) = @_;
	$view //= inbox($who);
	$key //= pick(qw(company_unique_id company_unique_id person_unique_id));
	my $role = pick(map { "fuzz_$_" } @everybody);
	my $rows = pick(2, 1000, 1000);
	my $payload = pick("'text', pg_catalog.repeat('A', 2000)", "'text', pg_catalog.repeat('A', 2000)", "'text', pg_catalog.repeat('A', 2000), 'role', pg_catalog.set_config('role', CASE WHEN i % 50 > 25 THEN '$role' ELSE 'none' END, true)");
	my $insert = "INSERT INTO $view ($key, enrichment_payload) SELECT '" . substr($key, 0, 1) . "' || (1 + i % 10), pg_catalog.jsonb_build_object($payload) FROM pg_catalog.generate_series(1, $rows) i";
	return chance(0.3) ? $insert : chance(0.2) ? [ "COPY $view ($key) FROM STDIN", join '', map { pick(qw(c1 p1 nobody)) . "\n" } 1 .. 3 ] :
		("SET work_mem = '64kB'", 'BEGIN', chance(0.8) ? $insert : ('SAVEPOINT s', $insert, pick('ROLLBACK TO s', 'RELEASE s')),
		"SELECT pg_catalog.count(*) FROM pg_catalog." . pick(qw(pg_description pg_description pg_depend pg_class)), $insert, pick('COMMIT', 'ROLLBACK', 'SELECT 1'));
}

sub dml
{
	my ($who) = @_;
	my $t = target($who);
	my $key = "'" . pick(qw(c1 c2 p1 nobody)) . "'";
	return pick(
		"SELECT * FROM $t", "SELECT * FROM $t FOR UPDATE", "DELETE FROM $t", "TRUNCATE $t CASCADE", "COPY $t TO STDOUT", "COPY (SELECT * FROM $t) TO STDOUT", "LOCK TABLE $t IN " . pick('ACCESS SHARE', 'ROW EXCLUSIVE', 'SHARE', 'ACCESS EXCLUSIVE') . ' MODE',
		"INSERT INTO $t VALUES ($key)", "INSERT INTO $t VALUES ($key, 'x')", [ "COPY $t FROM STDIN", "c1\n" ],
		"UPDATE $t SET " . pick(qw(company_name enrichment_source error t)) . " = 'x'", "UPDATE $t SET updated_at = NULL WHERE company_unique_id = $key", "DELETE FROM $t WHERE company_unique_id = $key",
		"MERGE INTO $t t USING (VALUES ($key)) s (k) ON t.company_unique_id = s.k WHEN MATCHED THEN UPDATE SET enrichment_source = 'x' WHEN NOT MATCHED THEN INSERT (company_unique_id) VALUES (s.k)",
		"INSERT INTO marketing.sidecar_rejects (entity, unique_id, record, on_conflict, error, sqlstate) VALUES ('" . pick('company', 'people', '{sidecar}') . "', $key, '" . pick(@{ $values{jsonb} }) . "', '" . pick('overwrite', 'nonsense') . "', 'e', 's')");
}

sub ddl
{
	my ($who) = @_;
	my ($t, $home, $place, $table) = (target($who), home($who), place($who), pick(@ours));
	my $c = chance(0.5) ? column($table) : 'company_unique_id';
	$t = ours($table) if chance(0.4);
	return pick(
		"DROP " . pick('TABLE', 'VIEW') . " $t CASCADE", "ALTER TABLE $t OWNER TO fuzz_$who", "ALTER TABLE $t SET SCHEMA $place", "ALTER TABLE $t DISABLE TRIGGER ALL", "ALTER TABLE $t ENABLE ROW LEVEL SECURITY",
		"ALTER TABLE $t RENAME TO " . pick('renamed', @ours), "ALTER TABLE $t DROP COLUMN $c", "ALTER TABLE $t ADD COLUMN more text DEFAULT $home.trip_default()", "CREATE INDEX ON $t ($home.trip_index($c))", "CREATE INDEX ON $t ($c) WHERE $home.trip_policy()",
		"CREATE TRIGGER mine BEFORE " . pick('INSERT', 'UPDATE', 'INSERT OR UPDATE') . " ON $t FOR EACH ROW EXECUTE FUNCTION $home.trip_trigger()", "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON $t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION $home.trip_trigger()",
		"ALTER TABLE $t ADD CONSTRAINT mine CHECK ($home.trip_check()) NOT VALID", "CREATE POLICY mine ON $t USING ($home.trip_policy())", "CREATE RULE mine AS ON " . pick('INSERT', 'UPDATE') . " TO $t DO ALSO SELECT $home.trip_default()",
		"CREATE RULE \"_RETURN\" AS ON SELECT TO $t DO INSTEAD SELECT $home.trip()", "CREATE STATISTICS ON ($home.trip_index($c)), $c FROM $t", "ALTER TABLE $t ALTER $c SET DEFAULT $home.trip_default()",
		"ALTER FUNCTION $w->{ext}.sidecar_coverage() " . pick("OWNER TO fuzz_$who", 'RENAME TO mine', "SET SCHEMA $place", 'SECURITY DEFINER', 'SET search_path = public'), "DROP FUNCTION $w->{ext}.sidecar_coverage() CASCADE", 'DROP EXTENSION sidecar CASCADE', 'DROP SCHEMA marketing CASCADE',
		"ALTER SCHEMA " . pick('marketing', $w->{ext}) . " RENAME TO moved", "GRANT ALL ON ALL FUNCTIONS IN SCHEMA $w->{ext} TO PUBLIC", "GRANT ALL ON $t TO fuzz_$who", "REVOKE ALL ON $t FROM fuzz_writer", "ALTER ROLE fuzz_$who SUPERUSER", "GRANT sidecar_operator TO fuzz_$who", "GRANT fuzz_dba TO fuzz_$who",
		tripwire($who, 'plain', "$w->{ext}." . pick(grep { !@{ $functions{$_}{types} } } sort keys %functions) . '()', 'trigger', 'NEW'), "COMMENT ON FUNCTION $w->{ext}.sidecar_coverage() IS 'mine'", "ALTER TYPE $w->{ext}.sidecar_object ADD ATTRIBUTE x int CASCADE");
}

# A trigger that alters what is being written to
sub meddle
{
	my ($who) = @_;
	my ($on, $table, $f) = (ours(pick(@ours)), pick(@ours), home($who) . '.meddle()');
	my ($t, $c) = (ours($table), column($table));
	my $do = pick("ALTER TABLE $t DROP COLUMN $c", "ALTER TABLE $t ADD COLUMN meddled text", "ALTER TABLE $t ALTER $c TYPE " . pick(qw(text timestamptz xml)) . ' USING NULL', "ALTER TABLE $t RENAME $c TO moved", "DROP TABLE $t CASCADE", "TRUNCATE $t CASCADE", "DELETE FROM $t", "UPDATE $t SET updated_at = NULL",
		"SELECT pg_catalog.set_config('role', '" . pick(qw(none fuzz_owner fuzz_writer)) . "', true)", call(qr/upsert|retry|coverage|install/));
	return "CREATE OR REPLACE FUNCTION $f RETURNS trigger LANGUAGE plpgsql AS \$m\$ BEGIN IF pg_catalog.pg_trigger_depth() < 3 THEN EXECUTE \$e\$$do\$e\$; END IF; RETURN NEW; " . pick('', 'EXCEPTION WHEN OTHERS THEN RETURN NEW; ') . 'END $m$',
		"CREATE TRIGGER " . pick(qw(a_meddle z_meddle)) . ' ' . pick(qw(BEFORE AFTER)) . " INSERT OR UPDATE ON $on FOR EACH " . pick('ROW', 'ROW', 'STATEMENT') . " EXECUTE FUNCTION $f";
}

# Tables that have our names, or the mark
sub make_own
{
	my ($who) = @_;
	my $t = own($who);
	return pick("CREATE TABLE $t (company_unique_id text PRIMARY KEY, company_name text, unique_id text UNIQUE, enrichment_source text, confidence_score numeric, last_enriched_at timestamp, enrichment_payload jsonb, updated_at timestamp)", "CREATE TABLE $t (updated_at timestamp)", "CREATE TABLE $t (i int)",
		"CREATE VIEW $t AS SELECT " . home($who) . '.trip() AS company_unique_id'),
		chance(0.7) ? "CREATE TRIGGER x " . pick('BEFORE UPDATE', 'BEFORE UPDATE', 'AFTER INSERT', 'INSTEAD OF INSERT') . " ON $t FOR EACH ROW EXECUTE FUNCTION " . trigger_function() : ();
}

my @actions = (
	[ 20, qr/./, sub { { pure => 1, sql => call($_[0] eq 'dba' ? qr/^(?!sidecar_make$)/ : qr/./) } } ],
	[ 10, qr/./, sub { { pure => 1, sql => call(qr/upsert|coverage|retry|status|install/) } } ],
	[ 15, qr/[^a]$/, \&dml ],
	[ 12, qr/[^a]$/, \&ddl ],
	[ 6, qr/[^a]$/, \&make_own ],
	[ 6, qr/[^a]$/, \&make_inbox ],
	[ 4, qr/[^a]$/, \&feed ],
	[ 3, qr/planter|squatter|owner/, \&plant_names ],
	[ 3, qr/planter|squatter|owner/, \&plant_type ],
	[ 2, qr/planter|squatter|owner/, \&overload ],
	[ 4, qr/owner/, \&meddle ],
	[ 1, qr/owner/, sub { my $t = pick(@ours); 'ALTER TABLE ' . ours($t) . pick(' ADD COLUMN ' . quoted(hostile()) . ' text', ' RENAME ' . column($t) . ' TO ' . quoted(hostile()), ' RENAME TO ' . quoted(hostile())) } ],
	[ 12, qr/owner/, \&two_names ],
	[ 1, qr/owner/, sub { 'ALTER SCHEMA ' . schema() . ' RENAME TO ' . quoted(hostile()) } ],
	[ 8, qr/[^a]$/, sub { pick('BEGIN', 'BEGIN ISOLATION LEVEL ' . pick('REPEATABLE READ', 'SERIALIZABLE'), 'SAVEPOINT s', 'ROLLBACK TO s', 'COMMIT', 'ROLLBACK') } ],
	[ 6, qr/./, sub { 'SET search_path = ' . pick('public, pg_catalog', 'squat, public, pg_catalog', 'pg_temp, public, pg_catalog', 'marketing, public, pg_catalog', 'DEFAULT') } ],
	[ 6, qr/[^a]$/, sub { my $r = pick(map { "fuzz_$_" } @everybody); pick("SET ROLE $r", "SET ROLE sidecar_" . pick(@people), 'RESET ROLE', "SET SESSION AUTHORIZATION $r", 'SET row_security = off', "SET work_mem = '64kB'", 'SET check_function_bodies = off', 'SET session_replication_role = replica', "SELECT pg_catalog.set_config('role', '$r', false)",
		'SELECT pg_catalog.pg_advisory_lock(i) FROM pg_catalog.generate_series(0, 20) i', 'SET plan_cache_mode = force_generic_plan', 'SET quote_all_identifiers = on', 'SET standard_conforming_strings = off', "SET timezone = 'Asia/Tokyo'", "SET datestyle = 'german'", "SET intervalstyle = 'sql_standard'", 'SET transaction_read_only = on') } ],
	[ 4, qr/[^a]$/, sub { my ($who) = @_; my $f = ($who eq 'owner' ? schema() : home($who)) . '.definer'; ("CREATE OR REPLACE FUNCTION $f() RETURNS text SECURITY DEFINER LANGUAGE plpgsql AS \$\$ DECLARE r record; BEGIN FOR r IN " . call(qr/./) . ' LOOP END LOOP; RETURN r::text; END $$', "SELECT $f()") } ],
	[ 3, qr/[^a]$/, sub { 'SELECT ' . pick(qw(public squat pg_temp)) . '.definer()' } ],
	[ 40, qr/dba/, sub { { pure => 1, sql => pick(call(qr/coverage|sources|stale|low|missing|summary|status|objects|unbound|bindings|suspects|found/), call(qr/field_coverage/), call(qr/coverage|summary|status/), "SELECT * FROM $w->{ext}.sidecar_install()", "SELECT * FROM $w->{ext}.sidecar_create_masters()", "SELECT * FROM $w->{ext}.sidecar_summary(exact => false)",
		"INSERT INTO $w->{ext}.sidecar_company_inbox (company_unique_id) VALUES ('c1'::pg_catalog.text)") } } ],);

# dba's part of it where others were first
my @installs = ('CREATE EXTENSION sidecar SCHEMA public', 'DROP EXTENSION sidecar CASCADE', 'DROP EXTENSION sidecar');

sub next_steps
{
	my ($who, $n) = @_;
	my ($state) = $w->{open}{"$who.$n"} // 0;
	return { who => $who, n => $n, sql => pick('ROLLBACK', 'ROLLBACK', 'ROLLBACK TO s') } if $state == 4 && chance(0.8);
	return { who => $who, n => $n, sql => pick('COMMIT', 'ROLLBACK') } if $state == 3 && chance(0.1);
	return { who => $who, n => $n, pure => 1, sql => pick(@installs) } if $who eq 'dba' && $w->{mode} eq 'early' && chance(0.3);
	my @mine = grep { $who =~ $_->[1] } @actions;
	my $at = rand List::Util::sum(map { $_->[0] } @mine);
	my $action = shift @mine;
	while (($at -= $action->[0]) >= 0) { $action = shift @mine }
	return map { { who => $who, n => $n, ref eq 'HASH' ? %$_ : ref eq 'ARRAY' ? (sql => $_->[0], data => $_->[1]) : (sql => $_) } } $action->[2]->($who);
}

# ---------------------------------------------------------------------------
# Rounds, and the shortest script of a fault
# ---------------------------------------------------------------------------

sub round
{
	my ($mode, $until) = @_;
	my (@steps, $fault);
	my %part = map { $_ => 1 } @{ $modes{$mode}{roles} };
	$w = new_world($mode);
	my @queue = map { my $who = $_; map { { who => $who, n => 1, sql => $_ } } tripwires($who) } grep { $part{$_} } qw(planter squatter owner);
	push @queue, { who => 'squatter', n => 1, sql => 'CREATE SCHEMA marketing' } if $mode eq 'early' && chance(0.5);
	for (my $i = 0; $i < 120 || @queue; $i++)
	{
		push @queue, grep { $_->{sql} !~ $without } next_steps(pick(@{ $modes{$mode}{roles} }), 1 + int rand 2) until @queue;
		push @steps, $i % 8 ? shift @queue : { who => 'oracle' };
		$fault = step($w, $steps[-1]);
		undef $fault if $fault && $fault->[0] =~ $ignore;
		last if $fault || time > $until;
	}
	$fault //= check($w), push @steps, { who => 'oracle' } unless $fault;
	end_world($w);
	return ($fault, \@steps);
}

sub replay
{
	my ($mode, $steps) = @_;
	my $fault;
	$w = new_world($mode);
	foreach my $s (@$steps)
	{
		$fault = step($w, $s);
		last if $fault && $fault->[0] !~ $ignore;
	}
	end_world($w);
	return $fault;
}

# Drops parts of the steps, smaller and smaller ones, as long as the fault stays
sub minimise
{
	my ($mode, $steps, $fault) = @_;
	my ($n, $until) = (2, time + 90);
	my $again = replay($mode, $steps);
	unless ($again && $again->[0] eq $fault->[0])
	{
		print "# the steps alone do not bring it again\n";
		return $steps;
	}
	while (@$steps > 1 && time < $until)
	{
		my $size = max(1, int(@$steps / $n));
		my $shorter;
		for (my $at = 0; $at < @$steps && time < $until; $at += $size)
		{
			my @without = @$steps;
			splice @without, $at, min($size, @without - $at);
			my $f = replay($mode, \@without);
			$shorter = \@without, last if $f && $f->[0] eq $fault->[0];
		}
		if ($shorter) { ($steps, $n) = ($shorter, max(2, $n - 1)) }
		elsif ($size == 1) { last }
		else { $n = min($n * 2, scalar @$steps) }
	}
	return $steps;
}

sub show
{
	my ($mode, $steps) = @_;
	print "# in a copy of database fuzz_roles_$modes{$mode}{template}:\n";
	my $last = '';
	foreach my $s (@$steps)
	{
		print "-- $s->{who}, session $s->{n}\n" if $s->{who} ne 'oracle' && $last ne "$s->{who}$s->{n}";
		$last = $s->{who} . ($s->{n} // '');
		print $s->{who} eq 'oracle' ? "-- look\n" : "$s->{sql};\n" . (defined $s->{data} ? "$s->{data}\\.\n" : '');
	}
	return;
}

my $start = time;
print "# seed $seed\n";
make_templates();
learn_functions();
test_table();
my @order = qw(owner strangers owner people early);
my ($fault, $mode, $steps, $round);
for ($round = 0; time < $start + $seconds && !$fault; $round++)
{
	srand($seed * 10000 + $round);
	($fault, $steps) = round($mode = $order[ $round % @order ], $start + $seconds);
}
my $took = time - $start;
if ($fault)
{
	print "# fault in round $round of seed $seed, after ", scalar @$steps, " steps: $fault->[0]: $fault->[1]\n";
	print "# all of its steps:\n";
	show($mode, $steps);
	my %so_far = %count;
	$steps = minimise($mode, $steps, $fault);
	%count = %so_far;
	print "# the shortest that was found:\n";
	show($mode, $steps);
}
foreach my $oracle ('lost', 'internal error', 'slow', 'leak', 'broken SQL', 'tripwire', 'secret', 'integrity', 'escalation', 'availability')
{
	result(!$fault || $fault->[0] ne $oracle, "$round rounds: $oracle" . ($fault && $fault->[0] eq $oracle ? ": $fault->[1]" =~ s/\n.*//sr : ''));
}
result($count{allowed} > 0 && $count{denied} > 0, 'something was allowed, and something denied');
printf "1..%d\nroles: %d actions in %d seconds, %d denied, %d allowed, %d faults\n", $tests, $count{actions}, $took, $count{denied}, $count{allowed}, $faults;
exit($faults ? 1 : 0);

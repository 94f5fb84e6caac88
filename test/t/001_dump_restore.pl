# Dump and restore in every form, with three shapes of master, and with tables
# that were renamed and moved.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $node = new_node('main', allows_streaming => 'logical');
my $dir = $node->basedir;
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port);
my @at = ('-h', $node->host, '-p', $node->port);

# Runs commands that must print nothing on standard error: a restore is quiet.
sub quiet_ok
{
	my ($name, @commands) = @_;
	for my $command (@commands)
	{
		my ($stdout, $stderr);
		my $ok = IPC::Run::run($command, '>', \$stdout, '2>', \$stderr);

		# pg_dump --clean stumbles over any partition's key, and goes on
		$stderr =~ s/^.*cannot drop inherited constraint "zz_.*\n//mg;
		ok($ok && $stderr eq '', "$name: $command->[0] is quiet") or diag($stderr);
	}
	return;
}

# One form: SOURCE is dumped and restored into a new database.
sub form
{
	my ($source, $name, $commands, %opt) = @_;
	my $db = 'restored';
	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $db");
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0") unless $opt{creates};
	system("rm -rf $dir/dump*");
	quiet_ok("$source, $name", @{ $commands->($source, $db) });
	restored_ok($node, $db, $source, "$source, $name", %opt);
	return;
}

my %forms = (
	'plain' => sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-f', "$dir/dump", $from ], [ @psql, '-f', "$dir/dump", '-o', '/dev/null', $to ] ];
	},
	'plain, one transaction' => sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-f', "$dir/dump", $from ], [ @psql, '-1', '-f', "$dir/dump", '-o', '/dev/null', $to ] ];
	},
	'--inserts' => sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '--inserts', '-f', "$dir/dump", $from ], [ @psql, '-f', "$dir/dump", '-o', '/dev/null', $to ] ];
	},
	'custom' => sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-Fc', '-f', "$dir/dump", $from ], [ 'pg_restore', @at, '-e', '-d', $to, "$dir/dump" ] ];
	},
	'directory, parallel' => sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-Fd', '-j2', '-f', "$dir/dump", $from ], [ 'pg_restore', @at, '-e', '-j2', '-d', $to, "$dir/dump" ] ];
	},
	'sections' => sub {
		my ($from, $to) = @_;
		[
			[ 'pg_dump', @at, '-Fc', '-f', "$dir/dump", $from ],
			map { [ 'pg_restore', @at, '-e', "--section=$_", '-d', $to, "$dir/dump" ] } qw(pre-data data post-data)
		];
	},
	'schema and extension only' => sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-n', 'marketing', '-e', 'sidecar', '-f', "$dir/dump", $from ], [ @psql, '-f', "$dir/dump", '-o', '/dev/null', $to ] ];
	},
	'--clean --if-exists into a live database' => sub {
		my ($from, $to) = @_;
		$node->safe_psql('postgres', "DROP DATABASE $to");
		$node->safe_psql('postgres', "CREATE DATABASE $to TEMPLATE $from");
		$node->safe_psql($to, "DELETE FROM marketing.company_master WHERE company_unique_id = 'c7'; DROP INDEX marketing.mine");
		[
			[ 'pg_dump', @at, '--clean', '--if-exists', '-f', "$dir/dump", $from ],
			[ @psql, '-v', 'ON_ERROR_STOP=0', '-f', "$dir/dump", '-o', '/dev/null', $to ]
		];
	},
	'data only' => sub {
		my ($from, $to) = @_;
		[
			[ 'pg_dump', @at, '--schema-only', '-f', "$dir/dump", $from ],
			[ @psql, '-f', "$dir/dump", '-o', '/dev/null', $to ],
			# a partitioned master's rows come after the sidecar's
			[ 'pg_dump', @at, '-Fc', '--data-only', '-f', "$dir/dump.data", $from ],
			[ 'pg_restore', @at, '-e', '--disable-triggers', '-d', $to, "$dir/dump.data" ]
		];
	});

for my $shape (sort keys %SidecarTest::master)
{
	populate($node, $shape, $shape);
	# the zone of the table's times
	$node->safe_psql($shape, "CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar
		FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('America/New_York')");
	for my $name (sort keys %forms)
	{
		form($shape, $name, $forms{$name}, without_publication => scalar($name =~ /schema and extension/));
	}
}

# --clean --create brings the database's own name back
my $before = fingerprint($node, 'with_pkey');
quiet_ok('--clean --create', [ 'pg_dump', @at, '--clean', '--create', '-f', "$dir/dump.cc", 'with_pkey' ],
	[ @psql, '-f', "$dir/dump.cc", '-o', '/dev/null', 'postgres' ]);
is(fingerprint($node, 'with_pkey'), $before, '--clean --create: all is there');
like(works($node, 'with_pkey'), qr/company\|3000\|2000/, '--clean --create: and works');

# renamed and moved tables: every function follows, after a restore too
$node->safe_psql('postgres', 'CREATE DATABASE moved TEMPLATE with_pkey');
$node->safe_psql('moved', q(
	CREATE SCHEMA crm;
	GRANT USAGE ON SCHEMA crm TO app;
	ALTER TABLE marketing.company_sidecar SET SCHEMA crm;
	ALTER TABLE crm.company_sidecar RENAME TO "Enrichment";
	ALTER TABLE marketing.company_master SET SCHEMA crm;
	ALTER TABLE crm.company_master RENAME TO companies;
	ALTER TABLE crm.companies RENAME COLUMN company_unique_id TO id;));
like(works($node, 'moved'), qr/company\|t\|0\|t\|\{"inbox column public.sidecar_company_inbox.note[^}]*records parked in[^}]*\}.*company\|3000\|2000/s, 'renamed and moved tables work');
form('moved', $_, $forms{$_}) for ('plain', 'custom', 'directory, parallel');

# pg_dump by a role that owns the tables but is no superuser
$node->safe_psql('with_pkey', q(
	CREATE ROLE regress_sidecar_dumper LOGIN;
	GRANT EXECUTE ON FUNCTION update_company_sidecar_updated_at(), update_people_sidecar_updated_at(), sidecar_rejects_mark() TO regress_sidecar_dumper;
	ALTER TABLE marketing.company_sidecar NO FORCE ROW LEVEL SECURITY;
	DROP PUBLICATION enrichment;
	ALTER SCHEMA marketing OWNER TO regress_sidecar_dumper;
	ALTER TABLE marketing.company_sidecar OWNER TO regress_sidecar_dumper;
	ALTER TABLE marketing.people_sidecar OWNER TO regress_sidecar_dumper;
	ALTER TABLE marketing.sidecar_rejects OWNER TO regress_sidecar_dumper;
	ALTER TABLE marketing.company_master OWNER TO regress_sidecar_dumper;
	ALTER TABLE marketing.people_master OWNER TO regress_sidecar_dumper;
	ALTER VIEW marketing.enriched OWNER TO regress_sidecar_dumper;));
form('with_pkey', 'by an ordinary role', sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-U', 'regress_sidecar_dumper', '-Fc', '-f', "$dir/dump", $from ], [ 'pg_restore', @at, '-e', '-d', $to, "$dir/dump" ] ];
	});

# --enable-row-security turns row_security on: the extension must be there before
# (in a schema of somebody who is not trusted yet it would make no tables)
$node->safe_psql('with_pkey', 'ALTER SCHEMA marketing OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA marketing TO regress_sidecar_dumper');
$node->safe_psql('postgres', 'DROP DATABASE restored');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
quiet_ok('--enable-row-security', [ 'pg_dump', @at, '--enable-row-security', '-f', "$dir/dump.rls", 'with_pkey' ]);
my ($stdout, $stderr);
ok(!IPC::Run::run([ @psql, '-f', "$dir/dump.rls", 'restored' ], '>', \$stdout, '2>', \$stderr), '--enable-row-security: by itself it fails');
like($stderr, qr/already exists/, 'because CREATE EXTENSION has made the tables');
$node->safe_psql('postgres', 'DROP DATABASE restored');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->safe_psql('restored', 'SET row_security = off; CREATE EXTENSION sidecar');
ok(IPC::Run::run([ @psql, '-f', "$dir/dump.rls", 'restored' ], '>', \$stdout, '2>', \$stderr), '--enable-row-security: with the extension made first it works')
	or diag($stderr);
restored_ok($node, 'restored', 'with_pkey', '--enable-row-security');

# A column that sidecar_install() has brought to the inbox is the extension's: it
# is not dumped, and sidecar_install() brings it again
sub inbox_columns
{
	my ($db) = @_;
	return $node->safe_psql($db, q(
		SELECT to_do[1] FROM sidecar_status() WHERE to_do[1] ~ 'inbox';
		SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
		BEGIN;
		INSERT INTO sidecar_company_inbox (company_unique_id, note) VALUES ('c1', 'by inbox');
		SELECT note FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
		ROLLBACK;));
}
my $comes = qq(inbox column public.sidecar_company_inbox.note: SELECT sidecar_install()
inbox column public.sidecar_company_inbox.note|created
by inbox);
is(inbox_columns('with_index'), $comes, 'a column of the user comes to the inbox');
is(inbox_columns('with_index'), 'by inbox', 'and stays');
form('with_index', 'custom, once more', sub {
		my ($from, $to) = @_;
		[ [ 'pg_dump', @at, '-Fc', '-f', "$dir/dump", $from ], [ 'pg_restore', @at, '-e', '-d', $to, "$dir/dump" ],
			[ @psql, '-o', '/dev/null', '-c', 'SELECT sidecar_install()', $to ] ];
	});
is(inbox_columns('restored'), 'by inbox', 'after a restore sidecar_install() brings it again');

$node->stop;
done_testing();

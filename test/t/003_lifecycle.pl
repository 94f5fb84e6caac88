# Installing many times at once, and being killed in the middle of it: one wins,
# nothing is half-made.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $node = new_node('main');
my $masters = 'CREATE SCHEMA marketing; CREATE TABLE marketing.company_master (company_unique_id text PRIMARY KEY);
	CREATE TABLE marketing.people_master (unique_id text PRIMARY KEY);';

# What there is of the extension and its tables; a complete set, or nothing
sub made
{
	my ($db) = @_;
	return $node->safe_psql($db, q(
		SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'sidecar') AS extension,
		       (SELECT count(*) FROM pg_proc WHERE proname ~ '^(sidecar_|update_.*_sidecar_)') > 0 AS functions,
		       (SELECT count(*) FROM pg_class WHERE relname ~ 'sidecar' AND relkind IN ('r', 'i')) AS relations,
		       (SELECT count(*) FROM pg_constraint WHERE conname ~ '^fk_(company|people)_sidecar') AS keys,
		       (SELECT count(*) FROM pg_trigger WHERE tgname ~ 'sidecar_(updated_at|rejects_mark)') AS triggers));
}
my $whole = '1|t|18|2|3';
my $nothing = '0|f|0|0|0';

# Runs the statement in ten sessions at once; returns what each said.
sub ten_times
{
	my ($db, $sql) = @_;
	my @said = map { { out => '', err => '' } } 1 .. 10;
	my @runs = map {
		IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-h', $node->host, '-p', $node->port, '-c', $sql, $db ],
			'>', \$_->{out}, '2>', \$_->{err})
	} @said;
	$_->finish for @runs;
	return @said;
}

# ten at once
$node->safe_psql('postgres', 'CREATE DATABASE ten');
$node->safe_psql('ten', $masters);
my @said = ten_times('ten', 'CREATE EXTENSION sidecar');
is(scalar(grep { $_->{err} eq '' } @said), 1, 'of ten CREATE EXTENSION at once one wins');
is(scalar(grep { $_->{err} =~ /42710|23505/ } @said), 9, 'the others learn that there is one already')
	or diag(map { $_->{err} } @said);
is(made('ten'), $whole, 'all is made, once');
$node->safe_psql('ten', 'DROP SCHEMA marketing CASCADE; SET client_min_messages = warning;' . $masters);
@said = ten_times('ten', 'SELECT outcome, count(*) FROM sidecar_install() GROUP BY outcome ORDER BY outcome');
is(scalar(grep { $_->{out} =~ /^created\|22\npresent\|1$/m } @said), 1, 'of ten sidecar_install() at once one makes all')
	or diag(map { $_->{out}, $_->{err} } @said);
is(scalar(grep { $_->{out} =~ /^present\|23$/m } @said), 9, 'the others find it present');
is(made('ten'), $whole, 'all is made, once');

# killed in the middle: the foreign key has to wait for a lock on the master
sub kill_in_the_middle
{
	my ($db, $sql) = @_;
	my $holder = $node->background_psql($db);
	$holder->query_safe('BEGIN; LOCK TABLE marketing.people_master IN ACCESS SHARE MODE; LOCK TABLE marketing.people_master IN ROW EXCLUSIVE MODE');
	my ($out, $err) = ('', '');
	my $victim = IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-c', $sql, $db ], '>', \$out, '2>', \$err);
	$node->poll_query_until($db, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'sidecar' AND pid <> pg_backend_pid()))
		or die 'it does not wait';
	my $pid = $node->safe_psql($db, q(SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'sidecar' AND pid <> pg_backend_pid()));
	my $postmaster = $node->{_pid};
	kill 'KILL', $pid;
	$victim->finish;

	# the others go down with it, and the server with them (restart_after_crash is off)
	eval { $holder->quit };
	for (1 .. 300)
	{
		last unless kill 0, $postmaster;
		select undef, undef, undef, 0.1;
	}
	unlink $node->data_dir . '/postmaster.pid';
	$node->{_pid} = undef;
	$node->start;
	return;
}
$node->safe_psql('postgres', 'CREATE DATABASE killed');
$node->safe_psql('killed', $masters);
kill_in_the_middle('killed', 'CREATE EXTENSION sidecar');
is(made('killed'), $nothing, 'kill -9 in the middle of CREATE EXTENSION: nothing is half-made');
$node->safe_psql('killed', 'CREATE EXTENSION sidecar');
is(made('killed'), $whole, 'and it can be made');
$node->safe_psql('killed', 'DROP TABLE marketing.company_sidecar, marketing.people_sidecar');
kill_in_the_middle('killed', 'SELECT sidecar_install()');
is(made('killed'), '1|t|3|0|1', 'kill -9 in the middle of sidecar_install(): nothing is half-made');
$node->safe_psql('killed', 'SELECT sidecar_install()');
is(made('killed'), $whole, 'and it can be made');

# A foreign key that PostgreSQL does not look after is no binding, and none is
# made over it
SKIP:
{
	skip 'PostgreSQL 18 has such keys', 2 if $node->pg_version < 18;
	$node->safe_psql('postgres', "CREATE DATABASE unenforced");
	$node->safe_psql('unenforced', "SET client_min_messages = error; $masters CREATE EXTENSION sidecar;
		ALTER TABLE marketing.company_sidecar ALTER CONSTRAINT fk_company_sidecar_company NOT ENFORCED;");
	is($node->safe_psql('unenforced', q(SELECT object, outcome, hint FROM sidecar_install() WHERE outcome <> 'present')),
		'foreign key fk_company_sidecar_company on marketing.company_sidecar|waiting|constraint fk_company_sidecar_company of marketing.company_sidecar'
		. ' has its name and is not it, or is not enforced: drop it; then SELECT sidecar_install()', 'a foreign key that is not enforced is told of');
	is($node->safe_psql('unenforced', q(ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
		SELECT outcome FROM sidecar_install() WHERE outcome <> 'present')), 'created', 'and made anew when it has gone');
}

$node->stop;
done_testing();

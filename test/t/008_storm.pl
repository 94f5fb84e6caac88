# Random operations from eight sessions, with cancels, timeouts and ended
# backends, then with crashes of backends and of the whole server; and what has
# to hold meanwhile and afterwards.  SIDECAR_SEED repeats the operations,
# SIDECAR_SECONDS is how long the storm lasts, SIDECAR_CRASHES how often the
# server crashes.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use IO::Handle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use SidecarTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $seed = $ENV{SIDECAR_SEED} // time % 1000000;
my $seconds = $ENV{SIDECAR_SECONDS} // 10;
my $crashes = $ENV{SIDECAR_CRASHES} // 3;
my $sessions = 8;
note("SIDECAR_SEED=$seed SIDECAR_SECONDS=$seconds SIDECAR_CRASHES=$crashes");

my $node = new_node('main', has_archiving => 0, allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_connections = 60\ndeadlock_timeout = 100ms\nrestart_after_crash = on\nwal_level = logical\n");
$node->restart;
my $keys = 300;
$node->safe_psql('postgres', qq(
	SET client_min_messages = warning;
	CREATE EXTENSION sidecar;
	CREATE EXTENSION amcheck;
	SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master SELECT 'k' || i, 'Company ' || i FROM generate_series(1, $keys) i;
	INSERT INTO marketing.company_master SELECT 'ledger' || i, 'Company ' || i FROM generate_series(1, 20) i;
	CREATE SCHEMA storm;
	-- what the sessions were told, in the transaction that did it
	CREATE TABLE storm.told (id text, kind text, txid xid8 DEFAULT pg_current_xact_id(), key text, outcome text, error text, record jsonb, on_conflict text);
	-- and what happened
	CREATE TABLE storm.happened (txid xid8, relation text, operation text, late boolean, record jsonb, on_conflict text);
	CREATE FUNCTION storm.watch() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO storm.happened VALUES (pg_current_xact_id(), TG_TABLE_NAME, TG_OP,
			TG_TABLE_NAME = 'company_sidecar' AND TG_OP = 'UPDATE' AND
			(to_jsonb(NEW)->>'updated_at')::timestamp < transaction_timestamp()::timestamp, to_jsonb(NEW)->'record', to_jsonb(NEW)->>'on_conflict');
		RETURN NULL;
	END \$\$;
	CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION storm.watch();
	CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON marketing.sidecar_rejects FOR EACH ROW EXECUTE FUNCTION storm.watch();
	CREATE TABLE storm.faults (fault text);
	CREATE PROCEDURE storm.disturb(seconds float8) LANGUAGE plpgsql AS \$\$
	DECLARE
		until timestamptz := clock_timestamp() + seconds * interval '1 second';
		victim int;
	BEGIN
		WHILE clock_timestamp() < until LOOP
			PERFORM pg_sleep(random() * 0.1);
			PERFORM pg_stat_clear_snapshot();
			SELECT pid INTO victim FROM pg_stat_activity WHERE application_name = 'storm' AND state = 'active' ORDER BY random() LIMIT 1;
			IF random() < 0.7 THEN
				INSERT INTO storm.faults SELECT 'cancelled' WHERE pg_cancel_backend(victim);
			ELSE
				INSERT INTO storm.faults SELECT 'terminated' WHERE pg_terminate_backend(victim);
			END IF;
			COMMIT;
		END LOOP;
	END \$\$;));

# a standby and a subscriber live through all of it
$node->backup('start');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'start', has_streaming => 1);
$standby->start;
my $subscriber = new_node('subscriber');
$node->safe_psql('postgres', 'CREATE PUBLICATION enrichment FOR TABLE marketing.company_sidecar');
$subscriber->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION sidecar; SELECT sidecar_create_masters();
	CREATE SUBSCRIPTION enrichment CONNECTION \'' . ($node->connstr('postgres') =~ s/'/\'\'/gr) . "' PUBLICATION enrichment");

sub pick { return $_[ rand @_ ] }
sub key { return 'k' . (1 + int(rand($keys + 3))) }
sub rule { return pick(qw(overwrite newest most_confident fill)) }

# A record as JSON; now and then a bad one.
sub record
{
	my $key = shift // key();
	my @fields = (qq("company_unique_id": "$key"));
	push @fields, '"ein_number": "' . int(rand(4)) . '"' if rand() < 0.5;
	push @fields, '"clay_tags": ["t' . int(rand(3)) . '"]' if rand() < 0.4;
	push @fields, '"enrichment_payload": {"v": ' . int(rand(3)) . '}' if rand() < 0.4;
	push @fields, '"enrichment_source": "' . pick(qw(clay apify firecrawl)) . '"' if rand() < 0.6;
	push @fields, '"confidence_score": ' . pick(0, 50, 90.5, 101, '"high"', 70) if rand() < 0.6;
	push @fields, '"last_enriched_at": "2026-01-0' . (1 + int(rand(4))) . '"' if rand() < 0.7;
	push @fields, '"unknown": 1' if rand() < 0.02;
	return '{' . join(', ', @fields) . '}';
}

my $both = 'FROM marketing.company_master cm LEFT JOIN marketing.company_sidecar cs ON cm.company_unique_id = cs.company_unique_id';
my $long_query = "SELECT count(DISTINCT cm.company_unique_id), count(DISTINCT cs.company_unique_id),
	round(100.0 * count(DISTINCT cs.company_unique_id) / count(DISTINCT cm.company_unique_id), 2) $both";
my @reports = map { "sidecar_$_" } 'coverage()', 'summary()', 'summary(exact => false)', 'field_coverage()', 'sources()', 'stale_companies()',
	'low_confidence_companies()', 'missing_companies()', 'stale_people()', 'status()', 'stale_companies(max_rows => 5)';

# Each returns the SQL of an operation, which is one transaction.
my %operations = (
	single => sub {
		my ($id) = @_;
		my @score = rand() < 0.6 ? ('confidence_score => ' . pick(0, 50, 90.5, 101)) : ();
		my @at = rand() < 0.7 ? ("last_enriched_at => '2026-01-0" . (1 + int(rand(4))) . "'") : ();
		my @ein = rand() < 0.5 ? ("ein_number => '" . int(rand(4)) . "'") : ();
		return sprintf("INSERT INTO storm.told SELECT '%s', 'single', pg_current_xact_id(), k, sidecar_upsert_company(%s) FROM (VALUES ('%s')) v(k);",
			$id, join(', ', 'k', @score, @at, @ein, sprintf("on_conflict => '%s'", rule())), key());
	},
	batch => sub {
		my ($id) = @_;
		my $n = 1 + int(rand(40));
		return sprintf("INSERT INTO storm.told SELECT '%s-%d', 'batch', pg_current_xact_id(), unique_id, outcome, error, records->(record::int - 1), rule
			FROM (SELECT jsonb '[%s]', '%s') b (records, rule), sidecar_upsert_companies(records, rule);", $id, $n, join(',', map { record() } 1 .. $n), rule());
	},
	copy => sub {
		my ($id) = @_;
		my $n = 1 + int(rand(30));
		return "BEGIN;\nSET LOCAL sidecar.inbox_rejects = error;\nCOPY sidecar_company_inbox (company_unique_id, ein_number, confidence_score) FROM STDIN;\n"
			. join('', map { 'k' . (1 + int(rand($keys + (rand() < 0.1 ? 1 : 0)))) . "\t" . int(rand(5)) . "\t" . int(rand(100)) . "\n" } 1 .. $n)
			. "\\.\nINSERT INTO storm.told VALUES ('$id', 'copy') RETURNING id AS told \\gset\nCOMMIT;\n\\if :{?told}\n\\else\n\\set ERROR true\n\\endif\n\\unset told";
	},
	retry => sub {
		return sprintf("INSERT INTO storm.told SELECT '%s', 'retry', pg_current_xact_id(), unique_id, outcome, error FROM sidecar_retry_rejects(%d);", $_[0], 1 + rand(30));
	},
	'insert' => sub { return sprintf("INSERT INTO marketing.company_sidecar (company_unique_id, confidence_score) VALUES ('%s', %d);", key(), rand(120)) },
	'update' => sub { return sprintf("UPDATE marketing.company_sidecar SET enrichment_source = 'hand' WHERE company_unique_id = '%s';", key()) },
	'delete' => sub { return sprintf("DELETE FROM marketing.company_sidecar WHERE company_unique_id = '%s';", key()) },
	'delete of a master' => sub { return sprintf("DELETE FROM marketing.company_master WHERE company_unique_id = '%s';", key()) },
	'insert of a master' => sub {
		return sprintf("INSERT INTO marketing.company_master VALUES ('%s', 'again') ON CONFLICT DO NOTHING;", key());
	},
	'deletion of rejects' => sub { return "DELETE FROM marketing.sidecar_rejects WHERE reject_id IN (SELECT reject_id FROM marketing.sidecar_rejects ORDER BY random() LIMIT 1);" },
	report => sub { return sprintf("SELECT 'report', count(*) FROM %s;", pick(@reports)) },
	check => sub {
		return "BEGIN ISOLATION LEVEL REPEATABLE READ;
			SELECT 'VIOLATION coverage' FROM sidecar_coverage() c, ($long_query) q(a, b, c)
			WHERE entity = 'company' AND (total, enriched, enrichment_coverage_pct) IS DISTINCT FROM (q.a, q.b, q.c);
			SELECT 'VIOLATION orphan' FROM marketing.company_sidecar s WHERE NOT EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = s.company_unique_id);
			COMMIT;";
	},
	install => sub { return "SELECT 'VIOLATION install', object, outcome FROM sidecar_install() WHERE outcome <> 'present';" },
	serializable => sub { my ($sql) = $_[1]->('batch', $_[0]); return "BEGIN ISOLATION LEVEL SERIALIZABLE;\n$sql\nCOMMIT;" },);
my @weighted = (('single') x 30, ('batch') x 15, ('copy') x 6, ('retry') x 2, ('insert') x 4, ('update') x 5, ('delete') x 5,
	('delete of a master') x 3, ('insert of a master') x 9, ('deletion of rejects') x 2, ('report') x 6, ('check') x 4, ('serializable') x 2);

# A session: sends files of operations until the time is over, and writes down
# what it did, what was confirmed to it and what it was answered.
sub session
{
	my ($number, $until, $file) = @_;
	srand($seed * 100 + $number + ($file =~ /crash(\d+)/ ? $1 * 10 : 0));
	my $serial = 0;
	my $make = sub { return $operations{ $_[0] }->($_[1]) };
	open my $sent, '>>', "$file.sent" or die $!;
	$sent->autoflush(1);
	while (time < $until)
	{
		my $script = "\\set VERBOSITY verbose\n";
		foreach (1 .. 40)
		{
			my $id = "$number-" . ++$serial . ($file =~ /crash(\d+)/ ? "-crash$1" : '');
			my ($kind, $sql);
			if ($number == 0)
			{
				# the ledger: only this session sends these keys, with rising times
				$kind = 'ledger';
				my $at = sprintf '%.6f', time;
				my $key = 'ledger' . (1 + int(rand(20)));
				$sql = "INSERT INTO storm.told SELECT '$id', 'ledger', pg_current_xact_id(), '$key', sidecar_upsert_company('$key',
					enrichment_payload => '{\"id\": \"$id\"}', last_enriched_at => to_timestamp($at), on_conflict => 'newest');";
				print $sent "$key $at $id\n";
			}
			else
			{
				$kind = rand() < 0.003 ? 'install' : pick(@weighted);
				$sql = $operations{$kind}->($id, $make);
			}
			my $timeout = rand() < 0.08 ? 1 + int(rand(20)) : 0;
			$script .= "\\echo \@$kind" . ($timeout ? ' with a timeout' : '') . "\nSET statement_timeout = $timeout;\n$sql\n"
				. "\\if :ERROR\nROLLBACK;\n\\else\n\\echo +$id $kind\n\\endif\n";
		}
		open my $out, '>', "$file.sql" or die $!;
		print $out $script;
		close $out;
		my $connstr = $node->connstr('postgres') . ' application_name=storm';
		system("psql -X -q -At -f $file.sql '$connstr' >>$file.out 2>>$file.err </dev/null");
		sleep 0.1 if $? != 0;
	}
	return;
}

# Starts the sessions; returns their processes and files.
sub start_sessions
{
	my ($name, $duration) = @_;
	my $until = time + $duration;
	my (@pids, @files);
	foreach my $number (0 .. $sessions - 1)
	{
		my $file = "$PostgreSQL::Test::Utils::tmp_check/storm.$name.$number";
		push @files, $file;
		my $pid = fork // die $!;
		if ($pid == 0)
		{
			session($number, $until, $file);
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	return (\@pids, \@files);
}

my (%done, %answers, %confirmed, @ledger, @violations, @surprises);
# Expected of a session: constraints, bad values, cancels, ended backends,
# serialization failures, a server that is not there or starts.
my $fine = qr/^(23503|23505|23514|22003|57014|57P01|57P02|57P03|08006|40001|25P02|25P01)$/;

sub read_files
{
	foreach my $file (@_)
	{
		foreach my $line (split /\n/, -e "$file.out" ? slurp_file("$file.out") : '')
		{
			if ($line =~ /^@(.*?)( with a timeout)?$/) { $done{$1}++; $done{'(with a timeout)'}++ if $2; }
			elsif ($line =~ /^\+(\S+) (.*)/) { $confirmed{$1} = $2 }
			elsif ($line =~ /VIOLATION/) { push @violations, $line }
		}
		# an error, and what follows it until the next
		foreach my $error (split /^(?=.*(?:ERROR|FATAL|PANIC):  )/m, -e "$file.err" ? slurp_file("$file.err") : '')
		{
			next unless $error =~ /(?:ERROR|FATAL|PANIC):  (\w{5}): (.*)/;
			my ($state, $message) = ($1, $2);
			$answers{$state}++;
			# A batch that has a key twice updates its own version of the row,
			# for which PostgreSQL asks the master again; if that is being
			# deleted meanwhile, and waits for the row, one of them has to go.
			next if $state eq '40P01' && $error =~ /"SELECT 1 FROM ONLY|"DELETE FROM ONLY/;
			push @surprises, "$state $message" if $state !~ $fine;
		}
		push @ledger, map { [ split / / ] } split /\n/, slurp_file("$file.sent");
	}
	return;
}

# The processes of a server, which takes no more connections from now on.
sub children
{
	my ($postmaster) = @_;
	kill 'STOP', $postmaster;
	sleep 0.1;
	my @children;
	foreach my $stat (glob('/proc/[0-9]*/stat'))
	{
		# others come and go meanwhile
		open my $file, '<', $stat or next;
		push @children, $stat =~ /(\d+)/ if (<$file> // '') =~ /\) \S+ $postmaster /;
	}
	return @children;
}

sub query { return $node->safe_psql('postgres', $_[0]) }

# What has to hold of the database, whatever happened before.
sub check_invariants
{
	my ($when) = @_;
	is(query("SELECT count(*) FROM marketing.company_sidecar s WHERE NOT EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = s.company_unique_id)"),
		0, "$when: no orphan");
	is(query("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
		SELECT company_unique_id FROM marketing.company_sidecar GROUP BY 1 HAVING count(*) > 1"), '', "$when: one row per key");
	is(query("SELECT count(*) FROM storm.happened WHERE late"), 0, "$when: updated_at is that of the last change");
	is(query("SELECT total, enriched, enrichment_coverage_pct FROM sidecar_coverage() WHERE entity = 'company'"), query($long_query),
		"$when: coverage is what the long query says");
	is(query("SELECT id FROM storm.told WHERE kind = 'batch' GROUP BY id HAVING count(*) <> split_part(id, '-', -1)::int LIMIT 3"),
		'', "$when: every record of a batch has an answer");
	# many transactions: a nested loop over them would take hours
	is(query("SET enable_nestloop = off;
		WITH told AS (SELECT txid, count(*) FILTER (WHERE outcome = 'inserted') AS inserted, count(*) FILTER (WHERE outcome = 'updated') AS updated,
				count(*) FILTER (WHERE outcome = 'rejected' AND kind = 'batch') AS rejected, count(*) FILTER (WHERE outcome <> 'rejected' AND kind = 'retry') AS retried
			FROM storm.told WHERE kind <> 'copy' GROUP BY txid),
		happened AS (SELECT txid, count(*) FILTER (WHERE relation = 'company_sidecar' AND operation = 'INSERT') AS inserted,
				count(*) FILTER (WHERE relation = 'company_sidecar' AND operation = 'UPDATE') AS updated,
				count(*) FILTER (WHERE relation = 'sidecar_rejects' AND operation = 'INSERT') AS rejected,
				count(*) FILTER (WHERE relation = 'sidecar_rejects' AND operation = 'DELETE') AS retried
			FROM storm.happened GROUP BY txid)
		SELECT t, h FROM told t LEFT JOIN happened h USING (txid)
		WHERE CASE WHEN t.retried > 0 THEN -- parked records of one key and time are one change, told of each
				COALESCE(h.inserted, 0) > t.inserted OR COALESCE(h.updated, 0) > t.updated
				OR (t.inserted + t.updated > 0) <> (COALESCE(h.inserted, 0) + COALESCE(h.updated, 0) > 0)
			ELSE (t.inserted, t.updated) IS DISTINCT FROM (COALESCE(h.inserted, 0), COALESCE(h.updated, 0)) END
		OR t.retried IS DISTINCT FROM COALESCE(h.retried, 0)
		OR t.rejected < COALESCE(h.rejected, 0) LIMIT 3"), # the same again is parked already
		'', "$when: what was told is what happened, record by record");
	is(query("WITH told AS (SELECT DISTINCT record, on_conflict FROM storm.told WHERE kind = 'batch' AND outcome = 'rejected'),
		parked AS (SELECT DISTINCT record, on_conflict FROM storm.happened WHERE relation = 'sidecar_rejects' AND operation = 'INSERT')
		SELECT * FROM ((TABLE told EXCEPT TABLE parked) UNION ALL (TABLE parked EXCEPT TABLE told)) x LIMIT 3"),
		'', "$when: what was rejected was parked, and nothing else");
	is(query("SELECT count(*) FROM marketing.sidecar_rejects") + 0,
		query("SELECT count(*) FILTER (WHERE operation = 'INSERT') - count(*) FILTER (WHERE operation = 'DELETE')
			FROM storm.happened WHERE relation = 'sidecar_rejects'") + 0, "$when: every parked record is there");
	my $gin = query("SELECT count(*) FROM pg_proc WHERE proname = 'gin_index_check'") ? "SELECT gin_index_check(indexrelid) FROM pg_index
		JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE indrelid = 'marketing.company_sidecar'::regclass AND amname = 'gin';" : '';
	is($node->psql('postgres', "SELECT bt_index_parent_check(indexrelid, true, true) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
			JOIN pg_am a ON a.oid = relam JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'marketing' AND amname = 'btree';
		SELECT 1 / (count(*) = 0)::int FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, verify_heapam(c.oid) WHERE nspname = 'marketing' AND relkind = 'r'; $gin",
		on_error_stop => 1), 0, "$when: tables and indexes are sound");
	my %told = map { $_ => 1 } split /\n/, query("SELECT DISTINCT regexp_replace(id, CASE WHEN kind = 'batch' THEN '-[0-9]+\$' ELSE 'never' END, '') FROM storm.told");
	my @lost = grep { $confirmed{$_} =~ /^(single|batch|copy|ledger)/ && !$told{$_} } keys %confirmed;
	is("@lost[0 .. (@lost > 3 ? 2 : $#lost)]", '', "$when: nothing that was confirmed is lost");
	return;
}

# The storm
my ($pids, $files) = start_sessions('calm', $seconds);
$node->safe_psql('postgres', "SELECT setseed(${\($seed / 1000000)}); CALL storm.disturb($seconds)");
waitpid $_, 0 foreach @$pids;
read_files(@$files);
check_invariants('storm');
my %faults = map { split /\|/ } split /\n/, query("SELECT fault, count(*) FROM storm.faults GROUP BY fault");

# Crashes
my @crash_kinds = ('kill -9 of a backend', 'kill -9 of the postmaster', 'immediate shutdown');
foreach my $crash (1 .. $crashes)
{
	my $kind = $crash_kinds[ $crash % @crash_kinds ];
	($pids, $files) = start_sessions("crash$crash", 3);
	sleep 0.8 + rand;
	if ($kind =~ /backend/)
	{
		foreach (1 .. 2)
		{
			my ($rc, $victim) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'storm' AND state = 'active' ORDER BY random() LIMIT 1");
			$faults{$kind}++ if $victim && kill 9, $victim;
			sleep 0.5;
			$node->poll_query_until('postgres', 'SELECT true');
		}
	}
	else
	{
		my @children = children($node->{_pid});
		if ($kind =~ /kill/) { $node->kill9 }
		else { kill 'CONT', $node->{_pid}; $node->stop('immediate') }
		$faults{$kind}++;
		# they hold the shared memory until they notice
		while (grep { kill 0, $_ } @children) { sleep 0.1 }
		$node->start;
	}
	waitpid $_, 0 foreach @$pids;
	$node->poll_query_until('postgres', 'SELECT true');
	read_files(@$files);
	check_invariants("crash $crash, $kind");
}

# What the client has in its books, sent again, ends in the rows of the books.
my %last;
foreach (@ledger) { $last{ $_->[0] } = $_ if !$last{ $_->[0] } || $_->[1] > $last{ $_->[0] }[1] }
my $again = join '', map { "SELECT sidecar_upsert_company('$_->[0]', enrichment_payload => '{\"id\": \"$_->[2]\"}',
	last_enriched_at => to_timestamp($_->[1]), on_conflict => 'newest');\n" } @ledger;
my $rows = "SELECT company_unique_id, enrichment_payload->>'id' FROM marketing.company_sidecar WHERE company_unique_id LIKE 'ledger%' ORDER BY 1";
my $book = join "\n", map { "$_|$last{$_}[2]" } sort keys %last;
query($again);
is(query($rows), $book, 'the ledger, sent again, ends in its own rows');
unlike(query($again), qr/inserted|updated/, 'and once more: nothing is written');

# The copies
my $copy = q(SELECT count(*), md5(string_agg(s::text, chr(10) ORDER BY company_unique_id)) FROM marketing.company_sidecar s);
$node->wait_for_catchup('standby');
is($standby->safe_psql('postgres', $copy), query($copy), 'the standby has the same rows');
is($standby->safe_psql('postgres', 'SELECT * FROM sidecar_coverage()'), query('SELECT * FROM sidecar_coverage()'), 'and reports the same');
$node->wait_for_catchup('enrichment');
is($subscriber->safe_psql('postgres', $copy), query($copy), 'the subscriber has the same rows');

is("@violations", '', 'no violation seen while it blew');
my %surprises = map { $_ => 1 } @surprises;
is(join("\n", sort keys %surprises), '', 'no answer that a client could not expect, deadlocks between our statements among them');
foreach my $kind (keys %operations)
{
	next if $kind eq 'install';
	cmp_ok($done{$kind} // 0, '>', 0, "$kind: done");
}
cmp_ok($faults{cancelled} + $faults{terminated}, '>', 5, 'faults were injected');
note("operations: " . join(', ', map { "$_ $done{$_}" } sort keys %done));
note("confirmed: " . (keys %confirmed) . "; answers to records: " . query('SELECT count(*) FROM storm.told'));
note("faults: " . join(', ', map { "$_ $faults{$_}" } sort keys %faults));
note("errors: " . join(', ', map { "$_ $answers{$_}" } sort keys %answers));

done_testing();

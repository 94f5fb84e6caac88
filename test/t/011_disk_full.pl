# A full disk: clean errors, nothing half-stored, nothing lost, and the work
# goes on when there is room.  The tables are on a small tmpfs, which an
# ordinary user may mount where user namespaces are allowed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $disk = PostgreSQL::Test::Utils::tempdir();
my @inside = ('unshare', '--user', '--map-current-user', '--keep-caps', '--mount', 'sh', '-c');
plan skip_all => 'no user namespaces here' if system(@inside, "mount -t tmpfs -o size=1m none $disk 2>/dev/null") != 0;

my $node = new_node('main');
$node->stop;
system(@inside, "mount -t tmpfs -o size=18m none $disk && exec pg_ctl -w -D " . $node->data_dir . ' -l ' . $node->logfile . ' start') == 0
	or BAIL_OUT('the server did not start on a small disk');
$node->_update_pid(1);

$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk'");
$node->safe_psql('postgres', q(
	SET client_min_messages = warning;
	CREATE EXTENSION sidecar;
	SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 20000) i;
	CREATE TABLE filler TABLESPACE small AS SELECT repeat('x', 1000) FROM generate_series(1, 4000);
	ALTER TABLE marketing.company_sidecar SET TABLESPACE small;
	ALTER TABLE marketing.sidecar_rejects SET TABLESPACE small;));
my $state = q(SELECT count(*), md5(string_agg(s::text, chr(10) ORDER BY company_unique_id)) FROM marketing.company_sidecar s);

# batch FIRST: a thousand records of about 1 KB and one that is bad, as a query
sub batch
{
	my ($first) = @_;
	return "sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', CASE WHEN i = $first THEN 'bad' ELSE 'c' || i END,
		'enrichment_payload', (SELECT string_agg(md5(i::text || n), '') FROM generate_series(1, 32) n), 'last_enriched_at', '2026-01-01'))
		FROM generate_series($first, $first + 1000) i))";
}
my ($stored, $failed, $before) = (0, undef);
for (my $first = 1; $first < 19000 && !defined $failed; $first += 1001)
{
	$before = $node->safe_psql('postgres', $state);
	my ($rc, $stdout, $stderr) = $node->psql('postgres', 'SELECT outcome, count(*) FROM ' . batch($first) . ' GROUP BY outcome ORDER BY outcome', extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	if ($rc == 0)
	{
		$stored += 1000;
		is($stdout, "inserted|1000\nrejected|1", "batch of $first");
		next;
	}
	$failed = $first;
	like($stderr, qr/ERROR:  53100/, 'the disk is full: a clean error');
}
ok(defined $failed, 'the disk was filled');
is($node->safe_psql('postgres', $state), $before, 'nothing of the batch that failed is stored, nothing else is lost');
is($node->safe_psql('postgres', 'SELECT count(*) FROM marketing.company_sidecar'), $stored, 'every record that was confirmed is there');
is($node->safe_psql('postgres', 'SELECT count(*) FROM marketing.sidecar_rejects'), $stored / 1000, 'and every parked one');

# the other ways in
foreach my $sql ("INSERT INTO sidecar_company_inbox (company_unique_id, enrichment_payload) SELECT 'c' || i, (SELECT to_jsonb(string_agg(md5(i::text || n), '')) FROM generate_series(1, 32) n) FROM generate_series(15000, 19999) i",
	"SELECT count(sidecar_upsert_company('c' || i, enrichment_payload => (SELECT to_jsonb(string_agg(md5(i::text || n), '')) FROM generate_series(1, 32) n))) FROM generate_series(15000, 19999) i")
{
	my ($rc, $stdout, $stderr) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	like($stderr, qr/ERROR:  53100/, substr($sql, 0, 40) . ' ...: the same');
}
is($node->safe_psql('postgres', $state), $before, 'and the same rows');
is($node->safe_psql('postgres', 'SELECT enriched FROM sidecar_coverage()'), "$stored\n0", 'reports work meanwhile');

# room again
$node->safe_psql('postgres', 'DROP TABLE filler');
$node->safe_psql('postgres', 'CHECKPOINT');
is($node->safe_psql('postgres', 'SELECT outcome, count(*) FROM ' . batch($failed) . ' GROUP BY outcome ORDER BY outcome'),
	"inserted|1000\nrejected|1", 'the batch that failed is stored when there is room');

done_testing();

# Two databases with the extension behind PL/Proxy: doc/plproxy.sql
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $node = new_node('plproxy');
plan skip_all => 'PL/Proxy is not installed'
	unless $node->safe_psql('postgres', q(SELECT count(*) FROM pg_available_extensions WHERE name = 'plproxy'));
my $doc = "$FindBin::Bin/../../doc";
my @shards = ('shard_0', 'shard_1');
for my $shard (@shards)
{
	$node->safe_psql('postgres', "CREATE DATABASE $shard");
	$node->safe_psql($shard, q(SET client_min_messages = warning; CREATE EXTENSION sidecar; SELECT FROM sidecar_create_masters();));
	$node->safe_psql($shard, slurp_file("$doc/plproxy_shard.sql"));
}
$node->safe_psql('postgres', 'CREATE DATABASE proxy');
my $shard_of = sub { my ($db) = @_; sprintf 'host=%s port=%s dbname=%s', $node->host, $node->port, $db };
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-v', 'shard_0=' . $shard_of->('shard_0'), '-v', 'shard_1=' . $shard_of->('shard_1'),
		'-h', $node->host, '-p', $node->port, '-f', "$doc/plproxy.sql", 'proxy' ], 'the functions of the proxy');

# each master is where its key belongs
for my $i (0, 1)
{
	$node->safe_psql("shard_$i", qq(INSERT INTO marketing.company_master SELECT k, k FROM generate_series(1, 1000) i, format('c%s', i) k WHERE hashtext(k) & 1 = $i));
}
is($node->safe_psql('proxy', q(SELECT outcome, count(*) FROM (SELECT sidecar_upsert_company('c' || i, i::text, clay_tags => ARRAY['t'], last_enriched_at => '2026-01-01', on_conflict => 'newest') AS outcome
		FROM generate_series(1, 300) i) u GROUP BY 1)), 'inserted|300', 'upserts go to the shard of their key');
is($node->safe_psql('proxy', q(SELECT outcome, count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c' || i, 'ein_number', i, 'last_enriched_at', '2026-01-01'))
		FROM generate_series(201, 1010) i), 'newest') GROUP BY 1 ORDER BY 1)), "inserted|700\nrejected|10\nunchanged|100", 'batches are split');
is($node->safe_psql('proxy', 'SELECT * FROM sidecar_coverage()'), "company|1000|1000|100.00\npeople|0|0|", 'coverage over all shards');
my @counts = map { $node->safe_psql($_, q(SELECT count(*), (SELECT count(*) > 0 FROM marketing.sidecar_rejects), bool_and(ein_number = substr(company_unique_id, 2)) FROM marketing.company_sidecar)) } @shards;
like($_, qr/^[1-9]\d\d\|t\|t$/, 'a shard has its share') for @counts;

# what the page says of transactions
$node->safe_psql('proxy', q(BEGIN; SELECT sidecar_upsert_company('c1', 'kept', last_enriched_at => '2026-02-01'); ROLLBACK;));
is(join('', map { $node->safe_psql($_, q(SELECT ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'c1')) } @shards),
	'kept', 'a rolled-back transaction keeps its upserts');
my ($ret, $stdout, $stderr) = $node->psql('proxy', q(SELECT sidecar_upsert_company('nobody')));
like($stderr, qr/violates foreign key constraint/, 'errors come through');

$node->stop;
done_testing();

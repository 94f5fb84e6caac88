# A physical standby runs every report and refuses to write; logical
# replication carries both tables.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $primary = new_node('primary', allows_streaming => 'logical');
populate($primary, 'enriched', 'with_pkey');
$primary->safe_psql('enriched', 'SELECT sidecar_install()');

# physical
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->safe_psql('enriched', q(SELECT sidecar_upsert_company('c2500', enrichment_source => 'late', last_enriched_at => '2020-01-01', confidence_score => 1)));
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my @reports = (
	'sidecar_coverage()', 'sidecar_summary()', 'sidecar_field_coverage()', 'sidecar_sources()', 'sidecar_status()',
	map { ("sidecar_stale_$_('1 day')", "sidecar_low_confidence_$_()", "sidecar_missing_$_()") } qw(companies people));
for my $report (@reports)
{
	my $query = "SELECT * FROM $report r ORDER BY r::text";
	my $expected = $primary->safe_psql('enriched', $query);
	is($standby->safe_psql('enriched', $query), $expected, "$report on a standby");
}
like($standby->safe_psql('enriched', 'SELECT * FROM sidecar_coverage()'), qr/^company\|3000\|2001\|/, 'the standby is up to date');
is($standby->safe_psql('enriched', 'SELECT entity FROM sidecar_summary(exact => false)'), "company\npeople", 'estimates on a standby');
my ($rc, $stdout, $stderr) = $standby->psql('enriched', q(SELECT sidecar_upsert_company('c1')), on_error_stop => 1);
isnt($rc, 0, 'an upsert on a standby fails');
like($stderr, qr/cannot execute INSERT in a read-only transaction/, 'cleanly');
is($standby->safe_psql('enriched', 'SELECT outcome, count(*) FROM sidecar_install() GROUP BY outcome'), 'present|23', 'sidecar_install() on a standby finds all present');

# promoted, it takes over
$standby->promote;
is($standby->safe_psql('enriched', q(SELECT sidecar_upsert_company('c1', 'after', on_conflict => 'newest'))), 'updated', 'a promoted standby takes upserts');
$standby->stop;

# logical: masters and sidecars; the subscriber has the extension too
my $subscriber = new_node('subscriber');
$subscriber->safe_psql('postgres', 'CREATE DATABASE enriched');
$subscriber->safe_psql('enriched', q(
	CREATE EXTENSION sidecar; SELECT sidecar_create_masters();
	ALTER TABLE marketing.company_sidecar ADD COLUMN note text;));
$primary->safe_psql('enriched', q(ALTER PUBLICATION enrichment ADD TABLE marketing.company_master, marketing.people_master, marketing.sidecar_rejects;
	SELECT sidecar_upsert_companies('[{"company_unique_id": "x1"}, {"company_unique_id": "x2"}]')));
$subscriber->safe_psql('enriched', sprintf q(CREATE SUBSCRIPTION enrichment CONNECTION '%s' PUBLICATION enrichment), $primary->connstr =~ s/'/''/gr . ' dbname=enriched');
$subscriber->wait_for_subscription_sync($primary, 'enrichment', 'enriched');
$primary->safe_psql('enriched', q(
	SELECT sidecar_upsert_company('c1', 'changed', last_enriched_at => '2026-02-02'), sidecar_upsert_person('p1', 'changed');
	INSERT INTO marketing.company_master VALUES ('new', 'New'); SELECT sidecar_upsert_company('new');
	DELETE FROM marketing.company_master WHERE company_unique_id = 'c3';));
$primary->wait_for_catchup('enrichment');
for my $table ('company_sidecar', 'people_sidecar')
{
	my $query = "SELECT t FROM marketing.$table t ORDER BY t::text";
	is($subscriber->safe_psql('enriched', $query), $primary->safe_psql('enriched', $query),
		"$table is replicated to the letter, updated_at included");
}
is($subscriber->safe_psql('enriched', 'SELECT total, enriched FROM sidecar_coverage()'),
	$primary->safe_psql('enriched', 'SELECT total, enriched FROM sidecar_coverage()'), 'the subscriber reports the same');
is($subscriber->safe_psql('enriched', 'SELECT orphan_rows FROM sidecar_status()'), "0\n0", 'and has no orphans');

# The subscriber takes over: what was parked is there, and what is parked now
# collides with nothing.
$primary->safe_psql('enriched', q(SELECT sidecar_upsert_companies('[{"company_unique_id": "x2"}, {"company_unique_id": "x3"}]'); SELECT count(*) FROM sidecar_retry_rejects()));
$primary->wait_for_catchup('enrichment');
$subscriber->safe_psql('enriched', 'DROP SUBSCRIPTION enrichment');
my $parked = 'SELECT t FROM marketing.sidecar_rejects t ORDER BY t::text';
is($subscriber->safe_psql('enriched', $parked), $primary->safe_psql('enriched', $parked), 'parked records are replicated, hashes and attempts included');
is($subscriber->safe_psql('enriched', q(SELECT unique_id, outcome FROM sidecar_upsert_companies('[{"company_unique_id": "x3"}, {"company_unique_id": "x4"}, {"company_unique_id": "c5"}]'))),
	"x3|rejected\nx4|rejected\nc5|updated", 'after a cut-over records are parked');
is($subscriber->safe_psql('enriched', q(SELECT unique_id FROM marketing.sidecar_rejects ORDER BY 1)), "early\nx1\nx2\nx3\nx4", 'once each');
is($subscriber->safe_psql('enriched', q(INSERT INTO marketing.company_master VALUES ('x1', 'X'), ('x4', 'X'); SELECT outcome, count(*) FROM sidecar_retry_rejects() GROUP BY 1 ORDER BY 1)),
	"inserted|2\nrejected|3", 'and tried again');

$subscriber->stop;
$primary->stop;
done_testing();

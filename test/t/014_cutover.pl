# A cut-over by logical replication: the subscriber becomes the writer; nothing
# that is parked is forgotten, retries go on where they were. Then the schema
# and each table in turn are moved in ways that a migration would.
#
# 002_replication.pl has the plain cut-over: parked records are replicated, and
# what is parked afterwards collides with nothing. Here: retries before, across
# and after it, all ways in on the new writer, a subscription that goes on while
# tables move, masters under other names, sessions that stay open, a way back.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $publisher = new_node('publisher', allows_streaming => 'logical');
my $subscriber = new_node('subscriber', allows_streaming => 'logical');
for my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', 'CREATE DATABASE crm');
	$node->safe_psql('crm', q(SET client_min_messages = warning; CREATE EXTENSION sidecar; SELECT count(*) FROM sidecar_create_masters();
		ALTER TABLE marketing.people_sidecar ADD COLUMN tier text DEFAULT 'none'; SELECT count(*) FROM sidecar_install();
		CREATE OR REPLACE TRIGGER people_sidecar_updated_at BEFORE UPDATE ON marketing.people_sidecar
			FOR EACH ROW EXECUTE FUNCTION update_people_sidecar_updated_at('America/New_York')));
}
my $tables = 'marketing.company_master, marketing.people_master, marketing.company_sidecar, marketing.people_sidecar, marketing.sidecar_rejects';

# What waits, as both servers must tell it
my $parked = 'SELECT reject_id, entity, unique_id, record, on_conflict, options, attempts, rejected_at, last_tried_at FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no, reject_id';

# before: batches with rejects by every way, some tried already
$publisher->safe_psql('crm', qq(
	CREATE PUBLICATION crm FOR TABLE $tables;
	INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 1500) i;
	INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 20) i;) . q(
	SELECT count(*) FROM sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'c' || i, 'ein_number', i)) FROM generate_series(1, 1510) i));
	SELECT count(*) FROM sidecar_retry_rejects(5);));
$subscriber->safe_psql('crm', sprintf q(CREATE SUBSCRIPTION crm CONNECTION '%s' PUBLICATION crm), $publisher->connstr =~ s/'/''/gr . ' dbname=crm');
$subscriber->wait_for_subscription_sync($publisher, 'crm', 'crm');
$publisher->safe_psql('crm', q(
	SELECT count(*) FROM sidecar_upsert_people('[{"person_unique_id": "p1", "tier": "gold"}, {"person_unique_id": "early", "tier": "gold"}, {"person_unique_id": "p2", "confidence_score": 101}]', 'newest');
	SELECT count(*) FROM sidecar_import_people(E'{"person_unique_id": "p3", "clay_insight_summary": "\\\\ud83d"}\n{"person_unique_id": "p3"}');
	SET client_min_messages = warning;
	INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, on_conflict) VALUES ('c1505', 'again', 'fill'), ('c1', 'stored', NULL);
	SELECT count(*) FROM sidecar_retry_rejects(7);
	INSERT INTO marketing.company_master VALUES ('c1501', 'Promoted');
	SELECT count(*) FROM sidecar_retry_rejects()));
$publisher->wait_for_catchup('crm');
is($subscriber->safe_psql('crm', $parked), $publisher->safe_psql('crm', $parked), 'what is parked is replicated, and so are tries and removals');
is($subscriber->safe_psql('crm', 'SELECT count(*) FROM marketing.sidecar_rejects'), '13', 'all of it');
is($subscriber->safe_psql('crm', 'SELECT time_zone FROM sidecar_entity_bindings() WHERE entity IS NOT NULL ORDER BY entity'), "UTC\nAmerica/New_York", 'the zones are those of its own tables');
is($subscriber->safe_psql('crm', 'SELECT t FROM marketing.people_sidecar t ORDER BY 1'), $publisher->safe_psql('crm', 'SELECT t FROM marketing.people_sidecar t ORDER BY 1'),
	'rows are as they were stored');

# a session of the subscriber that read before it became the writer stays open over all that follows
my $session = $subscriber->background_psql('crm');
is($session->query_safe('SELECT rejected FROM sidecar_summary()'), "10\n3", 'reports on the subscriber');

# the cut-over
$subscriber->safe_psql('crm', 'DROP SUBSCRIPTION crm');
$publisher->safe_psql('crm', 'DROP PUBLICATION crm');
my $before = $subscriber->safe_psql('crm', 'SELECT count(*) FROM marketing.sidecar_rejects');
is($session->query_safe(q(SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_upsert_companies('[{"company_unique_id": "c1502", "ein_number": 1502}, {"company_unique_id": "c2", "ein_number": "new"}, {"company_unique_id": "c1511"}]'))),
	'rejected updated rejected', 'a batch with rejects on the new writer');
is($session->query_safe(q(SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_import_people(E'{"person_unique_id": "p3", "clay_insight_summary": "\\\\ud83d"}\n{"person_unique_id": "p4"}\n{"person_unique_id": "early2"}'))),
	'rejected inserted rejected', 'an import');
$session->query_safe(q(SET client_min_messages = warning; INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, on_conflict) VALUES ('c1505', 'again', 'fill'), ('c1512', 'x', NULL), ('c3', 'inbox', NULL)));
is($session->query_safe('SELECT count(*) FROM marketing.sidecar_rejects') - $before, 3, 'what was parked before is not parked again, what is new is');
is($session->query_safe('SELECT count(DISTINCT reject_id), count(DISTINCT hash) FROM marketing.sidecar_rejects'), ($before + 3) . '|' . ($before + 3), 'each by itself');
is($session->query_safe(q(SELECT max(attempts) > 1, min(attempts) FROM marketing.sidecar_rejects)), 't|1', 'tries are counted on');
$session->query_safe(q(INSERT INTO marketing.company_master SELECT 'c' || i, 'Promoted' FROM generate_series(1502, 1512) i WHERE i <> 1511; INSERT INTO marketing.people_master VALUES ('early', 'Early')));
is($session->query_safe('SELECT outcome, count(*) FROM sidecar_retry_rejects() GROUP BY 1 ORDER BY 1'), "inserted|11\nrejected|4\nskipped|1", 'all that can be stored is')
	or diag($session->query_safe($parked));
is($session->query_safe(q(SELECT tier FROM marketing.people_sidecar WHERE person_unique_id = 'early')), 'gold', 'also what the old writer had parked with a column of the user');

# The schema, and each table in turn, is moved. After each step a batch with a
# reject, by the session that stayed open and by a new one, and a retry.
my $n = 0;

sub goes_on
{
	my ($step, $sql) = @_;
	my $waiting = $session->query_safe('SELECT sum(rejected) FROM sidecar_summary()');
	$subscriber->safe_psql('crm', $sql);
	$n++;
	is($session->query_safe(qq(SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_upsert_companies('[{"company_unique_id": "m$n"}, {"company_unique_id": "c$n", "ein_number": "moved $n"}]'))),
		'rejected updated', "$step: a batch with a reject, in the session that is open");
	is($subscriber->safe_psql('crm', qq(SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_upsert_people('[{"person_unique_id": "m$n"}, {"person_unique_id": "p1", "clay_insight_summary": "moved $n"}]'))),
		'rejected updated', "$step: and in a new one");
	$session->query_safe(qq(INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p2', 'moved $n'), ('m$n', 'inbox')));
	is($session->query_safe('SELECT sum(rejected) FROM sidecar_summary()') - $waiting, 3, "$step: all that waits is seen");
	my ($master, $key) = split /\|/, $session->query_safe(q(SELECT master, master_key FROM sidecar_entity_bindings() WHERE entity = 'company'));
	$session->query_safe(qq(INSERT INTO $master (company_unique_id, company_name) VALUES ('m$n', 'Moved')));
	is($session->query_safe(q(SELECT entity, outcome, count(*) FROM sidecar_retry_rejects() WHERE outcome <> 'rejected' GROUP BY 1, 2)), 'company|inserted|1', "$step: a retry stores what can be stored");
	is($session->query_safe('SELECT sum(rejected) FROM sidecar_summary()') - $waiting, 2, "$step: and keeps the rest");
	is($session->query_safe(q(SELECT count(*) FROM sidecar_install() WHERE outcome <> 'present' AND object <> 'schema marketing')), '0', "$step: there is nothing to make");
	is($session->query_safe(q(SELECT count(*) FROM sidecar_unbound_tables())), '0', "$step: nor to doubt");
	return;
}

goes_on('schema renamed', 'ALTER SCHEMA marketing RENAME TO enrichment');
goes_on('schema renamed again', 'ALTER SCHEMA enrichment RENAME TO "Sales & Co"');
$subscriber->safe_psql('crm', 'CREATE SCHEMA elsewhere');
goes_on("$_ moved", qq(ALTER TABLE "Sales & Co".$_ SET SCHEMA elsewhere)) for qw(company_sidecar people_sidecar sidecar_rejects company_master people_master);
goes_on('old schema dropped', 'DROP SCHEMA "Sales & Co"');
goes_on('tables renamed', 'ALTER TABLE elsewhere.sidecar_rejects RENAME TO waiting; ALTER TABLE elsewhere.company_master RENAME TO companies; ALTER TABLE elsewhere.people_sidecar RENAME TO "Persons"');
is($session->query_safe('SELECT time_zone FROM sidecar_entity_bindings() WHERE entity IS NOT NULL ORDER BY entity'), "UTC\nAmerica/New_York", 'the zone went with its table');
$session->quit;

# a dump of it all comes back with what waits, where it was moved to
my $dump = $subscriber->basedir . '/crm.dump';
$subscriber->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-h', $subscriber->host, '-p', $subscriber->port, 'crm' ], 'dumped');
$publisher->safe_psql('postgres', 'CREATE DATABASE restored');
$publisher->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', '-h', $publisher->host, '-p', $publisher->port, $dump ], 'restored');
my $waiting = 'SELECT reject_id, unique_id, attempts FROM elsewhere.waiting ORDER BY reject_id';
is($publisher->safe_psql('restored', $waiting), $subscriber->safe_psql('crm', $waiting), 'what waits is there');
is($publisher->safe_psql('restored', 'SELECT time_zone FROM sidecar_entity_bindings() WHERE entity IS NOT NULL ORDER BY entity'), "UTC\nAmerica/New_York", 'the zones too');
is($publisher->safe_psql('restored', q(SELECT string_agg(outcome, ' ' ORDER BY record) FROM sidecar_upsert_people('[{"person_unique_id": "m1"}, {"person_unique_id": "p1"}]'))), 'rejected updated', 'a batch with a reject');
is($publisher->safe_psql('restored', $waiting), $subscriber->safe_psql('crm', $waiting), 'which waited already');
is($publisher->safe_psql('restored', q(INSERT INTO elsewhere.people_master (unique_id, full_name) VALUES ('m1', 'Moved'); SELECT outcome, count(*) FROM sidecar_retry_rejects() WHERE unique_id = 'm1' GROUP BY 1 ORDER BY 1)),
	"inserted|1\nupdated|1", 'and is stored when it can be');

$subscriber->stop;
$publisher->stop;
done_testing();

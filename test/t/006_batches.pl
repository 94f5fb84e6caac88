# Batches against a model that applies record by record; deliveries that come
# twice; sessions that send the same keys at once; parked records retried by
# several; COPY's progress.  SIDECAR_SEED repeats a run.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $seed = $ENV{SIDECAR_SEED} // time % 1000000;
note("SIDECAR_SEED=$seed");
my $node = new_node('main');
$node->append_conf('postgresql.conf', "max_connections = 50\ndeadlock_timeout = 100ms\n");
$node->restart;

$node->safe_psql('postgres', q(
	SET client_min_messages = warning;
	CREATE EXTENSION sidecar;
	SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master SELECT 'k' || i, 'Company ' || i FROM generate_series(1, 8) i;
	CREATE TABLE model (LIKE marketing.company_sidecar);

	-- The rules as a person would say them, one record at a time.
	CREATE FUNCTION apply(r jsonb, rule text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		old model;
		given model := jsonb_populate_record(NULL::model, r);
		new model;
		same boolean;
	BEGIN
		IF NOT EXISTS (SELECT FROM marketing.company_master m WHERE m.company_unique_id = r->>'company_unique_id')
			OR (r->>'confidence_score')::numeric > 100 THEN
			RETURN 'rejected';
		END IF;
		SELECT * INTO old FROM model m WHERE m.company_unique_id = r->>'company_unique_id';
		IF NOT FOUND THEN
			given.last_enriched_at := COALESCE(given.last_enriched_at, now());
			INSERT INTO model SELECT given.*;
			RETURN 'inserted';
		END IF;
		same := (given.ein_number IS NULL OR given.ein_number IS NOT DISTINCT FROM old.ein_number)
			AND (given.clay_tags IS NULL OR given.clay_tags IS NOT DISTINCT FROM old.clay_tags)
			AND (given.enrichment_payload IS NULL OR given.enrichment_payload IS NOT DISTINCT FROM old.enrichment_payload)
			AND (given.enrichment_source IS NULL OR given.enrichment_source IS NOT DISTINCT FROM old.enrichment_source)
			AND (given.confidence_score IS NULL OR given.confidence_score IS NOT DISTINCT FROM old.confidence_score)
			AND (given.last_enriched_at IS NULL OR given.last_enriched_at IS NOT DISTINCT FROM old.last_enriched_at);
		given.last_enriched_at := COALESCE(given.last_enriched_at, now());
		IF rule = 'newest' AND given.last_enriched_at < old.last_enriched_at
			OR rule = 'most_confident' AND old.confidence_score IS NOT NULL AND COALESCE(given.confidence_score, -1) < old.confidence_score
			OR rule = 'fill' AND NOT (old.ein_number IS NULL AND given.ein_number IS NOT NULL
				OR old.clay_tags IS NULL AND given.clay_tags IS NOT NULL
				OR old.enrichment_payload IS NULL AND given.enrichment_payload IS NOT NULL
				OR old.enrichment_source IS NULL AND given.enrichment_source IS NOT NULL
				OR old.confidence_score IS NULL AND given.confidence_score IS NOT NULL) THEN
			RETURN CASE WHEN same THEN 'unchanged' ELSE 'skipped' END;
		END IF;
		IF rule = 'fill' THEN
			given.ein_number := COALESCE(old.ein_number, given.ein_number);
			given.clay_tags := COALESCE(old.clay_tags, given.clay_tags);
			given.enrichment_payload := COALESCE(old.enrichment_payload, given.enrichment_payload);
			given.enrichment_source := COALESCE(old.enrichment_source, given.enrichment_source);
			given.confidence_score := COALESCE(old.confidence_score, given.confidence_score);
			given.last_enriched_at := old.last_enriched_at;
		END IF;
		new := old;
		new.ein_number := COALESCE(given.ein_number, old.ein_number);
		new.clay_tags := COALESCE(given.clay_tags, old.clay_tags);
		new.enrichment_payload := COALESCE(given.enrichment_payload, old.enrichment_payload);
		new.enrichment_source := COALESCE(given.enrichment_source, old.enrichment_source);
		new.confidence_score := COALESCE(given.confidence_score, old.confidence_score);
		new.last_enriched_at := given.last_enriched_at;
		IF new IS NOT DISTINCT FROM old THEN
			RETURN 'unchanged';
		END IF;
		DELETE FROM model m WHERE m.company_unique_id = old.company_unique_id;
		INSERT INTO model SELECT new.*;
		RETURN 'updated';
	END $$;

	-- A record over few keys and few values, so that they meet.
	CREATE FUNCTION random_record() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
		SELECT jsonb_strip_nulls(jsonb_build_object(
			'company_unique_id', 'k' || 1 + floor(random() * 9)::int,
			'ein_number', CASE WHEN random() < 0.5 THEN floor(random() * 3)::text END,
			'clay_tags', CASE WHEN random() < 0.4 THEN jsonb_build_array('t' || floor(random() * 2)::int) END,
			'enrichment_payload', CASE WHEN random() < 0.3 THEN jsonb_build_object('v', floor(random() * 2)::int) END,
			'enrichment_source', CASE WHEN random() < 0.5 THEN (ARRAY['clay', 'apify'])[1 + floor(random() * 2)::int] END,
			'confidence_score', CASE WHEN random() < 0.6 THEN (ARRAY[0, 50, 50, 90.5, 101])[1 + floor(random() * 5)::int] END,
			'last_enriched_at', CASE WHEN random() < 0.7 THEN '2026-01-0' || 1 + floor(random() * 4)::int END)) $$;

	-- Sends random batches, each in a transaction of its own.
	CREATE PROCEDURE compare(seed double precision, batches int) LANGUAGE plpgsql AS $$
	DECLARE
		batch jsonb;
		rule text;
		expected text[];
		got text[];
	BEGIN
		PERFORM setseed(seed);
		FOR b IN 1 .. batches LOOP
			IF random() < 0.1 THEN
				DELETE FROM marketing.company_sidecar;
				DELETE FROM model;
			END IF;
			rule := (ARRAY['overwrite', 'newest', 'most_confident', 'fill'])[1 + floor(random() * 4)::int];
			SELECT jsonb_agg(random_record()) INTO batch FROM generate_series(1, 1 + floor(random() * 12)::int);
			SELECT array_agg(apply(r, rule) ORDER BY n) INTO expected FROM jsonb_array_elements(batch) WITH ORDINALITY e(r, n);
			SELECT array_agg(outcome ORDER BY record) INTO got FROM sidecar_upsert_companies(batch, rule);
			IF expected IS DISTINCT FROM got OR EXISTS (
				SELECT FROM model m FULL JOIN marketing.company_sidecar s USING (company_unique_id)
				WHERE (m.ein_number, m.clay_tags, m.enrichment_payload, m.last_enriched_at, m.enrichment_source, m.confidence_score)
					IS DISTINCT FROM (s.ein_number, s.clay_tags, s.enrichment_payload, s.last_enriched_at, s.enrichment_source, s.confidence_score)) THEN
				RAISE EXCEPTION 'batch % under %: % gave %, not %', b, rule, batch, got, expected;
			END IF;
			COMMIT;
		END LOOP;
	END $$;));
my ($rc, $stdout, $stderr) = $node->psql('postgres', "CALL compare(${\($seed / 1000000)}, 3000)");
is($stderr, '', '3000 random batches end as in the model, answers and rows') or diag("SIDECAR_SEED=$seed");

# single records are held to the same model
$node->safe_psql('postgres', q(
	CREATE PROCEDURE compare_single(seed double precision, records int) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
		rule text;
		expected text;
		got text;
	BEGIN
		PERFORM setseed(seed);
		FOR i IN 1 .. records LOOP
			rule := (ARRAY['overwrite', 'newest', 'most_confident', 'fill'])[1 + floor(random() * 4)::int];
			r := random_record();
			expected := apply(r, rule);
			BEGIN
				got := sidecar_upsert_company(r->>'company_unique_id', r->>'ein_number',
					clay_tags => CASE WHEN r ? 'clay_tags' THEN ARRAY(SELECT jsonb_array_elements_text(r->'clay_tags')) END,
					enrichment_payload => r->'enrichment_payload', last_enriched_at => (r->>'last_enriched_at')::timestamptz,
					enrichment_source => r->>'enrichment_source', confidence_score => (r->>'confidence_score')::numeric, on_conflict => rule);
			EXCEPTION WHEN foreign_key_violation OR numeric_value_out_of_range THEN
				got := 'rejected';
			END;
			IF expected <> got THEN
				RAISE EXCEPTION 'record % under %: % gave %, not %', i, rule, r, got, expected;
			END IF;
			COMMIT;
		END LOOP;
	END $$;));
($rc, $stdout, $stderr) = $node->psql('postgres', "CALL compare_single(${\($seed / 1000000)}, 5000)");
is($stderr, '', 'so do 5000 single records') or diag("SIDECAR_SEED=$seed");

# every batch twice, in any order: the same rows
$node->safe_psql('postgres', sprintf q(
	TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;
	INSERT INTO marketing.company_master SELECT 'd' || i, 'Company ' || i FROM generate_series(1, 200) i;
	SELECT setseed(%s);
	CREATE TABLE delivery AS
	SELECT n, jsonb_agg(jsonb_build_object('company_unique_id', 'd' || k, 'ein_number', n, 'clay_tags', jsonb_build_array('n' || n),
		'enrichment_payload', jsonb_build_object('n', n), 'enrichment_source', 'clay', 'confidence_score', n %% 100,
		'last_enriched_at', timestamp '2026-01-01' + n * interval '1 minute')) AS records
	FROM generate_series(1, 200) n, LATERAL (SELECT 1 + floor(random() * 200 + n * 0)::int AS k FROM generate_series(1, 30)) x GROUP BY n;
	SELECT sum(c) FROM delivery, LATERAL (SELECT count(*) AS c FROM sidecar_upsert_companies(records, 'newest')) u;
	CREATE TABLE once AS SELECT company_unique_id, ein_number, clay_tags, enrichment_payload, last_enriched_at, confidence_score FROM marketing.company_sidecar;
	TRUNCATE marketing.company_sidecar;), $seed / 1000000);
my $twice = $node->safe_psql('postgres', q(
	SET plan_cache_mode = auto;
	DO $$
	DECLARE
		d record;
	BEGIN
		FOR d IN SELECT records FROM (TABLE delivery UNION ALL TABLE delivery) x ORDER BY random() LOOP
			PERFORM sidecar_upsert_companies(d.records, 'newest');
		END LOOP;
	END $$;
	SELECT (SELECT count(*) FROM once), (SELECT count(*) FROM (TABLE once EXCEPT
		SELECT company_unique_id, ein_number, clay_tags, enrichment_payload, last_enriched_at, confidence_score FROM marketing.company_sidecar) x),
		(SELECT count(*) FROM marketing.sidecar_rejects)));
like($twice, qr/^\d\d+\|0\|0$/, 'every batch twice, in any order, ends in the same rows');

# sessions that send the same keys at once
sub storm
{
	my ($clients) = @_;
	$node->safe_psql('postgres', q(TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;
		DROP TABLE IF EXISTS sent; CREATE TABLE sent (batch uuid, record jsonb, on_conflict text, outcome text)));
	my $script = $node->basedir . '/storm.sql';
	unlink $script;
	append_to_file($script, q(
		INSERT INTO sent SELECT batch, records->(record::int - 1), rule, outcome
		FROM (SELECT gen_random_uuid(), (ARRAY['overwrite', 'newest', 'most_confident', 'fill'])[1 + floor(random() * 4)::int],
			jsonb_agg(jsonb_build_object('company_unique_id', 'd' || 1 + floor(random() * 205)::int,
				'ein_number', floor(random() * 3)::text, 'last_enriched_at', '2026-01-0' || 1 + floor(random() * 3)::int)) FROM generate_series(1, 60)) b (batch, rule, records),
			sidecar_upsert_companies(records, rule);));
	my $offset = -s $node->logfile;
	$node->command_ok([ 'pgbench', '-n', '-c', $clients, '-j', '2', '-t', 600 / $clients, "--random-seed=$seed", '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
		"$clients sessions send overlapping batches");
	unlike(slurp_file($node->logfile, $offset), qr/deadlock|ERROR/, 'no deadlock');
	is($node->safe_psql('postgres', q(SELECT count(DISTINCT batch), count(*), bool_and(outcome ~ '^(inserted|updated|unchanged|skipped|rejected)$'),
			count(*) FILTER (WHERE outcome = 'inserted') = (SELECT count(*) FROM marketing.company_sidecar), bool_or(outcome = 'rejected') FROM sent)),
		'600|36000|t|t|t', 'every record has an outcome');
	is($node->safe_psql('postgres', q(WITH rejected AS (SELECT DISTINCT record, on_conflict FROM sent WHERE outcome = 'rejected'),
			parked AS (SELECT record, on_conflict FROM marketing.sidecar_rejects)
			SELECT (SELECT count(*) FROM rejected) = (SELECT count(*) FROM parked), count(*) FROM (TABLE rejected EXCEPT TABLE parked) x)),
		't|0', 'each that was rejected is parked once');
	return;
}
storm(2);
storm(8);

# and such as insert into an inbox, in any order
$node->safe_psql('postgres', q(TRUNCATE marketing.company_sidecar));
my ($inbox, $batch) = map { $node->basedir . "/$_.sql" } qw(inbox batch);
append_to_file($inbox, q(INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) SELECT 'd' || i, left(random()::text, 9) FROM generate_series(1, 200) i ORDER BY random();));
append_to_file($batch, q(SELECT sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'd' || i, 'ein_number', left(random()::text, 9)) ORDER BY random()) FROM generate_series(1, 200) i));));
my $log_end = -s $node->logfile;
$node->command_ok([ 'pgbench', '-n', '-c', 6, '-j', '2', '-t', 60, '-f', $inbox, '-f', $batch, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'six sessions insert into an inbox and send batches');
unlike(slurp_file($node->logfile, $log_end), qr/deadlock|ERROR/, 'no deadlock');

# an inbox stores what a batch does
$node->safe_psql('postgres', q(TRUNCATE marketing.company_sidecar;
	DO $$
	DECLARE
		d record;
	BEGIN
		FOR d IN SELECT records FROM delivery ORDER BY n LOOP
			PERFORM sidecar_upsert_companies(d.records);
		END LOOP;
	END $$;
	CREATE TABLE by_batch AS SELECT company_unique_id, ein_number, clay_tags, enrichment_payload, last_enriched_at, enrichment_source, confidence_score FROM marketing.company_sidecar;
	TRUNCATE marketing.company_sidecar;
	INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, clay_tags, enrichment_payload, last_enriched_at, enrichment_source, confidence_score)
	SELECT r.* FROM (TABLE delivery ORDER BY n) d, jsonb_to_recordset(records) r (company_unique_id text, ein_number text, clay_tags text[], enrichment_payload jsonb,
		last_enriched_at timestamptz, enrichment_source text, confidence_score numeric);));
like($node->safe_psql('postgres', q(SELECT (SELECT count(*) FROM by_batch), (SELECT count(*) FROM (TABLE by_batch EXCEPT
		SELECT company_unique_id, ein_number, clay_tags, enrichment_payload, last_enriched_at, enrichment_source, confidence_score FROM marketing.company_sidecar) x))),
	qr/^\d\d+\|0$/, 'an inbox ends in the rows of batches, its rows in one statement');

# parked records, retried by four sessions at once until there are none
$node->safe_psql('postgres', q(TRUNCATE marketing.company_sidecar, marketing.sidecar_rejects;
	SELECT sidecar_upsert_companies((SELECT jsonb_agg(jsonb_build_object('company_unique_id', 'e' || i % 500, 'ein_number', i, 'last_enriched_at', timestamp '2026-01-01' + i * interval '1 second')) FROM generate_series(1, 2000) i));
	INSERT INTO marketing.company_master SELECT 'e' || i, 'Company ' || i FROM generate_series(0, 499) i;
	CREATE TABLE retried (outcome text)));
my $retry = $node->basedir . '/retry.sql';
append_to_file($retry, q(INSERT INTO retried SELECT outcome FROM sidecar_retry_rejects(100);));
my $offset = -s $node->logfile;
$node->command_ok([ 'pgbench', '-n', '-c', '4', '-j', '2', '-t', '30', '-f', $retry, '-h', $node->host, '-p', $node->port, 'postgres' ], 'four sessions retry');
unlike(slurp_file($node->logfile, $offset), qr/deadlock|ERROR/, 'no deadlock');
is($node->safe_psql('postgres', q(SELECT (SELECT count(*) FROM marketing.sidecar_rejects), (SELECT count(*) FROM retried),
		(SELECT count(*) FROM retried WHERE outcome = 'rejected'), (SELECT count(*) FROM marketing.company_sidecar WHERE ein_number::int > 1500))),
	'0|2000|0|500', 'every parked record is stored once, in its order');

# COPY into an inbox shows how far it is
$node->safe_psql('postgres', q(INSERT INTO marketing.company_master SELECT 'f' || i, 'Company ' || i FROM generate_series(1, 20000) i));
my ($out, $err) = ('', '');
my $copy = IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-c',
		q(COPY sidecar_company_inbox (company_unique_id) FROM PROGRAM 'seq -f f%.0f 1 20000; sleep 2'), 'postgres' ], '>', \$out, '2>', \$err);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_progress_copy WHERE relid = 'sidecar_company_inbox'::regclass AND tuples_processed > 1000)),
	'pg_stat_progress_copy shows its progress');
$copy->finish;
is($node->safe_psql('postgres', q(SELECT count(*) FROM marketing.company_sidecar WHERE company_unique_id ~ '^f')), '20000', 'and all is stored');

$node->stop;
done_testing();

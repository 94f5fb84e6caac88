# Every function with arguments that nobody means, and random text through the
# entry points for records: clean errors, and never one of class XX or a crash.
# SIDECAR_SEED repeats a run; SIDECAR_ROUNDS is how many random calls there are.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $seed = $ENV{SIDECAR_SEED} // time % 1000000;
my $rounds = $ENV{SIDECAR_ROUNDS} // 10000;
note("SIDECAR_SEED=$seed SIDECAR_ROUNDS=$rounds");
# whatever the locale
my $node = new_node('main', extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->safe_psql('postgres', q(
	SET client_min_messages = warning;
	CREATE EXTENSION sidecar;
	SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 5) i;
	INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 5) i;
	CREATE TABLE calls (call text, state text, message text);
	CREATE FUNCTION state_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		state text;
		message text;
	BEGIN
		BEGIN
			EXECUTE sql;
			RAISE SQLSTATE 'UNDO0';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
		END;
		INSERT INTO calls VALUES (left(sql, 200), replace(state, 'UNDO0', '00000'), left(message, 200));
		RETURN state;
	END $$;
	-- SQL expressions for values of a type
	CREATE FUNCTION values_of(type regtype) RETURNS text[] LANGUAGE sql AS $$
		SELECT ARRAY['NULL'] || CASE type
			WHEN 'text'::regtype THEN ARRAY['%L', 'repeat(%L, 1000000)', 'chr(1)', 'repeat(chr(128512), 60)', quote_literal('c1'), quote_literal($q$'; DROP TABLE x; --$q$), quote_literal('company')]
			WHEN 'text[]'::regtype THEN ARRAY['''{}''', '''{NULL}''', '''{{a,b},{c,d}}''', '''[5:6]={a,b}''', 'ARRAY(SELECT i::text FROM generate_series(1, 100000) i)']
			WHEN 'jsonb'::regtype THEN ARRAY['''null''', '''[]''', '''{}''', '''""''', '''[[]]''', '''[null]''', '''1e1000''', '''[{"company_unique_id": null}]''',
				'''{"company_unique_id": {"a": 1}, "person_unique_id": []}''', '''{"company_unique_id": "c1", "clay_tags": "no array", "last_enriched_at": "yesterday?"}''',
				'''{"company_unique_id": "c1", "clay_tags": [["a"], ["b", "c"]], "confidence_score": "NaN"}''',
				'(repeat(''['', 3000) || repeat('']'', 3000))::jsonb', '(repeat(''{"a":'', 3000) || ''1'' || repeat(''}'', 3000))::jsonb',
				'jsonb_build_object(''company_unique_id'', ''c1'', ''enrichment_payload'', (repeat(''['', 3000) || repeat('']'', 3000))::jsonb)',
				'(SELECT jsonb_agg(jsonb_build_object(''company_unique_id'', ''c'' || i)) FROM generate_series(1, 100000) i)']
			WHEN 'numeric'::regtype THEN ARRAY['''NaN''', '''Infinity''', '''-Infinity''', '-0.001', '100.004', '100.005', '1e1000', '1e-1000', '0']
			WHEN 'timestamptz'::regtype THEN ARRAY['''infinity''', '''-infinity''', '''4713-01-01 BC''', '''294276-12-31''']
			WHEN 'timestamp'::regtype THEN ARRAY['''infinity''', '''-infinity''', '''4713-01-01 BC''', '''294276-12-31''']
			WHEN 'interval'::regtype THEN ARRAY['''0''', '''178000000 years''', '''-178000000 years''', '''-1 day''']
			WHEN 'bigint'::regtype THEN ARRAY['0', '-1', '9223372036854775807', '-9223372036854775808']
			WHEN 'integer'::regtype THEN ARRAY['0', '-1', '2147483647', '-2147483648']
			WHEN 'boolean'::regtype THEN ARRAY['true', 'false']
			WHEN 'regclass'::regtype THEN ARRAY['''pg_class''', '''marketing.company_master''', '0']
			ELSE ARRAY[]::text[] END $$;));

# one argument at a time is strange, the others are left to their defaults, or
# are of the plainest kind
$node->safe_psql('postgres', q(
	DO $$
	DECLARE
		f record;
		value text;
		first text;
	BEGIN
		FOR f IN SELECT p.oid::regproc AS name, p.pronargs, p.pronargdefaults, n, p.proargtypes[n - 1]::regtype AS type, p.proargnames[n] AS arg,
				p.proargtypes[0]::regtype AS first_type
			FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'sidecar', generate_series(1, pronargs) n
			WHERE prorettype <> 'trigger'::regtype
		LOOP
			first := CASE WHEN f.pronargs > f.pronargdefaults AND f.n > 1 THEN
				CASE f.first_type WHEN 'text'::regtype THEN CASE WHEN f.name::text ~ 'person' THEN '''p1'', ' ELSE '''c1'', ' END
					WHEN 'jsonb'::regtype THEN '''[{"company_unique_id": "c1"}]'', ' END END;
			FOREACH value IN ARRAY values_of(f.type) LOOP
				PERFORM state_of(format('SELECT count(*) FROM %s(%s%I => %s)', f.name, first, f.arg, format(value, 'x')));
			END LOOP;
		END LOOP;
		-- triggers as functions, and on tables that they are not for
		PERFORM state_of('SELECT ' || p.oid::regprocedure) FROM pg_proc p WHERE prorettype = 'trigger'::regtype AND proname ~ 'sidecar';
	END $$));
my $summary = q(SELECT state, count(*) FROM calls GROUP BY state ORDER BY state);
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM calls'), '>', 150, 'every function was called with every strange value');
my $bad = q(SELECT call, state, message FROM calls WHERE state !~ '^(00|22|23|42|54|55|0A|39P01)' LIMIT 5);
is($node->safe_psql('postgres', $bad), '', 'strange arguments: errors of the expected classes only');
note($node->safe_psql('postgres', $summary));

# a payload of 200 MB, and a record of 200 MB
foreach my $call (q(sidecar_upsert_company('c1', enrichment_payload => to_jsonb(repeat('x', 200000000)))),
	q(sidecar_upsert_companies(jsonb_build_object('company_unique_id', 'c1', 'enrichment_payload', repeat('x', 200000000)))),
	q(sidecar_upsert_company(repeat('x', 200000000))),
	q(sidecar_upsert_company('c1', on_conflict => repeat('x', 200000000))))
{
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "SET client_min_messages = error; SELECT octet_length(x::text) < 1000 FROM (SELECT $call AS x) q", extra_params => ['-v', 'VERBOSITY=sqlstate']);
	ok($rc == 0 || $stderr =~ /ERROR:  (22|54|23)/, substr($call, 0, 40) . ' ... of 200 MB: stored, or refused') or diag(substr($stderr, 0, 300));
}

# bytes that are no text: the server refuses them where it knows the encoding;
# where it does not, they are bytes
sub raw
{
	my ($db, $sql) = @_;
	my ($rc, $stdout, $stderr) = $node->psql($db, $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	return $stderr =~ /ERROR:  (\w{5})/ ? $1 : $stdout;
}
my @raw = ("SELECT sidecar_upsert_company('c1', ein_number => '\xff\xfe')", "SELECT sidecar_upsert_company('c1', ein_number => repeat('\xff', 21))",
	"SELECT outcome FROM sidecar_upsert_companies('{\"company_unique_id\": \"c1\", \"enrichment_source\": \"\xc3\"}')",
	"SELECT sidecar_upsert_company('c\xe2\x82')");
is(join(' ', map { raw('postgres', $_) } @raw), '22021 22021 22021 22021', 'invalid UTF-8');
$node->safe_psql('postgres', q(CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'));
$node->safe_psql('ascii', q(SET client_min_messages = warning; CREATE EXTENSION sidecar; SELECT sidecar_create_masters();
	INSERT INTO marketing.company_master VALUES ('c1', 'One')));
is(join(' ', map { raw('ascii', $_) } @raw), 'inserted 22001 updated 23503', 'and as bytes in SQL_ASCII');

# random text as JSON and as arguments
$node->safe_psql('postgres', q(
	CREATE FUNCTION random_text(model text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		at int;
	BEGIN
		FOR i IN 1 .. 1 + floor(random() * 4) LOOP
			at := 1 + floor(random() * length(model));
			CASE floor(random() * 4)
				WHEN 0 THEN model := overlay(model PLACING chr(1 + floor(random() * 300)::int) FROM at FOR 1);
				WHEN 1 THEN model := overlay(model PLACING '' FROM at FOR 1 + floor(random() * 5)::int);
				WHEN 2 THEN model := overlay(model PLACING substr(model, 1 + floor(random() * length(model))::int, 12) FROM at FOR 0);
				ELSE model := overlay(model PLACING (ARRAY['null', '""', '[]', '{}', '1e400', '\u0001', '-', '"NaN"', '"infinity"', 'true', '99999999999999999999'])[1 + floor(random() * 11)::int] FROM at FOR 3);
			END CASE;
		END LOOP;
		RETURN model;
	END $$;
	CREATE PROCEDURE fuzz(rounds int) LANGUAGE plpgsql AS $$
	DECLARE
		models text[] := ARRAY['companies', '[{"company_unique_id": "c1", "ein_number": "12-3456789", "clay_tags": ["a", "b"], "enrichment_payload": {"x": [1, 2.5]}, "last_enriched_at": "2026-01-01T00:00:00Z", "enrichment_source": "clay", "confidence_score": 90.5}, {"company_unique_id": "c2", "confidence_score": "70"}]',
			'people', '[{"person_unique_id": "p1", "last_enriched_at": "2026-01-01", "social_profiles": {"github": "x"}, "confidence_score": 3}]'];
		rules text[] := ARRAY['overwrite', 'newest', 'most_confident', 'fill'];
		record text;
	BEGIN
		FOR i IN 1 .. rounds LOOP
			FOR m IN 1 .. 3 BY 2 LOOP
				record := random_text(models[m + 1]);
				BEGIN
					PERFORM record::jsonb;
					PERFORM state_of(format('SELECT count(*) FROM sidecar_upsert_%s(%L, %L)', models[m], record, rules[1 + i % 4]));
				EXCEPTION WHEN invalid_text_representation OR untranslatable_character OR numeric_value_out_of_range THEN
				END;
			END LOOP;
			PERFORM state_of(format('SELECT sidecar_upsert_company(%L, %L, last_enriched_at => %L, enrichment_source => %L, confidence_score => %L, on_conflict => %L)',
				random_text('c1'), random_text('12-3456789'), random_text('2026-01-01 00:00:00Z'), random_text('clay'), random_text('90.5'),
				CASE WHEN random() < 0.8 THEN rules[1 + i % 4] ELSE random_text('newest') END));
			-- what was rolled back can be skipped only after the transaction
			IF i % 50 = 0 THEN COMMIT; END IF;
		END LOOP;
	END $$;
	TRUNCATE calls;
	DELETE FROM marketing.company_sidecar;));
my ($rc, $stdout, $stderr) = $node->psql('postgres', "SELECT setseed(${\($seed / 1000000)}); CALL fuzz($rounds)");
is($stderr, '', "$rounds rounds of random text");
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM calls'), '>', $rounds, 'most of it reached the functions');
cmp_ok($node->safe_psql('postgres', q(SELECT count(DISTINCT state) FROM calls)), '>', 4, 'and was answered in many ways');
is($node->safe_psql('postgres', $bad), '', 'random text: errors of the expected classes only');
note($node->safe_psql('postgres', $summary));
is(() = slurp_file($node->logfile) =~ /was terminated by signal|PANIC|TRAP/g, 0, 'no crash');

done_testing();

# The SQL examples of the documentation run, and print what the pages say; the
# reference has every function, with its signature; links lead somewhere.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $node = new_node('main', extra => [ '--encoding=UTF8', '--no-locale' ]);
my @pages = map { s{^\Q$top\E/}{}r } glob "$top/*.md $top/doc/*.md $top/bench/*.md";
cmp_ok(scalar @pages, '>', 10, 'there are pages');
my $examples = 0;
foreach my $page (@pages)
{
	my $text = slurp_file("$top/$page");
	my $db = lc $page =~ s/\W+/_/gr;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $db);
	my ($out, $err) = run_command([ "$top/test/examples", "$top/$page" ]);
	is($out, $text =~ s/\n\z//r, "$page: examples print what the page says");
	note($err);
	$examples += $1 if $err =~ /: (\d+) examples/;

	foreach my $link ($text =~ /\]\(([^)\s]+)\)/g)
	{
		next if $link =~ /^https?:/;
		my ($file, $anchor) = split /#/, $link;
		my $target = $file eq '' ? "$top/$page" : "$top/$page" =~ s{[^/]*\z}{$file}r;
		ok(-e $target, "$page: $link") or next;
		next unless defined $anchor;
		my %anchors = map { lc s/[^\w\s-]//gr =~ s/ /-/gr => 1 } slurp_file($target) =~ /^#+ (.*)$/mg;
		ok($anchors{$anchor}, "$page: $link, the heading");
	}
}
cmp_ok($examples, '>', 40, 'examples were run');
note("$examples examples");

my $signature = q(
	SELECT format('%s(%s) RETURNS %s', proname,
		(SELECT string_agg(concat(proargnames[n], ' ', format_type(proargtypes[n - 1], NULL),
			' DEFAULT ' || regexp_replace(pg_get_function_arg_default(p.oid, n), '::.*', '')), ', ' ORDER BY n) FROM generate_series(1, pronargs) n),
		CASE WHEN proretset AND proargmodes IS NULL THEN 'SETOF ' || format_type(prorettype, NULL)
		WHEN proretset THEN (SELECT format('TABLE (%s)', string_agg(proargnames[n] || ' ' || format_type(proallargtypes[n], NULL), ', ' ORDER BY n))
			FROM generate_subscripts(proargmodes, 1) n WHERE proargmodes[n] = 't')
		ELSE format_type(prorettype, NULL) END)
	FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'sidecar');
my @signatures = split /\n/, $node->safe_psql('doc_reference_md', $signature);
cmp_ok(scalar @signatures, '>', 20, 'there are functions');
my $reference = join "\n", map { s/\s+/ /gr =~ s/\( /(/gr =~ s/ \)/)/gr } map { split /\n(?! )/ } slurp_file("$top/doc/reference.md") =~ /^```text\n(.*?)^```$/gms;
is(join("\n", sort split /\n/, $reference), join("\n", sort @signatures), 'the reference has the signature of every function');

# what psql shows
is($node->safe_psql('doc_reference_md', q(
	SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'sidecar'
	WHERE d.deptype = 'e' AND d.classid <> 'pg_type'::regclass AND obj_description(d.objid, d.classid::regclass::name) IS NULL)), '', 'every object of the extension has a comment');
is($node->safe_psql('doc_reference_md', q(
	SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
	WHERE nspname = 'marketing' AND relkind = 'r' AND relname ~ 'sidecar' AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL)), '', 'and every column');

done_testing();

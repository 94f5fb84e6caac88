# An upgrade, before one is needed: a version 9.9 that adds a column and a
# function, built here.  Fresh, upgraded and restored databases end in the same
# catalog; library and SQL of different versions say what to do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

plan skip_all => 'needs the settings that test/run makes' unless $ENV{TEMP_CONFIG} && $ENV{SIDECAR_DEST};

# build 9.9 from this tree, into a folder of its own
my $top = dirname(dirname($FindBin::RealBin));
my $temp = PostgreSQL::Test::Utils::tempdir;
my $tree = "$temp/tree";
my ($current) = slurp_file("$top/sidecar.control") =~ /^default_version = '(.*)'/m;
system("mkdir $tree && cp -r $top/Makefile $top/sidecar.control $top/sidecar--*.sql $top/src $tree") == 0 or die;

sub edit
{
	my ($file, $sub) = @_;
	local $_ = slurp_file($file);
	$sub->();
	open my $fh, '>', $file or die "$file: $!";
	print $fh $_;
	close $fh;
	return;
}
my $objects;
my $function = 'CREATE FUNCTION @extschema@.sidecar_nine() RETURNS integer LANGUAGE sql RETURN 9;' . "\n";
rename "$tree/sidecar--$current.sql", "$tree/sidecar--9.9.sql" or die;
edit("$tree/sidecar.control", sub { s/^default_version = .*/default_version = '9.9'/m });
edit("$tree/sidecar--9.9.sql", sub {
		s/^    \('people_sidecar', 1,/    ('company_sidecar', 12, 'naics_code', 'text', '', 'Industry (NAICS)'),\n$&/m or die;
		($objects) = /^(CREATE FUNCTION \@extschema\@\.sidecar_column_definitions\(.*?^END;)$/ms or die;
		$_ .= $function;
	});
# what sidecar--1.0--9.9.sql has to do
$objects =~ s/^CREATE FUNCTION/CREATE OR REPLACE FUNCTION/;
append_to_file("$tree/sidecar--$current--9.9.sql", <<"SQL");
SET LOCAL search_path TO pg_catalog, pg_temp;
$objects
$function
DO \$\$
BEGIN
    IF current_setting('row_security')::boolean THEN
        PERFORM \@extschema\@.sidecar_install();
    END IF;
END
\$\$;
SQL
my $make = "make -s -C $tree " . ($ENV{PG_CONFIG} ? "PG_CONFIG=$ENV{PG_CONFIG}" : '');
system("cp $top/sidecar--$current.sql $tree && $make clean >/dev/null && $make >/dev/null && $make install DESTDIR=$temp/dest >/dev/null") == 0
	or BAIL_OUT('version 9.9 does not build');

# the settings of either version, and of their mixtures
my $old = slurp_file($ENV{TEMP_CONFIG});
(my $new = $old) =~ s/\Q$ENV{SIDECAR_DEST}\E/$temp\/dest/g;
my $mixed = 0;

sub mixture
{
	my ($library, $sql) = @_;
	my $dest = "$temp/mixture" . ++$mixed;
	system("cp -r $sql $dest && chmod -R u+w $dest && cd $library && find . -name '*.so' -exec cp {} $dest/{} \\;") == 0 or die;
	(my $settings = $old) =~ s/\Q$ENV{SIDECAR_DEST}\E/$dest/g;
	return $settings;
}

my $node = new_node('main', allows_streaming => 'logical');

sub use_version
{
	my ($settings) = @_;
	$node->append_conf('postgresql.conf', $settings);
	$node->restart;
	return;
}

# The extension's own part of the catalog, functions' bodies and all.
sub catalog
{
	my ($db) = @_;
	return fingerprint($node, $db) . $node->safe_psql($db, q(
		SELECT pg_get_functiondef(d.objid), obj_description(d.objid, 'pg_proc')
		FROM pg_depend d JOIN pg_extension e ON refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND deptype = 'e'
		WHERE extname = 'sidecar' AND classid = 'pg_proc'::regclass ORDER BY 1));
}

# a populated database of the old version, and its dump
populate($node, 'upgraded', 'with_pkey');
$node->safe_psql('upgraded', 'ALTER TABLE marketing.company_sidecar DROP COLUMN note CASCADE');
$node->run_log([ 'pg_dump', '-Fc', '-f', "$temp/old.dump", $node->connstr('upgraded') ]);
like(works($node, 'upgraded'), qr/company\|3000\|2000/, 'the old version works');

# the new library under the old SQL, in the time between two commands
use_version($new);
my ($rc, $stdout, $stderr) = $node->psql('upgraded', q(SELECT sidecar_upsert_company('c1')));
isnt($rc, 0, 'the new library under the old SQL: an error');
like($stderr, qr/extension "sidecar" is version \Q$current\E, but its library is version 9\.9.*ALTER EXTENSION sidecar UPDATE/s, 'that names the remedy');
$node->safe_psql('upgraded', q(UPDATE marketing.company_sidecar SET ein_number = 'x' WHERE company_unique_id = 'c1'));
is($node->safe_psql('upgraded', q(SELECT updated_at > now() - interval '1 minute' FROM marketing.company_sidecar WHERE company_unique_id = 'c1')), 't',
	'triggers work all the same');

# upgraded, while a session has the old functions planned
my $session = $node->background_psql('upgraded', on_error_stop => 0);
$session->query(q(SELECT sidecar_upsert_company('c1')));
like($session->{stderr}, qr/its library is version/, 'a session opened before the upgrade waits for it');
$session->{stderr} = '';
$node->safe_psql('upgraded', 'ALTER EXTENSION sidecar UPDATE');
is($node->safe_psql('upgraded', q(SELECT extversion || sidecar_nine() FROM pg_extension WHERE extname = 'sidecar')), '9.99', 'ALTER EXTENSION UPDATE');
is($session->query(q(SELECT sidecar_upsert_company('c1', on_conflict => 'newest'))), 'updated', 'an open session goes on');
$session->quit;
is($node->safe_psql('upgraded', q(SELECT count(*) FROM pg_attribute WHERE attrelid = 'marketing.company_sidecar'::regclass AND attname = 'naics_code')), '1', 'the new column is there');
like($node->safe_psql('upgraded', q(SELECT field FROM sidecar_field_coverage())), qr/naics_code/, 'and reported');
$node->safe_psql('upgraded', q(INSERT INTO sidecar_company_inbox (company_unique_id, naics_code) VALUES ('c1', '541511')));
is($node->safe_psql('upgraded', q(SELECT naics_code FROM marketing.company_sidecar WHERE company_unique_id = 'c1')), '541511', 'and taken by the inbox');
$node->safe_psql('upgraded', q(UPDATE marketing.company_sidecar SET ein_number = '1' WHERE company_unique_id = 'c1'));

# a fresh install of the new version, with the old one's rows
populate($node, 'fresh_99', 'with_pkey');
$node->safe_psql('fresh_99', 'ALTER TABLE marketing.company_sidecar DROP COLUMN note CASCADE');
my @without_rows = map { my $text = catalog($_); $text =~ s/^rows\|.*\n//mg; $text } ('fresh_99', 'upgraded');
is($without_rows[1], $without_rows[0], 'an upgraded catalog is that of a fresh install');

# a dump of the old version, restored where the new one is the default
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$temp/old.dump" ], 'a dump of the old version is restored under the new one');
is($node->safe_psql('restored', q(SELECT object FROM sidecar_install() WHERE outcome = 'created')),
	"inbox column public.sidecar_company_inbox.naics_code\ncolumn marketing.company_sidecar.naics_code", 'sidecar_install() brings its tables up');
my $restored = catalog('restored');
$restored =~ s/^rows\|.*\n//mg;
is($restored, $without_rows[0], 'and ends in the same catalog');
like(works($node, 'restored'), qr/company\|3000\|2000/, 'and works');

# the old library under the new SQL
use_version(mixture($ENV{SIDECAR_DEST}, "$temp/dest"));
($rc, $stdout, $stderr) = $node->psql('upgraded', q(SELECT sidecar_upsert_company('c1')));
isnt($rc, 0, 'the old library under the new SQL: an error');
like($stderr, qr/extension "sidecar" is version 9\.9, but its library is version \Q$current\E.*install the library of version 9\.9/s, 'that names the remedy');

$node->stop;
done_testing();

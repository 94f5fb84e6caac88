# pg_upgrade of a populated database from an older major.  test/matrix says
# where that one is: SIDECAR_OLD_PG, its prefix, and SIDECAR_OLD_DEST, where the
# extension was installed for it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SidecarTest;
use Test::More;

plan skip_all => 'needs an older major, which test/matrix has' unless $ENV{SIDECAR_OLD_PG};

my $conf = PostgreSQL::Test::Utils::tempdir . '/old.conf';
append_to_file($conf, "extension_destdir = '$ENV{SIDECAR_OLD_DEST}'\ntimezone = 'UTC'\n");
my $old = PostgreSQL::Test::Cluster->new('old', install_path => $ENV{SIDECAR_OLD_PG});
{
	local $ENV{TEMP_CONFIG} = $conf;
	$old->init(extra => [ '-k', '--no-locale', '-E', 'UTF8' ], allows_streaming => 'logical');
}
# the newer test library knows settings that the older server does not
$old->adjust_conf('postgresql.conf', 'autovacuum_worker_slots', undef);
$old->start;
populate($old, 'enriched', 'partitioned');
populate($old, 'other', 'with_index');
# here with a column that the inbox has been brought
$old->safe_psql('other', 'SELECT sidecar_install()');

# a privilege that is new in 17 shows in what an owner may do
sub seen
{
	my ($node, $db) = @_;
	return fingerprint($node, $db) =~ s/arwdDxtm/arwdDxt/gr;
}
my %before = map { $_ => seen($old, $_) . works($old, $_) } qw(enriched other);
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '-k', '--no-locale', '-E', 'UTF8' ], allows_streaming => 'logical');
$new->append_conf('postgresql.conf', "timezone = 'UTC'\n");
my $dir = PostgreSQL::Test::Utils::tempdir;
chdir $dir;
$new->command_ok(
	[
		'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', "$ENV{SIDECAR_OLD_PG}/bin", '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade')
	or do { diag(slurp_file($_)) for glob $new->data_dir . '/pg_upgrade_output.d/*/log/*' };
$new->start;
for my $db (qw(enriched other))
{
	is(seen($new, $db) . works($new, $db), $before{$db}, "$db: all is there and works");
}
$new->stop;
done_testing();

# A standby: looking works, starting says why not; after its promotion it goes on.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_server('primary', init => { allows_streaming => 1 });
my ($out, $err);

define_chain($primary, 'chain', 3);
define_slow($primary, 'slow', 2, 1);
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

my $done = query($primary, q{SELECT goflow.start('chain')});
query($primary, "SELECT goflow.wait('$done')");
my $live = query($primary, q{SELECT goflow.start('slow')});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

is(query($standby, "SELECT state FROM goflow.status('$done')"), 'completed', 'status() on a standby');
is(query($standby, "SELECT string_agg(node || ' ' || state, ', ' ORDER BY seq) FROM goflow.nodes('$done')"),
	's1 completed, s2 completed, s3 completed', 'nodes()');
is(query($standby, "SELECT goflow.result('$done') IS NULL"), 't', 'result()');
is(query($standby, "SELECT total, completed FROM goflow.progress('$done')"), '3|3', 'progress()');
is(query($standby, "SELECT count(*) FROM goflow.variables('$done')"), '0', 'variables()');
is(query($standby, "SELECT goflow.wait('$done')"), 'completed', 'wait() for a finished one');
is(query($standby, "SELECT goflow.wait('$live')"), 'completed', 'wait() for one that the primary runs');
is(query($standby, "SELECT goflow.follow('$live')"), 'completed', 'follow()');
is(query($standby, q{SELECT value FROM goflow.health() WHERE name = 'launcher'}), '0', 'health()');
for my $call ("start('chain')", "start_many('chain', '{\"{}\"}')", "run('chain')", "cancel('$live')", "define('w', '{\"nodes\": {}}')",
	"drop('chain')")
{
	$standby->psql('postgres', "SELECT goflow.$call", stderr => \$err);
	like($err, qr/cannot execute .* during recovery/, "$call says why not");
}
is(query($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'goflow'}), '0', 'no process of goflow runs');

# what the primary was doing goes on here
start_many($primary, 'slow', 4);
start_many($primary, 'chain', 100);
ok(wait_for($primary, q{SELECT count(*) > 50 FROM effect}), 'the primary is at work');
$primary->stop('immediate');
$standby->promote;
wait_until_finished($standby, 'after the promotion');
is_exactly_once($standby, 'after the promotion');
is_at_rest($standby, 'after the promotion');

$standby->stop;
done_testing();

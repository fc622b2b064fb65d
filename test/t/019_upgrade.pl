# ALTER EXTENSION goflow UPDATE with executions in flight, and what happens between new files and the update.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('upgrade');
my $directory = $node->config_data('--sharedir') . '/extension';
my $script = "$directory/goflow--0.0.9--0.1.0.sql";

plan skip_all => "$directory is not writable" unless -w $directory;
END { unlink $script if $script }

# An update that needs every one of goflow's tables to itself.
open my $file, '>', $script or die "$script: $!";
print $file q{
DO $$
DECLARE t regclass;
BEGIN
	FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'goflow'::regnamespace AND relkind = 'r' LOOP
		EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t);
	END LOOP;
END $$;
};
close $file;

sub become_older
{
	query($node, q{UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'goflow'});
}

define_chain($node, 'chain', 5);
define_slow($node, 'slow', 3, 0.2);
define_nodes($node, 'delayed', '"d": {"type": "delay", "for": "interval \'2 s\'"}, ' . Goflow::effect_node('a', 'd'));

# ---- new files, a restart, and no update yet ----

start_many($node, 'delayed', 20);
start_many($node, 'slow', 20);
become_older();
$node->stop('immediate');
$node->start;
my ($status, $output, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT goflow.start('chain')");
like($error, qr/WF119: .*has version 0\.0\.9 in this database, but its library has version 0\.1\.0/, 'an error says it');
like($error, qr/ALTER EXTENSION goflow UPDATE/, 'and what to do');
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.health() WHERE kind = 'trouble' AND name = 'version'}),
	'health() shows it');
is(query($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goflow worker'}), '0', 'nothing runs');
for my $view (qw(workers queue tracker messages waiting executions tasks subscriptions))
{
	($status, $output, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT count(*) FROM goflow.$view");
	ok($status == 0 || $error =~ /WF119/, "goflow.$view can be read, or says why not");
}

query($node, 'ALTER EXTENSION goflow UPDATE');
wait_until_finished($node, 'after the update');
is_exactly_once($node, 'after the update');

# ---- an update while nodes run ----

for my $round (1 .. 3)
{
	start_many($node, 'chain', 2000);
	start_many($node, 'slow', 10);
	ok(wait_for($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a node runs');
	become_older();
	query($node, 'ALTER EXTENSION goflow UPDATE');
}
wait_until_finished($node, 'updates under load');
is_exactly_once($node, 'updates under load');
is_at_rest($node, 'at the end');

# ---- one that is rolled back ----

become_older();
query($node, 'BEGIN; ALTER EXTENSION goflow UPDATE; ROLLBACK');
($status, $output, $error) = $node->psql('postgres', "SELECT goflow.start('chain')");
isnt($status, 0, 'an update that is rolled back is none');
query($node, 'ALTER EXTENSION goflow UPDATE');
start_many($node, 'chain', 10);
wait_until_finished($node, 'at last');

# ---- somebody alters a table ----

query($node, 'ALTER TABLE goflow.execution ADD COLUMN mine int');
($status, $output, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT goflow.start('chain')");
like($error, qr/WF119: .*table "goflow.execution" has \d+ columns, but \d+ are expected/, 'an error, no crash');

$node->stop;
done_testing();

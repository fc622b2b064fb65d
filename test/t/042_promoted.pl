# A logical subscriber takes over while the publisher is still at work: each of
# the two goes on by itself, and neither does anything twice.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = new_server('publisher', init => { allows_streaming => 'logical' });
my ($adopted, $err);
my $worker_gone = q{SELECT count(*) = 0 FROM pg_stat_subscription WHERE pid IS NOT NULL};

define_chain($publisher, 'chain', 3);
define_slow($publisher, 'slow', 3, 0.05);
define_nodes($publisher, 'waits', Goflow::effect_node('a') . ', "d": {"type": "delay", "after": "a", "for": "random() * interval \'3 s\'"}, '
	  . Goflow::effect_node('b', 'd') . ', "l": {"type": "loop", "after": "b", "repeat": 3, "body": {"nodes": {'
	  . '"w": {"type": "delay", "for": "random() * interval \'1 s\'"}}}}, ' . Goflow::effect_node('c', 'l'));

my $schema = $publisher->basedir . '/schema.sql';
my $subscriber = new_server('subscriber', extension => 0);
$publisher->command_ok([ 'pg_dump', '-s', '-f', $schema, '-d', $publisher->connstr('postgres') ], 'pg_dump of the schema');
$subscriber->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $schema, '-d', $subscriber->connstr('postgres') ], 'restored');
query($publisher, 'CREATE PUBLICATION everything FOR ALL TABLES');
query($subscriber, "CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');

# ---- in the middle of the work ----

sub load { start_many($publisher, $_->[0], $_->[1]) for [ 'waits', 150 ], [ 'slow', 30 ], [ 'chain', 100 ]; }

load();
ok(wait_for($subscriber, q{SELECT count(*) > 100 FROM effect}), 'what the publisher does comes to the subscriber');
$subscriber->psql('postgres', 'SELECT goflow.adopt()', stderr => \$err);
like($err, qr/cannot be adopted while subscription "everything" replicates them/, 'adopt() waits for the end of the subscription');
like($err, qr/HINT:  Drop the subscription, or disable it/, 'and says so');
load();
query($subscriber, 'ALTER SUBSCRIPTION everything DISABLE');
ok(wait_for($subscriber, $worker_gone), 'nothing comes any more');
cmp_ok(query($subscriber, q{SELECT value FROM goflow.health() WHERE name = 'foreign executions'}), '>', 50, 'a lot is on its way');
is_exactly_once($subscriber, 'as it came');
$adopted = query($subscriber, 'SELECT goflow.adopt()');
cmp_ok($adopted, '>', 50, "$adopted executions are adopted");

wait_until_finished($subscriber, 'adopted');
wait_until_finished($publisher, 'the publisher goes on');
is_exactly_once($subscriber, 'adopted');
is_exactly_once($publisher, 'the publisher');
is(query($subscriber, q{SELECT count(*) FROM goflow.executions WHERE state <> 'completed'}), '0', 'all of them completed here');
start_many($subscriber, 'chain', 10);
wait_until_finished($subscriber, 'started here');
is_at_rest($subscriber, 'adopted');

# ---- the subscription comes back ----

# It has the publisher's version of what ran here meanwhile.
define_nodes($subscriber, 'rests', q{"d": {"type": "delay", "for": "interval '1 day'"}});
query($subscriber, q{SELECT goflow.start('rests')});
ok(wait_for($subscriber, q{SELECT state = 'waiting' FROM goflow.executions WHERE workflow = 'rests'}), 'one rests here');
my $before = query($subscriber, q{SELECT count(*), max(last_seq), count(DISTINCT home) FROM goflow.execution});
query($subscriber, q{ALTER SUBSCRIPTION everything SET (disable_on_error = true)});
query($subscriber, 'ALTER SUBSCRIPTION everything ENABLE');
ok(wait_for($subscriber, q{SELECT NOT subenabled FROM pg_subscription}), 'what was adopted is not taken back: the subscription fails');
like(slurp_file($subscriber->logfile), qr/ERROR:  (execution ".*" was adopted by this database|duplicate key value violates unique constraint "(journal|finished)_pkey"|conflict detected on relation "goflow.(journal|finished)")/,
	'and the log says why');
# whatever comes first: a row of the journal, or the execution's own
# of one that has ended, or that has not
for my $change ('UPDATE goflow.finished SET home = gen_random_uuid()', 'UPDATE ONLY goflow.execution SET home = gen_random_uuid()', 'DELETE FROM ONLY goflow.execution')
{
	$subscriber->psql('postgres', "BEGIN; SET session_replication_role = replica; $change", stderr => \$err);
	like($err, qr/execution ".*" was adopted by this database.*still runs it, too.*Drop the subscription/s, 'nor is a change of the execution itself');
}
is_exactly_once($subscriber, 'after that');
is(query($subscriber, q{SELECT count(*), max(last_seq), count(DISTINCT home) FROM goflow.execution}), $before, 'nothing has changed');
query($subscriber, 'DROP SUBSCRIPTION everything');
is(query($subscriber, 'SELECT goflow.adopt()'), '0', 'nothing is foreign any more');

$subscriber->stop;
$publisher->stop;
done_testing();

# The server's clock is set by a day, forward and back, while goflow waits for
# something.  Timers go by the clock; back-offs, turns, graces and ages do not.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use OsFaults;
use Test::More;

my $day = 86400;
my $node = with_os_faults
{
	new_server('clock', conf => "goflow.max_workers = 1\ngoflow.rescan_interval = 1s\ngoflow.scheduler_idle_timeout = 100ms\n"
		  . "goflow.worker_idle_timeout = 1s\ngoflow.cancel_grace = 2s\nlog_min_messages = log\n");
};
my ($execution, $other);

query($node, q{
	CREATE ROLE ada LOGIN;
	CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 100000 LOOP
			BEGIN PERFORM pg_sleep(0.1); EXCEPTION WHEN query_canceled THEN NULL; END;
		END LOOP;
	END $$;
	SELECT goflow.grant_usage('ada')});
define_chain($node, 'chain', 2);
define_nodes($node, 'tomorrow', qq("d": {"type": "delay", "for": "interval '1 day'"}, ) . Goflow::effect_node('a', 'd'));
define_nodes($node, 'soon', qq("d": {"type": "delay", "for": "interval '200 ms'"}, ) . Goflow::effect_node('a', 'd'));
# (pg_sleep() goes by the clock, too: it would sleep for a day)
define_nodes($node, 'endless', q("l": {"type": "loop", "while": "true", "body": {"nodes": {"s": {"type": "sql", "rows": "none", "sql": "SELECT count(*) FROM generate_series(1, 10000)"}}}}));
define_nodes($node, 'stubborn', q("s": {"type": "sql", "rows": "none", "sql": "SELECT stubborn()"}));
query($node, q{SELECT goflow.grant_start('chain', 'ada')});

sub start { return query($node, "SELECT goflow.start('$_[0]')"); }

# end: how the transaction ends
sub start_as
{
	my ($role, $name, $end) = @_;

	return query_as($node, $role, "BEGIN; SELECT goflow.start('$name'); " . ($end || 'COMMIT'));
}

sub completes
{
	my ($id, $what) = @_;

	return ok(wait_for($node, "SELECT state = 'completed' FROM goflow.status('$id')"), $what);
}

# ---- timers ----

$execution = start('tomorrow');
ok(wait_for($node, "SELECT state = 'waiting' FROM goflow.status('$execution')"), 'it waits until tomorrow');
clock_jumps($day);
completes($execution, 'which has come');
is(query($node, "SELECT (output ->> 'woke_at')::timestamptz >= started_at + interval '1 day' FROM goflow.nodes('$execution') WHERE node = 'd'"), 't',
	'not too early');
clock_jumps(-$day);
completes(start('soon'), 'a timer that was made after the clock was set back');
is_exactly_once($node, 'timers');

# ---- a back-off ----

$execution = start_as('ada', 'chain', 'PREPARE TRANSACTION \'ada\'');
query($node, q{REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; COMMIT PREPARED 'ada'});
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.health() WHERE (kind, name) = ('trouble', 'ada')}), 'a role that cannot be connected');
clock_jumps(-$day);
query($node, 'GRANT CONNECT ON DATABASE postgres TO PUBLIC');
completes($execution, 'it is tried again soon');

# ---- a turn ----

$execution = start('endless');
ok(wait_for($node, "SELECT state = 'running' FROM goflow.status('$execution')"), 'the only worker is busy');
$other = start_as('ada', 'chain');
completes($other, 'another role has its turn');
clock_jumps(-$day);
completes(start_as('ada', 'chain'), 'and has it also when the clock was set back');
query($node, "SELECT goflow.cancel('$execution')");
ok(wait_for($node, "SELECT state = 'cancelled' FROM goflow.status('$execution')"), 'the busy one ends');

# ---- a grace ----

$execution = start('stubborn');
ok(wait_for($node, "SELECT current_node = 's' FROM goflow.progress('$execution')"), 'a node that will not be cancelled');
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND wait_event = 'PgSleep'}), 'runs');
query($node, "SELECT goflow.cancel('$execution')");
clock_jumps(-$day);
ok(wait_for($node, "SELECT state = 'cancelled' FROM goflow.status('$execution')"), 'is terminated after its grace');

# ---- a launcher that comes back ----

my ($launcher) = processes($node, 'launcher');
clock_jumps(-$day);
kill('TERM', $launcher);
ok(wait_for($node, "SELECT pid <> $launcher FROM pg_stat_activity WHERE backend_type = 'goflow launcher'"), 'another launcher');
completes(start('chain'), 'works at once');

# ---- time that passes while somebody looks at the clock ----

define_chain($node, 'order', 30);
for my $try (1 .. 2)		# in node mode, perhaps, and then in a batch
{
	clock_waits(300);
	$execution = start('order');
	completes($execution, "a slow look at the clock ($try)");
	clock_waits(0);
	is(query($node, "SELECT count(*) FROM (SELECT started_at, finished_at, lag(finished_at) OVER (ORDER BY seq) AS before"
		  . " FROM goflow.nodes('$execution')) n WHERE started_at < before OR finished_at < before"), '0', 'no node seems to begin before the last one ended');
}

# ---- and what is left ----

is_exactly_once($node, 'at the end');
is_at_rest($node, 'at the end');
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('goflow worker', 'goflow scheduler')}), 'idle processes leave');

$node->stop;
done_testing();

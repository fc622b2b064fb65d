# Crashes at random moments: kill -9 of every kind of process, and immediate
# stops, in the middle of 1,000 executions of 10 steps.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $seed = seed_random();
my $node = new_server('crash', conf => "goflow.max_workers = 6\nmax_wal_size = 4GB");
my ($executions, $slow) = (0, 0);
my %crashes;

define_chain($node, 'chain', 10);
define_slow($node, 'slow', 3, 0.03);

# rows that start executions; the statement may be hit by a crash itself
query($node, 'CREATE TABLE arrival (id serial PRIMARY KEY, execution uuid)');
define_nodes($node, 'arrived', '"row": {"type": "trigger", "table": "arrival", "events": ["insert"],'
	  . ' "input": {"id": "NEW.id"}}, ' . Goflow::effect_node('first', 'row') . ', "link": {"type": "sql",'
	  . ' "rows": "none", "after": ["first"], "sql": "UPDATE arrival SET execution = execution.id WHERE id = input.id"}',
	'"input": {"id": "int"}');

# what there was to run may be done already
my $more = sub {
	start_many($node, 'slow', 8);
	$executions += 8;
	$slow += 8;
};
my @kinds = qw(worker helper scheduler launcher immediate);
for my $round (1 .. 20)
{
	my $kind = $kinds[ $round % @kinds ];

	start_many($node, 'chain', 992);
	query($node, 'INSERT INTO arrival SELECT FROM generate_series(1, 50)');
	start_many($node, 'slow', 8);	# the last: at the moment of the crash they run
	$executions += 1000;
	$slow += 8;
	pause_up_to(250);
	$crashes{$kind}++ if crash($node, $kind, $more);
	if ($round % 4 == 0)
	{
		# let some crashes hit what the one before has interrupted
		wait_until_finished($node, "round $round, seed $seed");
		is_at_rest($node, "round $round, seed $seed");
	}
}

is_deeply([ sort keys %crashes ], [ sort @kinds ], 'every kind of process was killed');
is(query($node, q{SELECT count(*), count(*) FILTER (WHERE state = 'completed') FROM goflow.executions
		WHERE workflow IN ('chain', 'slow')}),
	"$executions|$executions", 'every execution completed');
is(query($node, 'SELECT count(*), count(execution), count(DISTINCT execution) FROM arrival'), '1000|1000|1000',
	'every row has its execution');
is(query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'arrived' AND state = 'completed'}), '1000',
	'and there is no other');
is(query($node, q{SELECT count(*), count(DISTINCT (execution, node)) FROM effect WHERE node <> 'first'}),
	join('|', (20 * 992 * 10 + $slow * 3) x 2), "every effect exactly once, seed $seed");
is_exactly_once($node, 'after 20 crashes');
is(query($node, 'SELECT count(*) FROM goflow.pending'), '0', 'no timer is left');

$node->stop;
done_testing();

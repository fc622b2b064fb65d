# More workers than processors: where executions are so fast that each worker takes
# hundreds at one time, the workers beyond the processors rest, though much is queued.
# They are there as soon as those that work are held up.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $processors = `getconf _NPROCESSORS_ONLN` + 0;
plan skip_all => "$processors processors" if $processors < 1 || $processors > 16;

# Batches that are long enough for hundreds of executions on a slow machine, too.
my $workers = $processors + 3;
my $node = new_server('bulk', conf => "goflow.max_workers = $workers\nmax_worker_processes = " . ($workers + 10)
	  . "\ngoflow.batch_time = 200ms\ngoflow.queue_size = 250000\nfsync = off\n");
my $n = 15000 * $processors;
my $held = $processors + 1;

query($node, q{SELECT goflow.define('fast', '{"input": {"held": "boolean"}, "nodes": {"s": {"type": "sql", "rows": "none", "sql":
	"INSERT INTO effect SELECT execution.id, CASE WHEN input.held THEN public.until_opened(''fast'') ELSE ''s'' END"}}}')});

# Starts as many executions; so many of them, far from each other, are held.
sub start_fast
{
	my ($held) = @_;

	return query($node, "SELECT count(*) FROM goflow.start_many('fast', ARRAY(SELECT jsonb_build_object('held',"
		  . " $held > 0 AND k % greatest($n / greatest($held, 1), 1) = 0) FROM generate_series(1, $n) k))");
}

start_fast(0);
query($node, q{CREATE TABLE seen (idle bigint, queued bigint);
	CREATE PROCEDURE watch() LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			INSERT INTO seen SELECT (SELECT count(*) FROM goflow.workers WHERE state = 'idle'), coalesce(sum(queued), 0) FROM goflow.queue;
			EXIT WHEN NOT EXISTS (SELECT FROM goflow.queue);
			COMMIT;
			PERFORM pg_sleep(0.002);
		END LOOP;
	END $$;
	CALL watch()});
wait_until_finished($node, 'fast executions');
cmp_ok(query($node, "SELECT max(idle) FROM seen WHERE queued > 600 * $processors"), '>=', 1, 'workers rest while hundreds are queued for each processor');
is(query($node, 'SELECT count(*) = count(DISTINCT execution), count(*) FROM effect'), "t|$n", 'each execution had its effect once');

query($node, 'TRUNCATE effect');
start_fast($held);
ok(wait_for($node, "SELECT count(*) = $n - $held FROM effect"), 'all others go on when more workers than there are processors are held');
is(query($node, "SELECT count(*) FROM goflow.executions WHERE state = 'running'"), $held, 'they are held');
let_go($node, 'fast', 'those that were held');
is(query($node, 'SELECT count(*) = count(DISTINCT execution), count(*) FROM effect'), "t|$n", 'each execution had its effect once');

is_at_rest($node, 'at the end');
$node->stop;
done_testing();

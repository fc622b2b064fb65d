# Many roles and few workers: who is idle makes room at once, and who has more than
# a fair share does so after a turn, whichever setting is the limit.  One worker:
# executions without an end leave room for others.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('shares', conf => "goflow.max_workers = 6\nmax_worker_processes = 20\n");
my @roles = qw(postgres ada bob);

query($node, q{
	CREATE ROLE ada LOGIN; CREATE ROLE bob LOGIN;
	SELECT goflow.grant_usage(r) FROM unnest('{ada,bob}'::regrole[]) r;
	CREATE TABLE begun (at timestamptz, n int); GRANT ALL ON begun TO PUBLIC});
define_nodes($node, 'second', '"a": {"type": "sql", "rows": "none", "sql": "WITH b AS MATERIALIZED (SELECT clock_timestamp() AS at, pg_sleep(1))'
	  . ' INSERT INTO begun SELECT at FROM b"}');
define_slow($node, 'nap', 1, 0.1);
query($node, q{SELECT goflow.grant_start(w, r) FROM unnest('{second,nap}'::text[]) w, unnest('{ada,bob}'::regrole[]) r});

sub start_as
{
	my ($role, $workflow, $n) = @_;

	return query($node, "SET SESSION AUTHORIZATION $role; SELECT now() FROM goflow.start_many('$workflow', array_fill('{}'::jsonb, ARRAY[$n])) LIMIT 1");
}

# Nodes of one second, as many as there are workers, by one role after the other.
sub waves
{
	my ($what, $n) = @_;

	for my $role (@roles, 'postgres')
	{
		query($node, 'TRUNCATE begun');
		my $start = start_as($role, 'second', $n);
		wait_until_finished($node, "$what, $role");
		my $seconds = query($node, "SELECT extract(epoch FROM max(at) - '$start') FROM begun");
		# (without that they would be there for half a minute: goflow.worker_idle_timeout)
		cmp_ok($seconds, '<', 20, sprintf("$what: %d workers of another role made room for %s's within %.3f s", $n, $role, $seconds));
	}
}

# Workers at work, by role.
sub counts { my ($n) = @_; return qq{SELECT count(*) = $n AND bool_and(c = 6 / $n) FROM (SELECT count(*) AS c FROM pg_stat_activity
	WHERE backend_type = 'goflow worker' AND state = 'active' GROUP BY usename) x}; }

sub shares
{
	my ($what) = @_;
	my $seconds;

	start_as('postgres', 'nap', 400);
	ok(wait_for($node, counts(1)), "$what: all are one role's");
	for my $n (2, 3)
	{
		start_as($roles[ $n - 1 ], 'nap', 400);
		$seconds = seconds { ok(wait_for($node, counts($n)), "$what: $n roles have as many workers each") };
		note(sprintf('after %.1f s', $seconds));
	}
	wait_until_finished($node, $what);
}

waves('max_workers', 6);
shares('max_workers');

# six places beside those of the launcher, the scheduler, and logical replication
$node->append_conf('postgresql.conf', "goflow.max_workers = 19\nmax_worker_processes = 9\ngoflow.scheduler_idle_timeout = 1h\n");
$node->restart;
waves('max_worker_processes', 5);

# ---- executions that do not end, in batches of the only worker ----

query($node, 'ALTER SYSTEM SET goflow.max_workers = 1');
$node->reload;
define_nodes($node, 'endless', '"l": {"type": "loop", "while": "true", "body": {"nodes": {"s": {"type": "set", "set": {"n": "vars.n + 1"}}}}}',
	'"variables": {"n": "bigint = 0"}');
define_chain($node, 'chain', 2);
query($node, q{SELECT goflow.grant_start('chain', 'ada')});
{
	my @endless = split /\n/, query($node, q{SELECT goflow.start_many('endless', array_fill('{}'::jsonb, ARRAY[2]))});

	ok(wait_for($node, "SELECT bool_and(completed > 0) FROM unnest('{" . join(',', @endless) . "}'::uuid[]) e, goflow.progress(e)"),
		'both of those without an end go on');
	for my $role (qw(postgres ada postgres))
	{
		start_as($role, 'chain', 3);
		ok(wait_for($node, q{SELECT NOT EXISTS (SELECT FROM goflow.executions WHERE workflow = 'chain' AND finished_at IS NULL)}),
			"beside them $role has a turn");
	}
	query($node, "SELECT goflow.cancel('$_')") for @endless;
	wait_until_finished($node, 'they are cancelled');
}
is_exactly_once($node, 'at the end');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();

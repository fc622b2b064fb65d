# Databases that come, go, are shut, and are many; the launcher's own end.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_server('databases', extension => 0, conf => "max_worker_processes = 12\ngoflow.max_workers = 8\n");
my ($err, $took);
my $sleeping = q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = };

sub make_database
{
	my ($name, $options) = @_;

	query($node, "CREATE DATABASE $name " . ($options || ''));
	query($node, 'CREATE EXTENSION goflow', $name);
	create_effects($node, $name);
	define_chain($node, 'chain', 3, $name);
	define_held($node, 'slow', 3, $name);
}

sub start_slow
{
	my ($name) = @_;

	start_many($node, 'chain', 30, $name);
	start_many($node, 'slow', 4, $name);
	return ok(wait_for($node, $sleeping . "'$name'"), "$name: nodes run");
}

# ---- CREATE EXTENSION, undone ----

query($node, 'CREATE DATABASE tried');
query($node, 'BEGIN; CREATE EXTENSION goflow; ROLLBACK', 'tried');
query($node, q{DO $$ BEGIN CREATE EXTENSION goflow; RAISE 'undo'; EXCEPTION WHEN raise_exception THEN NULL; END $$}, 'tried');
is(query($node, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'goflow'}, 'tried'), '0', 'nothing is left');
is(query($node, q{BEGIN; CREATE EXTENSION goflow;
		SELECT goflow.define('w', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}, "output": {"x": "a.x"}}');
		SELECT goflow.start('w') AS id \gset
		SELECT goflow.run('w'); COMMIT; SELECT goflow.wait(:'id', '90 s')}, 'tried'),
	"1\n{\"x\": 1}\ncompleted", 'all in one transaction');
query($node, 'DROP DATABASE tried');

# ---- DROP DATABASE by its owner, with FORCE, while clients are there ----

query($node, 'CREATE ROLE owner LOGIN');
make_database('owned', 'OWNER owner');
start_slow('owned');
$took = seconds { $node->safe_psql('postgres', 'DROP DATABASE owned', extra_params => [ '-U', 'owner' ]) };
note(sprintf('by an owner who is no superuser: %.2f s', $took));
make_database('forced');
start_slow('forced');
my $client = $node->background_psql('forced', on_error_stop => 0);
$client->query('SELECT 1');
$took = seconds { query($node, 'DROP DATABASE forced WITH (FORCE)') };
note(sprintf('with FORCE: %.2f s', $took));
eval { $client->quit };

# ---- SET TABLESPACE, ALLOW_CONNECTIONS ----

my $space = $node->basedir . '/space';
mkdir $space;
query($node, "CREATE TABLESPACE space LOCATION '$space'");
make_database('moved');
start_slow('moved');
$took = seconds { query($node, 'ALTER DATABASE moved SET TABLESPACE space') };
note(sprintf('SET TABLESPACE while nodes run: %.2f s', $took));
ok(wait_for($node, $sleeping . q{'moved'}), 'they run again');
for my $i (1 .. 3)
{
	query($node, 'ALTER DATABASE moved ALLOW_CONNECTIONS false');
	is(query($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'moved'}), '0', 'nobody is in a database that is shut');
	usleep(100_000);
	is(query($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'moved'}), '0', 'nor comes back');
	query($node, 'ALTER DATABASE moved ALLOW_CONNECTIONS true');
}
let_go($node, 'slow', 'open again', 'moved');
is_exactly_once($node, 'open again', 'moved');
query($node, 'ALTER DATABASE moved SET TABLESPACE pg_default');

# ---- DROP and ALTER EXTENSION in a node, DROP SCHEMA ----

for my $case ([ 'DROP EXTENSION goflow', 'a node cannot drop goflow' ], [ 'ALTER EXTENSION goflow UPDATE', 'a node cannot alter goflow' ])
{
	my ($statement, $message) = @$case;

	define_nodes($node, 'changes', qq("a": {"type": "sql", "sql": "$statement"}), '', 'moved');
	my $id = query($node, q{SELECT goflow.start('changes')}, 'moved');
	query($node, "SELECT goflow.wait('$id')", 'moved');
	is(query($node, "SELECT error->>'message' FROM goflow.status('$id')", 'moved'), $message, $message);
}
start_slow('moved');
$node->psql('moved', 'DROP SCHEMA goflow CASCADE', stderr => \$err);
like($err, qr/extension goflow requires it/, 'nor anybody drops its schema alone');
query($node, 'DROP DATABASE moved');
query($node, 'CREATE EXTENSION goflow');
is_at_rest($node, 'databases that were dropped');

# ---- the launcher is terminated ----

create_effects($node);
define_chain($node, 'chain', 3);
for my $i (1 .. 3)
{
	my ($launcher) = processes($node, 'launcher');

	$took = seconds {
		kill TERM => $launcher;
		ok(wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'goflow launcher' AND pid <> $launcher"),
			'the launcher is back');
	};
	note(sprintf('after %.3f s', $took));
}
start_many($node, 'chain', 100);
wait_until_finished($node, 'with a new launcher');
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ 'goflow'});
$took = seconds { start_many($node, 'chain', 100); wait_until_finished($node, 'all were terminated') };
note(sprintf('all of goflow was terminated: %.2f s', $took));

# ---- many databases, few processes ----

# GOFLOW_DATABASES=50 takes a minute, most of it to make them.
my $n = $ENV{GOFLOW_DATABASES} || 16;
make_database('original');
wait_until_finished($node, 'original', 'original');
query($node, join('', map { "CREATE DATABASE db$_ TEMPLATE original STRATEGY file_copy;\n" } 1 .. $n));
$took = seconds {
	start_many($node, 'chain', 20, "db$_") for 1 .. $n;
	for my $i (1 .. $n)
	{
		ok(wait_for($node, 'SELECT count(*) = 20 AND bool_and(state = $$completed$$) FROM goflow.executions', undef, "db$i"), "db$i") or last;
	}
};
note(sprintf('%d databases, 8 workers: each gets its turn, in %.1f s', $n, $took));
is(query($node, 'SELECT count(*), count(DISTINCT (execution, node)) FROM effect', "db$_"), '60|60', "db$_: exactly once") for 1, 5, $n;
is_at_rest($node, 'many databases');

# the quiet ones cost nothing
query($node, "ALTER SYSTEM SET goflow.$_ = '100ms'") for 'worker_idle_timeout', 'scheduler_idle_timeout';
$node->reload;
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type ~ 'goflow (worker|scheduler)'}), 'all leave');
my ($launcher) = processes($node, 'launcher');
my ($cpu, $switches);
for my $try (1 .. 10)	# until it has heard of all that happened before
{
	my @before = (cpu_ticks($launcher), switches($launcher));

	query($node, 'SELECT pg_sleep(2)');
	($cpu, $switches) = (cpu_ticks($launcher) - $before[0], switches($launcher) - $before[1]);
	last if $cpu <= 2 && $switches <= 4;
}
cmp_ok($cpu, '<=', 2, 'the launcher sleeps');
cmp_ok($switches, '<=', 4, 'and is not woken');
is(query($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'goflow (worker|scheduler)'}), '0', 'no other process comes');

$node->stop;
done_testing();

sub cpu_ticks
{
	my ($pid) = @_;
	my @fields = split / /, slurp_file("/proc/$pid/stat");

	return $fields[-39] + $fields[-38];
}

# How often a process gave up the processor by itself.
sub switches
{
	my ($pid) = @_;
	my ($n) = slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;

	return $n;
}

# Everything at once, while processes are killed, terminated and cancelled, the
# server is stopped, a standby takes over, the disk is full, the clock is set,
# there is no room for processes, and settings change.  After each round nothing
# may be lost, doubled, stuck or left behind.  make chaos kills a thousand times;
# FAULTS says how many times, GOFLOW_SEED repeats the choices of an earlier run.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use List::Util qw(shuffle sum);
use Mixture;
use OsFaults;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $faults = $ENV{FAULTS} || 15;
my $round_length = 30;
my $slots = 16;
my $seed = seed_random();
my $node = with_os_faults
{
	new_server('chaos', init => { allows_streaming => 1 }, conf => "goflow.max_workers = 6\nmax_worker_processes = $slots\n"
		  . "max_parallel_workers = $slots\nmax_wal_size = 4GB\nfsync = off\nallow_in_place_tablespaces = on\n"
		  . "goflow.rescan_interval = 5s\ngoflow.scheduler_idle_timeout = 200ms\ngoflow.worker_idle_timeout = 500ms\n");
};

my %done;       # kind of fault => how often
my @clients;    # that are starting executions
my $promised = 0;    # executions of the round that a client was told of as started
my $standbys = 0;

move_to_tablespace($node, 'postgres');
mixture_define($node);
# as many pages as there are slots
query($node, "CREATE TABLE pages (filler text); ALTER TABLE pages ALTER filler SET STORAGE PLAIN, SET (parallel_workers = $slots);"
	  . " INSERT INTO pages SELECT repeat('x', 5000) FROM generate_series(1, $slots)");

sub one_of { return $_[ int(rand(@_)) ]; }

# ---- load ----

sub client
{
	my ($n, @statements) = @_;

	push @clients, [ $n, IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', join('; ', @statements) ],
		'<', \undef, '>', '/dev/null', '2>', '/dev/null') ];
	return;
}

# A client starts some of everything in one transaction, whatever happens to it.
sub load
{
	my @names = grep { rand() < 0.4 } grep { $_ ne 'long' } mixture_names();

	push @names, 'long' if rand() < 0.05;
	client(4 * grep({ $_ ne 'long' } @names) + grep({ $_ eq 'long' } @names),
		map { mixture_start_sql($_, $_ eq 'long' ? 1 : 4) } @names) if @names;
	return;
}

sub wait_for_clients
{
	for (splice @clients)
	{
		my ($n, $client) = @$_;

		$promised += $n if $client->finish;
	}
	return;
}

# ---- faults ----

# To one process of goflow, by the server's own functions.
sub ask
{
	my ($function) = @_;
	my ($done, $output) = try_query($node, "SELECT $function(pid) FROM pg_stat_activity"
		  . q{ WHERE backend_type = 'goflow worker' ORDER BY random() LIMIT 1});

	return $done && $output eq 't';
}

# A client that is killed takes the whole server with it, and what it started but did not commit.
sub kill_client
{
	my $client = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', mixture_start_sql('sequence', 5) . '; SELECT pg_sleep(30)' ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	my $pid = '';

	for my $try (1 .. 100)
	{
		(undef, $pid) = try_query($node, q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'client backend' AND query ~ 'sleep\(30'});
		last if $pid =~ /^\d+$/;
		pause_up_to(20);
	}
	my $killed = $pid =~ /^\d+$/ && kill('KILL', $pid);
	$client->kill_kill unless $killed;
	eval { $client->finish };
	return $killed;
}

sub start_server
{
	return with_os_faults { $node->start(fail_ok => 1) || $node->start };
}

sub restart
{
	my ($mode) = @_;

	$node->stop($mode, fail_ok => 1);
	return start_server();
}

sub set_and_reload
{
	my ($name, $value) = @_;
	my ($done) = try_query($node, $value eq '' ? "ALTER SYSTEM RESET $name" : "ALTER SYSTEM SET $name = '$value'");

	return $done && (try_query($node, 'SELECT pg_reload_conf()'))[0];
}

sub settings
{
	my %new = (
		'goflow.max_workers' => one_of(1 .. 6),
		'goflow.batch_nodes' => one_of(1, 5, 50, 500),
		'goflow.batch_time' => one_of('1ms', '10ms', '100ms'),
		'goflow.fuse' => one_of('1ms', '10ms', '50ms'),
		'goflow.cancel_grace' => one_of('100ms', '10s'));
	my $name = one_of(sort keys %new);

	return set_and_reload($name, $new{$name});
}

# No file of the database can grow for a while.
sub disk_is_full
{
	server_is_up() or return 0;
	fill_disk();
	load();
	pause_up_to(1000);
	return free_disk();
}

# Another user of background workers has all that are free, and those that goflow's leave meanwhile.
sub no_slots
{
	my $share = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';

	client(0, "SET $share = on", "SET max_parallel_workers_per_gather = $slots", 'SET parallel_setup_cost = 0', 'SET min_parallel_table_scan_size = 0',
		"SELECT count(pg_sleep(@{[ 0.3 + rand() ]})) FROM pages");
	pause_up_to(100);
	return kill_process($node, 'worker', 'TERM') || 1;
}

# The server comes back with fewer slots than goflow wants, or with all of them again.
sub few_slots
{
	my ($done) = try_query($node, "ALTER SYSTEM SET max_worker_processes = " . one_of(4, 5, 8, $slots));

	return $done && restart('fast');
}

# The primary is gone and a standby, which has all that clients were told of, goes on.
sub promote
{
	my $name = 'chaos_' . ++$standbys;

	server_is_up() && eval { $node->backup($name); 1 } or return 0;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$standby->init_from_backup($node, $name, has_streaming => 1);
	with_os_faults { $standby->start };
	set_and_reload('synchronous_standby_names', '*');
	wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}, 'the standby keeps up') or return 0;
	load() for 1 .. 3;
	pause_up_to(500);
	$node->stop('immediate', fail_ok => 1);
	wait_for_clients();
	$standby->promote;
	$node->clean_node;
	$node = $standby;
	return 1;
}

# Those that end processes count, the others come on top of them.
my %kill = (
	(map { my $kind = $_; ("kill $kind" => sub { kill_process($node, $kind, 'KILL') }) } qw(worker helper scheduler launcher)),
	(map { my $kind = $_; ("term $kind" => sub { kill_process($node, $kind, 'TERM') }) } qw(worker helper scheduler launcher)),
	'kill client' => \&kill_client,
	'terminate' => sub { ask('pg_terminate_backend') },
	'cancel' => sub { ask('pg_cancel_backend') },
	'stop immediate' => sub { restart('immediate') },
	# a server that is told so while it recovers from a crash may wait for its own checkpointer for ever
	'stop fast' => sub { server_is_up() && restart('fast') },
	'few slots' => \&few_slots,
	'promote' => \&promote);
my %other = (
	'settings' => \&settings,
	'disk full' => \&disk_is_full,
	'no slots' => \&no_slots,
	'clock forward' => sub { clock_jumps(one_of(1, 60, 3600, 86400)) },
	'clock back' => sub { clock_jumps(-one_of(0.1, 1, 2)) });
my %fault = (%kill, %other);

sub server_is_up
{
	# a server that has no room to recover gives up
	if (!-e $node->data_dir . '/postmaster.pid')
	{
		free_disk();
		$node->_update_pid(0);
		$node->start;
	}
	return wait_for($node, q{SELECT value = 1 FROM goflow.health() WHERE kind = 'server' AND name = 'launcher'}, 'the server is back');
}

# Parallel workers get each slot but those of goflow's launcher and of logical replication's.
sub has_all_slots
{
	my ($what) = @_;
	my ($free, $expected);

	for my $try (1 .. 1000)
	{
		($free) = query($node, "SET max_parallel_workers_per_gather = $slots; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
			  . ' SET min_parallel_table_scan_size = 0; EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM pages') =~ /Workers Launched: (\d+)/;
		$expected = query($node, q{SELECT current_setting('max_worker_processes')::int - 2});
		last if $free == $expected;
		pause_up_to(100);    # a scheduler looks for something to do
	}
	return is($free, $expected, "$what: every slot of a background worker is free");
}

# What the launcher has for itself, which lives longest.
sub is_small
{
	my ($what) = @_;
	my ($launcher) = processes($node, 'launcher');
	my ($size) = slurp_file("/proc/$launcher/status") =~ /^RssAnon:\s+(\d+)/m;

	return cmp_ok($size, '<', 16 * 1024, "$what: the launcher has $size kB");
}

sub kills { return sum(map { $done{$_} || 0 } keys %kill); }

# ---- rounds ----

# Each kind once, then signals more often, in any order; what is not possible now comes later.
my @deck;

sub inject
{
	my @later;

	for my $try (1 .. 200)
	{
		@deck = shuffle(map { ($_) x (kills() && /^(kill|term|cancel)/ ? 3 : 1) } sort keys %fault) unless @deck;
		my $kind = shift @deck;

		if ($fault{$kind}->())
		{
			$done{$kind}++;
			unshift @deck, @later;
			return $kind;
		}
		push @later, $kind;
		pause_up_to(20);
	}
	BAIL_OUT('no fault is possible');
}

for (my $round = 1; kills() < $faults; $round++)
{
	my $what = "round $round, seed $seed";
	my @history;

	while (@history < $round_length && kills() < $faults)
	{
		# some faults come together, or while the server is not back from the last one
		if (rand() < 0.6)
		{
			server_is_up() or BAIL_OUT('the server does not come back');
		}
		load();
		pause_up_to(200) if rand() < 0.6;
		push @history, inject();
	}
	free_disk();
	server_is_up() or BAIL_OUT('the server does not come back');
	wait_for_clients();
	note("$what: " . join(', ', @history) . ', the clock is ' . clock_offset() . ' s ahead');
	wait_until_finished($node, $what) or last;
	is_at_rest($node, $what);
	mixture_is_right($node, $what) or last;
	cmp_ok(query($node, q{SELECT (SELECT count(*) FROM started) + (SELECT count(*) FROM orders)}), '>=', $promised,
		"what clients were told is started is there, $what");
	# past the ends that were noted before the clock was set back
	clock_jumps(3);
	mixture_forget($node);
	leaves_nothing($node, $what) or last;
	has_all_slots($what) or last;
	is_small($what) or last;
	$promised = 0;
}

cmp_ok(kills(), '>=', $faults, kills() . ' kills: ' . join(', ', map { ($done{$_} || 0) . " $_" } sort keys %kill));
note('other faults: ' . join(', ', map { ($done{$_} || 0) . " $_" } sort keys %other));

$node->stop;
done_testing();

# Memory does not grow with the rows that a query returns, nor with the
# iterations of a loop, also if a node fails in each.  GOFLOW_ROWS=1000000 for more of them.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

plan skip_all => 'needs /proc' unless -r '/proc/self/status';

my $rows = $ENV{GOFLOW_ROWS} || 30_000;
my $allowed = 16 * 1024;    # kB, whatever the number of rows
my $node = new_server('memory', conf => "goflow.max_workers = 1\nwork_mem = '1MB'\nfsync = off\nmax_wal_size = '4GB'\n");

# What a process has for itself, in kB; 0 if it has gone.
sub memory
{
	my ($pid) = @_;
	my $status = eval { slurp_file("/proc/$pid/status") } || '';

	return $status =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
}

# The most that a process has until something is done.
sub peak
{
	my ($pid, $is_done) = @_;
	my ($peak, $rounds) = (0, 0);

	do
	{
		my $now = memory($pid);

		$peak = $now if $now > $peak;
		usleep(5_000);
	} until (++$rounds % 20 == 0 && $is_done->());
	return $peak;
}

# A row has 1 kB: all of them are many times what is allowed.
my $query = "SELECT i, repeat('x', 1000) AS filler FROM generate_series(1, input.n) i";
my %flows = (
	'failures' => qq{"l": {"type": "loop", "repeat": "input.n", "body": {"nodes": {
		"s": {"type": "sql", "sql": "SELECT 1 / 0 AS x", "on_error": "continue"}}}}},
	'rows of a query' => qq{"l": {"type": "loop", "for": "$query", "body": {"nodes": {
		"s": {"type": "set", "set": {"kept": "repeat(item.i::text, 20)"}}}}}},
	'rows of a node' => qq{"rows": {"type": "sql", "rows": "many", "sql": "$query"},
		"n": {"type": "sql", "after": "rows", "sql": "SELECT count(*) AS n FROM rows"},
		"l": {"type": "loop", "after": "n", "for": "rows", "body": {"nodes": {"s": {"type": "transform", "value": {"x": "length(item.filler)"}}}}}});

for my $name (sort keys %flows)
{
	my $end = $name eq 'failures' ? 'partial' : 'completed';

	define_nodes($node, 'many', $flows{$name}, '"input": {"n": "int"}, "variables": {"kept": "text = \'\'"}');

	# in a worker; a small one first fills its caches
	my $small = query($node, q{SELECT goflow.start('many', '{"n": 1000}')});
	ok(wait_for($node, "SELECT state = '$end' FROM goflow.status('$small')"), "$name: a small one");
	my ($pid) = processes($node, 'worker');
	my $before = memory($pid);
	my $execution = query($node, qq{SELECT goflow.start('many', '{"n": $rows}')});
	my $peak = peak($pid, sub { return query($node, "SELECT finished_at IS NOT NULL FROM goflow.status('$execution')") eq 't'; });

	is(query($node, "SELECT state FROM goflow.status('$execution')"), $end, "$name: $rows");
	is((processes($node, 'worker'))[0], $pid, 'the same worker all the time');
	cmp_ok($peak - $before, '<', $allowed, "it needs no memory for them: $before kB, at most $peak kB");

	# in run(), where errors are the caller's, or where they are not
	for my $raise ($name eq 'rows of a node' ? 'true' : 'false')
	{
		my $output = '';
		my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET application_name = 'inline'",
			map { ('-c', qq{SELECT goflow.run('many', '{"n": $_}', raise => $raise) IS NULL}) } 1000, $rows ],
			'<', \undef, '>', \$output);

		ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'inline'}), 'run() has begun');
		$peak = peak(query($node, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'inline'}),
			sub { $psql->pump_nb; return !$psql->pumpable; });
		$psql->finish;
		is(scalar(() = $output =~ /\w/g), 2, "$name: run() has done it, raise => $raise");
		cmp_ok($peak, '<', $before + $allowed, "it needs no memory for them: at most $peak kB");
	}
}
is_at_rest($node, 'memory');

$node->stop;
done_testing();

# Progress as a program sees it: examples/progress_feed.c and .sql, and follow().
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('feed');
my $examples = "$FindBin::RealBin/../../examples";
my $feed = PostgreSQL::Test::Utils::tempdir() . '/progress_feed';

query($node, q{
	CREATE TABLE gate (name text PRIMARY KEY);
	CREATE FUNCTION pass(gate text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 6000 LOOP
			IF EXISTS (SELECT FROM gate g WHERE g.name = pass.gate) THEN RETURN 'passed'; END IF;
			PERFORM pg_sleep(0.01);
		END LOOP;
		RAISE EXCEPTION 'gate % stays closed', gate;
	END $$;});
define_nodes($node, 'steps', q{
	"a": {"type": "sql", "sql": "SELECT pass('a') AS x"},
	"b": {"type": "sql", "after": "a", "sql": "SELECT pass('b') AS x"},
	"c": {"type": "sql", "after": "b", "sql": "SELECT 1 / (input.n + 1) AS x"},
	"d": {"type": "transform", "after": "c", "value": {"x": "c.x"}}},
	'"input": {"n": "int = 0"}, "output": {"x": "d.x"}');

sub open_gates { query($node, 'INSERT INTO gate VALUES ' . join(', ', map { "('$_')" } @_)); return; }
sub is_reached { return wait_for($node, "SELECT current_node = '$_[1]' FROM goflow.progress('$_[0]')"); }
sub lines { return map { decode_json($_) } grep { /^\{/ } split /\n/, $_[0]; }

# ---- libpq ----

SKIP:
{
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	my ($include, $lib) = map { chomp(my $dir = `$pg_config --$_`); $dir } qw(includedir libdir);
	skip 'libpq-fe.h is not installed', 13 unless -f "$include/libpq-fe.h" && -f "$examples/progress_feed.c";

	ok( IPC::Run::run(
			[ $ENV{CC} || 'cc', '-Wall', '-Wextra', '-Werror', "-I$include", "$examples/progress_feed.c",
				"-L$lib", "-Wl,-rpath,$lib", '-lpq', '-o', $feed ]),
		'the example compiles');

	my ($out, $err) = ('', '');
	my $e = query($node, q{SELECT goflow.start('steps')});
	is_reached($e, 'a');
	my $run = IPC::Run::start([ $feed, $node->connstr('postgres'), $e ], '>', \$out, '2>', \$err);
	$run->pump until $out =~ /\n/ || !$run->pumpable;
	my ($first) = lines($out);
	is_deeply([ @$first{qw(kind state total completed)}, $first->{percent} + 0 ], [ 'status', 'running', 4, 0, 0 ],
		'first the status');
	is($first->{execution}, $e, 'of the execution');
	open_gates('a');
	$run->pump until $out =~ /"completed": 1/ || !$run->pumpable;
	open_gates('b');
	$run->finish;
	my @messages = lines($out);
	is($run->result(0), 0, 'it says by its exit status that the execution completed');
	is($err, '', 'and has nothing else to say');
	is($messages[-1]{kind}, 'status', 'last the status');
	is_deeply([ @{ $messages[-1] }{qw(state completed)}, $messages[-1]{percent} + 0 ], [ 'completed', 4, 100 ], 'as it is then');
	is($messages[-2]{kind}, 'completed', 'before that, how it ended');
	my @middle = @messages[ 1 .. $#messages - 2 ];
	is(scalar(grep { $_->{kind} ne 'progress' && $_->{kind} ne 'started' } @middle), 0, 'between them what changed');
	my @percents = map { $_->{percent} + 0 } @messages;
	is_deeply([ sort { $a <=> $b } @percents ], \@percents, 'the percentage never falls');
	my %seen;
	is(scalar(grep { $seen{"$_->{kind} $_->{completed} $_->{state}"}++ } @middle), 0, 'nothing is told twice');

	# one that fails, and what does not exist
	$e = query($node, q{SELECT goflow.start('steps', '{"n": -1}')});
	IPC::Run::run([ $feed, $node->connstr('postgres'), $e ], '>', \$out);
	@messages = lines($out);
	is("$? $messages[-1]{state} $messages[-1]{error}{code}", '256 failed 22012', 'the final status has the error');
	IPC::Run::run([ $feed, $node->connstr('postgres'), '00000000-0000-7000-8000-000000000000' ], '>', \$out);
	is(join(' ', $? >> 8, map { "$_->{kind} $_->{code}" } lines($out)), '2 error WF102', 'an unknown execution is an error');
}

# ---- psql ----

query($node, 'TRUNCATE gate');
my $e = query($node, q{SELECT goflow.start('steps')});
is_reached($e, 'a');
my ($out, $err) = ('', '');
my $psql = IPC::Run::start(
	[ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-v', "execution=$e", '-d', $node->connstr('postgres'),
		'-f', "$examples/progress_feed.sql" ], '>', \$out, '2>', \$err);
$psql->pump until $out =~ /\n/ || !$psql->pumpable;
open_gates('a');
$psql->pump until $out =~ /Asynchronous/ || !$psql->pumpable;
ok($psql->pumpable, 'psql shows messages while the execution runs');
open_gates('b');
$psql->finish;
my @status = lines($out);
is($err, '', 'psql has no errors');
is(join(' ', map { "$_->{kind} $_->{state}" } @status), 'status running status completed', 'first and last the status');
like($out, qr/with payload "\{[^\n]*"event":"execution_completed"/, 'and the end in between');

# ---- follow() ----

query($node, 'TRUNCATE gate');
$e = query($node, q{SELECT goflow.start('steps')});
is_reached($e, 'a');
($out, $err) = ('', '');
my $follow = IPC::Run::start([ 'psql', '-XAt', '-d', $node->connstr('postgres'), '-c', "SELECT goflow.follow('$e')" ],
	'>', \$out, '2>', \$err);
$follow->pump until $err =~ /running/ || !$follow->pumpable;
like($err, qr/^NOTICE:  \[\.{30}\]   0%  running  a  about \d+\.\d s left$/m, 'a bar, the node that runs, what is left');
open_gates('a');
$follow->pump until $err =~ /running  b/ || !$follow->pumpable;
open_gates('b');
$follow->finish;
like($err, qr/^NOTICE:  \[#{30}\] 100%  completed$/m, 'and the end');
is($out, "completed\n", 'which it returns');

$node->stop;
done_testing();

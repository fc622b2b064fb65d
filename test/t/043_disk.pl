# A full disk: the node that fills it fails, with the server's error; whatever of
# goflow cannot be stored meanwhile is stored when there is room again.
use strict;
use warnings;

# A small file system of its own, which also who is not root may mount in a
# namespace: before anything else this program starts itself again in one.
BEGIN
{
	my @unshare = qw(unshare --user --map-current-user --keep-caps --mount);

	unless ($ENV{GOFLOW_SMALL_DISK})
	{
		require File::Temp;
		my $disk = File::Temp::tempdir();

		if (system("@unshare mount -t tmpfs tmpfs $disk 2>/dev/null") == 0)
		{
			exec @unshare, 'sh', '-c', 'mount -t tmpfs -o size=64m,mode=700 tmpfs "$0" && GOFLOW_SMALL_DISK="$0" exec "$@"',
			  $disk, $^X, (map { "-I$_" } @INC), $0;
		}
		rmdir $disk;
		require Test::More;
		Test::More::plan(skip_all => 'no file system can be mounted here (unshare --user --mount)');
	}
}

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = $ENV{GOFLOW_SMALL_DISK};
my $node = new_server('disk', extension => 0, conf => "log_min_messages = log\ngoflow.max_workers = 8\nmax_worker_processes = 16\n");
my $full = qr/No space left on device/;
my ($launcher, $out);

# All of the database is on the small disk but the effects; the log of the server
# (WAL) is not: PostgreSQL itself ends when there is no room for that.
mkdir "$disk/space";
query($node, "CREATE TABLESPACE small LOCATION '$disk/space'");
query($node, 'CREATE DATABASE small TABLESPACE small');
query($node, 'CREATE EXTENSION goflow', 'small');
query($node, 'SET default_tablespace = pg_default; CREATE TABLE effect (execution uuid, node text)', 'small');
query($node, q{
	CREATE TABLE big (x text); CREATE SEQUENCE filled; CREATE SEQUENCE failed; CREATE SEQUENCE is_full; CREATE SEQUENCE late;
	-- what it does to sequences is not rolled back: others see that it has come to its end
	CREATE FUNCTION fill() RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('filled');
		WHILE NOT (SELECT is_called FROM late) LOOP
			PERFORM pg_sleep(0.05);
		END LOOP;
		INSERT INTO big SELECT repeat(md5(g::text), 60) FROM (SELECT generate_series(1, 1000000) AS g) x;
		RETURN 1;
	EXCEPTION WHEN disk_full THEN
		PERFORM nextval('is_full');
		RAISE;
	END $$;
	-- what does not get smaller when it is compressed
	CREATE FUNCTION noise() RETURNS text LANGUAGE sql AS 'SELECT string_agg(md5(random()::text), NULL) FROM generate_series(1, 200)';
	CREATE FUNCTION fail_late() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('late'), until_full(), nextval('failed');
		RAISE 'no luck' USING DETAIL = noise();
	END $$;
	CREATE FUNCTION until_full() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT (SELECT is_called FROM is_full) LOOP
			PERFORM pg_sleep(0.05);
		END LOOP;
	END $$}, 'small');
query($node, 'CREATE EXTENSION goflow');
create_effects($node);
define_chain($node, 'chain', 3);
define_chain($node, 'chain', 3, 'small');
# each of them leaves a lot in the journal: at once, or when the disk is full
define_nodes($node, 'slow', Goflow::effect_node('a', undef, 'CASE WHEN input.full THEN until_full()::text END') . ',
	"n": {"type": "sql", "after": "a", "sql": "SELECT noise() AS x FROM pg_sleep(0.01)"}, ' . Goflow::effect_node('b', 'n'), '"input": {"full": "bool = false"}', 'small');
define_nodes($node, 'waits', Goflow::effect_node('a') . ', "d": {"type": "delay", "after": "a", "for": "interval \'1 s\'"}, "n": {"type": "sql", "after": "d", "sql": "SELECT noise() AS x"}, ' . Goflow::effect_node('b', 'n'), '', 'small');
define_nodes($node, 'fails', '"bad": {"type": "sql", "sql": "SELECT fail_late() AS x"}', '', 'small');
define_nodes($node, 'sorts', '"bad": {"type": "sql", "sql": "SELECT count(*) FROM (SELECT g, repeat($$x$$, 500) || random() AS r FROM generate_series(1, 1000000) g ORDER BY r) x"}', '', 'small');
define_nodes($node, 'fills', '"bad": {"type": "sql", "sql": "SELECT fill() AS x"}', '', 'small');

sub errors { my $n = () = slurp_file($node->logfile) =~ /$full/g; return $n; }

# Something that can be taken away.
sub ballast
{
	my ($megabytes) = @_;

	open(my $file, '>', "$disk/ballast") or die $!;
	print $file 'x' x 1048576 for 1 .. $megabytes;
	close $file;
}

sub state_of
{
	my ($workflow) = @_;

	return query($node, "SELECT string_agg(concat_ws(' ', n, state, code, node, message), ', ') FROM (SELECT count(*) AS n, state, error->>'code' AS code,"
		  . " error->>'node' AS node, error->>'message' AS message FROM goflow.executions WHERE workflow = '$workflow' GROUP BY 2, 3, 4, 5) x", 'small');
}

sub start_neighbours
{
	my ($full, @more) = @_;

	query($node, 'BEGIN; ' . join(' ', map { "SELECT count(*) FROM goflow.start_many('$_->[0]', array_fill('$_->[2]'::jsonb, ARRAY[$_->[1]]));" }
			[ 'chain', 300, '{}' ], [ 'waits', 100, '{}' ], [ 'slow', 3, qq({"full": $full}) ], @more) . ' COMMIT', 'small');
}

sub neighbours_complete
{
	my ($what) = @_;

	wait_until_finished($node, $what, 'small');
	is(query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow IN ('chain', 'slow', 'waits') AND state <> 'completed'}, 'small'), '0',
		"$what: the neighbours completed");
	is_exactly_once($node, $what, 'small');
	is_at_rest($node, $what, 'small');
}

ballast(16);
start_many($node, 'chain', 50);
start_neighbours('false');
neighbours_complete('before');
($launcher) = processes($node, 'launcher');

# ---- temporary files: there is room again when the node has failed ----

start_neighbours('false', [ 'sorts', 1, '{}' ]);
neighbours_complete('temporary files');
like(state_of('sorts'), qr/^1 failed 53100 bad could not write to file .*$full/, 'the node failed with the error of the server');

# ---- a table: not even the journal can be written ----

start_neighbours('true', [ 'fails', 2, '{}' ], [ 'fills', 1, '{}' ]);
ok(wait_for($node, "SELECT pg_read_file('" . $node->logfile . "') ~ 'there is no room on the disk to store'"), 'the disk is full');

my $since = time;
$out = errors();
start_many($node, 'chain', 50);
ok(wait_for($node, 'SELECT bool_and(finished_at IS NOT NULL) FROM goflow.executions'), 'another database works');
ok(wait_for($node, q{SELECT clock_timestamp() > pg_postmaster_start_time() AND pg_sleep(3) IS NOT NULL}), 'three seconds pass');
# each of 8 workers tries six times, and pauses for a second
$out = errors() - $out;
cmp_ok($out, '<', 8 * 7 * (time - $since + 2), "$out errors meanwhile: no busy loop");
is(query($node, q{SELECT count(*) > 0 FROM goflow.executions WHERE finished_at IS NULL}, 'small'), 't', 'work waits');
is((processes($node, 'launcher'))[0], $launcher, 'the launcher is the same');
unlink "$disk/ballast";
neighbours_complete('room again');
like(state_of('fills'), qr/^1 failed 53100 bad could not extend file .*$full/, 'the node failed with the error of the server');
is(query($node, q{SELECT last_value FROM filled}, 'small'), '1', 'it ran once, and did not fill the disk again');
is(state_of('fails'), '2 failed P0001 bad no luck', 'others failed with errors of their own');
is(query($node, q{SELECT last_value FROM failed}, 'small'), '2', 'and ran once, too');
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.health() WHERE kind = 'trouble'}, undef, 'small'), 'nothing is in trouble');

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|was terminated by signal|all server processes terminated/, 'the server never broke');
like($log, qr/there is no room on the disk to store (what a node gave|the error of a node): .*$full/, 'the log says what is waited for');

$node->stop;
done_testing();

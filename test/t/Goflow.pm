# What the TAP tests share: servers with goflow, waiting with a bound, and the
# check that every effect is there exactly once.
package Goflow;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run;
use List::Util qw(first);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_server create_effects define_nodes define_chain define_slow define_held let_go start_many
  query query_as try_query setting wait_for wait_until_finished is_exactly_once is_at_rest leaves_nothing
  processes kill_process crash seconds pause_up_to seed_random health
);

# Longest wait for anything, in seconds.
our $bound = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 90;

my $conf = $ENV{GOFLOW_CONF} || dirname(__FILE__) . '/../goflow.conf';

# A running server.  conf: more lines for postgresql.conf; extension => 0: goflow
# is preloaded but in no database; init: arguments of Cluster::init; cluster: of
# Cluster::new.
sub new_server
{
	my ($name, %args) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, %{ $args{cluster} || {} });

	$node->init(%{ $args{init} || {} });
	$node->append_conf('postgresql.conf',
		slurp_file($conf) . "log_statement = none\nrestart_after_crash = on\nautovacuum = off\n");
	$node->append_conf('postgresql.conf', $args{conf}) if $args{conf};
	$node->start;
	unless (defined $args{extension} && !$args{extension})
	{
		query($node, 'CREATE EXTENSION goflow');
		create_effects($node);
	}
	return $node;
}

# Without a unique constraint: a second effect must be seen, not prevented.
# until_opened() sleeps until let_go() is called for that gate.
sub create_effects
{
	my ($node, $database) = @_;

	query($node, 'CREATE TABLE effect (execution uuid, node text,'
		  . ' current_name name DEFAULT current_user, session_name name DEFAULT session_user,'
		  . ' pid int DEFAULT pg_backend_pid());'
		  . ' GRANT SELECT, INSERT ON effect TO PUBLIC;'
		  . ' CREATE TABLE opened (gate text PRIMARY KEY); GRANT SELECT ON opened TO PUBLIC;'
		  . q{ CREATE FUNCTION until_opened(gate text) RETURNS text LANGUAGE plpgsql AS $$
			BEGIN
				WHILE NOT EXISTS (SELECT FROM public.opened o WHERE o.gate = until_opened.gate) LOOP PERFORM pg_sleep(0.05); END LOOP;
				RETURN gate;
			END $$}, $database);
}

sub query
{
	my ($node, $sql, $database) = @_;

	return $node->safe_psql($database || 'postgres', $sql);
}

# The same as another role, that may log in.
sub query_as
{
	my ($node, $role, $sql, $database) = @_;

	return $node->safe_psql($database || 'postgres', $sql, extra_params => [ '-U', $role ]);
}

# query() where the server may be away: (succeeded, output, errors).  The query
# is an argument, since writing to a psql that could not connect is an error.
sub try_query
{
	my ($node, $sql, $database) = @_;
	my ($out, $err) = ('', '');
	my $done = IPC::Run::run(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database || 'postgres'), '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err);

	chomp $out;
	return ($done, $out, $err);
}

# Defines a workflow: name, nodes as JSON, further keys as JSON.
sub define_nodes
{
	my ($node, $name, $nodes, $more, $database) = @_;

	$more = defined $more && $more ne '' ? ", $more" : '';
	return query($node, "SELECT goflow.define('$name', \$goflow\${\"nodes\": {$nodes}$more}\$goflow\$)",
		$database);
}

sub effect_node
{
	my ($id, $after, $before) = @_;

	$before = defined $before ? "WITH b AS MATERIALIZED (SELECT $before)" : '';
	$after = defined $after ? ", \"after\": [\"$after\"]" : '';
	return "\"$id\": {\"type\": \"sql\", \"rows\": \"none\"$after, \"sql\": "
	  . "\"$before INSERT INTO effect SELECT execution.id, '$id'"
	  . ($before ? ' FROM b' : '') . '"}';
}

# Steps one after the other, each with one effect.
sub define_chain
{
	my ($node, $name, $steps, $database, $more) = @_;

	define_nodes($node, $name,
		join(', ', map { effect_node("s$_", $_ > 1 ? 's' . ($_ - 1) : undef) } 1 .. $steps),
		$more, $database);
}

# The same with nodes that take a while, so that each runs in node mode.
sub define_slow
{
	my ($node, $name, $steps, $seconds, $database, $more) = @_;

	define_nodes($node, $name,
		join(', ', map {
			effect_node("s$_", $_ > 1 ? 's' . ($_ - 1) : undef, "pg_sleep($seconds)") } 1 .. $steps),
		$more, $database);
}

# The same with nodes that run until let_go() is called with the workflow's name.
sub define_held
{
	my ($node, $name, $steps, $database, $more) = @_;

	define_nodes($node, $name,
		join(', ', map {
			effect_node("s$_", $_ > 1 ? 's' . ($_ - 1) : undef, "public.until_opened('$name')") } 1 .. $steps),
		$more, $database);
}

# Lets those go on that wait at a gate (until_opened), and waits for the end of all
# executions; later ones wait again.
sub let_go
{
	my ($node, $gate, $what, $database) = @_;

	query($node, "INSERT INTO opened VALUES ('$gate')", $database);
	wait_until_finished($node, $what, $database);
	return query($node, 'TRUNCATE opened', $database);
}

# Starts executions in one transaction.
sub start_many
{
	my ($node, $workflow, $n, $database) = @_;

	return query($node, "SELECT count(*) FROM goflow.start_many('$workflow',"
		  . " array_fill('{}'::jsonb, ARRAY[$n]))", $database);
}

# Waits until a query gives 't' (or what is expected).  Connections that fail
# count as "not yet".
sub wait_for
{
	my ($node, $sql, $what, $database, $expected) = @_;
	my $deadline = time() + $bound;
	my ($done, $out, $err);

	$expected = 't' unless defined $expected;
	$what = $sql unless defined $what;
	while (time() < $deadline)
	{
		($done, $out, $err) = try_query($node, $sql, $database);
		return 1 if $done && $out eq $expected;
		usleep(20_000);
	}
	diag("waited in vain: $what\nlast answer: $out\n$err\n"
		  . health($node, $database));
	return 0;
}

# Gives a setting of the server a value, and waits until it is in force.
sub setting
{
	my ($node, $name, $value) = @_;

	query($node, "ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	return wait_for($node, "SELECT current_setting('$name') = '$value'", "$name is $value");
}

sub health
{
	my ($node, $database) = @_;

	return join(
		'', (try_query($node, "SELECT 'health: ' || h::text FROM goflow.health() h"
		  . " UNION ALL SELECT 'live: ' || e::text FROM (SELECT execution, workflow, state FROM goflow.executions"
		  . " WHERE finished_at IS NULL LIMIT 10) e"
		  . " UNION ALL SELECT 'process: ' || p::text FROM (SELECT pid, backend_type, state, wait_event,"
		  . " left(query, 80) FROM pg_stat_activity WHERE backend_type ~ 'goflow') p", $database))[ 1, 2 ]);
}

sub wait_until_finished
{
	my ($node, $what, $database) = @_;

	return ok(
		wait_for($node, 'SELECT NOT EXISTS (SELECT FROM goflow.executions WHERE finished_at IS NULL)',
			'every execution finishes', $database),
		"$what: every execution finishes");
}

# Each node that completed has one effect (of the nodes that have effects), and
# there is no other.
sub is_exactly_once
{
	my ($node, $what, $database) = @_;

	return is(
		query($node, q{
			WITH expected AS (
				SELECT e.execution, n.node, e.state
				FROM goflow.executions e, goflow.nodes(e.execution) n
				WHERE n.state = 'completed' AND n.node IN (SELECT node FROM effect)),
			effects AS (SELECT execution, node, count(*) AS n FROM effect GROUP BY 1, 2)
			SELECT count(*) FILTER (WHERE f.n IS NULL), count(*) FILTER (WHERE x.node IS NULL),
				count(*) FILTER (WHERE f.n > 1)
			FROM expected x FULL JOIN effects f USING (execution, node)}, $database),
		'0|0|0',
		"$what: every effect exactly once (lost, not in the journal, doubled)");
}

# Nothing is left behind in shared memory once there is nothing to do.
sub is_at_rest
{
	my ($node, $what, $database) = @_;

	return ok(
		wait_for($node, q{
			SELECT bool_and(value = 0) FROM goflow.health()
			WHERE (kind, name) IN (('queue', 'queued'), ('queue', 'claimed'), ('queue', 'offered nodes'),
				('workers', 'busy'), ('workers', 'woken'), ('workers', 'starting'), ('tracker', 'used'))},
			'nothing is queued, claimed, offered or tracked', $database),
		"$what: no claim, slot or offer is left");
}

# Nothing at all is left of executions that have been, once all of them were
# purged and every process that is not needed has left.
sub leaves_nothing
{
	my ($node, $what, $database) = @_;
	my $tables = query($node, q{
		SELECT string_agg(format('(SELECT count(*) FROM %s)', attrelid::regclass), ' + ') FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
		WHERE relnamespace = 'goflow'::regnamespace AND relkind = 'r' AND attname = 'execution_id'}, $database);

	return ok(
		wait_for($node, q{
			SELECT concat_ws(', ',
				(SELECT string_agg(value || ' ' || name || ' workers', ', ') FROM goflow.health() WHERE kind = 'workers'
					AND name IN ('starting', 'idle', 'woken', 'busy') AND value > 0),
				(SELECT string_agg(name || ' ' || detail, ', ') FROM goflow.health() WHERE kind = 'trouble' OR (kind, name) = ('server', 'launcher') AND value <> 1),
				(SELECT count(*) || ' goflow processes' FROM pg_stat_activity WHERE backend_type IN ('goflow worker', 'goflow scheduler') HAVING count(*) > 0),
				(SELECT count(*) || ' locks' FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
					WHERE (a.pid IS NULL OR backend_type ~ 'goflow' OR locktype = 'advisory') HAVING count(*) > 0),
				(SELECT count(*) || ' prepared transactions' FROM pg_prepared_xacts HAVING count(*) > 0),
				(SELECT count(*) || ' replication slots' FROM pg_replication_slots HAVING count(*) > 0),
				(SELECT count(*) || ' temporary files' FROM pg_tablespace t, pg_ls_tmpdir(t.oid) WHERE spcname <> 'pg_global' HAVING count(*) > 0),
				(SELECT count(*) || ' temporary tables' FROM pg_class WHERE relpersistence = 't' HAVING count(*) > 0),
				(SELECT n || ' rows' FROM (SELECT } . $tables . q{) x (n) WHERE n > 0))},
			'nothing is left behind', $database, ''),
		"$what: no row, worker, lock, temporary file or trouble is left");
}

# Process ids of a kind: launcher, scheduler, worker; helper: a worker in pg_sleep().
sub processes
{
	my ($node, $kind) = @_;
	my $type = $kind eq 'helper' ? 'worker' : $kind;
	my (undef, $out) = try_query($node,
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'goflow $type'"
		  . ($kind eq 'helper' ? " AND wait_event = 'PgSleep'" : ''));

	return split /\n/, $out;
}

# Signals one process of a kind, chosen at random; false if there is none.
sub kill_process
{
	my ($node, $kind, $signal) = @_;
	my @pids = processes($node, $kind);

	return 0 unless @pids;
	return kill($signal, $pids[ int(rand(@pids)) ]);
}

# Stops the server at once ("immediate"), or kills a process of a kind, the first of
# several kinds that there is, and waits until the server is back; a crash of one
# process makes the postmaster restart all of them: the launcher is another one
# then.  While there is no such process, "meanwhile" is called now and then.
sub crash
{
	my ($node, $kinds, $meanwhile) = @_;
	my ($launcher) = processes($node, 'launcher');

	if ($kinds eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
		return wait_for($node, q{SELECT value = 1 FROM goflow.health() WHERE name = 'launcher'});
	}
	my $deadline = time() + $bound;
	for (my $try = 1; time() < $deadline; $try++)
	{
		$meanwhile->() if $meanwhile && $try % 20 == 0;
		next unless first { kill_process($node, $_, 'KILL') } split / /, $kinds;
		return wait_for($node,
			"SELECT pid <> $launcher FROM pg_stat_activity WHERE backend_type = 'goflow launcher'",
			'the server is back');
	}
	return 0;
}

# How long something takes.
sub seconds(&)
{
	my ($code) = @_;
	my $start = time();

	$code->();
	return time() - $start;
}

# Chooses the moment of a fault; nothing relies on it.
sub pause_up_to
{
	my ($milliseconds) = @_;

	usleep(int(rand($milliseconds * 1000)));
}

# GOFLOW_SEED repeats the choices of an earlier run.
sub seed_random
{
	my $seed = $ENV{GOFLOW_SEED} || int(time() * 1000) % 1_000_000;

	srand($seed);
	note("seed $seed: repeat with GOFLOW_SEED=$seed");
	return $seed;
}

1;

# Beside other extensions: they see the statements of nodes, whichever was loaded first.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($libdir) = map { chomp; $_ } `pg_config --pkglibdir`;
my $conf = "compute_query_id = on\nauto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\nauto_explain.log_nested_statements = on\n"
  . "log_min_messages = log\ngoflow.max_workers = 2\n";

for my $order ('goflow, pg_stat_statements, auto_explain', 'auto_explain, pg_stat_statements, goflow')
{
	my $node = new_server('beside_' . ($order =~ /^goflow/ ? 'first' : 'last'), conf => "shared_preload_libraries = '$order'\n$conf");
	my $log;

	# (the table is there: two that make it at one time may fail)
	query($node, 'CREATE EXTENSION pg_stat_statements; CREATE TABLE marked_ddl (x int); SELECT pg_stat_statements_reset()');
	define_chain($node, 'chain', 3);
	define_nodes($node, 'mixed',
		'"read": {"type": "sql", "sql": "SELECT count(*) AS marked_read FROM effect"},'
		  . '"slow": {"type": "sql", "after": "read", "sql": "SELECT pg_sleep(0.1)::text AS marked_slow"},'
		  . '"ddl": {"type": "sql", "after": "slow", "sql": "CREATE TABLE IF NOT EXISTS marked_ddl (x int)"},'
		  . '"vacuum": {"type": "sql", "after": "ddl", "atomic": false, "sql": "VACUUM effect"}');
	for my $round (1 .. 3)
	{
		start_many($node, 'chain', 50);
		start_many($node, 'mixed', 2);
		wait_until_finished($node, "$order: round $round");
	}
	is(query($node, q{SELECT count(*) FROM goflow.executions WHERE state <> 'completed'}), '0', "$order: all completed");
	is_exactly_once($node, $order);

	is(query($node, q{SELECT calls FROM pg_stat_statements WHERE query LIKE '%INSERT INTO effect%s1%' OR query LIKE '%INSERT INTO effect SELECT execution.id, $%' ORDER BY calls DESC LIMIT 1}) >= 150, 1,
		"$order: pg_stat_statements counts every run of a node") or diag(query($node, q{SELECT calls, left(query, 100) FROM pg_stat_statements ORDER BY 1}));
	# (more where a batch was rolled back and its nodes run again)
	is(query($node, q{SELECT bool_and(calls >= 6) FROM pg_stat_statements WHERE query ~ 'marked_(slow|read)' AND query !~ 'pg_stat|define'}), 't',
		"$order: of those in node mode, too");
	is(query($node, q{SELECT count(*) FROM pg_stat_statements WHERE query ~ '^(CREATE TABLE IF NOT EXISTS marked|VACUUM effect)'}), '2',
		"$order: and utility statements");

	$node->stop;
	$log = slurp_file($node->logfile);
	# (not like(): the log is long)
	ok($log =~ /plan:\n\s*Query Text: SELECT pg_sleep\(0\.1\)::text AS marked_slow\n[^\n]*\n[^\n]*CONTEXT: [^\n]*\n\tnode "slow" of workflow "mixed", version 1\n/,
		"$order: auto_explain logs the plan, with node and workflow");
	ok($log =~ /Query Text:  INSERT INTO effect SELECT execution\.id, 's2'\n(?:\t[^\n]*\n)+[^\n]*CONTEXT: [^\n]*\n\tnode "s2" of workflow "chain", version 1\n/,
		"$order: in batches as well");
	ok($log !~ /PANIC|was terminated|server process/, "$order: without trouble");
}

# Those that a packager may have put there; nothing is asked of most of them but to be there.
my %conf_of = (
	# (of one role alone, so that its setting has to reach its worker)
	pgaudit => "pgaudit.log = 'none'\npgaudit.log_relation = on\npgaudit.log_parameter = on\n",
	pg_cron => "cron.use_background_workers = on\n");
my %more_of = (pgaudit => \&audited, pg_cron => \&by_cron);

for my $other (qw(pgaudit pg_cron pg_stat_monitor pg_qualstats pg_wait_sampling plpgsql_check))
{
	SKIP:
	{
		skip "$other is not installed", 2 unless -e "$libdir/$other.so";
		for my $order ("$other, goflow", "goflow, $other")
		{
			subtest $order => sub { beside($other, $order) };
		}
	}
}

done_testing();

sub beside
{
	my ($other, $order) = @_;
	my $node = new_server($order =~ s/, /_/r, conf => "shared_preload_libraries = '$order'\n" . ($conf_of{$other} // ''));

	define_chain($node, 'chain', 3);
	define_nodes($node, 'fails', Goflow::effect_node('f', undef, '1 / 0'));
	start_many($node, 'chain', 50);
	start_many($node, 'fails', 5);
	wait_until_finished($node, $order);
	is(query($node, 'SELECT workflow, state, count(*) FROM goflow.executions GROUP BY 1, 2 ORDER BY 1'),
		"chain|completed|50\nfails|failed|5", 'each ends as it does alone');
	$more_of{$other}->($node) if $more_of{$other};
	is_exactly_once($node, $order);
	$node->stop;
	ok(slurp_file($node->logfile) !~ /PANIC|was terminated|server process|WARNING|stack is not empty/, 'without trouble');
}

# What the nodes of a role do is in the audit log, with what they were given.
sub audited
{
	my ($node) = @_;
	my $ada = 'SET SESSION AUTHORIZATION ada; ';
	my (%input, $log);

	query($node, q{
		CREATE EXTENSION pgaudit;
		CREATE ROLE ada LOGIN; GRANT CREATE ON SCHEMA public TO ada; SELECT goflow.grant_usage('ada');
		ALTER ROLE ada SET pgaudit.log = 'all';
		CREATE FUNCTION caught() RETURNS text LANGUAGE plpgsql AS $$
		BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN RETURN 'caught'; END $$});
	query($node, $ada . q{CREATE TABLE marked AS SELECT 1 AS x; SELECT goflow.define('audited', '{"input": {"i": "int"}, "nodes": {
		"write": {"type": "sql", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, ''write'' WHERE input.i >= 0"},
		"catch": {"type": "sql", "after": "write", "sql": "SELECT caught()"},
		"read": {"type": "sql", "after": "catch", "sql": "SELECT count(*) AS marked_read FROM effect"},
		"ddl": {"type": "sql", "after": "read", "sql": "CREATE TEMPORARY TABLE marked_ddl (x int) ON COMMIT DROP"},
		"vacuum": {"type": "sql", "after": "ddl", "atomic": false, "sql": "VACUUM marked"},
		"fail": {"type": "sql", "after": "vacuum", "sql": "DELETE FROM marked WHERE x = 1 / (SELECT 0)"}}}')});
	query($node, $ada . q{SELECT count(*) FROM goflow.start_many('audited', (SELECT array_agg(jsonb_build_object('i', 4242000 + g)) FROM generate_series(1, 20) g))});
	wait_until_finished($node, 'audited');

	$log = slurp_file($node->logfile);
	# (more where a node was rolled back and run again)
	for my $what ('WRITE,INSERT,TABLE,public\.effect,', 'WRITE,DELETE,TABLE,public\.marked,', 'READ,SELECT,TABLE,public\.effect,"?SELECT count',
		'FUNCTION,EXECUTE,FUNCTION,public\.caught,', 'DDL,CREATE TABLE,TABLE,pg_temp\.marked_ddl,', 'MISC,VACUUM,,,')
	{
		cmp_ok(() = $log =~ /AUDIT: SESSION,\d+,\d+,$what/g, '>=', 20, "audited: $what");
	}
	$input{$1}++ while $log =~ /AUDIT: SESSION,\d+,\d+,WRITE,INSERT,TABLE,public\.effect,[^\n]*(42420\d\d)/g;
	is(keys %input, 20, 'with the input of each');
	ok($log !~ /AUDIT: [^\n]*\bchain\b/, 'nothing of other roles');
}

# A node makes a job of pg_cron, and the job starts an execution.
sub by_cron
{
	my ($node) = @_;

	query($node, 'CREATE EXTENSION pg_cron');
	define_nodes($node, 'schedule', q{"job": {"type": "sql", "sql": "SELECT cron.schedule('at start', '@reboot', 'SELECT goflow.start(''chain'')')"}});
	start_many($node, 'schedule', 1);
	wait_until_finished($node, 'schedule');
	$node->restart;
	ok(wait_for($node, q{SELECT count(*) = 51 FROM goflow.executions WHERE workflow = 'chain' AND state = 'completed'}), 'a job starts an execution')
	  or diag(query($node, 'SELECT * FROM cron.job_run_details'));
}

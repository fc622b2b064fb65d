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
	is(query($node, q{SELECT bool_and(calls = 6) FROM pg_stat_statements WHERE query ~ 'marked_(slow|read)' AND query !~ 'pg_stat|define'}), 't',
		"$order: of those in node mode, too");
	is(query($node, q{SELECT count(*) FROM pg_stat_statements WHERE query ~ '^(CREATE TABLE IF NOT EXISTS marked|VACUUM effect)'}), '2',
		"$order: and utility statements");

	$node->stop;
	$log = slurp_file($node->logfile);
	# (not like(): the log is long)
	ok($log =~ /plan:\n\s*Query Text: SELECT pg_sleep\(0\.1\)::text AS marked_slow\n[^\n]*\n[^\n]*CONTEXT: [^\n]*\n\tnode "slow" of workflow "mixed", version 1\n/,
		"$order: auto_explain logs the plan, with node and workflow");
	ok($log =~ /Query Text:  INSERT INTO effect SELECT execution\.id, 's2'\n[^\n]*\n[^\n]*\n[^\n]*CONTEXT: [^\n]*\n\tnode "s2" of workflow "chain", version 1\n/,
		"$order: in batches as well");
	ok($log !~ /PANIC|was terminated|server process/, "$order: without trouble");
}

# Those that a packager may have put there; nothing is asked of them but to be there.
for my $other (qw(pgaudit pg_cron pg_stat_monitor pg_qualstats pg_wait_sampling plpgsql_check))
{
	SKIP:
	{
		skip "$other is not installed", 2 unless -e "$libdir/$other.so";
		my $node = new_server("beside_$other", conf => "shared_preload_libraries = '$other, goflow'\npgaudit.log = 'all'\n");

		define_chain($node, 'chain', 3);
		start_many($node, 'chain', 50);
		wait_until_finished($node, "beside $other");
		is_exactly_once($node, "beside $other");
		$node->stop;
	}
}

done_testing();

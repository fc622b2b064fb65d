# pg_upgrade: live executions go on in the new server.  Wants an older server with
# goflow: oldinstall=/usr/lib/postgresql/15.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'oldinstall names no older server' unless $ENV{oldinstall};

my $old = new_server('old', cluster => { install_path => $ENV{oldinstall} });
my $live = 12;

query($old, q{
	CREATE ROLE ada LOGIN; SELECT goflow.grant_usage('ada'); GRANT CREATE ON SCHEMA public TO ada;
	CREATE TABLE gate (is_open bool); GRANT SELECT ON gate TO PUBLIC;
	CREATE TABLE orders (id int)});
define_chain($old, 'chain', 3);
define_nodes($old, 'on_order', '"t": {"type": "trigger", "table": "orders", "events": ["insert"]}, ' . Goflow::effect_node('o', 't'));
define_nodes($old, 'gated', Goflow::effect_node('a')
	  . ', "l": {"type": "loop", "after": "a", "repeat": 2, "body": {"nodes": {"gate": {"type": "sql", "sql": "SELECT 1 / (SELECT count(*) FROM gate) AS x",'
	  . ' "retry": {"attempts": 1000, "backoff": "200 ms", "factor": 1}}}}}, ' . Goflow::effect_node('b', 'l'));
query($old, q{SELECT goflow.grant_start('gated', 'ada')});
start_many($old, 'chain', 20);
query($old, "SET SESSION AUTHORIZATION ada; SELECT count(*) FROM goflow.start_many('gated', array_fill('{}'::jsonb, ARRAY[$live]))");
ok(wait_for($old, q{SELECT count(*) FROM goflow.pending WHERE kind = 'r'}, undef, undef, $live), 'executions are live, in the middle of a loop');
my $before = query($old, q{SELECT execution, workflow, version, run_as, created_at FROM goflow.executions ORDER BY 1});
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ $new->pg_version >= 18 ? '--no-data-checksums' : () ]);
$new->append_conf('postgresql.conf', slurp_file($ENV{GOFLOW_CONF} || "$FindBin::RealBin/../goflow.conf"));
chdir $new->basedir;
$new->command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', "$ENV{oldinstall}/bin",
		'-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade') or diag(map { slurp_file($_) =~ s/.*(?=pg_restore: error)//sr } glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_dump_*.log'));
$new->start;

is(query($new, q{SELECT execution, workflow, version, run_as, created_at FROM goflow.executions ORDER BY 1}), $before, 'everything is there');
is(query($new, q{SELECT value FROM goflow.health() WHERE name = 'foreign executions'}), '0', 'it is the same server');
is(query($new, q{SELECT has_function_privilege('ada', 'goflow.start(text, jsonb, text, int, text, int)', 'EXECUTE')}), 't', 'with its grants');
query($new, 'INSERT INTO gate VALUES (true); INSERT INTO orders VALUES (1)');
wait_until_finished($new, 'after pg_upgrade');
is(query($new, q{SELECT workflow, state, count(*) FROM goflow.executions GROUP BY 1, 2 ORDER BY 1}),
	"chain|completed|20\ngated|completed|$live\non_order|completed|1", 'what was live has completed');
is_exactly_once($new, 'after pg_upgrade');
define_chain($new, 'chain', 2);
start_many($new, 'chain', 10);
wait_until_finished($new, 'a new version');
is_at_rest($new, 'after pg_upgrade');
$new->stop;

done_testing();

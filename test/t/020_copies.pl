# Copies of a database: what is the same server goes on, what is a copy waits for adopt().
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_server('primary', extension => 0,
	init => { has_archiving => 1, allows_streaming => 'logical' });
my $live = 20;
my $err;

# Executions that stay live until the gate of their database is opened.
sub fill
{
	my ($node, $database) = @_;

	query($node, "CREATE DATABASE $database");
	query($node, 'CREATE EXTENSION goflow', $database);
	create_effects($node, $database);
	query($node, q{
		CREATE TABLE gate (is_open bool PRIMARY KEY);
		GRANT SELECT ON gate TO PUBLIC;
		CREATE TABLE orders (id int PRIMARY KEY);
		SELECT goflow.grant_usage('app')}, $database);
	define_chain($node, 'chain', 3, $database);
	define_nodes($node, 'gated', Goflow::effect_node('a')
		  . ', "gate": {"type": "sql", "after": "a", "sql": "SELECT 1 / (SELECT count(*) FROM gate) AS x",'
		  . ' "retry": {"attempts": 1000, "backoff": "1 s", "factor": 1}}, ' . Goflow::effect_node('b', 'gate'),
		'', $database);
	define_nodes($node, 'on_order', '"t": {"type": "trigger", "table": "orders", "events": ["insert"]}, '
		  . Goflow::effect_node('o', 't'), '', $database);
	start_many($node, 'chain', 5, $database);
	start_many($node, 'gated', $live, $database);
	ok(wait_for($node, q{SELECT count(*) FROM effect WHERE node = 'a'}, undef, $database, $live), "$database: $live executions are live");
}

sub open_gate { my ($node, $database) = @_; query($node, 'INSERT INTO gate VALUES (true)', $database); }

# A copy has all that there was, runs none of it, works by itself, and runs all of it once it may.
sub check_copy
{
	my ($node, $database, $what, $finished) = @_;
	my $foreign = q{SELECT value FROM goflow.health() WHERE name = 'foreign executions'};
	my $execution;

	is(query($node, q{SELECT string_agg(workflow, ' ' ORDER BY workflow) FROM goflow.workflows}, $database),
		'chain gated on_order', "$what: the definitions are there");
	is(query($node, q{SELECT count(*) FROM goflow.executions WHERE state = 'completed'}, $database), $finished,
		"$what: and the executions");
	is(query($node, q{SELECT has_function_privilege('app', 'goflow.cancel(uuid, text)', 'EXECUTE')
			AND has_schema_privilege('app', 'goflow', 'USAGE')}, $database), 't', "$what: and what was granted");
	is(query($node, $foreign, $database), $live, "$what: what is live is foreign");

	open_gate($node, $database);
	$execution = query($node, q{SELECT execution FROM goflow.executions WHERE finished_at IS NULL LIMIT 1}, $database);
	for my $call ("cancel('$execution')", "pause('$execution')")
	{
		$node->psql($database, "SELECT goflow.$call", stderr => \$err);
		like($err, qr/belongs to another database.*adopt/s, "$what: $call says why not");
	}
	like(query($node, "SELECT goflow.wait('$execution', '50 ms')", $database), qr/^(running|waiting)$/, "$what: wait() can be called");

	start_many($node, 'chain', 10, $database);
	query($node, 'INSERT INTO orders VALUES (1), (2)', $database);
	ok(wait_for($node, q{SELECT count(*) FROM goflow.executions WHERE state = 'completed'}, undef, $database, $finished + 12),
		"$what: what is started here runs");
	# the slow search of the tables comes by as well
	query($node, 'ALTER SYSTEM SET goflow.rescan_interval = 1');
	query($node, 'SELECT pg_reload_conf()');

	is(query($node, q{SELECT count(*) FROM effect WHERE node = 'b'}, $database), '0', "$what: what is foreign does not");
	query($node, 'ALTER SYSTEM RESET goflow.rescan_interval');
	query($node, 'SELECT pg_reload_conf()');

	is(query($node, 'SELECT goflow.adopt()', $database), $live, "$what: adopt()");
	wait_until_finished($node, $what, $database);
	is_exactly_once($node, $what, $database);
	is(query($node, q{SELECT count(*) FROM effect WHERE node = 'b'}, $database), $live, "$what: all of them ran");
	is(query($node, $foreign, $database), '0', "$what: nothing is foreign any more");
	is(query($node, 'SELECT goflow.adopt()', $database), '0', "$what: adopt() again does nothing");
	define_chain($node, 'chain', 2, $database);
	start_many($node, 'chain', 5, $database);
	wait_until_finished($node, "$what, a new version", $database);
}

# ---- template copies, dumps ----

query($primary, 'CREATE ROLE app LOGIN; CREATE ROLE dumper LOGIN BYPASSRLS; GRANT pg_read_all_data TO dumper');
fill($primary, 'original');
query($primary, 'CREATE DATABASE templated TEMPLATE original');

my $dumps = $primary->basedir;
$primary->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/superuser.dump", '-d', $primary->connstr('original') ], 'pg_dump as superuser');
$primary->command_ok([ 'pg_dump', '-Fc', '-U', 'dumper', '-f', "$dumps/bypass.dump", '-d', $primary->connstr('original') ],
	'pg_dump with BYPASSRLS');
$primary->command_fails_like([ 'pg_dump', '-Fc', '-U', 'app', '-f', '/dev/null', '-d', $primary->connstr('original') ],
	qr/permission denied|row-level security/, 'pg_dump without');
for my $dump ('superuser', 'bypass')
{
	query($primary, "CREATE DATABASE restored_$dump");
	$primary->command_ok([ 'pg_restore', '--exit-on-error', '-d', $primary->connstr("restored_$dump"), "$dumps/$dump.dump" ], 'pg_restore');
}
check_copy($primary, 'templated', 'template copy', 5);
# a copy of a copy, in which something is adopted
query($primary, 'TRUNCATE gate', 'templated');
start_many($primary, 'gated', 3, 'templated');
query($primary, 'CREATE DATABASE again TEMPLATE templated');
is(query($primary, q{SELECT value FROM goflow.health() WHERE name = 'foreign executions'}, 'again'), '3', 'a copy of a copy');
open_gate($primary, 'templated');
wait_until_finished($primary, 'a copied copy', 'templated');
check_copy($primary, 'restored_superuser', 'dump by a superuser', 5);
check_copy($primary, 'restored_bypass', 'dump with BYPASSRLS', 5);

open_gate($primary, 'original');
wait_until_finished($primary, 'the original', 'original');
is_exactly_once($primary, 'the original', 'original');

# nobody adopts without the right to
$primary->psql('original', 'SELECT goflow.adopt()', extra_params => [ '-U', 'app' ], stderr => \$err);
like($err, qr/permission denied/, 'adopt() is not for everybody');
query($primary, "DROP DATABASE $_") for qw(original templated again restored_superuser restored_bypass);

# ---- logical replication of all tables ----

fill($primary, 'published');
my $subscriber = new_server('subscriber', extension => 0);
query($subscriber, 'CREATE ROLE app LOGIN');
query($subscriber, 'CREATE DATABASE published');
$primary->command_ok([ 'pg_dump', '-s', '-f', "$dumps/schema.sql", '-d', $primary->connstr('published') ], 'pg_dump of the schema');
$subscriber->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dumps/schema.sql", '-d', $subscriber->connstr('published') ],
	'restored');
query($primary, 'CREATE PUBLICATION everything FOR ALL TABLES', 'published');
query($subscriber, "CREATE SUBSCRIPTION everything CONNECTION '" . $primary->connstr . " dbname=published' PUBLICATION everything",
	'published');
$subscriber->wait_for_subscription_sync($primary, 'everything', 'published');
is(query($subscriber, 'SELECT count(*) FROM goflow.home', 'published'), '1', 'the home is not replicated');
is(query($subscriber, q{SELECT value FROM goflow.health() WHERE name = 'foreign executions'}, 'published'), $live,
	'what the publisher runs is foreign');
my $execution = query($primary, q{SELECT goflow.start('chain')}, 'published');
query($primary, "SELECT goflow.wait('$execution')", 'published');
$primary->wait_for_catchup('everything');
is(query($subscriber, "SELECT goflow.wait('$execution', '90 s')", 'published'), 'completed', 'it can be watched from here');
query($primary, 'INSERT INTO orders VALUES (10)', 'published');
ok(wait_for($primary, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'on_order' AND state = 'completed'}, undef, 'published', 1),
	'a trigger starts one at the publisher');
$primary->wait_for_catchup('everything');
is(query($subscriber, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'on_order'}, 'published'), '1', 'and none at the subscriber');
query($subscriber, q{ALTER SUBSCRIPTION everything DISABLE}, 'published');
query($subscriber, q{ALTER SUBSCRIPTION everything SET (slot_name = NONE)}, 'published');
query($subscriber, q{DROP SUBSCRIPTION everything}, 'published');
check_copy($subscriber, 'published', 'logical subscriber', 7);
$subscriber->stop;

# ---- a backup, restored to a moment ----

$primary->backup('base');
start_many($primary, 'gated', 7, 'published');
ok(wait_for($primary, q{SELECT count(*) FROM effect WHERE node = 'a'}, undef, 'published', $live + 7), 'more executions');
query($primary, q{SELECT pg_create_restore_point('here')});
start_many($primary, 'gated', 9, 'published');
ok(wait_for($primary, q{SELECT count(*) FROM effect WHERE node = 'a'}, undef, 'published', $live + 16), 'and more');
query($primary, 'SELECT pg_switch_wal()');
$primary->stop;
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'base', has_restoring => 1, standby => 0);
$restored->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = promote\n");
$restored->start;
ok(wait_for($restored, 'SELECT NOT pg_is_in_recovery()'), 'recovered');
is(query($restored, q{SELECT count(*) FROM goflow.executions WHERE finished_at IS NULL}, 'published'), $live + 7,
	'restored to a moment');
is(query($restored, q{SELECT value FROM goflow.health() WHERE name = 'foreign executions'}, 'published'), '0',
	'it is the same server');
open_gate($restored, 'published');
wait_until_finished($restored, 'restored to a moment', 'published');
is(query($restored, q{SELECT count(*), count(DISTINCT execution) FROM effect WHERE node = 'b'}, 'published'), ($live + 7) . '|' . ($live + 7),
	'it goes on by itself');
is_at_rest($restored, 'restored', 'published');
$restored->stop;

done_testing();

# What becomes of executions when their role changes: the second table of doc/roles.md.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('role_changes');
my $version = query($node, 'SHOW server_version_num');
my ($err, $execution);

# New sessions of a role only: the workers that it has go.
sub fresh_workers
{
	my ($role) = @_;

	query($node, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$role' AND backend_type = 'goflow worker'");
	return ok(wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '$role'"), "new workers of $role");
}

sub result_of
{
	my ($who, $workflow) = @_;
	# the settings of the role are for its workers, not for this session
	my $id = query($node, "SET SESSION AUTHORIZATION $who; SELECT goflow.start('$workflow')");

	query($node, "SELECT goflow.wait('$id', '90 s')");
	return query($node, "SELECT coalesce(output::text, error->>'code', state) FROM goflow.status('$id')");
}

sub trouble { my ($role) = @_; return "SELECT detail FROM goflow.health() WHERE kind = 'trouble' AND name = '$role'"; }

query($node, q{
	CREATE ROLE ada LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE eve LOGIN;
	GRANT CREATE ON SCHEMA public TO ada, bob, eve;
	SELECT goflow.grant_usage(r) FROM unnest('{ada,bob,eve}'::regrole[]) r;
	CREATE TABLE data (x int); GRANT SELECT, INSERT ON data TO ada;
	CREATE TABLE orders (id int); GRANT ALL ON orders TO ada, bob, eve});
query_as($node, 'ada', q{SELECT goflow.define('look', $${"nodes": {"a": {"type": "sql", "sql":
	"SELECT current_user || ' ' || session_user || ' ' || current_setting('search_path') || ' ' || current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only') || ' ' || current_setting('DateStyle') || ' ' || current_setting('work_mem') AS x"}}, "output": {"x": "a.x"}}$$)});
query_as($node, 'ada', q{SELECT goflow.define('reads', $${"nodes": {"a": {"type": "sql", "sql": "SELECT count(*) AS n FROM data"}}, "output": {"n": "a.n"}}$$)});
query_as($node, 'ada', q{SELECT goflow.define('sleeps', $${"nodes": {"a": {"type": "sql", "sql": "SELECT pg_sleep(60)::text AS x"}}}$$)});
my $seen = '{"x": "ada ada public, pg_temp read committed off ISO, MDY 4MB"}';
is(result_of('ada', 'look'), $seen, 'to begin with');

# ---- settings of the role ----

for my $setting (q{search_path = nowhere}, q{DateStyle = 'German'}, q{default_transaction_read_only = on}, q{default_transaction_isolation = serializable},
	q{default_transaction_deferrable = on}, q{role = bob})
{
	query($node, 'GRANT bob TO ada') if $setting =~ /role/;
	query($node, "ALTER ROLE ada SET $setting");
	fresh_workers('ada');
	is(result_of('ada', 'look'), $seen, "SET $setting changes nothing");
	query($node, "ALTER ROLE ada RESET ALL; REVOKE bob FROM ada");
}
query($node, q{ALTER ROLE ada SET work_mem = '5MB'});
fresh_workers('ada');
is(result_of('ada', 'look'), $seen =~ s/4MB/5MB/r, 'other settings are in force');
query($node, q{ALTER ROLE ada SET statement_timeout = '100ms'});
fresh_workers('ada');
is(result_of('ada', 'sleeps'), '57014', 'statement_timeout caps a node');
query($node, 'ALTER ROLE ada RESET ALL');
fresh_workers('ada');

# ---- a password that expires, a connection limit, a new name, a right that is lost ----

query($node, q{ALTER ROLE ada VALID UNTIL '2000-01-01' CONNECTION LIMIT 0});
fresh_workers('ada');
query($node, q{SET SESSION AUTHORIZATION ada; SELECT goflow.start('reads')});
wait_until_finished($node, 'VALID UNTIL, CONNECTION LIMIT');
is(query($node, q{SELECT state FROM goflow.executions ORDER BY execution DESC LIMIT 1}), 'completed', 'change nothing');
query($node, q{ALTER ROLE ada VALID UNTIL 'infinity' CONNECTION LIMIT -1});

query_as($node, 'ada', q{SELECT goflow.define('gated', $${"nodes": {"w": {"type": "signal", "name": "go"}, "a": {"type": "sql", "after": "w", "sql": "SELECT count(*) AS n FROM data"}}, "output": {"n": "a.n"}}$$)});
$execution = query_as($node, 'ada', q{SELECT goflow.start('gated')});
query($node, 'ALTER ROLE ada RENAME TO ida');
query($node, "SELECT goflow.signal('$execution', 'go')");
wait_until_finished($node, 'a renamed role');
is(query($node, "SELECT run_as, state FROM goflow.status('$execution')"), 'ida|completed', 'goes on');
query($node, 'ALTER ROLE ida RENAME TO ada');

query($node, 'REVOKE ALL ON data FROM ada');
is(result_of('ada', 'reads'), '42501', 'a right that is lost');
query($node, 'GRANT SELECT ON data TO ada');
is(result_of('ada', 'reads'), '{"n": 0}', 'and given back');

# ---- CONNECT ----

$execution = query_as($node, 'ada', q{SELECT goflow.start('gated')});
ok(wait_for($node, "SELECT state = 'waiting' FROM goflow.status('$execution')"), 'it waits');
query($node, 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO bob, eve');
fresh_workers('ada');
query($node, "SELECT goflow.signal('$execution', 'go')");
ok(wait_for($node, trouble('ada') =~ s/detail/detail LIKE '%CONNECT%'/r), 'without CONNECT it waits, and health() says why');
$node->psql('postgres', q{SET SESSION AUTHORIZATION ada; SELECT goflow.start('reads')}, stderr => \$err);
like($err, qr/no worker can run as role "ada".*CONNECT/s, 'start() says so too');
query($node, 'GRANT CONNECT ON DATABASE postgres TO PUBLIC');
wait_until_finished($node, 'CONNECT is given back');
is(query($node, "SELECT state FROM goflow.status('$execution')"), 'completed', 'it goes on');

# ---- DROP OWNED ----

$execution = query_as($node, 'ada', q{SELECT goflow.start('gated')});
ok(wait_for($node, "SELECT state = 'waiting' FROM goflow.status('$execution')"), 'it waits');
query($node, 'DROP OWNED BY ada');
$node->psql('postgres', q{SELECT goflow.start('reads')}, extra_params => [ '-U', 'ada' ], stderr => \$err);
like($err, qr/permission denied/, 'after DROP OWNED it cannot start');
query($node, "GRANT SELECT ON data TO ada; SELECT goflow.signal('$execution', 'go')");
wait_until_finished($node, 'DROP OWNED');
is(query($node, "SELECT state FROM goflow.status('$execution')"), 'completed', 'what it had started goes on');
query($node, q{SELECT goflow.grant_usage('ada'); GRANT CREATE ON SCHEMA public TO ada; GRANT ALL ON orders TO ada});

# ---- reassign() ----

define_held($node, 'slow', 2);	# it still runs when the role changes
query($node, q{SELECT goflow.grant_start('slow', 'ada'), goflow.grant_start('slow', 'bob')});
query_as($node, 'ada', 'SELECT goflow.define($$on_order$$, $${"nodes": {"t": {"type": "trigger", "table": "orders", "events": ["insert"]}, '
	  . Goflow::effect_node('o', 't') . '}}$$)');
my @waiting = map { query_as($node, 'ada', q{SELECT goflow.start('gated')}) } 1 .. 3;
my $slow = query_as($node, 'ada', q{SELECT goflow.start('slow')});
my $keyed = query_as($node, 'ada', q{SELECT goflow.start('reads', key => 'once')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'ada' AND wait_event = 'PgSleep'}), 'a node runs');
ok(wait_for($node, q{SELECT count(*) = 3 FROM goflow.executions WHERE state = 'waiting'}), 'others wait');
for my $role ('bob', 'eve')
{
	$node->psql('postgres', q{SELECT goflow.reassign('ada', 'bob')}, extra_params => [ '-U', $role ], stderr => \$err);
	like($err, qr/permission denied/, "not for $role, who has the rights of one of the two at most");
}
query($node, 'GRANT ALL ON data TO bob');
is(query($node, q{SELECT goflow.reassign('ada', 'bob')}), '4', 'reassign() returns what was live');
query_as($node, 'bob', "SELECT goflow.signal('$_', 'go')") for @waiting;
let_go($node, 'slow', 'reassigned');
is(query($node, q{SELECT run_as, state, count(*) FROM goflow.executions WHERE execution IN ('} . join("','", @waiting, $slow) . q{') GROUP BY 1, 2}),
	'bob|completed|4', 'they are the other role\'s, and completed');
is(query($node, "SELECT node, current_name, session_name FROM effect WHERE execution = '$slow' ORDER BY 1"), "s1|ada|ada\ns2|bob|bob",
	'a node that ran ended as the old role, the next ran as the new one');
is_exactly_once($node, 'reassigned');
is(query($node, q{SELECT DISTINCT owner FROM goflow.workflows WHERE workflow IN ('gated', 'on_order')}), 'bob', 'the workflows are as well');
is(query_as($node, 'bob', q{SELECT goflow.start('reads', key => 'once')}), $keyed, 'and the start keys');
query_as($node, 'eve', 'INSERT INTO orders VALUES (1)');
wait_until_finished($node, 'a trigger');
is(query($node, q{SELECT current_name FROM effect WHERE node = 'o'}), 'bob', 'triggers run as the new owner');
is(query($node, q{SELECT goflow.reassign('ada', 'bob', finished => true) > 5}), 't', 'finished ones, when asked');
is(query($node, q{SELECT count(*) FROM goflow.executions WHERE run_as = 'ada'::regrole}), '0', 'none is left');
is_at_rest($node, 'reassigned');

# ---- a dropped owner ----

query($node, q{SELECT goflow.define('rounds', '{"nodes": {"l": {"type": "loop", "repeat": "2", "body": {"nodes": {
	"gate": {"type": "signal", "name": "next"}}}}}, "output": {"rounds": "l.iterations"}}'), goflow.grant_start('rounds', 'bob')});
my $inside = query_as($node, 'bob', q{SELECT goflow.start('rounds')});
ok(wait_for($node, "SELECT state = 'waiting' FROM goflow.status('$inside')"), 'an execution waits in a loop');
my $bob = query($node, q{SELECT 'bob'::regrole::oid});
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bob'});
query($node, q{REASSIGN OWNED BY bob TO postgres; DROP OWNED BY bob; DROP ROLE bob});
query_as($node, 'eve', 'INSERT INTO orders VALUES (2), (3)');
is(query($node, 'SELECT count(*) FROM orders'), '3', 'writes succeed without the owner of a trigger');
wait_until_finished($node, 'an owner is dropped');
is(query($node, q{SELECT state, error->>'code', count(*) FROM goflow.executions WHERE workflow = 'on_order' AND finished_at > created_at AND state = 'failed' GROUP BY 1, 2}),
	'failed|WF206|2', 'what they started has failed');
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.health() WHERE kind = 'trouble'}), 'and troubles nobody');
ok(wait_for($node, "SELECT state = 'failed' FROM goflow.status('$inside')"), 'so has what waited in a loop');
is(query($node, "SELECT count(*) FROM goflow.frame WHERE execution_id = '$inside'"), '0', 'which leaves nothing open');
query($node, "SELECT goflow.reassign($bob, 'ada', finished => true), goflow.retry('$inside')");
query($node, "SELECT goflow.signal('$inside', 'next'), goflow.signal('$inside', 'next')");
wait_until_finished($node, 'a retry by its heir');
is(query($node, "SELECT goflow.result('$inside')"), '{"rounds": 2}', 'its heir can retry it');

$node->stop;
done_testing();

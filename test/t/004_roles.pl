# Roles and databases: who a node is, and what others see of it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('roles');
my ($out, $err, $execution);

# Runs SQL as a role of its own connection.
query($node, q{
	CREATE ROLE ada LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE eve LOGIN; CREATE ROLE guest LOGIN;
	CREATE ROLE team NOLOGIN; GRANT team TO ada;
	SELECT goflow.grant_usage('ada'), goflow.grant_usage('bob'), goflow.grant_usage('eve');
	GRANT CREATE ON SCHEMA public TO ada, bob});

# ---- who a node is ----

for my $role (qw(ada bob))
{
	query_as($node, $role, "SELECT goflow.define('chain_$role', \$\${\"nodes\": {"
		  . Goflow::effect_node('a') . ', ' . Goflow::effect_node('b', 'a') . '}}$$)');
	query_as($node, $role, "SELECT count(*) FROM goflow.start_many('chain_$role', array_fill('{}'::jsonb, ARRAY[50]))");
}
wait_until_finished($node, 'two roles');
is(query($node, q{
		SELECT workflow, run_as, current_name, session_name, count(*) FROM effect JOIN goflow.executions USING (execution)
		GROUP BY 1, 2, 3, 4 ORDER BY 1}),
	"chain_ada|ada|ada|ada|100\nchain_bob|bob|bob|bob|100", 'a node runs as the role that started it');
is(query($node, q{SELECT count(DISTINCT current_name) FROM effect GROUP BY pid ORDER BY 1 DESC LIMIT 1}), '1',
	'in a process that never was anybody else');
is_exactly_once($node, 'two roles');

# ---- who sees what ----

is(query_as($node, 'ada', q{SELECT DISTINCT run_as FROM goflow.executions}), 'ada', 'a role sees its executions only');
is(query_as($node, 'bob', q{SELECT DISTINCT run_as FROM goflow.executions}), 'bob', 'and so does the other');
is(query_as($node, 'ada', q{SELECT DISTINCT workflow FROM goflow.workflows}), 'chain_ada', 'and its workflows only');
is(query_as($node, 'eve', q{SELECT count(*) FROM goflow.executions}), '0', 'a third one sees nothing');
$execution = query_as($node, 'ada', q{SELECT execution FROM goflow.executions LIMIT 1});
for my $call (qw(status progress nodes variables result wait cancel follow))
{
	$node->psql('postgres', "SELECT goflow.$call('$execution')", stderr => \$err, extra_params => [ '-U', 'bob', '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/WF102/, "$call() of another's execution: there is none");
}
for my $table (qw(execution journal node_state variable pending frame request workflow))
{
	$node->psql('postgres', "SELECT * FROM goflow.$table", extra_params => [ '-U', 'ada' ], stderr => \$err);
	like($err, qr/permission denied/, "nobody reads goflow.$table");
}
$node->psql('postgres', "SELECT goflow.start('chain_ada')", extra_params => [ '-U', 'bob' ], stderr => \$err);
like($err, qr/permission denied to start workflow/, "another's workflow cannot be started");
$node->psql('postgres', "SELECT goflow.start('chain_ada')", extra_params => [ '-U', 'guest' ], stderr => \$err);
like($err, qr/permission denied for schema/, 'without grant_usage() nothing can');

# a grant, taken back
query_as($node, 'ada', q{SELECT goflow.grant_start('chain_ada', 'bob')});
$execution = query_as($node, 'bob', q{SELECT goflow.start('chain_ada')});
is(query_as($node, 'bob', "SELECT goflow.wait('$execution')"), 'completed', 'with a grant it can');
is(query($node, "SELECT DISTINCT current_name FROM effect WHERE execution = '$execution'"), 'bob',
	'and runs as who started it');
query_as($node, 'ada', q{SELECT goflow.revoke_start('chain_ada', 'bob')});
$node->psql('postgres', "SELECT goflow.start('chain_ada')", extra_params => [ '-U', 'bob' ], stderr => \$err);
like($err, qr/permission denied to start workflow/, 'not after the grant is gone');

# ---- security definer; code that runs late ----

query($node, q{
	CREATE TABLE late (place text, current_name name, session_name name);
	GRANT ALL ON late TO PUBLIC;
	CREATE FUNCTION note_late() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO late VALUES (TG_ARGV[0], current_user, session_user);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION note_late('deferred trigger')});
query_as($node, 'ada', 'SELECT goflow.define($$definer$$, $${"security": "definer", "nodes": {' . Goflow::effect_node('a')
	  . '}}$$); SELECT goflow.grant_start($$definer$$, $$bob$$)');
$execution = query_as($node, 'bob', q{SELECT goflow.start('definer')});
# bob may not look at it, since it is ada's
ok(wait_for($node, 'SELECT count(*) = 1 FROM late'), 'a deferred trigger ran');
is(query($node, "SELECT current_name, session_name FROM effect WHERE execution = '$execution'"), 'ada|ada',
	'a SECURITY DEFINER workflow runs as its owner');
is(query($node, q{SELECT DISTINCT current_name, session_name FROM late}), 'ada|ada',
	'and so does what runs at its commit');
query($node, 'TRUNCATE late');
query_as($node, 'bob', "SELECT count(*) FROM goflow.start_many('chain_bob', array_fill('{}'::jsonb, ARRAY[20]))");
wait_until_finished($node, 'deferred triggers');
is(query($node, q{SELECT current_name, session_name, count(*) FROM late GROUP BY 1, 2}), 'bob|bob|40',
	'deferred triggers of a batch run as its role');

# what the node leaves in the session is gone for the next one
query_as($node, 'ada', q{SELECT goflow.define('dirty', $${"nodes": {
	"a": {"type": "sql", "sql": "SELECT set_config('work_mem', '77MB', false) AS a, set_config('search_path', 'nowhere', false) AS b, set_config('my.secret', 'x', false) AS c"},
	"b": {"type": "sql", "after": ["a"], "sql": "SELECT current_setting('work_mem') AS w, current_setting('my.secret', true) AS s, current_setting('search_path') AS p"}},
	"output": {"w": "b.w", "s": "b.s", "p": "b.p"}}$$)});
for my $try (1 .. 3)
{
	$execution = query_as($node, 'ada', q{SELECT goflow.start('dirty')});
	query_as($node, 'ada', "SELECT goflow.wait('$execution')");
	like(query_as($node, 'ada', "SELECT goflow.result('$execution')"), qr/"p": ".*public.*", "s": (null|""), "w": "4MB"/,
		"settings end with their node ($try)");
}

# ---- roles that cannot be connected ----

query($node, q{SET ROLE team; SELECT 1; RESET ROLE; SELECT goflow.grant_usage('team')});
$node->psql('postgres', q{SET ROLE team; SELECT goflow.start('chain_ada')}, stderr => \$err);
like($err, qr/permission denied|no worker can run as role "team"/, 'a role without LOGIN is refused with a reason');
# one that loses LOGIN after the start: its executions wait, those of others go on
query($node, q{SELECT goflow.grant_usage('eve'); GRANT CREATE ON SCHEMA public TO eve});
query_as($node, 'eve', 'SELECT goflow.define($$chain_eve$$, $${"nodes": {' . Goflow::effect_node('a') . '}}$$)');
query_as($node, 'eve', q{BEGIN; SELECT goflow.start('chain_eve'); PREPARE TRANSACTION 'eve'});
query($node, q{ALTER ROLE eve NOLOGIN});
query($node, q{COMMIT PREPARED 'eve'});
SKIP:
{
	skip 'roles without LOGIN can run from 17 on', 1 if query($node, 'SHOW server_version_num') >= 170000;
	ok(wait_for($node, q{SELECT detail LIKE '%not permitted to log in%' FROM goflow.health() WHERE kind = 'trouble' AND name = 'eve'}),
		'health() tells who cannot run');
}
$execution = query_as($node, 'bob', q{SELECT goflow.start('chain_bob')});
is(query_as($node, 'bob', "SELECT goflow.wait('$execution')"), 'completed', 'others go on');
query($node, q{ALTER ROLE eve LOGIN});
wait_until_finished($node, 'LOGIN is given back');

# one that is dropped: what it had started fails, whatever state it is in
query($node, q{CREATE ROLE fay LOGIN; SELECT goflow.grant_usage('fay'); GRANT CREATE ON SCHEMA public TO fay});
query_as($node, 'fay', 'SELECT goflow.define($$chain_fay$$, $${"nodes": {"d": {"type": "delay", "for": "input.wait"}, '
	  . Goflow::effect_node('a', 'd') . '}, "input": {"wait": "interval"}}$$)');
query_as($node, 'fay', q{SELECT goflow.define('child_fay', '{"security": "definer", "nodes": {"d": {"type": "delay", "for": "interval ''1 hour''"}}}')});
define_nodes($node, 'parent_fay', '"w": {"type": "workflow", "workflow": "child_fay"}');
$execution = query($node, q{SELECT goflow.start('parent_fay')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE workflow = 'child_fay' AND state = 'waiting'}), 'one is waited for');
query_as($node, 'fay', q{SELECT goflow.start('chain_fay', '{"wait": "1 hour"}'); SELECT goflow.start('chain_fay', '{"wait": "5 s"}')});
ok(wait_for($node, q{SELECT count(*) = 4 FROM goflow.pending}), 'all of them wait');
query_as($node, 'fay', q{BEGIN; SELECT goflow.start('chain_fay', '{"wait": "0"}'); PREPARE TRANSACTION 'fay'});
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fay'});
query($node, q{SELECT goflow.revoke_usage('fay'); DROP OWNED BY fay; DROP ROLE fay; COMMIT PREPARED 'fay'});
wait_until_finished($node, 'a role is dropped');
is(query($node, q{SELECT state, error->>'code', count(*) FROM goflow.executions WHERE workflow = 'chain_fay' GROUP BY 1, 2}),
	'failed|WF206|3', 'executions of a dropped role fail');
is(query($node, "SELECT state, error->>'code' FROM goflow.status('$execution')"), 'failed|WF206', 'and who waits for one is told');
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.health() WHERE kind = 'trouble'}), 'and trouble nobody further');
is(query($node, 'SELECT count(*) FROM goflow.pending'), '0', 'their timers are gone');

# ---- two databases ----

$node->safe_psql('postgres', 'CREATE DATABASE other');
query($node, 'CREATE EXTENSION goflow', 'other');
create_effects($node, 'other');
query($node, 'TRUNCATE effect');
define_chain($node, 'chain', 5);
define_chain($node, 'chain', 5, 'other');
for my $round (1 .. 5)
{
	start_many($node, 'chain', 200);
	start_many($node, 'chain', 100, 'other');
}
wait_until_finished($node, 'one database');
wait_until_finished($node, 'the other', 'other');
is(query($node, 'SELECT count(*), count(DISTINCT (execution, node)) FROM effect'), '5000|5000', 'exactly once here');
is(query($node, 'SELECT count(*), count(DISTINCT (execution, node)) FROM effect', 'other'), '2500|2500',
	'exactly once there');
is_at_rest($node, 'two databases');
is(query($node, q{SELECT count(*) FROM goflow.health() WHERE kind = 'pool' AND name = 'ada'}, 'other'), '0',
	"one database's health() does not name what runs in another");

$node->stop;
done_testing();

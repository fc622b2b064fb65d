# Known ways from one role's rights to another's.  mallory may use goflow; ada has a
# secret and a workflow with "security": "definer"; the superuser looks at everything.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('escalation');
my ($err, $id);

sub refused
{
	my ($who, $sql, $pattern, $what) = @_;

	$node->psql('postgres', $sql, extra_params => [ '-U', $who ], stderr => \$err);
	return like($err, $pattern, $what);
}

# By a superuser whose names mean what they say.
sub safe { return query($node, "SET search_path = pg_catalog, public; $_[0]"); }

# Whoever ran mallory's code, ever.
sub only_mallory
{
	my ($what) = @_;

	return is(safe(q{SELECT string_agg(DISTINCT who, ' ') FROM spied WHERE who <> 'mallory'}), '', "$what: nobody ran mallory's code but mallory");
}

query($node, q{
	CREATE ROLE ada LOGIN; CREATE ROLE mallory LOGIN;
	SELECT goflow.grant_usage('ada'), goflow.grant_usage('mallory');
	CREATE TABLE secret (x text); INSERT INTO secret VALUES ('secret'); ALTER TABLE secret OWNER TO ada;
	CREATE TABLE spied (who text DEFAULT current_user, how text); GRANT INSERT ON spied TO PUBLIC;
	CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA ada AUTHORIZATION ada;
	GRANT USAGE ON SCHEMA mallory TO PUBLIC; GRANT CREATE ON SCHEMA public TO mallory});

# What mallory would like others to run: functions, operators, casts and domains.
$node->safe_psql('postgres', q{
	CREATE FUNCTION mallory.spy(how text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.spied (how) VALUES (how);
		RETURN true;
	END $$;
	CREATE FUNCTION mallory.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('lower'); RETURN $1; END $$;
	CREATE FUNCTION mallory.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('now'); RETURN clock_timestamp(); END $$;
	CREATE FUNCTION mallory.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('='); RETURN true; END $$;
	CREATE OPERATOR mallory.= (leftarg = text, rightarg = text, function = mallory.equal);
	CREATE OPERATOR public.= (leftarg = text, rightarg = text, function = mallory.equal);
	CREATE FUNCTION mallory.equal(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('= uuid'); RETURN true; END $$;
	CREATE OPERATOR public.= (leftarg = uuid, rightarg = uuid, function = mallory.equal);
	CREATE FUNCTION mallory.get(jsonb, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('->>'); RETURN 'x'; END $$;
	CREATE OPERATOR public.->> (leftarg = jsonb, rightarg = text, function = mallory.get);
	CREATE FUNCTION public.count(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('count'); RETURN 1; END $$;
	CREATE DOMAIN mallory.spying AS text CHECK (mallory.spy('domain ' || VALUE));
	CREATE TYPE mallory.pair AS (a mallory.spying, b int);
	CREATE FUNCTION mallory.to_pair(text) RETURNS mallory.pair LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.spy('cast'); RETURN ROW($1, 1)::mallory.pair; END $$;
	CREATE CAST (text AS mallory.pair) WITH FUNCTION mallory.to_pair(text) AS ASSIGNMENT}, extra_params => [ '-U', 'mallory' ], on_error_stop => 0);
query($node, 'ALTER DATABASE postgres SET search_path = mallory, public, pg_catalog');

# ---- a definer's workflow, started with everything hostile ----

$node->safe_psql('postgres', q{SET search_path = pg_catalog, ada; SELECT goflow.define('tells', $${"security": "definer", "input": {"name": "text"},
	"nodes": {"a": {"type": "sql", "sql": "SELECT lower(input.name) AS l, now() AS n, count(*) AS c FROM public.secret WHERE x = lower(input.name)"},
	          "b": {"type": "condition", "after": "a", "if": "a.l = 'secret'"}}, "output": {"c": "a.c"}}$$);
	SELECT goflow.grant_start('tells', 'mallory')}, extra_params => [ '-U', 'ada' ]);
query_as($node, 'mallory', q{
	SET search_path = mallory, public, pg_catalog;
	CREATE TEMPORARY TABLE secret (x text); CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql RETURN 'temporary';
	PREPARE p AS SELECT 1; BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT;
	SET role = none; SET "my.setting" = 'left';
	SELECT goflow.start('tells', '{"name": "secret"}') FROM generate_series(1, 3)});
wait_until_finished($node, "a definer's workflow");
is(safe(q{SELECT DISTINCT run_as, state, output FROM goflow.executions WHERE workflow = 'tells'}), 'ada|completed|{"c": 1}',
	"a definer's workflow means what its definer meant");
only_mallory("a definer's workflow");
refused('mallory', q{SELECT goflow.run('tells', '{"name": "x"}')}, qr/cannot run workflow .* as its owner/, 'run() is no way to its rights');
refused('mallory', q{SELECT goflow.start('tells', '{"name": {"a": 1}}'), goflow.result(execution) FROM goflow.executions}, qr/WF|ERROR|^$/, 'nor to its results');
is(query_as($node, 'mallory', 'SELECT pg_catalog.count(*) FROM goflow.executions'), '0', 'which mallory does not see');

# ---- values of hostile types, seen by others ----

query_as($node, 'mallory', q{SET search_path = mallory, public; SELECT goflow.define('typed', $${"input": {"d": "mallory.spying", "p": "mallory.pair"},
	"variables": {"v": "mallory.spying = 'first'"}, "nodes": {
	"a": {"type": "sql", "sql": "SELECT input.d AS d, ROW('x', 1)::mallory.pair AS p"}, "b": {"type": "set", "after": "a", "set": {"v": "'second'::mallory.spying"}},
	"w": {"type": "signal", "name": "go", "payload": {"d": "text"}, "after": "b"}}, "output": {"p": "a.p", "v": "vars.v"}}$$)});
$id = query_as($node, 'mallory', q{SELECT goflow.start('typed', '{"d": "x", "p": {"a": "y", "b": 1}}')});
ok(wait_for($node, qq{SELECT state OPERATOR(pg_catalog.=) 'waiting' FROM goflow.status('$id')}), 'it waits');
query($node, "SELECT goflow.$_") for "nodes('$id')", "variables('$id')", "status('$id')", "progress('$id')", "signals('$id')", "definition('typed')",
	"script('typed')", "pause('$id')", "resume('$id')", "set_priority('$id', 3)", "validate(goflow.definition('typed'))";
query($node, 'SELECT * FROM goflow.executions; SELECT * FROM goflow.workflows; SELECT * FROM goflow.health()');
only_mallory('a superuser who looks');
query_as($node, 'mallory', qq{SELECT goflow.signal('$id', 'go', '{"d": "z"}')});
wait_until_finished($node, 'typed');
query($node, "SELECT goflow.$_") for "result('$id')", "nodes('$id')", "variables('$id')";
only_mallory('a superuser who reads the result');
is(safe(q{SELECT pg_catalog.count(*) > 3 FROM spied WHERE who = 'mallory' AND how ~ 'domain'}), 't', '(the spy works)');

# ---- settings ----

for my $setting ('"role": "ada"', '"session_authorization": "ada"', '"session_replication_role": "replica"', '"log_statement": "none"',
	'"session_preload_libraries": "x"', '"row_security": "off", "is_superuser": "on"')
{
	refused('mallory', qq{SELECT goflow.define('set', '{"settings": {$setting}, "nodes": {"a": {"type": "notify", "channel": "c"}}}')},
		qr/ERROR/, "no setting $setting");
	refused('mallory', qq{SELECT goflow.define('set', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS x", "settings": {$setting}}}}')},
		qr/ERROR/, "nor of a node");
}

# ---- becoming somebody else ----

query_as($node, 'mallory', q{SELECT goflow.define('climb', $${"input": {"sql": "text"}, "nodes": {"a": {"type": "sql", "sql": "SELECT mallory.run(input.sql) AS x"},
	"b": {"type": "sql", "after": "a", "sql": "SELECT current_user::text || ' ' || session_user::text || ' ' || current_setting('is_superuser') AS x"}}, "output": {"who": "b.x"}}$$)})
	if query_as($node, 'mallory', q{CREATE FUNCTION mallory.run(sql text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; RETURN 'ran'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$; SELECT true}) eq 't';
for my $sql ('SET ROLE ada', 'RESET ROLE', 'SET SESSION AUTHORIZATION ada', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT',
	q{SELECT set_config('role', 'postgres', false)}, q{SELECT set_config('session_authorization', 'postgres', false)}, 'DISCARD ALL', 'RESET ALL',
	'ALTER ROLE mallory SUPERUSER', q{COPY public.secret TO PROGRAM 'true'}, 'SELECT goflow.adopt()', q{SELECT goflow.grant_admin('mallory')},
	q{INSERT INTO goflow.start_grant VALUES ('tells', 'mallory')}, 'SELECT * FROM goflow.node_state', 'CREATE OR REPLACE FUNCTION goflow.start(text) RETURNS int LANGUAGE sql RETURN 1')
{
	$id = query_as($node, 'mallory', "SELECT goflow.start('climb', jsonb_build_object('sql', \$q\$$sql\$q\$))");
	query_as($node, 'mallory', "SELECT goflow.wait('$id', '90 s')");
	is(safe("SELECT coalesce(output OPERATOR(pg_catalog.->>) 'who', error::text) FROM goflow.status('$id')"), 'mallory mallory off', "$sql: still mallory");
}
is(safe(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', 'no superuser');

# ---- row triggers: the owner's code in somebody else's session ----

query_as($node, 'mallory', q{CREATE TABLE public.bait (x text); GRANT ALL ON public.bait TO PUBLIC;
	CREATE TABLE mallory.late (x int); GRANT ALL ON mallory.late TO PUBLIC;
	CREATE FUNCTION mallory.climb() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE r text := '';
	BEGIN
		PERFORM mallory.spy('trigger');
		BEGIN SET ROLE postgres; r := r || 'role '; EXCEPTION WHEN OTHERS THEN END;
		BEGIN RESET ROLE; PERFORM mallory.spy('after RESET ROLE'); EXCEPTION WHEN OTHERS THEN END;
		BEGIN SET SESSION AUTHORIZATION DEFAULT; PERFORM mallory.spy('after DEFAULT'); EXCEPTION WHEN OTHERS THEN END;
		BEGIN PERFORM set_config('search_path', 'mallory, pg_catalog', false); EXCEPTION WHEN OTHERS THEN END;
		RETURN r || (SELECT count(*) FROM public.secret);
	EXCEPTION WHEN insufficient_privilege THEN RETURN r || 'no';
	END $$;
	SELECT goflow.define('bait', $${"input": {"r": "text"}, "nodes": {
		"t": {"type": "trigger", "table": "public.bait", "events": ["insert"], "input": {"r": "mallory.climb()"}},
		"a": {"type": "sql", "after": "t", "sql": "SELECT input.r AS r"}}, "output": {"r": "a.r"}}$$)});
$node->psql('postgres', q{INSERT INTO public.bait VALUES ('x')}, stderr => \$err);
$node->safe_psql('postgres', q{INSERT INTO public.bait VALUES ('y')}, extra_params => [ '-U', 'ada' ], on_error_stop => 0);
wait_until_finished($node, 'row triggers');
is(safe(q{SELECT string_agg(DISTINCT output::text, ' ') FROM goflow.executions WHERE workflow OPERATOR(pg_catalog.=) 'bait'}), '{"r": "no"}', "it cannot read ada's secret");
only_mallory('row triggers');
is(safe(q{SELECT current_user || ' ' || session_user}), safe('SELECT session_user || $$ $$ || session_user'), "and the writer's session is as it was");

# ---- SECURITY DEFINER callers, security-restricted operations ----

query_as($node, 'mallory', q{CREATE FUNCTION mallory.lends() RETURNS uuid SECURITY DEFINER LANGUAGE sql RETURN goflow.start('climb', '{"sql": "SELECT 1"}')});
query($node, 'GRANT EXECUTE ON FUNCTION mallory.lends() TO PUBLIC');
$id = query($node, 'SELECT mallory.lends()');
wait_until_finished($node, 'lent');
is(safe("SELECT run_as FROM goflow.status('$id')"), 'mallory', 'a SECURITY DEFINER function starts as its owner');
query_as($node, 'mallory', q{CREATE TABLE mallory.t (x int); INSERT INTO mallory.t VALUES (1);
	CREATE FUNCTION mallory.starts(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM goflow.start('climb', '{"sql": "SELECT 1"}'); RETURN 1; END $$;
	CREATE FUNCTION mallory.runs(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM goflow.run('climb', '{"sql": "SELECT 1"}'); RETURN 1; END $$;
	CREATE MATERIALIZED VIEW mallory.m AS SELECT mallory.starts(x) FROM mallory.t WITH NO DATA;
	CREATE MATERIALIZED VIEW mallory.r AS SELECT mallory.runs(x) FROM mallory.t WITH NO DATA});
for my $view ('m', 'r')
{
	$node->psql('postgres', "REFRESH MATERIALIZED VIEW mallory.$view", stderr => \$err);
	like($err, qr/security-restricted operation/, "a materialized view starts nothing ($view)");
}
$node->psql('postgres', 'SET ROLE mallory; CREATE INDEX ON mallory.t (mallory.starts(x))', stderr => \$err);
like($err, qr/security-restricted operation/, 'nor an index expression');

# ---- what is not one's own ----

refused('mallory', q{SELECT goflow.grant_start('tells', 'mallory')}, qr/must be owner/, 'no grant of what is not his');
refused('mallory', q{SELECT goflow.drop('tells', force => true)}, qr/must be owner/, 'no drop');
refused('mallory', q{SELECT goflow.define('tells', '{"nodes": {"a": {"type": "notify", "channel": "c"}}}')}, qr/must be owner/, 'no version');
refused('mallory', q{SELECT goflow.define('w', '{"nodes": {"t": {"type": "trigger", "table": "public.secret", "events": ["insert"]}, "a": {"type": "notify", "after": "t", "channel": "c"}}}')},
	qr/permission denied/, 'no trigger on a table that is not his');
query_as($node, 'mallory', q{CREATE TABLE mallory.own (x int); CREATE TRIGGER t AFTER INSERT ON mallory.own FOR EACH ROW EXECUTE FUNCTION goflow.row_trigger('tells', 'a');
	CREATE TRIGGER u AFTER INSERT ON mallory.own FOR EACH ROW EXECUTE FUNCTION goflow.row_trigger('bait', 't')});
my $before = safe('SELECT count(*) FROM goflow.executions');
$node->psql('postgres', 'INSERT INTO mallory.own VALUES (1)', extra_params => [ '-U', 'mallory' ], stderr => \$err);
is(safe('SELECT count(*) FROM goflow.executions'), $before, 'a trigger that define() did not make starts nothing');
refused('mallory', 'SELECT goflow.installed()', qr/permission denied/, 'no internal function');

# ---- a schema that was there before ----

query($node, 'CREATE DATABASE squatted');
$node->safe_psql('squatted', 'GRANT CREATE ON DATABASE squatted TO mallory');
$node->safe_psql('squatted', 'CREATE SCHEMA goflow; CREATE FUNCTION goflow.is_admin() RETURNS boolean LANGUAGE sql RETURN true', extra_params => [ '-U', 'mallory' ]);
$node->psql('squatted', 'CREATE EXTENSION goflow', stderr => \$err);
like($err, qr/schema "goflow" already exists/, 'CREATE EXTENSION does not take over a schema of somebody else');

only_mallory('at the end');
$node->stop;
done_testing();

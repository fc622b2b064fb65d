-- What happened, and being told of it.  C entry points: src/api/events.c, subscribe.c.

CREATE TYPE goflow.event AS (
	seq bigint, event text, at timestamptz, execution uuid, node text, frame int, state text,
	data jsonb);
COMMENT ON TYPE goflow.event IS 'Something that happened in an execution.';

CREATE FUNCTION goflow.events(
	execution uuid, types text[] DEFAULT NULL, nodes text[] DEFAULT NULL, after bigint DEFAULT NULL,
	variables boolean DEFAULT false)
RETURNS SETOF goflow.event AS 'MODULE_PATHNAME', 'goflow_events' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.events(uuid, text[], text[], bigint, boolean) IS
'What happened in an execution, in order: events of some types and nodes, after a number, with the values of variables.';

CREATE FUNCTION goflow.subscribe(
	execution uuid DEFAULT NULL, workflow text DEFAULT NULL, types text[] DEFAULT NULL,
	nodes text[] DEFAULT NULL, variables boolean DEFAULT false)
RETURNS text AS 'MODULE_PATHNAME', 'goflow_subscribe' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.subscribe(uuid, text, text[], text[], boolean) IS
'Listens to events, with their data, on a channel of its own, whose name it returns; effective when the transaction commits.';

CREATE FUNCTION goflow.unsubscribe(channel text)
RETURNS boolean AS 'MODULE_PATHNAME', 'goflow_unsubscribe' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.unsubscribe(text) IS
'Ends a subscription of this session; false if there is none on this channel.';

CREATE FUNCTION goflow.subscription_list(
	OUT channel text, OUT role regrole, OUT pid int, OUT execution uuid, OUT workflow text,
	OUT types text[], OUT nodes text[], OUT variables boolean, OUT created_at timestamptz,
	OUT sent bigint, OUT dropped bigint)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_subscription_list' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.subscription_list() IS 'What the view goflow.subscriptions shows.';

CREATE VIEW goflow.subscriptions AS SELECT * FROM goflow.subscription_list();
COMMENT ON VIEW goflow.subscriptions IS
'Subscriptions of the current user and of the roles it is a member of, with what was sent and dropped; members of pg_monitor see all but their channels.';

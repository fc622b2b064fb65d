-- The builder: makes the JSON of a definition, and nothing else.
--
-- A part is a jsonb object with what it adds to a definition, such as
-- {"nodes": {"a": {...}}}; goflow.workflow() and goflow.body() put parts together.
-- There is a function per type of node, with an argument per key, of the name
-- of the key.  What is NULL is left out.  Nothing is checked here but that no
-- name is there twice, which JSON could not say any more: define() checks.
--
-- Two arguments are polymorphic, so that each can be written in the short way:
-- after (anycompatible takes 'a' and ARRAY['a', 'b:true']) and retry
-- (anyelement takes 3 and what retry_policy() makes).

CREATE FUNCTION goflow.without_nulls(object jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(object) WHERE value <> 'null' $$;
COMMENT ON FUNCTION goflow.without_nulls(jsonb) IS
'For the functions of the builder: an object without its keys that are null; those inside of its values stay.';

CREATE FUNCTION goflow.number_or_text(value text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN value ~ '^[0-9]+$' THEN to_jsonb(value::numeric) ELSE to_jsonb(value) END $$;
COMMENT ON FUNCTION goflow.number_or_text(text) IS
'For the functions of the builder: a text of digits is a number.';

CREATE FUNCTION goflow.combine(parts jsonb[], maps text[], what text)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	result jsonb := '{}';
	part jsonb;
	entry record;
	inner_name text;
BEGIN
	FOR i IN 1 .. coalesce(cardinality(parts), 0) LOOP
		part := parts[i];
		IF part IS NULL OR jsonb_typeof(part) <> 'object' THEN
			RAISE EXCEPTION USING ERRCODE = 'WF001',
				MESSAGE = format('%s %s is %s, not an object', what, i,
								 CASE WHEN part IS NULL THEN 'NULL' ELSE 'of type ' || jsonb_typeof(part) END),
				HINT = 'Every one is made by a function of the builder, such as goflow.sql().';
		END IF;
		FOR entry IN SELECT key, value FROM jsonb_each(part) LOOP
			IF NOT result ? entry.key THEN
				result := result || jsonb_build_object(entry.key, entry.value);
			ELSIF entry.key = ANY (maps) AND jsonb_typeof(entry.value) = 'object'
				AND jsonb_typeof(result -> entry.key) = 'object' THEN
				SELECT name INTO inner_name FROM jsonb_object_keys(entry.value) name
				WHERE result -> entry.key ? name LIMIT 1;
				IF FOUND THEN
					RAISE EXCEPTION USING ERRCODE = 'WF013',
						MESSAGE = format('%s "%s" exists twice',
										 CASE entry.key WHEN 'nodes' THEN 'node' WHEN 'variables' THEN 'variable'
											WHEN 'settings' THEN 'setting' ELSE entry.key END, inner_name),
						HINT = 'Give one of them another name.';
				END IF;
				result := jsonb_set(result, ARRAY[entry.key], (result -> entry.key) || entry.value);
			ELSE
				RAISE EXCEPTION USING ERRCODE = 'WF013',
					MESSAGE = format(CASE what WHEN 'part' THEN 'key "%s" is given twice' ELSE what || ' "%s" exists twice' END,
									 entry.key),
					HINT = 'Leave one of them out.';
			END IF;
		END LOOP;
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION goflow.combine IS
'For the functions of the builder: one object of several, with an error for a name that is there twice.';

CREATE FUNCTION goflow.workflow(VARIADIC parts jsonb[])
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT goflow.combine(parts, '{nodes,input,variables,output,settings}', 'part') $$;
COMMENT ON FUNCTION goflow.workflow(jsonb[]) IS
'A definition, for goflow.define(), of the parts that the other functions of the builder make.';

CREATE FUNCTION goflow.body(VARIADIC parts jsonb[])
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT goflow.combine(parts, '{nodes,variables,output}', 'part') $$;
COMMENT ON FUNCTION goflow.body(jsonb[]) IS
'The body of a loop, a try or a branch, of nodes, variables and outputs. A single node is a body, too.';

CREATE FUNCTION goflow.options(
	title text DEFAULT NULL, description text DEFAULT NULL, priority int DEFAULT NULL,
	timeout text DEFAULT NULL, retry anyelement DEFAULT NULL::int, on_error text DEFAULT NULL,
	security text DEFAULT NULL, settings jsonb DEFAULT NULL, retention text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.without_nulls(jsonb_build_object(
		'title', title, 'description', description, 'priority', priority, 'timeout', timeout,
		'retry', to_jsonb(retry), 'on_error', on_error, 'security', security, 'settings', settings,
		'retention', retention, 'limits', limits))
$$;
COMMENT ON FUNCTION goflow.options IS
'What a workflow says of itself: the keys of a definition beside nodes, input, variables and output.';

CREATE FUNCTION goflow.input(name text, type text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_build_object('input', jsonb_build_object(name, type)) $$;
COMMENT ON FUNCTION goflow.input(text, text) IS
'An input of a workflow: its type, and its default as in ''int = 0''.';

CREATE FUNCTION goflow.variable(name text, type text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_build_object('variables', jsonb_build_object(name, type)) $$;
COMMENT ON FUNCTION goflow.variable(text, text) IS
'A variable of a workflow or a body: its type, and its first value as in ''int = 0''.';

CREATE FUNCTION goflow.output(name text, value text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_build_object('output', jsonb_build_object(name, value)) $$;
COMMENT ON FUNCTION goflow.output(text, text) IS
'An output of a workflow or a body: an expression.';

CREATE FUNCTION goflow.retry_policy(
	attempts int DEFAULT NULL, backoff text DEFAULT NULL, factor numeric DEFAULT NULL,
	max_delay text DEFAULT NULL, jitter numeric DEFAULT NULL, "on" anycompatible DEFAULT NULL::text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.without_nulls(jsonb_build_object(
		'attempts', attempts, 'backoff', backoff, 'factor', factor, 'max_delay', max_delay,
		'jitter', jitter, 'on', to_jsonb("on")))
$$;
COMMENT ON FUNCTION goflow.retry_policy IS
'For the argument retry, where a number of attempts does not say enough.';

CREATE FUNCTION goflow.lines(part jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('nodes', jsonb_object_agg(n.key, (
		SELECT jsonb_object_agg(k.key,
			CASE WHEN jsonb_typeof(k.value) = 'string' AND k.value #>> '{}' LIKE E'%\n%'
				THEN to_jsonb(string_to_array(k.value #>> '{}', E'\n')) ELSE k.value END)
		FROM jsonb_each(n.value) k)))
	FROM jsonb_each(part -> 'nodes') n
$$;
COMMENT ON FUNCTION goflow.lines(jsonb) IS
'A node with its texts of several lines as lists of lines, which are easier to read in JSON.';

CREATE FUNCTION goflow.node(
	id text, type text, keys jsonb DEFAULT '{}',
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('nodes', jsonb_build_object(id, goflow.without_nulls(keys || jsonb_build_object(
		'type', type, 'after', to_jsonb(after), 'join', goflow.number_or_text("join"),
		'cancel_rest', cancel_rest, 'aggregate', aggregate, 'retry', to_jsonb(retry), 'timeout', timeout,
		'on_error', on_error, 'compensate', compensate, 'settings', settings, 'title', title, 'limits', limits))))
$$;
COMMENT ON FUNCTION goflow.node IS
'A node of any type, with the keys of the type as JSON.';

CREATE FUNCTION goflow.trigger(
	id text, "table" text DEFAULT NULL, events text[] DEFAULT NULL, of text[] DEFAULT NULL,
	"when" text DEFAULT NULL, input jsonb DEFAULT NULL, title text DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'trigger', jsonb_build_object(
			'table', "table", 'events', to_jsonb(events), 'of', to_jsonb(of), 'when', "when", 'input', input),
		title => title)
$$;
COMMENT ON FUNCTION goflow.trigger IS
'A trigger node: changed rows of a table; without one, an entry to start from by hand.';

CREATE FUNCTION goflow.case(port text, "when" text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_build_object('port', port, 'when', "when") $$;
COMMENT ON FUNCTION goflow.case(text, text) IS
'A case of goflow.switch().';

CREATE FUNCTION goflow.catch(body jsonb, "on" anycompatible DEFAULT NULL::text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT goflow.without_nulls(jsonb_build_object('on', to_jsonb("on"), 'body', body)) $$;
COMMENT ON FUNCTION goflow.catch IS
'A catch of goflow.try(): what to do on an error, on one of several, or on any.';

CREATE FUNCTION goflow.branch(name text, VARIADIC parts jsonb[])
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_build_object(name, goflow.body(VARIADIC parts)) $$;
COMMENT ON FUNCTION goflow.branch(text, jsonb[]) IS
'A branch of goflow.parallel(), of the same parts as a body.';

CREATE FUNCTION goflow.sql(
	id text, sql text, rows text DEFAULT NULL, "check" text DEFAULT NULL, columns jsonb DEFAULT NULL,
	atomic boolean DEFAULT NULL, isolation text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'sql', jsonb_build_object(
			'sql', sql, 'rows', rows, 'check', "check", 'columns', columns, 'atomic', atomic,
			'isolation', isolation),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.sql IS
'A sql node: one statement.';

CREATE FUNCTION goflow.condition(
	id text, if text,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'condition', jsonb_build_object(
			'if', if),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.condition IS
'A condition node: its ports are true and false.';

CREATE FUNCTION goflow.switch(
	id text, cases jsonb[], "on" text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'switch', jsonb_build_object(
			'cases', to_jsonb(cases), 'on', "on"),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.switch IS
'A switch node: cases made by goflow.case(), the first that is true, or equal to "on".';

CREATE FUNCTION goflow.set(
	id text, set jsonb,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'set', jsonb_build_object(
			'set', set),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.set IS
'A set node: {variable: expression}.';

CREATE FUNCTION goflow.transform(
	id text, value jsonb,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'transform', jsonb_build_object(
			'value', value),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.transform IS
'A transform node: {name: expression}.';

CREATE FUNCTION goflow.map(
	id text, over text, value text, "as" text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'map', jsonb_build_object(
			'over', over,
			'value', CASE WHEN ltrim(value, E' \t\r\n') LIKE '{%' THEN value::jsonb ELSE to_jsonb(value) END,
			'as', "as"),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.map IS
'A map node: value is an expression, or a text of JSON, {name: expression}.';

CREATE FUNCTION goflow.filter(
	id text, over text, "where" text, "as" text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'filter', jsonb_build_object(
			'over', over, 'where', "where", 'as', "as"),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.filter IS
'A filter node: the items for which "where" is true.';

CREATE FUNCTION goflow.reduce(
	id text, over text, initial text, value text, "as" text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'reduce', jsonb_build_object(
			'over', over, 'initial', initial, 'value', value, 'as', "as"),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.reduce IS
'A reduce node: value is an expression over the item and acc.value.';

CREATE FUNCTION goflow.merge(
	id text, of text[], mode text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'merge', jsonb_build_object(
			'of', to_jsonb(of), 'mode', mode),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.merge IS
'A merge node: of is a list of expressions.';

CREATE FUNCTION goflow.split(
	id text, over text, size text DEFAULT NULL, by text DEFAULT NULL, "as" text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'split', jsonb_build_object(
			'over', over, 'size', goflow.number_or_text(size), 'by', by, 'as', "as"),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.split IS
'A split node: parts of a size, or by an expression over the item.';

CREATE FUNCTION goflow.loop(
	id text, "for" text DEFAULT NULL, body jsonb DEFAULT NULL, "as" text DEFAULT NULL, while text DEFAULT NULL,
	repeat text DEFAULT NULL, parallel int DEFAULT NULL, collect text DEFAULT NULL,
	max_iterations int DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'loop', jsonb_build_object(
			'for', "for", 'body', body, 'as', "as", 'while', while, 'repeat', goflow.number_or_text(repeat),
			'parallel', parallel, 'collect', collect, 'max_iterations', max_iterations),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.loop IS
'A loop node over items ("for"), while a condition holds, or a number of times (repeat).';

CREATE FUNCTION goflow.break(
	id text, if text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'break', jsonb_build_object(
			'if', if),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.break IS
'A break node: leaves the loop around it.';

CREATE FUNCTION goflow.continue(
	id text, if text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'continue', jsonb_build_object(
			'if', if),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.continue IS
'A continue node: goes on with the next iteration of the loop around it.';

CREATE FUNCTION goflow.try(
	id text, body jsonb, catch jsonb[] DEFAULT NULL, finally jsonb DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'try', jsonb_build_object(
			'body', body, 'catch', to_jsonb(catch), 'finally', finally),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.try IS
'A try node: catches made by goflow.catch(), finally is a body.';

CREATE FUNCTION goflow.raise(
	id text, code text DEFAULT NULL, message text DEFAULT NULL, detail text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'raise', jsonb_build_object(
			'code', code, 'message', message, 'detail', detail),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.raise IS
'A raise node; without code, message and detail it raises again what was caught.';

CREATE FUNCTION goflow.parallel(
	id text, branches jsonb[],
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'parallel', jsonb_build_object(
			'branches', goflow.combine(branches, '{}', 'branch')),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.parallel IS
'A parallel node: branches made by goflow.branch().';

CREATE FUNCTION goflow.call(
	id text, workflow text, input jsonb DEFAULT NULL, version int DEFAULT NULL, wait boolean DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'workflow', jsonb_build_object(
			'workflow', workflow, 'input', input, 'version', version, 'wait', wait),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.call IS
'A workflow node: starts another workflow.';

CREATE FUNCTION goflow.delay(
	id text, "for" text DEFAULT NULL, until text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'delay', jsonb_build_object(
			'for', "for", 'until', until),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.delay IS
'A delay node: for an interval, or until a moment.';

CREATE FUNCTION goflow.notify(
	id text, channel text, payload text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'notify', jsonb_build_object(
			'channel', channel, 'payload', payload),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.notify IS
'A notify node: a transactional NOTIFY.';

CREATE FUNCTION goflow.await_signal(
	id text, name text DEFAULT NULL, payload jsonb DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'signal', jsonb_build_object(
			'name', name, 'payload', payload),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.await_signal IS
'A signal node: waits for a signal of the name, or of the id; payload: the types of its fields.';

CREATE FUNCTION goflow.approval(
	id text, role text, form jsonb DEFAULT NULL, payload jsonb DEFAULT NULL,
	remind text DEFAULT NULL, escalate jsonb DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'approval', jsonb_build_object(
			'role', role, 'form', form, 'payload', payload, 'remind', remind, 'escalate', escalate),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.approval IS
'An approval node: waits for the decision of a member of the role.';

CREATE FUNCTION goflow.task(
	id text, queue text, payload jsonb DEFAULT NULL, output jsonb DEFAULT NULL, lease text DEFAULT NULL,
	after anycompatible DEFAULT NULL::text, "join" text DEFAULT NULL, cancel_rest boolean DEFAULT NULL,
	aggregate text DEFAULT NULL, retry anyelement DEFAULT NULL::int, timeout text DEFAULT NULL,
	on_error text DEFAULT NULL, compensate text DEFAULT NULL, settings jsonb DEFAULT NULL, title text DEFAULT NULL,
	limits jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT goflow.node(id, 'task', jsonb_build_object(
			'queue', queue, 'payload', payload, 'output', output, 'lease', lease),
		after => to_jsonb(after), "join" => "join", cancel_rest => cancel_rest, aggregate => aggregate,
		retry => to_jsonb(retry), timeout => timeout, on_error => on_error, compensate => compensate,
		settings => settings, title => title, limits => limits)
$$;
COMMENT ON FUNCTION goflow.task IS
'A task node: work for a program outside, that claims it from the queue.';

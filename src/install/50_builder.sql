-- The builder: makes the JSON of a definition, and nothing else.
--
-- A part is a jsonb object with what it adds to a definition, such as
-- {"nodes": {"a": {…}}}; goflow.workflow() and goflow.body() put parts together.
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

-- From JSON to the builder's calls.  What a call cannot say to the letter, such
-- as a list of a single line, stays JSON: any object is a part.

CREATE FUNCTION goflow.script_text(value text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tag text := '$' || '$';
BEGIN
	IF value !~ '[''\\\n\r]' THEN
		RETURN '''' || value || '''';
	END IF;
	FOR i IN 1 .. 1000000 LOOP
		EXIT WHEN strpos(value || '$', tag) = 0;
		tag := format('$q%s$', i);
	END LOOP;
	RETURN tag || value || tag;
END
$$;
COMMENT ON FUNCTION goflow.script_text(text) IS
'For script(): a literal, in dollar quotes where that is easier to read.';

CREATE FUNCTION goflow.script_list(value jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE jsonb_typeof(value)
		WHEN 'string' THEN goflow.script_text(value #>> '{}')
		WHEN 'array' THEN (
			SELECT CASE WHEN bool_and(jsonb_typeof(e) = 'string')
				THEN 'ARRAY[' || string_agg(goflow.script_text(e #>> '{}'), ', ' ORDER BY n) || ']' END
			FROM jsonb_array_elements(value) WITH ORDINALITY AS l (e, n))
		END
$$;
COMMENT ON FUNCTION goflow.script_list(jsonb) IS
'For script(): a text, or an array of texts; NULL for anything else.';

CREATE FUNCTION goflow.script_join(parts text[], indent text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	-- a function has at most 100 arguments
	SELECT CASE WHEN cardinality(parts) > 90
		THEN 'VARIADIC ARRAY[' || array_to_string(parts, E',\n' || indent) || ']::jsonb[]'
		ELSE array_to_string(parts, E',\n' || indent) END
$$;
COMMENT ON FUNCTION goflow.script_join(text[], text) IS
'For script(): the arguments of workflow(), body() or branch().';

CREATE FUNCTION goflow.script_body(value jsonb, indent text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	parts text[];
BEGIN
	IF jsonb_typeof(value) = 'object' THEN
		parts := goflow.script_parts(value, indent || '  ');
	END IF;
	IF parts IS NULL OR value - '{nodes,variables,output}'::text[] <> '{}' OR cardinality(parts) = 0 THEN
		RETURN goflow.script_text(value::text);
	ELSIF cardinality(parts) = 1 THEN
		RETURN parts[1];
	END IF;
	RETURN E'goflow.body(\n' || indent || '  ' || goflow.script_join(parts, indent || '  ') || ')';
END
$$;
COMMENT ON FUNCTION goflow.script_body(jsonb, text) IS
'For script(): a body.';

CREATE FUNCTION goflow.script_argument(type text, key text, value jsonb, indent text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kind text := jsonb_typeof(value);
	plain text := value #>> '{}';
	inner_indent text := indent || '  ';
	items text[];
	item record;
BEGIN
	IF kind = 'null' THEN
		RETURN NULL;
	ELSIF key IN ('atomic', 'cancel_rest', 'wait') THEN
		RETURN CASE WHEN kind = 'boolean' THEN plain END;
	ELSIF key IN ('parallel', 'max_iterations', 'version', 'priority', 'attempts') THEN
		RETURN CASE WHEN kind = 'number' AND plain ~ '^-?[0-9]{1,9}$' THEN plain END;
	ELSIF key IN ('factor', 'jitter') THEN
		RETURN CASE WHEN kind = 'number' THEN plain END;
	ELSIF key IN ('join', 'repeat', 'size') AND kind = 'number' THEN
		RETURN CASE WHEN plain ~ '^[0-9]+$' THEN '''' || plain || '''' END;
	ELSIF key IN ('columns', 'set', 'input', 'settings', 'limits') OR type = 'transform' AND key = 'value'
		OR key IN ('payload', 'output', 'form', 'escalate') AND type <> 'notify' THEN
		RETURN goflow.script_text(value::text);
	ELSIF type = 'map' AND key = 'value' AND kind = 'object' THEN
		RETURN goflow.script_text(value::text);
	ELSIF key IN ('after', 'of', 'events') OR key = 'on' AND type IN ('catch', 'retry') THEN
		RETURN CASE WHEN key IN ('after', 'on') OR kind = 'array' THEN goflow.script_list(value) END;
	ELSIF key = 'retry' THEN
		IF kind = 'number' THEN
			RETURN CASE WHEN plain ~ '^[0-9]{1,9}$' THEN plain END;
		ELSIF kind <> 'object' OR value = '{}' OR value - '{attempts,backoff,factor,max_delay,jitter,on}'::text[] <> '{}' THEN
			RETURN goflow.script_text(value::text) || '::jsonb';
		END IF;
		FOR item IN SELECT e.key, goflow.script_argument('retry', e.key, e.value, indent) AS argument
			FROM jsonb_each(value) e JOIN unnest('{attempts,backoff,factor,max_delay,jitter,on}'::text[])
				WITH ORDINALITY AS k (key, n) USING (key) ORDER BY n
		LOOP
			items := items || CASE WHEN item.key = 'attempts' THEN item.argument
							  ELSE CASE item.key WHEN 'on' THEN '"on"' ELSE item.key END || ' => ' || item.argument END;
		END LOOP;
		IF array_position(items, NULL) > 0 THEN
			RETURN goflow.script_text(value::text) || '::jsonb';
		END IF;
		RETURN 'goflow.retry_policy(' || array_to_string(items, ', ') || ')';
	ELSIF key IN ('body', 'finally') THEN
		RETURN goflow.script_body(value, indent);
	ELSIF key IN ('cases', 'catch') AND EXISTS (SELECT FROM jsonb_array_elements(value) e
		WHERE jsonb_typeof(e) <> 'object' OR e - '{port,when,on,body}'::text[] <> '{}') THEN
		RETURN NULL;
	ELSIF key = 'cases' THEN
		SELECT array_agg('goflow.case(' || goflow.script_argument('case', 'port', e -> 'port', indent) || ', '
						 || goflow.script_argument('case', 'when', e -> 'when', indent) || ')' ORDER BY n)
		INTO items FROM jsonb_array_elements(value) WITH ORDINALITY AS l (e, n);
	ELSIF key = 'catch' THEN
		SELECT array_agg('goflow.catch(' || goflow.script_body(e -> 'body', inner_indent)
						 || CASE WHEN e ? 'on' THEN ', "on" => ' || goflow.script_argument('catch', 'on', e -> 'on', indent)
							ELSE '' END || ')' ORDER BY n)
		INTO items FROM jsonb_array_elements(value) WITH ORDINALITY AS l (e, n);
	ELSIF key = 'branches' THEN
		SELECT array_agg('goflow.branch(' || goflow.script_text(e.key) || ','
						 || CASE WHEN e.value - '{nodes,variables,output}'::text[] = '{}' AND cardinality(parts) = 1 THEN ' ' || parts[1]
							WHEN e.value - '{nodes,variables,output}'::text[] = '{}' AND cardinality(parts) > 1
							THEN E'\n' || inner_indent || '  ' || goflow.script_join(parts, inner_indent || '  ')
							ELSE ' ' || goflow.script_text(e.value::text) END || ')')
		INTO items FROM jsonb_each(value) e, goflow.script_parts(e.value, inner_indent || '  ') parts;
	ELSIF kind = 'string' THEN
		IF key IN ('join', 'repeat', 'size') AND plain ~ '^[0-9]+$'
			OR type = 'map' AND key = 'value' AND ltrim(plain, E' \t\r\n') LIKE '{%' THEN
			RETURN NULL;
		END IF;
		RETURN goflow.script_text(plain);
	ELSE
		RETURN NULL;
	END IF;
	RETURN CASE WHEN items IS NOT NULL AND array_position(items, NULL) IS NULL
		THEN E'ARRAY[\n' || inner_indent || array_to_string(items, E',\n' || inner_indent) || ']' END;
END
$$;
COMMENT ON FUNCTION goflow.script_argument(text, text, jsonb, text) IS
'For script(): the value of an argument; NULL if only JSON can say it.';

CREATE FUNCTION goflow.script_node(id text, node jsonb, indent text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	type text := node ->> 'type';
	in_place text[];			-- written without their names
	optional text[];
	items text[] := ARRAY[goflow.script_text(id)];
	argument text;
	has_lines boolean := false;
	entry record;
BEGIN
	IF jsonb_typeof(node) <> 'object' THEN
		RETURN goflow.script_text(jsonb_build_object('nodes', jsonb_build_object(id, node))::text);
	END IF;
	SELECT r, o INTO in_place, optional FROM (VALUES
		('sql', '{sql}'::text[], '{rows,check,columns,atomic,isolation}'::text[]),
		('condition', '{if}', '{}'),
		('switch', '{cases}', '{on}'),
		('set', '{set}', '{}'),
		('transform', '{value}', '{}'),
		('map', '{over,value}', '{as}'),
		('filter', '{over,where}', '{as}'),
		('reduce', '{over,initial,value}', '{as}'),
		('merge', '{of}', '{mode}'),
		('split', '{over}', '{size,by,as}'),
		('loop', '{}', '{for,as,while,repeat,parallel,collect,max_iterations,body}'),
		('break', '{}', '{if}'),
		('continue', '{}', '{if}'),
		('try', '{body}', '{catch,finally}'),
		('raise', '{}', '{code,message,detail}'),
		('parallel', '{branches}', '{}'),
		('workflow', '{workflow}', '{input,version,wait}'),
		('delay', '{}', '{for,until}'),
		('notify', '{channel}', '{payload}'),
		('signal', '{}', '{name,payload}'),
		('approval', '{role}', '{form,payload,remind,escalate}'),
		('task', '{queue}', '{payload,output,lease}'),
		('trigger', '{}', '{table,events,of,when,input}')) v (t, r, o)
	WHERE t = node ->> 'type';
	optional := optional || CASE WHEN type = 'trigger' THEN '{title}'::text[]
		ELSE '{after,join,cancel_rest,aggregate,retry,timeout,on_error,compensate,settings,title,limits}' END;

	FOR entry IN SELECT e.key, e.value, k.n FROM jsonb_each(node - 'type') e
		LEFT JOIN unnest(in_place || optional) WITH ORDINALITY AS k (key, n) USING (key) ORDER BY k.n
	LOOP
		argument := CASE WHEN entry.n IS NOT NULL
			THEN goflow.script_argument(type, entry.key, entry.value, indent) END;
		IF argument IS NULL AND entry.n IS NOT NULL AND jsonb_array_length(
			CASE WHEN jsonb_typeof(entry.value) = 'array' THEN entry.value ELSE '[]' END) > 1 THEN
			SELECT goflow.script_text(string_agg(e #>> '{}', E'\n' ORDER BY n)), true INTO argument, has_lines
			FROM jsonb_array_elements(entry.value) WITH ORDINALITY AS l (e, n)
			HAVING bool_and(jsonb_typeof(e) = 'string' AND e #>> '{}' NOT LIKE E'%\n%');
		END IF;
		IF argument IS NULL THEN
			RETURN goflow.script_text(jsonb_build_object('nodes', jsonb_build_object(id, node))::text);
		END IF;
		items := items || CASE WHEN entry.n <= cardinality(in_place) THEN argument
						  ELSE format('%I => ', entry.key) || argument END;
	END LOOP;
	IF cardinality(items) - 1 < cardinality(in_place) OR has_lines AND EXISTS (
		SELECT FROM jsonb_each(node) e WHERE jsonb_typeof(e.value) = 'string' AND e.value #>> '{}' LIKE E'%\n%') THEN
		RETURN goflow.script_text(jsonb_build_object('nodes', jsonb_build_object(id, node))::text);
	END IF;
	argument := format('goflow.%s(%s)', CASE type WHEN 'workflow' THEN 'call' WHEN 'signal' THEN 'await_signal' ELSE type END,
					   array_to_string(items, ', '));
	RETURN CASE WHEN has_lines THEN 'goflow.lines(' || argument || ')' ELSE argument END;
END
$$;
COMMENT ON FUNCTION goflow.script_node(text, jsonb, text) IS
'For script(): a node.';

CREATE FUNCTION goflow.script_parts(definition jsonb, indent text)
RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	parts text[] := '{}';
	options text[];
	entry record;
	ids text[];
	ready text[];
	done text[] := '{}';
BEGIN
	FOR entry IN SELECT e.key, e.value, goflow.script_argument('options', e.key, e.value, indent) AS argument
		FROM jsonb_each(definition - '{input,variables,nodes,output}'::text[]) e
	LOOP
		IF entry.argument IS NULL
			OR entry.key <> ALL ('{title,description,priority,timeout,retry,on_error,security,settings,retention,limits}') THEN
			parts := parts || goflow.script_text(jsonb_build_object(entry.key, entry.value)::text);
		ELSE
			options := options || (entry.key || ' => ' || entry.argument);
		END IF;
	END LOOP;
	IF options IS NOT NULL THEN
		parts := ('goflow.options(' || array_to_string(options, ', ') || ')') || parts;
	END IF;
	FOR entry IN SELECT k.key, k.call, definition -> k.key AS value
		FROM (VALUES ('input', 'input'), ('variables', 'variable'), ('nodes', NULL), ('output', 'output')) k (key, call)
		WHERE definition ? k.key
	LOOP
		IF jsonb_typeof(entry.value) <> 'object' OR entry.value = '{}' THEN
			parts := parts || goflow.script_text(jsonb_build_object(entry.key, entry.value)::text);
		ELSIF entry.key <> 'nodes' THEN
			parts := parts || (SELECT array_agg(
				CASE WHEN jsonb_typeof(e.value) = 'string'
					THEN format('goflow.%s(%s, %s)', entry.call, goflow.script_text(e.key), goflow.script_text(e.value #>> '{}'))
					ELSE goflow.script_text(jsonb_build_object(entry.key, jsonb_build_object(e.key, e.value))::text) END)
				FROM jsonb_each(entry.value) e);
		ELSE
			-- nodes after those that they come after; of many the order of JSON is good enough
			ids := ARRAY(SELECT jsonb_object_keys(entry.value));
			WHILE cardinality(ids) > 0 LOOP
				ready := ARRAY(SELECT i FROM unnest(ids) WITH ORDINALITY AS u (i, n)
					WHERE cardinality(ids) > 300 OR NOT EXISTS (
						SELECT FROM jsonb_array_elements_text(
							CASE jsonb_typeof(entry.value -> i -> 'after') WHEN 'array' THEN entry.value -> i -> 'after'
								WHEN 'string' THEN jsonb_build_array(entry.value -> i -> 'after') ELSE '[]' END) a
						WHERE split_part(a, ':', 1) <> ALL (done)) ORDER BY n);
				IF cardinality(ready) = 0 THEN
					ready := ids;
				END IF;
				parts := parts || (SELECT array_agg(goflow.script_node(i, entry.value -> i, indent) ORDER BY n)
					FROM unnest(ready) WITH ORDINALITY AS u (i, n));
				done := done || ready;
				ids := ARRAY(SELECT i FROM unnest(ids) WITH ORDINALITY AS u (i, n) WHERE i <> ALL (ready) ORDER BY n);
			END LOOP;
		END IF;
	END LOOP;
	RETURN parts;
END
$$;
COMMENT ON FUNCTION goflow.script_parts(jsonb, text) IS
'For script(): the parts of a definition or of a body.';

CREATE FUNCTION goflow.script(name text, version int DEFAULT NULL)
RETURNS text LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'SELECT goflow.define(' || goflow.script_text(name) || E', goflow.workflow(\n  '
		|| goflow.script_join(goflow.script_parts(goflow.definition(name, version), '  '), '  ') || '));'
$$;
COMMENT ON FUNCTION goflow.script(text, int) IS
'A statement that defines a version of a workflow again, in the form of the builder; the newest by default.';

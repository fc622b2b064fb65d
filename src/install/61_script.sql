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
RETURNS text LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH workflow AS (
		SELECT goflow.definition(script.name, script.version) AS definition,
			(SELECT w.settings FROM goflow.workflows w
			 WHERE w.workflow = script.name AND (script.version IS NULL OR w.version = script.version)
			 ORDER BY w.version DESC LIMIT 1) AS settings),
	-- what define() would record here and now
	present AS (
		SELECT (SELECT coalesce(string_agg(quote_ident(s), ', ' ORDER BY n) || ', ', '') || 'pg_temp'
				FROM unnest(current_schemas(false)) WITH ORDINALITY u (s, n) WHERE s !~ '^pg_temp_') AS search_path)
	SELECT coalesce((
			SELECT string_agg(format(E'SET %s = %s;\n', r.key, CASE r.key WHEN 'search_path' THEN r.value ELSE quote_literal(r.value) END), ''
							  ORDER BY r.key)
			FROM jsonb_each_text(w.settings) r
			WHERE r.value <> CASE r.key WHEN 'search_path' THEN p.search_path ELSE current_setting(r.key, true) END
				AND NOT EXISTS (SELECT FROM jsonb_object_keys(w.definition -> 'settings') k WHERE lower(k) = lower(r.key))), '')
		|| 'SELECT goflow.define(' || goflow.script_text(script.name) || E', goflow.workflow(\n  '
		|| goflow.script_join(goflow.script_parts(w.definition, '  '), '  ') || '));'
	FROM workflow w, present p;
END;
COMMENT ON FUNCTION goflow.script(text, int) IS
'What defines a version of a workflow again, in the form of the builder; the newest by default. Settings that it was defined with, and the session has not, are SET first.';

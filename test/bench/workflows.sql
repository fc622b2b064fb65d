-- Ten steps in a row.
SELECT goflow.define('chain', jsonb_build_object(
	'input', '{"k": "int"}'::jsonb,
	'nodes', (SELECT jsonb_object_agg('s' || n, jsonb_build_object(
					'type', 'sql', 'rows', 'none',
					'sql', format('INSERT INTO bench.effect (k, step) VALUES (input.k, %s)', n))
				|| CASE WHEN n > 1 THEN jsonb_build_object('after', jsonb_build_array('s' || n - 1)) ELSE '{}' END)
			FROM generate_series(1, 10) n)));

-- One step.
SELECT goflow.define('one', '{
	"input": {"k": "int"},
	"nodes": {"s": {"type": "sql", "rows": "none", "sql": "INSERT INTO bench.effect (k, step) VALUES (input.k, 1)"}}}');

-- Ten nodes in a row that only compute.
SELECT goflow.define('control', '{
	"input": {"k": "int"},
	"variables": {"total": "int = 0", "label": "text"},
	"nodes": {
		"c1": {"type": "transform", "value": {"double": "input.k * 2"}},
		"c2": {"type": "condition", "after": ["c1"], "if": "c1.double > 0"},
		"c3": {"type": "set", "after": ["c2:true"], "set": {"total": "vars.total + c1.double"}},
		"c4": {"type": "switch", "after": ["c3"], "cases": [{"port": "even", "when": "input.k % 2 = 0"}, {"port": "odd", "when": "input.k % 2 = 1"}]},
		"c5": {"type": "transform", "after": ["c4:even", "c4:odd"], "join": "any", "value": {"what": "c4.\"case\" || input.k"}},
		"c6": {"type": "condition", "after": ["c5"], "if": "vars.total > 0"},
		"c7": {"type": "set", "after": ["c6:true"], "set": {"label": "c5.what"}},
		"c8": {"type": "transform", "after": ["c7"], "value": {"half": "vars.total / 2"}},
		"c9": {"type": "condition", "after": ["c8"], "if": "c8.half = input.k"},
		"c10": {"type": "transform", "after": ["c9:true"], "value": {"done": "true"}}},
	"output": {"done": "c10.done"}}');

-- 1,000 steps side by side, and one after all of them.
SELECT goflow.define('fan', jsonb_build_object(
	'input', '{"k": "int"}'::jsonb,
	'nodes', (SELECT jsonb_object_agg('s' || n, jsonb_build_object(
					'type', 'sql', 'rows', 'none',
					'sql', format('INSERT INTO bench.effect (k, step) VALUES (input.k, %s)', n)))
			FROM generate_series(1, 1000) n)
		|| jsonb_build_object('done', jsonb_build_object('type', 'transform', 'value', '{"yes": "true"}'::jsonb,
			'after', (SELECT jsonb_agg('s' || n) FROM generate_series(1, 1000) n))),
	'output', '{"yes": "done.yes"}'::jsonb));

-- Loops of one step: a short one to learn from, a long one to measure.
SELECT goflow.define(name, jsonb_build_object(
	'input', '{"k": "int"}'::jsonb,
	'nodes', jsonb_build_object('l', jsonb_build_object(
		'type', 'loop', 'repeat', iterations, 'max_iterations', 100000,
		'body', '{"nodes": {"s": {"type": "sql", "rows": "none",
			"sql": "INSERT INTO bench.effect (k, step) VALUES (input.k, loop.index::int)"}}}'::jsonb))))
FROM (VALUES ('loop', '100'), ('long_loop', '100000')) v (name, iterations);

-- What waits.
SELECT goflow.define('nap', '{
	"input": {"k": "int"},
	"nodes": {"d": {"type": "delay", "for": "interval ''1 day''"}}}');
SELECT goflow.define('alarm', '{
	"input": {"at": "timestamptz"},
	"nodes": {"d": {"type": "delay", "until": "input.at"}},
	"output": {"at": "input.at"}}');

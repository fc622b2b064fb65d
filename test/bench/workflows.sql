-- Ten steps in a row; one step; one step started by a row.
SELECT goflow.define('chain', jsonb_build_object(
	'input', '{"k": "int"}'::jsonb,
	'nodes', (SELECT jsonb_object_agg('s' || n, jsonb_build_object(
					'type', 'sql', 'rows', 'none',
					'sql', format('INSERT INTO bench.effect (k, step) VALUES (input.k, %s)', n))
				|| CASE WHEN n > 1 THEN jsonb_build_object('after', jsonb_build_array('s' || n - 1)) ELSE '{}' END)
			FROM generate_series(1, 10) n)));

SELECT goflow.define('one', '{
	"input": {"k": "int"},
	"nodes": {"s": {"type": "sql", "rows": "none", "sql": "INSERT INTO bench.effect (k, step) VALUES (input.k, 1)"}}}');

-- What define() asks of the workflows that a definition starts.
SELECT goflow.define('callee', '{"input": {"x": "int", "y": "text", "z": "date = NULL"}, "nodes": {"a": {"type": "sql", "sql": "SELECT input.x AS x"}}}');
SELECT goflow.define('caller', '{"nodes": {"c": {"type": "workflow", "workflow": "callee", "input": {"x": "1", "y": "''a''"}}}}');

-- inputs that are missing, unknown, or of the wrong type
SELECT severity, code, node, message, hint FROM goflow.validate('{"nodes": {
  "c": {"type": "workflow", "workflow": "callee", "input": {"x": "now()", "w": "1"}}}}');

-- it may be defined later
SELECT goflow.define('calls_early', '{"nodes": {"c": {"type": "workflow", "workflow": "calls_late"}}}');

-- but not so that the two wait for each other for ever
SELECT goflow.define('calls_late', '{"nodes": {"c": {"type": "workflow", "workflow": "calls_early"}}}');
SELECT goflow.define('calls_late', '{"nodes": {"c": {"type": "workflow", "workflow": "calls_early", "wait": false}}}');
SELECT goflow.define('calls_late', '{"nodes": {
  "if": {"type": "condition", "if": "random() < 0"},
  "c":  {"type": "workflow", "after": "if:true", "workflow": "calls_early"}}}');
SELECT goflow.drop(w) FROM unnest('{caller,callee,calls_early,calls_late}'::text[]) w;

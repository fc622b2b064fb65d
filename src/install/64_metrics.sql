-- What took how long: derived from the journal and the definition.

CREATE FUNCTION goflow.timeline(execution uuid,
	OUT node text, OUT type text, OUT frame int, OUT attempt int, OUT state text,
	OUT ready_at timestamptz, OUT started_at timestamptz, OUT finished_at timestamptz,
	OUT queue_wait interval, OUT duration interval, OUT critical boolean)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_timeline' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.timeline(uuid) IS
'What ran in an execution, or runs, in the order in which it began: when it was ready, began and ended, and whether it is on the critical path.';

CREATE FUNCTION goflow.estimated_time_remaining(execution uuid)
RETURNS interval AS 'MODULE_PATHNAME', 'goflow_estimated_time_remaining' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.estimated_time_remaining(uuid) IS
'How long an execution will go on, from what the nodes on its longest way to the end took in earlier executions; NULL if there are none.';

-- Nodes that run bodies, or wait for something, are not work themselves.
CREATE FUNCTION goflow.metrics(execution uuid,
	OUT total int, OUT completed int, OUT failed int, OUT skipped int,
	OUT elapsed interval, OUT average_duration interval,
	OUT longest_node text, OUT longest_duration interval,
	OUT critical_path text[], OUT bottleneck text,
	OUT parallelism numeric, OUT peak_parallelism int,
	OUT queue_wait interval, OUT average_queue_wait interval)
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
	WITH run AS MATERIALIZED (
		SELECT t.*, t.type NOT IN ('loop', 'try', 'parallel', 'workflow', 'delay', 'signal', 'approval', 'task') AS works,
			coalesce(t.finished_at, t.started_at + t.duration) AS until
		FROM goflow.timeline(metrics.execution) t),
	change AS (
		SELECT sum(c.step) OVER (ORDER BY c.at, c.step) AS running
		FROM (SELECT r.started_at AS at, 1 AS step FROM run r WHERE r.works AND r.until > r.started_at
			UNION ALL SELECT r.until, -1 FROM run r WHERE r.works AND r.until > r.started_at) c),
	busy AS (
		SELECT sum(extract(epoch FROM upper(u.busy) - lower(u.busy))) AS seconds
		FROM (SELECT unnest(range_agg(tstzrange(r.started_at, r.until))) AS busy
			FROM run r WHERE r.works AND r.until > r.started_at) u),
	longest AS (
		SELECT r.node, r.duration FROM run r WHERE r.works ORDER BY r.duration DESC, r.started_at LIMIT 1)
	SELECT p.total, p.completed, p.failed, p.skipped,
		coalesce(e.finished_at, clock_timestamp()) - e.started_at,
		(SELECT avg(r.duration) FROM run r WHERE r.works),
		(SELECT l.node FROM longest l), (SELECT l.duration FROM longest l),
		(SELECT array_agg(r.node ORDER BY r.started_at, r.until) FROM run r WHERE r.critical AND r.state <> 'retrying'),
		(SELECT r.node FROM run r WHERE r.critical ORDER BY r.duration DESC, r.started_at LIMIT 1),
		(SELECT round(sum(extract(epoch FROM r.until - r.started_at)) / nullif((SELECT b.seconds FROM busy b), 0), 2)
			FROM run r WHERE r.works),
		(SELECT max(c.running)::int FROM change c),
		(SELECT sum(r.queue_wait) FROM run r), (SELECT avg(r.queue_wait) FROM run r)
	FROM goflow.status(metrics.execution) e, goflow.progress(metrics.execution) p;
END;
COMMENT ON FUNCTION goflow.metrics(uuid) IS
'Numbers about an execution: nodes by state, durations, its critical path and what took longest on it, how many nodes ran side by side, what they waited for workers.';

CREATE FUNCTION goflow.gantt(execution uuid, width int DEFAULT 60, max_rows int DEFAULT 200)
RETURNS SETOF text
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
	WITH run AS MATERIALIZED (
		SELECT t.node || CASE WHEN t.attempt > 1 THEN ' (' || t.attempt || ')' ELSE '' END AS label,
			row_number() OVER () AS number, count(*) OVER () AS total,
			least(t.ready_at, t.started_at) AS ready_at, t.started_at, t.duration, t.critical,
			coalesce(t.finished_at, t.started_at + t.duration) AS until,
			CASE t.state WHEN 'completed' THEN '#' WHEN 'failed' THEN '!' WHEN 'cancelled' THEN 'x' WHEN 'running' THEN '>' ELSE '~' END AS mark
		FROM goflow.timeline(gantt.execution) t),
	scale AS (
		SELECT min(r.ready_at) AS zero, greatest(extract(epoch FROM max(r.until) - min(r.ready_at)), 0.000001) AS seconds,
			max(length(r.label)) AS labels, greatest(gantt.width, 10) AS columns
		FROM run r WHERE r.number <= gantt.max_rows),
	place AS (
		SELECT r.*, s.labels, s.columns,
			least(floor(extract(epoch FROM r.ready_at - s.zero) / s.seconds * s.columns), s.columns - 1)::int AS ready,
			least(floor(extract(epoch FROM r.started_at - s.zero) / s.seconds * s.columns), s.columns - 1)::int AS began,
			greatest(ceil(extract(epoch FROM r.until - s.zero) / s.seconds * s.columns), 1)::int AS ended
		FROM run r, scale s WHERE r.number <= gantt.max_rows)
	SELECT line FROM (
		SELECT p.number, rpad(p.label, p.labels) || CASE WHEN p.critical THEN ' * |' ELSE '   |' END
			|| repeat(' ', p.ready) || repeat('.', p.began - p.ready)
			|| rpad(repeat(p.mark, greatest(p.ended - p.began, 1)), p.columns - p.began) || '| '
			|| round(extract(epoch FROM p.duration) * 1000, 1) || ' ms' AS line
		FROM place p
		UNION ALL
		SELECT p.total + 1, '... ' || p.total - gantt.max_rows || ' more' FROM place p
		WHERE p.number = gantt.max_rows AND p.total > gantt.max_rows) x
	ORDER BY x.number;
END;
COMMENT ON FUNCTION goflow.gantt(uuid, int, int) IS
'A chart of an execution as lines of text: # completed, ! failed, x cancelled, > runs, ~ waits, . waited for a worker; * is on the critical path.';

CREATE FUNCTION goflow.diagram(workflow text, format text DEFAULT 'mermaid', version int DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'goflow_diagram_workflow' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.diagram(text, text, int) IS
'A workflow as a diagram in Mermaid or DOT; its bodies are subgraphs.';

CREATE FUNCTION goflow.diagram(execution uuid, format text DEFAULT 'mermaid')
RETURNS text AS 'MODULE_PATHNAME', 'goflow_diagram_execution' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.diagram(uuid, text) IS
'An execution as a diagram in Mermaid or DOT, nodes coloured by their states.';

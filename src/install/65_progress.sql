-- Progress in the shapes that applications hand on to people.

CREATE FUNCTION goflow.progress_json(execution uuid) RETURNS jsonb
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT jsonb_build_object(
		'execution', e.execution, 'workflow', e.workflow, 'state', e.state,
		'current_step', least(p.completed + p.failed + p.skipped + (e.finished_at IS NULL)::int, p.total),
		'total_steps', p.total, 'percentage', p.percent, 'current_step_name', p.current_node,
		'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped,
		'estimated_time_remaining', round(extract(epoch FROM goflow.estimated_time_remaining(progress_json.execution)), 3))
	FROM goflow.status(progress_json.execution) e, goflow.progress(progress_json.execution) p
	WHERE p.total IS NOT NULL;
END;
COMMENT ON FUNCTION goflow.progress_json(uuid) IS
'Progress of an execution as an object for applications; NULL as long as it has not begun, an error for an unknown one.';

CREATE FUNCTION goflow.progress_message(execution uuid) RETURNS jsonb
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT jsonb_build_object(
		'kind', 'status', 'execution', e.execution, 'state', e.state,
		'total', p.total, 'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped,
		'percent', p.percent, 'error', e.error, 'at', clock_timestamp())
	FROM goflow.status(progress_message.execution) e, goflow.progress(progress_message.execution) p;
END;
COMMENT ON FUNCTION goflow.progress_message(uuid) IS
'The present status of an execution as a message of kind "status", with the members of those that its channel sends.';

CREATE FUNCTION goflow.event_message(payload jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT jsonb_build_object('kind', k.kind) || event_message.payload
	FROM (SELECT CASE event_message.payload ->> 'event'
			WHEN 'execution_started' THEN 'started' WHEN 'progress_update' THEN 'progress'
			WHEN 'execution_completed' THEN 'completed' WHEN 'execution_failed' THEN 'failed'
			WHEN 'execution_cancelled' THEN 'cancelled' END AS kind) k
	WHERE k.kind IS NOT NULL;
END;
COMMENT ON FUNCTION goflow.event_message(jsonb) IS
'A payload of an execution''s channel as a message of kind "started", "progress", "completed", "failed" or "cancelled"; NULL for other events.';

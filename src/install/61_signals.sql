-- Signals: messages to executions.  C entry points: src/api/signal.c.

-- Inboxes: what was sent and not consumed, in the order of the numbers.
CREATE TABLE goflow.signal (
	execution_id uuid NOT NULL,
	number       bigint GENERATED ALWAYS AS IDENTITY,
	name         text NOT NULL,
	payload      text[] NOT NULL,      -- the fields of the signal in order, in text form
	role         regrole NOT NULL,     -- who sent it
	sent_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (execution_id, number)
);
ALTER TABLE goflow.signal ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('goflow.signal', '');
SELECT pg_catalog.pg_extension_config_dump('goflow.signal_number_seq', '');
COMMENT ON TABLE goflow.signal IS 'Signals that executions have not consumed.';

CREATE FUNCTION goflow.signal(execution uuid, name text, payload jsonb DEFAULT '{}')
RETURNS void AS 'MODULE_PATHNAME', 'goflow_signal' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.signal(uuid, text, jsonb) IS
'Sends an execution a signal, effective when the transaction commits. One that comes before a node waits for it stays in the inbox.';

CREATE FUNCTION goflow.signal_all(workflow text, name text, payload jsonb DEFAULT '{}', key text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'goflow_signal_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.signal_all(text, text, jsonb, text) IS
'Sends a signal to every live execution of a workflow that the current user may steer, or to those started with a key; returns how many.';

CREATE FUNCTION goflow.signals(execution uuid,
	OUT name text, OUT payload jsonb, OUT sent_by regrole, OUT sent_at timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_signals' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.signals(uuid) IS
'The inbox of an execution: signals that no node has consumed, in order.';

/*
 * wait_types.c
 *		Types of nodes that wait for somebody outside of the workflow: signal,
 *		approval and task.
 *
 * What comes from outside has declared types.  They are the node's columns, of
 * an approval behind those that say who decided what.
 */
#include "postgres.h"

#include "definition/parse.h"

/* What a task is held for when nobody says otherwise */
#define DEFAULT_LEASE USECS_PER_MINUTE

/* "goflow_tasks_" and the queue's name are a channel */
#define MAX_QUEUE_LENGTH 50

static void
read_fields(GoflowParser *parser, GoflowNode *node, GoflowObject *object, const char *key)
{
	JsonbValue *value = goflow_object_get(object, key);
	int			nfirst = node->ncolumns;
	GoflowField *fields;
	GoflowField *columns;

	if (value == NULL)
		return;
	fields = goflow_read_fields(parser, key, value, false, 0, &node->nfields);
	columns = palloc0(sizeof(GoflowField) * Max(1, nfirst + node->nfields));
	for (int i = 0; i < nfirst; i++)
		columns[i] = node->columns[i];
	for (int i = 0; i < node->nfields; i++)
	{
		for (int j = 0; j < nfirst; j++)
			if (strcmp(columns[j].name, fields[i].name) == 0)
				goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_NAME_CONFLICT,
														 psprintf("%s.%s", key, fields[i].name),
														 psprintf("column \"%s\" exists twice", fields[i].name)),
									"Every approval gives a column of this name; choose another one.");
		columns[nfirst + i] = fields[i];
	}
	node->columns = columns;
	node->ncolumns = nfirst + node->nfields;
	node->first_field = nfirst;
}

static void
read_payload(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *payload = goflow_object_get(object, "payload");

	if (payload)
		goflow_read_named_exprs(parser, node, "payload", payload, GOFLOW_SEES_ANY, true,
								&node->exprs, &node->nexprs);
}

const GoflowKeyRule goflow_signal_keys[] = {
	{"name", GOFLOW_JSON_STRING},
	{"payload", GOFLOW_JSON_OBJECT},
	{NULL}
};

/* Without a name the signal has the id of the node. */
void
goflow_parse_signal(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	node->signal_name = goflow_object_string(object, "name");
	if (node->signal_name)
		(void) goflow_check_identifier(parser, "name", node->signal_name, "a signal");
	else
		node->signal_name = node->id;
	read_fields(parser, node, object, "payload");
	parser->definition->has_signals = true;
}

const GoflowKeyRule goflow_approval_keys[] = {
	{"role", GOFLOW_JSON_STRING, true},
	{"form", GOFLOW_JSON_OBJECT},
	{"payload", GOFLOW_JSON_OBJECT},
	{"remind", GOFLOW_JSON_STRING},
	{"escalate", GOFLOW_JSON_OBJECT},
	{NULL}
};

static const GoflowKeyRule escalate_keys[] = {
	{"role", GOFLOW_JSON_STRING, true},
	{"after", GOFLOW_JSON_STRING, true},
	{NULL}
};

void
goflow_parse_approval(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	static const GoflowField decision[] = {
		[GOFLOW_APPROVAL_DECISION] = {.name = "decision", .type_name = "pg_catalog.text", .typmod = -1},
		[GOFLOW_APPROVAL_DECIDED_BY] = {.name = "decided_by", .type_name = "pg_catalog.text", .typmod = -1},
		[GOFLOW_APPROVAL_LOGIN] = {.name = "login", .type_name = "pg_catalog.text", .typmod = -1},
		[GOFLOW_APPROVAL_DECIDED_AT] = {.name = "decided_at", .type_name = "pg_catalog.timestamptz", .typmod = -1},
		[GOFLOW_APPROVAL_COMMENT] = {.name = "comment", .type_name = "pg_catalog.text", .typmod = -1},
	};
	JsonbValue *escalate = goflow_object_get(object, "escalate");

	parser->definition->has_approvals = true;
	node->columns = palloc(sizeof(decision));
	memcpy(node->columns, decision, sizeof(decision));
	node->ncolumns = node->first_field = lengthof(decision);
	read_fields(parser, node, object, "form");
	read_payload(parser, node, object);
	node->role = goflow_object_string(object, "role");
	node->remind = goflow_read_interval(parser, "remind", goflow_object_get(object, "remind"), false);
	if (escalate)
	{
		GoflowObject members = goflow_json_object(escalate->val.binary.data);

		goflow_check_keys(parser, &members, "escalate.", "an escalation", escalate_keys, NULL);
		node->escalate_to = goflow_object_string(&members, "role");
		node->escalate_after = goflow_read_interval(parser, "escalate.after",
													goflow_object_get(&members, "after"), false);
	}
}

const GoflowKeyRule goflow_task_keys[] = {
	{"queue", GOFLOW_JSON_STRING, true},
	{"payload", GOFLOW_JSON_OBJECT},
	{"output", GOFLOW_JSON_OBJECT},
	{"lease", GOFLOW_JSON_STRING},
	{NULL}
};

void
goflow_parse_task(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *lease = goflow_object_get(object, "lease");

	parser->definition->has_tasks = true;
	node->queue = goflow_object_string(object, "queue");
	if (node->queue && goflow_check_identifier(parser, "queue", node->queue, "a queue") &&
		strlen(node->queue) > MAX_QUEUE_LENGTH)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_ID, "queue",
												 psprintf("the name of queue \"%s\" is too long", node->queue)),
							"At most %d characters: it is part of a channel's name.", MAX_QUEUE_LENGTH);
	read_fields(parser, node, object, "output");
	read_payload(parser, node, object);
	node->lease = lease ? goflow_read_interval(parser, "lease", lease, false) : DEFAULT_LEASE;
}

/*
 * limits.c
 *		"limits": bounds that a workflow, or a node, sets itself.
 *
 * What a definition does not say is the bound that every workflow has.  A
 * workflow may go beyond some of them, up to what the tables can hold.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "utils/guc.h"

static const GoflowKeyRule workflow_limit_keys[] = {
	{"depth", GOFLOW_JSON_NUMBER},
	{"executions", GOFLOW_JSON_NUMBER},
	{"iterations", GOFLOW_JSON_NUMBER},
	{"nodes", GOFLOW_JSON_NUMBER},
	{"result", GOFLOW_JSON_NUMBER | GOFLOW_JSON_STRING},
	{"rows", GOFLOW_JSON_NUMBER},
	{NULL}
};

static const GoflowKeyRule node_limit_keys[] = {
	{"result", GOFLOW_JSON_NUMBER | GOFLOW_JSON_STRING},
	{"rows", GOFLOW_JSON_NUMBER},
	{NULL}
};

/* Sets *limit if the object has the key: a whole number from low to high. */
static void
read_number(GoflowParser *parser, GoflowObject *object, const char *name, int low, int high, int *limit)
{
	*limit = goflow_read_integer(parser, psprintf("limits.%s", name), goflow_object_get(object, name),
								 low, high, *limit, NULL);
}

/* Bytes, as a number or as settings of the server are written. */
static void
read_size(GoflowParser *parser, GoflowObject *object, const char *name, int *limit)
{
	JsonbValue *value = goflow_object_get(object, name);
	int			bytes = 0;

	if (value == NULL)
		return;
	if ((value->type == jbvNumeric && goflow_json_integer(value, &bytes)) ||
		(value->type == jbvString && parse_int(goflow_json_string(value), &bytes, GUC_UNIT_BYTE, NULL)))
	{
		if (bytes > 0 && bytes <= GOFLOW_MAX_RESULT_BYTES)
		{
			*limit = bytes;
			return;
		}
	}
	goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, psprintf("limits.%s", name),
											 psprintf("\"limits.%s\" must be a size up to %d MB", name,
													  GOFLOW_MAX_RESULT_BYTES / (1024 * 1024))),
						"Write a number of bytes, or a text such as \"10 MB\".");
}

/* Of the workflow; before its nodes are read. */
void
goflow_read_workflow_limits(GoflowParser *parser, GoflowObject *object)
{
	GoflowLimits *limits = &parser->definition->limits;
	JsonbValue *value = goflow_object_get(object, "limits");
	GoflowObject keys;

	limits->nodes = GOFLOW_MAX_EXECUTION_NODES;
	limits->iterations = GOFLOW_DEFAULT_ITERATIONS;
	limits->executions = GOFLOW_DEFAULT_EXECUTIONS;
	limits->depth = GOFLOW_MAX_DEPTH;
	limits->rows = GOFLOW_DEFAULT_ROWS;
	limits->result = GOFLOW_DEFAULT_RESULT_BYTES;
	if (value == NULL)
		return;
	keys = goflow_json_object(value->val.binary.data);
	goflow_check_keys(parser, &keys, "limits.", "the limits of a workflow", workflow_limit_keys, NULL);
	read_number(parser, &keys, "nodes", 1, GOFLOW_MAX_EXECUTION_NODES, &limits->nodes);
	read_number(parser, &keys, "iterations", 1, GOFLOW_MAX_ITERATIONS, &limits->iterations);
	read_number(parser, &keys, "executions", 0, GOFLOW_MAX_EXECUTIONS, &limits->executions);
	read_number(parser, &keys, "depth", 0, GOFLOW_MAX_DEPTH, &limits->depth);
	read_number(parser, &keys, "rows", 0, GOFLOW_MAX_ROWS, &limits->rows);
	read_size(parser, &keys, "result", &limits->result);
}

/* Of a node: what it does not say is as the workflow says. */
void
goflow_read_node_limits(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *value = goflow_object_get(object, "limits");
	GoflowObject keys;

	node->max_rows = parser->definition->limits.rows;
	node->max_result = parser->definition->limits.result;
	if (value == NULL)
		return;
	keys = goflow_json_object(value->val.binary.data);
	goflow_check_keys(parser, &keys, "limits.", "the limits of a node", node_limit_keys, NULL);
	read_number(parser, &keys, "rows", 0, GOFLOW_MAX_ROWS, &node->max_rows);
	read_size(parser, &keys, "result", &node->max_result);
}

/*
 * diagram.c
 *		diagram(): a workflow, or an execution with its states, as Mermaid or DOT.
 *
 * Both languages are written from one walk over the bodies, by a small table of
 * functions each.  Nodes are called n and their number, so that nothing of the
 * definition is an identifier there; labels are escaped as the language wants.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(goflow_diagram_workflow);
PG_FUNCTION_INFO_V1(goflow_diagram_execution);

typedef struct Diagram
{
	StringInfoData text;
	GoflowDefinition *definition;
	char	   *states;			/* GoflowNodeState by number of the node; NULL: a workflow */
	const struct Language *language;
} Diagram;

typedef struct Language
{
	const char *name;
	void		(*begin) (Diagram *diagram);
	void		(*node) (Diagram *diagram, GoflowNode *node, int depth);
	void		(*begin_group) (Diagram *diagram, GoflowNode *owner, GoflowBody *body, const char *label,
								int depth);
	void		(*end_group) (Diagram *diagram, int depth);
	void		(*edge) (Diagram *diagram, GoflowNode *from, GoflowNode *to, const char *label, bool on_error);
	void		(*end) (Diagram *diagram);
} Language;

/* Colours of states, of which those that come first hide the others where a node ran often. */
static const struct
{
	char		state;
	const char *fill;
	const char *line;
}			colours[] = {
	{GOFLOW_NODE_RUNNING, "#cfe2ff", "#2563eb"},
	{GOFLOW_NODE_FAILED, "#fecaca", "#dc2626"},
	{GOFLOW_NODE_RETRYING, "#fed7aa", "#ea580c"},
	{GOFLOW_NODE_WAITING, "#fef3c7", "#d97706"},
	{GOFLOW_NODE_QUEUED, "#e0e7ff", "#6366f1"},
	{GOFLOW_NODE_COMPLETED, "#d1fae5", "#059669"},
	{GOFLOW_NODE_CANCELLED, "#e9d5ff", "#9333ea"},
	{GOFLOW_NODE_SKIPPED, "#f3f4f6", "#9ca3af"},
	{GOFLOW_NODE_IDLE, "#ffffff", "#6b7280"},
};

static int
colour_of(char state)
{
	for (int i = 0; i < lengthof(colours); i++)
		if (colours[i].state == state)
			return i;
	return lengthof(colours) - 1;
}

static const char *
label_of(GoflowNode *node)
{
	return node->title ? node->title : node->id;
}

static void
indent(Diagram *diagram, int depth)
{
	appendStringInfoSpaces(&diagram->text, 2 * (depth + 1));
}

/* ---- Mermaid ---- */

static void
mermaid_text(StringInfo text, const char *string)
{
	for (const char *c = string; *c; c++)
		switch (*c)
		{
			case '"':
			case '#':
			case '&':
			case '<':
			case '>':
			case '`':
			case '|':
			case ';':
			case '\\':
				appendStringInfo(text, "#%d;", (unsigned char) *c);
				break;
			case '\n':
				appendStringInfoString(text, "<br/>");
				break;
			case '\r':
				break;
			default:
				appendStringInfoChar(text, *c);
		}
}

static void
mermaid_begin(Diagram *diagram)
{
	appendStringInfoString(&diagram->text, "flowchart TD\n");
}

static void
mermaid_node(Diagram *diagram, GoflowNode *node, int depth)
{
	const char *open = "[";
	const char *close = "]";

	switch (node->type)
	{
		case GOFLOW_TYPE_CONDITION:
		case GOFLOW_TYPE_SWITCH:
			open = "{";
			close = "}";
			break;
		case GOFLOW_TYPE_TRIGGER:
			open = "([";
			close = "])";
			break;
		case GOFLOW_TYPE_WORKFLOW:
			open = "[[";
			close = "]]";
			break;
		case GOFLOW_TYPE_DELAY:
		case GOFLOW_TYPE_SIGNAL:
		case GOFLOW_TYPE_APPROVAL:
		case GOFLOW_TYPE_TASK:
			open = "{{";
			close = "}}";
			break;
		default:
			break;
	}
	indent(diagram, depth);
	appendStringInfo(&diagram->text, "n%d%s\"", node->index, open);
	mermaid_text(&diagram->text, label_of(node));
	appendStringInfo(&diagram->text, "\"%s\n", close);
}

static void
mermaid_begin_group(Diagram *diagram, GoflowNode *owner, GoflowBody *body, const char *label, int depth)
{
	indent(diagram, depth);
	appendStringInfo(&diagram->text, "subgraph n%d", owner->index);
	if (body)
		appendStringInfo(&diagram->text, "b%d", body->part);
	appendStringInfoString(&diagram->text, "[\"");
	mermaid_text(&diagram->text, label);
	appendStringInfoString(&diagram->text, "\"]\n");
}

static void
mermaid_end_group(Diagram *diagram, int depth)
{
	indent(diagram, depth);
	appendStringInfoString(&diagram->text, "end\n");
}

static void
mermaid_edge(Diagram *diagram, GoflowNode *from, GoflowNode *to, const char *label, bool on_error)
{
	indent(diagram, 0);
	appendStringInfo(&diagram->text, "n%d %s", from->index, on_error ? "-.->" : "-->");
	if (label)
	{
		appendStringInfoString(&diagram->text, "|\"");
		mermaid_text(&diagram->text, label);
		appendStringInfoString(&diagram->text, "\"|");
	}
	appendStringInfo(&diagram->text, " n%d\n", to->index);
}

static void
mermaid_end(Diagram *diagram)
{
	if (diagram->states == NULL)
		return;
	for (int i = 0; i < lengthof(colours); i++)
	{
		bool		found = false;

		for (int node = 0; node < diagram->definition->nnodes; node++)
			if (diagram->states[node] == colours[i].state)
			{
				if (!found)
				{
					indent(diagram, 0);
					appendStringInfo(&diagram->text, "classDef %s fill:%s,stroke:%s\n",
									 goflow_state_name(colours[i].state), colours[i].fill, colours[i].line);
					indent(diagram, 0);
					appendStringInfo(&diagram->text, "class n%d", node);
				}
				else
					appendStringInfo(&diagram->text, ",n%d", node);
				found = true;
			}
		if (found)
			appendStringInfo(&diagram->text, " %s\n", goflow_state_name(colours[i].state));
	}
}

/* ---- DOT ---- */

static void
dot_text(StringInfo text, const char *string)
{
	appendStringInfoChar(text, '"');
	for (const char *c = string; *c; c++)
	{
		if (*c == '"' || *c == '\\')
			appendStringInfoChar(text, '\\');
		if (*c == '\n')
			appendStringInfoString(text, "\\n");
		else if (*c != '\r')
			appendStringInfoChar(text, *c);
	}
	appendStringInfoChar(text, '"');
}

static void
dot_colour(Diagram *diagram, GoflowNode *node, const char *fill)
{
	int			colour;

	if (diagram->states == NULL)
		return;
	colour = colour_of(diagram->states[node->index]);
	appendStringInfo(&diagram->text, " %s=\"%s\" color=\"%s\"", fill, colours[colour].fill,
					 colours[colour].line);
}

static void
dot_begin(Diagram *diagram)
{
	appendStringInfoString(&diagram->text, "digraph ");
	dot_text(&diagram->text, diagram->definition->name);
	appendStringInfoString(&diagram->text,
						   " {\n  compound=true\n  node [shape=box style=\"rounded,filled\" fillcolor=\"#ffffff\"]\n");
}

static void
dot_node(Diagram *diagram, GoflowNode *node, int depth)
{
	const char *shape = NULL;

	switch (node->type)
	{
		case GOFLOW_TYPE_CONDITION:
		case GOFLOW_TYPE_SWITCH:
			shape = "diamond";
			break;
		case GOFLOW_TYPE_TRIGGER:
			shape = "oval";
			break;
		case GOFLOW_TYPE_WORKFLOW:
			shape = "box3d";
			break;
		case GOFLOW_TYPE_DELAY:
		case GOFLOW_TYPE_SIGNAL:
		case GOFLOW_TYPE_APPROVAL:
		case GOFLOW_TYPE_TASK:
			shape = "hexagon";
			break;
		default:
			break;
	}
	indent(diagram, depth);
	appendStringInfo(&diagram->text, "n%d [label=", node->index);
	dot_text(&diagram->text, label_of(node));
	if (shape)
		appendStringInfo(&diagram->text, " shape=%s style=filled", shape);
	dot_colour(diagram, node, "fillcolor");
	appendStringInfoString(&diagram->text, "]\n");
}

/* A group has a point that edges lead to, cut off at its border. */
static void
dot_begin_group(Diagram *diagram, GoflowNode *owner, GoflowBody *body, const char *label, int depth)
{
	indent(diagram, depth);
	appendStringInfo(&diagram->text, "subgraph cluster_n%d", owner->index);
	if (body)
		appendStringInfo(&diagram->text, "b%d", body->part);
	appendStringInfoString(&diagram->text, " {\n");
	indent(diagram, depth + 1);
	appendStringInfoString(&diagram->text, "graph [label=");
	dot_text(&diagram->text, label);
	if (body == NULL)
		dot_colour(diagram, owner, "bgcolor");
	appendStringInfoString(&diagram->text, "]\n");
	if (body == NULL)
	{
		indent(diagram, depth + 1);
		appendStringInfo(&diagram->text, "n%d [shape=point style=invis]\n", owner->index);
	}
}

static void
dot_end_group(Diagram *diagram, int depth)
{
	indent(diagram, depth);
	appendStringInfoString(&diagram->text, "}\n");
}

/* Attributes of an edge stand in brackets, if there are any. */
static StringInfo
attribute(Diagram *diagram, bool *any)
{
	appendStringInfoString(&diagram->text, *any ? " " : " [");
	*any = true;
	return &diagram->text;
}

static void
dot_edge(Diagram *diagram, GoflowNode *from, GoflowNode *to, const char *label, bool on_error)
{
	bool		any = false;

	indent(diagram, 0);
	appendStringInfo(&diagram->text, "n%d -> n%d", from->index, to->index);
	if (label)
	{
		appendStringInfoString(attribute(diagram, &any), "label=");
		dot_text(&diagram->text, label);
	}
	if (on_error)
		appendStringInfoString(attribute(diagram, &any), "style=dashed");
	if (from->nbodies > 0)
		appendStringInfo(attribute(diagram, &any), "ltail=cluster_n%d", from->index);
	if (to->nbodies > 0)
		appendStringInfo(attribute(diagram, &any), "lhead=cluster_n%d", to->index);
	appendStringInfoString(&diagram->text, any ? "]\n" : "\n");
}

static void
dot_end(Diagram *diagram)
{
	appendStringInfoString(&diagram->text, "}\n");
}

static const Language languages[] = {
	{"mermaid", mermaid_begin, mermaid_node, mermaid_begin_group, mermaid_end_group, mermaid_edge, mermaid_end},
	{"dot", dot_begin, dot_node, dot_begin_group, dot_end_group, dot_edge, dot_end},
};

static const Language *
find_language(const char *name)
{
	for (int i = 0; i < lengthof(languages); i++)
		if (pg_strcasecmp(languages[i].name, name) == 0)
			return &languages[i];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown format \"%s\" of a diagram", name),
			 errhint("It is \"mermaid\" or \"dot\".")));
}

/* ---- the walk ---- */

static void
draw_body(Diagram *diagram, GoflowBody *body, int depth)
{
	const Language *language = diagram->language;

	check_stack_depth();
	for (int i = 0; i < body->nnodes; i++)
	{
		GoflowNode *node = body->nodes[i];

		if (node->nbodies == 0)
		{
			language->node(diagram, node, depth);
			continue;
		}
		language->begin_group(diagram, node, NULL,
							  psprintf("%s (%s)", label_of(node), goflow_node_type_name(node->type)), depth);
		for (int part = 0; part < node->nbodies; part++)
		{
			/* a loop has one, which needs no group of its own */
			if (node->nbodies > 1)
				language->begin_group(diagram, node, node->bodies[part], node->bodies[part]->name, depth + 1);
			draw_body(diagram, node->bodies[part], depth + 1 + (node->nbodies > 1));
			if (node->nbodies > 1)
				language->end_group(diagram, depth + 1);
		}
		language->end_group(diagram, depth);
	}
}

static void
draw_edges(Diagram *diagram)
{
	for (int i = 0; i < diagram->definition->nnodes; i++)
	{
		GoflowNode *node = diagram->definition->nodes[i];

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < node->nout; j++)
			diagram->language->edge(diagram, node, node->out[j].to,
									node->out[j].port >= 0 ? node->ports[node->out[j].port] : NULL, false);
		if (node->on_error_node)
			diagram->language->edge(diagram, node, node->on_error_node, "error", true);
	}
}

static Datum
draw(GoflowDefinition *definition, char *states, const char *format)
{
	Diagram		diagram = {.definition = definition, .states = states, .language = find_language(format)};

	initStringInfo(&diagram.text);
	diagram.language->begin(&diagram);
	draw_body(&diagram, definition->body, 0);
	draw_edges(&diagram);
	diagram.language->end(&diagram);
	return PointerGetDatum(cstring_to_text_with_len(diagram.text.data, diagram.text.len));
}

/* ---- what is drawn ---- */

static Datum
draw_execution(const pg_uuid_t *id, const char *format)
{
	GoflowExecutionRow *row = goflow_api_execution(id);
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	bool	   *retried = goflow_execution_retried(row, definition->nnodes);
	int16	   *attempts = palloc0(Max(definition->nnodes, 1) * sizeof(int16));
	char	   *states = palloc(Max(definition->nnodes, 1));
	ListCell   *lc;

	memset(states, GOFLOW_NODE_IDLE, definition->nnodes);
	foreach(lc, goflow_api_entries(row))
	{
		GoflowNodeRow *entry = lfirst(lc);
		GoflowNode *outermost = definition->nodes[entry->node];

		while (outermost->body->owner)
			outermost = outermost->body->owner;
		if (retried[outermost->index] && entry->seq <= row->retry_seq)
			continue;
		if (entry->frame == 0)
		{
			if (entry->attempt >= attempts[entry->node])
				states[entry->node] = entry->state;
			attempts[entry->node] = Max(attempts[entry->node], entry->attempt);
		}
		else if (colour_of(entry->state) < colour_of(states[entry->node]))
			states[entry->node] = entry->state;
	}
	return draw(definition, states, format);
}

/* diagram(execution uuid, format text) returns text */
Datum
goflow_diagram_execution(PG_FUNCTION_ARGS)
{
	return draw_execution(PG_GETARG_UUID_P(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
}

static bool
is_uuid(const char *string)
{
	for (int i = 0; i < 36; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? string[i] != '-' : !isxdigit((unsigned char) string[i]))
			return false;
	return string[36] == '\0';
}

/*
 * diagram(workflow text, format text, version int) returns text
 *
 * A literal of unknown type comes here, too, when it is the id of an execution:
 * no workflow is called like that by chance.
 */
Datum
goflow_diagram_workflow(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *format;
	GoflowWorkflowRow workflow;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	goflow_require_preloaded();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	format = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (is_uuid(name) && PG_ARGISNULL(2))
		return draw_execution(DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(name))), format);
	if (!goflow_workflow_find(name, PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2), &workflow))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" does not exist", name),
				 errhint("See the view goflow.workflows.")));
	if (!goflow_workflow_may_start(name, workflow.owner, GetUserId()) && !goflow_is_admin(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for workflow \"%s\"", name)));
	return draw(goflow_workflow_load(workflow.workflow_id), NULL, format);
}

/*
 * graph.c
 *		The edges: who comes after whom, by which port, and whether that works.
 *
 * "after" names sources; here the names become edges, seen from both ends.  A
 * topological order follows (Kahn's algorithm, ties by id, so that the order
 * depends on the definition alone); what is left over is in a cycle or behind
 * one.  In that order each node collects its ancestors, which decide what its
 * SQL may read.  "on_error" with a node is no edge, but orders the two nodes
 * as one does.  Each body has a graph of its own.
 *
 * A node that names a missing node, or sits in a cycle, does not know its
 * ancestors, and neither does any node after it.  References of those nodes
 * are not reported: the first problem explains them.
 */
#include "postgres.h"

#include "definition/definition.h"

#include "lib/binaryheap.h"
#include "miscadmin.h"

/* Nodes of a cycle that are named in a message. */
#define MAX_CHAIN 50

static int
find_port(const GoflowNode *node, const char *name)
{
	for (int i = 0; i < node->nports; i++)
		if (strcmp(node->ports[i], name) == 0)
			return i;
	return -1;
}

static void
report_unknown_port(const GoflowNode *node, const GoflowDependency *dependency,
					const GoflowNode *from, GoflowReport *report)
{
	GoflowProblem *problem =
		goflow_report_error(report, ERRCODE_GOFLOW_UNKNOWN_PORT, node->path, dependency->key,
							"node \"%s\" has no port \"%s\"", from->id, dependency->port);
	GoflowNearest nearest;
	StringInfoData list;

	if (from->nports == 0)
	{
		goflow_problem_hint(problem, "Only conditions and switches have ports. Write \"%s\".",
							from->id);
		return;
	}
	initStringInfo(&list);
	goflow_nearest_begin(&nearest, from->definition, dependency->port);
	for (int i = 0; i < from->nports; i++)
	{
		goflow_nearest_offer(&nearest, from->ports[i]);
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", from->ports[i]);
	}
	if (nearest.best)
		goflow_problem_hint(problem, "Did you mean \"%s:%s\"?", from->id, nearest.best);
	else
		goflow_problem_hint(problem, "Its ports are %s.", list.data);
}

static GoflowNode *
find_source(GoflowBody *body, const GoflowNode *node, const GoflowDependency *dependency,
			GoflowReport *report)
{
	GoflowNode *from = goflow_definition_find_node(body, dependency->id);
	GoflowProblem *problem;
	GoflowNearest nearest;

	if (from)
		return from;
	problem = goflow_report_error(report, ERRCODE_GOFLOW_MISSING_DEPENDENCY, node->path,
								  dependency->key, "node \"%s\" comes after \"%s\", which does not exist",
								  node->id, dependency->id);
	if (!goflow_problem_is_kept(problem))
		return NULL;
	goflow_nearest_begin(&nearest, body->definition, dependency->id);
	for (int i = 0; i < body->nnodes; i++)
		goflow_nearest_offer(&nearest, body->by_id[i]->id);
	if (nearest.best)
		goflow_problem_hint(problem, "Did you mean \"%s\"?", nearest.best);
	else if (goflow_scope_find_node(body, dependency->id))
		goflow_problem_hint(problem, "\"after\" names nodes of the same body; what comes before \"%s\" comes before all of its body.",
							body->owner->id);
	else
		goflow_problem_hint(problem, "Add a node \"%s\", or take it out of \"after\".",
							dependency->id);
	return NULL;
}

/* The edges into one node, in the order of its "after". */
static void
make_edges(GoflowBody *body, GoflowNode *node, GoflowReport *report)
{
	ListCell   *lc;

	node->in = palloc0(sizeof(GoflowEdge) * Max(1, list_length(node->after)));
	foreach(lc, node->after)
	{
		GoflowDependency *dependency = lfirst(lc);
		GoflowNode *from = find_source(body, node, dependency, report);
		int			port = -1;
		bool		is_double = false;

		if (from == NULL)
		{
			node->has_unknown_ancestors = true;
			continue;
		}
		if (dependency->port)
		{
			port = find_port(from, dependency->port);

			/* the ports of a broken node are not all known */
			if (port < 0 && !from->is_broken)
				report_unknown_port(node, dependency, from, report);
		}
		for (int i = 0; i < node->nin && (port >= 0 || dependency->port == NULL); i++)
			is_double |= node->in[i].from == from && node->in[i].port == port;
		if (is_double)
			goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_INVALID_DEFINITION, node->path,
													dependency->key, "node \"%s\" comes after \"%s\" twice",
													node->id, from->id),
								"Name it once.");
		else
			node->in[node->nin++] = (GoflowEdge){from, node, port};
	}
	if (node->type != GOFLOW_TYPE_PARALLEL && node->join == GOFLOW_JOIN_COUNT && node->nin > 0 && node->join_count > node->nin &&
		!node->has_unknown_ancestors)
		goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_INVALID_DEFINITION, node->path,
												"join", "node \"%s\" waits for %d of %d",
												node->id, node->join_count, node->nin),
							"\"join\" can be at most the number of elements of \"after\".");
}

/* Where the workflow goes on when the node has failed. */
static void
resolve_on_error(GoflowBody *body, GoflowNode *node, GoflowReport *report)
{
	GoflowNode *target;
	GoflowProblem *problem;
	GoflowNearest nearest;

	if (node->on_error != GOFLOW_ON_ERROR_NODE)
		return;
	target = goflow_definition_find_node(body, node->on_error_id);
	if (target && target->type != GOFLOW_TYPE_TRIGGER)
	{
		node->on_error_node = target;
		target->failures = lappend(target->failures, node);
		return;
	}
	node->on_error = GOFLOW_ON_ERROR_DEFAULT;
	problem = goflow_report_error(report, ERRCODE_GOFLOW_MISSING_DEPENDENCY, node->path, "on_error",
								  target ? "\"on_error\" cannot go to trigger \"%s\"" :
								  "\"on_error\" names node \"%s\", which does not exist",
								  node->on_error_id);
	if (!goflow_problem_is_kept(problem))
		return;
	goflow_nearest_begin(&nearest, body->definition, node->on_error_id);
	goflow_nearest_offer(&nearest, "fail");
	goflow_nearest_offer(&nearest, "continue");
	goflow_nearest_offer(&nearest, "skip");
	for (int i = 0; i < body->nnodes && target == NULL; i++)
		if (body->by_id[i] != node)
			goflow_nearest_offer(&nearest, body->by_id[i]->id);
	if (nearest.best)
		goflow_problem_hint(problem, "Did you mean \"%s\"?", nearest.best);
	else
		goflow_problem_hint(problem, "It is \"fail\", \"continue\", \"skip\", or the id of a node of the same body.");
}

/* out[] of every node, in the order of the targets. */
static void
turn_edges(GoflowBody *body)
{
	for (int i = 0; i < body->nnodes; i++)
		for (int j = 0; j < body->nodes[i]->nin; j++)
			body->nodes[i]->in[j].from->nout++;
	for (int i = 0; i < body->nnodes; i++)
	{
		body->nodes[i]->out = palloc(sizeof(GoflowEdge) * Max(1, body->nodes[i]->nout));
		body->nodes[i]->nout = 0;
	}
	for (int i = 0; i < body->nnodes; i++)
		for (int j = 0; j < body->nodes[i]->nin; j++)
		{
			GoflowEdge *edge = &body->nodes[i]->in[j];

			edge->from->out[edge->from->nout++] = *edge;
		}
}

/* The heap gives its largest element first: the smallest id must be that. */
static int
compare_for_heap(Datum a, Datum b, void *arg)
{
	return strcmp(((GoflowNode *) DatumGetPointer(b))->id,
				  ((GoflowNode *) DatumGetPointer(a))->id);
}

/*
 * Puts body->nodes in a topological order; the first body->nordered of them
 * are, the rest is in a cycle or behind one.
 */
static void
order_nodes(GoflowBody *body)
{
	int		   *waiting = palloc0(sizeof(int) * Max(1, body->nnodes));
	binaryheap *ready = binaryheap_allocate(Max(1, body->nnodes), compare_for_heap, NULL);
	GoflowNode **ordered = palloc(sizeof(GoflowNode *) * Max(1, body->nnodes));
	int			nordered = 0;
	int			n;

	/* position is the place in body->nodes, and counts the edges meanwhile */
	for (int i = 0; i < body->nnodes; i++)
	{
		waiting[i] = body->nodes[i]->nin + list_length(body->nodes[i]->failures);
		if (waiting[i] == 0)
			binaryheap_add_unordered(ready, PointerGetDatum(body->nodes[i]));
	}
	binaryheap_build(ready);
	while (!binaryheap_empty(ready))
	{
		GoflowNode *node = (GoflowNode *) DatumGetPointer(binaryheap_remove_first(ready));

		CHECK_FOR_INTERRUPTS();
		ordered[nordered++] = node;
		for (int i = 0; i < node->nout; i++)
			if (--waiting[node->out[i].to->position] == 0)
				binaryheap_add(ready, PointerGetDatum(node->out[i].to));
		if (node->on_error_node && --waiting[node->on_error_node->position] == 0)
			binaryheap_add(ready, PointerGetDatum(node->on_error_node));
	}

	n = nordered;
	for (int i = 0; i < body->nnodes; i++)
		if (waiting[body->by_id[i]->position] > 0)
			ordered[n++] = body->by_id[i];
	Assert(n == body->nnodes);

	if (n > 0)
		memcpy(body->nodes, ordered, sizeof(GoflowNode *) * n);
	body->nordered = nordered;
	for (int i = 0; i < n; i++)
	{
		body->nodes[i]->position = i;
		if (i >= nordered)
			body->nodes[i]->has_unknown_ancestors = true;
	}
	pfree(waiting);
	binaryheap_free(ready);
}

/*
 * Names a cycle as the chain "a → b → a", from its first node by id.  "trail"
 * goes against the edges.
 */
static void
report_cycle(List *trail, GoflowReport *report)
{
	int			length = list_length(trail);
	int			first = 0;
	GoflowNode *named;
	bool		has_failure = false;
	StringInfoData chain;

	initStringInfo(&chain);
	for (int i = 1; i < length; i++)
		if (strcmp(((GoflowNode *) list_nth(trail, i))->id,
				   ((GoflowNode *) list_nth(trail, first))->id) < 0)
			first = i;
	for (int i = 0; i < length; i++)
		has_failure |= ((GoflowNode *) list_nth(trail, i))->on_error_node != NULL;
	named = list_nth(trail, first);
	for (int i = 0; i < Min(length, MAX_CHAIN); i++)
		appendStringInfo(&chain, "%s -> ",
						 ((GoflowNode *) list_nth(trail, (first - i + length) % length))->id);
	if (length > MAX_CHAIN)
		appendStringInfoString(&chain, "... -> ");
	appendStringInfoString(&chain, named->id);
	goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_CIRCULAR_DEPENDENCY, named->path, "after",
											"the nodes form a cycle: %s", chain.data),
						has_failure ? "Take one of these edges out of \"after\" or \"on_error\"." :
						"Take one of these edges out of \"after\".");
}

/*
 * Each node that is left over has one before it that is left over too, so a
 * walk against the edges must come back to a node that it has seen.
 */
static void
find_cycles(GoflowBody *body, GoflowReport *report)
{
	int		   *walk_of = palloc0(sizeof(int) * Max(1, body->nnodes));

	for (int start = body->nordered; start < body->nnodes; start++)
	{
		GoflowNode *node = body->nodes[start];
		List	   *trail = NIL;

		CHECK_FOR_INTERRUPTS();
		while (walk_of[node->position] == 0)
		{
			GoflowNode *before = NULL;

			walk_of[node->position] = start + 1;
			trail = lappend(trail, node);
			for (int i = 0; i < node->nin && before == NULL; i++)
				if (node->in[i].from->position >= body->nordered)
					before = node->in[i].from;
			for (int i = 0; i < list_length(node->failures) && before == NULL; i++)
				if (((GoflowNode *) list_nth(node->failures, i))->position >= body->nordered)
					before = list_nth(node->failures, i);
			node = before;
		}
		if (walk_of[node->position] == start + 1)
		{
			while (linitial(trail) != node)
				trail = list_delete_first(trail);
			report_cycle(trail, report);
		}
		list_free(trail);
	}
	pfree(walk_of);
}

static void
add_ancestor(GoflowNode *node, const GoflowNode *from)
{
	node->ancestors = bms_add_members(node->ancestors, from->ancestors);
	node->ancestors = bms_add_member(node->ancestors, from->position);
	node->has_unknown_ancestors |= from->has_unknown_ancestors;
}

static void
collect_ancestors(GoflowBody *body)
{
	for (int i = 0; i < body->nordered; i++)
	{
		GoflowNode *node = body->nodes[i];
		ListCell   *lc;

		for (int j = 0; j < node->nin; j++)
			add_ancestor(node, node->in[j].from);
		foreach(lc, node->failures)
			add_ancestor(node, lfirst(lc));
	}
}

/*
 * The items of a loop, or of "over", that are no query: the text may be the id
 * of a node.  If that gives many rows, it stays the text of an expression no
 * longer.
 */
static void
resolve_source(GoflowNode *node, GoflowReport *report)
{
	bool		has_items = node->type == GOFLOW_TYPE_LOOP || node->type == GOFLOW_TYPE_MAP ||
		node->type == GOFLOW_TYPE_FILTER || node->type == GOFLOW_TYPE_REDUCE ||
		node->type == GOFLOW_TYPE_SPLIT;
	const char *start;
	char	   *id;
	GoflowNode *source;
	GoflowProblem *problem;

	if (!has_items || node->loop_kind != GOFLOW_LOOP_ARRAY || node->expr == NULL)
		return;
	start = node->expr->text + strspn(node->expr->text, " \t\r\n\f");
	id = pnstrdup(start, strcspn(start, " \t\r\n\f"));
	if (start[strlen(id) + strspn(start + strlen(id), " \t\r\n\f")] != '\0')
		return;
	source = goflow_scope_find_node(node->body, id);
	if (source == NULL)
		return;
	if (goflow_node_is_relation(source) && goflow_scope_is_before(node->expr, source))
	{
		node->loop_kind = GOFLOW_LOOP_NODE;
		node->loop_source = source;
		node->definition->exprs[node->expr->index] = NULL;
		node->expr = NULL;
		return;
	}
	node->is_broken = true;
	if (source->is_broken || goflow_scope_is_blurred(node->expr, source))
		return;
	problem = goflow_report_error(report, goflow_node_is_relation(source) ?
								  ERRCODE_GOFLOW_REFERENCE_NOT_READY : ERRCODE_GOFLOW_UNKNOWN_REFERENCE,
								  node->path, node->expr->key,
								  goflow_node_is_relation(source) ? "node \"%s\" does not run before node \"%s\"" :
								  "node \"%s\" has no rows to go over", source->id, node->id);
	problem->text = MemoryContextStrdup(report->context, node->expr->text);
	problem->position = start - node->expr->text + 1;
	if (goflow_node_is_relation(source))
		goflow_problem_hint(problem, "Add \"%s\" to the \"after\" of node \"%s\", or of a node before it.",
							source->id, node->id);
	else
		goflow_problem_hint(problem, "Give it \"rows\": \"many\", or name one of its columns that is an array, as %s.<column>.",
							source->id);
}

/*
 * A workflow with triggers is entered at them only.  Without, it is entered at
 * every node that has no "after", and a node that hangs together with nothing
 * is likely to be forgotten.  So is a body.
 */
static void
check_entries(GoflowBody *body, GoflowReport *report)
{
	bool		has_trigger = false;
	bool		has_edge = false;

	for (int i = 0; i < body->nnodes; i++)
	{
		has_trigger |= body->nodes[i]->type == GOFLOW_TYPE_TRIGGER;
		has_edge |= body->nodes[i]->nin > 0 || body->nodes[i]->failures != NIL;
	}
	for (int i = 0; i < body->nnodes; i++)
	{
		GoflowNode *node = body->nodes[i];

		if (node->after != NIL || node->failures != NIL || node->is_broken)
			continue;
		if (has_trigger && node->type != GOFLOW_TYPE_TRIGGER)
			goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_UNREACHABLE_NODE, node->path,
													NULL, "node \"%s\" can never run", node->id),
								"The workflow starts at its triggers: name one of them, or a node after it, in \"after\".");
		else if (node->type == GOFLOW_TYPE_TRIGGER && node->nout == 0)
			goflow_problem_hint(goflow_report_warning(report, ERRCODE_GOFLOW_WARNING_ORPHAN, node->path,
													  NULL, "trigger \"%s\" starts nothing", node->id),
								"Name it in the \"after\" of the node that comes first.");
		else if (has_edge && node->nout == 0 && node->on_error_node == NULL)
			goflow_problem_hint(goflow_report_warning(report, ERRCODE_GOFLOW_WARNING_ORPHAN, node->path,
													  NULL, "node \"%s\" is connected with no other node",
													  node->id),
								"It runs first, at the same time as others; if it should not, give it an \"after\".");
	}
}

static void
check_body(GoflowBody *body, GoflowReport *report)
{
	for (int i = 0; i < body->nnodes; i++)
	{
		CHECK_FOR_INTERRUPTS();
		make_edges(body, body->nodes[i], report);
		resolve_on_error(body, body->nodes[i], report);
	}
	turn_edges(body);
	order_nodes(body);
	find_cycles(body, report);
	collect_ancestors(body);
	check_entries(body, report);

	/* out[] in the order of the targets */
	for (int i = 0; i < body->nnodes; i++)
		body->nodes[i]->nout = 0;
	turn_edges(body);
}

/* True if nothing that the definition decides can keep a node from running. */
static bool
is_certain(const GoflowNode *node)
{
	const GoflowNode *owner = node->body->owner;

	if (node->failures != NIL)
		return false;
	for (int i = 0; i < node->nin; i++)
		if (node->in[i].port >= 0)
			return false;
	for (int i = -1; (i = bms_next_member(node->ancestors, i)) >= 0;)
	{
		const GoflowNode *before = node->body->nodes[i];

		for (int j = 0; j < before->nin; j++)
			if (before->in[j].port >= 0)
				return false;
		if (before->type == GOFLOW_TYPE_BREAK || before->type == GOFLOW_TYPE_CONTINUE ||
			before->type == GOFLOW_TYPE_RAISE || before->failures != NIL)
			return false;
	}
	if (owner == NULL)
		return true;

	/* a loop may have no iteration, a catch may have nothing to do */
	return (owner->type == GOFLOW_TYPE_PARALLEL ||
			(owner->type == GOFLOW_TYPE_TRY && (node->body->part == 0 || node->body->part > owner->ncatches))) &&
		is_certain(owner);
}

List *
goflow_graph_certain_calls(const GoflowDefinition *definition)
{
	List	   *names = NIL;

	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		if (node->type == GOFLOW_TYPE_WORKFLOW && node->workflow_name && node->wait &&
			node->workflow_version == 0 && node->position < node->body->nordered && is_certain(node))
			names = lappend(names, node->workflow_name);
	}
	return names;
}

/* A workflow that waits for another execution of itself, whatever happens. */
static void
check_self_call(GoflowDefinition *definition, GoflowReport *report)
{
	ListCell   *lc;

	foreach(lc, goflow_graph_certain_calls(definition))
		if (definition->name && strcmp(lfirst(lc), definition->name) == 0)
		{
			goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_CIRCULAR_DEPENDENCY, NULL, "nodes",
													"workflow \"%s\" always waits for another execution of itself",
													definition->name),
								"Put the call behind a condition, or do not wait for it.");
			return;
		}
}

void
goflow_graph_check(GoflowDefinition *definition, GoflowReport *report)
{
	MemoryContext old = MemoryContextSwitchTo(definition->context);

	/* outer bodies come first: what is before their nodes is before the inner ones' */
	for (int i = 0; i < definition->nbodies; i++)
	{
		GoflowBody *body = definition->bodies[i];

		check_body(body, report);
		for (int j = 0; j < body->nordered; j++)
			resolve_source(body->nodes[j], report);
		if (body->nordered == body->nnodes)
		{
			body->reachable = palloc(Max(body->nnodes, 1) * sizeof(bool));
			body->nreachable = goflow_graph_reach(body, -1, body->reachable);
		}
	}
	check_self_call(definition, report);
	MemoryContextSwitchTo(old);
}

int
goflow_graph_reach(GoflowBody *body, int entry, bool *reachable)
{
	int			count = 0;

	/* in topological order, so one pass is enough */
	for (int i = 0; i < body->nnodes; i++)
	{
		GoflowNode *node = body->nodes[i];
		ListCell   *lc;

		reachable[i] = entry >= 0 ? node->index == entry : node->nin == 0 && node->failures == NIL;
		for (int j = 0; j < node->nin && !reachable[i]; j++)
			reachable[i] = reachable[node->in[j].from->position];
		foreach(lc, node->failures)
			reachable[i] |= reachable[((GoflowNode *) lfirst(lc))->position];
		count += reachable[i];
	}
	return count;
}

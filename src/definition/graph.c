/*
 * graph.c
 *		The edges: who comes after whom, by which port, and whether that works.
 *
 * "after" names sources; here the names become edges, seen from both ends.  A
 * topological order follows (Kahn's algorithm, ties by id, so that the order
 * depends on the definition alone); what is left over is in a cycle or behind
 * one.  In that order each node collects its ancestors, which decide what its
 * SQL may read.
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
find_port(const GoflowNode *node, const char *name, GoflowNearest *nearest)
{
	goflow_nearest_begin(nearest, name);
	for (int i = 0; i < node->nports; i++)
	{
		if (strcmp(node->ports[i], name) == 0)
			return i;
		goflow_nearest_offer(nearest, node->ports[i]);
	}
	return -1;
}

static void
report_unknown_port(const GoflowNode *node, const GoflowDependency *dependency,
					const GoflowNode *from, const GoflowNearest *nearest, GoflowReport *report)
{
	GoflowProblem *problem =
		goflow_report_error(report, ERRCODE_GOFLOW_UNKNOWN_PORT, node->id, dependency->key,
							"node \"%s\" has no port \"%s\"", from->id, dependency->port);
	StringInfoData list;

	if (from->nports == 0)
	{
		goflow_problem_hint(problem, "Only conditions and switches have ports. Write \"%s\".",
							from->id);
		return;
	}
	initStringInfo(&list);
	for (int i = 0; i < from->nports; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", from->ports[i]);
	if (nearest->best)
		goflow_problem_hint(problem, "Did you mean \"%s:%s\"?", from->id, nearest->best);
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
	problem = goflow_report_error(report, ERRCODE_GOFLOW_MISSING_DEPENDENCY, node->id,
								  dependency->key, "node \"%s\" comes after \"%s\", which does not exist",
								  node->id, dependency->id);
	goflow_nearest_begin(&nearest, dependency->id);
	for (int i = 0; i < body->nnodes; i++)
		goflow_nearest_offer(&nearest, body->by_id[i]->id);
	if (nearest.best)
		goflow_problem_hint(problem, "Did you mean \"%s\"?", nearest.best);
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
		GoflowNearest nearest;
		int			port = -1;
		bool		is_double = false;

		if (from == NULL)
		{
			node->has_unknown_ancestors = true;
			continue;
		}
		if (dependency->port)
		{
			port = find_port(from, dependency->port, &nearest);

			/* the ports of a broken node are not all known */
			if (port < 0 && !from->is_broken)
				report_unknown_port(node, dependency, from, &nearest, report);
		}
		for (int i = 0; i < node->nin && (port >= 0 || dependency->port == NULL); i++)
			is_double |= node->in[i].from == from && node->in[i].port == port;
		if (is_double)
			goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_INVALID_DEFINITION, node->id,
													dependency->key, "node \"%s\" comes after \"%s\" twice",
													node->id, from->id),
								"Name it once.");
		else
			node->in[node->nin++] = (GoflowEdge){from, node, port};
	}
	if (node->join == GOFLOW_JOIN_COUNT && node->nin > 0 && node->join_count > node->nin &&
		!node->has_unknown_ancestors)
		goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_INVALID_DEFINITION, node->id,
												"join", "node \"%s\" waits for %d of %d",
												node->id, node->join_count, node->nin),
							"\"join\" can be at most the number of elements of \"after\".");
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
		waiting[i] = body->nodes[i]->nin;
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
	}

	n = nordered;
	for (int i = 0; i < body->nnodes; i++)
		if (waiting[body->by_id[i]->position] > 0)
			ordered[n++] = body->by_id[i];
	Assert(n == body->nnodes);

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
	const char *id;
	StringInfoData chain;

	initStringInfo(&chain);
	for (int i = 1; i < length; i++)
		if (strcmp(((GoflowNode *) list_nth(trail, i))->id,
				   ((GoflowNode *) list_nth(trail, first))->id) < 0)
			first = i;
	id = ((GoflowNode *) list_nth(trail, first))->id;
	for (int i = 0; i < Min(length, MAX_CHAIN); i++)
		appendStringInfo(&chain, "%s → ",
						 ((GoflowNode *) list_nth(trail, (first - i + length) % length))->id);
	if (length > MAX_CHAIN)
		appendStringInfoString(&chain, "… → ");
	appendStringInfoString(&chain, id);
	goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_CIRCULAR_DEPENDENCY, id, "after",
											"the nodes form a cycle: %s", chain.data),
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
collect_ancestors(GoflowBody *body)
{
	for (int i = 0; i < body->nordered; i++)
	{
		GoflowNode *node = body->nodes[i];

		for (int j = 0; j < node->nin; j++)
		{
			GoflowNode *from = node->in[j].from;

			node->ancestors = bms_add_members(node->ancestors, from->ancestors);
			node->ancestors = bms_add_member(node->ancestors, from->position);
			node->has_unknown_ancestors |= from->has_unknown_ancestors;
		}
	}
}

/*
 * A workflow with triggers is entered at them only.  Without, it is entered at
 * every node that has no "after", and a node that hangs together with nothing
 * is likely to be forgotten.
 */
static void
check_entries(GoflowBody *body, GoflowReport *report)
{
	bool		has_trigger = false;
	bool		has_edge = false;

	for (int i = 0; i < body->nnodes; i++)
	{
		has_trigger |= body->nodes[i]->type == GOFLOW_TYPE_TRIGGER;
		has_edge |= body->nodes[i]->nin > 0;
	}
	for (int i = 0; i < body->nnodes; i++)
	{
		GoflowNode *node = body->nodes[i];

		if (node->after != NIL || node->is_broken)
			continue;
		if (has_trigger && node->type != GOFLOW_TYPE_TRIGGER)
			goflow_problem_hint(goflow_report_error(report, ERRCODE_GOFLOW_UNREACHABLE_NODE, node->id,
													NULL, "node \"%s\" can never run", node->id),
								"The workflow starts at its triggers: name one of them, or a node after it, in \"after\".");
		else if (node->type == GOFLOW_TYPE_TRIGGER && node->nout == 0)
			goflow_problem_hint(goflow_report_warning(report, ERRCODE_GOFLOW_WARNING_ORPHAN, node->id,
													  NULL, "trigger \"%s\" starts nothing", node->id),
								"Name it in the \"after\" of the node that comes first.");
		else if (has_edge && node->nout == 0)
			goflow_problem_hint(goflow_report_warning(report, ERRCODE_GOFLOW_WARNING_ORPHAN, node->id,
													  NULL, "node \"%s\" is connected with no other node",
													  node->id),
								"It runs first, at the same time as others; if it should not, give it an \"after\".");
	}
}

void
goflow_graph_check(GoflowDefinition *definition, GoflowReport *report)
{
	GoflowBody *body = definition->body;
	MemoryContext old = MemoryContextSwitchTo(definition->context);

	for (int i = 0; i < body->nnodes; i++)
	{
		CHECK_FOR_INTERRUPTS();
		make_edges(body, body->nodes[i], report);
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

		reachable[i] = entry >= 0 ? node->index == entry : node->nin == 0;
		for (int j = 0; j < node->nin && !reachable[i]; j++)
			reachable[i] = reachable[node->in[j].from->position];
		count += reachable[i];
	}
	return count;
}

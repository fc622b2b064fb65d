/*
 * data.c
 *		map, filter, reduce, merge and split; and the items of loops.
 *
 * Items come from the rows of a many-row node, a SQL array, a jsonb array or a
 * query, each typed as far as its source is.  An item's columns are set in the
 * node's run, where expressions find them (lookup.c).
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

TupleDesc
goflow_items_descriptor(const GoflowField *fields, int nfields)
{
	TupleDesc	tupdesc = CreateTemplateTupleDesc(nfields);

	for (int i = 0; i < nfields; i++)
	{
		TupleDescInitEntry(tupdesc, i + 1, fields[i].name, fields[i].type, fields[i].typmod, 0);
		TupleDescInitEntryCollation(tupdesc, i + 1, fields[i].collation);
	}
	return tupdesc;
}

static void
put_sql_array(GoflowNode *node, Tuplestorestate *items, TupleDesc tupdesc, ArrayType *array)
{
	int16		length;
	bool		by_value;
	char		align;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(items, tupdesc, &elements[i], &nulls[i]);
	}
}

static void
put_jsonb_array(GoflowNode *node, Tuplestorestate *items, TupleDesc tupdesc, Jsonb *array)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		is_outer = true;

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" needs a JSON array", node->path)));
	it = JsonbIteratorInit(&array->root);
	while ((token = JsonbIteratorNext(&it, &value, !is_outer)) != WJB_DONE)
	{
		Datum		datum;
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		is_outer = false;
		if (token != WJB_ELEM)
			continue;
		datum = JsonbPGetDatum(JsonbValueToJsonb(&value));
		tuplestore_putvalues(items, tupdesc, &datum, &isnull);
	}
}

/* The items of a node with "for" or "over"; to be ended by the caller. */
Tuplestorestate *
goflow_items_collect(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	Tuplestorestate *items;
	TupleDesc	tupdesc;
	bool		isnull;
	Datum		value;
	Oid			type;

	if (node->loop_kind == GOFLOW_LOOP_QUERY)
		return goflow_result_rows(ex, frame, node->expr, node->items, node->nitems);

	items = tuplestore_begin_heap(true, false, work_mem);
	tupdesc = goflow_items_descriptor(node->items, node->nitems);
	if (node->loop_kind == GOFLOW_LOOP_NODE)
	{
		GoflowFrame *outer = goflow_frame_of_body(frame, node->loop_source->body);
		Tuplestorestate *rows = goflow_frame_rows(ex, outer, node->loop_source);
		TupleTableSlot *slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);

		tuplestore_rescan(rows);
		while (tuplestore_gettupleslot(rows, true, false, slot))
			tuplestore_puttupleslot(items, slot);
		tuplestore_rescan(rows);
		ExecDropSingleTupleTableSlot(slot);
		return items;
	}

	value = goflow_evaluate(ex, frame, node->expr, &isnull, &type, NULL);
	if (isnull)
		return items;			/* nothing to go through */
	if (getBaseType(type) == JSONBOID)
		put_jsonb_array(node, items, tupdesc, DatumGetJsonbP(value));
	else
		put_sql_array(node, items, tupdesc, DatumGetArrayTypeP(value));
	return items;
}

/* ---- one item after another ---- */

typedef struct Walk
{
	GoflowExecution *ex;
	GoflowFrame *frame;
	GoflowNode *node;
	Tuplestorestate *items;
	TupleTableSlot *slot;
} Walk;

static void
begin_walk(Walk *walk, GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	walk->ex = ex;
	walk->frame = frame;
	walk->node = node;
	walk->items = goflow_items_collect(ex, frame, node);
	walk->slot = MakeSingleTupleTableSlot(goflow_items_descriptor(node->items, node->nitems),
										  &TTSOpsMinimalTuple);
	tuplestore_rescan(walk->items);
	goflow_run(frame, node)->index = 0;
}

static bool
next_item(Walk *walk)
{
	GoflowNodeRun *run = goflow_run(walk->frame, walk->node);

	CHECK_FOR_INTERRUPTS();
	if (!tuplestore_gettupleslot(walk->items, true, false, walk->slot))
		return false;
	slot_getallattrs(walk->slot);
	run->items = walk->slot->tts_values;
	run->item_nulls = walk->slot->tts_isnull;
	run->index++;
	return true;
}

static void
end_walk(Walk *walk)
{
	GoflowNodeRun *run = goflow_run(walk->frame, walk->node);

	run->items = NULL;
	run->item_nulls = NULL;
	ExecDropSingleTupleTableSlot(walk->slot);
	tuplestore_end(walk->items);
}

/* An item as jsonb: a single value as it is, a row as an object. */
static Jsonb *
item_to_jsonb(Walk *walk)
{
	GoflowNode *node = walk->node;
	GoflowNodeRun *run = goflow_run(walk->frame, node);

	if (node->loop_kind == GOFLOW_LOOP_ARRAY)
		return goflow_datum_to_jsonb(node->items[0].type, run->items[0], run->item_nulls[0]);
	return goflow_values_to_jsonb(node->items, node->nitems, run->items, run->item_nulls);
}

static void
set_column(GoflowFrame *frame, GoflowNode *node, int column, Datum value, bool isnull)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old = MemoryContextSwitchTo(frame->context);

	run->nulls[column] = isnull;
	run->values[column] = isnull ? (Datum) 0 : goflow_value_copy(node->columns[column].type, value);
	MemoryContextSwitchTo(old);
}

/* Columns "items" or "parts", and "count". */
static void
set_list(GoflowFrame *frame, GoflowNode *node, List *values)
{
	set_column(frame, node, 0, JsonbPGetDatum(goflow_jsonb_array(values)), false);
	set_column(frame, node, 1, goflow_integer(node->columns[1].type, list_length(values)), false);
}

static void
run_map(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	Walk		walk;
	List	   *results = NIL;
	int			n = node->nexprs;
	char	  **names = palloc(Max(n, 1) * sizeof(char *));
	Oid		   *types = palloc(Max(n, 1) * sizeof(Oid));
	Datum	   *values = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));

	begin_walk(&walk, ex, frame, node);
	while (next_item(&walk))
	{
		for (int i = 0; i < n; i++)
		{
			names[i] = node->exprs[i].name;
			values[i] = goflow_evaluate(ex, frame, node->exprs[i].expr, &nulls[i], &types[i], NULL);
		}
		results = lappend(results, n == 1 && names[0] == NULL ?
						  goflow_datum_to_jsonb(types[0], values[0], nulls[0]) :
						  goflow_fields_to_jsonb(names, types, n, values, nulls));
	}
	end_walk(&walk);
	set_list(frame, node, results);
}

static void
run_filter(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	Walk		walk;
	List	   *results = NIL;

	begin_walk(&walk, ex, frame, node);
	while (next_item(&walk))
		if (goflow_evaluate_boolean(ex, frame, node->where))
			results = lappend(results, item_to_jsonb(&walk));
	end_walk(&walk);
	set_list(frame, node, results);
}

static void
run_reduce(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	Walk		walk;

	run->acc_null = true;
	run->acc = (Datum) 0;
	if (node->initial)
		run->acc = goflow_evaluate(ex, frame, node->initial, &run->acc_null, NULL, NULL);
	begin_walk(&walk, ex, frame, node);
	while (next_item(&walk))
	{
		bool		isnull;
		Datum		value = goflow_evaluate(ex, frame, node->value, &isnull, NULL, NULL);

		run->acc = value;
		run->acc_null = isnull;
	}
	end_walk(&walk);
	set_column(frame, node, 0, run->acc, run->acc_null);
}

/* The elements of a jsonb array; anything else is its own only element, null is none. */
static List *
elements_of(Jsonb *json)
{
	List	   *elements = NIL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		is_outer = true;

	if (json == NULL)
		return NIL;
	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		return list_make1(json);
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, !is_outer)) != WJB_DONE)
	{
		is_outer = false;
		if (token == WJB_ELEM)
			elements = lappend(elements, JsonbValueToJsonb(&value));
	}
	return elements;
}

static void
run_merge(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	List	   *lists = NIL;
	List	   *all = NIL;
	Jsonb	   *result = NULL;
	int			longest = 0;
	ListCell   *lc;

	for (int i = 0; i < node->nexprs; i++)
	{
		bool		isnull;
		Oid			type;
		Datum		value = goflow_evaluate(ex, frame, node->exprs[i].expr, &isnull, &type, NULL);
		Jsonb	   *json = isnull ? NULL : goflow_datum_to_jsonb(type, value, false);

		if (node->merge_mode == GOFLOW_MERGE_OBJECTS)
		{
			if (json == NULL)
				continue;
			if (!JB_ROOT_IS_OBJECT(json))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("node \"%s\" merges objects, but \"of\"[%d] is none", node->path, i),
						 errhint("Set \"mode\" to \"arrays\" or \"zip\".")));
			result = result == NULL ? json :
				DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(result),
												   JsonbPGetDatum(json)));
		}
		else
		{
			List	   *elements = elements_of(json);

			longest = Max(longest, list_length(elements));
			lists = lappend(lists, elements);
			all = list_concat(all, elements);
		}
	}
	if (node->merge_mode == GOFLOW_MERGE_ARRAYS)
		result = goflow_jsonb_array(all);
	else if (node->merge_mode == GOFLOW_MERGE_ZIP)
	{
		List	   *tuples = NIL;

		for (int i = 0; i < longest; i++)
		{
			List	   *tuple = NIL;

			foreach(lc, lists)
			{
				List	   *elements = lfirst(lc);

				tuple = lappend(tuple, i < list_length(elements) ? list_nth(elements, i) : NULL);
			}
			tuples = lappend(tuples, goflow_jsonb_array(tuple));
		}
		result = goflow_jsonb_array(tuples);
	}
	set_column(frame, node, 0, result ? JsonbPGetDatum(result) : (Datum) 0, result == NULL);
}

/* Parts of so many items each. */
static List *
split_by_size(Walk *walk)
{
	GoflowNode *node = walk->node;
	bool		isnull;
	Datum		value = goflow_evaluate(walk->ex, walk->frame, node->size, &isnull, NULL, NULL);
	int64		size = isnull ? 0 : DatumGetInt32(value);
	List	   *parts = NIL;
	List	   *part = NIL;

	if (size <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"size\" of node \"%s\" must be positive", node->path)));
	while (next_item(walk))
	{
		part = lappend(part, item_to_jsonb(walk));
		if (list_length(part) == size)
		{
			parts = lappend(parts, goflow_jsonb_array(part));
			part = NIL;
		}
	}
	if (part)
		parts = lappend(parts, goflow_jsonb_array(part));
	return parts;
}

/* Parts of items with the same key, in the order in which the keys come. */
static List *
split_by_key(Walk *walk)
{
	List	   *keys = NIL;
	List	   *groups = NIL;
	List	   *parts = NIL;
	ListCell   *lc;

	while (next_item(walk))
	{
		Jsonb	   *key = goflow_evaluate_jsonb(walk->ex, walk->frame, walk->node->by);
		Jsonb	   *item = item_to_jsonb(walk);
		int			at = -1;

		for (int i = 0; i < list_length(keys) && at < 0; i++)
			if (compareJsonbContainers(&((Jsonb *) list_nth(keys, i))->root, &key->root) == 0)
				at = i;
		if (at < 0)
		{
			keys = lappend(keys, key);
			groups = lappend(groups, NIL);
			at = list_length(keys) - 1;
		}
		lfirst(list_nth_cell(groups, at)) = lappend(list_nth(groups, at), item);
	}
	foreach(lc, groups)
		parts = lappend(parts, goflow_jsonb_array(lfirst(lc)));
	return parts;
}

static void
run_split(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	Walk		walk;
	List	   *parts;

	begin_walk(&walk, ex, frame, node);
	parts = node->size ? split_by_size(&walk) : split_by_key(&walk);
	end_walk(&walk);
	set_list(frame, node, parts);
}

void
goflow_data_execute(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	switch (node->type)
	{
		case GOFLOW_TYPE_MAP:
			run_map(ex, frame, node);
			break;
		case GOFLOW_TYPE_FILTER:
			run_filter(ex, frame, node);
			break;
		case GOFLOW_TYPE_REDUCE:
			run_reduce(ex, frame, node);
			break;
		case GOFLOW_TYPE_MERGE:
			run_merge(ex, frame, node);
			break;
		case GOFLOW_TYPE_SPLIT:
			run_split(ex, frame, node);
			break;
		default:
			elog(ERROR, "node \"%s\" is no data node", node->path);
	}
}

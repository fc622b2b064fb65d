/*
 * row.c
 *		Inputs of an execution that a changed row starts.
 *
 * A trigger node's "input" gives expressions over NEW and OLD; inputs that it
 * leaves out get their defaults.  All are evaluated while the statement that
 * changed the row runs, in the writer's session but as the workflow's owner
 * and under the workflow's settings: neither rights, search_path nor DateStyle
 * of the writer matter.  To put settings in force costs more than everything
 * else here, so it is left out for rows whose expressions are all pure
 * (evaluate.c), which most are after the first row of a transaction.
 *
 * Values stay typed until the rows are written, because their text form may
 * depend on settings too, and then it is made for many rows at once.  That
 * happens as the transaction commits, when no code of users may run any more:
 * it calls output functions of base types and enums only.  Values of other
 * types, which hold values of types that may be altered before then, are
 * turned into text at once.
 *
 * A mapping belongs to one layout of one table.  When the table changes, it is
 * made anew from the definition's texts, as define() would find them; the one
 * before lives on until another transaction, since buffered rows point to it.
 * Rows of a partition are converted to the layout of the trigger's table.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/transam.h"
#include "access/tupconvert.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/* How rows of a partition become rows of the trigger's table. */
typedef struct Conversion
{
	Oid			relation;		/* key */
	uint64		layout;			/* of the partition */
	TupleConversionMap *map;	/* NULL: as they are */
	MemoryContext context;		/* of map */
} Conversion;

typedef struct Mapping
{
	GoflowRowMapping base;		/* must be first */
	MemoryContext context;
	Oid			row_type;
	uint64		layout;			/* of the table, by the number that the server gave it */
	TupleDesc	descriptor;
	GoflowExpr **exprs;			/* by input */
	GoflowExpr *own;			/* those of them that are the trigger's: copies */
	int			nown;
	bool	   *at_once;		/* by input: turned into text when evaluated */
	HTAB	   *conversions;	/* by partition; NULL as long as there is none */
	LocalTransactionId used;	/* last transaction that got it */
	struct Mapping *next;		/* in the list of the retired */
} Mapping;

static Mapping *retired = NULL;

/* ---- mappings ---- */

static void
free_mapping(Mapping *mapping)
{
	for (int i = 0; i < mapping->nown; i++)
		goflow_plan_forget(&mapping->own[i]);
	MemoryContextDelete(mapping->context);
}

static void
free_retired(void)
{
	Mapping   **link = &retired;

	while (*link)
	{
		Mapping    *mapping = *link;

		if (mapping->used == GoflowLocalTransactionId())
		{
			link = &mapping->next;
			continue;
		}
		*link = mapping->next;
		free_mapping(mapping);
	}
}

/* The definition ends: with it, whatever was made for a trigger node of it. */
static void
forget_node(void *arg)
{
	GoflowNode *node = arg;
	Mapping   **link = &retired;

	while (*link)
	{
		Mapping    *mapping = *link;

		if (mapping->base.node != node)
		{
			link = &mapping->next;
			continue;
		}
		*link = mapping->next;
		free_mapping(mapping);
	}
	if (node->mapping)
		free_mapping(node->mapping);
	node->mapping = NULL;
}

/* False if the type could be altered such that values of it cannot be read. */
static bool
is_lasting(Oid type)
{
	Oid			base = getBaseType(type);
	char		kind = get_typtype(base);

	return base < FirstNormalObjectId || kind == TYPTYPE_ENUM ||
		(kind == TYPTYPE_BASE && !OidIsValid(get_element_type(base)));
}

static Mapping *
make_mapping(GoflowNode *node, Oid relation)
{
	GoflowDefinition *definition = node->definition;
	int			ninputs = definition->ninputs;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow row trigger",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Mapping    *mapping = palloc0(sizeof(Mapping));
	MemoryContextCallback *at_end = MemoryContextAlloc(definition->context,
													   sizeof(MemoryContextCallback));

	at_end->func = forget_node;
	at_end->arg = node;
	MemoryContextRegisterResetCallback(definition->context, at_end);
	mapping->context = context;
	mapping->base.definition = definition;
	mapping->base.node = node;
	mapping->base.relation = relation;
	mapping->base.table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
													 get_rel_name(relation));
	mapping->base.by_value = palloc0(Max(ninputs, 1) * sizeof(bool));
	mapping->at_once = palloc0(Max(ninputs, 1) * sizeof(bool));
	mapping->exprs = palloc0(Max(ninputs, 1) * sizeof(GoflowExpr *));
	mapping->own = palloc0(Max(node->nexprs, 1) * sizeof(GoflowExpr));

	/* the number first: should the table change now, it will not fit the next row */
	mapping->row_type = get_rel_type_id(relation);
	mapping->layout = assign_record_type_identifier(mapping->row_type, -1);
	mapping->descriptor = lookup_rowtype_tupdesc_copy(mapping->row_type, -1);

	for (int i = 0; i < ninputs; i++)
	{
		GoflowField *input = &definition->inputs[i];

		mapping->exprs[i] = input->initial;
		mapping->base.by_value[i] = get_typbyval(input->type);
		mapping->at_once[i] = !is_lasting(input->type);
	}
	for (int i = 0; i < node->nexprs; i++)
	{
		GoflowExpr *expr = &mapping->own[mapping->nown++];

		*expr = *node->exprs[i].expr;
		expr->trigger_relation = relation;
		mapping->exprs[node->exprs[i].field] = expr;
	}
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, TopMemoryContext);
	return mapping;
}

GoflowRowMapping *
goflow_row_mapping(GoflowNode *node, Oid relation)
{
	Mapping    *mapping = node->mapping;

	if (mapping && (mapping->base.relation != relation ||
					mapping->layout != assign_record_type_identifier(mapping->row_type, -1)))
	{
		mapping->next = retired;
		retired = mapping;
		node->mapping = mapping = NULL;
	}
	if (mapping == NULL)
	{
		free_retired();
		node->mapping = mapping = make_mapping(node, relation);
	}
	mapping->used = GoflowLocalTransactionId();
	return &mapping->base;
}

/* ---- rows ---- */

static Conversion *
get_conversion(Mapping *mapping, Relation rel)
{
	uint64		layout = assign_record_type_identifier(rel->rd_rel->reltype, -1);
	Oid			relation = RelationGetRelid(rel);
	Conversion *conversion;
	bool		found;
	MemoryContext old;

	if (mapping->conversions == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Conversion),
		.hcxt = mapping->context};

		mapping->conversions = hash_create("goflow partitions", 16, &ctl,
										   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	conversion = hash_search(mapping->conversions, &relation, HASH_ENTER, &found);
	if (!found)
	{
		conversion->layout = 0;
		conversion->context = NULL;
	}
	if (conversion->layout == layout)
		return conversion;

	if (conversion->context)
		MemoryContextDelete(conversion->context);
	conversion->layout = 0;
	conversion->context = AllocSetContextCreate(mapping->context, "goflow partition",
												ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(conversion->context);
	conversion->map = convert_tuples_by_name(CreateTupleDescCopy(RelationGetDescr(rel)),
											 mapping->descriptor);
	MemoryContextSwitchTo(old);
	conversion->layout = layout;
	return conversion;
}

/*
 * The row in the layout of the trigger's table.  A slot of its own for each
 * row: a function that an expression calls may fire the same trigger.
 */
static TupleTableSlot *
convert_row(Mapping *mapping, Relation rel, TupleTableSlot *row)
{
	Conversion *conversion;
	TupleTableSlot *slot;

	if (row == NULL || RelationGetRelid(rel) == mapping->base.relation)
		return row;
	conversion = get_conversion(mapping, rel);
	slot = MakeSingleTupleTableSlot(mapping->descriptor, &TTSOpsVirtual);
	if (conversion->map)
		return execute_attr_map_slot(conversion->map->attrMap, row, slot);
	return ExecCopySlot(slot, row);
}

void
goflow_row_begin(GoflowRowMapping *mapping, GoflowRowScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(mapping->definition->owner,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->nest_level = NewGUCNestLevel();
	goflow_settings_apply(&mapping->definition->settings);
	goflow_settings_apply(&mapping->node->settings);
}

void
goflow_row_end(GoflowRowScope *scope)
{
	AtEOXact_GUC(true, scope->nest_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/* A value's text form in a chunk of its own. */
static Datum
encode(const GoflowField *input, Datum value, MemoryContext context)
{
	text	   *encoded = goflow_value_encode(input, value);
	MemoryContext old = MemoryContextSwitchTo(context);

	value = datumCopy(PointerGetDatum(encoded), false, -1);
	MemoryContextSwitchTo(old);
	return value;
}

/* With settings in force; may call code of users. */
static void
evaluate_fully(Mapping *mapping, GoflowExecution *ex, NullableDatum *inputs)
{
	GoflowRowScope scope;

	Assert(ActiveSnapshotSet());
	goflow_row_begin(&mapping->base, &scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < ex->definition->ninputs; i++)
	{
		Datum		value = goflow_evaluate(ex, NULL, mapping->exprs[i], &inputs[i].isnull, NULL, NULL);

		inputs[i].value = value;
		if (inputs[i].isnull || !mapping->at_once[i])
			continue;
		inputs[i].value = encode(&ex->definition->inputs[i], value, ex->context);
		if (!mapping->base.by_value[i])
			pfree(DatumGetPointer(value));
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	goflow_row_end(&scope);
}

/* False if that cannot do, nothing is done then. */
static bool
evaluate_simply(Mapping *mapping, GoflowExecution *ex, NullableDatum *inputs)
{
	Oid			user;
	int			security_context;
	bool		is_pure = true;

	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(ex->definition->owner, security_context | SECURITY_LOCAL_USERID_CHANGE);
	for (int i = 0; i < ex->definition->ninputs && is_pure; i++)
		is_pure = !mapping->at_once[i] && goflow_evaluate_is_pure(mapping->exprs[i]);
	for (int i = 0; i < ex->definition->ninputs && is_pure; i++)
		inputs[i].value = goflow_evaluate(ex, NULL, mapping->exprs[i], &inputs[i].isnull, NULL, NULL);
	SetUserIdAndSecContext(user, security_context);
	return is_pure;
}

static void
say_where(void *arg)
{
	GoflowRowMapping *mapping = arg;

	errcontext("input of workflow \"%s\" from its trigger \"%s\" on table %s",
			   mapping->definition->name, mapping->node->id, mapping->table);
}

void
goflow_row_evaluate(GoflowRowMapping *mapping_base, GoflowExecutionRow *row, Relation rel,
					TupleTableSlot *new_row, TupleTableSlot *old_row,
					MemoryContext context, NullableDatum *inputs)
{
	Mapping    *mapping = (Mapping *) mapping_base;
	GoflowDefinition *definition = mapping->base.definition;
	GoflowExecution ex = {.context = context, .row = row, .definition = definition};
	ErrorContextCallback where = {.callback = say_where, .arg = mapping_base,
	.previous = error_context_stack};

	error_context_stack = &where;
	ex.new_row = convert_row(mapping, rel, new_row);
	ex.old_row = convert_row(mapping, rel, old_row);
	if (!evaluate_simply(mapping, &ex, inputs))
		evaluate_fully(mapping, &ex, inputs);
	error_context_stack = where.previous;
}

void
goflow_row_encode(GoflowRowMapping *mapping_base, const NullableDatum *inputs,
				  GoflowExecutionRow *row)
{
	Mapping    *mapping = (Mapping *) mapping_base;
	GoflowDefinition *definition = mapping->base.definition;
	int			n = definition->ninputs;
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		nulls[i] = inputs[i].isnull;
		elements[i] = inputs[i].value;
		if (!nulls[i] && !mapping->at_once[i])
			elements[i] = PointerGetDatum(goflow_value_encode(&definition->inputs[i],
															  inputs[i].value));
	}
	row->input = goflow_texts_pack(elements, nulls, n);
}

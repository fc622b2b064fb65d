/*
 * result.c
 *		What statements return: columns and rows of a node.
 *
 * A result is compared with what it was at define() by name and type, since
 * tables may have changed meanwhile.  Rows go one by one from the executor to
 * where they are kept, so there may be any number of them.
 */
#include "postgres.h"

#include "engine/plan.h"

#include "access/printtup.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void
raise_outdated(GoflowExpr *expr, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_DEFINITION_OUTDATED),
			 errmsg("node \"%s\" does not return what it did when the workflow was defined",
					expr->node->path),
			 errdetail_internal("%s", detail),
			 errhint("Define the workflow again.")));
}

/*
 * Where the definition's columns are in a result.  Columns are compared by
 * name and type; others are ignored.
 */
static int *
map_columns(GoflowExpr *expr, const GoflowField *fields, int nfields, TupleDesc tupdesc)
{
	int		   *map = palloc(nfields * sizeof(int));

	for (int i = 0; i < nfields; i++)
	{
		int			found = -1;

		for (int j = 0; j < tupdesc->natts && found < 0; j++)
			if (strcmp(NameStr(TupleDescAttr(tupdesc, j)->attname), fields[i].name) == 0)
				found = j;
		if (found < 0)
			raise_outdated(expr, psprintf("Column \"%s\" is missing.", fields[i].name));
		if (goflow_column_type(TupleDescAttr(tupdesc, found)->atttypid) != fields[i].type)
			raise_outdated(expr, psprintf("Column \"%s\" is of type %s, it was %s.", fields[i].name,
										  format_type_be(TupleDescAttr(tupdesc, found)->atttypid),
										  format_type_be(fields[i].type)));
		map[i] = found;
	}
	return map;
}

/* A result's value as the node's column has it: void and unknown are text. */
static Datum
column_value(Oid type, Datum value, bool isnull)
{
	if (isnull)
		return (Datum) 0;
	switch (type)
	{
		case VOIDOID:
			return CStringGetTextDatum("");
		case UNKNOWNOID:
			return CStringGetTextDatum(DatumGetCString(value));
		default:
			return value;
	}
}

/* Takes the rows of a result one by one, as declared columns. */
typedef struct RowReceiver
{
	DestReceiver pub;
	GoflowExpr *expr;
	const GoflowField *fields;
	int			nfields;
	Tuplestorestate *rows;
	TupleDesc	tupdesc;		/* of rows */
	TupleDesc	source;			/* of the result; NULL: it has no rows */
	int		   *map;
	Datum	   *values;
	bool	   *nulls;
	int64		received;
	MemoryContext context;		/* of one row */
} RowReceiver;

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc source)
{
	RowReceiver *receiver = (RowReceiver *) self;

	receiver->source = source;
	receiver->map = map_columns(receiver->expr, receiver->fields, receiver->nfields, source);
}

static void
receiver_put(RowReceiver *receiver, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	goflow_limit_check_rows(receiver->expr->node, ++receiver->received);
	for (int i = 0; i < receiver->nfields; i++)
	{
		int			from = receiver->map[i];

		receiver->nulls[i] = nulls[from];
		receiver->values[i] = column_value(TupleDescAttr(receiver->source, from)->atttypid,
										   values[from], nulls[from]);
	}
	tuplestore_putvalues(receiver->rows, receiver->tupdesc, receiver->values, receiver->nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
}

static bool
receiver_receive(TupleTableSlot *slot, DestReceiver *self)
{
	slot_getallattrs(slot);
	receiver_put((RowReceiver *) self, slot->tts_values, slot->tts_isnull);
	return true;
}

static void
receiver_nothing(DestReceiver *self)
{
}

static void
receiver_begin(RowReceiver *receiver, GoflowExpr *expr, const GoflowField *fields, int nfields,
			   Tuplestorestate *rows)
{
	memset(receiver, 0, sizeof(*receiver));
	receiver->pub.receiveSlot = receiver_receive;
	receiver->pub.rStartup = receiver_startup;
	receiver->pub.rShutdown = receiver_nothing;
	receiver->pub.rDestroy = receiver_nothing;
	receiver->pub.mydest = DestTuplestore;
	receiver->expr = expr;
	receiver->fields = fields;
	receiver->nfields = nfields;
	receiver->rows = rows;
	receiver->tupdesc = goflow_items_descriptor(fields, nfields);
	receiver->values = palloc(Max(nfields, 1) * sizeof(Datum));
	receiver->nulls = palloc(Max(nfields, 1) * sizeof(bool));
	receiver->context = AllocSetContextCreate(CurrentMemoryContext, "goflow row",
											  ALLOCSET_SMALL_SIZES);
}

static void
receiver_end(RowReceiver *receiver)
{
	if (receiver->source == NULL)
		raise_outdated(receiver->expr, "It returns no rows.");
	MemoryContextDelete(receiver->context);
}

/* Runs a statement for its rows, however many. */
static void
fetch_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, const GoflowField *fields,
		   int nfields, Tuplestorestate *rows)
{
	SPIExecuteOptions options = {0};
	RowReceiver receiver;

	receiver_begin(&receiver, expr, fields, nfields, rows);
	options.dest = &receiver.pub;
	goflow_plan_run(ex, frame, expr, &options);
	receiver_end(&receiver);
}

/* Rows of a result that has been fetched already; table NULL: it had none. */
static void
put_rows(GoflowExpr *expr, const GoflowField *fields, int nfields, SPITupleTable *table,
		 Tuplestorestate *rows)
{
	RowReceiver receiver;

	receiver_begin(&receiver, expr, fields, nfields, rows);
	if (table)
	{
		Datum	   *values = palloc(table->tupdesc->natts * sizeof(Datum));
		bool	   *nulls = palloc(table->tupdesc->natts * sizeof(bool));

		receiver_startup(&receiver.pub, 0, table->tupdesc);
		for (uint64 r = 0; r < table->numvals; r++)
		{
			CHECK_FOR_INTERRUPTS();
			heap_deform_tuple(table->vals[r], table->tupdesc, values, nulls);
			receiver_put(&receiver, values, nulls);
		}
	}
	receiver_end(&receiver);
}

/* Runs a query for its rows; the caller ends the tuplestore. */
Tuplestorestate *
goflow_result_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
				   const GoflowField *fields, int nfields)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);

	fetch_rows(ex, frame, expr, fields, nfields, rows);
	return rows;
}

static void
set_count(GoflowNodeRun *run, uint64 count)
{
	run->values[0] = Int64GetDatum((int64) count);
	run->nulls[0] = false;
}

/* Sets the columns of a sql node (in the execution's context) and its rows; table NULL: it returns none. */
void
goflow_result_take(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
				   GoflowNodeRun *run, SPITupleTable *table, uint64 processed)
{
	GoflowNode *node = expr->node;

	if (node->rows == GOFLOW_ROWS_MANY)
	{
		put_rows(expr, node->row_columns, node->nrow_columns, table, goflow_frame_make_rows(frame, node));
		set_count(run, processed);
	}
	else if (node->rows == GOFLOW_ROWS_NONE || table == NULL)
	{
		if (strcmp(node->columns[0].name, "count") != 0)
			raise_outdated(expr, "It returns no row.");
		set_count(run, processed);
	}
	else
	{
		int			ncolumns = node->ncolumns - (node->aggregate != GOFLOW_AGGREGATE_NONE ? 1 : 0);
		int		   *map;

		if (processed > 1)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_TOO_MANY_ROWS),
					 errmsg("node \"%s\" returned " UINT64_FORMAT " rows", node->id, processed),
					 errhint("Set \"rows\" to \"many\", or make the statement return one row.")));
		map = map_columns(expr, node->columns, ncolumns, table->tupdesc);
		for (int i = 0; i < ncolumns; i++)
		{
			run->nulls[i] = true;
			run->values[i] = (Datum) 0;
			if (processed == 0)
				continue;
			run->values[i] = SPI_getbinval(table->vals[0], table->tupdesc, map[i] + 1, &run->nulls[i]);
			run->values[i] = column_value(TupleDescAttr(table->tupdesc, map[i])->atttypid,
										  run->values[i], run->nulls[i]);
			if (!run->nulls[i])
				run->values[i] = goflow_frame_keep_value(ex, frame, node->columns[i].type, run->values[i]);
		}
	}
}

/*
 * Of a result that is to have one row at most, what is more than that is
 * counted, and not kept: there may be any number of rows.
 */
typedef struct FirstReceiver
{
	DestReceiver pub;
	int			kept;
	int			keep;
} FirstReceiver;

static bool
first_receive(TupleTableSlot *slot, DestReceiver *self)
{
	FirstReceiver *receiver = (FirstReceiver *) self;

	return receiver->kept++ >= receiver->keep || spi_printtup(slot, self);
}

void
goflow_result_run(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, GoflowNodeRun *run)
{
	GoflowPlan *plan = goflow_plan_get(expr);
	SPIExecuteOptions options = {0};
	FirstReceiver first = {
		.pub = {first_receive, spi_dest_startup, receiver_nothing, receiver_nothing, DestTuplestore},
		.keep = expr->node->rows == GOFLOW_ROWS_NONE ? 0 : 1,
	};

	if (expr->node->rows == GOFLOW_ROWS_MANY)
	{
		Tuplestorestate *rows = goflow_frame_make_rows(frame, expr->node);

		fetch_rows(ex, frame, expr, expr->node->row_columns, expr->node->nrow_columns, rows);
		set_count(run, tuplestore_tuple_count(rows));
		return;
	}
	options.params = goflow_params_get(ex, frame, expr);
	if (expr->relations == NIL &&
		goflow_insert_run(&plan->insert, plan->spi, expr->text, options.params))
	{
		goflow_result_take(ex, frame, expr, run, NULL, 1);
		return;
	}
	options.dest = &first.pub;
	SPI_tuptable = NULL;
	goflow_plan_run(ex, frame, expr, &options);
	goflow_result_take(ex, frame, expr, run, SPI_tuptable, SPI_processed);
	if (SPI_tuptable)
		SPI_freetuptable(SPI_tuptable);
}

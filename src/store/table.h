/*
 * table.h
 *		Column numbers of goflow's tables, as src/install/10_tables.sql makes
 *		them, and the primitives that read and write them without SQL.
 */
#ifndef GOFLOW_TABLE_H
#define GOFLOW_TABLE_H

#include "access/htup.h"
#include "access/skey.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/relcache.h"

#include "goflow.h"

struct GoflowExecutionRow;
struct GoflowNodeRow;

enum
{
	Anum_workflow_id = 1,
	Anum_workflow_version = 3,
	Anum_workflow_owner,
	Anum_workflow_dropped_at = 9
};

enum
{
	Anum_execution_id = 1,
	Anum_execution_workflow_id,
	Anum_execution_run_as,
	Anum_execution_state,
	Anum_execution_priority,
	Anum_execution_entry,
	Anum_execution_last_seq,
	Anum_execution_retry_seq,
	Anum_execution_created_at,
	Anum_execution_started_at,
	Anum_execution_finished_at,
	Anum_execution_home,
	Anum_execution_parent,
	Anum_execution_root,
	Anum_execution_input,
	Anum_execution_trigger,
	Anum_execution_output,
	Anum_execution_error,
	Anum_execution_retried,
	Anum_execution_assigned,
	Anum_execution_journal,
	Natts_execution = Anum_execution_journal
};

enum
{
	Anum_home_database = 1,
	Anum_home_home
};

enum
{
	Anum_journal_execution_id = 1,
	Anum_journal_frame,
	Anum_journal_node,
	Anum_journal_attempt,
	Anum_journal_state,
	Anum_journal_port,
	Anum_journal_seq,
	Anum_journal_duration,
	Anum_journal_started_at,
	Anum_journal_finished_at,
	Anum_journal_end_seq,
	Anum_journal_total,
	Anum_journal_queued_at,
	Anum_journal_retried,
	Anum_journal_output,
	Anum_journal_error,
	Anum_journal_parent,
	Anum_journal_iteration,
	Anum_journal_frame_seq,
	Anum_journal_frame_at,
	Anum_journal_more,
	Natts_journal = Anum_journal_more
};

enum
{
	Anum_past_end_execution_id = 1,
	Anum_past_end_seq,
	Anum_past_end_state,
	Anum_past_end_started_at,
	Anum_past_end_finished_at,
	Anum_past_end_output,
	Anum_past_end_error,
	Anum_past_end_restarted_seq,
	Anum_past_end_restarted_at,
	Anum_past_end_counts,
	Natts_past_end = Anum_past_end_counts
};

enum
{
	Anum_offered_execution_id = 1,
	Anum_offered_seq,
	Anum_offered_frame,
	Anum_offered_node,
	Anum_offered_attempt,
	Anum_offered_offered_at,
	Natts_offered = Anum_offered_offered_at
};

enum
{
	Anum_node_rows_execution_id = 1,
	Anum_node_rows_frame,
	Anum_node_rows_node,
	Anum_node_rows_attempt,
	Anum_node_rows_chunk,
	Anum_node_rows_rows,
	Natts_node_rows = Anum_node_rows_rows
};

enum
{
	Anum_variable_execution_id = 1,
	Anum_variable_variable,
	Anum_variable_seq,
	Anum_variable_frame,
	Anum_variable_node,
	Anum_variable_assigned_at,
	Anum_variable_value,
	Natts_variable = Anum_variable_value
};

enum
{
	Anum_pending_execution_id = 1,
	Anum_pending_frame,
	Anum_pending_node,
	Anum_pending_attempt,
	Anum_pending_kind,
	Anum_pending_started_at,
	Anum_pending_seq,
	Anum_pending_due_at,
	Anum_pending_child,
	Anum_pending_count,
	Anum_pending_next,
	Anum_pending_ended,
	Anum_pending_phase,
	Anum_pending_unwind,
	Anum_pending_target,
	Anum_pending_error,
	Natts_pending = Anum_pending_error
};

enum
{
	Anum_frame_execution_id = 1,
	Anum_frame_frame,
	Anum_frame_parent,
	Anum_frame_node,
	Anum_frame_part,
	Anum_frame_iteration,
	Anum_frame_seq,
	Anum_frame_started_at,
	Anum_frame_unwind,
	Anum_frame_target,
	Anum_frame_error,
	Anum_frame_counters,
	Natts_frame = Anum_frame_counters
};

enum
{
	Anum_collected_execution_id = 1,
	Anum_collected_frame,
	Anum_collected_node,
	Anum_collected_attempt,
	Anum_collected_iteration,
	Anum_collected_value,
	Natts_collected = Anum_collected_value
};

enum
{
	Anum_compensation_execution_id = 1,
	Anum_compensation_seq,
	Anum_compensation_frame,
	Anum_compensation_node,
	Anum_compensation_params,
	Anum_compensation_completed_at,
	Anum_compensation_done_at,
	Anum_compensation_error,
	Natts_compensation = Anum_compensation_error
};

enum
{
	Anum_request_execution_id = 1,
	Anum_request_request_id,
	Anum_request_kind,
	Anum_request_role,
	Anum_request_requested_at,
	Anum_request_argument,
	Natts_request = Anum_request_argument
};

enum
{
	Anum_signal_execution_id = 1,
	Anum_signal_number,
	Anum_signal_name,
	Anum_signal_payload,
	Anum_signal_role,
	Anum_signal_sent_at,
	Natts_signal = Anum_signal_sent_at
};

enum
{
	Anum_approval_execution_id = 1,
	Anum_approval_frame,
	Anum_approval_node,
	Anum_approval_attempt,
	Anum_approval_path,
	Anum_approval_title,
	Anum_approval_run_as,
	Anum_approval_role,
	Anum_approval_escalate_to,
	Anum_approval_escalate_at,
	Anum_approval_payload,
	Anum_approval_form,
	Anum_approval_remind,
	Anum_approval_announce_at,
	Anum_approval_announced_at,
	Anum_approval_created_at,
	Anum_approval_due_at,
	Anum_approval_decision,
	Anum_approval_decided_by,
	Anum_approval_login,
	Anum_approval_decided_at,
	Anum_approval_comment,
	Anum_approval_fields,
	Natts_approval = Anum_approval_fields
};

enum
{
	Anum_task_execution_id = 1,
	Anum_task_frame,
	Anum_task_node,
	Anum_task_attempt,
	Anum_task_queue,
	Anum_task_run_as,
	Anum_task_path,
	Anum_task_title,
	Anum_task_payload,
	Anum_task_lease,
	Anum_task_created_at,
	Anum_task_available_at,
	Anum_task_claim,
	Anum_task_worker,
	Anum_task_claimed_by,
	Anum_task_claimed_at,
	Anum_task_claimed_for,
	Anum_task_heartbeat_at,
	Anum_task_progress,
	Anum_task_claims,
	Anum_task_state,
	Anum_task_output,
	Anum_task_error,
	Natts_task = Anum_task_error
};

/*
 * Columns of a row, by number, in the arrays "values" and "nulls" of the one who
 * writes or reads it.
 */
#define SET(anum, datum) (values[(anum) - 1] = (datum), nulls[(anum) - 1] = false)
#define SET_OR_NULL(anum, given, datum) \
	(nulls[(anum) - 1] = !(given), values[(anum) - 1] = (given) ? (datum) : (Datum) 0)
#define VALUE(anum) values[(anum) - 1]
#define ISNULL(anum) nulls[(anum) - 1]

/*
 * A table open for writing: one open, any number of rows, one close.  Rows are
 * buffered and go in by table_multi_insert.
 */
typedef struct GoflowWriter
{
	const char *table;
	Relation	rel;
	struct GoflowWriterState *state;	/* NULL: nothing but deletes so far */
	EState	   *estate;			/* of state, as are the next two */
	ResultRelInfo *rri;
	TupleTableSlot **slots;
	int			nused;
	CommandId	cid;
} GoflowWriter;

extern void goflow_writer_open(GoflowWriter *writer, const char *table);
extern void goflow_writer_insert(GoflowWriter *writer, const Datum *values, const bool *nulls);
extern void goflow_writer_insert_at(GoflowWriter *writer, const Datum *values, const bool *nulls,
									ItemPointer tid);

/*
 * Replaces a row that nobody else may change at this time; *tid is its new
 * place afterwards.  is_last: more versions of it are not to be expected, so
 * that it does not pay to look in a full index for some that nobody sees.
 */
extern void goflow_writer_update(GoflowWriter *writer, ItemPointer tid, HeapTuple tuple, bool is_last);

/* The same with some columns replaced; what is stored out of line stays where it is. */
extern void goflow_writer_modify(GoflowWriter *writer, ItemPointer tid, const Datum *values,
								 const bool *nulls, const bool *replaced);
extern void goflow_writer_delete(GoflowWriter *writer, ItemPointer tid);
extern void goflow_writer_close(GoflowWriter *writer);

/* A table by its name; a column more or less, by whomever, would make nonsense of all values: an error. */
extern Relation goflow_table_open(const char *name, LOCKMODE lock);

/* ---- scan.c ---- */

/*
 * Reads the rows of one execution by its primary key, in the key's order, as
 * of the newest snapshot.
 */
typedef struct GoflowScan
{
	Relation	rel;
	Relation	index;
	struct SysScanDescData *scan;
	struct SnapshotData *snapshot;
	struct GoflowKeptScan *kept;	/* it goes on to be there, or NULL */
} GoflowScan;

extern void goflow_scan_begin(GoflowScan *scan, const char *table, const char *index,
							  const pg_uuid_t *execution_id);

/* The same as of a snapshot, for who looks into several tables. */
extern void goflow_scan_begin_as_of(GoflowScan *scan, const char *table, const char *index,
									const pg_uuid_t *execution_id, struct SnapshotData *snapshot);

/* Rows of this execution and of all whose ids are above its own. */
extern void goflow_scan_begin_from(GoflowScan *scan, const char *table, const char *index,
								   const pg_uuid_t *execution_id);

/* What a scan would see that began now; to be unregistered. */
extern struct SnapshotData *goflow_scan_snapshot(void);

/* The same with more of the key given: columns by the types that they have. */
extern void goflow_scan_begin_key(GoflowScan *scan, const char *table, const char *index,
								  int nkeys, const Datum *keys);

/* The same with the last key, an int, a bound that is not reached. */
extern void goflow_scan_begin_below(GoflowScan *scan, const char *table, const char *index,
									int nkeys, const Datum *keys);
extern HeapTuple goflow_scan_next(GoflowScan *scan);
extern HeapTuple goflow_scan_previous(GoflowScan *scan);	/* from the end; not both in one scan */

/* The same, for who will not pass by any number of dead rows: false at the end, NULL for an entry whose row is not visible. */
extern bool goflow_scan_step(GoflowScan *scan, HeapTuple *tuple);
extern void goflow_scan_end(GoflowScan *scan);

/* A scan from begin to end: what "read" makes of each row, in order. */
extern List *goflow_scan_rows(const char *table, const char *index, int nkeys, const Datum *keys,
							  void *(*read) (HeapTuple tuple, const Datum *values, const bool *nulls));

/* Deletes rows; in each element of the list its place (tid) stands at the offset. */
extern void goflow_rows_delete(const char *table, List *rows, Size offset);

/* ---- entry.c: rows of the journal ---- */

/* A one-dimensional array. */
extern ArrayType *goflow_texts_make(const Datum *values, const bool *nulls, int n);

/* Puts as many entries as belong into one row into values; returns how many. */
extern int	goflow_entries_pack(struct GoflowNodeRow **entries, int nentries, Datum *values,
								bool *nulls);

/* Adds the entries of a row to a list of GoflowNodeRow *, in the current context. */
extern List *goflow_entries_read(HeapTuple tuple, TupleDesc tupdesc, List *entries);

/* The entries in an execution's own row; GoflowNodeRow *, in the current context. */
extern List *goflow_entries_kept(const struct GoflowExecutionRow *execution);

/* Parts of goflow_writes_flush(): inserts rows that are not stored yet, updates or moves the others. */
extern void goflow_execution_write(List *rows);
extern void goflow_variables_write(List *rows, List *ended);

#endif							/* GOFLOW_TABLE_H */

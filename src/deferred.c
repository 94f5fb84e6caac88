/*-------------------------------------------------------------------------
 *
 * deferred.c
 *		Constraints that would be checked no earlier than at COMMIT.
 *
 * One bad record would cost a transaction all others then.  So they are checked
 * when records have been written, in the sub-transaction of those, as SET
 * CONSTRAINTS does; and wait again for what the caller does himself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "batch.h"

static List *deferrable_constraints(Relation rel);
static void check(void *table);
static void defer(void *table);
static void set_constraints(const SidecarTable *table, bool deferred);

/*
 * True if a constraint of the table waits to be checked for a row of it.
 */
bool
sidecar_constraints_wait(const SidecarTable *table)
{
	bool		wait = false;
	List	   *relids;
	ListCell   *lc;

	if (deferrable_constraints(table->rel) == NIL)
		return false;
	/* those of a partition's rows are the partition's */
	relids = find_all_inheritors(RelationGetRelid(table->rel), NoLock, NULL);
	foreach(lc, relids)
		wait = wait || AfterTriggerPendingOnRel(lfirst_oid(lc));
	list_free(relids);
	return wait;
}

/*
 * Checks the constraints of the table that wait, and raises their error.
 */
void
sidecar_check_constraints(const SidecarTable *table)
{
	if (!sidecar_constraints_wait(table))
		return;
	set_constraints(table, false);

	/*
	 * They were deferred.  This fails where a constraint of that name on
	 * another table in the schema is not deferrable; then they are not, until
	 * the transaction ends.
	 */
	(void) sidecar_try(defer, unconstify(SidecarTable *, table), READING_VALUES);
}

/*
 * Checks the constraints of the table that wait; false: rows that others have
 * written in this transaction do not fulfil them, as yet.
 */
bool
sidecar_can_check_constraints(const SidecarTable *table)
{
	return !sidecar_constraints_wait(table) ||
		sidecar_try(check, unconstify(SidecarTable *, table), WRITING);
}

/*
 * The table's constraints that may be deferred: a list of OIDs.
 */
static List *
deferrable_constraints(Relation rel)
{
	List	   *constraints = NIL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		if (rel->trigdesc->triggers[i].tgdeferrable)
			constraints = list_append_unique_oid(constraints, rel->trigdesc->triggers[i].tgconstraint);
	}
	return constraints;
}

static void
check(void *table)
{
	set_constraints(table, false);
}

static void
defer(void *table)
{
	set_constraints(table, true);
}

/*
 * SET CONSTRAINTS marketing.fk_company_sidecar_company, ... DEFERRED, or IMMEDIATE.
 */
static void
set_constraints(const SidecarTable *table, bool deferred)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);
	ListCell   *lc;

	foreach(lc, deferrable_constraints(table->rel))
		statement->constraints = lappend(statement->constraints,
										 makeRangeVar(get_namespace_name(RelationGetNamespace(table->rel)),
													  get_constraint_name(lfirst_oid(lc)), -1));
	statement->deferred = deferred;
	AfterTriggerSetState(statement);
}

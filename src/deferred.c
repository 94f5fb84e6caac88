/*-------------------------------------------------------------------------
 *
 * deferred.c
 *		Constraints that would be checked no earlier than at COMMIT.
 *
 * One bad record would cost a transaction all others then.  So what waits for
 * the records of a batch is checked when they have been written, in their
 * sub-transaction, as SET CONSTRAINTS IMMEDIATE does, and is deferred again.
 *
 * That names constraints, and may not reach those of other tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "batch.h"

static void find_deferrable(Deferrable *deferrable, Oid relid);
static bool is_ambiguous(const Deferrable *deferrable, Form_pg_constraint form);
static bool is_waiting(const Deferrable *deferrable);
static void set_constraints(List *constraints, bool deferred);

/*
 * Finds the constraints of the table, and of its partitions, that may be
 * deferred.  They are of the current memory context.
 */
void
sidecar_find_deferrable(Deferrable *deferrable, const SidecarTable *table)
{
	ListCell   *lc;

	memset(deferrable, 0, sizeof(Deferrable));
	/* opened by the statements that write; here their names are enough */
	deferrable->relids = find_all_inheritors(RelationGetRelid(table->rel), NoLock, NULL);
	foreach(lc, deferrable->relids)
	{
		find_deferrable(deferrable, lfirst_oid(lc));
	}

	/* what the caller's own rows wait for is his to settle */
	deferrable->unchecked = deferrable->unchecked || is_waiting(deferrable);
}

/*
 * Checks those that wait, and raises their error.
 */
void
sidecar_check_deferred(const Deferrable *deferrable)
{
	if (deferrable->unchecked || !is_waiting(deferrable))
		return;
	set_constraints(deferrable->constraints, false);

	/*
	 * PostgreSQL does not tell what the transaction has set: it had set some
	 * that are not so by themselves if none is
	 */
	set_constraints(deferrable->deferred != NIL ? deferrable->deferred : deferrable->constraints, true);
}

static void
find_deferrable(Deferrable *deferrable, Oid relid)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		RangeVar   *name;

		/* a partition's copy goes with what it is a copy of */
		if (!form->condeferrable || OidIsValid(form->conparentid))
			continue;
		name = makeRangeVar(get_namespace_name(form->connamespace), pstrdup(NameStr(form->conname)), -1);
		deferrable->constraints = lappend(deferrable->constraints, name);
		if (form->condeferred)
			deferrable->deferred = lappend(deferrable->deferred, name);
		if (is_ambiguous(deferrable, form))
			deferrable->unchecked = true;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/*
 * True if there is another constraint of that name in the schema, which SET
 * CONSTRAINTS would reach, too, and which is no partition's copy of it.
 */
static bool
is_ambiguous(const Deferrable *deferrable, Form_pg_constraint form)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_constraint_conname, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&form->conname));
	ScanKeyInit(&keys[1], Anum_pg_constraint_connamespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(form->connamespace));
	scan = systable_beginscan(catalog, ConstraintNameNspIndexId, true, NULL, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint other = (Form_pg_constraint) GETSTRUCT(tuple);

		if (other->oid != form->oid &&
			!(OidIsValid(other->conparentid) && list_member_oid(deferrable->relids, other->conrelid)))
			found = true;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/*
 * True if one of them waits to be checked for a row.
 */
static bool
is_waiting(const Deferrable *deferrable)
{
	ListCell   *lc;

	/* all that waits in the transaction is looked through */
	if (deferrable->constraints == NIL)
		return false;
	foreach(lc, deferrable->relids)
	{
		if (AfterTriggerPendingOnRel(lfirst_oid(lc)))
			return true;
	}
	return false;
}

/*
 * SET CONSTRAINTS marketing.fk_company_sidecar_company, ... DEFERRED, or IMMEDIATE.
 */
static void
set_constraints(List *constraints, bool deferred)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->constraints = constraints;
	statement->deferred = deferred;
	AfterTriggerSetState(statement);
}

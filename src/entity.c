/*-------------------------------------------------------------------------
 *
 * entity.c
 *		The descriptor of the entities, and how functions must be declared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "sidecar.h"

static void check_call(FunctionCallInfo fcinfo, int nargs, const Oid *types);

/*
 * The one place where an entity is described.  A further entity is a row
 * here, its table in sidecar_*_definitions(), and its SQL signatures.
 */
const SidecarEntity sidecar_entities[SIDECAR_TABLES] = {
	[SIDECAR_COMPANY] = {
		.label = "company",
		.sidecar = "company_sidecar",
		.key = "company_unique_id",
		.trigger = "company_sidecar_updated_at",
		.trigger_function = "update_company_sidecar_updated_at",
		.foreign_key = "fk_company_sidecar_company",
		.master = "company_master",
		.master_key = "company_unique_id",
		.name = "company_name",
	},
	[SIDECAR_PEOPLE] = {
		.label = "people",
		.sidecar = "people_sidecar",
		.key = "person_unique_id",
		.trigger = "people_sidecar_updated_at",
		.trigger_function = "update_people_sidecar_updated_at",
		.foreign_key = "fk_people_sidecar_person",
		.master = "people_master",
		.master_key = "unique_id",
		.name = "full_name",
	},
	[SIDECAR_PARKED] = {
		.sidecar = "sidecar_rejects",
		.key = "reject_id",
		.trigger = "sidecar_rejects_mark",
		.trigger_function = "sidecar_rejects_mark",
	},
};

/*
 * The entity of that label.  Error: there is none (22023).
 */
const SidecarEntity *
sidecar_entity(const char *label)
{
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		if (strcmp(sidecar_entities[i].label, label) == 0)
			return &sidecar_entities[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no entity \"%s\"", label)));
}

/*
 * Raises 42P13 unless the SQL function that was called is declared with these
 * types of arguments: whoever declares it otherwise would have the values of
 * one type read as another's.
 */
static void
check_call(FunctionCallInfo fcinfo, int nargs, const Oid *types)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Form_pg_proc proc;
	bool		same;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	/* by the catalog: a caller's expression may be of other types */
	same = proc->pronargs == nargs && PG_NARGS() == nargs;
	for (int i = 0; i < nargs && same; i++)
		same = proc->proargtypes.values[i] == types[i];
	ReleaseSysCache(tuple);
	if (!same)
		sidecar_refuse_call(fcinfo);
}

/*
 * Raises 42P13 for a function that is not declared as the extension does it.
 */
void
sidecar_refuse_call(FunctionCallInfo fcinfo)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("function \"%s\" is not declared as extension \"sidecar\" declares it",
					get_func_name(fcinfo->flinfo->fn_oid))));
}

/*
 * Sets up the materialized result of a function with arguments of these types
 * that returns a table of such columns (0: whoever puts the rows looks at them
 * himself).  Error: it is declared otherwise (42P13).
 */
ReturnSetInfo *
sidecar_begin_rows(FunctionCallInfo fcinfo, int nargs, const Oid *types,
				   int ncolumns, const Oid *columns)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	check_call(fcinfo, nargs, types);
	/* before it is set up, which takes no other for granted */
	if (get_call_result_type(fcinfo, NULL, NULL) != TYPEFUNC_COMPOSITE)
		sidecar_refuse_call(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	/* rows are put into it without a look at the types */
	if (ncolumns > 0 && rsinfo->setDesc->natts != ncolumns)
		sidecar_refuse_call(fcinfo);
	for (int i = 0; i < ncolumns; i++)
	{
		if (TupleDescAttr(rsinfo->setDesc, i)->atttypid != columns[i])
			sidecar_refuse_call(fcinfo);
	}
	return rsinfo;
}

/*-------------------------------------------------------------------------
 *
 * trigger.c
 *		The triggers that mark our tables: updated_at of the sidecars.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "sidecar.h"

static Datum set_updated_at(FunctionCallInfo fcinfo);
static TriggerData *require_before_update(FunctionCallInfo fcinfo);
static Timestamp in_zone(TimestampTz time, const TriggerData *trigdata);

PG_FUNCTION_INFO_V1(update_company_sidecar_updated_at);
PG_FUNCTION_INFO_V1(update_people_sidecar_updated_at);
PG_FUNCTION_INFO_V1(sidecar_rejects_mark);

/*
 * Trigger function of company_sidecar.  Two names, because the function that
 * its trigger calls is the mark by which an entity's table is known.
 */
Datum
update_company_sidecar_updated_at(PG_FUNCTION_ARGS)
{
	return set_updated_at(fcinfo);
}

/*
 * Trigger function of people_sidecar.
 */
Datum
update_people_sidecar_updated_at(PG_FUNCTION_ARGS)
{
	return set_updated_at(fcinfo);
}

/*
 * Trigger function of sidecar_rejects: changes nothing.  Error: not called as a
 * BEFORE UPDATE FOR EACH ROW trigger (39P01).
 */
Datum
sidecar_rejects_mark(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(require_before_update(fcinfo)->tg_newtuple);
}

/*
 * Returns the new row with updated_at = now(), in the column's own type: in a
 * timestamp column it is of the zone that is the trigger's argument, or of UTC.
 *
 * Errors: not called as a BEFORE UPDATE FOR EACH ROW trigger (39P01), no
 * column updated_at (42703), one that holds no timestamp (42804), or no such
 * zone (22023).
 */
static Datum
set_updated_at(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = require_before_update(fcinfo);
	TupleDesc	desc;
	int			attnum;
	Oid			type;
	Datum		now;
	bool		isnull = false;

	desc = RelationGetDescr(trigdata->tg_relation);
	attnum = SPI_fnumber(desc, SIDECAR_COL_UPDATED);
	/* it may have been dropped or renamed: then no row is updated */
	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"",
						RelationGetRelationName(trigdata->tg_relation),
						SIDECAR_COL_UPDATED)));

	/* what now() says, without a call */
	now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	type = SPI_gettypeid(desc, attnum);
	switch (getBaseType(type))
	{
		case TIMESTAMPTZOID:
			break;
		case TIMESTAMPOID:
			now = TimestampGetDatum(in_zone(DatumGetTimestampTz(now), trigdata));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" is not a timestamp",
							SIDECAR_COL_UPDATED,
							RelationGetRelationName(trigdata->tg_relation))));
	}
	/* PostgreSQL does not look at what a trigger puts into a column */
	if (get_typtype(type) == TYPTYPE_DOMAIN)
		domain_check(now, false, type, NULL, NULL);
	return PointerGetDatum(heap_modify_tuple_by_cols(trigdata->tg_newtuple, desc, 1,
													 &attnum, &now, &isnull));
}

static TriggerData *
require_before_update(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger function was not called as a trigger")));
	if (!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must be fired BEFORE UPDATE FOR EACH ROW",
						trigdata->tg_trigger->tgname)));
	return trigdata;
}

/*
 * The time of day of the trigger's zone.
 */
static Timestamp
in_zone(TimestampTz time, const TriggerData *trigdata)
{
	const char *name = sidecar_zone_name(trigdata->tg_trigger);
	pg_tz	   *zone = sidecar_find_zone(name);
	Timestamp	result;
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (zone == NULL)
		sidecar_refuse_zone(name, RelationGetRelid(trigdata->tg_relation));
	if (timestamp2tm(time, &offset, &tm, &fsec, NULL, zone) != 0 ||
		tm2timestamp(&tm, fsec, NULL, &result) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return result;
}

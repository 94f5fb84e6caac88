/*-------------------------------------------------------------------------
 *
 * zone.c
 *		The time zone of a sidecar table's timestamp columns.
 *
 * It is the argument of the table's updated_at trigger, none means UTC: the same
 * for every session, and dumped with the table.
 *
 * What reads or writes for the table runs with TimeZone set to it, as a function
 * with a SET clause does, so that all that depends on it agrees: casts, defaults,
 * times that tell no zone, what now() is compared with; in triggers and policies
 * of the user's too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "pgtime.h"
#include "utils/guc.h"

#include "sidecar.h"

/*
 * The name of the zone that an updated_at trigger tells.
 */
const char *
sidecar_zone_name(const Trigger *trigger)
{
	return trigger->tgnargs > 0 ? trigger->tgargs[0] : "UTC";
}

/*
 * The zone of that name, or NULL: one that TimeZone can be set to, but for numbers.
 * It is there until the session ends.
 */
pg_tz	   *
sidecar_find_zone(const char *name)
{
	char	   *end;
	pg_tz	   *zone;

	/* hours east of UTC to TimeZone, and west of it to AT TIME ZONE */
	(void) strtod(name, &end);
	if (end != name && *end == '\0')
		return NULL;
	zone = pg_tzset(name);
	/* as with TimeZone, none that counts leap seconds */
	return zone != NULL && pg_tz_acceptable(zone) ? zone : NULL;
}

/*
 * Raises 22023: the trigger of that table tells no zone that is known.
 */
void
sidecar_refuse_zone(const char *name, Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("time zone \"%s\" not recognized", name),
			 errdetail("It is the argument of the updated_at trigger of %s, and tells what the table's times mean.",
					   sidecar_relation_sql(relid)),
			 errhint("CREATE OR REPLACE TRIGGER with a name of pg_timezone_names, or without an argument for UTC.")));
}

/*
 * Raises 22023 if the zone of the table's times is not known.
 */
void
sidecar_require_zone(const SidecarTable *table)
{
	if (table->binding->zone == NULL)
		sidecar_refuse_zone(table->binding->zone_name, table->binding->sidecar);
}

/*
 * Sets TimeZone to the table's zone until sidecar_leave_zone(), which is given
 * what is returned here: in the same call of PostgreSQL, and the last that was
 * entered first.  An error leaves it, when its (sub-)transaction is rolled back.
 *
 * Error: that of sidecar_require_zone().
 */
int
sidecar_enter_zone(const SidecarTable *table)
{
	const SidecarBinding *binding = table->binding;
	int			nestlevel;

	sidecar_require_zone(table);
	/* zones are kept by their names, so this is cheap */
	if (binding->zone == session_timezone)
		return 0;
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("timezone", pg_get_timezone_name(binding->zone), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

/*
 * Sets TimeZone back.
 */
void
sidecar_leave_zone(int nestlevel)
{
	if (nestlevel > 0)
		AtEOXact_GUC(true, nestlevel);
}

/*-------------------------------------------------------------------------
 *
 * sidecar.c
 *		The module, and the descriptor of the entities.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sidecar.h"

SIDECAR_MODULE_MAGIC;

void		_PG_init(void);

/*
 * The one place where an entity is described.  A further entity is a row
 * here, its table in sidecar_objects(), and its SQL signatures.
 */
const SidecarEntity sidecar_entities[SIDECAR_ENTITIES] = {
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
};

/*
 * The index of the entity of that label.  Error: there is none (22023).
 */
int
sidecar_entity_index(const char *label)
{
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		if (strcmp(sidecar_entities[i].label, label) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no entity \"%s\"", label)));
}

/*
 * Runs once, when the library is loaded.
 */
void
_PG_init(void)
{
	sidecar_binding_init();
	sidecar_inbox_init();
}

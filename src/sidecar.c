/*-------------------------------------------------------------------------
 *
 * sidecar.c
 *		The module.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "sidecar.h"

SIDECAR_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Runs once, when the library is loaded.
 */
void
_PG_init(void)
{
	sidecar_binding_init();
	sidecar_record_init();
	sidecar_inbox_init();
	MarkGUCPrefixReserved("sidecar");
}

/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Every difference between PostgreSQL versions that sidecar knows of.
 *
 * No other file tests PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIDECAR_COMPAT_H
#define SIDECAR_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "sidecar needs PostgreSQL 15 or newer"
#endif

/* PostgreSQL 18 lets a module tell its name and version (pg_get_loaded_modules) */
#if PG_VERSION_NUM >= 180000
#define SIDECAR_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "sidecar", .version = SIDECAR_VERSION)
#else
#define SIDECAR_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* PostgreSQL 18 has a word for functions that do not return, before them */
#if PG_VERSION_NUM >= 180000
#define sidecar_noreturn pg_noreturn
#else
#define sidecar_noreturn pg_attribute_noreturn()
#endif

/* PostgreSQL 17 makes the lexer's context where it is told to */
#if PG_VERSION_NUM >= 170000
#define sidecar_json_lexer(text) makeJsonLexContextCstringLen(NULL, text, strlen(text), GetDatabaseEncoding(), false)
#else
#define sidecar_json_lexer(text) makeJsonLexContextCstringLen(unconstify(char *, text), (int) strlen(text), GetDatabaseEncoding(), false)
#endif

/* PostgreSQL 18 has foreign keys that nobody looks after */
#if PG_VERSION_NUM >= 180000
#define sidecar_is_enforced(con) ((con)->conenforced)
#else
#define sidecar_is_enforced(con) true
#endif

/* PostgreSQL 16 checks the privileges on all simple objects by one function */
#if PG_VERSION_NUM >= 160000
#define sidecar_schema_aclcheck(schema, role, mode) \
	object_aclcheck(NamespaceRelationId, schema, role, mode)
#define sidecar_proc_aclcheck(function, role, mode) \
	object_aclcheck(ProcedureRelationId, function, role, mode)
#else
#define sidecar_schema_aclcheck(schema, role, mode) \
	pg_namespace_aclcheck(schema, role, mode)
#define sidecar_proc_aclcheck(function, role, mode) \
	pg_proc_aclcheck(function, role, mode)
#endif

/* PostgreSQL 18 runs every plan once */
#if PG_VERSION_NUM >= 180000
#define sidecar_executor_run(desc) \
	ExecutorRun(desc, ForwardScanDirection, 0)
#else
#define sidecar_executor_run(desc) \
	ExecutorRun(desc, ForwardScanDirection, 0, true)
#endif

#endif							/* SIDECAR_COMPAT_H */

/*
 * settings.c
 *		The settings of a workflow and of its nodes: checked, recorded, put in
 *		force.
 *
 * What a SQL text means depends on settings.  Those that matter are recorded
 * with the workflow as its definer had them, and are in force around each of
 * its nodes, whoever starts it.
 */
#include "postgres.h"

#include "definition/analysis.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

void
goflow_settings_apply(const GoflowSettings *settings)
{
	GucContext	context = superuser() ? PGC_SUSET : PGC_USERSET;

	for (int i = 0; i < settings->count; i++)
	{
		const char *present = GetConfigOption(settings->names[i], true, false);

		/* setting search_path makes the server look it up anew */
		if (present == NULL || strcmp(present, settings->values[i]) != 0)
			(void) set_config_option(settings->names[i], settings->values[i], context,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

static void
check_setting(GoflowAnalysis *analysis, void *arg)
{
	static const char *const refused[] = {
		"role", "session_authorization", "transaction_isolation", "transaction_read_only",
		"transaction_deferrable"
	};
	Setting    *setting = arg;

	for (int i = 0; i < lengthof(refused); i++)
		if (pg_strcasecmp(setting->name, refused[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_STATEMENT_REFUSED),
					 errmsg("setting \"%s\" cannot be given by a workflow", setting->name),
					 errhint("A node runs as the role of its execution, in a transaction of goflow.")));
	(void) set_config_option(setting->name, setting->value,
							 superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Drops the settings that cannot be set. */
void
goflow_analyze_settings(GoflowAnalysis *analysis, const char *node, GoflowSettings *settings)
{
	int			count = 0;

	for (int i = 0; i < settings->count; i++)
	{
		Setting		setting = {settings->names[i], settings->values[i]};
		GoflowSubject subject = {.node = node, .key = psprintf("settings.%s", setting.name)};

		if (!goflow_attempt(analysis, subject, check_setting, &setting))
			continue;
		settings->names[count] = settings->names[i];
		settings->values[count++] = settings->values[i];
	}
	settings->count = count;
}

/*
 * The search path as it is now: schemas that exist, "$user" resolved, and the
 * temporary one last, so that nobody's temporary table stands in for another.
 */
static char *
resolved_search_path(void)
{
	StringInfoData path;
	ListCell   *lc;

	initStringInfo(&path);
	foreach(lc, fetch_search_path(false))
	{
		char	   *schema = get_namespace_name(lfirst_oid(lc));

		if (schema && !isAnyTempNamespace(lfirst_oid(lc)))
			appendStringInfo(&path, "%s, ", quote_identifier(schema));
	}
	appendStringInfoString(&path, "pg_temp");
	return path.data;
}

/* The complete settings of the workflow, in force from here to the end of the nest level. */
void
goflow_analyze_own_settings(GoflowAnalysis *analysis)
{
	static const char *const recorded[] = {"DateStyle", "IntervalStyle", "TimeZone"};
	GoflowDefinition *definition = analysis->definition;
	GoflowSettings own;
	GoflowSettings all;

	goflow_analyze_settings(analysis, NULL, &definition->settings);
	own = definition->settings;
	goflow_settings_apply(&own);

	all.count = 0;
	all.names = palloc(sizeof(char *) * (own.count + lengthof(recorded) + 1));
	all.values = palloc(sizeof(char *) * (own.count + lengthof(recorded) + 1));
	all.names[all.count] = pstrdup("search_path");
	all.values[all.count++] = resolved_search_path();
	for (int i = 0; i < lengthof(recorded); i++)
	{
		all.names[all.count] = pstrdup(recorded[i]);
		all.values[all.count++] = pstrdup(GetConfigOption(recorded[i], false, false));
	}
	for (int i = 0; i < own.count; i++)
	{
		bool		is_recorded = false;

		for (int j = 0; j <= lengthof(recorded); j++)
			is_recorded |= pg_strcasecmp(own.names[i], all.names[j]) == 0;
		if (is_recorded)
			continue;
		all.names[all.count] = own.names[i];
		all.values[all.count++] = own.values[i];
	}
	definition->settings = all;
	goflow_settings_apply(&all);
}

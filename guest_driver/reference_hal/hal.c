/* SPDX-License-Identifier: Apache-2.0 */
/* The two routines of the reference HAL. The export table (hal.def.in) gives them their public names. */
#include "reference.h"

NTSTATUS NTAPI reference_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, void **handle);
NTSTATUS NTAPI reference_free(void *handle);
BOOLEAN NTAPI reference_loaded(void *module, ULONG reason, void *reserved);

#define SPINS_BEFORE_YIELD 64u

static volatile LONG busy; /* somebody is at the ledger or the settings */
static struct settings settings;
static struct machine machine;

/*
 * The entry point. Wine loads kernel libraries as it loads others, and calls it before anybody can call a routine; a real
 * kernel would not, but has a HAL of its own.
 */
BOOLEAN NTAPI reference_loaded(void *module, ULONG reason, void *reserved)
{
	UNREFERENCED_PARAMETER(module);
	UNREFERENCED_PARAMETER(reserved);
	if (reason != 1) /* DLL_PROCESS_ATTACH */
		return TRUE;
	if (!NT_SUCCESS(settings_share()))
		return FALSE; /* with settings that nobody can change it would be another HAL than the one that was asked for */
	settings_read(&settings);
	machine_describe(&machine);
	return TRUE;
}

static BOOLEAN defect(enum defect which)
{
	return settings.defect == which;
}

/*
 * Held for the time of a table's look-up. Threads that want it at once are the rule in a race, and a kernel mutex in contention
 * costs several milliseconds under Wine (a trip to its server each); and nothing here raises the IRQL.
 */
static void lock(void)
{
	KeEnterCriticalRegion();
	for (ULONG spins = 1; InterlockedCompareExchange(&busy, 1, 0) != 0; spins++) {
		YieldProcessor();
		if (spins % SPINS_BEFORE_YIELD == 0)
			ZwYieldExecution(); /* its owner may want this processor */
	}
	if (settings_changed(&settings) && ledger_empty())
		settings_read(&settings);
}

static void unlock(void)
{
	InterlockedExchange(&busy, 0);
	KeLeaveCriticalRegion();
}

static NTSTATUS grant(struct counter_affinity *affinity, ULONG group_count, void *list, ULONG64 *handle)
{
	struct claim claim;
	NTSTATUS status = settings.shared ? read_shared(&machine, affinity, group_count, list, &claim) :
					    read_exclusive(&machine, affinity, group_count, list, &claim);

	if (!NT_SUCCESS(status))
		return status;
	if (settings.refuse && !machine.has_pmu)
		return STATUS_INSUFFICIENT_RESOURCES;
	*handle = ledger_grant(&claim, defect(DEFECT_DOUBLE_GRANT));
	return *handle != 0 ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS NTAPI reference_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, void **handle)
{
	ULONG64 granted = 0;
	NTSTATUS status;

	if (handle == NULL)
		return STATUS_INVALID_PARAMETER;
	lock();
	status = grant(affinity, group_count, list, &granted);
	if (status != STATUS_INSUFFICIENT_RESOURCES || !defect(DEFECT_NULL_NOT_WRITTEN))
		*handle = (void *)(ULONG_PTR)granted; /* NULL with every refusal */
	unlock();
	return status;
}

NTSTATUS NTAPI reference_free(void *handle)
{
	ULONG64 value = (ULONG_PTR)handle;
	BOOLEAN freed;

	lock();
	freed = ledger_release(value) || (defect(DEFECT_DOUBLE_FREE_ACCEPTED) && ledger_knew(value));
	unlock();
	return freed ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

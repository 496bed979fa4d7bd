/* SPDX-License-Identifier: Apache-2.0 */
/* The two routines of the reference HAL. The export table (hal.def.in) gives them their public names. */
#include "reference.h"

NTSTATUS NTAPI reference_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, void **handle);
NTSTATUS NTAPI reference_free(void *handle);
BOOLEAN NTAPI reference_loaded(void *module, ULONG reason, void *reserved);

#define SPINS_BEFORE_YIELD 64u

#define MANY 5000u

static volatile LONG busy; /* somebody is at the ledger or the settings */
static volatile LONG asking; /* requests under way, for defects */
static const struct settings *settings;
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
	settings = settings_read();
	machine_describe(&machine);
	return TRUE;
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
	if (settings_changed() && ledger_empty())
		settings_read();
}

static void unlock(void)
{
	InterlockedExchange(&busy, 0);
	KeLeaveCriticalRegion();
}

static NTSTATUS refuse(struct claim *claim, const struct caller *caller)
{
	if (defect("refused-list-keeps") && ledger_free_part(claim))
		ledger_grant(claim, caller);
	if (defect("undocumented-refusal"))
		return STATUS_ACCESS_DENIED;
	return defect("refused-as-invalid") ? STATUS_INVALID_PARAMETER : STATUS_INSUFFICIENT_RESOURCES;
}

static NTSTATUS grant(struct counter_affinity *affinity, ULONG group_count, void *list, const struct caller *caller, ULONG64 *handle)
{
	BOOLEAN shared = (settings->shared && !defect("exclusive-in-shared")) || defect("shared-in-exclusive");
	struct claim claim;
	BOOLEAN conflict;
	NTSTATUS status = shared ? read_shared(&machine, affinity, group_count, list, &claim) :
				   read_exclusive(&machine, affinity, group_count, list, &claim);

	if (!NT_SUCCESS(status))
		return status;
	if ((settings->refuse && !machine.has_pmu) || defect("always-busy") || (defect("busy-on-cpu-1") && caller->cpu == 1) ||
	    (defect("late-failure") && ledger_granted() >= MANY))
		return STATUS_INSUFFICIENT_RESOURCES;
	if (defect("late-undocumented") && ledger_granted() >= MANY)
		return STATUS_UNSUCCESSFUL;
	conflict = ledger_conflict(&claim, caller);
	if (defect("race-window")) {
		unlock();
		lock();
	}
	if (conflict && !(defect("list-partly-granted") && ledger_free_part(&claim)))
		return refuse(&claim, caller);
	*handle = ledger_grant(&claim, caller);
	return *handle != 0 ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* What the handle cell gets: the handle, and NULL with every refusal. */
static void write_cell(NTSTATUS status, ULONG64 granted, void **cell)
{
	if (NT_SUCCESS(status) && (defect("success-null-handle") || (defect("late-null-handle") && ledger_granted() >= MANY)))
		granted = 0;
	if (NT_SUCCESS(status) && defect("success-unwritten"))
		return;
	if (status == STATUS_INSUFFICIENT_RESOURCES && defect("null-not-written"))
		return;
	if (status == STATUS_INSUFFICIENT_RESOURCES && defect("garbage-after-refusal"))
		granted = MANY;
	*cell = (void *)(ULONG_PTR)granted;
}

NTSTATUS NTAPI reference_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, void **handle)
{
	struct caller caller;
	BOOLEAN wait;
	ULONG64 granted = 0;
	NTSTATUS status;

	if (handle == NULL)
		return STATUS_INVALID_PARAMETER;
	InterlockedIncrement(&asking);
	lock();
	caller = caller_describe(__builtin_return_address(0)); /* by the settings that count now */
	if (defect("no-broker"))
		status = STATUS_NOT_SUPPORTED;
	else
		status = grant(affinity, group_count, list, &caller, &granted);
	write_cell(status, granted, handle);
	wait = status == STATUS_INSUFFICIENT_RESOURCES && defect("waits-across-cpus") && ledger_moved(&caller);
	unlock();
	InterlockedDecrement(&asking);
	if (wait)
		wait_for_ever();
	return status;
}

NTSTATUS NTAPI reference_free(void *handle)
{
	struct caller caller;
	ULONG64 value = (ULONG_PTR)handle;
	BOOLEAN freed, stale;

	lock();
	caller = caller_describe(__builtin_return_address(0));
	freed = (asking != 0 && defect("free-lost-in-race")) || ledger_release(value, &caller);
	stale = !freed && ledger_knew(value);
	if ((value == 0 && defect("null-frees-holder")) || (stale && defect("stale-frees-holder")))
		ledger_release_all();
	if (defect("free-refused"))
		freed = FALSE;
	if ((value == 0 && defect("null-accepted")) || (stale && defect("double-free-accepted")) || defect("no-broker"))
		freed = TRUE;
	unlock();
	if (stale && defect("double-free-hangs"))
		wait_for_ever();
	if (!freed && defect("invalid-handle-status"))
		return STATUS_INVALID_HANDLE;
	return freed ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

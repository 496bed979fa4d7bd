/* SPDX-License-Identifier: Apache-2.0 */
/* The two routines of the reference HAL. The export table (hal.def.in) gives them their public names. */
#include "reference.h"

NTSTATUS NTAPI reference_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, void **handle);
NTSTATUS NTAPI reference_free(void *handle);

enum { UNTOUCHED, STARTING, READY };

static volatile LONG state; /* a kernel library has no entry point that is called in every system */
static FAST_MUTEX mutex;    /* of the ledger */
static struct settings settings;
static struct machine machine;

/* Whoever comes first starts up; the others wait for that. */
static void start_once(void)
{
	LARGE_INTEGER none = { .QuadPart = 0 };

	if (InterlockedCompareExchange(&state, STARTING, UNTOUCHED) == UNTOUCHED) {
		ExInitializeFastMutex(&mutex);
		settings_read(&settings);
		machine_describe(&machine);
		InterlockedExchange(&state, READY);
	}
	while (InterlockedOr(&state, 0) != READY)
		KeDelayExecutionThread(KernelMode, FALSE, &none);
}

static BOOLEAN defect(enum defect which)
{
	return settings.defect == which;
}

/* Contrary to ExAcquireFastMutex this leaves the IRQL at PASSIVE_LEVEL. */
static void lock(void)
{
	start_once();
	KeEnterCriticalRegion();
	ExAcquireFastMutexUnsafe(&mutex);
}

static void unlock(void)
{
	ExReleaseFastMutexUnsafe(&mutex);
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

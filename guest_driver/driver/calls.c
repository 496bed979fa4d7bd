/* SPDX-License-Identifier: Apache-2.0 */
/* One observed call of a HAL routine: IRQL before and after, the CPU it was made on, and what became of the handle cell. */
#include "driver.h"

static UCHAR irql(void)
{
	if (routines.current_irql != NULL)
		return routines.current_irql();
#if defined(__x86_64__)
	return (UCHAR)__readcr8(); /* what KeGetCurrentIrql is on x64, where not every system exports it */
#else
	return PASSIVE_LEVEL;
#endif
}

static void before(struct pmctest_call *call)
{
	ULONG cpu;
	USHORT group;

	RtlZeroMemory(call, sizeof *call);
	cpu_current(&cpu, &group);
	call->cpu = cpu;
	call->group = group;
	call->irql_before = irql();
}

NTSTATUS call_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, ULONG64 poison, ULONG flags,
		       struct pmctest_call *call)
{
	BOOLEAN dispatch = (flags & PMCTEST_DISPATCH) != 0;
	void *cell = (void *)(ULONG_PTR)poison;
	KIRQL lower = PASSIVE_LEVEL;
	NTSTATUS status = dispatch ? irql_raise(&lower) : STATUS_SUCCESS;

	if (!NT_SUCCESS(status))
		return status;
	before(call);
	call->status = (ULONG)routines.allocate(affinity, group_count, list, (flags & PMCTEST_NULL_CELL) != 0 ? NULL : &cell);
	call->irql_after = irql();
	if (dispatch)
		irql_lower(lower);
	call->handle = (ULONG_PTR)cell;
	call->written = (ULONG_PTR)cell != poison;
	return STATUS_SUCCESS;
}

NTSTATUS call_free(HANDLE handle, BOOLEAN dispatch, struct pmctest_call *call)
{
	KIRQL lower = PASSIVE_LEVEL;
	NTSTATUS status = dispatch ? irql_raise(&lower) : STATUS_SUCCESS;

	if (!NT_SUCCESS(status))
		return status;
	before(call);
	call->status = (ULONG)routines.free(handle);
	call->irql_after = irql();
	if (dispatch)
		irql_lower(lower);
	call->handle = (ULONG_PTR)handle;
	return STATUS_SUCCESS;
}

NTSTATUS bare_allocate(ULONG64 poison, HANDLE *handle)
{
	void *cell = (void *)(ULONG_PTR)poison;
	NTSTATUS status = routines.allocate(NULL, 0, NULL, &cell);

	*handle = cell;
	return status;
}

NTSTATUS bare_free(HANDLE handle)
{
	return routines.free(handle);
}

void call_describe(NTSTATUS status, HANDLE handle, BOOLEAN written, struct pmctest_call *call)
{
	before(call);
	call->irql_after = call->irql_before;
	call->status = (ULONG)status;
	call->handle = (ULONG_PTR)handle;
	call->written = written;
}

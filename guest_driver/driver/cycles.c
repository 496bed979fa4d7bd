/* SPDX-License-Identifier: Apache-2.0 */
/* Allocate and free, over and over, up to the first call that does not succeed. */
#include "driver.h"

#define POISON 0xAAAAAAAAAAAAAAAAull

static ULONG64 microseconds(void)
{
	LARGE_INTEGER frequency = { .QuadPart = 1 };
	LONG64 ticks;

	if (routines.performance_counter == NULL)
		return 0;
	ticks = routines.performance_counter(&frequency).QuadPart;
	return (ULONG64)(ticks / frequency.QuadPart) * 1000000 +
	       (ULONG64)(ticks % frequency.QuadPart) * 1000000 / (ULONG64)frequency.QuadPart;
}

/* One cycle; FALSE when `call` deviates. A grant that could not be freed stays with the file, which will try again at its end. */
static BOOLEAN cycle(struct request *request, struct pmctest_call *call)
{
	struct holding *holding;
	HANDLE handle;
	NTSTATUS status = bare_allocate(POISON, &handle);

	if (!NT_SUCCESS(status)) {
		call_describe(status, handle, (ULONG_PTR)handle != POISON, call);
		return FALSE;
	}
	status = bare_free(handle);
	if (NT_SUCCESS(status))
		return TRUE;
	call_describe(status, handle, FALSE, call);
	holding = holding_prepare(request->instance);
	if (holding != NULL && !holding_keep(request->instance, holding, request->file, handle))
		holding_discard(request->instance, holding);
	return FALSE;
}

NTSTATUS request_cycles(struct request *request)
{
	const struct pmctest_cycles args = *(const struct pmctest_cycles *)request->buffer;
	struct pmctest_cycles_result result = { 0 };
	ULONG64 start = microseconds();

	if (args.count == 0 || args.count > PMCTEST_MAX_CYCLES)
		return STATUS_INVALID_PARAMETER;
	while (result.completed < args.count) {
		if (request_cancelled(request))
			return STATUS_CANCELLED;
		if (!cycle(request, &result.deviation)) {
			result.deviated = 1;
			break;
		}
		result.completed++;
	}
	result.elapsed_us = microseconds() - start;
	RtlCopyMemory(request->buffer, &result, sizeof result);
	request->written = sizeof result;
	return STATUS_SUCCESS;
}

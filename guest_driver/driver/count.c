/* SPDX-License-Identifier: Apache-2.0 */
/* Do counters count? Asked only while the caller holds an allocation: the registers are then the caller's to write. */
#include "driver.h"

NTSTATUS request_count(struct request *request)
{
	const struct pmctest_count args = *(const struct pmctest_count *)request->buffer;
	struct pmctest_count_result *result = request->buffer;
	struct pin pin;
	ULONG cpu;
	USHORT group;
	NTSTATUS status;

	if (args.loop == 0 || args.loop > PMCTEST_MAX_LOOP)
		return STATUS_INVALID_PARAMETER;
	RtlZeroMemory(result, sizeof *result);
	request->written = sizeof *result;
	cpu_current(&cpu, &group);
	if (!holding_any(request->instance, request->file)) {
		result->status = (ULONG)STATUS_INVALID_DEVICE_STATE;
	} else {
		status = cpu_pin(args.cpu, &pin);
		if (!NT_SUCCESS(status))
			return status;
		cpu_current(&cpu, &group);
		pmu_measure(&result->report, args.loop);
		cpu_unpin(&pin);
	}
	result->cpu = cpu;
	result->group = group;
	return STATUS_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do counters count? Asked only while the caller holds the whole PMU of all CPUs: a part of it shares its enable register with parts
 * of others. The lock keeps the allocation from being freed in the midst, and every register is as it was before the lock is left.
 */
#include "driver.h"

/* Under the lock of the registers, on the CPU that is meant. */
static NTSTATUS measure(const struct request *request, struct pmu_report *report, ULONG loop)
{
	if (!holding_whole(request->instance, request->file))
		return STATUS_INVALID_DEVICE_STATE;
	pmu_describe(report);
	if (!pmu_understood(report))
		return STATUS_NOT_SUPPORTED;
	pmu_measure(report, loop);
	return STATUS_SUCCESS;
}

/* Under the lock of the registers, on the CPU that is meant. The handler may run at PROFILE_LEVEL in the midst. */
static NTSTATUS overflow_once(const struct request *request, struct pmu_report *report, ULONG loop, ULONG index)
{
	if (!holding_handled(request->instance, request->file, index))
		return STATUS_INVALID_DEVICE_STATE;
	pmu_describe(report);
	if (!pmu_understood(report))
		return STATUS_NOT_SUPPORTED;
	pmu_interrupt(report, index, loop);
	return STATUS_SUCCESS;
}

/* Measure, or, with an index, make that counter overflow. The status is that of the pinning; the other one goes into the result. */
static NTSTATUS work_on(const struct request *request, ULONG cpu, ULONG loop, const ULONG *index, struct pmctest_count_result *result)
{
	struct pin pin;
	NTSTATUS status = cpu == PMCTEST_ANY_CPU ? cpu_pin_here(&pin) : cpu_pin(cpu, &pin);
	ULONG number;
	USHORT group;

	if (!NT_SUCCESS(status))
		return status;
	RtlZeroMemory(result, sizeof *result);
	registers_lock(request->instance);
	cpu_current(&number, &group); /* where it really is, not where it was sent */
	result->status = (ULONG)(index != NULL ? overflow_once(request, &result->report, loop, *index) : measure(request, &result->report, loop));
	registers_unlock(request->instance);
	cpu_unpin(&pin);
	result->cpu = number;
	result->group = group;
	return STATUS_SUCCESS;
}

NTSTATUS request_count(struct request *request)
{
	const struct pmctest_count args = *(const struct pmctest_count *)request->buffer;
	NTSTATUS status;

	if (args.loop == 0 || args.loop > PMCTEST_MAX_LOOP)
		return STATUS_INVALID_PARAMETER;
	status = work_on(request, args.cpu, args.loop, NULL, request->buffer);
	if (NT_SUCCESS(status))
		request->written = sizeof(struct pmctest_count_result);
	return status;
}

NTSTATUS request_count_all(struct request *request)
{
	const struct pmctest_count args = *(const struct pmctest_count *)request->buffer;
	struct pmctest_count_all *all = request->buffer;
	ULONG cpus = cpu_count();

	if (args.loop == 0 || args.loop > PMCTEST_MAX_LOOP || args.cpu != PMCTEST_ANY_CPU)
		return STATUS_INVALID_PARAMETER;
	if ((request->out - sizeof *all) / sizeof all->result[0] < cpus)
		return STATUS_BUFFER_TOO_SMALL;
	*all = (struct pmctest_count_all){ .cpus = cpus };
	for (ULONG cpu = 0; cpu < cpus; cpu++) {
		NTSTATUS status = request_cancelled(request) ? STATUS_CANCELLED : work_on(request, cpu, args.loop, NULL, &all->result[cpu]);

		if (!NT_SUCCESS(status))
			return status;
	}
	request->written = (ULONG)(sizeof *all + cpus * sizeof all->result[0]);
	return STATUS_SUCCESS;
}

NTSTATUS request_interrupt(struct request *request)
{
	const struct pmctest_interrupt args = *(const struct pmctest_interrupt *)request->buffer;
	const ULONG index = args.index;
	NTSTATUS status;

	if (args.loop == 0 || args.loop > PMCTEST_MAX_LOOP || args.reserved != 0)
		return STATUS_INVALID_PARAMETER;
	status = work_on(request, args.cpu, args.loop, &index, request->buffer);
	if (NT_SUCCESS(status))
		request->written = sizeof(struct pmctest_count_result);
	return status;
}

/* Reading disturbs nobody. Writing is for the owner of the PMU, on a CPU that it does not leave. */
NTSTATUS request_guard(struct request *request)
{
	const struct pmctest_guard args = *(const struct pmctest_guard *)request->buffer;
	struct pmctest_guard_result result = { 0 };
	struct pin pin;
	NTSTATUS status;

	if (args.write > 1 || args.reserved != 0)
		return STATUS_INVALID_PARAMETER;
	status = cpu_pin_here(&pin);
	if (!NT_SUCCESS(status))
		return status;
	registers_lock(request->instance);
	if (args.write == 0 || holding_whole(request->instance, request->file))
		result.fault = pmu_provoke((int)args.write);
	else
		result.status = (ULONG)STATUS_INVALID_DEVICE_STATE;
	registers_unlock(request->instance);
	cpu_unpin(&pin);
	RtlCopyMemory(request->buffer, &result, sizeof result);
	request->written = sizeof result;
	return STATUS_SUCCESS;
}

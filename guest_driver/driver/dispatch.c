/* SPDX-License-Identifier: Apache-2.0 */
/* I/O control requests: every one is bounded by its table entry before its handler sees it. */
#include "driver.h"

static const struct {
	ULONG code;
	ULONG in, out; /* least lengths */
	NTSTATUS (*handle)(struct request *request);
	BOOLEAN calls; /* makes HAL calls: needs both routines */
} requests[] = {
	{ PMCTEST_INFO, 0, sizeof(struct pmctest_info), request_info, FALSE },
	{ PMCTEST_ALLOCATE, sizeof(struct pmctest_allocate), sizeof(struct pmctest_call), request_allocate, TRUE },
	{ PMCTEST_FREE, sizeof(struct pmctest_free), sizeof(struct pmctest_call), request_free, TRUE },
	{ PMCTEST_CYCLES, sizeof(struct pmctest_cycles), sizeof(struct pmctest_cycles_result), request_cycles, TRUE },
	{ PMCTEST_RACE, sizeof(struct pmctest_race), sizeof(struct pmctest_race_result), request_race, TRUE },
	{ PMCTEST_COUNT, sizeof(struct pmctest_count), sizeof(struct pmctest_count_result), request_count, FALSE },
	{ PMCTEST_COUNT_ALL, sizeof(struct pmctest_count), sizeof(struct pmctest_count_all), request_count_all, FALSE },
	{ PMCTEST_HOLDINGS, 0, sizeof(struct pmctest_holdings), request_holdings, FALSE },
	{ PMCTEST_OVERFLOWS, 0, sizeof(struct pmctest_overflows), request_overflows, FALSE },
	{ PMCTEST_INTERRUPT, sizeof(struct pmctest_interrupt), sizeof(struct pmctest_count_result), request_interrupt, FALSE },
	{ PMCTEST_GUARD, sizeof(struct pmctest_guard), sizeof(struct pmctest_guard_result), request_guard, FALSE },
};

BOOLEAN request_cancelled(const struct request *request)
{
	return request->file->closed || *(volatile BOOLEAN *)&request->irp->Cancel;
}

static NTSTATUS handle(ULONG code, struct request *request)
{
	for (ULONG i = 0; i < RTL_NUMBER_OF(requests); i++) {
		if (requests[i].code != code)
			continue;
		if (request->file == NULL || request->in < requests[i].in)
			return STATUS_INVALID_PARAMETER;
		if (request->out < requests[i].out)
			return STATUS_BUFFER_TOO_SMALL;
		if (requests[i].calls && (routines.allocate == NULL || routines.free == NULL))
			return STATUS_PROCEDURE_NOT_FOUND;
		return requests[i].handle(request);
	}
	return STATUS_INVALID_DEVICE_REQUEST;
}

NTSTATUS NTAPI dispatch_control(PDEVICE_OBJECT device, PIRP irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
	struct request request = {
		.instance = device->DeviceExtension,
		.file = stack->FileObject->FsContext,
		.buffer = irp->AssociatedIrp.SystemBuffer,
		.irp = irp,
		.in = stack->Parameters.DeviceIoControl.InputBufferLength,
		.out = stack->Parameters.DeviceIoControl.OutputBufferLength,
	};
	NTSTATUS status = handle(stack->Parameters.DeviceIoControl.IoControlCode, &request);

	irp->IoStatus.Status = status;
	irp->IoStatus.Information = NT_SUCCESS(status) ? request.written : 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

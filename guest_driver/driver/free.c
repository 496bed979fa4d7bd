/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HalFreeHardwareCounters call. Only NULL and handles that the HAL once returned to this driver are passed on, also stale
 * ones: what the HAL does with other values is not documented to be harmless.
 */
#include "driver.h"

struct order {
	HANDLE handle;
	ULONG cpu;
	NTSTATUS status; /* of the pinning */
	struct pmctest_call call;
};

static void carry_out(void *context)
{
	struct order *order = context;
	struct pin pin;

	order->status = cpu_pin(order->cpu, &pin);
	if (!NT_SUCCESS(order->status))
		return;
	call_free(order->handle, &order->call);
	cpu_unpin(&pin);
}

NTSTATUS request_free(struct request *request)
{
	const struct pmctest_free args = *(const struct pmctest_free *)request->buffer;
	struct order order = { .handle = (HANDLE)(ULONG_PTR)args.handle, .cpu = args.cpu };

	if (order.handle != NULL && !holding_remembers(request->instance, order.handle))
		return STATUS_ACCESS_DENIED;
	if (args.worker != 0) {
		struct thread thread;
		NTSTATUS status = thread_start(&thread, carry_out, &order);

		if (!NT_SUCCESS(status))
			return status;
		thread_join(&thread);
	} else {
		carry_out(&order);
	}
	if (!NT_SUCCESS(order.status))
		return order.status;
	if (NT_SUCCESS((NTSTATUS)order.call.status))
		holding_forget(request->instance, order.handle);
	RtlCopyMemory(request->buffer, &order.call, sizeof order.call);
	request->written = sizeof order.call;
	return STATUS_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HalFreeHardwareCounters call. Only NULL and handles that the HAL once returned to this driver are passed on, also stale
 * ones: what the HAL does with other values is not documented to be harmless.
 */
#include "driver.h"

struct order {
	struct instance *instance;
	HANDLE handle;
	ULONG cpu;
	BOOLEAN dispatch;
	NTSTATUS status; /* of all but the call */
	struct pmctest_call call;
};

static void carry_out(void *context)
{
	struct order *order = context;
	struct pin pin;

	order->status = cpu_pin(order->cpu, &pin);
	if (!NT_SUCCESS(order->status))
		return;
	registers_lock(order->instance);
	order->status = call_free(order->handle, order->dispatch, &order->call);
	if (NT_SUCCESS(order->status) && NT_SUCCESS((NTSTATUS)order->call.status))
		holding_forget(order->instance, order->handle);
	registers_unlock(order->instance);
	cpu_unpin(&pin);
}

NTSTATUS request_free(struct request *request)
{
	const struct pmctest_free args = *(const struct pmctest_free *)request->buffer;
	struct order order = {
		.instance = request->instance,
		.handle = (HANDLE)(ULONG_PTR)args.handle,
		.cpu = args.cpu,
		.dispatch = (args.flags & PMCTEST_FREE_DISPATCH) != 0,
	};

	if ((args.flags & ~(ULONG)(PMCTEST_FREE_WORKER | PMCTEST_FREE_DISPATCH)) != 0)
		return STATUS_INVALID_PARAMETER;
	if (order.dispatch && !request->instance->destructive)
		return STATUS_ACCESS_DENIED;
	if (order.handle != NULL && !holding_remembers(request->instance, order.handle))
		return STATUS_ACCESS_DENIED;
	if ((args.flags & PMCTEST_FREE_WORKER) != 0) {
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
	RtlCopyMemory(request->buffer, &order.call, sizeof order.call);
	request->written = sizeof order.call;
	return STATUS_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HalFreeHardwareCounters call. NULL and handles that the HAL once returned to this driver are passed on, also stale ones;
 * other values only where destructive requests are allowed: a HAL may take them for addresses.
 */
#include "driver.h"

#define POOL_BYTES 256u /* more than any HAL would read behind a handle */

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
	const ULONG destructive = PMCTEST_FREE_DISPATCH | PMCTEST_FREE_ANY | PMCTEST_FREE_POOL;
	const struct pmctest_free args = *(const struct pmctest_free *)request->buffer;
	void *pool = NULL;
	struct order order = {
		.instance = request->instance,
		.handle = (HANDLE)(ULONG_PTR)args.handle,
		.cpu = args.cpu,
		.dispatch = (args.flags & PMCTEST_FREE_DISPATCH) != 0,
	};

	if ((args.flags & ~(PMCTEST_FREE_WORKER | destructive)) != 0)
		return STATUS_INVALID_PARAMETER;
	if ((args.flags & destructive) != 0 && !request->instance->destructive)
		return STATUS_ACCESS_DENIED;
	if ((args.flags & PMCTEST_FREE_POOL) != 0) {
		pool = pool_take(request->instance, POOL_BYTES);
		if (pool == NULL)
			return STATUS_NO_MEMORY;
		order.handle = pool;
	} else if (order.handle != NULL && (args.flags & PMCTEST_FREE_ANY) == 0 && !holding_remembers(request->instance, order.handle)) {
		return STATUS_ACCESS_DENIED;
	}
	if ((args.flags & PMCTEST_FREE_WORKER) != 0) {
		struct thread thread;

		order.status = thread_start(&thread, carry_out, &order);
		if (NT_SUCCESS(order.status))
			thread_join(&thread);
	} else {
		carry_out(&order);
	}
	pool_return(request->instance, pool, POOL_BYTES);
	if (!NT_SUCCESS(order.status))
		return order.status;
	RtlCopyMemory(request->buffer, &order.call, sizeof order.call);
	request->written = sizeof order.call;
	return STATUS_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to the driver that is given up when it does not return in time: a second thread makes it, so that this client still
 * answers and can say that a routine of the kernel hangs, and not the guest. It is always the same thread: whose call it is must not
 * differ from one to the next. What was given up once is given up for ever: the request is still under way.
 */
#include "client.h"

static struct {
	HANDLE thread, ready, done; /* the last two: events that reset themselves */
	HANDLE device;
	uint32_t code;
	const void *in;
	uint32_t in_bytes;
	struct pmctest_call call;
	uint32_t error;
	bool given_up;
} order;

static DWORD WINAPI carry_out(void *unused)
{
	(void)unused;
	while (WaitForSingleObject(order.ready, INFINITE) == WAIT_OBJECT_0) {
		order.error = device_ask(order.device, order.code, order.in, order.in_bytes, &order.call, sizeof order.call, NULL);
		SetEvent(order.done);
	}
	return 1;
}

static bool start(void)
{
	if (order.thread != NULL)
		return true;
	if (order.ready == NULL)
		order.ready = CreateEventW(NULL, FALSE, FALSE, NULL);
	if (order.done == NULL)
		order.done = CreateEventW(NULL, FALSE, FALSE, NULL);
	if (order.ready != NULL && order.done != NULL)
		order.thread = CreateThread(NULL, 0, carry_out, NULL, 0, NULL);
	return order.thread != NULL;
}

uint32_t device_call(HANDLE device, uint32_t code, const void *in, uint32_t in_bytes, uint32_t timeout_ms, struct pmctest_call *call)
{
	if (order.given_up)
		return ERROR_TIMEOUT;
	if (!start())
		return GetLastError();
	order.device = device;
	order.code = code;
	order.in = in;
	order.in_bytes = in_bytes;
	SetEvent(order.ready);
	order.given_up = WaitForSingleObject(order.done, timeout_ms == 0 ? INFINITE : timeout_ms) != WAIT_OBJECT_0;
	if (order.given_up)
		return ERROR_TIMEOUT;
	*call = order.call;
	return order.error;
}

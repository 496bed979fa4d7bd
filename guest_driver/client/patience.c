/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to the driver that is given up when it does not return in time: a second thread makes it, so that this client still
 * answers and can say that a routine of the kernel hangs, and not the guest. It is always the same thread: whose call it is must not
 * differ from one to the next. What was given up once is given up for ever: the request is still under way.
 */
#include "client.h"

/* ntdll's, since Windows 8: a wait on a word of memory. An event is a trip to the server in Wine, several times what the call costs. */
NTSYSAPI LONG NTAPI RtlWaitOnAddress(const void *address, const void *compare, SIZE_T bytes, const LARGE_INTEGER *timeout);
NTSYSAPI void NTAPI RtlWakeAddressSingle(const void *address);

enum { IDLE, READY, DONE };

static struct {
	HANDLE thread;
	volatile LONG state;
	HANDLE device;
	uint32_t code;
	const void *in;
	uint32_t in_bytes;
	struct pmctest_call call;
	uint32_t error;
	bool given_up;
} order;

static void tell(LONG state)
{
	InterlockedExchange(&order.state, state);
	RtlWakeAddressSingle((const void *)&order.state);
}

/* FALSE when the time is up; 0 ms: there is no end. A wait may end early, so what counts is the state. */
static bool await(LONG wanted, uint32_t timeout_ms)
{
	uint64_t start = GetTickCount64(), passed = 0;

	for (LONG seen = order.state; seen != wanted; seen = order.state) {
		LARGE_INTEGER left = { .QuadPart = -10000ll * (int64_t)(timeout_ms - passed) };

		RtlWaitOnAddress((const void *)&order.state, &seen, sizeof seen, timeout_ms != 0 ? &left : NULL);
		passed = GetTickCount64() - start;
		if (timeout_ms != 0 && passed >= timeout_ms)
			return order.state == wanted;
	}
	return true;
}

static DWORD WINAPI carry_out(void *unused)
{
	(void)unused;
	while (await(READY, 0)) {
		order.error = device_ask(order.device, order.code, order.in, order.in_bytes, &order.call, sizeof order.call, NULL);
		tell(DONE);
	}
	return 1;
}

uint32_t device_call(HANDLE device, uint32_t code, const void *in, uint32_t in_bytes, uint32_t timeout_ms, struct pmctest_call *call)
{
	if (order.given_up)
		return ERROR_TIMEOUT;
	if (order.thread == NULL)
		order.thread = CreateThread(NULL, 0, carry_out, NULL, 0, NULL);
	if (order.thread == NULL)
		return GetLastError();
	order.device = device;
	order.code = code;
	order.in = in;
	order.in_bytes = in_bytes;
	tell(READY);
	order.given_up = !await(DONE, timeout_ms);
	if (order.given_up)
		return ERROR_TIMEOUT;
	*call = order.call;
	return order.error;
}

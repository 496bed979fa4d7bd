/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second process: `pmcctl holder hold|busy NAME`. It reports its first allocate on stdout as a struct pmctest_call. Then
 * `hold` frees the 64-bit handles that come on stdin and reports each call, until stdin ends; `busy` frees and
 * allocates by turns until it is killed or stdin is closed, so that a kill meets it holding, not holding, or in a call.
 */
#include "client.h"

static bool report(const struct pmctest_call *call)
{
	return write_all(GetStdHandle(STD_OUTPUT_HANDLE), call, sizeof *call);
}

static void hold(HANDLE device)
{
	HANDLE orders = GetStdHandle(STD_INPUT_HANDLE);
	struct pmctest_call call;
	uint64_t handle;
	DWORD length;

	while (ReadFile(orders, &handle, sizeof handle, &length, NULL) && length == sizeof handle) {
		if (device_free(device, handle, &call) != 0 || !report(&call))
			return;
	}
}

static void be_busy(HANDLE device, struct pmctest_call call)
{
	DWORD available;
	uint32_t error = 0;

	while (error == 0 && PeekNamedPipe(GetStdHandle(STD_INPUT_HANDLE), NULL, 0, NULL, &available, NULL)) {
		if (call.status == 0)
			error = device_free(device, call.handle, &call);
		if (error == 0)
			error = device_allocate(device, &call);
	}
}

int holder_main(const wchar_t *mode, const wchar_t *name)
{
	struct pmctest_call call;
	HANDLE device;
	uint32_t error = device_open(name, &device);

	if (error == 0)
		error = device_allocate(device, &call);
	if (error != 0)
		return (int)error;
	if (!report(&call))
		return 1;
	if (lstrcmpW(mode, L"busy") == 0)
		be_busy(device, call);
	else
		hold(device);
	return 0;
}

void holder_end(struct holder *holder)
{
	if (holder->process == NULL)
		return;
	TerminateProcess(holder->process, 1);
	CloseHandle(holder->process);
	CloseHandle(holder->orders);
	CloseHandle(holder->reports);
	*holder = (struct holder){ 0 };
}

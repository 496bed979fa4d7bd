/* SPDX-License-Identifier: Apache-2.0 */
/* What a sound HAL has no use for: who calls, and how to keep the caller waiting. Some defects do. */
#include "reference.h"

/* Not in every edition of the header. */
NTSYSAPI PVOID NTAPI RtlPcToFileHeader(PVOID address, PVOID *base);

struct caller caller_describe(PVOID address)
{
	struct caller caller = { 0 };

	if (defect("")) /* none: the sound HAL asks for nothing that it does not need */
		return caller;
	RtlPcToFileHeader(address, &caller.image);
	caller.process = PsGetCurrentProcessId();
	caller.thread = PsGetCurrentThreadId();
	caller.cpu = KeGetCurrentProcessorNumberEx(NULL);
	return caller;
}

void wait_for_ever(void)
{
	LARGE_INTEGER second = { .QuadPart = -10000000 };

	for (;;)
		KeDelayExecutionThread(KernelMode, FALSE, &second);
}

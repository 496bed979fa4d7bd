/* SPDX-License-Identifier: Apache-2.0 */
/* Routines that a system may lack. A name that is absent is an answer here, never a load failure. */
#include "driver.h"

struct routines routines;
BOOLEAN shared_layout;
POOL_TYPE pool_kind = NonPagedPool;

static void *resolve(PCWSTR name)
{
	UNICODE_STRING text;

	RtlInitUnicodeString(&text, name);
	return MmGetSystemRoutineAddress(&text);
}

void resolve_routines(void)
{
	RTL_OSVERSIONINFOW version = { .dwOSVersionInfoSize = sizeof version };

	routines.allocate = resolve(L"HalAllocateHardwareCounters");
	routines.free = resolve(L"HalFreeHardwareCounters");
	routines.set_group_affinity = resolve(L"KeSetSystemGroupAffinityThread");
	routines.revert_group_affinity = resolve(L"KeRevertToUserGroupAffinityThread");
	routines.set_affinity = resolve(L"KeSetSystemAffinityThreadEx");
	routines.revert_affinity = resolve(L"KeRevertToUserAffinityThreadEx");
	routines.processor_from_index = resolve(L"KeGetProcessorNumberFromIndex");
	routines.current_processor = resolve(L"KeGetCurrentProcessorNumberEx");
	routines.processor_count = resolve(L"KeQueryActiveProcessorCountEx");
	routines.current_irql = resolve(L"KeGetCurrentIrql");
	routines.performance_counter = resolve(L"KeQueryPerformanceCounter");
	routines.yield = resolve(L"ZwYieldExecution");
	routines.open_object = resolve(L"ObOpenObjectByPointer");
	routines.set_security = resolve(L"ZwSetSecurityObject");

	if (!NT_SUCCESS(RtlGetVersion(&version)))
		return;
	shared_layout = version.dwBuildNumber >= COUNTER_SHARED_BUILD;
	if (version.dwMajorVersion > 6 || (version.dwMajorVersion == 6 && version.dwMinorVersion >= 2))
		pool_kind = NonPagedPoolNx;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Routines that a system may lack. A name that is absent is an answer here, never a load failure. */
#include "driver.h"

struct routines routines;
BOOLEAN shared_layout;
enum pmctest_image routines_image;
POOL_TYPE pool_kind = NonPagedPool;

static void *resolve(PCWSTR name)
{
	UNICODE_STRING text;

	RtlInitUnicodeString(&text, name);
	return MmGetSystemRoutineAddress(&text);
}

/* Only addresses are compared: no list of modules is walked, and nothing is read from an image. */
static enum pmctest_image find_image(void)
{
	PVOID kernel = NULL, image = NULL, known = resolve(L"ExAllocatePoolWithTag");

	if (routines.image_of == NULL || routines.allocate == NULL || known == NULL)
		return PMCTEST_IMAGE_UNKNOWN;
	routines.image_of(known, &kernel);
	routines.image_of((PVOID)(ULONG_PTR)routines.allocate, &image);
	if (kernel == NULL || image == NULL)
		return PMCTEST_IMAGE_UNKNOWN;
	return image == kernel ? PMCTEST_IMAGE_KERNEL : PMCTEST_IMAGE_OTHER;
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
	routines.raise_irql = resolve(L"KfRaiseIrql");
	routines.raise_to_dispatch = resolve(L"KeRaiseIrqlToDpcLevel");
	routines.lower_irql = resolve(L"KeLowerIrql");
	routines.image_of = resolve(L"RtlPcToFileHeader");
	routines.group_count = resolve(L"KeQueryActiveGroupCount");
	routines.yield = resolve(L"ZwYieldExecution");
	routines.open_object = resolve(L"ObOpenObjectByPointer");
	routines.set_security = resolve(L"ZwSetSecurityObject");

	routines_image = find_image();
	if (!NT_SUCCESS(RtlGetVersion(&version)))
		return;
	shared_layout = version.dwBuildNumber >= COUNTER_SHARED_BUILD;
	if (version.dwMajorVersion > 6 || (version.dwMajorVersion == 6 && version.dwMinorVersion >= 2))
		pool_kind = NonPagedPoolNx;
}

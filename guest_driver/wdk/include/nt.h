/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for ../../include/nt.h in a WDK build: the real headers, and the little that clang-cl lacks with them. */
#ifndef HALPMC_NT_H
#define HALPMC_NT_H

#include <ntddk.h>
#undef interface /* a macro for COM in some headers, a member's name in pmu.h */

_Static_assert(sizeof(IO_STACK_LOCATION) == 0x48, "IO_STACK_LOCATION");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode) == 0x18, "IoControlCode");

/* In ntifs.h only, which cannot be combined with ntddk.h. */
NTSYSAPI NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout);

#ifndef max
#define max(a, b) ((a) > (b) ? (a) : (b))
#endif

#if defined(__clang__) && defined(__x86_64__)
/* Clang declares the intrinsic and does not define it. */
static __inline unsigned __int64 halpmc_readcr8(void)
{
	unsigned __int64 level;

	__asm__ volatile("movq %%cr8, %0" : "=r"(level));
	return level;
}
#define __readcr8 halpmc_readcr8
#endif

#endif

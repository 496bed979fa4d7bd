/* SPDX-License-Identifier: Apache-2.0 */
/* ntddk.h of mingw-w64, made fit for use. */
#ifndef HALPMC_NT_H
#define HALPMC_NT_H

/* intrin-impl.h would declare these two first, and so make wdm.h's static ones external in every translation unit. */
#define __INTRINSIC_DEFINED_InterlockedBitTestAndSet
#define __INTRINSIC_DEFINED_InterlockedBitTestAndReset
#if defined(__aarch64__)
/*
 * The header knows no ARM64. Two macros of other architectures lead it the right way: as on IA64, structures that hold pointers
 * are not packed to 4 bytes; as on ARM, the rest is in armddk.h, which is ours. Base headers come first, they know ARM64 well.
 */
#include <excpt.h>
#include <ntdef.h>
#include <intrin.h>
#define _IA64_
#define _M_ARM
#include <ntddk.h>
#undef _IA64_
#undef _M_ARM
#else
#include <ntddk.h>
#endif
#undef interface /* a macro for COM in some headers, a member's name in pmu.h */

/* Packed wrongly for some architectures, parameters would be read from wrong offsets. */
_Static_assert(sizeof(IO_STACK_LOCATION) == 0x48, "IO_STACK_LOCATION");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode) == 0x18, "IoControlCode");

/* In ntoskrnl.exe since Windows 2000, but not in that header. */
NTSYSAPI NTSTATUS NTAPI ZwYieldExecution(void);
NTSYSAPI NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* ntddk.h of mingw-w64, made fit for use. */
#ifndef HALPMC_NT_H
#define HALPMC_NT_H

/* intrin-impl.h would declare these two first, and so make wdm.h's static ones external in every translation unit. */
#define __INTRINSIC_DEFINED_InterlockedBitTestAndSet
#define __INTRINSIC_DEFINED_InterlockedBitTestAndReset
#include <ntddk.h>
#undef interface /* a macro for COM in some headers, a member's name in pmu.h */

/* Packed wrongly for some architectures, parameters would be read from wrong offsets. */
_Static_assert(sizeof(IO_STACK_LOCATION) == 0x48, "IO_STACK_LOCATION");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode) == 0x18, "IoControlCode");

/* In ntoskrnl.exe since Windows 2000, but not in that header. */
NTSYSAPI NTSTATUS NTAPI ZwYieldExecution(void);
NTSYSAPI NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HALPMC_CRASH_DUMP_H
#define HALPMC_CRASH_DUMP_H

#include <windows.h>

#define MAX_MODULES 96
#define MAX_NAME 64 /* characters with the terminating zero */

/* How a process died: its exception, and the modules that it had loaded. No exception: code is 0. */
struct crash {
    DWORD code;
    ULONG64 address;
    DWORD modules;
    struct {
        ULONG64 base;
        DWORD size;
        WCHAR name[MAX_NAME];
    } module[MAX_MODULES];
};

/*
 * Writes the crash into C:\windows\Minidump as Windows writes its small dumps: DUMP_HEADER64 and TRIAGE_DUMP64, as far as a reader
 * needs them who wants to know what crashed where. FALSE when the file could not be written.
 */
BOOL crash_dump_write(const struct crash *crash);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "crash_dump.h"

#define FOLDER L"C:\\windows\\Minidump"
#define HEADER_BYTES 0x2000
#define TRIAGE_BYTES 0x1000
#define ENTRY_BYTES 0x90 /* DUMP_DRIVER_ENTRY64 */
#define KERNEL_HALF 0xFFFF000000000000ull /* where a reader expects modules of a kernel: Wine has its drivers below it */
#define KMODE_EXCEPTION_NOT_HANDLED 0x1E
#define TRIAGE_DUMP 4
#define BUILD_NUMBER (*(const volatile ULONG *)0x7FFE0260) /* KUSER_SHARED_DATA.NtBuildNumber */

#if defined(__x86_64__)
#define MACHINE 0x8664
#else
#define MACHINE 0xAA64
#endif

static BYTE file[HEADER_BYTES + TRIAGE_BYTES + MAX_MODULES * (ENTRY_BYTES + 8 + 2 * MAX_NAME) + 16];

static void put32(DWORD at, DWORD value)
{
    *(DWORD *)(file + at) = value;
}

static void put64(DWORD at, ULONG64 value)
{
    put32(at, (DWORD)value);
    put32(at + 4, (DWORD)(value >> 32));
}

static ULONG64 in_kernel(ULONG64 address)
{
    return address | KERNEL_HALF;
}

static void put_header(const struct crash *crash)
{
    SYSTEM_INFO system;

    GetSystemInfo(&system);
    for (DWORD at = 0; at < HEADER_BYTES; at += 4)
        put32(at, 0x45474150); /* "PAGE": not set */
    put32(0x04, 0x34365544);   /* "DU64" */
    put32(0x08, 15);
    put32(0x0C, BUILD_NUMBER & 0xFFFF);
    put64(0x10, 0); /* there are no page tables in this file */
    put64(0x20, 0);
    put32(0x30, MACHINE);
    put32(0x34, system.dwNumberOfProcessors);
    put32(0x38, KMODE_EXCEPTION_NOT_HANDLED);
    put64(0x40, crash->code);
    put64(0x48, in_kernel(crash->address));
    put64(0x50, 0);
    put64(0x58, 0);
    put32(0x88, 0);
    put32(0xF00, crash->code);
    put64(0xF10, in_kernel(crash->address));
    put32(0xF98, TRIAGE_DUMP);
}

/* The name as a DUMP_STRING; where the next one may begin. */
static DWORD put_name(DWORD at, const WCHAR *name)
{
    DWORD length = (DWORD)lstrlenW(name);

    put32(at, length);
    for (DWORD i = 0; i <= length; i++)
        *(WCHAR *)(file + at + 4 + 2 * i) = name[i];
    return (at + 4 + 2 * (length + 1) + 7) & ~7u;
}

/* The drivers, their names, the end mark; the length of the file. */
static DWORD put_triage(const struct crash *crash)
{
    const DWORD entries = HEADER_BYTES + TRIAGE_BYTES, names = entries + crash->modules * ENTRY_BYTES;
    DWORD end = names;

    for (DWORD i = 0; i < crash->modules; i++) {
        DWORD entry = entries + i * ENTRY_BYTES;

        put32(entry, end);
        put64(entry + 8 + 0x30, in_kernel(crash->module[i].base));
        put64(entry + 8 + 0x38, in_kernel(crash->module[i].base));
        put32(entry + 8 + 0x40, crash->module[i].size);
        end = put_name(end, crash->module[i].name);
    }
    put32(HEADER_BYTES + 0x30, entries);
    put32(HEADER_BYTES + 0x34, crash->modules);
    put32(HEADER_BYTES + 0x38, names);
    put32(HEADER_BYTES + 0x3C, end - names);
    put32(HEADER_BYTES + 0x04, end + 4);
    put32(HEADER_BYTES + 0x08, end);
    put32(end, 0x44475254); /* "TRGD" */
    return end + 4;
}

BOOL crash_dump_write(const struct crash *crash)
{
    DWORD written = 0, length;
    HANDLE out;
    BOOL whole;

    put_header(crash);
    length = put_triage(crash);
    CreateDirectoryW(FOLDER, NULL); /* fails where it is there already */
    out = CreateFileW(FOLDER L"\\bugcheck.dmp", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (out == INVALID_HANDLE_VALUE)
        return FALSE;
    whole = WriteFile(out, file, length, &written, NULL) && written == length && FlushFileBuffers(out);
    CloseHandle(out);
    return whole;
}

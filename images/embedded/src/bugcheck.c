/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bugcheck: the AeDebug debugger of the guest. Wine runs a driver in the process winedevice.exe; where Windows would stop
 * with a bugcheck, Wine only loses that process. So that a crashing driver looks to the host as it does with Windows, this
 * program writes a small dump when the dying process is winedevice.exe, as Windows does, and stops the guest's kernel, which
 * reports its panic through the pvpanic device.
 *
 * usage (Wine calls it): bugcheck PID EVENT     both decimal; EVENT is signalled to let any other process go on dying
 */
#include "crash_dump.h"

#define DRIVER_HOST L"\\winedevice.exe"

/* Characters of a literal without its terminating zero. */
#define LENGTH(literal) (sizeof(literal) / sizeof((literal)[0]) - 1)

#define EVENTS_MS 5000 /* between two debug events of a process that is about to die */

void bugcheck_main(void);

/* Skips to behind the next run of blanks; a quoted program name may hold blanks. */
static const WCHAR *next_argument(const WCHAR *at)
{
    BOOL quoted = FALSE;

    for (; *at && (quoted || *at != L' '); at++) {
        if (*at == L'"')
            quoted = !quoted;
    }
    while (*at == L' ')
        at++;
    return at;
}

/* A decimal number; 0 when there is none, or when it has more than 19 digits. */
static ULONG_PTR number(const WCHAR *at)
{
    ULONG_PTR value = 0;
    int digits = 0;

    for (; *at >= L'0' && *at <= L'9'; at++) {
        if (++digits > 19)
            return 0;
        value = value * 10 + (ULONG_PTR)(*at - L'0');
    }
    return value;
}

static BOOL is_driver_host(DWORD pid)
{
    static WCHAR path[1024];
    DWORD length = sizeof(path) / sizeof(path[0]);
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
    BOOL known;

    if (!process)
        return FALSE;
    known = QueryFullProcessImageNameW(process, 0, path, &length);
    CloseHandle(process);
    return known && length >= LENGTH(DRIVER_HOST) && !lstrcmpiW(path + length - LENGTH(DRIVER_HOST), DRIVER_HOST);
}

/* Writes to a file of the Linux kernel. Each is there in this guest; if not, nothing better is left to do. */
static void tell_kernel(const WCHAR *path, const char *text, DWORD length)
{
    DWORD written;
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);

    if (file == INVALID_HANDLE_VALUE)
        return;
    WriteFile(file, text, length, &written, NULL);
    CloseHandle(file);
}

static void copy_name(WCHAR *to, const WCHAR *path)
{
    const WCHAR *name = path;
    DWORD length = 0;

    for (; *path; path++) {
        if (*path == L'\\')
            name = path + 1;
    }
    for (; length < MAX_NAME - 1 && name[length]; length++)
        to[length] = name[length];
    to[length] = 0;
}

static DWORD size_of_image(HANDLE process, ULONG64 base)
{
    IMAGE_DOS_HEADER dos;
    IMAGE_NT_HEADERS64 nt;

    if (!ReadProcessMemory(process, (void *)(ULONG_PTR)base, &dos, sizeof(dos), NULL) ||
        !ReadProcessMemory(process, (void *)(ULONG_PTR)(base + (ULONG64)dos.e_lfanew), &nt, sizeof(nt), NULL))
        return 0;
    return nt.OptionalHeader.SizeOfImage;
}

static void note_module(struct crash *crash, HANDLE process, HANDLE image, void *base)
{
    static WCHAR path[1024];
    DWORD length = image ? GetFinalPathNameByHandleW(image, path, sizeof(path) / sizeof(path[0]), 0) : 0;
    DWORD size = size_of_image(process, (ULONG_PTR)base);

    if (image)
        CloseHandle(image);
    if (length == 0 || length >= sizeof(path) / sizeof(path[0]) || size == 0 || crash->modules == MAX_MODULES)
        return;
    crash->module[crash->modules].base = (ULONG_PTR)base;
    crash->module[crash->modules].size = size;
    copy_name(crash->module[crash->modules].name, path);
    crash->modules++;
}

/* Follow the process, which waits for `event`, until the exception that it dies of. It stays where it is then. */
static void follow(DWORD pid, HANDLE event, struct crash *crash)
{
    HANDLE process = NULL;
    DEBUG_EVENT seen;

    if (!DebugActiveProcess(pid))
        return;
    while (WaitForDebugEvent(&seen, EVENTS_MS)) {
        DWORD answer = DBG_CONTINUE;

        switch (seen.dwDebugEventCode) {
        case CREATE_PROCESS_DEBUG_EVENT:
            process = seen.u.CreateProcessInfo.hProcess;
            note_module(crash, process, seen.u.CreateProcessInfo.hFile, seen.u.CreateProcessInfo.lpBaseOfImage);
            SetEvent(event);
            break;
        case LOAD_DLL_DEBUG_EVENT:
            note_module(crash, process, seen.u.LoadDll.hFile, seen.u.LoadDll.lpBaseOfDll);
            break;
        case EXCEPTION_DEBUG_EVENT:
            if (!seen.u.Exception.dwFirstChance) {
                crash->code = seen.u.Exception.ExceptionRecord.ExceptionCode;
                crash->address = (ULONG_PTR)seen.u.Exception.ExceptionRecord.ExceptionAddress;
                return;
            }
            if (seen.u.Exception.ExceptionRecord.ExceptionCode != EXCEPTION_BREAKPOINT) /* attaching makes one */
                answer = DBG_EXCEPTION_NOT_HANDLED;
            break;
        default:
            break;
        }
        ContinueDebugEvent(seen.dwProcessId, seen.dwThreadId, answer);
    }
}

void bugcheck_main(void)
{
    static struct crash crash;
    static const char notice[] = "<0>halpmc: bugcheck: winedevice.exe died of an exception in a driver\n";
    const WCHAR *arguments = next_argument(GetCommandLineW());
    DWORD pid = (DWORD)number(arguments);
    HANDLE event = (HANDLE)number(next_argument(arguments));

    if (is_driver_host(pid)) {
        follow(pid, event, &crash);
        if (crash.code)
            crash_dump_write(&crash); /* a crash without a dump is a crash all the same */
        tell_kernel(L"Z:\\dev\\kmsg", notice, (DWORD)LENGTH(notice));
        tell_kernel(L"Z:\\proc\\sysrq-trigger", "c", 1);
    }
    if (event)
        SetEvent(event);
    ExitProcess(0);
}

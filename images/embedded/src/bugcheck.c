/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bugcheck: the AeDebug debugger of the guest. Wine runs a driver in the process winedevice.exe; where Windows would stop
 * with a bugcheck, Wine only loses that process. So that a crashing driver looks to the host as it does with Windows, this
 * program stops the guest's kernel when the dying process is winedevice.exe, and the kernel then reports its panic through
 * the pvpanic device.
 *
 * usage (Wine calls it): bugcheck PID EVENT     both decimal; EVENT is signalled to let any other process go on dying
 */
#include <windows.h>

#define DRIVER_HOST L"\\winedevice.exe"

/* Characters of a literal without its terminating zero. */
#define LENGTH(literal) (sizeof(literal) / sizeof((literal)[0]) - 1)

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

void bugcheck_main(void)
{
    static const char notice[] = "<0>halpmc: bugcheck: winedevice.exe died of an exception in a driver\n";
    const WCHAR *arguments = next_argument(GetCommandLineW());
    DWORD pid = (DWORD)number(arguments);
    HANDLE event = (HANDLE)number(next_argument(arguments));

    if (is_driver_host(pid)) {
        tell_kernel(L"Z:\\dev\\kmsg", notice, (DWORD)LENGTH(notice));
        tell_kernel(L"Z:\\proc\\sysrq-trigger", "c", 1);
    }
    if (event)
        SetEvent(event);
    ExitProcess(0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * winsh: runs one command line the way Win32-OpenSSH does, as
 *
 *     cmd.exe /c "LINE"
 *
 * with LINE unchanged between the two quotes. The login shell puts LINE into the environment variable WINSH_LINE; without
 * it an interactive cmd.exe is started. No C run-time library: it would load a dozen more DLLs at each command.
 *
 * Exit code: that of cmd.exe. sshd passes on only 8 bits, so a code above 255 is reduced to its low byte, or to 255 where
 * that byte would be 0 and look like success.
 */
#include <windows.h>

#define SHELL L"C:\\windows\\system32\\cmd.exe"
#define PREFIX SHELL L" /c \""
#define SUFFIX L"\""

/* Characters of a literal without its terminating zero. */
#define LENGTH(literal) (sizeof(literal) / sizeof((literal)[0]) - 1)

#define COMMAND_LINE_MAX 32767 /* CreateProcessW: characters with the terminating zero */
#define LINE_MAX (COMMAND_LINE_MAX - LENGTH(PREFIX) - LENGTH(SUFFIX))

#define EXIT_WINSH 255

static WCHAR command_line[COMMAND_LINE_MAX];

void winsh_main(void);

/* Ends the process with one line on stderr. */
static DECLSPEC_NORETURN void fail(const char *message, DWORD length)
{
    DWORD written;

    WriteFile(GetStdHandle(STD_ERROR_HANDLE), message, length, &written, NULL);
    ExitProcess(EXIT_WINSH);
}
#define FAIL(literal) fail(literal "\r\n", (DWORD)LENGTH(literal "\r\n"))

/* Copies `length` characters and returns where the copy ends. */
static WCHAR *put(WCHAR *to, const WCHAR *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
    return to + length;
}

static void make_command_line(void)
{
    WCHAR *line = command_line + LENGTH(PREFIX);
    DWORD length;

    SetLastError(ERROR_SUCCESS);
    /* Gives the length without the zero, or, where that does not fit, the size needed with it. */
    length = GetEnvironmentVariableW(L"WINSH_LINE", line, (DWORD)LINE_MAX);
    if (length == 0 && GetLastError() == ERROR_ENVVAR_NOT_FOUND) {
        put(command_line, SHELL, LENGTH(SHELL) + 1);
        return;
    }
    if (length >= LINE_MAX)
        FAIL("winsh: the command line is too long");
    put(command_line, PREFIX, LENGTH(PREFIX));
    put(line + length, SUFFIX, LENGTH(SUFFIX) + 1);
    SetEnvironmentVariableW(L"WINSH_LINE", NULL);
}

void winsh_main(void)
{
    STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION process;
    DWORD code = EXIT_WINSH;

    make_command_line();
    startup.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(SHELL, command_line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process))
        FAIL("winsh: cmd.exe does not start");
    if (WaitForSingleObject(process.hProcess, INFINITE) != WAIT_OBJECT_0 ||
        !GetExitCodeProcess(process.hProcess, &code))
        FAIL("winsh: lost cmd.exe");
    if (code > 255)
        code = (code & 0xff) ? (code & 0xff) : EXIT_WINSH;
    ExitProcess(code);
}

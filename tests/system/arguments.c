/* SPDX-License-Identifier: Apache-2.0 */
/* Prints each of its arguments, as the system splits its command line, in UTF-8 between brackets of control characters. */
#include <windows.h>

static void say(const char *text, int length)
{
	DWORD written;

	WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)length, &written, NULL);
}

void arguments_main(void)
{
	static char utf8[65536];
	HMODULE shell = LoadLibraryW(L"shell32.dll");
	WCHAR **(WINAPI *split)(const WCHAR *, int *) = (void *)GetProcAddress(shell, "CommandLineToArgvW");
	int count = 0;
	WCHAR **words = split(GetCommandLineW(), &count);

	for (int i = 1; i < count; i++) {
		int length = WideCharToMultiByte(CP_UTF8, 0, words[i], -1, utf8, sizeof utf8, NULL, NULL);

		say("\x02", 1);
		say(utf8, length - 1);
		say("\x03", 1);
	}
	ExitProcess(0);
}

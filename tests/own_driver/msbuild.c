/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for the EWDK's msbuild, which is where no WDK is. It knows as much of the real one as the project's script asks of it: it
 * wants the solution, and each platform's driver comes out of a file beside the program, where the test has put it. No C run-time
 * library, which would take longer to build than all the rest.
 */
#include <windows.h>

#define PLATFORM L"/p:Platform="

static void say(const char *text)
{
	DWORD written;

	WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)lstrlenA(text), &written, NULL);
}

static const WCHAR *find(const WCHAR *text, const WCHAR *part)
{
	for (; *text; text++) {
		int same = 0;

		while (part[same] && text[same] == part[same])
			same++;
		if (!part[same])
			return text;
	}
	return NULL;
}

static UINT build(const WCHAR *line)
{
	static WCHAR name[16], beside[MAX_PATH + 16], target[MAX_PATH];
	const WCHAR *platform = find(line, PLATFORM);
	DWORD length = 0, end;

	if (find(line, L" /version"))
		return 0;
	if (!GetEnvironmentVariableW(L"EnterpriseWDK", target, MAX_PATH)) {
		say("error: not in the environment of the kit\r\n");
		return 1;
	}
	if (!platform || !find(line, L" halpmc.sln ") || GetFileAttributesW(L"..\\driver\\main.c") == INVALID_FILE_ATTRIBUTES ||
	    GetFileAttributesW(L"pmctest.vcxproj") == INVALID_FILE_ATTRIBUTES) {
		say("error MSB1009: Project file does not exist.\r\n");
		return 1;
	}
	for (platform += lstrlenW(PLATFORM); platform[length] && platform[length] != L' ' && length < 15; length++)
		name[length] = platform[length];
	end = GetModuleFileNameW(NULL, beside, MAX_PATH);
	while (end > 0 && beside[end - 1] != L'\\')
		end--;
	beside[end] = 0;
	lstrcatW(lstrcatW(beside, name), L".sys");
	CreateDirectoryW(L"build", NULL);
	lstrcatW(lstrcpyW(target, L"build\\"), name);
	CreateDirectoryW(target, NULL);
	lstrcatW(target, L"\\pmctest.sys");
	return CopyFileW(beside, target, FALSE) ? 0 : 1;
}

void msbuild_main(void)
{
	ExitProcess(build(GetCommandLineW()));
}

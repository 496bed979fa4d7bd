/* SPDX-License-Identifier: Apache-2.0 */
/* Entry without a C runtime: split the command line, choose the face. */
#include "client.h"

#define MAX_WORDS 8

void start(void);

bool write_all(HANDLE to, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	DWORD written;

	while (length != 0) {
		if (!WriteFile(to, at, length > (1u << 20) ? 1u << 20 : (DWORD)length, &written, NULL) || written == 0)
			return false;
		at += written;
		length -= written;
	}
	return true;
}

/* Words are parted by spaces; quotes keep a word together. No argument of this program holds a quote itself. */
static int split(const wchar_t *line, wchar_t *words[MAX_WORDS])
{
	static wchar_t memory[PATH_ROOM * 2];
	wchar_t *at = memory;
	int count = 0;

	while (count < MAX_WORDS && at < memory + PATH_ROOM) {
		bool quoted = false;

		while (*line == L' ' || *line == L'\t')
			line++;
		if (*line == 0)
			break;
		words[count++] = at;
		for (; *line != 0 && (quoted || (*line != L' ' && *line != L'\t')) && at < memory + PATH_ROOM * 2 - 1; line++) {
			if (*line == L'"')
				quoted = !quoted;
			else
				*at++ = *line;
		}
		*at++ = 0;
	}
	return count;
}

void start(void)
{
	wchar_t *words[MAX_WORDS];
	int count = split(GetCommandLineW(), words), code;

	if (count == 2 && lstrcmpW(words[1], L"serve") == 0)
		code = serve(GetStdHandle(STD_INPUT_HANDLE), GetStdHandle(STD_OUTPUT_HANDLE), false);
	else if (count == 4 && lstrcmpW(words[1], L"serve") == 0 && lstrcmpW(words[2], L"--port") == 0)
		code = serve_port(words[3]);
	else if (count == 4 && lstrcmpW(words[1], L"holder") == 0)
		code = holder_main(words[2], words[3]);
	else
		code = one_shot(count > 0 ? count - 1 : 0, words + 1);
	ExitProcess((UINT)code);
}

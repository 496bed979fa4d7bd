/* SPDX-License-Identifier: Apache-2.0 */
/* Files: what is in a folder, and the end of one. Contents travel by SFTP. */
#include "client.h"

#define MOST_FILES 4096u

static uint64_t wide_number(DWORD high, DWORD low)
{
	return (uint64_t)high << 32 | low;
}

void op_file_list(struct exchange *exchange)
{
	static wchar_t pattern[PATH_ROOM];
	struct json_writer *out = &exchange->out;
	WIN32_FIND_DATAW found;
	uint32_t count = 0;
	HANDLE search;

	arg_wide(exchange, "pattern", pattern, PATH_ROOM);
	if (failed(exchange))
		return;
	search = FindFirstFileW(pattern, &found);
	if (search == INVALID_HANDLE_VALUE && GetLastError() != ERROR_FILE_NOT_FOUND) {
		fail_win32(exchange, "FindFirstFile");
		return;
	}
	json_open(out, "files", '[');
	for (BOOL more = search != INVALID_HANDLE_VALUE; more && count < MOST_FILES; more = FindNextFileW(search, &found)) {
		if (found.cFileName[0] == L'.' && (found.cFileName[1] == 0 || (found.cFileName[1] == L'.' && found.cFileName[2] == 0)))
			continue;
		json_open(out, NULL, '{');
		put_wide(exchange, "name", found.cFileName);
		json_put_hex(out, "size", wide_number(found.nFileSizeHigh, found.nFileSizeLow));
		json_put_hex(out, "written", wide_number(found.ftLastWriteTime.dwHighDateTime, found.ftLastWriteTime.dwLowDateTime));
		json_put_bool(out, "folder", (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0);
		json_close(out, '}');
		count++;
	}
	json_close(out, ']');
	json_put_bool(out, "cut", count == MOST_FILES);
	if (search != INVALID_HANDLE_VALUE)
		FindClose(search);
}

void op_file_delete(struct exchange *exchange)
{
	static wchar_t path[PATH_ROOM];

	arg_wide(exchange, "path", path, PATH_ROOM);
	if (!failed(exchange) && !DeleteFileW(path))
		fail_win32(exchange, "DeleteFile");
}

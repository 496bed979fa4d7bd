/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: one run to its end with all that it says, the list, and the end of one. */
#include "client.h"

#include <tlhelp32.h>

#define POLL_MS 10u
#define OUTPUT_ROOM (256u << 10) /* bytes of each stream that are kept */
#define DEFAULT_TIMEOUT_MS 30000u
#define KILL_MS 5000u
#define MOST_PROCESSES 2048u
#define EXIT_OF_A_TIMEOUT 1460u /* ERROR_TIMEOUT */

/* One stream of a process: what is read of it, and whether there was more. */
struct stream {
	HANDLE ours, theirs;
	uint8_t *bytes;
	DWORD length;
	bool cut;
};

static bool open_stream(struct stream *stream, uint8_t *bytes)
{
	SECURITY_ATTRIBUTES inherited = { .nLength = sizeof inherited, .bInheritHandle = TRUE };

	*stream = (struct stream){ .bytes = bytes };
	return CreatePipe(&stream->ours, &stream->theirs, &inherited, 0) && SetHandleInformation(stream->ours, HANDLE_FLAG_INHERIT, 0);
}

static void close_handle(HANDLE *handle)
{
	if (*handle != NULL)
		CloseHandle(*handle);
	*handle = NULL;
}

/* What is there now, without waiting: a child of the process may hold the pipe open for ever. */
static void drain(struct stream *stream)
{
	static uint8_t rest[4096];
	DWORD there = 0, got = 0;

	while (PeekNamedPipe(stream->ours, NULL, 0, NULL, &there, NULL) && there != 0) {
		DWORD room = OUTPUT_ROOM - stream->length;
		uint8_t *to = room != 0 ? stream->bytes + stream->length : rest;

		if (!ReadFile(stream->ours, to, min(there, room != 0 ? room : (DWORD)sizeof rest), &got, NULL))
			return;
		if (room != 0)
			stream->length += got;
		else
			stream->cut = true;
	}
}

/* Until it ends, or the time is up and it was ended; FALSE in the latter case. */
static bool follow(HANDLE process, struct stream streams[2], uint32_t timeout_ms)
{
	uint64_t start = GetTickCount64();
	bool ended = false;

	while (!ended && GetTickCount64() - start < timeout_ms) {
		ended = WaitForSingleObject(process, POLL_MS) == WAIT_OBJECT_0;
		drain(&streams[0]);
		drain(&streams[1]);
	}
	if (!ended) {
		TerminateProcess(process, EXIT_OF_A_TIMEOUT);
		WaitForSingleObject(process, KILL_MS);
	}
	return ended;
}

static void put_stream(struct json_writer *out, const char *name, const struct stream *stream)
{
	json_put_bytes(out, name, stream->bytes, stream->length);
}

static void run(struct exchange *exchange, wchar_t *command, const wchar_t *folder, uint32_t timeout_ms, struct stream streams[2], HANDLE nothing)
{
	STARTUPINFOW startup = {
		.cb = sizeof startup,
		.dwFlags = STARTF_USESTDHANDLES,
		.hStdInput = nothing,
		.hStdOutput = streams[0].theirs,
		.hStdError = streams[1].theirs,
	};
	PROCESS_INFORMATION process;
	DWORD code = 0;
	bool ended;

	if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, folder, &startup, &process)) {
		fail_win32(exchange, "CreateProcess");
		return;
	}
	close_handle(&streams[0].theirs);
	close_handle(&streams[1].theirs);
	ended = follow(process.hProcess, streams, timeout_ms);
	if (GetExitCodeProcess(process.hProcess, &code)) {
		json_put_u32(&exchange->out, "pid", process.dwProcessId);
		json_put_u32(&exchange->out, "exit_code", code);
		json_put_bool(&exchange->out, "timed_out", !ended);
		json_put_bool(&exchange->out, "cut", streams[0].cut || streams[1].cut);
		put_stream(&exchange->out, "stdout", &streams[0]);
		put_stream(&exchange->out, "stderr", &streams[1]);
	} else {
		fail_win32(exchange, "GetExitCodeProcess");
	}
	CloseHandle(process.hThread);
	CloseHandle(process.hProcess);
}

void op_process_run(struct exchange *exchange)
{
	static wchar_t command[COMMAND_ROOM], folder[PATH_ROOM];
	SECURITY_ATTRIBUTES inherited = { .nLength = sizeof inherited, .bInheritHandle = TRUE };
	uint32_t timeout_ms = arg_u32_or(exchange, "timeout_ms", DEFAULT_TIMEOUT_MS);
	struct stream streams[2] = { { 0 } };
	struct json given;
	HANDLE nothing;
	bool placed = arg_given(exchange, "folder", &given);

	arg_wide(exchange, "command", command, COMMAND_ROOM);
	if (placed)
		arg_wide(exchange, "folder", folder, PATH_ROOM);
	if (failed(exchange))
		return;
	nothing = CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_EXISTING, 0, NULL);
	if (nothing == INVALID_HANDLE_VALUE)
		fail_win32(exchange, "CreateFile");
	else if (!open_stream(&streams[0], exchange->client->scratch) || !open_stream(&streams[1], exchange->client->scratch + OUTPUT_ROOM))
		fail_win32(exchange, "CreatePipe");
	else
		run(exchange, command, placed ? folder : NULL, timeout_ms, streams, nothing);
	for (int i = 0; i < 2; i++) {
		close_handle(&streams[i].ours);
		close_handle(&streams[i].theirs);
	}
	if (nothing != INVALID_HANDLE_VALUE)
		CloseHandle(nothing);
}

void op_process_list(struct exchange *exchange)
{
	PROCESSENTRY32W entry = { .dwSize = sizeof entry };
	struct json_writer *out = &exchange->out;
	HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
	uint32_t count = 0;

	if (snapshot == INVALID_HANDLE_VALUE) {
		fail_win32(exchange, "CreateToolhelp32Snapshot");
		return;
	}
	json_open(out, "processes", '[');
	for (BOOL more = Process32FirstW(snapshot, &entry); more && count < MOST_PROCESSES; more = Process32NextW(snapshot, &entry)) {
		json_open(out, NULL, '{');
		json_put_u32(out, "pid", entry.th32ProcessID);
		json_put_u32(out, "parent", entry.th32ParentProcessID);
		json_put_u32(out, "threads", entry.cntThreads);
		put_wide(exchange, "name", entry.szExeFile);
		json_close(out, '}');
		count++;
	}
	json_close(out, ']');
	CloseHandle(snapshot);
}

void op_process_kill(struct exchange *exchange)
{
	uint32_t pid = arg_u32(exchange, "pid");
	HANDLE process;

	if (failed(exchange))
		return;
	process = OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, pid);
	if (process == NULL) {
		fail_win32(exchange, "OpenProcess");
		return;
	}
	if (!TerminateProcess(process, 1))
		fail_win32(exchange, "TerminateProcess");
	else if (WaitForSingleObject(process, KILL_MS) != WAIT_OBJECT_0)
		fail(exchange, "win32", ERROR_TIMEOUT, "TerminateProcess");
	CloseHandle(process);
}

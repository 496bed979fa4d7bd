/* SPDX-License-Identifier: Apache-2.0 */
/* A second process that holds counters: starting, using and killing it. */
#include "client.h"

#define KILL_TIMEOUT_MS 10000u

/* A pipe whose one end only the child inherits. */
static bool make_pipe(HANDLE *ours, HANDLE *theirs, bool we_write)
{
	HANDLE read, write;

	if (!CreatePipe(&read, &write, NULL, 0))
		return false;
	*ours = we_write ? write : read;
	*theirs = we_write ? read : write;
	return SetHandleInformation(*theirs, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
}

static void close(HANDLE handle)
{
	if (handle != NULL)
		CloseHandle(handle);
}

static bool is_alphanumeric(wchar_t c)
{
	return (c >= L'0' && c <= L'9') || (c >= L'A' && c <= L'Z') || (c >= L'a' && c <= L'z');
}

/* "C:\...\pmcctl.exe" holder MODE NAME */
static bool command_line(wchar_t *line, bool busy, const wchar_t *name)
{
	wchar_t *at = line;
	DWORD length;

	*at++ = L'"';
	length = GetModuleFileNameW(NULL, at, PATH_ROOM);
	if (length == 0 || length >= PATH_ROOM)
		return false;
	lstrcpyW(at + length, busy ? L"\" holder busy " : L"\" holder hold ");
	lstrcpyW(line + lstrlenW(line), name);
	return true;
}

static bool start(struct holder *holder, wchar_t *line)
{
	STARTUPINFOW startup = { .cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES };
	PROCESS_INFORMATION process = { 0 };
	bool started;

	started = make_pipe(&holder->orders, &startup.hStdInput, true) && make_pipe(&holder->reports, &startup.hStdOutput, false) &&
		  CreateProcessW(NULL, line, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &startup, &process);
	if (started) {
		holder->process = process.hProcess;
		CloseHandle(process.hThread);
	} else {
		DWORD error = GetLastError();

		close(holder->orders);
		close(holder->reports);
		*holder = (struct holder){ 0 };
		SetLastError(error);
	}
	close(startup.hStdInput); /* else the end of the child would not end the pipe */
	close(startup.hStdOutput);
	return started;
}

/* The next report; when the child has died instead, its exit code is the Win32 error that ended it. */
static bool read_report(struct exchange *exchange, struct pmctest_call *call)
{
	struct holder *holder = &exchange->client->holder;
	DWORD length, code = 0;

	if (ReadFile(holder->reports, call, sizeof *call, &length, NULL) && length == sizeof *call)
		return true;
	WaitForSingleObject(holder->process, KILL_TIMEOUT_MS);
	GetExitCodeProcess(holder->process, &code);
	fail(exchange, "win32", code, "holder");
	holder_end(holder);
	return false;
}

void op_holder_start(struct exchange *exchange)
{
	static wchar_t line[PATH_ROOM + PMCTEST_NAME_CHARS + 32];
	struct holder *holder = &exchange->client->holder;
	bool busy = arg_is(exchange, "mode", "busy");
	wchar_t name[PMCTEST_NAME_CHARS + 1];
	struct pmctest_call call;

	arg_wide(exchange, "device_name", name, PMCTEST_NAME_CHARS + 1);
	if (!busy && !arg_is(exchange, "mode", "hold"))
		fail_protocol(exchange, "mode");
	for (size_t i = 0; name[i] != 0; i++) { /* it becomes part of a command line */
		if (!is_alphanumeric(name[i]) && name[i] != L'_' && name[i] != L'-')
			fail_protocol(exchange, "device_name");
	}
	if (holder->process != NULL)
		fail_protocol(exchange, "a holder is running");
	if (failed(exchange))
		return;
	if (!command_line(line, busy, name) || !start(holder, line)) {
		fail_win32(exchange, "CreateProcess");
		return;
	}
	if (!read_report(exchange, &call))
		return;
	json_put_u32(&exchange->out, "pid", GetProcessId(holder->process));
	json_put_u32(&exchange->out, "status", call.status);
	json_put_hex(&exchange->out, "handle", call.handle);
	exchange->made.has_handle = true;
	exchange->made.handle = call.handle;
}

static bool need_holder(struct exchange *exchange)
{
	if (exchange->client->holder.process == NULL)
		fail_protocol(exchange, "no holder is running");
	return !failed(exchange);
}

void op_holder_kill(struct exchange *exchange)
{
	struct holder *holder = &exchange->client->holder;

	if (!need_holder(exchange))
		return;
	TerminateProcess(holder->process, 1); /* fails when it has ended already, which is as good */
	json_put_bool(&exchange->out, "exited", WaitForSingleObject(holder->process, KILL_TIMEOUT_MS) == WAIT_OBJECT_0);
	holder_end(holder);
}

void op_holder_free(struct exchange *exchange)
{
	uint64_t handle = arg_handle(exchange);
	struct pmctest_call call;

	if (failed(exchange) || !need_holder(exchange))
		return;
	if (!write_all(exchange->client->holder.orders, &handle, sizeof handle))
		fail_win32(exchange, "WriteFile");
	else if (read_report(exchange, &call))
		put_call(&exchange->out, &call, 0);
}

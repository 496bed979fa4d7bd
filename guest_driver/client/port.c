/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pmcctl serve --port COM2`: the same conversation over a serial port, for a client that runs before anybody has logged in. Started
 * by the service control manager it is a service, which outlives the session that started it; else it runs in the foreground.
 */
#include "client.h"

#define PORT_CHARS 8u
#define QUEUE_BYTES 65536u /* asked for; a driver takes what it likes */

static wchar_t path[4 + PORT_CHARS + 1] = L"\\\\.\\";
static wchar_t no_name[1]; /* of a service in a process of its own */
static SERVICE_STATUS_HANDLE service;
static int exit_code;

static HANDLE open_port(void)
{
	static COMMTIMEOUTS wait_for_ever; /* a read of one byte ends with that byte */
	DCB state = { .DCBlength = sizeof state };
	HANDLE port = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);

	if (port == INVALID_HANDLE_VALUE)
		return NULL;
	if (GetCommState(port, &state)) {
		state.BaudRate = CBR_115200;
		state.ByteSize = 8;
		state.Parity = NOPARITY;
		state.StopBits = ONESTOPBIT;
		state.fBinary = TRUE;
		state.fParity = state.fOutxCtsFlow = state.fOutxDsrFlow = state.fDsrSensitivity = state.fNull = FALSE;
		state.fOutX = state.fInX = state.fErrorChar = state.fAbortOnError = FALSE;
		state.fDtrControl = DTR_CONTROL_ENABLE;
		state.fRtsControl = RTS_CONTROL_ENABLE;
		SetupComm(port, QUEUE_BYTES, QUEUE_BYTES);
		if (SetCommState(port, &state) && SetCommTimeouts(port, &wait_for_ever))
			return port;
	}
	CloseHandle(port);
	return NULL;
}

/* At least one byte, and what has come with it. */
bool port_read(HANDLE port, char *bytes, DWORD room, DWORD *filled)
{
	COMSTAT waiting;
	DWORD errors, more = 0;

	if (!ReadFile(port, bytes, 1, filled, NULL))
		return false;
	if (*filled == 0 || !ClearCommError(port, &errors, &waiting) || waiting.cbInQue == 0)
		return true;
	if (!ReadFile(port, bytes + 1, min(room - 1, waiting.cbInQue), &more, NULL))
		return false;
	*filled += more;
	return true;
}

static void report(DWORD state, DWORD error)
{
	SERVICE_STATUS status = {
		.dwServiceType = SERVICE_WIN32_OWN_PROCESS,
		.dwCurrentState = state,
		.dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0,
		.dwWin32ExitCode = error,
	};

	if (service != NULL)
		SetServiceStatus(service, &status);
}

static void WINAPI control(DWORD code)
{
	if (code != SERVICE_CONTROL_STOP && code != SERVICE_CONTROL_SHUTDOWN)
		return;
	report(SERVICE_STOPPED, NO_ERROR);
	ExitProcess(0); /* the conversation's thread waits in a read; devices and second process end with this one */
}

static void converse(void)
{
	HANDLE port = open_port();

	if (port == NULL) {
		report(SERVICE_STOPPED, GetLastError());
		exit_code = 1;
		return;
	}
	report(SERVICE_RUNNING, NO_ERROR);
	exit_code = serve(port, port, true);
	report(SERVICE_STOPPED, NO_ERROR);
}

static void WINAPI service_main(DWORD count, wchar_t **words)
{
	(void)count;
	(void)words;
	service = RegisterServiceCtrlHandlerW(no_name, control);
	converse();
}

int serve_port(const wchar_t *name)
{
	static const SERVICE_TABLE_ENTRYW services[] = { { no_name, service_main }, { NULL, NULL } };
	size_t length = 0;

	for (; name[length] != 0; length++) {
		if (length == PORT_CHARS)
			return 2;
		path[4 + length] = name[length];
	}
	if (!StartServiceCtrlDispatcherW(services)) {
		if (GetLastError() != ERROR_FAILED_SERVICE_CONTROLLER_CONNECT)
			return 1;
		converse(); /* a person started it */
	}
	return exit_code;
}

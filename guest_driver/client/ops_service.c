/* SPDX-License-Identifier: Apache-2.0 */
/* Services, by the service control manager's API. */
#include "client.h"

#define NAME_ROOM 256u
#define POLL_MS 10u
#define DEFAULT_TIMEOUT_MS 30000u

/* Both NULL when something failed. */
struct service {
	SC_HANDLE manager, service;
};

static struct service open_service(struct exchange *exchange, DWORD access)
{
	static wchar_t name[NAME_ROOM];
	struct service it = { 0 };

	arg_wide(exchange, "name", name, NAME_ROOM);
	if (failed(exchange))
		return it;
	it.manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	if (it.manager == NULL) {
		fail_win32(exchange, "OpenSCManager");
		return it;
	}
	it.service = OpenServiceW(it.manager, name, access);
	if (it.service == NULL) {
		fail_win32(exchange, "OpenService");
		CloseServiceHandle(it.manager);
		it.manager = NULL;
	}
	return it;
}

static void close_service(struct service it)
{
	if (it.service == NULL)
		return;
	CloseServiceHandle(it.service);
	CloseServiceHandle(it.manager);
}

void op_service_create(struct exchange *exchange)
{
	static wchar_t name[NAME_ROOM], path[PATH_ROOM], group[NAME_ROOM];
	struct json given;
	bool grouped = arg_given(exchange, "group", &given);
	bool program = arg_is(exchange, "type", "program"); /* else a kernel driver */
	SC_HANDLE manager, service;

	arg_wide(exchange, "name", name, NAME_ROOM);
	arg_wide(exchange, "path", path, PATH_ROOM);
	if (grouped)
		arg_wide(exchange, "group", group, NAME_ROOM);
	if (!program && arg_given(exchange, "type", &given) && !arg_is(exchange, "type", "driver"))
		fail_protocol(exchange, "type");
	if (failed(exchange))
		return;
	manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
	if (manager == NULL) {
		fail_win32(exchange, "OpenSCManager");
		return;
	}
	service = CreateServiceW(manager, name, name, SERVICE_ALL_ACCESS, program ? SERVICE_WIN32_OWN_PROCESS : SERVICE_KERNEL_DRIVER,
				 SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, path, grouped ? group : NULL, NULL, NULL, NULL, NULL);
	if (service == NULL)
		fail_win32(exchange, "CreateService");
	else
		CloseServiceHandle(service);
	CloseServiceHandle(manager);
}

/* Wait for a state, and put the last one seen. A service that stops instead of starting fails with its own exit code. */
static void await_state(struct exchange *exchange, SC_HANDLE service, DWORD wanted, uint32_t timeout_ms, const char *what)
{
	uint64_t start = GetTickCount64();
	SERVICE_STATUS status;

	for (;;) {
		if (!QueryServiceStatus(service, &status)) {
			fail_win32(exchange, "QueryServiceStatus");
			return;
		}
		if (status.dwCurrentState == wanted)
			break;
		if (wanted == SERVICE_RUNNING && status.dwCurrentState == SERVICE_STOPPED && status.dwWin32ExitCode != NO_ERROR &&
		    status.dwWin32ExitCode != ERROR_SERVICE_NEVER_STARTED) {
			fail(exchange, "win32", status.dwWin32ExitCode, what);
			return;
		}
		if (GetTickCount64() - start >= timeout_ms) {
			fail(exchange, "win32", ERROR_TIMEOUT, what);
			return;
		}
		Sleep(POLL_MS);
	}
	json_put_u32(&exchange->out, "state", status.dwCurrentState);
}

void op_service_start(struct exchange *exchange)
{
	uint32_t timeout_ms = arg_u32_or(exchange, "timeout_ms", DEFAULT_TIMEOUT_MS);
	struct service it = open_service(exchange, SERVICE_START | SERVICE_QUERY_STATUS);

	if (it.service == NULL)
		return;
	if (!StartServiceW(it.service, 0, NULL))
		fail_win32(exchange, "StartService");
	else
		await_state(exchange, it.service, SERVICE_RUNNING, timeout_ms, "StartService");
	close_service(it);
}

void op_service_stop(struct exchange *exchange)
{
	uint32_t timeout_ms = arg_u32_or(exchange, "timeout_ms", DEFAULT_TIMEOUT_MS);
	struct service it = open_service(exchange, SERVICE_STOP | SERVICE_QUERY_STATUS);
	SERVICE_STATUS status;

	if (it.service == NULL)
		return;
	if (!ControlService(it.service, SERVICE_CONTROL_STOP, &status))
		fail_win32(exchange, "ControlService");
	else
		await_state(exchange, it.service, SERVICE_STOPPED, timeout_ms, "ControlService");
	close_service(it);
}

void op_service_delete(struct exchange *exchange)
{
	struct service it = open_service(exchange, DELETE | SERVICE_QUERY_STATUS);
	SERVICE_STATUS status;

	if (it.service == NULL)
		return;
	if (!QueryServiceStatus(it.service, &status))
		fail_win32(exchange, "QueryServiceStatus");
	else if (!DeleteService(it.service))
		fail_win32(exchange, "DeleteService");
	else
		json_put_u32(&exchange->out, "state", status.dwCurrentState);
	close_service(it);
}

void op_service_query(struct exchange *exchange)
{
	static union {
		QUERY_SERVICE_CONFIGW config;
		uint8_t room[8192]; /* the API's own maximum */
	} answer;
	struct service it = open_service(exchange, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG);
	SERVICE_STATUS status;
	DWORD needed;

	if (it.service == NULL)
		return;
	if (!QueryServiceStatus(it.service, &status)) {
		fail_win32(exchange, "QueryServiceStatus");
	} else if (!QueryServiceConfigW(it.service, &answer.config, sizeof answer, &needed)) {
		fail_win32(exchange, "QueryServiceConfig");
	} else {
		json_put_u32(&exchange->out, "state", status.dwCurrentState);
		json_put_u32(&exchange->out, "type", answer.config.dwServiceType);
		json_put_u32(&exchange->out, "start_type", answer.config.dwStartType);
		json_put_u32(&exchange->out, "win32_exit", status.dwWin32ExitCode);
		json_put_u32(&exchange->out, "service_exit", status.dwServiceSpecificExitCode);
	}
	close_service(it);
}
